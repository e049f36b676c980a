//! Which tasks there should be: one for every slot of a service, replaced when it ends, forgotten
//! when nobody needs its story any more.

mod agenda;
mod moment;
mod policy;
pub mod reaper;
pub mod replicated;
pub mod restart;
mod room;
mod task;
#[cfg(test)]
mod testing;
