//! The network: the port on which other nodes find this one, and the ways to other managers.

mod carrier;
mod dial;
mod directory;
mod guests;
mod lines;
mod listener;
mod managers;
pub mod peer;
mod shown;

pub use self::{
    carrier::{Assembly, Carrier, Post, Unfit, Way},
    dial::{Connection, Error as DialError, Name, described, dial},
    directory::Directory,
    guests::Guests,
    lines::{Dial, Line, Lines},
    listener::RemoteListener,
    managers::{Book, KnownManagers, Lane, Listener, ManagersConfig},
    peer::{Peer, Presented},
    shown::Shown,
};

#[cfg(test)]
pub(crate) use self::dial::speak;
pub(crate) use self::{carrier::ADDRESS, directory::has_moved};
