//! The log as raft uses it: answers, order, failures. What a crash leaves is in the folder.

mod crashes;
mod damage;
mod random;

use std::{io, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::{task::LocalSet, time::sleep};

use super::{
    simulated::{Crash, SimulatedDisk, Temper, ToyCipher},
    *,
};
use crate::supervision::{Address, Budget, Census, Tree};

const KEY: ToyCipher = ToyCipher { key: 7 };

/// Small segments, so that there are many.
fn options() -> Options {
    Options { segment_bytes: 16 * 1024, ..Options::default() }
}

fn member() -> Member {
    Member { raft_id: 5, node_id: "node".to_owned(), cluster_id: "cluster".to_owned() }
}

fn entry(index: u64, term: u64) -> Entry {
    let data = Bytes::from(format!("entry {index} of term {term}").repeat(20));
    Entry { index, term, kind: EntryKind::Normal, data }
}

fn entries(indices: impl IntoIterator<Item = u64>, term: u64) -> Vec<Entry> {
    indices.into_iter().map(|index| entry(index, term)).collect()
}

fn hard_state(term: u64, commit: u64) -> HardState {
    HardState { term, vote: 5, commit }
}

fn append(indices: impl IntoIterator<Item = u64>, term: u64) -> Append {
    let entries = entries(indices, term);
    let commit = entries.first().map_or(0, |first| first.index - 1);
    Append { entries, hard_state: Some(hard_state(term, commit)) }
}

fn objects(count: usize) -> Vec<Bytes> {
    (0..count).map(|number| Bytes::from(format!("object {number} ").repeat(200))).collect()
}

fn snapshot(index: u64, term: u64, count: usize) -> Snapshot {
    let info = SnapshotInfo { index, term, membership: Bytes::from_static(b"members") };
    Snapshot { info, objects: Box::new(objects(count).into_iter()) }
}

/// A writer on a simulated disk, in a tree of its own.
struct Rig {
    tree: Tree,
    writer: Address<Writer>,
}

impl Rig {
    fn start(disk: &SimulatedDisk) -> Self {
        Self::with(disk, KEY, options())
    }

    fn with(disk: &SimulatedDisk, cipher: ToyCipher, options: Options) -> Self {
        let budget = Budget { restarts: 3, within: Duration::from_secs(60) };
        let tree = Tree::root("log", budget, Census::default(), |_| {});
        let factory = Writer::factory(disk.mount(), cipher, options);
        let writer = tree.child("writer", factory);
        Self { tree, writer }
    }

    /// Starts a writer on a new disk and begins its log.
    async fn begin(disk: &SimulatedDisk) -> Self {
        let rig = Self::start(disk);
        assert!(rig.recover().await.unwrap().member.is_none());
        rig.ask(Begin(member())).await.unwrap();
        rig
    }

    async fn ask<M, T>(&self, message: M) -> Result<T, Error>
    where
        Writer: Handler<M>,
        M: Message<Result = Result<T, Error>> + Send + 'static,
        T: Send + 'static,
    {
        self.writer.send(message).await.expect("the writer lives")
    }

    async fn recover(&self) -> Result<Recovered, Error> {
        self.ask(Recover).await
    }

    /// Ends this life of the member and starts the next one on the same disk.
    fn crash(self, disk: &SimulatedDisk, crash: Crash) -> Self {
        self.tree.abort();
        disk.crash(crash);
        disk.set_temper(Temper::default());
        Self::start(disk)
    }

    async fn objects(&self) -> Result<Vec<Bytes>, Error> {
        let mut objects = Vec::new();
        let mut from = Some(Cursor::default());
        while let Some(cursor) = from {
            let part = self.ask(ReadSnapshot { from: cursor }).await?;
            objects.extend(part.objects);
            from = part.next;
        }
        Ok(objects)
    }
}

fn simulate<T>(test: impl AsyncFnOnce() -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, test())
}

#[test]
fn what_was_appended_is_recovered() {
    simulate(async || {
        let disk = SimulatedDisk::new(1);
        let rig = Rig::begin(&disk).await;
        rig.ask(append(1..=3, 1)).await.unwrap();
        rig.ask(append(4..=4, 2)).await.unwrap();
        let recovered = rig.crash(&disk, Crash::Power).recover().await.unwrap();
        assert_eq!(recovered.member, Some(member()));
        assert_eq!(recovered.hard_state, hard_state(2, 3));
        assert_eq!(recovered.entries, [entries(1..=3, 1), entries(4..=4, 2)].concat());
        assert_eq!(recovered.snapshot, None);
    });
}

