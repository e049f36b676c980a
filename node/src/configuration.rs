//! What the command line says (cli.md §8), and what is used where it says nothing.

use std::{
    net::{AddrParseError, SocketAddr},
    ops::Range,
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use actors::raft;
use clap::{Parser, Subcommand, ValueEnum};
use protocol::{
    address::{Address, InvalidAddress},
    duration::nanoseconds,
    generic::GenericResources,
    token::JoinToken,
};
use tracing::level_filters::LevelFilter;

use crate::{
    bench,
    dev::{self, sample},
};

/// Runs a node of a swarm: a manager with its own tasks.
#[derive(Clone, Debug, Parser)]
// The last of a repeated flag counts, as with SwarmKit.
#[command(name = "swarmd", disable_version_flag = true, args_override_self = true)]
pub struct Configuration {
    /// State directory
    #[arg(short = 'd', long, default_value = "/var/lib/swarmd")]
    pub state_dir: PathBuf,
    /// Log level: error, warn, info, debug or trace
    #[arg(short, long, default_value = "info", value_parser = level)]
    pub log_level: LevelFilter,
    /// How lines of the log are written
    #[arg(long, value_enum, default_value = "text")]
    pub log_format: LogFormat,
    /// Print version information and quit
    #[arg(short, long)]
    pub version: bool,
    /// Override reported agent hostname
    #[arg(long)]
    pub hostname: Option<String>,
    /// Where other nodes reach this one; port 0 takes one that is free
    #[arg(long, default_value = "0.0.0.0:4242", value_parser = listened)]
    pub listen_remote_api: SocketAddr,
    /// Where other nodes are told to reach this one, when that is not where it listens
    #[arg(long, value_parser = advertised)]
    pub advertise_remote_api: Option<String>,
    /// Socket on which this manager is controlled
    #[arg(long, default_value = "/var/run/swarmd.sock")]
    pub listen_control_api: PathBuf,
    /// Where metrics are served, as Prometheus reads them; nowhere when it is left out
    #[arg(long, value_parser = listened)]
    pub listen_metrics: Option<SocketAddr>,
    /// Join the cluster of the manager at this address
    #[arg(long)]
    pub join_addr: Option<String>,
    /// Token that lets this node join
    #[arg(long)]
    pub join_token: Option<JoinToken>,
    /// Go on as the only manager, with the data that this one has
    #[arg(long)]
    pub force_new_cluster: bool,
    /// How many ticks of raft pass between two heartbeats of the leader
    #[arg(long, default_value_t = 1)]
    pub heartbeat_tick: u32,
    /// After how many ticks of raft without a heartbeat a manager wants to lead
    #[arg(long, default_value_t = 10)]
    pub election_tick: u32,
    /// How long a tick of raft is; the same on every manager
    #[arg(long, default_value = "100ms", value_parser = tick)]
    pub raft_tick: Duration,
    /// What this machine has besides processors and memory: counts, or the names of each
    /// (fpga=2,gpu=UUID1,gpu=UUID2)
    #[arg(long)]
    pub generic_node_resources: Option<GenericResources>,
    /// What to do other than run a node.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Other ways to run.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run a throw-away swarm in the foreground, with a sample service to try things on
    Dev(dev::Options),
    /// Put the load of many simulated nodes on a cluster, and measure what it does
    Bench(Box<bench::Options>),
    /// Be a node of a throw-away swarm, for as long as standard input is open
    #[command(hide = true)]
    DevNode,
    /// Be a task of the sample service
    #[command(hide = true)]
    SampleHttp(sample::Options),
}

/// How lines of the log are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// An object in each line, for programs.
    Json,
}

/// How raft keeps time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pace {
    tick: Duration,
    heartbeat_ticks: usize,
    election_ticks: Range<usize>,
}

/// Why raft cannot keep such a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "--heartbeat-tick is {heartbeat} and --election-tick is {election}: there must be at least one \
     tick between heartbeats, and more than that until an election"
)]
pub struct WrongPace {
    heartbeat: u32,
    election: u32,
}

impl Configuration {
    /// How raft keeps time; an error where a leader could not be heard before it is doubted.
    pub fn pace(&self) -> Result<Pace, WrongPace> {
        let Self { heartbeat_tick: heartbeat, election_tick: election, raft_tick, .. } = *self;
        if heartbeat == 0 || election <= heartbeat {
            return Err(WrongPace { heartbeat, election });
        }
        let [heartbeat_ticks, least] = [heartbeat, election].map(|ticks| ticks as usize);
        // Each term draws, so that no two managers keep wanting to lead at the same moment.
        let election_ticks = least..least.saturating_mul(2);
        Ok(Pace { tick: raft_tick, heartbeat_ticks, election_ticks })
    }

