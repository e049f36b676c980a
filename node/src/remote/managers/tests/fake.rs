//! A manager that says what a test tells it to, on a thread of its own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use arc_swap::ArcSwap;
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use protocol::wire::{
    self, AssignmentsMessage, AssignmentsRequest, HeartbeatRequest, HeartbeatResponse,
    SessionMessage, SessionRequest, TasksMessage, TasksRequest, UpdateTaskStatusRequest,
    UpdateTaskStatusResponse, UpdateVolumeStatusRequest, UpdateVolumeStatusResponse,
    assignment::Item, assignments_message::Type, dispatcher_server,
};
use tokio::sync::oneshot;
use tonic::{Request, Response, Status, transport::Server};

use crate::{
    identity::Credentials,
    remote::{Guests, RemoteListener},
};

/// A false manager. It stops when it is dropped.
pub(super) struct Fake {
    /// Where it is.
    pub(super) address: String,
    state: Arc<State>,
    end: ArcSwap<Option<oneshot::Sender<()>>>,
}

#[derive(Default)]
struct State {
    managers: ArcSwap<Vec<wire::WeightedPeer>>,
    sessions: ArcSwap<Vec<String>>,
    heartbeats: AtomicUsize,
    floods: AtomicBool,
    flooded: AtomicUsize,
    knows_lists_only: AtomicBool,
}

impl Fake {
    pub(super) fn start(credentials: &Arc<Credentials>) -> Self {
        let state = Arc::<State>::default();
        let (stop, stopped) = oneshot::channel::<()>();
        let (give, given) = std::sync::mpsc::channel();
        let (tls, service) = (credentials.remote_config().expect("a configuration"), state.clone());
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let port = RemoteListener::bind(([127, 0, 0, 1], 0).into()).await.expect("a port");
                give.send(port.address().to_string()).expect("somebody waits");
                let service = dispatcher_server::DispatcherServer::new(Service(service));
                let incoming = port.incoming(tls, Guests::default());
                let serving = Server::builder().add_service(service).serve_with_incoming(incoming);
                // What is dropped here closes every connection at once.
                tokio::select! {
                    biased;
                    _ = stopped => {}
                    _ = serving => {}
                }
            });
        });
        let address = given.recv().expect("it listens");
        Self { address, state, end: ArcSwap::from_pointee(Some(stop)) }
    }

    /// Says that these are the managers.
    pub(super) fn names(&self, managers: &[(&str, &Self)]) {
        let managers = managers.iter().map(|(id, fake)| wire::WeightedPeer {
            peer: Some(wire::Peer { node_id: (*id).to_owned(), addr: fake.address.clone() }),
            weight: 10,
        });
        self.state.managers.store(Arc::new(managers.collect()));
    }

    /// Sends assignments without end.
    pub(super) fn floods(&self, floods: bool) {
        self.state.floods.store(floods, Ordering::Relaxed);
    }

    /// Knows no assignments, as managers did once: first a list of two tasks, then of one.
    pub(super) fn knows_lists_only(&self) {
        self.state.knows_lists_only.store(true, Ordering::Relaxed);
    }

    /// Goes away with every connection.
    pub(super) fn stop(&self) {
        self.end.store(Arc::new(None));
    }

    /// The ids under which sessions were asked for.
    pub(super) fn sessions(&self) -> Vec<String> {
        self.state.sessions.load().to_vec()
    }

    pub(super) fn heartbeats(&self) -> usize {
        self.state.heartbeats.load(Ordering::Relaxed)
    }

    pub(super) fn flooded(&self) -> usize {
        self.state.flooded.load(Ordering::Relaxed)
    }
}

struct Service(Arc<State>);

type Stream<T> = BoxStream<'static, Result<T, Status>>;

#[tonic::async_trait]
impl dispatcher_server::Dispatcher for Service {
    type SessionStream = Stream<SessionMessage>;
    type AssignmentsStream = Stream<AssignmentsMessage>;
    type TasksStream = Stream<TasksMessage>;

