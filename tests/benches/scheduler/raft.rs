//! The scheduler, the store, raft and the log as the daemon puts them together, on a real disk.

use std::{env, sync::Arc, time::Duration};

use actix::{Actor, Context, Handler};
use actors::{
    environment::testing::environment,
    log::{self, Member},
    raft::{Config, Ended, LeadershipChanged, Links, Standing, Transport},
    store::Store,
    supervised,
    supervision::Census,
    tree::{Core, Log},
};
use futures_util::future::join_all;
use node::{cipher::LogCipher, disk::FileDisk, identity::DataKey, thread::ActorThread};
use protocol::{objects::Object, raftpb};
use rand::{SeedableRng, rngs::StdRng};
use tokio::time::sleep;

use crate::{
    Figures,
    place::{tree, until_placed},
    shape::Shape,
};

/// How many objects are written together while the store is filled.
const TOGETHER: usize = 200;

struct Nobody;

impl Transport for Nobody {
    fn send(&self, message: raftpb::Message) {
        panic!("there is no member {:?}", message.to);
    }
}

/// Hears who leads, and needs not know.
struct Listener;

impl Actor for Listener {
    type Context = Context<Self>;
}

supervised!(Listener, mailbox = 4);

impl Handler<LeadershipChanged> for Listener {
    type Result = ();

    fn handle(&mut self, _: LeadershipChanged, _: &mut Context<Self>) {}
}

impl Handler<Ended> for Listener {
    type Result = ();

    fn handle(&mut self, ended: Ended, _: &mut Context<Self>) {
        panic!("{}", ended.error);
    }
}

/// Fills a store through the log, starts the scheduler, and waits until all tasks have a node.
pub(crate) fn run(shape: Shape) -> Figures {
    // Beside the build, which is on a disk; the usual place may be memory.
    let beside = env::current_exe().expect("this is a program");
    let folder = tempfile::tempdir_in(beside.parent().expect("a folder")).expect("a folder");
    let disk = FileDisk::new(folder.path());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let census = Census::default();
    runtime.expect("a runtime").block_on(async {
        let for_log = census.clone();
        let (log_thread, writer) = ActorThread::start("log", async move || {
            let tree = tree("log", &for_log);
            let cipher = LogCipher::new(&DataKey::generate());
            let Log { writer } = Log::start(&tree, disk, cipher, log::Options::default());
            (tree, writer)
        })
        .await
        .expect("a thread starts");
        let for_core = census.clone();
        let (core_thread, store) = ActorThread::start("core", async move || {
            let tree = tree("manager", &for_core);
            let listener = tree.child("listener", |_| Listener);
            let member = Member { raft_id: 1, node_id: "n".to_owned(), cluster_id: "c".to_owned() };
            let config = Config::alone(member, "127.0.0.1:4242".to_owned(), 1);
            let link = async |_: &Store, store, published| Links {
                log: writer,
                store,
                published,
                standing: Standing::default(),
                transport: Arc::new(Nobody),
                leadership: listener.recipient(),
                ended: listener.recipient(),
            };
            let core = Core::start(&tree, &environment(), config, link).await;
            (tree, core.store)
        })
        .await
        .expect("a thread starts");
        while store.transact(|_| Ok::<_, ()>(())).await.is_err() {
            sleep(Duration::from_millis(10)).await;
        }
        fill(&store, shape).await;
        let (figures, loops) = until_placed(&store, &census).await;
        for thread in [loops, core_thread, log_thread] {
            thread.stop().await;
        }
        figures
    })
}

/// Writes all objects of a shape.
async fn fill(store: &Store, shape: Shape) {
    let random = &mut StdRng::seed_from_u64(1);
    let objects: Vec<_> = shape.cluster(random).objects().collect();
    let tasks = shape.all_tasks(random).map(Object::from);
    let objects: Vec<_> = objects.into_iter().chain(tasks).collect();
    let written = objects.chunks(TOGETHER).map(|some| {
        let some = some.to_vec();
        store.transact(move |head| some.into_iter().try_for_each(|object| head.create(object)))
    });
    assert!(join_all(written).await.iter().all(Result::is_ok), "they are new");
}