    /// Where other managers are told to reach this one, which listens on an address.
    pub fn advertised(&self, listens: SocketAddr) -> String {
        self.advertise_remote_api.clone().unwrap_or_else(|| listens.to_string())
    }
}

impl Pace {
    /// How long to wait for a leader: for the longest silence after which somebody wants to lead,
    /// and for the election.
    pub fn patience(&self) -> Duration {
        let silence_ticks = u32::try_from(self.election_ticks.end).unwrap_or(u32::MAX);
        self.tick.saturating_mul(silence_ticks).saturating_add(Duration::from_secs(1))
    }

    /// Lets a member keep this time.
    pub fn of(self, config: raft::Config) -> raft::Config {
        let Self { tick, heartbeat_ticks, election_ticks } = self;
        raft::Config { tick, heartbeat_ticks, election_ticks, ..config }
    }
}

/// Where to listen; without a host, everywhere.
fn listened(text: &str) -> Result<SocketAddr, AddrParseError> {
    match text.strip_prefix(':') {
        Some(port) => format!("0.0.0.0:{port}").parse(),
        None => text.parse(),
    }
}

/// A host, by name or address, with a port.
fn advertised(text: &str) -> Result<String, InvalidAddress> {
    Ok(Address::from_str(text)?.to_string())
}

/// A tick costs a wake-up and, on a leader, a message to each manager; and after ten of a hundred
/// times this length nobody would wait for an election.
const TICKS: Range<Duration> = Duration::from_millis(10)..Duration::from_secs(10);

fn tick(text: &str) -> Result<Duration, String> {
    let nanos = nanoseconds(text).and_then(|nanos| u64::try_from(nanos).ok());
    let tick = nanos.map(Duration::from_nanos);
    tick.filter(|tick| (TICKS.start..=TICKS.end).contains(tick))
        .ok_or_else(|| "it must be a time from 10ms to 10s".to_owned())
}

