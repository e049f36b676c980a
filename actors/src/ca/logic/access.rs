//! Who calls, and whether that caller may (`cluster-security-dispatch` §7): the one place where
//! this is decided, for every method and every door.

use prost_types::Timestamp;
use protocol::{
    id::{ClusterId, NodeId},
    objects::Node,
    rpc::{Role, Rpc},
    wire::NodeRole,
};
use thiserror::Error;

use super::{Subject, Window, has_expired, made_seconds, organizational_unit, role_of};
use crate::store::View;

/// For how long after its end a certificate may still be renewed: a year of 365 days.
pub const RENEWABLE_SECONDS: i64 = 365 * 24 * 60 * 60;

/// How far the moment at which a certificate was made may be from the clock that dates what the
/// store holds: it is rounded to a minute, and the clocks of leaders differ a little.
const DATED_WITHIN_SECONDS: i64 = 60;

/// What raft stands on. A member that is behind must hear in it whoever brings it up to date; and
/// when the certificates of most managers have ended, nobody could lead and renew them otherwise.
const OF_RAFT: [&str; 2] = ["/docker.swarmkit.v1.Raft/", "/docker.swarmkit.v1.Health/"];

/// Open to anybody whatever they show: who trusts nothing yet begins with it.
const ROOT: &str = "/docker.swarmkit.v1.CA/GetRootCACertificate";

/// Who calls, once it is known that they may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Whoever may open the control socket of this node: the node itself.
    Own(NodeId),
    /// A node of this cluster, by its certificate or by the word of a manager.
    Node {
        /// Which.
        id: NodeId,
        /// As what it calls.
        role: NodeRole,
    },
    /// A node of this cluster whose certificate has ended. It may renew that, and nothing else.
    Expired(NodeId),
    /// Anybody.
    Stranger,
}

impl Caller {
    /// Returns which node it is; none of a stranger.
    pub fn node(&self) -> Option<&NodeId> {
        match self {
            Self::Own(id) | Self::Node { id, .. } | Self::Expired(id) => Some(id),
            Self::Stranger => None,
        }
    }
}

/// Where a call came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// The control socket, which is for the owner of this node.
    Socket,
    /// The port for other nodes.
    Network,
}

/// What TLS has found to be of this cluster's root; it may have ended.
#[derive(Clone, Copy, Debug)]
pub struct Certificate<'a> {
    /// Whom it names.
    pub subject: &'a Subject,
    /// When it is valid.
    pub window: Window,
}

/// Whose call a manager passes on, in its words; blank where the caller had no certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forwarded {
    /// The node's id.
    pub common_name: String,
    /// The cluster's id.
    pub organization: String,
    /// The node's roles.
    pub units: Vec<String>,
}

/// A call, and everything that says from whom.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// What is called.
    pub rpc: &'a Rpc,
    /// Where.
    pub door: Door,
    /// What the peer has shown.
    pub certificate: Option<Certificate<'a>>,
    /// Whom it names instead of itself.
    pub forwarded: Option<&'a Forwarded>,
}

/// What calls are judged by.
#[derive(Clone, Copy)]
pub struct Cluster<'a> {
    /// This node.
    pub own: &'a Subject,
    /// What is committed.
    pub view: &'a View,
    /// When.
    pub now: &'a Timestamp,
}

/// Why a call is refused, in the words that SwarmKit's clients know.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Denied {
    /// The caller may not.
    #[error(
        "Permission denied: unauthorized peer role: rpc error: code = PermissionDenied desc = {0}"
    )]
    Peer(Unfit),
    /// Whoever passed the call on may not do that.
    #[error(
        "Permission denied: unauthorized forwarder role: rpc error: code = PermissionDenied desc = \
         {0}"
    )]
    Forwarder(Unfit),
    /// A manager passes on the call of somebody without a certificate.
    #[error("Permission denied: missing information in forwarded request")]
    Blank,
    /// A manager passes on the call of a node with another role.
    #[error("Permission denied: unauthorized forwarded role, expecting: {0}")]
    ForwardedRole(Units),
    /// A manager passes on the call of another cluster's node.
    #[error("Permission denied: organization mismatch, expecting: {0}")]
    ForwardedOrganization(ClusterId),
    /// The certificate has ended, and what is called is not what that is still good for.
    #[error(
        "Permission denied: the certificate of node {0} has expired: it is good for its renewal \
         and nothing else"
    )]
    Expired(NodeId),
    /// The certificate has ended too long ago.
    #[error(
        "Permission denied: the certificate of node {0} expired more than a year ago: the node has \
         to join again, with a token"
    )]
    Ended(NodeId),
}

