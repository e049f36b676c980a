//! Peers with production logs on simulated disks, alone and as three.

mod decisions;
mod decoders;
mod fail_over;
mod forced;
mod members;
mod refusals;
mod rig;
mod saving;
mod snapshots;
mod storage;
mod watching;

use std::{cell::Cell, rc::Rc, time::Duration};

use rig::{Machine, Network, create, create_each, run};
use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::{
    log::simulated::{Crash, Temper},
    store::{NotWritten, TransactError},
    supervision::testing::{When, doom, listen},
};

const LONG: Duration = Duration::from_secs(30);

#[test]
fn a_new_cluster_of_one_leads_at_once_and_takes_writes() {
    run(async || {
        let mut machine = Machine::alone(1);
        let began = Instant::now();
        machine.start();
        machine.until_leading().await;
        assert!(began.elapsed() < TICK, "a sole voter waits for no election");
        create(&machine.store(), "a").await.expect("written");
        assert_eq!(machine.names(), ["a"]);
    });
}

#[test]
fn what_was_acknowledged_is_there_after_any_crash() {
    run(async || {
        let mut machine = Machine::alone(2);
        machine.start();
        machine.until_leading().await;
        for (number, crash) in
            [Crash::Process, Crash::Power].into_iter().cycle().take(6).enumerate()
        {
            let name = format!("s{number}");
            create(&machine.store(), &name).await.expect("written");
            machine.crash(crash);
            let began = Instant::now();
            machine.start();
            machine.until_leading().await;
            assert!(began.elapsed() < TICK, "nor does one that starts again");
            assert_eq!(machine.names().len(), number + 1);
        }
    });
}

#[test]
fn a_founder_killed_anywhere_in_its_founding_leads_in_the_end() {
    run(async || {
        for changes in 0..24 {
            let mut machine = Machine::alone(changes);
            machine
                .disk
                .set_temper(Temper { changes_until_off: Some(changes), ..Temper::default() });
            machine.start();
            sleep(TICK / 2).await;
            machine.crash(Crash::Process);
            machine.disk.set_temper(Temper::default());
            // Each start of a founder draws its id anew.
            machine.config.member.raft_id = 99;
            machine.config.founders[0].raft_id = 99;
            machine.start();
            machine.until_leading().await;
            create(&machine.store(), "a").await.expect("written");
        }
    });
}

#[test]
fn snapshots_and_compaction_lose_nothing() {
    run(async || {
        let mut machine = Machine::alone(3);
        machine.config.snapshot_interval = 20;
        machine.config.entries_kept = 5;
        machine.start();
        machine.until_leading().await;
        create_each(&machine.store(), 0..100).await;
        sleep(Duration::from_secs(1)).await;
        let members =
            machine.peer().send(GetStatus).await.expect("alive").expect("a member").members;
        let snapshots = machine.files().into_iter().filter(|name| name.ends_with(".snapshot"));
        assert_eq!(snapshots.count(), 1);
        machine.crash(Crash::Power);
        machine.start();
        machine.until_leading().await;
        assert_eq!(machine.names().len(), 100);
        machine.store().view().verify_indices();
        let status = machine.peer().send(GetStatus).await.expect("alive").expect("a member");
        assert_eq!(status.members, members, "the snapshot says who they are");
    });
}

#[test]
fn the_log_is_given_in_pages_as_far_back_as_it_goes() {
    run(async || {
        let mut machine = Machine::alone(6);
        machine.config.snapshot_interval = 50;
        machine.config.entries_kept = 30;
        machine.start();
        machine.until_leading().await;
        create_each(&machine.store(), 0..60).await;
        sleep(Duration::from_secs(1)).await;
        let ask = async |from| machine.peer().send(GetCommitted { from }).await.expect("alive");
        let LogPage { begins, entries } = ask(1).await;
        assert!(begins > 1, "the snapshot has covered some");
        let last = machine.store().view().index();
        let indices: Vec<_> = entries.iter().map(|entry| entry.index).collect();
        assert_eq!(indices, (begins..=last).collect::<Vec<_>>());
        assert_eq!(ask(last).await.entries, entries[entries.len() - 1..]);
        assert_eq!(ask(last + 1).await, LogPage { begins, entries: Vec::new() });
        let large = "x".repeat(400 << 10);
        for number in 0..5 {
            create(&machine.store(), &format!("{number}{large}")).await.expect("written");
        }
        let page = ask(last + 1).await;
        assert!((1..5).contains(&page.entries.len()), "{} of two megabytes", page.entries.len());
    });
}

#[test]
fn a_long_log_is_applied_a_part_at_a_time() {
    run(async || {
        let mut machine = Machine::alone(6);
        machine.start();
        machine.until_leading().await;
        for number in 0..1_500 {
            create(&machine.store(), &format!("s{number}")).await.expect("written");
        }
        machine.crash(Crash::Power);
        let told = Rc::new(Cell::new(0));
        let seen = told.clone();
        listen(Some(Box::new(move |_, message| {
            seen.set(seen.get() + u32::from(message == "Events"));
        })));
        machine.start();
        machine.until_leading().await;
        listen(None);
        assert_eq!(machine.names().len(), 1_500);
        let told = told.get();
        assert!(told > 5, "six parts of 256, told in {told} messages");
    });
}

