//! The directory of the log: the port, with every failure named by what was done to which file.

use std::{io, rc::Rc, sync::Arc};

use super::{
    Action, Cipher, Disk, Error, File,
    logic::names::{self, Listing},
};

/// The directory and the cipher of its files.
#[derive(Clone)]
pub(super) struct Directory {
    disk: Rc<dyn Disk>,
    cipher: Rc<dyn Cipher>,
}

/// An open file that knows its name.
#[derive(Clone)]
pub(super) struct OpenFile {
    name: String,
    file: Rc<dyn File>,
}

impl Directory {
    pub(super) fn new(disk: Rc<dyn Disk>, cipher: Rc<dyn Cipher>) -> Self {
        Self { disk, cipher }
    }

    pub(super) fn cipher(&self) -> &dyn Cipher {
        &*self.cipher
    }

    pub(super) fn list(&self) -> Result<Listing, Error> {
        self.disk.list().map(names::sort).map_err(failed(Action::List, ""))
    }

    pub(super) fn create(&self, name: &str, bytes: u64) -> Result<OpenFile, Error> {
        let file = self.disk.create(name, bytes).map_err(failed(Action::Create, name))?;
        Ok(OpenFile { name: name.to_owned(), file: file.into() })
    }

    pub(super) fn open(&self, name: &str) -> Result<OpenFile, Error> {
        let file = self.disk.open(name).map_err(failed(Action::Open, name))?;
        Ok(OpenFile { name: name.to_owned(), file: file.into() })
    }

    /// Removes a name for good.
    pub(super) async fn remove(&self, name: &str) -> Result<(), Error> {
        self.disk.remove(name).map_err(failed(Action::Remove, name))?;
        self.sync().await
    }

    /// Gives a whole, synced file its final name, for good.
    pub(super) async fn finish(&self, file: OpenFile, name: &str) -> Result<OpenFile, Error> {
        self.disk.rename(&file.name, name).map_err(failed(Action::Rename, &file.name))?;
        self.sync().await?;
        Ok(OpenFile { name: name.to_owned(), ..file })
    }

    /// Makes every name durable.
    pub(super) async fn sync(&self) -> Result<(), Error> {
        self.disk.sync_directory().await.map_err(failed(Action::Sync, ""))
    }
}

impl OpenFile {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn len(&self) -> Result<u64, Error> {
        self.file.len().map_err(failed(Action::Read, &self.name))
    }

    pub(super) fn read(&self, offset: u64, bytes: usize) -> Result<Vec<u8>, Error> {
        let mut buffer = vec![0; bytes];
        self.file.read_at(offset, &mut buffer).map_err(failed(Action::Read, &self.name))?;
        Ok(buffer)
    }

    pub(super) fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_at(offset, bytes).map_err(failed(Action::Write, &self.name))
    }

    pub(super) async fn sync(&self) -> Result<(), Error> {
        self.file.sync().await.map_err(failed(Action::Sync, &self.name))
    }
}

fn failed(action: Action, file: &str) -> impl FnOnce(io::Error) -> Error {
    let file = if file.is_empty() { "the raft directory" } else { file }.to_owned();
    move |source| Error::Failed { action, file, source: Arc::new(source) }
}
