//! Which changes a watch is sent, and where it begins and ends (cluster-security-dispatch §18).

use std::{cell::RefCell, rc::Rc, time::Duration};

use actix::{Actor, Context, Handler, MessageResult};
use prost::Message;
use protocol::{
    id::Id,
    objects::{Kind, Node, Object, Resource, Service, Task},
    wire::{
        self, InternalRaftRequest, SelectBy, StoreActionKind, select_by::By, watch_message::Event,
        watch_request::WatchEntry,
    },
};
use tokio::{task::LocalSet, time::timeout};

use super::*;
use crate::{
    store::{Committed, Transaction, View, testing},
    supervised,
    supervision::{Budget, Census, Tree},
};

const ALL: i32 = 7;

fn annotations(name: &str) -> wire::Annotations {
    let index = wire::IndexEntry { key: "tier".into(), val: format!("of-{name}") };
    wire::Annotations { name: name.into(), indices: vec![index], ..Default::default() }
}

fn service(id: &str, name: &str) -> Object {
    let spec = wire::ServiceSpec { annotations: Some(annotations(name)), ..Default::default() };
    Service::from(wire::Service { id: id.into(), spec: Some(spec), ..Default::default() }).into()
}

fn task() -> Object {
    Task::from(wire::Task {
        id: "t1".into(),
        service_id: "s1".into(),
        node_id: "n1".into(),
        slot: 3,
        desired_state: wire::TaskState::Running.into(),
        annotations: Some(annotations("a-task")),
        ..Default::default()
    })
    .into()
}

fn node() -> Object {
    let spec = wire::NodeSpec {
        annotations: Some(annotations("spec-name")),
        membership: wire::node_spec::Membership::Accepted.into(),
        ..Default::default()
    };
    Node::from(wire::Node {
        id: "n1".into(),
        spec: Some(spec),
        role: wire::NodeRole::Manager.into(),
        description: Some(wire::NodeDescription {
            hostname: "host-1".into(),
            ..Default::default()
        }),
        ..Default::default()
    })
    .into()
}

fn resource() -> Object {
    let (annotations, kind) = (Some(annotations("r")), "widget".into());
    Resource::from(wire::Resource { id: "r1".into(), annotations, kind, ..Default::default() })
        .into()
}

fn custom(index: &str, value: &str) -> wire::SelectByCustom {
    wire::SelectByCustom { kind: String::new(), index: index.into(), value: value.into() }
}

fn entry(kind: &str, action: i32, conditions: &[By]) -> WatchEntry {
    let filters = conditions.iter().map(|by| SelectBy { by: Some(by.clone()) }).collect();
    WatchEntry { kind: kind.into(), action, filters }
}

fn request(entries: Vec<WatchEntry>) -> WatchRequest {
    WatchRequest { entries, ..Default::default() }
}

/// What a watch is sent of an entry of the log that creates an object.
fn sent(object: &Object, entry: WatchEntry) -> bool {
    let action = vec![object.to_action(StoreActionKind::StoreActionCreate)];
    let data = InternalRaftRequest { id: 1, action }.encode_to_vec().into();
    let selection = Selection::of(&request(vec![entry])).expect("a good request");
    selection.message(&Applied::logged(Committed { index: 1, term: 1, data })).is_some()
}

