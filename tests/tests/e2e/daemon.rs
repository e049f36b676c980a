//! A `swarmd` of one test: its own state directory, its own socket, everything ended with it.

use std::{
    ffi::OsStr,
    fs,
    io::Read,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use hyper_util::rt::TokioIo;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use node::shim::{Instructions, TaskDirectory};
use tempfile::TempDir;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

/// How long anything may take on a slow, busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What managers say while nobody leads.
const UNDONE: [&str; 2] = ["does not have a leader", "nothing was done"];

/// The binaries of this workspace, built once for all tests of this process.
pub(crate) fn binary(name: &str) -> &'static Path {
    static BINARIES: OnceLock<Vec<PathBuf>> = OnceLock::new();
    let binaries = BINARIES.get_or_init(|| {
        let output = Command::new(env!("CARGO"))
            .args(["build", "--workspace", "--bins", "--locked", "--message-format=json"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stderr(Stdio::inherit())
            .output()
            .expect("cargo runs");
        assert!(output.status.success(), "the binaries can be built");
        output
            .stdout
            .split(|byte| *byte == b'\n')
            .filter_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok())
            .filter_map(|message| Some(PathBuf::from(message.get("executable")?.as_str()?)))
            .collect()
    });
    let named = |path: &&PathBuf| path.file_name().is_some_and(|file| file == name);
    binaries.iter().find(named).unwrap_or_else(|| panic!("{name} is built by the workspace"))
}

/// Waits until a condition holds, and fails with the last thing that was seen.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut seen: impl FnMut() -> Result<T, String>) -> T {
    let end = now() + PATIENCE;
    loop {
        match seen() {
            Ok(value) => return value,
            Err(last) if now() > end => panic!("{what} did not come true; last seen: {last}"),
            Err(_) => thread::sleep(Duration::from_millis(50)),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "these tests run in real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// A connection to a control socket, as programs other than `swarmctl` have it: made when it is
/// needed, and again when it has ended.
pub(crate) fn connect(socket: impl Into<PathBuf>) -> Channel {
    let socket = socket.into();
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://swarm-manager").connect_with_connector_lazy(connector)
}

/// A daemon, and the way to talk to it.
pub(crate) struct Daemon {
    folder: TempDir,
    child: Option<Child>,
    place: Place,
}

/// Which machine a daemon takes itself to be on.
pub(crate) struct Place {
    pub(crate) hostname: String,
    /// Where other nodes find it.
    pub(crate) address: String,
    /// The file of its network namespace; the one of the test if there is none.
    pub(crate) network: Option<PathBuf>,
    /// Whether it serves metrics.
    pub(crate) metrics: bool,
}

impl Place {
    /// This machine, under a name.
    pub(crate) fn here(hostname: &str) -> Self {
        let address = "127.0.0.1:0".to_owned();
        Self { hostname: hostname.to_owned(), address, network: None, metrics: false }
    }
}

impl Daemon {
    /// Starts a daemon on a new state directory, and waits until it answers.
    pub(crate) fn start() -> Self {
        let mut daemon = Self::idle();
        daemon.launch();
        daemon
    }

    /// A daemon that does not run yet.
    pub(crate) fn idle() -> Self {
        Self::at(Place::here("node-1"))
    }

    /// The same, on some machine.
    pub(crate) fn at(place: Place) -> Self {
        let folder = tempfile::Builder::new().prefix("sw").tempdir().expect("a temporary folder");
        Self { folder, child: None, place }
    }

    /// Starts it again on the same state directory, and waits until it answers.
    pub(crate) fn launch(&mut self) {
        self.spawn();
        self.await_answer();
    }

    /// The same, with more on its command line.
    pub(crate) fn launch_with<T: AsRef<OsStr>>(&mut self, words: &[T]) {
        self.spawn_with_words(words);
        self.await_answer();
    }

    /// Starts it with more on its command line.
    pub(crate) fn spawn_with_words<T: AsRef<OsStr>>(&mut self, words: &[T]) {
        let log = self.log_file();
        self.spawn_with(log, words);
    }

    /// Starts it again on the same state directory.
    pub(crate) fn spawn(&mut self) {
        self.spawn_with_words::<&str>(&[]);
    }

    fn log_file(&self) -> fs::File {
        fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join("swarmd.log"))
            .expect("the log can be written")
    }

    /// Starts it with a log that nobody reads, as when the terminal behind it was closed.
    pub(crate) fn launch_unheard(&mut self) {
        self.spawn_with::<&str>(Stdio::piped(), &[]);
        self.await_answer();
    }

    fn spawn_with<T: AsRef<OsStr>>(&mut self, log: impl Into<Stdio>, words: &[T]) {
        assert!(self.child.is_none(), "one daemon at a time");
        let mut child = self.command().args(words).stderr(log).spawn().expect("swarmd starts");
        drop(child.stderr.take());
        self.child = Some(child);
    }

    fn await_answer(&self) {
        eventually("a daemon that answers", || self.try_swarmctl("node ls"));
    }

    /// The command line of a daemon on this state directory.
    pub(crate) fn command(&self) -> Command {
        let Place { hostname, address, network, metrics } = &self.place;
        let mut command = match network {
            // Nothing but the network is another one: the files are those of the test.
            Some(network) => {
                let mut enter = Command::new("nsenter");
                enter.arg(format!("--net={}", network.display())).arg(binary("swarmd"));
                enter
            }
            None => Command::new(binary("swarmd")),
        };
        command
            .args(["--hostname", hostname, "-d"])
            .arg(self.state())
            .arg("--listen-control-api")
            .arg(self.socket())
            .args(["--listen-remote-api", address])
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        if *metrics {
            command.args(["--listen-metrics", "127.0.0.1:0"]);
        }
        command
    }

    /// What its node is called.
    pub(crate) fn hostname(&self) -> &str {
        &self.place.hostname
    }

    /// Whether it runs, as far as the test knows.
    pub(crate) fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// The file of its network, if it has one of its own.
    pub(crate) fn network(&self) -> Option<&Path> {
        self.place.network.as_deref()
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("swarm.sock")
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("swarmd.log")).unwrap_or_default()
    }

    pub(crate) fn pid(&self) -> i32 {
        let child = self.child.as_ref().expect("the daemon runs");
        i32::try_from(child.id()).expect("a process id")
    }

    /// Ends it at once, as a power cut would.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("the daemon runs");
        child.kill().expect("it can be killed");
        child.wait().expect("it can be waited for");
    }

    /// Asks it to end, and returns how it did.
    pub(crate) fn end(&mut self, signal: Signal) -> ExitStatus {
        kill(Pid::from_raw(self.pid()), signal).expect("it can be signalled");
        self.wait()
    }

    /// Waits until it has ended, and returns how it did.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("the daemon runs");
        eventually("the end of the daemon", || {
            let status = child.try_wait().map_err(|error| error.to_string())?;
            status.ok_or_else(|| "it runs".to_owned())
        })
    }

    /// Runs `swarmctl` with words that may be anything.
    pub(crate) fn run_words(&self, words: &[impl AsRef<OsStr>]) -> Output {
        swarmctl(&self.socket(), words).output().expect("swarmctl starts")
    }

    fn run(&self, line: &str) -> Output {
        self.run_words(&line.split_whitespace().collect::<Vec<_>>())
    }

    pub(crate) fn try_swarmctl(&self, line: &str) -> Result<String, String> {
        let output = self.run(line);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(text(&output.stderr) + &self.log())
        }
    }

    /// Runs `swarmctl` and returns what it printed. On a busy machine there may be no leader for a while
    /// at any time; what surely was not done then is done again.
    #[track_caller]
    pub(crate) fn swarmctl(&self, line: &str) -> String {
        let done = eventually(line, || match self.try_swarmctl(line) {
            Err(error) if UNDONE.iter().any(|text| error.contains(text)) => Err(error),
            done => Ok(done),
        });
        done.unwrap_or_else(|error| panic!("swarmctl {line}: {error}"))
    }

    /// Runs `swarmctl`, which must fail, and returns the first line of its error.
    #[track_caller]
    pub(crate) fn refused(&self, line: &str) -> String {
        let output = self.run(line);
        assert_eq!(output.status.code(), Some(255), "swarmctl {line}");
        assert!(output.stdout.is_empty(), "an error prints nothing on standard output");
        let text = String::from_utf8_lossy(&output.stderr);
        text.lines().next().unwrap_or_default().to_owned()
    }

    /// Waits until `service ls` shows these replicas.
    #[track_caller]
    pub(crate) fn await_replicas(&self, service: &str, replicas: &str) {
        eventually(&format!("{service} at {replicas}"), || {
            let listing = self.try_swarmctl("service ls")?;
            let found = listing.lines().any(|line| {
                let cells: Vec<_> = line.split_whitespace().collect();
                cells.get(1) == Some(&service) && cells.last() == Some(&replicas)
            });
            if found { Ok(()) } else { Err(listing + &self.log()) }
        });
    }

    /// The processes that run a command of tests: its argument tells them apart from all others.
    pub(crate) fn processes(&self, argument: &str) -> Vec<i32> {
        processes_with(argument)
    }

    /// The main processes of its tasks.
    pub(crate) fn tasks(&self) -> Vec<i32> {
        let shims = self.shims();
        let children = |shim: &i32| {
            let path = format!("/proc/{shim}/task/{shim}/children");
            fs::read_to_string(path).unwrap_or_default()
        };
        let children: Vec<_> = shims.iter().map(children).collect();
        let pids = children.iter().flat_map(|list| list.split_whitespace());
        pids.filter_map(|pid| pid.parse().ok()).collect()
    }

    /// Waits until exactly so many processes run the command.
    #[track_caller]
    pub(crate) fn await_processes(&self, argument: &str, count: usize) -> Vec<i32> {
        eventually(&format!("{count} processes {argument}"), || {
            let found = self.processes(argument);
            if found.len() == count { Ok(found) } else { Err(format!("{found:?}{}", self.log())) }
        })
    }

    /// How many tasks have records on the disk.
    pub(crate) fn task_records(&self) -> usize {
        fs::read_dir(self.state().join("worker/processes")).map_or(0, Iterator::count)
    }

    /// The shims that hold tasks of this state directory.
    pub(crate) fn shims(&self) -> Vec<i32> {
        let state = self.state();
        processes(|command| match command {
            ["task-shim", directory] => Path::new(directory).starts_with(&state),
            _ => false,
        })
    }
}

