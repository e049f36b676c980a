//! The flags that say what tasks may take of a node.

use clap::Args;
use protocol::wire::{ContainerSpec, ResourceRequirements, Resources, TaskSpec};

use crate::{
    error::Error,
    value::{self, List},
};

/// What tasks take of a node.
#[derive(Args, Clone, Default)]
pub(super) struct ResourceFlags {
    /// Memory limit (64m, 1g)
    #[arg(long, allow_hyphen_values = true)]
    memory_limit: Option<String>,
    /// Memory that is reserved
    #[arg(long, allow_hyphen_values = true)]
    memory_reservation: Option<String>,
    /// CPU limit (0.5, 1/2)
    #[arg(long, allow_hyphen_values = true)]
    cpu_limit: Option<String>,
    /// CPUs that are reserved
    #[arg(long, allow_hyphen_values = true)]
    cpu_reservation: Option<String>,
    /// Other resources that are reserved (kind=count,...)
    #[arg(long, allow_hyphen_values = true)]
    generic_resources: Option<String>,
    /// Limits of the processes (name=soft or name=soft:hard)
    #[arg(long, allow_hyphen_values = true)]
    ulimit: Option<Vec<List>>,
    /// How readily the kernel ends the tasks when memory runs out (-1000 to 1000)
    #[arg(long, allow_hyphen_values = true)]
    oom_score_adj: Option<i64>,
}

impl ResourceFlags {
    pub(super) fn apply(&self, task: &mut TaskSpec) -> Result<(), Error> {
        let amounts = [
            (&self.memory_limit, &self.cpu_limit, limits as fn(&mut _) -> &mut Resources),
            (&self.memory_reservation, &self.cpu_reservation, reservations),
        ];
        for (memory, cpus, of) in amounts {
            if let Some(memory) = memory {
                let bytes = value::memory_bytes(memory)?;
                of(task.resources.get_or_insert_default()).memory_bytes = bytes;
            }
            if let Some(cpus) = cpus {
                let nano_cpus = value::nano_cpus(cpus)?;
                of(task.resources.get_or_insert_default()).nano_cpus = nano_cpus;
            }
        }
        if let Some(text) = &self.generic_resources {
            let generic = value::generic_resources(text)?;
            reservations(task.resources.get_or_insert_default()).generic = generic;
        }
        Ok(())
    }

    pub(super) fn apply_to_container(&self, container: &mut ContainerSpec) -> Result<(), Error> {
        if let Some(limits) = List::join(self.ulimit.as_deref()) {
            let limits = limits.iter().map(|limit| value::ulimit(limit)).collect::<Result<_, _>>();
            container.ulimits = limits?;
        }
        if let Some(adjustment) = self.oom_score_adj {
            container.oom_score_adj = adjustment;
        }
        Ok(())
    }
}

fn limits(resources: &mut ResourceRequirements) -> &mut Resources {
    resources.limits.get_or_insert_default()
}

fn reservations(resources: &mut ResourceRequirements) -> &mut Resources {
    resources.reservations.get_or_insert_default()
}
