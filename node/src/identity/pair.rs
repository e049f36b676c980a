//! The key of a node that has no certificate yet.

use std::path::Path;

use prost_types::Timestamp;
use protocol::wire::NodeRole;
use rcgen::{KeyPair, PublicKeyData};
use rustls::pki_types::PrivatePkcs8KeyDer;

use super::{
    Chain, DataKey, Error, Identity, Invalid, KeyFile, authority, files::Files, load,
    request::signing_request,
};

/// A new key, and the request for its certificate.
pub struct NewPair {
    key: KeyPair,
    request: String,
}

impl NewPair {
    /// Draws a key.
    pub fn generate() -> Result<Self, Error> {
        let key = authority::generate_key()?;
        let request = signing_request(&key)?;
        Ok(Self { key, request })
    }

    /// Returns the request for a certificate, as PEM.
    pub fn signing_request(&self) -> String {
        self.request.clone()
    }

    /// Returns what a cluster has issued, checked, and the key that it is for; nothing is kept on
    /// the disk.
    pub fn received(
        self,
        root_pem: &[u8],
        issued: &[u8],
        now: &Timestamp,
    ) -> Result<(Chain, PrivatePkcs8KeyDer<'static>), Invalid> {
        let chain = Chain::parse(issued)?;
        if chain.public_key != self.key.subject_public_key_info() {
            return Err(Invalid::Malformed);
        }
        chain.verify(root_pem, now)?;
        Ok((chain, self.key.into()))
    }

    /// Puts the identity that a cluster has issued on the disk. What a bootstrap left there that
    /// was cut short is replaced: nothing was ever said in its name.
    pub fn join(
        self,
        folder: &Path,
        root_pem: &[u8],
        issued: &[u8],
        now: &Timestamp,
    ) -> Result<Identity, Error> {
        let files = Files::new(folder);
        let invalid = |source| Error::Certificate { path: files.certificate_path(), source };
        let chain = Chain::parse(issued).map_err(invalid)?;
        if chain.public_key != self.key.subject_public_key_info() {
            return Err(Error::NoCertificate { path: files.certificate_path() });
        }
        chain.verify(root_pem, now).map_err(invalid)?;
        let is_manager = chain.subject.role == NodeRole::Manager;
        let key_file = KeyFile {
            key: self.key.into(),
            data_key: is_manager.then(DataKey::generate),
            lock_version: 0,
            other: Default::default(),
        };
        let failed = |source| Error::File { path: files.key_path(), source };
        files.remove_root_key().map_err(failed)?;
        files.write_root(root_pem).map_err(failed)?;
        files.write_pair(issued, key_file.encode().as_bytes()).map_err(failed)?;
        load(files, now)
    }
}
