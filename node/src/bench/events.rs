//! How agents tell what happens to them, and since when.

use std::time::Duration;

use tokio::{sync::mpsc, time::Instant};

use super::record::Event;

/// So many events wait to be counted; whoever has more to tell waits.
pub(super) const WAITING_MAX: usize = 1 << 16;

/// A run of the bench: its number tells its objects apart from those of all others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    number: u32,
    began: Instant,
}

impl Run {
    pub(super) fn begin(number: u32) -> Self {
        Self { number, began: Instant::now() }
    }

    /// Returns how long it has lasted.
    pub(super) fn elapsed(self) -> Duration {
        self.began.elapsed()
    }

    /// Returns the moment at which it has lasted so long.
    pub(super) fn at(self, elapsed: Duration) -> Instant {
        self.began + elapsed
    }

    /// Returns what marks its nodes.
    pub(super) fn label(self) -> String {
        format!("{:08x}", self.number)
    }

    /// Returns the name of one of its services.
    pub(super) fn name(self, service: usize) -> String {
        format!("bench-{}-{service}", self.label())
    }

    /// Returns which of its services has a name.
    pub(super) fn service(self, name: &str) -> Option<usize> {
        let rest = name.strip_prefix("bench-")?.strip_prefix(&self.label())?;
        rest.strip_prefix('-')?.parse().ok()
    }
}

/// Where events are told.
#[derive(Clone, Debug)]
pub(super) struct Events(pub(super) mpsc::Sender<Event>);

impl Events {
    /// Tells an event, as long as anybody counts them.
    pub(super) async fn tell(&self, event: Event) {
        self.0.send(event).await.ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_run_knows_its_own_services() {
        let (run, other) = (Run::begin(7), Run::begin(8));
        assert_eq!(run.name(12), "bench-00000007-12");
        assert_eq!(run.service(&run.name(12)), Some(12));
        assert_eq!(other.service(&run.name(12)), None);
        for name in ["", "web", "bench-00000007", "bench-00000007-", "bench-00000007-x"] {
            assert_eq!(run.service(name), None, "{name}");
        }
    }
}
