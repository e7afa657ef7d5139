//! The task seam.
#![allow(clippy::disallowed_methods)] // the one place where tasks are spawned

use crate::background;
use futures::FutureExt;
use futures::future::abortable;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;
use tokio::runtime::{Builder, Handle};
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
    handles: Vec<Running>,
    /// They end with this one.
    parts: Vec<Weak<Mutex<Tasks>>>,
    /// The group that this is a part of: kept for as long as its parts are, since the way to them leads through it.
    whole: Option<TaskGroup>,
    closed: bool,
}

/// One task, or one thread with a task.
#[derive(Debug)]
enum Running {
    Task(AbortHandle),
    Thread { abort: futures::future::AbortHandle, ended: Arc<AtomicBool> },
}

impl Drop for Tasks {
    /// What still runs when nobody holds the part any more ends with the whole.
    fn drop(&mut self) {
        if let Some(whole) = self.whole.take() {
            self.handles.drain(..).filter(|running| !running.is_finished()).for_each(|running| whole.add(running));
        }
    }
}

impl Running {
    fn abort(&self) {
        match self {
            Self::Task(handle) => handle.abort(),
            Self::Thread { abort, .. } => abort.abort(),
        }
    }

    fn is_finished(&self) -> bool {
        match self {
            Self::Task(handle) => handle.is_finished(),
            Self::Thread { ended, .. } => ended.load(Ordering::Acquire),
        }
    }
}

/// A set of tasks that ends together: a node, or one connection.
#[derive(Debug, Clone, Default)]
pub struct TaskGroup(Arc<Mutex<Tasks>>);

impl TaskGroup {
    /// Ends every task of the group and of its parts where it stands, as a crash would, and refuses new ones.
    pub fn abort_all(&self) {
        let parts = {
            let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            tasks.closed = true;
            for handle in tasks.handles.drain(..) {
                handle.abort();
            }
            std::mem::take(&mut tasks.parts)
        };
        for part in parts.iter().filter_map(Weak::upgrade) {
            TaskGroup(part).abort_all();
        }
    }

    /// A group that can be ended by itself, and ends with this one.
    fn part(&self) -> Self {
        let part = Self::default();
        part.0.lock().unwrap_or_else(PoisonError::into_inner).whole = Some(self.clone());
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tasks.closed {
            part.abort_all();
        }
        // As in `add`.
        if tasks.parts.len() == tasks.parts.capacity() {
            tasks.parts.retain(|part| part.strong_count() > 0);
        }
        tasks.parts.push(Arc::downgrade(&part.0));
        part
    }

    /// How many tasks still run.
    pub fn running(&self) -> usize {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.handles.retain(|handle| !handle.is_finished());
        tasks.handles.len()
    }

