//! Groups of processes that the system counts and limits together. Which there are and what is
//! set in them the daemon has decided; here it is carried out.

use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder, DirEntry},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
};

use nix::unistd::getpid;
use prost::Message;
use rustix::process::{Signal, pidfd_send_signal};

use super::{directory::Error, process::open};

/// The processes of a group, one number a line.
const PROCESSES: &str = "cgroup.procs";

/// Where a group says how often one of its processes was killed for want of memory, by the names
/// of both versions.
const MEMORY_EVENTS: [&str; 2] = ["memory.events", "memory.oom_control"];
const OOM_KILLS: &str = "oom_kill";

/// Where version 2 says whether a process is in a group or below it.
const EVENTS: &str = "cgroup.events";
const POPULATED: &str = "populated";

/// What only groups have that count what is below them as their own: those that count processes,
/// and all of version 2.
const COUNTERS: [&str; 2] = ["pids.current", "cgroup.controllers"];

/// The group of a task's health checks.
const CHECKS: &str = "checks";

/// How often a group is looked through for processes to kill: they may start others meanwhile.
const PASSES_MAX: usize = 50;

/// How often a group is tried to be removed. One whose last process has only just ended refuses.
const REMOVALS_MAX: usize = 50;

/// How long to wait before a group is looked at again.
const PAUSE: Duration = Duration::from_millis(20);

/// One group in one hierarchy.
#[derive(Clone, Eq, PartialEq, Message)]
pub struct ControlGroup {
    /// Its directory.
    #[prost(string, tag = "1")]
    pub directory: String,
    /// What is written into its files, in this order.
    #[prost(message, repeated, tag = "2")]
    pub settings: Vec<Setting>,
}

/// What one file of a group gets.
#[derive(Clone, Eq, PartialEq, Message)]
pub struct Setting {
    /// The file's name.
    #[prost(string, tag = "1")]
    pub file: String,
    /// What is written.
    #[prost(string, tag = "2")]
    pub value: String,
    /// Whether a kernel without that file will do.
    #[prost(bool, tag = "3")]
    pub optional: bool,
}

impl ControlGroup {
    /// Makes the group, if it is missing, with everything that is set in it.
    pub(super) fn create(&self) -> Result<(), Error> {
        let failed = |verb, path: &Path| {
            let path = path.to_owned();
            move |source| Error::Failed { verb, path, source }
        };
        let directory = Path::new(&self.directory);
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(directory)
            .map_err(failed("made", directory))?;
        for Setting { file, value, optional } in &self.settings {
            let path = directory.join(file);
            if !optional || path.exists() {
                fs::write(&path, value).map_err(failed("written", &path))?;
            }
        }
        Ok(())
    }

    /// Makes the group below for the checks of a task's health, so that what they leave behind can
    /// be told from the task. What they use still counts as the task's.
    pub(super) fn create_for_checks(&self) -> Result<Self, Error> {
        let checks = self.below(CHECKS);
        checks.create()?;
        Ok(checks)
    }

    /// The group that a check of the task's health joins instead.
    pub(super) fn of_checks(&self) -> Self {
        let checks = self.below(CHECKS);
        if Path::new(&checks.directory).exists() { checks } else { self.clone() }
    }

    /// Returns whether processes are counted here in groups below as well.
    pub(super) fn counts_below(&self) -> bool {
        COUNTERS.iter().any(|file| self.file(file).exists())
    }

    fn below(&self, name: &str) -> Self {
        let directory = self.file(name).to_string_lossy().into_owned();
        Self { directory, settings: Vec::new() }
    }

    /// Moves this process into the group.
    pub(super) fn join(&self) -> Result<(), Error> {
        let path = self.file(PROCESSES);
        fs::write(&path, getpid().to_string()).map_err(|source| Error::Failed {
            verb: "written",
            path,
            source,
        })
    }

    /// Returns whether a process of the group was killed for want of memory.
    pub(super) fn ran_out_of_memory(&self) -> bool {
        MEMORY_EVENTS
            .iter()
            .filter_map(|file| fs::read(self.file(file)).ok())
            .any(|events| counter(&events, OOM_KILLS) > 0)
    }

    /// Kills every process in the group and below it, and returns when they have ended. What cannot
    /// be killed is left; returns whether nothing is.
    pub fn kill(&self) -> bool {
        for _ in 0..PASSES_MAX {
            self.kill_now();
            if !self.is_populated() {
                return true;
            }
            sleep(PAUSE);
        }
        false
    }

    fn is_populated(&self) -> bool {
        match fs::read(self.file(EVENTS)) {
            Ok(events) => counter(&events, POPULATED) > 0,
            Err(_) => !self.processes().is_empty(),
        }
    }

