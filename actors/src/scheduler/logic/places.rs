//! What every node has left, kept up with the tasks on it (`scheduler-and-allocator` §2), and
//! which nodes were touched lately, so that whoever ranks them looks at those alone.

use std::{
    borrow::Cow,
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use protocol::{
    id::{NodeId, ServiceId},
    objects::{Node, Task, TaskState},
    wire::{self, GenericResource},
};

use super::{
    kind::{HostPort, Kind, host_ports, reserved},
    resources::Taken,
    spread::Precedence,
};

/// Touches that are remembered beyond two for each node.
const TOUCHES_MIN: usize = 1024;

/// Where a node is kept. A seat is used again once its node is gone.
pub(crate) type Seat = usize;

/// One node, with what the tasks on it have taken.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) node: Arc<Node>,
    pub(crate) precedence: Precedence,
    /// Which version of which node this is, of all that were ever put anywhere.
    pub(crate) generation: u64,
    pub(crate) load: Load,
    touched_at: u64,
}

/// What the tasks of a node take.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Load {
    pub(crate) taken: Taken,
    pub(crate) ports: BTreeMap<HostPort, u32>,
    /// Tasks that should run.
    pub(crate) active: u64,
    active_of: BTreeMap<ServiceId, u64>,
}

/// What one task takes of its node.
pub(crate) struct Share<'t> {
    service: &'t ServiceId,
    nano_cpus: i64,
    memory_bytes: i64,
    generic: &'t [GenericResource],
    ports: Cow<'t, [HostPort]>,
    is_active: bool,
}

/// All nodes.
#[derive(Debug, Default)]
pub(crate) struct Places {
    seats: Vec<Option<Place>>,
    by_id: BTreeMap<NodeId, Seat>,
    unused: Vec<Seat>,
    generations: u64,
    /// The seats that were touched last, and how many touches before these are forgotten.
    touches: VecDeque<Seat>,
    forgotten: u64,
}

/// Whether a task takes room on its node.
pub(crate) fn counts(task: &Task) -> bool {
    !task.node_id.is_empty()
        && task.status.state > TaskState::PENDING
        && task.status.state <= TaskState::RUNNING
}

/// Whether a task should run, or should have run to its end.
pub(crate) fn is_active(task: &Task) -> bool {
    task.desired_state <= TaskState::COMPLETE
}

impl<'t> Share<'t> {
    /// What a task takes that has a node.
    pub(crate) fn of(task: &'t Task) -> Self {
        let reserved = reserved(&task.spec);
        Self {
            service: &task.service_id,
            nano_cpus: reserved.map_or(0, |reserved| reserved.nano_cpus),
            memory_bytes: reserved.map_or(0, |reserved| reserved.memory_bytes),
            generic: &task.assigned_generic_resources,
            ports: Cow::Owned(host_ports(task)),
            is_active: is_active(task),
        }
    }

    /// What a task of a kind takes that gets a node.
    pub(crate) fn promised(kind: &'t Kind, generic: &'t [GenericResource]) -> Self {
        Self {
            service: &kind.service,
            nano_cpus: kind.asks.nano_cpus,
            memory_bytes: kind.asks.memory_bytes,
            generic,
            ports: Cow::Borrowed(&kind.ports),
            is_active: true,
        }
    }
}

impl Place {
    /// What the node says that it has.
    pub(crate) fn offered(&self) -> Option<&wire::Resources> {
        self.node.description.as_ref()?.resources.as_ref()
    }
}

impl Load {
    /// How many tasks of a service should run here.
    pub(crate) fn active_of(&self, service: &ServiceId) -> u64 {
        self.active_of.get(service).copied().unwrap_or_default()
    }

    fn add(&mut self, share: &Share<'_>) {
        self.taken.add(share.nano_cpus, share.memory_bytes, share.generic);
        for port in &*share.ports {
            *self.ports.entry(*port).or_default() += 1;
        }
        if share.is_active {
            self.active += 1;
            match self.active_of.get_mut(share.service) {
                Some(active) => *active += 1,
                None => drop(self.active_of.insert(share.service.clone(), 1)),
            }
        }
    }

