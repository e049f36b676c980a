//! Entries of the log and objects of snapshots that nobody wrote, or that are damaged: every
//! member does the same with them, and none panics.

use proptest::{collection::vec, prelude::*};
use prost::Message;
use prost_types::{Any, Duration};
use protocol::{
    objects::Interner,
    wire::{self, StoreActionKind, store_action::Target},
};

use super::*;
use crate::damage::damage;

const META: Option<wire::Meta> = Some(wire::Meta {
    version: Some(wire::Version { index: 3 }),
    created_at: Some(NOW),
    updated_at: Some(NOW),
});

fn task_spec() -> wire::TaskSpec {
    let container = wire::ContainerSpec {
        image: "host".into(),
        stop_grace_period: Some(Duration { seconds: 1, nanos: 5 }),
        ..Default::default()
    };
    let runtime = Some(wire::task_spec::Runtime::Container(container));
    wire::TaskSpec { runtime, ..Default::default() }
}

fn a_service(id: String) -> wire::Service {
    let replicas = wire::ReplicatedService { replicas: 2 };
    let spec = wire::ServiceSpec {
        annotations: Some(named("a name")),
        task: Some(task_spec()),
        mode: Some(wire::service_spec::Mode::Replicated(replicas)),
        ..Default::default()
    };
    wire::Service { id, meta: META, spec: Some(spec), ..Default::default() }
}

fn a_task(id: String) -> wire::Task {
    wire::Task {
        id,
        meta: META,
        spec: Some(task_spec()),
        service_id: "s".into(),
        slot: 1,
        node_id: "n".into(),
        service_annotations: Some(named("a name")),
        status: Some(wire::TaskStatus { timestamp: Some(NOW), ..Default::default() }),
        ..Default::default()
    }
}

fn a_resource(id: String) -> wire::Resource {
    let payload = Some(Any { type_url: "kind".into(), value: b"payload".to_vec() });
    let annotations = Some(named("a name"));
    wire::Resource { id, meta: META, annotations, kind: "a name".into(), payload }
}

/// Objects of every kind, with something in most fields that an index is kept of.
fn targets() -> Vec<Target> {
    let annotations = || Some(named("a name"));
    let id = || "id".to_owned();
    let node = wire::NodeSpec { annotations: annotations(), ..Default::default() };
    let secret = wire::SecretSpec { annotations: annotations(), ..Default::default() };
    vec![
        Target::Node(wire::Node { id: id(), meta: META, spec: Some(node), ..Default::default() }),
        Target::Service(a_service(id())),
        Target::Task(a_task(id())),
        Target::Network(wire::Network { id: id(), meta: META, ..Default::default() }),
        Target::Cluster(wire::Cluster { id: id(), meta: META, ..Default::default() }),
        Target::Secret(wire::Secret {
            id: id(),
            meta: META,
            spec: Some(secret),
            ..Default::default()
        }),
        Target::Extension(wire::Extension {
            id: id(),
            meta: META,
            annotations: annotations(),
            ..Default::default()
        }),
        Target::Resource(a_resource(id())),
        Target::Config(wire::Config { id: id(), meta: META, ..Default::default() }),
        Target::Volume(wire::Volume { id: id(), meta: META, ..Default::default() }),
    ]
}

/// An entry that does these things, by the number of the object, to the objects above.
fn entry(steps: &[(usize, i32)]) -> Vec<u8> {
    let action = |&(number, action): &(usize, i32)| wire::StoreAction {
        action,
        target: targets().into_iter().nth(number),
    };
    let request = wire::InternalRaftRequest { id: 7, action: steps.iter().map(action).collect() };
    request.encode_to_vec()
}

/// Applies what an entry holds, as a follower does.
fn follow(view: &View, bytes: &[u8]) -> View {
    let Ok(request) = wire::InternalRaftRequest::decode(bytes) else { return view.clone() };
    let mut interner = Interner::default();
    let (view, ..) = apply(view, view.index() + 1, request.action, &mut interner);
    view
}

proptest! {
    #[test]
    fn no_entry_makes_a_follower_panic(
        steps in vec((0..10_usize, 0..5_i32), 1..6),
        damage in damage(),
        bytes in vec(any::<u8>(), 0..64),
    ) {
        let whole = follow(&View::default(), &entry(&steps));
        let damaged = follow(&whole, &damage.done_to(entry(&steps)));
        for view in [whole, follow(&damaged, &bytes), damaged] {
            view.verify_indices();
        }
    }

    #[test]
    fn no_damaged_object_makes_a_restore_panic(
        number in 0..10_usize, damage in damage(), more in vec(any::<u8>(), 0..16),
    ) {
        let target = targets().into_iter().nth(number);
        let create = StoreActionKind::StoreActionCreate.into();
        let action = wire::StoreAction { action: create, target }.encode_to_vec();
        let mut restore = Restore::default();
        prop_assert_eq!(restore.add(&action), Ok(()));
        let _ = restore.add(&damage.done_to(action));
        let view = restore.finish(1);
        view.verify_indices();

        let fields: Vec<u8> = view.encode_fields().flatten().collect();
        let damaged = [damage.done_to(fields), more].concat();
        let (mut restore, mut rest) = (Restore::default(), &*damaged);
        while !rest.is_empty() {
            let before = rest.len();
            if restore.add_field(&mut rest).is_err() {
                break;
            }
            prop_assert!(rest.len() < before, "it gets on");
        }
        restore.finish(1).verify_indices();
    }
}
