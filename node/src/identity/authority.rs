//! The root of a cluster: its certificate and private key, and the certificates it issues.

use std::time::Duration;

use actors::ca::logic::{
    AUTHORITY_NAME, Subject, Window, host_names, node_window, organizational_unit, root_window,
};
use prost_types::Timestamp;
use rand::{RngCore, rngs::OsRng};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};
use ring::digest;
use time::OffsetDateTime;

use super::{
    certificate::{Invalid, certificates, public_key},
    key_file::{plain_pem, private_key_pem},
};

const SERIAL_BYTES: usize = 20;

/// A root certificate with its private key: whoever holds it decides who is in the cluster.
pub struct Authority {
    /// The certificate, in the bytes that digests are taken over.
    pub certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// Why an authority could not be made, read, or used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The root's private key cannot be read.
    #[error("the root's private key is not valid")]
    Key(#[source] rcgen::Error),
    /// The root certificate cannot be read.
    #[error("the root certificate is not valid")]
    Certificate(#[source] Invalid),
    /// The private key belongs to another certificate.
    #[error("the root's private key does not belong to the root certificate")]
    Mismatch,
    /// A certificate could not be made.
    #[error("a certificate could not be made")]
    Issue(#[source] rcgen::Error),
}

/// Returns a new private key: ECDSA on P-256.
pub(super) fn generate_key() -> Result<KeyPair, Error> {
    KeyPair::generate().map_err(Error::Issue)
}

impl Authority {
    /// Makes the root certificate for a key.
    pub fn establish(key: KeyPair, now: &Timestamp) -> Result<Self, Error> {
        let mut params = params(root_window(now), &key);
        params.distinguished_name.push(DnType::CommonName, AUTHORITY_NAME);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate_pem = params.self_signed(&key).map_err(Error::Issue)?;
        let certificate_pem = plain_pem("CERTIFICATE", certificate_pem.der());
        Ok(Self { certificate_pem, issuer: Issuer::new(params, key) })
    }

    /// Reads a root certificate and its key. Of a bundle, the first certificate is the issuer.
    pub fn read(certificate_pem: String, key_pem: &str) -> Result<Self, Error> {
        let key = KeyPair::from_pem(key_pem).map_err(Error::Key)?;
        let bundle = certificates(certificate_pem.as_bytes()).map_err(Error::Certificate)?;
        let first = bundle.first().ok_or(Error::Certificate(Invalid::Malformed))?;
        let certified = public_key(first).map_err(Error::Certificate)?;
        if certified != key.subject_public_key_info() {
            return Err(Error::Mismatch);
        }
        let issuer = Issuer::from_ca_cert_der(first, key).map_err(Error::Issue)?;
        Ok(Self { certificate_pem, issuer })
    }

    /// Returns the private key as PEM, the form kept in the cluster object.
    pub fn key_pem(&self) -> String {
        private_key_pem(self.issuer.key().serialized_der())
    }

    /// Issues a node certificate for a public key; nothing else of a request is ever taken over.
    pub fn issue(
        &self,
        public_key: &impl PublicKeyData,
        subject: &Subject,
        expiry: Duration,
        now: &Timestamp,
    ) -> Result<String, Error> {
        let mut params = params(node_window(now, expiry), public_key);
        let name = &mut params.distinguished_name;
        name.push(DnType::OrganizationName, subject.cluster_id.as_str());
        name.push(DnType::OrganizationalUnitName, organizational_unit(subject.role));
        name.push(DnType::CommonName, subject.node_id.as_str());
        params.subject_alt_names = host_names(subject)
            .into_iter()
            .map(|name| Ok(SanType::DnsName(name.try_into()?)))
            .collect::<Result<_, _>>()
            .map_err(Error::Issue)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let issued = params.signed_by(public_key, &self.issuer).map_err(Error::Issue)?;
        Ok(plain_pem("CERTIFICATE", issued.der()))
    }
}

/// What root and node certificates have in common.
fn params(window: Window, public_key: &impl PublicKeyData) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.not_before = moment(window.not_before_seconds);
    params.not_after = moment(window.not_after_seconds);
    params.serial_number = Some(serial());
    let identifier = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, public_key.der_bytes());
    params.key_identifier_method = KeyIdMethod::PreSpecified(identifier.as_ref().to_vec());
    params
}

/// Draws a serial number that is positive and never takes a byte more than it has.
fn serial() -> SerialNumber {
    let mut bytes = [0; SERIAL_BYTES];
    OsRng.fill_bytes(&mut bytes);
    bytes[0] = bytes[0] & 0x7f | 0x40;
    SerialNumber::from_slice(&bytes)
}

fn moment(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(seconds).expect("a clock within ten thousand years")
}
