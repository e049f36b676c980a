//! Random histories with a crash anywhere, and bytes that nobody wrote.

use proptest::{collection::vec, prelude::*};
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::*;
use crate::{
    damage::damage,
    log::logic::{
        names,
        record::{Covered, Record},
        recovery::Recovery,
        replay::Replay,
    },
};

/// What the log must hold.
#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    begun: bool,
    hard_state: HardState,
    snapshot: Option<(u64, u64, usize)>,
    entries: Vec<Entry>,
}

#[derive(Debug, Clone)]
enum Step {
    Append(Append),
    Save(u64, u64, usize),
    Install(u64, u64, usize),
    Compact(u64),
}

impl Clone for Append {
    fn clone(&self) -> Self {
        Self { entries: self.entries.clone(), hard_state: self.hard_state }
    }
}

impl Model {
    fn base(&self) -> u64 {
        self.snapshot.map_or(0, |(index, ..)| index)
    }

    fn last(&self) -> u64 {
        self.entries.last().map_or(self.base(), |entry| entry.index)
    }

    /// Draws a step that raft could ask for.
    fn draw(&self, random: &mut StdRng) -> Step {
        let HardState { term, commit, .. } = self.hard_state;
        match random.gen_range(0..12) {
            0 if commit > self.base() => {
                let index = random.gen_range(self.base() + 1..=commit);
                let entry = self.entries.iter().find(|entry| entry.index == index).unwrap();
                Step::Save(index, entry.term, random.gen_range(0..80))
            }
            1 if random.gen_bool(0.3) => {
                let index = random.gen_range(commit + 1..commit + 10);
                Step::Install(index, term.max(1), random.gen_range(0..80))
            }
            2 => Step::Compact(random.gen_range(0..=self.last())),
            _ => {
                let term = term.max(1) + u64::from(random.gen_bool(0.2));
                let first = random.gen_range(commit + 1..=self.last() + 1);
                let count = random.gen_range(0..8);
                let entries = entries(first..first + count, term);
                let last = if count == 0 { self.last() } else { first + count - 1 };
                let commit = random.gen_range(commit..=last);
                let hard_state = (random.gen_bool(0.7) || term > self.hard_state.term)
                    .then_some(HardState { term, vote: 0, commit });
                Step::Append(Append { entries, hard_state })
            }
        }
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Append(Append { entries, hard_state }) => {
                if let Some(first) = entries.first() {
                    self.entries.retain(|entry| entry.index < first.index);
                }
                self.entries.extend(entries.iter().cloned());
                self.hard_state = hard_state.unwrap_or(self.hard_state);
            }
            Step::Save(index, term, count) | Step::Install(index, term, count) => {
                let continues = |entry: &Entry| entry.index == *index && entry.term == *term;
                if self.entries.iter().any(continues) {
                    self.entries.retain(|entry| entry.index > *index);
                } else {
                    self.entries.clear();
                }
                self.snapshot = Some((*index, *term, *count));
                self.hard_state.commit = self.hard_state.commit.max(*index);
                self.hard_state.term = self.hard_state.term.max(*term);
            }
            Step::Compact(_) => {}
        }
    }
}

async fn ask(rig: &Rig, step: Step) -> Result<(), Error> {
    match step {
        Step::Append(append) => rig.ask(append).await,
        Step::Save(index, term, count) => rig.ask(SaveSnapshot(snapshot(index, term, count))).await,
        Step::Install(index, term, count) => {
            rig.ask(InstallSnapshot(snapshot(index, term, count))).await
        }
        Step::Compact(to) => rig.ask(Compact { to }).await,
    }
}

async fn find(rig: &Rig) -> Model {
    let recovered = rig.recover().await.unwrap();
    let snapshot = match &recovered.snapshot {
        None => None,
        Some(info) => Some((info.index, info.term, rig.objects().await.unwrap().len())),
    };
    Model {
        begun: recovered.member.is_some(),
        hard_state: recovered.hard_state,
        snapshot,
        entries: recovered.entries,
    }
}

/// Several lives of one member; each ends somewhere in the middle of a batch of requests.
async fn live_and_die(seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let disk = SimulatedDisk::new(seed);
    let mut rig = Rig::start(&disk);
    let mut model = find(&rig).await;
    for life in 0..4 {
        disk.set_temper(Temper {
            changes_until_off: Some(random.gen_range(0..120)),
            sync_time: Duration::ZERO..Duration::from_millis(3),
            ..Temper::default()
        });
        if !model.begun && rig.ask(Begin(member())).await.is_ok() {
            model.begun = true;
        }
        // Each model after the last is what one more request would have led to.
        let mut models = vec![model.clone()];
        let mut acknowledged = 0;
        while model.begun && acknowledged + 1 == models.len() {
            let mut asked = Vec::new();
            for _ in 0..random.gen_range(1..5) {
                let mut next = models.last().unwrap().clone();
                let step = next.draw(&mut random);
                // Other requests than appends are asked alone, as raft does.
                let alone = !matches!(step, Step::Append(_));
                if alone && !asked.is_empty() {
                    break;
                }
                next.apply(&step);
                models.push(next);
                asked.push(ask(&rig, step));
                if alone {
                    break;
                }
            }
            let answers = join_all(asked).await;
            let succeeded = answers.iter().take_while(|answer| answer.is_ok()).count();
            assert!(answers[succeeded..].iter().all(Result::is_err), "seed {seed}: {answers:?}");
            acknowledged += succeeded;
        }
        let crash = if random.gen_bool(0.3) { Crash::Process } else { Crash::Power };
        rig = rig.crash(&disk, crash);
        let found = find(&rig).await;
        if !models[0].begun {
            model = found;
            continue;
        }
        assert!(
            models[acknowledged..].contains(&found),
            "seed {seed}, life {life}: {found:#?} is none of {:#?}",
            &models[acknowledged..]
        );
        model = found;
    }
}

