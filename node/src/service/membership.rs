//! `docker.swarmkit.v1.RaftMembership`: managers that join, move and leave.

use std::{net::IpAddr, str::FromStr, sync::Arc, time::Duration};

use actors::{
    raft::{ChangeError, Founder, Join, Removal, Remove},
    store::Store,
    supervision::Recipient,
};
use protocol::{
    address::{Address, InvalidAddress},
    id::NodeId,
    wire::{
        HealthCheckRequest, JoinRequest, JoinResponse, LeaveRequest, LeaveResponse, NodeRole,
        RaftMember, health_check_response::ServingStatus, health_client::HealthClient,
        raft_membership_server,
    },
};
use rustls::ClientConfig;
use tokio::time::timeout;
use tonic::{Request, Response, Status, metadata::MetadataMap};

use super::{CallerAddress, access, health::RAFT, status::unchanged};
use crate::{
    joining::NO_LOG,
    remote::{ADDRESS, Directory, Name, described, dial},
};

/// How long a manager that wants to join may take to show that it is where it says.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// How long a change of the members may take: SwarmKit's clients wait as long.
const CHANGED_WITHIN: Duration = Duration::from_secs(25);

/// Lets managers join and leave, as the leader.
#[derive(Clone)]
pub struct Membership {
    store: Store,
    directory: Directory,
    tls: Arc<ClientConfig>,
    join: Recipient<Join>,
    remove: Recipient<Remove>,
}

impl Membership {
    /// Asks raft for changes; whoever joins is called back first.
    pub fn new(
        store: Store,
        directory: Directory,
        tls: Arc<ClientConfig>,
        join: Recipient<Join>,
        remove: Recipient<Remove>,
    ) -> Self {
        Self { store, directory, tls, join, remove }
    }

    /// Whether a node is to be a manager: one that was let go may not know it yet.
    fn is_wanted(&self, node_id: &NodeId) -> Result<(), Status> {
        let view = self.store.view();
        let desired = view.node(node_id).map(|node| node.spec.desired_role());
        match desired {
            Some(NodeRole::Manager) => Ok(()),
            Some(NodeRole::Worker) | None => Err(Status::permission_denied(format!(
                "Permission denied: node {node_id} is not to be a manager"
            ))),
        }
    }

    /// Removes a member from the group.
    async fn let_go(&self, raft_id: u64) -> Result<(), ChangeError> {
        match within(self.remove.send(Remove { raft_id })).await? {
            Removal::Removed => Ok(()),
            // Whoever asks again finds the new leader.
            Removal::HandedOver { .. } => Err(ChangeError::NotLeading),
        }
    }
}

/// Whether whoever asks to be a member, and everybody who is one, knows learners.
fn learns(said: &MetadataMap, directory: &Directory) -> bool {
    said.contains_key(ADDRESS) && !directory.has_foreign_members()
}

/// Whether a manager is where it says, and ready to be told.
async fn answers(address: &str, node_id: &NodeId, tls: Arc<ClientConfig>) -> Result<(), Status> {
    let asked = async {
        let connection = dial(address, Name::Manager, tls).await;
        let connection = connection.map_err(|error| described(&error))?;
        if connection.node_id.as_ref() != Some(node_id) {
            return Err("another node answers there".to_owned());
        }
        let mut health = HealthClient::new(connection.channel);
        let request = HealthCheckRequest { service: RAFT.to_owned() };
        let answer = health.check(request).await.map_err(|status| status.message().to_owned())?;
        match answer.into_inner().status() {
            ServingStatus::Serving => Ok(()),
            ServingStatus::Unknown | ServingStatus::NotServing => Err("it is not ready".to_owned()),
        }
    };
    let late = || format!("no answer within {} seconds", ANSWERS_WITHIN.as_secs());
    let answered = timeout(ANSWERS_WITHIN, asked).await.unwrap_or_else(|_| Err(late()));
    answered.map_err(|reason| {
        Status::failed_precondition(format!(
            "could not connect to prospective new cluster member using its advertised \
             address: {address}: {reason}"
        ))
    })
}

/// Where a manager is reached, by what it says and from where it calls.
fn advertised(said: &str, calls_from: Option<IpAddr>) -> Result<String, Status> {
    let address = Address::from_str(said);
    let address = address.map_err(|error| Status::invalid_argument(error.to_string()))?;
    let address = match calls_from {
        Some(from) => address.seen_from(from),
        None => address,
    };
    if address.is_everywhere() {
        return Err(Status::invalid_argument(InvalidAddress(said.to_owned()).to_string()));
    }
    Ok(address.to_string())
}

/// What a node was before, if it joins without a log: that member could outvote those who remember.
fn forgetful(said: &MetadataMap, node_id: &NodeId, members: &[Founder]) -> Option<u64> {
    let own = members.iter().find(|member| member.node_id == node_id.as_str())?;
    said.contains_key(NO_LOG).then_some(own.raft_id)
}

fn member(founder: Founder) -> RaftMember {
    let Founder { raft_id, node_id, address } = founder;
    RaftMember { raft_id, node_id, addr: address, status: Some(Default::default()) }
}

/// Who calls, and from where: with a certificate, or this process.
fn caller<T>(request: &Request<T>) -> Result<(NodeId, Option<IpAddr>), Status> {
    let node = access::caller(request)?.node().cloned();
    let unknown = || Status::permission_denied("Permission denied: no peer info");
    let from = request.extensions().get::<CallerAddress>();
    Ok((node.ok_or_else(unknown)?, from.map(|CallerAddress(address)| address.ip())))
}

