//! A member that takes part: raft-rs, and what lies between it and the disk, the store and the
//! rest of the program.

use std::{collections::VecDeque, mem, time::Duration};

use bytes::Bytes;
use protocol::raftpb;
use raft::{
    GetEntriesContext, ProgressState, RawNode, StateRole, Storage as _,
    eraftpb::{Entry, EntryType, Message, MessageType, Snapshot},
};

use super::{
    Error, Group, LeadershipChanged, LogPage, Standing, Status,
    changing::Changing,
    logic::{self, Change, Ours},
    membership::Membership,
    reads::Reads,
    receiving::{self, Read, Receiving},
    saving::Keeping,
    storage::{Place, RemovalEntry, Storage},
    unsaved::Unsaved,
};
use crate::{
    log::{self, SnapshotInfo},
    store::{Committed, Event, Payload, Propose, Refused},
};

/// How much of the log is given at once.
const PAGE_BYTES: u64 = 1 << 20;

/// How many entries the store is told at once, and applies in one go; after a restart it is told
/// thousands.
const TOLD_AT_ONCE: usize = 256;

/// A member that takes part.
pub(super) struct Running {
    pub(super) node: RawNode<Storage>,
    pub(super) unsaved: Unsaved,
    pub(super) reads: Reads,
    pub(super) changing: Changing,
    pub(super) receiving: Receiving,
    /// Whether slices are on their way, of a snapshot that comes in and of one that goes out.
    pub(super) is_reading: bool,
    pub(super) is_encoding: bool,
    /// For the store, which is told one batch after the other.
    pub(super) outbox: VecDeque<Event>,
    pub(super) telling: bool,
    /// The last entry that went into the outbox, and the last that the store has applied.
    pub(super) delivered: u64,
    pub(super) applied: u64,
    /// The term in which the store was told to lead.
    pub(super) leading: Option<u64>,
    /// Who was last known to lead, and in which term.
    pub(super) followed: Option<(u64, u64)>,
    /// It stands for election when its turn comes.
    pub(super) stands_soon: bool,
    /// Changes of leadership that nobody outside has heard of, in order.
    pub(super) announcements: VecDeque<LeadershipChanged>,
    pub(super) announcing: bool,
    /// A sole voter does not wait for an election; once is enough.
    pub(super) campaigned: bool,
    pub(super) snapshot_index: u64,
    pub(super) saving_snapshot: bool,
    /// How large all entries were that the store has applied, and those that the newest snapshot
    /// covers.
    pub(super) applied_bytes: u64,
    pub(super) covered_bytes: u64,
    /// Committed entries from this member's own removal on, while it leads and the others would
    /// miss it.
    held_back: Vec<Entry>,
    /// It was removed. raft-rs panics when it is asked anything after that.
    pub(super) removed: bool,
    /// How many ticks have passed that raft-rs did not count.
    uncounted: u32,
}

impl Running {
    /// Begins with what is to be told first, after everything up to `index`.
    pub(super) fn new(node: RawNode<Storage>, recovered: Event, index: u64) -> Self {
        let mut unsaved = Unsaved::default();
        unsaved.set_durable_commit(node.raft.raft_log.committed);
        Self {
            node,
            unsaved,
            reads: Reads::default(),
            changing: Changing::default(),
            receiving: Receiving::default(),
            is_reading: false,
            is_encoding: false,
            outbox: VecDeque::from([recovered]),
            telling: false,
            delivered: index,
            applied: index,
            leading: None,
            followed: None,
            stands_soon: false,
            // An earlier life may have led.
            announcements: VecDeque::from([LeadershipChanged { term: None }]),
            announcing: false,
            campaigned: false,
            snapshot_index: index,
            saving_snapshot: false,
            applied_bytes: 0,
            covered_bytes: 0,
            held_back: Vec::new(),
            removed: false,
            uncounted: 0,
        }
    }

    pub(super) fn voters(&self) -> Vec<u64> {
        self.node.store().members().get_voters().to_vec()
    }

    /// A snapshot of the leader replaces the store.
    pub(super) fn install(&mut self, snapshot: &Snapshot) -> Result<(), Error> {
        let about = snapshot.get_metadata();
        let Some(Read { view, membership: members, .. }) = self.receiving.take(about) else {
            return Err(Error::Refused("raft takes a snapshot that nobody has read".to_owned()));
        };
        let membership = members.encode(about.get_conf_state());
        let info = SnapshotInfo { index: about.get_index(), term: about.get_term(), membership };
        let objects = Box::new(view.encode());
        self.unsaved.add_snapshot(log::Snapshot { info, objects });
        self.node.mut_store().install(about, members);
        self.snapshot_index = about.get_index();
        self.delivered = about.get_index();
        self.covered_bytes = self.applied_bytes;
        self.outbox.push_back(Event::Restore { view });
        Ok(())
    }

