//! Whoever does not belong to a cluster: each is told why, the manager's log says so too, and no
//! node is made of any of them.

use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    sync::Arc,
};

use actors::{ca::logic::NODE_EXPIRY_MIN, environment::Clock};
use node::{
    clock::SystemClock,
    identity::{Authority, Identity, Issuer, KeyFile, certificate_expiry},
    joining::{self, Invitation, RemoteAuthority},
    remote::described,
};
use prost_types::Timestamp;
use protocol::token::JoinToken;
use rand::rngs::OsRng;
use rcgen::KeyPair;
use tokio::runtime::Builder;

use crate::{
    daemon::{Daemon, Place, ends, error_line, eventually},
    fleet::{await_nodes, lasting},
    swarm::{self, Swarm},
};

const HOUR: i64 = 60 * 60;

/// A clock that is wrong.
struct Off {
    seconds: i64,
}

impl Clock for Off {
    fn now(&self) -> Timestamp {
        let now = SystemClock.now();
        Timestamp { seconds: now.seconds + self.seconds, ..now }
    }
}

fn await_log(daemon: &Daemon, line: &str) {
    eventually("a line in the log", || {
        let log = daemon.log();
        if log.lines().any(|found| found.contains(line)) { Ok(()) } else { Err(log) }
    });
}

/// A daemon that tries to join, and what its last words are.
fn refused(manager: &Daemon, token: &str) -> String {
    let stranger = Daemon::at(Place::here("stranger"));
    let mut command = stranger.command();
    let (status, said) =
        ends(command.args(["--join-addr", &swarm::address(manager), "--join-token", token]));
    assert_eq!(status.code(), Some(1), "{said}");
    error_line(&said).to_owned()
}

fn count(manager: &Daemon) -> usize {
    eventually("a list of nodes", || swarm::nodes(manager)).len()
}

#[test]
fn a_wrong_token_and_one_of_another_cluster() {
    let (manager, other) = (Daemon::start(), Daemon::start());
    let token = swarm::token(&manager, "manager");
    let rotated = swarm::token(&manager, "worker");
    manager.swarmctl("cluster update default --rotate-join-token worker");
    let digest = token.parse::<JoinToken>().expect("a token").digest;
    let guessed = JoinToken::generate(digest, &mut OsRng).to_string();
    for wrong in [&rotated, &guessed] {
        let line = refused(&manager, wrong);
        let expected = "A valid join token is necessary to join this cluster";
        assert!(line.contains(expected) && line.contains(&swarm::address(&manager)), "{line}");
    }
    await_log(&manager, "a node gets no certificate");
    let line = refused(&other, &token);
    let expected =
        format!("Error: remote CA does not match fingerprint. Expected: {}", digest.hex());
    assert_eq!(line, expected);
    await_log(&other, "a stranger has asked for the root");
    assert_eq!((count(&manager), count(&other)), (1, 1));
}

#[test]
fn a_clock_that_is_an_hour_off() {
    let manager = Daemon::start();
    let token = swarm::token(&manager, "worker").parse().expect("a token");
    let invitation = Invitation { address: swarm::address(&manager), token, availability: 0 };
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let join = |seconds| {
        let folder = tempfile::tempdir().expect("a folder");
        let clock = Off { seconds };
        let joined = runtime.block_on(joining::join(folder.path(), &invitation, &clock));
        joined.map(drop).map_err(|error| described(&error))
    };
    for (seconds, side) in [(HOUR, "ahead of"), (-HOUR, "behind")] {
        let error = join(seconds).expect_err("it is wrong");
        let minutes = [59, 60].map(|minutes| {
            format!(
                "this machine's clock is {minutes} minutes {side} the manager's: set it right and \
                 try again"
            )
        });
        assert!(minutes.contains(&error), "{error}");
    }
    await_log(&manager, "a stranger has asked for the root");
    assert_eq!(count(&manager), 1, "nothing was asked for");
    join(60).expect("that is harmless");
    assert_eq!(count(&manager), 2);

    // One that has joined, and whose clock is set wrong afterwards.
    let folder = tempfile::tempdir().expect("a folder");
    runtime.block_on(joining::join(folder.path(), &invitation, &SystemClock)).expect("it joins");
    let joined = Identity::existing(folder.path(), &SystemClock.now()).expect("whole");
    let credentials = joined.expect("it is there").credentials().expect("credentials");
    let address = invitation.address.clone();
    let authority = RemoteAuthority::new(
        Arc::new(move || vec![address.clone()]),
        credentials.client_config().expect("a configuration"),
        Arc::new(Off { seconds: HOUR }),
    );
    let refused = runtime.block_on(authority.issue("no request".to_owned()));
    let error = refused.expect_err("that is no request");
    let clock = "minutes ahead of the manager's: set it right and try again: ";
    assert!(error.contains(clock) && error.contains("signing request"), "{error}");
}

