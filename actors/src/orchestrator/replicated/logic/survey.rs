//! Looks at all tasks of one service, a few slots at a time, on one view. What it finds is checked again on the head, so that it does not matter how long it takes.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    ops::Bound,
    sync::Arc,
};

use protocol::{
    id::{NodeId, ServiceId},
    objects::{Service, Task},
};

use super::{CREATED_MAX, Change, is_running, removed, updatable, updated, version};
use crate::{orchestrator::task::replicas, store::View};

/// One look at a service that goes on from call to call.
#[derive(Debug)]
pub(crate) struct Survey {
    view: View,
    id: ServiceId,
    /// What is asked for; none if the service is gone, or is leaving.
    wanted: Option<Wanted>,
    stage: Stage,
    /// The slots that have tasks which stand for them.
    live: BTreeMap<u64, Place>,
    /// The lowest slots that have none.
    free: BTreeSet<u64>,
}

#[derive(Debug)]
struct Wanted {
    service: Arc<Service>,
    replicas: u64,
}

/// Where a slot is, and whether it stays.
#[derive(Debug)]
struct Place {
    is_running: bool,
    /// The node of its task; none if it has several, or one without a node.
    node: Option<NodeId>,
    is_kept: bool,
}

#[derive(Debug)]
enum Stage {
    /// All before this slot are counted.
    Count(u64),
    /// There are more than are asked for.
    Rank(Ranking),
    /// What is asked of all before this slot is said.
    Tell(u64),
    /// All is said.
    Done,
}

/// Which slots stay when there are too many: those that run before those that do not yet, low
/// numbers before high ones, and evenly over the nodes.
#[derive(Debug, Default)]
struct Ranking {
    /// It is through with those that run.
    is_among_others: bool,
    after: Option<u64>,
    on_node: BTreeMap<NodeId, u64>,
    /// The best so far, as many as may stay: the position on the node, and the order among equals.
    best: BTreeSet<(u64, usize, u64)>,
    seen: usize,
}

impl Survey {
    /// Begins to look at a service.
    pub(crate) fn new(view: View, id: ServiceId) -> Self {
        let service = view.service(&id).filter(|service| !service.pending_delete);
        let replicas = service.map(|service| replicas(service));
        let stage = match replicas {
            _ if id.is_empty() => Stage::Done,
            // Another kind of service.
            Some(None) => Stage::Done,
            Some(Some(_)) => Stage::Count(0),
            None => Stage::Tell(0),
        };
        let wanted = service.zip(replicas.flatten());
        let wanted =
            wanted.map(|(service, replicas)| Wanted { service: service.clone(), replicas });
        Self { view, id, wanted, stage, live: BTreeMap::new(), free: BTreeSet::new() }
    }

    /// The service that is looked at.
    pub(crate) fn service(&self) -> &ServiceId {
        &self.id
    }

    /// The version of the service.
    pub(crate) fn version(&self) -> Option<u64> {
        version(&self.view, &self.id)
    }

    /// Whether the service is the same in another view.
    pub(crate) fn is_of_version_in(&self, view: &View) -> bool {
        self.version() == version(view, &self.id)
    }

