//! DISP: every agent that can reach the leader is told what it has to run; none is given up before
//! its grace is over, nor when most fell silent at once; what one that is given up had to run is
//! replaced; and of one slot, agents that are heard run one task.

use std::{collections::BTreeMap, time::Duration};

use actors::store::View;
use protocol::{
    id::{NodeId, TaskId},
    objects::TaskState,
    wire::node_status::State,
};
use tokio::time::Instant;

use crate::{
    cluster::Cluster,
    fleet::{Agent, Epoch},
    worker::WORKER,
};

/// How long a node may be silent at least: three of the shortest periods that it is told, less what
/// the clock of this harness rounds.
const GRACE: Duration = Duration::from_millis(13_400);

/// How long it takes at most until a node that says nothing is lost: three of the longest periods,
/// a look, and a write.
const LOST_WITHIN: Duration = Duration::from_secs(18);

/// How long it may take under one leader until an agent knows what it has to run, and until a task
/// of a lost node is replaced: a session, and some writes to slow disks.
const SETTLED_WITHIN: Duration = Duration::from_secs(25);

/// How long what a lost node runs may run beside what replaces it: until it is heard again and has
/// stopped it.
const BESIDE_MAX: Duration = Duration::from_secs(65);

/// How often agents are looked at: there may be thousands.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What is remembered of agents between two looks.
#[derive(Default)]
pub struct Agents {
    looked: Option<Instant>,
    leader: Option<Epoch>,
    /// Nodes that were seen lost, and when last.
    lost: BTreeMap<NodeId, Instant>,
    /// Since when an agent does not know what it should, or its tasks are not replaced.
    unsettled: BTreeMap<NodeId, Instant>,
}

impl Agents {
    /// Looks at all agents.
    pub fn check(&mut self, cluster: &Cluster) {
        let (now, fleet) = (Instant::now(), cluster.fleet());
        let Some((store, _)) = cluster.leader() else { return };
        let Some(view) = cluster.newest_view() else { return };
        self.look_for_lost(cluster, &view, now);
        if self.looked.is_some_and(|at| now - at < LOOK_EVERY) {
            return;
        }
        self.looked = Some(now);
        let leader = cluster.leading().map(|leader| (leader.borrow().id, leader.borrow().leads()));
        let leader = leader.and_then(|(id, term)| Some((id, term?)));
        if leader != self.leader {
            (self.leader, self.unsettled) = (leader, BTreeMap::new());
        }
        let led = store.view();
        for (id, agent) in &*fleet.agents() {
            let is_unsettled = match led.node(id).map(|node| node.status.state()) {
                Some(State::Down) => has_live_tasks(&led, id),
                Some(_) if agent.silent.is_none() => !knows(&led, id, agent),
                Some(_) | None => false,
            };
            self.compare(id, is_unsettled, now);
            cluster.counts.count("check: agents know their tasks");
        }
        self.look_at_slots(cluster, &view, now);
    }

    /// Whoever is lost must have been silent for long, and not with most others.
    fn look_for_lost(&mut self, cluster: &Cluster, view: &View, now: Instant) {
        let (agents, leader) = (cluster.fleet(), cluster.leading());
        let epoch = leader.and_then(|leader| Some((leader.borrow().id, leader.borrow().leads()?)));
        let mass = epoch.and_then(|epoch| Mass::of(&agents.agents(), epoch));
        if mass.as_ref().is_some_and(|mass| now - mass.since > LOST_WITHIN) {
            cluster.counts.count("check: mass silence is doubted");
        }
        let mut lost = BTreeMap::new();
        for node in view.nodes().filter(|node| node.status.state() == State::Down) {
            lost.insert(node.id.clone(), now);
            let Some(agent) = agents.agents().get(&node.id).cloned() else { continue };
            let is_new = self.lost.get(&node.id).is_none_or(|at| now - *at > LOOK_EVERY);
            if !is_new {
                continue;
            }
            grace_is_over(&node.id, agent.heard.map(|heard| now - heard));
            let is_held = mass.as_ref().is_some_and(|mass| agent.silent == Some(mass.since));
            assert!(!is_held, "agents: {} is given up, and most fell silent with it", node.id);
            cluster.counts.count("check: nodes have their grace");
        }
        self.lost.append(&mut lost);
    }

    fn compare(&mut self, node: &NodeId, is_unsettled: bool, now: Instant) {
        if !is_unsettled {
            self.unsettled.remove(node);
            return;
        }
        let since = *self.unsettled.entry(node.clone()).or_insert(now);
        assert!(
            now - since < SETTLED_WITHIN,
            "agents: {node} does not know its tasks, or is lost and keeps them"
        );
    }

