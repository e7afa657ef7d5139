//! What every step works with.

use crate::error::WorkError;
use crate::options::{CompactorOptions, millis};
use crate::sealed::SealedFiles;
use crate::work_memory::WorkMemory;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use strandline_cell::{Cell, Submission, Submitted};
use strandline_commands::{Command, LeaseKind, TakeLease};
use strandline_extents::ExtentReader;
use strandline_index::{Outcome, Topic};
use strandline_object_store::Objects;
use strandline_segment_index::SegmentIndex;
use strandline_types::{LeaseNumber, Seq, TopicId};

/// Of a lease, in the index.
pub(crate) fn lease_key(kind: LeaseKind, scope: &[u8]) -> (i32, Vec<u8>) {
    (kind as i32, scope.to_vec())
}

/// The parts, shared by all steps.
pub(crate) struct Shared {
    pub options: CompactorOptions,
    pub cell: Cell,
    pub objects: Objects,
    pub segment_index: Arc<dyn SegmentIndex>,
    pub extents: ExtentReader,
    /// Conversions do not run.
    pub conversion_paused: std::sync::atomic::AtomicBool,
    /// Time of day and steady time when this node began.
    began_ms: (i64, i64),
    /// What conversions, merges and seals may hold, all together.
    pub work_memory: WorkMemory,
    memory: Mutex<Memory>,
    /// Log copies are made one at a time.
    pub copying: tokio::sync::Mutex<()>,
    /// Snapshots are taken one at a time: a second fold agrees to the newest one only.
    pub snapshotting: tokio::sync::Mutex<()>,
    /// A seal is planned and completed by one task at a time.
    pub sealing: tokio::sync::Mutex<()>,
    /// Conversions are planned and committed one at a time.
    pub converting: tokio::sync::Mutex<()>,
    /// Manifests are written by one task at a time, so that none gives way to an older one.
    pub manifests: tokio::sync::Mutex<()>,
}

/// What is remembered between steps and may be forgotten at any time: a restart begins without it.
#[derive(Default)]
pub(crate) struct Memory {
    /// Sealed files per topic, as the segment index lists them.
    pub sealed: BTreeMap<TopicId, Arc<SealedFiles>>,
    /// Per topic, which of this run's changes to the segment index was its last.
    pub sealed_changed: BTreeMap<TopicId, u64>,
    /// Changes of this run to the segment index.
    pub sealed_changes: u64,
    /// Per topic, how often dropped files were marked in what is remembered.
    pub dropped_marked: BTreeMap<TopicId, u64>,
    /// Those that were dropped up to here are marked.
    pub dropped_up_to: Seq,
    /// Per topic, the boundary of time that its seals were last held against.
    pub seal_boundaries: BTreeMap<TopicId, i64>,
    /// Per topic, since when this node has seen fresh files all the time and sealed none of them, by the time that only goes forward.
    pub unsealed_since: BTreeMap<TopicId, i64>,
    /// Per topic, what its manifests say.
    pub manifests: BTreeMap<TopicId, crate::manifest::Written>,
    /// Extents that could not be read.
    pub unreadable: crate::convert::unreadable::Unreadable,
    /// Entries up to here were looked at for the log's copy; none after the last copy that is worth one lies below.
    pub inspected: Seq,
    /// Bytes of log, payloads included, since the last snapshot, as far as this node has read them.
    pub log_bytes: u64,
    /// Size of the snapshot that this run took last; 0 before it.
    pub snapshot_bytes: u64,
    /// (time, seq): what was folded when, by the time that only goes forward; for horizons and graces.
    pub folded_at: std::collections::VecDeque<(i64, Seq)>,
    /// Conversions that this run has begun.
    pub conversions: u64,
    /// Per topic, which of them was its last.
    pub conversions_begun: BTreeMap<TopicId, u64>,
    /// Deleted topics whose objects were deleted once by this run.
    pub emptied: BTreeMap<TopicId, i64>,
    /// The horizon that the last search for orphans went up to.
    pub orphans_below: Seq,
}

impl Memory {
    /// Whether what is being read of a topic's rows still counts: with other marks the garbage list or this run's changes went on.
    pub fn sealed_marks(&self, topic_id: TopicId) -> (Option<u64>, Option<u64>) {
        (self.sealed_changed.get(&topic_id).copied(), self.dropped_marked.get(&topic_id).copied())
    }

