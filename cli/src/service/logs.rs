//! `service logs`: what the tasks of services write, as it comes (cli.md §3.3).

use std::{
    collections::BTreeMap,
    io::{ErrorKind, Write},
};

use protocol::wire::{
    GetTaskRequest, LogMessage, LogSelector, LogStream, LogSubscriptionOptions,
    SubscribeLogsRequest,
};

use crate::{connect::Client, error::Error, resolve::Names};

/// Copies the logs of services to the two outputs until they end; with `follow` they do not.
pub(super) async fn print(
    client: &mut Client,
    services: &[String],
    follow: bool,
) -> Result<(), Error> {
    let mut service_ids = Vec::new();
    for service in services {
        service_ids.push(client.service(service).await?.id);
    }
    let request = SubscribeLogsRequest {
        selector: Some(LogSelector { service_ids, ..LogSelector::default() }),
        options: Some(LogSubscriptionOptions { follow, ..LogSubscriptionOptions::default() }),
    };
    let subscription = client.logs.subscribe_logs(request).await;
    let mut stream =
        subscription.map_err(|status| failed("failed to subscribe to logs", status))?;
    let mut origins = Origins::default();
    loop {
        let next = stream.get_mut().message().await;
        let next = next.map_err(|status| failed("failed receiving stream message", status))?;
        let Some(messages) = next else { return Ok(()) };
        for message in messages.messages {
            let origin = origins.name(client, &message).await;
            if !write(&origin, &message)? {
                return Ok(());
            }
        }
    }
}

fn failed(what: &str, status: tonic::Status) -> Error {
    Error::Failed(format!("{what}: {}", Error::of_call("the logs of services", status)))
}

/// Writes one message as it is. Returns whether anybody reads on.
fn write(origin: &str, message: &LogMessage) -> Result<bool, Error> {
    let line = [origin.as_bytes(), &message.data].concat();
    let written = match message.stream() {
        LogStream::Stderr => std::io::stderr().lock().write_all(&line),
        LogStream::Stdout | LogStream::Unknown => {
            let mut output = std::io::stdout().lock();
            output.write_all(&line).and_then(|()| output.flush())
        }
    };
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        outcome => Ok(outcome.map(|()| true)?),
    }
}

/// Where messages come from; each task is asked for once.
#[derive(Default)]
struct Origins {
    names: Names,
    slots: BTreeMap<String, u64>,
}

impl Origins {
    async fn name(&mut self, client: &mut Client, message: &LogMessage) -> String {
        let context = message.context.clone().unwrap_or_default();
        let service = self.names.service(client, &context.service_id).await;
        let node = self.names.node(client, &context.node_id).await;
        let slot = match self.slots.get(&context.task_id) {
            Some(slot) => *slot,
            None => {
                let request = GetTaskRequest { task_id: context.task_id.clone() };
                let answer = client.control.get_task(request).await.ok();
                let slot = answer.and_then(|answer| Some(answer.into_inner().task?.slot));
                *self.slots.entry(context.task_id).or_insert(slot.unwrap_or_default())
            }
        };
        format!("{service}.{slot}@{node}❯ ")
    }
}
