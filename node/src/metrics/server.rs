//! The listener for Prometheus: one path, one method, a few connections that each end soon.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, stream::FuturesUnordered};
use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{ALLOW, CONTENT_TYPE},
};
use http_body_util::Full;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use prometheus::TEXT_FORMAT;
use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

use super::Sources;

/// Where the page is.
const PATH: &str = "/metrics";

/// Connections at one time; more wait in the backlog.
const CONNECTIONS_MAX: usize = 16;

/// How long a client may take until it has asked.
const HEADERS_WITHIN: Duration = Duration::from_secs(5);

/// How long a connection may take, the whole of it.
const CONNECTION_WITHIN: Duration = Duration::from_secs(30);

/// How large a question may be.
const HEADERS_BYTES_MAX: usize = 16 << 10;

/// How long to wait after a failed accept, which mostly means that there are no descriptors.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// A bound listener.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

/// Metrics cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("metrics cannot be served on {address}")]
pub struct Error {
    address: SocketAddr,
    source: io::Error,
}

impl Server {
    /// Binds an address.
    pub async fn bind(address: SocketAddr) -> Result<Self, Error> {
        let refused = |source| Error { address, source };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        Ok(Self { listener, address })
    }

    /// Where it listens really.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until it is dropped. What goes wrong on one connection concerns no other.
    pub async fn serve(self, sources: Sources) -> Infallible {
        let sources = Arc::new(sources);
        let mut connections = FuturesUnordered::new();
        loop {
            tokio::select! {
                biased;
                Some(()) = connections.next() => {}
                accepted = self.listener.accept(), if connections.len() < CONNECTIONS_MAX => {
                    match accepted {
                        Ok((stream, _)) => connections.push(converse(stream, sources.clone())),
                        Err(error) => {
                            tracing::warn!(%error, "no connection can be accepted for metrics");
                            sleep(ACCEPT_AGAIN_AFTER).await;
                        }
                    }
                }
            }
        }
    }
}

async fn converse(stream: TcpStream, sources: Arc<Sources>) {
    let service = tower::service_fn(move |request: Request<_>| {
        let sources = sources.clone();
        async move { Ok::<_, Infallible>(answer(&request, &sources).await) }
    });
    let mut server = auto::Builder::new(TokioExecutor::new()).http1_only();
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WITHIN)
        .max_buf_size(HEADERS_BYTES_MAX)
        .keep_alive(false);
    let service = TowerToHyperService::new(service);
    let served = server.serve_connection(TokioIo::new(stream), service);
    match timeout(CONNECTION_WITHIN, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection for metrics was dropped"),
        Err(_) => tracing::debug!("a connection for metrics took too long"),
    }
}

async fn answer<T>(request: &Request<T>, sources: &Sources) -> Response<Full<Bytes>> {
    let (status, text) = match (request.uri().path(), request.method()) {
        (PATH, &Method::GET) => (StatusCode::OK, sources.page().await),
        (PATH, _) => (StatusCode::METHOD_NOT_ALLOWED, "only GET is answered\n".to_owned()),
        _ => (StatusCode::NOT_FOUND, format!("metrics are at {PATH}\n")),
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(TEXT_FORMAT));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("GET"));
    }
    response
}
