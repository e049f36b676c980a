//! Tasks: read, and removed from the records.

use std::sync::Arc;

use protocol::{
    id::TaskId,
    objects::{Kind, Task},
};

use crate::{
    control::Error,
    store::{Transaction, View},
};

/// Returns a task by its id.
pub fn get<'a>(view: &'a View, id: &str) -> Result<&'a Arc<Task>, Error> {
    if id.is_empty() {
        return Err(Error::incomplete());
    }
    view.task(&TaskId::from(id)).ok_or_else(|| Error::not_found("task", id))
}

/// Removes the record of a task; its service makes another if it needs one.
pub fn remove(transaction: &mut Transaction, id: &str) -> Result<(), Error> {
    get(transaction, id)?;
    Ok(transaction.remove(Kind::Task, TaskId::from(id).as_id())?)
}