    /// Whether all is said.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Done)
    }

    /// Looks at so many tasks more, and says what is to change. A slot is looked at as a whole.
    pub(crate) fn advance(&mut self, looks: &mut usize) -> Vec<Change> {
        let mut changes = Vec::new();
        while *looks > 0 {
            self.stage = match mem::replace(&mut self.stage, Stage::Done) {
                Stage::Count(slot) => self.count(slot, looks),
                Stage::Rank(ranking) => self.rank(ranking, looks),
                Stage::Tell(slot) => self.tell(slot, looks, &mut changes),
                Stage::Done => break,
            };
        }
        changes
    }

    /// The next slot from one on that has tasks, with them.
    fn slot(&self, from: u64, looks: &mut usize) -> Option<(u64, Vec<&Arc<Task>>)> {
        let mut tasks = self.view.tasks_of_service_from(&self.id, from).peekable();
        let slot = tasks.peek()?.slot;
        let tasks: Vec<_> = tasks.take_while(|task| task.slot == slot).collect();
        *looks = looks.saturating_sub(tasks.len());
        Some((slot, tasks))
    }

    fn count(&mut self, from: u64, looks: &mut usize) -> Stage {
        let Some((slot, tasks)) = self.slot(from, looks) else { return self.counted() };
        let standing = updatable(&tasks);
        let place = (!standing.is_empty()).then(|| Place {
            is_running: standing.iter().any(|task| is_running(task)),
            node: match standing[..] {
                [task] if !task.node_id.is_empty() => Some(task.node_id.clone()),
                _ => None,
            },
            is_kept: true,
        });
        // Slots have numbers from 1 on.
        self.note_free(from.max(1)..slot);
        match place {
            Some(place) => drop(self.live.insert(slot, place)),
            None => self.note_free(slot.max(1)..slot.saturating_add(1)),
        }
        match slot.checked_add(1) {
            Some(next) => Stage::Count(next),
            None => self.counted(),
        }
    }

    fn note_free(&mut self, slots: impl Iterator<Item = u64>) {
        let room = CREATED_MAX.saturating_sub(self.free.len());
        self.free.extend(slots.take(room));
    }

    /// All slots are known: which are to be filled, and whether some are too many.
    fn counted(&mut self) -> Stage {
        let Some(Wanted { replicas, .. }) = self.wanted else { return Stage::Done };
        let missing = replicas.saturating_sub(self.live.len() as u64);
        let missing = usize::try_from(missing).unwrap_or(usize::MAX).min(CREATED_MAX);
        let last = self.live.keys().chain(&self.free).max().copied().unwrap_or_default();
        let behind = missing.saturating_sub(self.free.len());
        self.free.extend((last..u64::MAX).map(|slot| slot + 1).take(behind));
        while self.free.len() > missing {
            self.free.pop_last();
        }
        match self.live.len() as u64 > replicas {
            true => Stage::Rank(Ranking::default()),
            false => Stage::Tell(0),
        }
    }

    fn rank(&mut self, mut ranking: Ranking, looks: &mut usize) -> Stage {
        let Some(Wanted { replicas, .. }) = self.wanted else { return Stage::Done };
        *looks -= 1;
        let behind = ranking.after.map_or(Bound::Unbounded, Bound::Excluded);
        let Some((slot, place)) = self.live.range((behind, Bound::Unbounded)).next() else {
            if ranking.is_among_others {
                return Stage::Tell(0);
            }
            (ranking.is_among_others, ranking.after) = (true, None);
            return Stage::Rank(ranking);
        };
        ranking.after = Some(*slot);
        if place.is_running == ranking.is_among_others {
            return Stage::Rank(ranking);
        }
        let position = place.node.clone().map_or(u64::MAX, |node| {
            let position = ranking.on_node.entry(node).or_default();
            *position += 1;
            *position
        });
        ranking.best.insert((position, ranking.seen, *slot));
        ranking.seen += 1;
        if ranking.best.len() as u64 > replicas
            && let Some((.., slot)) = ranking.best.pop_last()
            && let Some(place) = self.live.get_mut(&slot)
        {
            place.is_kept = false;
        }
        Stage::Rank(ranking)
    }

    fn tell(&mut self, from: u64, looks: &mut usize, changes: &mut Vec<Change>) -> Stage {
        let Some((slot, tasks)) = self.slot(from, looks) else {
            changes.extend(mem::take(&mut self.free).into_iter().map(Change::Create));
            return Stage::Done;
        };
        let place = self.live.get(&slot);
        match &self.wanted {
            Some(Wanted { service, .. }) if place.is_some_and(|place| place.is_kept) => {
                changes.extend(updated(&self.view, service, slot, &updatable(&tasks)));
            }
            // What is left of a slot that is taken again stays, as its history.
            Some(_) if place.is_none() && self.free.contains(&slot) => {}
            Some(_) | None => changes.extend(tasks.into_iter().filter_map(removed)),
        }
        self.live.remove(&slot);
        slot.checked_add(1).map_or(Stage::Done, Stage::Tell)
    }
}
