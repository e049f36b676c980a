//! When a member writes a snapshot of its own, and what that leaves in the log.

use std::ops::Range;

use protocol::{objects::Cluster, wire};

use super::*;
use crate::{cluster::CLUSTER_NAME, log::simulated::Temper};

fn snapshots(machine: &Machine) -> usize {
    machine.files().iter().filter(|name| name.ends_with(".snapshot")).count()
}

async fn write(machine: &Machine, names: Range<u32>) {
    for number in names {
        create(&machine.store(), &format!("s{number}")).await.expect("written");
    }
    sleep(Duration::from_secs(1)).await;
}

/// How many entries the log still has.
async fn entries(machine: &Machine) -> usize {
    let page = machine.peer().send(GetCommitted { from: 1 }).await.expect("alive");
    page.entries.len()
}

#[test]
fn a_snapshot_that_finds_no_room_is_tried_again() {
    run(async || {
        let mut machine = Machine::alone(8);
        machine.config.snapshot_interval = 20;
        machine.config.entries_kept = 5;
        machine.start();
        machine.until_leading().await;
        write(&machine, 0..10).await;
        let capacity = Some(machine.disk.used());
        machine.disk.set_temper(Temper { capacity, ..Temper::default() });
        write(&machine, 10..40).await;
        assert!(machine.ended.borrow().is_empty(), "the log has room, and goes on");
        assert_eq!(snapshots(&machine), 0);
        assert!(machine.files().iter().all(|name| !name.ends_with(".new")), "nothing half-way");
        let before = entries(&machine).await;
        machine.disk.set_temper(Temper::default());
        sleep(Duration::from_secs(60)).await;
        assert_eq!(snapshots(&machine), 1);
        assert!(entries(&machine).await < before, "what it covers is forgotten");
        machine.crash(Crash::Power);
        machine.start();
        machine.until_leading().await;
        assert_eq!(machine.names().len(), 40);
    });
}

#[test]
fn large_entries_are_covered_before_there_are_many() {
    run(async || {
        let mut machine = Machine::alone(9);
        machine.config.snapshot_bytes = 100 << 10;
        machine.start();
        machine.until_leading().await;
        rig::create_many(&machine.store(), 1_000).await;
        sleep(Duration::from_secs(1)).await;
        assert_eq!(snapshots(&machine), 1, "five entries of 200 KiB");
        // A quarter of the bytes is less than one of them.
        let kept = entries(&machine).await;
        assert!(kept <= 1, "{kept} entries");
    });
}

/// After a restart the log is applied a part at a time, and what comes last counts as well.
#[test]
fn entries_that_are_applied_again_are_covered_whole() {
    run(async || {
        let mut machine = Machine::alone(11);
        machine.start();
        machine.until_leading().await;
        write(&machine, 0..600).await;
        machine.crash(Crash::Power);
        machine.config.snapshot_bytes = 8 << 10;
        machine.start();
        machine.until_leading().await;
        sleep(Duration::from_secs(1)).await;
        let kept = entries(&machine).await;
        assert!(kept < 200, "{kept} entries of 50 bytes and more, where 8 KiB are a snapshot's");
    });
}

#[test]
fn the_settings_of_the_cluster_count_as_soon_as_they_are_there() {
    run(async || {
        let mut machine = Machine::alone(10);
        machine.start();
        machine.until_leading().await;
        let raft = wire::RaftConfig {
            snapshot_interval: 20,
            log_entries_for_slow_followers: 3,
            ..Default::default()
        };
        let annotations = wire::Annotations { name: CLUSTER_NAME.to_owned(), ..Default::default() };
        let spec = wire::ClusterSpec {
            annotations: Some(annotations),
            raft: Some(raft),
            ..Default::default()
        };
        let cluster = wire::Cluster { id: "c".to_owned(), spec: Some(spec), ..Default::default() };
        let created = machine.store().transact(move |head| head.create(Cluster::from(cluster)));
        created.await.expect("written");
        write(&machine, 0..25).await;
        assert_eq!(snapshots(&machine), 1);
        let kept = entries(&machine).await;
        assert!(kept < 3 + 20, "{kept} entries");
    });
}
