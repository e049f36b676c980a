//! When a leader believes that it is deaf itself, rather than that so many nodes are lost.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use protocol::id::NodeId;

/// Fewer nodes than that may well be lost together.
const SILENT_MIN: usize = 3;
/// How long a leader doubts at most. Whoever has not come back by then is lost.
const DOUBT_MAX: Duration = Duration::from_secs(10 * 60);

/// A leader's doubt that what it does not hear is silent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Doubt {
    /// When it began.
    pub(crate) since: Instant,
    /// The nodes that were there before. One that is removed does not count any more, and one that
    /// is new never did.
    pub(crate) ready: BTreeSet<NodeId>,
}

impl Doubt {
    /// Returns whether so many nodes of those that were `ready` fell silent within one grace that
    /// the leader doubts.
    pub(crate) fn begun(silent: usize, ready: BTreeSet<NodeId>, now: Instant) -> Option<Self> {
        let is_doubtful =
            silent >= SILENT_MIN && 2 * silent > ready.len() && !planted!(NeverDoubts);
        is_doubtful.then_some(Self { since: now, ready })
    }

    /// How many of the nodes that were there before are among those.
    pub(crate) fn present(&self, heard: &BTreeSet<NodeId>) -> usize {
        self.ready.intersection(heard).count()
    }

    /// Whether half of the nodes are there again.
    pub(crate) fn is_dispelled(&self, heard: &BTreeSet<NodeId>) -> bool {
        2 * self.present(heard) >= self.ready.len()
    }

    /// When it is over in any case.
    pub(crate) fn ends(&self) -> Instant {
        self.since + DOUBT_MAX
    }
}
