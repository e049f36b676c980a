//! What this node remembers of the managers: how it went with each while it runs, and where they
//! are beyond that (cluster-security-dispatch §19).

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use actors::agent::remotes::{Outcome, Remote, Remotes};
use arc_swap::ArcSwap;
use protocol::{id::NodeId, wire};
use serde_json::{Value, json};

use crate::replacing::{FOR_OWNER, replace_durably};

/// The file, in the state directory.
const FILE: &str = "state.json";

/// No file with the managers of a cluster comes near it.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The managers. Clones are the same book.
#[derive(Clone)]
pub struct Book(Arc<Pages>);

struct Pages {
    remotes: ArcSwap<Remotes>,
    folder: PathBuf,
    /// The file does not say what is known now.
    is_stale: AtomicBool,
    /// Somebody writes the file, and goes on for as long as it is stale.
    is_written: AtomicBool,
}

impl Book {
    /// Opens the book of a state directory. The seeds are in it as well, for all managers may be
    /// somewhere else than they were.
    pub fn open(folder: &Path, seeds: impl IntoIterator<Item = String>) -> io::Result<Self> {
        let mut known = remembered(&folder.join(FILE))?;
        let written = known.len();
        for addr in seeds {
            if !known.iter().any(|remote| remote.addr == addr) {
                known.push(Remote { node_id: NodeId::default(), addr });
            }
        }
        Ok(Self(Arc::new(Pages {
            is_stale: AtomicBool::new(known.len() > written),
            remotes: ArcSwap::from_pointee(Remotes::new(known)),
            folder: folder.to_owned(),
            is_written: AtomicBool::new(false),
        })))
    }

    /// Returns where they are.
    pub fn addresses(&self) -> Vec<String> {
        self.0.remotes.load().known().map(|remote| remote.addr.clone()).collect()
    }

    /// Chooses whom to ask.
    pub(super) fn choose(&self, own: &NodeId, draw: f64) -> Option<Remote> {
        self.0.remotes.load().choose(own, draw).cloned()
    }

    fn note(&self, remote: &Remote, outcome: Outcome) {
        self.0.remotes.rcu(|remotes| {
            let mut remotes = Remotes::clone(remotes);
            remotes.note(remote, outcome);
            remotes
        });
    }

    /// Takes over the list of a manager, and writes it down when others are on it than before.
    pub fn learn(&self, managers: &[wire::WeightedPeer]) {
        let before = self.0.remotes.rcu(|remotes| {
            let mut remotes = Remotes::clone(remotes);
            remotes.learn(managers);
            remotes
        });
        if !before.known().eq(self.0.remotes.load().known()) {
            self.0.is_stale.store(true, Ordering::SeqCst);
            self.write();
        }
    }

    /// Writes down what is known, unless somebody does, who then writes this as well: two at a time
    /// would spoil the file for each other.
    fn write(&self) {
        let Pages { remotes, folder, is_stale, is_written } = &*self.0;
        while is_stale.load(Ordering::SeqCst) && !is_written.swap(true, Ordering::SeqCst) {
            while is_stale.swap(false, Ordering::SeqCst) {
                let encoded = encoded(&remotes.load());
                if let Err(error) = replace_durably(folder, FILE, &encoded, FOR_OWNER) {
                    let folder = folder.display();
                    tracing::warn!(%folder, %error, "where the managers are could not be written down");
                }
            }
            is_written.store(false, Ordering::SeqCst);
        }
    }
}

/// One manager that is asked. When it is dropped, what there was with the manager is over, which
/// counts against it: somebody else may do better.
pub(super) struct Attempt {
    book: Book,
    remote: Remote,
    /// It ends through no fault of the manager's.
    is_let_go: AtomicBool,
}

impl Attempt {
    pub(super) fn new(book: Book, remote: Remote) -> Self {
        Self { book, remote, is_let_go: AtomicBool::new(false) }
    }

    pub(super) fn address(&self) -> &str {
        &self.remote.addr
    }

    /// That it is over will not count against the manager: it is this node that begins anew.
    pub(super) fn let_go(&self) {
        self.is_let_go.store(true, Ordering::Relaxed);
    }

    /// The manager has registered this node. A seed is worth writing down now: no manager may ever name
    /// it.
    pub(super) fn succeeded(&self) {
        self.book.note(&self.remote, Outcome::Success);
        self.book.write();
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.is_let_go.load(Ordering::Relaxed) {
            self.book.note(&self.remote, Outcome::Failure);
        }
    }
}

fn encoded(remotes: &Remotes) -> Vec<u8> {
    let known = remotes
        .known()
        .map(|Remote { node_id, addr }| json!({ "node_id": node_id.as_str(), "addr": addr }));
    Value::from(known.collect::<Vec<_>>()).to_string().into_bytes()
}

fn remembered(path: &Path) -> io::Result<Vec<Remote>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    let known = decoded(&bytes);
    if known.is_none() {
        let file = path.display();
        tracing::warn!(%file, "the file does not say where the managers are; it is passed over");
    }
    Ok(known.unwrap_or_default())
}