/// What is wrong with a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unfit {
    /// There is none.
    #[error("no client certificates in request")]
    NoCertificate,
    /// Its node was removed.
    #[error("Permission denied: node {0} was removed from swarm")]
    Removed(NodeId),
    /// It is of another cluster.
    #[error("Permission denied: remote certificate not part of organization: {0}")]
    Organization(ClusterId),
    /// It has none of the roles that may.
    #[error("Permission denied: remote certificate not part of OUs: {0}")]
    Role(Units),
    /// It says that its node is a manager, which that was.
    #[error("Permission denied: node {0} is not a manager any more")]
    Demoted(NodeId),
}

/// Roles as certificates spell them and as SwarmKit lists them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Units(Vec<NodeRole>);

impl std::fmt::Display for Units {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let units: Vec<_> = self.0.iter().map(|role| organizational_unit(*role)).collect();
        write!(formatter, "[{}]", units.join(" "))
    }
}

/// Says who calls, or why they may not.
///
/// Whoever asks for what is open to anybody is refused nothing but to pass for somebody else: what
/// is wrong with them makes a stranger of them.
pub fn judge(call: &Call<'_>, cluster: Cluster<'_>) -> Result<Caller, Denied> {
    match (call.door, call.certificate) {
        (Door::Socket, _) => Ok(Caller::Own(cluster.own.node_id.clone())),
        (Door::Network, Some(certificate)) if has_expired(certificate.window, cluster.now) => {
            expired(call, certificate, cluster)
        }
        (Door::Network, certificate) => match known(call, certificate, cluster) {
            Err(_) if call.rpc.anybody => Ok(Caller::Stranger),
            known => known,
        },
    }
}

/// Whether a certificate lets its owner name others: it is a manager's of this cluster. What
/// anybody else claims is to be removed from a call before it is looked at.
pub fn may_forward(certificate: Certificate<'_>, own: &Subject) -> bool {
    let Subject { role, cluster_id, .. } = certificate.subject;
    *role == NodeRole::Manager && *cluster_id == own.cluster_id
}

/// Says whom a manager that does not lead names to the leader, which is who judges; nobody of
/// those without a certificate.
///
/// The leader does not hear when a certificate ends, so those that have are judged here. So are
/// those who have none and would need one: whatever is known there, they may not, and nothing of
/// theirs is to be kept on the way.
pub fn introduce<'a>(call: &Call<'a>, cluster: Cluster<'_>) -> Result<Option<&'a Subject>, Denied> {
    match call.certificate {
        Some(certificate) if has_expired(certificate.window, cluster.now) => {
            let caller = expired(call, certificate, cluster)?;
            Ok(caller.node().map(|_| certificate.subject))
        }
        None if call.door == Door::Network && !call.rpc.anybody => {
            Err(Denied::Peer(Unfit::NoCertificate))
        }
        certificate => Ok(certificate.map(|certificate| certificate.subject)),
    }
}

/// Whether a connection that was made with a certificate may stay open; `looked` is when this was
/// asked before.
///
/// Who leads knows who is a manager; others may be behind. A certificate cuts its connection when
/// it ends and not later: one that is made with an ended certificate is for what that is still good
/// for.
pub fn may_stay(
    certificate: Certificate<'_>,
    view: &View,
    leads: bool,
    [looked, now]: [&Timestamp; 2],
) -> bool {
    let Certificate { subject, window } = certificate;
    let has_just_ended = has_expired(window, now) && !has_expired(window, looked);
    let is_demoted = if leads { is_demoted(subject, view) } else { is_outlived(certificate, view) };
    !has_just_ended && !is_demoted && !is_barred(&subject.node_id, view)
}

