//! The sample of a throw-away swarm: a service whose tasks are `swarmd` itself, answering over
//! HTTP, each at a port of its own.

use std::{
    convert::Infallible,
    io,
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use clap::Args;
use futures_util::{StreamExt, stream::FuturesUnordered};
use http_body_util::Full;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use protocol::wire::{
    Annotations, ContainerSpec, ReplicatedService, RestartPolicy, ServiceSpec, TaskSpec,
    restart_policy::RestartCondition, service_spec::Mode, task_spec::Runtime,
};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    time::{sleep, timeout},
};

/// The name of the service.
pub(super) const NAME: &str = "sample";

/// The word on the command line that makes `swarmd` a task of the service.
const MODE: &str = "sample-http";

/// Where to look for free ports, and how far one try is from the next.
const FIRST_BASE: u16 = 8080;
const BLOCK: u16 = 100;
const BLOCKS: u16 = 100;

/// So many ports of a block must be free when it is chosen, or as many as there are tasks.
const FREE_PORTS: u16 = 10;

/// How soon a task that ended is replaced, in seconds: whoever kills one wants to see it.
const RESTART_DELAY_S: i64 = 1;

/// Connections at one time; more wait in the backlog.
const CONNECTIONS_MAX: usize = 64;

/// How many connections wait to be accepted.
const CONNECTIONS_WAITING: u32 = 1024;

/// How long a connection may take, the whole of it.
const CONNECTION_WITHIN: Duration = Duration::from_secs(10);

/// How long to wait after a failed accept, which mostly means that there are no descriptors.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Ports for the tasks of one swarm: the base, which nobody serves, and one per slot above it.
/// As long as it lives, no other throw-away swarm takes the same.
#[derive(Debug)]
pub(super) struct Ports {
    base: u16,
    _held: TcpListener,
}

impl Ports {
    /// Takes the first block that is free, for so many tasks and a few more.
    pub(super) async fn reserve(replicas: u64) -> Result<Self> {
        let Some(replicas) = u16::try_from(replicas).ok().filter(|replicas| *replicas < BLOCK)
        else {
            bail!(
                "the sample has a port for each of its tasks, and {} of them: --replicas takes no \
                 more than that",
                BLOCK - 1
            )
        };
        for base in (0..BLOCKS).map(|block| FIRST_BASE + block * BLOCK) {
            if let Ok(held) = TcpListener::bind((Ipv4Addr::LOCALHOST, base)).await
                && are_free(base, replicas.max(FREE_PORTS)).await
            {
                return Ok(Self { base, _held: held });
            }
        }
        bail!("the sample finds no free ports on this machine: go without it by --sample false")
    }

    pub(super) fn base(&self) -> u16 {
        self.base
    }
}

async fn are_free(base: u16, ports: u16) -> bool {
    for port in base + 1..=base + ports {
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.is_err() {
            return false;
        }
    }
    true
}

/// Where a task of the sample answers; none when there is no such port.
pub(super) fn port(base: u16, slot: u64) -> Option<u16> {
    u16::try_from(slot).ok().and_then(|slot| base.checked_add(slot))
}

/// What the service is.
pub(super) fn spec(ports: &Ports, replicas: u64) -> Result<ServiceSpec> {
    let program = std::env::current_exe().context("the own program cannot be found")?;
    let Ok(program) = program.into_os_string().into_string() else {
        bail!("the path of the own program is no UTF-8: go without the sample by --sample false")
    };
    let container = ContainerSpec {
        image: "host".to_owned(),
        command: vec![program, MODE.to_owned()],
        env: vec![
            format!("SAMPLE_PORT_BASE={}", ports.base),
            "SAMPLE_SLOT={{.Task.Slot}}".to_owned(),
            "SAMPLE_HOST={{.Node.Hostname}}".to_owned(),
        ],
        ..ContainerSpec::default()
    };
    Ok(ServiceSpec {
        annotations: Some(Annotations { name: NAME.to_owned(), ..Annotations::default() }),
        task: Some(TaskSpec {
            runtime: Some(Runtime::Container(container)),
            // Said in full, as `swarmctl` does in every update: a default that it adds would
            // replace all tasks.
            restart: Some(RestartPolicy {
                condition: RestartCondition::Any.into(),
                delay: Some(prost_types::Duration { seconds: RESTART_DELAY_S, nanos: 0 }),
                ..RestartPolicy::default()
            }),
            ..TaskSpec::default()
        }),
        mode: Some(Mode::Replicated(ReplicatedService { replicas })),
        ..ServiceSpec::default()
    })
}

