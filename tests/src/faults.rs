//! What goes wrong, and when: drawn from the seed.

use std::{collections::BTreeSet, time::Duration};

use actors::{
    log::simulated::{Crash, Temper as DiskTemper},
    supervision::testing::{When, doom},
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::time::{Instant, sleep};

use crate::{
    cluster::{Cluster, MEMBERS, start},
    net::Temper as NetTemper,
};

const ACTORS: [&str; 3] = ["core/raft", "core/store", "log/writer"];

/// Does harm until `end`.
pub async fn torment(cluster: Cluster, seed: u64, end: Instant) {
    let mut random = StdRng::seed_from_u64(seed ^ 0x00fa_0175);
    while Instant::now() < end {
        sleep(millis(&mut random, 200, 3_000)).await;
        match random.gen_range(0..100) {
            0..=29 => crash(&cluster, &mut random).await,
            30..=49 => partition(&cluster, &mut random).await,
            50..=64 => weather(&cluster, &mut random),
            65..=79 => slow_disk(&cluster, &mut random),
            _ => kill_actor(&cluster, &mut random),
        }
    }
}

/// Ends every fault; what has crashed comes back.
pub async fn heal(cluster: &Cluster) {
    cluster.trace.note("everything heals");
    cluster.network.heal();
    for member in cluster.members() {
        member.borrow().set_disk(good_disk());
    }
    cluster.start_all().await;
}

/// A disk in a good hour.
pub fn good_disk() -> DiskTemper {
    let sync_time = Duration::from_micros(200)..Duration::from_millis(2);
    DiskTemper { sync_time, ..DiskTemper::default() }
}

fn millis(random: &mut impl Rng, from: u64, to: u64) -> Duration {
    Duration::from_millis(random.gen_range(from..to))
}

async fn crash(cluster: &Cluster, random: &mut impl Rng) {
    let crash = if random.gen_bool(0.7) { Crash::Power } else { Crash::Process };
    // Now and then all of them, as when a room loses power.
    let everybody = random.gen_bool(0.15);
    let one = cluster.any(random);
    let members: Vec<_> =
        cluster.members().filter(|m| everybody || std::ptr::eq(*m, one)).collect();
    for member in &members {
        member.borrow_mut().crash(crash);
    }
    sleep(millis(random, 10, 4_000)).await;
    for member in members {
        start(member).await;
    }
}

async fn partition(cluster: &Cluster, random: &mut impl Rng) {
    let alone = BTreeSet::from([random.gen_range(1..=MEMBERS)]);
    let others = (1..=MEMBERS).filter(|member| !alone.contains(member)).collect();
    cluster.counts.count("fault: partition");
    cluster.trace.note(format_args!("{alone:?} are cut off"));
    cluster.network.cut(&alone, &others);
    sleep(millis(random, 300, 6_000)).await;
    cluster.trace.note("the cut is mended");
    cluster.network.heal();
}

fn weather(cluster: &Cluster, random: &mut impl Rng) {
    let temper = NetTemper {
        delay: Duration::from_millis(1)..millis(random, 5, 400),
        loss: random.gen_range(0.0..0.3),
        repeat: random.gen_range(0.0..0.2),
    };
    cluster.trace.note(format_args!("the network: {temper:?}"));
    cluster.network.set_temper(temper);
}

fn slow_disk(cluster: &Cluster, random: &mut impl Rng) {
    let member = cluster.any(random).borrow();
    let slow = random.gen_bool(0.6);
    let temper = if slow {
        cluster.counts.count("fault: slow disk");
        let sync_time = millis(random, 10, 200)..millis(random, 300, 1_500);
        DiskTemper { sync_time, ..DiskTemper::default() }
    } else {
        good_disk()
    };
    cluster.trace.note(format_args!("the disk of {}: {:?}", member.id, temper.sync_time));
    member.set_disk(temper);
}

fn kill_actor(cluster: &Cluster, random: &mut impl Rng) {
    let member = cluster.any(random).borrow();
    let path = member.path(ACTORS[random.gen_range(0..ACTORS.len())]);
    let before = random.gen_bool(0.5);
    if !member.is_alive() {
        return;
    }
    cluster.trace.note(format_args!("{path} is to die, before it handles: {before}"));
    doom(&path, if before { When::BeforeHandling } else { When::AfterHandling });
}
