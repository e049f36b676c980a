//! The rules of store-and-raft §1 to §4, and the equality of writing and applying.

mod decoders;
mod memory;
mod rows;

use std::sync::Arc;

use proptest::{collection::vec, prelude::*};
use prost::Message;
use prost_types::Timestamp;
use protocol::{
    id::{Id, NodeId, ServiceId, TaskId},
    objects::{Extension, Interner, Kind, Node, Object, Resource, Secret, Service, Task},
    wire,
};

use super::*;

const NOW: Timestamp = Timestamp { seconds: 1_000, nanos: 0 };

fn named(name: &str) -> wire::Annotations {
    wire::Annotations { name: name.to_owned(), ..Default::default() }
}

fn service(id: &str, name: &str) -> Service {
    let spec = wire::ServiceSpec { annotations: Some(named(name)), ..Default::default() };
    wire::Service { id: id.to_owned(), spec: Some(spec), ..Default::default() }.into()
}

fn secret(id: &str, name: &str) -> Secret {
    let spec = wire::SecretSpec { annotations: Some(named(name)), ..Default::default() };
    wire::Secret { id: id.to_owned(), spec: Some(spec), ..Default::default() }.into()
}

fn extension(id: &str, name: &str) -> Extension {
    let annotations = Some(named(name));
    wire::Extension { id: id.to_owned(), annotations, ..Default::default() }.into()
}

fn resource(id: &str, name: &str, kind: &str) -> Resource {
    let (annotations, kind) = (Some(named(name)), kind.to_owned());
    wire::Resource { id: id.to_owned(), annotations, kind, ..Default::default() }.into()
}

fn task(id: &str, service: &str, slot: u64, node: &str) -> Task {
    Task {
        id: id.into(),
        service_id: service.into(),
        slot,
        node_id: node.into(),
        ..Task::default()
    }
}

/// Runs one transaction on a view and gives it the next place in the log.
fn write<E>(
    view: &View,
    transact: impl FnOnce(&mut Transaction) -> Result<(), E>,
) -> Result<View, E> {
    let mut transaction = Transaction::begin(view);
    transact(&mut transaction)?;
    Ok(transaction.seal(view.index() + 1, NOW).view)
}

fn with(objects: Vec<Object>) -> View {
    let create = |transaction: &mut Transaction| {
        objects.into_iter().try_for_each(|object| transaction.create(object))
    };
    write(&View::default(), create).unwrap()
}

#[track_caller]
fn refused(
    view: &View,
    error: Error,
    transact: impl FnOnce(&mut Transaction) -> Result<(), Error>,
) {
    assert_eq!(write(view, transact).unwrap_err(), error);
}

#[test]
fn an_id_belongs_to_one_object_of_its_kind() {
    let view = with(vec![service("a", "web").into()]);
    refused(&view, Error::Exists, |tx| tx.create(service("a", "other")));
    refused(&view, Error::NotExist, |tx| tx.update(service("b", "web")));
    refused(&view, Error::NotExist, |tx| tx.remove(Kind::Service, &Id::from("b")));
    assert!(write(&view, |tx| tx.create(secret("a", "web"))).is_ok(), "kinds do not share ids");
}

#[test]
fn names_are_unique_in_any_case_and_free_after_removal() {
    let view = with(vec![service("a", "Web").into()]);
    refused(&view, Error::NameConflict, |tx| tx.create(service("b", "wEB")));
    assert_eq!(view.service_named("WEB").unwrap().id, ServiceId::from("a"));
    let view = write(&view, |tx| tx.remove(Kind::Service, &Id::from("a"))).unwrap();
    let view = write(&view, |tx| tx.create(service("b", "web"))).unwrap();
    assert_eq!(view.service_named("web").unwrap().id, ServiceId::from("b"));
}

#[test]
fn a_rename_frees_the_old_name() {
    let view = with(vec![secret("a", "old").into(), secret("b", "other").into()]);
    let mut renamed = secret("a", "new");
    renamed.meta.version = 1;
    let view = write(&view, |tx| tx.update(renamed)).unwrap();
    assert_eq!(view.named(Kind::Secret, "old"), None);
    assert_eq!(view.named(Kind::Secret, "new"), Some(&Id::from("a")));
    let mut conflicting = secret("a", "OTHER");
    conflicting.meta.version = 2;
    refused(&view, Error::NameConflict, |tx| tx.update(conflicting));
}

