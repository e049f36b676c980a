//! How a peer begins: from its log, or with the first entries of a new cluster.

use protocol::wire::RaftMember;
use raft::{RawNode, ReadOnlyOption, eraftpb::ConfState};

use super::{
    Config, Error, Founder, Links, Removed,
    logger::logger,
    logic::{Change, from_entry, from_hard_state, go_alone},
    membership::Membership,
    storage::{Place, Storage},
};
use crate::{
    log::{
        self, Append, Begin, Cursor, Entry, EntryKind, HardState, ReadSnapshot, Recover, Recovered,
        SnapshotInfo, Writer,
    },
    store::{Restore, View},
    supervision::{Address, Closed},
};

/// An append of raft is about this large; a single entry may be larger.
const MESSAGE_BYTES: u64 = 1 << 20;

/// How many appends may be on the way to one member.
const MESSAGES_IN_FLIGHT: usize = 256;

/// How much may be proposed and not committed.
const UNCOMMITTED_BYTES: u64 = 64 << 20;

/// How much is handed to the store at once.
const COMMITTED_BYTES: u64 = 4 << 20;

/// How many objects of a snapshot are read before others get their turn.
const OBJECTS: usize = 128;

/// The term of the entries that found a cluster.
const FOUNDING_TERM: u64 = 1;

/// Where a peer begins.
pub(super) struct Beginning {
    pub(super) node: RawNode<Storage>,
    /// What the snapshot holds.
    pub(super) view: View,
}

/// Why nothing could begin.
pub(super) enum Failure {
    /// For good.
    Ended(Error),
    /// The log died and is restarting; the next life will find it.
    LogRestarting,
}

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Ended(error.into())
    }
}

/// Asks the log, and answers only once it has.
pub(super) async fn ask<M, T, E>(writer: &Address<Writer>, message: M) -> Result<T, Failure>
where
    Writer: actix::Handler<M>,
    M: actix::Message<Result = Result<T, E>> + Send + 'static,
    T: Send + 'static,
    E: Into<Error> + Send + 'static,
{
    match writer.send(message).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => {
            let error = error.into();
            // A new life of the log, which nobody has asked to recover.
            let unread = matches!(error, Error::Log(log::Error::NotRecovered));
            Err(if unread { Failure::LogRestarting } else { Failure::Ended(error) })
        }
        Err(Closed) => Err(Failure::LogRestarting),
    }
}

/// Reads the log, or founds a new one.
pub(super) async fn recover(config: &Config, links: &Links) -> Result<Beginning, Failure> {
    let log = &links.log;
    let mut recovered: Recovered = ask(log, Recover).await?;
    let member = match recovered.member.take() {
        Some(member) if member.node_id == config.member.node_id => member,
        Some(member) => {
            let (found, expected) = (member.node_id, config.member.node_id.clone());
            return Err(Error::AnotherNode { found, expected }.into());
        }
        None => {
            let member = config.member.clone();
            let _: () = ask(log, Begin(member.clone())).await?;
            member
        }
    };
    // A crash may come between the two steps of founding.
    let new = recovered.entries.is_empty() && recovered.snapshot.is_none();
    if new && !config.founders.is_empty() {
        recovered = found(&config.founders, &member);
        let hard_state = Some(recovered.hard_state);
        let _: () = ask(log, Append { entries: recovered.entries.clone(), hard_state }).await?;
    }
    if config.force_new_cluster && !new {
        force_new_cluster(config, log, &member, &mut recovered).await?;
    }
    let view = match &recovered.snapshot {
        Some(snapshot) => read_snapshot(log, snapshot).await?,
        None => View::default(),
    };
    let node = start(config, member.raft_id, recovered)?;
    Ok(Beginning { node, view })
}

/// The log of a cluster that begins: its founders join it, and that is agreed. This member is who
/// its log says: its configuration may have been drawn anew since the log was begun.
fn found(founders: &[Founder], own: &log::Member) -> Recovered {
    let joins = |(index, founder): (u64, &Founder)| {
        let is_own = founder.node_id == own.node_id;
        joins(index, if is_own { own.raft_id } else { founder.raft_id }, founder)
    };
    let entries: Vec<_> = (1..).zip(founders).map(joins).collect();
    let commit = entries.len() as u64;
    let hard_state = HardState { term: FOUNDING_TERM, vote: 0, commit };
    Recovered { hard_state, entries, ..Recovered::default() }
}

