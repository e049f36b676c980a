//! The write-ahead log: what raft acknowledges is in here, synced, before anyone is told.
//!
//! It knows entries, hard states and snapshots as bytes; what is in them is for raft and the
//! store. The byte layout and the rule of recovery are in `docs/design/log.md`.

use std::{cell::OnceCell, collections::VecDeque, mem, rc::Rc, time::Duration};

use actix::{
    Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, ResponseActFuture, SpawnHandle,
    WrapFuture,
};
use bytes::Bytes;
use tokio::sync::oneshot;

mod error;
mod files;
mod journal;
mod logic;
mod port;
mod recover;
#[cfg(any(test, feature = "testing"))]
pub mod simulated;
mod snapshots;
#[cfg(test)]
mod tests;
mod work;

pub use error::{Action, Error};
pub use port::{Cipher, Disk, File};

/// Whether a directory with files of these names holds no log: at most what a crash has left of one
/// that was being started, which is removed when it is started again.
pub fn is_none(names: Vec<String>) -> bool {
    let listing = logic::names::sort(names);
    listing.segments.is_empty() && listing.snapshots.is_empty() && listing.foreign.is_none()
}

use crate::{supervised, supervision::Life};
use files::Directory;
use snapshots::SavedSnapshot;
use work::{Log, Reply, Work};

/// The one writer of a raft directory. In production it has a thread of its own, because a sync
/// holds up everything on its thread.
pub struct Writer {
    directory: Directory,
    options: Options,
    /// The failure that closed the log; outlives the lives of the actor.
    fate: Rc<OnceCell<Error>>,
    /// Nothing while work is going on: the work has it.
    log: Option<Log>,
    queue: VecDeque<Work>,
    woken: bool,
    saving: Option<SpawnHandle>,
    quiet: Option<SpawnHandle>,
}

/// How the log is written. The defaults are for production.
#[derive(Debug, Clone)]
pub struct Options {
    /// The size of a segment, unless a single group needs more.
    pub segment_bytes: u64,
    /// How long nothing is written before the durable mark is.
    pub mark_after: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { segment_bytes: 16 * 1024 * 1024, mark_after: Duration::from_millis(200) }
    }
}

/// One entry of the raft log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The entry's number; entries follow each other without a gap.
    pub index: u64,
    /// The term of the leader that proposed it.
    pub term: u64,
    /// What `data` is.
    pub kind: EntryKind,
    /// The payload; may be empty.
    pub data: Bytes,
}

/// What the payload of an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A request to the store.
    Normal,
    /// A change of the members.
    ConfChange,
}

/// What raft must not forget beside the entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HardState {
    /// The latest term seen.
    pub term: u64,
    /// The member voted for in that term, 0 for none.
    pub vote: u64,
    /// The highest entry known committed.
    pub commit: u64,
}

/// Whose log this is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The raft id.
    pub raft_id: u64,
    /// The node's id.
    pub node_id: String,
    /// The cluster's id; empty while a new cluster has none.
    pub cluster_id: String,
}

/// What a snapshot says beside the objects of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// The last entry that the snapshot covers.
    pub index: u64,
    /// The term of that entry.
    pub term: u64,
    /// The members and the raft configuration at that entry, encoded by raft.
    pub membership: Bytes,
}

/// A snapshot on its way to the disk. The objects are pulled one by one while it is written.
pub struct Snapshot {
    /// What it covers.
    pub info: SnapshotInfo,
    /// The objects of the store, each encoded by the store.
    pub objects: Box<dyn Iterator<Item = Bytes> + Send>,
}

/// Everything that was acknowledged, and perhaps a little that was not.
#[derive(Debug, Clone, Default)]
pub struct Recovered {
    /// Whose log it is; none when the directory is new, and [`Begin`] comes next.
    pub member: Option<Member>,
    /// Fits the rest: `commit` is neither before the snapshot nor after the last entry.
    pub hard_state: HardState,
    /// The newest snapshot; its objects are asked for with [`ReadSnapshot`].
    pub snapshot: Option<SnapshotInfo>,
    /// The entries after the snapshot, without a gap.
    pub entries: Vec<Entry>,
}

/// Reads the directory, cuts what was never acknowledged, and makes the log ready to append to.
///
/// Comes first in every life of the writer, and again when raft is rebuilt.
#[derive(Debug, Message)]
#[rtype(result = "Result<Recovered, Error>")]
pub struct Recover;

/// Starts the log of a new member, after [`Recover`] found none.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), Error>")]
pub struct Begin(pub Member);

