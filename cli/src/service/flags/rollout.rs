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

/// The same four flags, by what their names begin with.
macro_rules! rollout_flags {
    ($(#[$about:meta])* $name:ident, $prefix:literal, $actions:expr) => {
        $(#[$about])*
        #[derive(Args, Clone, Default)]
        pub(super) struct $name {
            /// Tasks replaced at once; 0 is all
            #[arg(long = concat!($prefix, "-parallelism"), id = concat!($prefix, "-parallelism"))]
            parallelism: Option<u64>,
            /// Delay between replacements
            #[arg(long = concat!($prefix, "-delay"), id = concat!($prefix, "-delay"))]
            #[arg(allow_hyphen_values = true)]
            delay: Option<String>,
            #[doc = concat!("What a failure does: ", $actions)]
            #[arg(long = concat!($prefix, "-on-failure"), id = concat!($prefix, "-on-failure"))]
            #[arg(allow_hyphen_values = true)]
            on_failure: Option<String>,
            /// Order: stop-first or start-first
            #[arg(long = concat!($prefix, "-order"), id = concat!($prefix, "-order"))]
            #[arg(allow_hyphen_values = true)]
            order: Option<String>,
        }

        impl $name {
            pub(super) fn apply(&self, config: &mut Option<UpdateConfig>) -> Result<(), Error> {
                if let Some(parallelism) = self.parallelism {
                    config.get_or_insert_default().parallelism = parallelism;
                }
                if let Some(delay) = &self.delay {
                    config.get_or_insert_default().delay = Some(value::duration(delay)?);
                }
                if let Some(action) = &self.on_failure {
                    let action = failure_action($prefix, action)?;
                    config.get_or_insert_default().failure_action = action as i32;
                }
                if let Some(order) = &self.order {
                    config.get_or_insert_default().order = update_order($prefix, order)? as i32;
                }
                Ok(())
            }
        }
    };
}

rollout_flags! {
    /// How tasks are replaced.
    UpdateFlags, "update", "pause, continue or rollback"
}

rollout_flags! {
    /// How a replacement is taken back.
    RollbackFlags, "rollback", "pause or continue"
}

fn failure_action(prefix: &str, text: &str) -> Result<FailureAction, Invalid> {
    match text {
        "pause" => Ok(FailureAction::Pause),
        "continue" => Ok(FailureAction::Continue),
        "rollback" if prefix == "update" => Ok(FailureAction::Rollback),
        _ => Err(Invalid::new(format!("--{prefix}-on-failure value must be pause or continue"))),
    }
}

fn update_order(prefix: &str, text: &str) -> Result<UpdateOrder, Invalid> {
    match text {
        "stop-first" => Ok(UpdateOrder::StopFirst),
        "start-first" => Ok(UpdateOrder::StartFirst),
        _ => Err(Invalid::new(format!("--{prefix}-order value must be stop-first or start-first"))),
    }
}
