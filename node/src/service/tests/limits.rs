//! Too much, and the end.

use std::{collections::BTreeMap, time::Duration};

use actors::store::{Transaction, View, testing};
use prost_types::Timestamp;
use protocol::{
    objects::Service,
    swarm::{ListActorsRequest, diagnostics_client::DiagnosticsClient},
    wire::{
        self, Annotations, CreateServiceRequest, ListServicesRequest, ServiceSpec,
        list_services_request,
    },
};
use tokio::time::{Instant, timeout};
use tonic::Code;

use super::{World, calls::spec, run, run_on};
use crate::service::{DRAIN_WITHIN, REQUEST_BYTES_MAX};

#[test]
fn a_hundred_megabytes_in_one_request_are_refused_and_the_rest_is_served() {
    run(&View::default(), async |world| {
        let mut control = world.control();
        let name = "x".repeat(100 << 20);
        let huge = ServiceSpec {
            annotations: Some(Annotations { name, ..Annotations::default() }),
            ..ServiceSpec::default()
        };
        let refused = control.create_service(CreateServiceRequest { spec: Some(huge) }).await;
        let status = refused.expect_err("it is too large");
        assert_eq!(status.code(), Code::OutOfRange);
        assert!(status.message().contains(&format!("the limit is: {REQUEST_BYTES_MAX}")));
        let create = CreateServiceRequest { spec: Some(spec("web")) };
        control.create_service(create).await.expect("created");
        assert_eq!(world.store.view().services().count(), 1);
    });
}

/// So many services, of a megabyte each.
fn large(count: usize) -> View {
    let mut transaction = Transaction::begin(&View::default());
    for number in 0..count {
        let mut spec = spec(&format!("web{number}"));
        let labels = BTreeMap::from([("large".to_owned(), "x".repeat(1 << 20))]);
        spec.annotations.as_mut().expect("named").labels = labels;
        let service =
            wire::Service { id: format!("s{number}"), spec: Some(spec), ..Default::default() };
        transaction.create(Service::from(service)).expect("it is new");
    }
    transaction.seal(1, Timestamp::default()).view
}

#[test]
fn lists_may_be_larger_than_requests() {
    run(&large(5), async |world| {
        let mut control = world.control().max_decoding_message_size(usize::MAX);
        let listed = control.list_services(ListServicesRequest::default()).await.expect("listed");
        assert_eq!(listed.into_inner().services.len(), 5);
    });
}

#[test]
fn a_list_that_is_too_large_says_how_to_ask_for_less() {
    run(&large(64), async |world| {
        let mut control = world.control().max_decoding_message_size(usize::MAX);
        let listed = control.list_services(ListServicesRequest::default()).await;
        let status = listed.expect_err("it is too large");
        assert_eq!(status.code(), Code::ResourceExhausted);
        let text = "64 services are too much for one answer: filter them by name, id, runtime or \
                    label";
        assert_eq!(status.message(), text);
        let filters = list_services_request::Filters {
            id_prefixes: vec!["s1".to_owned()],
            ..Default::default()
        };
        let request = ListServicesRequest { filters: Some(filters) };
        let listed = control.list_services(request).await.expect("listed").into_inner();
        assert_eq!(listed.services.len(), 11);
    });
}

/// Waits until a write has come as far as raft.
async fn proposed(world: &World) {
    let mut client = DiagnosticsClient::new(world.channel.clone());
    loop {
        let answer = client.list_actors(ListActorsRequest {}).await.expect("answered");
        let actors = answer.into_inner().actors;
        if actors.iter().any(|actor| actor.path == "manager/raft" && actor.messages_handled > 0) {
            return;
        }
    }
}

#[test]
fn a_call_that_has_begun_ends_before_the_server_does() {
    let slow = |tree: &_| testing::start_slow(tree, View::default(), Duration::from_millis(100));
    run_on(slow, async |world| {
        let mut control = world.control();
        let call = control.create_service(CreateServiceRequest { spec: Some(spec("web")) });
        let stop = async {
            proposed(world).await;
            world.stop().await;
        };
        let (created, ()) = tokio::join!(call, stop);
        created.expect("it had begun");
        assert_eq!(world.store.view().services().count(), 1);
        assert!(!world.folder.path().join("s").exists(), "the socket goes with the server");
    });
}

#[test]
fn a_call_that_does_not_end_does_not_hold_the_server_and_does_not_outlive_it() {
    let slow = |tree: &_| testing::start_slow(tree, View::default(), DRAIN_WITHIN * 100);
    run_on(slow, async |world| {
        let mut control = world.control();
        let call = control.create_service(CreateServiceRequest { spec: Some(spec("web")) });
        let stop = async {
            proposed(world).await;
            tokio::time::pause();
            let asked = Instant::now();
            world.stop().await;
            asked.elapsed()
        };
        tokio::pin!(call);
        tokio::select! {
            biased;
            took = stop => assert!(took >= DRAIN_WITHIN && took < DRAIN_WITHIN * 2, "{took:?}"),
            _ = &mut call => panic!("nothing was committed"),
        }
        let cut = timeout(DRAIN_WITHIN, call).await.expect("its connection is cut");
        assert!(cut.is_err());
    });
}

#[test]
fn a_stopped_server_answers_nothing() {
    run(&View::default(), async |world| {
        world.stop().await;
        let outcome = world.control().list_services(ListServicesRequest::default()).await;
        assert!(outcome.is_err());
    });
}
