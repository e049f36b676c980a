//! The store: every object of the cluster in memory, as views that never change and transactions
//! that become entries of the log.

mod apply;
mod changes;
mod error;
mod snapshot;
mod table;
#[cfg(test)]
mod tests;
mod transaction;
mod view;

pub use apply::{Skipped, Unappliable, apply};
pub use changes::{Changes, Touched};
pub use error::Error;
pub use snapshot::{Restore, Unreadable};
pub use transaction::{CHANGES_PER_TRANSACTION, Sealed, TRANSACTION_BYTES_MAX, Transaction};
pub use view::View;
