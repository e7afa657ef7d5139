//! The task of one latency class: buffer, flush, commit, tell.

use super::FlushRule;
use super::copies::keep;
use super::intake::Intake;
use super::item::Item;
use super::segment::{InlineBudget, Runs, Segment, SegmentPlace, SegmentState, object, put};
use crate::failure::Failure;
use futures::StreamExt;
use futures::future::{BoxFuture, FutureExt, OptionFuture};
use futures::stream::FuturesUnordered;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use strandline_cache::Cache;
use strandline_cell::{Cell, Sequence, SubmitError, Submitted};
use strandline_index::{BatchOutcome, Outcome, Refusal};
use strandline_object_store::Objects;
use strandline_topic_config::LatencyClass;
use strandline_types::mutations::{Rule, holds};
use strandline_types::{TopicPartition, limits};
use tokio::sync::oneshot;

/// Commands of one flush: a partition each.
const SEGMENT_ITEMS: usize = limits::ENTRY_COMMANDS / 4;

type PutDone = (u64, Result<(), Failure>);
type CommitDone = (Segment, Runs, Result<Submitted, SubmitError>);

pub(crate) struct Pipeline {
    class: LatencyClass,
    rule: FlushRule,
    cell: Cell,
    objects: Objects,
    cache: Option<Cache>,
    intake: Arc<Intake>,
    inline: Arc<InlineBudget>,
    closed: bool,
    buffer: VecDeque<Item>,
    buffered_bytes: usize,
    /// When the first batch of the buffer came.
    since: Duration,
    urgent: bool,
    /// Flushed and not committed, in order.
    queue: VecDeque<Segment>,
    puts: FuturesUnordered<BoxFuture<'static, PutDone>>,
    commit: Option<BoxFuture<'static, CommitDone>>,
    drains: Vec<oneshot::Sender<()>>,
    last_id: u64,
}

impl Pipeline {
    pub(crate) fn new(
        class: LatencyClass,
        rule: FlushRule,
        cell: Cell,
        objects: Objects,
        cache: Option<Cache>,
        intake: Arc<Intake>,
        inline: Arc<InlineBudget>,
    ) -> Self {
        Self {
            class,
            rule,
            cell,
            objects,
            cache,
            intake,
            inline,
            closed: false,
            buffer: VecDeque::new(),
            buffered_bytes: 0,
            since: Duration::ZERO,
            urgent: false,
            queue: VecDeque::new(),
            puts: FuturesUnordered::new(),
            commit: None,
            drains: Vec::new(),
            last_id: 0,
        }
    }

