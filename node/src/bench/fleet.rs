//! All simulated agents: let in one by one, a few at a time, and alive from then on.

use std::{convert::Infallible, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use protocol::wire;
use tokio::{sync::Semaphore, task::JoinSet, time::sleep};

use super::{
    agent::Agent,
    events::{Events, Run},
    logic,
    record::Event,
};
use crate::{
    clock::SystemClock,
    joining::{Cluster, Invitation},
};

/// How many join at one time.
const JOINING_MAX: usize = 64;

/// How often a node tries to join, and the pause between.
const TRIES: u32 = 5;
const AGAIN_AFTER: Duration = Duration::from_secs(2);

/// What a simulated machine has: more than any number of tasks asks for.
const NANO_CPUS: i64 = 64_000_000_000;
const MEMORY_BYTES: i64 = 256 << 30;

/// Under which label of its engine a node says which run it belongs to.
pub(super) const LABEL: &str = "bench";

/// What all agents of a run have in common.
pub(super) struct Fleet {
    pub(super) cluster: Cluster,
    pub(super) invitations: Vec<Invitation>,
    pub(super) start_delay: Duration,
    pub(super) run: Run,
    pub(super) events: Events,
}

impl Fleet {
    /// Starts so many agents. Each ends only when it does not get in.
    pub(super) fn start(self, agents: usize) -> JoinSet<Result<Infallible>> {
        let (fleet, permits) = (Arc::new(self), Arc::new(Semaphore::new(JOINING_MAX)));
        let mut started = JoinSet::new();
        for number in 0..agents {
            started.spawn(fleet.clone().live(number, permits.clone()));
        }
        started
    }

    async fn live(self: Arc<Self>, number: usize, permits: Arc<Semaphore>) -> Result<Infallible> {
        let agent = {
            let _permit = permits.acquire().await.context("nobody joins any more")?;
            self.join(number).await?
        };
        drop(self);
        Ok(agent.live().await)
    }

    async fn join(&self, number: usize) -> Result<Agent> {
        let mut tries = 0;
        let (node, credentials) = loop {
            let invitation = &self.invitations[(number + tries as usize) % self.invitations.len()];
            tries += 1;
            match self.cluster.admit(invitation, &SystemClock).await {
                Err(error) if tries < TRIES && error.may_pass() => sleep(AGAIN_AFTER).await,
                admitted => break admitted?,
            }
        };
        self.events.tell(Event::Admitted { node: node.to_string() }).await;
        Ok(Agent {
            number,
            description: description(number, self.run),
            tls: credentials.client_config()?,
            managers: self.invitations.iter().map(|it| it.address.clone()).collect(),
            tasks: logic::Agent::new(self.start_delay),
            run: self.run,
            events: self.events.clone(),
        })
    }
}

/// What a simulated node says of itself: what one says that runs processes.
fn description(number: usize, run: Run) -> wire::NodeDescription {
    wire::NodeDescription {
        hostname: format!("bench-{number}"),
        platform: Some(wire::Platform { architecture: "x86_64".into(), os: "linux".into() }),
        resources: Some(wire::Resources {
            nano_cpus: NANO_CPUS,
            memory_bytes: MEMORY_BYTES,
            generic: Vec::new(),
        }),
        engine: Some(wire::EngineDescription {
            engine_version: env!("CARGO_PKG_VERSION").into(),
            labels: [(LABEL.to_owned(), run.label())].into(),
            plugins: vec![wire::PluginDescription {
                r#type: "Runtime".into(),
                name: "process".into(),
            }],
        }),
        ..Default::default()
    }
}
