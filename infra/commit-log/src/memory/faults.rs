//! Faults to order, per handle.

use crate::{AppendError, Entry};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use strandline_runtime::Random;
use strandline_types::Seq;
use tokio::sync::watch;

/// Makes the entry of another writer, which takes the seq before ours does. Given our seq and entry, so that
/// it can carry the same hash before.
pub type Rival = Arc<dyn Fn(Seq, &Entry) -> Entry + Send + Sync>;

/// What goes wrong with one append.
#[derive(Clone)]
pub enum AppendFault {
    /// Not written, and the caller knows.
    Unavailable,
    /// Not written; the caller hears `Full`.
    Full,
    /// Not written; this and every later append of the handle is `Fatal`.
    Fatal,
    /// Not written; the caller hears `Ambiguous`.
    AmbiguousBefore,
    /// Written; the caller hears `Ambiguous`.
    AmbiguousAfter,
    /// Written; the caller waits this long and hears `Ambiguous`.
    LostReply(Duration),
    /// The caller hears `Ambiguous` after `reply`; the request lands after `land`, which may be later.
    Late {
        /// How long the caller waits.
        reply: Duration,
        /// When the store gets the request.
        land: Duration,
    },
    /// Goes well, and the same request lands once more after this time.
    Twice(Duration),
    /// Another writer takes the seq first.
    Rival(Rival),
}

/// What goes wrong with one read (of rows, a payload or the floor).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadFault {
    /// `Unavailable`.
    Unavailable,
    /// Begins this much later.
    Delayed(Duration),
}

/// A delay drawn evenly between two durations; none by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Delay {
    /// The shortest.
    pub from: Duration,
    /// The longest.
    pub to: Duration,
}

impl Delay {
    /// Always the same delay.
    pub const fn always(delay: Duration) -> Self {
        Self { from: delay, to: delay }
    }

    pub(super) fn draw(self, random: &dyn Random) -> Option<Duration> {
        if self.to.is_zero() {
            return None;
        }
        let spread = u64::try_from(self.to.saturating_sub(self.from).as_micros()).unwrap_or(u64::MAX);
        Some(self.from + Duration::from_micros(random.below(spread.saturating_add(1))))
    }
}

/// How long things take, on the log's clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Delays {
    /// From the call until the store has the entry.
    pub before_append: Delay,
    /// From there until the caller hears.
    pub after_append: Delay,
    /// Inside a read, between the rows and the floor.
    pub between_rows_and_floor: Delay,
}

/// How often each fault happens by chance, of 10,000 calls. Drawn from the log's own random numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FaultRates {
    /// [`AppendFault::Unavailable`].
    pub unavailable: u64,
    /// [`AppendFault::AmbiguousBefore`].
    pub ambiguous_before: u64,
    /// [`AppendFault::AmbiguousAfter`].
    pub ambiguous_after: u64,
    /// [`AppendFault::Late`], landing after at most `late_by`.
    pub late: u64,
    /// The longest that a late request and its reply take, each.
    pub late_by: Duration,
    /// [`ReadFault::Unavailable`].
    pub read_unavailable: u64,
}

impl FaultRates {
    fn append_fault(&self, random: &dyn Random) -> Option<AppendFault> {
        if self.unavailable + self.ambiguous_before + self.ambiguous_after + self.late == 0 {
            return None;
        }
        let draw = random.below(10_000);
        let mut below = 0;
        let mut hits = |rate: u64| {
            below += rate;
            draw < below
        };
        if hits(self.unavailable) {
            return Some(AppendFault::Unavailable);
        }
        if hits(self.ambiguous_before) {
            return Some(AppendFault::AmbiguousBefore);
        }
        if hits(self.ambiguous_after) {
            return Some(AppendFault::AmbiguousAfter);
        }
        if hits(self.late) {
            let delay = Delay { from: Duration::from_micros(1), to: self.late_by };
            let time = || delay.draw(random).unwrap_or_default();
            return Some(AppendFault::Late { reply: time(), land: time() });
        }
        None
    }
}

#[derive(Default)]
struct Plan {
    appends: u64,
    reads: u64,
    append_faults: BTreeMap<u64, AppendFault>,
    read_faults: BTreeMap<u64, ReadFault>,
    rates: FaultRates,
    delays: Delays,
    full: bool,
    reads_down: bool,
    payloads_fail_checksum: bool,
    fatal: bool,
    closed: bool,
}

/// One node's end of a memory log.
pub(super) struct Handle {
    plan: Mutex<Plan>,
    paused: watch::Sender<bool>,
}