    fn add(&self, handle: Running) {
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

tokio::task_local! {
    /// Set in a task that has a thread of its own: it blocks there. What runs beside it does not.
    static OWN_THREAD: futures::future::AbortHandle;
}

/// A task that blocks its own thread is seldom between two polls, where it would notice that it was ended.
fn is_ended_on_own_thread() -> Option<bool> {
    OWN_THREAD.try_with(futures::future::AbortHandle::is_aborted).ok()
}

/// Notes the end of a thread, however it comes.
struct NoteEnd(Arc<AtomicBool>);

impl Drop for NoteEnd {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Has this called on its thread after each piece of blocking work that a [`Spawner`] ran: an allocator keeps what a thread freed for that
/// thread, and the next piece runs on another one. The first call decides, since there is one allocator in a process.
pub fn after_blocking(call: fn()) {
    let _ = AFTER_BLOCKING.set(call);
}

/// Calls what [`after_blocking`] asked for, on this thread: it let much go and is about to rest.
pub fn tidy_thread() {
    if let Some(call) = AFTER_BLOCKING.get() {
        call();
    }
}

/// How long a worker is kept when it tidies, so that the others take the rest of that work.
const TIDYING: Duration = Duration::from_millis(1);
const OWN_THREAD_STACK_BYTES: usize = 2 << 20;
/// So many tasks beside it come to their turn at once: all that there are, as a rule, or the last would wait for the next time it blocks.
const OWN_THREAD_TURN: u32 = 1_024;
/// Little of what runs beside a thread's task blocks, and that goes to the threads of all.
const OWN_THREAD_BLOCKING: usize = 1;

/// Starts tasks in its group; blocking work goes to threads, or is done in place in a simulation.
#[derive(Debug, Clone)]
pub struct Spawner {
    group: TaskGroup,
    in_place: bool,
    /// Where tasks go, whoever starts them; none for the runtime of who does.
    runtime: Option<Handle>,
}

impl Spawner {
    /// Tasks on the current tokio runtime, blocking work on its blocking threads. Made outside of one, on that of who asks.
    pub fn tokio() -> Self {
        Self { group: TaskGroup::default(), in_place: false, runtime: Handle::try_current().ok() }
    }

    /// Tasks on the current tokio runtime, blocking work done at once where it is asked for.
    pub fn in_place() -> Self {
        Self { group: TaskGroup::default(), in_place: true, runtime: None }
    }

    /// The same way of spawning, with a group of its own that is a part of this one: it ends by itself, or with the whole.
    #[must_use]
    pub fn new_group(&self) -> Self {
        Self { group: self.group.part(), ..self.clone() }
    }

    /// The same way of spawning, with a group that is no part of this one: for what outlives it.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self { group: TaskGroup::default(), ..self.clone() }
    }

    /// This group, with tasks that start where that one's do.
    #[must_use]
    pub fn beside(&self, other: &Self) -> Self {
        Self { group: self.group.clone(), ..other.clone() }
    }

    fn runtime(&self) -> Handle {
        self.runtime.clone().unwrap_or_else(Handle::current)
    }

    /// The tasks started through this spawner and its clones.
    pub fn group(&self) -> &TaskGroup {
        &self.group
    }

    /// Starts a task. `name` is for logs. Should it panic, that is logged and counted; [`Runtime::spawn_lasting`] is for what must go on.
    ///
    /// [`Runtime::spawn_lasting`]: crate::Runtime::spawn_lasting
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let task = async move {
            if caught(name, task).await.is_some() {
                tracing::trace!(name, "task ended");
            }
        };
        let handle = self.runtime().spawn(task);
        self.group.add(Running::Task(handle.abort_handle()));
    }

    /// Calls what [`after_blocking`] asked for on the runtime's workers, each of which keeps what it freed for itself until it works again.
    /// For a node at rest: it takes each of them for a moment, and reaches all where none is busy.
    pub fn tidy_workers(&self) {
        if self.in_place {
            return;
        }
        for _ in 0..self.runtime().metrics().num_workers() {
            self.spawn("tidying", async {
                tidy_thread();
                std::thread::sleep(TIDYING);
            });
        }
    }

    /// Starts a task on a thread of its own, where blocking work that it asks for is done at once: it needs no other thread, so that
    /// none has to be woken twice for each piece. For a task that does little but blocking work. It must not wait for two things at a
    /// time of which one blocks. In a simulation it is a task like any other. `name` is the thread's, too.
    ///
    /// Gives what starts tasks beside it, on the same thread, for those who would else wake it all the time: they come to their turn when it
    /// waits or [lets them](Self::let_others_on_own_thread), and end with it. None in a simulation.
    ///
    /// # Errors
    /// The system gives no thread; the task was not begun.
    pub fn spawn_thread(
        &self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> std::io::Result<Option<Self>> {
        if self.in_place {
            self.spawn(name, task);
            return Ok(None);
        }
        let mut builder = Builder::new_current_thread();
        let runtime = builder.enable_all().event_interval(OWN_THREAD_TURN).max_blocking_threads(OWN_THREAD_BLOCKING).build()?;
        let beside = Self { runtime: Some(runtime.handle().clone()), ..self.clone() };
        let (task, abort) = abortable(task);
        let ended = Arc::new(AtomicBool::new(false));
        let (at_end, task) = (NoteEnd(ended.clone()), OWN_THREAD.scope(abort.clone(), caught(name, task)));
        // Where there is no thread the runtime is still here, and must not be dropped as others are: this may be a task.
        let runtime = Arc::new(Mutex::new(Some(runtime)));
        let taken = runtime.clone();
        let run = move || {
            let runtime = taken.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(runtime) = runtime
                && runtime.block_on(task).is_some()
            {
                tracing::trace!(name, "thread ended");
            }
            // Only now is all that ran beside the task gone.
            drop(at_end);
        };
        let begun = std::thread::Builder::new().name(name.to_owned()).stack_size(OWN_THREAD_STACK_BYTES).spawn(run);
        if let Err(error) = begun {
            if let Some(runtime) = runtime.lock().unwrap_or_else(PoisonError::into_inner).take() {
                runtime.shutdown_background();
            }
            return Err(error);
        }
        self.group.add(Running::Thread { abort, ended });
        Ok(Some(beside))
    }

    /// Lets this thread rest for less than timers can tell apart, if it is the task's own; else does nothing. What comes for the task
    /// meanwhile wakes nobody.
    pub fn rest_on_own_thread(&self, time: Duration) {
        if !self.in_place && is_ended_on_own_thread().is_some() {
            std::thread::sleep(time);
        }
    }

    /// Lets what runs beside this task on its own thread come to its turn, also what has only now come from outside; elsewhere does nothing.
    pub async fn let_others_on_own_thread(&self) {
        if !self.in_place && is_ended_on_own_thread().is_some() {
            // With the first they hear what this task did; what that brings from sockets is there for the second.
            for _ in 0..2 {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Runs blocking work and waits for it: on a thread for blocking work, or on this one if it is the task's own. Once begun, the work goes on even if the caller stops waiting.
    pub async fn blocking<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, BlockingError> {
        if self.in_place {
            return Ok(work());
        }
        if let Some(is_ended) = is_ended_on_own_thread() {
            if is_ended {
                return Err(BlockingError { name });
            }
            // As on a thread for blocking work: a panic ends the work and not who asked for it.
            return catch_unwind(AssertUnwindSafe(work)).map_err(|_| BlockingError { name });
        }
        self.runtime().spawn_blocking(then_call(work)).await.map_err(|_| BlockingError { name })
    }

    /// The same for work that only computes and for which no client waits: its threads give way to all others, so that it takes what they
    /// leave and delays nobody.
    pub async fn background<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, BlockingError> {
        if self.in_place {
            return Ok(work());
        }
        background::run(name, then_call(work)).await
    }
}

/// What comes of a task; none if it panicked, which is logged and counted. Else nothing would tell of it but the standard error, if anybody
/// reads that.
pub(crate) async fn caught<T>(name: &'static str, task: impl Future<Output = T>) -> Option<T> {
    let done = AssertUnwindSafe(task).catch_unwind().await.ok();
    if done.is_none() {
        metrics::counter!("strandline_task_panics_total", "task" => name).increment(1);
        tracing::error!(task = name, "a task panicked: this is a fault of strandline");
    }
    done
}

/// The work and what [`after_blocking`] asked for.
fn then_call<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
    move || {
        let done = work();
        tidy_thread();
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[tokio::test(flavor = "multi_thread", worker_threads = 3)]
    async fn all_workers_tidy() {
        static TIDIED: Mutex<Vec<std::thread::ThreadId>> = Mutex::new(Vec::new());
        fn note() {
            let (mut tidied, own) = (TIDIED.lock().unwrap(), std::thread::current());
            // Most threads of other tests are named otherwise.
            if own.name() == Some("tokio-rt-worker") && !tidied.contains(&own.id()) {
                tidied.push(own.id());
            }
        }
        after_blocking(note);
        let (mut in_a_row, mut rounds) = (0, 0);
        // A worker that the system keeps waiting is passed by now and then.
        while in_a_row < 3 {
            TIDIED.lock().unwrap().clear();
            let from_a_worker = tokio::spawn(async { Spawner::tokio().tidy_workers() });
            from_a_worker.await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
            in_a_row = if TIDIED.lock().unwrap().len() >= 3 { in_a_row + 1 } else { 0 };
            rounds += 1;
            assert!(rounds < 1_000, "all workers were hardly ever reached");
        }
    }

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

    #[tokio::test(start_paused = true)]
    async fn a_part_of_a_group_ends_by_itself_or_with_the_whole() {
        let whole = Spawner::in_place();
        let (first, second) = (whole.new_group(), whole.new_group().new_group());
        let (sender, mut receiver) = tokio::sync::mpsc::channel::<()>(1);
        for spawner in [&whole, &first, &second] {
            let keep = sender.clone();
            spawner.spawn("waiter", async move {
                std::future::pending::<()>().await;
                drop(keep);
            });
        }
        drop(sender);
        first.group().abort_all();
        tokio::task::yield_now().await;
        assert_eq!((whole.group().running(), first.group().running()), (1, 0));
        // Nobody holds the part: what runs in it is the whole's.
        drop(second);
        assert_eq!(whole.group().running(), 2);
        whole.group().abort_all();
        assert_eq!(receiver.recv().await, None, "every task was dropped");
        let late = whole.new_group();
        late.spawn("late", async { panic!("a part of what has ended") });
        tokio::task::yield_now().await;
        assert_eq!(late.group().running(), 0);
    }

    #[tokio::test]
    async fn a_task_on_its_own_thread_blocks_there_and_ends_with_its_group() {
        let spawner = Spawner::tokio();
        let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
        let inner = spawner.clone();
        let task = async move {
            let own = std::thread::current().id();
            tokio::time::sleep(Duration::from_millis(1)).await;
            let blocking = inner.blocking("where", || std::thread::current().id()).await.unwrap();
            assert!(inner.blocking("nowhere", || panic!("ordered by the test")).await.is_err());
            sender.send((own, blocking)).await.unwrap();
            std::future::pending::<()>().await;
            drop(sender);
        };
        spawner.spawn_thread("own", task).unwrap();
        let (own, blocking) = receiver.recv().await.unwrap();
        assert_eq!(own, blocking);
        assert_ne!(own, std::thread::current().id());
        assert_ne!(spawner.blocking("elsewhere", || std::thread::current().id()).await.unwrap(), std::thread::current().id());
        assert_eq!(spawner.group().running(), 1);
        spawner.group().abort_all();
        assert_eq!(receiver.recv().await, None, "the task was dropped");
    }

    #[tokio::test]
    async fn all_that_run_beside_a_task_have_their_turn_when_it_lets_them() {
        const BESIDE: usize = 300;
        let (spawner, ran) = (Spawner::tokio(), Arc::new(AtomicUsize::new(0)));
        let notify = Arc::new(tokio::sync::Notify::new());
        let (begin, begun) = tokio::sync::oneshot::channel::<()>();
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let (inner, told, seen) = (spawner.clone(), notify.clone(), ran.clone());
        let task = async move {
            let _ = begun.await;
            // They come to where they wait.
            while seen.load(Ordering::Acquire) < BESIDE {
                tokio::task::yield_now().await;
            }
            told.notify_waiters();
            inner.let_others_on_own_thread().await;
            let _ = sender.send((seen.load(Ordering::Acquire), std::thread::current().id()));
            std::future::pending::<()>().await;
        };
        let beside = spawner.spawn_thread("own", task).unwrap().unwrap();
        let (thread, mut threads) = tokio::sync::mpsc::channel(BESIDE);
        for _ in 0..BESIDE {
            let (notify, ran, thread) = (notify.clone(), ran.clone(), thread.clone());
            beside.spawn("beside", async move {
                let told = notify.notified();
                ran.fetch_add(1, Ordering::Release);
                told.await;
                ran.fetch_add(1, Ordering::Release);
                thread.send(std::thread::current().id()).await.unwrap();
            });
        }
        begin.send(()).unwrap();
        let (ran, own) = receiver.await.unwrap();
        assert_eq!(ran, BESIDE * 2);
        for _ in 0..BESIDE {
            assert_eq!(threads.recv().await, Some(own));
        }
        // They end with the thread; none of them is a task of the caller's runtime.
        spawner.group().abort_all();
    }

    #[tokio::test]
    async fn a_task_that_only_blocks_its_own_thread_ends_with_its_group_all_the_same() {
        let spawner = Spawner::tokio();
        let (inner, done) = (spawner.clone(), Arc::new(AtomicBool::new(false)));
        let at_end = NoteEnd(done.clone());
        let task = async move {
            let _at_end = at_end;
            // It is never between two polls.
            while inner.blocking("again", || std::thread::sleep(Duration::from_micros(100))).await.is_ok() {}
        };
        spawner.spawn_thread("busy", task).unwrap();
        spawner.group().abort_all();
        for _ in 0..1_000 {
            if done.load(Ordering::Acquire) && spawner.group().running() == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it goes on");
    }

    #[tokio::test]
    async fn a_group_that_was_ended_starts_no_thread_to_its_end() {
        let spawner = Spawner::tokio();
        spawner.group().abort_all();
        let (sender, mut receiver) = tokio::sync::mpsc::channel::<()>(1);
        let task = async move {
            std::future::pending::<()>().await;
            drop(sender);
        };
        spawner.spawn_thread("late", task).unwrap();
        assert_eq!(receiver.recv().await, None);
    }
}
