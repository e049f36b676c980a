//! The loops of a leader, from seeding the store to tasks that run, in virtual time.

use std::{
    rc::Rc,
    sync::atomic::{AtomicU32, Ordering},
};

use protocol::{
    objects::{Service, TaskState},
    wire,
};
use tokio::{sync::mpsc, task::LocalSet, time::sleep};

use super::*;
use crate::ca::port::testing::signer;
use crate::{
    agent::{
        self, Ports,
        simulated::{Machine, MemoryDatabase, no_certificate},
    },
    cluster::testing::founding,
    dispatcher::{LocalManagers, Seat},
    environment::testing::environment,
    roles,
    store::{View, testing},
    supervision::{
        Address, Budget, Census,
        testing::{When, doom},
    },
    tree::Loops,
};

const SECOND: Duration = Duration::from_secs(1);
const BUDGET: Budget = Budget { restarts: 5, within: Duration::from_secs(60) };

/// What the node of the tests founds, and how often it was told that this is done.
struct First {
    founding: Option<Founding>,
    founded: Arc<AtomicU32>,
}

impl Bootstrap for First {
    fn founding(&self) -> Option<Founding> {
        self.founding.clone()
    }

    fn founded(&mut self) {
        self.founded.fetch_add(1, Ordering::Relaxed);
    }
}

struct Rig {
    store: Store,
    leadership: Address<Leadership>,
    census: Census,
    machine: Machine,
    founded: Arc<AtomicU32>,
    fatal: mpsc::UnboundedReceiver<Fatal>,
}

fn run(founding: Option<Founding>, commits_after: Duration, test: impl AsyncFnOnce(&mut Rig)) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    LocalSet::new().block_on(&runtime.expect("a runtime"), async {
        let census = Census::default();
        let tree = Tree::root("test", BUDGET, census.clone(), |lost| panic!("{lost}"));
        let store = testing::start_slow(&tree, View::default(), commits_after);
        let (seat, machine) = (Seat::default(), Machine::default());
        let parts = LeaderParts {
            node_id: "n".into(),
            environment: environment(),
            seat: seat.clone(),
            signer: signer(),
            raft: roles::Raft::default(),
        };
        let founded = Arc::<AtomicU32>::default();
        let bootstrap = Box::new(First { founding, founded: founded.clone() });
        let (say, fatal) = mpsc::unbounded_channel();
        let on_fatal: OnFatal = Arc::new(move |fatal| drop(say.send(fatal)));
        let Loops { leadership } = Loops::start(&tree, store.clone(), parts, bootstrap, on_fatal);
        let ports = Ports {
            managers: Rc::new(LocalManagers::new("n".into(), seat)),
            executor: Rc::new(machine.clone()),
            database: Rc::new(MemoryDatabase::default()),
            tls_info: no_certificate(),
        };
        let agent = tree.subtree("agent", BUDGET);
        agent::start(&agent, census.clone(), ports, environment());
        sleep(SECOND / 10).await;
        test(&mut Rig { store, leadership, census, machine, founded, fatal }).await;
        tree.stop().await;
    });
}

impl Rig {
    async fn lead(&self, term: Option<u64>) {
        self.leadership.send(LeadershipChanged { term }).await.expect("alive");
    }

    /// How many loops of a leader there are.
    fn loops(&self) -> usize {
        let reports = self.census.report().into_iter();
        reports.filter(|report| report.path.contains("/leader/")).count()
    }

    async fn ask_for(&self, replicas: u64) {
        let written = self.store.transact(move |head| {
            let mode = wire::service_spec::Mode::Replicated(wire::ReplicatedService { replicas });
            let container = wire::ContainerSpec { image: "host".to_owned(), ..Default::default() };
            let runtime = Some(wire::task_spec::Runtime::Container(container));
            let spec = wire::ServiceSpec {
                task: Some(wire::TaskSpec { runtime, ..Default::default() }),
                mode: Some(mode),
                ..Default::default()
            };
            match head.service(&"s".into()).cloned() {
                None => {
                    let spec = Some(spec);
                    head.create(Service::from(wire::Service {
                        id: "s".to_owned(),
                        spec,
                        ..Default::default()
                    }))
                }
                Some(service) => {
                    head.update(Service { spec: Arc::new(spec), ..(*service).clone() })
                }
            }
        });
        written.await.expect("written");
    }

    fn running(&self) -> usize {
        let view = self.store.view();
        view.tasks().filter(|task| task.status.state == TaskState::RUNNING).count()
    }
}

