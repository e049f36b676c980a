//! What was acknowledged and cannot be read is refused by name and place; what never was is cut.

use super::*;
use crate::log::logic::{
    GROUPS_BEGIN, Position, group,
    header::{self, Kind},
    names,
    record::Record,
};

/// A disk with a log of two acknowledged appends, and where each of them begins.
async fn two_appends() -> (SimulatedDisk, Rig, [usize; 3]) {
    let disk = SimulatedDisk::new(1);
    let rig = Rig::begin(&disk).await;
    let first = end(&disk);
    rig.ask(append(1..=2, 1)).await.unwrap();
    let second = end(&disk);
    rig.ask(append(3..=3, 1)).await.unwrap();
    let places = [first, second, end(&disk)];
    (disk, rig, places)
}

/// Where the next group goes in the first segment.
fn end(disk: &SimulatedDisk) -> usize {
    let bytes = disk.bytes(&names::segment(1));
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    used.next_multiple_of(group::GROUP_ALIGNMENT)
}

fn change(disk: &SimulatedDisk, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = disk.bytes(name);
    change(&mut bytes);
    disk.put(name, bytes);
}

fn flip(disk: &SimulatedDisk, name: &str, offset: usize) {
    change(disk, name, |bytes| bytes[offset] ^= 1);
}

fn assert_damaged<T: std::fmt::Debug>(
    outcome: Result<T, Error>,
    name: &str,
    within: std::ops::Range<usize>,
) {
    let error = outcome.expect_err("it is damaged");
    let Error::Damaged { file, offset } = &error else { panic!("{error}") };
    assert_eq!(file, name);
    assert!(within.contains(&usize::try_from(*offset).unwrap()), "{offset} in {within:?}");
    assert!(error.to_string().starts_with(&format!("{name} is damaged at byte {offset}: ")));
}

#[test]
fn an_acknowledged_group_before_another_is_refused() {
    simulate(async || {
        for byte in [0, 20, 60, 200] {
            let (disk, rig, [first, second, _]) = two_appends().await;
            let name = names::segment(1);
            flip(&disk, &name, first + byte);
            let before = disk.bytes(&name);
            let rig = rig.crash(&disk, Crash::Power);
            assert_damaged(rig.recover().await, &name, first..second);
            assert_eq!(disk.bytes(&name), before, "the file is left as it is");
        }
    });
}

#[test]
fn a_lost_write_of_an_acknowledged_group_is_refused() {
    simulate(async || {
        let (disk, rig, [first, second, _]) = two_appends().await;
        let name = names::segment(1);
        change(&disk, &name, |bytes| bytes[first..second].fill(0));
        let rig = rig.crash(&disk, Crash::Power);
        assert_damaged(rig.recover().await, &name, first..second);
    });
}

#[test]
fn the_last_group_is_refused_once_the_log_was_quiet() {
    simulate(async || {
        for quiet in [false, true] {
            let (disk, rig, [_, second, end]) = two_appends().await;
            if quiet {
                sleep(Duration::from_secs(1)).await;
            }
            let name = names::segment(1);
            flip(&disk, &name, second + 100);
            let outcome = rig.crash(&disk, Crash::Power).recover().await;
            if quiet {
                assert_damaged(outcome, &name, second..end);
            } else {
                assert_eq!(outcome.unwrap().entries, entries(1..=2, 1), "like a torn write");
            }
        }
    });
}

#[test]
fn a_quiet_log_writes_one_mark_and_then_nothing() {
    simulate(async || {
        let (disk, _rig, _) = two_appends().await;
        sleep(Duration::from_secs(1)).await;
        let before = disk.changes();
        sleep(Duration::from_secs(3600)).await;
        assert_eq!(disk.changes(), before);
    });
}

/// Puts a group behind the end that says what was durable when it was written.
fn plant(disk: &SimulatedDisk, at: usize, durable: usize, records: &[Record]) -> usize {
    let position = |offset: usize| Position { segment: 1, offset: offset as u64 };
    let bytes = group::encode(&KEY, position(at), position(durable), records);
    change(disk, &names::segment(1), |file| file[at..at + bytes.len()].copy_from_slice(&bytes));
    at + bytes.len()
}

