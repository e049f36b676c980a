//! Certificates asked of a manager that does not lead, answered by a real authority.

use futures_util::FutureExt;
use http::Request;
use hyper::body::Incoming;
use protocol::wire::{
    IssueNodeCertificateRequest, NodeRole, node_ca_client::NodeCaClient,
    node_ca_server::NodeCaServer,
};
use tonic::{Code, body::Body};
use tower::{Layer, ServiceBuilder};

use super::{
    World,
    access::{VALID, peer, view},
};
use crate::{
    remote::Peer,
    service::{
        Certificates,
        tests::{check, front, run},
    },
};

#[test]
fn nodes_join_and_renew_through_any_manager() {
    run(&view(), async |leader| {
        let mut world = World::new();
        let end = std::future::pending().boxed().shared();
        let certificates = Certificates::new(leader.leadership.clone(), "n1".into(), end);
        let services =
            front(&leader.store, super::Door::Network).layer(NodeCaServer::new(certificates));
        let follower = peer(Some(("m1", NodeRole::Manager, VALID)));
        let services = ServiceBuilder::new()
            .map_request(move |request: Request<Incoming>| {
                let mut request = request.map(Body::new);
                request.extensions_mut().insert(follower.clone());
                request
            })
            .service(services);
        world.net.listen("host2:1", services);
        let mut ask = async |peer: Peer, token: &str| {
            let client = world.client(Some(peer)).await;
            let request = IssueNodeCertificateRequest {
                csr: "csr".into(),
                token: token.to_owned(),
                ..Default::default()
            };
            NodeCaClient::new(client).issue_node_certificate(request).await
        };
        // Nobody becomes the manager that passes the call on.
        let refused = ask(peer(None), "").await;
        let text = "A valid join token is necessary to join this cluster";
        check(refused, Code::InvalidArgument, text);
        let joined = ask(peer(None), "token").await.expect("let in").into_inner().node_id;
        assert!(!["n1", "w", "m1"].contains(&joined.as_str()), "it is a new node");
        let worker = peer(Some(("w", NodeRole::Worker, VALID)));
        let renewed = ask(worker, "").await.expect("its own").into_inner().node_id;
        assert_eq!(renewed, "w");
    });
}
