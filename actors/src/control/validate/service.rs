//! A whole service spec (validation.md §4).

use std::sync::Arc;

use prost::Message;
use protocol::wire::{ServiceSpec, UpdateConfig, service_spec::Mode};

use super::{
    annotations::check_name, duration::check_not_negative, endpoint::check_endpoint,
    task::check_task,
};
use crate::{control::Error, store::TRANSACTION_BYTES_MAX};

/// How large a spec may be, encoded, its endpoint and its log driver counted twice, since services and
/// tasks hold them twice. The transaction of an update holds the spec and the one before it, that of
/// a restart a task and the one before it: what could never be replaced is not taken in. The room that
/// is left is for the rest of two tasks, among it the cluster's log driver where a spec has none
/// (`TASK_DEFAULTS_BYTES_MAX`).
pub const SPEC_BYTES_MAX: usize = TRANSACTION_BYTES_MAX / 2 - 64 * 1024;

/// A service spec that passed every check which needs no look at the cluster.
#[derive(Clone, Debug)]
pub struct ValidService(Arc<ServiceSpec>);

impl ValidService {
    /// The spec.
    pub fn spec(&self) -> &Arc<ServiceSpec> {
        &self.0
    }

    /// The name; a valid spec has one.
    pub fn name(&self) -> &str {
        self.0.annotations.as_ref().map_or("", |annotations| &annotations.name)
    }
}

impl TryFrom<Option<ServiceSpec>> for ValidService {
    type Error = Error;

    /// Runs the checks in the order of validation.md §4, so that of several mistakes clients are
    /// told the same one as ever.
    fn try_from(spec: Option<ServiceSpec>) -> Result<Self, Error> {
        let spec = spec.ok_or_else(Error::incomplete)?;
        check_name(spec.annotations.as_ref().map_or("", |annotations| &annotations.name))?;
        match &spec.task {
            Some(task) => check_task(task)?,
            None => return Err(Error::invalid("TaskSpec: missing runtime")),
        }
        check_mode(&spec)?;
        check_endpoint(spec.endpoint.as_ref())?;
        check_size(&spec)?;
        Ok(Self(Arc::new(spec)))
    }
}

fn check_size(spec: &ServiceSpec) -> Result<(), Error> {
    let endpoint = spec.endpoint.as_ref().map_or(0, Message::encoded_len);
    let log_driver = spec.task.as_ref().and_then(|task| task.log_driver.as_ref());
    let log_driver = log_driver.map_or(0, Message::encoded_len);
    let bytes = spec.encoded_len() + endpoint + log_driver;
    if bytes > SPEC_BYTES_MAX {
        return Err(Error::invalid(format!(
            "the spec is too large: {bytes} bytes, its endpoint and its log driver counted twice, \
             and at most {SPEC_BYTES_MAX} are possible"
        )));
    }
    Ok(())
}

fn check_mode(spec: &ServiceSpec) -> Result<(), Error> {
    let job = match &spec.mode {
        None => return Err(Error::invalid("Unrecognized service mode")),
        Some(Mode::Replicated(mode)) => {
            check_count(mode.replicas, "Number of replicas must be non-negative")?;
            false
        }
        Some(Mode::ReplicatedJob(mode)) => {
            check_count(mode.max_concurrent, "Maximum concurrent jobs must not be negative")?;
            check_count(mode.total_completions, "Total completed jobs must not be negative")?;
            true
        }
        Some(Mode::Global(_)) => false,
        Some(Mode::GlobalJob(_)) => true,
    };
    match &spec.update {
        Some(_) if job => Err(Error::invalid("Jobs may not have an update config")),
        Some(update) => check_update(update),
        None => Ok(()),
    }
}

/// Counts travel unsigned; what a client wrote as a negative number arrives beyond 2⁶³.
fn check_count(count: u64, text: &str) -> Result<(), Error> {
    i64::try_from(count).map(drop).map_err(|_| Error::invalid(text))
}

fn check_update(update: &UpdateConfig) -> Result<(), Error> {
    check_not_negative(update.delay.as_ref(), "TaskSpec: update-delay")?;
    check_not_negative(update.monitor.as_ref(), "TaskSpec: update-monitor")?;
    if !(0.0..=1.0).contains(&update.max_failure_ratio) {
        return Err(Error::invalid(
            "TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1",
        ));
    }
    Ok(())
}