impl Default for Handle {
    fn default() -> Self {
        Self { plan: Mutex::default(), paused: watch::Sender::new(false) }
    }
}

impl Handle {
    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn running(&self) {
        // The sender lives as long as `self`: the wait cannot fail.
        let _ = self.paused.subscribe().wait_for(|paused| !paused).await;
    }

    pub(super) fn delays(&self) -> Delays {
        self.plan().delays
    }

    pub(super) fn is_full(&self) -> bool {
        self.plan().full
    }

    pub(super) fn close(&self) {
        self.plan().closed = true;
    }

    pub(super) fn set_fatal(&self) {
        self.plan().fatal = true;
    }

    /// Counts an append and says what shall go wrong with it.
    pub(super) fn next_append(&self, has_payload: bool, random: &dyn Random) -> Result<Option<AppendFault>, AppendError> {
        let mut plan = self.plan();
        if plan.closed {
            return Err(AppendError::Unavailable { reason: "this log was closed".into() });
        }
        if plan.fatal {
            return Err(AppendError::Fatal { reason: "an earlier append was fatal".into() });
        }
        plan.appends += 1;
        if plan.full && has_payload {
            return Ok(Some(AppendFault::Full));
        }
        let nth = plan.appends;
        Ok(plan.append_faults.remove(&nth).or_else(|| plan.rates.append_fault(random)))
    }

    pub(super) fn payloads_fail_checksum(&self) -> bool {
        self.plan().payloads_fail_checksum
    }

    pub(super) fn next_read(&self, random: &dyn Random) -> Option<ReadFault> {
        let mut plan = self.plan();
        plan.reads += 1;
        let nth = plan.reads;
        if plan.reads_down {
            return Some(ReadFault::Unavailable);
        }
        plan.read_faults.remove(&nth).or_else(|| {
            let rate = plan.rates.read_unavailable;
            (rate > 0 && random.below(10_000) < rate).then_some(ReadFault::Unavailable)
        })
    }
}

/// Orders faults for one handle of a [`super::MemoryCommitLog`]. Cheap to clone.
#[derive(Clone)]
pub struct Faults(Arc<Handle>);

impl Faults {
    pub(super) fn new(handle: Arc<Handle>) -> Self {
        Self(handle)
    }

    /// The `nth` append from now on (1 is the next) goes wrong.
    pub fn on_append(&self, nth: u64, fault: AppendFault) {
        let mut plan = self.0.plan();
        let at = plan.appends + nth;
        plan.append_faults.insert(at, fault);
    }

    /// The next `count` appends each find another writer's entry at their seq.
    pub fn conflict_storm(&self, count: u64, rival: Rival) {
        for nth in 1..=count {
            self.on_append(nth, AppendFault::Rival(rival.clone()));
        }
    }

    /// The `nth` read from now on (1 is the next) goes wrong.
    pub fn on_read(&self, nth: u64, fault: ReadFault) {
        let mut plan = self.0.plan();
        let at = plan.reads + nth;
        plan.read_faults.insert(at, fault);
    }

    /// Nothing that was ordered for an append or a read to come goes wrong any more.
    pub fn forget_orders(&self) {
        let mut plan = self.0.plan();
        plan.append_faults.clear();
        plan.read_faults.clear();
    }

    /// While set, no read succeeds.
    pub fn set_reads_down(&self, down: bool) {
        self.0.plan().reads_down = down;
    }

    /// While set, reads of a whole payload answer `Corrupt`, as those of the embedded log do where a byte of it is wrong.
    pub fn set_payloads_fail_checksum(&self, fail: bool) {
        self.0.plan().payloads_fail_checksum = fail;
    }

    /// While set, there is no room: entries with a payload are refused as `Full`; small ones go on.
    pub fn set_full(&self, full: bool) {
        self.0.plan().full = full;
    }

    /// Faults by chance.
    pub fn set_rates(&self, rates: FaultRates) {
        self.0.plan().rates = rates;
    }

    /// Delays on the log's clock.
    pub fn set_delays(&self, delays: Delays) {
        self.0.plan().delays = delays;
    }

    /// Stops the node: calls begin, and answers arrive, only after [`Faults::resume`]. What has reached the
    /// store by then takes effect all the same.
    pub fn pause(&self) {
        self.0.paused.send_replace(true);
    }

    /// Lets the node go on.
    pub fn resume(&self) {
        self.0.paused.send_replace(false);
    }

    /// How many appends were begun.
    pub fn appends(&self) -> u64 {
        self.0.plan().appends
    }

    /// How many reads were begun.
    pub fn reads(&self) -> u64 {
        self.0.plan().reads
    }
}
