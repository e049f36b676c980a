//! Both conversions of every kind, as properties over arbitrary messages.

use std::sync::Arc;

use proptest::prelude::*;
use prost::Message;

use super::{strategies::*, *};
use crate::id::TaskId;

/// From the wire and back is the identity, once the fields that are always written are there.
macro_rules! round_trips {
    ($($test:ident: $kind:ident by $strategy:expr;)*) => {
        proptest! {$(
            #[test]
            fn $test(message in $strategy) {
                let object = $kind::from(message.clone());
                let back = wire::$kind::from(&object);
                prop_assert_eq!(&back, &normal(message));
                prop_assert_eq!($kind::from(back), object);
            }
        )*}
    };
}

round_trips! {
    tasks: Task by task();
    services: Service by service();
    nodes: Node by node();
    clusters: Cluster by cluster();
    networks: Network by network();
    secrets: Secret by secret();
    configs: Config by config();
    resources: Resource by resource();
    extensions: Extension by extension();
    volumes: Volume by volume();
}

proptest! {
    #[test]
    fn any_object_survives_the_log(message in task()) {
        let object = Object::from(Task::from(message));
        let action = object.to_action(wire::StoreActionKind::StoreActionCreate);
        let mut bytes = Vec::new();
        object.encode_action(wire::StoreActionKind::StoreActionCreate, &mut bytes);
        prop_assert_eq!(bytes, action.encode_to_vec(), "the way without a copy comes to the same");
        prop_assert_eq!(Object::from_target(action.target.unwrap()), object);
    }
}

#[test]
fn states_are_ordered_by_their_number_and_keep_unknown_ones() {
    assert!(TaskState::NEW < TaskState::PENDING && TaskState::RUNNING < TaskState::COMPLETE);
    assert_eq!(TaskState::RUNNING.to_string(), "RUNNING");
    let unknown = TaskState::from(513);
    assert!(TaskState::RUNNING < unknown && unknown < TaskState::COMPLETE);
    assert_eq!((unknown.number(), unknown.to_string()), (513, "513".to_owned()));
}

#[test]
fn tasks_of_one_version_share_their_bodies() {
    let mut interner = Interner::default();
    let task = |id: &str, force_update| {
        let spec = wire::TaskSpec { force_update, ..Default::default() };
        let spec_version = Some(wire::Version { index: 7 });
        let service_id = "service".to_owned();
        wire::Task {
            id: id.into(),
            service_id,
            spec: Some(spec),
            spec_version,
            ..Default::default()
        }
    };
    let first = interner.share(task("a", 1).into());
    let second = interner.share(task("b", 1).into());
    let other = interner.share(task("c", 2).into());
    assert!(Arc::ptr_eq(&first.spec, &second.spec));
    assert!(!Arc::ptr_eq(&first.spec, &other.spec), "what differs is not shared");
    assert_eq!(second.id, TaskId::from("b"));
    interner.forget(&second.service_id);
    let after = interner.share(task("d", 1).into());
    assert!(!Arc::ptr_eq(&first.spec, &after.spec), "of a service that is gone nothing is kept");
}

#[test]
fn bodies_of_few_versions_are_kept() {
    let mut interner = Interner::default();
    let mut share = |index| {
        let spec_version = Some(wire::Version { index });
        let spec = Some(wire::TaskSpec::default());
        interner.share(wire::Task { spec, spec_version, ..Default::default() }.into()).spec
    };
    let old = share(1);
    assert!(Arc::ptr_eq(&old, &share(1)));
    (2..1_000).for_each(|version| drop(share(version)));
    assert!(!Arc::ptr_eq(&old, &share(1)));
}

#[test]
fn a_task_takes_little_room() {
    // With the two counters of its `Arc` and the allocator's own word that is 400 bytes.
    assert!(size_of::<Task>() <= 376, "{}", size_of::<Task>());
}
