//! Services change while daemons, shims, tasks and commands are killed at any moment. What counts is
//! what is there once the killing stops: every process that was asked for, and no other.
//!
//! A round takes a quarter of a minute. `SWARM_CHURN_ROUNDS=240` makes it an hour.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    ops::RangeInclusive,
    path::Path,
    process::Stdio,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::SliceRandom};

use crate::daemon::{Daemon, eventually, now, processes_with, swarmctl};

/// How long services change and things are killed before everything is counted.
const ROUND: Duration = Duration::from_secs(15);

const SERVICES_MAX: usize = 6;

/// The first argument that tells the processes of these tests from all others.
const FIRST_ARGUMENT: u32 = 300_000;

/// How an update is refused that was made before.
const UNCHANGED: &str = "no changes detected";

/// What a service was asked to run.
#[derive(Clone, Debug)]
struct Wanted {
    replicas: usize,
    argument: u32,
}

/// Asks for changes, each until it is acknowledged.
struct Operator<'a> {
    socket: &'a Path,
    random: StdRng,
    services: BTreeMap<String, Wanted>,
    /// How many services there have been.
    names: u32,
    /// Every argument that anything was ever run with.
    arguments: BTreeSet<u32>,
    changes: u32,
}

impl Operator<'_> {
    fn change_until(&mut self, is_over: &AtomicBool) {
        while !is_over.load(Ordering::Relaxed) {
            self.change();
            self.pause(0..=300);
        }
    }

    fn change(&mut self) {
        self.changes += 1;
        let names: Vec<_> = self.services.keys().cloned().collect();
        let some = names.choose(&mut self.random).cloned();
        match (self.random.gen_range(0..8), some) {
            (0, _) if names.len() > 2 => {
                self.ask("node drain node-1", "already");
                self.pause(0..=1_500);
                self.ask("node activate node-1", "already");
            }
            (1 | 2, Some(name)) => {
                let argument = self.new_argument();
                self.ask(&format!("service update {name} --args {argument}"), UNCHANGED);
                self.wanted(&name).argument = argument;
            }
            (3 | 4, Some(name)) => {
                let replicas = self.random.gen_range(0..=5);
                self.ask(&format!("service update {name} --replicas {replicas}"), UNCHANGED);
                self.wanted(&name).replicas = replicas;
            }
            (5, Some(name)) => {
                self.ask(&format!("service remove {name}"), "not found");
                self.services.remove(&name);
            }
            _ if names.len() < SERVICES_MAX => self.create(),
            _ => {}
        }
    }

    fn create(&mut self) {
        self.names += 1;
        let (name, argument) = (format!("s{}", self.names), self.new_argument());
        let replicas = self.random.gen_range(1..=4);
        let create = format!(
            "service create --name {name} --image host --command sleep --args {argument} \
             --replicas {replicas} --restart-delay 0s"
        );
        self.ask(&create, "already exists");
        self.services.insert(name, Wanted { replicas, argument });
    }

    fn wanted(&mut self, name: &str) -> &mut Wanted {
        self.services.get_mut(name).expect("it was chosen from these")
    }

    fn new_argument(&mut self) -> u32 {
        let next = self.arguments.last().map_or(FIRST_ARGUMENT, |last| last + 1);
        self.arguments.insert(next);
        next
    }

    /// Asks until it is done. An earlier try may have done it unseen: that is refused with `done`.
    fn ask(&mut self, line: &str, done: &str) {
        let words: Vec<_> = line.split_whitespace().collect();
        if self.random.gen_bool(0.2) {
            let silent = Stdio::null;
            let mut command = swarmctl(self.socket, &words);
            let mut child =
                command.stdout(silent()).stderr(silent()).spawn().expect("swarmctl starts");
            self.pause(0..=30);
            child.kill().expect("it can be killed");
            child.wait().expect("it can be waited for");
        }
        eventually(line, || {
            let output = swarmctl(self.socket, &words).output().expect("swarmctl starts");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let is_done = output.status.success() || said.contains(done);
            if is_done { Ok(()) } else { Err(said) }
        });
    }

    fn pause(&mut self, millis: RangeInclusive<u64>) {
        thread::sleep(Duration::from_millis(self.random.gen_range(millis)));
    }
}

