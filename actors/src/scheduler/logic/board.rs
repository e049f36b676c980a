//! Everything that the scheduler decides on: the committed store as far as it matters here, and
//! the promises made that are not committed yet.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use protocol::{
    id::{NodeId, TaskId, VolumeId},
    objects::{List, Task, TaskState},
    wire::{GenericResource, VolumeAttachment},
};

use super::{
    decision::{Decision, Outcome, Unused},
    failures::Failures,
    intake::Intake,
    kind::Kind,
    places::{Load, Places, Share, counts, is_active},
    queue::Queue,
    volumes::Volumes,
};
use crate::store::{Changes, Touched, View};

/// What the scheduler decides on. Kept up with each change, it is what a fresh look at the store
/// and the promises would say (SCHED-5).
#[derive(Default)]
pub struct Board {
    pub(super) places: Places,
    pub(super) queue: Queue,
    pub(super) failures: Failures,
    pub(super) volumes: Volumes,
    /// Given a node, and not yet seen in a committed view.
    pub(super) promises: BTreeMap<TaskId, Promise>,
    /// Nobody wants them any more, and they never had a node.
    pub(super) unwanted: BTreeMap<TaskId, Arc<Task>>,
    /// May be published where nobody uses them.
    pub(super) released: BTreeSet<VolumeId>,
    pub(super) view: View,
    pub(super) intake: Intake,
}

/// What one task was given, without being written yet.
#[derive(Debug)]
pub(super) struct Promise {
    /// Of the task that was decided on.
    pub(super) version: u64,
    pub(super) kind: Arc<Kind>,
    pub(super) node: NodeId,
    pub(super) generic: List<GenericResource>,
    pub(super) volumes: List<VolumeAttachment>,
}

impl Promise {
    /// Whether a task got what it was promised, and still takes it.
    fn is_kept(&self, task: &Task) -> bool {
        task.node_id == self.node
            && counts(task)
            && is_active(task)
            && task.assigned_generic_resources == self.generic
            && task.volumes == self.volumes
    }

    pub(super) fn share(&self) -> Share<'_> {
        Share::promised(&self.kind, &self.generic)
    }
}

impl Board {
    /// Follows what was committed; `now` is when failures are noted.
    pub fn follow(&mut self, view: View, changes: &Changes, now: Instant) {
        let mut has_room = !changes.nodes.is_empty() || !changes.volumes.is_empty();
        for (id, touched) in &changes.tasks {
            has_room |= self.follow_task(&view, id, touched, now);
        }
        for (id, touched) in &changes.nodes {
            if !self.intake.has_node(id) {
                // It is found when it is its turn.
                continue;
            }
            match &touched.after {
                Some(node) => {
                    if self.places.put(node.clone()) {
                        self.count_on(&view, id);
                    }
                }
                None => self.places.remove(id),
            }
        }
        for (id, touched) in &changes.volumes {
            match &touched.after {
                Some(volume) => self.volumes.put(volume.clone()),
                None => self.volumes.remove(id),
            }
            self.released.insert(id.clone());
        }
        if has_room {
            self.queue.all_due();
        }
        self.view = view;
    }

    /// Follows one task. Returns whether its node has more room than before.
    fn follow_task(
        &mut self,
        view: &View,
        id: &TaskId,
        touched: &Touched<Task>,
        now: Instant,
    ) -> bool {
        let (before, after) = (touched.before.as_deref(), touched.after.as_ref());
        let is_here = self.intake.has_task(id);
        if let (Some(before), Some(after)) = (before, after) {
            self.failures.note(before, after, now);
        }
        if let Some(promise) = self.promises.remove(id) {
            if is_here && after.is_some_and(|task| promise.is_kept(task)) {
                return false;
            }
            // Something else has become of it, or it will be counted when it is taken in.
            self.take_back(id, &promise);
        } else if let Some(before) = before.filter(|_| is_here) {
            self.queue.remove(before);
            self.unwanted.remove(id);
        }
        if !is_here {
            return false;
        }
        if let Some(after) = after {
            Self::enqueue(&mut self.queue, &mut self.unwanted, view, after);
        }
        if let (Some(before), Some(after)) = (before, after)
            && takes_the_same(before, after)
        {
            return false;
        }
        let (before, after) =
            (before.filter(|task| counts(task)), after.filter(|task| counts(task)));
        if let Some(before) = before {
            self.places.remove_share(&before.node_id, &Share::of(before));
            if self.volumes.release(id, &before.volumes) {
                self.released.extend(before.volumes.iter().map(|one| one.id.as_str().into()));
            }
        }
        if let Some(after) = after {
            self.places.add(&after.node_id, &Share::of(after));
            self.volumes.reserve_for(after);
        }
        before.is_some() && after.is_none_or(|task| !is_active(task))
    }

