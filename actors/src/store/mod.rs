//! The store: every object of the cluster in memory, as views that never change and transactions
//! that become entries of the log.

mod apply;
mod changes;
mod error;
mod feed;
mod handle;
mod leading;
mod memory;
mod snapshot;
mod subscribers;
mod table;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
mod transaction;
mod view;
mod waiting;

pub use apply::{Skipped, Unappliable, apply};
pub use changes::{Changes, Touched};
pub use error::Error;
pub use feed::{Applied, Behind, Feed, Page};
pub use handle::{Published, Store, TransactError};
pub use memory::{ChangeMembers, Committed, Event, Events, MemoryStore, Payload, Propose, Refused};
pub use snapshot::{Restore, Unreadable};
pub use subscribers::Change;
pub use transaction::{CHANGES_PER_TRANSACTION, Sealed, TRANSACTION_BYTES_MAX, Transaction};
pub use view::View;
pub use waiting::NotWritten;