/// Adds entries and a hard state. Answered when both are durable, in the order of the requests.
///
/// The first entry replaces the entry of its index and everything after it, so a follower cuts a
/// conflicting suffix by appending what replaces it.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), Error>")]
pub struct Append {
    /// Consecutive entries; the first is at most one after the last of the log.
    pub entries: Vec<Entry>,
    /// The new hard state, if it has changed.
    pub hard_state: Option<HardState>,
}

/// Writes a snapshot of what this member has applied, in the background: appends go on meanwhile.
/// Answered when it is durable. When it cannot be written, the log goes on as before.
#[derive(Message)]
#[rtype(result = "Result<(), Error>")]
pub struct SaveSnapshot(pub Snapshot);

/// Writes a snapshot that came from the leader. Unless the log holds the snapshot's last entry,
/// everything in it is replaced. Requests that follow wait for it.
#[derive(Message)]
#[rtype(result = "Result<(), Error>")]
pub struct InstallSnapshot(pub Snapshot);

/// Removes whole segments whose entries are all at or before `to` and in the newest snapshot,
/// and the snapshots before the newest.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), Error>")]
pub struct Compact {
    /// The last entry that is no longer needed.
    pub to: u64,
}

/// Reads a part of the newest snapshot's objects.
#[derive(Debug, Message)]
#[rtype(result = "Result<SnapshotPart, Error>")]
pub struct ReadSnapshot {
    /// Where to begin; [`Cursor::default`] for the first part.
    pub from: Cursor,
}

/// A place between two parts of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cursor(u64);

/// Some objects of a snapshot, in the order they were written.
#[derive(Debug)]
pub struct SnapshotPart {
    /// About a mebibyte of objects.
    pub objects: Vec<Bytes>,
    /// Where to go on; none after the last object.
    pub next: Option<Cursor>,
}

impl Writer {
    /// Returns what supervision calls for each life of the writer.
    ///
    /// A failure in one life is the failure of all that follow: no restart makes a disk good again.
    pub fn factory(
        disk: impl Disk,
        cipher: impl Cipher,
        options: Options,
    ) -> impl FnMut(Life) -> Self {
        let directory = Directory::new(Rc::new(disk), Rc::new(cipher));
        let fate = Rc::new(OnceCell::new());
        move |_| Self {
            directory: directory.clone(),
            options: options.clone(),
            fate: fate.clone(),
            log: Some(Log::Unread),
            queue: VecDeque::new(),
            woken: false,
            saving: None,
            quiet: None,
        }
    }

