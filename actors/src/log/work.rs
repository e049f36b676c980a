//! What the writer does, one request after the other, and how it answers.

use std::collections::VecDeque;

use tokio::sync::oneshot;

use super::{
    Append, Cursor, Error, Member, Recovered, Snapshot, SnapshotPart, files::Directory,
    journal::Journal, logic::record::Record, recover::recover, snapshots::SavedSnapshot,
};

/// When a group is large enough; a single request may be larger.
const GROUP_BYTES: usize = 4 * 1024 * 1024;

/// Where an answer goes. Whoever asked may be gone.
pub(super) type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// One request with its answer.
pub(super) enum Work {
    Recover(Reply<Recovered>),
    Begin(Member, Reply<()>),
    Append {
        records: Vec<Record>,
        replies: Vec<Reply<()>>,
    },
    Save(Snapshot, Reply<()>),
    Install(Snapshot, Reply<()>),
    /// A snapshot that was written in the background is durable.
    Cover(SavedSnapshot, Reply<()>),
    Compact(u64, Reply<()>),
    Read(Cursor, Reply<SnapshotPart>),
    Mark,
}

/// How far the log has got in this life.
pub(super) enum Log {
    Unread,
    New,
    Open(Box<Journal>),
}

impl Work {
    /// One request to append.
    pub(super) fn append(append: Append, reply: Reply<()>) -> Self {
        let Append { entries, hard_state } = append;
        let mut records: Vec<_> = entries.into_iter().map(Record::Entry).collect();
        records.extend(hard_state.map(Record::HardState));
        Self::Append { records, replies: vec![reply] }
    }

    /// Answers with a failure.
    pub(super) fn refuse(self, error: &Error) {
        match self {
            Self::Recover(reply) => answer(Err(error.clone()), reply),
            Self::Begin(_, reply)
            | Self::Save(_, reply)
            | Self::Install(_, reply)
            | Self::Cover(_, reply)
            | Self::Compact(_, reply) => answer(Err(error.clone()), reply),
            Self::Append { replies, .. } => {
                replies.into_iter().for_each(|reply| answer(Err(error.clone()), reply));
            }
            Self::Read(_, reply) => answer(Err(error.clone()), reply),
            Self::Mark => {}
        }
    }
}

/// Takes the next work from the queue; appends that wait one behind the other are one group.
pub(super) fn take(queue: &mut VecDeque<Work>) -> Option<Work> {
    let mut work = queue.pop_front()?;
    if let Work::Append { records, replies } = &mut work {
        let mut bytes = size(records);
        while let Some(Work::Append { records: more, replies: answers }) =
            queue.pop_front_if(|next| matches!(next, Work::Append { .. }) && bytes < GROUP_BYTES)
        {
            bytes += size(&more);
            records.extend(more);
            replies.extend(answers);
        }
    }
    Some(work)
}

/// Does the work and answers it. Returns the log, or the failure that closed it.
pub(super) async fn run(
    directory: &Directory,
    segment_bytes: u64,
    log: Log,
    work: Work,
) -> Result<Log, Error> {
    match (log, work) {
        (_, Work::Recover(reply)) => {
            let (log, outcome) = match recover(directory, segment_bytes).await {
                Ok(None) => (Log::New, Ok(Recovered::default())),
                Ok(Some((journal, recovered))) => (Log::Open(journal.into()), Ok(recovered)),
                Err(error) => (Log::Unread, Err(error)),
            };
            settle(outcome, reply).map(|()| log)
        }
        (Log::New, Work::Begin(member, reply)) => {
            let (log, outcome) =
                match Journal::begin(directory.clone(), segment_bytes, member).await {
                    Ok(journal) => (Log::Open(journal.into()), Ok(())),
                    Err(error) => (Log::New, Err(error)),
                };
            settle(outcome, reply).map(|()| log)
        }
        (Log::Open(mut journal), work) => {
            run_open(directory, &mut journal, work).await.map(|()| Log::Open(journal))
        }
        (log @ Log::Unread, work) => {
            work.refuse(&Error::NotRecovered);
            Ok(log)
        }
        (log @ Log::New, work) => {
            work.refuse(&Error::NotBegun);
            Ok(log)
        }
    }
}

async fn run_open(directory: &Directory, journal: &mut Journal, work: Work) -> Result<(), Error> {
    match work {
        Work::Append { records, mut replies } => {
            if planted!(AcknowledgeBeforeSync) {
                replies.drain(..).for_each(|reply| answer(Ok(()), reply));
            }
            let outcome = match records.is_empty() {
                true => Ok(()),
                false => journal.append(records).await,
            };
            for reply in replies {
                answer(outcome.clone(), reply);
            }
            outcome
        }
        Work::Install(snapshot, reply) => {
            let outcome = match SavedSnapshot::write(directory, snapshot).await {
                Ok(saved) => journal.cover(saved).await,
                Err(error) => Err(error),
            };
            settle(outcome, reply)
        }
        Work::Cover(saved, reply) => settle(journal.cover(saved).await, reply),
        Work::Compact(to, reply) => settle(journal.compact(to).await, reply),
        Work::Read(from, reply) => settle(journal.read(from), reply),
        Work::Mark => journal.mark().await,
        Work::Begin(_, reply) => settle(Err(Error::AlreadyBegun), reply),
        Work::Recover(_) | Work::Save(..) => unreachable!("taken care of before"),
    }
}

/// Answers, and returns the failure if the log cannot be used after it.
fn settle<T>(outcome: Result<T, Error>, reply: Reply<T>) -> Result<(), Error> {
    let failure = match &outcome {
        Err(failure @ Error::Failed { .. }) => Err(failure.clone()),
        Ok(_) | Err(_) => Ok(()),
    };
    answer(outcome, reply);
    failure
}

fn answer<T>(outcome: Result<T, Error>, reply: Reply<T>) {
    reply.send(outcome).ok();
}

fn size(records: &[Record]) -> usize {
    let bytes = |record: &Record| match record {
        Record::Entry(entry) => entry.data.len(),
        Record::HardState(_) | Record::Member(_) | Record::Snapshot(_) => 0,
    };
    records.iter().map(bytes).sum()
}
