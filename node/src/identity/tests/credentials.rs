//! What this node shows to others, and what it takes from them.

use std::{sync::Arc, time::Duration};

use actors::environment::Clock as _;
use protocol::wire::NodeTlsInfo;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::{
    ClientConfig, ServerConfig,
    pki_types::{CertificateDer, ServerName},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{
    super::{authority::generate_key, certificate::certificates, *},
    HOUR, MINUTE_SECONDS, World, authority, leaf_subject,
};
use crate::clock::SystemClock;

/// The certificate that clients see.
fn leaf(credentials: &Credentials) -> CertificateDer<'static> {
    credentials.certified.load().cert[0].clone()
}

#[test]
fn a_replaced_certificate_is_shown_at_once() {
    let (one, two) = (World::new(), World::new());
    let (one, two) = (one.open().expect("bootstrapped"), two.open().expect("bootstrapped"));
    let shown = one.credentials().expect("a pair");
    assert_eq!(leaf(&shown), one.chain.certificates[0]);
    shown.replace(&two.chain.certificates, &two.key_file.key).expect("a pair");
    assert_eq!(leaf(&shown), two.chain.certificates[0]);
    assert!(shown.replace(&one.chain.certificates, &two.key_file.key).is_err(), "no pair");
    assert_eq!(leaf(&shown), two.chain.certificates[0]);
}

/// The certificate of a root's name and key that another has signed, as one root hands on to the next.
fn cross_signed(next: &Authority, by: &Authority) -> CertificateDer<'static> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "swarm-ca");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let key = |root: &Authority| KeyPair::from_pem(&root.key_pem()).expect("a key");
    let root = certificates(by.certificate_pem.as_bytes()).expect("a root").remove(0);
    let signer = Issuer::from_ca_cert_der(&root, key(by)).expect("an issuer");
    params.signed_by(&key(next), &signer).expect("signed").der().clone()
}

#[test]
fn a_node_says_who_issued_its_certificate() {
    let (old, new) = (authority(), authority());
    let ders = |root: &Authority| certificates(root.certificate_pem.as_bytes()).expect("a root");
    let key_of = |root: &Authority| {
        KeyPair::from_pem(&root.key_pem()).expect("a key").subject_public_key_info()
    };
    let issued = |root: &Authority| {
        let key = generate_key().expect("a key");
        let expiry = Duration::from_secs(HOUR.unsigned_abs());
        let issued = root.issue(&key, &leaf_subject(), expiry, &super::NOW).expect("issued");
        (certificates(issued.as_bytes()).expect("a certificate").remove(0), key.into())
    };
    let ((first, first_key), (second, second_key)) = (issued(&old), issued(&new));
    let credentials = Credentials::new(&[first], &first_key, &ders(&old)).expect("a pair");
    let mut told = credentials.tls_info();
    let mut next = |what: &str, root: &Authority, roots: &str| {
        assert!(told.has_changed().expect("it lives"), "{what}");
        let NodeTlsInfo { trust_root, cert_issuer_subject, cert_issuer_public_key } =
            told.borrow_and_update().clone();
        assert_eq!(cert_issuer_public_key, key_of(root), "{what}");
        // The DER of one common name.
        assert!(
            cert_issuer_subject.starts_with(b"\x30") && cert_issuer_subject.ends_with(b"swarm-ca")
        );
        assert_eq!(trust_root, roots, "{what}");
    };
    credentials.trust(&ders(&old)).expect("a root");
    next("the only root", &old, &old.certificate_pem);
    // As during a rotation: the old root is trusted, and stands behind the new one.
    let chain = [second, cross_signed(&new, &old)];
    credentials.replace(&chain, &second_key).expect("a pair");
    next("between two roots", &new, &old.certificate_pem);
    credentials.trust(&ders(&new)).expect("a root");
    next("the new root", &new, &new.certificate_pem);
    let both = [ders(&old), ders(&new)].concat();
    credentials.replace(&chain[..1], &second_key).expect("a pair");
    credentials.trust(&both).expect("roots");
    next("two roots of one name", &new, &format!("{}{}", old.certificate_pem, new.certificate_pem));
}

/// A member of the group may have slept past the end of its certificate; nobody else is excused.
#[tokio::test]
async fn only_members_talk_to_managers_whose_certificates_have_ended() {
    const DAY: i64 = 24 * HOUR;
    let now = SystemClock.now().seconds;
    let before = |seconds| Timestamp { seconds: now - seconds, nanos: 0 };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let founder = Identity::open(folder.path(), &before(500 * DAY)).expect("bootstrapped");
    let key = founder.root_key_pem.as_ref().expect("it founds a cluster");
    let root = Authority::read(founder.root_pem.clone(), key).expect("a root");
    for (issued_ago, as_client, as_member) in [
        (MINUTE_SECONDS, true, true),
        (2 * HOUR, false, true),
        (365 * DAY, false, true),
        (366 * DAY, false, false),
    ] {
        let key = generate_key().expect("a key");
        let expiry = Duration::from_secs(HOUR.unsigned_abs());
        let issued = root.issue(&key, &founder.chain.subject, expiry, &before(issued_ago));
        let chain = Chain::parse(issued.expect("issued").as_bytes()).expect("a certificate");
        let roots = certificates(founder.root_pem.as_bytes()).expect("a root");
        let credentials =
            Credentials::new(&chain.certificates, &key.into(), &roots).expect("credentials");
        let client = credentials.client_config().expect("a configuration");
        let member = credentials.member_config().expect("a configuration");
        let server = credentials.remote_config().expect("a configuration");
        let found = (talks(client, server.clone()).await, talks(member, server).await);
        assert_eq!(found, (as_client, as_member), "issued {issued_ago} s ago, for an hour");
    }
}

/// Whether a client takes a server for a manager.
pub(super) async fn talks(client: Arc<ClientConfig>, server: Arc<ServerConfig>) -> bool {
    let (here, there) = tokio::io::duplex(1 << 16);
    let name = ServerName::try_from("swarm-manager").expect("a name");
    let (connected, _) = tokio::join!(
        TlsConnector::from(client).connect(name, here),
        TlsAcceptor::from(server).accept(there)
    );
    connected.is_ok()
}
