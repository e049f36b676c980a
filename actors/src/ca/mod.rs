//! Certificates: what is in them and when they are due. Keys and signatures are made in `node`,
//! which alone has a crypto library.

pub mod logic;
#[cfg(test)]
mod tests;
