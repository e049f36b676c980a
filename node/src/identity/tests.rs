//! Certificates line by line against the table, and the files through every crash.

mod credentials;
mod issuing;
mod renewing;

use std::{
    error::Error as _,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::PathBuf,
    time::Duration,
};

use proptest::prelude::*;
use ring::digest;
use x509_parser::{
    certificate::X509Certificate,
    extensions::{GeneralName, ParsedExtension},
    oid_registry::{OID_EC_P256, OID_SIG_ECDSA_WITH_SHA256},
    prelude::FromDer,
};

use super::{authority::generate_key, certificate::certificates, *};

/// A moment that is not on a minute.
const NOW: Timestamp = Timestamp { seconds: 1_800_000_007, nanos: 5 };
const MINUTE: i64 = 1_800_000_000;
const HOUR: i64 = 3600;
const MINUTE_SECONDS: i64 = 60;

struct World {
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    fn open(&self) -> Result<Identity, Error> {
        Identity::open(self.folder.path(), &NOW)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).expect("it is there")
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).expect("written");
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).expect("it was there");
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).expect("a folder");
        let mut names: Vec<_> = entries
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
            .collect();
        names.sort();
        names
    }
}

fn refused(world: &World) -> Error {
    world.open().err().expect("refused")
}

fn with_certificate<T>(pem: &str, look: impl FnOnce(&X509Certificate<'_>) -> T) -> T {
    let all = certificates(pem.as_bytes()).expect("PEM");
    assert_eq!(all.len(), 1);
    let (rest, certificate) = X509Certificate::from_der(&all[0]).expect("DER");
    assert!(rest.is_empty());
    look(&certificate)
}

fn sha1(certificate: &X509Certificate<'_>) -> Vec<u8> {
    let key = &certificate.public_key().subject_public_key.data;
    digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, key).as_ref().to_vec()
}

fn subject_key_identifier(certificate: &X509Certificate<'_>) -> Option<Vec<u8>> {
    certificate.iter_extensions().find_map(|extension| {
        let ParsedExtension::SubjectKeyIdentifier(found) = extension.parsed_extension() else {
            return None;
        };
        Some(found.0.to_vec())
    })
}

fn authority_key_identifier(certificate: &X509Certificate<'_>) -> Option<Vec<u8>> {
    certificate.iter_extensions().find_map(|extension| {
        let ParsedExtension::AuthorityKeyIdentifier(found) = extension.parsed_extension() else {
            return None;
        };
        Some(found.key_identifier.as_ref()?.0.to_vec())
    })
}

fn is_p256(certificate: &X509Certificate<'_>) -> bool {
    let algorithm = &certificate.public_key().algorithm;
    let curve = algorithm.parameters.as_ref().and_then(|curve| curve.as_oid().ok());
    curve == Some(OID_EC_P256)
        && certificate.signature_algorithm.algorithm == OID_SIG_ECDSA_WITH_SHA256
}

fn authority() -> Authority {
    Authority::establish(generate_key().expect("a key"), &NOW).expect("a root")
}

fn leaf_subject() -> Subject {
    Subject { node_id: "node1".into(), role: NodeRole::Worker, cluster_id: "cluster1".into() }
}

fn issued(root: &Authority, role: NodeRole) -> String {
    let subject = Subject { role, ..leaf_subject() };
    let key = generate_key().expect("a key");
    root.issue(&key, &subject, Duration::from_secs(2160 * 3600), &NOW).expect("issued")
}

