//! Who is let in by which door, what of a call's metadata is believed, and what is seen of it.

use std::{
    convert::Infallible,
    future::pending,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use actors::{
    ca::logic::{
        Window,
        access::{Caller, Door, RENEWABLE_SECONDS},
    },
    environment::testing::{BEGINNING, environment},
    store::{Transaction, View},
};
use arc_swap::ArcSwapOption;
use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue, Request, Response, request};
use proptest::{collection::vec, prelude::*};
use prost_types::Timestamp;
use protocol::{
    objects::{Cluster, Node},
    wire::{
        self, IssueNodeCertificateRequest, JoinTokens, NodeRole, node_ca_client::NodeCaClient,
        node_ca_server::NodeCaServer,
    },
};
use tonic::{Code, Status, body::Body};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};

use super::{Access, Certificates, Front, World, check, front, run, subject};
use crate::{
    remote::{Peer, Presented},
    service::{CallerAddress, access::ReachedAt},
};

const SESSION: &str = "/docker.swarmkit.v1.Dispatcher/Session";
const ROOT: &str = "/docker.swarmkit.v1.CA/GetRootCACertificate";

/// A cluster with a manager, a worker and a token.
pub(super) fn view() -> View {
    let mut head = Transaction::begin(&View::default());
    let annotations = wire::Annotations { name: "default".to_owned(), ..Default::default() };
    let tokens = JoinTokens { worker: "token".to_owned(), ..Default::default() };
    let cluster = wire::Cluster {
        id: "c".to_owned(),
        spec: Some(wire::ClusterSpec { annotations: Some(annotations), ..Default::default() }),
        root_ca: Some(wire::RootCa { join_tokens: Some(tokens), ..Default::default() }),
        ..Default::default()
    };
    head.create(Cluster::from(cluster)).expect("created");
    for (id, role) in [("n1", NodeRole::Manager), ("w", NodeRole::Worker)] {
        let role = role.into();
        let node = wire::Node { id: id.to_owned(), role, ..Default::default() };
        head.create(Node::from(node)).expect("created");
    }
    head.seal(1, Timestamp::default()).view
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// A peer with a certificate that is valid for a day, or has ended so many seconds ago.
pub(super) fn peer(certificate: Option<(&str, NodeRole, i64)>) -> Peer {
    let certificate = certificate.map(|(node_id, role, ended_seconds_ago)| {
        let not_after_seconds = BEGINNING - ended_seconds_ago;
        let window = Window { not_before_seconds: 0, not_after_seconds };
        Arc::new(Presented { subject: subject(node_id, role), window })
    });
    Peer { address: address("10.0.0.9:999"), here: HERE, certificate }
}

/// Where peers reach this node.
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

pub(super) const VALID: i64 = -24 * 60 * 60;

fn manager() -> Peer {
    peer(Some(("n1", NodeRole::Manager, VALID)))
}

fn worker() -> Peer {
    peer(Some(("w", NodeRole::Worker, VALID)))
}

/// Adds everything that a manager may say of a call.
fn passed_on(mut request: Request<Body>, node: &str, unit: &str, cluster: &str) -> Request<Body> {
    let headers = request.headers_mut();
    for (name, value) in [
        ("forwarded_cert", "true"),
        ("forwarded_cert_cn", node),
        ("forwarded_cert_org", cluster),
        ("forwarded_cert_ou", unit),
        ("forwarded_cert_later", "what a later version adds"),
        ("remote_addr", "10.0.0.7:777"),
        ("redirect", "10.0.0.7:777"),
    ] {
        headers.append(name, value.parse().expect("a value"));
    }
    request
}

/// What reaches a service behind a front, and what comes back.
async fn through(front: Front, request: Request<Body>) -> (Option<request::Parts>, Status) {
    let seen = Arc::new(ArcSwapOption::default());
    let given = seen.clone();
    let service = service_fn(move |request: Request<Body>| {
        given.store(Some(Arc::new(request.into_parts().0)));
        async { Ok::<_, Infallible>(Status::ok("").into_http()) }
    });
    let response: Response<Body> = front.layer(service).oneshot(request).await.expect("it answers");
    let status = Status::from_header_map(response.headers()).expect("it has no body");
    (seen.load_full().map(|seen| seen.as_ref().clone()), status)
}

fn request(path: &str, peer: Option<Peer>) -> Request<Body> {
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = path.parse().expect("a path");
    request.headers_mut().insert("kept", "value".parse().expect("a value"));
    if let Some(peer) = peer {
        request.extensions_mut().insert(peer);
    }
    request
}

#[test]
fn what_only_managers_may_say_reaches_no_service_whoever_says_it() {
    run(&view(), async |world| {
        let other = {
            let mut subject = subject("n1", NodeRole::Manager);
            subject.cluster_id = "another".into();
            let window = Window { not_before_seconds: 0, not_after_seconds: BEGINNING };
            let certificate = Some(Arc::new(Presented { subject, window }));
            Peer { certificate, ..peer(None) }
        };
        for (door, peer) in [
            (Door::Network, Some(peer(None))),
            (Door::Network, Some(worker())),
            (Door::Network, Some(manager())),
            (Door::Network, Some(other)),
            (Door::Socket, None),
        ] {
            let request = passed_on(request(ROOT, peer.clone()), "n1", "swarm-manager", "c");
            let (seen, _) = through(front(&world.store, door), request).await;
            let headers = seen.expect("it is open to anybody").headers;
            let expected: HeaderMap =
                [("kept".parse().expect("a name"), "value".parse().expect("a value"))]
                    .into_iter()
                    .collect();
            assert_eq!(headers, expected, "{peer:?}");
        }
    });
}

/// A manager on the same machine has reached this one where nobody else could.
#[test]
fn a_service_is_not_told_where_another_manager_of_its_machine_has_reached_it() {
    run(&view(), async |world| {
        let at_home = || Peer { here: IpAddr::from([127, 0, 0, 1]), ..manager() };
        let own = request(SESSION, Some(at_home()));
        let for_another = passed_on(request(SESSION, Some(at_home())), "w", "swarm-worker", "c");
        for (request, is_told) in [(own, true), (for_another, false)] {
            let (seen, _) = through(front(&world.store, Door::Network), request).await;
            let seen = seen.expect("it is let in").extensions;
            assert_eq!(seen.get::<ReachedAt>().is_some(), is_told);
        }
    });
}

#[test]
fn a_service_is_told_who_calls_and_from_where() {
    let node = |id: &str, role| Some(Caller::Node { id: id.into(), role });
    let (here, there) = (Some("10.0.0.9:999"), Some("10.0.0.7:777"));
    run(&view(), async |world| {
        for (what, door, peer, named, caller, from) in [
            ("the socket", Door::Socket, None, None, Some(Caller::Own("n1".into())), None),
            (
                "a claim on the socket",
                Door::Socket,
                None,
                Some(("w", "swarm-worker", "c")),
                Some(Caller::Own("n1".into())),
                None,
            ),
            ("a worker", Door::Network, Some(worker()), None, node("w", NodeRole::Worker), here),
            (
                "a manager",
                Door::Network,
                Some(manager()),
                None,
                node("n1", NodeRole::Manager),
                here,
            ),
            (
                "a manager for a worker",
                Door::Network,
                Some(manager()),
                Some(("w", "swarm-worker", "c")),
                node("w", NodeRole::Worker),
                there,
            ),
            (
                "a worker for a manager",
                Door::Network,
                Some(worker()),
                Some(("n1", "swarm-manager", "c")),
                node("w", NodeRole::Worker),
                here,
            ),
            ("nobody", Door::Network, Some(peer(None)), None, None, None),
            (
                "a manager for nobody",
                Door::Network,
                Some(manager()),
                Some(("", "", "")),
                None,
                None,
            ),
        ] {
            let mut request = request(SESSION, peer);
            if let Some((node, unit, cluster)) = named {
                request = passed_on(request, node, unit, cluster);
            }
            let (seen, status) = through(front(&world.store, door), request).await;
            let code = if caller.is_some() { Code::Ok } else { Code::PermissionDenied };
            assert_eq!(status.code(), code, "{what}");
            let seen = seen.as_ref().map(|parts| &parts.extensions);
            assert_eq!(seen.and_then(|seen| seen.get::<Caller>()), caller.as_ref(), "{what}");
            let found = seen.and_then(|seen| seen.get::<CallerAddress>());
            assert_eq!(found, from.map(|from| CallerAddress(address(from))).as_ref(), "{what}");
            let reached = seen.and_then(|seen| seen.get::<ReachedAt>());
            let is_peer = caller.is_some() && door == Door::Network;
            assert_eq!(reached, is_peer.then_some(&ReachedAt(HERE)), "{what}");
        }
    });
}

#[test]
fn a_refusal_says_why_and_reaches_no_service() {
    run(&view(), async |world| {
        for (path, peer, code, text) in [
            (
                SESSION,
                Some(peer(None)),
                Code::PermissionDenied,
                "Permission denied: unauthorized peer role: rpc error: code = PermissionDenied \
                 desc = no client certificates in request",
            ),
            (
                SESSION,
                Some(peer(Some(("w", NodeRole::Worker, 1)))),
                Code::PermissionDenied,
                "Permission denied: the certificate of node w has expired: it is good for its \
                 renewal and nothing else",
            ),
            (SESSION, None, Code::PermissionDenied, "Permission denied: no peer info"),
            ("/a.Service/Method", Some(manager()), Code::Unimplemented, "this method is not known"),
        ] {
            let (seen, status) =
                through(front(&world.store, Door::Network), request(path, peer)).await;
            assert!(seen.is_none(), "{path}");
            assert_eq!((status.code(), status.message()), (code, text), "{path}");
        }
    });
}

/// Asks for a certificate as a peer, by the word of another if `named`.
async fn ask(
    world: &World,
    peer: Peer,
    named: Option<(&'static str, &'static str)>,
    token: &str,
) -> Result<String, Status> {
    let services = front(&world.store, Door::Network).layer(NodeCaServer::new(Certificates::new(
        world.leadership.clone(),
        "n1".into(),
        pending().boxed().shared(),
    )));
    let connected = ServiceBuilder::new()
        .map_request(move |mut request: Request<Body>| {
            request.extensions_mut().insert(peer.clone());
            let cluster = |node: &str| if node.is_empty() { "" } else { "c" };
            match named {
                Some((node, unit)) => passed_on(request, node, unit, cluster(node)),
                None => request,
            }
        })
        .service(services);
    let request = IssueNodeCertificateRequest {
        // The same request again is the same node.
        csr: format!("csr {token}").into(),
        token: token.to_owned(),
        ..Default::default()
    };
    let answer = NodeCaClient::new(connected).issue_node_certificate(request).await?;
    Ok(answer.into_inner().node_id)
}

#[test]
fn a_certificate_is_for_whoever_calls() {
    run(&view(), async |world| {
        for (peer, named, node) in [
            (worker(), None, "w"),
            (manager(), None, "n1"),
            (manager(), Some(("w", "swarm-worker")), "w"),
            (worker(), Some(("n1", "swarm-manager")), "w"),
            (peer(Some(("w", NodeRole::Worker, RENEWABLE_SECONDS))), None, "w"),
        ] {
            assert_eq!(ask(world, peer, named, "").await.expect("asked"), node);
        }
        let text = "A valid join token is necessary to join this cluster";
        for (peer, named) in [(peer(None), None), (manager(), Some(("", "")))] {
            let refused = ask(world, peer.clone(), named, "").await;
            check(refused, Code::InvalidArgument, text);
            let joined = ask(world, peer, named, "token").await.expect("let in");
            assert!(!["n1", "w"].contains(&joined.as_str()), "it is a new node");
        }
        let ended =
            ask(world, peer(Some(("w", NodeRole::Worker, RENEWABLE_SECONDS + 1))), None, "");
        assert_eq!(ended.await.expect_err("too late").code(), Code::PermissionDenied);
    });
}

proptest! {
    #[test]
    fn whatever_a_peer_says_of_a_call_is_taken_out_of_it(
        said in vec((0..6_usize, vec(any::<u8>(), 0..40)), 0..12), is_manager: bool,
    ) {
        const NAMES: [&str; 6] = [
            "forwarded_cert",
            "forwarded_cert_cn",
            "forwarded_cert_org",
            "forwarded_cert_ou",
            "remote_addr",
            "redirect",
        ];
        let access = Access {
            door: Door::Network,
            own: subject("n1", NodeRole::Manager),
            view: Arc::new(View::default),
            clock: environment().clock,
        };
        let mut request = request(ROOT, Some(if is_manager { manager() } else { worker() }));
        for (name, value) in &said {
            if let Ok(value) = HeaderValue::from_bytes(value) {
                request.headers_mut().append(NAMES[*name], value);
            }
        }
        let is_named = ["forwarded_cert", "redirect"];
        let is_named = is_named.iter().any(|name| request.headers().contains_key(*name));
        let arrival = access.receive(&mut request).expect("the method is known");
        prop_assert_eq!(request.headers().len(), 1, "one is not about this");
        prop_assert_eq!(arrival.is_passed_on(), is_named && is_manager);
    }
}