    fn remove(&mut self, share: &Share<'_>) {
        self.taken.remove(share.nano_cpus, share.memory_bytes, share.generic);
        for port in &*share.ports {
            if let Some(users) = self.ports.get_mut(port) {
                *users -= 1;
                if *users == 0 {
                    self.ports.remove(port);
                }
            }
        }
        if share.is_active {
            self.active -= 1;
            if let Some(active) = self.active_of.get_mut(share.service) {
                *active -= 1;
                if *active == 0 {
                    self.active_of.remove(share.service);
                }
            }
        }
    }
}

impl Places {
    /// How many seats there are, used or not.
    pub(crate) fn len(&self) -> usize {
        self.seats.len()
    }

    pub(crate) fn at(&self, seat: Seat) -> Option<&Place> {
        self.seats.get(seat)?.as_ref()
    }

    pub(crate) fn seat(&self, id: &NodeId) -> Option<Seat> {
        self.by_id.get(id).copied()
    }

    /// Every node, by id.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Place> {
        self.by_id.values().filter_map(|seat| self.at(*seat))
    }

    /// Takes a node as it is now. Returns whether it is a new one, with nothing on it yet.
    pub(crate) fn put(&mut self, node: Arc<Node>) -> bool {
        self.generations += 1;
        let generation = self.generations;
        if let Some(seat) = self.seat(&node.id) {
            let place = self.seats[seat].as_mut().expect("a seat with an id is taken");
            (place.node, place.generation) = (node, generation);
            self.touch(seat);
            return false;
        }
        let seat = self.unused.pop().unwrap_or_else(|| {
            self.seats.push(None);
            self.seats.len() - 1
        });
        self.by_id.insert(node.id.clone(), seat);
        let (precedence, load) = (Precedence::of(&node.id), Load::default());
        self.seats[seat] = Some(Place { node, precedence, generation, load, touched_at: 0 });
        self.touch(seat);
        true
    }

    /// A node is gone, and what was counted on it.
    pub(crate) fn remove(&mut self, id: &NodeId) {
        if let Some(seat) = self.by_id.remove(id) {
            self.seats[seat] = None;
            self.unused.push(seat);
            self.touch(seat);
        }
    }

    /// Counts what a task takes. A node that is not known is no matter.
    pub(crate) fn add(&mut self, id: &NodeId, share: &Share<'_>) {
        if let Some(seat) = self.seat(id) {
            self.add_at(seat, share);
        }
    }

    /// As [`Self::add`], where the seat is known.
    pub(crate) fn add_at(&mut self, seat: Seat, share: &Share<'_>) {
        if let Some(place) = self.seats[seat].as_mut() {
            place.load.add(share);
            self.touch(seat);
        }
    }

    /// Does not count any more what a task took.
    pub(crate) fn remove_share(&mut self, id: &NodeId, share: &Share<'_>) {
        if let Some(seat) = self.seat(id)
            && let Some(place) = self.seats[seat].as_mut()
        {
            place.load.remove(share);
            self.touch(seat);
        }
    }

    /// A node is to be ranked anew, although nothing on it has changed.
    pub(crate) fn touch(&mut self, seat: Seat) {
        if let Some(place) = self.seats[seat].as_mut() {
            place.touched_at = self.forgotten + self.touches.len() as u64;
        }
        self.touches.push_back(seat);
        if self.touches.len() > TOUCHES_MIN + 2 * self.seats.len() {
            let half = self.touches.len() / 2;
            self.touches.drain(..half);
            self.forgotten += half as u64;
        }
    }

    /// How many touches there have been.
    pub(crate) fn touches(&self) -> u64 {
        self.forgotten + self.touches.len() as u64
    }

    /// Whether all touches from this one on are remembered.
    pub(crate) fn remembers(&self, touch: u64) -> bool {
        touch >= self.forgotten
    }

    /// The seat of a touch; none if it was touched again later, or is empty and was before.
    pub(crate) fn touched(&self, touch: u64) -> Option<Seat> {
        let position = usize::try_from(touch.checked_sub(self.forgotten)?).ok()?;
        let seat = *self.touches.get(position)?;
        let is_last = self.at(seat).is_none_or(|place| place.touched_at == touch);
        is_last.then_some(seat)
    }
}