#[test]
fn a_conflicting_suffix_is_replaced_by_appending() {
    simulate(async || {
        let disk = SimulatedDisk::new(1);
        let rig = Rig::begin(&disk).await;
        rig.ask(append(1..=9, 1)).await.unwrap();
        rig.ask(append(4..=5, 2)).await.unwrap();
        let recovered = rig.crash(&disk, Crash::Power).recover().await.unwrap();
        assert_eq!(recovered.entries, [entries(1..=3, 1), entries(4..=5, 2)].concat());
    });
}

#[test]
fn what_waits_together_is_one_group_with_one_sync() {
    simulate(async || {
        let disk = SimulatedDisk::new(1);
        let rig = Rig::begin(&disk).await;
        let before = disk.changes();
        let answers = join_all((1..=5).map(|index| rig.ask(append([index], 1)))).await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        assert_eq!(disk.changes() - before, 2, "one write and one sync");
    });
}

#[test]
fn answers_come_in_the_order_of_the_requests() {
    simulate(async || {
        let disk = SimulatedDisk::new(1);
        let rig = Rig::begin(&disk).await;
        disk.set_temper(Temper {
            sync_time: Duration::from_millis(5)..Duration::from_millis(50),
            ..Temper::default()
        });
        let order = std::cell::RefCell::new(Vec::new());
        let asked = (1..=30).map(|index| {
            let (rig, order) = (&rig, &order);
            async move {
                sleep(Duration::from_millis(index)).await;
                rig.ask(append([index], 1)).await.unwrap();
                order.borrow_mut().push(index);
            }
        });
        join_all(asked).await;
        assert!(order.into_inner().is_sorted());
    });
}

#[test]
fn appends_do_not_wait_for_a_snapshot_of_this_member_but_for_one_of_the_leader() {
    simulate(async || {
        let disk = SimulatedDisk::new(1);
        let unmarked = Options { mark_after: Duration::from_secs(3600), ..options() };
        let rig = Rig::with(&disk, KEY, unmarked);
        rig.recover().await.unwrap();
        rig.ask(Begin(member())).await.unwrap();
        rig.ask(append(1..=5, 1)).await.unwrap();
        let second = Duration::from_secs(1);
        disk.set_temper(Temper { sync_time: second..second, ..Temper::default() });
        let began = tokio::time::Instant::now();
        let saved = async {
            rig.ask(SaveSnapshot(snapshot(4, 1, 100))).await.unwrap();
            began.elapsed()
        };
        let appended = async {
            rig.ask(append([6], 1)).await.unwrap();
            began.elapsed()
        };
        let (saved, appended) = tokio::join!(saved, appended);
        assert_eq!((appended, saved), (second, 3 * second));

        let began = tokio::time::Instant::now();
        let installed = rig.ask(InstallSnapshot(snapshot(9, 2, 100)));
        let (installed, appended) = tokio::join!(installed, rig.ask(append([10], 2)));
        assert!(installed.is_ok() && appended.is_ok());
        assert_eq!(began.elapsed(), 4 * second);
    });
}

#[test]
fn a_snapshot_comes_back_object_by_object() {
    simulate(async || {
        let disk = SimulatedDisk::new(1);
        let rig = Rig::begin(&disk).await;
        rig.ask(append(1..=9, 1)).await.unwrap();
        rig.ask(SaveSnapshot(snapshot(7, 1, 900))).await.unwrap();
        let rig = rig.crash(&disk, Crash::Power);
        let recovered = rig.recover().await.unwrap();
        assert_eq!(recovered.snapshot, Some(snapshot(7, 1, 0).info));
        assert_eq!(recovered.entries, entries(8..=9, 1));
        assert_eq!(recovered.hard_state.commit, 7, "never before the snapshot");
        assert_eq!(rig.objects().await.unwrap(), objects(900));
    });
}

#[test]
fn a_snapshot_of_the_leader_replaces_what_it_does_not_continue() {
    simulate(async || {
        let disk = SimulatedDisk::new(1);
        let rig = Rig::begin(&disk).await;
        rig.ask(append(1..=9, 1)).await.unwrap();
        rig.ask(InstallSnapshot(snapshot(5, 2, 1))).await.unwrap();
        rig.ask(append(6..=7, 2)).await.unwrap();
        let rig = rig.crash(&disk, Crash::Power);
        let recovered = rig.recover().await.unwrap();
        assert_eq!(recovered.entries, entries(6..=7, 2));
        assert_eq!(recovered.snapshot, Some(snapshot(5, 2, 0).info));
    });
}

#[test]
fn only_one_snapshot_is_saved_at_a_time() {
    simulate(async || {
        let disk = SimulatedDisk::new(1);
        let rig = Rig::begin(&disk).await;
        rig.ask(append(1..=9, 1)).await.unwrap();
        let (first, second) = tokio::join!(
            rig.ask(SaveSnapshot(snapshot(5, 1, 900))),
            rig.ask(SaveSnapshot(snapshot(6, 1, 900)))
        );
        assert!(first.is_ok());
        assert!(matches!(second, Err(Error::SnapshotRunning)));
    });
}

