//! Every method and every kind of caller, against a table that was written from the wire protocol
//! and knows nothing of `protocol::rpc`.

use std::collections::BTreeMap;

use prost_types::Timestamp;
use protocol::{
    objects::{Cluster as Settings, Node},
    rpc::{RPCS, Rpc, find},
    wire::{self, BlacklistedCertificate, NodeRole},
};

use crate::{
    ca::logic::{
        Subject, Window,
        access::{
            Call, Caller, Certificate, Cluster, Denied, Door, Forwarded, RENEWABLE_SECONDS, Unfit,
            introduce, judge, may_forward, may_stay,
        },
    },
    store::{Transaction, View},
};

const NOW: i64 = 1_000_000_000;
const VALID: Window = Window { not_before_seconds: NOW - 10, not_after_seconds: NOW };
/// When the store was last written.
const WRITTEN: i64 = NOW - 100_000;
/// As the CA makes them, for ten days: so long before the store was written, or after.
const OLDER: Window = made(WRITTEN - 61);
const BARELY_OLDER: Window = made(WRITTEN - 60);
const NEWER: Window = made(WRITTEN + 1);
const EXPIRED: Window =
    Window { not_before_seconds: 0, not_after_seconds: NOW - RENEWABLE_SECONDS };
const ENDED: Window =
    Window { not_before_seconds: 0, not_after_seconds: NOW - RENEWABLE_SECONDS - 1 };

/// What each kind of caller gets of the methods of each kind.
#[rustfmt::skip]
const TABLE: &[(&str, [&str; 6])] = &[
    // caller                       root                   open                   nodes                  managers               managers here          members
    ("nobody",                      ["stranger",            "stranger",            "no certificate",      "no certificate",      "no certificate",      "no certificate"]),
    ("worker",                      ["worker",              "worker",              "worker",              "no role",             "no role",             "no role"]),
    ("manager",                     ["manager",             "manager",             "manager",             "manager",             "manager",             "manager"]),
    ("demoted manager",             ["manager",             "manager",             "manager",             "demoted",             "demoted",             "manager"]),
    ("promoted since",              ["manager",             "manager",             "manager",             "demoted",             "demoted",             "manager"]),
    ("demoted, barely older",       ["manager",             "manager",             "manager",             "demoted",             "demoted",             "manager"]),
    ("founder of another make",     ["manager",             "manager",             "manager",             "manager",             "manager",             "manager"]),
    ("manager not in the store",    ["manager",             "manager",             "manager",             "manager",             "manager",             "manager"]),
    ("other cluster",               ["stranger",            "stranger",            "organization",        "organization",        "organization",        "organization"]),
    ("removed worker",              ["stranger",            "stranger",            "removed",             "removed",             "removed",             "removed"]),
    ("removed manager",             ["stranger",            "stranger",            "removed",             "removed",             "removed",             "removed"]),
    ("expired worker",              ["stranger",            "renewal",             "expired",             "expired",             "expired",             "expired"]),
    ("expired manager",             ["stranger",            "renewal",             "expired",             "expired",             "expired",             "manager"]),
    ("expired, demoted",            ["stranger",            "renewal",             "expired",             "expired",             "expired",             "expired"]),
    ("expired long ago",            ["stranger",            "ended",               "ended",               "ended",               "ended",               "ended"]),
    ("expired, removed",            ["stranger",            "removed",             "removed",             "removed",             "removed",             "removed"]),
    ("expired, not in the store",   ["stranger",            "removed",             "removed",             "removed",             "removed",             "removed"]),
    ("expired, other cluster",      ["stranger",            "organization",        "organization",        "organization",        "organization",        "organization"]),
    ("nobody, forwarded",           ["stranger",            "stranger",            "blank",               "blank",               "blank",               "blank"]),
    ("half a name, forwarded",      ["stranger",            "stranger",            "blank",               "blank",               "blank",               "blank"]),
    ("worker, forwarded",           ["worker",              "worker",              "worker",              "named role",          "named role",          "named role"]),
    ("manager, forwarded",          ["manager",             "manager",             "manager",             "manager",             "manager",             "manager"]),
    ("odd role, forwarded",         ["stranger",            "stranger",            "named role",          "named role",          "named role",          "named role"]),
    ("demoted manager, forwarded",  ["manager",             "manager",             "manager",             "demoted",             "demoted",             "demoted"]),
    ("other cluster, forwarded",    ["stranger",            "stranger",            "named organization",  "named organization",  "named organization",  "named organization"]),
    ("removed manager, forwarded",  ["stranger",            "stranger",            "removed",             "removed",             "removed",             "removed"]),
    ("manager, worker's claim",     ["worker",              "worker",              "worker",              "no role",             "no role",             "no role"]),
    ("manager, expired worker's claim", ["stranger",            "renewal",             "expired",             "expired",             "expired",             "expired"]),
    ("manager, other cluster's claim", ["stranger",            "stranger",            "organization",        "organization",        "organization",        "organization"]),
    ("worker, removed manager's word", ["stranger",            "stranger",            "forwarder removed",   "forwarder removed",   "forwarder removed",   "forwarder removed"]),
    ("worker, demoted manager's word", ["stranger",            "stranger",            "forwarder demoted",   "forwarder demoted",   "forwarder demoted",   "named role"]),
    ("worker, expired manager's word", ["stranger",            "expired",             "expired",             "expired",             "expired",             "expired"]),
];

