//! What roles see of the cell.

use crate::awaited::{Awaited, Sequence};
use crate::beside::Beside;
use crate::driver::{Driver, Request};
use crate::recent::Recent;
use crate::watch::{Watch, Watchers};
use bytes::Bytes;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;
use strandline_commands::{Batch, Command, CommandKind, NewObject, Role};
use strandline_commit_log::CommitLog;
use strandline_index::{FOLD_VERSION, Index, Outcome};
use strandline_runtime::{Held, Runtime};
use strandline_types::mutations::{Rule, holds};
use strandline_types::{Incarnation, NodeId, ObjectName, Seq, TopicPartition, limits};
use tokio::sync::{Semaphore, oneshot};
use tokio_util::sync::CancellationToken;

/// Commands that belong together, with the bytes and objects that they speak of. Positions of inline runs count from
/// the start of this submission's payload, object numbers from 1 in this submission's objects; packing moves them.
#[derive(Debug, Default)]
pub struct Submission {
    /// The commands, in order.
    pub commands: Vec<Command>,
    /// What rides inline. It stays in memory for a while after it was committed: what the chunks are slices of must not be much larger
    /// than they are together.
    pub payload: Vec<Bytes>,
    /// Objects that were PUT for it.
    pub objects: Vec<NewObject>,
}

/// A submission takes so much beside its commands and bytes.
const SUBMISSION_OVERHEAD_BYTES: usize = 64;

impl From<Command> for Submission {
    fn from(command: Command) -> Self {
        Self { commands: vec![command], ..Self::default() }
    }
}

impl Submission {
    /// One command, no bytes.
    pub fn one(command: impl Into<Command>) -> Self {
        command.into().into()
    }

    /// What rides inline of it.
    pub(crate) fn payload_bytes(&self) -> usize {
        self.payload.iter().map(Bytes::len).sum()
    }

    /// Has batches for the log, inline or in an object.
    pub(crate) fn produces(&self) -> bool {
        self.commands.iter().any(|command| matches!(command.kind, Some(CommandKind::Produce(_))))
    }

    /// After it the fold may take what it has refused before.
    pub(crate) fn makes_room(&self) -> bool {
        self.commands.iter().any(|command| {
            matches!(
                command.kind,
                Some(
                    CommandKind::Convert(_)
                        | CommandKind::SealExtents(_)
                        | CommandKind::Sealed(_)
                        | CommandKind::MoveLogStart(_)
                        | CommandKind::DeleteTopic(_)
                        | CommandKind::CollectGarbage(_)
                        | CommandKind::Lost(_)
                )
            )
        })
    }

    /// What its commands take in an entry. Goes through all of them: not to be asked for again and again.
    fn command_bytes(&self) -> usize {
        self.commands.iter().map(strandline_commands::command_bytes).sum()
    }
}

/// What became of a submission.
#[derive(Debug, Clone)]
pub struct Submitted {
    /// The entry it is in.
    pub seq: Seq,
    /// Per command, in order.
    pub outcomes: Vec<Outcome>,
}

/// Why a submission has no outcome.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SubmitError {
    /// Surely not committed: the queue stayed full for too long.
    #[error("the commit queue stayed full")]
    QueueFull,
    /// Surely not committed: the log has no room.
    #[error("no room for the log: {reason}")]
    Full {
        /// What happened.
        reason: String,
    },
    /// Surely not committed: the submission is larger than an entry may be.
    #[error("the commands are larger than one entry may be")]
    TooLarge,
    /// The outcome is in doubt: it may be committed later.
    #[error("the outcome is not known yet")]
    InDoubt,
    /// The node stops; whether it was committed is not known.
    #[error("the node is stopping")]
    Stopped,
}

/// Why a barrier could not be waited for.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BarrierError {
    /// The log could not be read.
    #[error("the commit log could not be read in time")]
    Unavailable,
    /// The node stops.
    #[error("the node is stopping")]
    Stopped,
}