fn decoded(bytes: &[u8]) -> Option<Vec<Remote>> {
    let value: Value = serde_json::from_slice(bytes).ok()?;
    let remote = |value: &Value| {
        let text = |key: &str| value.get(key)?.as_str();
        Some(Remote { node_id: text("node_id")?.into(), addr: text("addr")?.to_owned() })
    };
    value.as_array()?.iter().map(remote).collect()
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    fn peer(id: &str) -> wire::WeightedPeer {
        let peer = wire::Peer { node_id: id.to_owned(), addr: format!("{id}:4242") };
        wire::WeightedPeer { peer: Some(peer), weight: 10 }
    }

    fn seed() -> Remote {
        Remote { node_id: NodeId::default(), addr: "seed:4242".to_owned() }
    }

    fn known(book: &Book) -> Vec<String> {
        book.0.remotes.load().known().map(|remote| remote.addr.clone()).collect()
    }

    #[test]
    fn the_managers_are_written_down_whenever_others_are_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state.json");
        let book = Book::open(folder.path(), [seed().addr]).expect("a book");
        assert_eq!(known(&book), ["seed:4242"]);
        assert!(!path.exists(), "nothing has been learnt");
        book.learn(&[peer("b"), peer("a"), peer("seed")]);
        book.learn(&[peer("b"), peer("a")]);
        // The seed has got a name, and is none of them any more. By the order of nodes.
        let text = r#"[{"addr":"a:4242","node_id":"a"},{"addr":"b:4242","node_id":"b"}]"#;
        assert_eq!(fs::read_to_string(&path).expect("a file"), text);
        let mode = fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::remove_file(&path).expect("it was there");
        book.learn(&[peer("a"), peer("b")]);
        assert!(!path.exists(), "the same are there");
        book.learn(&[peer("b")]);
    }

    #[test]
    fn several_who_learn_at_once_leave_a_whole_file_of_what_is_known_last() {
        let folder = tempfile::tempdir().expect("a folder");
        let book = Book::open(folder.path(), []).expect("a book");
        let lists = [vec![peer("a")], ["a", "b", "c", "d", "e"].map(peer).to_vec()];
        std::thread::scope(|scope| {
            for list in &lists {
                scope.spawn(|| (0..100).for_each(|_| book.learn(list)));
            }
        });
        let text = fs::read(folder.path().join(FILE)).expect("a file");
        assert_eq!(text, encoded(&book.0.remotes.load()));
        assert!(!folder.path().join(".new-state.json").exists());
    }

    #[test]
    fn a_new_seed_counts_beside_what_is_remembered() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state.json");
        fs::write(&path, r#"[{"addr":"b:4242","node_id":"b"}]"#).expect("a file");
        let again = Book::open(folder.path(), [seed().addr]).expect("a book");
        assert_eq!(known(&again), ["seed:4242", "b:4242"]);
        let same = Remote { addr: "b:4242".to_owned(), ..seed() };
        let again = Book::open(folder.path(), [same.addr.clone(), same.addr]).expect("a book");
        assert_eq!(known(&again), ["b:4242"], "it is known already");
    }

    #[test]
    fn an_address_that_no_manager_names_is_kept_beside_the_others() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state.json");
        let book = Book::open(folder.path(), [seed().addr]).expect("a book");
        book.learn(&[peer("a")]);
        let text = r#"[{"addr":"seed:4242","node_id":""},{"addr":"a:4242","node_id":"a"}]"#;
        assert_eq!(fs::read_to_string(&path).expect("a file"), text);
    }

    #[test]
    fn a_file_that_makes_no_sense_is_passed_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state.json");
        for text in ["", "{", "{}", "[{}]", r#"[{"node_id":"a","addr":1}]"#, "[]"] {
            fs::write(&path, text).expect("a file");
            let book = Book::open(folder.path(), [seed().addr]).expect("a book");
            assert_eq!(known(&book), ["seed:4242"], "{text}");
        }
    }

    #[test]
    fn what_is_over_counts_against_a_manager() {
        let folder = tempfile::tempdir().expect("a folder");
        let book = Book::open(folder.path(), [seed().addr]).expect("a book");
        let mut expected = Remotes::new([seed()]);
        let path = folder.path().join("state.json");
        let attempt = Attempt::new(book.clone(), seed());
        assert!(!path.exists(), "nobody may be there");
        attempt.succeeded();
        let text = r#"[{"addr":"seed:4242","node_id":""}]"#;
        assert_eq!(fs::read_to_string(&path).expect("a file"), text);
        expected.note(&seed(), Outcome::Success);
        assert_eq!(**book.0.remotes.load(), expected);
        drop(attempt);
        expected.note(&seed(), Outcome::Failure);
        assert_eq!(**book.0.remotes.load(), expected);
        Attempt::new(book.clone(), seed()).let_go();
        assert_eq!(**book.0.remotes.load(), expected, "it was well");
    }
}
