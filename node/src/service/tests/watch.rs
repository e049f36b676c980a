//! A watch over the socket: it says that it is ready, streams, and ends with the daemon.

use std::time::Duration;

use actors::store::View;
use protocol::{
    objects,
    wire::{
        CreateServiceRequest, Service, Version, WatchRequest, watch_client::WatchClient,
        watch_request::WatchEntry,
    },
};
use tokio::time::{Instant, timeout};
use tonic::Code;

use super::{World, calls::spec, check, run};

fn request(kind: &str, resume_from: Option<u64>) -> WatchRequest {
    let entry = WatchEntry { kind: kind.to_owned(), action: 7, ..WatchEntry::default() };
    let resume_from = resume_from.map(|index| Version { index });
    WatchRequest { entries: vec![entry], resume_from, ..WatchRequest::default() }
}

async fn create(world: &World, name: &str) {
    let request = CreateServiceRequest { spec: Some(spec(name)) };
    world.control().create_service(request).await.expect("it is new");
}

#[test]
fn a_watch_says_that_it_is_ready_and_then_what_changes() {
    run(&View::default(), async |world| {
        let mut client = WatchClient::new(world.channel.clone());
        let mut stream =
            client.watch(request("service", None)).await.expect("it begins").into_inner();
        let ready = stream.message().await.expect("no error").expect("a message");
        assert_eq!((ready.events.len(), ready.version), (0, None));
        create(world, "web").await;
        let message = stream.message().await.expect("no error").expect("a message");
        assert_eq!((message.events.len(), message.version), (1, Some(Version { index: 1 })));
        let mut again =
            client.watch(request("service", Some(0))).await.expect("it begins").into_inner();
        again.message().await.expect("no error").expect("it is ready");
        assert_eq!(again.message().await.expect("no error"), Some(message), "the same, resumed");
    });
}

#[test]
fn a_manager_that_does_not_lead_streams_what_it_has() {
    run(&View::default(), async |world| {
        create(world, "web").await;
        world.leads.set(false);
        let mut client = WatchClient::new(world.channel.clone());
        let mut stream =
            client.watch(request("service", Some(0))).await.expect("it begins").into_inner();
        stream.message().await.expect("no error").expect("it is ready");
        let message = stream.message().await.expect("no error").expect("a message");
        assert_eq!(message.events.len(), 1);
    });
}

#[test]
fn requests_that_are_refused() {
    run(&View::default(), async |world| {
        let mut client = WatchClient::new(world.channel.clone());
        let refused = client.watch(request("", None)).await;
        check(refused, Code::InvalidArgument, "no kind of object specified");
        let refused = client.watch(request("service", Some(1_000))).await;
        check(refused, Code::Unknown, "versions are out of order");
    });
}

#[test]
fn a_client_that_falls_behind_is_told_where_to_resume() {
    run(&View::default(), async |world| {
        let mut client = WatchClient::new(world.channel.clone());
        let mut stream =
            client.watch(request("service", None)).await.expect("it begins").into_inner();
        stream.message().await.expect("no error").expect("it is ready");
        // More than the connection takes in and the manager keeps, while the client reads nothing.
        for number in 0..100 {
            let mut large = spec(&format!("s{number}"));
            let labels = [("text".to_owned(), "x".repeat(200 << 10))].into();
            large.annotations.get_or_insert_default().labels = labels;
            let service =
                Service { id: format!("s{number}"), spec: Some(large), ..Service::default() };
            let service = objects::Service::from(service);
            world.store.transact(move |head| head.create(service)).await.expect("it is new");
        }
        let mut last = 0;
        let status = loop {
            match stream.message().await {
                Ok(message) => {
                    let version = message.expect("it does not end yet").version;
                    let version = version.expect("every change has one").index;
                    assert_eq!(version, last + 1, "until then nothing is left out");
                    last = version;
                }
                Err(status) => break status,
            }
        };
        assert!(last < 100, "not all of it was read in time");
        let text = format!("the watch fell behind: resume it from version {last}");
        assert_eq!((status.code(), status.message()), (Code::Aborted, &*text));
    });
}

#[test]
fn a_watch_ends_when_the_daemon_does() {
    run(&View::default(), async |world| {
        let mut client = WatchClient::new(world.channel.clone());
        let mut stream = client.watch(request("task", None)).await.expect("it begins").into_inner();
        stream.message().await.expect("no error").expect("it is ready");
        let began = Instant::now();
        let end = async {
            let status = stream.message().await.expect_err("it ends");
            assert_eq!(
                (status.code(), status.message()),
                (Code::Unavailable, "the manager is stopping")
            );
            drop(stream);
        };
        let (_, ended) = tokio::join!(world.stop(), timeout(Duration::from_secs(60), end));
        ended.expect("it ends at once");
        assert!(began.elapsed() < super::super::DRAIN_WITHIN, "the daemon did not wait for it");
    });
}