#[test]
fn a_peer_that_dies_begins_again_with_its_store() {
    run(async || {
        let mut machine = Machine::alone(4);
        machine.start();
        machine.until_leading().await;
        create(&machine.store(), "a").await.expect("written");
        let deadly = machine.store().transact(|_| -> Result<(), ()> { panic!("a bug") }).await;
        assert!(matches!(deadly, Err(TransactError::NotWritten(_))));
        sleep(Duration::from_secs(1)).await;
        assert_eq!(*machine.told.borrow(), [None, Some(2), None, Some(3)]);
        create(&machine.store(), "b").await.expect("written");
        assert_eq!(machine.names(), ["a", "b"]);
    });
}

#[test]
fn news_that_somebody_has_died_of_are_told_again() {
    run(async || {
        let mut machine = Machine::alone(15);
        machine.start();
        doom("machine/listener", When::BeforeHandling);
        sleep(Duration::from_secs(1)).await;
        assert_eq!(*machine.told.borrow(), [None, Some(2)]);
    });
}

#[test]
fn a_disk_that_fails_ends_the_peer_and_acknowledges_nothing() {
    run(async || {
        let mut machine = Machine::alone(5);
        machine.start();
        machine.until_leading().await;
        machine.disk.set_temper(Temper { syncs_until_failure: Some(0), ..Temper::default() });
        let outcome = create(&machine.store(), "a").await;
        assert_eq!(outcome, Err(TransactError::OutcomeUnknown));
        sleep(Duration::from_secs(1)).await;
        let ended = machine.ended.borrow().clone();
        assert!(matches!(ended.as_slice(), [Error::Log(log::Error::Failed { .. })]), "{ended:?}");
        let refused = create(&machine.store(), "b").await;
        assert_eq!(refused, Err(TransactError::NotWritten(NotWritten::NotLeading)));
    });
}

#[test]
fn the_log_of_another_node_is_refused() {
    run(async || {
        let mut machine = Machine::alone(6);
        machine.start();
        machine.until_leading().await;
        machine.crash(Crash::Process);
        machine.config.member.node_id = "another".to_owned();
        machine.start();
        sleep(Duration::from_secs(1)).await;
        let ended = machine.ended.borrow().clone();
        assert!(matches!(ended.as_slice(), [Error::AnotherNode { .. }]), "{ended:?}");
    });
}

#[test]
fn reads_wait_for_what_was_acknowledged() {
    run(async || {
        let mut machine = Machine::alone(7);
        machine.start();
        machine.until_leading().await;
        create(&machine.store(), "a").await.expect("written");
        let peer = machine.peer();
        let (first, second) = tokio::join!(peer.send(ReadIndex), peer.send(ReadIndex));
        let index = machine.store().view().index();
        assert_eq!((first, second), (Ok(Ok(index)), Ok(Ok(index))));
        let status = peer.send(GetStatus).await.expect("alive").expect("a member");
        assert_eq!((status.applied, status.committed, status.last), (index, index, index));
        assert_eq!((status.leader, status.voters), (Some(1), vec![1]));
        assert_eq!(status.members, machine.config.founders);
    });
}

#[test]
fn three_agree_and_go_on_without_one() {
    run(async || {
        let network = Network::default();
        let mut machines = network.three(8);
        machines.iter_mut().for_each(Machine::start);
        let leader = network.until_leader(&machines).await;
        create_each(&machines[leader].store(), 0..20).await;
        machines[leader].crash(Crash::Power);
        let next = network.until_leader(&machines).await;
        assert_ne!(next, leader);
        let late = timeout(LONG, create(&machines[next].store(), "late")).await;
        assert_eq!(late, Ok(Ok(())));
        machines[leader].start();
        sleep(Duration::from_secs(5)).await;
        for machine in &machines {
            assert_eq!(machine.names().len(), 21, "{}", machine.config.member.node_id);
            machine.store().view().verify_indices();
        }
        let followers = (0..3).filter(|number| *number != network.leader(&machines).expect("one"));
        for follower in followers {
            let peer = machines[follower].peer();
            assert_eq!(peer.send(ReadIndex).await, Ok(Err(NotLeading)));
        }
    });
}

#[test]
fn a_leader_that_is_cut_off_says_that_it_does_not_know() {
    run(async || {
        let network = Network::default();
        let mut machines = network.three(9);
        machines.iter_mut().for_each(Machine::start);
        let leader = network.until_leader(&machines).await;
        create(&machines[leader].store(), "before").await.expect("written");
        network.cut_off(leader as u64 + 1);
        let outcome = timeout(LONG, create(&machines[leader].store(), "lost")).await;
        assert_eq!(outcome, Ok(Err(TransactError::OutcomeUnknown)));
        network.heal();
        let next = network.until_leader(&machines).await;
        create(&machines[next].store(), "after").await.expect("written");
        sleep(Duration::from_secs(5)).await;
        for machine in &machines {
            assert_eq!(machine.names(), ["after", "before"]);
        }
    });
}

#[test]
fn a_log_that_dies_between_two_writes_is_recovered_anew() {
    run(async || {
        let mut machine = Machine::alone(14);
        machine.start();
        machine.until_leading().await;
        create(&machine.store(), "a").await.expect("written");
        // The log dies of something that raft has not asked.
        doom("machine/log", When::BeforeHandling);
        machine.log().try_send(log::Compact { to: 0 }).ok();
        sleep(Duration::from_secs(1)).await;
        let outcome = create(&machine.store(), "b").await;
        assert_eq!(outcome, Err(TransactError::OutcomeUnknown), "raft finds the log unread");
        sleep(Duration::from_secs(1)).await;
        create(&machine.store(), "c").await.expect("written");
        assert!(machine.ended.borrow().is_empty());
        assert!(machine.names().contains(&"a".to_owned()));
    });
}
