//! The system's clock as the wall clock of the actors.

use std::time::SystemTime;

use actors::environment::Clock;
use prost_types::Timestamp;

/// Tells the time of day as the system has it.
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "this is the port that the others ask")]
        let now = SystemTime::now();
        now.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_later_than_when_this_was_written() {
        assert!(SystemClock.now().seconds > 1_750_000_000);
    }
}
