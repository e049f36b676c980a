//! Creates services one after the other, at every manager in turn, and remembers what it was told
//! of each.

use std::{
    collections::BTreeSet,
    error::Error,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use protocol::wire::{
    Annotations, ContainerSpec, CreateServiceRequest, ListServicesRequest, ReplicatedService,
    Service, ServiceSpec, TaskSpec, control_client::ControlClient, service_spec::Mode,
    task_spec::Runtime,
};
use tokio::{runtime::Builder, time::timeout};
use tonic::{Code, Status, transport::Channel};

use crate::{
    daemon::{Daemon, connect, eventually},
    swarm::{self, Swarm},
};

/// How long one call may take: longer than a manager waits for anything, which is a minute for an answer
/// and a few seconds for a leader.
const ANSWERED_WITHIN: Duration = Duration::from_secs(90);

/// The pause after each call, so that there are hundreds of services and not thousands.
const PAUSE: Duration = Duration::from_millis(5);

/// What a write of which nobody knows is answered with.
const UNKNOWN: &str = "it may have been written or not";

/// What the writer was told.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) acknowledged: BTreeSet<String>,
    /// Safe to repeat: these were not made.
    pub(crate) not_written: BTreeSet<String>,
    /// The manager does not know.
    pub(crate) unknown: BTreeSet<String>,
    /// The connection ended before there was an answer.
    pub(crate) unanswered: BTreeSet<String>,
    /// What no write may be answered with.
    wrong: Vec<String>,
}

impl Told {
    fn note(&mut self, name: String, answer: Result<(), Status>) {
        let Err(status) = answer else {
            self.acknowledged.insert(name);
            return;
        };
        let is_unknown = status.code() == Code::Unknown && status.message().contains(UNKNOWN);
        if status.source().is_some() {
            // No manager has said this: it comes from this side of the connection.
            self.unanswered.insert(name);
        } else if is_unknown {
            self.unknown.insert(name);
        } else if status.code() == Code::Unavailable {
            self.not_written.insert(name);
        } else {
            self.wrong.push(format!("{name}: {status:?}"));
        }
    }

    /// Compares what every manager shows, and has in its own store, with what was told.
    #[track_caller]
    pub(crate) fn check_all(&self, swarm: &Swarm) {
        assert!(self.wrong.is_empty(), "{:#?}", self.wrong);
        for manager in swarm.running() {
            let shown = eventually("a manager that shows services", || services(manager));
            let lost: Vec<_> = self.acknowledged.difference(&shown).collect();
            assert!(lost.is_empty(), "acknowledged and lost: {lost:?}\n{}", manager.log());
            let made: Vec<_> = self.not_written.intersection(&shown).collect();
            assert!(made.is_empty(), "said not to be written: {made:?}\n{}", manager.log());
            eventually("a store with all of them", || {
                let count = swarm::services_here(manager);
                if count == shown.len() { Ok(()) } else { Err(format!("{count} are here")) }
            });
        }
    }
}

/// The names of all services, as a manager shows them.
pub(crate) fn services(manager: &Daemon) -> Result<BTreeSet<String>, String> {
    let socket = manager.socket();
    let listed = runtime().block_on(async {
        let request = ListServicesRequest::default();
        ControlClient::new(connect(socket)).list_services(request).await
    });
    let services = listed.map_err(|status| status.to_string())?.into_inner().services;
    let name =
        |service: Service| service.spec.and_then(|spec| spec.annotations).unwrap_or_default().name;
    Ok(services.into_iter().map(name).collect())
}

/// Writes until it is ended.
pub(crate) struct Writer {
    is_over: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
    thread: Option<JoinHandle<Told>>,
}

impl Writer {
    /// Begins to write at these managers; the names of the services start with `prefix`.
    pub(crate) fn start<'a>(prefix: &str, managers: impl IntoIterator<Item = &'a Daemon>) -> Self {
        let sockets: Vec<_> = managers.into_iter().map(Daemon::socket).collect();
        let (is_over, acknowledged) = (Arc::default(), Arc::default());
        let (until, count, prefix) =
            (Arc::clone(&is_over), Arc::clone(&acknowledged), prefix.to_owned());
        let thread =
            thread::spawn(move || runtime().block_on(write(prefix, sockets, until, count)));
        Self { is_over, acknowledged, thread: Some(thread) }
    }

    /// Waits until so many more writes are acknowledged.
    #[track_caller]
    pub(crate) fn await_more(&self, count: usize) {
        let before = self.acknowledged.load(Ordering::Relaxed);
        eventually("writes that are acknowledged", || {
            let more = self.acknowledged.load(Ordering::Relaxed) - before;
            if more >= count { Ok(()) } else { Err(format!("{more} of {count}")) }
        });
    }

    /// Ends it, and returns what it was told.
    pub(crate) fn end(mut self) -> Told {
        self.is_over.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("it is ended once");
        thread.join().expect("it does not fail")
    }
}

impl Drop for Writer {
    /// Ends it also when the test failed.
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

async fn write(
    prefix: String,
    sockets: Vec<PathBuf>,
    is_over: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
) -> Told {
    let channels: Vec<_> = sockets.into_iter().map(connect).collect();
    let mut told = Told::default();
    for number in 0.. {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        let name = format!("{prefix}{number}");
        let channel = channels[number % channels.len()].clone();
        let answer = timeout(ANSWERED_WITHIN, create(channel, &name)).await;
        told.note(name, answer.expect("an answer, whatever it is"));
        acknowledged.store(told.acknowledged.len(), Ordering::Relaxed);
        tokio::time::sleep(PAUSE).await;
    }
    told
}

/// Creates a service without tasks.
pub(crate) async fn create(channel: Channel, name: &str) -> Result<(), Status> {
    let container = ContainerSpec { image: "host".into(), ..ContainerSpec::default() };
    let spec = ServiceSpec {
        annotations: Some(Annotations { name: name.to_owned(), ..Annotations::default() }),
        task: Some(TaskSpec {
            runtime: Some(Runtime::Container(container)),
            ..TaskSpec::default()
        }),
        mode: Some(Mode::Replicated(ReplicatedService { replicas: 0 })),
        ..ServiceSpec::default()
    };
    let request = CreateServiceRequest { spec: Some(spec) };
    ControlClient::new(channel).create_service(request).await.map(drop)
}

fn runtime() -> tokio::runtime::Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}