/// Whether a certificate of a manager outlives what it says, as far as somebody can tell who may
/// be behind: its node is a worker and is to be one, and was written so after it was made. A node
/// that has become a manager since then has a newer one.
fn is_outlived(certificate: Certificate<'_>, view: &View) -> bool {
    let Certificate { subject, window } = certificate;
    let made_seconds = made_seconds(window).saturating_add(DATED_WITHIN_SECONDS);
    let is_older =
        |node: &Node| node.meta.updated_at.is_some_and(|updated| updated.seconds > made_seconds);
    let node = view.node(&subject.node_id);
    is_demoted(subject, view) && node.is_some_and(|node| is_older(node))
}

/// Whether a manager's certificate says what its node is none of any more, nor is to be: as the
/// leader knows it.
fn is_demoted(subject: &Subject, view: &View) -> bool {
    let is_worker = |node: &Node| {
        node.role == i32::from(NodeRole::Worker) && node.spec.desired_role() == NodeRole::Worker
    };
    let node = view.node(&subject.node_id);
    subject.role == NodeRole::Manager && node.is_some_and(|node| is_worker(node))
}

/// Whether a certificate of a manager says what its node is, as far as this manager knows.
fn is_manager(subject: &Subject, view: &View) -> bool {
    subject.role == NodeRole::Manager && !is_demoted(subject, view)
}

/// Whether a node was removed, by its id.
fn is_barred(id: &NodeId, view: &View) -> bool {
    let cluster = view.default_cluster();
    cluster.is_some_and(|cluster| cluster.rest.blacklisted_certificates.contains_key(id.as_str()))
}

/// A caller whose certificate is valid, or who has none.
fn known(
    call: &Call<'_>,
    certificate: Option<Certificate<'_>>,
    cluster: Cluster<'_>,
) -> Result<Caller, Denied> {
    let certificate = certificate.ok_or(Denied::Peer(Unfit::NoCertificate))?;
    let (subject, allowed) = (certificate.subject, allowed(call.rpc));
    let Some(forwarded) = forwarded(call, certificate, cluster.own) else {
        fit(call.rpc, Shown::Itself(certificate), &allowed, cluster).map_err(Denied::Peer)?;
        return Ok(Caller::Node { id: subject.node_id.clone(), role: subject.role });
    };
    let passes_on = fit(call.rpc, Shown::Itself(certificate), &[NodeRole::Manager], cluster);
    passes_on.map_err(Denied::Forwarder)?;
    let subject = named(forwarded, &allowed, &cluster.own.cluster_id)?;
    // SwarmKit does not ask whether a node that is named was removed.
    fit(call.rpc, Shown::Named(&subject), &allowed, cluster).map_err(Denied::Peer)?;
    Ok(Caller::Node { id: subject.node_id, role: subject.role })
}

/// Whom the peer names, if it is to be heard.
fn forwarded<'a>(
    call: &Call<'a>,
    certificate: Certificate<'_>,
    own: &Subject,
) -> Option<&'a Forwarded> {
    call.forwarded.filter(|_| may_forward(certificate, own))
}

/// A caller whose certificate was valid once: good for its renewal, and on a member of the group for
/// what elects who renews it.
fn expired(
    call: &Call<'_>,
    certificate: Certificate<'_>,
    cluster: Cluster<'_>,
) -> Result<Caller, Denied> {
    let id = &certificate.subject.node_id;
    if call.rpc.path == ROOT {
        return Ok(Caller::Stranger);
    }
    of_cluster(certificate.subject, &cluster.own.cluster_id).map_err(Denied::Peer)?;
    // A member that has just joined knows nobody yet.
    let is_unknown = cluster.view.node(id).is_none() && cluster.view.default_cluster().is_some();
    if is_barred(id, cluster.view) || is_unknown {
        return Err(Denied::Peer(Unfit::Removed(id.clone())));
    }
    let ends_seconds = certificate.window.not_after_seconds;
    if cluster.now.seconds > ends_seconds.saturating_add(RENEWABLE_SECONDS) {
        return Err(Denied::Ended(id.clone()));
    }
    let speaks_for_itself = forwarded(call, certificate, cluster.own).is_none();
    if speaks_for_itself && is_of_raft(call.rpc) && is_manager(certificate.subject, cluster.view) {
        return Ok(Caller::Node { id: id.clone(), role: NodeRole::Manager });
    }
    if speaks_for_itself && call.rpc.anybody {
        return Ok(Caller::Expired(id.clone()));
    }
    Err(Denied::Expired(id.clone()))
}

