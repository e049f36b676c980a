//! Roots and certificates over the control socket.

use std::{future::pending, pin::pin, time::Duration};

use actors::store::{NotWritten, TransactError, Transaction, View};
use futures_util::FutureExt;
use prost_types::Timestamp;
use protocol::{
    objects::{Cluster, Node},
    wire::{
        self, GetRootCaCertificateRequest, GetUnlockKeyRequest, IssueNodeCertificateRequest,
        NodeCertificateStatusRequest, ca_client::CaClient, issuance_status::State,
        node_ca_client::NodeCaClient,
    },
};
use tokio::time::timeout;
use tonic::Code;

use super::{Certificates, World, check, run};
use crate::{identity::Issuer, service::certificates::unissued};

/// A cluster with this node.
fn view() -> View {
    let mut head = Transaction::begin(&View::default());
    let annotations = wire::Annotations { name: "default".to_owned(), ..Default::default() };
    let cluster = wire::Cluster {
        id: "c".to_owned(),
        spec: Some(wire::ClusterSpec { annotations: Some(annotations), ..Default::default() }),
        root_ca: Some(wire::RootCa { ca_cert: "root".into(), ..Default::default() }),
        ..Default::default()
    };
    head.create(Cluster::from(cluster)).expect("created");
    head.create(Node::from(wire::Node { id: "n1".to_owned(), ..Default::default() }))
        .expect("created");
    head.seal(1, Timestamp::default()).view
}

fn ca(world: &World) -> CaClient<tonic::transport::Channel> {
    CaClient::new(world.channel.clone())
}

fn node_ca(world: &World) -> NodeCaClient<tonic::transport::Channel> {
    NodeCaClient::new(world.channel.clone())
}

#[test]
fn the_root_and_the_unlock_key_are_given() {
    run(&view(), async |world| {
        let root = ca(world).get_root_ca_certificate(GetRootCaCertificateRequest {}).await;
        assert_eq!(root.expect("given").into_inner().certificate, "root");
        let key = ca(world).get_unlock_key(GetUnlockKeyRequest {}).await;
        let key = key.expect("given").into_inner();
        assert!(key.unlock_key.is_empty(), "managers are not locked");
        assert_eq!(key.version.expect("a version").index, 1);
        world.leads.set(false);
        let root = ca(world).get_root_ca_certificate(GetRootCaCertificateRequest {}).await;
        check(root, Code::Unavailable, "raft: no elected cluster leader");
    });
}

#[test]
fn whoever_may_use_the_socket_renews_the_certificate_of_this_node() {
    run(&view(), async |world| {
        let request = IssueNodeCertificateRequest { csr: "csr".into(), ..Default::default() };
        let asked = node_ca(world).issue_node_certificate(request).await;
        assert_eq!(asked.expect("asked").into_inner().node_id, "n1");
        let node = world.store.view().node(&"n1".into()).expect("there").clone();
        let state = node.certificate.status.as_ref().map(wire::IssuanceStatus::state);
        assert_eq!((state, &*node.certificate.csr), (Some(State::Renew), &b"csr"[..]));

        // The call waits until somebody has signed.
        let request = NodeCertificateStatusRequest { node_id: "n1".to_owned() };
        let mut client = node_ca(world);
        let mut waits = pin!(client.node_certificate_status(request));
        assert!(timeout(Duration::from_millis(100), &mut waits).await.is_err(), "not signed yet");
        sign(world, "csr").await;
        let answer = waits.await.expect("answered").into_inner();
        assert_eq!(answer.certificate.expect("a certificate").certificate, "signed");
    });
}

/// Answers what the node has asked for last, as if that had been `csr`.
async fn sign(world: &World, csr: &'static str) {
    let signed = world.store.transact(move |head| {
        let node = head.node(&"n1".into()).expect("there").clone();
        let status = wire::IssuanceStatus { state: State::Issued.into(), ..Default::default() };
        let certificate = wire::Certificate {
            csr: csr.into(),
            status: Some(status),
            certificate: "signed".into(),
            ..(*node.certificate).clone()
        };
        head.update(Node { certificate: certificate.into(), ..(*node).clone() })
    });
    signed.await.expect("written");
}

#[test]
fn a_renewal_takes_what_it_has_asked_for_and_nothing_else() {
    run(&view(), async |world| {
        let leadership = world.leadership.clone();
        let certificates = Certificates::new(leadership, "n1".into(), pending().boxed().shared());
        let mut issued = certificates.issue("mine".to_owned());
        let a_moment = Duration::from_millis(100);
        assert!(timeout(a_moment, &mut issued).await.is_err());
        sign(world, "another's").await;
        assert!(timeout(a_moment, &mut issued).await.is_err(), "somebody else has asked meanwhile");
        sign(world, "mine").await;
        assert_eq!(issued.await.expect("issued"), "signed");
    });
}

#[test]
fn a_call_that_waits_does_not_hold_up_the_end() {
    run(&view(), async |world| {
        let mut client = node_ca(world);
        let request = NodeCertificateStatusRequest { node_id: "n1".to_owned() };
        let mut waits = pin!(client.node_certificate_status(request));
        assert!(timeout(Duration::from_millis(100), &mut waits).await.is_err());
        world.stop.take().expect("it runs").send(()).expect("it listens");
        check(waits.await, Code::Unavailable, "the manager is stopping");
    });
}

#[test]
fn a_manager_that_does_not_lead_says_that_it_does_not_sign() {
    let rows = [
        (NotWritten::NotLeading, Code::Aborted, "CA signer is stopped"),
        (
            NotWritten::Busy,
            Code::Unavailable,
            "too many changes are in flight: nothing was written; try again",
        ),
    ];
    for (reason, code, text) in rows {
        let refused = unissued(&TransactError::NotWritten(reason));
        check::<()>(Err(refused), code, text);
    }
}

#[test]
fn refusals_have_the_codes_of_the_table() {
    run(&view(), async |world| {
        let asked =
            node_ca(world).issue_node_certificate(IssueNodeCertificateRequest::default()).await;
        check(asked, Code::InvalidArgument, "InvalidArgument");
        for (node_id, code, text) in
            [("", Code::InvalidArgument, "InvalidArgument"), ("n2", Code::NotFound, "NotFound")]
        {
            let request = NodeCertificateStatusRequest { node_id: node_id.to_owned() };
            check(node_ca(world).node_certificate_status(request).await, code, text);
        }
    });
}
