//! The cluster as its operator sees it: where a run's services are made, watched and removed.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use actors::environment::Clock;
use anyhow::{Context, Result, anyhow, bail};
use protocol::wire::{
    CreateServiceRequest, JoinTokens, ListClustersRequest, ListNodesRequest, ListServicesRequest,
    ListTasksRequest, Node, RemoveNodeRequest, RemoveServiceRequest, ServiceSpec, Task, TaskState,
    WatchActionKind, WatchRequest, control_client::ControlClient, list_services_request,
    list_tasks_request, node_status, object::Object, watch_client::WatchClient,
    watch_request::WatchEntry,
};
use tokio::time::{sleep, timeout};
use tonic::{Code, Status, transport::Channel};

use super::{
    events::{Events, Run},
    record::Event,
};
use crate::{
    clock::SystemClock,
    dev,
    identity::Identity,
    remote::{Name, dial},
};

/// How large a listing may be: as large as the control socket's answers.
const LISTING_BYTES_MAX: usize = 64 << 20;

/// How often something is tried that may go better the next time, and the pause between.
const TRIES: u32 = 50;
const AGAIN_AFTER: Duration = Duration::from_millis(200);

/// How long tasks may take until they are gone, and how often that is looked at.
const GONE_WITHIN: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A way to a manager's operator services.
#[derive(Clone)]
pub(super) struct Cluster {
    control: ControlClient<Channel>,
    watch: WatchClient<Channel>,
}

impl Cluster {
    /// By the first of these control sockets that somebody listens on.
    pub(super) async fn at(sockets: &[PathBuf]) -> Result<Self> {
        let channel = dev::connect(sockets.to_vec()).await;
        let first = sockets.first().map(|socket| socket.display().to_string()).unwrap_or_default();
        let channel = channel.map_err(|_| anyhow!("no manager listens on {first}"))?;
        Ok(Self::over(channel))
    }

    /// By a manager's port for other nodes, with the certificate of a manager.
    pub(super) async fn with(certificates: &Path, address: &str) -> Result<Self> {
        let identity = Identity::existing(certificates, &SystemClock.now())?;
        let identity =
            identity.with_context(|| format!("{} holds no certificate", certificates.display()))?;
        let tls = identity.credentials()?.client_config()?;
        Ok(Self::over(dial(address, Name::Manager, tls).await?.channel))
    }

    fn over(channel: Channel) -> Self {
        let control = ControlClient::new(channel.clone());
        let watch = WatchClient::new(channel);
        Self {
            control: control.max_decoding_message_size(LISTING_BYTES_MAX),
            watch: watch.max_decoding_message_size(LISTING_BYTES_MAX),
        }
    }

    /// What lets nodes in.
    pub(super) async fn tokens(&mut self) -> Result<JoinTokens> {
        let control = &mut self.control;
        let listed =
            patiently(async || control.list_clusters(ListClustersRequest::default()).await);
        let clusters = listed.await.map_err(refused("clusters cannot be listed"))?.clusters;
        let root = clusters.into_iter().find_map(|cluster| cluster.root_ca);
        root.and_then(|root| root.join_tokens).context("the cluster shows no join tokens")
    }

    /// Where its managers are.
    pub(super) async fn managers(&mut self) -> Result<Vec<String>> {
        let nodes = self.nodes().await?;
        let managers = nodes.into_iter().filter_map(|node| node.manager_status);
        let managers: Vec<_> =
            managers.map(|status| status.addr).filter(|it| !it.is_empty()).collect();
        if managers.is_empty() {
            bail!("the cluster shows no manager's address: give it with --manager");
        }
        Ok(managers)
    }

    /// All its nodes.
    pub(super) async fn nodes(&mut self) -> Result<Vec<Node>> {
        let control = &mut self.control;
        let listed =
            patiently(async || control.list_nodes(ListNodesRequest::default()).await).await;
        Ok(listed.map_err(refused("nodes cannot be listed"))?.nodes)
    }

    /// Creates a service.
    pub(super) async fn create(&mut self, spec: ServiceSpec) -> Result<()> {
        let request = CreateServiceRequest { spec: Some(spec) };
        // Once: a second try could not tell the service of the first from somebody else's.
        let created = self.control.create_service(request).await;
        created.map(drop).map_err(refused("the service is refused"))
    }

