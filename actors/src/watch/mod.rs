//! Lets programs follow the store: what each transaction changed, once and in order, from any
//! version that the log still has. Whoever is too slow is told where to resume.

mod logic;
#[cfg(test)]
mod tests;

use std::{collections::VecDeque, sync::Arc};

use protocol::wire::{WatchMessage, WatchRequest};

use self::logic::Selection;
use crate::{
    raft::{GetCommitted, LogPage},
    store::{Applied, Behind, Feed, Page, Store},
    supervision::Recipient,
};

/// Why there is no watch, or no more of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An entry says nothing of what is to be watched.
    #[error("no kind of object specified")]
    NoKind,
    /// An entry asks for no change that there is.
    #[error("unrecognized action")]
    UnknownAction,
    /// An entry has two conditions of one sort.
    #[error("conflicting filters specified")]
    ConflictingFilters,
    /// The version to resume from is yet to come.
    #[error("versions are out of order")]
    OutOfOrder,
    /// The log does not reach back to the version to resume from.
    #[error("requested index is unavailable due to compaction")]
    Compacted,
    /// What comes next is forgotten already.
    #[error("the watch fell behind: resume it from version {0}")]
    Behind(u64),
    /// Raft has died; a new watch will find its successor.
    #[error("raft: failed to process the request: node is stopped")]
    Stopped,
}

/// One watch. It reads at its own pace, on whatever thread it is polled.
pub struct Watch {
    selection: Selection,
    feed: Feed,
    log: Recipient<GetCommitted>,
    resumed_from: u64,
    /// Everything up to here was sent, or nobody asked for it.
    position: u64,
    /// Whether the feed has once had what comes next; until then the log may be asked.
    is_live: bool,
    /// What was read and is not sent yet; it ends at `read_to`.
    page: VecDeque<Arc<Applied>>,
    read_to: u64,
}

impl Watch {
    /// Begins after the version that the request names, or now.
    pub fn begin(
        store: &Store,
        log: Recipient<GetCommitted>,
        request: &WatchRequest,
    ) -> Result<Self, Error> {
        let selection = Selection::of(request)?;
        let now = store.view().index();
        let position = request.resume_from.map_or(now, |version| version.index);
        if position > now {
            return Err(Error::OutOfOrder);
        }
        Ok(Self {
            selection,
            feed: store.feed().clone(),
            log,
            resumed_from: position,
            position,
            is_live: false,
            page: VecDeque::new(),
            read_to: position,
        })
    }

    /// Waits for the next transaction of which something was asked for.
    pub async fn next(&mut self) -> Result<WatchMessage, Error> {
        loop {
            while let Some(applied) = self.page.pop_front() {
                self.position = applied.index();
                if let Some(message) = self.selection.message(&applied) {
                    return Ok(message);
                }
            }
            self.position = self.read_to;
            self.feed.news(self.position).await;
            self.read().await?;
        }
    }

    /// Reads what comes next.
    async fn read(&mut self) -> Result<(), Error> {
        match self.feed.after(self.position) {
            Ok(Page { transactions, up_to }) => {
                self.is_live = true;
                (self.page, self.read_to) = (transactions.into(), up_to);
                Ok(())
            }
            Err(Behind) if self.is_live => Err(Error::Behind(self.position)),
            Err(Behind) => self.read_log().await,
        }
    }

    /// Reads from the log what the feed does not have any more.
    async fn read_log(&mut self) -> Result<(), Error> {
        let from = self.position + 1;
        let LogPage { begins, entries } =
            self.log.send(GetCommitted { from }).await.map_err(|_| Error::Stopped)?;
        // Beyond this the feed has what is applied; the log may know more than that.
        let to = self.feed.begins();
        let entries: Vec<_> = entries.into_iter().take_while(|entry| entry.index <= to).collect();
        if begins > from {
            let is_first = self.position == self.resumed_from;
            return Err(if is_first { Error::Compacted } else { Error::Behind(self.position) });
        }
        self.read_to = entries.last().ok_or(Error::Stopped)?.index;
        self.page = entries.into_iter().map(Applied::logged).map(Arc::new).collect();
        Ok(())
    }
}
