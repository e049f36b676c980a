//! What the agent remembers of its tasks, in sled (architecture D12: a machine may lose it).
//!
//! A record is one task with everything known of it. sled writes in the background; a killed
//! process loses nothing that was flushed to the system, which a write waits for. sled repeats its
//! first failure for ever, so after one the database is opened again.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::Arc,
    thread::sleep,
    time::Duration,
};

use actors::agent::port::{DatabaseChange, DatabaseError, StoredTask, TaskDatabase};
use futures_util::future::LocalBoxFuture;
use prost::Message;
use protocol::{id::TaskId, wire};

/// sled keeps a gibibyte unless it is told otherwise.
const CACHE_BYTES: u64 = 1 << 20;

/// How sled begins to say that a database is open already. It is for a moment after it was closed: threads of
/// sled's own let go of it last.
const LOCKED: &str = "could not acquire lock";
const UNLOCK_TRIES: u32 = 100;
/// The same while an agent waits for it, with all that it does.
const UNLOCK_TRIES_AT_WORK: u32 = 20;
const UNLOCK_PAUSE: Duration = Duration::from_millis(10);

/// A database that did not open is kept under this name, in place of an earlier one.
const SET_ASIDE: &str = "tasks.damaged";

/// The agent's tasks on this machine.
pub struct SledDatabase {
    path: PathBuf,
    /// None from a failure until it can be opened again.
    db: RefCell<Option<sled::Db>>,
}

/// Why there is no database.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The machine does not let it be opened, or made: a full disk, missing rights.
    #[error("the task database {} cannot be opened", .path.display())]
    Unusable {
        /// Where it would be.
        path: PathBuf,
        /// What sled said.
        source: sled::Error,
    },
    /// A damaged one could not be moved out of the way.
    #[error("the damaged task database {} cannot be set aside", .path.display())]
    InTheWay {
        /// Where it is.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A record as it is stored: three optional parts of our own wire types.
#[derive(Clone, PartialEq, Message)]
struct Record {
    #[prost(message, optional, tag = "1")]
    task: Option<wire::Task>,
    #[prost(message, optional, tag = "2")]
    status: Option<wire::TaskStatus>,
    #[prost(bool, tag = "3")]
    assigned: bool,
}

impl SledDatabase {
    /// Opens the database in `folder`. One that is damaged is set aside: the managers send the tasks
    /// again. One that this machine cannot open now is left as it is.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let path = folder.join("tasks");
        let unusable = |source| Error::Unusable { path: path.clone(), source };
        let damage = match open_whole(&path, UNLOCK_TRIES) {
            Ok(db) => return Ok(Self { path, db: RefCell::new(Some(db)) }),
            Err(error) if !is_damage(&error, &path) => return Err(unusable(error)),
            Err(error) => error,
        };
        let aside = folder.join(SET_ASIDE);
        tracing::warn!(error = %damage, aside = %aside.display(), "the task database is damaged and set aside");
        set_aside(&path, &aside)
            .map_err(|source| Error::InTheWay { path: path.clone(), source })?;
        let db = open_whole(&path, UNLOCK_TRIES).map_err(unusable)?;
        Ok(Self { path, db: RefCell::new(Some(db)) })
    }

    /// Works on the database, and gives it up when that fails: the next call opens it again.
    fn with<T>(
        &self,
        work: impl FnOnce(&sled::Db) -> Result<T, DatabaseError>,
    ) -> Result<T, DatabaseError> {
        let mut held = self.db.borrow_mut();
        let db = match held.take() {
            Some(db) => db,
            None => open_whole(&self.path, UNLOCK_TRIES_AT_WORK).map_err(|error| failed(&error))?,
        };
        let done = work(&db)?;
        *held = Some(db);
        Ok(done)
    }
}

fn apply(db: &sled::Db, changes: Vec<DatabaseChange>) -> Result<(), DatabaseError> {
    let mut batch = sled::Batch::default();
    // Later changes of one write see the earlier ones.
    let mut written = BTreeMap::<TaskId, Option<Record>>::new();
    for change in changes {
        let id = match &change {
            DatabaseChange::PutTask(task) => TaskId::from(task.id.as_str()),
            DatabaseChange::PutStatus(id, _)
            | DatabaseChange::PutAssigned(id, _)
            | DatabaseChange::Remove(id) => id.clone(),
        };
        let before = match written.remove(&id) {
            Some(record) => record,
            None => record(db, &id)?,
        };
        written.insert(id, changed(before, change));
    }
    for (id, record) in written {
        match record {
            Some(record) => batch.insert(id.as_str(), record.encode_to_vec()),
            None => batch.remove(id.as_str()),
        }
    }
    db.apply_batch(batch).map_err(|error| failed(&error))?;
    db.flush().map_err(|error| failed(&error))?;
    Ok(())
}

fn record(db: &sled::Db, id: &TaskId) -> Result<Option<Record>, DatabaseError> {
    let found = db.get(id.as_str()).map_err(|error| failed(&error))?;
    found.map(|bytes| Record::decode(&*bytes).map_err(|error| failed(&error))).transpose()
}

