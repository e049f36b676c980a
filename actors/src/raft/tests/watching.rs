//! Watches over a real log: where they can be resumed after a restart, a compaction and a snapshot
//! of the leader.

use protocol::wire::{Version, WatchMessage, WatchRequest, watch_request::WatchEntry};

use super::{rig::create_each, *};
use crate::watch::{self, Watch};

fn begin(machine: &Machine, resume_from: Option<u64>) -> Watch {
    let entry = WatchEntry { kind: "service".to_owned(), action: 7, ..Default::default() };
    let resume_from = resume_from.map(|index| Version { index });
    let request = WatchRequest { entries: vec![entry], resume_from, ..Default::default() };
    Watch::begin(&machine.store(), machine.peer().recipient(), &request).expect("a good request")
}

fn version(message: &WatchMessage) -> u64 {
    message.version.expect("it has one").index
}

#[test]
fn a_watch_resumes_from_any_version_in_the_log_after_a_restart() {
    run(async || {
        let mut machine = Machine::alone(30);
        machine.config.snapshot_interval = 20;
        machine.config.entries_kept = 10;
        machine.start();
        machine.until_leading().await;
        create_each(&machine.store(), 0..50).await;
        sleep(Duration::from_secs(1)).await;
        let versions: Vec<_> =
            machine.store().view().services().map(|service| service.meta.version).collect();
        machine.crash(Crash::Power);
        machine.start();
        machine.until_leading().await;
        let page = machine.peer().send(GetCommitted { from: 1 }).await.expect("alive");
        let oldest = page.begins - 1;
        assert!(versions[0] < oldest && oldest < versions[49], "some are only in the snapshot");
        for from in [oldest, oldest + 1, versions[48], versions[49]] {
            let mut watch = begin(&machine, Some(from));
            for expected in versions.iter().filter(|version| **version > from) {
                let message = watch.next().await.expect("the log has it");
                assert_eq!(version(&message), *expected, "from {from}");
            }
            let nothing = timeout(Duration::from_secs(1), watch.next()).await;
            assert!(nothing.is_err(), "nothing was written after the last one");
        }
        for from in [0, versions[0], oldest - 1] {
            let outcome = begin(&machine, Some(from)).next().await;
            assert_eq!(outcome, Err(watch::Error::Compacted), "from {from}");
        }
    });
}

#[test]
fn a_watch_on_a_member_that_gets_a_snapshot_is_told_where_to_resume() {
    run(async || {
        let network = Network::default();
        let (machines, leader, behind) = network.three_with_snapshots(31, 10, 2).await;
        create(&machines[leader].store(), "before").await.expect("written");
        let mut watch = begin(&machines[behind], Some(0));
        let seen = version(&watch.next().await.expect("it is in the log"));
        network.cut_off(behind as u64 + 1);
        create_each(&machines[leader].store(), 0..50).await;
        network.heal();
        let outcome = timeout(LONG, watch.next()).await.expect("it hears of the snapshot");
        assert!(network.snapshots() > 0, "it was too far behind for entries");
        assert_eq!(outcome, Err(watch::Error::Behind(seen)), "what was between is nowhere here");
    });
}