#[test]
fn conditions_hold_for_what_they_name() {
    let slot =
        |service: &str, slot| By::Slot(wire::SelectBySlot { service_id: service.into(), slot });
    for (object, kind, condition, expected) in [
        (service("s1", "web"), "service", By::Id("s1".into()), true),
        (service("s1", "web"), "service", By::Id("s".into()), false),
        (service("s1", "web"), "service", By::IdPrefix("s".into()), true),
        (service("s1", "web"), "service", By::IdPrefix("t".into()), false),
        (service("s1", "web"), "service", By::Name("web".into()), true),
        (service("s1", "web"), "service", By::Name("Web".into()), false),
        (service("s1", "web"), "service", By::NamePrefix("we".into()), true),
        (service("s1", "web"), "service", By::NamePrefix("eb".into()), false),
        (service("s1", "web"), "service", By::Custom(custom("tier", "of-web")), true),
        (service("s1", "web"), "service", By::Custom(custom("tier", "of")), false),
        (service("s1", "web"), "service", By::Custom(custom("rank", "of-web")), false),
        (service("s1", "web"), "service", By::CustomPrefix(custom("tier", "of")), true),
        (service("s1", "web"), "service", By::CustomPrefix(custom("tier", "web")), false),
        (node(), "node", By::Name("host-1".into()), true),
        (node(), "node", By::Name("spec-name".into()), false),
        (node(), "node", By::Role(wire::NodeRole::Manager.into()), true),
        (node(), "node", By::Role(wire::NodeRole::Worker.into()), false),
        (node(), "node", By::Membership(wire::node_spec::Membership::Accepted.into()), true),
        (node(), "node", By::Membership(wire::node_spec::Membership::Pending.into()), false),
        (task(), "task", By::Name("a-task".into()), true),
        (task(), "task", By::ServiceId("s1".into()), true),
        (task(), "task", By::ServiceId("s2".into()), false),
        (task(), "task", By::NodeId("n1".into()), true),
        (task(), "task", By::NodeId("n2".into()), false),
        (task(), "task", slot("s1", 3), true),
        (task(), "task", slot("s1", 4), false),
        (task(), "task", slot("s2", 3), false),
        (task(), "task", By::DesiredState(wire::TaskState::Running.into()), true),
        (task(), "task", By::DesiredState(wire::TaskState::Shutdown.into()), false),
        (resource(), "resource", By::Kind("widget".into()), true),
        (resource(), "resource", By::Kind("gadget".into()), false),
        // A condition that a kind does not know holds for it.
        (service("s1", "web"), "service", By::NodeId("n1".into()), true),
        (task(), "task", By::ReferencedSecretId("any".into()), true),
    ] {
        let case = format!("{kind} {condition:?}");
        assert_eq!(sent(&object, entry(kind, ALL, &[condition])), expected, "{case}");
    }
}

#[test]
fn every_condition_of_an_entry_has_to_hold_and_one_entry_is_enough() {
    let web = service("s1", "web");
    let both = |name: &str| entry("service", ALL, &[By::Id("s1".into()), By::Name(name.into())]);
    assert!(sent(&web, both("web")));
    assert!(!sent(&web, both("db")));
    assert!(!sent(&web, entry("task", ALL, &[])), "another kind");
    assert!(!sent(&web, entry("service", 2 | 4, &[])), "another action");
    assert!(sent(&web, entry("service", 1, &[])));
    let entries = vec![both("db"), entry("service", 1, &[])];
    let selection = Selection::of(&request(entries)).expect("a good request");
    let action = vec![web.to_action(StoreActionKind::StoreActionCreate)];
    let data = InternalRaftRequest { id: 1, action }.encode_to_vec().into();
    let message = selection.message(&Applied::logged(Committed { index: 1, term: 1, data }));
    assert_eq!(message.expect("one entry holds").events.len(), 1, "and it comes once");
}

#[test]
fn a_kind_that_is_not_built_in_is_one_of_resources() {
    assert!(sent(&resource(), entry("widget", ALL, &[])));
    assert!(!sent(&resource(), entry("gadget", ALL, &[])));
    assert!(!sent(&service("s1", "web"), entry("widget", ALL, &[])));
}

#[test]
fn requests_that_make_no_sense() {
    let two = |first: By, second: By| entry("task", ALL, &[first, second]);
    for (entry, error) in [
        (entry("", ALL, &[]), Error::NoKind),
        (entry("task", 0, &[]), Error::UnknownAction),
        (entry("task", 8, &[]), Error::UnknownAction),
        (two(By::Id("a".into()), By::Id("b".into())), Error::ConflictingFilters),
        (two(By::Id("a".into()), By::IdPrefix("b".into())), Error::ConflictingFilters),
        (two(By::NamePrefix("a".into()), By::Name("b".into())), Error::ConflictingFilters),
        (
            two(By::Custom(custom("a", "b")), By::CustomPrefix(custom("c", "d"))),
            Error::ConflictingFilters,
        ),
    ] {
        let case = format!("{entry:?}");
        assert_eq!(Selection::of(&request(vec![entry])).unwrap_err(), error, "{case}");
    }
}

