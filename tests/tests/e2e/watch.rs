//! A program that follows the store of a real daemon, which is killed meanwhile.

use std::time::Duration;

use protocol::wire::{
    Version, WatchMessage, WatchRequest, object::Object, watch_client::WatchClient,
    watch_request::WatchEntry,
};
use tokio::time::timeout;
use tonic::Streaming;

use crate::daemon::{Daemon, connect};

const CREATE: i32 = 1;

async fn watch(daemon: &Daemon, resume_from: Option<u64>) -> Streaming<WatchMessage> {
    let channel = connect(daemon.socket());
    let entry = WatchEntry { kind: "service".to_owned(), action: CREATE, ..WatchEntry::default() };
    let resume_from = resume_from.map(|index| Version { index });
    let request = WatchRequest { entries: vec![entry], resume_from, ..WatchRequest::default() };
    let mut stream =
        WatchClient::new(channel).watch(request).await.expect("it begins").into_inner();
    let ready = next(&mut stream).await;
    assert_eq!(ready, WatchMessage::default(), "first it says that it is ready");
    stream
}

async fn next(stream: &mut Streaming<WatchMessage>) -> WatchMessage {
    let message = timeout(Duration::from_secs(60), stream.message()).await;
    message.expect("it comes soon").expect("no error").expect("it does not end")
}

/// The names of the services that a message shows, and its version.
fn shown(message: &WatchMessage) -> (Vec<String>, u64) {
    let names = message.events.iter().map(|event| {
        let object = event.object.as_ref().and_then(|object| object.object.as_ref());
        let Some(Object::Service(service)) = object else { panic!("no service: {event:?}") };
        let spec = service.spec.clone().unwrap_or_default();
        spec.annotations.unwrap_or_default().name
    });
    (names.collect(), message.version.expect("every change has one").index)
}

#[tokio::test]
async fn a_watch_goes_on_where_it_was_after_the_daemon_was_killed() {
    let mut daemon = Daemon::start();
    let mut stream = watch(&daemon, None).await;
    daemon.swarmctl("service create --name one --image host --replicas 0");
    let (names, one) = shown(&next(&mut stream).await);
    assert_eq!(names, ["one"]);
    daemon.swarmctl("service create --name two --image host --replicas 0");
    daemon.kill();
    while let Ok(Some(_)) = stream.message().await {}
    daemon.launch();
    daemon.swarmctl("service create --name three --image host --replicas 0");
    let mut stream = watch(&daemon, Some(one)).await;
    let (names, two) = shown(&next(&mut stream).await);
    assert_eq!(names, ["two"], "missed, and in the log");
    let (names, three) = shown(&next(&mut stream).await);
    assert_eq!(names, ["three"]);
    assert!(one < two && two < three, "versions rise: {one} {two} {three}");
}
