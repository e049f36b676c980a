//! Goes through a store a few objects at a time, in the order in which what is scarce is given
//! away.

use protocol::{
    id::Id,
    objects::{Kind, Object},
};

use crate::store::View;

/// What is given something, or holds it.
const KINDS: [Kind; 4] = [Kind::Network, Kind::Node, Kind::Service, Kind::Task];

/// How far it has come: through all kinds before one, and of that up to an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Walk {
    at: usize,
    after: Option<Id>,
}

/// It is over.
impl Default for Walk {
    fn default() -> Self {
        Self { at: KINDS.len(), after: None }
    }
}

impl Walk {
    /// Begins with a kind.
    pub(super) fn from(kind: Kind) -> Self {
        let at = KINDS.iter().position(|of| *of == kind).unwrap_or(KINDS.len());
        Self { at, after: None }
    }

    /// Whether it is through with a kind.
    pub(super) fn is_through(&self, kind: Kind) -> bool {
        KINDS[self.at..].iter().all(|of| *of != kind)
    }

    /// Whether it has come by an object, if that was there.
    pub(super) fn has(&self, kind: Kind, id: &Id) -> bool {
        let is_at = KINDS.get(self.at) == Some(&kind);
        self.is_through(kind) || is_at && self.after.as_ref().is_some_and(|after| id <= after)
    }

    /// The next objects, of as many as there are steps left; each takes one. What changes behind it
    /// meanwhile is not seen.
    pub(super) fn next(&mut self, view: &View, steps: &mut usize) -> Vec<Object> {
        let mut objects = Vec::new();
        while *steps > 0
            && let Some(kind) = KINDS.get(self.at)
        {
            let page = view.page(*kind, self.after.as_ref(), *steps);
            *steps -= page.len();
            match page.last().filter(|_| *steps == 0) {
                Some(last) => self.after = Some(last.id().clone()),
                None => *self = Self { at: self.at + 1, after: None },
            }
            objects.extend(page);
        }
        objects
    }
}
