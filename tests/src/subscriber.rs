//! A subscriber of a member's store: it builds the store anew from what it is told, slowly, so
//! that much is told at once.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, time::Duration};

use actix::{Actor, Context, Handler, ResponseFuture};
use actors::{
    store::{Change, Changes, View},
    supervised,
};
use protocol::{id::Id, objects::Kind};
use tokio::time::sleep;

/// How long it is busy with what it was told.
const BUSY: Duration = Duration::from_millis(30);

/// What a subscriber has been told, for the checkers.
#[derive(Default)]
pub struct Heard {
    /// Every object, with its version.
    versions: BTreeMap<(Kind, Id), u64>,
    index: u64,
    /// How often something was told.
    pub times: u64,
    /// What is wrong with it.
    pub broken: Option<String>,
}

/// A subscriber. It lives as long as its member.
pub struct Subscriber {
    /// What it has been told.
    pub heard: Rc<RefCell<Heard>>,
}

impl Actor for Subscriber {
    type Context = Context<Self>;
}

supervised!(Subscriber, mailbox = 4);

impl Handler<Change> for Subscriber {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, change: Change, _: &mut Context<Self>) -> Self::Result {
        let heard = &mut *self.heard.borrow_mut();
        if let Err(text) = heard.hear(&change) {
            heard.broken.get_or_insert(text);
        }
        Box::pin(sleep(BUSY))
    }
}

impl Heard {
    fn hear(&mut self, change: &Change) -> Result<(), String> {
        self.times += 1;
        let view = change.view();
        if view.index() < self.index {
            return Err(format!("subscribers: told of {} after {}", view.index(), self.index));
        }
        self.index = view.index();
        match change {
            Change::Resync { view } => self.versions = versions(view),
            Change::Committed { changes, .. } => self.follow(changes)?,
        }
        self.compare(view)
    }

    fn follow(&mut self, changes: &Changes) -> Result<(), String> {
        for (kind, id, before, after) in changes.versions() {
            let known = self.versions.remove(&(kind, id.clone()));
            if known != before {
                return Err(format!(
                    "subscribers: {id} is said to have had version {before:?}, and had {known:?}"
                ));
            }
            if before.zip(after).is_some_and(|(before, after)| after <= before) {
                return Err(format!("versions: {id} had {before:?}, and has {after:?}"));
            }
            self.versions.extend(after.map(|version| ((kind, id), version)));
        }
        Ok(())
    }

    /// What was told must add up to the store.
    pub fn compare(&self, view: &View) -> Result<(), String> {
        let mut known = self.versions.iter().map(|((kind, id), version)| (*kind, id, *version));
        let shown = view.objects();
        let mut shown =
            shown.map(|object| (object.kind(), object.id().clone(), object.meta().version));
        let is_equal = known.all(|(kind, id, version)| {
            shown.next().is_some_and(|shown| (shown.0, &shown.1, shown.2) == (kind, id, version))
        });
        match is_equal && shown.next().is_none() {
            true => Ok(()),
            false => {
                Err(format!("subscribers: what was told up to {} is another store", view.index()))
            }
        }
    }
}

fn versions(view: &View) -> BTreeMap<(Kind, Id), u64> {
    let objects = view.objects();
    objects.map(|object| ((object.kind(), object.id().clone()), object.meta().version)).collect()
}

#[cfg(test)]
mod tests {
    use protocol::{objects::Service, wire};

    use super::*;
    use std::sync::Arc;

    fn created(heard: &View, index: u64, id: &str) -> (View, Arc<Changes>) {
        let mut transaction = actors::store::Transaction::begin(heard);
        let service = wire::Service { id: id.to_owned(), ..Default::default() };
        transaction.create(Service::from(service)).unwrap();
        let sealed = transaction.seal(index, Default::default());
        (sealed.view, sealed.changes.into())
    }

    #[test]
    fn a_change_that_was_not_told_is_found() {
        let (first, changes) = created(&View::default(), 1, "a");
        let (second, more) = created(&first, 2, "b");
        let mut heard = Heard::default();
        heard.hear(&Change::Committed { view: first.clone(), changes }).unwrap();
        heard.hear(&Change::Committed { view: second.clone(), changes: more.clone() }).unwrap();
        heard.hear(&Change::Resync { view: second.clone() }).unwrap();
        let mut deaf = Heard::default();
        deaf.hear(&Change::Committed { view: second, changes: more }).unwrap_err();
        assert!(heard.hear(&Change::Resync { view: first }).unwrap_err().contains("told of 1"));
    }
}
