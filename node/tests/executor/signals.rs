//! What a daemon was told to ignore by whoever started it.

use std::{
    env, fs,
    process::{Command, Stdio},
};

use super::{World, end, exit};

/// Set in the second run of this test, which is the one that ignores signals.
const IGNORING: &str = "SWARM_TEST_IGNORES_SIGNALS";

#[tokio::test]
async fn a_daemon_that_ignores_signals_loses_no_exit_code_and_hands_nothing_on() {
    if env::var_os(IGNORING).is_none() {
        // No safe call ignores a signal, but GNU's `env` does.
        let name = "signals::a_daemon_that_ignores_signals_loses_no_exit_code_and_hands_nothing_on";
        let status = Command::new("env")
            .arg("--ignore-signal=CHLD,INT,HUP")
            .arg(env::current_exe().expect("this test"))
            .args(["--exact", name])
            .env(IGNORING, "1")
            .stdin(Stdio::null())
            .status()
            .expect("it can be run");
        assert!(status.success(), "{status}");
        return;
    }
    let ignored = |file: &str| {
        let status = fs::read_to_string(file).expect("readable");
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:\t"));
        u64::from_str_radix(mask.expect("a mask"), 16).expect("a mask")
    };
    assert_eq!(ignored("/proc/self/status") & 0x1_0003, 0x1_0003, "this daemon ignores them");
    let world = World::new();
    let seen = world.file("seen");
    let task = world.run("a", &format!("cat /proc/self/status > {}; exit 7", seen.display())).await;
    assert_eq!(end(&task).await, exit(7));
    // Numbers above 31 are the C library's own.
    assert_eq!(ignored(seen.to_str().expect("a path")) & 0x7fff_ffff, 0);
}
