//! The one task that folds and appends.

mod commit;
mod follow;
mod start;

use crate::api::{BarrierError, Queued, Shared, SubmitError};
use crate::beside::Load;
use crate::pack::Packed;
use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use strandline_commands::Leave;
use strandline_commit_log::{AppendError, Payload, ReadError};
use strandline_index::FoldError;
use strandline_types::limits;
use tokio::sync::{mpsc, oneshot};

/// What a handle asks of the driver.
pub(crate) enum Request {
    Submit(Queued),
    Barrier(oneshot::Sender<Result<(), BarrierError>>),
    Stop(oneshot::Sender<()>),
}

/// The node must end or join anew; nothing more is served.
#[derive(Debug, thiserror::Error)]
enum Halt {
    #[error(transparent)]
    Fold(#[from] FoldError),
    #[error("the log was trimmed under this node")]
    Trimmed,
    #[error("this node was declared gone by another")]
    Gone,
    #[error("the cell folds by rules of version {cell}, this strandline knows those up to {known}: use a newer one")]
    Version { cell: u32, known: u32 },
    #[error(transparent)]
    Log(#[from] ReadError),
    #[error(transparent)]
    Append(AppendError),
}

const READ_BYTES: usize = 4 << 20;

pub(crate) struct Driver {
    shared: Arc<Shared>,
    requests: mpsc::Receiver<Request>,
    queue: VecDeque<Queued>,
    barriers: Vec<oneshot::Sender<Result<(), BarrierError>>>,
    stops: Vec<oneshot::Sender<()>>,
    /// The last n of this incarnation.
    n: u64,
    /// The one unresolved commit.
    unresolved: Option<Packed>,
    /// The newest rules that it folds by.
    fold_version: u32,
    /// When the last consistent read of the log began (the 30 s rule).
    last_read: Duration,
    /// When the last append was, as long as something is kept of it to be at hand.
    appended_at: Option<Duration>,
    poll: Duration,
    load: Load,
}

/// However the driver ends, also in a panic: who goes by the cell hears of it. A node that serves what was folded so far, and nothing that comes, would
/// look sound for ever.
struct AtEnd(Arc<Shared>);

impl Drop for AtEnd {
    fn drop(&mut self) {
        self.0.stopped.cancel();
        self.0.watchers.wake_all();
    }
}

impl Driver {
    async fn run(mut self) {
        let at_end = AtEnd(self.shared.clone());
        let result = self.drive().await;
        if let Err(halt) = &result {
            tracing::error!(error = %halt, "the cell can no longer be served by this node");
        }
        drop(at_end);
        self.requests.close();
        if let Some(packed) = self.unresolved.take() {
            packed.fail(&SubmitError::Stopped);
        }
        while let Some(queued) = self.queue.pop_front() {
            let _ = queued.reply.send(Err(SubmitError::Stopped));
        }
        for barrier in self.barriers.drain(..) {
            let _ = barrier.send(Err(BarrierError::Stopped));
        }
        for stop in self.stops.drain(..) {
            let _ = stop.send(());
        }
    }

    async fn drive(&mut self) -> Result<(), Halt> {
        loop {
            if self.queue.is_empty() && self.barriers.is_empty() && self.stops.is_empty() {
                self.wait().await?;
            }
            self.take_all();
            self.refuse_what_overtakes();
            if !self.barriers.is_empty() {
                // Barriers that came before this read began share it.
                let waiting = std::mem::take(&mut self.barriers);
                let result = match self.read_to_head().await {
                    Ok(()) => Ok(()),
                    Err(Halt::Log(ReadError::Unavailable { .. })) => Err(BarrierError::Unavailable),
                    Err(halt) => return Err(halt),
                };
                for barrier in waiting {
                    let _ = barrier.send(result.clone());
                }
            }
            if !self.queue.is_empty() {
                let packed = self.pack();
                let answered = packed.waiters.len();
                self.commit(packed).await?;
                self.gather(answered).await;
            } else if !self.stops.is_empty() {
                let leave = Packed { commands: vec![Leave {}.into()], ..Packed::default() };
                match self.commit(leave).await {
                    Ok(()) | Err(Halt::Gone) => {}
                    Err(halt) => return Err(halt),
                }
                if let Err(error) = self.shared.log.close().await {
                    tracing::warn!(%error, "the commit log could not be closed cleanly; the next start will look it through");
                }
                return Ok(());
            }
        }
    }

    /// What comes next in the queue, as much as this log takes at once.
    fn pack(&mut self) -> Packed {
        let takes_any = self.shared.log.takes_any_payload();
        // Else ingest has one commit of a partition at a time.
        Packed::take(&mut self.queue, Payload::most_bytes(takes_any), takes_any)
    }

    /// Producers keep some requests in flight: of those whose requests were answered with the last commit the next come at once. While
    /// many wait, the next commit begins a moment later and carries those, too: half as many commits do, and nobody hears much later. Those that
    /// are served on this thread have it for that moment.
    async fn gather(&mut self, answered: usize) {
        self.load.look(&self.shared.beside, self.shared.runtime.clock.monotonic());
        self.take_all();
        let before = self.queue.len();
        if self.shared.beside.taken() > 0 {
            self.shared.runtime.spawner.let_others_on_own_thread().await;
            self.take_all();
        }
        let bytes: usize = self.queue.iter().map(|queued| queued.submission.payload_bytes()).sum();
        // Who was answered and has brought the next request already needs no moment more.
        let still_to_come = answered.saturating_sub(self.queue.len() - before);
        if self.stops.is_empty() && self.barriers.is_empty() && is_worth_gathering(still_to_come, before, bytes) {
            self.shared.runtime.spawner.rest_on_own_thread(limits::COMMIT_GATHER);
        }
    }

    fn take_all(&mut self) {
        while let Ok(request) = self.requests.try_recv() {
            self.take(request);
        }
    }

    /// Waits for a request, and meanwhile does what an idle node does: it looks what others append, and lets go of what it keeps.
    async fn wait(&mut self) -> Result<(), Halt> {
        let clock = self.shared.runtime.clock.clone();
        let until_idle = self.until_idle(clock.monotonic());
        let until_poll = (!self.shared.sole).then_some(self.poll);
        let after = async |wait: Option<Duration>| match wait {
            Some(wait) => clock.sleep(wait).await,
            None => std::future::pending().await,
        };
        tokio::select! {
            biased;
            request = self.requests.recv() => match request {
                Some(request) => self.take(request),
                None => self.stops.push(oneshot::channel().0),
            },
            () = after(until_poll) => match self.read_to_head().await {
                Ok(()) | Err(Halt::Log(ReadError::Unavailable { .. })) => {}
                Err(halt) => return Err(halt),
            },
            () = after(until_idle) => self.let_go_if_idle(clock.monotonic()),
        }
        Ok(())
    }

    /// How long until something that is kept to be at hand is to go, if no more comes of its kind; none if nothing is kept.
    fn until_idle(&self, now: Duration) -> Option<Duration> {
        let rows = self.appended_at.map(|at| (at + limits::RECENT_PAYLOAD_IDLE).saturating_sub(now));
        self.shared.recent.until_idle(now).into_iter().chain(rows).min()
    }

    /// Payloads go by themselves: consumers that commit their offsets append rows for ever.
    fn let_go_if_idle(&mut self, now: Duration) {
        self.shared.recent.let_go_if_idle(now);
        if self.appended_at.take_if(|at| *at + limits::RECENT_PAYLOAD_IDLE <= now).is_some() {
            self.shared.log.let_go();
        }
        strandline_runtime::tidy_thread();
    }

    fn take(&mut self, request: Request) {
        match request {
            Request::Submit(queued) => self.queue.push_back(queued),
            Request::Barrier(reply) => self.barriers.push(reply),
            Request::Stop(reply) => self.stops.push(reply),
        }
    }

    /// Batches of `packed` are refused, and what waits behind them must not overtake them: a producer of which its partition knows nothing yet would be told that
    /// the later ones are there, and never be rid of the earlier.
    fn refuse_what_waits_behind(&mut self, packed: &Packed, error: &SubmitError) {
        self.shared.awaited.note_commands(&packed.commands, self.shared.runtime.clock.monotonic());
        self.take_all();
        for queued in std::mem::take(&mut self.queue) {
            if queued.submission.produces() {
                self.refuse(queued, error.clone());
            } else {
                self.queue.push_back(queued);
            }
        }
    }

    /// Its batches come again.
    fn refuse(&self, queued: Queued, error: SubmitError) {
        self.shared.awaited.note_commands(&queued.submission.commands, self.shared.runtime.clock.monotonic());
        let _ = queued.reply.send(Err(error));
    }

    /// What came since, and is behind a batch that was refused and has not come again.
    fn refuse_what_overtakes(&mut self) {
        let now = self.shared.runtime.clock.monotonic();
        if self.shared.awaited.is_empty(now) {
            return;
        }
        for queued in std::mem::take(&mut self.queue) {
            let passes = {
                let index = self.shared.index.read().unwrap_or_else(PoisonError::into_inner);
                self.shared.awaited.let_commands_pass(&queued.submission.commands, now, &index)
            };
            if passes {
                self.queue.push_back(queued);
            } else {
                self.refuse(queued, SubmitError::Full { reason: "what came before it was refused".to_owned() });
            }
        }
    }
}

/// Many requests are in flight, some wait already, and what waits is not much by itself.
fn is_worth_gathering(answered: usize, waiting: usize, waiting_bytes: usize) -> bool {
    waiting > 0 && answered + waiting >= limits::COMMIT_GATHER_REQUESTS && waiting_bytes < limits::COMMIT_GATHER_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_where_many_wait_does_a_commit_begin_later() {
        const MANY: usize = limits::COMMIT_GATHER_REQUESTS;
        assert!(!is_worth_gathering(1, 1, 100), "two that take turns");
        assert!(!is_worth_gathering(MANY, 0, 0), "nobody waits");
        assert!(is_worth_gathering(MANY - 1, 1, 100));
        assert!(is_worth_gathering(1, MANY - 1, 100));
        assert!(!is_worth_gathering(MANY, MANY, limits::COMMIT_GATHER_BYTES), "a commit of that size costs little for each byte");
    }
}
