//! Who this node is: read from its files, or made when it becomes the first manager of a new
//! cluster.

mod authority;
mod certificate;
mod error;
mod files;
mod key_file;
mod pair;
mod renewal;
mod request;
mod signer;
#[cfg(test)]
mod tests;
mod tls;

use std::{io, path::Path, sync::Arc};

use actors::{
    ca::logic::{NODE_EXPIRY_DEFAULT, Subject, has_expired},
    cluster::Founding,
};
use prost_types::Timestamp;
use protocol::{
    id::{ClusterId, NetworkId, NodeId},
    token::JoinToken,
    wire::NodeRole,
};
use rand::rngs::OsRng;
use rcgen::{KeyPair, PublicKeyData};

use self::files::Files;

pub use self::{
    authority::{Authority, Error as AuthorityError},
    certificate::{Chain, Invalid, certificate_expiry, certificates, root_digest},
    error::Error,
    key_file::{DataKey, KeyFile, Malformed},
    pair::NewPair,
    renewal::{Issuer, Named, Ports as RenewalPorts, Renew, Renewer, Trust},
    signer::RootSigner,
    tls::{Credentials, stranger_config},
};

/// A node's identity, checked: the key belongs to the certificate, and the root vouches for it.
pub struct Identity {
    /// The certificate and what it says.
    pub chain: Chain,
    /// The private key and what its file carries beside it.
    pub key_file: KeyFile,
    /// The trusted roots, in the bytes that digests are taken over.
    pub root_pem: String,
    /// The root's private key as PEM, as long as the cluster object does not hold it.
    pub root_key_pem: Option<String>,
    files: Files,
}

impl Identity {
    /// Reads the identity in a folder. In an empty one it becomes the first manager of a new
    /// cluster: a root, a certificate from it, and a data key are made and written.
    ///
    /// A bootstrap that was cut short is finished with what it has left: the root is kept, and
    /// nothing was ever said in the name of a key that is gone.
    pub fn open(folder: &Path, now: &Timestamp) -> Result<Self, Error> {
        let files = Files::new(folder);
        if read(&files.key_path())?.is_none() {
            bootstrap(&files, now)?;
        }
        load(files, now)
    }

    /// Reads the identity in a folder; `None` when there is none yet.
    pub fn existing(folder: &Path, now: &Timestamp) -> Result<Option<Self>, Error> {
        let files = Files::new(folder);
        let is_there = read(&files.key_path())?.is_some();
        is_there.then(|| load(files, now)).transpose()
    }

    /// Returns whom the node's certificate names.
    pub fn subject(&self) -> &Subject {
        &self.chain.subject
    }

    /// Returns this node's id.
    pub fn node_id(&self) -> &NodeId {
        &self.chain.subject.node_id
    }

    /// Returns the cluster's id.
    pub fn cluster_id(&self) -> &ClusterId {
        &self.chain.subject.cluster_id
    }

    /// Returns this identity as TLS uses it.
    pub fn credentials(&self) -> Result<Arc<Credentials>, Error> {
        let path = || self.files.root_path();
        let roots = certificates(self.root_pem.as_bytes())
            .map_err(|source| Error::Certificate { path: path(), source })?;
        let credentials = Credentials::new(&self.chain.certificates, &self.key_file.key, &roots);
        credentials.map_err(Error::Unusable)
    }

    /// Returns the key of this node's log, which every manager has.
    pub fn data_key(&self) -> Result<&DataKey, Error> {
        let missing = || Error::NoDataKey { path: self.files.key_path() };
        self.key_file.data_key.as_ref().ok_or_else(missing)
    }

    /// Returns what the first transaction of the cluster needs, with new join tokens, as long as
    /// the root's private key has not been forgotten.
    pub fn founding(&self) -> Option<Founding> {
        let root_key_pem = self.root_key_pem.clone()?.into();
        let root_digest = root_digest(self.root_pem.as_bytes());
        Some(Founding {
            cluster_id: self.cluster_id().clone(),
            root_pem: self.root_pem.clone().into(),
            root_key_pem,
            root_digest,
            worker_token: JoinToken::generate(root_digest, &mut OsRng),
            manager_token: JoinToken::generate(root_digest, &mut OsRng),
            ingress_id: NetworkId::random(&mut OsRng),
        })
    }

    /// Forgets the root's private key, in memory and on disk. To be called once the cluster
    /// object that holds it is durable.
    pub fn forget_root_key(&mut self) -> Result<(), Error> {
        let path = self.files.root_key_path();
        self.files.remove_root_key().map_err(|source| Error::File { path, source })?;
        self.root_key_pem = None;
        Ok(())
    }
}