/// Levels have more names than we use ourselves: those of SwarmKit lead to the nearest.
fn level(name: &str) -> Result<LevelFilter, String> {
    match name.to_ascii_lowercase().as_str() {
        "panic" | "fatal" | "error" => Ok(LevelFilter::ERROR),
        "warn" | "warning" => Ok(LevelFilter::WARN),
        "info" => Ok(LevelFilter::INFO),
        "debug" => Ok(LevelFilter::DEBUG),
        "trace" => Ok(LevelFilter::TRACE),
        _ => Err("must be one of error, warn, info, debug, trace".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use actors::log;
    use proptest::prelude::*;

    use super::*;

    fn word() -> impl Strategy<Value = String> {
        let flags = [
            "-d",
            "--log-level",
            "--hostname=",
            "--listen-remote-api",
            "--listen-control-api",
            "--join-addr",
            "-v",
            "--",
            "dev",
            "--replicas",
            "--sample",
            "sample-http",
            "dev-node",
            "bench",
            "--agents",
            "--settle",
            "--managers",
            "--workers",
            "127.0.0.1:1",
            "--advertise-remote-api",
            "--listen-metrics",
            "--raft-tick",
            "--election-tick",
            "--log-format",
            ":0",
            "100ms",
            "--generic-node-resources",
            "gpu=1,gpu=a",
            "debug",
            "-1",
            "99999999999999999999",
        ];
        prop_oneof![prop::sample::select(flags.to_vec()).prop_map(str::to_owned), any::<String>()]
    }

    proptest! {
        #[test]
        fn no_command_line_panics(words in prop::collection::vec(word(), 0..6)) {
            let words = ["swarmd".to_owned()].into_iter().chain(words);
            if let Err(error) = Configuration::try_parse_from(words) {
                prop_assert!(!error.to_string().is_empty());
            }
        }
    }

    fn typed(line: &str) -> Result<Configuration, String> {
        let words = ["swarmd"].into_iter().chain(line.split_whitespace());
        Configuration::try_parse_from(words).map_err(|error| error.to_string())
    }

    /// The ticks of a command line: their length, of a heartbeat, until an election.
    fn ticks(line: &str) -> Result<(Duration, usize, Range<usize>), String> {
        let pace = typed(line)?.pace().map_err(|error| error.to_string())?;
        let member = log::Member { raft_id: 1, node_id: "n".into(), cluster_id: "c".into() };
        let config = pace.of(raft::Config::alone(member, "a:1".into(), 1));
        Ok((config.tick, config.heartbeat_ticks, config.election_ticks))
    }

    #[test]
    fn raft_keeps_the_time_that_it_is_told() {
        let ms = Duration::from_millis;
        assert_eq!(ticks(""), Ok((ms(100), 1, 10..20)));
        assert_eq!(ticks("--raft-tick 10ms"), Ok((ms(10), 1, 10..20)));
        assert_eq!(ticks("--raft-tick 10s"), Ok((ms(10_000), 1, 10..20)));
        let line = "--heartbeat-tick 3 --election-tick 4 --raft-tick 1.5s";
        assert_eq!(ticks(line), Ok((ms(1_500), 3, 4..8)));
        let most = u32::MAX as usize;
        assert_eq!(
            ticks("--election-tick 4294967295").map(|(.., range)| range),
            Ok(most..2 * most)
        );
        for (heartbeat, election) in [(0, 10), (0, 0), (1, 1), (1, 0), (5, 4), (10, 10)] {
            let line = format!("--heartbeat-tick {heartbeat} --election-tick {election}");
            let expected = format!(
                "--heartbeat-tick is {heartbeat} and --election-tick is {election}: there must be \
                 at least one tick between heartbeats, and more than that until an election"
            );
            assert_eq!(ticks(&line), Err(expected));
        }
        for text in ["9ms", "9.999ms", "10001ms", "0", "-1s", "100", "soon", "400000h"] {
            let said = ticks(&format!("--raft-tick={text}")).expect_err("refused");
            assert!(said.contains("it must be a time from 10ms to 10s"), "{text}: {said}");
        }
    }

    #[test]
    fn calls_wait_for_a_leader_longer_than_an_election_takes() {
        let patience = |line: &str| {
            typed(line)?.pace().map(|pace| pace.patience()).map_err(|_| line.to_owned())
        };
        assert_eq!(patience(""), Ok(Duration::from_secs(3)));
        assert_eq!(patience("--raft-tick 1s"), Ok(Duration::from_secs(21)));
        assert_eq!(patience("--election-tick 40"), Ok(Duration::from_secs(9)));
    }

    #[test]
    fn what_is_advertised_is_a_host_with_a_port() {
        let listens = SocketAddr::from(([10, 0, 0, 9], 7));
        let advertised = |line: &str| typed(line).map(|given| given.advertised(listens));
        assert_eq!(advertised(""), Ok("10.0.0.9:7".to_owned()));
        for address in ["10.0.0.1:1", "manager-1.example:4242", "[fe80::1]:65535", "0.0.0.0:4242"] {
            let given = advertised(&format!("--advertise-remote-api {address}"));
            assert_eq!(given, Ok(address.to_owned()));
        }
        for wrong in
            ["10.0.0.1", "10.0.0.1:0", "host:", ":4242", "a@b:1", "h:65536", "::1:1", "a/b:1"]
        {
            let said = typed(&format!("--advertise-remote-api={wrong}")).expect_err(wrong);
            assert!(said.contains("it must be a host with a port"), "{wrong}: {said}");
        }
    }

    #[test]
    fn metrics_are_served_where_it_is_said_and_nowhere_else() {
        let at = |line: &str| typed(line).map(|given| given.listen_metrics);
        let address = |text: &str| Some(text.parse::<SocketAddr>().expect("an address"));
        assert_eq!(at(""), Ok(None));
        assert_eq!(at("--listen-metrics 127.0.0.1:0"), Ok(address("127.0.0.1:0")));
        assert_eq!(at("--listen-metrics [::1]:9100"), Ok(address("[::1]:9100")));
        assert_eq!(at("--listen-metrics :9100"), Ok(address("0.0.0.0:9100")));
        for wrong in ["9100", "here", "127.0.0.1", "::1:9100", ":x"] {
            at(&format!("--listen-metrics={wrong}")).expect_err(wrong);
        }
    }

    #[test]
    fn every_level_of_swarmkit_is_one_of_ours() {
        for (name, expected) in [
            ("panic", Some(LevelFilter::ERROR)),
            ("Fatal", Some(LevelFilter::ERROR)),
            ("error", Some(LevelFilter::ERROR)),
            ("WARNING", Some(LevelFilter::WARN)),
            ("info", Some(LevelFilter::INFO)),
            ("debug", Some(LevelFilter::DEBUG)),
            ("trace", Some(LevelFilter::TRACE)),
            ("", None),
            ("off", None),
        ] {
            assert_eq!(level(name).ok(), expected, "{name}");
        }
    }
}
