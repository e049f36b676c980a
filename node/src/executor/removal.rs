//! Leaves nothing of a task behind: neither its directory nor its control groups.
//!
//! A group cannot be removed while a process in it hangs in the kernel. Then the directory stays
//! with the records that name the group, and both are tried again: whenever another task is
//! removed, and by the next daemon, to which the directory is that of an unknown task.

use std::{collections::VecDeque, sync::Arc};

use tokio::{sync::Mutex, task::spawn_blocking};

use crate::shim::{self, ControlGroup, TaskDirectory, chain};

/// How many are tried again at a time.
const RETRIES_MAX: usize = 16;

/// Removes tasks, and knows those of which only groups are left. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Removal {
    left: Arc<Mutex<VecDeque<Left>>>,
}

/// A task of which only groups are left.
#[derive(Debug)]
struct Left {
    directory: TaskDirectory,
    groups: Vec<ControlGroup>,
}

impl Removal {
    /// Removes a task whose processes are gone. Blocks; groups that stay are success.
    pub(super) fn remove(
        &self,
        directory: &TaskDirectory,
        groups: Vec<ControlGroup>,
    ) -> Result<(), shim::Error> {
        groups.iter().for_each(ControlGroup::kill);
        let failures = groups.iter().filter_map(|group| Some((group, group.remove().err()?)));
        let failures = failures.inspect(|(group, error)| {
            tracing::warn!(group = group.directory, %error, "a control group is left for now");
        });
        if failures.count() == 0 {
            return directory.remove();
        }
        directory.strip()?;
        let mut left = self.left.blocking_lock();
        if left.iter().all(|known| known.directory != *directory) {
            left.push_back(Left { directory: directory.clone(), groups });
        }
        Ok(())
    }

    /// Tries again to remove some of what is left, without patience.
    pub(super) async fn try_again(&self) {
        let mut left = self.left.clone().lock_owned().await;
        if left.is_empty() {
            return;
        }
        let tried = spawn_blocking(move || {
            let count = left.len().min(RETRIES_MAX);
            for task in left.drain(..count).collect::<Vec<_>>() {
                let Left { directory, groups } = &task;
                groups.iter().for_each(ControlGroup::kill_now);
                // Each is tried, whatever becomes of the others.
                if groups.iter().filter(|group| group.remove_now().is_err()).count() > 0 {
                    left.push_back(task);
                } else if let Err(error) = directory.remove() {
                    // The next daemon finds it.
                    tracing::warn!(error = chain(&error), "a directory is left");
                }
            }
        });
        tried.await.ok();
    }
}
