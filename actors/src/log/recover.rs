//! Reads a directory after a start, cuts what was never acknowledged, and opens the log.

use super::{
    Error, Recovered,
    files::{Directory, OpenFile},
    journal::{Journal, Segment},
    logic::{
        names,
        record::{Covered, Record},
        recovery::{Last, Recovery},
    },
    snapshots::SavedSnapshot,
};

/// How much is set to zero with one write.
const ZERO_BYTES: usize = 1024 * 1024;

/// Opens the log of a directory; there is none when the directory is new.
pub(super) async fn recover(
    directory: &Directory,
    segment_bytes: u64,
) -> Result<Option<(Journal, Recovered)>, Error> {
    let listing = directory.list()?;
    if let Some(name) = listing.foreign {
        return Err(Error::Foreign { name });
    }
    for name in listing.unfinished {
        directory.remove(&name).await?;
    }
    if listing.segments.is_empty() && !listing.snapshots.is_empty() {
        return Err(Error::Missing { file: names::segment(1) });
    }
    let mut recovery = Recovery::new(directory.cipher());
    let mut files = Vec::new();
    for sequence in listing.segments {
        let file = directory.open(&names::segment(sequence))?;
        let bytes = file.len()?;
        let length = usize::try_from(bytes).expect("a segment fits in memory");
        recovery.read(sequence, &file.read(0, length)?)?;
        files.push((file, bytes));
    }
    let Some(last) = recovery.end()? else { return Ok(None) };
    let Recovery { mut replay, segments, .. } = recovery;

    let acknowledged = replay.covered;
    let snapshot = newest(directory, &listing.snapshots, acknowledged)?;
    let info = snapshot.as_ref().map(|snapshot| snapshot.info().clone());
    let used = info.as_ref().map(|info| Covered { index: info.index, term: info.term });
    if let Some(covered) = used {
        replay.cover(covered);
    }
    let member = replay.member.take().expect("the first group of a segment names the member");
    let base = used.map_or(0, |covered| covered.index);
    let oldest = segments.first().map_or(1, |(sequence, _)| *sequence);
    let (hard_state, entries) = replay.finish().map_err(|_| match oldest {
        1 => Error::Damaged { file: names::segment(last.end.segment), offset: last.end.offset },
        _ => Error::Missing { file: names::segment(oldest - 1) },
    })?;

    let file = &files.last().expect("a log has a segment").0;
    seal_end(directory, file, last).await?;

    let segments: Vec<_> = segments
        .into_iter()
        .zip(files)
        .map(|((_, highest), (file, bytes))| Segment {
            file,
            bytes,
            highest,
            mark_count: last.mark_count,
        })
        .collect();
    let mut journal = Journal {
        directory: directory.clone(),
        segment_bytes,
        segments,
        end: last.end,
        marked: None,
        member: member.clone(),
        hard_state,
        snapshot,
        last_index: entries.last().map_or(base, |entry| entry.index),
    };
    // A snapshot that was whole before the log spoke of it: what is appended next may follow it.
    if let Some(covered) = used.filter(|used| Some(*used) != acknowledged) {
        journal.append(vec![Record::Snapshot(covered)]).await?;
    }
    Ok(Some((journal, Recovered { member: Some(member), hard_state, snapshot: info, entries })))
}

/// Opens the newest snapshot that is whole, which is at or after the one the log speaks of.
fn newest(
    directory: &Directory,
    indices: &[u64],
    covered: Option<Covered>,
) -> Result<Option<SavedSnapshot>, Error> {
    let acknowledged = covered.map_or(0, |covered| covered.index);
    for index in indices.iter().rev().filter(|index| **index >= acknowledged) {
        match SavedSnapshot::open(directory, *index) {
            // Nobody was told of it: the one before is good enough.
            Err(Error::Damaged { .. }) if *index > acknowledged => {}
            opened => return opened.map(Some),
        }
    }
    match covered {
        None => Ok(None),
        Some(covered) => Err(Error::Missing { file: names::snapshot(covered.index) }),
    }
}

/// Makes what was read durable, and everything after it zero.
async fn seal_end(directory: &Directory, file: &OpenFile, last: Last) -> Result<(), Error> {
    // A sync that fails leaves pages that count as clean and are on no disk: a sync alone would
    // not write them again.
    let bytes = usize::try_from(last.end.offset - last.tail).expect("a segment fits in memory");
    file.write(last.tail, &file.read(last.tail, bytes)?)?;
    if last.dirty {
        let zeros = vec![0; ZERO_BYTES];
        let (mut at, end) = (last.end.offset, file.len()?);
        while at < end {
            let bytes = usize::try_from(end - at).map_or(ZERO_BYTES, |rest| rest.min(ZERO_BYTES));
            file.write(at, &zeros[..bytes])?;
            at += bytes as u64;
        }
    }
    file.sync().await?;
    directory.sync().await
}
