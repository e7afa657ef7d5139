//! A node's way to the commit log. What the log of several nodes promises beside its seam is kept here: entries stay for a
//! while after the floor has passed them (a log that several nodes read keeps entries for 24 h).

use crate::core::{Core, locked};
use crate::dice::Dice;
use crate::gate::Gate;
use crate::happenings::Happening;
use crate::mutation::Mutation;
use crate::shape::Shape;
use crate::stops::{Place, Stops};
use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use strandline_commands::{Commit, DecodedEntry, EntryBody, decode, encode};
use strandline_commit_log::{AppendError, CommitLog, Entry, Floor, FloorError, Payload, ReadError, Tail, TrimError};
use strandline_types::Seq;

/// How long they live where they expire, which they must not.
const ENTRIES_LIVE: Duration = Duration::from_secs(20);

pub(crate) struct NodeLog {
    inner: Arc<dyn CommitLog>,
    gate: Gate,
    core: Arc<Core>,
    dice: Dice,
    /// From when on the planted fault of an old floor counts: a node starts from the true one.
    lies: AtomicBool,
    forwards: bool,
    entries_stay: Duration,
    stops: Stops,
}

impl NodeLog {
    pub fn new(inner: Arc<dyn CommitLog>, gate: Gate, core: Arc<Core>, dice: Dice, shape: &Shape, stops: Stops) -> Self {
        let forwards = !shape.sole && !shape.directed;
        Self { inner, gate, core, dice, lies: AtomicBool::new(false), forwards, entries_stay: shape.entries_stay, stops }
    }

    /// The node has started.
    pub fn started(&self) {
        self.lies.store(true, Ordering::Relaxed);
    }

    /// The planted fault: entries live for a while, as items of a store with a time to live do.
    fn expire(&self) {
        drop(self.core.oracle());
        let now = self.core.clock().monotonic();
        let mut heads = locked(&self.core.heads);
        heads.push_back((now, self.core.log.head()));
        while heads.front().is_some_and(|(at, _)| now.saturating_sub(*at) > ENTRIES_LIVE) {
            if let Some((_, head)) = heads.pop_front() {
                self.core.log.lose_below(head);
            }
        }
    }

    /// A copy of an earlier commit that was forwarded and lands again, as an entry of its own: the fold refuses it (A4, A6).
    fn land_again(&self, hash_before: strandline_types::ChainHash) -> Option<Entry> {
        let head = self.core.log.head();
        let back = Seq(head.0.checked_sub(self.dice.below(head.0.min(20)))?);
        let DecodedEntry::Body(body) = decode(&self.core.log.stored(back)?.bytes).ok()? else { return None };
        let commits: Vec<Commit> =
            body.commits.into_iter().filter(|commit| commit.incarnation != 0 && commit.payload_length == 0).collect();
        if commits.is_empty() {
            return None;
        }
        let body = EntryBody { hash_before: hash_before.0.to_vec(), payload_length: 0, payload_crc32c: 0, commits, ..body };
        Some(Entry { hash_before, bytes: encode(&body).ok()?, payload: Payload::default() })
    }

    /// What a node is told of an append of these bytes, by what is in the log.
    fn count_append(&self, at: Seq, bytes: &Bytes, answer: &Result<(), AppendError>) {
        let is_there = || self.core.log.stored(at).is_some_and(|there| there.bytes == *bytes);
        let told = match answer {
            Ok(()) | Err(AppendError::Gap { .. } | AppendError::TooLarge { .. }) => return,
            Err(AppendError::Ambiguous { .. }) if is_there() => Happening::AppendsUnheard,
            Err(AppendError::Ambiguous { .. }) => Happening::AppendsInDoubt,
            Err(AppendError::Unavailable { .. }) => Happening::FailedAppends,
            Err(AppendError::Conflict { .. }) => Happening::Conflicts,
            Err(AppendError::Full { .. }) => Happening::FullAppends,
            Err(AppendError::Fatal { .. }) => Happening::FatalAppends,
        };
        self.core.count(told);
    }

    fn count_read<T>(&self, answer: &Result<T, ReadError>) {
        if matches!(answer, Err(ReadError::Unavailable { .. })) {
            self.core.count(Happening::FailedLogReads);
        }
    }
}

