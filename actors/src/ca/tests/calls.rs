//! Who gets a certificate, by the rows of `cluster-security-dispatch` §5.

use prost_types::Timestamp;
use protocol::{
    objects::{Cluster, Node},
    token::{JoinToken, RootDigest},
    wire::{
        self, IssuanceStatus, IssueNodeCertificateRequest, JoinTokens,
        NodeCertificateStatusRequest, NodeRole,
        issuance_status::State,
        node_spec::{Availability, Membership},
    },
};
use rand::{SeedableRng, rngs::StdRng};

use crate::{
    ca::logic::{access::Caller, calls},
    control::{Error, logic::cluster::update, validate::ValidCluster},
    store::{Transaction, View},
};

fn sealed(head: Transaction, index: u64) -> View {
    head.seal(index, Timestamp::default()).view
}

/// A cluster with two tokens, a manager and a worker.
pub(super) fn view() -> View {
    let mut head = Transaction::begin(&View::default());
    let annotations = wire::Annotations { name: "default".to_owned(), ..Default::default() };
    let tokens = JoinTokens { worker: "token-w".to_owned(), manager: "token-m".to_owned() };
    let cluster = wire::Cluster {
        id: "c".to_owned(),
        spec: Some(wire::ClusterSpec { annotations: Some(annotations), ..Default::default() }),
        root_ca: Some(wire::RootCa {
            ca_cert: "root".into(),
            ca_key: "key".into(),
            join_tokens: Some(tokens),
            ..Default::default()
        }),
        vxlanudp_port: 4800,
        ..Default::default()
    };
    head.create(Cluster::from(cluster)).expect("created");
    for (id, role) in [("m", NodeRole::Manager), ("w", NodeRole::Worker)] {
        let role = role.into();
        let spec = wire::NodeSpec { membership: Membership::Accepted.into(), ..Default::default() };
        let node = wire::Node { id: id.to_owned(), role, spec: Some(spec), ..Default::default() };
        head.create(Node::from(node)).expect("created");
    }
    sealed(head, 1)
}

fn node(id: &str) -> Caller {
    Caller::Node { id: id.into(), role: NodeRole::Worker }
}

fn request(token: &str) -> IssueNodeCertificateRequest {
    IssueNodeCertificateRequest {
        csr: "csr".into(),
        token: token.to_owned(),
        availability: Availability::Pause.into(),
        ..Default::default()
    }
}

/// What comes of a request: the node's object as it is then.
fn issued(caller: &Caller, request: &IssueNodeCertificateRequest) -> Result<Node, Error> {
    let mut head = Transaction::begin(&view());
    let answer = calls::issue(&mut head, caller, request, &mut StdRng::seed_from_u64(1))?;
    assert_eq!(answer.node_membership(), Membership::Accepted);
    let view = sealed(head, 2);
    Ok(view.node(&answer.node_id.as_str().into()).expect("it has an object").as_ref().clone())
}

fn state(node: &Node) -> State {
    node.certificate.status.as_ref().map(IssuanceStatus::state).unwrap_or_default()
}

#[test]
fn a_node_renews_in_the_role_that_it_has() {
    for (id, role) in [("m", NodeRole::Manager), ("w", NodeRole::Worker)] {
        // The token does not count.
        let asks = request("token-m");
        let node = issued(&node(id), &asks).expect("asked");
        assert_eq!(node.id.as_str(), id);
        assert_eq!(state(&node), State::Renew);
        assert_eq!((&*node.certificate.csr, &*node.certificate.cn), (&b"csr"[..], id));
        assert_eq!(node.certificate.role(), role);
    }
    let gone = issued(&node("gone"), &request(""));
    let text = "node gone not found when attempting to renew certificate";
    assert!(matches!(gone, Err(Error::NotFound(found)) if found == text));
}

