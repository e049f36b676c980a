//! The identity of the first manager, as the first leader of a cluster needs it.

use actors::{cluster::Founding, leadership::Bootstrap};

use crate::identity::Identity;

/// Gives the cluster its secrets, and forgets the root's private key once the cluster has it.
pub struct Founder(pub Identity);

impl Bootstrap for Founder {
    fn founding(&self) -> Option<Founding> {
        self.0.founding()
    }

    fn founded(&mut self) {
        if self.0.root_key_pem.is_some()
            && let Err(error) = self.0.forget_root_key()
        {
            // It is tried again by the next leadership; until then one more copy is on this disk.
            tracing::warn!(%error, "the root's private key could not be removed from this node");
        }
    }
}