#[test]
fn nodes_and_tasks_may_share_names() {
    let node = |id: &str| {
        let spec = wire::NodeSpec { annotations: Some(named("same")), ..Default::default() };
        Node::from(wire::Node { id: id.to_owned(), spec: Some(spec), ..Default::default() })
    };
    let view = with(vec![node("a").into(), node("b").into()]);
    assert_eq!(view.nodes().count(), 2);
}

#[test]
fn resources_need_their_extension_and_keep_it() {
    let view = with(vec![extension("e", "Volcano").into()]);
    refused(&view, Error::KindUnregistered, |tx| tx.create(resource("r", "etna", "geyser")));
    let view = write(&view, |tx| tx.create(resource("r", "etna", "Volcano"))).unwrap();
    refused(&view, Error::KindInUse, |tx| tx.remove(Kind::Extension, &Id::from("e")));
    let mut changed = extension("e", "Volcano");
    changed.meta.version = 1;
    refused(&view, Error::Immutable, |tx| tx.update(changed));
    refused(&view, Error::NameConflict, |tx| tx.create(extension("f", "Service")));
    let view = write(&view, |tx| tx.remove(Kind::Resource, &Id::from("r"))).unwrap();
    assert!(write(&view, |tx| tx.remove(Kind::Extension, &Id::from("e"))).is_ok());
}

#[test]
fn versions_are_the_index_of_the_entry_and_are_checked() {
    let view = with(vec![service("a", "web").into()]);
    let stored = view.service(&"a".into()).unwrap();
    assert_eq!((stored.meta.version, stored.meta.created_at), (1, Some(NOW)));
    refused(&view, Error::OutOfSequence, |tx| tx.update(service("a", "web")));
    let view = write(&view, |tx| tx.update(stored.clone())).unwrap();
    assert_eq!(view.service(&"a".into()).unwrap().meta.version, 2, "an equal update is a write");
    refused(&view, Error::OutOfSequence, |tx| tx.update(stored.clone()));
}

#[test]
fn a_transaction_sees_its_own_writes_and_others_do_not() {
    let before = View::default();
    let mut transaction = Transaction::begin(&before);
    transaction.create(service("a", "web")).unwrap();
    let read = transaction.service(&"a".into()).unwrap().clone();
    transaction.update(read).unwrap();
    transaction.create(service("b", "db")).unwrap();
    transaction.remove(Kind::Service, &Id::from("b")).unwrap();
    let sealed = transaction.seal(5, NOW);
    assert_eq!(before.services().count(), 0);
    assert_eq!(sealed.view.services().map(|service| service.meta.version).collect::<Vec<_>>(), [5]);
    assert_eq!(sealed.changes.services.len(), 1, "made and removed again leaves no trace");
    assert_eq!(sealed.actions().len(), 4);
}

#[test]
fn tasks_are_found_by_service_slot_and_node() {
    let view = with(vec![
        task("c", "s", 2, "n").into(),
        task("a", "s", 10, "m").into(),
        task("b", "s", 2, "").into(),
        task("d", "t", 1, "n").into(),
    ]);
    let ids = |tasks: &mut dyn Iterator<Item = &Arc<Task>>| {
        tasks.map(|task| task.id.to_string()).collect::<String>()
    };
    assert_eq!(ids(&mut view.tasks_of_service(&"s".into())), "bca");
    assert_eq!(ids(&mut view.tasks_in_slot(&"s".into(), 2)), "bc");
    assert_eq!(ids(&mut view.tasks_on_node(&NodeId::from("n"))), "cd");
    assert_eq!(ids(&mut view.tasks_on_node(&NodeId::default())), "");
}

#[test]
fn what_cannot_be_applied_is_skipped_and_said() {
    let create = |object: Object| object.to_action(wire::StoreActionKind::StoreActionCreate);
    let first = create(service("a", "web").into());
    let actions = vec![
        first.clone(),
        first,
        wire::StoreAction { action: 7, ..create(service("b", "db").into()) },
        wire::StoreAction { action: 1, target: None },
        create(service("c", "cache").into()),
    ];
    let (view, changes, skipped) = apply(&View::default(), 9, actions, &mut Interner::default());
    assert_eq!((view.index(), view.services().count(), changes.len()), (9, 2, 2));
    let skipped: Vec<_> = skipped.into_iter().map(|skip| (skip.position, skip.reason)).collect();
    assert_eq!(
        skipped,
        [
            (1, Unappliable::Refused(Error::Exists)),
            (2, Unappliable::UnknownAction(7)),
            (3, Unappliable::NoObject),
        ]
    );
}