#[test]
fn errors_of_a_beginning_have_the_texts_that_clients_know() {
    for (error, text) in [
        (Error::Compacted, "requested index is unavailable due to compaction"),
        (Error::OutOfOrder, "versions are out of order"),
        (Error::Stopped, "raft: failed to process the request: node is stopped"),
        (Error::NoKind, "no kind of object specified"),
        (Error::UnknownAction, "unrecognized action"),
        (Error::ConflictingFilters, "conflicting filters specified"),
    ] {
        assert_eq!(error.to_string(), text);
    }
}

/// A log that has these entries and no earlier ones.
struct Log {
    begins: u64,
    entries: Rc<RefCell<Vec<Committed>>>,
}

impl Actor for Log {
    type Context = Context<Self>;
}

supervised!(Log, mailbox = 4);

impl Handler<GetCommitted> for Log {
    type Result = MessageResult<GetCommitted>;

    fn handle(
        &mut self,
        GetCommitted { from }: GetCommitted,
        _: &mut Context<Self>,
    ) -> Self::Result {
        let entries = self.entries.borrow();
        let found = entries.iter().filter(|entry| entry.index >= from.max(self.begins));
        MessageResult(LogPage { begins: self.begins, entries: found.take(2).cloned().collect() })
    }
}

/// A store whose snapshot is at `index`, and a log that begins at `begins`.
fn run(index: u64, begins: u64, test: impl AsyncFnOnce(&Store, Recipient<GetCommitted>)) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    LocalSet::new().block_on(&runtime.expect("a runtime"), async {
        let budget = Budget { restarts: 5, within: Duration::from_secs(60) };
        let tree = Tree::root("test", budget, Census::default(), |_| {});
        let view = Transaction::begin(&View::default()).seal(index, Default::default()).view;
        let store = testing::start(&tree, view);
        testing::until_leading(&store).await;
        let logged = (1..=index).map(|index| {
            let action = vec![
                service(&format!("old-{index}"), "x").to_action(StoreActionKind::StoreActionCreate),
            ];
            let data = InternalRaftRequest { id: index, action }.encode_to_vec().into();
            Committed { index, term: 1, data }
        });
        let entries = Rc::new(RefCell::new(logged.collect::<Vec<_>>()));
        let log = tree.child("log", move |_| Log { begins, entries: entries.clone() });
        test(&store, log.recipient()).await;
        tree.stop().await;
    });
}

async fn write(store: &Store, objects: Vec<Object>) {
    let create = move |head: &mut Transaction| {
        objects.into_iter().try_for_each(|object| head.create(object))
    };
    store.transact(create).await.expect("it is new");
}

fn services(resume_from: Option<u64>) -> WatchRequest {
    let resume_from = resume_from.map(|index| wire::Version { index });
    WatchRequest {
        entries: vec![entry("service", ALL, &[])],
        resume_from,
        include_old_object: true,
    }
}

/// The version of a message, and for each event its action and the id of its object.
fn shown(message: &WatchMessage) -> (u64, Vec<(i32, String)>) {
    let events = message.events.iter().map(|event| {
        let object = event.object.as_ref().and_then(|object| object.object.as_ref());
        let Some(wire::object::Object::Service(service)) = object else {
            panic!("not a service: {event:?}")
        };
        (event.action, service.id.clone())
    });
    (message.version.expect("it has one").index, events.collect())
}

fn version(object: &Option<wire::Object>) -> Option<u64> {
    let Some(wire::object::Object::Service(service)) = &object.as_ref()?.object else {
        panic!("not a service: {object:?}")
    };
    Some(service.meta?.version?.index)
}

