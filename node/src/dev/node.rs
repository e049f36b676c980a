//! One node of a throw-away swarm: a process of its own, which ends when whoever started it does.

use std::{
    io::Write,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use clap::ValueEnum;
use protocol::token::JoinToken;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    net::unix::pipe,
    process::{Child, ChildStdin, Command},
    task::JoinSet,
    time::timeout,
};

use super::view;
use crate::{addresses::Addresses, configuration::Configuration};

/// The word on the command line that makes `swarmd` a node of a throw-away swarm.
const MODE: &str = "dev-node";

/// How long a node may take to stop: as long as a daemon's parts, and a little more.
const STOP_WITHIN: Duration = Duration::from_secs(25);

/// How long the last lines of a node may take once it has ended.
const LAST_WORDS_WITHIN: Duration = Duration::from_secs(1);

/// How a line begins in which a daemon says why it ends.
const LAST_WORDS: &str = "Error: ";

/// Where a node gets into the swarm, and what lets it in.
#[derive(Clone, Debug)]
pub(super) struct Door {
    pub(super) address: SocketAddr,
    pub(super) token: JoinToken,
}

/// What a node is called, and where it keeps what is its own.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// Its name for the operator, and on every line of its log; none where it is the only one.
    pub(super) label: Option<String>,
    pub(super) hostname: Option<String>,
    pub(super) state: PathBuf,
    pub(super) socket: PathBuf,
}

/// The process that a node is at present.
struct Process {
    child: Child,
    /// Held open for as long as it is to live.
    stdin: Option<ChildStdin>,
    /// Passes its log on; ends with its last words.
    log: JoinSet<Option<String>>,
}

/// A node.
pub(super) struct Node {
    place: Place,
    words: Vec<String>,
    process: Process,
    is_alive: bool,
}

impl Node {
    /// Starts the process.
    pub(super) fn start(
        place: Place,
        configuration: &Configuration,
        door: Option<&Door>,
    ) -> Result<Self> {
        let words = words(configuration, &place, door);
        let process = Process::start(&place, &words, 0)?;
        Ok(Self { place, words, process, is_alive: true })
    }

    /// Starts a node once more that has ended, where others know it.
    pub(super) fn start_again(&mut self) -> Result<()> {
        let port = Addresses::remote_api_of(&self.place.state).map_or(0, |address| address.port());
        self.process = Process::start(&self.place, &self.words, port)?;
        self.is_alive = true;
        Ok(())
    }

    /// What it is called when somebody is told of it.
    pub(super) fn name(&self) -> &str {
        self.place.label.as_deref().unwrap_or("the node")
    }

    pub(super) fn socket(&self) -> &Path {
        &self.place.socket
    }

    pub(super) fn state(&self) -> &Path {
        &self.place.state
    }

    pub(super) fn is_alive(&self) -> bool {
        self.is_alive
    }

    /// Its process.
    pub(super) fn pid(&self) -> Option<u32> {
        self.process.child.id()
    }

    /// Waits until the process has ended.
    pub(super) async fn ended(&mut self) -> std::io::Result<ExitStatus> {
        self.process.child.wait().await
    }

    /// Says why it has ended, which it has: by its last words, or by its status.
    pub(super) async fn why(&mut self, status: std::io::Result<ExitStatus>) -> String {
        self.is_alive = false;
        let words = timeout(LAST_WORDS_WITHIN, self.process.log.join_next()).await;
        let words = words.ok().flatten().and_then(Result::ok).flatten();
        words.unwrap_or_else(|| match status {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        })
    }

    /// Lets it stop; its tasks run on.
    pub(super) async fn end(mut self) {
        drop(self.process.stdin.take());
        if timeout(STOP_WITHIN, self.process.child.wait()).await.is_err() {
            writeln!(view::stderr(), "{} does not stop; it is killed", self.name()).ok();
            self.process.child.kill().await.ok();
        }
        timeout(LAST_WORDS_WITHIN, self.process.log.join_next()).await.ok();
    }
}

/// The command line of a node, but for its port.
fn words(configuration: &Configuration, place: &Place, door: Option<&Door>) -> Vec<String> {
    let Configuration { heartbeat_tick, election_tick, raft_tick, log_format, .. } = configuration;
    let format = log_format.to_possible_value().map(|format| format.get_name().to_owned());
    let mut words = vec![
        format!("--state-dir={}", place.state.display()),
        format!("--listen-control-api={}", place.socket.display()),
        format!("--log-level={}", configuration.log_level),
        format!("--log-format={}", format.unwrap_or_default()),
        format!("--heartbeat-tick={heartbeat_tick}"),
        format!("--election-tick={election_tick}"),
        format!("--raft-tick={}ns", raft_tick.as_nanos()),
    ];
    words.extend(place.hostname.iter().map(|name| format!("--hostname={name}")));
    match door {
        Some(Door { address, token }) => {
            words.extend([format!("--join-addr={address}"), format!("--join-token={token}")]);
        }
        // Only one can have the port that was asked for.
        None => words.extend(
            configuration.listen_metrics.map(|address| format!("--listen-metrics={address}")),
        ),
    }
    words.push(MODE.to_owned());
    words
}