const KINDS: [&str; 6] = ["root", "open", "nodes", "managers", "managers here", "members"];

const fn made(seconds: i64) -> Window {
    Window { not_before_seconds: seconds - 60 * 60, not_after_seconds: seconds + 10 * 24 * 60 * 60 }
}

fn subject(node: &str, role: NodeRole, cluster: &str) -> Subject {
    Subject { node_id: node.into(), role, cluster_id: cluster.into() }
}

fn named(node: &str, unit: &str, cluster: &str) -> Forwarded {
    Forwarded {
        common_name: node.to_owned(),
        organization: cluster.to_owned(),
        units: vec![unit.to_owned()],
    }
}

/// A cluster with two workers, two managers, one that was, and two nodes that were removed.
fn view() -> View {
    let mut head = Transaction::begin(&View::default());
    let annotations = wire::Annotations { name: "default".to_owned(), ..Default::default() };
    let removed = |id: &str| (id.to_owned(), BlacklistedCertificate::default());
    let cluster = wire::Cluster {
        id: "ours".to_owned(),
        spec: Some(wire::ClusterSpec { annotations: Some(annotations), ..Default::default() }),
        blacklisted_certificates: ["gone-w", "gone-m"].map(removed).into(),
        ..Default::default()
    };
    head.create(Settings::from(cluster)).expect("created");
    for (id, role, desired_role) in [
        ("w", NodeRole::Worker, NodeRole::Worker),
        ("m", NodeRole::Manager, NodeRole::Manager),
        // It is about to be demoted: until then it is a manager.
        ("m2", NodeRole::Manager, NodeRole::Worker),
        // SwarmKit seeds the first node so.
        ("founder", NodeRole::Worker, NodeRole::Manager),
        ("was-m", NodeRole::Worker, NodeRole::Worker),
    ] {
        let spec = wire::NodeSpec { desired_role: desired_role.into(), ..Default::default() };
        let role = role.into();
        let node = wire::Node { id: id.to_owned(), role, spec: Some(spec), ..Default::default() };
        head.create(Node::from(node)).expect("created");
    }
    head.seal(1, Timestamp { seconds: WRITTEN, nanos: 0 }).view
}

