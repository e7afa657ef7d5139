//! The commit log of tests and simulations: in memory, shared by several nodes, with faults to order.
//!
//! Every node gets a handle of its own ([`MemoryCommitLog::for_node`]); faults, pauses and delays belong to
//! the handle, the entries to all. Late requests land on the runtime that the log was made with, so that they
//! outlive the node that sent them, as they do on a network.

mod faults;
mod shared;

pub use faults::{AppendFault, Delay, Delays, FaultRates, Faults, ReadFault, Rival};
pub use shared::Semantics;

use crate::{AppendError, CommitLog, Entry, Floor, FloorError, ReadError, Tail, TrimError};
use async_trait::async_trait;
use bytes::Bytes;
use faults::Handle;
use shared::Shared;
use std::ops::Range;
use std::sync::Arc;
use strandline_runtime::Runtime;
use strandline_types::Seq;
use strandline_types::mutations::{Rule, holds};

/// A log in memory. A clone is the same handle; [`MemoryCommitLog::for_node`] makes another one.
#[derive(Clone)]
pub struct MemoryCommitLog {
    shared: Arc<Shared>,
    handle: Arc<Handle>,
    runtime: Runtime,
    takes_any_payload: bool,
    tells_time: bool,
}

impl MemoryCommitLog {
    /// An empty log whose appends must be at the next seq, and which takes payloads of any size.
    pub fn new(runtime: Runtime) -> Self {
        Self::with_semantics(runtime, Semantics::Checked)
    }

    /// An empty log that treats seqs as told.
    pub fn with_semantics(runtime: Runtime, semantics: Semantics) -> Self {
        Self {
            shared: Arc::new(Shared::new(semantics)),
            handle: Arc::default(),
            runtime,
            takes_any_payload: true,
            tells_time: false,
        }
    }

    /// Whether payloads of any size ride inline, or small ones only.
    #[must_use]
    pub fn taking_any_payload(mut self, takes_any_payload: bool) -> Self {
        self.takes_any_payload = takes_any_payload;
        self
    }

    /// Whether reads tell the store's time of day (of the clock that the log was made with).
    #[must_use]
    pub fn telling_time(mut self, tells_time: bool) -> Self {
        self.tells_time = tells_time;
        self
    }

    /// The same log for another node: open, without faults.
    #[must_use]
    pub fn for_node(&self) -> Self {
        Self { handle: Arc::default(), ..self.clone() }
    }

    /// Orders faults for this handle.
    pub fn faults(&self) -> Faults {
        Faults::new(self.handle.clone())
    }

    /// The last seq of the log: what the store holds, whoever has read it.
    pub fn head(&self) -> Seq {
        self.shared.head()
    }

    /// The entry at `seq` as it is stored, if it is. For checkers, which know more than any node.
    pub fn stored(&self, seq: Seq) -> Option<Entry> {
        self.shared.stored(seq)
    }

    /// Entries below `below` are gone, wherever the floor is: what no log may do, for checkers that have to find it.
    pub fn lose_below(&self, below: Seq) {
        self.shared.lose_below(below);
    }

    async fn append_once(&self, at: Seq, entry: Entry, fault: Option<AppendFault>) -> Result<(), AppendError> {
        let ambiguous = |what: &str| AppendError::Ambiguous { reason: what.into() };
        match fault {
            None => self.shared.append(at, entry),
            Some(AppendFault::Unavailable) => Err(AppendError::Unavailable { reason: "ordered by the test".into() }),
            Some(AppendFault::Full) => Err(AppendError::Full { reason: "ordered by the test".into() }),
            Some(AppendFault::Fatal) => {
                self.handle.set_fatal();
                Err(AppendError::Fatal { reason: "ordered by the test".into() })
            }
            Some(AppendFault::AmbiguousBefore) => Err(ambiguous("the request was lost")),
            Some(AppendFault::AmbiguousAfter) => {
                // Whatever the store answered, nobody hears it.
                let _unheard = self.shared.append(at, entry);
                Err(ambiguous("the reply was lost"))
            }
            Some(AppendFault::LostReply(reply)) => {
                let _unheard = self.shared.append(at, entry);
                self.runtime.sleep(reply).await;
                Err(ambiguous("no reply in time"))
            }
            Some(AppendFault::Late { reply, land }) => {
                self.land_later(at, entry, land);
                self.runtime.sleep(reply).await;
                Err(ambiguous("no reply in time"))
            }
            Some(AppendFault::Twice(again)) => {
                let answer = self.shared.append(at, entry.clone());
                self.land_later(at, entry, again);
                answer
            }
            Some(AppendFault::Rival(rival)) => {
                let _unheard = self.shared.append(at, rival(at, &entry));
                self.shared.append(at, entry)
            }
        }
    }