impl Process {
    fn start(place: &Place, words: &[String], port: u16) -> Result<Self> {
        let program = std::env::current_exe().context("the own program cannot be found")?;
        let listens = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut command = Command::new(program);
        command
            .arg(format!("--listen-remote-api={listens}"))
            .args(words)
            // It ends when the other end is closed, by whatever ends this process.
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // What the terminal sends is for this process, which needs its nodes to take tasks
            // down.
            .process_group(0)
            .kill_on_drop(true);
        let mut child = command.spawn().context("no node can be started")?;
        let mut log = JoinSet::new();
        if let Some(lines) = child.stderr.take() {
            log.spawn(pass_on(lines, place.label.clone()));
        }
        // Whoever waits for the child would close it.
        let stdin = child.stdin.take();
        Ok(Self { child, stdin, log })
    }
}

/// Passes the log of a node on, and returns its last words.
async fn pass_on(lines: impl AsyncRead + Unpin, label: Option<String>) -> Option<String> {
    let (mut lines, mut last) = (BufReader::new(lines).split(b'\n'), None);
    while let Ok(Some(line)) = lines.next_segment().await {
        let line = String::from_utf8_lossy(&line).into_owned();
        match line.strip_prefix(LAST_WORDS) {
            Some(words) => last = Some(words.to_owned()),
            // An object says by itself what it is.
            None if line.starts_with('{') => drop(writeln!(view::stderr(), "{line}")),
            None => {
                let label = label.iter().map(|label| format!("{label}: ")).collect::<String>();
                writeln!(view::stderr(), "{label}{line}").ok();
            }
        }
    }
    last
}

/// Resolves when whoever started this node has ended or lets it stop.
pub async fn let_go() {
    use std::os::fd::AsFd;
    let stdin = std::io::stdin().as_fd().try_clone_to_owned();
    let Ok(stdin) = stdin.and_then(pipe::Receiver::from_owned_fd) else {
        // Started by hand: signals end it.
        return std::future::pending().await;
    };
    let mut rest = [0; 64];
    loop {
        stdin.readable().await.ok();
        match stdin.try_read(&mut rest) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::configuration::Command as Mode;

    #[tokio::test]
    async fn the_last_words_of_a_node_are_kept_whatever_it_said_before() {
        for (said, expected) in [
            (&b""[..], None),
            (b"a line\n\xff\xfe\n{\"an\": \"object\"}\n\n", None),
            (b"\x00\nError: it broke\n", Some("it broke")),
            (b"Error: it broke, and no line ended", Some("it broke, and no line ended")),
            (b"Error: \xff\n", Some("\u{fffd}")),
        ] {
            let words = pass_on(said, Some("worker-1".into())).await;
            assert_eq!(words.as_deref(), expected, "{said:?}");
        }
    }

    #[test]
    fn a_node_keeps_what_the_swarm_was_told() {
        let told = "swarmd --log-level debug --log-format json --raft-tick 20ms --election-tick 7 \
                    --listen-metrics 127.0.0.1:9100 dev";
        let told = Configuration::try_parse_from(told.split(' ')).expect("a command line");
        let place = Place {
            label: Some("worker-1".into()),
            hostname: Some("w".into()),
            state: "/s".into(),
            socket: "/s.sock".into(),
        };
        let parsed = |door| {
            let words = words(&told, &place, door);
            let words = ["swarmd".to_owned()].into_iter().chain(words);
            Configuration::try_parse_from(words).expect("a command line")
        };
        let founder = parsed(None);
        assert_eq!(founder.pace().ok(), told.pace().ok());
        assert_eq!(founder.log_level, told.log_level);
        assert_eq!(founder.log_format, told.log_format);
        assert_eq!(founder.listen_metrics, told.listen_metrics);
        assert_eq!(founder.hostname.as_deref(), Some("w"));
        assert!(matches!(founder.command, Some(Mode::DevNode)));
        let digest = "0".repeat(50);
        let token = format!("SWMTKN-1-{digest}-{}", "1".repeat(25)).parse().expect("a token");
        let joins = parsed(Some(&Door { address: ([127, 0, 0, 1], 5).into(), token }));
        assert_eq!(joins.join_addr.as_deref(), Some("127.0.0.1:5"));
        assert!(joins.join_token.is_some());
        assert_eq!(joins.listen_metrics, None, "only one can have the port");
    }
}
