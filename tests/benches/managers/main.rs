//! Times a group of three managers on loopback: writes, the loss of the leader, and rest.
//! `cargo bench -p tests --bench managers` repeats every figure it prints.

#[path = "../common/mod.rs"]
mod common;
#[path = "../daemon/disk.rs"]
mod disk;
mod etcd;
mod group;

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use common::{binary, now, service};
use futures_util::future::join_all;
use group::{Group, MANAGERS};
use nix::sys::signal::Signal;
use protocol::wire::control_client::ControlClient;
use tokio::time::sleep;
use tonic::transport::Channel;

/// How long one row of writes is measured, and how often the rows follow each other.
const ROW: Duration = Duration::from_secs(3);
const ROUNDS: usize = 3;

const CLIENTS: [usize; 2] = [1, 64];

/// How often a leader is killed, and how often one is stopped, which nobody's machine can see.
const KILLS: usize = 100;
const STOPS: usize = 20;

/// How long a leader believes that a manager is there which it does not hear any more.
const SEEN_AFTER: Duration = Duration::from_secs(1);

/// How long an idle group is looked at.
const REST: Duration = Duration::from_secs(20);

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, reason = "it prints what it measured")]
async fn main() {
    binary();
    let group = Group::start().await;
    sleep(Duration::from_secs(5)).await;
    idle(&group).await;
    let beside = binary().parent().expect("it lies in a folder");
    let folder = tempfile::Builder::new().prefix("etcd").tempdir_in(beside).expect("a folder");
    for round in 1..=ROUNDS {
        let syncs = disk::syncs_per_second(folder.path(), ROW);
        println!(
            "round {round}: append of {} bytes and fdatasync: {syncs:.0}/s",
            disk::RECORD_BYTES
        );
        let leader = group.whole().await;
        for clients in CLIENTS {
            let rate = writes(&group, leader, clients, round).await;
            println!("round {round}: {clients:3} clients: {rate:.0} committed writes/s");
            if let Some(rate) = etcd_writes(folder.path(), clients, round).await {
                println!("round {round}: {clients:3} clients: {rate:.0} puts/s of etcd");
            }
        }
    }
    fail_over(group).await;
}

/// CPU, memory and bytes of a group that nobody talks to.
#[expect(clippy::print_stdout, reason = "it prints what it measured")]
async fn idle(group: &Group) {
    let sample = || {
        let cpu: Vec<_> = group.0.iter().map(|manager| cpu_seconds(manager.pid())).collect();
        (cpu, loopback_bytes())
    };
    let (cpu, bytes) = sample();
    sleep(REST).await;
    let (later, bytes_later) = sample();
    let rest = REST.as_secs_f64();
    println!("idle: {:.0} bytes/s on loopback", (bytes_later - bytes) as f64 / rest);
    for (number, manager) in group.0.iter().enumerate() {
        let resident = resident_kibibytes(manager.pid()) / 1024.0;
        let busy = 100.0 * (later[number] - cpu[number]) / rest;
        println!("idle: manager {number}: {busy:.2} % of a processor, {resident:.1} MiB resident");
    }
}

/// Lets so many clients create services one after the other, and returns how many a second.
async fn writes(group: &Group, leader: usize, clients: usize, round: usize) -> f64 {
    let channels = join_all((0..clients).map(|_| group.0[leader].client())).await;
    let began = now();
    let end = began + ROW;
    let write = async |(number, mut client): (usize, ControlClient<Channel>)| {
        let mut count = 0;
        while now() < end {
            let name = format!("r{round}-{clients}-{number}-{count}");
            client.create_service(service(name)).await.expect("the leader takes writes");
            count += 1;
        }
        count
    };
    let written: usize = join_all(channels.into_iter().enumerate().map(write)).await.iter().sum();
    written as f64 / (now() - began).as_secs_f64()
}

async fn etcd_writes(folder: &Path, clients: usize, round: usize) -> Option<f64> {
    let folder = folder.join(format!("{round}-{clients}"));
    fs::create_dir(&folder).expect("it can be made");
    let etcd = etcd::Etcd::start(&folder)?;
    for member in 0..MANAGERS {
        etcd.client(member).await;
    }
    let connected = join_all((0..clients).map(|_| etcd.client(0))).await;
    let began = now();
    let end = began + ROW;
    // As large as what a manager writes for a service.
    let value = vec![b'x'; 160];
    let value = &value;
    let write = async |(number, mut client): (usize, etcd::Client)| {
        let mut count = 0;
        while now() < end {
            let key = format!("r{round}-{clients}-{number}-{count}").into_bytes();
            client.put(key, value.clone()).await.expect("etcd takes writes");
            count += 1;
        }
        count
    };
    let written: usize = join_all(connected.into_iter().enumerate().map(write)).await.iter().sum();
    Some(written as f64 / (now() - began).as_secs_f64())
}

/// How long nobody can write once the leader is gone: killed, so that its machine refuses whoever
/// calls it, and stopped, so that nobody hears of it.
#[expect(clippy::print_stdout, reason = "it prints what it measured")]
async fn fail_over(mut group: Group) {
    let (mut killed, mut stopped) = (Vec::new(), Vec::new());
    for round in 0..KILLS + STOPS {
        let leader = group.whole().await;
        let mut others = Vec::new();
        for (number, manager) in group.0.iter().enumerate() {
            if number != leader {
                others.push(manager.client().await);
            }
        }
        let began = now();
        if round < KILLS {
            group.0[leader].kill();
        } else {
            group.0[leader].signal(Signal::SIGSTOP);
        }
        let spent = accepted(&mut others, round).await - began;
        if round < KILLS {
            killed.push(spent);
        } else {
            stopped.push(spent);
            group.0[leader].kill();
        }
        group.0[leader].start(&[]);
        // That it cannot be reached is not seen before a while is over.
        sleep(SEEN_AFTER).await;
    }
    for (what, mut all) in [("killed", killed), ("stopped", stopped)] {
        all.sort_unstable();
        let (middle, last) = (all[all.len() / 2], all[all.len() - 1]);
        println!(
            "leader {what} {} times: a write after {middle:.1?} (median), {last:.1?} (most)",
            all.len()
        );
    }
}

/// Writes at each of the others in turn until one accepts it; returns when.
async fn accepted(others: &mut [ControlClient<Channel>], round: usize) -> Instant {
    for attempt in 0_usize.. {
        let count = others.len();
        let client = &mut others[attempt % count];
        let created = client.create_service(service(format!("f{round}-{attempt}"))).await;
        if created.is_ok() {
            return now();
        }
        sleep(Duration::from_millis(1)).await;
    }
    unreachable!("nobody counts that far")
}

fn cpu_seconds(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let after = stat.rsplit_once(") ").expect("this is Linux").1;
    let ticks = after.split(' ').skip(11).take(2).map(|text| text.parse::<f64>().unwrap_or(0.0));
    ticks.sum::<f64>() / 100.0
}

fn resident_kibibytes(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let amount = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    amount.expect("this is Linux")
}

/// What has gone over loopback since the machine started.
fn loopback_bytes() -> u64 {
    let text = fs::read_to_string("/sys/class/net/lo/statistics/tx_bytes").expect("this is Linux");
    text.trim().parse().expect("a number")
}
