//! Pages of the log in memory.

use std::cell::Cell;

use raft::eraftpb::Entry;

use crate::raft::storage::limited;

fn entries(count: u64) -> Vec<Entry> {
    let entry = |index| {
        let mut entry = Entry::default();
        entry.set_index(index);
        entry.set_data(vec![b'x'; 60].into());
        entry
    };
    (1..=count).map(entry).collect()
}

#[test]
fn a_page_is_limited_before_it_is_copied() {
    let log = entries(1_000);
    for (max_size, taken, looked_at) in [
        (Some(0), 1, 2),
        (Some(100), 1, 2),
        (Some(1_000), 10, 11),
        (Some(1_099), 10, 11),
        (Some(u64::MAX), 1_000, 1_000),
        (None, 1_000, 1_000),
    ] {
        let seen = Cell::new(0);
        let asked_for = log.iter().inspect(|_| seen.set(seen.get() + 1));
        let page: Vec<_> = limited(asked_for, max_size).map(Entry::get_index).collect();
        assert_eq!(page, (1..=taken).collect::<Vec<_>>(), "{max_size:?}");
        assert_eq!(seen.get(), looked_at, "{max_size:?}");
    }
}
