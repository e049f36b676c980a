//! Waits until a service is what its spec asks for, with bars on a terminal.

mod judgement;
mod picture;
#[cfg(test)]
mod tests;

use std::{
    io::{IsTerminal, Write},
    time::Duration,
};

use protocol::wire::{
    GetServiceRequest, ListServiceStatusesRequest, ListTasksRequest, list_tasks_request,
};
use tokio::time::{Instant, sleep};

use self::judgement::{Seen, Verdict, judge};
use crate::{connect::Client, error::Error, service};

/// How often the manager is asked.
const ASK_EVERY: Duration = Duration::from_millis(250);

/// Waits until all tasks of a service run, or until it is clear that they will not.
pub(crate) async fn wait(client: &mut Client, id: &str) -> Result<(), Error> {
    let name = client.service(id).await.map(|service| service::name(&service).to_owned())?;
    tokio::select! {
        biased;
        _ = tokio::signal::ctrl_c() => Err(Error::Failed(format!(
            "no longer waiting, and the service goes on: `swarmctl service inspect {name}` shows \
             how far it is"
        ))),
        outcome = watch(client, id) => match outcome {
            Err(Error::Failed(why)) => Err(Error::Failed(format!(
                "{why}; `swarmctl service explain {name}` tells more"
            ))),
            outcome => outcome,
        },
    }
}

async fn watch(client: &mut Client, id: &str) -> Result<(), Error> {
    let mut picture = picture::Picture::new(std::io::stderr().is_terminal());
    // Since when it has been stuck for one reason.
    let mut stuck: Option<(String, Instant)> = None;
    loop {
        let seen = look(client, id).await?;
        let verdict = judge(&seen);
        let drawn = picture.next(&judgement::slots(&seen));
        // Bars that cannot be drawn are no reason to stop.
        let _ = std::io::stderr().write_all(drawn.as_bytes());
        match verdict {
            Verdict::Converged => return Ok(()),
            Verdict::Hopeless(why) => return Err(Error::Failed(why)),
            Verdict::Progressing => stuck = None,
            Verdict::Stuck { why, patience } => {
                let since = match stuck.take() {
                    Some((_, since)) => since,
                    None => Instant::now(),
                };
                if since.elapsed() >= patience {
                    return Err(Error::Failed(why));
                }
                stuck = Some((why, since));
            }
        }
        sleep(ASK_EVERY).await;
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
    Ok(Seen {
        service: service.unwrap_or_default(),
        desired: statuses.first().map_or(0, |status| status.desired_tasks),
        tasks,
        up_to_date: newest.into_iter().map(|task| task.id).collect(),
    })
}
