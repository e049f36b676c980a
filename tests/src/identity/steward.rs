//! An operator of nodes: lets machines join by token, promotes, demotes and removes them, and rotates
//! tokens. Beside that, whoever has no right to anything tries it all the same.

use std::time::Duration;

use actors::{
    control::{
        self,
        logic::{
            cluster as settings,
            node::{self as nodes, Managers},
        },
        validate::ValidCluster,
    },
    environment::Clock,
    store::{Store, TransactError, Transaction, View},
};
use protocol::{
    id::NodeId,
    wire::{
        JoinTokens, KeyRotation, ManagerStatus, NodeRole, NodeSpec,
        raft_member_status::Reachability,
    },
};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::SliceRandom};
use tokio::time::{Instant, sleep, timeout};

use super::{Identity, door::call, life};
use crate::{
    checkers::{removed, tokens},
    cluster::{Cluster, MACHINES},
    oracle::{Oracle, Told},
    workload,
};

/// How long a request of an operator may take.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

const CREATE: &str = "/docker.swarmkit.v1.Control/CreateService";
const JOIN: &str = "/docker.swarmkit.v1.RaftMembership/Join";

/// What the operator works with.
struct Steward {
    cluster: Cluster,
    oracle: Oracle,
    random: StdRng,
    /// Tokens that were good once, as far as it has seen.
    tokens: Vec<String>,
    /// How many writes it has tried in the name of others.
    tries: u64,
}

/// Works until `end`.
pub async fn attend(cluster: Cluster, oracle: Oracle, seed: u64, end: Instant) {
    let random = StdRng::seed_from_u64(seed ^ 0x57e7);
    let mut steward = Steward { cluster, oracle, random, tokens: Vec::new(), tries: 0 };
    while Instant::now() < end {
        let pause = steward.random.gen_range(300..2_000);
        sleep(Duration::from_millis(pause)).await;
        let Some((store, _)) = steward.cluster.leader() else { continue };
        steward.act(&store).await;
    }
}

impl Steward {
    async fn act(&mut self, store: &Store) {
        match self.random.gen_range(0..14) {
            0..=2 => self.let_join(store).await,
            3..=6 => self.change_role(store).await,
            7 => self.remove(store).await,
            8 => self.rotate(store).await,
            9..=10 => self.intrude().await,
            _ => self.haunt().await,
        }
    }

    /// A machine without a certificate joins, as one or the other.
    async fn let_join(&mut self, store: &Store) {
        let outside = (1..=MACHINES).filter(|id| {
            let machine = self.cluster.member(*id).borrow();
            machine.identity().is_none()
        });
        let outside: Vec<_> = outside.collect();
        let Some(id) = outside.choose(&mut self.random).copied() else { return };
        let Some(JoinTokens { manager, worker }) = tokens_of(&store.view()) else { return };
        let token = if self.random.gen_bool(0.7) { manager } else { worker };
        self.join(id, &token).await;
    }

    /// Joins with a token, whatever that is worth.
    async fn join(&mut self, id: u64, token: &str) {
        let (cluster, random) = (self.cluster.clone(), &mut self.random);
        let is_void = tokens::is_void(&cluster, token);
        let asked = life::asked(&cluster, id, None, token, random).await;
        cluster.trace.note("steward", format_args!("m{id} joins"), effect(&asked));
        tokens::check(is_void, &asked, &cluster.counts);
        let Some(Ok((node_id, key))) = asked else { return };
        if let Some(identity) = life::issued(&cluster, id, None, &node_id, &key, random).await {
            cluster.counts.count("seen: node joined by token");
            cluster.show(id, identity);
        }
    }

    /// Promotes a worker, or demotes a manager.
    async fn change_role(&mut self, store: &Store) {
        let Some(node_id) = self.any_node() else { return };
        let (managers, id) = (self.managers().await, node_id.clone());
        let changed = self.written(store, move |head| {
            let node = nodes::get(head, id.as_str())?.clone();
            let role = match node.spec.desired_role() {
                NodeRole::Worker => NodeRole::Manager,
                NodeRole::Manager => NodeRole::Worker,
            };
            let spec = NodeSpec { desired_role: role.into(), ..(*node.spec).clone() };
            nodes::update(head, id.as_str(), node.meta.version, spec, &managers)?;
            Ok(role)
        });
        let changed = changed.await;
        self.cluster.trace.note("steward", format_args!("{node_id} changes"), effect(&changed));
        if let Some(Ok(role)) = changed {
            self.cluster.counts.count(match role {
                NodeRole::Manager => "seen: node promoted",
                NodeRole::Worker => "seen: node demoted",
            });
        }
    }

    async fn remove(&mut self, store: &Store) {
        let Some(node_id) = self.any_node() else { return };
        let (managers, id) = (self.managers().await, node_id.clone());
        let now = self.cluster.member(1).borrow().clock().now();
        let ends = |certificate: &[u8]| {
            let window = Identity::read(certificate)?.window;
            Some(prost_types::Timestamp { seconds: window.not_after_seconds, nanos: 0 })
        };
        let removed = self.written(store, move |head| {
            nodes::remove(head, id.as_str(), true, &managers, ends, now)
        });
        let removed = removed.await;
        self.cluster.trace.note("steward", format_args!("{node_id} goes"), effect(&removed));
        if let Some(Ok(())) = removed {
            self.cluster.counts.count("seen: node removed");
        }
    }

