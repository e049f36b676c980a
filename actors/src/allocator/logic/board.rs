//! Everything that the allocator decides on: what is in use, what was promised, what is due and
//! what waits.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use protocol::{
    id::{NetworkId, NodeId, ServiceId, TaskId},
    objects::{Kind, Network, Task},
};

use super::{
    decision::Decided,
    holdings::{Holding, Holdings, of_network, of_node, of_service, of_task},
    lack::Cause,
    network,
    networks::{Networks, ingress_of},
    node,
    pools::Pools,
    service,
    task::is_new,
    waiting::Waiting,
    walk::Walk,
};
use crate::store::{Changes, View};

/// An object that may lack something. The order is that in which what is scarce is given away: the
/// ingress network before others, so that they do not take its subnet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    Ingress(NetworkId),
    Network(NetworkId),
    Node(NodeId),
    Service(ServiceId),
    Task(TaskId),
}

impl Due {
    pub(super) fn network(network: &Network) -> Self {
        let id = network.id.clone();
        if network.body.is_ingress() { Self::Ingress(id) } else { Self::Network(id) }
    }
}

/// What was taken for an object whose write is on its way.
#[derive(Debug)]
pub(super) struct Promise {
    /// The version of the object that was decided on.
    pub(super) version: u64,
    pub(super) taken: Holdings,
}

/// What the allocator decides on.
#[derive(Debug, Default)]
pub(crate) struct Board {
    /// Until it begins, it knows nothing and follows nothing.
    has_begun: bool,
    /// What the pools show, beside promises.
    pub(super) view: View,
    /// The ingress network of that view.
    pub(super) ingress: Option<NetworkId>,
    pub(super) pools: Pools,
    pub(super) promises: BTreeMap<Due, Promise>,
    pub(super) due: BTreeSet<Due>,
    pub(super) waiting: Waiting,
    /// How much of the view is in the pools.
    pub(super) intake: Walk,
    /// Where an earlier look left off, while a new one is on its way.
    pub(super) former: Pools,
    /// Nodes and services whose networks have changed.
    pub(crate) sweep: Option<Sweep>,
    /// Looks again at what waits, and for what should not have to wait.
    pub(super) guard: Option<Walk>,
}

/// On its way through what may need something else since networks have changed.
#[derive(Debug)]
pub(crate) struct Sweep {
    pub(super) walk: Walk,
    pub(super) has_services: bool,
    /// Networks have changed since it began: it goes once more.
    pub(super) again: bool,
}

impl Board {
    /// Begins with a view that shows every write that there was. Nothing is promised.
    pub(crate) fn begin(&mut self, view: View) {
        self.has_begun = true;
        self.promises.clear();
        self.resync(view);
    }

    /// Counts anew. Promises that may still be kept are remembered. The view is taken in by
    /// [`Board::decide`], before it decides anything.
    pub(crate) fn resync(&mut self, view: View) {
        if !self.has_begun || view.index() < self.view.index() {
            return;
        }
        self.promises.retain(|due, promise| {
            version(&view, due).is_some_and(|version| version <= promise.version)
        });
        let pools = std::mem::take(&mut self.pools);
        if self.is_taken_in() {
            self.former = pools;
        }
        self.promises.values().for_each(|promise| self.pools.take_all(&promise.taken));
        self.intake = Walk::from(Kind::Network);
        (self.sweep, self.guard) = (None, None);
        self.waiting = Waiting::default();
        self.due.clear();
        self.ingress = ingress_of(&view);
        self.view = view;
    }