impl Drop for Daemon {
    /// Leaves neither a process nor a control group behind, also when a test failed; what the daemon
    /// said is part of the failure.
    #[expect(clippy::print_stderr, reason = "it is what a failed test says")]
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("what {} said:\n{}", self.state().display(), self.log());
        }
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
        // The kernel kills a task's main process with its shim; these tests have no others.
        for shim in self.shims() {
            let _ = kill(Pid::from_raw(shim), Signal::SIGKILL);
        }
        for task in fs::read_dir(self.state().join("worker/processes")).into_iter().flatten() {
            let records = task.map(|task| TaskDirectory::new(task.path()));
            let instructions = records.ok().and_then(|records| records.read().ok().flatten());
            for group in
                instructions.map_or_else(Vec::new, |task: Instructions| task.control_groups)
            {
                group.kill();
                let _ = group.remove();
            }
        }
    }
}

/// The command line that asks whoever listens on a socket.
pub(crate) fn swarmctl(socket: &Path, words: &[impl AsRef<OsStr>]) -> Command {
    let mut command = Command::new(binary("swarmctl"));
    command.args(words).env("SWARM_SOCKET", socket);
    command
}

/// The processes of any daemon that run a command of tests with this argument.
pub(crate) fn processes_with(argument: &str) -> Vec<i32> {
    processes(|command| command.len() == 2 && command[1] == argument)
}