#[test]
fn a_root_certificate_has_every_line_of_the_table() {
    with_certificate(&authority().certificate_pem, |root| {
        assert!(is_p256(root));
        assert_eq!(root.subject().to_string(), "CN=swarm-ca");
        assert_eq!(root.issuer(), root.subject());
        assert_eq!(root.validity().not_before.timestamp(), MINUTE - 5 * 60);
        assert_eq!(root.validity().not_after.timestamp(), MINUTE - 5 * 60 + 630_720_000);
        let constraints = root.basic_constraints().expect("readable").expect("present");
        assert!(constraints.critical && constraints.value.ca);
        assert_eq!(constraints.value.path_len_constraint, None);
        let usage = root.key_usage().expect("readable").expect("present");
        assert_eq!(usage.value.to_string(), "Key Cert Sign, CRL Sign");
        assert_eq!(root.raw_serial().len(), 20);
        assert_eq!(root.raw_serial()[0] & 0x80, 0, "a serial number is positive");
        assert_eq!(subject_key_identifier(root), Some(sha1(root)));
    });
}

#[test]
fn a_node_certificate_has_every_line_of_the_table() {
    let root = authority();
    let issuer_key = with_certificate(&root.certificate_pem, sha1);
    let names_of = [
        (NodeRole::Worker, "swarm-worker", vec!["swarm-worker", "node1"]),
        (NodeRole::Manager, "swarm-manager", vec!["swarm-manager", "node1", "swarm-ca"]),
    ];
    for (role, unit, names) in names_of {
        with_certificate(&issued(&root, role), |node| {
            assert!(is_p256(node));
            assert_eq!(node.subject().to_string(), format!("O=cluster1, OU={unit}, CN=node1"));
            assert_eq!(node.issuer().to_string(), "CN=swarm-ca");
            assert_eq!(node.validity().not_before.timestamp(), MINUTE - HOUR);
            assert_eq!(node.validity().not_after.timestamp(), MINUTE + 2160 * HOUR);
            let constraints = node.basic_constraints().expect("readable").expect("present");
            assert!(!constraints.value.ca);
            let usage = node.key_usage().expect("readable").expect("present");
            assert_eq!(usage.value.to_string(), "Digital Signature, Key Encipherment");
            let extended = node.extended_key_usage().expect("readable").expect("present");
            assert!(extended.value.server_auth && extended.value.client_auth);
            let found = node.subject_alternative_name().expect("readable").expect("present");
            let expected: Vec<_> = names.into_iter().map(GeneralName::DNSName).collect();
            assert_eq!(found.value.general_names, expected);
            assert_eq!(subject_key_identifier(node), Some(sha1(node)));
            assert_eq!(authority_key_identifier(node), Some(issuer_key.clone()));
        });
    }
}

#[test]
fn serial_numbers_differ() {
    let root = authority();
    let serial = |pem: &str| with_certificate(pem, |found| found.raw_serial().to_vec());
    let first = serial(&issued(&root, NodeRole::Worker));
    assert_ne!(first, serial(&issued(&root, NodeRole::Worker)));
}

#[test]
fn a_root_is_the_same_after_it_was_read() {
    let root = authority();
    let again = Authority::read(root.certificate_pem.clone(), &root.key_pem()).expect("readable");
    let chain = Chain::parse(issued(&again, NodeRole::Worker).as_bytes()).expect("readable");
    chain.verify(root.certificate_pem.as_bytes(), &NOW).expect("trusted");
    let other = authority();
    let mismatch = Authority::read(root.certificate_pem, &other.key_pem());
    assert!(matches!(mismatch.err(), Some(AuthorityError::Mismatch)));
}

#[test]
fn a_chain_says_whom_it_names() {
    let root = authority();
    let chain = Chain::parse(issued(&root, NodeRole::Manager).as_bytes()).expect("readable");
    let Subject { node_id, role, cluster_id } = chain.subject;
    assert_eq!(
        (node_id.as_str(), role, cluster_id.as_str()),
        ("node1", NodeRole::Manager, "cluster1")
    );
    let root = Chain::parse(root.certificate_pem.as_bytes()).expect_err("no node");
    assert_eq!(root.to_string(), "its subject has no role (OU)");
}