/// Whom a call is from.
#[derive(Clone, Copy)]
enum Shown<'a> {
    /// Whoever has shown this.
    Itself(Certificate<'a>),
    /// Whom a manager names. When its certificate was made is not known.
    Named(&'a Subject),
}

/// Whether a caller is good for a call by one of these roles.
fn fit(rpc: &Rpc, shown: Shown<'_>, roles: &[NodeRole], cluster: Cluster<'_>) -> Result<(), Unfit> {
    let (Shown::Itself(Certificate { subject, .. }) | Shown::Named(subject)) = shown;
    let is_let_in = planted!(RemovedStillServed);
    if is_barred(&subject.node_id, cluster.view) && !is_let_in {
        return Err(Unfit::Removed(subject.node_id.clone()));
    }
    of_cluster(subject, &cluster.own.cluster_id)?;
    if !roles.contains(&subject.role) {
        return Err(Unfit::Role(Units(roles.to_vec())));
    }
    let of_managers = !roles.contains(&NodeRole::Worker);
    if of_managers && has_been_demoted(rpc, shown, cluster.view) && !is_let_in {
        return Err(Unfit::Demoted(subject.node_id.clone()));
    }
    Ok(())
}

/// The node that a manager names, if it is one of ours with such a role.
fn named(forwarded: &Forwarded, allowed: &[NodeRole], own: &ClusterId) -> Result<Subject, Denied> {
    let Forwarded { common_name, organization, units } = forwarded;
    let is_blank = units.iter().all(String::is_empty);
    if common_name.is_empty() || organization.is_empty() || is_blank {
        return Err(Denied::Blank);
    }
    let mut roles = units.iter().filter_map(|unit| role_of(unit));
    let Some(role) = roles.find(|role| allowed.contains(role)) else {
        return Err(Denied::ForwardedRole(Units(allowed.to_vec())));
    };
    if organization != own.as_str() {
        return Err(Denied::ForwardedOrganization(own.clone()));
    }
    Ok(Subject { node_id: common_name.as_str().into(), role, cluster_id: own.clone() })
}

fn of_cluster(subject: &Subject, own: &ClusterId) -> Result<(), Unfit> {
    let is_ours = subject.cluster_id == *own;
    if is_ours { Ok(()) } else { Err(Unfit::Organization(own.clone())) }
}

/// The roles that may call, workers first as SwarmKit lists them; both where anybody may.
fn allowed(rpc: &Rpc) -> Vec<NodeRole> {
    if rpc.anybody {
        return vec![NodeRole::Worker, NodeRole::Manager];
    }
    let role = |role: &Role| match role {
        Role::Manager => NodeRole::Manager,
        Role::Worker => NodeRole::Worker,
    };
    let mut roles: Vec<_> = rpc.roles.iter().map(role).collect();
    roles.sort_unstable();
    roles
}

/// Whether a manager's certificate outlives what it says.
///
/// The store of a member may be behind, and one that refused the messages of a manager which it
/// takes for a worker would stay behind for good, and where its vote is needed nobody could lead:
/// a node that was demoted and promoted again has the certificate that it had. So raft believes
/// certificates until their connections are cut; nothing else does.
fn has_been_demoted(rpc: &Rpc, shown: Shown<'_>, view: &View) -> bool {
    match shown {
        Shown::Itself(_) if is_of_raft(rpc) => false,
        Shown::Itself(Certificate { subject, .. }) | Shown::Named(subject) => {
            is_demoted(subject, view)
        }
    }
}

/// Whether raft stands on a call.
fn is_of_raft(rpc: &Rpc) -> bool {
    OF_RAFT.iter().any(|service| rpc.path.starts_with(service))
}
