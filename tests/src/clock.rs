//! The wall clock of a machine: it goes with virtual time, and a fault may set it.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use actors::environment::{Clock, testing::BEGINNING};
use prost_types::Timestamp;
use tokio::time::Instant;

/// A wall clock. Clones are the same one; it goes on over the lives of its machine.
#[derive(Clone)]
pub struct WallClock {
    began: Instant,
    /// How far it is ahead of what it was at first, in seconds.
    ahead: Arc<AtomicI64>,
}

impl WallClock {
    /// A clock that shows what all others show.
    pub fn new() -> Self {
        Self { began: Instant::now(), ahead: Arc::default() }
    }

    /// Sets it forward, or back.
    pub fn set(&self, seconds: i64) {
        self.ahead.fetch_add(seconds, Ordering::Relaxed);
    }
}

impl Default for WallClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        let elapsed = self.began.elapsed();
        let seconds = i64::try_from(elapsed.as_secs()).expect("runs end before that");
        let nanos = i32::try_from(elapsed.subsec_nanos()).expect("below 1e9");
        Timestamp { seconds: BEGINNING + seconds + self.ahead.load(Ordering::Relaxed), nanos }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_clock_goes_on_from_where_it_is_set() {
        let clock = WallClock::new();
        advance(Duration::from_secs(5)).await;
        clock.clone().set(-60);
        advance(Duration::from_secs(5)).await;
        assert_eq!(clock.now().seconds, BEGINNING + 10 - 60);
    }
}