/// A view as one message, which production never makes.
fn whole(view: &View) -> wire::StoreSnapshot {
    macro_rules! whole {
        ($($all:ident)*) => {
            wire::StoreSnapshot { $($all: view.$all().map(|one| (&**one).into()).collect(),)* }
        };
    }
    whole!(nodes services networks tasks clusters secrets resources extensions configs volumes)
}

/// Actions without what a removal says beside the id, which is all that counts.
fn essence(mut actions: Vec<wire::StoreAction>) -> Vec<wire::StoreAction> {
    let removal = i32::from(wire::StoreActionKind::StoreActionRemove);
    for action in actions.iter_mut().filter(|action| action.action == removal) {
        let object = Object::from_target(action.target.take().unwrap());
        let object = object.with_meta(Default::default());
        action.target = object.to_action(wire::StoreActionKind::StoreActionRemove).target;
    }
    actions
}

/// One write of a random history.
#[derive(Clone, Debug)]
enum Step {
    Create(u8, u8),
    Update(u8, u8),
    Remove(u8),
    CreateTask(u8, u8, u8),
    MoveTask(u8, u8),
    RemoveTask(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..6_u8, 0..6_u8).prop_map(|(id, name)| Step::Create(id, name)),
        (0..6_u8, 0..6_u8).prop_map(|(id, name)| Step::Update(id, name)),
        (0..6_u8).prop_map(Step::Remove),
        (0..8_u8, 0..3_u8, 0..3_u8).prop_map(|(id, slot, node)| Step::CreateTask(id, slot, node)),
        (0..8_u8, 0..3_u8).prop_map(|(id, node)| Step::MoveTask(id, node)),
        (0..8_u8).prop_map(Step::RemoveTask),
    ]
}

/// Refused writes are part of the history: they must leave nothing behind.
fn take(transaction: &mut Transaction, step: &Step) {
    let _ = match step {
        Step::Create(id, name) => {
            transaction.create(secret(&id.to_string(), &format!("name{name}")))
        }
        Step::Update(id, name) => {
            let mut changed = secret(&id.to_string(), &format!("NAME{name}"));
            let stored = transaction.secret(&changed.id).map(|secret| secret.meta);
            changed.meta = stored.unwrap_or_default();
            transaction.update(changed)
        }
        Step::Remove(id) => transaction.remove(Kind::Secret, &Id::from(&*id.to_string())),
        Step::CreateTask(id, slot, node) => {
            let node = if *node == 0 { String::new() } else { node.to_string() };
            transaction.create(task(&id.to_string(), "s", (*slot).into(), &node))
        }
        Step::MoveTask(id, node) => match transaction.task(&TaskId::from(&*id.to_string())) {
            Some(stored) => {
                let mut moved = (**stored).clone();
                moved.node_id = node.to_string().into();
                transaction.update(moved)
            }
            None => Ok(()),
        },
        Step::RemoveTask(id) => transaction.remove(Kind::Task, &Id::from(&*id.to_string())),
    };
}

