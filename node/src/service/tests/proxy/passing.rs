//! What is passed on, as whose call, and that it comes through as it is.

use actors::ca::logic::access::RENEWABLE_SECONDS;
use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use protocol::wire::NodeRole;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Code, body::Body};

use super::{
    A_MOMENT, HEARTBEAT, LEADER, OWN, PATIENCE, READ, RENEW, SESSION, THIRD, UPLOAD, WATCH, WRITE,
    World,
    access::{VALID, peer},
    endless, manager, message,
    net::{call, framed, open},
    request,
};

#[tokio::test(start_paused = true)]
async fn one_message_goes_there_and_one_comes_back_with_its_trailers() {
    let mut world = World::new();
    let client = world.client(Some(manager())).await;
    let answer = call(&client, message(WRITE, "")).await;
    assert_eq!((&*answer.by, answer.bytes.clone()), ("leader", framed(b"message")));
    assert_eq!(answer.status().code(), Code::Ok);
    assert_eq!(answer.trailers["of-the-leader"], "kept");
    assert_eq!(world.times_asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_answers_comes_as_it_is_read_and_ends_when_nobody_reads() {
    let mut world = World::new();
    let client = world.client(Some(manager())).await;
    let mut response = open(&client, message(SESSION, "flood")).await;
    let mut bytes = 0;
    while bytes < 1 << 20 {
        let frame = response.frame().await.expect("it has no end").expect("no fault");
        bytes += frame.into_data().expect("data").len();
    }
    assert!(world.heard.dropped.try_recv().is_err(), "it is still read");
    drop(response);
    let dropped = timeout(A_MOMENT, world.heard.dropped.recv()).await;
    assert_eq!(dropped.expect("the leader is told"), Some("leader"));
}

#[tokio::test(start_paused = true)]
async fn messages_go_both_ways_at_once() {
    let mut world = World::new();
    let client = world.client(Some(manager())).await;
    let (send, sent) = mpsc::unbounded_channel();
    let sent = UnboundedReceiverStream::new(sent);
    let mut response = open(&client, request(UPLOAD, "", Body::new(StreamBody::new(sent)))).await;
    for number in 0..9 {
        let bytes = framed(&[number; 100]);
        send.send(Ok::<_, tonic::Status>(Frame::data(bytes.clone()))).expect("it is read");
        let frame = response.frame().await.expect("not the end").expect("no fault");
        assert_eq!(frame.into_data().expect("data"), bytes);
    }
    drop(send);
    let end = response.frame().await.expect("trailers").expect("no fault");
    assert_eq!(end.into_trailers().expect("trailers")["of-the-leader"], "kept");
    assert!(response.frame().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn the_leader_is_told_who_calls_and_nobody_else_says_so() {
    let blank = ("true", "", "", "");
    let worker = ("true", "w", "c", "swarm-worker");
    for (what, peer, path, told) in [
        ("nobody", Some(peer(None)), RENEW, blank),
        ("a worker", Some(peer(Some(("w", NodeRole::Worker, VALID)))), HEARTBEAT, worker),
        ("a manager", Some(manager()), READ, ("true", "m3", "c", "swarm-manager")),
    ] {
        let mut world = World::new();
        let client = world.client(peer).await;
        let mut request = message(path, "");
        // Whoever claims to be another is not heard.
        for (name, value) in [("forwarded_cert_cn", "m9"), ("forwarded_cert_ou", "swarm-manager")] {
            if what != "a manager" {
                request.headers_mut().insert(name, value.parse().expect("a value"));
            }
        }
        assert_eq!(call(&client, request).await.by, "leader", "{what}");
        let (found, headers) = world.heard.asked.recv().await.expect("it was asked");
        assert_eq!(found, path, "{what}");
        let value = |name: &str| {
            let all: Vec<_> = headers.get_all(name).iter().collect();
            assert_eq!(all.len(), 1, "{what}: {name}");
            all[0].to_str().expect("a text").to_owned()
        };
        let (forwarded, name, cluster, unit) = told;
        assert_eq!(value("forwarded_cert"), forwarded, "{what}");
        assert_eq!(value("forwarded_cert_cn"), name, "{what}");
        assert_eq!(value("forwarded_cert_org"), cluster, "{what}");
        assert_eq!(value("forwarded_cert_ou"), unit, "{what}");
        assert_eq!(value("remote_addr"), "10.0.0.9:999", "{what}");
        assert_eq!(value("redirect"), "10.0.0.9:999", "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_comes_through_the_socket_is_this_managers_own_call() {
    let mut world = World::new();
    let client = world.client(None).await;
    let mut request = message(READ, "");
    request.headers_mut().insert("forwarded_cert", "true".parse().expect("a value"));
    assert_eq!(call(&client, request).await.by, "leader");
    let (_, headers) = world.heard.asked.recv().await.expect("it was asked");
    let of_access: Vec<_> = headers
        .keys()
        .map(http::HeaderName::as_str)
        .filter(|name| name.starts_with("forwarded") || ["remote_addr", "redirect"].contains(name))
        .collect();
    assert_eq!(of_access, ["redirect"]);
}

#[tokio::test(start_paused = true)]
async fn what_need_not_go_to_the_leader_is_answered_here() {
    let mut world = World::new();
    let client = world.client(Some(manager())).await;
    assert_eq!(call(&client, message(WATCH, "")).await.by, "here");
    world.elect(None);
    assert_eq!(call(&client, message(WATCH, "")).await.by, "here");
    world.elect(Some(OWN));
    let answer = call(&client, message(WRITE, "")).await;
    assert_eq!((&*answer.by, answer.bytes), ("here", framed(b"message")));
    assert_eq!(world.times_asked(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_for_a_leader_but_not_for_ever() {
    let mut world = World::new();
    let client = world.client(Some(manager())).await;
    world.elect(None);
    let elected = async {
        sleep(A_MOMENT).await;
        world.standing.clone()
    };
    let waits = call(&client, message(WRITE, ""));
    let (answer, _) = tokio::join!(waits, async {
        elected.await;
        world.elect(Some(LEADER));
    });
    assert_eq!(answer.by, "leader");
    world.elect(None);
    let began = Instant::now();
    let refused = call(&client, message(WRITE, "")).await.status();
    assert_eq!(refused.code(), Code::Unavailable);
    assert_eq!(
        refused.message(),
        "The swarm does not have a leader. It's possible that too few managers are online. Make \
         sure more than half of the managers are online."
    );
    assert!(began.elapsed() >= PATIENCE && began.elapsed().as_secs() < 4);
    world.standing.note_kind(THIRD, true);
    let began = Instant::now();
    call(&client, message(WRITE, "")).await;
    assert_eq!(began.elapsed().as_secs(), 21, "managers of SwarmKit's elect one as slowly");
}

#[tokio::test(start_paused = true)]
async fn what_was_passed_on_once_is_not_passed_on_again() {
    for (name, value, from) in
        [("redirect", "10.0.0.7:777", "10.0.0.7:777"), ("forwarded_cert", "true", "")]
    {
        let mut world = World::new();
        let client = world.client(Some(manager())).await;
        let mut request = message(READ, "");
        request.headers_mut().insert(name, value.parse().expect("a value"));
        let refused = call(&client, request).await.status();
        assert_eq!(refused.code(), Code::ResourceExhausted, "{name}");
        let text = format!("more than one redirect to leader from: [{from}]");
        assert_eq!(refused.message(), text, "{name}");
        assert_eq!(world.times_asked(), 0, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_is_no_manager_cannot_keep_a_call_from_being_passed_on() {
    let mut world = World::new();
    let client = world.client(Some(peer(None))).await;
    let mut request = message(RENEW, "");
    request.headers_mut().insert("redirect", "loop".parse().expect("a value"));
    assert_eq!(call(&client, request).await.by, "leader");
}

/// Nobody is in the store of this manager yet: whether the node is one, the leader knows.
#[tokio::test(start_paused = true)]
async fn an_expired_certificate_is_passed_on_for_its_renewal_alone() {
    for (path, ended_seconds_ago, is_passed_on) in [
        (RENEW, 1, true),
        (RENEW, RENEWABLE_SECONDS + 1, false),
        (SESSION, 1, false),
        (SESSION, RENEWABLE_SECONDS + 1, false),
    ] {
        let mut world = World::new();
        let expired = peer(Some(("w", NodeRole::Worker, ended_seconds_ago)));
        let client = world.client(Some(expired)).await;
        let answer = call(&client, message(path, "")).await;
        let expected = if is_passed_on { Code::Ok } else { Code::PermissionDenied };
        assert_eq!(answer.status().code(), expected, "{path} {ended_seconds_ago}");
        let times = usize::from(is_passed_on);
        assert_eq!(world.times_asked(), times, "{path} {ended_seconds_ago}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_too_large_is_not_passed_on() {
    let mut world = World::new();
    let client = world.client(Some(manager())).await;
    let of = |bytes: usize| {
        let body = Full::new(framed(&vec![0; bytes]));
        request(WRITE, "", Body::new(body))
    };
    assert_eq!(call(&client, of(4 << 20)).await.status().code(), Code::Ok);
    let refused = call(&client, of((4 << 20) + 1)).await.status();
    assert_eq!(refused.code(), Code::OutOfRange);
    assert_eq!(refused.message(), "the request has more than 4194304 bytes");
    assert_eq!(world.times_asked(), 1);
}

/// A stranger's requests are not kept on the way, whatever the leader would say to them.
#[tokio::test(start_paused = true)]
async fn strangers_are_refused_here_before_they_have_said_anything() {
    let mut world = World::new();
    let client = world.client(Some(peer(None))).await;
    for leader in [Some(LEADER), None] {
        world.elect(leader);
        for path in [WRITE, SESSION, UPLOAD] {
            let refused = timeout(A_MOMENT, call(&client, request(path, "", endless()))).await;
            let refused = refused.expect("nobody waits for it").status();
            assert_eq!(refused.code(), Code::PermissionDenied, "{path}");
            assert_eq!(
                refused.message(),
                "Permission denied: unauthorized peer role: rpc error: code = PermissionDenied \
                 desc = no client certificates in request"
            );
        }
    }
    assert_eq!(world.times_asked(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_open_to_anybody_takes_little() {
    let mut world = World::new();
    let client = world.client(Some(peer(None))).await;
    let of = |bytes: usize| request(RENEW, "", Body::new(Full::new(framed(&vec![0; bytes]))));
    assert_eq!(call(&client, of(72 << 10)).await.status().code(), Code::Ok);
    let refused = call(&client, of((72 << 10) + 1)).await.status();
    assert_eq!(refused.code(), Code::OutOfRange);
    assert_eq!(world.times_asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_does_not_come_is_not_waited_for() {
    let mut world = World::new();
    let client = world.client(Some(manager())).await;
    let began = Instant::now();
    let refused = call(&client, request(WRITE, "", endless())).await.status();
    assert_eq!(refused.code(), Code::DeadlineExceeded);
    assert_eq!(refused.message(), "the request was not sent within 10 seconds");
    assert!(began.elapsed().as_secs() < 11);
    assert_eq!(world.times_asked(), 0);
}

/// With the windows that HTTP/2 begins with, four streams that nobody reads leave no room for
/// anything else on the way to the leader.
#[tokio::test(start_paused = true)]
async fn slow_readers_hold_up_nobody_else() {
    let mut world = World::new();
    let client = world.client(Some(manager())).await;
    let mut slow = Vec::new();
    for _ in 0..8 {
        slow.push(open(&client, message(SESSION, "flood")).await);
    }
    sleep(A_MOMENT).await;
    let other = (world.net.dial())("host1:1".to_owned()).await.expect("it listens").channel;
    let answer = timeout(A_MOMENT, call(&other, message(HEARTBEAT, ""))).await;
    assert_eq!(answer.expect("it is not held up").bytes, framed(b"message"));
    let mut response = open(&other, message(SESSION, "flood")).await;
    let mut bytes: Vec<Bytes> = Vec::new();
    while bytes.iter().map(Bytes::len).sum::<usize>() < 1 << 20 {
        let frame = timeout(A_MOMENT, response.frame()).await.expect("it is not held up");
        bytes.push(frame.expect("no end").expect("no fault").into_data().expect("data"));
    }
}
