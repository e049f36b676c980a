//! Reads certificates: what a node certificate says, and whether a root stands behind it.

use std::{sync::Arc, time::Duration};

use actors::ca::logic::{Subject, Window, role_of};
use prost_types::Timestamp;
use protocol::{token::RootDigest, wire};
use ring::digest;
use rustls::{
    RootCertStore,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, UnixTime},
    server::WebPkiClientVerifier,
};
use x509_parser::{
    certificate::X509Certificate,
    oid_registry::{
        OID_X509_COMMON_NAME, OID_X509_ORGANIZATION_NAME, OID_X509_ORGANIZATIONAL_UNIT, Oid,
    },
    prelude::FromDer,
    x509::X509Name,
};

use super::key_file::plain_pem;

const NO_NODE: &str = "node id (CN)";
const NO_ROLE: &str = "role (OU)";
const NO_CLUSTER: &str = "cluster id (O)";

/// A node certificate followed by its intermediates, read and taken apart.
#[derive(Clone, Debug)]
pub struct Chain {
    /// The certificates, the node's own first; never empty.
    pub certificates: Vec<CertificateDer<'static>>,
    /// Whom it names.
    pub subject: Subject,
    /// When it is valid.
    pub window: Window,
    /// The public key it certifies, as a DER `SubjectPublicKeyInfo`.
    pub public_key: Vec<u8>,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Invalid {
    /// The file holds no certificate, or a damaged one.
    #[error("it holds no valid certificate")]
    Malformed,
    /// It is no node's certificate.
    #[error("its subject has no {0}")]
    Subject(&'static str),
    /// No trusted root stands behind it.
    #[error("the root certificate does not vouch for it")]
    Untrusted(#[source] rustls::Error),
}

impl Chain {
    /// Reads the PEM of a certificate file.
    pub fn parse(bytes: &[u8]) -> Result<Self, Invalid> {
        Self::of(certificates(bytes)?)
    }

    /// Reads certificates that came over a connection, the node's own first.
    pub fn of(certificates: Vec<CertificateDer<'static>>) -> Result<Self, Invalid> {
        let leaf = parse_der(certificates.first().ok_or(Invalid::Malformed)?)?;
        let name = leaf.subject();
        let subject = Subject {
            node_id: only(name, &OID_X509_COMMON_NAME, NO_NODE)?.into(),
            role: role_of(only(name, &OID_X509_ORGANIZATIONAL_UNIT, NO_ROLE)?)
                .ok_or(Invalid::Subject(NO_ROLE))?,
            cluster_id: only(name, &OID_X509_ORGANIZATION_NAME, NO_CLUSTER)?.into(),
        };
        let window = Window {
            not_before_seconds: leaf.validity().not_before.timestamp(),
            not_after_seconds: leaf.validity().not_after.timestamp(),
        };
        let public_key = leaf.public_key().raw.to_vec();
        Ok(Self { certificates, subject, window, public_key })
    }

    /// Checks that a root of the bundle stands behind the certificate, for clients and servers.
    ///
    /// A certificate that has ended is accepted: a node that slept past the end of its own has
    /// no other way to start and renew it.
    pub fn verify(&self, root_pem: &[u8], now: &Timestamp) -> Result<(), Invalid> {
        let mut roots = RootCertStore::empty();
        for root in certificates(root_pem)? {
            roots.add(root).map_err(Invalid::Untrusted)?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(
            Arc::new(roots),
            Arc::new(default_provider()),
        )
        .build()
        .map_err(|_| Invalid::Malformed)?;
        let (leaf, rest) = self.certificates.split_first().ok_or(Invalid::Malformed)?;
        let moment = u64::try_from(now.seconds.min(self.window.not_after_seconds)).unwrap_or(0);
        let moment = UnixTime::since_unix_epoch(Duration::from_secs(moment));
        verifier.verify_client_cert(leaf, rest, moment).map_err(Invalid::Untrusted)?;
        Ok(())
    }
}

/// Returns the digest of a root bundle over its bytes as stored.
pub fn root_digest(root_pem: &[u8]) -> RootDigest {
    let digest = digest::digest(&digest::SHA256, root_pem);
    RootDigest(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
}

/// When the first certificate of a PEM file ends; `None` when none can be read there.
pub fn certificate_expiry(bytes: &[u8]) -> Option<Timestamp> {
    let certificates = certificates(bytes).ok()?;
    let leaf = parse_der(certificates.first()?).ok()?;
    Some(Timestamp { seconds: leaf.validity().not_after.timestamp(), nanos: 0 })
}

/// Returns what a node tells managers of its certificate (cluster-security-dispatch §8): whom it trusts,
/// and who has issued it, of the certificates behind its own and of the roots. Without such a one, it
/// names nobody.
pub(super) fn tls_info(
    chain: &[CertificateDer<'_>],
    roots: &[CertificateDer<'_>],
) -> wire::NodeTlsInfo {
    let trust_root: String = roots.iter().map(|root| plain_pem("CERTIFICATE", root)).collect();
    let (issuer_subject, issuer_key) = issuer(chain, roots).unwrap_or_default();
    wire::NodeTlsInfo {
        trust_root: trust_root.into(),
        cert_issuer_subject: issuer_subject.into(),
        cert_issuer_public_key: issuer_key.into(),
    }
}

/// The subject and the public key of whoever has signed the first certificate: roots that follow each
/// other have the same name.
fn issuer(
    chain: &[CertificateDer<'_>],
    roots: &[CertificateDer<'_>],
) -> Option<(Vec<u8>, Vec<u8>)> {
    let (leaf, rest) = chain.split_first()?;
    let leaf = parse_der(leaf).ok()?;
    rest.iter().chain(roots).find_map(|candidate| {
        let candidate = parse_der(candidate).ok()?;
        leaf.verify_signature(Some(candidate.public_key())).ok()?;
        Some((candidate.subject().as_raw().to_vec(), candidate.public_key().raw.to_vec()))
    })
}

/// Returns when a certificate ends, in seconds since 1970.
pub(super) fn not_after(der: &CertificateDer<'_>) -> Option<i64> {
    Some(parse_der(der).ok()?.validity().not_after.timestamp())
}

/// Returns the public key that a certificate certifies, as a DER `SubjectPublicKeyInfo`.
pub(super) fn public_key(der: &CertificateDer<'_>) -> Result<Vec<u8>, Invalid> {
    Ok(parse_der(der)?.public_key().raw.to_vec())
}

/// Returns every certificate of a PEM file, in order; an empty file is an error.
pub fn certificates(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, Invalid> {
    let blocks = pem::parse_many(bytes).map_err(|_| Invalid::Malformed)?;
    if blocks.is_empty() || blocks.iter().any(|block| block.tag() != "CERTIFICATE") {
        return Err(Invalid::Malformed);
    }
    Ok(blocks.into_iter().map(|block| block.into_contents().into()).collect())
}

fn parse_der<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, Invalid> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) | Err(_) => Err(Invalid::Malformed),
    }
}

/// Returns the one value of a kind in a name.
fn only<'a>(
    name: &'a X509Name<'_>,
    kind: &Oid<'_>,
    missing: &'static str,
) -> Result<&'a str, Invalid> {
    let mut values = name.iter_attributes().filter(|value| value.attr_type() == kind);
    match (values.next().map(|value| value.as_str()), values.next()) {
        (Some(Ok(value)), None) if !value.is_empty() => Ok(value),
        _ => Err(Invalid::Subject(missing)),
    }
}