#[test]
fn what_is_no_handshake() {
    let manager = Daemon::start();
    let refusals = || {
        let log = manager.log();
        log.matches("refused a connection of another node").count()
    };
    // The beginning of a TLS record with the first bytes of a hello.
    let hello = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 7, 7, 7];
    for (number, (said, is_all)) in [
        (&hello[..], true),
        (&hello[..], false),
        (&hello[..3], true),
        (b"GET / HTTP/1.1\r\n\r\n", false),
        (&[0xff; 4096], false),
        (&[0; 64], false),
    ]
    .into_iter()
    .enumerate()
    {
        let mut stream = TcpStream::connect(swarm::address(&manager)).expect("it listens");
        // It may close its end before everything is written.
        let _ = stream.write_all(said);
        if is_all {
            let _ = stream.shutdown(Shutdown::Write);
        }
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.len() < 16, "nothing is told: {answer:?}");
        eventually("a line of each", || {
            let found = refusals();
            // Others of this machine may have called by mistake: the port was another's before.
            if found > number { Ok(()) } else { Err(format!("{found}\n{}", manager.log())) }
        });
    }
    assert_eq!(count(&manager), 1);
}

/// A founder whose root was made a while ago, and that root.
pub(crate) fn founder(place: Place) -> (Daemon, Authority) {
    let founder = Daemon::at(place);
    let folder = founder.state().join("certificates");
    fs::create_dir_all(&folder).expect("a folder");
    let long_ago = Timestamp { seconds: SystemClock.now().seconds - 10 * 24 * HOUR, nanos: 0 };
    let identity = Identity::open(&folder, &long_ago).expect("a new cluster");
    let key = identity.root_key_pem.as_ref().expect("it founds one");
    let authority = Authority::read(identity.root_pem.clone(), key).expect("a root");
    (founder, authority)
}

/// Puts a certificate that is over in the place of a node's.
fn expire(daemon: &Daemon, authority: &Authority) {
    let folder = daemon.state().join("certificates");
    let key = KeyFile::parse(&fs::read(folder.join("swarm-node.key")).expect("a key"));
    let key = KeyPair::try_from(&key.expect("a key").key).expect("a key");
    let subject = swarm::certificate(daemon).subject;
    let before = Timestamp { seconds: SystemClock.now().seconds - 2 * HOUR, nanos: 0 };
    let issued = authority.issue(&key, &subject, NODE_EXPIRY_MIN, &before).expect("issued");
    fs::write(folder.join("swarm-node.crt"), issued).expect("written");
    assert!(expires_in(daemon) < 0);
}

/// How many seconds a node's certificate has still to go.
fn expires_in(daemon: &Daemon) -> i64 {
    let path = daemon.state().join("certificates/swarm-node.crt");
    let expiry = certificate_expiry(&fs::read(path).expect("it is there"));
    expiry.expect("a certificate").seconds - SystemClock.now().seconds
}

fn await_renewal(daemon: &Daemon) {
    eventually("a new certificate", || {
        let left = expires_in(daemon);
        if left > HOUR { Ok(()) } else { Err(format!("{left} s\n{}", daemon.log())) }
    });
}

#[test]
fn a_certificate_that_is_over_is_good_for_its_renewal_alone() {
    let (mut first, authority) = founder(Place { metrics: true, ..Place::here("m1") });
    first.launch();
    let mut swarm = Swarm { managers: vec![first] };
    for name in ["m2", "m3"] {
        swarm.add(Place { metrics: true, ..Place::here(name) });
    }
    let mut workers = ["w1", "w2"].map(|name| swarm.worker(Place::here(name)));
    swarm.await_reachable(3);
    let follower = (swarm.await_reachable(3) + 1) % 3;
    swarm.managers[follower].kill();
    workers.iter_mut().for_each(Daemon::kill);
    expire(&swarm.managers[follower], &authority);
    workers.iter().for_each(|worker| expire(worker, &authority));
    let [stays, goes] = &mut workers;
    let manager = swarm.running().next().expect("two run");
    manager.swarmctl(&format!("node rm --force {}", swarm::node_id(goes)));

    // Who belongs here has a new one at once.
    swarm.managers[follower].launch();
    stays.spawn();
    goes.spawn();
    await_renewal(&swarm.managers[follower]);
    await_renewal(stays);
    swarm.await_reachable(3);

    // Who does not has none.
    await_log(goes, "the node's certificate was not renewed; tries again");
    await_log(goes, "was removed from swarm");
    assert!(expires_in(goes) < 0);
    eventually("a manager that says whom it has refused", || {
        let logs: String = swarm.running().map(Daemon::log).collect();
        if logs.contains("a call is refused") { Ok(()) } else { Err(logs) }
    });
    assert_eq!(count(swarm.running().next().expect("it runs")), 4);
}

/// Machines that were all off for a while, as over holidays: nobody could renew anything.
#[test]
fn a_swarm_that_has_slept_past_the_end_of_all_certificates_comes_back() {
    let place = |name| Place { metrics: true, ..lasting(name) };
    let (mut first, authority) = founder(place("m1"));
    first.launch();
    let mut swarm = Swarm { managers: vec![first] };
    for name in ["m2", "m3"] {
        swarm.add(place(name));
    }
    let mut worker = swarm.worker(Place::here("w1"));
    swarm.await_reachable(3);
    for daemon in swarm.managers.iter_mut().chain([&mut worker]) {
        daemon.kill();
        expire(daemon, &authority);
    }
    for daemon in swarm.managers.iter_mut().chain([&mut worker]) {
        daemon.spawn();
    }
    swarm.managers.iter().chain([&worker]).for_each(await_renewal);
    swarm.await_reachable(3);
    await_nodes(&swarm.managers[0], &[("m1", "READY"), ("m2", "READY"), ("w1", "READY")]);
}
