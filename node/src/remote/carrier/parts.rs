//! A raft message as it crosses the wire: whole, or a snapshot in parts (`store-and-raft` §8).

use bytes::{Bytes, BytesMut};
use protocol::{
    raftpb::{self, MessageType},
    wire::StreamRaftMessageRequest,
};

/// How much of a snapshot one part holds. A part with all that goes with it has to fit into what a
/// manager takes at once, which is 4 MiB.
const PART_BYTES: usize = 3 << 20;

/// Cuts a message into parts. All but a large snapshot are one.
pub(super) fn parts(
    message: raftpb::Message,
) -> impl ExactSizeIterator<Item = StreamRaftMessageRequest> {
    let (frame, mut data) = split(message);
    let count = data.len().div_ceil(PART_BYTES).max(1);
    (0..count).map(move |_| {
        let part = data.split_to(data.len().min(PART_BYTES));
        let mut message = frame.clone();
        if let Some(snapshot) = message.snapshot.as_mut() {
            snapshot.data = Some(part);
        }
        StreamRaftMessageRequest { message: Some(message) }
    })
}

/// Takes the data of a snapshot out of a message.
fn split(mut message: raftpb::Message) -> (raftpb::Message, Bytes) {
    let snapshot = message.snapshot.as_mut();
    let data = snapshot.and_then(|snapshot| snapshot.data.take());
    (message, data.unwrap_or_default())
}

/// Parts become a message again.
#[derive(Default)]
pub struct Assembly {
    frame: Option<raftpb::Message>,
    data: BytesMut,
}

/// Why parts are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// There is nothing in it.
    #[error("the request holds no raft message")]
    Empty,
    /// Only snapshots come in parts.
    #[error("only a snapshot may come in parts")]
    NoSnapshot,
    /// The parts are of two snapshots.
    #[error("a part of another snapshot came in between")]
    Mixed,
    /// It is more than this manager takes into memory.
    #[error("the snapshot is larger than {} GiB", SNAPSHOT_BYTES_MAX >> 30)]
    TooLarge,
}

/// The largest snapshot that is taken. A cluster with ten million tasks makes one of about half.
const SNAPSHOT_BYTES_MAX: usize = 8 << 30;

impl Assembly {
    /// Takes the next part.
    pub fn add(&mut self, part: Option<raftpb::Message>) -> Result<(), Unfit> {
        let (part, data) = split(part.ok_or(Unfit::Empty)?);
        match &self.frame {
            None => self.frame = Some(part),
            Some(first) => {
                let is_snapshot = |message: &raftpb::Message| {
                    message.r#type() == MessageType::MsgSnap && message.snapshot.is_some()
                };
                if !is_snapshot(first) || !is_snapshot(&part) {
                    return Err(Unfit::NoSnapshot);
                }
                if (first.index, first.from, first.term) != (part.index, part.from, part.term) {
                    return Err(Unfit::Mixed);
                }
            }
        }
        if self.data.len() + data.len() > SNAPSHOT_BYTES_MAX {
            return Err(Unfit::TooLarge);
        }
        self.data.extend_from_slice(&data);
        Ok(())
    }

    /// Returns the message, once all parts are there.
    pub fn finish(self) -> Result<raftpb::Message, Unfit> {
        let mut message = self.frame.ok_or(Unfit::Empty)?;
        if let Some(snapshot) = message.snapshot.as_mut() {
            snapshot.data = Some(self.data.freeze());
        }
        Ok(message)
    }
}