    /// Follows what was committed.
    pub(crate) fn follow(&mut self, view: View, changes: &Changes) {
        // What is older is counted already; what is newer is announced later.
        if !self.has_begun || view.index() < self.view.index() {
            return;
        }
        let before = std::mem::replace(&mut self.view, view);
        self.follow_networks(&before, changes);
        for (id, touched) in &changes.services {
            if self.intake.has(Kind::Service, id.as_id()) {
                let held = |service: Option<&Arc<_>>| service.map(|one| of_service(one));
                self.exchange(held(before.service(id)), held(touched.after.as_ref()));
            }
            let version = touched.after.as_ref().map(|service| service.meta.version);
            self.touched(Due::Service(id.clone()), version, version.is_some());
            self.wake(&Cause::Service(id.clone()));
        }
        for (id, touched) in &changes.nodes {
            if self.intake.has(Kind::Node, id.as_id()) {
                let held = |node: Option<&Arc<_>>| node.map(|one| of_node(one));
                self.exchange(held(before.node(id)), held(touched.after.as_ref()));
            }
            let version = touched.after.as_ref().map(|node| node.meta.version);
            self.touched(Due::Node(id.clone()), version, version.is_some());
        }
        for (id, touched) in &changes.tasks {
            let after = touched.after.as_deref();
            if self.intake.has(Kind::Task, id.as_id()) {
                self.follow_task(before.task(id).map(AsRef::as_ref), after);
            }
            let version = after.map(|task| task.meta.version);
            self.touched(Due::Task(id.clone()), version, after.is_some_and(is_new));
        }
    }

    fn follow_networks(&mut self, before: &View, changes: &Changes) {
        if changes.networks.is_empty() {
            return;
        }
        let view = self.view.clone();
        self.ingress = ingress_of(&view);
        for (id, touched) in &changes.networks {
            let (old, new) = (before.network(id), touched.after.as_ref());
            if self.intake.has(Kind::Network, id.as_id()) {
                let held = |network: Option<&Arc<_>>| network.map(|one| of_network(one));
                self.exchange(held(old), held(new));
            }
            if let Some(network) = new.or(old) {
                let version = new.map(|network| network.meta.version);
                self.touched(Due::network(network), version, version.is_some());
            }
            self.wake(&Cause::Network(id.clone()));
            self.wake(&Cause::Address(id.clone()));
            self.wake(&Cause::OneAddress(id.clone()));
        }
        self.wake(&Cause::Networks);
        let is_one_gone = changes.networks.values().any(|touched| touched.after.is_none());
        self.begin_sweep(is_one_gone);
    }

    fn follow_task(&mut self, before: Option<&Task>, after: Option<&Task>) {
        let is_attached = |task: Option<&Task>| task.is_some_and(|task| !task.networks.is_empty());
        if !is_attached(before) && !is_attached(after) {
            return;
        }
        let before = before.map(of_task).unwrap_or_default();
        let after = after.map(of_task).unwrap_or_default();
        let uses = before.symmetric_difference(&after);
        let nodes = uses.filter_map(|holding| match holding {
            Holding::Use(node, _) => Some(Due::Node(node.clone())),
            Holding::Port(..) | Holding::Vxlan(_) | Holding::Subnet(_) | Holding::Address(..) => {
                None
            }
        });
        self.due.extend(nodes);
        self.exchange(Some(before), Some(after));
    }

    /// An object changed and has this version, or none any more: what was promised to it is
    /// settled, and it may lack something else.
    fn touched(&mut self, due: Due, version: Option<u64>, may_lack: bool) {
        // What is announced may be older than what was decided on.
        let is_newer = |promise: &Promise| version.is_none_or(|version| version > promise.version);
        if self.promises.get(&due).is_some_and(is_newer) {
            self.take_back(&due);
        }
        self.waiting.remove(&due);
        if may_lack {
            self.due.insert(due);
        }
    }

    /// Something holds other things than before.
    fn exchange(&mut self, before: Option<Holdings>, after: Option<Holdings>) {
        let (before, after) = (before.unwrap_or_default(), after.unwrap_or_default());
        after.difference(&before).for_each(|holding| self.pools.take(holding));
        self.give_back(before.difference(&after));
    }

    /// Ends a promise.
    fn take_back(&mut self, due: &Due) {
        if let Some(promise) = self.promises.remove(due) {
            self.give_back(&promise.taken);
        }
    }