fn read(db: &sled::Db) -> Result<Vec<StoredTask>, DatabaseError> {
    let stored = |entry: sled::Result<(sled::IVec, sled::IVec)>| {
        let (key, bytes) = entry.map_err(|error| failed(&error))?;
        let record = Record::decode(&*bytes).map_err(|error| failed(&error))?;
        let id = std::str::from_utf8(&key).map_err(|error| failed(&error))?;
        Ok(StoredTask {
            id: id.into(),
            task: record.task.map(Arc::new),
            status: record.status,
            assigned: record.assigned,
        })
    };
    db.iter().map(stored).collect()
}

fn changed(before: Option<Record>, change: DatabaseChange) -> Option<Record> {
    let record = before.unwrap_or_default();
    match change {
        DatabaseChange::PutTask(task) => Some(Record { task: Some((*task).clone()), ..record }),
        DatabaseChange::PutStatus(_, status) => Some(Record { status: Some(status), ..record }),
        DatabaseChange::PutAssigned(_, assigned) => Some(Record { assigned, ..record }),
        DatabaseChange::Remove(_) => None,
    }
}

/// Opens a database and reads all of it once: sled finds damage only where it looks.
fn open_whole(path: &Path, unlock_tries: u32) -> sled::Result<sled::Db> {
    // Every write flushes by itself; sled's own clock would touch the disk of an idle node twice a
    // second.
    let config = sled::Config::new().path(path).cache_capacity(CACHE_BYTES).flush_every_ms(None);
    let mut tries = 1;
    let db = loop {
        match config.open() {
            Err(error) if is_locked(&error) && tries < unlock_tries => sleep(UNLOCK_PAUSE),
            opened => break opened?,
        }
        tries += 1;
    };
    for entry in db.iter() {
        let (_, bytes) = entry?;
        if let Err(error) = Record::decode(&*bytes) {
            return Err(sled::Error::Io(io::Error::new(ErrorKind::InvalidData, error)));
        }
    }
    Ok(db)
}

/// Whether a database is open already, as far as its lock tells.
fn is_locked(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(error) if error.to_string().starts_with(LOCKED))
}

/// Whether what lies there is broken. Everything else is trouble of this machine, which passes: a
/// full disk, too many open files, missing rights.
fn is_damage(error: &sled::Error, path: &Path) -> bool {
    match error {
        sled::Error::Corruption { .. }
        | sled::Error::Unsupported(_)
        | sled::Error::ReportableBug(_)
        | sled::Error::CollectionNotFound(_) => true,
        sled::Error::Io(error) => {
            matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof)
                || path.is_file()
        }
    }
}

fn set_aside(path: &Path, aside: &Path) -> io::Result<()> {
    match fs::symlink_metadata(aside) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(aside)?,
        Ok(_) => fs::remove_file(aside)?,
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    fs::rename(path, aside)
}

fn failed(error: &dyn std::error::Error) -> DatabaseError {
    DatabaseError(format!("the task database: {error}"))
}

