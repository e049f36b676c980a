//! A set of writes that happen together or not at all.

use std::{ops::Deref, sync::Arc};

use prost_types::Timestamp;
use protocol::{
    id::Id,
    objects::{Kind, Meta, Object},
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
}

#[derive(Debug)]
struct Write {
    kind: wire::StoreActionKind,
    object: Object,
}

/// A transaction with its place in the log.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// The store after it.
    pub view: View,
    /// What the log entry holds.
    pub actions: Vec<wire::StoreAction>,
    /// What it writes.
    pub changes: Changes,
}

impl Deref for Transaction {
    type Target = View;

    fn deref(&self) -> &View {
        &self.view
    }
}

impl Transaction {
    /// Begins on the newest state there is.
    pub fn begin(head: &View) -> Self {
        Self { view: head.clone(), writes: Vec::new(), changes: Changes::default() }
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
        let meta = Meta { version: 0, ..*object.meta() };
        let object = object.with_meta(meta);
        self.tables_and_changes(|moment, changes| moment.tables.create(&object, changes))?;
        self.writes.push(Write { kind: wire::StoreActionKind::StoreActionCreate, object });
        Ok(())
    }

    /// Replaces an object; its version must be the one that is stored (store-and-raft §4.1).
    pub fn update(&mut self, object: impl Into<Object>) -> Result<(), Error> {
        let object = object.into();
        let stored = self.view.get(object.kind(), object.id()).ok_or(Error::NotExist)?;
        if stored.meta().version != object.meta().version {
            return Err(Error::OutOfSequence);
        }
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

    fn tables_and_changes<T>(&mut self, write: impl FnOnce(&mut Moment, &mut Changes) -> T) -> T {
        write(Arc::make_mut(&mut self.view.moment), &mut self.changes)
    }

    /// Gives the transaction its place in the log: everything it writes gets the index of its
    /// entry as version, so versions rise with the log.
    pub fn seal(self, index: u64, now: Timestamp) -> Sealed {
        let Self { mut view, writes, mut changes } = self;
        let moment = Arc::make_mut(&mut view.moment);
        moment.index = index;
        let mut actions = Vec::with_capacity(writes.len());
        for Write { kind, object } in writes {
            if kind == wire::StoreActionKind::StoreActionRemove {
                actions.push(object.to_action(kind));
                continue;
            }
            let created_at = object.meta().created_at.or(Some(now));
            let meta = Meta { version: index, created_at, updated_at: Some(now) };
            let object = object.with_meta(meta);
            actions.push(object.to_action(kind));
            // A later write of this transaction may have replaced or removed it.
            if moment.tables.get(object.kind(), object.id()).is_some() {
                moment.tables.put(&object, &mut changes);
            }
        }
        Sealed { view, actions, changes }
    }
}