    /// The entry that a message's snapshot stands for, if raft-rs may want its objects.
    pub(super) fn brings_news(&self, message: &raftpb::Message) -> Option<Place> {
        let log = &self.node.raft.raft_log;
        let current = message.term.unwrap_or_default() >= self.node.raft.term;
        let ours = message.to == Some(self.node.raft.id);
        receiving::place(message).filter(|place| {
            let known = place.index <= log.committed || log.match_term(place.index, place.term);
            ours && current && !known
        })
    }

    /// Hands a message of a peer to raft-rs, unless that would panic on it.
    pub(super) fn step(&mut self, mut message: raftpb::Message) {
        let from = message.from;
        // What raft-rs wants of a snapshot's data was read before.
        receiving::take_data(&mut message);
        let raft = &self.node.raft;
        let ours = Ours { id: raft.id, last_index: raft.raft_log.last_index() };
        let committed = raft.raft_log.committed;
        let storage = self.node.store();
        let committed_term = |index| {
            let place = (index <= committed).then(|| storage.place(index)).flatten();
            place.map(|place| place.term)
        };
        let installing = self.is_installing();
        let checked = logic::from_wire(message)
            .and_then(|message| logic::check(&message, &ours, committed_term).map(|()| message));
        match checked {
            Ok(message) if installing && message.get_msg_type() == MessageType::MsgTimeoutNow => {
                tracing::debug!(from, "no campaign before the snapshot is in");
            }
            Ok(mut message) => {
                let is_newcomer = storage.membership().get(ours.id).is_none();
                if message.get_msg_type() == MessageType::MsgSnapshot && is_newcomer {
                    self.receiving.admit(message.mut_snapshot(), ours.id);
                }
                let leads = matches!(
                    message.get_msg_type(),
                    MessageType::MsgAppend | MessageType::MsgHeartbeat | MessageType::MsgSnapshot
                );
                self.changing.heard(message.get_from(), leads);
                if let Err(error) = self.node.step(message) {
                    tracing::debug!(from, %error, "raft does not take a message");
                }
            }
            Err(reason) => tracing::warn!(from, %reason, "a message of a peer is dropped"),
        }
    }

    /// Lets a tick pass. raft-rs panics when a member campaigns whose snapshot is not in yet.
    pub(super) fn tick(&mut self, standing: &Standing, tick: Duration) {
        self.changing.tick();
        self.tick_sending();
        if self.is_installing() {
            return;
        }
        self.uncounted += 1;
        if logic::counts(self.uncounted, tick, standing.is_foreign(self.node.raft.leader_id)) {
            self.uncounted = 0;
            self.node.tick();
        }
    }

    /// Keeps the snapshot for members that are far behind, as long as one needs it.
    fn tick_sending(&mut self) {
        let raft = &self.node.raft;
        let leads = raft.state == StateRole::Leader;
        let on_its_way =
            raft.prs().iter().any(|(_, progress)| progress.state == ProgressState::Snapshot);
        let sending = &mut self.node.mut_store().sending;
        if leads { sending.tick(on_its_way) } else { sending.drop_all() }
    }

