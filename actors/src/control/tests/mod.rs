//! Every check with its text and its code, every change, and what lists return.

mod cluster;
mod decoders;
mod extension;
mod foresight;
mod image;
mod list;
mod node;
mod references;
mod rows;
mod service;
mod size;
mod spec;
mod status;

use prost_types::Timestamp;
use protocol::wire::{
    Annotations, ContainerSpec, ReplicatedService, ServiceSpec, TaskSpec, service_spec::Mode,
    task_spec::Runtime,
};

use super::*;
use crate::store::{Transaction, View};

const NOW: Timestamp = Timestamp { seconds: 1_000_000, nanos: 0 };

fn named(name: &str) -> Annotations {
    Annotations { name: name.to_owned(), ..Annotations::default() }
}

/// A spec without a fault, changed a little.
fn spec(change: impl FnOnce(&mut ServiceSpec)) -> ServiceSpec {
    let container = ContainerSpec { image: "host".to_owned(), ..ContainerSpec::default() };
    let runtime = Some(Runtime::Container(container));
    let mut spec = ServiceSpec {
        annotations: Some(named("web")),
        task: Some(TaskSpec { runtime, ..TaskSpec::default() }),
        mode: Some(Mode::Replicated(ReplicatedService { replicas: 1 })),
        ..ServiceSpec::default()
    };
    change(&mut spec);
    spec
}

fn task(change: impl FnOnce(&mut TaskSpec)) -> ServiceSpec {
    spec(|spec| change(spec.task.as_mut().unwrap()))
}

fn container(change: impl FnOnce(&mut ContainerSpec)) -> ServiceSpec {
    task(|task| match task.runtime.as_mut().unwrap() {
        Runtime::Container(container) => change(container),
        Runtime::Attachment(_) | Runtime::Generic(_) => unreachable!("it was made above"),
    })
}

/// Writes to a view and gives the writes the next place in the log.
fn write<T, E>(
    view: &View,
    change: impl FnOnce(&mut Transaction) -> Result<T, E>,
) -> Result<View, E> {
    let mut transaction = Transaction::begin(view);
    change(&mut transaction)?;
    Ok(transaction.seal(view.index() + 1, NOW).view)
}

/// The code of a refusal, as the tables of validation.md shorten it, and its text.
fn refusal(error: &Error) -> String {
    let code = match error {
        Error::InvalidArgument(_) => "IA",
        Error::NotFound(_) => "NF",
        Error::AlreadyExists(_) => "AE",
        Error::FailedPrecondition(_) => "FP",
        Error::Unimplemented(_) => "UI",
        Error::Internal(_) => "IN",
        Error::Unknown(_) | Error::Store(_) => "UK",
    };
    format!("{code}: {error}")
}