    /// Gives things back, and wakes as many as may have them.
    fn give_back<'h>(&mut self, holdings: impl IntoIterator<Item = &'h Holding>) {
        for holding in holdings {
            if !self.pools.give_back(holding) {
                continue;
            }
            match holding {
                Holding::Port(..) => self.wake(&Cause::Port),
                Holding::Vxlan(_) | Holding::Subnet(_) => self.wake(&Cause::Networks),
                Holding::Address(network, _) => {
                    self.wake(&Cause::OneAddress(network.clone()));
                    self.wake_one(&Cause::Address(network.clone()));
                }
                Holding::Use(..) => {}
            }
        }
    }

    /// One that needs no certain thing is enough for each that is free.
    pub(super) fn wake_one(&mut self, cause: &Cause) {
        let woken = self.waiting.wake(cause, 1);
        self.due.extend(woken);
    }

    fn wake(&mut self, cause: &Cause) {
        let woken = self.waiting.wake(cause, usize::MAX);
        self.due.extend(woken);
    }

    /// Some decisions were not written: they are made again.
    ///
    /// An object may have changed meanwhile and been decided on again: what was promised for that
    /// may still be written, so it stays.
    pub(crate) fn failed(&mut self, decided: impl IntoIterator<Item = Decided>) {
        for decided in decided {
            if self.take_back_of(&decided) {
                self.due.insert(decided.0);
            }
        }
    }

    /// A decision cannot be written. It is tried again when time has passed.
    pub(crate) fn give_up(&mut self, decided: Decided) {
        if self.take_back_of(&decided) {
            self.waiting.insert(decided.0, vec![Cause::Nothing]);
        }
    }

    /// Ends the promise of one decision. Says whether no later one was promised anything.
    fn take_back_of(&mut self, (due, version): &Decided) -> bool {
        let is_later = self.promises.get(due).is_some_and(|promise| promise.version != *version);
        if !is_later {
            self.take_back(due);
        }
        !is_later
    }

    /// Whether there is nothing to decide.
    pub(crate) fn is_idle(&self) -> bool {
        let is_walking = self.sweep.is_some() || self.guard.is_some();
        self.due.is_empty() && self.is_taken_in() && !is_walking
    }

    /// Whether something lacks something though nothing has announced it: it never does.
    pub(super) fn is_overlooked(&self, due: &Due) -> bool {
        let is_known =
            self.due.contains(due) || self.waiting.contains(due) || self.promises.contains_key(due);
        !is_known && self.lacks(due)
    }

    fn lacks(&self, due: &Due) -> bool {
        let view = &self.view;
        let networks = Networks::new(view, self.ingress.as_ref());
        match due {
            Due::Ingress(id) | Due::Network(id) => {
                view.network(id).is_some_and(|one| !network::is_allocated(&one.body))
            }
            Due::Node(id) => view
                .node(id)
                .is_some_and(|one| !node::is_allocated(one, self.pools.used_by(id), networks)),
            Due::Service(id) => view.service(id).is_some_and(|one| {
                !service::is_allocated(one, networks) || !one.allocation_error.is_empty()
            }),
            Due::Task(id) => view.task(id).is_some_and(|one| is_new(one)),
        }
    }

    /// Panics unless what is kept up is what a fresh look says (ALLOC-3).
    pub(crate) fn verify(&self) {
        if !self.is_taken_in() {
            return;
        }
        let mut fresh = Pools::of(&self.view);
        self.promises.values().for_each(|promise| fresh.take_all(&promise.taken));
        assert_eq!(self.pools, fresh, "in use is what the store says");
        assert_eq!(self.ingress, ingress_of(&self.view));
    }
}

/// The version of what is due; none if it is not there.
fn version(view: &View, due: &Due) -> Option<u64> {
    match due {
        Due::Ingress(id) | Due::Network(id) => view.network(id).map(|one| one.meta.version),
        Due::Node(id) => view.node(id).map(|one| one.meta.version),
        Due::Service(id) => view.service(id).map(|one| one.meta.version),
        Due::Task(id) => view.task(id).map(|one| one.meta.version),
    }
}
