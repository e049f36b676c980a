//! Changes that are overtaken by another of the same object.

use std::time::Duration;

use tokio::time::sleep;

use crate::error::Error;

/// How often a change is made anew.
const TRIES: u32 = 5;

/// The pause before that: the other change may still be on its way to what is shown.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Makes a change, which reads the object first, and makes it to what the object has become if another
/// change came in between: managers write down of themselves how a node is, and whoever adds a label does
/// not mind.
pub(crate) async fn persist<T>(
    mut change: impl AsyncFnMut() -> Result<T, Error>,
) -> Result<T, Error> {
    for _ in 1..TRIES {
        match change().await {
            Err(error) if error.is_overtaken() => sleep(AGAIN_AFTER).await,
            done => return done,
        }
    }
    change().await
}

#[cfg(test)]
mod tests {
    use tonic::Status;

    use super::*;

    async fn tried(refusals: usize, text: &str) -> (usize, Result<usize, Error>) {
        let mut tries = 0;
        let done = persist(async || {
            tries += 1;
            if tries > refusals { Ok(tries) } else { Err(Status::unknown(text).into()) }
        });
        let done = done.await;
        (tries, done)
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_overtaken_is_made_anew_but_not_for_ever() {
        let text = "update out of sequence";
        for (refusals, tries) in [(0, 1), (2, 3), (4, 5), (5, 5)] {
            let (count, done) = tried(refusals, text).await;
            assert_eq!((count, done.is_ok()), (tries, refusals < 5), "{refusals}");
        }
        let (count, done) = tried(1, "another reason").await;
        assert!(count == 1 && done.is_err(), "it would not help");
    }
}