/// Over once it is dropped, also when the round fails: the operator would go on for ever.
struct Round<'a>(&'a AtomicBool);

impl Drop for Round<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Kills one thing after the other until the round is over, and leaves a daemon that answers.
fn torment(daemon: &mut Daemon, random: &mut StdRng) -> u32 {
    let end = now() + ROUND;
    let mut kills = 0;
    let pause = |random: &mut StdRng, millis| {
        thread::sleep(Duration::from_millis(random.gen_range(0..=millis)));
    };
    while now() < end {
        kills += 1;
        match random.gen_range(0..5) {
            0 => {
                daemon.kill();
                pause(random, 1_000);
                daemon.launch();
            }
            1 => {
                // Before it is up, perhaps several times.
                daemon.kill();
                while random.gen_bool(0.5) {
                    daemon.spawn();
                    pause(random, 100);
                    daemon.kill();
                }
                daemon.launch();
            }
            2 | 3 => kill_one(random, &daemon.shims()),
            _ => kill_one(random, &daemon.tasks()),
        }
        pause(random, 800);
    }
    kills
}

fn kill_one(random: &mut StdRng, pids: &[i32]) {
    if let Some(pid) = pids.choose(random) {
        // It may be gone already.
        let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
    }
}

/// Waits until exactly what is wanted runs, and nothing that was wanted once.
fn count(daemon: &Daemon, operator: &Operator<'_>) {
    eventually("what was asked for, and nothing else", || {
        let mut wrong = Vec::new();
        for argument in &operator.arguments {
            let wanted = operator.services.values().find(|wanted| wanted.argument == *argument);
            let wanted = wanted.map_or(0, |wanted| wanted.replicas);
            let running = processes_with(&argument.to_string()).len();
            if running != wanted {
                wrong.push(format!("{running} of {wanted} run {argument}"));
            }
        }
        let total: usize = operator.services.values().map(|wanted| wanted.replicas).sum();
        let shims = daemon.shims().len();
        if shims != total {
            wrong.push(format!("{shims} shims of {total}"));
        }
        if wrong.is_empty() { Ok(()) } else { Err(format!("{wrong:?}\n{}", daemon.log())) }
    });
    for (name, Wanted { replicas, .. }) in &operator.services {
        daemon.await_replicas(name, &format!("{replicas}/{replicas}"));
    }
}

/// What a variable of the environment says.
pub(crate) fn number(variable: &str) -> Option<u64> {
    Some(env::var(variable).ok()?.parse().expect("a number"))
}

#[test]
fn whatever_is_killed_what_was_asked_for_runs_in_the_end() {
    let rounds = number("SWARM_CHURN_ROUNDS").unwrap_or(1);
    let seed = number("SWARM_CHURN_SEED").unwrap_or(1);
    let mut daemon = Daemon::start();
    let socket = daemon.socket();
    let mut operator = Operator {
        socket: &socket,
        random: StdRng::seed_from_u64(seed),
        services: BTreeMap::new(),
        names: 0,
        arguments: BTreeSet::new(),
        changes: 0,
    };
    let mut random = StdRng::seed_from_u64(!seed);
    let mut kills = 0;
    for _ in 0..rounds {
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| operator.change_until(&is_over));
            let _round = Round(&is_over);
            kills += torment(&mut daemon, &mut random);
        });
        count(&daemon, &operator);
    }
    println!("{} changes, {kills} kills in {rounds} rounds", operator.changes);
    for name in operator.services.keys() {
        daemon.swarmctl(&format!("service remove {name}"));
    }
    operator.services.clear();
    count(&daemon, &operator);
    eventually("the end of every record", || match daemon.task_records() {
        0 => Ok(()),
        records => Err(format!("{records} records")),
    });
}