/// Why a node could not join its cell.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The log could not be read.
    #[error(transparent)]
    Read(#[from] strandline_commit_log::ReadError),
    /// The log could not be appended to.
    #[error(transparent)]
    Append(#[from] strandline_commit_log::AppendError),
    /// The log cannot be folded.
    #[error(transparent)]
    Fold(#[from] strandline_index::FoldError),
    /// The snapshot that the floor names is not here, or is not what it should be.
    #[error("the snapshot {key} cannot be used: {reason}")]
    Snapshot {
        /// Its key.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// The machine's clock lies behind the log's.
    #[error(
        "this machine's clock is {behind_ms} ms behind the last entry of the log: set the clock, or start once with --accept-clock if the log's time was wrong"
    )]
    Clock {
        /// By how much.
        behind_ms: i64,
    },
    /// The log ends before the snapshot that the index comes from: it has lost its end.
    #[error(
        "the log goes on with entry {next}, but the snapshot holds all up to {index}: the end of the log is lost; move commit-log/ aside and run `strandline index rebuild --data DIR`"
    )]
    Cut {
        /// The next seq of the log.
        next: Seq,
        /// The last one that the index holds.
        index: Seq,
    },
    /// The system gives no thread.
    #[error("no thread for the cell: {error}")]
    Thread {
        /// What the system says.
        error: std::io::Error,
    },
    /// The join was refused by the fold.
    #[error("the node could not join its cell: {reason}")]
    Refused {
        /// Why.
        reason: String,
    },
}

/// How this node joins.
#[derive(Debug, Clone)]
pub struct JoinAs {
    /// The name that clients are told.
    pub host: String,
    /// The port that clients are told.
    pub port: u16,
    /// The zone; empty where zones do not matter.
    pub zone: String,
    /// What the node does.
    pub roles: Vec<Role>,
    /// The node holds the lock of an embedded log: all earlier incarnations are dead.
    pub sole: bool,
}

/// Settings of the cell.
#[derive(Debug, Clone)]
pub struct CellOptions {
    /// How this node joins.
    pub join: JoinAs,
    /// Go on although the clock is behind the log's time.
    pub accept_clock: bool,
    /// How often the log is read when nobody nudges; a sole node need not.
    pub poll: Duration,
}

/// The handle. Cheap to clone.
#[derive(Clone)]
pub struct Cell {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) runtime: Runtime,
    pub(crate) log: Arc<dyn CommitLog>,
    pub(crate) index: RwLock<Index>,
    pub(crate) watchers: Arc<Watchers>,
    pub(crate) requests: tokio::sync::mpsc::Sender<Request>,
    pub(crate) queue: Arc<Semaphore>,
    pub(crate) incarnation: Incarnation,
    pub(crate) node_id: NodeId,
    pub(crate) objects_named: AtomicU64,
    pub(crate) stopped: CancellationToken,
    pub(crate) no_room: AtomicBool,
    /// Batches that were refused and come again.
    pub(crate) awaited: Awaited<TopicPartition>,
    pub(crate) sole: bool,
    pub(crate) recent: Recent,
    pub(crate) beside: Arc<Beside>,
}

pub(crate) struct Queued {
    pub(crate) submission: Submission,
    /// Of its commands, as the entry will have them.
    pub(crate) command_bytes: usize,
    pub(crate) reply: oneshot::Sender<Result<Submitted, SubmitError>>,
    pub(crate) _room: Held,
}

/// Where the outcome of a submission will come.
pub type Reply = oneshot::Receiver<Result<Submitted, SubmitError>>;

impl Cell {
    /// Starts from `index` (folded from a snapshot, or empty), replays the log's tail, joins, and drives.
    pub async fn start(
        runtime: Runtime,
        log: Arc<dyn CommitLog>,
        index: Index,
        options: CellOptions,
    ) -> Result<Self, StartError> {
        Driver::start(runtime, log, index, options, FOLD_VERSION).await
    }