#[test]
fn a_snapshot_that_cannot_be_written_leaves_the_log_as_it_was() {
    for (action, is_full) in [("writing", true), ("syncing", false)] {
        simulate(async || {
            let disk = SimulatedDisk::new(1);
            let rig = Rig::begin(&disk).await;
            rig.ask(append(1..=9, 1)).await.unwrap();
            disk.set_temper(Temper {
                capacity: is_full.then(|| disk.used()),
                syncs_until_failure: (!is_full).then_some(0),
                ..Temper::default()
            });
            let error = rig.ask(SaveSnapshot(snapshot(7, 1, 900))).await.unwrap_err();
            let file = "0000000000000007.snapshot.new";
            assert_eq!(
                error.to_string(),
                format!("the snapshot was not written: {action} {file} failed")
            );
            disk.set_temper(Temper::default());
            assert!(disk.names().iter().all(|name| name != file), "it takes no room");
            rig.ask(append(10..=12, 1)).await.unwrap();
            rig.ask(SaveSnapshot(snapshot(8, 1, 10))).await.unwrap();
            let recovered = rig.crash(&disk, Crash::Power).recover().await.unwrap();
            assert_eq!(recovered.snapshot, Some(snapshot(8, 1, 0).info), "{action}");
            assert_eq!(recovered.entries, entries(9..=12, 1));
        });
    }
}

#[test]
fn a_snapshot_whose_name_may_not_be_durable_is_the_end() {
    simulate(async || {
        let disk = SimulatedDisk::new(1);
        let rig = Rig::begin(&disk).await;
        rig.ask(append(1..=9, 1)).await.unwrap();
        // The file itself is synced before.
        disk.set_temper(Temper { syncs_until_failure: Some(1), ..Temper::default() });
        let error = rig.ask(SaveSnapshot(snapshot(7, 1, 1))).await.unwrap_err();
        assert!(matches!(error, Error::Failed { action: Action::Sync, .. }), "{error}");
        disk.set_temper(Temper::default());
        assert!(matches!(rig.ask(append([10], 1)).await, Err(Error::Failed { .. })));
        let recovered = rig.crash(&disk, Crash::Power).recover().await.unwrap();
        assert_eq!(recovered.entries.last().map(|entry| entry.index), Some(9));
    });
}

#[test]
fn compaction_removes_what_the_snapshot_covers() {
    simulate(async || {
        let disk = SimulatedDisk::new(1);
        let rig = Rig::begin(&disk).await;
        for index in 1..=60 {
            rig.ask(append([index], 1)).await.unwrap();
        }
        rig.ask(Compact { to: 60 }).await.unwrap();
        let all = disk.names().len();
        assert!(all > 5, "nothing is removed without a snapshot: {:?}", disk.names());
        rig.ask(SaveSnapshot(snapshot(20, 1, 1))).await.unwrap();
        rig.ask(SaveSnapshot(snapshot(40, 1, 1))).await.unwrap();
        rig.ask(Compact { to: 60 }).await.unwrap();
        let names = disk.names();
        assert!(names.len() < all - 2, "{names:?}");
        assert_eq!(names.iter().filter(|name| name.ends_with(".snapshot")).count(), 1);
        let recovered = rig.crash(&disk, Crash::Power).recover().await.unwrap();
        assert_eq!(recovered.entries, entries(41..=60, 1));
        assert_eq!(recovered.member, Some(member()));
        assert_eq!(recovered.hard_state, hard_state(1, 59));
    });
}

#[test]
fn a_group_larger_than_a_segment_gets_a_segment_of_its_own() {
    simulate(async || {
        let disk = SimulatedDisk::new(1);
        let rig = Rig::begin(&disk).await;
        rig.ask(append(1..=500, 1)).await.unwrap();
        rig.ask(append([501], 1)).await.unwrap();
        let recovered = rig.crash(&disk, Crash::Power).recover().await.unwrap();
        assert_eq!(recovered.entries, entries(1..=501, 1));
    });
}

