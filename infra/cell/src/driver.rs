//! The one task that folds and appends.

use crate::api::{BarrierError, Cell, CellOptions, Queued, Shared, StartError, SubmitError};
use crate::awaited::Awaited;
use crate::beside::{Beside, Load};
use crate::pack::Packed;
use crate::recent::Recent;
use crate::watch::Watchers;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use strandline_commands::{Commit, CreateCell, EntryBody, Join, Leave, encode};
use strandline_commit_log::{AppendError, CommitLog, Entry, Payload, ReadError, Row, Tail};
use strandline_index::{FoldError, Index};
use strandline_runtime::Runtime;
use strandline_types::mutations::{Rule, holds};
use strandline_types::{Incarnation, Seq, limits};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

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
    pub(crate) async fn start(
        runtime: Runtime,
        log: Arc<dyn CommitLog>,
        mut index: Index,
        options: CellOptions,
        fold_version: u32,
    ) -> Result<Cell, StartError> {
        let mut last_read = runtime.clock.monotonic();
        replay(&*log, &mut index).await?;
        let clock_ms = runtime.clock.now_ms();
        let behind_ms = index.cell.now_ms.saturating_sub(clock_ms);
        if behind_ms > i64::try_from(limits::CLOCK_SKEW.as_millis()).unwrap_or(i64::MAX) && !options.accept_clock {
            return Err(StartError::Clock { behind_ms });
        }
        let nonce = runtime.random.id().to_vec();
        let began = runtime.clock.monotonic();
        let mut tries = 0_u32;
        let mut n = 0;
        let incarnation = loop {
            if let Some((earlier, last_n)) = earlier_run(&index, &options).filter(|_| !holds(Rule::A7)) {
                n = last_n;
                break earlier;
            }
            let entry = join_entry(&runtime, &index, &options, &nonce, fold_version)?;
            let at = index.cell.seq.next();
            let appended = log.append(at, entry).await;
            let is_ours = appended.is_ok();
            match appended {
                // The index holds more than the log: it has lost its end.
                Err(AppendError::Gap { next, .. }) if next < at => return Err(StartError::Cut { next, index: index.cell.seq }),
                Ok(()) | Err(AppendError::Conflict { .. } | AppendError::Gap { .. }) => {}
                Err(error @ (AppendError::Ambiguous { .. } | AppendError::Unavailable { .. })) => {
                    let waited = runtime.clock.monotonic().saturating_sub(began);
                    if waited > limits::REQUEST_WAIT {
                        return Err(error.into());
                    }
                    tracing::warn!(%error, "the node cannot join its cell yet");
                }
                Err(error) => return Err(error.into()),
            }
            // Whatever happened, what the log holds says whether this node has joined.
            last_read = last_read.max(runtime.clock.monotonic());
            match replay(&*log, &mut index).await {
                Ok(()) | Err(StartError::Read(ReadError::Unavailable { .. })) => {}
                Err(error) => return Err(error),
            }
            let joined = index.nodes.iter().find(|(_, run)| run.nonce == nonce).map(|(incarnation, _)| *incarnation);
            match joined {
                Some(incarnation) => break incarnation,
                None if index.cell.seq >= at && index.cell.fold_version > fold_version => {
                    return Err(StartError::Refused { reason: "the cell's fold version is newer than this build".to_owned() });
                }
                // Another node may have put it out at once, or a place may come free; not for ever.
                None if is_ours
                    && index.cell.seq >= at
                    && runtime.clock.monotonic().saturating_sub(began) > limits::REQUEST_WAIT =>
                {
                    let reason = "the fold does not take it; are there too many nodes, or is its host's or zone's name too long?";
                    return Err(StartError::Refused { reason: reason.to_owned() });
                }
                None => {
                    tries = tries.saturating_add(1);
                    let wait = 1 + runtime.random.below(20_u64 << tries.min(6));
                    runtime.sleep(Duration::from_millis(wait)).await;
                }
            }
        };
        let node_id = index.nodes.get(&incarnation).map_or(-1, |run| run.node_id);
        let (sender, requests) = mpsc::channel(limits::COMMIT_QUEUE_REQUESTS);
        let shared = Arc::new(Shared {
            runtime: runtime.clone(),
            log,
            index: RwLock::new(index),
            watchers: Arc::new(Watchers::default()),
            requests: sender,
            queue: Arc::new(Semaphore::new(limits::COMMIT_QUEUE_BYTES)),
            incarnation,
            node_id,
            objects_named: AtomicU64::new(0),
            stopped: CancellationToken::new(),
            no_room: AtomicBool::new(false),
            awaited: Awaited::default(),
            sole: options.join.sole,
            recent: Recent::default(),
            beside: Arc::new(Beside::default()),
        });
        let driver = Self {
            shared: shared.clone(),
            requests,
            queue: VecDeque::new(),
            barriers: Vec::new(),
            stops: Vec::new(),
            n,
            unresolved: None,
            fold_version,
            last_read,
            appended_at: Some(runtime.clock.monotonic()),
            poll: options.poll,
            load: Load::default(),
        };
        // It appends, folds and appends again: on a thread of its own a log on this machine's disk is written without any other being
        // woken, and what came in the meantime is the next commit.
        let beside = runtime.spawner.spawn_thread("cell driver", driver.run()).map_err(|error| StartError::Thread { error })?;
        if let Some(spawner) = beside {
            shared.beside.open(spawner);
        }
        Ok(Cell { shared })
    }

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

    /// Gets a commit folded, or surely not. There is one at a time, and its n is used once.
    async fn commit(&mut self, packed: Packed) -> Result<(), Halt> {
        let began = self.shared.runtime.clock.monotonic();
        self.n += 1;
        self.unresolved = Some(packed);
        let mut tries = 0_u32;
        let (mut ahead, mut aside) = (0, None);
        while let Some(packed) = &mut self.unresolved {
            let commit = packed.take_commit(self.shared.incarnation, self.n);
            let payload = Payload::new(packed.chunks.clone());
            let (at, entry, body) = match entry(&self.shared, commit, payload) {
                Ok(entry) => entry,
                Err(error) => {
                    // Nothing was written: those who wait hear it, and the cell goes on.
                    tracing::error!(%error, "a commit could not be encoded");
                    if let Some(packed) = self.unresolved.take() {
                        packed.fail(&SubmitError::TooLarge);
                    }
                    self.n -= 1;
                    return Ok(());
                }
            };
            let (at, bytes) = (Seq(at.0 + ahead), entry.bytes.clone());
            if !holds(Rule::A2) {
                self.demand_floor(at).await?;
            }
            let answer = self.shared.log.append(at, entry.clone()).await;
            if answer.is_ok() {
                self.appended(at, &bytes, &entry.payload, Some(body)).await?;
            } else if let (Some(packed), Some(commit)) = (&mut self.unresolved, body.commits.into_iter().next()) {
                packed.put_back(commit);
            }
            match answer {
                Ok(()) => {}
                Err(AppendError::Conflict { .. }) if !holds(Rule::A12) => ahead += 1,
                Err(AppendError::Conflict { winner }) => {
                    self.demand_floor_of_winner(winner.seq).await?;
                    self.fold_row(&winner)?;
                    self.read_to_head_patiently().await?;
                    self.pause(tries).await;
                }
                Err(AppendError::Gap { .. }) => self.read_to_head_patiently().await?,
                Err(AppendError::Ambiguous { reason }) => {
                    tracing::warn!(%at, reason, "an append is in doubt");
                    if !holds(Rule::A5) || !holds(Rule::A15) {
                        self.n -= u64::from(!holds(Rule::A15));
                        if let Some(packed) = self.unresolved.take() {
                            packed.fail(&SubmitError::Full { reason });
                        }
                        return Ok(());
                    }
                    if !holds(Rule::A8) {
                        return self.believe(at, &bytes);
                    }
                    self.take_all();
                    if !holds(Rule::A17) && !self.queue.is_empty() && aside.is_none() {
                        let next = self.pack();
                        aside = self.unresolved.replace(next);
                        continue;
                    }
                    self.resolve_doubt(at, &entry).await?;
                }
                Err(AppendError::Full { reason }) => {
                    self.shared.no_room.store(true, Ordering::Relaxed);
                    let error = SubmitError::Full { reason };
                    let packed = self.unresolved.take().unwrap_or_default();
                    self.refuse_what_waits_behind(&packed, &error);
                    let kept = packed.without_payload(&error);
                    if kept.waiters.is_empty() && kept.commands.is_empty() {
                        // Surely not written anywhere: the n is free again.
                        self.n -= 1;
                        return Ok(());
                    }
                    if tries >= 3 {
                        kept.fail(&error);
                        self.n -= 1;
                        return Ok(());
                    }
                    self.unresolved = Some(kept);
                    self.pause(tries).await;
                }
                Err(AppendError::Unavailable { reason }) => {
                    tracing::warn!(%at, reason, "the commit log is not available");
                    if self.shared.runtime.clock.monotonic().saturating_sub(began) > limits::REQUEST_WAIT {
                        let error = SubmitError::Full { reason };
                        let packed = self.unresolved.take().unwrap_or_default();
                        self.refuse_what_waits_behind(&packed, &error);
                        packed.fail(&error);
                        self.n -= 1;
                        return Ok(());
                    }
                    self.pause(tries).await;
                }
                Err(AppendError::TooLarge { .. }) => {
                    if let Some(packed) = self.unresolved.take() {
                        packed.fail(&SubmitError::TooLarge);
                    }
                    self.n -= 1;
                    return Ok(());
                }
                Err(error @ AppendError::Fatal { .. }) => return Err(Halt::Append(error)),
            }
            tries = tries.saturating_add(1);
            if self.unresolved.is_none() && aside.is_some() {
                self.n += 1;
                self.unresolved = aside.take();
            }
        }
        let took = self.shared.runtime.clock.monotonic().saturating_sub(began);
        metrics::histogram!("strandline_commit_seconds").record(took.as_secs_f64());
        Ok(())
    }

    /// An append that the log said yes to. If it took long, the yes counts only while the floor has not passed it: a
    /// node that slept might have appended into the trimmed range (docs/rules.md, A1, A2).
    /// `body` is what the bytes were made of, if it is at hand.
    async fn appended(&mut self, at: Seq, bytes: &Bytes, payload: &Payload, body: Option<EntryBody>) -> Result<(), Halt> {
        if holds(Rule::A1) && holds(Rule::A2) {
            self.demand_floor(at).await?;
        }
        self.shared.no_room.store(false, Ordering::Relaxed);
        self.appended_at = Some(self.shared.runtime.clock.monotonic());
        self.shared.recent.keep(at, payload, self.shared.runtime.clock.monotonic());
        self.fold(at, bytes, body)
    }

    /// What an append of ours found at its seq counts under the same condition (docs/rules.md, A3).
    async fn demand_floor_of_winner(&mut self, at: Seq) -> Result<(), Halt> {
        if holds(Rule::A3) { self.demand_floor(at).await } else { Ok(()) }
    }

    /// What a simulation switches on in place of A8: those who wait are told an outcome that no log bears out.
    fn believe(&mut self, at: Seq, bytes: &Bytes) -> Result<(), Halt> {
        let mut index = self.shared.index.read().unwrap_or_else(PoisonError::into_inner).clone();
        let folded = index.fold(at, bytes)?;
        let outcomes = folded.commits.into_iter().find(|commit| commit.n == self.n).and_then(|commit| commit.outcomes);
        if let Some((packed, outcomes)) = self.unresolved.take().zip(outcomes) {
            packed.resolve(at, outcomes);
        }
        Ok(())
    }

    async fn demand_floor(&mut self, at: Seq) -> Result<(), Halt> {
        let age = self.shared.runtime.clock.monotonic().saturating_sub(self.last_read);
        if age <= limits::APPEND_DOUBT || self.shared.sole {
            return Ok(());
        }
        let mut tries = 0;
        loop {
            match self.shared.log.floor().await {
                Ok(floor) if floor.seq <= at => return Ok(()),
                Ok(_) => return Err(Halt::Trimmed),
                Err(ReadError::Unavailable { reason }) => {
                    tracing::warn!(reason, "the floor could not be read");
                    self.pause(tries).await;
                    tries += 1;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// While an append is in doubt nothing but the same bytes goes to that seq; the log says who is there.
    async fn resolve_doubt(&mut self, at: Seq, entry: &Entry) -> Result<(), Halt> {
        let mut tries = 0_u32;
        loop {
            self.pause(tries).await;
            tries = tries.saturating_add(1);
            match self.read_to_head().await {
                Ok(()) => {}
                Err(Halt::Log(ReadError::Unavailable { .. })) => continue,
                Err(halt) => return Err(halt),
            }
            if self.folded() >= at {
                // Either ours was there, and is resolved, or another's, and ours is tried again further on.
                return Ok(());
            }
            match self.shared.log.append(at, entry.clone()).await {
                Ok(()) => return self.appended(at, &entry.bytes, &entry.payload, None).await,
                Err(AppendError::Conflict { winner }) => {
                    self.demand_floor_of_winner(winner.seq).await?;
                    return self.fold_row(&winner);
                }
                Err(error @ (AppendError::Fatal { .. } | AppendError::TooLarge { .. })) => return Err(Halt::Append(error)),
                Err(_) => {}
            }
        }
    }

    async fn pause(&self, tries: u32) {
        let most = 5_u64 << tries.min(7);
        let wait = 1 + self.shared.runtime.random.below(most);
        self.shared.runtime.sleep(Duration::from_millis(wait)).await;
    }

    fn folded(&self) -> Seq {
        self.shared.index.read().unwrap_or_else(PoisonError::into_inner).cell.seq
    }

    async fn read_to_head_patiently(&mut self) -> Result<(), Halt> {
        let mut tries = 0;
        loop {
            match self.read_to_head().await {
                Err(Halt::Log(ReadError::Unavailable { .. })) => {
                    self.pause(tries).await;
                    tries += 1;
                }
                other => return other,
            }
        }
    }

    async fn read_to_head(&mut self) -> Result<(), Halt> {
        loop {
            let began = self.shared.runtime.clock.monotonic();
            let from = self.folded().next();
            match self.shared.log.read(from, READ_BYTES).await? {
                Tail::Trimmed { .. } => return Err(Halt::Trimmed),
                Tail::Rows { rows, head, .. } => {
                    self.last_read = began;
                    for row in &rows {
                        self.fold_row(row)?;
                    }
                    if self.folded() >= head || rows.is_empty() {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn fold_row(&mut self, row: &Row) -> Result<(), Halt> {
        if row.seq <= self.folded() {
            return Ok(());
        }
        self.fold(row.seq, &row.bytes, None)
    }

    /// Folds an entry, tells the waiters of this node's commit their outcomes (which come from nowhere else), and wakes readers.
    fn fold(&mut self, seq: Seq, bytes: &Bytes, body: Option<EntryBody>) -> Result<(), Halt> {
        let (folded, version) = {
            let mut index = self.shared.index.write().unwrap_or_else(PoisonError::into_inner);
            let folded = match body {
                Some(body) => index.fold_encoded(seq, bytes, body)?,
                None => index.fold(seq, bytes)?,
            };
            (folded, index.cell.fold_version)
        };
        // It is raised when every live node can: this one was declared gone before that, and may not have read of it by itself. What it
        // has folded up to the raise is right; what follows it would get wrong.
        if version > self.fold_version && holds(Rule::FoldVersion) {
            return Err(Halt::Version { cell: version, known: self.fold_version });
        }
        metrics::counter!("strandline_fold_entries_total").increment(1);
        self.shared.watchers.wake(&folded);
        let own = folded.commits.into_iter().find(|commit| commit.incarnation == self.shared.incarnation && commit.n == self.n);
        let Some(own) = own else { return Ok(()) };
        let Some(packed) = self.unresolved.take() else { return Ok(()) };
        match own.outcomes {
            Some(outcomes) => {
                let now = self.shared.runtime.clock.monotonic();
                self.shared.awaited.note_outcomes(bytes, (self.shared.incarnation, self.n), &outcomes, now);
                packed.resolve(seq, outcomes);
            }
            None => {
                packed.fail(&SubmitError::Stopped);
                return Err(Halt::Gone);
            }
        }
        Ok(())
    }
}

/// Many requests are in flight, some wait already, and what waits is not much by itself.
fn is_worth_gathering(answered: usize, waiting: usize, waiting_bytes: usize) -> bool {
    waiting > 0 && answered + waiting >= limits::COMMIT_GATHER_REQUESTS && waiting_bytes < limits::COMMIT_GATHER_BYTES
}

/// A run under the same address that is not over as far as the index says, and its last n.
fn earlier_run(index: &Index, options: &CellOptions) -> Option<(Incarnation, u64)> {
    let is_ours = |host: &str, port: u32| host == options.join.host && port == u32::from(options.join.port);
    let mut ours = index.slots.values().filter(|slot| is_ours(&slot.host, slot.port)).filter_map(|slot| slot.holder);
    ours.find_map(|holder| Some((holder, index.nodes.get(&holder)?.last_n)))
}

async fn replay(log: &dyn CommitLog, index: &mut Index) -> Result<(), StartError> {
    loop {
        match log.read(index.cell.seq.next(), READ_BYTES).await? {
            Tail::Trimmed { .. } if !holds(Rule::D1) => return Ok(()),
            Tail::Trimmed { floor } => {
                return Err(StartError::Snapshot {
                    key: floor.snapshot.map(|snapshot| snapshot.key).unwrap_or_default(),
                    reason: format!("the log begins at {}, the index ends at {}", floor.seq, index.cell.seq),
                });
            }
            Tail::Rows { rows, head, .. } => {
                let done = rows.is_empty();
                for row in rows {
                    index.fold(row.seq, &row.bytes)?;
                }
                if done || index.cell.seq >= head {
                    return Ok(());
                }
            }
        }
    }
}

fn entry(shared: &Shared, commit: Commit, payload: Payload) -> Result<(Seq, Entry, EntryBody), strandline_commands::EncodeError> {
    let index = shared.index.read().unwrap_or_else(PoisonError::into_inner);
    let body = EntryBody {
        time_ms: shared.runtime.clock.now_ms(),
        hash_before: index.cell.hash.0.to_vec(),
        cell_epoch: index.cell.cell_epoch,
        payload_length: payload.length,
        payload_crc32c: payload.crc32c,
        commits: vec![commit],
    };
    Ok((index.cell.seq.next(), Entry { hash_before: index.cell.hash, bytes: encode(&body)?, payload }, body))
}

fn join_entry(
    runtime: &Runtime,
    index: &Index,
    options: &CellOptions,
    nonce: &[u8],
    fold_version: u32,
) -> Result<Entry, StartError> {
    let mut commands = Vec::new();
    let new_cell = index.cell.cluster_id.is_empty();
    if new_cell {
        commands.push(CreateCell { cluster_id: cluster_id(runtime.random.id()), fold_version }.into());
    }
    let join = Join {
        nonce: nonce.to_vec(),
        host: options.join.host.clone(),
        port: u32::from(options.join.port),
        zone: options.join.zone.clone(),
        roles: options.join.roles.iter().map(|role| *role as i32).collect(),
        fold_version_supported: fold_version,
        sole: options.join.sole,
    };
    commands.push(join.into());
    let body = EntryBody {
        time_ms: runtime.clock.now_ms(),
        hash_before: index.cell.hash.0.to_vec(),
        cell_epoch: if new_cell { 1 } else { index.cell.cell_epoch },
        commits: vec![Commit { commands, ..Commit::default() }],
        ..EntryBody::default()
    };
    let bytes = encode(&body).map_err(|error| StartError::Refused { reason: error.to_string() })?;
    Ok(Entry { hash_before: index.cell.hash, bytes, payload: Payload::default() })
}

/// As Kafka makes them: 16 random bytes in URL-safe base64 without padding.
fn cluster_id(id: [u8; 16]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let value = u128::from_be_bytes(id);
    (0..22_u32)
        .map(|digit| {
            // 22 digits of six bits hold 132: the last one has four bits of padding at its low end.
            let shifted = if digit == 21 { value << 4 } else { value >> (122 - 6 * digit) };
            char::from(ALPHABET[(shifted & 63) as usize])
        })
        .collect()
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

    #[test]
    fn a_cluster_id_is_base64() {
        assert_eq!(cluster_id([0; 16]), "A".repeat(22));
        assert_eq!(cluster_id([0xff; 16]), format!("{}w", "_".repeat(21)));
        assert_eq!(cluster_id(*b"0123456789abcdef"), "MDEyMzQ1Njc4OWFiY2RlZg");
    }
}