    /// The same as a build would that folds by the rules up to `fold_version` only: for simulations of upgrades.
    pub async fn start_as_of(
        runtime: Runtime,
        log: Arc<dyn CommitLog>,
        index: Index,
        options: CellOptions,
        fold_version: u32,
    ) -> Result<Self, StartError> {
        Driver::start(runtime, log, index, options, fold_version).await
    }

    /// The index as this node has folded it. Hold it briefly and never across an await: the fold waits for it.
    pub fn view(&self) -> RwLockReadGuard<'_, Index> {
        self.shared.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Places on the thread on which this cell's log is written.
    pub fn beside(&self) -> &Arc<Beside> {
        &self.shared.beside
    }

    /// The last entry folded.
    pub fn seq(&self) -> Seq {
        self.view().cell.seq
    }

    /// This node's run.
    pub fn incarnation(&self) -> Incarnation {
        self.shared.incarnation
    }

    /// This node's Kafka id.
    pub fn node_id(&self) -> NodeId {
        self.shared.node_id
    }

    /// Whether no other node can be in the cell.
    pub fn is_sole(&self) -> bool {
        self.shared.sole
    }

    /// The commit log, for payloads and for the floor.
    pub fn log(&self) -> &Arc<dyn CommitLog> {
        &self.shared.log
    }

    /// Time, randomness, tasks.
    pub fn runtime(&self) -> &Runtime {
        &self.shared.runtime
    }

    /// A name that no object ever had (I8): call it when the PUT is about to begin.
    pub fn name_object(&self) -> ObjectName {
        let n = self.shared.objects_named.fetch_add(u64::from(holds(Rule::B6)), Ordering::Relaxed) + 1;
        ObjectName { seq: self.seq(), incarnation: self.incarnation(), n }
    }