#[test]
fn a_failed_sync_is_final() {
    simulate(async || {
        let disk = SimulatedDisk::new(1);
        let rig = Rig::begin(&disk).await;
        rig.ask(append([1], 1)).await.unwrap();
        disk.set_temper(Temper { syncs_until_failure: Some(0), ..Temper::default() });
        let error = rig.ask(append([2], 1)).await.unwrap_err();
        assert_eq!(error.to_string(), "the log is closed: syncing 0000000000000001.log failed");
        assert!(std::error::Error::source(&error).is_some());

        disk.set_temper(Temper::default());
        let before = disk.changes();
        assert!(matches!(rig.ask(append([3], 1)).await, Err(Error::Failed { .. })));
        assert!(matches!(
            rig.ask(SaveSnapshot(snapshot(1, 1, 1))).await,
            Err(Error::Failed { .. })
        ));
        assert!(matches!(rig.recover().await, Err(Error::Failed { .. })));
        assert_eq!(disk.changes(), before, "nothing is tried again");

        let recovered = rig.crash(&disk, Crash::Power).recover().await.unwrap();
        assert_eq!(recovered.entries, entries([1], 1));
    });
}

#[test]
fn a_failed_sync_is_final_for_the_next_life_of_the_writer_too() {
    simulate(async || {
        let disk = SimulatedDisk::new(1);
        let rig = Rig::begin(&disk).await;
        disk.set_temper(Temper { syncs_until_failure: Some(1), ..Temper::default() });
        rig.ask(append([1], 1)).await.unwrap();
        rig.ask(append([2], 1)).await.unwrap_err();
        disk.set_temper(Temper::default());
        struct Die;
        impl Message for Die {
            type Result = ();
        }
        impl Handler<Die> for Writer {
            type Result = ();

            fn handle(&mut self, _: Die, _: &mut Context<Self>) {
                crate::supervision::fail(&"told to die");
            }
        }
        rig.writer.send(Die).await.unwrap_err();
        assert!(matches!(rig.recover().await, Err(Error::Failed { .. })));
    });
}

/// Found by seed 1 of the simulated cluster, once its disks could fail.
#[test]
fn what_a_failed_sync_left_in_the_page_cache_is_durable_once_it_is_recovered() {
    simulate(async || {
        let disk = SimulatedDisk::new(1);
        let rig = Rig::begin(&disk).await;
        rig.ask(append(1..=3, 1)).await.unwrap();
        disk.set_temper(Temper { syncs_until_failure: Some(0), ..Temper::default() });
        rig.ask(append(4..=5, 1)).await.unwrap_err();
        let rig = rig.crash(&disk, Crash::Process);
        let recovered = rig.recover().await.unwrap().entries;
        assert_eq!(recovered.len(), 5, "the page cache has them");
        rig.ask(append(6..=6, 1)).await.unwrap();
        let rig = rig.crash(&disk, Crash::Power);
        assert_eq!(rig.recover().await.unwrap().entries.len(), 6);
    });
}

#[test]
fn a_writer_that_died_is_recovered_before_it_appends() {
    simulate(async || {
        let disk = SimulatedDisk::new(1);
        let rig = Rig::begin(&disk).await;
        rig.ask(append([1], 1)).await.unwrap();
        rig.writer.send(append([9], 1)).await.expect_err("a gap is a fault of raft's");
        assert!(matches!(rig.ask(append([2], 1)).await, Err(Error::NotRecovered)));
        assert_eq!(rig.recover().await.unwrap().entries, entries([1], 1));
        rig.ask(append([2], 1)).await.unwrap();
    });
}

#[test]
fn a_full_disk_is_one_clear_error_and_loses_nothing() {
    simulate(async || {
        let disk = SimulatedDisk::new(1);
        let rig = Rig::begin(&disk).await;
        disk.set_temper(Temper { capacity: Some(40 * 1024), ..Temper::default() });
        let mut acknowledged = 0;
        let error = loop {
            match rig.ask(append([acknowledged + 1], 1)).await {
                Ok(()) => acknowledged += 1,
                Err(error) => break error,
            }
        };
        let text = error.to_string();
        assert_eq!(text, "the log is closed: creating 0000000000000003.log.new failed");
        let Error::Failed { source, .. } = error else { panic!("{error}") };
        assert_eq!(source.kind(), io::ErrorKind::StorageFull);
        let recovered = rig.crash(&disk, Crash::Process).recover().await.unwrap();
        assert_eq!(recovered.entries, entries(1..=acknowledged, 1));
    });
}

#[test]
fn requests_out_of_order_are_told_what_comes_first() {
    simulate(async || {
        let disk = SimulatedDisk::new(1);
        let rig = Rig::start(&disk);
        assert!(matches!(rig.ask(append([1], 1)).await, Err(Error::NotRecovered)));
        rig.recover().await.unwrap();
        assert!(matches!(rig.ask(append([1], 1)).await, Err(Error::NotBegun)));
        rig.ask(Begin(member())).await.unwrap();
        assert!(matches!(rig.ask(Begin(member())).await, Err(Error::AlreadyBegun)));
        assert!(rig.objects().await.unwrap().is_empty(), "no snapshot has no objects");
    });
}
