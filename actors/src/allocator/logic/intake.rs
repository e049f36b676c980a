//! What looks at a whole store, a few objects at a time: beginning anew, what changed networks may
//! ask of nodes and services, and the rare look at everything. What changes meanwhile is followed as
//! far as it has been taken in, and found as it is now where it has not.

use protocol::objects::{Kind, Object};

use super::{
    board::{Board, Due, Sweep},
    holdings::{of_network, of_node, of_service, of_task},
    network,
    task::is_new,
    walk::Walk,
};

impl Board {
    /// Whether the whole store is in the pools.
    pub(crate) fn is_taken_in(&self) -> bool {
        self.intake.is_through(Kind::Task)
    }

    /// Goes on taking in the store; each object is a step. Returns whether all of it is in.
    pub(super) fn take_in(&mut self, steps: &mut usize) -> bool {
        if self.is_taken_in() {
            return true;
        }
        for object in self.intake.next(&self.view, steps) {
            match &object {
                Object::Network(one) => self.pools.take_all(&of_network(one)),
                Object::Node(one) => self.pools.take_all(&of_node(one)),
                Object::Service(one) => self.pools.take_all(&of_service(one)),
                Object::Task(one) if one.networks.is_empty() => {}
                Object::Task(one) => self.pools.take_all(&of_task(one)),
                Object::Cluster(_)
                | Object::Config(_)
                | Object::Extension(_)
                | Object::Resource(_)
                | Object::Secret(_)
                | Object::Volume(_) => {}
            }
            self.due.extend(due(&object).filter(|_| may_lack(&object)));
        }
        let is_over = self.is_taken_in();
        if is_over {
            self.pools.continue_from(std::mem::take(&mut self.former));
        }
        is_over
    }

    /// Nodes, and services if a network is gone, may need something else than before.
    pub(super) fn begin_sweep(&mut self, with_services: bool) {
        match &mut self.sweep {
            Some(sweep) => {
                sweep.again = true;
                sweep.has_services |= with_services;
            }
            None => {
                let walk = Walk::from(Kind::Node);
                self.sweep = Some(Sweep { walk, has_services: with_services, again: false });
            }
        }
    }

    /// Goes on with that.
    pub(crate) fn sweep_on(&mut self, steps: &mut usize) {
        let Some(mut sweep) = self.sweep.take() else { return };
        let last = if sweep.has_services { Kind::Service } else { Kind::Node };
        for object in sweep.walk.next(&self.view, steps) {
            if object.kind() == Kind::Node || object.kind() == last {
                self.due.extend(due(&object));
            }
        }
        if !sweep.walk.is_through(last) {
            self.sweep = Some(sweep);
        } else if sweep.again {
            self.begin_sweep(sweep.has_services);
        }
    }

    /// Everything that waits is looked at again, and all else for what should not have to wait.
    pub(crate) fn retry(&mut self) {
        self.guard = Some(Walk::from(Kind::Network));
    }

    /// Goes on with that. Returns what was overlooked: always nothing.
    pub(super) fn retry_on(&mut self, steps: &mut usize) -> Vec<Due> {
        // What is being swept is not overlooked.
        let Some(mut guard) = self.guard.take_if(|_| self.sweep.is_none()) else {
            return Vec::new();
        };
        let mut overlooked = Vec::new();
        for due in guard.next(&self.view, steps).iter().filter_map(due) {
            if self.is_overlooked(&due) {
                overlooked.push(due.clone());
            } else if !self.waiting.contains(&due) {
                continue;
            }
            self.waiting.remove(&due);
            self.due.insert(due);
        }
        self.guard = Some(guard).filter(|guard| !guard.is_through(Kind::Task));
        overlooked
    }

    /// All that is overlooked.
    #[cfg(test)]
    pub(crate) fn overlooked(&self) -> Vec<Due> {
        let all = Walk::from(Kind::Network).next(&self.view, &mut { usize::MAX });
        all.iter().filter_map(due).filter(|due| self.is_overlooked(due)).collect()
    }
}

fn due(object: &Object) -> Option<Due> {
    match object {
        Object::Network(one) => Some(Due::network(one)),
        Object::Node(one) => Some(Due::Node(one.id.clone())),
        Object::Service(one) => Some(Due::Service(one.id.clone())),
        Object::Task(one) => Some(Due::Task(one.id.clone())),
        Object::Cluster(_)
        | Object::Config(_)
        | Object::Extension(_)
        | Object::Resource(_)
        | Object::Secret(_)
        | Object::Volume(_) => None,
    }
}

fn may_lack(object: &Object) -> bool {
    match object {
        Object::Network(one) => !network::is_allocated(&one.body),
        Object::Task(one) => is_new(one),
        Object::Node(_) | Object::Service(_) => true,
        Object::Cluster(_)
        | Object::Config(_)
        | Object::Extension(_)
        | Object::Resource(_)
        | Object::Secret(_)
        | Object::Volume(_) => false,
    }
}
