//! Signs for the cluster's authority, with the root's private key that the cluster object holds.

use actors::ca::{
    Signer,
    port::{Error, Request},
};
use bytes::Bytes;

use super::{authority::Authority, request::requested_key};

/// Signs with the key that comes with each request.
pub struct RootSigner;

impl Signer for RootSigner {
    fn sign(&self, request: &Request<'_>) -> Result<Bytes, Error> {
        let Request { root, csr, subject, expiry, now } = request;
        if root.ca_key.is_empty() {
            let text = "the cluster has no root key; external authorities are not offered yet";
            return Err(Error::Unready(text.to_owned()));
        }
        let refused = |error: &dyn std::error::Error| Error::Refused(error.to_string());
        let unready = |error: &dyn std::error::Error| Error::Unready(error.to_string());
        let key = requested_key(csr).map_err(|error| refused(&error))?;
        let text = |pem: &Bytes| String::from_utf8(pem.to_vec()).map_err(|error| unready(&error));
        let (certificate, root_key) = (text(&root.ca_cert)?, text(&root.ca_key)?);
        let authority = Authority::read(certificate, &root_key).map_err(|error| unready(&error))?;
        let issued = authority.issue(&key, subject, *expiry, now);
        issued.map(Bytes::from).map_err(|error| refused(&error))
    }
}
