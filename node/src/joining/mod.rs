//! How a node gets into a cluster: it checks the root against its token, asks for a certificate,
//! and, as a manager, asks to be a member (`cluster-security-dispatch` §4, `store-and-raft` §9).

mod answer;
mod authority;
mod error;
mod passing;
mod skew;

use std::{path::Path, sync::Arc, time::Duration};

use actors::{environment::Clock, raft::Founder};
use bytes::Bytes;
use protocol::{
    id::NodeId,
    token::JoinToken,
    wire::{
        GetNodeRequest, GetRootCaCertificateRequest, JoinRequest, LeaveRequest, RaftMember,
        ca_client::CaClient, control_client::ControlClient,
        raft_membership_client::RaftMembershipClient,
    },
};
use rustls::{ClientConfig, pki_types::CertificateDer};
use tokio::time::{sleep, timeout};
use tonic::{Request, metadata::AsciiMetadataValue};

pub use self::{
    answer::forget_answer,
    authority::{Authorities, RemoteAuthority},
    error::Error,
    passing::Cluster,
};
use self::{authority::Wanted, skew::Skew};
use crate::{
    identity::{Identity, NewPair, certificates, root_digest, stranger_config},
    remote::{ADDRESS, Connection, Name, dial},
};

/// How often the root is asked for, how long each time may take, and the pause between.
const ROOT_TRIES: u32 = 5;
const ROOT_WITHIN: Duration = Duration::from_secs(5);
const ROOT_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// How often the first certificate is asked for.
const ISSUE_TRIES: u32 = 5;

/// How long the leader may take to make a member of a manager: SwarmKit's managers wait as long.
const MEMBER_WITHIN: Duration = Duration::from_secs(25);

/// How often a manager asks to be a member, and the pause between.
const MEMBER_TRIES: u32 = 5;
const MEMBER_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// The key under which a manager that joins says that its log is empty: what was a member of this node
/// before has to leave first. Managers of SwarmKit do not know it.
pub(crate) const NO_LOG: &str = "raft-log-empty";

/// What a node needs to get into a cluster.
#[derive(Clone, Debug)]
pub struct Invitation {
    /// Where a manager listens, as host and port.
    pub address: String,
    /// What lets the node in, and tells it the right root.
    pub token: JoinToken,
    /// Whether it takes tasks at first, as the number of a `NodeSpec.Availability`.
    pub availability: i32,
}

/// Gets an identity from the cluster of a manager, and puts it on the disk.
pub async fn join(
    folder: &Path,
    invitation: &Invitation,
    clock: &dyn Clock,
) -> Result<Identity, Error> {
    let Invitation { address, token, availability } = invitation;
    if token.fips == Some(true) {
        return Err(Error::Fips);
    }
    let (root_pem, skew) = root(invitation, clock).await?;
    // Nothing is asked for that would be of no use: the cluster would have a node that never comes.
    if let Some(skew) = skew.filter(|skew| skew.is_in_the_way()) {
        return Err(Error::Clock { skew });
    }
    let roots = certificates(&root_pem).map_err(Error::Root)?;
    let pair = NewPair::generate().map_err(Error::Identity)?;
    let (csr, token) = (pair.signing_request(), token.to_string());
    let wanted = Wanted { csr, token, availability: *availability, now: clock.now() };
    let mut tries = 0;
    let issued = loop {
        tries += 1;
        // The same request each time: a cluster that has it already has one node for it.
        let asked = async {
            let connection = connected(address, &roots).await?;
            authority::issued(address, connection.channel, &wanted).await
        };
        match asked.await {
            Ok(issued) => break issued,
            Err(error) if error.may_pass() && tries < ISSUE_TRIES => {
                let error = crate::remote::described(&error);
                tracing::warn!(%error, "no certificate was issued yet; asks again");
            }
            Err(error) => return Err(error.with(skew)),
        }
        sleep(ROOT_AGAIN_AFTER).await;
    };
    let identity = pair.join(folder, &root_pem, &issued, &clock.now());
    identity.map_err(|error| Error::Identity(error).with(skew))
}

/// Returns the root that a token pins, and how far the clocks are apart.
async fn root(invitation: &Invitation, clock: &dyn Clock) -> Result<(Bytes, Option<Skew>), Error> {
    let mut tries = 0;
    let (certificate, skew) = loop {
        tries += 1;
        match timeout(ROOT_WITHIN, downloaded(&invitation.address, clock)).await {
            Ok(Ok(downloaded)) => break downloaded,
            Ok(Err(error)) if tries == ROOT_TRIES => return Err(error),
            Err(_) if tries == ROOT_TRIES => {
                return Err(Error::Silent { address: invitation.address.clone() });
            }
            Ok(Err(error)) => {
                let error = crate::remote::described(&error);
                tracing::warn!(%error, "the cluster's root could not be fetched; tries again");
            }
            Err(_) => tracing::warn!("the manager does not answer; tries again"),
        }
        sleep(ROOT_AGAIN_AFTER).await;
    };
    if root_digest(&certificate) != invitation.token.digest {
        return Err(Error::AnotherRoot { expected: invitation.token.digest.hex() });
    }
    Ok((certificate, skew))
}

