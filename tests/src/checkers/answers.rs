//! STORE-8: every transaction is answered, whatever becomes of its leader.

use std::time::Duration;

use tokio::time::timeout;

use crate::{counts::Counts, oracle::Oracle};

/// In the quiet state nobody waits any more.
const AT_ONCE: Duration = Duration::from_millis(100);

/// Asks those who gave up waiting whether an answer has come since.
pub async fn finish(oracle: &Oracle, counts: &Counts) {
    for (name, answer) in oracle.take_unanswered() {
        let answered = timeout(AT_ONCE, answer).await.is_ok();
        assert!(answered, "answers: {name} was never answered");
        counts.count("check: every transaction is answered");
    }
}
