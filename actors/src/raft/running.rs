//! A member that takes part: raft-rs, and what lies between it and the disk, the store and the
//! rest of the program.

use std::{collections::VecDeque, mem};

use bytes::Bytes;
use prost::Message as _;
use protocol::wire;
use raft::{
    RawNode, StateRole,
    eraftpb::{Entry, EntryType, Message, MessageType, Snapshot},
};

use super::{
    Error, LeadershipChanged, Status, logic, membership::Membership, reads::Reads,
    storage::Storage, unsaved::Unsaved,
};
use crate::{
    log::{self, SnapshotInfo},
    store::{Committed, Event, Propose, Refused, Restore, View},
};

/// A member that takes part.
pub(super) struct Running {
    pub(super) node: RawNode<Storage>,
    pub(super) unsaved: Unsaved,
    pub(super) reads: Reads,
    /// For the store, which is told one batch after the other.
    pub(super) outbox: Vec<Event>,
    pub(super) telling: bool,
    /// The last entry that went into the outbox, and the last that the store has applied.
    pub(super) delivered: u64,
    pub(super) applied: u64,
    /// The term in which the store was told to lead.
    pub(super) leading: Option<u64>,
    /// Changes of leadership that nobody outside has heard of, in order.
    pub(super) announcements: VecDeque<LeadershipChanged>,
    pub(super) announcing: bool,
    /// A sole voter does not wait for an election; once is enough.
    pub(super) campaigned: bool,
    pub(super) snapshot_index: u64,
    pub(super) saving_snapshot: bool,
}

impl Running {
    /// Begins with what is to be told first, after everything up to `index`.
    pub(super) fn new(node: RawNode<Storage>, recovered: Event, index: u64) -> Self {
        Self {
            node,
            unsaved: Unsaved::default(),
            reads: Reads::default(),
            outbox: vec![recovered],
            telling: false,
            delivered: index,
            applied: index,
            leading: None,
            // An earlier life may have led.
            announcements: VecDeque::from([LeadershipChanged { term: None }]),
            announcing: false,
            campaigned: false,
            snapshot_index: index,
            saving_snapshot: false,
        }
    }

    pub(super) fn voters(&self) -> Vec<u64> {
        self.node.store().members().get_voters().to_vec()
    }

    /// A snapshot of the leader replaces the store.
    pub(super) fn install(&mut self, snapshot: &Snapshot) -> Result<(), Error> {
        let about = snapshot.get_metadata();
        let (view, members) = decode(snapshot)?;
        let membership = members.encode(about.get_conf_state());
        let info = SnapshotInfo { index: about.get_index(), term: about.get_term(), membership };
        let objects = Box::new(view.encode());
        self.unsaved.add_snapshot(log::Snapshot { info, objects });
        self.node.mut_store().install(about, members);
        self.snapshot_index = about.get_index();
        self.delivered = about.get_index();
        self.outbox.push(Event::Restore { view });
        Ok(())
    }

    /// Tells raft-rs how much is applied. The store may have a snapshot before it is durable, which
    /// raft-rs does not want to know.
    pub(super) fn advance(&mut self) {
        let log = &self.node.raft.raft_log;
        let applied = self.applied.min(log.persisted);
        if applied > log.applied {
            self.node.advance_apply_to(applied);
        }
    }

    /// Whether a snapshot of the leader is still on its way to the disk or to the store.
    pub(super) fn is_installing(&self) -> bool {
        self.node.raft.raft_log.applied < self.node.store().cut_index()
    }

    pub(super) fn deliver(&mut self, entries: Vec<Entry>) {
        let Some(last) = entries.last() else { return };
        self.delivered = last.get_index();
        let committed = entries.into_iter().map(|entry| self.committed(entry)).collect();
        self.outbox.push(Event::Apply(committed));
    }

    fn committed(&mut self, mut entry: Entry) -> Committed {
        let (index, term) = (entry.get_index(), entry.get_term());
        let data = match entry.get_entry_type() {
            EntryType::EntryNormal => mem::take(&mut entry.data),
            EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => {
                self.change_members(&entry);
                Bytes::new()
            }
        };
        Committed { index, term, data }
    }