    /// Rows of the topic were written or removed.
    pub fn sealed_has_changed(&mut self, topic_id: TopicId) {
        self.sealed_changes += 1;
        self.sealed_changed.insert(topic_id, self.sealed_changes);
    }

    /// A conversion of the topic begins.
    pub fn conversion_begins(&mut self, topic_id: TopicId) {
        self.conversions += 1;
        self.conversions_begun.insert(topic_id, self.conversions);
    }
}

impl Shared {
    pub fn new(
        options: CompactorOptions,
        cell: Cell,
        objects: Objects,
        segment_index: Arc<dyn SegmentIndex>,
        extents: ExtentReader,
    ) -> Self {
        Self {
            conversion_paused: std::sync::atomic::AtomicBool::new(options.conversion_paused),
            options,
            began_ms: {
                let clock = &cell.runtime().clock;
                (clock.now_ms(), millis(clock.monotonic()))
            },
            cell,
            objects,
            segment_index,
            extents,
            work_memory: WorkMemory::default(),
            memory: Mutex::default(),
            copying: tokio::sync::Mutex::default(),
            snapshotting: tokio::sync::Mutex::default(),
            sealing: tokio::sync::Mutex::default(),
            converting: tokio::sync::Mutex::default(),
            manifests: tokio::sync::Mutex::default(),
        }
    }

    /// What is remembered; never held across an await.
    pub fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time of day: what is old goes by it. Not by the log's time, which stays ahead for as long as a clock once was: that would
    /// take what is young.
    pub fn now_ms(&self) -> i64 {
        self.cell.runtime().clock.now_ms()
    }

    /// The time of day, but never further than this node has run since its start: a step of the clock ends no grace.
    pub fn unhurried_ms(&self) -> i64 {
        let (now_ms, steady_ms) = self.began_ms;
        self.now_ms().min(now_ms.saturating_add(self.steady_ms().saturating_sub(steady_ms)))
    }

    /// The time that only goes forward, in milliseconds: what waits and retries go by, so that a clock that was wrong for a
    /// while does not put them off.
    pub fn steady_ms(&self) -> i64 {
        millis(self.cell.runtime().clock.monotonic())
    }

    /// The topic as it is now.
    pub fn topic(&self, id: TopicId) -> Option<Arc<Topic>> {
        self.cell.view().topics.get(&id).cloned()
    }

    /// Every topic's id.
    pub fn topic_ids(&self) -> Vec<TopicId> {
        self.cell.view().topics.keys().copied().collect()
    }

    /// The lease for this work, taken if nobody has it. A lease lives as long as its holder's run.
    pub async fn lease(&self, kind: LeaseKind, scope: &[u8]) -> Result<LeaseNumber, WorkError> {
        let key = lease_key(kind, scope);
        let replaces = {
            let view = self.cell.view();
            match view.leases.get(&key) {
                Some(lease) if lease.holder == self.cell.incarnation() => return Ok(lease.number),
                Some(lease) if view.nodes.contains_key(&lease.holder) => return Err(WorkError::LeaseElsewhere),
                Some(lease) => lease.number.0,
                None => 0,
            }
        };
        let (kind, scope) = key;
        let command = TakeLease { kind, scope, replaces };
        match self.commit_one(command).await?.0 {
            Outcome::Leased(number) => Ok(number),
            _ => Err(WorkError::Outcome { command: "TakeLease" }),
        }
    }

    /// Commits one command; its outcome, if it is not a refusal.
    pub async fn commit_one(&self, command: impl Into<Command>) -> Result<(Outcome, Seq), WorkError> {
        self.commit(Submission::one(command)).await
    }

    /// Commits; the first command's outcome, if it is not a refusal.
    pub async fn commit(&self, submission: Submission) -> Result<(Outcome, Seq), WorkError> {
        let Submitted { seq, outcomes } = self.cell.submit(submission).await?;
        match outcomes.into_iter().next() {
            Some(Outcome::Refused(refusal)) => Err(refusal.into()),
            Some(outcome) => Ok((outcome, seq)),
            None => Err(WorkError::Outcome { command: "a commit" }),
        }
    }
}