#[test]
fn the_end_of_a_certificate_is_read_without_a_root() {
    let pem = issued(&authority(), NodeRole::Worker);
    let end = Chain::parse(pem.as_bytes()).expect("a certificate").window.not_after_seconds;
    let seconds = |pem: &[u8]| certificate_expiry(pem).map(|end| end.seconds);
    assert_eq!(seconds(pem.as_bytes()), Some(end));
    assert_eq!(seconds(b""), None);
    assert_eq!(seconds(b"-----BEGIN CERTIFICATE-----"), None);
}

#[test]
fn only_its_own_root_vouches_for_a_certificate() {
    let (root, other) = (authority(), authority());
    let chain = Chain::parse(issued(&root, NodeRole::Worker).as_bytes()).expect("readable");
    let verify = |roots: &str, now: &Timestamp| chain.verify(roots.as_bytes(), now);
    verify(&root.certificate_pem, &NOW).expect("trusted");
    verify(&format!("{}{}", other.certificate_pem, root.certificate_pem), &NOW).expect("a bundle");
    assert!(matches!(verify(&other.certificate_pem, &NOW), Err(Invalid::Untrusted(_))));
    assert!(matches!(verify("", &NOW), Err(Invalid::Malformed)));
    let years_later = Timestamp { seconds: NOW.seconds + 100_000 * HOUR, nanos: 0 };
    verify(&root.certificate_pem, &years_later).expect("its own expired certificate starts a node");
}

#[test]
fn an_empty_folder_becomes_a_first_manager() {
    let world = World::new();
    let identity = world.open().expect("bootstrapped");
    let expected = ["swarm-node.crt", "swarm-node.key", "swarm-root-ca.crt", "swarm-root-ca.key"];
    assert_eq!(world.names(), expected);
    for (name, mode) in expected.into_iter().zip([0o644, 0o600, 0o644, 0o600]) {
        let found = fs::metadata(world.path(name)).expect("it is there").permissions().mode();
        assert_eq!(found & 0o777, mode, "{name}");
    }
    assert_eq!(identity.chain.subject.role, NodeRole::Manager);
    assert_eq!(identity.node_id().as_str().len(), 25);
    assert_eq!(identity.cluster_id().as_str().len(), 25);
    assert_eq!(identity.root_pem.as_bytes(), world.read("swarm-root-ca.crt"));
    assert!(identity.data_key().is_ok());
    assert!(identity.root_key_pem.is_some());
}

#[test]
fn an_identity_is_the_same_after_a_restart() {
    let world = World::new();
    let mut first = world.open().expect("bootstrapped");
    let again = world.open().expect("read");
    assert_eq!(again.root_key_pem, first.root_key_pem, "the cluster object may not have it yet");
    first.forget_root_key().expect("removed");
    assert_eq!(first.root_key_pem, None);
    let last = world.open().expect("read");
    assert_eq!(last.node_id(), first.node_id());
    assert_eq!(last.cluster_id(), first.cluster_id());
    assert_eq!(last.key_file.key, first.key_file.key);
    assert_eq!(last.data_key().ok(), first.data_key().ok());
    assert_eq!(last.root_key_pem, None);
    first.forget_root_key().expect("twice is as good as once");
}

#[test]
fn a_founder_hands_on_its_root_until_it_forgets_the_key() {
    let world = World::new();
    let mut identity = world.open().expect("bootstrapped");
    let founding = identity.founding().expect("the key is there");
    assert_eq!(&founding.cluster_id, identity.cluster_id());
    assert_eq!(founding.root_pem, world.read("swarm-root-ca.crt"));
    assert_eq!(founding.root_key_pem, world.read("swarm-root-ca.key"));
    assert_eq!(founding.root_digest, root_digest(&founding.root_pem));
    assert_eq!(founding.worker_token.digest, founding.root_digest);
    assert_eq!(founding.manager_token.digest, founding.root_digest);
    assert_ne!(founding.worker_token, founding.manager_token);
    identity.forget_root_key().expect("removed");
    assert!(identity.founding().is_none());
}