#[test]
fn a_leader_founds_the_cluster_and_starts_its_loops() {
    run(Some(founding()), SECOND / 2, async |rig| {
        assert_eq!((rig.loops(), rig.store.view().clusters().count()), (0, 0));
        rig.lead(Some(2)).await;
        sleep(SECOND * 2).await;
        assert_eq!(rig.loops(), 8);
        assert!(rig.store.view().default_cluster().is_some());
        assert_eq!(rig.founded.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn the_loops_end_with_the_leadership_and_begin_with_the_next() {
    run(Some(founding()), Duration::ZERO, async |rig| {
        for term in 2..6 {
            rig.lead(Some(term)).await;
            sleep(SECOND).await;
            assert_eq!(rig.loops(), 8);
            if term % 2 == 0 {
                rig.lead(None).await;
                sleep(SECOND).await;
                assert_eq!(rig.loops(), 0);
            }
        }
        assert_eq!(rig.store.view().clusters().count(), 1, "founded once");
    });
}

#[test]
fn news_that_come_together_leave_the_last() {
    run(Some(founding()), SECOND / 2, async |rig| {
        tokio::join!(rig.lead(Some(2)), rig.lead(None), rig.lead(Some(3)), rig.lead(None));
        sleep(SECOND * 5).await;
        assert_eq!(rig.loops(), 0);
    });
}

#[test]
fn the_loops_end_although_their_leadership_dies_of_the_news() {
    run(Some(founding()), Duration::ZERO, async |rig| {
        for (term, when) in [(2, When::AfterHandling), (3, When::BeforeHandling)] {
            rig.lead(Some(term)).await;
            sleep(SECOND).await;
            assert_eq!(rig.loops(), 8);
            doom("test/leadership", when);
            let lost = LeadershipChanged { term: None };
            if rig.leadership.send(lost).await.is_err() && when == When::BeforeHandling {
                // As raft does.
                sleep(SECOND).await;
                rig.lead(None).await;
            }
            sleep(SECOND).await;
            assert_eq!(rig.loops(), 0, "{when:?}");
        }
        rig.lead(Some(4)).await;
        rig.lead(Some(4)).await;
        sleep(SECOND).await;
        assert_eq!(rig.loops(), 8, "news that come twice change nothing");
    });
}

#[test]
fn an_empty_log_of_a_node_that_founds_nothing_is_fatal() {
    run(None, Duration::ZERO, async |rig| {
        rig.lead(Some(2)).await;
        let fatal = rig.fatal.recv().await.expect("said");
        assert!(fatal.to_string().contains("was its raft folder removed?"), "{fatal}");
        assert_eq!((rig.loops(), rig.founded.load(Ordering::Relaxed)), (0, 0));
    });
}

#[test]
fn the_end_of_raft_is_fatal() {
    run(None, Duration::ZERO, async |rig| {
        rig.leadership.send(Ended { error: crate::raft::Error::Members }).await.expect("alive");
        assert!(matches!(rig.fatal.recv().await, Some(Fatal::Raft(_))));
    });
}

#[test]
fn a_service_gets_exactly_its_replicas_while_commits_take_half_a_second() {
    run(Some(founding()), SECOND / 2, async |rig| {
        rig.lead(Some(2)).await;
        rig.ask_for(20).await;
        sleep(SECOND * 30).await;
        assert_eq!((rig.running(), rig.store.view().tasks().count()), (20, 20));
        rig.ask_for(3).await;
        sleep(SECOND * 30).await;
        assert_eq!((rig.running(), rig.machine.running().len()), (3, 3));
    });
}

#[test]
fn a_new_leader_takes_over_in_the_middle() {
    run(Some(founding()), SECOND / 2, async |rig| {
        rig.lead(Some(2)).await;
        sleep(SECOND * 3).await;
        rig.ask_for(10).await;
        for term in 3..8 {
            sleep(SECOND / 3 * 2).await;
            rig.lead(None).await;
            rig.lead(Some(term)).await;
        }
        sleep(SECOND * 60).await;
        assert_eq!((rig.running(), rig.store.view().tasks().count()), (10, 10));
        let victim = rig.machine.running()[0].clone();
        rig.machine.exit(&victim, 1);
        sleep(SECOND * 3).await;
        assert_eq!(rig.running(), 9, "the restart delay");
        sleep(SECOND * 10).await;
        assert_eq!(rig.running(), 10);
    });
}

#[test]
fn no_two_terms_of_one_node_draw_the_same_ids() {
    run(Some(founding()), Duration::ZERO, async |rig| {
        for (term, replicas) in [(2, 3), (3, 6), (4, 9)] {
            rig.lead(Some(term)).await;
            rig.ask_for(replicas).await;
            sleep(SECOND * 10).await;
            assert_eq!(rig.running() as u64, replicas);
            let reports = rig.census.report().into_iter();
            let failures = reports.filter_map(|report| report.last_failure).collect::<Vec<_>>();
            assert_eq!(failures, Vec::<String>::new(), "in term {term}");
        }
    });
}

#[test]
fn a_dead_leadership_goes_on_where_it_was() {
    run(Some(founding()), Duration::ZERO, async |rig| {
        rig.lead(Some(2)).await;
        sleep(SECOND).await;
        rig.leadership.send(Die).await.expect_err("it died");
        sleep(SECOND).await;
        assert_eq!(rig.loops(), 8, "they do not die with it");
        rig.lead(None).await;
        sleep(SECOND).await;
        assert_eq!(rig.loops(), 0, "and its next life knows of them");
    });
}

#[test]
fn only_what_may_not_have_been_written_is_tried_again() {
    use crate::store::{
        NotWritten,
        TransactError::{Aborted, NotWritten as No, OutcomeUnknown, TooLarge},
    };
    assert!(matches!(logic::after(Ok(())), Next::StartLoops));
    for again in [No(NotWritten::NotLeading), No(NotWritten::Busy), OutcomeUnknown] {
        assert!(matches!(logic::after(Err(again)), Next::SeedAgain));
    }
    let end = logic::after(Err(TooLarge { bytes: 9 }));
    assert!(matches!(end, Next::End(Fatal::TooLarge { bytes: 9 })));
    let end = logic::after(Err(Aborted(Arc::new(cluster::Error::NoCluster))));
    assert!(matches!(end, Next::End(Fatal::Cluster(_))));
}

#[derive(actix::Message)]
#[rtype(result = "()")]
struct Die;

impl Handler<Die> for Leadership {
    type Result = ();

    fn handle(&mut self, _: Die, _: &mut Context<Self>) {
        panic!("told to die");
    }
}
