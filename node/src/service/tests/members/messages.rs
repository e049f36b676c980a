//! Messages of one member for another, by the real carrier and the real service.

use actors::raft::{Delivery, Founder, Removed, Report, Transport};
use bytes::Bytes;
use futures_util::stream;
use protocol::{
    raftpb::{Entry, Message, MessageType, Snapshot},
    wire::{
        NodeRole, ProcessRaftMessageRequest, ProcessRaftMessageResponse, ResolveAddressRequest,
        ResolveAddressResponse, StreamRaftMessageRequest, StreamRaftMessageResponse,
        raft_client::RaftClient,
        raft_server::{self, RaftServer},
    },
};
use tonic::{Code, Request, Response, Status, Streaming, service::Routes, transport::Channel};

use super::{Answers, Heard, World, check, run, run_as, subject};
use crate::{
    identity::stranger_config,
    remote::{Book, Carrier, Directory, Name, Way, dial},
    service::{self, REQUEST_BYTES_MAX},
};

/// As the spec has it: managers in other languages compare it.
const REMOVED: &str = "raft: member was removed from the cluster";

fn append(from: u64, to: u64) -> Message {
    let entries = vec![Entry { index: Some(8), data: Some("data".into()), ..Entry::default() }];
    Message {
        r#type: Some(MessageType::MsgApp.into()),
        from: Some(from),
        to: Some(to),
        term: Some(3),
        index: Some(7),
        entries,
        ..Message::default()
    }
}

/// A snapshot whose bytes are not all the same.
fn snapshot(bytes: usize) -> Message {
    let data: Bytes = (0..bytes).map(|at| (at / 1000) as u8).collect();
    let snapshot = Some(Snapshot { data: Some(data), metadata: None });
    let r#type = Some(MessageType::MsgSnap.into());
    Message { r#type, snapshot, entries: Vec::new(), ..append(2, 1) }
}

/// Says a message in one call, and in a stream of one part.
async fn both_ways(channel: Channel, message: Message) -> [Result<(), Status>; 2] {
    let mut client = RaftClient::new(channel);
    let whole = ProcessRaftMessageRequest { message: Some(message.clone()) };
    let part = StreamRaftMessageRequest { message: Some(message) };
    [
        client.process_raft_message(whole).await.map(drop),
        client.stream_raft_message(stream::iter([part])).await.map(drop),
    ]
}

fn twice(message: Message) -> [Heard; 2] {
    [message.clone(), message].map(|message| Heard::Message(message.into()))
}

impl World {
    /// Lets `n2` say something as managers do. Returns the next so many things that either raft hears.
    async fn carried(&mut self, message: Message, count: usize) -> Vec<Heard> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let directory = Directory::default();
        let (node_id, address) = ("n1".to_owned(), self.address.clone());
        directory.standing().pretend(2, Some(1), vec![Founder { raft_id: 1, node_id, address }]);
        let (carrier, post) = Carrier::new(Way {
            directory,
            book: Book::open(folder.path(), []).expect("a book"),
            tls: self.node("n2").member_config().expect("a configuration"),
            address: "0.0.0.0:7".to_owned(),
        });
        carrier.send(message);
        let reports = self.reports.clone();
        tokio::select! {
            biased;
            heard = self.hears(count) => heard,
            () = post.run(reports) => panic!("the carrier lives"),
        }
    }
}

#[test]
fn what_a_member_says_reaches_raft() {
    run(&Answers::default(), async |world| {
        let channel = world.called_by(&world.node("n2")).await;
        for outcome in both_ways(channel, append(2, 1)).await {
            outcome.expect("taken");
        }
        assert_eq!(world.hears(2).await, twice(append(2, 1)));
        // Of one that the log does not name yet, raft judges.
        let channel = world.called_by(&world.node("newcomer")).await;
        for outcome in both_ways(channel, append(3, 1)).await {
            outcome.expect("taken");
        }
        assert_eq!(world.hears(2).await, twice(append(3, 1)));
    });
}