    /// Up to where entries can be forgotten that a snapshot on disk covers, but for a few. Whoever
    /// is being sent an earlier snapshot needs what is behind it, within reason.
    pub(super) fn forgettable(&self, covered: u64, keeping: Keeping) -> u64 {
        let storage = self.node.store();
        let kept = storage.kept(covered, keeping.entries, keeping.bytes / 4);
        let held = storage.sending.index().filter(|held| *held < kept);
        held.filter(|held| storage.kept(covered, keeping.held(), 2 * keeping.bytes) <= *held)
            .unwrap_or(kept)
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

    /// Hands committed entries to the store, up to this member's own removal.
    pub(super) fn deliver(&mut self, entries: Vec<Entry>) {
        self.held_back.extend(entries);
        let mut committed = Vec::new();
        for entry in mem::take(&mut self.held_back) {
            if self.removed {
                break;
            }
            if !self.held_back.is_empty() || self.is_missed(&entry) {
                self.held_back.push(entry);
            } else {
                self.delivered = entry.get_index();
                committed.push(self.committed(entry));
            }
        }
        while !committed.is_empty() {
            let rest = committed.split_off(committed.len().min(TOLD_AT_ONCE));
            self.outbox.push_back(Event::Apply(mem::replace(&mut committed, rest)));
        }
    }

    /// What the store is told next, with the last entry that it has applied then, and how large
    /// those are that it applies.
    pub(super) fn take_outbox(&mut self) -> (Vec<Event>, u64, u64) {
        let (mut events, mut applied, mut entries, mut bytes) = (Vec::new(), self.applied, 0, 0);
        while entries < TOLD_AT_ONCE
            && let Some(event) = self.outbox.pop_front()
        {
            match &event {
                Event::Apply(committed) => {
                    entries += committed.len();
                    bytes += committed.iter().map(|entry| entry.data.len() as u64).sum::<u64>();
                    applied = committed.last().map_or(applied, |last| last.index);
                }
                Event::Restore { view } => applied = view.index(),
                Event::Recovered { .. } | Event::Lead { .. } | Event::Follow => {}
            }
            events.push(event);
        }
        (events, applied, bytes)
    }

    /// Whether this is the end of a leader, and most of the others do not know yet that it is
    /// committed: they would wait for the vote of a member that is gone.
    fn is_missed(&self, entry: &Entry) -> bool {
        let raft = &self.node.raft;
        let ends = RemovalEntry::of(entry).is_some_and(|removal| removal.member == raft.id);
        if !ends || raft.state != StateRole::Leader {
            return false;
        }
        let others: Vec<_> = self.voters().into_iter().filter(|voter| *voter != raft.id).collect();
        let knows = |voter: &&u64| {
            let progress = raft.prs().get(**voter);
            progress.is_some_and(|progress| progress.committed_index >= entry.get_index())
        };
        others.iter().filter(knows).count() <= others.len() / 2
    }

    /// A message in the form of peers. A member that is being removed hears that this is committed
    /// only once this member will remember it: it takes its vote with it.
    pub(super) fn outgoing(&self, mut message: Message) -> raftpb::Message {
        let leaving = self.node.store().removal().filter(|removal| {
            removal.member == message.get_to() && self.unsaved.durable_commit() < removal.index
        });
        if let Some(removal) = leaving {
            message.set_commit(message.get_commit().min(removal.index - 1));
        }
        logic::to_wire(message)
    }

    /// Whether somebody is not heard who is no member as far as this one knows. It may be behind, and
    /// not know who leads by now, nor whom its vote helps; but a voter is not while it follows another. A
    /// node that is no manager any more, and has kept its certificate, deposes nobody. One that learns
    /// does not notice that its leader is gone.
    pub(super) fn is_deaf_to(&self, from: u64) -> bool {
        let leader = self.node.raft.leader_id;
        let follows_another = leader != raft::INVALID_ID && leader != from;
        let is_unknown = self.node.store().membership().get(from).is_none();
        self.node.raft.promotable() && follows_another && is_unknown
    }

    /// The members, and while none of them leads those as well whom the end of the log makes members: that
    /// may be committed, and one of them be the only one that can lead.
    fn named(&self) -> Membership {
        let storage = self.node.store();
        let mut named = storage.membership().clone();
        if named.get(self.node.raft.leader_id).is_none() {
            for change in storage.changes_after(self.delivered) {
                if matches!(change, Change::Learns(_) | Change::Votes(_)) {
                    named.follow(&change);
                }
            }
        }
        named
    }

    /// Whether a commit must be durable soon, since it removes a member.
    pub(super) fn forgets_removal(&self) -> bool {
        let committed = self.node.raft.raft_log.committed;
        let durable = self.unsaved.durable_commit();
        let removal = self.node.store().removal();
        removal.is_some_and(|removal| durable < removal.index && removal.index <= committed)
    }

    fn committed(&mut self, mut entry: Entry) -> Committed {
        let (index, term) = (entry.get_index(), entry.get_term());
        let data = match entry.get_entry_type() {
            EntryType::EntryNormal => mem::take(&mut entry.data),
            EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => {
                self.follow_change(&entry);
                Bytes::new()
            }
        };
        Committed { index, term, data }
    }

    fn follow_change(&mut self, entry: &Entry) {
        let (index, own) = (entry.get_index(), self.node.raft.id);
        let mut membership = self.node.store().membership().clone();
        let change = Change::decode(&entry.data).filter(|change| membership.follow(change));
        let Some(change) = change else {
            return tracing::warn!(index, "a change of the members is ignored");
        };
        // The last voter cannot go, also not by itself.
        if change == Change::Goes(own) && self.voters() != [own] {
            self.removed = true;
            return;
        }
        if let Some(change) = change.to_raft() {
            match self.node.apply_conf_change(&change) {
                Ok(members) => self.node.mut_store().set_members(members, index),
                Err(error) => {
                    return tracing::warn!(index, %error, "a change of the members is ignored");
                }
            }
        }
        self.node.mut_store().set_membership(membership);
        self.changing.applied(index);
    }

    /// Notes when this member begins to lead, which is once everything is on its way to the store,
    /// and when it ceases to.
    pub(super) fn follow_leadership(&mut self) {
        let raft = &self.node.raft;
        let leads = (raft.state == StateRole::Leader).then_some(raft.term);
        if self.leading.is_some() && self.leading != leads {
            self.leading = None;
            self.outbox.push_back(Event::Follow);
            self.announcements.push_back(LeadershipChanged { term: None });
            self.reads.lost();
            self.changing.lost();
        }
        let last = raft.raft_log.last_index();
        if let (None, Some(term)) = (self.leading, leads)
            && self.delivered == last
        {
            self.leading = Some(term);
            self.outbox.push_back(Event::Lead { term, next_index: last + 1 });
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
        let entry = |payload| {
            let mut entry = Entry::default();
            match payload {
                Payload::Request(data) => entry.set_data(data),
                Payload::Members(change) => {
                    entry.set_entry_type(EntryType::EntryConfChange);
                    entry.set_data(change);
                }
            }
            entry
        };
        message.set_entries(entries.into_iter().map(entry).collect());
        // Its limit on what is in flight, or another that is to lead: both pass.
        raft.step(message).map_err(|_| Refused::Busy)
    }

    pub(super) fn committed_since(&self, from: u64) -> LogPage {
        let (storage, raft) = (self.node.store(), &self.node.raft);
        let begins = storage.cut_index() + 1;
        let from = from.max(begins);
        // What is not stable yet is in the storage already.
        let to = raft.raft_log.committed.min(storage.last_index().unwrap_or_default()) + 1;
        if from >= to {
            return LogPage { begins, entries: Vec::new() };
        }
        let entries = storage.entries(from, to, PAGE_BYTES, GetEntriesContext::empty(false));
        let committed = entries.unwrap_or_default().into_iter().map(|entry| Committed {
            index: entry.get_index(),
            term: entry.get_term(),
            data: match entry.get_entry_type() {
                EntryType::EntryNormal => entry.data,
                EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => Bytes::new(),
            },
        });
        LogPage { begins, entries: committed.collect() }
    }

    /// Lets everybody read who leads, if that or the members have changed.
    pub(super) fn publish(&self, standing: &Standing) {
        let (raft, storage) = (&self.node.raft, self.node.store());
        let leader = Some(raft.leader_id).filter(|leader| *leader != raft::INVALID_ID);
        let (leads, revision) = (self.leading.is_some(), storage.revision());
        let known = standing.group();
        let before = (known.raft_id, known.term, known.leader, known.leads, known.revision);
        let is_same = before == (raft.id, raft.term, leader, leads, revision);
        let leader_is_member = storage.membership().get(raft.leader_id).is_some();
        if is_same && leader_is_member {
            return;
        }
        // While no member leads, the end of the log counts, which changes by itself.
        let members = self.named().shown();
        if !is_same || known.members != members {
            let (raft_id, term) = (raft.id, raft.term);
            standing.publish(Group { raft_id, term, leader, leads, members, revision });
        }
    }

    /// How this member stands; others count as reachable that were heard of within so many ticks.
    pub(super) fn status(&self, heard_within: u64) -> Status {
        let raft = &self.node.raft;
        Status {
            raft_id: raft.id,
            term: raft.term,
            leader: Some(raft.leader_id).filter(|leader| *leader != raft::INVALID_ID),
            committed: raft.raft_log.committed,
            applied: self.applied,
            last: raft.raft_log.last_index(),
            voters: self.voters(),
            learners: self.node.store().members().get_learners().to_vec(),
            members_since: self.node.store().members_since(),
            removed: self.node.store().membership().removed().collect(),
            members: self.node.store().membership().shown(),
            reachable: self.changing.reachable(heard_within).collect(),
        }
    }
}
