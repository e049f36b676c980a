//! What is signed for whom.

use actors::ca::{
    Signer,
    port::{Error as SignError, Request},
};
use bytes::Bytes;
use protocol::wire::RootCa;
use rcgen::{PKCS_ED25519, PublicKeyData};

use super::{
    super::{
        RootSigner,
        key_file::plain_pem,
        request::{Unsound, requested_key, signing_request},
    },
    *,
};

pub(super) fn root_of(identity: &Identity) -> RootCa {
    RootCa {
        ca_cert: identity.root_pem.clone().into(),
        ca_key: identity.root_key_pem.clone().expect("it founds").into(),
        ..Default::default()
    }
}

pub(super) fn subject(node_id: &str, role: NodeRole) -> Subject {
    Subject { node_id: node_id.into(), role, cluster_id: "cluster1".into() }
}

pub(super) fn sign(
    root: &RootCa,
    csr: &[u8],
    subject: &Subject,
    now: Timestamp,
) -> Result<Bytes, SignError> {
    let expiry = Duration::from_secs(90 * 24 * 3600);
    RootSigner.sign(&Request { root, csr, subject, expiry, now })
}

#[test]
fn keys_are_taken_that_the_table_names() {
    let own = generate_key().expect("a key");
    let own = signing_request(&own).expect("a request");
    let ed25519 = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
    let ed25519 = signing_request(&ed25519).expect("a request");
    let rows: [(&str, &[u8], Option<Unsound>); 9] = [
        ("P-256", own.as_bytes(), None),
        ("P-384, with a subject and names", include_bytes!("p384.csr"), None),
        ("RSA 2048", include_bytes!("rsa2048.csr"), None),
        ("RSA 1024", include_bytes!("rsa1024.csr"), Some(Unsound::Kind)),
        ("SHA-1", include_bytes!("sha1.csr"), Some(Unsound::Kind)),
        ("P-521, which ring does not have", include_bytes!("p521.csr"), Some(Unsound::Kind)),
        ("Ed25519", ed25519.as_bytes(), Some(Unsound::Kind)),
        ("no PEM", b"request", Some(Unsound::Malformed)),
        ("nothing", b"", Some(Unsound::Malformed)),
    ];
    for (what, csr, expected) in rows {
        assert_eq!(requested_key(csr).err(), expected, "{what}");
    }
    let block = pem::parse(&own).expect("PEM");
    let other_tag = plain_pem("CERTIFICATE", block.contents());
    assert_eq!(requested_key(other_tag.as_bytes()).err(), Some(Unsound::Malformed));
    let mut trailing = block.contents().to_vec();
    trailing.push(0);
    let trailing = plain_pem("CERTIFICATE REQUEST", &trailing);
    assert_eq!(requested_key(trailing.as_bytes()).err(), Some(Unsound::Malformed));
}

proptest! {
    #[test]
    fn no_request_panics(bytes: Vec<u8>, at: prop::sample::Index, with: u8) {
        let requests: [&[u8]; 2] = [include_bytes!("p384.csr"), include_bytes!("rsa2048.csr")];
        for request in requests {
            let key = requested_key(request).expect("sound").subject_public_key_info();
            let mut text = request.to_vec();
            text[at.index(request.len())] = with;
            let mut der = pem::parse(request).expect("PEM").into_contents();
            let at = at.index(der.len());
            der[at] = with;
            let changed = plain_pem("CERTIFICATE REQUEST", &der);
            let cut = plain_pem("CERTIFICATE REQUEST", &der[..at]);
            for damaged in [&text[..], changed.as_bytes(), cut.as_bytes()] {
                // Nobody is signed for who has not shown the private key.
                if let Ok(other) = requested_key(damaged) {
                    prop_assert_eq!(other.subject_public_key_info(), key.clone());
                }
            }
        }
        let wrapped = plain_pem("CERTIFICATE REQUEST", &bytes);
        prop_assert!(requested_key(&bytes).is_err());
        prop_assert!(requested_key(wrapped.as_bytes()).is_err());
    }
}

#[test]
fn a_request_that_somebody_else_has_signed_is_refused() {
    let own = signing_request(&generate_key().expect("a key")).expect("a request");
    let mut der = pem::parse(own).expect("PEM").into_contents();
    // The signature is the last thing in it.
    *der.last_mut().expect("it is not empty") ^= 1;
    let forged = plain_pem("CERTIFICATE REQUEST", &der);
    assert_eq!(requested_key(forged.as_bytes()).err(), Some(Unsound::Signature));
}

#[test]
fn a_certificate_names_whom_the_cluster_says_whatever_was_asked_for() {
    let world = World::new();
    let root = root_of(&world.open().expect("opened"));
    let csr = include_bytes!("p384.csr");
    let subject = subject("node7", NodeRole::Worker);
    let pem = sign(&root, csr, &subject, NOW).expect("signed");
    let chain = Chain::parse(&pem).expect("a certificate");
    assert_eq!(chain.subject, subject);
    assert_eq!(chain.public_key, requested_key(csr).expect("sound").subject_public_key_info());
    chain.verify(&root.ca_cert, &NOW).expect("the root vouches for it");
    let leaf = X509Certificate::from_der(&chain.certificates[0]).expect("DER").1;
    let names = leaf.subject_alternative_name().expect("valid").expect("there");
    let names: Vec<_> = names.value.general_names.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["DNSName(swarm-worker)", "DNSName(node7)"], "not what the request says");
}

#[test]
fn who_cannot_sign_says_whose_fault_it_is() {
    let world = World::new();
    let root = root_of(&world.open().expect("opened"));
    let csr = signing_request(&generate_key().expect("a key")).expect("a request");
    let node = subject("n", NodeRole::Worker);
    let keyless = RootCa { ca_key: Bytes::new(), ..root.clone() };
    let broken = RootCa { ca_key: "key".into(), ..root.clone() };
    for root in [&keyless, &broken] {
        let signed = sign(root, csr.as_bytes(), &node, NOW);
        assert!(matches!(signed, Err(SignError::Unready(_))), "{signed:?}");
    }
    let signed = sign(&root, b"request", &node, NOW);
    assert!(matches!(signed, Err(SignError::Refused(_))), "{signed:?}");
}
