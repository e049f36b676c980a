//! What a daemon was told to ignore by whoever started it.

use std::{
    env, fs,
    process::{Command, Stdio},
};

use super::{World, end, exit};

/// Set in the second run of this test, which is the one that ignores signals: to their mask.
const IGNORING: &str = "SWARM_TEST_IGNORES_SIGNALS";

/// The signal that tells of a child's end, which shells do not let anybody ignore.
const CHILD: u32 = 17;

/// KILL and STOP, and the two that belong to the C library.
const OF_THE_SYSTEM: [u32; 4] = [9, 19, 32, 33];

fn mask(signals: impl Iterator<Item = u32>) -> u64 {
    signals.fold(0, |mask, signal| mask | 1 << (signal - 1))
}

/// Runs a test of this program again, which then ignores every signal that can be ignored.
fn run_ignoring(name: &str) {
    let ignored = |signal: &u32| *signal != CHILD && !OF_THE_SYSTEM.contains(signal);
    let mut ignored: Vec<_> = (1..=64).filter(ignored).collect();
    let traps: String = ignored.iter().map(|signal| format!("trap '' {signal}; ")).collect();
    // No safe call ignores a signal. Every shell ignores most, and some `env` the one that is left.
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{traps} exec \"$@\""), "sh"]);
    let and_child = ["env", "--ignore-signal=CHLD"];
    let status = Command::new(and_child[0]).args([and_child[1], "true"]).status();
    if status.is_ok_and(|status| status.success()) {
        command.args(and_child);
        ignored.push(CHILD);
    } else {
        eprintln!("not run with SIGCHLD ignored: this machine's env cannot do that");
    }
    let status = command
        .arg(env::current_exe().expect("this test"))
        .args(["--exact", name])
        .env(IGNORING, mask(ignored.into_iter()).to_string())
        .stdin(Stdio::null())
        .status()
        .expect("it can be run");
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn a_daemon_that_ignores_signals_loses_no_exit_code_and_hands_nothing_on() {
    let Some(ignoring) = env::var_os(IGNORING) else {
        run_ignoring(
            "signals::a_daemon_that_ignores_signals_loses_no_exit_code_and_hands_nothing_on",
        );
        return;
    };
    let ignoring: u64 = ignoring.to_str().and_then(|text| text.parse().ok()).expect("a mask");
    let ignored = |file: &str| {
        let status = fs::read_to_string(file).expect("readable");
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:\t"));
        u64::from_str_radix(mask.expect("a mask"), 16).expect("a mask")
    };
    let missing = ignoring & !ignored("/proc/self/status");
    assert_eq!(missing, 0, "this daemon ignores them");
    let world = World::new();
    let seen = world.file("seen");
    let task = world.run("a", &format!("cat /proc/self/status > {}; exit 7", seen.display())).await;
    assert_eq!(end(&task).await, exit(7));
    let handed_on = ignored(seen.to_str().expect("a path")) & !mask(OF_THE_SYSTEM.into_iter());
    assert_eq!(handed_on, 0, "{handed_on:x}");
}
