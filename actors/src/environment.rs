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

    /// The source of one stretch of time: labels are used again in the next.
    pub fn branch(&self, label: &str, number: u64) -> Self {
        Self { seed: self.hash(label, number) }
    }

    /// A generator for one life of one actor. The same label and life give the same numbers, so a
    /// run repeats whatever the order in which actors start.
    pub fn fork(&self, label: &str, life: u64) -> StdRng {
        StdRng::seed_from_u64(self.hash(label, life))
    }

    fn hash(&self, label: &str, number: u64) -> u64 {
        let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
        (self.seed, label, number).hash(&mut hasher);
        hasher.finish()
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

#[cfg(test)]
mod tests {
    use rand::Rng;

    use super::Entropy;

    #[test]
    fn branches_labels_and_lives_draw_each_their_own_and_always_the_same() {
        let draw = |entropy: Entropy, label, life| entropy.fork(label, life).r#gen::<u64>();
        let root = Entropy::new(7);
        let all = [
            draw(root, "a", 0),
            draw(root, "a", 1),
            draw(root, "b", 0),
            draw(root.branch("leader", 2), "a", 0),
            draw(root.branch("leader", 3), "a", 0),
        ];
        let distinct = all.iter().collect::<std::collections::BTreeSet<_>>();
        assert_eq!(distinct.len(), all.len());
        assert_eq!(draw(Entropy::new(7).branch("leader", 3), "a", 0), all[4]);
    }
}