/// What a caller shows, and whom it names.
fn shown(caller: &str) -> (Option<(Subject, Window)>, Option<Forwarded>) {
    use NodeRole::{Manager, Worker};
    let (manager, worker) = (subject("m", Manager, "ours"), subject("w", Worker, "ours"));
    let of_manager = named("m2", "swarm-manager", "ours");
    let of_worker = named("w", "swarm-worker", "ours");
    let passed_on = |forwarded| (Some((manager.clone(), VALID)), Some(forwarded));
    let alone = |subject, window| (Some((subject, window)), None);
    let claimed = |subject, window, claim| (Some((subject, window)), Some(claim));
    match caller {
        "nobody" => (None, None),
        "worker" => alone(worker, VALID),
        "manager" => alone(manager, VALID),
        "demoted manager" => alone(subject("was-m", Manager, "ours"), OLDER),
        "promoted since" => alone(subject("was-m", Manager, "ours"), NEWER),
        "demoted, barely older" => alone(subject("was-m", Manager, "ours"), BARELY_OLDER),
        "founder of another make" => alone(subject("founder", Manager, "ours"), VALID),
        "manager not in the store" => alone(subject("m9", Manager, "ours"), VALID),
        "other cluster" => alone(subject("m", Manager, "theirs"), VALID),
        "removed worker" => alone(subject("gone-w", Worker, "ours"), VALID),
        "removed manager" => alone(subject("gone-m", Manager, "ours"), VALID),
        "expired worker" => alone(worker, EXPIRED),
        "expired manager" => alone(manager, EXPIRED),
        "expired, demoted" => alone(subject("was-m", Manager, "ours"), EXPIRED),
        "expired long ago" => alone(worker, ENDED),
        "expired, removed" => alone(subject("gone-w", Worker, "ours"), EXPIRED),
        "expired, not in the store" => alone(subject("w9", Worker, "ours"), EXPIRED),
        "expired, other cluster" => alone(subject("w", Worker, "theirs"), EXPIRED),
        "nobody, forwarded" => passed_on(Forwarded::default()),
        "half a name, forwarded" => passed_on(named("m2", "", "ours")),
        "worker, forwarded" => passed_on(of_worker),
        "manager, forwarded" => passed_on(of_manager),
        "odd role, forwarded" => passed_on(named("m2", "swarm-ca", "ours")),
        "demoted manager, forwarded" => passed_on(named("was-m", "swarm-manager", "ours")),
        "other cluster, forwarded" => passed_on(named("m2", "swarm-manager", "theirs")),
        "removed manager, forwarded" => passed_on(named("gone-m", "swarm-manager", "ours")),
        "manager, worker's claim" => claimed(worker, VALID, of_manager),
        "manager, expired worker's claim" => claimed(worker, EXPIRED, of_manager),
        "manager, other cluster's claim" => {
            claimed(subject("m", Manager, "theirs"), VALID, of_manager)
        }
        "worker, removed manager's word" => {
            claimed(subject("gone-m", Manager, "ours"), VALID, of_worker)
        }
        "worker, demoted manager's word" => {
            claimed(subject("was-m", Manager, "ours"), OLDER, of_worker)
        }
        "worker, expired manager's word" => claimed(manager, EXPIRED, of_worker),
        other => panic!("nobody is called {other}"),
    }
}

/// Judges a caller of the table, at a door.
fn judged(rpc: &Rpc, door: Door, caller: &str) -> Result<Caller, Denied> {
    let (view, own, now) = world();
    let (certificate, forwarded) = shown(caller);
    let certificate =
        certificate.as_ref().map(|(subject, window)| Certificate { subject, window: *window });
    let call = Call { rpc, door, certificate, forwarded: forwarded.as_ref() };
    judge(&call, Cluster { own: &own, view: &view, now: &now })
}

fn world() -> (View, Subject, Timestamp) {
    let own = subject("me", NodeRole::Manager, "ours");
    (view(), own, Timestamp { seconds: NOW, nanos: 0 })
}

fn word(judged: &Result<Caller, Denied>) -> &'static str {
    match judged {
        Ok(Caller::Own(_)) => "own",
        Ok(Caller::Node { role: NodeRole::Worker, .. }) => "worker",
        Ok(Caller::Node { role: NodeRole::Manager, .. }) => "manager",
        Ok(Caller::Expired(_)) => "renewal",
        Ok(Caller::Stranger) => "stranger",
        Err(Denied::Peer(Unfit::NoCertificate)) => "no certificate",
        Err(Denied::Peer(Unfit::Removed(_))) => "removed",
        Err(Denied::Peer(Unfit::Organization(_))) => "organization",
        Err(Denied::Peer(Unfit::Role(_))) => "no role",
        Err(Denied::Peer(Unfit::Demoted(_))) => "demoted",
        Err(Denied::Forwarder(Unfit::Removed(_))) => "forwarder removed",
        Err(Denied::Forwarder(Unfit::Demoted(_))) => "forwarder demoted",
        Err(Denied::Forwarder(_)) => "forwarder",
        Err(Denied::Blank) => "blank",
        Err(Denied::ForwardedRole(_)) => "named role",
        Err(Denied::ForwardedOrganization(_)) => "named organization",
        Err(Denied::Expired(_)) => "expired",
        Err(Denied::Ended(_)) => "ended",
    }
}

/// The kind of each method, by its path.
fn kinds() -> BTreeMap<&'static str, usize> {
    let rows = include_str!("access.tsv").lines().skip(1);
    rows.map(|row| {
        let (path, kind) = row.split_once('\t').expect("two columns");
        (path, KINDS.iter().position(|known| *known == kind).expect("a kind"))
    })
    .collect()
}

