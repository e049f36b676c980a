//! What a manager is asked at every look, and what it means when there is no answer.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error as _,
    time::Duration,
};

use protocol::wire::{
    GetServiceRequest, ListNodesRequest, ListServiceStatusesRequest, ListTasksRequest, Node, Task,
    TaskState, list_nodes_request, list_tasks_request, node_status::State,
};
use tokio::time::timeout;
use tonic::{Code, Status};

use super::judgement::Seen;
use crate::{connect::Client, error::Error, task::states};

/// How long a look may take: longer than the largest answers do. A daemon that was stopped holds its
/// connections open.
pub(super) const LOOK_MAX: Duration = Duration::from_secs(10);

/// Looks at one service again and again.
#[derive(Debug)]
pub(super) struct Looks<'w> {
    id: &'w str,
    /// The version of the spec that was seen last.
    version: Option<u64>,
    has_looked: bool,
    /// The connection was lost, and is to be opened again.
    is_cut: bool,
}

impl<'w> Looks<'w> {
    pub(super) fn new(id: &'w str) -> Self {
        Self { id, version: None, has_looked: false, is_cut: false }
    }

    /// Looks once, and returns why there was no answer, if that may pass.
    pub(super) async fn next(
        &mut self,
        client: &mut Client,
    ) -> Result<Result<Seen, String>, Error> {
        match within(LOOK_MAX, Box::pin(self.look(client))).await {
            Ok(seen) => Ok(Ok(seen)),
            Err(error) => {
                let Silence { why, is_cut } = silence(error)?;
                self.is_cut |= is_cut;
                Ok(Err(why))
            }
        }
    }

    async fn look(&mut self, client: &mut Client) -> Result<Seen, Error> {
        if self.is_cut {
            client.reopen().await?;
            self.is_cut = false;
        }
        let id = self.id.to_owned();
        let request = GetServiceRequest { service_id: id.clone(), insert_defaults: false };
        let service = client.control.get_service(request).await?.into_inner().service;
        let service = service.unwrap_or_default();
        let request = ListServiceStatusesRequest { services: vec![id.clone()] };
        let statuses = client.control.list_service_statuses(request).await?.into_inner().statuses;
        let of_service =
            list_tasks_request::Filters { service_ids: vec![id], ..Default::default() };
        let with =
            |desired_states| list_tasks_request::Filters { desired_states, ..of_service.clone() };
        let is_wanted = |state| state <= TaskState::Running;
        let wanted = tasks(client, with(states(is_wanted))).await?;
        let others = tasks(client, with(states(|state| !is_wanted(state)))).await?;
        let version = service.spec_version.map(|version| version.index);
        // What ended stays what it was until the spec changes.
        let is_known = self.has_looked && self.version == version;
        let among = if is_known { with(states(is_wanted)) } else { of_service };
        let up_to_date = list_tasks_request::Filters { up_to_date: true, ..among };
        let up_to_date = tasks(client, up_to_date).await?;
        // Of a task that came to its end between two calls the newer one counts.
        let by_id = wanted.into_iter().chain(others).map(|task| (task.id.clone(), task));
        let mut seen = Seen {
            service,
            desired: statuses.first().map_or(0, |status| status.desired_tasks),
            tasks: by_id.collect::<BTreeMap<_, _>>().into_values().collect(),
            up_to_date: up_to_date.into_iter().map(|task| task.id).collect(),
            lost_nodes: BTreeSet::new(),
        };
        if seen.is_settled() {
            let ids = seen.leaving().map(|task| task.node_id.clone()).collect();
            seen.lost_nodes = lost(client, ids).await?;
        }
        (self.version, self.has_looked) = (version, true);
        Ok(seen)
    }
}

async fn tasks(
    client: &mut Client,
    filters: list_tasks_request::Filters,
) -> Result<Vec<Task>, Error> {
    let request = ListTasksRequest { filters: Some(filters) };
    Ok(client.control.list_tasks(request).await?.into_inner().tasks)
}

/// Of these nodes, those that are down or gone.
async fn lost(client: &mut Client, mut ids: BTreeSet<String>) -> Result<BTreeSet<String>, Error> {
    if ids.is_empty() {
        return Ok(ids);
    }
    let id_prefixes = ids.iter().cloned().collect();
    let filters = Some(list_nodes_request::Filters { id_prefixes, ..Default::default() });
    let found = client.control.list_nodes(ListNodesRequest { filters }).await?.into_inner().nodes;
    let is_down = |node: &Node| node.status.as_ref().is_some_and(|s| s.state() == State::Down);
    for node in found.iter().filter(|node| !is_down(node)) {
        ids.remove(&node.id);
    }
    Ok(ids)
}

pub(super) async fn within<T>(
    limit: Duration,
    look: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    timeout(limit, look).await.unwrap_or_else(|_| {
        let why = format!("no answer within {} s", limit.as_secs());
        Err(Status::deadline_exceeded(why).into())
    })
}

/// No answer, for now.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Silence {
    pub(super) why: String,
    /// The connection is of no use any more.
    pub(super) is_cut: bool,
}

/// What a failed look means; that of which time is no cure stays an error.
pub(super) fn silence(error: Error) -> Result<Silence, Error> {
    match error {
        Error::Connection(why) => Ok(Silence { why, is_cut: true }),
        // A manager's own answer has no source.
        Error::Status(status) if status.source().is_some() => {
            Ok(Silence { why: "the connection was lost".to_owned(), is_cut: true })
        }
        Error::Status(status)
            if matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded) =>
        {
            Ok(Silence { why: status.message().to_owned(), is_cut: false })
        }
        error @ (Error::Status(_) | Error::Usage(_) | Error::Failed(_) | Error::Output(_)) => {
            Err(error)
        }
    }
}
