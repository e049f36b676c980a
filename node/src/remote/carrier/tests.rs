//! Messages on their way: in parts, over real connections, and to members that are gone.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use actix::{Actor, Context, Handler};
use actors::{
    environment::Clock,
    raft::{Delivery, Founder, Report, Transport},
    supervised,
    supervision::{Budget, Census, Tree},
};
use bytes::Bytes;
use proptest::prelude::*;
use protocol::{
    raftpb::{Entry, Message, MessageType, Snapshot},
    wire::{
        Peer, ProcessRaftMessageRequest, ProcessRaftMessageResponse, ResolveAddressRequest,
        ResolveAddressResponse, StreamRaftMessageRequest, StreamRaftMessageResponse, WeightedPeer,
        raft_server,
    },
};
use rustls::ClientConfig;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::LocalSet,
    time::timeout,
};
use tonic::{Request, Response, Status, Streaming, transport::Server};

use super::{
    Carrier, ON_THE_WAY_MAX, Way,
    parts::{Assembly, Unfit, parts},
};
use crate::{
    clock::SystemClock,
    identity::{Identity, stranger_config},
    remote::{Book, Directory, Guests, RemoteListener},
};

fn snapshot(data: Bytes) -> Message {
    let snapshot = Some(Snapshot { data: Some(data), metadata: None });
    let r#type = Some(MessageType::MsgSnap.into());
    Message { r#type, index: Some(7), snapshot, ..Message::default() }
}

fn assembled(all: Vec<Option<Message>>) -> Result<Message, Unfit> {
    let mut assembly = Assembly::default();
    for part in all {
        assembly.add(part)?;
    }
    assembly.finish()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn what_comes_in_parts_is_whole_again(bytes in 0_usize..(10 << 20), fill: u8) {
        let message = snapshot(vec![fill; bytes].into());
        let all: Vec<_> = parts(message.clone()).collect();
        prop_assert_eq!(all.len(), bytes.div_ceil(3 << 20).max(1));
        let largest = all.iter().map(prost::Message::encoded_len).max();
        prop_assert!(largest < Some(4 << 20), "a manager takes 4 MiB at once");
        let all = all.into_iter().map(|part| part.message).collect();
        prop_assert_eq!(assembled(all), Ok(message));
    }
}

#[test]
fn parts_that_do_not_belong_together_are_refused() {
    let part = || Some(snapshot(Bytes::from_static(b"part")));
    let other = Some(Message { index: Some(8), ..snapshot(Bytes::new()) });
    let append =
        || Some(Message { r#type: Some(MessageType::MsgApp.into()), ..Message::default() });
    for (all, expected) in [
        (vec![], Unfit::Empty),
        (vec![None], Unfit::Empty),
        (vec![part(), other], Unfit::Mixed),
        (vec![append(), append()], Unfit::NoSnapshot),
        (vec![part(), append()], Unfit::NoSnapshot),
    ] {
        assert_eq!(assembled(all), Err(expected));
    }
}

/// Who is told what became of messages.
struct Told(mpsc::UnboundedSender<Report>);

impl Actor for Told {
    type Context = Context<Self>;
}

supervised!(Told, mailbox = 16);

impl Handler<Report> for Told {
    type Result = ();

    fn handle(&mut self, report: Report, _: &mut Context<Self>) {
        self.0.send(report).ok();
    }
}

/// A member that takes what is whole, no second part of a snapshot, and says nothing to a
/// heartbeat: these two cut the connection.
struct Member {
    /// Where it is, as it says to whoever asks.
    address: String,
    cut: mpsc::UnboundedSender<()>,
    /// Hears what it has taken.
    heard: mpsc::UnboundedSender<Message>,
}

#[tonic::async_trait]
impl raft_server::Raft for Member {
    async fn process_raft_message(
        &self,
        _: Request<ProcessRaftMessageRequest>,
    ) -> Result<Response<ProcessRaftMessageResponse>, Status> {
        Ok(Response::new(ProcessRaftMessageResponse {}))
    }

    async fn resolve_address(
        &self,
        _: Request<ResolveAddressRequest>,
    ) -> Result<Response<ResolveAddressResponse>, Status> {
        Ok(Response::new(ResolveAddressResponse { addr: self.address.clone() }))
    }

    async fn stream_raft_message(
        &self,
        request: Request<Streaming<StreamRaftMessageRequest>>,
    ) -> Result<Response<StreamRaftMessageResponse>, Status> {
        let mut parts = request.into_inner();
        let first = parts.message().await?.and_then(|part| part.message);
        let cuts = [MessageType::MsgSnap, MessageType::MsgHeartbeat];
        let first = first.unwrap_or_default();
        if cuts.contains(&first.r#type()) {
            self.cut.send(()).ok();
            std::future::pending::<()>().await;
        }
        self.heard.send(first).ok();
        Ok(Response::new(StreamRaftMessageResponse {}))
    }
}

/// Passes so many connections on, one after the other, and cuts each when it is told to. Then it
/// ends as a process does whose port is closed last: one more is taken and dropped, and the rest
/// refused.
async fn relay(
    listener: TcpListener,
    connections: usize,
    to: SocketAddr,
    mut cuts: mpsc::UnboundedReceiver<()>,
) {
    for _ in 0..connections {
        let (mut caller, _) = listener.accept().await.expect("a caller");
        let mut member = TcpStream::connect(to).await.expect("it listens");
        tokio::select! {
            biased;
            _ = cuts.recv() => {}
            _ = copy_bidirectional(&mut caller, &mut member) => {}
        }
    }
    drop(listener.accept().await);
}

/// The way of a manager that remembers nobody.
fn way(folder: &Path, directory: Directory, tls: Arc<ClientConfig>) -> Way {
    let book = Book::open(folder, []).expect("a book");
    Way { directory, book, tls, address: "here:1".to_owned() }
}

/// A carrier to a leader whose connections break, what raft hears of it, and what cuts a connection.
struct Broken {
    carrier: Arc<Carrier>,
    told: mpsc::UnboundedReceiver<Report>,
    cut: mpsc::UnboundedSender<()>,
    /// What the member has taken.
    heard: mpsc::UnboundedReceiver<Message>,
}

/// Lets a test use so many connections that break; the member's machine refuses every other.
async fn broken(connections: usize, test: impl AsyncFnOnce(Broken)) {
    called(Log::Right, connections, test).await;
}

/// What the log of the caller says of the member.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Log {
    Right,
    /// It names another node.
    Foreign,
    /// The member has moved since, and somebody has told where.
    Old,
    /// It does not name the member yet, which has called without a word of where it is.
    Behind,
}

async fn called(log: Log, connections: usize, test: impl AsyncFnOnce(Broken)) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let identity = Identity::open(folder.path(), &SystemClock.now()).expect("an identity");
    let credentials = identity.credentials().expect("credentials");
    let port = RemoteListener::bind(([127, 0, 0, 1], 0).into()).await.expect("a port");
    let (behind, listener) = (port.address(), TcpListener::bind("127.0.0.1:0").await);
    let listener = listener.expect("a port");
    let directory = Directory::default();
    let address = listener.local_addr().expect("an address").to_string();
    // One certificate is enough for a test: who answers is the node that calls.
    let own = identity.node_id().to_string();
    let leader = match log {
        Log::Right => Some(Founder { raft_id: 2, node_id: own, address: address.clone() }),
        Log::Foreign => {
            Some(Founder { raft_id: 2, node_id: "another".to_owned(), address: address.clone() })
        }
        Log::Old => {
            let left = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let left = left.local_addr().expect("an address").to_string();
            Some(Founder { raft_id: 2, node_id: own, address: left })
        }
        Log::Behind => None,
    };
    directory.standing().pretend(1, Some(2), leader.into_iter().collect());
    if log == Log::Behind {
        directory.hear(2, identity.node_id().as_str(), None);
    }
    let (cut, cuts) = mpsc::unbounded_channel();
    let (hear, heard) = mpsc::unbounded_channel();
    let tls = credentials.remote_config().expect("a configuration");
    let incoming = port.incoming(tls, Guests::default());
    let service = raft_server::RaftServer::new(Member {
        address: address.clone(),
        cut: cut.clone(),
        heard: hear,
    });
    let serving = Server::builder().add_service(service).serve_with_incoming(incoming);
    let (tell, told) = mpsc::unbounded_channel();
    let budget = Budget { restarts: 5, within: Duration::from_secs(60) };
    let tree = Tree::root("test", budget, Census::default(), |lost| panic!("{lost}"));
    let raft = tree.child("raft", move |_| Told(tell.clone()));
    let tls = credentials.member_config().expect("a configuration");
    let way = way(folder.path(), directory, tls);
    let peer = Some(Peer { node_id: identity.node_id().to_string(), addr: address });
    way.book.learn(&[WeightedPeer { peer, weight: 1 }]);
    let (carrier, post) = Carrier::new(way);
    let tested = timeout(Duration::from_secs(60), test(Broken { carrier, told, cut, heard }));
    let relayed = async {
        relay(listener, connections, behind, cuts).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        biased;
        tested = tested => tested.expect("it does not wait for ever"),
        () = post.run(raft.recipient()) => panic!("the carrier lives"),
        _ = serving => panic!("the member serves"),
        () = relayed => panic!("nobody listens there any more"),
    }
    tree.stop().await;
}

fn to_member(message: Message) -> Message {
    Message { to: Some(2), ..message }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    LocalSet::new().block_on(&runtime.expect("a runtime"), test);
}

#[test]
fn raft_hears_of_each_snapshot_that_a_broken_connection_has_lost() {
    run(broken(2, async |Broken { carrier, mut told, .. }| {
        // Raft sends another once it has heard of the first.
        for _ in 0..2 {
            carrier.send(to_member(snapshot(vec![7; 8 << 20].into())));
            let lost = Report { to: 2, delivery: Delivery::SnapshotLost };
            while told.recv().await.expect("raft lives") != lost {}
        }
    }));
}

/// And hears it again and again, until another leads: one report may be lost, or come too early.
#[test]
fn raft_hears_that_nobody_listens_where_the_leader_was() {
    let gone = Report { to: 2, delivery: Delivery::Refused };
    let heard = async |told: &mut mpsc::UnboundedReceiver<Report>| {
        for _ in 0..2 {
            while told.recv().await.expect("raft lives") != gone {}
        }
    };
    let of = |kind: MessageType| Message { r#type: Some(kind.into()), ..Message::default() };
    // While nothing is on its way, and while something is: which end of it is heard first is chance.
    run(broken(1, async |Broken { carrier, mut told, cut, heard: mut taken }| {
        carrier.send(to_member(of(MessageType::MsgAppResp)));
        taken.recv().await.expect("the member lives");
        cut.send(()).expect("it is passed on");
        heard(&mut told).await;
    }));
    for _ in 0..20 {
        run(broken(1, async |Broken { carrier, mut told, .. }| {
            carrier.send(to_member(of(MessageType::MsgHeartbeat)));
            heard(&mut told).await;
        }));
    }
}

#[test]
fn nothing_is_said_to_another_node_at_a_members_address() {
    run(called(Log::Foreign, 2, async |Broken { carrier, mut told, mut heard, .. }| {
        carrier.send(to_member(Message::default()));
        let lost = Report { to: 2, delivery: Delivery::Unreachable };
        assert_eq!(told.recv().await, Some(lost));
        assert!(heard.try_recv().is_err());
    }));
}

/// It was made one by the last entry here, of which nobody has said yet that it is committed.
#[test]
fn a_member_that_the_log_does_not_name_yet_is_found_where_managers_are_remembered() {
    run(called(Log::Behind, 3, async |Broken { carrier, mut heard, .. }| {
        carrier.send(to_member(Message::default()));
        assert!(heard.recv().await.is_some());
    }));
}

/// The leader that could have written into the log where it is has gone.
#[test]
fn a_member_that_has_moved_is_found_where_managers_are_remembered() {
    run(called(Log::Old, 3, async |Broken { carrier, mut told, mut heard, .. }| {
        let said = async {
            loop {
                carrier.send(to_member(Message::default()));
                // It is said once more when it was lost.
                told.recv().await.expect("raft lives");
            }
        };
        tokio::select! {
            biased;
            heard = heard.recv() => assert!(heard.is_some()),
            () = said => {}
        }
    }));
}

#[test]
fn what_waits_while_a_call_goes_on_is_said_together() {
    const COUNT: u64 = 200;
    let append = |index| {
        let r#type = Some(MessageType::MsgApp.into());
        let entries = vec![Entry { index: Some(index + 1), ..Entry::default() }];
        Message { r#type, index: Some(index), entries, ..Message::default() }
    };
    run(broken(1, async |Broken { carrier, mut heard, .. }| {
        (0..COUNT).for_each(|index| carrier.send(to_member(append(index))));
        let (mut calls, mut entries) = (0, Vec::new());
        while entries.len() < COUNT as usize {
            let message = heard.recv().await.expect("the member lives");
            assert_eq!(message.index(), entries.len() as u64, "none is left out");
            entries.extend(message.entries);
            calls += 1;
        }
        assert!(entries.iter().map(Entry::index).eq(1..=COUNT));
        assert!(calls < COUNT / 4, "{calls} calls");
    }));
}

#[test]
fn there_is_room_for_a_snapshot_when_there_is_none_for_anything_else() {
    run(async {
        let (tell, mut told) = mpsc::unbounded_channel();
        let budget = Budget { restarts: 5, within: Duration::from_secs(60) };
        let tree = Tree::root("test", budget, Census::default(), |lost| panic!("{lost}"));
        let raft = tree.child("raft", move |_| Told(tell.clone()));
        let folder = tempfile::tempdir().expect("a temporary folder");
        let way = way(folder.path(), Directory::default(), stranger());
        let (carrier, post) = Carrier::new(way);
        for _ in 0..=ON_THE_WAY_MAX {
            carrier.send(to_member(Message::default()));
        }
        carrier.send(to_member(snapshot(Bytes::new())));
        let lost = Report { to: 2, delivery: Delivery::SnapshotLost };
        let heard = async { while told.recv().await.expect("raft lives") != lost {} };
        tokio::select! {
            biased;
            heard = timeout(Duration::from_secs(60), heard) => heard.expect("it was not dropped"),
            () = post.run(raft.recipient()) => panic!("the carrier lives"),
        }
        tree.stop().await;
    });
}

fn stranger() -> Arc<ClientConfig> {
    stranger_config(None).expect("a configuration")
}