/// Asks for the root without knowing whom. What comes is believed for its digest alone.
async fn downloaded(address: &str, clock: &dyn Clock) -> Result<(Bytes, Option<Skew>), Error> {
    let anybody = stranger_config(None).map_err(Error::Tls)?;
    let connection = dial(address, Name::Authority, anybody).await?;
    let mut manager = CaClient::new(connection.channel);
    let answer = manager.get_root_ca_certificate(GetRootCaCertificateRequest {}).await;
    let answer = answer.map_err(|status| Error::refused(address, &status))?;
    let skew = Skew::of(answer.metadata(), &clock.now());
    Ok((answer.into_inner().certificate, skew))
}

async fn connected(address: &str, roots: &[CertificateDer<'static>]) -> Result<Connection, Error> {
    let stranger = stranger_config(Some(roots)).map_err(Error::Tls)?;
    Ok(dial(address, Name::Authority, stranger).await?)
}

/// A member that was made of this node, and all others.
pub struct Member {
    /// Its raft id.
    pub raft_id: u64,
    /// All members, itself among them.
    pub members: Vec<Founder>,
}

/// Asks managers to make a member of this one, which has an empty log, until one of them has.
pub async fn become_member(
    managers: &[String],
    node_id: &NodeId,
    own_address: &str,
    tls: Arc<ClientConfig>,
) -> Result<Member, Error> {
    let mut last = None;
    for attempt in 0..MEMBER_TRIES {
        for manager in managers {
            let member = async {
                leave(manager, node_id, tls.clone()).await?;
                let mut request = join_request(own_address);
                request.metadata_mut().insert(NO_LOG, AsciiMetadataValue::from_static("true"));
                joined(manager, request, tls.clone()).await
            };
            match member.await {
                Ok(member) => return Ok(member),
                Err(error) => {
                    let text = crate::remote::described(&error);
                    tracing::warn!(error = text, "this manager is no member yet");
                    last = Some(error);
                }
            }
        }
        if attempt + 1 < MEMBER_TRIES {
            sleep(MEMBER_AGAIN_AFTER).await;
        }
    }
    Err(last.unwrap_or(Error::NoManager))
}

/// Leaves the group if a leader shows that this node is in it. A member whose log is gone has forgotten
/// what it said was safe: as the same member it could outvote those who remember. It comes back as
/// another. A learner is not shown: its leader is told when it joins ([`NO_LOG`]).
async fn leave(manager: &str, node_id: &NodeId, tls: Arc<ClientConfig>) -> Result<(), Error> {
    let connection = dial(manager, Name::Manager, tls).await?;
    let late = |_| Error::Silent { address: manager.to_owned() };
    let refused = |status| Error::refused(manager, &status);
    let mut control = ControlClient::new(connection.channel.clone());
    let asked = control.get_node(GetNodeRequest { node_id: node_id.to_string() });
    let found = timeout(MEMBER_WITHIN, asked).await.map_err(late)?.map_err(refused)?;
    let Some(status) = found.into_inner().node.and_then(|node| node.manager_status) else {
        return Ok(());
    };
    tracing::warn!(
        "this node is a manager whose log is gone: it leaves the group, to join it anew"
    );
    let node = RaftMember { raft_id: status.raft_id, ..Default::default() };
    let mut leader = RaftMembershipClient::new(connection.channel);
    let left = leader.leave(LeaveRequest { node: Some(node) });
    timeout(MEMBER_WITHIN, left).await.map_err(late)?.map_err(refused)?;
    Ok(())
}

fn join_request(own_address: &str) -> Request<JoinRequest> {
    let mut request = Request::new(JoinRequest { addr: own_address.to_owned() });
    if let Ok(address) = AsciiMetadataValue::try_from(own_address) {
        request.metadata_mut().insert(ADDRESS, address);
    }
    request
}

/// Asks one manager to note where this member is now.
pub async fn announce(
    manager: &str,
    own_address: &str,
    tls: Arc<ClientConfig>,
) -> Result<Member, Error> {
    joined(manager, join_request(own_address), tls).await
}

async fn joined(
    manager: &str,
    request: Request<JoinRequest>,
    tls: Arc<ClientConfig>,
) -> Result<Member, Error> {
    let connection = dial(manager, Name::Manager, tls).await?;
    let mut leader = RaftMembershipClient::new(connection.channel);
    let answered = leader.join(request);
    let late = |_| Error::Silent { address: manager.to_owned() };
    let answer = timeout(MEMBER_WITHIN, answered).await.map_err(late)?;
    let answer = answer.map_err(|status| Error::refused(manager, &status))?.into_inner();
    Ok(Member::answered(answer))
}
