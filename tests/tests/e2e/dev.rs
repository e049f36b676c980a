//! `swarmd dev`: a swarm to try things on, of which nothing is left.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use nix::{
    pty::{Winsize, openpty},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use protocol::wire::{
    Annotations, ContainerSpec, CreateServiceRequest, ReplicatedService, ServiceSpec, TaskSpec,
    control_client::ControlClient, service_spec::Mode, task_spec::Runtime,
};
use tokio::runtime::Builder;

use crate::daemon::{binary, connect, ends, error_line, eventually, processes, processes_with};

/// How long a line may take on a slow, busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A throw-away swarm, and what it says on standard output.
struct Dev {
    child: Child,
    lines: mpsc::Receiver<String>,
    said: Vec<String>,
    socket: String,
}

impl Dev {
    fn start(options: &[&str]) -> Self {
        let mut child = Command::new(binary("swarmd"))
            .args(["--log-level", "warn", "--hostname", "h", "dev"])
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("swarmd starts");
        let lines = lines(child.stdout.take().expect("it was asked for"));
        let mut dev = Self { child, lines, said: Vec::new(), socket: String::new() };
        let export = dev.line(|line| line.contains("SWARM_SOCKET="));
        export.split('=').nth(1).expect("it says where it listens").clone_into(&mut dev.socket);
        dev
    }

    /// Waits for the next line that fits.
    #[track_caller]
    fn line(&mut self, fits: impl Fn(&str) -> bool) -> String {
        loop {
            let Ok(line) = self.lines.recv_timeout(PATIENCE) else {
                panic!("no such line in:\n{}", self.said.join("\n"))
            };
            self.said.push(line.clone());
            if fits(&line) {
                return line;
            }
        }
    }

    /// Waits until a task of the sample answers, and returns its id and its port.
    #[track_caller]
    fn answering(&mut self, slot: u64) -> (String, u16) {
        let start = format!("task sample.{slot} ");
        let line = self.line(|line| line.starts_with(&start) && line.contains(": RUNNING http:"));
        let (task, address) = line[start.len()..].split_once(": RUNNING ").expect("as asked");
        let port = address.rsplit(':').next().and_then(|port| port.parse().ok());
        (task.to_owned(), port.expect("the address has a port"))
    }

    fn swarmctl(&self, words: &[&str]) -> String {
        self.try_swarmctl(words).expect("it is taken")
    }

    fn try_swarmctl(&self, words: &[&str]) -> Result<String, String> {
        let mut swarmctl = Command::new(binary("swarmctl"));
        let output = swarmctl.args(words).env("SWARM_SOCKET", &self.socket).output();
        let output = output.expect("swarmctl starts");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() { Ok(said) } else { Err(format!("{words:?}: {output:?}")) }
    }

    /// The process and the socket of a manager, as the welcome lists them.
    fn manager(&self, number: u32) -> (i32, String) {
        let name = format!("manager-{number}");
        let mut lines = self.said.iter().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let line = lines.find(|words| words.first() == Some(&&*name)).expect("it is listed");
        let [_, "process", pid, socket] = line[..] else { panic!("{line:?}") };
        (pid.parse().expect("a process id"), socket.to_owned())
    }

    fn folder(&self) -> PathBuf {
        Path::new(&self.socket).parent().expect("a folder").to_owned()
    }

    fn interrupt(&self) {
        kill(pid(&self.child), Signal::SIGINT).expect("it can be signalled");
    }

    /// Waits until it has ended, and returns how, and what it said on standard error.
    fn ended(&mut self) -> (ExitStatus, String) {
        let status = ended(&mut self.child);
        let mut said = String::new();
        let mut stderr = self.child.stderr.take().expect("it was asked for");
        stderr.read_to_string(&mut said).expect("it speaks UTF-8");
        (status, said)
    }
}

impl Drop for Dev {
    /// Ends it also when the test failed.
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.interrupt();
            self.child.wait().ok();
        }
    }
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).expect("a process id"))
}