    fn land_later(&self, at: Seq, entry: Entry, after: std::time::Duration) {
        let (shared, clock) = (self.shared.clone(), self.runtime.clock.clone());
        self.runtime.spawner.spawn("late append", async move {
            clock.sleep(after).await;
            let _unheard = shared.append(at, entry);
        });
    }

    /// What every read goes through before it sees anything.
    async fn begin_read(&self) -> Result<(), ReadError> {
        self.handle.running().await;
        match self.handle.next_read(&*self.runtime.random) {
            None => Ok(()),
            Some(ReadFault::Delayed(delay)) => {
                self.runtime.sleep(delay).await;
                Ok(())
            }
            Some(ReadFault::Unavailable) => Err(ReadError::Unavailable { reason: "ordered by the test".into() }),
        }
    }
}

#[async_trait]
impl CommitLog for MemoryCommitLog {
    async fn append(&self, at: Seq, entry: Entry) -> Result<(), AppendError> {
        self.handle.running().await;
        entry.check_size(self.takes_any_payload)?;
        let fault = self.handle.next_append(entry.payload.length > 0, &*self.runtime.random)?;
        let delays = self.handle.delays();
        if let Some(delay) = delays.before_append.draw(&*self.runtime.random) {
            self.runtime.sleep(delay).await;
        }
        let answer = self.append_once(at, entry, fault).await;
        if let Some(delay) = delays.after_append.draw(&*self.runtime.random) {
            self.runtime.sleep(delay).await;
        }
        // A node that was paused meanwhile hears the answer when it runs again.
        self.handle.running().await;
        answer
    }

    async fn read(&self, from: Seq, max_bytes: usize) -> Result<Tail, ReadError> {
        self.begin_read().await?;
        let early = self.shared.floor();
        if !holds(Rule::A13)
            && let Some(delay) = self.handle.delays().between_rows_and_floor.draw(&*self.runtime.random)
        {
            self.runtime.sleep(delay).await;
        }
        let (rows, head) = self.shared.rows(from, max_bytes);
        // Rows first and then the floor (A13, A14); a simulation lets a trim land in between.
        if let Some(delay) = self.handle.delays().between_rows_and_floor.draw(&*self.runtime.random) {
            self.runtime.sleep(delay).await;
        }
        let floor = if holds(Rule::A13) { self.shared.floor() } else { early };
        let store_time_ms = self.tells_time.then(|| self.runtime.clock.now_ms());
        self.handle.running().await;
        if from < floor.seq {
            return Ok(Tail::Trimmed { floor });
        }
        Ok(Tail::Rows { rows, head, store_time_ms })
    }

    async fn read_payload(&self, at: Seq, range: Range<u64>) -> Result<Bytes, ReadError> {
        self.begin_read().await?;
        let answer = self.shared.payload(at, range, self.handle.payloads_fail_checksum());
        self.handle.running().await;
        answer
    }

    async fn floor(&self) -> Result<Floor, ReadError> {
        self.begin_read().await?;
        let floor = self.shared.floor();
        self.handle.running().await;
        Ok(floor)
    }

    async fn raise_floor(&self, expected: Floor, to: Floor) -> Result<(), FloorError> {
        self.handle.running().await;
        let answer = self.shared.raise_floor(&expected, to);
        self.handle.running().await;
        answer
    }

    async fn trim(&self, below: Seq) -> Result<(), TrimError> {
        self.handle.running().await;
        self.shared.trim(below)
    }

    fn takes_any_payload(&self) -> bool {
        self.takes_any_payload
    }

    fn has_room(&self) -> bool {
        !self.handle.is_full()
    }

    async fn close(&self) -> Result<(), AppendError> {
        self.handle.close();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