#[test]
fn two_nodes_share_nothing() {
    let (one, two) = (World::new(), World::new());
    let (one, two) = (one.open().expect("bootstrapped"), two.open().expect("bootstrapped"));
    assert_ne!(one.node_id(), two.node_id());
    assert_ne!(one.cluster_id(), two.cluster_id());
    assert_ne!(one.data_key().ok(), two.data_key().ok());
    assert_ne!(root_digest(one.root_pem.as_bytes()), root_digest(two.root_pem.as_bytes()));
}

#[test]
fn a_bootstrap_that_was_cut_short_is_finished() {
    let whole = World::new();
    let root = whole.open().expect("bootstrapped").root_pem;
    for (left, keeps_root) in [
        (&["swarm-root-ca.key"][..], false),
        (&["swarm-root-ca.key", "swarm-root-ca.crt"], true),
        (&["swarm-root-ca.key", "swarm-root-ca.crt", "swarm-node.crt"], true),
    ] {
        let world = World::new();
        for name in left {
            world.write(name, whole.read(name));
        }
        let identity = world.open().expect("finished");
        assert_eq!(identity.root_pem == root, keeps_root, "{left:?}");
        let root_key = String::from_utf8(whole.read("swarm-root-ca.key")).expect("text");
        assert_eq!(identity.root_key_pem, Some(root_key), "{left:?}");
    }
}

#[test]
fn a_certificate_that_was_still_coming_is_put_in_place() {
    let other = World::new();
    other.open().expect("bootstrapped");
    // Before the first certificate, and before a later one.
    for stale in [None, Some(other.read("swarm-node.crt")), Some(b"garbage".to_vec())] {
        let world = World::new();
        let before = world.open().expect("bootstrapped");
        let certificate = world.read("swarm-node.crt");
        fs::rename(world.path("swarm-node.crt"), world.path(".swarm-node.crt")).expect("renamed");
        if let Some(stale) = &stale {
            world.write("swarm-node.crt", stale);
        }
        let after = world.open().expect("read");
        assert_eq!(after.node_id(), before.node_id());
        assert_eq!(world.read("swarm-node.crt"), certificate);
        assert!(!world.path(".swarm-node.crt").exists());
    }
}

#[test]
fn a_coming_certificate_without_its_key_is_ignored() {
    let (world, other) = (World::new(), World::new());
    let before = world.open().expect("bootstrapped");
    other.open().expect("bootstrapped");
    world.write(".swarm-node.crt", other.read("swarm-node.crt"));
    world.write(".new-swarm-node.key", b"half a k");
    assert_eq!(world.open().expect("read").node_id(), before.node_id());
}

#[test]
fn every_missing_or_damaged_file_is_named() {
    let check = |damage: &dyn Fn(&World), name: &str| {
        let world = World::new();
        world.open().expect("bootstrapped");
        damage(&world);
        let error = refused(&world);
        let chain =
            format!("{error}: {}", error.source().map(ToString::to_string).unwrap_or_default());
        assert!(chain.contains(&world.path(name).display().to_string()), "{name}: {chain}");
        chain
    };
    let text = check(&|world| world.remove("swarm-node.crt"), "swarm-node.crt");
    assert!(text.contains("is missing, or belongs to another key"), "{text}");
    let text = check(&|world| world.write("swarm-node.crt", "garbage"), "swarm-node.crt");
    assert!(text.contains("no valid certificate"), "{text}");
    let text = check(&|world| world.write("swarm-node.key", "garbage"), "swarm-node.key");
    assert!(text.contains("not valid PEM"), "{text}");
    check(&|world| world.write("swarm-root-ca.crt", [0xff, 0xfe]), "swarm-root-ca.crt");
    check(&|world| world.remove("swarm-root-ca.crt"), "swarm-root-ca.crt");
    let text = check(
        &|world| {
            world.remove("swarm-root-ca.key");
            world.remove("swarm-node.key");
        },
        "swarm-root-ca.crt",
    );
    assert!(text.contains("neither its private key"), "{text}");
    let text = check(
        &|world| world.write("swarm-root-ca.crt", authority().certificate_pem),
        "swarm-node.crt",
    );
    assert!(text.contains("does not vouch"), "{text}");
}

