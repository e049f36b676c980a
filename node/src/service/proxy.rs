//! The way to the leader: what only the leader answers is passed on to it, byte by byte, by whatever
//! manager is asked. No service knows of this.

mod parcel;
mod passage;

use std::time::Duration;

use actors::{
    ca::logic::{Subject, organizational_unit},
    raft::Leader,
};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use protocol::rpc::Rpc;
use rand::{Rng, rngs::OsRng};
use tokio::time::{Instant, sleep, timeout_at};
use tonic::{Status, body::Body};
use tower::ServiceExt;

use self::{
    parcel::{Parcel, Room},
    passage::{Passage, is_unsent},
};
use super::{
    End,
    access::{
        Access, Arrival, COMMON_NAME, FORWARDED, ORGANIZATION, REDIRECT, REMOTE_ADDRESS, UNIT,
    },
    status::{
        cut_off, declined, disowned, is_declined, is_disowned, lost_quorum, passed_on_twice,
        replaced, stopping, unreached,
    },
};
use crate::remote::{Directory, Line, Lines, Shown, described};

/// How often a new leader is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How often calls that are with the leader look whether it still leads.
const CHECK_EVERY: Duration = Duration::from_millis(200);

/// How long a manager of SwarmKit's may be silent before an election, and a second.
const FOREIGN_PATIENCE: Duration = Duration::from_secs(21);

/// The longest that an answer is waited for, whoever leads: a member without a vote does not notice that
/// its leader has stopped.
const ANSWERED_WITHIN: Duration = Duration::from_secs(60);

/// Within which time streams of agents are brought to a new certificate of this manager, each at a moment
/// of its own.
const REPLACED_WITHIN: Duration = Duration::from_secs(120);

/// What agents call.
const DISPATCHER: &str = "/docker.swarmkit.v1.Dispatcher/";

/// What stands for the address of a caller on the control socket.
const SOCKET: &str = "control-socket";

/// Passes calls on to the leader.
#[derive(Clone)]
pub struct Proxy {
    /// Who leads, and where that is.
    directory: Directory,
    /// The connections to the leader.
    lines: Lines,
    /// How long a call waits for a leader; and what has been passed on, for an answer of one that
    /// leads no more.
    patience: Duration,
    /// What messages may hold of memory that are on their way.
    room: Room,
    /// Streams end with this manager, as those do that it answers itself.
    end: End,
}

impl Proxy {
    /// Finds the leader in a directory, and waits for one with so much patience: longer than an
    /// election takes.
    pub fn new(directory: Directory, lines: Lines, patience: Duration, end: End) -> Self {
        Self { directory, lines, patience, room: Room::default(), end }
    }
}

/// Where a call is answered.
pub(super) enum Way {
    /// Here. What is kept can be answered elsewhere, should this manager find that it does not lead.
    Here(Request<Body>, Option<Box<Kept>>),
    /// Elsewhere, or not at all; this is the answer.
    Answered(Response<Body>),
}

/// A call, for another try.
pub(super) struct Kept {
    parcel: Parcel,
    /// Until when it waits for a leader.
    deadline: Instant,
}

impl Kept {
    fn here(mut self) -> Way {
        let request = self.parcel.here().expect("it is whole");
        let kept = self.parcel.is_whole().then(|| Box::new(self));
        Way::Here(request, kept)
    }
}

/// The leader, where it can be reached.
struct There {
    raft_id: u64,
    address: String,
}

enum Seat {
    Here,
    There(There),
    Nowhere,
}

/// What became of one attempt.
enum Attempt {
    /// The leader has answered.
    Answered(Response<Body>),
    /// It says that it does not lead.
    Declined(Status),
    /// It never got the call.
    Unsent(String),
    /// It may have got it.
    Lost,
}

impl Proxy {
    /// Passes a call on if somebody else leads.
    pub(super) async fn pass(
        &self,
        access: &Access,
        arrival: &Arrival,
        request: Request<Body>,
    ) -> Way {
        let subject = match access.introduce(arrival) {
            Ok(subject) => subject,
            Err(refused) => return Way::Answered(refused.into_http()),
        };
        let deadline = Instant::now() + self.patience();
        let seat = self.leader(deadline).await;
        let refused = match &seat {
            Seat::Here if !is_kept(arrival) => return Way::Here(request, None),
            Seat::Here => access.permit(arrival).err(),
            Seat::Nowhere => Some(lost_quorum()),
            Seat::There(_) if arrival.is_passed_on() => Some(passed_on_twice(&arrival.redirects)),
            Seat::There(_) => None,
        };
        let packed = match refused {
            Some(refused) => Err(refused),
            None => self.pack(arrival, subject, request).await,
        };
        match packed {
            Ok(parcel) => self.bring(arrival, seat, Kept { parcel, deadline }).await,
            Err(refused) => Way::Answered(refused.into_http()),
        }
    }

