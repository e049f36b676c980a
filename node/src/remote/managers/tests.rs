//! A real agent whose managers are false, over real connections.

mod fake;

use std::{
    path::Path,
    rc::Rc,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use actors::{
    agent::{
        self, Ports,
        port::{Manager, ManagerError, Managers as _},
        simulated::{Machine, MemoryDatabase, no_certificate},
    },
    dispatcher::{Dispatcher, LocalManagers, Seat},
    environment::{Clock, testing::environment},
    store::{self, View},
    supervision::{Budget, Census, Tree},
};
use bytes::Bytes;
use futures_util::StreamExt;
use protocol::{
    id::NodeId,
    wire::{
        self, NodeRole, assignment::Item, assignment_change::AssignmentAction,
        assignments_message::Type, issuance_status,
    },
};
use tokio::{
    task::LocalSet,
    time::{sleep, timeout},
};

use self::fake::Fake;
use super::{KnownManagers, Lane, Listener, ManagersConfig};
use crate::{
    clock::SystemClock,
    identity::{Credentials, Identity},
};

const BUDGET: Budget = Budget { restarts: 5, within: Duration::from_secs(60) };

/// Says what the rest of the node was told.
impl Listener for mpsc::Sender<String> {
    fn on_node_changed(&self, role: NodeRole, certificate: issuance_status::State) {
        self.send(format!("{role:?} {certificate:?}")).ok();
    }

    fn on_root_changed(&self, pem: Bytes) {
        self.send(String::from_utf8(pem.into()).expect("text")).ok();
    }
}

/// A node whose agent runs.
struct World {
    folder: tempfile::TempDir,
    credentials: Arc<Credentials>,
    own: NodeId,
    tree: Tree,
    told: (mpsc::Sender<String>, mpsc::Receiver<String>),
}

fn run(test: impl AsyncFnOnce(&World)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    LocalSet::new().block_on(&runtime.expect("a runtime"), async {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let identity = Identity::open(folder.path(), &SystemClock.now()).expect("an identity");
        let credentials = identity.credentials().expect("credentials");
        let tree = Tree::root("node", BUDGET, Census::default(), |lost| panic!("{lost}"));
        let own = identity.node_id().clone();
        let world = World { folder, credentials, own, tree, told: mpsc::channel() };
        test(&world).await;
        world.tree.stop().await;
    });
}

impl World {
    fn file(&self) -> std::path::PathBuf {
        self.folder.path().join("state.json")
    }

    fn managers(&self, seeds: &[&Fake], local: Option<LocalManagers>) -> KnownManagers {
        let seeds = seeds.iter().map(|fake| fake.address.clone());
        let book = super::Book::open(self.folder.path(), seeds).expect("the file can be read");
        let config = ManagersConfig {
            own: self.own.clone(),
            local,
            tls: self.credentials.client_config().expect("a configuration"),
            lane: Lane::start("heartbeats").expect("a thread"),
            book,
            environment: environment(),
            listener: Rc::new(self.told.0.clone()),
        };
        KnownManagers::new(config)
    }

    /// Starts an agent that knows these managers.
    fn start_agent(&self, seeds: &[&Fake]) {
        let ports = Ports {
            managers: Rc::new(self.managers(seeds, None)),
            executor: Rc::new(Machine::default()),
            database: Rc::new(MemoryDatabase::default()),
            tls_info: no_certificate(),
        };
        let tree = self.tree.subtree("agent", BUDGET);
        agent::start(&tree, Census::default(), ports, environment());
    }
}

async fn until(what: &str, reached: impl Fn() -> bool) {
    let reached = async {
        while !reached() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    let bound = Duration::from_secs(60);
    assert!(timeout(bound, reached).await.is_ok(), "it never came to this: {what}");
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn an_agent_that_loses_its_manager_resumes_with_another() {
    run(async |world| {
        let (first, second) = (Fake::start(&world.credentials), Fake::start(&world.credentials));
        for fake in [&first, &second] {
            fake.names(&[("a", &first), ("b", &second)]);
        }
        world.start_agent(&[&first]);
        until("registered", || first.sessions().len() == 1).await;
        until("learnt", || read(&world.file()).contains(&second.address)).await;
        let told: Vec<_> = world.told.1.try_iter().collect();
        assert_eq!(told, ["Manager Rotate", "the root"]);
        first.stop();
        until("registered again", || second.sessions().len() == 1).await;
        assert_eq!(first.sessions(), [""]);
        assert_eq!(second.sessions(), ["session"], "the same session goes on");
        until("heard", || second.heartbeats() > 0).await;
    });
}

#[test]
fn a_node_that_starts_again_finds_the_managers_in_its_file() {
    run(async |world| {
        let fake = Fake::start(&world.credentials);
        let text = format!(r#"[{{"node_id":"a","addr":"{}"}}]"#, fake.address);
        std::fs::write(world.file(), text).expect("a file");
        world.start_agent(&[]);
        until("registered", || fake.sessions().len() == 1).await;
    });
}

#[test]
fn heartbeats_come_in_time_while_assignments_flood_in() {
    run(async |world| {
        let fake = Fake::start(&world.credentials);
        fake.floods(true);
        world.start_agent(&[&fake]);
        until("flooded", || fake.flooded() > 50).await;
        let (heard, flooded) = (fake.heartbeats(), fake.flooded());
        sleep(Duration::from_secs(2)).await;
        assert!(fake.flooded() > flooded, "there is always more");
        assert!(fake.heartbeats() >= heard + 5, "one every tenth of a second is wanted");
        assert_eq!(fake.sessions().len(), 1);
    });
}

#[test]
fn heartbeats_come_in_time_while_the_agents_thread_is_held_up() {
    run(async |world| {
        let fake = Fake::start(&world.credentials);
        world.start_agent(&[&fake]);
        until("registered", || fake.heartbeats() > 0).await;
        let heard = fake.heartbeats();
        // This is the agent's thread.
        thread::sleep(Duration::from_secs(1));
        assert!(fake.heartbeats() >= heard + 3, "one every tenth of a second is wanted");
    });
}

#[test]
fn a_refusal_says_whether_anybody_knows() {
    run(async |world| {
        let fake = Fake::start(&world.credentials);
        let manager = world.managers(&[&fake], None).choose().await.expect("a manager");
        let update = |session_id: &str| wire::UpdateTaskStatusRequest {
            session_id: session_id.to_owned(),
            ..Default::default()
        };
        let unknown = manager.update_task_status(update("unknown")).await;
        assert_eq!(unknown, Err(ManagerError::NotFound("nobody knows".to_owned())));
        let refused = manager.update_task_status(update("wrong")).await;
        assert!(matches!(refused, Err(ManagerError::Failed(_))), "{refused:?}");
    });
}

#[test]
fn a_manager_that_knows_no_assignments_is_asked_for_lists() {
    run(async |world| {
        let fake = Fake::start(&world.credentials);
        fake.knows_lists_only();
        let manager = world.managers(&[&fake], None).choose().await.expect("a manager");
        let request = wire::AssignmentsRequest { session_id: "session".to_owned() };
        let mut assignments = manager.assignments(request);
        for expected in [&["a", "b"][..], &["b"]] {
            let list = assignments.next().await.expect("a list").expect("no error");
            assert_eq!(list.r#type(), Type::Complete, "whatever is not in it is not wanted");
            let ids = list.changes.into_iter().map(|change| {
                assert_eq!(change.action(), AssignmentAction::Update);
                let item = change.assignment.and_then(|assignment| assignment.item);
                let Some(Item::Task(task)) = item else { panic!("no task: {item:?}") };
                task.id
            });
            assert_eq!(ids.collect::<Vec<_>>(), expected);
        }
    });
}

#[test]
fn a_manager_is_known_to_know_an_older_certificate() {
    run(async |world| {
        let fake = Fake::start(&world.credentials);
        let manager = world.managers(&[&fake], None).choose().await.expect("a manager");
        assert!(!manager.is_outdated());
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(vec!["swarm-worker".to_owned()]);
        let renewed = params.expect("a name").self_signed(&key).expect("a certificate");
        let replaced = world.credentials.replace(&[renewed.der().clone()], &key.into());
        replaced.expect("a certificate for the key");
        assert!(manager.is_outdated());
    });
}

#[test]
fn who_knows_nobody_says_so() {
    run(async |world| {
        let chosen = world.managers(&[], None).choose().await;
        let nobody = ManagerError::Failed("no remote hosts provided".to_owned());
        assert_eq!(chosen.err(), Some(nobody));
    });
}

#[test]
fn the_manager_of_this_process_is_asked_while_it_leads() {
    run(async |world| {
        let fake = Fake::start(&world.credentials);
        let (seat, store) = (Seat::default(), store::testing::start(&world.tree, View::default()));
        let local = LocalManagers::new(world.own.clone(), seat.clone());
        let managers = world.managers(&[&fake], Some(local));
        let (at, own) = (seat.clone(), world.own.clone());
        let dispatcher = world.tree.child_with_address("dispatcher", move |life, address| {
            let (store, at, own) = (store.clone(), at.clone(), own.clone());
            Dispatcher::new(store, environment(), own, at, life, address)
        });
        seat.take(dispatcher);
        let session = wire::SessionRequest::default;
        let first = async |manager: Arc<dyn Manager>| manager.session(session()).next().await;
        let own = first(managers.choose().await.expect("it leads")).await.expect("an answer");
        assert_eq!(own, Err(ManagerError::Failed("node not found".to_owned())));
        assert!(fake.sessions().is_empty());
        seat.leave();
        let other = first(managers.choose().await.expect("another answers")).await;
        assert_eq!(other.expect("an answer").expect("a session").session_id, "session");
    });
}

#[test]
fn an_address_where_nobody_is_does_not_take_for_ever() {
    run(async |world| {
        let fake = Fake::start(&world.credentials);
        fake.stop();
        #[expect(clippy::disallowed_methods, reason = "it takes real time")]
        let began = Instant::now();
        assert!(world.managers(&[&fake], None).choose().await.is_err());
        assert!(began.elapsed() < Duration::from_secs(10));
    });
}