    async fn rotate(&mut self, store: &Store) {
        let before = tokens_of(&store.view());
        let now = self.cluster.member(1).borrow().clock().now();
        let mut random = StdRng::from_rng(&mut self.random).expect("it never fails");
        let (worker_join_token, manager_join_token) =
            if random.gen_bool(0.5) { (true, false) } else { (false, true) };
        let rotation = KeyRotation { worker_join_token, manager_join_token, ..Default::default() };
        let rotated = self.written(store, move |head| {
            let cluster = head.default_cluster().expect("a leader has it").clone();
            let valid = ValidCluster::try_from(Some((*cluster.spec).clone()))?;
            let (id, version) = (cluster.id.as_str(), cluster.meta.version);
            settings::update(head, id, version, valid, rotation, now, &mut random)
        });
        let rotated = rotated.await;
        self.cluster.trace.note("steward", "rotates a token", effect(&rotated));
        if let Some(Ok(())) = rotated {
            self.cluster.counts.count("seen: token rotated");
            self.tokens.extend(before.into_iter().flat_map(|old| [old.manager, old.worker]));
        }
    }

    /// Somebody tries to join with a token that was good once, or never.
    async fn intrude(&mut self) {
        let old = self.tokens.choose(&mut self.random).cloned();
        let token = old.unwrap_or_else(|| "SWMTKN-1-no-token".to_owned());
        if tokens::is_void(&self.cluster, &token) {
            let id = self.random.gen_range(1..=MACHINES);
            self.join_in_vain(id, &token).await;
        }
    }

    async fn join_in_vain(&mut self, id: u64, token: &str) {
        let asked = life::asked(&self.cluster, id, None, token, &mut self.random).await;
        self.cluster.trace.note("steward", format_args!("m{id} intrudes"), effect(&asked));
        tokens::check(true, &asked, &self.cluster.counts);
    }

    /// Somebody writes, or asks to be a member, with a certificate that was shown once.
    async fn haunt(&mut self) {
        let shown = self.cluster.shown().choose(&mut self.random).cloned();
        let Some((id, identity)) = shown else { return };
        let cluster = self.cluster.clone();
        let is_void = removed::is_void(&cluster, &identity);
        self.tries += 1;
        let name = format!("haunt-{}", self.tries);
        if self.random.gen_bool(0.3) && is_void {
            let asked = call(&cluster, id, JOIN, Some(&identity), &mut self.random).await;
            removed::check_call(is_void, asked.is_ok(), "asks to be a member", &identity);
            cluster.counts.count("check: a void certificate changes nothing");
            return;
        }
        let written = match call(&cluster, id, CREATE, Some(&identity), &mut self.random).await {
            Ok(admitted) => {
                let store = admitted.store;
                workload::create(&cluster, &self.oracle, &store, name.clone()).await;
                self.oracle.of(&name) == Some(Told::Acknowledged)
            }
            Err(failed) => {
                cluster.trace.note("steward", &name, format_args!("{failed:?}"));
                false
            }
        };
        removed::check_call(is_void, written, "writes", &identity);
        if is_void {
            cluster.counts.count("check: a void certificate changes nothing");
        } else if written {
            cluster.counts.count("seen: write by certificate");
        }
    }

    /// The node of any machine that has one.
    fn any_node(&mut self) -> Option<NodeId> {
        let machines = self.cluster.machines().filter_map(|machine| machine.borrow().identity());
        let nodes: Vec<_> = machines.map(|identity| identity.subject.node_id).collect();
        nodes.choose(&mut self.random).cloned()
    }

    /// The managers as raft knows them.
    async fn managers(&self) -> Managers {
        let Some(status) = self.cluster.leader_status().await else { return Managers::new() };
        let of = |member: &actors::raft::Founder| {
            let leader = status.leader == Some(member.raft_id);
            let is_reachable = leader || status.reachable.contains(&member.raft_id);
            let reachability =
                if is_reachable { Reachability::Reachable } else { Reachability::Unreachable };
            let manager = ManagerStatus {
                raft_id: member.raft_id,
                addr: member.address.clone(),
                leader,
                reachability: reachability.into(),
            };
            (NodeId::from(&*member.node_id), manager)
        };
        status.members.iter().map(of).collect()
    }

    /// Writes; `None`: nobody knows what came of it.
    async fn written<T: Send + 'static>(
        &self,
        store: &Store,
        change: impl FnOnce(&mut Transaction) -> Result<T, control::Error> + Send + 'static,
    ) -> Option<Result<T, control::Error>> {
        match timeout(ANSWERS_WITHIN, store.transact(change)).await.ok()? {
            Ok(done) => Some(Ok(done)),
            Err(TransactError::Aborted(error)) => Some(Err(error)),
            Err(TransactError::NotWritten(_) | TransactError::OutcomeUnknown) => None,
            Err(TransactError::TooLarge { .. }) => panic!("tokens: it fits into an entry"),
        }
    }
}

fn tokens_of(view: &View) -> Option<JoinTokens> {
    view.default_cluster()?.root_ca.join_tokens.clone()
}

fn effect<T>(outcome: &Option<Result<T, control::Error>>) -> String {
    match outcome {
        Some(Ok(_)) => "done".to_owned(),
        Some(Err(error)) => error.to_string(),
        None => "no answer".to_owned(),
    }
}