#[test]
fn a_torn_group_before_a_whole_one_is_cut_when_neither_was_synced() {
    simulate(async || {
        let (disk, rig, [.., end]) = two_appends().await;
        let records = [Record::Entry(entry(4, 1))];
        let next = plant(&disk, end, end, &records);
        plant(&disk, next, end, &records);
        flip(&disk, &names::segment(1), end + 100);
        let rig = rig.crash(&disk, Crash::Power);
        assert_eq!(rig.recover().await.unwrap().entries, entries(1..=3, 1));
        let rest = disk.bytes(&names::segment(1)).split_off(end);
        assert!(rest.iter().all(|byte| *byte == 0), "the rest is zero before the next append");
        rig.ask(append(4..=4, 2)).await.unwrap();
        let recovered = rig.crash(&disk, Crash::Power).recover().await.unwrap();
        assert_eq!(recovered.entries.last(), Some(&entry(4, 2)));
    });
}

#[test]
fn a_torn_group_is_refused_when_a_later_one_says_that_it_was_durable() {
    simulate(async || {
        let (disk, rig, [.., end]) = two_appends().await;
        let records = [Record::Entry(entry(4, 1))];
        let next = plant(&disk, end, end, &records);
        plant(&disk, next, next, &records);
        flip(&disk, &names::segment(1), end + 100);
        let rig = rig.crash(&disk, Crash::Power);
        assert_damaged(rig.recover().await, &names::segment(1), end..next);
    });
}

#[test]
fn a_copy_of_a_group_in_another_place_says_nothing() {
    simulate(async || {
        let (disk, rig, [first, second, end]) = two_appends().await;
        change(&disk, &names::segment(1), |bytes| bytes.copy_within(first..second, end + 64));
        let recovered = rig.crash(&disk, Crash::Power).recover().await.unwrap();
        assert_eq!(recovered.entries, entries(1..=3, 1));
    });
}

/// A disk with several segments and a snapshot, compacted once.
async fn several() -> (SimulatedDisk, Rig) {
    let disk = SimulatedDisk::new(1);
    let rig = Rig::begin(&disk).await;
    for index in 1..=60 {
        rig.ask(append([index], 1)).await.unwrap();
        if index == 20 {
            rig.ask(SaveSnapshot(snapshot(15, 1, 90))).await.unwrap();
            rig.ask(Compact { to: 15 }).await.unwrap();
        }
    }
    (disk, rig)
}

#[test]
fn a_missing_segment_is_refused_by_name() {
    simulate(async || {
        let segments = |disk: &SimulatedDisk| {
            let names = disk.names().into_iter();
            names.filter(|name| name.ends_with(".log")).collect::<Vec<_>>()
        };
        let count = segments(&several().await.0).len();
        assert!(count > 3);
        for at in 0..count {
            let (disk, rig) = several().await;
            let name = segments(&disk)[at].clone();
            disk.take(&name);
            let error = rig.crash(&disk, Crash::Power).recover().await.unwrap_err();
            assert!(matches!(&error, Error::Missing { file } if *file == name), "{error}");
        }
    });
}

#[test]
fn all_segments_missing_beside_a_snapshot_is_no_new_directory() {
    simulate(async || {
        let (disk, rig) = several().await;
        disk.names().iter().filter(|name| name.ends_with(".log")).for_each(|name| disk.take(name));
        let error = rig.crash(&disk, Crash::Power).recover().await.unwrap_err();
        assert!(matches!(error, Error::Missing { .. }), "{error}");
    });
}

#[test]
fn a_file_name_without_its_durable_contents_is_refused() {
    simulate(async || {
        let (disk, rig) = several().await;
        let name = names::segment(99);
        disk.put(&name, vec![0; 16 * 1024]);
        assert_damaged(rig.crash(&disk, Crash::Power).recover().await, &name, 0..1);
    });
}

