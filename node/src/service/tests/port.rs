//! The port for other nodes: many calls on one connection, and nodes that have lost their power.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use actors::environment::Clock;
use futures_util::{FutureExt, StreamExt, stream, stream::FuturesUnordered};
use http::Uri;
use protocol::wire::{
    HealthCheckRequest, HealthCheckResponse,
    health_client::HealthClient,
    health_server::{self, HealthServer},
};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex},
    net::TcpStream,
    time::{Instant, timeout},
};
use tokio_rustls::TlsConnector;
use tonic::{Request, Response, Status};

use crate::{
    clock::SystemClock,
    identity::{Identity, stranger_config},
    remote::{RemoteListener, speak},
    service::{KEEP_ALIVE_EVERY, KEEP_ALIVE_WITHIN, for_nodes, serve_joining},
};

/// How HTTP/2 begins: the preface, and settings that say nothing.
const BEGINNING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Counts calls, and never answers.
struct Mute(Arc<AtomicUsize>);

#[tonic::async_trait]
impl health_server::Health for Mute {
    async fn check(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        self.0.fetch_add(1, Ordering::Relaxed);
        pending().await
    }
}

#[tokio::test]
async fn one_connection_carries_the_streams_of_many_agents() {
    const CALLS: usize = 6_000;
    let heard = Arc::new(AtomicUsize::new(0));
    let (own, other) = duplex(1 << 20);
    let incoming = stream::iter([Ok::<_, std::io::Error>(other)]).chain(stream::pending());
    let service = HealthServer::new(Mute(heard.clone()));
    let serving = for_nodes().add_service(service).serve_with_incoming(incoming);
    let called = async {
        let uri = Uri::from_static("http://leader:1");
        let connection = speak("leader:1", uri, own).await.expect("it speaks HTTP/2");
        let calls: FuturesUnordered<_> = (0..CALLS)
            .map(|_| {
                let mut client = HealthClient::new(connection.channel.clone());
                async move { client.check(HealthCheckRequest::default()).await }
            })
            .collect();
        let mut calls = calls;
        let mut looks = tokio::time::interval(Duration::from_millis(20));
        while heard.load(Ordering::Relaxed) < CALLS {
            tokio::select! {
                biased;
                _ = looks.tick() => {}
                answer = calls.next() => panic!("nobody answers: {answer:?}"),
            }
        }
    };
    tokio::select! {
        biased;
        called = timeout(Duration::from_secs(60), called) => called.expect("all are heard"),
        _ = serving => panic!("it serves"),
    }
}

#[tokio::test]
async fn a_node_that_has_lost_its_power_loses_its_place() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let identity = Identity::open(folder.path(), &SystemClock.now()).expect("an identity");
    let tls = identity.credentials().expect("credentials").remote_config();
    let port = RemoteListener::bind(([127, 0, 0, 1], 0).into()).await.expect("a port");
    let address = port.address();
    let tls = tls.expect("a configuration");
    let serving = serve_joining(port, tls, pending().boxed().shared());
    let fallen_silent = async {
        let stream = TcpStream::connect(address).await.expect("it listens");
        let anybody = stranger_config(None).expect("a configuration");
        let name = ServerName::try_from("swarm-manager").expect("a name");
        let stream = TlsConnector::from(anybody).connect(name, stream).await;
        let mut stream = stream.expect("it speaks TLS");
        stream.write_all(BEGINNING).await.expect("written");
        stream.read_u8().await.expect("it speaks HTTP/2");
        tokio::time::pause();
        let since = Instant::now();
        let mut rest = Vec::new();
        // It reads, and says nothing any more.
        stream.read_to_end(&mut rest).await.ok();
        since.elapsed()
    };
    let limit = 2 * (KEEP_ALIVE_EVERY + KEEP_ALIVE_WITHIN);
    tokio::select! {
        biased;
        took = timeout(limit, fallen_silent) => {
            let took = took.expect("it is cut off");
            assert!(took >= KEEP_ALIVE_EVERY, "it is given a moment: {took:?}");
        }
        _ = serving => panic!("it serves"),
    }
}