    /// Has every process in the group and below it killed, and does not wait for their ends.
    pub fn kill_now(&self) {
        let all_at_once = self.file("cgroup.kill");
        if all_at_once.exists() && fs::write(&all_at_once, "1").is_ok() {
            return;
        }
        let mut killed = BTreeSet::new();
        for _ in 0..PASSES_MAX {
            // Whoever is killed starts no other process: when all that are found have been, all
            // there are have been.
            let found = &self.processes() - &killed;
            if found.is_empty() {
                return;
            }
            let opened: Vec<_> =
                found.iter().filter_map(|pid| Some((*pid, open(*pid).ok().flatten()?))).collect();
            // Looked at again: what was opened may have got the number of one that is gone.
            let still = self.processes();
            for (pid, process) in opened.into_iter().filter(|(pid, _)| still.contains(pid)) {
                pidfd_send_signal(process, Signal::KILL).ok();
                killed.insert(pid);
            }
        }
    }

    /// Removes the group with those below it. One that is gone is success.
    pub fn remove(&self) -> io::Result<()> {
        for _ in 1..REMOVALS_MAX {
            match self.remove_now() {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => sleep(PAUSE),
                removed => return removed,
            }
        }
        self.remove_now()
    }

    /// Removes the group with those below it, unless somebody is in one. Those that can be are
    /// removed whatever becomes of the others; the first failure is returned.
    pub fn remove_now(&self) -> io::Result<()> {
        let mut result = Ok(());
        self.visit(|directory| match fs::remove_dir(directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound && result.is_ok() => {
                result = Err(error);
            }
            Ok(()) | Err(_) => {}
        });
        result
    }

    fn processes(&self) -> BTreeSet<i32> {
        let mut found = BTreeSet::new();
        self.visit(|directory| {
            found.extend(numbers(&fs::read(directory.join(PROCESSES)).unwrap_or_default()));
        });
        found
    }

    /// Visits the groups below, which a task may make in any number, and itself at last: each
    /// behind those below it. No more is remembered than the way down and what is beside it.
    fn visit(&self, mut visit: impl FnMut(&Path)) {
        let mut ahead = vec![(PathBuf::from(&self.directory), false)];
        while let Some((directory, is_next)) = ahead.pop() {
            if is_next {
                visit(&directory);
                continue;
            }
            // Nothing below anything else is ours.
            let is_group = directory.join(PROCESSES).exists();
            let entries = is_group.then(|| fs::read_dir(&directory)).into_iter().flatten();
            let is_folder = |entry: &DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
            let below = entries.flatten().flatten().filter(is_folder);
            let below: Vec<_> = below.map(|entry| (entry.path(), false)).collect();
            ahead.push((directory, true));
            ahead.extend(below);
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        Path::new(&self.directory).join(name)
    }
}

/// Reads a list of numbers, one a line. Lines that are no number are none.
fn numbers(text: &[u8]) -> BTreeSet<i32> {
    String::from_utf8_lossy(text).lines().filter_map(|line| line.trim().parse().ok()).collect()
}

/// Reads one of several `NAME VALUE` lines; 0 when it is missing or no number.
fn counter(text: &[u8], name: &str) -> u64 {
    String::from_utf8_lossy(text)
        .lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(key, _)| *key == name)
        .and_then(|(_, value)| value.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        os::unix::process::ExitStatusExt,
        process::{Command, Stdio},
        thread::yield_now,
    };

    use proptest::prelude::*;

    use super::{super::clock, *};

    fn group(directory: &Path) -> ControlGroup {
        let set = |file: &str, optional| Setting { file: file.into(), value: "7".into(), optional };
        ControlGroup {
            directory: directory.to_str().unwrap().into(),
            settings: vec![set("a", false), set("b", true)],
        }
    }

    #[test]
    fn settings_are_written_and_optional_ones_only_where_they_are_known() {
        let folder = tempfile::tempdir().unwrap();
        let group = group(&folder.path().join("parent/task"));
        group.create().unwrap();
        let read = |file| fs::read_to_string(Path::new(&group.directory).join(file)).ok();
        assert_eq!((read("a").as_deref(), read("b")), (Some("7"), None));
        fs::write(Path::new(&group.directory).join("b"), "").unwrap();
        group.create().unwrap();
        assert_eq!(read("b").as_deref(), Some("7"));
        group.join().unwrap();
        assert_eq!(group.processes(), [getpid().as_raw()].into());
    }

