//! What a control call means: which requests are valid, what they change in the store, and what
//! their answers show.
//!
//! Everything here is a function over a view or inside a transaction. The gRPC service in `node`
//! unpacks requests, waits for the store and assigns codes; it decides nothing.

mod error;
pub mod image;
pub mod list;
pub mod logic;
#[cfg(test)]
mod tests;
pub mod validate;

pub use error::Error;
