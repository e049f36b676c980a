//! Which tasks there should be: one for every slot of a service, replaced when it ends, forgotten
//! when nobody needs its story any more.

mod moment;
mod policy;
pub mod reaper;
pub mod replicated;
pub mod restart;
pub(crate) mod task;
#[cfg(test)]
mod testing;
