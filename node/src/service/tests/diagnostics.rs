//! The actors of the daemon, as clients see them.

use actors::store::View;
use protocol::swarm::{ListActorsRequest, actor::State, diagnostics_client::DiagnosticsClient};

use super::run;

#[test]
fn every_actor_is_shown_with_its_counters() {
    run(&View::default(), async |world| {
        let mut client = DiagnosticsClient::new(world.channel.clone());
        let answer = client.list_actors(ListActorsRequest {}).await.expect("answered");
        let actors = answer.into_inner().actors;
        let paths: Vec<_> = actors.iter().map(|actor| actor.path.as_str()).collect();
        assert_eq!(paths, ["manager/raft", "manager/raft-status", "manager/store"]);
        let store = actors.last().expect("the store");
        assert_eq!((store.state(), store.restarts), (State::Running, 0));
        assert_eq!(store.last_failure, "");
        assert!(store.messages_handled > 0 && store.mailbox_capacity > 0);
        assert!(store.longest_poll.is_some());
    });
}