fn bootstrap(files: &Files, now: &Timestamp) -> Result<(), Error> {
    let root = found(files, now)?;
    let key = authority::generate_key()?;
    let subject = Subject {
        node_id: NodeId::random(&mut OsRng),
        role: NodeRole::Manager,
        cluster_id: ClusterId::random(&mut OsRng),
    };
    let certificate = root.issue(&key, &subject, NODE_EXPIRY_DEFAULT, now)?;
    let key_file = KeyFile {
        key: key.into(),
        data_key: Some(DataKey::generate()),
        lock_version: 0,
        other: Default::default(),
    };
    let path = files.key_path();
    files
        .write_pair(certificate.as_bytes(), key_file.encode().as_bytes())
        .map_err(|source| Error::File { path, source })
}

/// Returns the root of the new cluster: the one in the files, else a new one.
///
/// The key is written first, so a root certificate without a key is never left by a crash.
fn found(files: &Files, now: &Timestamp) -> Result<Authority, Error> {
    let (root_path, key_path) = (files.root_path(), files.root_key_path());
    let certificate = text(read(&root_path)?, &root_path)?;
    let key = text(read(&key_path)?, &key_path)?;
    let authority = match (certificate, key) {
        (Some(certificate), Some(key)) => return Ok(Authority::read(certificate, &key)?),
        (Some(_), None) => return Err(Error::RootAlone { path: root_path }),
        (None, Some(key)) => {
            let key = KeyPair::from_pem(&key).map_err(AuthorityError::Key)?;
            Authority::establish(key, now)?
        }
        (None, None) => Authority::establish(authority::generate_key()?, now)?,
    };
    files
        .write_root_key(authority.key_pem().as_bytes())
        .map_err(|source| Error::File { path: key_path, source })?;
    files
        .write_root(authority.certificate_pem.as_bytes())
        .map_err(|source| Error::File { path: root_path, source })?;
    Ok(authority)
}

fn load(files: Files, now: &Timestamp) -> Result<Identity, Error> {
    let (root_path, key_path) = (files.root_path(), files.key_path());
    let bytes = require(read(&key_path)?, &key_path)?;
    let key_file =
        KeyFile::parse(&bytes).map_err(|source| Error::Key { path: key_path.clone(), source })?;
    let key = KeyPair::try_from(&key_file.key).map_err(Error::PrivateKey)?;
    let chain = certificate_of(&files, &key)?;
    let root_pem = text(read(&root_path)?, &root_path)?;
    let root_pem = require(root_pem, &root_path)?;
    chain
        .verify(root_pem.as_bytes(), now)
        .map_err(|source| Error::Certificate { path: files.certificate_path(), source })?;
    if has_expired(chain.window, now) {
        tracing::warn!(path = %files.certificate_path().display(), "the node's certificate has expired");
    }
    let root_key_path = files.root_key_path();
    let root_key_pem = text(read(&root_key_path)?, &root_key_path)?;
    if let Some(root_key_pem) = &root_key_pem {
        Authority::read(root_pem.clone(), root_key_pem)?;
    }
    Ok(Identity { chain, key_file, root_pem, root_key_pem, files })
}

/// Returns the certificate that belongs to the key; one that was still coming is put in place.
fn certificate_of(files: &Files, key: &KeyPair) -> Result<Chain, Error> {
    let path = files.certificate_path();
    let failed = |source| Error::File { path: path.clone(), source };
    let invalid = |source| Error::Certificate { path: path.clone(), source };
    let wanted = key.subject_public_key_info();
    let present = files.present_certificate().map_err(failed)?;
    let present = present.map(|bytes| Chain::parse(&bytes)).transpose();
    match present {
        Ok(Some(chain)) if chain.public_key == wanted => return Ok(chain),
        Ok(_) | Err(_) => {}
    }
    let coming = files.coming_certificate().map_err(failed)?;
    let coming = coming.and_then(|bytes| Chain::parse(&bytes).ok());
    match coming.filter(|chain| chain.public_key == wanted) {
        Some(chain) => {
            files.install_certificate().map_err(failed)?;
            Ok(chain)
        }
        None => {
            present.map_err(invalid)?;
            Err(Error::NoCertificate { path })
        }
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    files::read(path).map_err(|source| Error::File { path: path.to_owned(), source })
}

fn require<T>(found: Option<T>, path: &Path) -> Result<T, Error> {
    let missing = || io::Error::from(io::ErrorKind::NotFound);
    found.ok_or_else(|| Error::File { path: path.to_owned(), source: missing() })
}

fn text(bytes: Option<Vec<u8>>, path: &Path) -> Result<Option<String>, Error> {
    bytes.map(String::from_utf8).transpose().map_err(|_| Error::File {
        path: path.to_owned(),
        source: io::Error::new(io::ErrorKind::InvalidData, "it is not text"),
    })
}
