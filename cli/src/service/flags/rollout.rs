//! The flags that say how the tasks of a service are replaced, and how that is taken back.

use clap::Args;
use protocol::wire::{
    UpdateConfig,
    update_config::{FailureAction, UpdateOrder},
};

use crate::{
    error::Error,
    value::{self, Invalid},
};

/// How tasks are replaced.
#[derive(Args, Clone, Default)]
pub(super) struct UpdateFlags {
    /// Tasks replaced at once; 0 is all
    #[arg(long)]
    update_parallelism: Option<u64>,
    /// Delay between replacements
    #[arg(long, allow_hyphen_values = true)]
    update_delay: Option<String>,
    /// What a failure does: pause, continue or rollback
    #[arg(long, allow_hyphen_values = true)]
    update_on_failure: Option<String>,
    /// Order: stop-first or start-first
    #[arg(long, allow_hyphen_values = true)]
    update_order: Option<String>,
}

/// How a replacement is taken back.
#[derive(Args, Clone, Default)]
pub(super) struct RollbackFlags {
    /// Tasks rolled back at once; 0 is all
    #[arg(long)]
    rollback_parallelism: Option<u64>,
    /// Delay between rollbacks
    #[arg(long, allow_hyphen_values = true)]
    rollback_delay: Option<String>,
    /// What a failure does: pause or continue
    #[arg(long, allow_hyphen_values = true)]
    rollback_on_failure: Option<String>,
    /// Order: stop-first or start-first
    #[arg(long, allow_hyphen_values = true)]
    rollback_order: Option<String>,
}

impl UpdateFlags {
    pub(super) fn apply(&self, config: &mut Option<UpdateConfig>) -> Result<(), Error> {
        if let Some(parallelism) = self.update_parallelism {
            config.get_or_insert_default().parallelism = parallelism;
        }
        if let Some(delay) = &self.update_delay {
            config.get_or_insert_default().delay = Some(value::duration(delay)?);
        }
        if let Some(action) = &self.update_on_failure {
            let action = failure_action("--update-on-failure", action, true)?;
            config.get_or_insert_default().failure_action = action as i32;
        }
        if let Some(order) = &self.update_order {
            let order = update_order("--update-order", order)?;
            config.get_or_insert_default().order = order as i32;
        }
        Ok(())
    }
}

impl RollbackFlags {
    pub(super) fn apply(&self, config: &mut Option<UpdateConfig>) -> Result<(), Error> {
        if let Some(parallelism) = self.rollback_parallelism {
            config.get_or_insert_default().parallelism = parallelism;
        }
        if let Some(delay) = &self.rollback_delay {
            config.get_or_insert_default().delay = Some(value::duration(delay)?);
        }
        if let Some(action) = &self.rollback_on_failure {
            let action = failure_action("--rollback-on-failure", action, false)?;
            config.get_or_insert_default().failure_action = action as i32;
        }
        if let Some(order) = &self.rollback_order {
            let order = update_order("--rollback-order", order)?;
            config.get_or_insert_default().order = order as i32;
        }
        Ok(())
    }
}

fn failure_action(flag: &str, text: &str, rollback: bool) -> Result<FailureAction, Invalid> {
    match text {
        "pause" => Ok(FailureAction::Pause),
        "continue" => Ok(FailureAction::Continue),
        "rollback" if rollback => Ok(FailureAction::Rollback),
        _ => Err(Invalid::new(format!("{flag} value must be pause or continue"))),
    }
}

fn update_order(flag: &str, text: &str) -> Result<UpdateOrder, Invalid> {
    match text {
        "stop-first" => Ok(UpdateOrder::StopFirst),
        "start-first" => Ok(UpdateOrder::StartFirst),
        _ => Err(Invalid::new(format!("{flag} value must be stop-first or start-first"))),
    }
}