    /// Of one slot, one task runs on nodes that are heard.
    fn look_at_slots(&self, cluster: &Cluster, view: &View, now: Instant) {
        let recent = |at: Option<Instant>| at.is_some_and(|at| now - at < BESIDE_MAX);
        if cluster.clock_set().is_some_and(|ago| ago < BESIDE_MAX) {
            return;
        }
        let fleet = cluster.fleet();
        let is_spared = |node: &NodeId| {
            let agents = fleet.agents();
            let agent = agents.get(node);
            let is_silent =
                agent.is_some_and(|agent| agent.silent.is_some() || recent(agent.was_silent));
            is_silent || recent(self.lost.get(node).copied())
        };
        let mut slots: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (task, node) in running(cluster) {
            let Some(task) = view.task(&task).filter(|_| !is_spared(&node)) else { continue };
            // A slot that was given up is free at once: whoever scales down and up again does not
            // wait for what is being removed.
            if task.desired_state >= TaskState::REMOVE {
                continue;
            }
            slots.entry((task.service_id.clone(), task.slot)).or_default().push(task.id.clone());
        }
        for ((service, slot), tasks) in slots {
            let is_one = tasks.len() == 1;
            assert!(is_one, "agents: {tasks:?} run at once in slot {slot} of {service}");
            cluster.counts.count("check: one process per slot");
        }
    }
}

/// What runs, and where.
pub fn running(cluster: &Cluster) -> Vec<(TaskId, NodeId)> {
    let worker = cluster.worker().map(|worker| worker.running()).unwrap_or_default();
    let mut running = cluster.fleet().running();
    running.extend(worker.into_iter().map(|task| (task, WORKER.into())));
    running
}

fn grace_is_over(node: &NodeId, silent: Option<Duration>) {
    let is_over = silent.is_none_or(|silent| silent >= GRACE);
    assert!(is_over, "agents: {node} is given up {silent:?} after it was heard");
}

fn has_live_tasks(view: &View, node: &NodeId) -> bool {
    view.tasks_on_node(node).any(|task| {
        task.desired_state <= TaskState::RUNNING && task.status.state <= TaskState::RUNNING
    })
}

/// Whether an agent has a session and knows exactly what it has to run.
fn knows(view: &View, id: &NodeId, agent: &Agent) -> bool {
    let assigned = view.tasks_on_node(id).filter(|task| task.status.state >= TaskState::ASSIGNED);
    let wanted: BTreeMap<_, _> =
        assigned.map(|task| (task.id.clone(), task.desired_state)).collect();
    let known = agent.tasks.iter().map(|(id, task)| (id.clone(), task.desired));
    agent.session.is_some() && known.eq(wanted)
}

/// So many agents that fell silent at once that the leader must doubt itself.
struct Mass {
    since: Instant,
}

impl Mass {
    /// What has befallen these agents under a leader, if it is that.
    fn of(agents: &BTreeMap<NodeId, Agent>, epoch: Epoch) -> Option<Self> {
        let since = agents.values().filter_map(|agent| agent.silent).min()?;
        // Whoever still speaks in an older session shows that no dispatcher has begun anew.
        let before = |agent: &&Agent| {
            agent.session.is_some_and(|(of, began)| of == epoch && began + LOOK_EVERY < since)
        };
        let all = agents.len();
        let hit = agents.values().filter(|agent| agent.silent == Some(since)).filter(before);
        let (hit, spoke) = (hit.count(), agents.values().filter(before).count());
        // The one real agent is another.
        let is_mass = hit >= 3 && 2 * hit > all + 1 && spoke > hit;
        is_mass.then_some(Self { since })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::agent_id;

    #[test]
    #[should_panic(expected = "agents: n is given up Some(5s) after it was heard")]
    fn a_node_that_is_given_up_too_early_is_found() {
        grace_is_over(&"n".into(), None);
        grace_is_over(&"n".into(), Some(GRACE));
        grace_is_over(&"n".into(), Some(Duration::from_secs(5)));
    }

    #[test]
    #[should_panic(expected = "agents: n does not know its tasks")]
    fn an_agent_that_never_knows_is_found() {
        let (mut agents, now) = (Agents::default(), Instant::now());
        agents.compare(&"n".into(), true, now);
        agents.compare(&"n".into(), true, now + SETTLED_WITHIN / 2);
        agents.compare(&"n".into(), true, now + SETTLED_WITHIN);
    }

    #[tokio::test(start_paused = true)]
    async fn most_of_five_that_fall_silent_at_once_are_a_mass() {
        let began = Instant::now();
        let since = began + Duration::from_secs(9);
        let agents = |silent: u64| -> BTreeMap<_, _> {
            let agent = |number| Agent {
                silent: (number <= silent).then_some(since),
                session: Some(((1, 2), began)),
                ..Agent::default()
            };
            (1..=5).map(|number| (agent_id(number), agent(number))).collect()
        };
        assert!(Mass::of(&agents(3), (1, 2)).is_none());
        assert!(Mass::of(&agents(4), (1, 2)).is_some());
        assert!(Mass::of(&agents(4), (1, 3)).is_none(), "it is another leader");
        assert!(Mass::of(&agents(5), (1, 2)).is_none(), "nobody shows that it is the same");
    }
}