/// Removes everybody else, durably.
async fn force_new_cluster(
    config: &Config,
    log: &Address<Writer>,
    member: &log::Member,
    recovered: &mut Recovered,
) -> Result<(), Failure> {
    let own = RaftMember {
        raft_id: member.raft_id,
        node_id: member.node_id.clone(),
        addr: config.address.clone(),
        status: Some(Default::default()),
    };
    let members = members(recovered.snapshot.as_ref())?;
    let Some(Append { entries, hard_state }) = go_alone(&own, members, recovered) else {
        return Ok(());
    };
    tracing::warn!(changes = entries.len(), "this manager goes on alone; all others are removed");
    let _: () = ask(log, Append { entries: entries.clone(), hard_state }).await?;
    let first = entries.first().map_or(u64::MAX, |entry| entry.index);
    recovered.entries.retain(|entry| entry.index < first);
    recovered.entries.extend(entries);
    recovered.hard_state = hard_state.unwrap_or(recovered.hard_state);
    Ok(())
}

fn joins(index: u64, raft_id: u64, founder: &Founder) -> Entry {
    let member = RaftMember {
        raft_id,
        node_id: founder.node_id.clone(),
        addr: founder.address.clone(),
        status: Some(Default::default()),
    };
    let data = Change::Votes(member).encode();
    Entry { index, term: FOUNDING_TERM, kind: EntryKind::ConfChange, data }
}

async fn read_snapshot(log: &Address<Writer>, info: &SnapshotInfo) -> Result<View, Failure> {
    let (mut restore, mut from) = (Restore::default(), Some(Cursor::default()));
    while let Some(cursor) = from {
        let part = ask(log, ReadSnapshot { from: cursor }).await?;
        for some in part.objects.chunks(OBJECTS) {
            for object in some {
                restore.add(object)?;
            }
            tokio::task::yield_now().await;
        }
        from = part.next;
    }
    Ok(restore.finish(info.index))
}

/// Who was a member when the snapshot was made; nobody before there is one.
fn members(snapshot: Option<&SnapshotInfo>) -> Result<(ConfState, Membership), Error> {
    let saved = snapshot.map(|snapshot| Membership::decode(snapshot.membership.clone()));
    saved.unwrap_or_else(|| Some(Default::default())).ok_or(Error::Members)
}

fn start(config: &Config, raft_id: u64, recovered: Recovered) -> Result<RawNode<Storage>, Error> {
    let members = members(recovered.snapshot.as_ref())?;
    if members.1.is_removed(raft_id) {
        return Err(Removed.into());
    }
    let cut = recovered.snapshot.map_or_else(Place::default, |snapshot| Place {
        index: snapshot.index,
        term: snapshot.term,
    });
    let entries = recovered.entries.into_iter().map(from_entry).collect();
    let hard_state = from_hard_state(recovered.hard_state);
    let storage = Storage::new(hard_state, members, cut, entries);
    let settings = raft::Config {
        id: raft_id,
        election_tick: config.election_ticks.start,
        min_election_tick: config.election_ticks.start,
        max_election_tick: config.election_ticks.end,
        heartbeat_tick: config.heartbeat_ticks,
        applied: cut.index,
        max_size_per_msg: MESSAGE_BYTES,
        max_inflight_msgs: MESSAGES_IN_FLIGHT,
        max_uncommitted_size: UNCOMMITTED_BYTES,
        max_committed_size_per_ready: COMMITTED_BYTES,
        check_quorum: true,
        pre_vote: true,
        read_only_option: ReadOnlyOption::Safe,
        // It sends appends that followers acknowledge without having them.
        batch_append: planted!(BatchAppend),
        ..raft::Config::default()
    };
    RawNode::new(&settings, storage, &logger()).map_err(|error| Error::Refused(error.to_string()))
}