    pub(crate) async fn run(mut self) {
        loop {
            self.advance();
            if self.is_empty() {
                for done in self.drains.drain(..) {
                    let _ = done.send(());
                }
                if self.closed {
                    return;
                }
            }
            let linger = self.linger_left().map(|left| self.cell.runtime().clock.sleep(left));
            // Biased, so that a simulation does the same in every run.
            tokio::select! {
                biased;
                Some(done) = OptionFuture::from(self.commit.as_mut()) => {
                    self.commit = None;
                    self.committed(done);
                }
                Some((id, result)) = self.puts.next(), if !self.puts.is_empty() => self.was_put(id, result),
                () = self.intake.arrived(self.class) => self.took_in(),
                Some(()) = OptionFuture::from(linger) => {}
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.buffer.is_empty() && self.is_idle()
    }

    /// Nothing is under way.
    fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.commit.is_none()
    }

    fn took_in(&mut self) {
        let arrived = self.intake.take(self.class);
        self.closed = arrived.closed;
        self.drains.extend(arrived.drains);
        if arrived.items.is_empty() {
            return;
        }
        if self.buffer.is_empty() {
            self.since = self.cell.runtime().clock.monotonic();
        }
        self.urgent |= arrived.urgent;
        let (overtaking, in_order): (Vec<Item>, Vec<Item>) = arrived.items.into_iter().partition(|item| self.overtakes(item));
        overtaking.into_iter().for_each(|mut item| item.tell(Err(Failure::overtakes())));
        self.buffered_bytes += in_order.iter().map(|item| item.bytes.len()).sum::<usize>();
        self.buffer.extend(in_order);
    }

    /// It came in the moment in which one before it was lost. (The cell would refuse all that it is flushed with.)
    fn overtakes(&self, item: &Item) -> bool {
        Sequence::of(&item.batch).is_some_and(|sequence| self.cell.holds_up(item.partition, sequence))
    }

    /// Flushes what is due and commits what is ready.
    fn advance(&mut self) {
        loop {
            while self.is_due() {
                self.flush();
            }
            self.start_commit();
            // What was lost may have left nothing under way.
            if !self.is_due() {
                return;
            }
        }
    }

    fn linger_left(&self) -> Option<Duration> {
        let linger = self.rule.linger.filter(|_| !self.buffer.is_empty() && self.may_flush())?;
        Some(linger.saturating_sub(self.cell.runtime().clock.monotonic().saturating_sub(self.since)))
    }

    fn may_flush(&self) -> bool {
        self.puts.len() < limits::WAL_PUTS_IN_FLIGHT
    }

    fn is_due(&self) -> bool {
        let ending = self.closed || !self.drains.is_empty();
        !self.buffer.is_empty()
            && self.may_flush()
            && (self.buffered_bytes >= limits::WAL_SEGMENT_BYTES
                || self.urgent
                || ending
                || (self.rule.at_once_if_idle && self.is_idle())
                || self.linger_left().is_some_and(|left| left.is_zero()))
    }

    /// The front of the buffer, as much as one segment takes.
    fn take_items(&mut self) -> (Vec<Item>, usize) {
        let (mut items, mut bytes) = (Vec::new(), 0);
        while let Some(item) = self.buffer.front() {
            let length = item.bytes.len();
            if !items.is_empty() && (bytes + length > limits::WAL_SEGMENT_BYTES || items.len() >= SEGMENT_ITEMS) {
                break;
            }
            bytes += length;
            items.extend(self.buffer.pop_front());
        }
        self.buffered_bytes = self.buffered_bytes.saturating_sub(bytes);
        self.urgent &= !self.buffer.is_empty();
        (items, bytes)
    }

    fn flush(&mut self) {
        let (items, bytes) = self.take_items();
        self.last_id += 1;
        let inline = if bytes <= self.rule.inline_bytes { self.inline.take(bytes) } else { None };
        let made = Segment::new(self.last_id, items, |items| match inline {
            Some(place) => Ok(place),
            None => object(&self.cell, items.iter().map(|item| (item.partition, &item.bytes))),
        });
        match made {
            Ok(segment) => {
                self.start_put(&segment);
                self.queue.push_back(segment);
            }
            Err((items, failure)) => self.lose(items, &failure),
        }
    }

    fn start_put(&self, segment: &Segment) {
        if let SegmentPlace::Object { object, chunks, .. } = &segment.place {
            let put = put(self.objects.clone(), object.clone(), chunks.clone());
            let id = segment.id;
            self.puts.push(put.map(move |result| (id, result)).boxed());
        }
    }

    fn was_put(&mut self, id: u64, result: Result<(), Failure>) {
        if let Some(segment) = self.queue.iter_mut().find(|segment| segment.id == id) {
            segment.state = match result {
                Ok(()) => SegmentState::Ready,
                Err(failure) => SegmentState::Lost(failure),
            };
        }
    }

    /// One commit at a time, the oldest first: a refusal must be known before anything later is committed.
    fn start_commit(&mut self) {
        while self.commit.is_none()
            && let Some(first) = self.queue.front()
        {
            match &first.state {
                SegmentState::Putting if holds(Rule::B8) => return,
                SegmentState::Lost(failure) => {
                    let failure = failure.clone();
                    let items = self.queue.pop_front().map(|segment| segment.items).unwrap_or_default();
                    self.lose(items, &failure);
                }
                SegmentState::Putting | SegmentState::Ready if first.is_below_horizon(&self.cell) => {
                    if let Some(segment) = self.queue.pop_front() {
                        self.put_again(segment);
                    }
                }
                SegmentState::Putting | SegmentState::Ready => {
                    if let Some(segment) = self.queue.pop_front() {
                        self.commit(segment);
                    }
                }
            }
        }
    }

    fn commit(&mut self, mut segment: Segment) {
        let (submission, runs) = segment.submission();
        if submission.commands.is_empty() {
            return;
        }
        let cell = self.cell.clone();
        self.commit = Some(async move { (segment, runs, cell.submit(submission).await) }.boxed());
    }

    fn committed(&mut self, (segment, runs, result): CommitDone) {
        let outcomes = match result {
            Ok(submitted) => submitted.outcomes,
            // May still be committed, before anything later: nothing is overtaken.
            Err(error @ (SubmitError::InDoubt | SubmitError::Stopped)) => {
                let failure = Failure::of_submit(&error);
                return segment.items.into_iter().for_each(|mut item| item.tell(Err(failure.clone())));
            }
            Err(error) => return self.lose(segment.items, &Failure::of_submit(&error)),
        };
        if outcomes.contains(&Outcome::Refused(Refusal::BelowHorizon)) {
            return self.put_again(segment);
        }
        let mut items = segment.items.into_iter();
        for (count, outcome) in runs.into_iter().zip(outcomes) {
            let mut batches = match outcome {
                Outcome::Produced(batches) => batches.into_iter(),
                Outcome::Refused(refusal) => vec![BatchOutcome::Refused(refusal); count].into_iter(),
                _ => Vec::new().into_iter(),
            };
            for mut item in items.by_ref().take(count) {
                let missing = BatchOutcome::Refused(Refusal::Malformed { what: "a batch without an outcome" });
                item.tell(Ok(batches.next().unwrap_or(missing)));
            }
        }
        if let SegmentPlace::Object { object, chunks, .. } = segment.place {
            keep(self.cache.as_ref(), &object.path, &chunks);
        }
    }

    /// The collector's horizon has passed the object's name, so the object may be deleted: the same bytes under a new name,
    /// before anything later.
    fn put_again(&mut self, mut segment: Segment) {
        if segment.names >= limits::WAL_PUT_NAMES {
            let failure = Failure::of_refusal(&Refusal::BelowHorizon, false);
            return self.lose(segment.items, &failure);
        }
        segment.names += 1;
        match object(&self.cell, segment.items.iter().map(|item| (item.partition, &item.bytes))) {
            Ok(place) => {
                segment.place = place;
                segment.state = SegmentState::Putting;
                self.start_put(&segment);
                self.queue.push_front(segment);
            }
            Err(failure) => self.lose(segment.items, &failure),
        }
    }

    /// These are lost, and with them every later batch of their partitions that was taken in, wherever it is by now. All are
    /// told at once: what comes after that may be committed.
    fn lose(&mut self, items: Vec<Item>, failure: &Failure) {
        let partitions: BTreeSet<TopicPartition> =
            items.iter().filter(|item| !item.is_told()).map(|item| item.partition).collect();
        let swept = self.intake.sweep(self.class, &partitions);
        let buffer = std::mem::take(&mut self.buffer);
        let (buffered, left): (VecDeque<Item>, VecDeque<Item>) =
            buffer.into_iter().partition(|item| partitions.contains(&item.partition));
        self.buffered_bytes = left.iter().map(|item| item.bytes.len()).sum();
        self.buffer = left;
        // Before anyone hears of it, and before the next commit of these partitions.
        let queued = self.queue.iter().flat_map(|segment| &segment.items).filter(|item| partitions.contains(&item.partition));
        let come_again = items.iter().filter(|_| failure.comes_again()).chain(queued).chain(&buffered).chain(&swept);
        for item in come_again.filter(|item| !item.is_told()) {
            self.cell.await_again(item.partition, &item.batch);
        }
        items.into_iter().for_each(|mut item| item.tell(Err(failure.clone())));
        // Those in a segment stay where their bytes are, but are not committed.
        let flushed =
            self.queue.iter_mut().flat_map(|segment| &mut segment.items).filter(|item| partitions.contains(&item.partition));
        flushed.for_each(|item| item.tell(Err(Failure::overtakes())));
        buffered.into_iter().chain(swept).for_each(|mut item| item.tell(Err(Failure::overtakes())));
    }
}
