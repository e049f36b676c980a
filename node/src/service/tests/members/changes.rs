//! Managers that join and leave.

use std::future::pending;

use actors::raft::{ChangeError, Founder, Joined, Removal};
use futures_util::FutureExt;
use protocol::wire::{
    JoinRequest, JoinResponse, LeaveRequest, LeaveResponse, RaftMember,
    raft_membership_client::RaftMembershipClient,
};
use tonic::{Code, Status};

use super::{Answers, Heard, World, check, run};
use crate::{remote::RemoteListener, service::serve_joining};

/// Asks as this node to be a member that listens there.
async fn join(world: &World, node_id: &str, addr: &str) -> Result<JoinResponse, Status> {
    let channel = world.called_by(&world.node(node_id)).await;
    let request = JoinRequest { addr: addr.to_owned() };
    RaftMembershipClient::new(channel).join(request).await.map(|joined| joined.into_inner())
}

/// Asks as `n2` that it leaves.
async fn leave(world: &World) -> Result<LeaveResponse, Status> {
    let channel = world.called_by(&world.node("n2")).await;
    let node = Some(RaftMember { raft_id: 2, ..RaftMember::default() });
    let left = RaftMembershipClient::new(channel).leave(LeaveRequest { node }).await;
    left.map(|left| left.into_inner())
}

#[test]
fn a_member_leaves_unless_too_few_would_be_left() {
    let removed = Ok(Removal::Removed);
    for (removes, expected) in [
        (removed, None),
        (
            Err(ChangeError::LosesQuorum),
            Some(
                "raft: member cannot be removed, because removing it may result in loss of quorum",
            ),
        ),
        (
            Ok(Removal::HandedOver { to: 3 }),
            Some("raft: failed to process the request: node lost leader status"),
        ),
    ] {
        run(&Answers { removes, ..Answers::default() }, async |world| {
            let left = leave(world).await;
            assert_eq!(world.hears(1).await, [Heard::Remove(2)]);
            match expected {
                Some(text) => check(left, Code::FailedPrecondition, text),
                None => drop(left.expect("it has left")),
            }
        });
    }
}

#[test]
fn a_node_that_is_not_to_be_a_manager_does_not_join() {
    run(&Answers::default(), async |world| {
        for node_id in ["demoted", "unknown"] {
            let text = format!("Permission denied: node {node_id} is not to be a manager");
            let address = world.address.clone();
            check(join(world, node_id, &address).await, Code::PermissionDenied, &text);
        }
        world.hears_nothing();
    });
}

#[test]
fn whoever_is_not_where_it_says_does_not_join() {
    run(&Answers::default(), async |world| {
        let closed = RemoteListener::bind(([127, 0, 0, 1], 0).into()).await.expect("a port");
        let nowhere = closed.address().to_string();
        drop(closed);
        let silent = format!("nothing listens on {nowhere}");
        let elsewhere = world.address.clone();
        for (address, reason) in [(&nowhere, &*silent), (&elsewhere, "another node answers there")]
        {
            let text = format!(
                "could not connect to prospective new cluster member using its advertised \
                 address: {address}: {reason}"
            );
            check(join(world, "newcomer", address).await, Code::FailedPrecondition, &text);
        }
        let invalid = join(world, "newcomer", "nowhere").await.expect_err("it has no port");
        assert_eq!(invalid.code(), Code::InvalidArgument);
        world.hears_nothing();
    });
}

#[test]
fn whoever_answers_where_it_says_joins() {
    let founder = |raft_id, node_id: &str| {
        let address = format!("{node_id}:1");
        Founder { raft_id, node_id: node_id.to_owned(), address }
    };
    let members = vec![founder(1, "n1"), founder(9, "newcomer")];
    let joins = Ok(Joined { raft_id: 9, members });
    run(&Answers { joins, ..Answers::default() }, async |world| {
        let port = RemoteListener::bind(([127, 0, 0, 1], 0).into()).await.expect("a port");
        let number = port.address().port();
        let everywhere = format!("0.0.0.0:{number}");
        let tls = world.node("newcomer").remote_config().expect("a configuration");
        let serving = serve_joining(port, tls, pending().boxed().shared());
        // It listens on all its addresses, and calls from one of them.
        let joined = tokio::select! {
            biased;
            joined = join(world, "newcomer", &everywhere) => joined,
            _ = serving => panic!("it serves"),
        };
        let JoinResponse { raft_id, members, .. } = joined.expect("it is there");
        let named: Vec<_> = members
            .iter()
            .map(|member| (member.raft_id, &*member.node_id, &*member.addr))
            .collect();
        assert_eq!((raft_id, named), (9, vec![(1, "n1", "n1:1"), (9, "newcomer", "newcomer:1")]));
        let (node_id, address) = ("newcomer".to_owned(), format!("127.0.0.1:{number}"));
        // It says nothing of knowing learners.
        assert_eq!(world.hears(1).await, [Heard::Join { node_id, address, learns: false }]);
    });
}