#[test]
fn a_snapshot_that_the_log_speaks_of_must_be_whole() {
    simulate(async || {
        let name = names::snapshot(15);
        let length = several().await.0.bytes(&name).len();
        for offset in [0, 20, 40, 60, 90_000, length - 1] {
            let (disk, rig) = several().await;
            flip(&disk, &name, offset);
            assert_damaged(rig.crash(&disk, Crash::Power).recover().await, &name, 0..offset + 1);
        }
        for length in [0, 27, 40, 1000, length - 1] {
            let (disk, rig) = several().await;
            change(&disk, &name, |bytes| bytes.truncate(length));
            assert_damaged(rig.crash(&disk, Crash::Power).recover().await, &name, 0..length + 1);
        }
        let (disk, rig) = several().await;
        disk.take(&name);
        let error = rig.crash(&disk, Crash::Power).recover().await.unwrap_err();
        assert!(matches!(&error, Error::Missing { file } if *file == name), "{error}");
    });
}

#[test]
fn a_newer_snapshot_that_nobody_was_told_of_may_be_broken() {
    simulate(async || {
        let (disk, rig) = several().await;
        disk.put(&names::snapshot(30), b"anything".to_vec());
        let recovered = rig.crash(&disk, Crash::Power).recover().await.unwrap();
        assert_eq!(recovered.snapshot.map(|info| info.index), Some(15));
    });
}

#[test]
fn files_that_never_became_whole_are_removed() {
    simulate(async || {
        let (disk, rig) = several().await;
        for name in ["000000000000000f.log.new", "0000000000000032.snapshot.new"] {
            disk.put(name, b"half".to_vec());
        }
        rig.crash(&disk, Crash::Power).recover().await.unwrap();
        assert!(disk.names().iter().all(|name| !name.ends_with(".new")), "{:?}", disk.names());
    });
}

#[test]
fn another_key_is_told_from_damage() {
    simulate(async || {
        let (disk, rig) = several().await;
        rig.tree.abort();
        disk.crash(Crash::Process);
        let rig = Rig::with(&disk, ToyCipher { key: 8 }, options());
        let error = rig.recover().await.unwrap_err();
        assert!(error.to_string().contains(".log cannot be decrypted: the data key"), "{error}");
    });
}

#[test]
fn a_later_version_is_refused_with_its_number() {
    simulate(async || {
        for (name, kind, number) in
            [(names::segment(1), Kind::Segment, 1), (names::snapshot(1), Kind::Snapshot, 1)]
        {
            let disk = SimulatedDisk::new(1);
            let rig = Rig::begin(&disk).await;
            rig.ask(append(1..=1, 1)).await.unwrap();
            rig.ask(SaveSnapshot(snapshot(1, 1, 1))).await.unwrap();
            change(&disk, &name, |bytes| {
                let mut header = header::encode(kind, number);
                header[8] = 2;
                let checksum = crc32c::crc32c(&header[..24]);
                header[24..].copy_from_slice(&checksum.to_le_bytes());
                bytes[..28].copy_from_slice(&header);
            });
            let error = rig.crash(&disk, Crash::Power).recover().await.unwrap_err();
            let begins = format!("{name} has format version 2, and this swarmd reads up to 1");
            assert!(error.to_string().starts_with(&begins), "{error}");
        }
    });
}

#[test]
fn a_directory_of_swarmkit_is_refused_and_left_alone() {
    simulate(async || {
        for name in ["wal-v3-encrypted", "snap-v3-encrypted", "wal", "snap-v3"] {
            let disk = SimulatedDisk::new(1);
            disk.put(name, Vec::new());
            let before = disk.changes();
            let error = Rig::start(&disk).recover().await.unwrap_err();
            let text = error.to_string();
            assert!(text.contains(name) && text.contains("--join-addr"), "{text}");
            assert_eq!(disk.changes(), before);
        }
    });
}

#[test]
fn a_mark_that_is_torn_leaves_the_one_before() {
    simulate(async || {
        let (disk, rig, _) = two_appends().await;
        sleep(Duration::from_secs(1)).await;
        rig.ask(append(4..=4, 1)).await.unwrap();
        sleep(Duration::from_secs(1)).await;
        let name = names::segment(1);
        let newest = header::Mark::newest(&disk.bytes(&name)).unwrap();
        flip(&disk, &name, usize::try_from(newest.offset()).unwrap() + 20);
        let older = header::Mark::newest(&disk.bytes(&name)).unwrap();
        assert!(older < newest && older.durable.offset > GROUPS_BEGIN);
        let recovered = rig.crash(&disk, Crash::Power).recover().await.unwrap();
        assert_eq!(recovered.entries, entries(1..=4, 1));
    });
}
