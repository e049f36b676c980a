//! What changes without a word: deadlines that pass, what the leader doubts, and who the managers are.

use actix::{AsyncContext, Context};
use protocol::{id::NodeId, wire::node_status::State};

use super::{
    Dispatcher, Doubt, LOOK_EVERY,
    logic::{
        managers::named,
        registry::{Doubted, Expiry},
    },
    now,
    writing::moved,
};

const SILENT: &str = "heartbeat failure";
const HELD: &str = "heartbeat failure; nothing is replaced while so many nodes are silent";
const NEVER_RETURNED: &str = r#"heartbeat failure for node in "unknown" state"#;

impl Dispatcher {
    /// Looks at what changes without a word: deadlines, and who the managers are.
    pub(super) fn look(&mut self, ctx: &mut Context<Self>) {
        self.expire(ctx);
        self.meet(ctx);
        self.look_later(ctx);
    }

    /// Looks again, at least as often as nodes are to be heard.
    pub(super) fn look_later(&mut self, ctx: &mut Context<Self>) {
        self.looks_after = LOOK_EVERY.min(self.registry.period());
        ctx.run_later(self.looks_after, Self::look);
    }

    /// Learns whether a node was heard since that was last asked.
    pub(super) fn hear(&mut self, node: &NodeId) {
        if let Some(heard) = self.seat.sessions.take(node) {
            self.registry.hear(node, heard);
        }
    }

    /// Learns who was heard since that was last asked.
    fn hear_all(&mut self) {
        for (node, heard) in self.seat.sessions.take_all() {
            self.registry.hear(&node, heard);
        }
    }

    /// Wakes those that sleep for far longer than they are to: their streams end, so that they resume
    /// their sessions.
    pub(super) fn wake(&mut self) {
        self.hear_all();
        for node in self.registry.wake(now()) {
            self.connections.remove(&node);
        }
    }

    /// Looks at the deadlines of all nodes.
    pub(super) fn expire(&mut self, ctx: &mut Context<Self>) {
        // The clock is read first: whoever is heard after this was late.
        let now = now();
        self.wake();
        for expiry in self.registry.expire(self.looks_after, now) {
            match expiry {
                Expiry::Silent(node) => self.lose(node, State::Down, SILENT),
                Expiry::Held(node) => self.lose(node, State::Unknown, HELD),
                Expiry::NeverReturned(node) => self.lose(node, State::Down, NEVER_RETURNED),
                Expiry::Orphaned(node) => self.intake.orphan(node),
            }
        }
        self.publish();
        self.doubt();
        self.write_soon(ctx);
    }

    /// Shows what the leader doubts.
    fn doubt(&mut self) {
        let doubted = self.registry.doubt(now());
        match (doubted, self.doubting) {
            (None, None) => return,
            (None, Some(_)) => {
                tracing::warn!("the leader does not doubt any more that it hears the nodes");
                self.doubting = None;
            }
            (Some(doubted), None) => {
                let Doubted { ready, present } = doubted;
                tracing::warn!(ready, present, "so many nodes are silent that none is replaced");
                self.doubting = Some(self.environment.clock.now());
            }
            (Some(_), Some(_)) => {}
        }
        self.seat.show_doubt(
            doubted.zip(self.doubting).map(|(Doubted { ready, present }, since)| Doubt {
                since,
                ready,
                present,
            }),
        );
    }

    /// Looks who the managers are, and tells every node when that has changed.
    fn meet(&mut self, ctx: &mut Context<Self>) {
        let group = self.seat.standing().group();
        if group.members == self.group.members {
            return;
        }
        self.managers = named(&group.members);
        self.group = group;
        for node in self.connections.keys().cloned().collect::<Vec<_>>() {
            self.touch_node(&node);
            self.deliver(node, ctx);
        }
    }

    fn touch_node(&mut self, node: &NodeId) {
        if let Some(connection) = self.connections.get_mut(node) {
            connection.touch_node();
        }
    }

    fn lose(&mut self, node: NodeId, state: State, why: &'static str) {
        self.connections.remove(&node);
        self.intake.change(node, moved(state, why));
    }
}
