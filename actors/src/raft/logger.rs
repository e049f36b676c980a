//! What raft-rs says goes where everything else is said.

use std::fmt::{self, Write};

use slog::{Drain, KV, Key, Level, Never, OwnedKVList, Record, Serializer};

struct ToTracing;

impl Drain for ToTracing {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), Never> {
        let said = || Said::of(record, values).0;
        match record.level() {
            Level::Critical | Level::Error => tracing::error!("raft: {}", said()),
            Level::Warning => tracing::warn!("raft: {}", said()),
            Level::Info | Level::Debug => tracing::debug!("raft: {}", said()),
            Level::Trace => tracing::trace!("raft: {}", said()),
        }
        Ok(())
    }
}

/// A message with what it is about: `became follower at term 3 raft_id=1`.
struct Said(String);

impl Said {
    fn of(record: &Record<'_>, values: &OwnedKVList) -> Self {
        let mut said = Self(record.msg().to_string());
        // Nothing fails that writes into a string; what a value cannot say is left out.
        let _ = record.kv().serialize(record, &mut said);
        let _ = values.serialize(record, &mut said);
        said
    }
}

impl Serializer for Said {
    fn emit_arguments(&mut self, key: Key, value: &fmt::Arguments<'_>) -> slog::Result {
        write!(self.0, " {key}={value}").map_err(slog::Error::from)
    }
}

pub(super) fn logger() -> slog::Logger {
    slog::Logger::root(ToTracing, slog::o!())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, OnceLock};

    use super::*;

    struct Keep(Arc<OnceLock<String>>);

    impl Drain for Keep {
        type Ok = ();
        type Err = Never;

        fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), Never> {
            self.0.set(Said::of(record, values).0).expect("one message");
            Ok(())
        }
    }

    #[test]
    fn a_message_says_what_it_is_about() {
        let kept = Arc::<OnceLock<_>>::default();
        let logger = slog::Logger::root(Keep(Arc::clone(&kept)), slog::o!("raft_id" => 1));
        slog::warn!(logger, "became {}", "leader"; "term" => 3);
        let said = kept.get().map(String::as_str);
        assert_eq!(said, Some("became leader term=3 raft_id=1"));
    }
}
