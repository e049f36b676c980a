//! Signing requests: made for a key of this node's, and read for the authority.

use rcgen::{CertificateParams, DistinguishedName, KeyPair, SubjectPublicKeyInfo};
use x509_parser::{
    certification_request::X509CertificationRequest,
    error::X509Error,
    oid_registry::{
        OID_PKCS1_SHA256WITHRSA, OID_PKCS1_SHA384WITHRSA, OID_PKCS1_SHA512WITHRSA,
        OID_SIG_ECDSA_WITH_SHA256, OID_SIG_ECDSA_WITH_SHA384, Oid,
    },
    prelude::FromDer,
    public_key::PublicKey,
};

use super::{authority::Error, key_file::plain_pem};

const TAG: &str = "CERTIFICATE REQUEST";

const RSA_BITS_MIN: usize = 2048;

/// What a request may be signed with.
const SIGNATURES: [Oid<'static>; 5] = [
    OID_PKCS1_SHA256WITHRSA,
    OID_PKCS1_SHA384WITHRSA,
    OID_PKCS1_SHA512WITHRSA,
    OID_SIG_ECDSA_WITH_SHA256,
    OID_SIG_ECDSA_WITH_SHA384,
];

/// Why a request cannot be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unsound {
    /// It is no request.
    #[error("it is not a PEM-encoded certificate signing request")]
    Malformed,
    /// Whoever made it may not have the private key.
    #[error("its signature is not that of its own key")]
    Signature,
    /// The key or its signature is of a kind that is not taken.
    #[error(
        "its key or signature is not taken: RSA of 2048 to 8192 bits with SHA-2, or ECDSA on P-256 or \
         P-384 with SHA-256 or SHA-384"
    )]
    Kind,
}

/// Returns a request that says nothing but a key: whom a certificate names is the cluster's to say.
pub(super) fn signing_request(key: &KeyPair) -> Result<String, Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(key).map_err(Error::Issue)?;
    Ok(plain_pem(TAG, request.der()))
}

/// Returns the public key that a request is for, once its signature has shown that whoever made it
/// has the private one. Nothing else of it counts (`cluster-security-dispatch` §1).
pub(super) fn requested_key(bytes: &[u8]) -> Result<SubjectPublicKeyInfo, Unsound> {
    let block = pem::parse(bytes).map_err(|_| Unsound::Malformed)?;
    if block.tag() != TAG {
        return Err(Unsound::Malformed);
    }
    let request = match X509CertificationRequest::from_der(block.contents()) {
        Ok(([], request)) => request,
        Ok(_) | Err(_) => return Err(Unsound::Malformed),
    };
    let key = &request.certification_request_info.subject_pki;
    let is_large_enough = match key.parsed() {
        Ok(PublicKey::RSA(key)) => key.key_size() >= RSA_BITS_MIN,
        Ok(PublicKey::EC(_)) => true,
        Ok(_) | Err(_) => false,
    };
    if !is_large_enough || !SIGNATURES.contains(&request.signature_algorithm.algorithm) {
        return Err(Unsound::Kind);
    }
    request.verify_signature().map_err(|error| {
        let is_unknown = error == X509Error::SignatureUnsupportedAlgorithm;
        if is_unknown { Unsound::Kind } else { Unsound::Signature }
    })?;
    SubjectPublicKeyInfo::from_der(key.raw).map_err(|_| Unsound::Kind)
}