#[async_trait]
impl CommitLog for NodeLog {
    async fn append(&self, at: Seq, entry: Entry) -> Result<(), AppendError> {
        self.gate.pass().await;
        self.stops.pass(Place::Append, "").await;
        if self.forwards
            && self.dice.chance(3)
            && let Some(copy) = self.land_again(entry.hash_before)
        {
            // Only at the head, as the committer would: what is beyond it nobody has folded.
            if at == self.core.log.head().next()
                && self.core.log.for_node().append(at, copy).now_or_never().is_some_and(|answer| answer.is_ok())
            {
                self.core.trace(format!("a commit lands again at {at}"));
                self.core.count(Happening::SecondLandings);
            }
        }
        if self.core.mutated(Mutation::EntriesExpire) {
            self.expire();
        }
        if self.core.mutated(Mutation::LogForgets) && self.dice.chance(3) && entry.payload.length > 0 {
            return Ok(());
        }
        let bytes = entry.bytes.clone();
        let answer = self.inner.append(at, entry).await;
        self.count_append(at, &bytes, &answer);
        // A node that was paused meanwhile hears the answer when it runs again.
        self.gate.pass().await;
        answer
    }

    async fn read(&self, from: Seq, max_bytes: usize) -> Result<Tail, ReadError> {
        self.gate.pass().await;
        self.stops.pass(Place::Read, "").await;
        let tail = self.inner.read(from, max_bytes).await;
        self.count_read(&tail);
        self.gate.pass().await;
        let tail = tail?;
        match tail {
            Tail::Rows { rows, head, store_time_ms } if self.core.mutated(Mutation::StaleReads) && self.dice.chance(50) => {
                let kept = rows.len().saturating_sub(5);
                let head = Seq(head.0 - (rows.len() - kept) as u64);
                Ok(Tail::Rows { rows: rows.into_iter().take(kept).collect(), head, store_time_ms })
            }
            tail => Ok(tail),
        }
    }

    async fn read_payload(&self, at: Seq, range: Range<u64>) -> Result<Bytes, ReadError> {
        self.gate.pass().await;
        let answer = self.inner.read_payload(at, range).await;
        self.count_read(&answer);
        self.gate.pass().await;
        answer
    }

    async fn floor(&self) -> Result<Floor, ReadError> {
        self.gate.pass().await;
        self.stops.pass(Place::Floor, "").await;
        let floor = self.inner.floor().await;
        self.count_read(&floor);
        self.gate.pass().await;
        let floor = floor?;
        let lies = self.core.mutated(Mutation::OldFloor) && self.lies.load(Ordering::Relaxed);
        Ok(if lies { Floor { seq: Seq(1), ..floor } } else { floor })
    }

    async fn raise_floor(&self, expected: Floor, to: Floor) -> Result<(), FloorError> {
        self.gate.pass().await;
        self.stops.pass(Place::RaiseFloor, "").await;
        let before = self.core.log.for_node().floor().await.unwrap_or_default();
        let expected = match self.core.mutated(Mutation::OldFloor) {
            true => self.inner.floor().await.unwrap_or(expected),
            false => expected,
        };
        self.inner.raise_floor(expected, to.clone()).await?;
        self.core.trace(format!("the floor is at {}", to.seq));
        let snapshot = |floor: &Floor| floor.snapshot.as_ref().map(|snapshot| snapshot.seq);
        if to.seq < before.seq || snapshot(&to) < snapshot(&before) {
            self.core.fail(format!(
                "the floor went from {} to {}, its snapshot from {:?} to {:?} (A10, D5)",
                before.seq,
                to.seq,
                snapshot(&before),
                snapshot(&to)
            ));
        }
        let first = self.core.oracle().index().first_inline_reference();
        if first.is_some_and(|first| first < to.seq) {
            self.core.fail(format!("the floor {} passed {first:?}, to which extents refer (D6)", to.seq));
        }
        Ok(())
    }

    async fn trim(&self, below: Seq) -> Result<(), TrimError> {
        self.gate.pass().await;
        drop(self.core.oracle());
        let now = self.core.clock().monotonic();
        let due = {
            let mut trims = locked(&self.core.trims);
            trims.push_back((now, below));
            let stay = if self.core.mutated(Mutation::TrimAtOnce) { Duration::ZERO } else { self.entries_stay };
            let mut due = None;
            while trims.front().is_some_and(|(asked, _)| now.saturating_sub(*asked) >= stay) {
                due = trims.pop_front().map(|(_, below)| below);
            }
            due
        };
        match due {
            Some(below) => self.inner.trim(below).await,
            None => Ok(()),
        }
    }

    fn takes_any_payload(&self) -> bool {
        self.inner.takes_any_payload()
    }

    fn has_room(&self) -> bool {
        self.inner.has_room()
    }

    fn release_reserve(&self) -> bool {
        self.inner.release_reserve()
    }

    fn let_go(&self) {
        self.inner.let_go();
    }

    async fn close(&self) -> Result<(), AppendError> {
        self.inner.close().await
    }
}