    #[test]
    fn a_setting_that_is_refused_names_its_file() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("a")).unwrap();
        let error = group(folder.path()).create().unwrap_err().to_string();
        assert_eq!(error, format!("{}/a cannot be written", folder.path().display()));
    }

    #[test]
    fn a_group_that_is_gone_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let group = ControlGroup { settings: Vec::new(), ..group(&folder.path().join("task")) };
        group.create().unwrap();
        group.remove().unwrap();
        assert!(!Path::new(&group.directory).exists());
        group.remove().unwrap();
        group.kill();
    }

    #[test]
    fn kills_for_want_of_memory_are_seen_in_both_versions() {
        let folder = tempfile::tempdir().unwrap();
        let group = group(folder.path());
        assert!(!group.ran_out_of_memory());
        for (file, text, expected) in [
            ("memory.events", "low 0\noom 1\noom_kill 0\noom_group_kill 1\n", false),
            ("memory.events", "low 0\noom 1\noom_kill 2\noom_group_kill 0\n", true),
            ("memory.events", "", false),
            ("memory.oom_control", "oom_kill_disable 1\nunder_oom 1\noom_kill 0\n", false),
            ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n", true),
        ] {
            fs::write(folder.path().join(file), text).unwrap();
            assert_eq!(group.ran_out_of_memory(), expected, "{text}");
        }
    }

    /// Makes a group at the top of every hierarchy of this machine where that is allowed.
    fn real_groups() -> Vec<ControlGroup> {
        let mounts = fs::read_to_string("/proc/mounts").unwrap();
        let tops = mounts.lines().filter_map(|line| {
            let fields: Vec<_> = line.split(' ').collect();
            let [_, top, kind, options, ..] = fields[..] else { return None };
            let counts = options.split(',').any(|option| option == "pids");
            (kind == "cgroup2" || kind == "cgroup" && counts).then_some(top)
        });
        let directories = tops.map(|top| format!("{top}/swarm-test-{}", getpid()));
        directories
            .filter(|directory| fs::create_dir(directory).is_ok())
            .map(|directory| ControlGroup { directory, settings: Vec::new() })
            .collect()
    }

    #[test]
    fn whatever_is_in_a_group_and_below_is_killed() {
        let groups = real_groups();
        if groups.is_empty() {
            println!("not run: this machine lets us make no control groups");
        }
        for group in groups {
            let below = Path::new(&group.directory).join("below/deeper");
            fs::create_dir_all(&below).unwrap();
            let mut shells = [Path::new(&group.directory), &below].map(|directory| {
                let mut shell = Command::new("sh")
                    .args(["-c", "read go; sleep 1000 & sleep 1000; exit"])
                    .stdin(Stdio::piped())
                    .spawn()
                    .unwrap();
                fs::write(directory.join(PROCESSES), shell.id().to_string()).unwrap();
                shell.stdin.take().unwrap().write_all(b"go\n").unwrap();
                shell
            });
            let end = clock::monotonic() + Duration::from_secs(30);
            while group.processes().len() < 6 {
                assert!(clock::monotonic() < end, "they start");
                yield_now();
            }
            assert!(group.remove_now().is_err(), "somebody is in it");
            group.kill();
            for shell in &mut shells {
                assert_eq!(shell.wait().unwrap().signal(), Some(9), "{group:?}");
            }
            group.remove().unwrap();
            assert!(!Path::new(&group.directory).exists());
        }
    }

    #[test]
    fn a_group_that_stays_keeps_no_other() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(PROCESSES), "").unwrap();
        for name in ["a", "b", "c", "d", "e"] {
            fs::create_dir_all(folder.path().join(name).join("below")).unwrap();
            fs::write(folder.path().join(name).join(PROCESSES), "").unwrap();
        }
        // Where these files are ordinary ones, a folder with one in it stays.
        group(folder.path()).remove_now().unwrap_err();
        for name in ["a", "b", "c", "d", "e"] {
            assert!(!folder.path().join(name).join("below").exists(), "{name}");
        }
    }

    #[test]
    fn all_are_killed_at_once_whatever_is_listed() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name| folder.path().join(name);
        fs::write(file("cgroup.kill"), "").unwrap();
        fs::write(file(PROCESSES), "").unwrap();
        assert!(group(folder.path()).kill());
        assert_eq!(fs::read_to_string(file("cgroup.kill")).unwrap(), "1");
        fs::write(file(EVENTS), "populated 1\nfrozen 0\n").unwrap();
        assert!(!group(folder.path()).kill(), "somebody stays");
    }

    #[test]
    fn no_number_of_groups_hides_a_process() {
        // A disk may take half a minute to forget so many.
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() {
            tempfile::tempdir_in(memory).unwrap()
        } else {
            tempfile::tempdir().unwrap()
        };
        fs::write(folder.path().join(PROCESSES), "").unwrap();
        for number in 0..10_000 {
            fs::create_dir(folder.path().join(number.to_string())).unwrap();
        }
        let below = folder.path().join("0/below");
        fs::create_dir(&below).unwrap();
        fs::write(folder.path().join("0").join(PROCESSES), "").unwrap();
        fs::write(below.join(PROCESSES), "7\n").unwrap();
        assert_eq!(group(folder.path()).processes(), [7].into());
    }

    #[test]
    fn folders_that_are_no_groups_are_left() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("below")).unwrap();
        group(folder.path()).remove_now().unwrap_err();
        assert!(folder.path().join("below").exists());
    }

    proptest! {
        #[test]
        fn no_file_panics(text: Vec<u8>, lines: String) {
            numbers(&text);
            counter(&text, OOM_KILLS);
            counter(format!("{OOM_KILLS} {lines}").as_bytes(), OOM_KILLS);
        }

        #[test]
        fn what_the_system_lists_is_read(listed: BTreeSet<i32>, kills: u64) {
            let text: String = listed.iter().map(|pid| format!("{pid}\n")).collect();
            prop_assert_eq!(numbers(text.as_bytes()), listed);
            let text = format!("low 3\n{OOM_KILLS} {kills}\nmax 4\n");
            prop_assert_eq!(counter(text.as_bytes(), OOM_KILLS), kills);
        }
    }
}