#[test]
fn a_token_says_what_a_new_node_is() {
    for (token, role) in [("token-m", NodeRole::Manager), ("token-w", NodeRole::Worker)] {
        let node = issued(&Caller::Stranger, &request(token)).expect("let in");
        assert_eq!(state(&node), State::Pending, "{token}");
        assert_eq!((node.role, node.certificate.role()), (role.into(), role));
        assert_eq!(node.spec.desired_role(), role);
        assert_eq!(node.spec.membership(), Membership::Accepted);
        assert_eq!(node.spec.availability(), Availability::Pause);
        assert_eq!(node.certificate.cn, node.id.as_str());
        assert_eq!(node.rest.vxlanudp_port, 4800);
        assert!(!["m", "w"].contains(&node.id.as_str()));
    }
}

#[test]
fn whoever_asks_again_is_one_node() {
    let (view, tokens) = with_tokens();
    let mut head = Transaction::begin(&view);
    let random = &mut StdRng::seed_from_u64(3);
    let token = tokens.worker;
    let mut ask = |csr: &'static str| {
        let request = IssueNodeCertificateRequest { csr: csr.into(), ..request(&token) };
        calls::issue(&mut head, &Caller::Stranger, &request, random).expect("let in").node_id
    };
    let first = ask("one");
    assert_eq!(ask("one"), first, "its first answer got lost");
    assert_ne!(ask("other"), first);
}

#[test]
fn nobody_else_is_let_in() {
    for token in ["", "token", "token-", "token-x", "token-mm", "TOKEN-M"] {
        let refused = issued(&Caller::Stranger, &request(token));
        let text = "A valid join token is necessary to join this cluster";
        assert!(
            matches!(&refused, Err(Error::InvalidArgument(found)) if found == text),
            "{token}: {refused:?}"
        );
    }
    let empty = IssueNodeCertificateRequest { csr: "".into(), ..request("token-m") };
    for caller in [Caller::Stranger, node("m")] {
        let refused = issued(&caller, &empty);
        assert!(matches!(refused, Err(Error::InvalidArgument(text)) if text == "InvalidArgument"));
    }
}

/// A cluster with tokens as they are made, and what they are.
fn with_tokens() -> (View, JoinTokens) {
    let mut random = StdRng::seed_from_u64(3);
    let mut token = || JoinToken::generate(RootDigest([7; 32]), &mut random).to_string();
    let tokens = JoinTokens { worker: token(), manager: token() };
    let mut head = Transaction::begin(&view());
    let cluster = head.default_cluster().expect("there").as_ref().clone();
    let root_ca = wire::RootCa { join_tokens: Some(tokens.clone()), ..(*cluster.root_ca).clone() };
    head.update(Cluster { root_ca: root_ca.into(), ..cluster }).expect("updated");
    (sealed(head, 2), tokens)
}

/// The role that a token gives whoever brings it.
fn joins(view: &View, token: &str) -> Option<i32> {
    let mut head = Transaction::begin(view);
    let random = &mut StdRng::seed_from_u64(1);
    let answer = calls::issue(&mut head, &Caller::Stranger, &request(token), random).ok()?;
    Some(head.node(&answer.node_id.as_str().into()).expect("it has an object").role)
}

#[test]
fn a_token_that_was_rotated_lets_nobody_join_any_more() {
    let (view, old) = with_tokens();
    let (worker, manager) = (i32::from(NodeRole::Worker), i32::from(NodeRole::Manager));
    for (of_workers, of_managers) in [(true, false), (false, true), (true, true)] {
        let rotation = wire::KeyRotation {
            worker_join_token: of_workers,
            manager_join_token: of_managers,
            manager_unlock_key: false,
        };
        let cluster = view.default_cluster().expect("there");
        let spec = ValidCluster::try_from(Some((*cluster.spec).clone())).expect("valid");
        let mut head = Transaction::begin(&view);
        let random = &mut StdRng::seed_from_u64(2);
        let (version, now) = (cluster.meta.version, Timestamp::default());
        update(&mut head, cluster.id.as_str(), version, spec, rotation, now, random)
            .expect("rotated");
        let view = sealed(head, 3);
        let root = &view.default_cluster().expect("there").root_ca;
        let new = root.join_tokens.clone().expect("tokens");
        assert_eq!(joins(&view, &old.worker), (!of_workers).then_some(worker));
        assert_eq!(joins(&view, &old.manager), (!of_managers).then_some(manager));
        assert_eq!(joins(&view, &new.worker), Some(worker));
        assert_eq!(joins(&view, &new.manager), Some(manager));
        for (old, new) in [(&old.worker, &new.worker), (&old.manager, &new.manager)] {
            let token = |text: &str| text.parse::<JoinToken>().expect("a token");
            assert_eq!(token(old).digest, token(new).digest, "the root is the same");
        }
    }
    assert_eq!(joins(&view, &old.worker), Some(worker), "before");
}

