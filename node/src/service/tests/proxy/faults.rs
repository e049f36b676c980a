//! Leaders that are lost, change, or were none.

use std::{sync::atomic::Ordering, time::Duration};

use http_body_util::BodyExt;
use protocol::wire::NodeRole;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, sleep, timeout},
};
use tonic::{Code, Status};

use super::{
    A_MOMENT, HEARTBEAT, LEADER, Leader, MUTE, OWN, PATIENCE, READ, SESSION, THIRD, UPLOAD, WRITE,
    World, access, endless, listen, manager, message,
    net::{call, framed, open},
    request,
};
use crate::identity::Credentials;

const UNKNOWN: &str = "the leader changed while this was being written: it may have been written \
                       or not; look before you try again";

const LOST: &str = "the leader was lost or has changed; try again";

const LONG: Duration = Duration::from_secs(5 * 60);

#[track_caller]
fn check(status: &Status, code: Code, text: &str) {
    assert_eq!((status.code(), status.message()), (code, text));
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_dies_ends_its_streams_with_a_status() {
    let mut world = World::new();
    let client = world.client(Some(manager())).await;
    let mut response = open(&client, message(SESSION, "half")).await;
    let first = response.frame().await.expect("not the end").expect("no fault");
    assert_eq!(first.into_data().expect("data"), framed(b"half"));
    world.serving.abort();
    let end = response.frame().await.expect("trailers").expect("no fault reaches a client");
    let trailers = end.into_trailers().expect("trailers");
    check(&Status::from_header_map(&trailers).expect("a status"), Code::Unavailable, LOST);
    assert!(response.frame().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn streams_end_when_another_leads_or_nobody_does() {
    for next in [None, Some(THIRD), Some(OWN)] {
        let mut world = World::new();
        let client = world.client(Some(manager())).await;
        let mut response = open(&client, message(SESSION, "half")).await;
        response.frame().await.expect("not the end").expect("no fault");
        world.elect(next);
        let end = timeout(A_MOMENT, response.frame()).await.expect("it ends by itself");
        let trailers = end.expect("trailers").expect("no fault").into_trailers().expect("they are");
        check(&Status::from_header_map(&trailers).expect("a status"), Code::Unavailable, LOST);
    }
}

fn pair() -> (Vec<CertificateDer<'static>>, PrivatePkcs8KeyDer<'static>) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(vec!["swarm-manager".to_owned()]);
    let certificate = params.expect("a name").self_signed(&key).expect("a certificate");
    (vec![certificate.der().clone()], key.into())
}

/// The leader would cut them all at once when the certificate of before ends.
#[tokio::test(start_paused = true)]
async fn streams_of_agents_are_brought_to_a_new_certificate_one_by_one() {
    let (chain, key) = pair();
    let credentials = Credentials::new(&chain, &key, &chain).expect("credentials");
    let mut world = World::new();
    world.net.tls = Some(credentials.client_config().expect("a configuration"));
    let client = world.client(Some(manager())).await;
    let mut streams = Vec::new();
    for _ in 0..4 {
        streams.push(open(&client, message(SESSION, "half")).await);
    }
    let mut upload = open(&client, request(UPLOAD, "half", endless())).await;
    for stream in streams.iter_mut().chain([&mut upload]) {
        stream.frame().await.expect("not the end").expect("no fault");
        assert!(timeout(LONG, stream.frame()).await.is_err(), "the certificate is the same");
    }
    let (chain, key) = pair();
    credentials.replace(&chain, &key).expect("a certificate for the key");
    let began = Instant::now();
    let ended = futures_util::future::join_all(streams.iter_mut().map(async |stream| {
        let end = timeout(LONG, stream.frame()).await.expect("it ends by itself");
        let trailers = end.expect("trailers").expect("no fault").into_trailers().expect("they are");
        let status = Status::from_header_map(&trailers).expect("a status");
        check(&status, Code::Unavailable, "the manager has another certificate now: begin again");
        began.elapsed()
    }));
    let ended = ended.await;
    assert!(ended.iter().any(|at| at.abs_diff(ended[0]) > A_MOMENT), "all at once: {ended:?}");
    assert!(ended.iter().all(|at| *at < LONG), "{ended:?}");
    assert!(timeout(LONG, upload.frame()).await.is_err(), "nobody would begin that again");
}

#[tokio::test(start_paused = true)]
async fn streams_end_with_the_manager_that_passes_them_on_and_calls_do_not() {
    let mut world = World::new();
    let client = world.client(Some(manager())).await;
    let mut response = open(&client, message(SESSION, "half")).await;
    response.frame().await.expect("not the end").expect("no fault");
    let mut calls = open(&client, message(READ, "half")).await;
    calls.frame().await.expect("not the end").expect("no fault");
    drop(world.stop.take());
    let end = timeout(A_MOMENT, response.frame()).await.expect("it ends by itself");
    let trailers = end.expect("trailers").expect("no fault").into_trailers().expect("they are");
    let status = Status::from_header_map(&trailers).expect("a status");
    check(&status, Code::Unavailable, "the manager is stopping");
    assert!(timeout(A_MOMENT, calls.frame()).await.is_err(), "what has begun may end");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_nobody_has_answered_ends_when_another_leads() {
    let mut world = World::new();
    let client = world.client(Some(manager())).await;
    let request = request(UPLOAD, "hang", endless());
    let (ended, ()) = tokio::join!(call(&client, request), async {
        world.heard.asked.recv().await.expect("it is asked");
        world.elect(Some(THIRD));
    });
    check(&ended.status(), Code::Unavailable, LOST);
}

#[tokio::test(start_paused = true)]
async fn calls_go_to_the_new_leader() {
    let mut world = World::new();
    let (third, mut heard) = Leader::new("third");
    listen(&mut world.net, "host3:1", &third);
    let client = world.client(Some(manager())).await;
    assert_eq!(call(&client, message(WRITE, "")).await.by, "leader");
    world.elect(Some(THIRD));
    assert_eq!(call(&client, message(WRITE, "")).await.by, "third");
    world.elect(Some(LEADER));
    assert_eq!(call(&client, message(WRITE, "")).await.by, "leader");
    assert_eq!(world.times_asked(), 2);
    assert!(heard.asked.recv().await.is_some() && heard.asked.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_was_started_again_is_found_again() {
    let mut world = World::new();
    let client = world.client(Some(manager())).await;
    assert_eq!(call(&client, message(WRITE, "")).await.by, "leader");
    world.serving.abort();
    let again = async {
        sleep(A_MOMENT).await;
        listen(&mut world.net, "host2:1", &world.leader)
    };
    let (answer, _) = tokio::join!(call(&client, message(WRITE, "")), again);
    assert_eq!(answer.by, "leader");
}

#[tokio::test(start_paused = true)]
async fn what_a_leader_never_got_is_sent_again() {
    for what in ["refuse", "decline", "decline twice"] {
        let mut world = World::new();
        let client = world.client(Some(manager())).await;
        world.leader.refusals.store(3, Ordering::Relaxed);
        let answer = call(&client, message(WRITE, what)).await;
        assert_eq!(answer.bytes, framed(b"message"), "{what}");
        assert_eq!(world.times_asked(), 4, "{what}");
    }
}

/// Its clients take that for what this version does not offer.
#[tokio::test(start_paused = true)]
async fn what_a_leader_does_not_know_is_answered_as_it_is() {
    let mut world = World::new();
    let client = world.client(Some(manager())).await;
    let status = call(&client, message(WRITE, "unknown")).await.status();
    check(&status, Code::Unimplemented, "");
    assert_eq!(world.times_asked(), 1);
}

/// It has been demoted, or removed, and does not know it yet: its callers have done nothing wrong.
#[tokio::test(start_paused = true)]
async fn a_leader_that_refuses_the_manager_that_asks_it_does_not_refuse_its_callers() {
    for (peer, what, code) in [
        (None, "refuse the peer", Code::Unavailable),
        (Some(manager()), "refuse the forwarder", Code::Unavailable),
        (Some(manager()), "refuse the ended", Code::Unavailable),
        (Some(manager()), "refuse the caller", Code::PermissionDenied),
    ] {
        let mut world = World::new();
        let client = world.client(peer).await;
        let status = call(&client, message(WRITE, what)).await.status();
        assert_eq!(status.code(), code, "{what}: {status}");
        assert!(status.message().contains("node m"), "{status}");
        assert_eq!(world.times_asked(), 1, "{what}");
    }
}

/// It closes the connection, and says that it has looked at no call.
#[tokio::test(start_paused = true)]
async fn what_a_leader_that_goes_has_not_looked_at_is_sent_to_the_next() {
    const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    const GO_AWAY: &[u8] = &[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut world = World::new();
    let mut going = world.net.open("host3:1");
    world.net.spawn(async move {
        while let Some(mut stream) = going.recv().await {
            stream.write_all(SETTINGS).await.expect("it is read");
            let mut read = Vec::new();
            // The message itself goes last.
            while !read.ends_with(b"message") {
                stream.read_buf(&mut read).await.expect("it is written");
            }
            stream.write_all(GO_AWAY).await.expect("it is read");
        }
    });
    let client = world.client(Some(manager())).await;
    world.elect(Some(THIRD));
    let (answer, ()) = tokio::join!(call(&client, message(WRITE, "")), async {
        sleep(A_MOMENT).await;
        world.elect(Some(LEADER));
    });
    assert_eq!((&*answer.by, answer.status().code()), ("leader", Code::Ok));
}

#[tokio::test(start_paused = true)]
async fn a_manager_that_comes_to_lead_answers_itself() {
    let mut world = World::new();
    let client = world.client(Some(manager())).await;
    world.serving.abort();
    let (answer, ()) = tokio::join!(call(&client, message(WRITE, "")), async {
        sleep(A_MOMENT).await;
        world.elect(Some(OWN));
    });
    assert_eq!((&*answer.by, answer.bytes), ("here", framed(b"message")));
}

#[tokio::test(start_paused = true)]
async fn a_manager_that_leads_no_more_passes_on_what_it_was_asked_itself() {
    let mut world = World::new();
    let client = world.client(None).await;
    world.elect(Some(OWN));
    world.own_refusals.store(3, Ordering::Relaxed);
    assert_eq!(call(&client, message(WRITE, "")).await.by, "here", "it leads again");
    world.own_refusals.store(usize::MAX, Ordering::Relaxed);
    let (answer, ()) = tokio::join!(call(&client, message(WRITE, "")), async {
        sleep(A_MOMENT).await;
        world.elect(Some(LEADER));
    });
    assert_eq!((&*answer.by, answer.bytes), ("leader", framed(b"message")));
    world.elect(Some(OWN));
    let began = Instant::now();
    let refused = call(&client, message(WRITE, "")).await;
    check(&refused.status(), Code::Unavailable, "raft: no elected cluster leader");
    assert!(began.elapsed() >= PATIENCE, "an election may end that");
}

/// What is kept takes room: nobody gets any whose call will be refused.
#[tokio::test(start_paused = true)]
async fn a_leader_reads_nothing_of_what_it_will_refuse() {
    let mut world = World::new();
    world.elect(Some(OWN));
    let worker = access::peer(Some(("w", NodeRole::Worker, access::VALID)));
    let client = world.client(Some(worker)).await;
    let refused = timeout(A_MOMENT, call(&client, request(WRITE, "", endless()))).await;
    assert_eq!(refused.expect("at once").status().code(), Code::PermissionDenied);
}

/// Agents look for another manager by themselves, and who passes a call on tries again.
#[tokio::test(start_paused = true)]
async fn what_others_will_ask_again_is_not_kept() {
    let mut world = World::new();
    world.elect(Some(OWN));
    world.own_refusals.store(usize::MAX, Ordering::Relaxed);
    let client = world.client(Some(manager())).await;
    let mut passed_on = message(WRITE, "");
    passed_on.headers_mut().insert("redirect", "10.0.0.7:1".parse().expect("a value"));
    for request in [message(HEARTBEAT, ""), passed_on] {
        let (path, began) = (request.uri().path().to_owned(), Instant::now());
        let refused = call(&client, request).await;
        check(&refused.status(), Code::Unavailable, "raft: no elected cluster leader");
        assert!(began.elapsed() < A_MOMENT, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_leader_may_have_got_is_never_sent_again() {
    for (path, code, text) in [(WRITE, Code::Unknown, UNKNOWN), (READ, Code::Unavailable, LOST)] {
        for what in ["fail", "hang", "half"] {
            let mut world = World::new();
            let client = world.client(Some(manager())).await;
            let (answer, ()) = tokio::join!(call(&client, message(path, what)), async {
                sleep(A_MOMENT).await;
                world.serving.abort();
            });
            check(&answer.status(), code, text);
            assert_eq!(world.times_asked(), 1, "{path} {what}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_has_lost_may_still_say_what_has_become_of_a_call() {
    let mut world = World::new();
    let client = world.client(Some(manager())).await;
    let began = Instant::now();
    let (answer, ()) = tokio::join!(call(&client, message(WRITE, "hang")), async {
        sleep(A_MOMENT).await;
        world.elect(Some(THIRD));
    });
    check(&answer.status(), Code::Unknown, UNKNOWN);
    assert!(began.elapsed() >= PATIENCE, "it is given time");
}

/// A member without a vote does not notice it.
#[tokio::test(start_paused = true)]
async fn an_answer_is_not_waited_for_for_ever() {
    let mut world = World::new();
    let client = world.client(Some(manager())).await;
    let began = Instant::now();
    let answer = call(&client, message(WRITE, "hang")).await;
    check(&answer.status(), Code::Unknown, UNKNOWN);
    assert_eq!(began.elapsed().as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_cannot_be_reached_has_done_nothing() {
    let mut world = World::new();
    let client = world.client(Some(manager())).await;
    world.serving.abort();
    let began = Instant::now();
    let refused = call(&client, message(WRITE, "")).await.status();
    let text = "the leader cannot be reached (nothing listens on host2:1): nothing was done; try \
                again";
    check(&refused, Code::Unavailable, text);
    assert!(began.elapsed() >= PATIENCE && began.elapsed().as_secs() < 4);
    // Somebody who never answers holds nobody up for longer.
    world.elect(Some(MUTE));
    let began = Instant::now();
    let refused = call(&client, message(WRITE, "")).await.status();
    let text =
        "the leader cannot be reached (silent:1 does not answer): nothing was done; try again";
    check(&refused, Code::Unavailable, text);
    assert!(began.elapsed().as_secs() < 4);
}

#[tokio::test(start_paused = true)]
async fn whoever_says_too_often_that_it_does_not_lead_is_believed() {
    const NO_LEADER: &str = "The swarm does not have a leader. It's possible that too few managers \
                             are online. Make sure more than half of the managers are online.";
    for (what, text) in [
        ("decline", "raft: failed to process the request: node lost leader status"),
        ("decline twice", NO_LEADER),
    ] {
        let mut world = World::new();
        let client = world.client(Some(manager())).await;
        world.leader.refusals.store(usize::MAX, Ordering::Relaxed);
        let refused = call(&client, message(WRITE, what)).await.status();
        check(&refused, Code::Unavailable, text);
    }
}
