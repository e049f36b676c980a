//! What raft-rs says goes where everything else is said.

use slog::{Drain, Level, Never, OwnedKVList, Record};

struct ToTracing;

impl Drain for ToTracing {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, _: &OwnedKVList) -> Result<(), Never> {
        match record.level() {
            Level::Critical | Level::Error => tracing::error!("raft: {}", record.msg()),
            Level::Warning => tracing::warn!("raft: {}", record.msg()),
            Level::Info | Level::Debug => tracing::debug!("raft: {}", record.msg()),
            Level::Trace => tracing::trace!("raft: {}", record.msg()),
        }
        Ok(())
    }
}

pub(super) fn logger() -> slog::Logger {
    slog::Logger::root(ToTracing, slog::o!())
}
