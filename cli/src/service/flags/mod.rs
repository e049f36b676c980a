//! The flags of `service create` and `service update`, and what they change in a spec.
//!
//! A flag takes effect only when it is given; lists replace what was there, mounts add to it
//! (cli.md §3.1).

mod changes;
mod mounts;
mod references;
mod resources;
mod rollout;

use clap::{Args, ValueEnum};
use protocol::wire::{
    ContainerSpec, GlobalService, ReplicatedService, ServiceSpec, TaskSpec, service_spec,
    task_spec::Runtime,
};

use self::references::{NetworkFlag, ReferenceFlags, SecretFlag};
pub(super) use self::{changes::Changes, references::References};
use super::change::Manner;
use crate::{error::Error, value::List};

/// How many tasks a service runs, and where.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    Replicated,
    Global,
}

/// `service create`.
#[derive(Args)]
pub(crate) struct Create {
    /// One of replicated, global
    #[arg(long, value_enum, default_value = "replicated")]
    mode: Mode,
    #[command(flatten)]
    changes: Changes,
    #[command(flatten)]
    network: NetworkFlag,
    #[command(flatten)]
    secrets: SecretFlag,
    #[command(flatten)]
    pub(super) manner: Manner,
}

impl Create {
    /// The spec of the new service, and what is still to be looked up for it.
    pub(super) fn spec(self) -> Result<(ServiceSpec, References), Error> {
        if !self.changes.has_name_and_image() {
            return Err(Error::usage("--name and --image are mandatory"));
        }
        let mode = match self.mode {
            Mode::Replicated => service_spec::Mode::Replicated(ReplicatedService { replicas: 1 }),
            Mode::Global => service_spec::Mode::Global(GlobalService {}),
        };
        let task = TaskSpec {
            runtime: Some(Runtime::Container(ContainerSpec::default())),
            ..TaskSpec::default()
        };
        let mut spec = ServiceSpec { task: Some(task), mode: Some(mode), ..ServiceSpec::default() };
        self.changes.apply(&mut spec)?;
        Ok((spec, References::of_new(self.network, &self.secrets)?))
    }
}

/// `service update`.
#[derive(Args)]
pub(crate) struct Update {
    /// Service ID or name
    service: String,
    /// Replace the tasks even if nothing in them changes
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    changes: Changes,
    /// Capabilities that tasks get
    #[arg(long, allow_hyphen_values = true)]
    add_capability: Option<Vec<List>>,
    /// Capabilities that tasks lose
    #[arg(long, allow_hyphen_values = true)]
    rm_capability: Option<Vec<List>>,
    #[command(flatten)]
    network: NetworkFlag,
    #[command(flatten)]
    references: ReferenceFlags,
    #[command(flatten)]
    pub(super) manner: Manner,
}

impl Update {
    /// The service, and what changes in it; wrong values are found before a manager is asked.
    pub(super) fn changes(self) -> Result<(String, Changes, References), Error> {
        let mut changes = self.changes;
        changes.force_update = self.force;
        changes.capabilities_added = List::join(self.add_capability.as_deref()).unwrap_or_default();
        changes.capabilities_dropped =
            List::join(self.rm_capability.as_deref()).unwrap_or_default();
        changes.apply(&mut ServiceSpec {
            mode: Some(service_spec::Mode::Replicated(ReplicatedService::default())),
            ..ServiceSpec::default()
        })?;
        let references = References::of_update(self.network, &self.references)?;
        Ok((self.service, changes, references))
    }
}