fn ended(child: &mut Child) -> ExitStatus {
    eventually("the end of the swarm", || {
        let status = child.try_wait().map_err(|error| error.to_string())?;
        status.ok_or_else(|| "it runs".to_owned())
    })
}

/// What comes out of a pipe, without making its writer wait.
fn lines(pipe: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (give, lines) = mpsc::channel();
    thread::spawn(move || {
        let text = BufReader::new(pipe).lines().map_while(Result::ok);
        text.take_while(|line| give.send(line.clone()).is_ok()).for_each(drop);
    });
    lines
}

/// What the sample answers at a port.
fn answer(port: u16) -> String {
    // The process runs before it listens.
    let mut stream = eventually("a sample that listens", || {
        TcpStream::connect(("127.0.0.1", port)).map_err(|error| error.to_string())
    });
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: sample\r\n\r\n").expect("it listens");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers and ends");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    answer.split("\r\n\r\n").nth(1).expect("a body").to_owned()
}

/// The processes of nodes whose state is in a folder.
fn nodes(folder: &Path) -> Vec<i32> {
    let state = format!("--state-dir={}/", folder.display());
    processes(|command| command.iter().any(|word| word.starts_with(&state)))
}

/// The processes of samples whose ports begin here, and the slot if one is asked for.
fn samples(base: u16, slot: Option<u64>) -> Vec<i32> {
    let of_swarm = |pid: &i32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let environment = String::from_utf8_lossy(&environment).into_owned();
        let has = |entry: &str| environment.split('\0').any(|found| found == entry);
        has(&format!("SAMPLE_PORT_BASE={base}"))
            && slot.is_none_or(|slot| has(&format!("SAMPLE_SLOT={slot}")))
    };
    processes(|command| command.get(1) == Some(&"sample-http"))
        .into_iter()
        .filter(of_swarm)
        .collect()
}

/// The control groups of these tasks that are there, in whatever hierarchy.
fn control_groups(tasks: &BTreeSet<String>) -> Vec<PathBuf> {
    let top = Path::new("/sys/fs/cgroup");
    let hierarchies = fs::read_dir(top).into_iter().flatten().filter_map(Result::ok);
    let tops = hierarchies.map(|entry| entry.path()).chain([top.to_owned()]);
    tops.flat_map(|top| tasks.iter().map(move |task| top.join(format!("swarm/task-{task}"))))
        .filter(|group| group.exists())
        .collect()
}

#[test]
fn a_sample_answers_and_nothing_is_left_afterwards() {
    let mut dev = Dev::start(&["--replicas", "1"]);
    let (task, port) = dev.answering(1);
    assert_eq!(answer(port), "slot 1 on h: answer 1\n");
    assert_eq!(answer(port), "slot 1 on h: answer 2\n");
    dev.line(|line| line == "service sample: 1/1 running");

    let base = port - 1;
    let [process] = samples(base, Some(1))[..] else { panic!("one process in slot 1") };
    kill(Pid::from_raw(process), Signal::SIGKILL).expect("it can be killed");
    dev.line(|line| line.starts_with(&format!("task sample.1 {task}: FAILED ")));
    dev.line(|line| line == "service sample: 0/1 running");
    let (next, same_port) = dev.answering(1);
    assert!(next != task && same_port == port, "another task at the same address");
    assert_eq!(answer(port), "slot 1 on h: answer 1\n");

    // As the welcome suggests.
    dev.swarmctl(&["service", "update", "sample", "--replicas", "3"]);
    dev.line(|line| line == "service sample: 3/3 running");
    let tasks = dev.swarmctl(&["task", "ls", "-q"]);
    assert!(tasks.contains(&next), "scaling replaces no task");
    assert_eq!(answer(base + 3), "slot 3 on h: answer 1\n");
    let mine = ["--name", "mine", "--image", "host", "--command", "sleep", "--args", "100201"];
    dev.swarmctl(&[&["service", "create"][..], &mine].concat());
    dev.line(|line| line == "service mine: 1/1 running");
    assert_eq!(processes_with("100201").len(), 1);

    let tasks: BTreeSet<_> =
        dev.swarmctl(&["task", "ls", "-a", "-q"]).lines().map(str::to_owned).collect();
    dev.interrupt();
    let (status, said) = dev.ended();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(!dev.folder().exists(), "its folder is gone");
    assert_eq!(samples(base, None), Vec::<i32>::new());
    assert_eq!(processes_with("100201"), Vec::<i32>::new());
    assert_eq!(control_groups(&tasks), Vec::<PathBuf>::new());
}