impl TaskDatabase for SledDatabase {
    fn load(&self) -> LocalBoxFuture<'static, Result<Vec<StoredTask>, DatabaseError>> {
        let stored = self.with(read);
        Box::pin(async move { stored })
    }

    fn write(
        &self,
        changes: Vec<DatabaseChange>,
    ) -> LocalBoxFuture<'static, Result<(), DatabaseError>> {
        let written = self.with(|db| apply(db, changes));
        Box::pin(async move { written })
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::Index};

    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a temporary directory")
    }

    fn task(id: &str) -> Arc<wire::Task> {
        Arc::new(wire::Task { id: id.to_owned(), slot: 3, ..Default::default() })
    }

    fn status(message: &str) -> wire::TaskStatus {
        wire::TaskStatus { message: message.to_owned(), ..Default::default() }
    }

    #[tokio::test]
    async fn what_was_written_is_read_by_the_next_daemon() {
        let folder = folder();
        let database = SledDatabase::open(folder.path()).expect("a new one");
        let changes = vec![
            DatabaseChange::PutTask(task("b")),
            DatabaseChange::PutAssigned("b".into(), true),
            DatabaseChange::PutStatus("b".into(), status("first")),
            DatabaseChange::PutTask(task("a")),
            DatabaseChange::PutTask(task("gone")),
        ];
        database.write(changes).await.expect("written");
        let changes = vec![
            DatabaseChange::PutStatus("b".into(), status("second")),
            DatabaseChange::Remove("gone".into()),
            DatabaseChange::Remove("never there".into()),
            DatabaseChange::PutStatus("alone".into(), status("no task")),
        ];
        database.write(changes).await.expect("written");
        drop(database);
        let stored =
            SledDatabase::open(folder.path()).expect("it opens").load().await.expect("read");
        let expected = [
            StoredTask { id: "a".into(), task: Some(task("a")), status: None, assigned: false },
            StoredTask {
                id: "alone".into(),
                task: None,
                status: Some(status("no task")),
                assigned: false,
            },
            StoredTask {
                id: "b".into(),
                task: Some(task("b")),
                status: Some(status("second")),
                assigned: true,
            },
        ];
        assert_eq!(stored, expected);
    }

    #[tokio::test]
    async fn a_database_that_does_not_open_is_set_aside() {
        let folder = folder();
        for damage in 0..2 {
            fs::remove_dir_all(folder.path().join("tasks")).ok();
            fs::write(folder.path().join("tasks"), b"this is no database").expect("written");
            // What was set aside earlier does not stand in the way.
            let database = SledDatabase::open(folder.path()).expect("a new one");
            assert_eq!(database.load().await, Ok(Vec::new()), "damage {damage}");
            database.write(vec![DatabaseChange::PutTask(task("a"))]).await.expect("it works");
            drop(database);
        }
        assert!(folder.path().join(SET_ASIDE).exists());
    }

    #[tokio::test]
    async fn records_that_cannot_be_read_set_the_database_aside() {
        let folder = folder();
        let database = SledDatabase::open(folder.path()).expect("a new one");
        let insert = |db: &sled::Db| Ok(db.insert("a", &[0xff; 7]).expect("inserted"));
        database.with(insert).expect("it is open");
        drop(database);
        let database = SledDatabase::open(folder.path()).expect("a new one");
        assert_eq!(database.load().await, Ok(Vec::new()));
    }

    #[tokio::test]
    async fn what_this_machine_cannot_open_is_left_as_it_is() {
        let folder = folder();
        let database = SledDatabase::open(folder.path()).expect("a new one");
        database.write(vec![DatabaseChange::PutTask(task("a"))]).await.expect("written");
        // Its lock is held, as it would be by another daemon.
        let refused = SledDatabase::open(folder.path()).err().expect("one at a time");
        assert!(matches!(refused, Error::Unusable { .. }), "{refused}");
        drop(database);
        let database = SledDatabase::open(folder.path()).expect("it was not damaged");
        assert_eq!(database.load().await.expect("read").len(), 1);
        assert!(!folder.path().join(SET_ASIDE).exists());
    }

    #[tokio::test]
    async fn a_database_that_failed_is_opened_again() {
        let folder = folder();
        let database = SledDatabase::open(folder.path()).expect("a new one");
        database.write(vec![DatabaseChange::PutTask(task("a"))]).await.expect("written");
        let broken: Result<(), _> = database.with(|_| Err(DatabaseError("no room".to_owned())));
        broken.expect_err("it fails");
        assert!(database.db.borrow().is_none(), "whoever failed once fails for ever");
        database.write(vec![DatabaseChange::PutTask(task("b"))]).await.expect("written");
        assert_eq!(database.load().await.expect("read").len(), 2);
    }

    /// The files of a database, of which sled makes some folders.
    fn files(folder: &Path) -> Vec<PathBuf> {
        let entries =
            fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("one").path());
        let (folders, mut found): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
        found.extend(folders.iter().flat_map(|folder| files(folder)));
        found.sort();
        found
    }

    proptest! {
        #[test]
        fn no_record_panics(
            bytes: Vec<u8>, changes in vec(any::<(Index, u8)>(), 1..6), message: String,
        ) {
            let _ = Record::decode(&*bytes);
            let record = Record {
                task: Some((*task("a")).clone()),
                status: Some(status(&message)),
                assigned: true,
            };
            let mut damaged = record.encode_to_vec();
            prop_assert_eq!(&Record::decode(&*damaged), &Ok(record));
            for (at, by) in changes {
                let at = at.index(damaged.len());
                damaged[at] = by;
            }
            let _ = Record::decode(&*damaged);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever happened to its files, a daemon starts: with the tasks, or without them.
        #[test]
        fn no_damage_to_its_files_keeps_a_daemon_from_starting(
            file: Index, changes in vec(any::<(Index, u8)>(), 1..40), kept: Option<Index>,
        ) {
            let folder = folder();
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("one");
            let database = SledDatabase::open(folder.path()).expect("a new one");
            let written = database.write(vec![DatabaseChange::PutTask(task("a"))]);
            runtime.block_on(written).expect("written");
            drop(database);
            let files = files(&folder.path().join("tasks"));
            let file = &files[file.index(files.len())];
            let mut bytes = fs::read(file).expect("it is there");
            if !bytes.is_empty() {
                // What is written lies at the beginning.
                let used = bytes.len().min(4096);
                for (at, by) in changes {
                    bytes[at.index(used)] = by;
                }
                if let Some(kept) = kept {
                    bytes.truncate(kept.index(bytes.len()));
                }
            }
            fs::write(file, bytes).expect("damaged");
            let database = SledDatabase::open(folder.path()).expect("it is set aside");
            let tasks = runtime.block_on(database.load()).expect("read");
            prop_assert!(tasks.len() <= 1);
        }
    }
}