    /// Puts a request into the queue and returns what answers it.
    fn ask<T: 'static>(
        &mut self,
        ctx: &mut Context<Self>,
        work: impl FnOnce(Reply<T>) -> Work,
    ) -> ResponseActFuture<Self, Result<T, Error>> {
        let (reply, answer) = oneshot::channel();
        self.queue.push_back(work(reply));
        self.wake(ctx);
        // A snapshot that is being saved is given up when the log is recovered anew.
        let answer = async { answer.await.unwrap_or(Err(Error::NotRecovered)) };
        Box::pin(answer.into_actor(self))
    }

    /// Lets the next work begin once the mailbox is empty, so that all of it is one group.
    fn wake(&mut self, ctx: &mut Context<Self>) {
        if !mem::replace(&mut self.woken, true) {
            ctx.spawn(async {}.into_actor(self).map(|(), writer, ctx| {
                writer.woken = false;
                writer.proceed(ctx);
            }));
        }
    }

    /// Begins the next work, unless some is going on.
    fn proceed(&mut self, ctx: &mut Context<Self>) {
        if let Some(failure) = self.fate.get() {
            self.queue.drain(..).for_each(|work| work.refuse(failure));
            return;
        }
        let Some(log) = self.log.take() else { return };
        match work::take(&mut self.queue) {
            None => {
                self.rest(ctx, &log);
                self.log = Some(log);
            }
            Some(Work::Save(snapshot, reply)) if matches!(log, Log::Open(_)) => {
                self.log = Some(log);
                self.save(ctx, snapshot, reply);
                self.wake(ctx);
            }
            Some(work) => self.run(ctx, log, work),
        }
    }

    fn run(&mut self, ctx: &mut Context<Self>, log: Log, work: Work) {
        let outdated = matches!(work, Work::Recover(_)).then(|| self.saving.take()).flatten();
        for spawned in outdated.into_iter().chain(self.quiet.take()) {
            ctx.cancel_future(spawned);
        }
        let (directory, segment_bytes) = (self.directory.clone(), self.options.segment_bytes);
        let done = async move { work::run(&directory, segment_bytes, log, work).await };
        ctx.spawn(done.into_actor(self).map(|done, writer, ctx| {
            match done {
                Ok(log) => writer.log = Some(log),
                Err(failure) => writer.close(ctx, failure),
            }
            writer.wake(ctx);
        }));
    }

    /// Writes a snapshot beside the log.
    fn save(&mut self, ctx: &mut Context<Self>, snapshot: Snapshot, reply: Reply<()>) {
        if self.saving.is_some() {
            return Work::Save(snapshot, reply).refuse(&Error::SnapshotRunning);
        }
        let directory = self.directory.clone();
        let saved = async move { SavedSnapshot::save(&directory, snapshot).await };
        self.saving = Some(ctx.spawn(saved.into_actor(self).map(|saved, writer, ctx| {
            writer.saving = None;
            match saved {
                Ok(saved) => writer.queue.push_back(Work::Cover(saved, reply)),
                Err(failure) => {
                    if !matches!(failure, Error::NotSaved { .. }) {
                        writer.close(ctx, failure.clone());
                    }
                    reply.send(Err(failure)).ok();
                }
            }
            writer.wake(ctx);
        })));
    }

    /// Once nothing has been written for a while, writes the durable mark.
    fn rest(&mut self, ctx: &mut Context<Self>, log: &Log) {
        let unmarked = matches!(log, Log::Open(journal) if journal.is_unmarked());
        if unmarked && self.quiet.is_none() {
            self.quiet = Some(ctx.run_later(self.options.mark_after, |writer, ctx| {
                writer.quiet = None;
                writer.queue.push_back(Work::Mark);
                writer.wake(ctx);
            }));
        }
    }

    /// From now on nothing is written, and every request is answered with the failure.
    fn close(&mut self, ctx: &mut Context<Self>, failure: Error) {
        self.fate.get_or_init(|| failure);
        for spawned in self.saving.take().into_iter().chain(self.quiet.take()) {
            ctx.cancel_future(spawned);
        }
        if self.log.is_none() {
            self.log = Some(Log::Unread);
        }
    }
}

impl Actor for Writer {
    type Context = Context<Self>;
}

supervised!(Writer, mailbox = 1024);

impl Handler<Recover> for Writer {
    type Result = ResponseActFuture<Self, Result<Recovered, Error>>;

    fn handle(&mut self, _: Recover, ctx: &mut Context<Self>) -> Self::Result {
        self.ask(ctx, Work::Recover)
    }
}

impl Handler<Begin> for Writer {
    type Result = ResponseActFuture<Self, Result<(), Error>>;

    fn handle(&mut self, Begin(member): Begin, ctx: &mut Context<Self>) -> Self::Result {
        self.ask(ctx, |reply| Work::Begin(member, reply))
    }
}

impl Handler<Append> for Writer {
    type Result = ResponseActFuture<Self, Result<(), Error>>;

    fn handle(&mut self, append: Append, ctx: &mut Context<Self>) -> Self::Result {
        self.ask(ctx, |reply| Work::append(append, reply))
    }
}

impl Handler<SaveSnapshot> for Writer {
    type Result = ResponseActFuture<Self, Result<(), Error>>;

    fn handle(
        &mut self,
        SaveSnapshot(snapshot): SaveSnapshot,
        ctx: &mut Context<Self>,
    ) -> Self::Result {
        self.ask(ctx, |reply| Work::Save(snapshot, reply))
    }
}

impl Handler<InstallSnapshot> for Writer {
    type Result = ResponseActFuture<Self, Result<(), Error>>;

    fn handle(
        &mut self,
        InstallSnapshot(snapshot): InstallSnapshot,
        ctx: &mut Context<Self>,
    ) -> Self::Result {
        self.ask(ctx, |reply| Work::Install(snapshot, reply))
    }
}

impl Handler<Compact> for Writer {
    type Result = ResponseActFuture<Self, Result<(), Error>>;

    fn handle(&mut self, Compact { to }: Compact, ctx: &mut Context<Self>) -> Self::Result {
        self.ask(ctx, |reply| Work::Compact(to, reply))
    }
}

impl Handler<ReadSnapshot> for Writer {
    type Result = ResponseActFuture<Self, Result<SnapshotPart, Error>>;

    fn handle(
        &mut self,
        ReadSnapshot { from }: ReadSnapshot,
        ctx: &mut Context<Self>,
    ) -> Self::Result {
        self.ask(ctx, |reply| Work::Read(from, reply))
    }
}
