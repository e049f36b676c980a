//! The services of a throw-away swarm: made at its beginning, taken down at its end.

use std::time::Duration;

use anyhow::{Result, anyhow};
use protocol::wire::{
    CreateServiceRequest, ListServicesRequest, ListTasksRequest, RemoveServiceRequest, Service,
    ServiceSpec, control_client::ControlClient,
};
use tokio::time::{sleep, timeout};
use tonic::{Code, Response, Status, transport::Channel};

use super::LISTING_BYTES_MAX;

/// How long a node may take until it takes writes, and the tasks until they are gone.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Speaks to the swarm as `swarmctl` would.
pub(super) struct Services {
    control: ControlClient<Channel>,
}

impl Services {
    pub(super) fn new(channel: Channel) -> Self {
        let control = ControlClient::new(channel).max_decoding_message_size(LISTING_BYTES_MAX);
        Self { control }
    }

    /// Creates a service as soon as the node leads.
    pub(super) async fn create(&mut self, spec: ServiceSpec) -> Result<()> {
        let request = CreateServiceRequest { spec: Some(spec) };
        match patiently(async || self.control.create_service(request.clone()).await).await {
            Ok(_) => Ok(()),
            Err(status) if status.code() == Code::Unavailable => {
                Err(anyhow!("the swarm takes no writes: {}", status.message()))
            }
            Err(status) => Err(anyhow!("the sample is refused: {}", status.message())),
        }
    }

    /// Removes every service, and waits until their tasks are gone from this machine.
    pub(super) async fn take_down(&mut self) -> Result<()> {
        let control = &mut self.control;
        let services =
            patiently(async || control.list_services(ListServicesRequest::default()).await).await;
        for Service { id, .. } in services.map_err(refused)?.services {
            let request = RemoveServiceRequest { service_id: id };
            match patiently(async || control.remove_service(request.clone()).await).await {
                // Somebody else may have removed it, or a try whose answer did not come.
                Err(status) if status.code() != Code::NotFound => return Err(refused(status)),
                Ok(_) | Err(_) => {}
            }
        }
        let gone = async {
            loop {
                let tasks =
                    patiently(async || control.list_tasks(ListTasksRequest::default()).await).await;
                if tasks.map_err(refused)?.tasks.is_empty() {
                    return Ok(());
                }
                sleep(LOOK_EVERY).await;
            }
        };
        let late = |_| Err(anyhow!("some tasks did not end within {} seconds", PATIENCE.as_secs()));
        timeout(PATIENCE, gone).await.unwrap_or_else(late)
    }
}

/// Asks until the node takes it, which it does while it leads.
async fn patiently<T>(
    mut ask: impl AsyncFnMut() -> Result<Response<T>, Status>,
) -> Result<T, Status> {
    let mut attempts = PATIENCE.as_millis() / LOOK_EVERY.as_millis();
    loop {
        attempts -= 1;
        match ask().await {
            Err(status) if status.code() == Code::Unavailable && attempts > 0 => {
                sleep(LOOK_EVERY).await;
            }
            answer => return answer.map(Response::into_inner),
        }
    }
}