#[test]
fn every_method_answers_every_caller_as_the_table_says() {
    let kinds = kinds();
    let paths: Vec<_> = RPCS.iter().map(|rpc| rpc.path).collect();
    assert_eq!(paths.len(), kinds.len(), "the table has as many rows");
    for rpc in RPCS {
        let kind = *kinds.get(rpc.path).expect("the table has every method");
        for (caller, outcomes) in TABLE {
            let found = word(&judged(rpc, Door::Network, caller));
            assert_eq!(found, outcomes[kind], "{caller} calls {}", rpc.path);
        }
    }
}

#[test]
fn whoever_opens_the_control_socket_is_this_node_whatever_it_shows() {
    for rpc in RPCS {
        for (caller, _) in TABLE {
            let judged = judged(rpc, Door::Socket, caller);
            assert_eq!(judged, Ok(Caller::Own("me".into())), "{caller} calls {}", rpc.path);
        }
    }
}

#[test]
fn a_caller_is_the_node_that_it_or_a_manager_says() {
    let renew = find("/docker.swarmkit.v1.NodeCA/IssueNodeCertificate").expect("a method");
    for (caller, node) in [
        ("worker", Some("w")),
        ("worker, forwarded", Some("w")),
        ("manager, forwarded", Some("m2")),
        ("manager, worker's claim", Some("w")),
        ("manager, expired worker's claim", Some("w")),
        ("expired worker", Some("w")),
        ("nobody, forwarded", None),
        ("worker, removed manager's word", None),
    ] {
        let judged = judged(renew, Door::Network, caller).expect("it may ask");
        assert_eq!(judged.node(), node.map(Into::into).as_ref(), "{caller}");
    }
}

/// It has just joined: whoever brings it up to date may have to renew its own certificate first.
#[test]
fn a_member_that_knows_nobody_yet_takes_nobody_for_removed() {
    let (_, own, now) = world();
    for (method, role, expected) in [
        ("Raft/StreamRaftMessage", NodeRole::Manager, "manager"),
        ("Raft/StreamRaftMessage", NodeRole::Worker, "expired"),
        ("NodeCA/IssueNodeCertificate", NodeRole::Manager, "renewal"),
        ("Control/ListNodes", NodeRole::Manager, "expired"),
    ] {
        let rpc = find(&format!("/docker.swarmkit.v1.{method}")).expect("a method");
        let subject = subject("m", role, "ours");
        let certificate = Some(Certificate { subject: &subject, window: EXPIRED });
        let call = Call { rpc, door: Door::Network, certificate, forwarded: None };
        let judged = judge(&call, Cluster { own: &own, view: &View::default(), now: &now });
        assert_eq!(word(&judged), expected, "{method}");
    }
}

#[test]
fn refusals_have_the_words_that_clients_know() {
    const DENIED: &str = "Permission denied: ";
    const PEER: &str = "Permission denied: unauthorized peer role: rpc error: code = \
                        PermissionDenied desc = ";
    const FORWARDER: &str = "Permission denied: unauthorized forwarder role: rpc error: code = \
                             PermissionDenied desc = ";
    // A node that was removed hears the same of itself and of the manager that passes it on.
    const REMOVED: &str = "Permission denied: node gone-m was removed from swarm";
    #[rustfmt::skip]
    let rows = [
        ("Dispatcher/Session", "nobody", PEER, "no client certificates in request"),
        ("Dispatcher/Session", "removed manager", PEER, REMOVED),
        ("Control/ListNodes", "removed manager, forwarded", PEER, REMOVED),
        ("Control/ListNodes", "worker, removed manager's word", FORWARDER, REMOVED),
        ("Dispatcher/Session", "other cluster", PEER,
            "Permission denied: remote certificate not part of organization: ours"),
        ("Control/ListNodes", "worker", PEER,
            "Permission denied: remote certificate not part of OUs: [swarm-manager]"),
        ("Control/ListNodes", "demoted manager", PEER,
            "Permission denied: node was-m is not a manager any more"),
        ("Control/ListNodes", "nobody, forwarded", DENIED,
            "missing information in forwarded request"),
        ("Control/ListNodes", "worker, forwarded", DENIED,
            "unauthorized forwarded role, expecting: [swarm-manager]"),
        ("Dispatcher/Session", "odd role, forwarded", DENIED,
            "unauthorized forwarded role, expecting: [swarm-worker swarm-manager]"),
        ("Control/ListNodes", "other cluster, forwarded", DENIED,
            "organization mismatch, expecting: ours"),
        ("Dispatcher/Session", "expired worker", DENIED,
            "the certificate of node w has expired: it is good for its renewal and nothing else"),
        ("Dispatcher/Session", "expired long ago", DENIED,
            "the certificate of node w expired more than a year ago: the node has to join again, \
             with a token"),
    ];
    for (method, caller, before, text) in rows {
        let rpc = find(&format!("/docker.swarmkit.v1.{method}")).expect("a method");
        let refused = judged(rpc, Door::Network, caller).expect_err("it is refused").to_string();
        assert_eq!(refused, format!("{before}{text}"), "{caller} calls {method}");
    }
}