    fn change_members(&mut self, entry: &Entry) {
        self.node.mut_store().membership_mut().follow(&entry.data);
        let Some(change) = logic::conf_change(&entry.data) else { return };
        match self.node.apply_conf_change(&change) {
            Ok(members) => self.node.mut_store().set_members(members, entry.get_index()),
            Err(error) => {
                tracing::error!(index = entry.get_index(), %error, "a change of the members is refused");
            }
        }
    }

    /// Notes when this member begins to lead, which is once everything is on its way to the store,
    /// and when it ceases to.
    pub(super) fn follow_leadership(&mut self) {
        let raft = &self.node.raft;
        let leads = (raft.state == StateRole::Leader).then_some(raft.term);
        if self.leading.is_some() && self.leading != leads {
            self.leading = None;
            self.outbox.push(Event::Follow);
            self.announcements.push_back(LeadershipChanged { term: None });
            self.reads.lost();
        }
        let last = raft.raft_log.last_index();
        if let (None, Some(term)) = (self.leading, leads)
            && self.delivered == last
        {
            self.leading = Some(term);
            self.outbox.push(Event::Lead { term, next_index: last + 1 });
            self.announcements.push_back(LeadershipChanged { term: Some(term) });
        }
    }

    pub(super) fn propose(&mut self, propose: Propose) -> Result<(), Refused> {
        let Propose { term, first_index, entries } = propose;
        let raft = &mut self.node.raft;
        let leads = raft.state == StateRole::Leader && raft.term == term;
        if !leads || self.leading != Some(term) || first_index != raft.raft_log.last_index() + 1 {
            return Err(Refused::NotLeading);
        }
        let mut message = Message::default();
        message.set_msg_type(MessageType::MsgPropose);
        message.set_from(raft.id);
        let entry = |data| {
            let mut entry = Entry::default();
            entry.set_data(data);
            entry
        };
        message.set_entries(entries.into_iter().map(entry).collect());
        // Nothing but its limit on what is in flight can refuse a leader's own proposal.
        raft.step(message).map_err(|_| Refused::Busy)
    }

    #[cfg(any(test, feature = "testing"))]
    pub(super) fn committed_since(&self, from: u64) -> Vec<Committed> {
        use raft::{GetEntriesContext, Storage as _};
        let (storage, raft) = (self.node.store(), &self.node.raft);
        let from = from.max(storage.first_index().unwrap_or(1));
        // What is not stable yet is in the storage already.
        let to = raft.raft_log.committed.min(storage.last_index().unwrap_or_default()) + 1;
        if from >= to {
            return Vec::new();
        }
        let entries = storage.entries(from, to, None, GetEntriesContext::empty(false));
        let committed = entries.unwrap_or_default().into_iter().map(|entry| Committed {
            index: entry.get_index(),
            term: entry.get_term(),
            data: entry.data,
        });
        committed.collect()
    }

    pub(super) fn status(&self) -> Status {
        let raft = &self.node.raft;
        Status {
            raft_id: raft.id,
            term: raft.term,
            leader: Some(raft.leader_id).filter(|leader| *leader != raft::INVALID_ID),
            committed: raft.raft_log.committed,
            applied: self.applied,
            last: raft.raft_log.last_index(),
            voters: self.voters(),
            members: self.node.store().membership().shown(),
        }
    }
}

/// The objects and the members that another manager sent.
fn decode(snapshot: &Snapshot) -> Result<(View, Membership), Error> {
    let sent = wire::Snapshot::decode(snapshot.data.clone())
        .map_err(|error| Error::Refused(format!("the leader's snapshot is damaged: {error}")))?;
    let mut restore = Restore::default();
    restore.add_snapshot(sent.store.unwrap_or_default());
    let members = Membership::of(sent.membership.unwrap_or_default().members);
    Ok((restore.finish(snapshot.get_metadata().get_index()), members))
}
