//! Changes of the members that raft-rs puts into the log as empty entries.

use protocol::wire::RaftMember;
use tokio::time::timeout;

use super::{
    LONG,
    rig::{Machine, Network, create, run},
};
use crate::{
    raft::{
        ChangeError, GetCommitted, GetStatus, Join, Removal, Remove, Status, logic::Change,
        peer::Peer,
    },
    store::ChangeMembers,
    supervision::Address,
};

async fn status(peer: &Address<Peer>) -> Status {
    peer.send(GetStatus).await.expect("alive").expect("a member")
}

fn join(node_id: &str) -> Join {
    Join { node_id: node_id.to_owned(), address: format!("{node_id}:4242"), learns: true }
}

/// A change that the peer does not know to be on its way, as its own always are.
fn unannounced(of: &Status) -> ChangeMembers {
    let member = RaftMember {
        raft_id: 1,
        node_id: "node-1".to_owned(),
        addr: "moved:1".to_owned(),
        status: Some(Default::default()),
    };
    ChangeMembers { term: of.term, change: Change::Moves(member).encode() }
}

/// Asks for something right behind a change that is not yet applied, and says what came of it. The
/// change is done, and the question has a place in the log behind it, which says nothing.
async fn asked_too_early<T>(
    machine: &Machine,
    ask: impl AsyncFnOnce(Address<Peer>) -> Result<T, ChangeError>,
) -> Result<T, ChangeError> {
    let peer = machine.peer();
    let before = status(&peer).await;
    let first = machine.memory().send(unannounced(&before));
    let (first, second) = tokio::join!(first, timeout(LONG, ask(peer.clone())));
    assert_eq!(first, Ok(Ok(before.last + 1)));
    let page = peer.send(GetCommitted { from: before.last + 1 }).await.expect("alive");
    let indices: Vec<_> = page.entries.iter().map(|entry| entry.index).collect();
    assert_eq!(indices, [before.last + 1, before.last + 2]);
    let after = status(&peer).await;
    assert_eq!(after.members[0].address, "moved:1");
    assert_eq!(after.members.len(), before.members.len(), "nobody has come or gone");
    assert_eq!((after.voters, after.learners), (before.voters, before.learners));
    assert_eq!(after.members_since, before.members_since);
    second.expect("it is not left without an answer")
}

#[test]
fn who_asks_for_what_becomes_an_empty_entry_is_told_that_it_is_refused() {
    run(async || {
        let network = Network::default();
        let mut machines = network.three(40);
        machines.iter_mut().for_each(Machine::start);
        let machine = &machines[network.until_leader(&machines).await];
        let joins =
            asked_too_early(machine, async |peer| peer.send(join("node-4")).await.expect("alive"));
        assert_eq!(joins.await, Err(ChangeError::Refused));
        let joined = machine.peer().send(join("node-4")).await.expect("alive");
        let raft_id = joined.expect("nothing is pending any more").raft_id;
        let leaves = asked_too_early(machine, async |peer| {
            peer.send(Remove { raft_id }).await.expect("alive")
        });
        assert_eq!(leaves.await, Err(ChangeError::Refused));
        let removed = machine.peer().send(Remove { raft_id }).await;
        assert_eq!(removed, Ok(Ok(Removal::Removed)));
        create(&machine.store(), "after").await.expect("the numbers still fit");
    });
}
