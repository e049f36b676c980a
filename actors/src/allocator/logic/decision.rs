//! What is decided about one object, and how it is written on the head.

use protocol::{
    id::Id,
    objects::{Kind, Object},
};

use super::board::Due;
use crate::store::{Error, Transaction, View};

/// What was decided on: what is due, and the version of its object.
pub(crate) type Decided = (Due, u64);

/// One object as it is to be.
#[derive(Clone, Debug)]
pub(crate) struct Decision {
    /// What was due.
    pub(crate) due: Due,
    /// The object, with the version that was decided on.
    pub(crate) object: Object,
    /// What else was decided on: it only holds for these versions.
    pub(crate) premises: Vec<(Kind, Id, u64)>,
}

impl Decision {
    pub(crate) fn decided(&self) -> Decided {
        (self.due.clone(), self.object.meta().version)
    }
}

/// Writes what still applies, and returns what the rest was about.
pub(crate) fn write(
    head: &mut Transaction,
    decisions: Vec<Decision>,
) -> Result<Vec<Decided>, Error> {
    let mut failed = Vec::new();
    for decision in decisions {
        let decided = decision.decided();
        let Decision { object, premises, .. } = decision;
        let is_same = |kind, id: &Id, version| is_version(head, kind, id, version);
        let version = object.meta().version;
        let applies = is_same(object.kind(), object.id(), version)
            && premises.iter().all(|(kind, id, version)| is_same(*kind, id, *version));
        if applies {
            head.update(object)?;
        } else {
            failed.push(decided);
        }
    }
    Ok(failed)
}

fn is_version(head: &View, kind: Kind, id: &Id, version: u64) -> bool {
    head.get(kind, id).is_some_and(|stored| stored.meta().version == version)
}