#[test]
fn a_transaction_is_a_message_with_its_events_in_order() {
    run(0, 1, async |store, log| {
        let mut watch = Watch::begin(store, log, &services(None)).expect("a good request");
        write(store, vec![service("b", "b"), task(), service("a", "a")]).await;
        write(store, vec![node()]).await;
        let change = |head: &mut Transaction| {
            let before = head.service(&"a".into()).expect("it is there").clone();
            head.update(before)?;
            head.remove(Kind::Service, &Id::from("b"))
        };
        store.transact(change).await.expect("they are there");
        let first = watch.next().await.expect("it goes on");
        assert_eq!(shown(&first), (1, vec![(1, "b".into()), (1, "a".into())]));
        let second = watch.next().await.expect("it goes on");
        assert_eq!(shown(&second), (3, vec![(2, "a".into()), (4, "b".into())]));
        let versions = |event: &Event| [version(&event.object), version(&event.old_object)];
        assert_eq!(
            versions(&second.events[0]),
            [Some(3), Some(1)],
            "an update knows the old object"
        );
        assert_eq!(versions(&second.events[1]), [Some(1), None], "a removal shows what was there");
        let nothing = timeout(Duration::from_secs(60), watch.next()).await;
        assert!(nothing.is_err(), "nothing more was written");
    });
}

#[test]
fn old_objects_are_sent_to_those_who_ask_for_them() {
    run(0, 1, async |store, log| {
        let silent = WatchRequest { include_old_object: false, ..services(None) };
        let mut watch = Watch::begin(store, log, &silent).expect("a good request");
        write(store, vec![service("a", "a")]).await;
        let update = |head: &mut Transaction| {
            let before = head.service(&"a".into()).expect("it is there").clone();
            head.update(before)
        };
        store.transact(update).await.expect("it is there");
        watch.next().await.expect("the creation");
        assert_eq!(watch.next().await.expect("the update").events[0].old_object, None);
    });
}

#[test]
fn a_watch_resumes_from_the_log_and_goes_on_live() {
    run(5, 2, async |store, log| {
        write(store, vec![service("new-6", "a")]).await;
        let mut watch = Watch::begin(store, log, &services(Some(1))).expect("a good request");
        write(store, vec![service("new-7", "b")]).await;
        let mut seen = Vec::new();
        for _ in 0..6 {
            seen.push(shown(&watch.next().await.expect("it goes on")));
        }
        let expected = ["old-2", "old-3", "old-4", "old-5", "new-6", "new-7"];
        let expected: Vec<_> =
            (2..).zip(expected).map(|(index, id)| (index, vec![(1, id.to_owned())])).collect();
        assert_eq!(seen, expected);
    });
}

#[test]
fn a_version_that_the_log_does_not_have_any_more() {
    run(5, 3, async |store, log| {
        let mut watch = Watch::begin(store, log, &services(Some(1))).expect("a good request");
        assert_eq!(watch.next().await, Err(Error::Compacted));
    });
}

#[test]
fn a_version_that_is_yet_to_come() {
    run(5, 1, async |store, log| {
        let refused = Watch::begin(store, log.clone(), &services(Some(6))).err();
        assert_eq!(refused, Some(Error::OutOfOrder));
        assert!(Watch::begin(store, log, &services(Some(5))).is_ok(), "that is now");
    });
}

#[test]
fn who_falls_behind_is_told_where_to_resume() {
    run(0, 1, async |store, log| {
        let mut watch = Watch::begin(store, log.clone(), &services(None)).expect("a good request");
        write(store, vec![service("first", "first")]).await;
        assert_eq!(shown(&watch.next().await.expect("it goes on")).0, 1);
        for number in 0..5_000 {
            write(store, vec![service(&format!("s{number}"), &format!("n{number}"))]).await;
        }
        assert_eq!(watch.next().await, Err(Error::Behind(1)));
        assert!(store.feed().begins() > 1, "some are forgotten");
        let again = Watch::begin(store, log, &services(Some(store.feed().begins())));
        again.expect("a good request").next().await.expect("what is kept can be resumed");
    });
}