#[test]
fn random_histories_keep_what_was_acknowledged_and_nothing_torn() {
    simulate(async || {
        for seed in 0..400 {
            live_and_die(seed).await;
        }
    });
}

/// A segment as it is after a few appends.
fn segment() -> Vec<u8> {
    simulate(async || {
        let disk = SimulatedDisk::new(1);
        let rig = Rig::begin(&disk).await;
        for index in 1..=4 {
            rig.ask(append([index], 1)).await.unwrap();
        }
        disk.bytes(&names::segment(1))
    })
}

fn read(bytes: &[u8]) -> Result<(), Error> {
    let mut recovery = Recovery::new(&KEY);
    recovery.read(1, bytes)?;
    recovery.end()?;
    recovery.replay.finish().ok();
    Ok(())
}

/// Records that raft would never write in this order.
fn any_record() -> impl Strategy<Value = Record> {
    let number = || prop_oneof![0..6_u64, any::<u64>(), Just(u64::MAX)];
    prop_oneof![
        (number(), number(), any::<bool>(), vec(any::<u8>(), 0..8)).prop_map(
            |(index, term, changes, data)| {
                let kind = if changes { EntryKind::ConfChange } else { EntryKind::Normal };
                Record::Entry(Entry { index, term, kind, data: data.into() })
            }
        ),
        (number(), number(), number())
            .prop_map(|(term, vote, commit)| Record::HardState(HardState { term, vote, commit })),
        (number(), any::<String>(), any::<String>()).prop_map(|(raft_id, node_id, cluster_id)| {
            Record::Member(Member { raft_id, node_id, cluster_id })
        }),
        (number(), number()).prop_map(|(index, term)| Record::Snapshot(Covered { index, term })),
    ]
}

proptest! {
    #[test]
    fn records_read_as_they_were_written_and_no_others_panic(
        record in any_record(), damage in damage(), bytes: Vec<u8>,
    ) {
        let written = record.encode();
        prop_assert_eq!(Record::decode(written.clone()), Some(record));
        let _ = Record::decode(damage.done_to(written));
        let _ = Record::decode(bytes);
    }

    #[test]
    fn no_order_of_records_makes_a_replay_panic(records in vec(any_record(), 0..12)) {
        let mut replay = Replay::default();
        if records.into_iter().all(|record| replay.apply(record).is_ok()) {
            let _ = replay.finish();
        }
    }

    #[test]
    fn names_are_read_in_the_one_way_they_are_written(number: u64, other: String) {
        let listing = names::sort(vec![
            names::segment(number),
            names::snapshot(number),
            names::unfinished(&names::segment(number)),
            format!("{other}.log"),
            format!("+{number:015x}.log"),
        ]);
        prop_assert!(listing.segments.contains(&number) && listing.segments.len() <= 2);
        prop_assert_eq!(listing.snapshots, [number]);
        prop_assert_eq!(listing.unfinished, [format!("{}.new", names::segment(number))]);
    }

    #[test]
    fn no_bytes_make_recovery_panic(bytes in vec(any::<u8>(), 0..20_000)) {
        read(&bytes).expect_err("nobody wrote this");
    }

    #[test]
    fn no_change_to_a_segment_makes_recovery_panic(
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        length in any::<prop::sample::Index>(),
        shorter in any::<bool>(),
    ) {
        let mut bytes = segment();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if shorter {
            bytes.truncate(length.index(bytes.len()));
        }
        read(&bytes).ok();
    }

    #[test]
    fn no_snapshot_makes_recovery_panic(
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        tail in vec(any::<u8>(), 0..100),
    ) {
        simulate(async || {
            let disk = SimulatedDisk::new(1);
            let rig = Rig::begin(&disk).await;
            rig.ask(append(1..=4, 1)).await.unwrap();
            rig.ask(SaveSnapshot(snapshot(3, 1, 3))).await.unwrap();
            let mut bytes = disk.bytes(&names::snapshot(3));
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes.extend(tail);
            disk.put(&names::snapshot(3), bytes);
            let rig = rig.crash(&disk, Crash::Power);
            if rig.recover().await.is_ok() {
                rig.objects().await.ok();
            }
        });
    }
}
