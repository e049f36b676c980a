//! A snapshot of the leader on its way in. It is read in slices before raft-rs hears of it, which
//! meanwhile goes on as if the message took longer.

use bytes::Bytes;
use prost::Message as _;
use protocol::raftpb;
use raft::eraftpb::{Snapshot, SnapshotMetadata};
use tokio::sync::oneshot;

use super::{Error, membership::Membership, sending::Envelope, storage::Place};
use crate::store::{Restore, View};

/// How much is read before others get their turn.
const READ_BYTES: usize = 64 << 10;

/// How many wait for the end of one snapshot: it may come again and again.
const WAITING_MAX: usize = 16;

/// What is being read, and what was.
#[derive(Default)]
pub(super) struct Receiving {
    reading: Option<Reading>,
    read: Option<Read>,
}

struct Reading {
    /// As it came, without its data.
    message: raftpb::Message,
    place: Place,
    membership: Membership,
    store: Bytes,
    restore: Restore,
    waiting: Vec<oneshot::Sender<()>>,
}

/// A snapshot that raft-rs has to decide about.
pub(super) struct Read {
    place: Place,
    pub(super) view: View,
    pub(super) membership: Membership,
}

/// What a slice has brought.
pub(super) enum Progress {
    /// There is nothing to read any more.
    Nothing,
    /// There is more to read.
    More,
    /// All is read: the message is for raft-rs now, and then whoever waits is to hear of it.
    Whole(Box<raftpb::Message>, Vec<oneshot::Sender<()>>),
}

/// The entry that a snapshot in the form of peers stands for, if there is one.
pub(super) fn place(message: &raftpb::Message) -> Option<Place> {
    let about = message.snapshot.as_ref()?.metadata.as_ref()?;
    let (index, term) = (about.index.unwrap_or_default(), about.term.unwrap_or_default());
    (message.r#type() == raftpb::MessageType::MsgSnap && index > 0).then_some(Place { index, term })
}

/// Takes the data out of a message.
pub(super) fn take_data(message: &mut raftpb::Message) -> Bytes {
    let snapshot = message.snapshot.as_mut();
    snapshot.and_then(|snapshot| snapshot.data.take()).unwrap_or_default()
}

impl Receiving {
    /// Takes a snapshot. What is being read already goes on, unless this one is newer. The
    /// receiver resolves once raft-rs has it, or it is dropped.
    pub(super) fn add(
        &mut self,
        mut message: raftpb::Message,
        place: Place,
    ) -> Result<oneshot::Receiver<()>, Error> {
        let (sender, receiver) = oneshot::channel();
        let newer = |reading: &Reading| {
            (message.term, place.index) > (reading.message.term, reading.place.index)
        };
        if self.reading.as_ref().is_none_or(newer) {
            let envelope = Envelope::decode(take_data(&mut message))
                .map_err(|error| damaged(&error.to_string()))?;
            if envelope.version != 0 {
                let version = envelope.version;
                return Err(damaged(&format!("its version {version} is unknown")));
            }
            self.reading = Some(Reading {
                message,
                place,
                membership: Membership::of(envelope.membership.unwrap_or_default()),
                store: envelope.store,
                restore: Restore::default(),
                waiting: Vec::new(),
            });
        }
        let reading = self.reading.as_mut().filter(|reading| reading.waiting.len() < WAITING_MAX);
        if let Some(reading) = reading {
            reading.waiting.push(sender);
        }
        Ok(receiver)
    }

    /// Reads a little.
    pub(super) fn advance(&mut self) -> Result<Progress, Error> {
        let Some(mut reading) = self.reading.take() else { return Ok(Progress::Nothing) };
        let mut rest = &*reading.store;
        while !rest.is_empty() && reading.store.len() - rest.len() < READ_BYTES {
            reading.restore.add_field(&mut rest).map_err(|error| damaged(&error.to_string()))?;
        }
        let left = rest.len();
        let _ = reading.store.split_to(reading.store.len() - left);
        if left > 0 {
            self.reading = Some(reading);
            return Ok(Progress::More);
        }
        let Reading { message, place, membership, restore, waiting, .. } = reading;
        self.read = Some(Read { place, view: restore.finish(place.index), membership });
        Ok(Progress::Whole(Box::new(message), waiting))
    }

    /// Puts a newcomer among the learners of a snapshot that was made before it joined: raft-rs takes none
    /// that it is not in. Leaders of SwarmKit's send such (seen of Docker 20.10), and after it the entry
    /// that makes a voter of it.
    pub(super) fn admit(&self, snapshot: &mut Snapshot, newcomer: u64) {
        let is_removed = |read: &Read| read.membership.is_removed(newcomer);
        let members = snapshot.mut_metadata().mut_conf_state();
        let mut all = members.get_voters().iter().chain(members.get_learners());
        if all.all(|id| *id != newcomer) && !self.read.as_ref().is_some_and(is_removed) {
            members.mut_learners().push(newcomer);
        }
    }

    /// What was read, if it is what raft-rs has decided to take.
    pub(super) fn take(&mut self, about: &SnapshotMetadata) -> Option<Read> {
        let wanted = Place { index: about.get_index(), term: about.get_term() };
        self.read.take().filter(|read| read.place == wanted)
    }

    /// raft-rs has decided; what is left is not wanted.
    pub(super) fn decided(&mut self) {
        self.read = None;
    }
}

fn damaged(reason: &str) -> Error {
    Error::Refused(format!("the leader's snapshot cannot be read: {reason}"))
}