#[test]
fn a_swarm_goes_on_without_a_manager_and_nothing_is_left_afterwards() {
    let mut dev = Dev::start(&["--managers", "3", "--workers", "2", "--replicas", "5"]);
    let (_, port) = dev.answering(5);
    dev.line(|line| line == "service sample: 5/5 running");
    let listing = eventually("nodes that are ready", || {
        let listing = dev.try_swarmctl(&["node", "ls"])?;
        let count = |word: &str| listing.split_whitespace().filter(|found| *found == word).count();
        let is_ready = [count("READY"), count("REACHABLE")] == [5, 3];
        if is_ready { Ok(listing) } else { Err(listing) }
    });
    assert!(listing.contains("h-manager-3") && listing.contains("h-worker-2"), "{listing}");
    let folder = dev.folder();
    assert_eq!(nodes(&folder).len(), 5);

    // The one that the view follows, and that leads.
    kill(Pid::from_raw(dev.manager(1).0), Signal::SIGKILL).expect("it can be killed");
    dev.socket = dev.manager(2).1;
    eventually("a swarm that takes writes", || {
        match dev.try_swarmctl(&["service", "update", "sample", "--replicas", "6"]) {
            // A try of which nobody could tell has done it.
            Err(said) if said.contains("no changes detected") => Ok(said),
            tried => tried,
        }
    });
    dev.line(|line| line == "service sample: 6/6 running");
    assert_eq!(answer(port + 1).split(" on ").next(), Some("slot 6"));

    dev.interrupt();
    let (status, said) = dev.ended();
    assert_eq!(status.code(), Some(0), "{said}");
    let death = "manager-1 has ended, and its tasks run on: signal: 9 (SIGKILL)";
    assert!(said.lines().any(|line| line == death), "{said}");
    assert!(!folder.exists(), "its folder is gone");
    assert_eq!(nodes(&folder), Vec::<i32>::new());
    assert_eq!(samples(port - 5, None), Vec::<i32>::new(), "also those of the one that died");
}

