//! What everything in a run shares: the truth about the log, the history, and the first thing that went wrong.

use crate::gauges::Gauges;
use crate::happenings::{Happened, Happening};
use crate::ledger::Ledger;
use crate::mutation::Mutation;
use crate::oracle::Oracle;
use crate::trace::Trace;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use strandline_commit_log::MemoryCommitLog;
use strandline_runtime::{Clock, Runtime};
use strandline_segment_index::MemorySegmentIndex;

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Shared by the stores and the world.
pub(crate) struct Core {
    pub runtime: Runtime,
    pub log: MemoryCommitLog,
    pub segment_index: MemorySegmentIndex,
    pub mutation: Option<Mutation>,
    pub gauges: Gauges,
    oracle: Mutex<Oracle>,
    ledger: Mutex<Ledger>,
    trace: Mutex<Trace>,
    failure: Mutex<Option<String>>,
    calm: AtomicBool,
    /// What clients had answered while things went wrong: records acknowledged, answers with records.
    at_work: [AtomicU64; 2],
    /// What went wrong, and what was done, until all was quiet.
    happened: Happened,
    /// Trims that wait for their time: (when asked, below).
    pub trims: Mutex<std::collections::VecDeque<(Duration, strandline_types::Seq)>>,
    /// Bytes of torn frames that were cut off as logs were opened.
    pub torn_bytes: AtomicU64,
    /// How the disk comes back the next time, if a script says so.
    pub crash: Mutex<Option<strandline_commit_log::disk::Crash>>,
    /// Ends of the log: (when, where), for a log whose entries expire.
    pub heads: Mutex<std::collections::VecDeque<(Duration, strandline_types::Seq)>>,
}

impl Core {
    pub fn new(runtime: Runtime, log: MemoryCommitLog, mutation: Option<Mutation>, gauges: Gauges) -> Arc<Self> {
        Arc::new(Self {
            runtime,
            log,
            segment_index: MemorySegmentIndex::new(),
            mutation,
            gauges,
            oracle: Mutex::default(),
            ledger: Mutex::default(),
            trace: Mutex::new(Trace::new()),
            failure: Mutex::default(),
            calm: AtomicBool::new(false),
            at_work: Default::default(),
            happened: Happened::default(),
            trims: Mutex::default(),
            torn_bytes: Default::default(),
            crash: Mutex::default(),
            heads: Mutex::default(),
        })
    }

    /// No more faults from now on. What is in the log by now was done while things went wrong.
    pub fn calm_down(&self) {
        let (by_age, by_size) = self.oracle().retention.moves;
        self.happened.add(Happening::MovesByAge, by_age);
        self.happened.add(Happening::MovesBySize, by_size);
        self.calm.store(true, Ordering::Relaxed);
    }

    pub fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    fn count_at_work(&self, what: usize, more: u64) {
        if !self.is_calm() {
            self.at_work[what].fetch_add(more, Ordering::Relaxed);
        }
    }

    /// Counts this, unless all is quiet: what checks do by themselves shows nothing.
    pub fn count(&self, what: Happening) {
        if !self.is_calm() {
            self.happened.add(what, 1);
        }
    }

    /// How often what has happened, by its words.
    pub fn happened(&self) -> BTreeMap<&'static str, u64> {
        self.happened.counts()
    }

    /// A client was told that so many records are there.
    pub fn has_acked(&self, records: usize) {
        self.count_at_work(0, records as u64);
    }

    /// A client was given records.
    pub fn has_read(&self) {
        self.count_at_work(1, 1);
    }

    /// Records acknowledged and answers with records, until all was quiet.
    pub fn at_work(&self) -> (u64, u64) {
        let [acked, read] = &self.at_work;
        (acked.load(Ordering::Relaxed), read.load(Ordering::Relaxed))
    }

    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.runtime.clock
    }

    pub fn mutated(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    pub fn trace(&self, line: impl AsRef<str>) {
        locked(&self.trace).push(self.runtime.clock.monotonic().as_millis(), line.as_ref());
    }

    pub fn last_lines(&self, lines: usize) -> String {
        locked(&self.trace).last(lines)
    }

    pub fn digest(&self) -> (u64, u64) {
        locked(&self.trace).digest()
    }

    /// The run is over: this must never be. Only the first one counts.
    pub fn fail(&self, what: impl Into<String>) {
        let what = what.into();
        self.trace(format!("VIOLATION {what}"));
        locked(&self.failure).get_or_insert(what);
    }

    pub fn failure(&self) -> Option<String> {
        locked(&self.failure).clone()
    }

    pub fn has_failed(&self) -> bool {
        locked(&self.failure).is_some()
    }

    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        locked(&self.ledger)
    }

    /// The oracle, having folded all that is in the log.
    pub fn oracle(&self) -> MutexGuard<'_, Oracle> {
        let mut oracle = locked(&self.oracle);
        oracle.retention.set_now(self.clock().now_ms());
        if let Err(what) = oracle.catch_up(&self.log) {
            self.fail(what);
        }
        oracle.steps.take().into_iter().for_each(|step| self.count(step));
        oracle
    }
}
