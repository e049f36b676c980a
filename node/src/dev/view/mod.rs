//! The live view of a throw-away swarm: follows the store over the control socket, as any program
//! may.

mod board;
mod screen;

use std::{convert::Infallible, time::Duration};

use actors::environment::Clock;
use protocol::wire::{
    ListServicesRequest, ListTasksRequest, WatchRequest, control_client::ControlClient,
    watch_client::WatchClient, watch_request::WatchEntry,
};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tonic::{Status, transport::Channel};

pub use self::screen::stderr;
use self::{board::Board, screen::Screen};
use super::LISTING_BYTES_MAX;
use crate::clock::SystemClock;

/// Changes of every kind: create, update, remove.
const ANY_ACTION: i32 = 1 | 2 | 4;

/// How often a terminal is drawn, at most: times pass while nothing happens.
const DRAW_EVERY: Duration = Duration::from_millis(200);

/// How long to wait for a node that does not lead yet.
const AGAIN_AFTER: Duration = Duration::from_millis(200);

/// Shows services and tasks for as long as it is asked to. Whatever it misses it reads again.
pub(super) async fn follow(channel: Channel, port_base: Option<u16>) -> Infallible {
    let (mut board, mut screen) = (Board::new(port_base), Screen::of_stdout());
    loop {
        if let Err(status) = attend(&channel, &mut board, &mut screen).await {
            tracing::debug!(reason = status.message(), "the view starts over");
        }
        sleep(AGAIN_AFTER).await;
    }
}

/// Shows the whole, and from then on what changes.
async fn attend(channel: &Channel, board: &mut Board, screen: &mut Screen) -> Result<(), Status> {
    let mut control =
        ControlClient::new(channel.clone()).max_decoding_message_size(LISTING_BYTES_MAX);
    let mut watch = WatchClient::new(channel.clone()).max_decoding_message_size(LISTING_BYTES_MAX);
    let entries = ["service", "task"].map(|kind| WatchEntry {
        kind: kind.to_owned(),
        action: ANY_ACTION,
        ..WatchEntry::default()
    });
    let request = WatchRequest { entries: entries.into(), ..WatchRequest::default() };
    // From its first message on nothing is missed, so the listing comes after it.
    let mut changes = watch.watch(request).await?.into_inner();
    changes.message().await?;
    let services = control.list_services(ListServicesRequest::default()).await?.into_inner();
    let tasks = control.list_tasks(ListTasksRequest::default()).await?.into_inner();
    screen.say(&board.replace(services.services, tasks.tasks));
    let mut ticks = interval(DRAW_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            _ = ticks.tick() => screen.draw(&board.rows(&SystemClock.now())),
            message = changes.message() => match message? {
                Some(message) => screen.say(&board.apply(message)),
                None => return Ok(()),
            },
        }
    }
}