    async fn session(
        &self,
        request: Request<SessionRequest>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let asked = request.into_inner().session_id;
        self.0.sessions.rcu(|sessions| {
            let mut sessions = sessions.to_vec();
            sessions.push(asked.clone());
            sessions
        });
        let status = wire::IssuanceStatus {
            state: wire::issuance_status::State::Rotate.into(),
            ..Default::default()
        };
        let certificate = wire::Certificate { status: Some(status), ..Default::default() };
        let node = wire::Node {
            role: wire::NodeRole::Manager.into(),
            certificate: Some(certificate),
            ..Default::default()
        };
        let message = SessionMessage {
            session_id: "session".to_owned(),
            node: Some(node),
            managers: self.0.managers.load().to_vec(),
            root_ca: "the root".into(),
            ..Default::default()
        };
        let first = stream::once(async { Ok(message) });
        Ok(Response::new(first.chain(stream::pending()).boxed()))
    }

    async fn heartbeat(
        &self,
        request: Request<HeartbeatRequest>,
    ) -> Result<Response<HeartbeatResponse>, Status> {
        assert_eq!(request.into_inner().session_id, "session");
        self.0.heartbeats.fetch_add(1, Ordering::Relaxed);
        let period = Some(prost_types::Duration { seconds: 0, nanos: 100_000_000 });
        Ok(Response::new(HeartbeatResponse { period }))
    }

    async fn update_task_status(
        &self,
        request: Request<UpdateTaskStatusRequest>,
    ) -> Result<Response<UpdateTaskStatusResponse>, Status> {
        match request.into_inner().session_id.as_str() {
            "unknown" => Err(Status::not_found("nobody knows")),
            "session" => Ok(Response::new(UpdateTaskStatusResponse {})),
            _ => Err(Status::invalid_argument("session invalid")),
        }
    }

    async fn update_volume_status(
        &self,
        _: Request<UpdateVolumeStatusRequest>,
    ) -> Result<Response<UpdateVolumeStatusResponse>, Status> {
        Err(Status::unimplemented("no volumes"))
    }

    async fn assignments(
        &self,
        _: Request<AssignmentsRequest>,
    ) -> Result<Response<Self::AssignmentsStream>, Status> {
        if self.0.knows_lists_only.load(Ordering::Relaxed) {
            return Err(Status::unimplemented("unknown method Assignments"));
        }
        let complete = AssignmentsMessage {
            r#type: Type::Complete.into(),
            results_in: "same".to_owned(),
            ..Default::default()
        };
        let first = stream::once(async { Ok(complete) });
        if !self.0.floods.load(Ordering::Relaxed) {
            return Ok(Response::new(first.chain(stream::pending()).boxed()));
        }
        let spec = wire::SecretSpec { data: vec![7; 1 << 20].into(), ..Default::default() };
        let secret = wire::Secret { spec: Some(spec), ..Default::default() };
        let assignment = wire::Assignment { item: Some(Item::Secret(secret)) };
        let change = wire::AssignmentChange { assignment: Some(assignment), action: 0 };
        let message = AssignmentsMessage {
            r#type: Type::Incremental.into(),
            applies_to: "same".to_owned(),
            results_in: "same".to_owned(),
            changes: vec![change],
        };
        let state = self.0.clone();
        let flood = stream::repeat_with(move || {
            state.flooded.fetch_add(1, Ordering::Relaxed);
            Ok(message.clone())
        });
        Ok(Response::new(first.chain(flood).boxed()))
    }

    async fn tasks(
        &self,
        request: Request<TasksRequest>,
    ) -> Result<Response<Self::TasksStream>, Status> {
        assert_eq!(request.into_inner().session_id, "session");
        let task = |id: &&str| wire::Task { id: (*id).to_owned(), ..Default::default() };
        let lists = [&["a", "b"][..], &["b"]]
            .map(|ids| Ok(TasksMessage { tasks: ids.iter().map(task).collect() }));
        Ok(Response::new(stream::iter(lists).chain(stream::pending()).boxed()))
    }
}
