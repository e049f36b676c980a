//! Waits until a service is what its spec asks for, with bars on a terminal.

mod ends;
mod judgement;
mod patience;
mod picture;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    error::Error as _,
    io::{IsTerminal, Write},
    time::Duration,
};

use protocol::wire::{
    GetNodeRequest, GetServiceRequest, ListServiceStatusesRequest, ListTasksRequest,
    list_tasks_request, node_status::State,
};
use tokio::time::{Instant, sleep};
use tonic::Code;

use self::{
    judgement::Seen,
    patience::{Patience, Step},
};
use crate::{connect::Client, error::Error};

/// How often the manager is asked, at most.
const ASK_EVERY: Duration = Duration::from_millis(250);

/// A wait for one service.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait<'w> {
    pub(crate) id: &'w str,
    /// What the user calls it.
    pub(crate) name: &'w str,
    /// How long it may last.
    pub(crate) limit: Duration,
}

/// Waits until all tasks run and stay up, or until it is clear that they will not.
pub(crate) async fn wait(client: &mut Client, wait: Wait<'_>) -> Result<(), Error> {
    let name = wait.name;
    let mut waits_for = "an answer of a manager".to_owned();
    let outcome = tokio::select! {
        biased;
        _ = tokio::signal::ctrl_c() => return Err(Error::Failed(format!(
            "no longer waiting, and the service goes on: `swarmctl service inspect {name}` shows \
             how far it is"
        ))),
        () = sleep(wait.limit) => Err(Error::Failed(format!(
            "still waiting after {} s (--wait-timeout), and the service goes on: {waits_for}",
            wait.limit.as_secs_f64()
        ))),
        outcome = watch(client, wait.id, &mut waits_for) => outcome,
    };
    match outcome {
        Err(Error::Failed(why)) => {
            Err(Error::Failed(format!("{why}; `swarmctl service explain {name}` tells more")))
        }
        Err(error @ Error::Status(_)) => {
            Err(Error::Failed(format!("no longer waiting for {name}: {error}")))
        }
        outcome => outcome,
    }
}

async fn watch(client: &mut Client, id: &str, waits_for: &mut String) -> Result<(), Error> {
    let start = Instant::now();
    let mut picture = picture::Picture::new(std::io::stderr().is_terminal());
    let mut patience = Patience::default();
    let mut slots = Vec::new();
    loop {
        let asked = Instant::now();
        let step = match look(client, id).await {
            Ok(seen) => {
                slots = judgement::slots(&seen);
                patience.look(&seen, start.elapsed())
            }
            // A connection that is lost is lost for good; a manager that answers may find a leader.
            Err(Error::Status(status))
                if status.code() == Code::Unavailable && status.source().is_none() =>
            {
                patience.silence(status.message(), start.elapsed())
            }
            Err(error) => return Err(error),
        };
        let text = match &step {
            Step::Wait(text) => text,
            Step::Done | Step::Failed(_) => "",
        };
        let drawn = picture.next(&slots, text, start.elapsed());
        // Bars that cannot be drawn are no reason to stop.
        let _ = std::io::stderr().write_all(drawn.as_bytes());
        match step {
            Step::Done => return Ok(()),
            Step::Failed(why) => return Err(Error::Failed(why)),
            Step::Wait(text) => *waits_for = text,
        }
        // With many tasks an answer costs the manager something, which has other things to do.
        sleep(ASK_EVERY.max(asked.elapsed())).await;
    }
}

async fn look(client: &mut Client, id: &str) -> Result<Seen, Error> {
    let request = GetServiceRequest { service_id: id.to_owned(), insert_defaults: false };
    let service = client.control.get_service(request).await?.into_inner().service;
    let request = ListServiceStatusesRequest { services: vec![id.to_owned()] };
    let statuses = client.control.list_service_statuses(request).await?.into_inner().statuses;
    let of_service = list_tasks_request::Filters {
        service_ids: vec![id.to_owned()],
        ..list_tasks_request::Filters::default()
    };
    let newest = list_tasks_request::Filters { up_to_date: true, ..of_service.clone() };
    let request = ListTasksRequest { filters: Some(of_service) };
    let tasks = client.control.list_tasks(request).await?.into_inner().tasks;
    let request = ListTasksRequest { filters: Some(newest) };
    let newest = client.control.list_tasks(request).await?.into_inner().tasks;
    let mut seen = Seen {
        service: service.unwrap_or_default(),
        desired: statuses.first().map_or(0, |status| status.desired_tasks),
        tasks,
        up_to_date: newest.into_iter().map(|task| task.id).collect(),
        lost_nodes: BTreeSet::new(),
    };
    let nodes: BTreeSet<_> = seen.leaving().map(|task| task.node_id.clone()).collect();
    for node_id in nodes {
        if is_lost(client, &node_id).await? {
            seen.lost_nodes.insert(node_id);
        }
    }
    Ok(seen)
}

async fn is_lost(client: &mut Client, node_id: &str) -> Result<bool, Error> {
    let request = GetNodeRequest { node_id: node_id.to_owned() };
    match client.control.get_node(request).await {
        Ok(answer) => {
            let status = answer.into_inner().node.and_then(|node| node.status);
            Ok(status.is_some_and(|status| status.state() == State::Down))
        }
        Err(status) if status.code() == Code::NotFound => Ok(true),
        Err(status) => Err(status.into()),
    }
}
