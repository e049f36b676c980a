//! Whole nodes in this process. Certificates are renewed again and again while calls of all kinds are
//! answered, and when the cluster asks for it.

use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
};

use clap::Parser;
use futures_util::{
    FutureExt,
    future::{join_all, try_join_all},
};
use hyper_util::rt::TokioIo;
use protocol::{
    objects,
    wire::{
        Annotations, Certificate, CreateServiceRequest, IssuanceStatus, ListClustersRequest,
        ListNodesRequest, ListServicesRequest, NodeStatus, RootCa, ServiceSpec, TaskSpec,
        control_client::ControlClient, issuance_status::State, service_spec::Mode,
        task_spec::Runtime,
    },
};
use rustls::pki_types::{CertificateDer, ServerName};
use tempfile::TempDir;
use tokio::{
    net::{TcpStream, UnixStream},
    sync::oneshot,
    time::sleep,
};
use tokio_rustls::TlsConnector;
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};

use super::*;
use crate::remote::{Connection, Name, dial};

/// How often each certificate is renewed.
const RENEWALS: usize = 20;

/// How long anything may take on a slow, busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

const PAUSE: Duration = Duration::from_millis(5);

/// A node, and the ways to it.
struct Reached {
    folder: TempDir,
    credentials: Arc<Credentials>,
    renewer: Address<Renewer>,
    address: String,
}

impl Reached {
    fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// A connection to its control socket.
    async fn at_socket(&self) -> Channel {
        let socket = self.socket();
        let connector = tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let endpoint = Endpoint::from_static("http://swarm-manager");
        endpoint.connect_with_connector(connector).await.expect("it listens")
    }

    /// A connection to its port, as the manager that `credentials` show.
    async fn at_port(&self, credentials: &Arc<Credentials>) -> Connection {
        let tls = credentials.client_config().expect("credentials");
        dial(&self.address, Name::Manager, tls).await.expect("it listens")
    }

    /// The certificate that a new connection is shown.
    async fn shown(&self) -> CertificateDer<'static> {
        let stream = TcpStream::connect(&self.address).await.expect("it listens");
        let tls = TlsConnector::from(self.credentials.client_config().expect("credentials"));
        let name = ServerName::try_from("swarm-manager").expect("a name");
        let stream = tls.connect(name, stream).await.expect("it is who it should be");
        let shown = stream.get_ref().1.peer_certificates().expect("a certificate");
        shown.first().expect("a certificate").clone().into_owned()
    }

    /// Renews the certificate once.
    async fn renew(&self) {
        let before = self.shown().await;
        self.renewer.send(Renew).await.expect("the renewer lives");
        let renewed = async {
            while self.shown().await == before {
                sleep(PAUSE).await;
            }
        };
        timeout(PATIENCE, renewed).await.expect("a new certificate is shown");
    }
}

/// Starts a node that joins with these words on its command line.
async fn start(words: &[&str]) -> (Daemon, Reached) {
    let folder = tempfile::tempdir().expect("a folder");
    let (state, socket) = (folder.path().join("state"), folder.path().join("socket"));
    let own = ["swarmd", "--listen-remote-api", "127.0.0.1:0", "--state-dir"];
    let mut command: Vec<_> = own.iter().map(std::ffi::OsString::from).collect();
    command.extend([state.clone().into(), "--listen-control-api".into(), socket.into()]);
    command.extend(words.iter().map(std::ffi::OsString::from));
    let configuration = Configuration::try_parse_from(command).expect("a configuration");
    let daemon = Box::pin(Daemon::start(&configuration)).await.expect("it starts");
    let told = fs::read(state.join("addresses.json")).expect("where it listens");
    let told: serde_json::Value = serde_json::from_slice(&told).expect("JSON");
    let reached = Reached {
        folder,
        credentials: daemon.parts.credentials.clone(),
        renewer: daemon.renewer.clone(),
        address: told["remote_api"].as_str().expect("a manager").to_owned(),
    };
    (daemon, reached)
}

/// Asks until there is an answer.
async fn insist<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let answered = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, answered).await.expect("an answer")
}

async fn manager_token(channel: Channel) -> String {
    insist(async || {
        let mut control = ControlClient::new(channel.clone());
        let listed = control.list_clusters(ListClustersRequest::default()).await.ok()?;
        let cluster = listed.into_inner().clusters.pop()?;
        Some(cluster.root_ca?.join_tokens?.manager)
    })
    .await
}

/// The raft id of the manager that leads, when so many are ready.
async fn leader(channel: Channel, count: usize) -> u64 {
    insist(async || {
        let mut control = ControlClient::new(channel.clone());
        let listed = control.list_nodes(ListNodesRequest::default()).await.ok()?.into_inner();
        let is_ready =
            |status: &NodeStatus| status.state() == protocol::wire::node_status::State::Ready;
        let ready = listed.nodes.iter().filter(|node| node.status.as_ref().is_some_and(is_ready));
        let mut managers = listed.nodes.iter().filter_map(|node| node.manager_status.as_ref());
        let leader = managers.find(|manager| manager.leader)?.raft_id;
        (ready.count() == count).then_some(leader)
    })
    .await
}

async fn write(channel: Channel, name: String) -> Result<(), Status> {
    let container = protocol::wire::ContainerSpec { image: "host".into(), ..Default::default() };
    let spec = ServiceSpec {
        annotations: Some(Annotations { name, ..Default::default() }),
        task: Some(TaskSpec { runtime: Some(Runtime::Container(container)), ..Default::default() }),
        mode: Some(Mode::Replicated(Default::default())),
        ..Default::default()
    };
    let request = CreateServiceRequest { spec: Some(spec) };
    ControlClient::new(channel).create_service(request).await.map(drop)
}

