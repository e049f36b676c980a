//! One slice of a pass: looks at nodes and tasks until its steps are used up
//! (`scheduler-and-allocator` §6, §7).

use std::{sync::Arc, time::Instant};

use protocol::{
    id::TaskId,
    objects::{List, Task},
    wire::VolumeAttachment,
};

use crate::orchestrator::task::is_dirty;

use super::{
    board::{Board, Promise},
    candidates::Against,
    decision::{Decision, Outcome, Unused},
    filter::{Filter, describe, failed, failed_for_good},
    kind::Kind,
    places::{Seat, Share},
    queue::{Line, Waiting},
};

const UNPLACED: &str = "no suitable node";

/// What one slice may still do.
struct Slice {
    now: Instant,
    /// How many nodes and tasks may still be looked at. What is begun is brought to its end: that
    /// may be a look at every node once, for a volume that few of them reach.
    steps: usize,
    /// How many decisions there may be in all.
    decisions_max: usize,
    decisions: Vec<Decision>,
}

impl Slice {
    fn is_over(&self) -> bool {
        self.left() == 0
    }

    /// How many tasks may still be looked at.
    fn left(&self) -> usize {
        self.steps.min(self.decisions_max.saturating_sub(self.decisions.len()))
    }
}

impl Board {
    /// Decides about tasks that wait, and counts what it gives them. Looks at no more than `steps`
    /// nodes and tasks; whoever is left has its turn with the next call, unless
    /// [`Board::is_idle`].
    pub fn decide(&mut self, now: Instant, steps: usize, decisions_max: usize) -> Vec<Decision> {
        let decisions = Vec::with_capacity(steps.min(decisions_max));
        let mut slice = Slice { now, steps, decisions_max, decisions };
        if !self.take_in(&mut slice.steps) {
            return slice.decisions;
        }
        while !slice.is_over()
            && let Some((_, task)) = self.unwanted.pop_first()
        {
            slice.steps -= 1;
            slice.decisions.push(Decision { task, outcome: Outcome::Stopped });
        }
        while !slice.is_over()
            && let Some((node, tasks)) = self.queue.next_node(slice.left())
        {
            slice.steps = slice.steps.saturating_sub(tasks.len().max(1));
            if let Some(seat) = self.places.seat(&node) {
                self.confirm(seat, tasks, &mut slice);
            }
        }
        while !slice.is_over()
            && let Some((kind, mut line)) = self.queue.next_line()
        {
            let is_through = self.place(&kind, &mut line, &mut slice);
            self.queue.put_back(kind, line, !is_through);
        }
        slice.decisions
    }

    /// The next volumes that are published where nobody uses them; looks at so many at most. Each is
    /// told once.
    pub fn take_unused(&mut self, at_most: usize) -> Vec<Unused> {
        if !self.is_taken_in() {
            return Vec::new();
        }
        let released = std::iter::from_fn(|| self.released.pop_first()).take(at_most);
        let volumes = released.filter_map(|id| self.view.volume(&id));
        let unused = volumes.map(|volume| Unused {
            volume: volume.id.clone(),
            nodes: self.volumes.unused_on(volume),
        });
        unused.filter(|unused| !unused.nodes.is_empty()).collect()
    }

    /// Says of tasks that came with their node whether they can run there.
    fn confirm(&mut self, seat: Seat, tasks: Vec<Arc<Task>>, slice: &mut Slice) {
        for task in tasks {
            if self.promises.contains_key(&task.id) {
                continue;
            }
            let kind = self.queue.kind(&task);
            let place = self.places.at(seat).expect("it has an id");
            let for_good = failed_for_good(&kind, &place.node);
            let reason = match failed(&kind, place, for_good) {
                Some(filter) => describe(&[(filter, 1)], &kind.asks.image),
                None => match self.volumes.choose(&kind.asks.mounts, &place.node) {
                    Ok(volumes) => {
                        self.queue.remove(&task);
                        let (id, waiting) = (task.id.clone(), Waiting::of(&task));
                        self.promise(&kind, seat, id, waiting, volumes.into(), slice);
                        continue;
                    }
                    Err(source) => {
                        format!("cannot find volume to satisfy mount with source {source}")
                    }
                },
            };
            if let Some(reason) = self.queue.tell_preassigned(&task, &reason) {
                slice.decisions.push(Decision { task, outcome: Outcome::Waits { reason } });
            }
        }
    }

