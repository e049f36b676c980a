//! What a machine does of itself, as its daemon would: it hears from the leader what it is to be,
//! renews its certificate in time, asks to be a member once that says manager, and takes no part in
//! the group once it says worker.

use std::time::Duration;

use actors::{
    ca::logic::{
        access::{Denied, Unfit},
        calls, renewal_backoff, renewal_seconds,
    },
    control,
    environment::Clock,
    raft::Join,
    store::TransactError,
};
use protocol::{
    id::NodeId,
    wire::{
        IssueNodeCertificateRequest, NodeCertificateStatusRequest, NodeRole, issuance_status::State,
    },
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::time::{Instant, sleep, timeout};

use super::{
    Identity,
    door::{Admitted, Failed, call},
};
use crate::{
    cluster::Cluster,
    member::{Standing, address},
    membership,
};

/// How often a machine looks around.
const LOOK_EVERY: std::ops::Range<u64> = 400..600;

/// How long a call may take.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// How many managers are asked, one after the other, before a request has failed.
const MANAGERS_TRIED: u32 = 4;

/// How long a certificate is waited for, and how often it is asked for.
const ISSUED_WITHIN: Duration = Duration::from_secs(10);
const ASK_EVERY: Duration = Duration::from_millis(200);

/// How long a machine that was removed waits for a certificate that says so before it asks for one.
const DEMOTED_WITHIN: Duration = Duration::from_secs(16);

/// How long it may take until a renewer sees that its certificate has ended.
const LOOKED_AT_EVERY: Duration = Duration::from_secs(60);

const SESSION: &str = "/docker.swarmkit.v1.Dispatcher/Session";
const ISSUE: &str = "/docker.swarmkit.v1.NodeCA/IssueNodeCertificate";
const STATUS: &str = "/docker.swarmkit.v1.NodeCA/NodeCertificateStatus";
const JOIN: &str = "/docker.swarmkit.v1.RaftMembership/Join";

/// One machine, as long as its task is not aborted.
struct Life {
    cluster: Cluster,
    id: u64,
    random: StdRng,
    /// Which certificate `due` is about.
    about: Option<Identity>,
    /// When it is to be renewed, by the clock of the machine.
    due_seconds: i64,
    /// When a renewal that failed, or that the leader asks for, is tried.
    try_at: Option<Instant>,
    failures: u32,
    /// What the next certificate has to say, as the leader said last: the same again is no news.
    expected: Option<i32>,
}

/// Lives for ever: whoever starts it aborts it.
pub async fn live(cluster: Cluster, id: u64, seed: u64) {
    let random = StdRng::seed_from_u64(seed ^ 0x11fe ^ (id << 40));
    let mut life = Life {
        cluster,
        id,
        random,
        about: None,
        due_seconds: 0,
        try_at: None,
        failures: 0,
        expected: None,
    };
    loop {
        let pause = life.random.gen_range(LOOK_EVERY);
        sleep(Duration::from_millis(pause)).await;
        life.look().await;
    }
}

impl Life {
    async fn look(&mut self) {
        self.leave_if_removed();
        let Some(identity) = self.identity().filter(|_| self.is_on()) else { return };
        if self.about.as_ref() != Some(&identity) {
            self.begin(identity.clone());
        }
        self.ask_what_to_be(&identity).await;
        self.renew_if_due().await;
        self.follow_role().await;
    }

    /// Waits until a certificate is due.
    fn begin(&mut self, identity: Identity) {
        self.due_seconds = renewal_seconds(identity.window, &mut self.random);
        (self.about, self.try_at) = (Some(identity), None);
    }

    fn identity(&self) -> Option<Identity> {
        self.cluster.member(self.id).borrow().identity()
    }

    /// Whether the machine runs at all: one that is no member has nothing that could end.
    fn is_on(&self) -> bool {
        let machine = self.cluster.member(self.id).borrow();
        machine.standing != Standing::Member || machine.is_alive() && machine.end().is_none()
    }

    /// A member that was told of its removal is none any more, and does not wait for long to get a
    /// certificate that says so.
    fn leave_if_removed(&mut self) {
        let machine = &mut *self.cluster.member(self.id).borrow_mut();
        if machine.knows_removal() {
            machine.retire();
            let at = Instant::now() + DEMOTED_WITHIN;
            self.try_at = Some(self.try_at.map_or(at, |waits| waits.min(at)));
        }
    }

    /// The session with the leader, which says what this node is to be.
    async fn ask_what_to_be(&mut self, identity: &Identity) {
        match self.call(SESSION, Some(identity)).await {
            Ok(admitted) => {
                let view = admitted.store.view();
                let Some(node) = view.node(&identity.subject.node_id) else { return };
                // What the renewer does when it is told.
                let is_other = node.role != i32::from(identity.subject.role);
                let expected = is_other.then_some(node.role);
                let is_news = is_other && expected != self.expected;
                self.expected = expected;
                if is_news {
                    self.try_at = Some(Instant::now() + Duration::from_millis(500));
                }
            }
            Err(Failed::Denied(Denied::Peer(Unfit::Removed(_)))) => {
                self.cluster.counts.count("seen: removed node told so");
                let machine = &mut *self.cluster.member(self.id).borrow_mut();
                machine.retire();
                machine.show(None);
            }
            Err(Failed::Unreachable | Failed::NoLeader | Failed::NotYetValid)
            | Err(Failed::Denied(_)) => {}
        }
    }

    async fn renew_if_due(&mut self) {
        let Some(identity) = self.identity() else { return };
        let now = self.cluster.member(self.id).borrow().clock().now();
        let left_seconds = identity.window.not_after_seconds - now.seconds;
        let has_ended = left_seconds < 0;
        if has_ended {
            let soon = Instant::now() + LOOKED_AT_EVERY;
            self.try_at = self.try_at.map(|at| at.min(soon));
        }
        let is_due = match self.try_at {
            Some(at) => at <= Instant::now(),
            None => self.due_seconds <= now.seconds,
        };
        if !is_due {
            return;
        }
        let (cluster, id) = (self.cluster.clone(), self.id);
        let renewed = renewed(&cluster, id, &identity, &mut self.random).await;
        let role = renewed.as_ref().map(|renewed| i32::from(renewed.subject.role));
        if let Some(renewed) = renewed {
            cluster.counts.count("seen: certificate renewed");
            cluster.counts.add("seen: ended certificate renewed", u64::from(has_ended));
            cluster.show(id, renewed.clone());
            self.begin(renewed);
        }
        let is_right =
            role.is_some_and(|role| self.expected.is_none_or(|expected| expected == role));
        if is_right {
            (self.failures, self.expected) = (0, None);
        } else {
            self.failures += 1;
            let is_awaited = self.expected.is_some();
            let pause = renewal_backoff(self.failures, left_seconds, is_awaited, &mut self.random);
            self.try_at = Some(Instant::now() + pause);
        }
    }

    /// A manager asks to be a member; a worker is none.
    async fn follow_role(&mut self) {
        let Some(identity) = self.identity() else { return };
        let machine = self.cluster.member(self.id);
        let is_member = machine.borrow().standing == Standing::Member;
        match identity.subject.role {
            NodeRole::Manager if is_member => {}
            NodeRole::Manager => self.join(&identity).await,
            // Also if raft has not told it yet: nobody hears it any more.
            NodeRole::Worker => {
                let takes_part = is_member || machine.borrow().is_alive();
                if takes_part {
                    machine.borrow_mut().retire();
                }
            }
        }
    }

    async fn join(&mut self, identity: &Identity) {
        let Ok(admitted) = self.call(JOIN, Some(identity)).await else { return };
        let node_id = admitted.caller.node().expect("strangers may not").to_string();
        let asked = admitted.peer.send(Join { node_id, address: address(self.id), learns: true });
        if let Ok(Ok(Ok(joined))) = timeout(ANSWERS_WITHIN, asked).await {
            membership::enroll(&self.cluster, self.id, joined.raft_id).await;
        }
    }

    async fn call(&mut self, path: &str, shown: Option<&Identity>) -> Result<Admitted, Failed> {
        call(&self.cluster, self.id, path, shown, &mut self.random).await
    }
}

/// Asks for a certificate for a new key, as the owner of one or with a token, and returns the node's
/// id and the key; or what refused it. `None`: nobody knows.
pub async fn asked(
    cluster: &Cluster,
    id: u64,
    shown: Option<&Identity>,
    token: &str,
    random: &mut StdRng,
) -> Option<Result<(NodeId, String), control::Error>> {
    let mut admitted = call(cluster, id, ISSUE, shown, random).await;
    for _ in 1..MANAGERS_TRIED {
        if admitted.is_err() {
            admitted = call(cluster, id, ISSUE, shown, random).await;
        }
    }
    let admitted = admitted.ok()?;
    let key = format!("k{:08x}", random.r#gen::<u32>());
    let request = IssueNodeCertificateRequest {
        csr: key.clone().into_bytes().into(),
        token: token.to_owned(),
        ..Default::default()
    };
    let (caller, mut drawn) = (admitted.caller, StdRng::from_rng(random).expect("it never fails"));
    let issued =
        admitted.store.transact(move |head| calls::issue(head, &caller, &request, &mut drawn));
    match timeout(ANSWERS_WITHIN, issued).await.ok()? {
        Ok(issued) => Some(Ok((issued.node_id.into(), key))),
        Err(TransactError::Aborted(error)) => Some(Err(error)),
        Err(TransactError::NotWritten(_) | TransactError::OutcomeUnknown) => None,
        Err(TransactError::TooLarge { .. }) => panic!("tokens: a request fits into an entry"),
    }
}

/// Waits for the certificate for a key.
pub async fn issued(
    cluster: &Cluster,
    id: u64,
    shown: Option<&Identity>,
    node_id: &NodeId,
    key: &str,
    random: &mut StdRng,
) -> Option<Identity> {
    let until = Instant::now() + ISSUED_WITHIN;
    let request = NodeCertificateStatusRequest { node_id: node_id.to_string() };
    while Instant::now() < until {
        sleep(ASK_EVERY).await;
        let Ok(admitted) = call(cluster, id, STATUS, shown, random).await else { continue };
        let Ok(Some(answer)) = calls::status(&admitted.store.view(), &request) else { continue };
        let state = answer.status.unwrap_or_default().state();
        let identity = answer.certificate.and_then(|issued| Identity::read(&issued.certificate));
        if let Some(identity) = identity.filter(|issued| issued.key == key)
            && state == State::Issued
        {
            return Some(identity);
        }
    }
    None
}

async fn renewed(
    cluster: &Cluster,
    id: u64,
    identity: &Identity,
    random: &mut StdRng,
) -> Option<Identity> {
    let (node_id, key) = asked(cluster, id, Some(identity), "", random).await?.ok()?;
    issued(cluster, id, Some(identity), &node_id, &key, random).await
}