#[test]
fn only_a_manager_of_this_cluster_is_heard_about_others() {
    let own = subject("me", NodeRole::Manager, "ours");
    for (node, role, cluster, expected) in [
        ("m", NodeRole::Manager, "ours", true),
        ("w", NodeRole::Worker, "ours", false),
        ("m", NodeRole::Manager, "theirs", false),
    ] {
        let subject = subject(node, role, cluster);
        let certificate = Certificate { subject: &subject, window: VALID };
        assert_eq!(may_forward(certificate, &own), expected, "{node} {cluster}");
    }
}

/// What a manager that does not lead tells the leader of a caller: its name, that it has none, or
/// nothing since it may not call.
#[test]
fn an_expired_certificate_becomes_no_valid_one_by_being_passed_on() {
    let (view, own, now) = world();
    let introduced = |path: &str, caller: &str| {
        let (certificate, _) = shown(caller);
        let certificate =
            certificate.as_ref().map(|(subject, window)| Certificate { subject, window: *window });
        let rpc = find(path).expect("a method");
        let call = Call { rpc, door: Door::Network, certificate, forwarded: None };
        let cluster = Cluster { own: &own, view: &view, now: &now };
        match introduce(&call, cluster) {
            Ok(subject) => subject.map_or("nobody".to_owned(), |one| one.node_id.to_string()),
            Err(denied) => word(&Err(denied)).to_owned(),
        }
    };
    let renew = "/docker.swarmkit.v1.NodeCA/IssueNodeCertificate";
    let root = "/docker.swarmkit.v1.CA/GetRootCACertificate";
    let session = "/docker.swarmkit.v1.Dispatcher/Session";
    for (path, caller, expected) in [
        // Whom it would refuse anyway is refused here.
        (session, "nobody", "no certificate"),
        (renew, "nobody", "nobody"),
        (session, "worker", "w"),
        // The leader knows better who was removed, and says so.
        (session, "removed worker", "gone-w"),
        (session, "other cluster", "m"),
        (session, "expired worker", "expired"),
        (session, "expired, removed", "removed"),
        (renew, "expired worker", "w"),
        (renew, "expired long ago", "ended"),
        (renew, "expired, removed", "removed"),
        (renew, "expired, other cluster", "organization"),
        (root, "expired worker", "nobody"),
        (root, "expired, removed", "nobody"),
    ] {
        assert_eq!(introduced(path, caller), expected, "{caller} calls {path}");
    }
}

#[test]
fn connections_stay_open_as_long_as_their_certificates_are_worth_something() {
    let (view, ..) = world();
    for (caller, on_leader, on_others) in [
        ("worker", true, true),
        ("manager", true, true),
        ("manager not in the store", true, true),
        ("founder of another make", true, true),
        ("demoted manager", false, false),
        // Who is behind believes what is newer than what it knows.
        ("promoted since", false, true),
        ("removed worker", false, false),
        ("removed manager", false, false),
        // They were made for the renewal, or by a member of the group.
        ("expired worker", true, true),
        ("expired manager", true, true),
        ("expired, demoted", false, false),
        ("expired, removed", false, false),
    ] {
        let (certificate, _) = shown(caller);
        let (subject, window) = certificate.expect("it has one");
        let certificate = Certificate { subject: &subject, window };
        let at = |seconds| Timestamp { seconds, nanos: 0 };
        for (leads, expected) in [(true, on_leader), (false, on_others)] {
            let stays = may_stay(certificate, &view, leads, [&at(NOW - 1), &at(NOW)]);
            assert_eq!(stays, expected, "{caller}, leads: {leads}");
        }
        let ends = window.not_after_seconds;
        let stays = may_stay(certificate, &view, true, [&at(ends), &at(ends + 1)]);
        assert!(!stays, "{caller} at the end");
    }
}
