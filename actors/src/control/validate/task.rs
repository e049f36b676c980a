//! The task template of a service (validation.md §4, rows 2 to 15).

use protocol::{
    constraint::Constraint,
    wire::{self, task_spec::Runtime},
};

use super::{
    container::{check_configs, check_container, check_secrets},
    duration::check_not_negative,
    template::check_templates,
};
use crate::control::Error;

const NANO_CPUS_MIN: i64 = 1_000_000;
const MEMORY_BYTES_MIN: i64 = 4 << 20;
const KIND_BYTES_MIN: usize = 3;

/// Checks everything about a task template that needs no look at the cluster.
pub(super) fn check_task(task: &wire::TaskSpec) -> Result<(), Error> {
    if let Some(resources) = &task.resources {
        check_resources(resources.limits.as_ref())?;
        check_resources(resources.reservations.as_ref())?;
    }
    if let Some(restart) = &task.restart {
        check_not_negative(restart.delay.as_ref(), "TaskSpec: restart-delay")?;
        check_not_negative(restart.window.as_ref(), "TaskSpec: restart-window")?;
    }
    let constraints = task.placement.as_ref().map_or(&[][..], |placement| &placement.constraints);
    Constraint::parse_all(constraints).map_err(|error| Error::Unknown(error.to_string()))?;
    match &task.runtime {
        None => Err(Error::invalid("TaskSpec: missing runtime")),
        Some(Runtime::Attachment(_)) => Err(Error::Unimplemented(
            "RuntimeSpec: unimplemented runtime in service spec".to_owned(),
        )),
        Some(Runtime::Generic(generic)) => check_generic(generic),
        Some(Runtime::Container(container)) => {
            check_secrets(&container.secrets)?;
            check_configs(container)?;
            let expanded = check_templates(container)?;
            check_container(&expanded)
        }
    }
}

fn check_resources(resources: Option<&wire::Resources>) -> Result<(), Error> {
    let Some(resources) = resources else { return Ok(()) };
    if resources.nano_cpus != 0 && resources.nano_cpus < NANO_CPUS_MIN {
        let cpus = shortest(resources.nano_cpus);
        return Err(Error::invalid(format!("invalid cpu value {cpus}: Must be at least 0.001")));
    }
    if resources.memory_bytes != 0 && resources.memory_bytes < MEMORY_BYTES_MIN {
        let bytes = resources.memory_bytes;
        return Err(Error::invalid(format!("invalid memory value {bytes}: Must be at least 4MiB")));
    }
    Ok(())
}

/// Writes nano CPUs as CPUs with as few digits as identify the number, and an exponent of two
/// digits below 0.0001 and from a million up.
fn shortest(nano_cpus: i64) -> String {
    let cpus = nano_cpus as f64 / 1e9;
    if (1e-4..1e6).contains(&cpus.abs()) {
        return cpus.to_string();
    }
    let text = format!("{cpus:e}");
    match text.split_once("e-") {
        Some((digits, exponent)) => format!("{digits}e-{exponent:0>2}"),
        None => text.replace('e', "e+0"),
    }
}

fn check_generic(generic: &wire::GenericRuntimeSpec) -> Result<(), Error> {
    let refuse = |text: String| Err(Error::invalid(format!("Generic runtime{text}")));
    let kind = &generic.kind;
    if kind.len() < KIND_BYTES_MIN {
        return refuse(format!(": Invalid name \"{kind}\""));
    }
    if ["container", "attachment"].contains(&kind.to_ascii_lowercase().as_str()) {
        return refuse(format!(": \"{kind}\" is a reserved name"));
    }
    match &generic.payload {
        None => refuse(" is missing payload".to_owned()),
        Some(payload) if payload.type_url.is_empty() => {
            refuse(" is missing payload type".to_owned())
        }
        Some(payload) if payload.value.is_empty() => refuse(" has an empty payload".to_owned()),
        Some(_) => Ok(()),
    }
}
