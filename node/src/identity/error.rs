//! Why a node has no identity.

use std::{io, path::PathBuf};

use super::{AuthorityError, Invalid, Malformed};

/// Why a node has no identity; what concerns a file names it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read or written.
    #[error("identity file {} cannot be read or written", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The key file cannot be used.
    #[error("node key {} cannot be used", .path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Malformed,
    },
    /// The certificate cannot be used.
    #[error("node certificate {} cannot be used", .path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Invalid,
    },
    /// No certificate belongs to the key.
    #[error("node certificate {} is missing, or belongs to another key", .path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// There is a root certificate, and nothing that could use it.
    #[error(
        "{} is there, but neither its private key nor a certificate of this node: join its \
         cluster, or start with an empty --state-dir",
        .path.display()
    )]
    RootAlone {
        /// The root certificate's file.
        path: PathBuf,
    },
    /// The key file of a manager has no data key, so the log could not be read.
    #[error("node key {} has no raft-dek header: the log cannot be read without it", .path.display())]
    NoDataKey {
        /// The file.
        path: PathBuf,
    },
    /// The root, or a certificate, could not be made or read.
    #[error("the root of the cluster cannot be used")]
    Authority(#[from] AuthorityError),
    /// TLS does not take what the files hold.
    #[error("the node's certificate, key or roots cannot be used for TLS")]
    Unusable(#[source] rustls::Error),
    /// The node's private key is of no accepted kind.
    #[error("the node's private key is not valid")]
    PrivateKey(#[source] rcgen::Error),
}