#[test]
fn no_file_is_read_without_an_end() {
    for name in ["swarm-root-ca.crt", "swarm-node.crt", "swarm-node.key"] {
        let world = World::new();
        world.open().expect("bootstrapped");
        world.write(name, vec![b'\n'; 3 << 20]);
        let error = refused(&world);
        let source = std::error::Error::source(&error).expect("why").to_string();
        assert_eq!(source, "it is larger than 1048576 bytes", "{error}");
    }
}

#[test]
fn a_manager_without_a_data_key_is_refused() {
    let world = World::new();
    let mut key_file = world.open().expect("bootstrapped").key_file;
    key_file.data_key = None;
    world.write("swarm-node.key", key_file.encode());
    let identity = world.open().expect("an identity all the same");
    let error = identity.data_key().expect_err("no data key");
    assert!(error.to_string().contains("has no raft-dek header"), "{error}");
}

#[test]
fn replacing_a_pair_leaves_no_temporary_file() {
    let world = World::new();
    let identity = world.open().expect("bootstrapped");
    let inode = || fs::metadata(world.path("swarm-node.key")).expect("there").ino();
    let before = inode();
    let certificate = world.read("swarm-node.crt");
    let files = Files::new(world.folder.path());
    files.write_pair(&certificate, identity.key_file.encode().as_bytes()).expect("written");
    assert_ne!(inode(), before, "the key was replaced, not overwritten");
    assert_eq!(world.names().len(), 4);
}

#[test]
fn a_root_hash_is_over_the_bytes_as_stored() {
    let expected = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(root_digest(b"").labelled(), expected);
}

proptest! {
    #[test]
    fn no_certificate_file_panics(bytes: Vec<u8>, at: prop::sample::Index, with: u8) {
        let _ = Chain::parse(&bytes);
        let mut damaged = issued(&authority(), NodeRole::Manager).into_bytes();
        let at = at.index(damaged.len());
        damaged[at] = with;
        if let Ok(chain) = Chain::parse(&damaged) {
            let _ = chain.verify(authority().certificate_pem.as_bytes(), &NOW);
        }
    }

    #[test]
    fn no_damaged_certificate_is_trusted(at in 30_usize..200, with: u8) {
        let root = authority();
        let pem = issued(&root, NodeRole::Manager);
        let mut der = certificates(pem.as_bytes()).expect("PEM")[0].to_vec();
        prop_assume!(der[at] != with);
        der[at] = with;
        let damaged = key_file::plain_pem("CERTIFICATE", &der);
        if let Ok(chain) = Chain::parse(damaged.as_bytes()) {
            prop_assert!(chain.verify(root.certificate_pem.as_bytes(), &NOW).is_err());
        }
    }

    #[test]
    fn no_root_and_no_key_panic(bytes: String, at: prop::sample::Index, with in "[ -~]") {
        let root = authority();
        let change = |text: &str| {
            let at = at.index(text.len());
            format!("{}{with}{}", &text[..at], &text[at + 1..])
        };
        let (certificate, key) = (&root.certificate_pem, root.key_pem());
        let read = |certificate: &str, key: &str| Authority::read(certificate.to_owned(), key);
        prop_assert!(read(certificate, &key).is_ok());
        for (certificate, key) in [
            (change(certificate), key.clone()),
            (certificate.clone(), change(&key)),
            (bytes.clone(), key.clone()),
            (certificate.clone(), bytes),
        ] {
            let _ = read(&certificate, &key);
        }
    }
}