    /// Goes on with a call if this manager has answered that it does not lead: it may yet, or another
    /// does. Any other answer comes back, and the last one.
    pub(super) async fn again(
        &self,
        arrival: &Arrival,
        kept: Box<Kept>,
        answered: Response<Body>,
    ) -> Result<Way, Response<Body>> {
        let status = Status::from_header_map(answered.headers());
        let is_declined = status.is_some_and(|status| is_declined(&status));
        if !is_declined || Instant::now() >= kept.deadline {
            return Err(answered);
        }
        drop(answered);
        sleep(LOOK_EVERY).await;
        let seat = self.leader(kept.deadline).await;
        Ok(self.bring(arrival, seat, *kept).await)
    }

    async fn bring(&self, arrival: &Arrival, seat: Seat, kept: Kept) -> Way {
        match seat {
            Seat::Here => kept.here(),
            Seat::There(leader) => self.deliver(arrival, leader, kept).await,
            Seat::Nowhere => Way::Answered(lost_quorum().into_http()),
        }
    }

    async fn pack(
        &self,
        arrival: &Arrival,
        subject: Option<Subject>,
        request: Request<Body>,
    ) -> Result<Parcel, Status> {
        let room = match &subject {
            _ if arrival.is_own() => &self.room.own,
            Some(_) => &self.room.nodes,
            None => &self.room.strangers,
        };
        Parcel::pack(arrival.rpc, headers(arrival, subject)?, request, room).await
    }

    /// Tries until the leader has got the call, or might have.
    async fn deliver(&self, arrival: &Arrival, mut leader: There, mut kept: Kept) -> Way {
        loop {
            let refused = match self.attempt(arrival, &leader, &mut kept).await {
                Attempt::Answered(response) => return Way::Answered(response),
                Attempt::Lost => return Way::Answered(cut_off(writes(arrival.rpc)).into_http()),
                Attempt::Declined(status) => declined(status).into_http(),
                Attempt::Unsent(reason) => unreached(&reason).into_http(),
            };
            if !kept.parcel.is_whole() || Instant::now() >= kept.deadline {
                return Way::Answered(refused);
            }
            sleep(LOOK_EVERY).await;
            leader = match self.leader(kept.deadline).await {
                Seat::Here => return kept.here(),
                Seat::There(leader) => leader,
                Seat::Nowhere => return Way::Answered(lost_quorum().into_http()),
            };
        }
    }

    async fn attempt(
        &self,
        arrival: &Arrival,
        leader: &There,
        Kept { parcel, deadline }: &mut Kept,
    ) -> Attempt {
        let rpc = arrival.rpc;
        let line = if is_unary(rpc) { Line::Calls } else { Line::Streams };
        let connected = tokio::select! {
            biased;
            connected = timeout_at(*deadline, self.lines.to(&leader.address, line)) => connected,
            () = self.clone().changes(leader.raft_id) => {
                return Attempt::Unsent("another leads now".to_owned());
            }
        };
        let (channel, shown) = match connected {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => return Attempt::Unsent(described(&error)),
            Err(_) => return Attempt::Unsent(format!("{} does not answer", leader.address)),
        };
        let Some(request) = parcel.copy() else { return Attempt::Lost };
        let mut gives_up = self.gives_up(rpc, leader.raft_id, shown);
        let answered = tokio::select! {
            biased;
            answered = channel.oneshot(request) => answered,
            status = &mut gives_up => return Attempt::Answered(status.into_http()),
        };
        match answered {
            Ok(response) => match Status::from_header_map(response.headers()) {
                Some(status) if is_declined(&status) => Attempt::Declined(status),
                Some(status) if self.is_disowned(&status, arrival) => {
                    Attempt::Answered(disowned(status.message()).into_http())
                }
                // It has no body.
                Some(_) => Attempt::Answered(response),
                None => Attempt::Answered(
                    response
                        .map(|body| Body::new(Passage::new(body, gives_up, cut_off(writes(rpc))))),
                ),
            },
            Err(error) if is_unsent(&error) => Attempt::Unsent(described(&error)),
            Err(error) => {
                tracing::debug!(%error, path = rpc.path, "lost the leader before it answered");
                Attempt::Lost
            }
        }
    }

    /// Whether the leader refuses this manager, and not its caller.
    fn is_disowned(&self, status: &Status, arrival: &Arrival) -> bool {
        let own = self.directory.node_id(self.directory.standing().group().raft_id);
        is_disowned(status, arrival.is_own(), own.as_ref())
    }

    /// Waits until somebody leads.
    async fn leader(&self, deadline: Instant) -> Seat {
        loop {
            match self.seat() {
                Seat::Nowhere if Instant::now() < deadline => sleep(LOOK_EVERY).await,
                seat @ (Seat::Here | Seat::There(_) | Seat::Nowhere) => return seat,
            }
        }
    }

