//! Machines of one test, each with a network of its own and a cable to a common switch. Needs root
//! and iproute2.

use std::{
    env, fs,
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::{self, Command},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use nix::sched::{CloneFlags, setns};

/// The switch's name in its own namespace.
const SWITCH: &str = "switch";

/// A switch, and machines at it: the first is number 0. Dropping it removes them all.
pub(crate) struct Network {
    /// Tells it apart from those of tests that run at the same time.
    prefix: String,
    machines: usize,
}

impl Network {
    /// Plugs so many machines in; `None` where this process may not.
    pub(crate) fn of(machines: usize) -> Option<Self> {
        static NETWORKS: AtomicUsize = AtomicUsize::new(0);
        let number = NETWORKS.fetch_add(1, Ordering::Relaxed);
        let network = Self { prefix: format!("sw{}-{number}", process::id()), machines };
        if !network.may_be_made() {
            return None;
        }
        run(&format!("netns add {}", network.name(None)));
        network.ip(None, &format!("link add {SWITCH} type bridge"));
        network.ip(None, &format!("link set {SWITCH} up"));
        for machine in 0..machines {
            let name = network.name(Some(machine));
            run(&format!("netns add {name}"));
            let ends = format!("port{machine} type veth peer name cable netns {name}");
            network.ip(None, &format!("link add {ends}"));
            network.ip(None, &format!("link set port{machine} up"));
            network.ip(Some(machine), &format!("addr add {}/24 dev cable", network.host(machine)));
            network.ip(Some(machine), "link set cable up");
            network.ip(Some(machine), "link set lo up");
            network.plug(machine);
        }
        Some(network)
    }

    /// The address of a machine.
    #[expect(clippy::unused_self, reason = "there is none without a network")]
    pub(crate) fn host(&self, machine: usize) -> String {
        format!("10.77.0.{}", machine + 1)
    }

    /// The file of a machine's network.
    pub(crate) fn file(&self, machine: usize) -> PathBuf {
        Path::new("/run/netns").join(self.name(Some(machine)))
    }

    /// Takes a machine from the switch: nothing comes through, and nobody is told.
    pub(crate) fn unplug(&self, machine: usize) {
        self.ip(None, &format!("link set port{machine} nomaster"));
    }

    /// Puts it back.
    pub(crate) fn plug(&self, machine: usize) {
        self.ip(None, &format!("link set port{machine} master {SWITCH}"));
    }

    /// What the namespace of a machine is called; that of the switch is nobody's.
    fn name(&self, machine: Option<usize>) -> String {
        let prefix = &self.prefix;
        machine
            .map_or_else(|| format!("{prefix}-{SWITCH}"), |machine| format!("{prefix}-{machine}"))
    }

    fn ip(&self, machine: Option<usize>, line: &str) {
        run(&format!("-n {} {line}", self.name(machine)));
    }

    /// Whether this process may make networks. CI has to.
    fn may_be_made(&self) -> bool {
        let probe = format!("{}-probe", self.prefix);
        let made = |verb: &str| {
            let made = Command::new("ip").args(["netns", verb, &probe]).output();
            made.is_ok_and(|made| made.status.success())
        };
        if made("add") && made("del") {
            return true;
        }
        let is_ci = env::var("CI").as_deref() == Ok("true");
        assert!(!is_ci, "CI needs root and iproute2 for this test");
        #[expect(clippy::print_stdout, reason = "what did not run is listed")]
        {
            println!("not run: needs root and iproute2");
        }
        false
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for machine in (0..self.machines).map(Some).chain([None]) {
            let removed = Command::new("ip").args(["netns", "del", &self.name(machine)]).status();
            removed.ok();
        }
    }
}

/// Does something with sockets of another network.
pub(crate) fn within<T: Send>(network: &Path, what: impl FnOnce() -> T + Send) -> T {
    let file = fs::File::open(network).expect("the network is there");
    // A thread of its own, which is never at home again.
    thread::scope(|scope| {
        let inside = scope.spawn(|| {
            setns(file.as_fd(), CloneFlags::CLONE_NEWNET).expect("it can be entered");
            what()
        });
        inside.join().expect("it does not fail")
    })
}

fn run(line: &str) {
    let output = Command::new("ip").args(line.split_whitespace()).output().expect("ip starts");
    assert!(output.status.success(), "ip {line}: {}", String::from_utf8_lossy(&output.stderr));
}
