//! The flags that mount something into tasks. Unlike other lists they add to what is there.

use clap::Args;
use protocol::wire::{ContainerSpec, Mount};

use crate::{
    error::Error,
    value::{self, Invalid, List},
};

/// What is mounted into tasks.
#[derive(Args, Clone, Default)]
pub(super) struct MountFlags {
    /// Directories of the node (source:target)
    #[arg(long, allow_hyphen_values = true)]
    bind: Option<Vec<List>>,
    /// Volumes without a name (/target)
    #[arg(long, allow_hyphen_values = true)]
    volume: Option<Vec<List>>,
    /// Named pipes of the node (source:target)
    #[arg(long, allow_hyphen_values = true)]
    npipe: Option<Vec<List>>,
    /// File systems in memory (/target[:size=64m,mode=700,ro,noexec])
    #[arg(long, allow_hyphen_values = true)]
    tmpfs: Option<Vec<List>>,
}

impl MountFlags {
    pub(super) fn apply(&self, container: &mut ContainerSpec) -> Result<(), Error> {
        let flags = [
            (&self.bind, value::bind as fn(&str) -> Result<Mount, Invalid>),
            (&self.volume, value::volume),
            (&self.npipe, value::npipe),
            (&self.tmpfs, value::tmpfs),
        ];
        for (flag, read) in flags {
            for text in List::join(flag.as_deref()).unwrap_or_default() {
                container.mounts.push(read(&text)?);
            }
        }
        Ok(())
    }
}