async fn read(channel: Channel) -> Result<(), Status> {
    ControlClient::new(channel).list_services(ListServicesRequest::default()).await.map(drop)
}

/// Calls again and again until it is over; returns how often.
async fn load(
    is_over: &AtomicBool,
    mut call: impl AsyncFnMut(usize) -> Result<(), Status>,
) -> usize {
    let mut calls = 0;
    while !is_over.load(Ordering::Relaxed) {
        if let Err(status) = call(calls).await {
            panic!("call {calls} failed: {status}");
        }
        calls += 1;
        sleep(PAUSE).await;
    }
    calls
}

/// Renews all certificates while everything is called over connections that stay open.
async fn renew_under_load(nodes: &[Reached]) {
    let leads = leader(nodes[0].at_socket().await, nodes.len()).await;
    let sockets = join_all(nodes.iter().map(Reached::at_socket)).await;
    // Each port is called as another manager, whose certificate changes, too.
    let ports = nodes.iter().zip(nodes.iter().cycle().skip(1));
    let ports = join_all(ports.map(|(node, caller)| node.at_port(&caller.credentials))).await;
    let is_over = AtomicBool::new(false);
    let writes = join_all(sockets.iter().enumerate().map(|(number, channel)| {
        load(&is_over, async move |call| write(channel.clone(), format!("s{number}-{call}")).await)
    }));
    let reads = join_all(
        ports.iter().map(|port| load(&is_over, async move |_| read(port.channel.clone()).await)),
    );
    let renewals = async {
        let each = nodes.iter().map(async |node| {
            for _ in 0..RENEWALS {
                node.renew().await;
            }
        });
        join_all(each).await;
        is_over.store(true, Ordering::Relaxed);
    };
    let ((), writes, reads) = tokio::join!(renewals, writes, reads);
    for calls in writes.iter().chain(&reads) {
        assert!(*calls > RENEWALS, "{writes:?} {reads:?}");
    }
    for port in ports {
        let ended = port.ended.now_or_never();
        assert!(ended.is_none(), "a connection that was open was dropped");
    }
    let after = leader(nodes[0].at_socket().await, nodes.len()).await;
    assert_eq!(after, leads, "the leader was heard all the time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renewals_under_load_drop_nothing() {
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = stopped.map(drop).boxed().shared();
    let (founder, first) = start(&[]).await;
    let running = founder.run(stopped.clone());
    let others = async {
        let token = manager_token(first.at_socket().await).await;
        let words = ["--join-addr", &first.address, "--join-token", &token];
        let (second, third) = (start(&words).await, start(&words).await);
        let (daemons, mut nodes): (Vec<_>, Vec<_>) = [second, third].into_iter().unzip();
        let running = try_join_all(daemons.into_iter().map(|daemon| daemon.run(stopped.clone())));
        let used = async {
            nodes.insert(0, first);
            renew_under_load(&nodes).await;
            stop.send(()).expect("they run");
            nodes
        };
        tokio::join!(running, used)
    };
    let (founder, (others, _nodes)) = tokio::join!(Box::pin(running), Box::pin(others));
    founder.expect("it runs to the end");
    others.expect("they run to the end");
}

/// As during a rotation of the root: the node is to have another certificate, and two roots.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_does_what_sessions_say_of_its_certificate_and_of_the_roots() {
    let (daemon, node) = start(&[]).await;
    let manager = daemon.manager.as_ref().expect("it founds a cluster");
    let (store, id) = (manager.store.clone(), daemon.parts.sources.node_id.clone());
    let (stop, stopped) = oneshot::channel::<()>();
    let running = daemon.run(stopped.map(drop));
    let used = async {
        leader(node.at_socket().await, 1).await;
        let first = node.shown().await;
        let rotated = store.transact(move |head| {
            let known = head.node(&id).expect("it is ready").as_ref().clone();
            let state = State::Rotate.into();
            let status = Some(IssuanceStatus { state, ..IssuanceStatus::default() });
            let certificate = Certificate { status, ..(*known.certificate).clone() }.into();
            head.update(objects::Node { certificate, ..known })
        });
        rotated.await.expect("it leads");
        insist(async || (node.shown().await != first).then_some(())).await;
        let second = node.shown().await;
        // As long as a renewal that somebody wants waits, and more.
        sleep(Duration::from_secs(2)).await;
        assert_eq!(node.shown().await, second, "one is enough");
        let folder = tempfile::tempdir().expect("a folder");
        let other = Identity::open(folder.path(), &SystemClock.now()).expect("another cluster");
        let roots = node.folder.path().join("state/certificates/swarm-root-ca.crt");
        let bundle = [fs::read(&roots).expect("a root"), other.root_pem.into()].concat();
        let ca_cert = bundle.clone().into();
        let named = store.transact(move |head| {
            let known = head.default_cluster().expect("it leads").as_ref().clone();
            let root_ca = RootCa { ca_cert, ..(*known.root_ca).clone() }.into();
            head.update(objects::Cluster { root_ca, ..known })
        });
        named.await.expect("it leads");
        insist(async || (fs::read(&roots).ok()? == bundle).then_some(())).await;
        stop.send(()).expect("it runs");
    };
    let (ran, ()) = tokio::join!(Box::pin(running), Box::pin(used));
    ran.expect("it runs to the end");
}