#[test]
fn what_is_not_for_raft_is_taken_and_dropped() {
    run(&Answers::default(), async |world| {
        let channel = world.called_by(&world.node("n2")).await;
        let proposal = Message { r#type: Some(MessageType::MsgProp.into()), ..append(2, 1) };
        for message in [proposal, append(2, 9)] {
            for outcome in both_ways(channel.clone(), message).await {
                outcome.expect("taken");
            }
        }
        let mut client = RaftClient::new(channel);
        let empty = ProcessRaftMessageRequest { message: None };
        client.process_raft_message(empty).await.expect("taken");
        let part = || StreamRaftMessageRequest { message: Some(append(2, 1)) };
        let parts = client.stream_raft_message(stream::iter([part(), part()])).await;
        check(parts, Code::InvalidArgument, "only a snapshot may come in parts");
        world.hears_nothing();
    });
}

#[test]
fn a_member_is_where_its_messages_say() {
    run(&Answers::default(), async |world| {
        let heard = world.carried(append(2, 1), 1).await;
        assert_eq!(heard, [Heard::Message(append(2, 1).into())]);
        // It listens on all its addresses, and calls from one of them.
        assert_eq!(world.directory.address(2).as_deref(), Some("127.0.0.1:7"));
    });
}

#[test]
fn a_snapshot_that_no_request_holds_arrives_in_one_piece() {
    run(&Answers::default(), async |world| {
        let large = snapshot(2 * REQUEST_BYTES_MAX + 1);
        let mut heard = world.carried(large.clone(), 2).await;
        let arrived = Report { to: 1, delivery: Delivery::SnapshotArrived };
        assert_eq!(heard.pop(), Some(Heard::Report(arrived)));
        assert!(heard == [Heard::Message(large.into())], "every byte is in its place");
    });
}

/// A manager that does not know streams.
struct Old(service::Raft);

#[tonic::async_trait]
impl raft_server::Raft for Old {
    async fn process_raft_message(
        &self,
        request: Request<ProcessRaftMessageRequest>,
    ) -> Result<Response<ProcessRaftMessageResponse>, Status> {
        self.0.process_raft_message(request).await
    }

    async fn resolve_address(
        &self,
        request: Request<ResolveAddressRequest>,
    ) -> Result<Response<ResolveAddressResponse>, Status> {
        self.0.resolve_address(request).await
    }

    async fn stream_raft_message(
        &self,
        _: Request<Streaming<StreamRaftMessageRequest>>,
    ) -> Result<Response<StreamRaftMessageResponse>, Status> {
        Err(Status::unimplemented("unknown method StreamRaftMessage"))
    }
}

#[test]
fn a_member_that_takes_no_streams_is_sent_whole_messages() {
    let old = |services: &service::Services| {
        let raft = RaftServer::new(Old(services.raft.clone()));
        Routes::new(raft.max_decoding_message_size(REQUEST_BYTES_MAX))
    };
    run_as(old, &Answers::default(), async |world| {
        let heard = world.carried(append(2, 1), 1).await;
        assert_eq!(heard, [Heard::Message(append(2, 1).into())]);
        let small = snapshot(1 << 20);
        let arrived = Report { to: 1, delivery: Delivery::SnapshotArrived };
        let expected = [Heard::Message(small.clone().into()), Heard::Report(arrived)];
        assert!(world.carried(small, 2).await == expected);
    });
}

#[test]
fn a_member_that_was_removed_is_told_so() {
    let answers = Answers { receives: Err(Removed), ..Answers::default() };
    run(&answers, async |world| {
        let channel = world.called_by(&world.node("n2")).await;
        for outcome in both_ways(channel, append(2, 1)).await {
            check(outcome, Code::NotFound, REMOVED);
        }
        world.hears(2).await;
        let refused = Report { to: 1, delivery: Delivery::RefusedAsRemoved };
        let expected = [Heard::Message(append(2, 1).into()), Heard::Report(refused)];
        assert_eq!(world.carried(append(2, 1), 2).await, expected);
        let logged = Some("10.0.0.1:4242");
        assert_eq!(world.directory.address(2).as_deref(), logged, "what it said is forgotten");
    });
}

#[test]
fn members_are_found_by_their_ids() {
    run(&Answers::default(), async |world| {
        let mut client = RaftClient::new(world.called_by(&world.node("n2")).await);
        let found = client.resolve_address(ResolveAddressRequest { raft_id: 2 }).await;
        assert_eq!(found.expect("it is a member").into_inner().addr, "10.0.0.1:4242");
        let unknown = client.resolve_address(ResolveAddressRequest { raft_id: 9 }).await;
        check(unknown, Code::NotFound, "raft: member unknown");
    });
}

#[test]
fn nobody_speaks_for_another_member() {
    run(&Answers::default(), async |world| {
        let channel = world.called_by(&world.node("newcomer")).await;
        for outcome in both_ways(channel, append(2, 1)).await {
            let text = "the messages of member 2 are not this node's to send";
            check(outcome, Code::PermissionDenied, text);
        }
        world.hears_nothing();
        assert_eq!(world.directory.address(2).as_deref(), Some("10.0.0.1:4242"));
    });
}

#[test]
fn only_managers_of_this_cluster_are_heard() {
    run(&Answers::default(), async |world| {
        let mut other = subject("n2", NodeRole::Manager);
        other.cluster_id = "another".into();
        let stranger = stranger_config(None).expect("a configuration");
        let stranger = dial(&world.address, Name::Manager, stranger).await.expect("it listens");
        let worker = world.named(&subject("n2", NodeRole::Worker));
        for (channel, reason) in [
            (stranger.channel, "no client certificates in request"),
            (world.called_by(&worker).await, "not part of OUs: [swarm-manager]"),
            (world.called_by(&world.named(&other)).await, "not part of organization: c"),
            (world.called_by(&world.node("gone")).await, "node gone was removed from swarm"),
        ] {
            let resolve = ResolveAddressRequest { raft_id: 2 };
            let resolved =
                RaftClient::new(channel.clone()).resolve_address(resolve).await.map(drop);
            for outcome in both_ways(channel, append(2, 1)).await.into_iter().chain([resolved]) {
                let refused = outcome.expect_err(reason);
                assert_eq!(refused.code(), Code::PermissionDenied, "{reason}");
                assert!(refused.message().ends_with(reason), "{refused:?}");
            }
        }
        world.hears_nothing();
    });
}
