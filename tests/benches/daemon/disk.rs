//! What the disk below a state directory can do: the measure that writes are held against.

use std::{
    fs::OpenOptions,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
    time::Duration,
};

use crate::now;

/// About what the log writes for one service, frame included.
pub(crate) const RECORD_BYTES: usize = 512;

/// The file is laid down before, like the segments of the log.
const FILE_BYTES: usize = 64 << 20;

/// How many appends with an `fdatasync` each fit into a second.
pub(crate) fn syncs_per_second(folder: &Path, during: Duration) -> f64 {
    let path = folder.join("raw");
    let file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&path);
    let file = file.expect("the folder can be written");
    file.write_all_at(&vec![0; FILE_BYTES], 0).expect("there is room");
    file.sync_all().expect("it can be synced");
    let (record, began, mut count) = ([7; RECORD_BYTES], now(), 0);
    while now() - began < during {
        let offset = count * RECORD_BYTES % FILE_BYTES;
        file.write_all_at(&record, offset as u64).expect("it can be written");
        file.sync_data().expect("it can be synced");
        count += 1;
    }
    let seconds = (now() - began).as_secs_f64();
    std::fs::remove_file(path).expect("it can be removed");
    count as f64 / seconds
}
