//! Certificates: who may have one, what is in it, and when it is due. Keys and signatures are made
//! in `node`, behind a port.

pub mod calls;
pub mod logic;
pub mod port;
mod server;
#[cfg(test)]
mod tests;

pub use port::Signer;
pub use server::Server;