    fn seat(&self) -> Seat {
        match self.directory.standing().group().leader() {
            Leader::Here => Seat::Here,
            Leader::There(member) => {
                let raft_id = member.raft_id;
                let address = self.directory.address(raft_id);
                address.map_or(Seat::Nowhere, |address| Seat::There(There { raft_id, address }))
            }
            Leader::Nowhere => Seat::Nowhere,
        }
    }

    /// Resolves when the answer to a call is no longer waited for. A stream ends with its leader; a
    /// leader that has lost may still say what has become of a call. Calls that have begun may end
    /// while this manager stops; streams would not. Those of agents are brought to a connection with the
    /// certificate of now, bit by bit: the leader cuts the other when the one of before ends, with all of them.
    fn gives_up(&self, rpc: &Rpc, raft_id: u64, shown: Shown) -> passage::GivesUp {
        let (proxy, end, lost) = (self.clone(), self.end.clone(), cut_off(writes(rpc)));
        let (is_unary, is_of_agent) = (is_unary(rpc), is_of_agent(rpc));
        let patience = if is_unary { self.patience() } else { Duration::ZERO };
        Box::pin(async move {
            let changes = async {
                proxy.changes(raft_id).await;
                sleep(patience).await;
            };
            tokio::select! {
                biased;
                () = changes => lost,
                () = end, if !is_unary => stopping(),
                () = is_replaced(shown), if !is_unary && is_of_agent => replaced(),
                () = sleep(ANSWERED_WITHIN), if is_unary => lost,
            }
        })
    }

    /// With a manager of SwarmKit's in the group an election may take as long as among those.
    fn patience(&self) -> Duration {
        match self.directory.has_foreign_members() {
            true => self.patience.max(FOREIGN_PATIENCE),
            false => self.patience,
        }
    }

    /// Resolves when a member leads no more.
    async fn changes(self, raft_id: u64) {
        while self.directory.standing().group().leader == Some(raft_id) {
            sleep(CHECK_EVERY).await;
        }
    }
}

/// Whether a call that is answered here is kept until it is. Who passes one on keeps it. Agents, and nodes
/// that want a certificate, ask again by themselves; the former are many, and the latter may be anybody.
fn is_kept(arrival: &Arrival) -> bool {
    let asks_again = is_of_agent(arrival.rpc) || arrival.rpc.anybody;
    is_unary(arrival.rpc) && !asks_again && !arrival.is_passed_on()
}

fn is_of_agent(rpc: &Rpc) -> bool {
    rpc.path.starts_with(DISPATCHER)
}

/// Resolves within minutes of the time at which this node has another certificate than the one it has
/// shown.
async fn is_replaced(shown: Shown) {
    let moment = OsRng.gen_range(Duration::ZERO..REPLACED_WITHIN);
    sleep(moment).await;
    while !shown.is_outdated() {
        sleep(REPLACED_WITHIN).await;
    }
}

fn is_unary(rpc: &Rpc) -> bool {
    !rpc.client_streaming && !rpc.server_streaming
}

/// Whether a call may change something. Streams do it bit by bit, and begin again by themselves.
fn writes(rpc: &Rpc) -> bool {
    let method = rpc.path.rsplit('/').next().unwrap_or_default();
    let reads = ["Get", "List", "Explain", "Plan", "NodeCertificateStatus"];
    let only_reads = reads.iter().any(|verb| method.starts_with(verb));
    is_unary(rpc) && !only_reads
}

/// What the leader is told of a caller. Without any name it would take the call for this manager's
/// own, so one who has none is told of by blanks.
fn headers(arrival: &Arrival, subject: Option<Subject>) -> Result<HeaderMap, Status> {
    let mut headers = HeaderMap::new();
    let Some(peer) = &arrival.peer else {
        headers.insert(REDIRECT, HeaderValue::from_static(SOCKET));
        return Ok(headers);
    };
    let (name, cluster, unit) = match &subject {
        Some(Subject { node_id, role, cluster_id }) => {
            (node_id.as_str(), cluster_id.as_str(), organizational_unit(*role))
        }
        None => ("", "", ""),
    };
    let address = peer.address.to_string();
    for (key, value) in [
        (FORWARDED, "true"),
        (COMMON_NAME, name),
        (ORGANIZATION, cluster),
        (UNIT, unit),
        (REMOTE_ADDRESS, &address),
        (REDIRECT, &address),
    ] {
        let value = HeaderValue::from_str(value)
            .map_err(|_| Status::permission_denied("this certificate names nobody"))?;
        headers.insert(HeaderName::from_static(key), value);
    }
    Ok(headers)
}