fn refused(status: Status) -> anyhow::Error {
    anyhow!("the swarm cannot be taken down: {}", status.message())
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        future::ready,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering::Relaxed},
        },
    };

    use bytes::{BufMut, Bytes};
    use http_body_util::{BodyExt, Full};
    use hyper_util::{
        rt::{TokioExecutor, TokioIo},
        server::conn::auto,
        service::TowerToHyperService,
    };
    use prost::Message;
    use protocol::wire::{ListServicesResponse, ListTasksResponse, RemoveServiceResponse, Task};
    use tokio::net::UnixListener;
    use tonic::body::Body;

    use super::*;

    /// A call that is expected, and what it is answered.
    type Call = (&'static str, Result<Vec<u8>, Code>);

    fn services(ids: &[&str]) -> Call {
        let services = ids.iter().map(|&id| Service { id: id.to_owned(), ..Service::default() });
        let answer = ListServicesResponse { services: services.collect() };
        ("ListServices", Ok(answer.encode_to_vec()))
    }

    fn tasks(ids: &[&str]) -> Call {
        let tasks = ids.iter().map(|&id| Task { id: id.to_owned(), ..Task::default() });
        let answer = ListTasksResponse { tasks: tasks.collect() };
        ("ListTasks", Ok(answer.encode_to_vec()))
    }

    fn removed() -> Call {
        ("RemoveService", Ok(RemoveServiceResponse::default().encode_to_vec()))
    }

    /// As gRPC puts it into HTTP.
    fn response(answer: &Result<Vec<u8>, Code>) -> http::Response<Body> {
        match answer {
            Err(code) => Status::new(*code, "no leader").into_http(),
            Ok(message) => {
                let mut frame = vec![0];
                frame.put_u32(u32::try_from(message.len()).expect("small"));
                frame.extend_from_slice(message);
                let ended = http::HeaderMap::from_iter([(
                    http::HeaderName::from_static("grpc-status"),
                    0.into(),
                )]);
                let body = Full::<Bytes>::new(frame.into()).with_trailers(ready(Some(Ok(ended))));
                let mut response = http::Response::new(Body::new(body));
                let grpc = http::HeaderValue::from_static("application/grpc");
                response.headers_mut().insert(http::header::CONTENT_TYPE, grpc);
                response
            }
        }
    }

    /// Takes down a swarm that expects these calls, and the last of them for ever. Returns how
    /// many there were, too.
    async fn take_down(calls: Vec<Call>) -> (Result<()>, usize) {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("swarm.sock");
        let listener = UnixListener::bind(&socket).expect("free");
        let (calls, count) = (Arc::new(calls), Arc::new(AtomicUsize::new(0)));
        let counted = count.clone();
        let swarm = tower::service_fn(move |request: http::Request<_>| {
            let at = counted.fetch_add(1, Relaxed).min(calls.len() - 1);
            let (method, answer) = &calls[at];
            let called = request.uri().path();
            assert!(called.ends_with(method), "{called} instead of {method}");
            let response = response(answer);
            async { Ok::<_, Infallible>(response) }
        });
        let serving = async {
            let (stream, _) = listener.accept().await.expect("a connection");
            let server = auto::Builder::new(TokioExecutor::new());
            let service = TowerToHyperService::new(swarm);
            server.serve_connection(TokioIo::new(stream), service).await.ok();
        };
        let taken_down = async {
            let channel = crate::dev::swarm::connect(vec![socket]).await.expect("somebody listens");
            Services::new(channel).take_down().await
        };
        tokio::select! {
            biased;
            taken_down = taken_down => (taken_down, count.load(Relaxed)),
            () = serving => panic!("the connection was closed"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_swarm_is_taken_down_whatever_is_in_the_way() {
        let is_late = |method| (method, Err(Code::Unavailable));
        let long = "x".repeat(5 << 20);
        for (what, calls) in [
            ("nothing", vec![services(&[]), tasks(&[])]),
            ("a task", vec![services(&["a"]), removed(), tasks(&["t"]), tasks(&[])]),
            (
                "a node that does not lead for a while",
                vec![
                    is_late("ListServices"),
                    services(&["a"]),
                    is_late("RemoveService"),
                    removed(),
                    is_late("ListTasks"),
                    tasks(&[]),
                ],
            ),
            (
                "somebody else who removes one",
                vec![
                    services(&["a", "b"]),
                    ("RemoveService", Err(Code::NotFound)),
                    removed(),
                    tasks(&[]),
                ],
            ),
            ("large lists", vec![services(&[&long]), removed(), tasks(&[&long]), tasks(&[])]),
        ] {
            let expected = calls.len();
            let (taken_down, calls) = take_down(calls).await;
            assert_eq!(taken_down.map_err(|error| error.to_string()), Ok(()), "{what}");
            assert_eq!(calls, expected, "{what}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends() {
        let unavailable = |method| (method, Err(Code::Unavailable));
        for (calls, expected) in [
            (vec![unavailable("ListServices")], "the swarm cannot be taken down: no leader"),
            (
                vec![services(&["a"]), unavailable("RemoveService")],
                "the swarm cannot be taken down: no leader",
            ),
            (
                vec![services(&["a"]), ("RemoveService", Err(Code::Internal))],
                "the swarm cannot be taken down: no leader",
            ),
            (vec![services(&[]), tasks(&["t"])], "some tasks did not end within 30 seconds"),
        ] {
            let (taken_down, _) = take_down(calls).await;
            assert_eq!(taken_down.map_err(|error| error.to_string()), Err(expected.to_owned()));
        }
    }
}
