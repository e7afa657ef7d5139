//! Threads for work that may wait: they give way to everything else that wants a processor.
#![allow(clippy::disallowed_methods)] // the other place where threads are started

use crate::BlockingError;
use std::sync::OnceLock;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

/// How much later than others they come, as `nice` counts it: a thread that answers a client takes the processor from them at once, and where
/// there is not enough for all they still get a part of it.
const NICE: i32 = 5;
/// As long as the node's other threads for blocking work.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
const STACK_BYTES: usize = 1 << 20;

/// Never dropped: a pool must not be, within another runtime. What is being done when the process ends is not waited for.
static THREADS: OnceLock<std::io::Result<Runtime>> = OnceLock::new();

/// A pool of as many threads as there are processors, all of whose work only computes. Without it (the system gives no more) the work is done
/// on the threads of the caller's runtime.
pub(crate) async fn run<T: Send + 'static>(
    name: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, BlockingError> {
    let done = match THREADS.get_or_init(threads) {
        Ok(threads) => threads.spawn_blocking(work),
        Err(_) => tokio::task::spawn_blocking(work),
    };
    done.await.map_err(|_| BlockingError { name })
}

fn threads() -> std::io::Result<Runtime> {
    let processors = std::thread::available_parallelism().map_or(2, usize::from);
    Builder::new_current_thread()
        .max_blocking_threads(processors.max(2))
        .thread_name("background")
        .thread_keep_alive(KEEP_ALIVE)
        .thread_stack_size(STACK_BYTES)
        .on_thread_start(give_way)
        .build()
}

/// On Linux a thread has a priority of its own; elsewhere the call would lower the whole process.
fn give_way() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(NICE) {
        tracing::debug!(%error, "a thread for background work keeps its priority");
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    fn niceness() -> Option<i32> {
        rustix::process::getpriority_process(None).ok()
    }

    #[tokio::test]
    async fn its_threads_give_way_and_others_stay_as_they_are() {
        let before = niceness().unwrap();
        let (lower, name) = run("look", || (niceness(), std::thread::current().name().map(str::to_owned))).await.unwrap();
        assert_eq!((lower, name.as_deref()), (Some((before + NICE).min(19)), Some("background")));
        assert_eq!(niceness(), Some(before));
        assert_eq!(tokio::task::spawn_blocking(niceness).await.unwrap(), Some(before));
    }

    #[tokio::test]
    async fn a_panic_ends_the_work_and_nothing_else() {
        let failed: Result<(), BlockingError> = run("fail", || panic!("ordered by the test")).await;
        assert_eq!(failed.unwrap_err().name, "fail");
        assert_eq!(run("go on", || 7).await.unwrap(), 7);
    }
}