    /// Commits, and waits for the outcome that the fold gives. Waits for room in the queue first, at most
    /// [`limits::REQUEST_WAIT`]; a submission whose caller stops waiting may still be committed.
    pub async fn submit(&self, submission: Submission) -> Result<Submitted, SubmitError> {
        let reply = self.enqueue(submission).await?;
        match tokio::time::timeout(limits::REQUEST_WAIT, reply).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(SubmitError::Stopped),
            Err(_) => Err(SubmitError::InDoubt),
        }
    }

    /// The bytes at `range` of the payload of entry `at`, if this node appended it lately: the write-ahead cache's newest
    /// part, as the chunks in which producers sent them. None means: read the log.
    pub fn recent_payload(&self, at: Seq, range: std::ops::Range<u64>) -> Option<Vec<Bytes>> {
        self.shared.recent.get(at, range)
    }

    /// Puts a submission into the queue, in the order of the calls, and gives the place where its outcome will come. Waits for room at
    /// most [`limits::REQUEST_WAIT`].
    pub async fn enqueue(&self, submission: Submission) -> Result<Reply, SubmitError> {
        self.enqueue_until(submission, self.runtime().clock.monotonic() + limits::REQUEST_WAIT).await
    }

    /// The same, for who has waited before: it gives up at that time of the clock that only goes forward.
    pub async fn enqueue_until(&self, submission: Submission, deadline: Duration) -> Result<Reply, SubmitError> {
        let commands = submission.command_bytes();
        // Roughly what it takes in memory and in the log.
        let bytes = submission.payload_bytes() + commands + SUBMISSION_OVERHEAD_BYTES;
        let objects: usize = submission.objects.iter().map(|object| object.path.len() + 32).sum();
        let too_large = bytes > limits::ENTRY_PAYLOAD_BYTES || commands + objects > limits::SUBMISSION_COMMAND_BYTES;
        if too_large || submission.commands.len() > limits::ENTRY_COMMANDS {
            return Err(SubmitError::TooLarge);
        }
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        // The queue is bounded in bytes and in submissions: while the log stands still either may be full.
        let enqueue = async {
            let room = self.shared.queue.clone().acquire_many_owned(permits).await.map_err(|_| SubmitError::Stopped)?;
            let room = Held::new(room, metrics::gauge!("strandline_commit_queue_bytes"));
            let (reply, receiver) = oneshot::channel();
            let queued = Queued { submission, command_bytes: commands, reply, _room: room };
            self.shared.requests.send(Request::Submit(queued)).await.map_err(|_| SubmitError::Stopped)?;
            Ok(receiver)
        };
        let wait = deadline.saturating_sub(self.runtime().clock.monotonic());
        tokio::time::timeout(wait, enqueue).await.map_err(|_| SubmitError::QueueFull)?
    }

    /// A batch for this partition was refused before it was submitted, and comes again: until it has, what its producer sent behind it is
    /// refused, unless the partition knows the producer. (What this cell refuses it knows by itself.)
    pub fn await_again(&self, partition: TopicPartition, batch: &Batch) {
        if let Some(sequence) = Sequence::of(batch) {
            self.shared.awaited.note(partition, sequence, self.runtime().clock.monotonic());
        }
    }

    /// Whether a batch for this partition would be refused: it was sent behind one that was refused and has not come again.
    pub fn holds_up(&self, partition: TopicPartition, sequence: Sequence) -> bool {
        if self.shared.awaited.is_quiet() {
            return false;
        }
        let now = self.runtime().clock.monotonic();
        self.shared.awaited.holds_up(|| partition, sequence, now, |_| false)
            && !self.view().knows_producer(partition, sequence.producer_id())
    }

    /// A batch that may be awaited was refused for good: nothing waits for it any more.
    pub fn await_no_more(&self, partition: TopicPartition, sequence: Sequence) {
        self.shared.awaited.forget(|| partition, sequence);
    }

    /// Waits until the index holds everything that was in the log when this was called. Needed before a client is told
    /// 'no', 'end' or 'last'. On a sole node that is at once.
    pub async fn barrier(&self) -> Result<(), BarrierError> {
        if self.shared.sole {
            // Nobody else appends, and what this node appended is folded before anyone hears of it.
            return if self.is_stopped() { Err(BarrierError::Stopped) } else { Ok(()) };
        }
        let (reply, receiver) = oneshot::channel();
        let asked = async {
            self.shared.requests.send(Request::Barrier(reply)).await.map_err(|_| BarrierError::Stopped)?;
            receiver.await.map_err(|_| BarrierError::Stopped)?
        };
        tokio::time::timeout(limits::REQUEST_WAIT, asked).await.map_err(|_| BarrierError::Unavailable)?
    }

    /// A wait for changes of these partitions: new records, a log start that moved, a deletion.
    pub fn watch(&self, partitions: Vec<strandline_types::TopicPartition>) -> Watch {
        self.shared.watchers.watch(partitions)
    }

    /// A wait for any change.
    pub fn watch_everything(&self) -> Watch {
        self.shared.watchers.watch_everything()
    }

    /// The log has refused an entry for lack of room, and none has succeeded since.
    pub fn out_of_room(&self) -> bool {
        self.shared.no_room.load(Ordering::Relaxed)
    }

    /// Resolves when the cell can no longer be served (fatal error, trimmed under this node, or stopped): close client
    /// connections unanswered.
    pub async fn stopped(&self) {
        self.shared.stopped.cancelled().await;
    }

    /// Whether the cell can no longer be served.
    pub fn is_stopped(&self) -> bool {
        self.shared.stopped.is_cancelled()
    }

    /// Commits what is queued and a `Leave`, and closes the log, so that the next start has nothing to recover.
    pub async fn stop(&self) {
        let (reply, receiver) = oneshot::channel();
        let stopped = async {
            if self.shared.requests.send(Request::Stop(reply)).await.is_ok() {
                let _ = receiver.await;
            }
        };
        let _ = tokio::time::timeout(limits::SHUTDOWN, stopped).await;
    }
}
