//! What changes in the store, and what follows from it for sessions and for those who have them.

use std::collections::BTreeSet;

use actix::Handler;
use protocol::id::NodeId;

use super::{Dispatcher, logic::intake::removed_nodes, period};
use crate::store::{Change, Changes, View};

impl Dispatcher {
    /// Notes what changed for which node.
    fn touch(&mut self, changes: &Changes, view: &View) -> BTreeSet<NodeId> {
        let mut touched = BTreeSet::new();
        for (id, task) in &changes.tasks {
            for task in task.before.iter().chain(&task.after) {
                if let Some(connection) = self.connections.get_mut(&task.node_id) {
                    connection.touch_task(id.clone());
                    touched.insert(task.node_id.clone());
                }
            }
        }
        for (id, node) in &changes.nodes {
            if node.after.is_none() {
                self.registry.forget(id);
                self.connections.remove(id);
                self.intake.orphan(id.clone());
            } else if let Some(connection) = self.connections.get_mut(id) {
                connection.touch_node();
                touched.insert(id.clone());
            }
        }
        if !changes.clusters.is_empty() {
            self.set_period(view);
            // Session messages carry the root certificate.
            for (id, connection) in &mut self.connections {
                connection.touch_node();
                touched.insert(id.clone());
            }
        }
        touched
    }

    /// A period that has become far shorter counts at once.
    fn set_period(&mut self, view: &View) {
        self.registry.set_period(period(view));
        self.wake();
    }

    /// Notes that anything may have changed for anyone.
    fn touch_all(&mut self, view: &View) -> BTreeSet<NodeId> {
        self.set_period(view);
        self.connections.retain(|node, _| view.node(node).is_some());
        self.registry.forget_others(|node| view.node(node).is_some());
        removed_nodes(view).into_iter().for_each(|node| self.intake.orphan(node));
        for connection in self.connections.values_mut() {
            connection.touch_all(view);
        }
        self.connections.keys().cloned().collect()
    }
}

impl Handler<Change> for Dispatcher {
    type Result = ();

    fn handle(&mut self, change: Change, ctx: &mut Self::Context) {
        let touched = match change {
            Change::Committed { changes, view } => self.touch(&changes, &view),
            Change::Resync { view } => self.touch_all(&view),
        };
        self.publish();
        self.write_soon(ctx);
        for node in touched {
            self.deliver(node, ctx);
        }
    }
}