    /// Tells which tasks of a run come to run, for as long as it is asked to.
    pub(super) async fn follow(mut self, run: Run, events: Events) -> Status {
        let mut tries = 0;
        loop {
            let status = match Box::pin(self.attend(run, &events)).await {
                Ok(()) => Status::unavailable("the watch has ended"),
                Err(status) => status,
            };
            tries += 1;
            if tries == TRIES {
                return status;
            }
            sleep(AGAIN_AFTER).await;
        }
    }

    /// Tells what is, and from then on what changes.
    async fn attend(&mut self, run: Run, events: &Events) -> Result<(), Status> {
        let entry = WatchEntry {
            kind: "task".to_owned(),
            action: WatchActionKind::WatchActionUpdate.into(),
            ..WatchEntry::default()
        };
        let request = WatchRequest { entries: vec![entry], ..WatchRequest::default() };
        let mut changes = self.watch.watch(request).await?.into_inner();
        // From its first message on nothing is missed, so the listing comes after it.
        changes.message().await?;
        for task in self.tasks(run).await? {
            tell(run, events, task).await;
        }
        while let Some(message) = changes.message().await? {
            for event in message.events {
                if let Some(Object::Task(task)) = event.object.and_then(|object| object.object) {
                    tell(run, events, task).await;
                }
            }
        }
        Ok(())
    }

    /// The tasks of a run.
    async fn tasks(&mut self, run: Run) -> Result<Vec<Task>, Status> {
        let name_prefixes = vec![format!("bench-{}-", run.label())];
        let filters = list_tasks_request::Filters { name_prefixes, ..Default::default() };
        let request = ListTasksRequest { filters: Some(filters) };
        Ok(self.control.list_tasks(request).await?.into_inner().tasks)
    }

    /// Removes the services of a run, and waits until their tasks are gone.
    pub(super) async fn clear(&mut self, run: Run) -> Result<()> {
        let name_prefixes = vec![format!("bench-{}-", run.label())];
        let filters = list_services_request::Filters { name_prefixes, ..Default::default() };
        let request = ListServicesRequest { filters: Some(filters) };
        let control = &mut self.control;
        let listed = patiently(async || control.list_services(request.clone()).await).await;
        for service in listed.map_err(refused("services cannot be listed"))?.services {
            let request = RemoveServiceRequest { service_id: service.id };
            let removed = patiently(async || control.remove_service(request.clone()).await).await;
            gone(removed).map_err(refused("a service cannot be removed"))?;
        }
        let gone = async {
            while self.tasks(run).await.map_or(true, |tasks| !tasks.is_empty()) {
                sleep(LOOK_EVERY).await;
            }
        };
        let late = |_| anyhow!("some tasks are not gone within {} seconds", GONE_WITHIN.as_secs());
        timeout(GONE_WITHIN, gone).await.map_err(late)
    }

    /// Removes a node, whatever it does.
    pub(super) async fn remove(mut self, node: String) -> Result<()> {
        let request = RemoveNodeRequest { node_id: node, force: true };
        let control = &mut self.control;
        let removed = patiently(async || control.remove_node(request.clone()).await).await;
        gone(removed).map_err(refused("a node cannot be removed"))
    }
}

/// Whether a node has a session.
pub(super) fn is_ready(node: &Node) -> bool {
    node.status.as_ref().is_some_and(|status| status.state() == node_status::State::Ready)
}

async fn tell(run: Run, events: &Events, task: Task) {
    let state = task.status.as_ref().map_or(TaskState::New, |status| status.state());
    let service = task.service_annotations.and_then(|service| run.service(&service.name));
    if let Some(service) = service.filter(|_| state == TaskState::Running) {
        events.tell(Event::Runs { task: task.id, service, at: run.elapsed() }).await;
    }
}

/// What was removed by somebody else, or by a try whose answer did not come, is gone.
fn gone<T>(removed: Result<T, Status>) -> Result<(), Status> {
    match removed {
        Err(status) if status.code() != Code::NotFound => Err(status),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Asks again while there may be no leader.
async fn patiently<T>(
    mut ask: impl AsyncFnMut() -> Result<tonic::Response<T>, Status>,
) -> Result<T, Status> {
    let mut tries = TRIES;
    loop {
        tries -= 1;
        match ask().await {
            Err(status) if status.code() == Code::Unavailable && tries > 0 => {
                sleep(AGAIN_AFTER).await;
            }
            answer => return answer.map(tonic::Response::into_inner),
        }
    }
}

fn refused(what: &'static str) -> impl Fn(Status) -> anyhow::Error {
    move |status| anyhow!("{what}: {:?}: {}", status.code(), status.message())
}
