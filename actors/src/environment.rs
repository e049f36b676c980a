//! Time and chance, handed in: actors read no clock and draw no number of their own.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use prost_types::Timestamp;
use rand::{SeedableRng, rngs::StdRng};

/// The wall clock. Only for times that are shown or stored; waiting uses tokio's clock.
pub trait Clock: Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> Timestamp;
}

/// The source of every random number of a node.
#[derive(Clone, Copy, Debug)]
pub struct Entropy {
    seed: u64,
}

impl Entropy {
    /// Everything that is drawn later follows from `seed`.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// A generator for one life of one actor. The same label and life give the same numbers, so a
    /// run repeats whatever the order in which actors start.
    pub fn fork(&self, label: &str, life: u64) -> StdRng {
        let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
        (self.seed, label, life).hash(&mut hasher);
        StdRng::seed_from_u64(hasher.finish())
    }
}

/// FNV-1a: the standard library promises no hash that stays the same between versions.
struct Fnv(u64);

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// What every actor may know of the world.
#[derive(Clone)]
pub struct Environment {
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// The source of random numbers.
    pub entropy: Entropy,
}

/// An environment for tests: its clock goes with tokio's, paused or not.
#[cfg(any(test, feature = "testing"))]
pub mod testing {
    use tokio::time::Instant;

    use super::{Arc, Clock, Entropy, Environment, Timestamp};

    /// What the clock shows when it is made, in seconds since 1970.
    pub const BEGINNING: i64 = 1_000_000_000;

    struct TokioClock {
        began: Instant,
    }

    impl Clock for TokioClock {
        fn now(&self) -> Timestamp {
            let elapsed = self.began.elapsed();
            let seconds = i64::try_from(elapsed.as_secs()).expect("tests end before that");
            let nanos = i32::try_from(elapsed.subsec_nanos()).expect("below 1e9");
            Timestamp { seconds: BEGINNING + seconds, nanos }
        }
    }

    /// The same random numbers every time.
    pub fn environment() -> Environment {
        let clock = Arc::new(TokioClock { began: Instant::now() });
        Environment { clock, entropy: Entropy::new(4711) }
    }
}