#[tonic::async_trait]
impl raft_membership_server::RaftMembership for Membership {
    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinResponse>, Status> {
        let (node_id, from) = caller(&request)?;
        self.is_wanted(&node_id)?;
        let address = advertised(&request.get_ref().addr, from)?;
        answers(&address, &node_id, self.tls.clone()).await?;
        let group = self.directory.standing().group();
        if let Some(raft_id) = forgetful(request.metadata(), &node_id, &group.members) {
            tracing::info!(%node_id, raft_id, "a member has lost its log: it leaves before it joins");
            match self.let_go(raft_id).await {
                Ok(()) | Err(ChangeError::UnknownMember) => {}
                Err(error) => return Err(unchanged(error)),
            }
        }
        let learns = learns(request.metadata(), &self.directory);
        let join = Join { node_id: node_id.to_string(), address: address.clone(), learns };
        let asked = self.join.send(join);
        let joined = within(asked).await.map_err(unchanged)?;
        tracing::info!(%node_id, address, raft_id = joined.raft_id, "a manager has joined");
        let members = joined.members.into_iter().map(member).collect();
        Ok(Response::new(JoinResponse { raft_id: joined.raft_id, members, ..Default::default() }))
    }

    async fn leave(
        &self,
        request: Request<LeaveRequest>,
    ) -> Result<Response<LeaveResponse>, Status> {
        let (node_id, _) = caller(&request)?;
        let said = request.into_inner().node.unwrap_or_default();
        let raft_id = said.raft_id;
        tracing::info!(%node_id, raft_id, "a manager asks that a member leaves");
        self.let_go(raft_id).await.map_err(unchanged)?;
        Ok(Response::new(LeaveResponse {}))
    }
}

/// Waits for a change of the members.
async fn within<T, E>(
    asked: impl Future<Output = Result<Result<T, ChangeError>, E>>,
) -> Result<T, ChangeError> {
    match timeout(CHANGED_WITHIN, asked).await {
        Ok(Ok(changed)) => changed,
        Ok(Err(_)) | Err(_) => Err(ChangeError::OutcomeUnknown),
    }
}

#[cfg(test)]
mod tests {
    use actors::environment::Clock;
    use futures_util::FutureExt;

    use super::*;
    use crate::{
        clock::SystemClock, identity::Identity, remote::RemoteListener, service::serve_joining,
    };

    #[test]
    fn a_manager_is_where_it_says_or_where_it_calls_from() {
        let from = Some(IpAddr::from([10, 0, 0, 7]));
        for (said, expected) in [
            ("10.0.0.1:4242", Some("10.0.0.1:4242")),
            ("0.0.0.0:4242", Some("10.0.0.7:4242")),
            ("[::]:4242", Some("10.0.0.7:4242")),
            ("host", None),
            ("10.0.0.1:0", None),
        ] {
            let found = advertised(said, from);
            assert_eq!(found.as_deref().ok(), expected, "{said}");
        }
        assert!(advertised("0.0.0.0:1", None).is_err(), "nobody could call there");
    }

    #[test]
    fn nobody_learns_in_a_group_with_managers_of_swarmkit() {
        let directory = Directory::default();
        let member = Founder { raft_id: 2, node_id: "two".to_owned(), address: "b:1".to_owned() };
        directory.standing().name(vec![member]);
        let (theirs, mut ours) = (MetadataMap::new(), MetadataMap::new());
        ours.insert(ADDRESS, "c:1".parse().expect("an address"));
        assert_eq!((learns(&ours, &directory), learns(&theirs, &directory)), (true, false));
        directory.hear(2, "two", None);
        assert!(!learns(&ours, &directory));
    }

    #[test]
    fn whoever_joins_without_a_log_is_first_let_go_as_what_it_was() {
        let member = |raft_id, node_id: &str| Founder {
            raft_id,
            node_id: node_id.to_owned(),
            address: "host:1".to_owned(),
        };
        let members = [member(1, "one"), member(2, "two")];
        let mut without_log = MetadataMap::new();
        without_log.insert(NO_LOG, "true".parse().expect("a word"));
        let former = |said, node_id: &str| forgetful(said, &node_id.into(), &members);
        assert_eq!(former(&without_log, "two"), Some(2));
        assert_eq!(former(&without_log, "newcomer"), None);
        assert_eq!(former(&MetadataMap::new(), "two"), None, "it says where it is");
    }

    #[tokio::test]
    async fn only_the_node_that_joins_answers_for_itself() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let identity = Identity::open(folder.path(), &SystemClock.now()).expect("an identity");
        let credentials = identity.credentials().expect("credentials");
        let port = RemoteListener::bind(([127, 0, 0, 1], 0).into()).await.expect("a port");
        let address = port.address().to_string();
        let tls = credentials.remote_config().expect("a configuration");
        let serving = serve_joining(port, tls, std::future::pending().boxed().shared());
        let tls = credentials.client_config().expect("a configuration");
        let asked = async {
            let own = answers(&address, identity.node_id(), tls.clone()).await;
            (own, answers(&address, &"another".into(), tls).await)
        };
        let (own, other) = tokio::select! {
            biased;
            asked = asked => asked,
            _ = serving => panic!("it serves"),
        };
        own.expect("it is there");
        let refused = other.expect_err("it is another");
        assert!(refused.message().ends_with("another node answers there"), "{refused:?}");
    }
}
