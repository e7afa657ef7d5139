//! The task seam.
#![allow(clippy::disallowed_methods)] // the one place where tasks are spawned

use std::future::Future;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tokio::task::AbortHandle;

/// Blocking work did not finish: it panicked, or the runtime is going down. The caller treats the work as
/// not done and its effect as unknown.
#[derive(Debug, thiserror::Error)]
#[error("blocking work `{name}` did not finish")]
pub struct BlockingError {
    /// What was being done.
    pub name: &'static str,
}

#[derive(Debug, Default)]
struct Tasks {
    handles: Vec<AbortHandle>,
    closed: bool,
}

/// A set of tasks that ends together: a node, or one connection.
#[derive(Debug, Clone, Default)]
pub struct TaskGroup(Arc<Mutex<Tasks>>);

impl TaskGroup {
    /// Ends every task of the group where it stands, as a crash would, and refuses new ones.
    pub fn abort_all(&self) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.closed = true;
        for handle in tasks.handles.drain(..) {
            handle.abort();
        }
    }

    /// How many tasks still run.
    pub fn running(&self) -> usize {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.handles.retain(|handle| !handle.is_finished());
        tasks.handles.len()
    }

    fn add(&self, handle: AbortHandle) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tasks.closed {
            handle.abort();
            return;
        }
        // Finished tasks are swept as the set doubles, so that a group stays as large as what runs.
        if tasks.handles.len() == tasks.handles.capacity() {
            tasks.handles.retain(|handle| !handle.is_finished());
        }
        tasks.handles.push(handle);
    }
}

static AFTER_BLOCKING: OnceLock<fn()> = OnceLock::new();

/// Has this called on its thread after each piece of blocking work that a [`Spawner`] ran: an allocator keeps what a thread freed for that
/// thread, and the next piece runs on another one. The first call decides, since there is one allocator in a process.
pub fn after_blocking(call: fn()) {
    let _ = AFTER_BLOCKING.set(call);
}

/// Starts tasks in its group; blocking work goes to threads, or is done in place in a simulation.
#[derive(Debug, Clone)]
pub struct Spawner {
    group: TaskGroup,
    in_place: bool,
}

impl Spawner {
    /// Tasks on the current tokio runtime, blocking work on its blocking threads.
    pub fn tokio() -> Self {
        Self { group: TaskGroup::default(), in_place: false }
    }

    /// Tasks on the current tokio runtime, blocking work done at once where it is asked for.
    pub fn in_place() -> Self {
        Self { group: TaskGroup::default(), in_place: true }
    }

    /// The same way of spawning, with a group of its own.
    #[must_use]
    pub fn new_group(&self) -> Self {
        Self { group: TaskGroup::default(), in_place: self.in_place }
    }

    /// The tasks started through this spawner and its clones.
    pub fn group(&self) -> &TaskGroup {
        &self.group
    }

    /// Starts a task. `name` is for logs.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let handle = tokio::spawn(async move {
            task.await;
            tracing::trace!(name, "task ended");
        });
        self.group.add(handle.abort_handle());
    }

    /// Runs blocking work and waits for it. Once begun, the work goes on even if the caller stops waiting.
    pub async fn blocking<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, BlockingError> {
        if self.in_place {
            return Ok(work());
        }
        let work = move || {
            let done = work();
            if let Some(call) = AFTER_BLOCKING.get() {
                call();
            }
            done
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| BlockingError { name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn aborting_a_group_ends_its_tasks_and_refuses_new_ones() {
        let spawner = Spawner::in_place();
        let (sender, mut receiver) = tokio::sync::mpsc::channel::<()>(1);
        let keep = sender.clone();
        spawner.spawn("sleeper", async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let _ = sender.send(()).await;
        });
        spawner.group().abort_all();
        spawner.spawn("late", async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let _ = keep.send(()).await;
        });
        assert_eq!(receiver.recv().await, None);
    }
}