/// The one line in which a daemon says why it ended.
pub(crate) fn error_line(said: &str) -> &str {
    let mut lines = said.lines().filter(|line| line.starts_with("Error: "));
    let line = lines.next().unwrap_or_else(|| panic!("no error line in:\n{said}"));
    assert_eq!(lines.next(), None, "one error, one line:\n{said}");
    line
}

/// The living processes whose command line fits.
pub(crate) fn processes(fits: impl Fn(&[&str]) -> bool) -> Vec<i32> {
    let entries = fs::read_dir("/proc").expect("this is Linux").filter_map(Result::ok);
    let mut found: Vec<_> = entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            let words: Vec<_> = line.trim_end_matches('\0').split('\0').collect();
            !line.is_empty() && fits(&words)
        })
        .collect();
    found.sort_unstable();
    found
}

/// Starts a command that must end by itself, and returns how it ended and what it said.
pub(crate) fn ends(command: &mut Command) -> (ExitStatus, String) {
    let mut child = command.stderr(Stdio::piped()).spawn().expect("it starts");
    let status = eventually("the end of the command", || {
        let status = child.try_wait().map_err(|error| error.to_string())?;
        status.ok_or_else(|| "it runs".to_owned())
    });
    assert_eq!(status.signal(), None, "it ended by itself");
    let mut said = String::new();
    let mut stderr = child.stderr.take().expect("it was asked for");
    stderr.read_to_string(&mut said).expect("it speaks UTF-8");
    (status, said)
}