/// What a task of the sample is told by its environment.
#[derive(Clone, Debug, Args)]
pub struct Options {
    #[arg(long, env = "SAMPLE_PORT_BASE")]
    port_base: u16,
    #[arg(long, env = "SAMPLE_SLOT")]
    slot: u64,
    #[arg(long, env = "SAMPLE_HOST")]
    host: String,
}

/// Is a task of the sample: answers every request until `shutdown`.
pub async fn serve(options: Options, shutdown: impl Future<Output = ()>) -> Result<()> {
    let Some(port) = port(options.port_base, options.slot) else {
        bail!("there is no port for slot {}", options.slot)
    };
    let listener = listen(port).with_context(|| format!("port {port} cannot be listened on"))?;
    let sample = Arc::new(Sample { options, answers: AtomicU64::new(0) });
    let mut connections = FuturesUnordered::new();
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => return Ok(()),
            Some(()) = connections.next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => {
                match accepted {
                    Ok((stream, _)) => connections.push(sample.clone().converse(stream)),
                    Err(_) => sleep(ACCEPT_AGAIN_AFTER).await,
                }
            }
        }
    }
}

/// Listens on a port beside other tasks: one that replaces a task of a node that nobody hears of
/// finds that task still running.
fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind((Ipv4Addr::LOCALHOST, port).into())?;
    socket.listen(CONNECTIONS_WAITING)
}

struct Sample {
    options: Options,
    answers: AtomicU64,
}

impl Sample {
    /// Serves one connection; what goes wrong on it concerns nobody else.
    async fn converse(self: Arc<Self>, stream: TcpStream) {
        let service = tower::service_fn(move |_request| {
            let answer = Full::<Bytes>::new(self.answer().into());
            async move { Ok::<_, Infallible>(http::Response::new(answer)) }
        });
        let mut server = auto::Builder::new(TokioExecutor::new()).http1_only();
        server.http1().keep_alive(false);
        let service = TowerToHyperService::new(service);
        let served = server.serve_connection(TokioIo::new(stream), service);
        timeout(CONNECTION_WITHIN, served).await.ok();
    }

    fn answer(&self) -> String {
        let answer = self.answers.fetch_add(1, Ordering::Relaxed) + 1;
        let Options { slot, host, .. } = &self.options;
        format!("slot {slot} on {host}: answer {answer}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_has_its_port_or_none() {
        assert_eq!(port(8080, 1), Some(8081));
        assert_eq!(port(u16::MAX, 0), Some(u16::MAX));
        assert_eq!(port(u16::MAX, 1), None);
        assert_eq!(port(8080, u64::MAX), None);
    }

    #[tokio::test]
    async fn two_swarms_share_no_ports() {
        let one = Ports::reserve(2).await.expect("there are free ports");
        let other = Ports::reserve(2).await.expect("there are free ports");
        assert_ne!(one.base(), other.base());
    }

    #[tokio::test]
    async fn every_replica_finds_its_port_free() {
        let taken = {
            let free = Ports::reserve(50).await.expect("there are free ports");
            TcpListener::bind((Ipv4Addr::LOCALHOST, free.base() + 50)).await
        };
        let taken = taken.expect("it was free");
        let port = taken.local_addr().expect("it is bound").port();
        let all = Ports::reserve(50).await.expect("there are free ports");
        assert!(!(all.base() + 1..=all.base() + 50).contains(&port), "{port} is in use");
        Ports::reserve(u64::from(BLOCK) - 1).await.expect("there are free ports");
        for replicas in [u64::from(BLOCK), u64::MAX] {
            let refused = Ports::reserve(replicas).await.expect_err("too many");
            let expected = "the sample has a port for each of its tasks, and 99 of them: \
                            --replicas takes no more than that";
            assert_eq!(refused.to_string(), expected);
        }
    }

    #[test]
    fn the_last_block_has_ports() {
        assert!(port(FIRST_BASE + (BLOCKS - 1) * BLOCK, u64::from(BLOCK) - 1).is_some());
    }
}