    /// Gives the tasks of a line a node, one after the other, each the best there is. What is left
    /// then is told why. Returns whether it is through with the line.
    fn place(&mut self, kind: &Arc<Kind>, line: &mut Line, slice: &mut Slice) -> bool {
        if line.is_empty() {
            return true;
        }
        let against = Against::new(kind, &self.failures, slice.now);
        if !line.candidates.catch_up(&against, &self.places, &mut slice.steps) {
            return false;
        }
        line.candidates.forgive(&against, &self.places, &mut slice.steps);
        while !line.is_empty() {
            if slice.is_over() {
                return false;
            }
            let mut looked_at = 0;
            let best = line.candidates.best(|seat| {
                looked_at += 1;
                if kind.asks.mounts.is_empty() {
                    return Some(List::default());
                }
                let node = &self.places.at(seat)?.node;
                Some(self.volumes.choose(&kind.asks.mounts, node).ok()?.into())
            });
            slice.steps = slice.steps.saturating_sub(looked_at.max(1));
            let Some((seat, volumes)) = best else { return self.tell(kind, line, slice) };
            let (id, waiting) = line.pop().expect("the line is not empty");
            self.promise(kind, seat, id, waiting, volumes, slice);
            let against = Against::new(kind, &self.failures, slice.now);
            line.candidates.placed(&against, &self.places, seat);
        }
        true
    }

    /// Counts a task on its node, and decides that.
    fn promise(
        &mut self,
        kind: &Arc<Kind>,
        seat: Seat,
        id: TaskId,
        Waiting { task, version }: Waiting,
        volumes: List<VolumeAttachment>,
        slice: &mut Slice,
    ) {
        let place = self.places.at(seat).expect("it was looked at");
        let node = place.node.id.clone();
        let generic: List<_> = match &kind.asks.generic[..] {
            [] => List::default(),
            wanted => place.load.taken.choose(place.offered(), wanted).into(),
        };
        self.places.add_at(seat, &Share::promised(kind, &generic));
        self.volumes.reserve(&id, &node, kind, &volumes);
        let promise = Promise {
            version,
            kind: kind.clone(),
            node: node.clone(),
            generic: generic.clone(),
            volumes: volumes.clone(),
        };
        self.promises.insert(id, promise);
        slice
            .decisions
            .push(Decision { task, outcome: Outcome::Placed { node, generic, volumes } });
    }

    /// Tells a line why it waits. Returns whether all were told.
    fn tell(&mut self, kind: &Kind, line: &mut Line, slice: &mut Slice) -> bool {
        if line.task().is_none_or(|task| self.is_superseded(task)) {
            line.dismiss();
            return true;
        }
        line.explain(&unplaced(&line.candidates.failed(), &kind.asks.image));
        while !line.is_told() {
            if slice.is_over() {
                return false;
            }
            slice.steps -= 1;
            if let Some((task, reason)) = line.tell()
                && task.status.err != reason
            {
                slice.decisions.push(Decision { task, outcome: Outcome::Waits { reason } });
            }
        }
        true
    }

    /// Whether the service of a task is gone, or asks for other tasks by a newer spec: the task waits
    /// no longer. A service that was only scaled has a newer spec as well, and keeps its tasks.
    fn is_superseded(&self, task: &Task) -> bool {
        if task.service_id.is_empty() {
            return false;
        }
        let service = self.view.service(&task.service_id);
        service.is_none_or(|service| {
            let versions = service.spec_version.zip(task.spec_version);
            versions.is_some_and(|(new, own)| new > own) && is_dirty(task, service, None)
        })
    }
}

/// Says that no node is suitable, and what they fail at.
fn unplaced(counts: &[(Filter, usize)], image: &str) -> String {
    if counts.is_empty() {
        return UNPLACED.to_owned();
    }
    format!("{UNPLACED} ({})", describe(counts, image))
}
