//! This member's own snapshots on their way to the disk, and the entries that they make needless.

use std::time::Duration;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};

use super::{
    peer::Peer,
    recovery::{Failure, ask},
};
use crate::{
    log::{self, Compact, SaveSnapshot, SnapshotInfo},
    store::View,
};

/// For how many snapshots entries are kept that a member will need which is being sent an earlier
/// one.
const HELD_INTERVALS: u64 = 10;

/// How long to wait after a snapshot that could not be written: the disk may have room again.
const PAUSE: Duration = Duration::from_secs(60);

/// When a snapshot is due, and what it leaves in the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keeping {
    /// After so many entries a snapshot is due; with 0 their bytes alone count.
    interval: u64,
    /// After so many bytes it is due at the latest: entries are held in memory.
    pub(super) bytes: u64,
    /// How many entries it leaves, for members that are a little behind.
    pub(super) entries: u64,
}

impl Keeping {
    /// How many entries are held back at most for whoever is being sent a snapshot.
    pub(super) fn held(&self) -> u64 {
        HELD_INTERVALS.saturating_mul(self.interval.max(self.entries))
    }
}

impl Peer {
    /// What the cluster's settings say now (`store-and-raft` §7); before there are any, this
    /// member's.
    fn keeping(&self, view: &View) -> Keeping {
        let spec = view.default_cluster().and_then(|cluster| cluster.spec.raft.as_ref());
        Keeping {
            interval: spec.map_or(self.config.snapshot_interval, |raft| raft.snapshot_interval),
            bytes: self.config.snapshot_bytes,
            entries: spec
                .map_or(self.config.entries_kept, |raft| raft.log_entries_for_slow_followers),
        }
    }

    /// Writes a snapshot when enough has been applied since the last one.
    pub(super) fn save_snapshot(&mut self, ctx: &mut Context<Self>) {
        let (log, view) = (self.links.log.clone(), self.links.published.view());
        let keeping = self.keeping(&view);
        let Some(running) = self.running() else { return };
        let entries = running.applied.saturating_sub(running.snapshot_index);
        let is_long = keeping.interval > 0 && entries >= keeping.interval;
        let is_large = running.applied_bytes - running.covered_bytes >= keeping.bytes;
        if running.saving_snapshot || entries == 0 || !is_long && !is_large {
            return;
        }
        let storage = running.node.store();
        let Some(place) = storage.coverable(view.index()) else { return };
        running.saving_snapshot = true;
        let applied_bytes = running.applied_bytes;
        let membership = storage.encode_members();
        let info = SnapshotInfo { index: place.index, term: place.term, membership };
        let snapshot = log::Snapshot { info, objects: Box::new(view.encode()) };
        let saved = async move { ask(&log, SaveSnapshot(snapshot)).await };
        ctx.spawn(saved.into_actor(self).map(move |saved: Result<(), Failure>, peer, ctx| {
            match saved {
                Ok(()) => {
                    if let Some(running) = peer.running() {
                        // A snapshot of the leader may have covered more meanwhile.
                        running.covered_bytes = running.covered_bytes.max(applied_bytes);
                    }
                    peer.compact(ctx, place.index, keeping);
                }
                Err(Failure::Ended(super::Error::Log(error @ log::Error::NotSaved { .. }))) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "tries again in a minute; until then the log grows"
                    );
                    ctx.run_later(PAUSE, |peer, ctx| {
                        if let Some(running) = peer.running() {
                            running.saving_snapshot = false;
                        }
                        peer.save_snapshot(ctx);
                    });
                }
                Err(failure) => peer.failed(ctx, failure),
            }
        }));
    }

    /// Forgets entries that a snapshot covers, but for a few.
    fn compact(&mut self, ctx: &mut Context<Self>, covered: u64, keeping: Keeping) {
        let log = self.links.log.clone();
        let Some(running) = self.running() else { return };
        let to = running.forgettable(covered, keeping);
        running.saving_snapshot = false;
        running.snapshot_index = running.snapshot_index.max(covered);
        running.node.mut_store().compact(to);
        let compacted = async move { ask(&log, Compact { to }).await };
        ctx.spawn(compacted.into_actor(self).map(|compacted: Result<(), Failure>, peer, ctx| {
            if let Err(failure) = compacted {
                peer.failed(ctx, failure);
            }
        }));
    }
}
