//! Waits until a service is what its spec asks for, with bars on a terminal.

mod ends;
mod judgement;
mod look;
mod patience;
mod picture;
#[cfg(test)]
mod tests;

use std::{
    io::{IsTerminal, Write},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use self::{
    look::Looks,
    patience::{Patience, Step},
    picture::Picture,
};
use crate::{connect::Client, error::Error};

/// How often the manager is asked, at most.
const ASK_EVERY: Duration = Duration::from_millis(250);

/// A wait for one service.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait<'w> {
    pub(crate) id: &'w str,
    /// What the user calls it.
    pub(crate) name: &'w str,
    /// The version of the spec that was just written, if one was.
    pub(crate) written: Option<u64>,
    /// How long it may last.
    pub(crate) limit: Duration,
}

/// Waits until all tasks run and stay up, or until it is clear that they will not.
pub(crate) async fn wait(client: &mut Client, wait: Wait<'_>) -> Result<(), Error> {
    let name = wait.name;
    let mut waits_for = "an answer of a manager".to_owned();
    let outcome = tokio::select! {
        biased;
        _ = tokio::signal::ctrl_c() => return Err(Error::Failed(format!(
            "no longer waiting, and the service goes on: `swarmctl service inspect {name}` shows \
             how far it is"
        ))),
        () = sleep(wait.limit) => Err(Error::Failed(format!(
            "still waiting after {} s (--wait-timeout), and the service goes on: {waits_for}",
            wait.limit.as_secs_f64()
        ))),
        outcome = watch(client, wait, &mut waits_for) => outcome,
    };
    match outcome {
        Err(Error::Failed(why)) => {
            Err(Error::Failed(format!("{why}; `swarmctl service explain {name}` tells more")))
        }
        Err(error @ Error::Status(_)) => {
            Err(Error::Failed(format!("no longer waiting for {name}: {error}")))
        }
        outcome => outcome,
    }
}

async fn watch(client: &mut Client, wait: Wait<'_>, waits_for: &mut String) -> Result<(), Error> {
    let start = Instant::now();
    let mut picture = Picture::new(std::io::stderr().is_terminal());
    let mut patience = Patience::since(wait.written);
    let mut looks = Looks::new(wait.id);
    let mut slots = Vec::new();
    loop {
        let asked = Instant::now();
        let (step, took) = match looks.next(client).await? {
            Ok(seen) => {
                slots = judgement::slots(&seen);
                (patience.look(&seen, start.elapsed()), asked.elapsed())
            }
            Err(why) => (patience.silence(&why, start.elapsed()), Duration::ZERO),
        };
        let text = match &step {
            Step::Wait(text) => text,
            Step::Done | Step::Failed(_) => "",
        };
        let drawn = picture.next(&slots, text, start.elapsed(), picture::size());
        // Bars that cannot be drawn are no reason to stop.
        let _ = std::io::stderr().write_all(drawn.as_bytes());
        match step {
            Step::Done => return Ok(()),
            Step::Failed(why) => return Err(Error::Failed(why)),
            Step::Wait(text) => *waits_for = text,
        }
        // With many tasks an answer costs the manager something, which has other things to do.
        sleep(ASK_EVERY.max(took)).await;
    }
}
