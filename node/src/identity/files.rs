//! The files of an identity: each appears whole, and a certificate is never lost to a crash
//! between it and its key (`cluster-security-dispatch` §1.1).

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use crate::replacing::{FOR_ALL, FOR_OWNER, replace_durably, sync_folder};

const ROOT_CERTIFICATE: &str = "swarm-root-ca.crt";
const ROOT_KEY: &str = "swarm-root-ca.key";
const CERTIFICATE: &str = "swarm-node.crt";
/// A certificate whose key may not have been written yet.
const COMING_CERTIFICATE: &str = ".swarm-node.crt";
const KEY: &str = "swarm-node.key";

/// No file of an identity, headers and bundles included, comes near it.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The folder with the files of one identity.
#[derive(Clone, Debug)]
pub(super) struct Files {
    folder: PathBuf,
}

impl Files {
    /// Names the folder; nothing is read yet.
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// Returns where the node's key is kept.
    pub(super) fn key_path(&self) -> PathBuf {
        self.folder.join(KEY)
    }

    /// Returns where the node's certificate is kept.
    pub(super) fn certificate_path(&self) -> PathBuf {
        self.folder.join(CERTIFICATE)
    }

    /// Returns where the root certificate is kept.
    pub(super) fn root_path(&self) -> PathBuf {
        self.folder.join(ROOT_CERTIFICATE)
    }

    /// Returns where the root's private key is kept while a bootstrap is unfinished.
    pub(super) fn root_key_path(&self) -> PathBuf {
        self.folder.join(ROOT_KEY)
    }

    /// Returns the certificate that is in its place.
    pub(super) fn present_certificate(&self) -> io::Result<Option<Vec<u8>>> {
        read(&self.certificate_path())
    }

    /// Returns the certificate whose key was about to be written.
    pub(super) fn coming_certificate(&self) -> io::Result<Option<Vec<u8>>> {
        read(&self.folder.join(COMING_CERTIFICATE))
    }

    /// Writes the root certificate.
    pub(super) fn write_root(&self, pem: &[u8]) -> io::Result<()> {
        self.replace(ROOT_CERTIFICATE, pem, FOR_ALL)
    }

    /// Writes the root's private key, until the cluster object holds it.
    pub(super) fn write_root_key(&self, pem: &[u8]) -> io::Result<()> {
        self.replace(ROOT_KEY, pem, FOR_OWNER)
    }

    /// Removes the root's private key, if it is there.
    pub(super) fn remove_root_key(&self) -> io::Result<()> {
        match fs::remove_file(self.root_key_path()) {
            Ok(()) => sync_folder(&self.folder),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Writes a certificate and its key. After a crash at any point the key that is found has
    /// its certificate, in place or coming.
    pub(super) fn write_pair(&self, certificate_pem: &[u8], key_file: &[u8]) -> io::Result<()> {
        self.replace(COMING_CERTIFICATE, certificate_pem, FOR_ALL)?;
        self.replace(KEY, key_file, FOR_OWNER)?;
        self.install_certificate()
    }

    /// Puts the coming certificate in its place.
    pub(super) fn install_certificate(&self) -> io::Result<()> {
        fs::rename(self.folder.join(COMING_CERTIFICATE), self.certificate_path())?;
        sync_folder(&self.folder)
    }

    fn replace(&self, name: &str, bytes: &[u8], mode: u32) -> io::Result<()> {
        replace_durably(&self.folder, name, bytes, mode)
    }
}

/// Reads a file; `None` when there is none.
pub(super) fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let text = format!("it is larger than {FILE_BYTES_MAX} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    Ok(Some(bytes))
}
