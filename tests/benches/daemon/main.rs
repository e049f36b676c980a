//! Times the real daemon: start, memory at rest, writes through the control socket beside what
//! the disk can do. `cargo bench -p tests --bench daemon` repeats every figure it prints.

#[path = "../common/mod.rs"]
mod common;
mod disk;
mod swarmd;

use std::time::{Duration, Instant};

use common::{binary, now, service};
use futures_util::future::join_all;
use protocol::wire::control_client::ControlClient;
use swarmd::Swarmd;
use tokio::time::sleep;
use tonic::transport::Channel;

/// How often a new node is started.
const STARTS: usize = 11;

/// How long one row of writes is measured.
const ROW: Duration = Duration::from_secs(3);

/// How often the rows follow each other: what else the machine does falls on all of them.
const ROUNDS: usize = 3;

/// When a manager that nobody talks to is looked at.
const REST: Duration = Duration::from_secs(10);

const CLIENTS: [usize; 3] = [1, 64, 256];

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, reason = "it prints what it measured")]
async fn main() {
    binary();
    let mut starts = Vec::new();
    for _ in 0..STARTS {
        starts.push(start().await);
    }
    starts.sort_unstable();
    let (first, middle, last) = (starts[0], starts[STARTS / 2], starts[STARTS - 1]);
    println!(
        "exec to first accepted write, {STARTS} new nodes: {first:.1?} {middle:.1?} {last:.1?} (least, median, most)"
    );

    let daemon = Swarmd::start();
    daemon.client().await;
    sleep(REST).await;
    let memory = daemon.memory();
    println!(
        "idle manager after {REST:?}: {} resident, {} of it anonymous",
        mebibytes(memory.resident),
        mebibytes(memory.anonymous)
    );

    for round in 1..=ROUNDS {
        let syncs = disk::syncs_per_second(daemon.folder(), ROW);
        println!(
            "round {round}: append of {} bytes and fdatasync: {syncs:.0}/s",
            disk::RECORD_BYTES
        );
        for clients in CLIENTS {
            let rate = writes(&daemon, clients, round).await;
            println!(
                "round {round}: {clients:3} clients: {rate:.0} committed writes/s, {:.2} per sync of the disk",
                rate / syncs
            );
        }
    }
    let memory = daemon.memory();
    println!("the same manager after these writes: {} resident", mebibytes(memory.resident));
}

/// Starts a new node, and returns how long it took until it had accepted a write.
async fn start() -> Duration {
    let began = now();
    let daemon = Swarmd::start();
    let mut client = daemon.client().await;
    while client.create_service(service("first".to_owned())).await.is_err() {
        sleep(Duration::from_millis(1)).await;
    }
    now() - began
}

/// Lets so many clients create services one after the other, and returns how many a second.
async fn writes(daemon: &Swarmd, clients: usize, round: usize) -> f64 {
    let channels = join_all((0..clients).map(|_| daemon.client())).await;
    let began = now();
    let end = began + ROW;
    let client = |(number, client)| write(client, format!("r{round}-{clients}-{number}"), end);
    let written: usize = join_all(channels.into_iter().enumerate().map(client)).await.iter().sum();
    written as f64 / (now() - began).as_secs_f64()
}

async fn write(mut client: ControlClient<Channel>, prefix: String, end: Instant) -> usize {
    for count in 0.. {
        if now() >= end {
            return count;
        }
        let created = client.create_service(service(format!("{prefix}-{count}"))).await;
        created.expect("the manager takes writes");
    }
    unreachable!("nobody counts that far")
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