proptest! {
    /// A follower that applies what a leader sealed ends up where the leader is, indices
    /// included; a snapshot in between changes nothing, be it from the disk or from a peer, and
    /// what peers are sent piece by piece is what it would be in one piece.
    #[test]
    fn applying_what_was_sealed_gives_the_same_store(
        history in vec(vec(step(), 0..6), 0..12),
        snapshot_at in 0..12_usize,
    ) {
        let (mut leader, mut follower) = (View::default(), View::default());
        let mut interner = Interner::default();
        for (number, steps) in history.iter().enumerate() {
            let before = leader.clone();
            let mut transaction = Transaction::begin(&leader);
            steps.iter().for_each(|step| take(&mut transaction, step));
            let sealed = transaction.seal(leader.index() + 1, NOW);
            let mut placed = Transaction::on(leader.clone(), leader.index() + 1, NOW);
            steps.iter().for_each(|step| take(&mut placed, step));
            let placed = placed.seal(leader.index() + 1, NOW);
            prop_assert_eq!(&placed.view, &sealed.view, "the place may be known from the start");
            prop_assert_eq!(&placed.changes, &sealed.changes);
            prop_assert_eq!(essence(placed.actions()), essence(sealed.actions()));
            let request = wire::InternalRaftRequest { id: 7, action: sealed.actions() };
            prop_assert_eq!(sealed.encode(7), request.encode_to_vec());
            leader = sealed.view.clone();
            let (applied, changes, skipped) =
                apply(&follower, leader.index(), sealed.actions(), &mut interner);
            prop_assert_eq!(skipped, vec![]);
            follower = applied;
            prop_assert_eq!(&follower, &leader);
            let ids = |changes: &Changes| {
                (changes.secrets.keys().cloned().collect::<Vec<_>>(),
                 changes.tasks.keys().cloned().collect::<Vec<_>>())
            };
            prop_assert_eq!(ids(&changes), ids(&sealed.changes));
            for (id, touched) in &sealed.changes.tasks {
                prop_assert_eq!(touched.before.as_ref(), before.task(id));
                prop_assert_eq!(touched.after.as_ref(), leader.task(id));
            }
            leader.verify_indices();
            let mut followed = before.clone();
            followed.follow(leader.index(), &sealed.changes);
            prop_assert_eq!(&followed, &leader);
            let mut undone = leader.clone();
            undone.undo(before.index(), &sealed.changes);
            prop_assert_eq!(&undone, &before);
            if number == snapshot_at {
                let mut restore = Restore::default();
                for bytes in follower.encode() {
                    restore.add(&bytes).unwrap();
                }
                let restored = restore.finish(follower.index());
                prop_assert_eq!(&restored, &follower);
                let sent: Vec<u8> = follower.encode_fields().flatten().collect();
                prop_assert_eq!(&sent, &whole(&follower).encode_to_vec());
                let (mut restore, mut rest) = (Restore::default(), &*sent);
                while !rest.is_empty() {
                    restore.add_field(&mut rest).unwrap();
                }
                prop_assert_eq!(&restore.finish(follower.index()), &follower);
                follower = restored;
            }
        }
    }

    #[test]
    fn no_bytes_make_a_snapshot_panic(bytes in vec(any::<u8>(), 0..64)) {
        let _ = Restore::default().add(&bytes);
        let _ = Restore::default().add_field(&mut &*bytes);
    }

    /// An old view goes in pieces, and only if nobody else has it.
    #[test]
    fn a_view_is_dismantled_piece_by_piece(steps in vec(step(), 0..20), at_once in 1..5_usize) {
        let mut transaction = Transaction::begin(&View::default());
        steps.iter().for_each(|step| take(&mut transaction, step));
        let mut view = transaction.seal(1, NOW).view;
        let kept = view.clone();
        prop_assert!(!view.dismantle(at_once), "somebody else has it");
        prop_assert_eq!(&view, &kept);
        let count = kept.objects().count();
        drop(kept);
        let pieces = std::iter::repeat_with(|| view.dismantle(at_once)).take_while(|more| *more);
        prop_assert_eq!(pieces.count(), count / at_once);
        prop_assert_eq!(view.objects().count(), 0);
        view.verify_indices();
    }

    /// Joining the changes of two steps is the change of both.
    #[test]
    fn changes_join(first in vec(step(), 0..6), second in vec(step(), 0..6)) {
        let start = View::default();
        let run = |view: &View, steps: &[Step]| {
            let mut transaction = Transaction::begin(view);
            steps.iter().for_each(|step| take(&mut transaction, step));
            transaction.seal(view.index() + 1, NOW)
        };
        let one = run(&start, &first);
        let two = run(&one.view, &second);
        let mut joined = one.changes;
        joined.then(&two.changes);
        for (id, touched) in &joined.secrets {
            prop_assert_eq!(touched.before.as_ref(), start.secret(id));
            prop_assert_eq!(touched.after.as_ref(), two.view.secret(id));
        }
        let created = two.view.secrets().filter(|secret| start.secret(&secret.id).is_none());
        for secret in created {
            prop_assert!(joined.secrets.contains_key(&secret.id));
        }
    }
}
