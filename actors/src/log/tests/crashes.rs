//! A crash at every single step: whatever was answered is there, whatever was not is whole or gone.

use super::*;

/// What one step of a history asks for, in order.
#[derive(Clone, Copy)]
enum Step {
    Begin,
    Append(u64, u64, u64),
    Save(u64),
    Install(u64, u64),
    Compact,
}

use Step::{Append as Add, Begin as Start, Compact as Tidy, Install, Save};

impl Step {
    async fn ask(self, rig: &Rig) -> Result<(), Error> {
        match self {
            Start => rig.ask(Begin(member())).await,
            Add(first, last, term) => rig.ask(append(first..=last, term)).await,
            Save(index) => rig.ask(SaveSnapshot(snapshot(index, 1, 60))).await,
            Install(index, term) => rig.ask(InstallSnapshot(snapshot(index, term, 60))).await,
            Tidy => rig.ask(Compact { to: u64::MAX }).await,
        }
    }
}

/// Everything recovery gives back.
#[derive(Debug, PartialEq)]
struct Found {
    member: Option<Member>,
    hard_state: HardState,
    snapshot: Option<u64>,
    entries: Vec<Entry>,
    objects: usize,
}

async fn find(rig: &Rig) -> Found {
    let Recovered { member, hard_state, snapshot, entries } = rig.recover().await.unwrap();
    let objects = match member {
        Some(_) => rig.objects().await.unwrap().len(),
        None => 0,
    };
    Found { member, hard_state, snapshot: snapshot.map(|info| info.index), entries, objects }
}

/// What is found after each number of steps when nothing goes wrong.
async fn expected(steps: &[Step]) -> Vec<Found> {
    let mut found = Vec::new();
    for count in 0..=steps.len() {
        let disk = SimulatedDisk::new(0);
        let rig = Rig::start(&disk);
        rig.recover().await.unwrap();
        for step in &steps[..count] {
            step.ask(&rig).await.unwrap();
        }
        found.push(find(&rig.crash(&disk, Crash::Power)).await);
    }
    found
}

/// Loses power after every possible number of changes to the disk, several times each.
fn check(steps: &[Step]) {
    simulate(async || {
        let expected = expected(steps).await;
        for seed in 0..6 {
            let mut off_after = 0;
            loop {
                let disk = SimulatedDisk::new(seed * 1000 + off_after);
                disk.set_temper(Temper { changes_until_off: Some(off_after), ..Temper::default() });
                let rig = Rig::start(&disk);
                let mut done = 0;
                if rig.recover().await.is_ok() {
                    while done < steps.len() && steps[done].ask(&rig).await.is_ok() {
                        done += 1;
                    }
                }
                let crash = if seed == 0 { Crash::Process } else { Crash::Power };
                let rig = rig.crash(&disk, crash);
                let found = find(&rig).await;
                let next = expected.get(done + 1).unwrap_or(&expected[done]);
                assert!(
                    found == expected[done] || found == *next,
                    "off after {off_after}, seed {seed}, {done} steps: {found:?}"
                );
                // What was reported once is as durable as if it had been answered.
                let again = find(&rig.crash(&disk, Crash::Power)).await;
                assert_eq!(again, found, "off after {off_after}, seed {seed}");
                if done == steps.len() {
                    break;
                }
                off_after += 1;
            }
        }
    });
}

#[test]
fn between_hard_state_and_entries() {
    check(&[Start, Add(1, 3, 1), Add(4, 4, 2), Add(4, 6, 3)]);
}

#[test]
fn during_the_creation_of_a_segment() {
    check(&[Start, Add(1, 5, 1), Add(6, 10, 1), Add(11, 15, 1), Add(16, 20, 1), Add(21, 21, 2)]);
}

#[test]
fn during_a_snapshot() {
    check(&[Start, Add(1, 9, 1), Save(4), Add(10, 11, 1), Save(8), Add(12, 12, 2)]);
}

#[test]
fn during_a_snapshot_of_the_leader() {
    check(&[Start, Add(1, 9, 1), Install(20, 2), Add(21, 22, 2), Install(30, 3), Add(31, 31, 3)]);
}

#[test]
fn during_compaction() {
    let add = |number: u64| Add(number * 5 + 1, number * 5 + 5, 1);
    check(&[Start, add(0), add(1), add(2), add(3), Save(17), Tidy, add(4), Save(19), Tidy, add(5)]);
}