    /// Counts everything on a node that was not known before.
    fn count_on(&mut self, view: &View, id: &NodeId) {
        let here = view.tasks_on_node(id).filter(|task| self.intake.has_task(&task.id));
        for task in here.filter(|task| counts(task)) {
            self.places.add(id, &Share::of(task));
        }
        if self.intake.counts_promises() {
            for promise in self.promises.values().filter(|promise| promise.node == *id) {
                self.places.add(id, &promise.share());
            }
        }
    }

    pub(super) fn enqueue(
        queue: &mut Queue,
        unwanted: &mut BTreeMap<TaskId, Arc<Task>>,
        view: &View,
        task: &Arc<Task>,
    ) {
        if is_unwanted(view, task) {
            unwanted.insert(task.id.clone(), task.clone());
        } else {
            queue.insert(task);
        }
    }

    /// A decision was not written: it is decided again.
    pub fn failed(&mut self, decision: &Decision) {
        let id = &decision.task.id;
        let version = decision.task.meta.version;
        match &decision.outcome {
            Outcome::Placed { .. } => {
                // Whoever has changed it meanwhile is announced, or has been.
                if self.promises.get(id).is_none_or(|promise| promise.version != version) {
                    return;
                }
                let promise = self.promises.remove(id).expect("just seen");
                self.take_back(id, &promise);
            }
            Outcome::Waits { .. } | Outcome::Stopped => {}
        }
        let view = self.view.clone();
        let is_free = self.intake.has_task(id) && !self.promises.contains_key(id);
        if let Some(task) = view.task(id).filter(|_| is_free) {
            self.queue.remove(task);
            Self::enqueue(&mut self.queue, &mut self.unwanted, &view, task);
        }
    }

    fn take_back(&mut self, id: &TaskId, promise: &Promise) {
        if !self.intake.counts_promises() {
            return;
        }
        self.places.remove_share(&promise.node, &promise.share());
        self.volumes.release(id, &promise.volumes);
    }

    /// Volumes were not given back: that is decided again.
    pub fn not_given_back(&mut self, unused: Vec<Unused>) {
        self.released.extend(unused.into_iter().map(|unused| unused.volume));
    }

    /// Forgets failures that are not recent any more.
    pub fn forget_old_failures(&mut self, now: Instant) {
        // What is known of these nodes may count what nobody remembers.
        for node in self.failures.forget_old(now) {
            if let Some(seat) = self.places.seat(&node) {
                self.places.touch(seat);
            }
        }
    }

    /// Whether there is nothing to decide.
    pub fn is_idle(&self) -> bool {
        let has_nothing = self.unwanted.is_empty() && self.released.is_empty();
        has_nothing && self.queue.is_idle() && self.is_taken_in()
    }

    /// Panics unless what is kept up is what a fresh look says.
    pub fn verify(&self) {
        if !self.is_taken_in() {
            return;
        }
        let (mut fresh, mut volumes) = (places_of(&self.view), Volumes::of(&self.view));
        for (id, promise) in &self.promises {
            fresh.add(&promise.node, &promise.share());
            volumes.reserve(id, &promise.node, &promise.kind, &promise.volumes);
        }
        assert_eq!(self.volumes, volumes, "volumes have the users that the store says");
        let loads = |places: &Places| -> BTreeMap<NodeId, Load> {
            places.all().map(|place| (place.node.id.clone(), place.load.clone())).collect()
        };
        assert_eq!(loads(&self.places), loads(&fresh), "nodes have what the store says");
    }
}

/// All nodes of a store, with what is on them.
pub(super) fn places_of(view: &View) -> Places {
    let mut places = Places::default();
    for node in view.nodes() {
        places.put(node.clone());
    }
    for task in view.tasks().filter(|task| counts(task)) {
        places.add(&task.node_id, &Share::of(task));
    }
    places
}

/// Whether a task takes exactly what it took before.
fn takes_the_same(before: &Task, after: &Task) -> bool {
    counts(before) == counts(after)
        && (!counts(after)
            || (before.node_id == after.node_id
                && is_active(before) == is_active(after)
                && before.assigned_generic_resources == after.assigned_generic_resources
                && before.volumes == after.volumes
                && before.endpoint == after.endpoint
                && (Arc::ptr_eq(&before.spec, &after.spec) || before.spec == after.spec)))
}

/// Whether a task waits for a node that nobody wants any more, since its service has a newer spec.
fn is_unwanted(view: &View, task: &Task) -> bool {
    task.node_id.is_empty()
        && task.status.state == TaskState::PENDING
        && task.desired_state >= TaskState::SHUTDOWN
        && view.service(&task.service_id).is_some_and(|service| {
            service.spec_version.zip(task.spec_version).is_some_and(|(new, own)| new > own)
        })
}
