//! Who wants to know what is committed, and what each has not been told yet (architecture D6).

use std::{collections::BTreeMap, sync::Arc};

use actix::Message;

use super::{Changes, View};
use crate::supervision::Recipient;

/// How many changed objects wait for one subscriber; with more it reads the whole again.
const OBJECTS_MAX: usize = 10_000;

/// What a subscriber is told.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub enum Change {
    /// Objects changed since the last message.
    Committed {
        /// The store after it.
        view: View,
        /// What changed, coalesced.
        changes: Arc<Changes>,
    },
    /// More may have changed than is worth telling: only the whole counts.
    Resync {
        /// The store now.
        view: View,
    },
}

impl Change {
    /// The store now.
    pub fn view(&self) -> &View {
        match self {
            Self::Committed { view, .. } | Self::Resync { view } => view,
        }
    }
}

#[derive(Default)]
pub(super) struct Subscribers {
    by_name: BTreeMap<&'static str, Subscriber>,
    subscriptions: u64,
}

struct Subscriber {
    recipient: Recipient<Change>,
    subscription: u64,
    busy: bool,
    untold: Untold,
}

#[derive(Default)]
enum Untold {
    #[default]
    Nothing,
    Changes(Arc<Changes>),
    Everything,
}

/// A message that is to be sent now; [`Subscribers::told`] is due once it is answered.
pub(super) struct Due {
    pub(super) name: &'static str,
    pub(super) subscription: u64,
    pub(super) recipient: Recipient<Change>,
    pub(super) change: Change,
}

impl Subscribers {
    pub(super) fn add(&mut self, name: &'static str, recipient: Recipient<Change>) {
        self.subscriptions += 1;
        let subscription = self.subscriptions;
        let untold = Untold::Everything;
        self.by_name.insert(name, Subscriber { recipient, subscription, busy: false, untold });
    }

    /// Notes what was committed.
    pub(super) fn note(&mut self, changes: &Arc<Changes>) {
        if !changes.is_empty() {
            self.by_name.values_mut().for_each(|subscriber| subscriber.untold.add(changes));
        }
    }

    /// Everybody has to read the whole again.
    pub(super) fn resync(&mut self) {
        self.by_name.values_mut().for_each(|subscriber| subscriber.untold = Untold::Everything);
    }

    /// What can be sent now: one message at most is on the way to each.
    pub(super) fn due(&mut self, view: &View) -> Vec<Due> {
        self.by_name
            .iter_mut()
            .filter_map(|(name, subscriber)| subscriber.due(name, view))
            .collect()
    }

    /// A message was handled, or its subscriber is gone.
    pub(super) fn told(&mut self, name: &'static str, subscription: u64, alive: bool) {
        match self.by_name.get_mut(name) {
            Some(subscriber) if subscriber.subscription == subscription => {
                subscriber.busy = false;
                if !alive {
                    self.by_name.remove(name);
                }
            }
            Some(_) | None => {}
        }
    }

    /// The messages that were on their way have been forgotten by a life that ended.
    pub(super) fn forget_sent(&mut self) {
        self.resync();
        for subscriber in self.by_name.values_mut() {
            subscriber.busy = false;
        }
    }
}

impl Subscriber {
    fn due(&mut self, name: &'static str, view: &View) -> Option<Due> {
        if self.busy {
            return None;
        }
        let view = view.clone();
        let change = match std::mem::take(&mut self.untold) {
            Untold::Nothing => return None,
            Untold::Changes(changes) => Change::Committed { view, changes },
            Untold::Everything => Change::Resync { view },
        };
        self.busy = true;
        let (subscription, recipient) = (self.subscription, self.recipient.clone());
        Some(Due { name, subscription, recipient, change })
    }
}

impl Untold {
    fn add(&mut self, changes: &Arc<Changes>) {
        match self {
            Self::Nothing => *self = Self::Changes(changes.clone()),
            Self::Changes(untold) => {
                Arc::make_mut(untold).then(changes);
                if untold.len() > OBJECTS_MAX {
                    *self = Self::Everything;
                }
            }
            Self::Everything => {}
        }
    }
}