#[test]
fn a_request_has_a_bound() {
    let sized =
        |bytes| IssueNodeCertificateRequest { csr: vec![b'x'; bytes].into(), ..request("") };
    let caller = node("w");
    issued(&caller, &sized(64 << 10)).expect("taken");
    let refused = issued(&caller, &sized((64 << 10) + 1));
    let expected = "the signing request has 65537 bytes, and at most 65536 are taken";
    assert!(matches!(refused, Err(Error::InvalidArgument(text)) if text == expected));
}

#[test]
fn a_cluster_without_tokens_lets_nobody_in() {
    let mut head = Transaction::begin(&view());
    let mut cluster = head.default_cluster().expect("there").as_ref().clone();
    cluster.root_ca =
        wire::RootCa { join_tokens: Some(JoinTokens::default()), ..(*cluster.root_ca).clone() }
            .into();
    head.update(cluster).expect("updated");
    let random = &mut StdRng::seed_from_u64(1);
    let refused = calls::issue(&mut head, &Caller::Stranger, &request(""), random);
    assert!(matches!(refused, Err(Error::InvalidArgument(_))), "{refused:?}");
}

#[test]
fn only_what_is_final_is_answered() {
    let rows = [
        (State::Unknown, false),
        (State::Renew, false),
        (State::Pending, false),
        (State::Issued, true),
        (State::Failed, true),
        (State::Rotate, true),
    ];
    for (state, is_final) in rows {
        let mut head = Transaction::begin(&view());
        let node = head.node(&"w".into()).expect("there").as_ref().clone();
        let status = IssuanceStatus { state: state.into(), err: "why".to_owned() };
        let certificate = wire::Certificate { status: Some(status), ..Default::default() };
        head.update(Node { certificate: certificate.into(), ..node }).expect("updated");
        let view = sealed(head, 2);
        let request = NodeCertificateStatusRequest { node_id: "w".to_owned() };
        let answer = calls::status(&view, &request).expect("the node is there");
        assert_eq!(answer.is_some(), is_final, "{state:?}");
        let told = answer.and_then(|answer| answer.status);
        assert!(told.is_none_or(|told| told.state() == state && told.err == "why"));
    }
}

#[test]
fn the_unlock_key_is_given_while_managers_are_locked() {
    for auto_lock_managers in [true, false] {
        let mut head = Transaction::begin(&view());
        let mut cluster = head.default_cluster().expect("there").as_ref().clone();
        let config = wire::EncryptionConfig { auto_lock_managers };
        cluster.spec =
            wire::ClusterSpec { encryption_config: Some(config), ..(*cluster.spec).clone() }.into();
        let key = |subsystem: &str, key: &'static str| wire::EncryptionKey {
            subsystem: subsystem.to_owned(),
            key: key.into(),
            ..Default::default()
        };
        cluster.rest = wire::Cluster {
            unlock_keys: vec![key("other", "no"), key("swarm-manager", "yes")],
            ..(*cluster.rest).clone()
        }
        .into();
        head.update(cluster).expect("updated");
        let answer = calls::unlock_key(&sealed(head, 2)).expect("given");
        let expected = if auto_lock_managers { &b"yes"[..] } else { b"" };
        assert_eq!((&*answer.unlock_key, answer.version.expect("one").index), (expected, 2));
    }
}
