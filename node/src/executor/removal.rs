//! Leaves nothing of a task behind: neither its directory nor its control groups.
//!
//! A group cannot be removed while a process in it hangs in the kernel. Then the directory stays
//! with the records that name the group, and both are tried again: when another task is removed,
//! and by the next daemon, to which the directory is that of an unknown task.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::{sync::Mutex, task::spawn_blocking, time::Instant};

use crate::shim::{self, ControlGroup, TaskDirectory, chain};

/// How many are tried again in one round.
const RETRIES_MAX: usize = 16;

/// How long after one round the next may begin, however many tasks are removed.
const PAUSE: Duration = Duration::from_secs(1);

/// Removes tasks, and knows those of which only groups are left. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Removal {
    // Held for moments only, never while something is removed.
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    left: VecDeque<Left>,
    /// When the last round began; none when there was none.
    last: Option<Instant>,
    /// Whether that one is still at work.
    is_trying: bool,
}

impl State {
    fn keep(&mut self, task: Left) {
        if self.left.iter().all(|known| known.directory != task.directory) {
            self.left.push_back(task);
        }
    }
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
        for group in &groups {
            group.kill();
        }
        let failures = groups.iter().filter_map(|group| Some((group, group.remove().err()?)));
        let failures = failures.inspect(|(group, error)| {
            tracing::warn!(group = group.directory, %error, "a control group is left for now");
        });
        if failures.count() == 0 {
            return directory.remove();
        }
        directory.strip()?;
        self.state.blocking_lock().keep(Left { directory: directory.clone(), groups });
        Ok(())
    }

    /// Begins to try again to remove some of what is left, unless that was done just now. Nobody
    /// waits for it.
    pub(super) async fn try_again(&self) {
        let mut state = self.state.lock().await;
        let is_early = state.last.is_some_and(|last| last.elapsed() < PAUSE);
        if state.left.is_empty() || state.is_trying || is_early {
            return;
        }
        state.last = Some(Instant::now());
        state.is_trying = true;
        let count = state.left.len().min(RETRIES_MAX);
        let tried: Vec<_> = state.left.drain(..count).collect();
        let removal = self.clone();
        spawn_blocking(move || {
            let left: Vec<_> = tried.into_iter().filter(|task| !task.is_removed()).collect();
            let mut state = removal.state.blocking_lock();
            left.into_iter().for_each(|task| state.keep(task));
            state.is_trying = false;
        });
    }
}

impl Left {
    /// Tries to remove it, without patience. Blocks; returns whether its groups are gone.
    fn is_removed(&self) -> bool {
        self.groups.iter().for_each(ControlGroup::kill_now);
        // Each is tried, whatever becomes of the others.
        if self.groups.iter().filter(|group| group.remove_now().is_err()).count() > 0 {
            return false;
        }
        if let Err(error) = self.directory.remove() {
            // The next daemon finds it.
            tracing::warn!(error = chain(&error), "a directory is left");
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_left_is_tried_once_a_second_however_much_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let (task, group) = (folder.path().join("task"), folder.path().join("group"));
        fs::create_dir(&task).unwrap();
        fs::create_dir(&group).unwrap();
        // It is no real group: its files are ordinary ones, and in the way.
        fs::write(group.join("cgroup.procs"), "").unwrap();
        let tried = group.join("cgroup.kill");
        fs::write(&tried, "").unwrap();
        let directory = group.to_str().unwrap().to_owned();
        let left = Left {
            directory: TaskDirectory::new(task.clone()),
            groups: vec![ControlGroup { directory, settings: Vec::new() }],
        };
        let removal = Removal::default();
        removal.state.lock().await.keep(left);
        let mut rounds = 0;
        for _ in 0..100 {
            removal.try_again().await;
            sleep(Duration::from_millis(100)).await;
            while removal.state.lock().await.is_trying {
                sleep(Duration::from_millis(1)).await;
            }
            if !fs::read(&tried).unwrap().is_empty() {
                rounds += 1;
                fs::write(&tried, "").unwrap();
            }
        }
        assert!((9..=10).contains(&rounds), "{rounds} in ten seconds");
        fs::remove_file(&tried).unwrap();
        fs::remove_file(group.join("cgroup.procs")).unwrap();
        sleep(PAUSE).await;
        removal.try_again().await;
        while removal.state.lock().await.is_trying {
            sleep(Duration::from_millis(1)).await;
        }
        assert!(!group.exists() && !task.exists());
    }
}
