//! What the raft peer decides by itself, beside raft-rs: which messages may come in, how long an
//! election waits, who may join, be removed or lead next, how one goes on alone, and how the two forms of a message become
//! each other.

mod alone;
mod change;
mod convert;
mod election;
mod group;
mod guard;

pub(super) use alone::go_alone;
pub(super) use change::Change;
pub(super) use convert::{
    from_entry, from_hard_state, from_wire, members_from_wire, members_to_wire, to_entry,
    to_hard_state, to_wire,
};
pub(super) use election::{counts, election_ticks, place_in_line};
pub(super) use group::{Group, RemovalStep, new_member_id};
pub(super) use guard::{Ours, Rejected, check};
