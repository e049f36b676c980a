//! A set of writes that happen together or not at all.

use std::{ops::Deref, sync::Arc};

use prost::encoding;
use prost_types::Timestamp;
use protocol::{
    id::Id,
    objects::{Kind, Meta, Object, nested},
    wire,
};

use super::{Changes, Error, View, view::Moment};

/// How many objects one transaction should write at most; who has more to write splits it.
pub const CHANGES_PER_TRANSACTION: usize = 200;

/// The largest entry of the log, encoded. Larger ones are refused.
pub const TRANSACTION_BYTES_MAX: usize = 3 << 19;

/// Reads see everything written so far, by earlier transactions that are still in flight and by
/// this one.
#[derive(Debug)]
pub struct Transaction {
    view: View,
    writes: Vec<Write>,
    changes: Changes,
    /// Its place in the log and its time, if it has them from the beginning.
    place: Option<(u64, Timestamp)>,
}

/// One write, as the log gets it.
#[derive(Clone, Debug)]
struct Write {
    kind: wire::StoreActionKind,
    object: Object,
}

/// A transaction with its place in the log.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// The store after it.
    pub view: View,
    /// What it writes.
    pub changes: Changes,
    writes: Vec<Write>,
}

impl Sealed {
    /// What the log entry does.
    pub fn actions(&self) -> Vec<wire::StoreAction> {
        self.writes.iter().map(|write| write.object.to_action(write.kind)).collect()
    }

    /// The log entry: a request with this id that does the actions.
    pub fn encode(&self, id: u64) -> Vec<u8> {
        let mut request = Vec::new();
        encoding::uint64::encode(1, &id, &mut request);
        for Write { kind, object } in &self.writes {
            nested(2, &mut request, |out| object.encode_action(*kind, out));
        }
        request
    }
}

impl Deref for Transaction {
    type Target = View;

    fn deref(&self) -> &View {
        &self.view
    }
}

impl Transaction {
    /// Begins on a state that others may read: what is written is copied first.
    pub fn begin(head: &View) -> Self {
        let view = head.clone();
        Self { view, writes: Vec::new(), changes: Changes::default(), place: None }
    }

    /// Begins on a state that it takes over, with its place in the log. If nobody else has the
    /// state, it is changed in place.
    pub(super) fn on(head: View, index: u64, now: Timestamp) -> Self {
        let place = Some((index, now));
        Self { view: head, writes: Vec::new(), changes: Changes::default(), place }
    }

    /// Takes everything back, and returns the state that it began on.
    pub(super) fn undo(mut self) -> View {
        self.view.undo(self.view.index(), &self.changes);
        self.view
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// How many writes there are.
    pub fn len(&self) -> usize {
        self.writes.len()
    }

    /// Adds an object. The version that it brings is ignored.
    pub fn create(&mut self, object: impl Into<Object>) -> Result<(), Error> {
        let object = object.into();
        let object = self.stamped(object, 0);
        self.tables_and_changes(|moment, changes| moment.tables.create(&object, changes))?;
        self.writes.push(Write { kind: wire::StoreActionKind::StoreActionCreate, object });
        Ok(())
    }

    /// Replaces an object; its version must be the one that is stored (store-and-raft §4.1).
    pub fn update(&mut self, object: impl Into<Object>) -> Result<(), Error> {
        let object = object.into();
        let stored = self.view.get(object.kind(), object.id()).ok_or(Error::NotExist)?;
        let version = object.meta().version;
        if stored.meta().version != version && self.version_before(&object) != Some(version) {
            return Err(Error::OutOfSequence);
        }
        let object = self.stamped(object, version);
        self.tables_and_changes(|moment, changes| moment.tables.update(&object, changes))?;
        self.writes.push(Write { kind: wire::StoreActionKind::StoreActionUpdate, object });
        Ok(())
    }

    /// Removes an object.
    pub fn remove(&mut self, kind: Kind, id: &Id) -> Result<(), Error> {
        let object =
            self.tables_and_changes(|moment, changes| moment.tables.remove(kind, id, changes))?;
        self.writes.push(Write { kind: wire::StoreActionKind::StoreActionRemove, object });
        Ok(())
    }

    /// The object with the version and the times of this transaction, if these are known yet.
    fn stamped(&self, object: Object, version: u64) -> Object {
        let meta = match self.place {
            Some((index, now)) => written(object.meta(), index, now),
            None => Meta { version, ..*object.meta() },
        };
        object.with_meta(meta)
    }

    /// The version before this transaction of what it has written already, which is as good as the
    /// one that it gave: 0 of what it made.
    fn version_before(&self, object: &Object) -> Option<u64> {
        let (kind, id) = (object.kind(), object.id());
        let written = self.changes.contains(kind, id.as_str());
        let before = || self.changes.before(kind, id.as_str());
        written.then(|| before().map_or(0, |before| before.meta().version))
    }

    fn tables_and_changes<T>(&mut self, write: impl FnOnce(&mut Moment, &mut Changes) -> T) -> T {
        write(Arc::make_mut(&mut self.view.moment), &mut self.changes)
    }

    /// Gives the transaction its place in the log: everything it writes gets the index of its
    /// entry as version, so versions rise with the log.
    pub fn seal(self, index: u64, now: Timestamp) -> Sealed {
        let Self { mut view, mut writes, mut changes, place } = self;
        let moment = Arc::make_mut(&mut view.moment);
        moment.index = index;
        if place == Some((index, now)) {
            return Sealed { view, changes, writes };
        }
        for Write { kind, object } in &mut writes {
            if *kind == wire::StoreActionKind::StoreActionRemove {
                continue;
            }
            *object = object.clone().with_meta(written(object.meta(), index, now));
            // A later write of this transaction may have replaced or removed it.
            if moment.tables.get(object.kind(), object.id()).is_some() {
                moment.tables.put(object, &mut changes);
            }
        }
        Sealed { view, changes, writes }
    }
}

/// What the store knows of an object that the entry with this index writes.
fn written(before: &Meta, index: u64, now: Timestamp) -> Meta {
    let version = if planted!(VersionNotRising) { 1 } else { index };
    let created_at = before.created_at.or(Some(now));
    Meta { version, created_at, updated_at: Some(now) }
}