#[test]
fn nodes_end_with_the_swarm_however_it_ends() {
    let mut dev = Dev::start(&["--sample", "false", "--workers", "1"]);
    let folder = dev.folder();
    assert_eq!(nodes(&folder).len(), 2);
    kill(pid(&dev.child), Signal::SIGKILL).expect("it can be killed");
    dev.child.wait().expect("it was killed");
    eventually("the end of its nodes", || {
        let left = nodes(&folder);
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
    fs::remove_dir_all(folder).expect("nobody was there to remove it");
}

#[test]
fn a_node_that_cannot_start_ends_the_swarm_by_its_own_words() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = taken.local_addr().expect("it is bound").to_string();
    for nodes in [&["dev"][..], &["dev", "--workers", "1"]] {
        let mut command = Command::new(binary("swarmd"));
        let (status, said) = ends(command.args(["--listen-metrics", &address]).args(nodes));
        assert_eq!(status.code(), Some(1));
        let words = format!("metrics cannot be served on {address}");
        assert!(error_line(&said).contains(&words), "{said}");
    }
}

/// Creates a service that does not stop when it is asked to; `swarmctl` has no flag for how long
/// it may take.
fn create_stubborn(dev: &Dev) {
    let line = "trap '' TERM; while :; do sleep 100202 & wait; done";
    let container = ContainerSpec {
        image: "host".into(),
        command: ["sh", "-c", line].map(str::to_owned).into(),
        stop_grace_period: Some(prost_types::Duration { seconds: 600, nanos: 0 }),
        ..ContainerSpec::default()
    };
    let spec = ServiceSpec {
        annotations: Some(Annotations { name: "stubborn".into(), ..Annotations::default() }),
        task: Some(TaskSpec {
            runtime: Some(Runtime::Container(container)),
            ..TaskSpec::default()
        }),
        mode: Some(Mode::Replicated(ReplicatedService { replicas: 1 })),
        ..ServiceSpec::default()
    };
    let request = CreateServiceRequest { spec: Some(spec) };
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    // It may not lead yet.
    eventually("a swarm that takes writes", || {
        let created = runtime.block_on(async {
            ControlClient::new(connect(&dev.socket)).create_service(request.clone()).await
        });
        created.map(drop).map_err(|status| status.to_string())
    });
}

#[test]
fn a_second_interrupt_ends_it_at_once_and_says_what_is_left() {
    let mut dev = Dev::start(&["--sample", "false"]);
    create_stubborn(&dev);
    dev.line(|line| line == "service stubborn: 1/1 running");
    dev.interrupt();
    dev.line(|line| line == "service stubborn: removed");
    eventually("the end of the swarm", || {
        // One that comes too soon counts as the first.
        dev.interrupt();
        let status = dev.child.try_wait().map_err(|error| error.to_string())?;
        status.ok_or_else(|| "it runs".to_owned())
    });
    let (status, said) = dev.ended();
    assert_eq!(status.code(), Some(1));
    let folder = dev.folder();
    let kept = format!("Error: tasks may still run; their folder {} is kept: ", folder.display());
    assert!(said.lines().any(|line| line.starts_with(&kept)), "{said}");
    let shims = processes(|command| match command {
        ["task-shim", directory] => Path::new(directory).starts_with(&folder),
        _ => false,
    });
    assert_eq!(shims.len(), 1, "nobody waited for the task");
    // The kernel kills the shell with its shim.
    kill(Pid::from_raw(shims[0]), Signal::SIGKILL).expect("it can be killed");
    for sleeper in processes_with("100202") {
        kill(Pid::from_raw(sleeper), Signal::SIGKILL).ok();
    }
    fs::remove_dir_all(folder).expect("it can be removed");
}

#[test]
fn on_a_terminal_the_view_is_drawn_in_place() {
    let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    let terminal = openpty(&size, None).expect("a terminal");
    let child = Command::new(binary("swarmd"))
        .args(["--log-level", "error", "dev", "--replicas", "1"])
        .stdin(Stdio::null())
        .stdout(terminal.slave)
        .stderr(Stdio::null())
        .spawn()
        .expect("swarmd starts");
    let said = lines(File::from(terminal.master));
    let mut dev = Dev { child, lines: said, said: Vec::new(), socket: String::new() };
    dev.line(|line| line == "SERVICE  RUNNING\r" || line == "SERVICE  RUNNING");
    dev.line(|line| line.starts_with("\u{1b}[") && line.contains("A\u{1b}[JSERVICE"));
    let export = dev.said.iter().find_map(|line| line.trim_end().split_once("SWARM_SOCKET="));
    export.expect("it says where it listens").1.clone_into(&mut dev.socket);
    dev.line(|line| line.starts_with("sample.1  RUNNING  ") && line.contains("http://127.0.0.1:"));
    // As when its window is closed.
    kill(pid(&dev.child), Signal::SIGHUP).expect("it can be signalled");
    assert_eq!(ended(&mut dev.child).code(), Some(0));
    assert!(!dev.folder().exists(), "its folder is gone");
}
