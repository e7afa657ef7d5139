//! Where records wait: per partition a batch that is being filled and those that are full.

use super::batch::OpenBatch;
use super::delivery::{Completion, Delivery};
use super::partitioner::{Sticky, partition_of_key};
use super::{Acks, ProducerOptions, ProducerRecord};
use crate::cluster::Topic;
use crate::error::ClientError;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use strandline_runtime::Runtime;
use strandline_types::FixedHashMap;
use strandline_wire::records::{BATCH_HEADER_BYTES, BatchBuilder, BatchOptions};
use tokio::sync::{Notify, Semaphore, SemaphorePermit};

/// A topic by its place in [`State::topics`], and a partition.
pub(super) type Place = (usize, i32);

pub(super) struct Accumulator {
    pub(super) options: ProducerOptions,
    runtime: Runtime,
    room: Semaphore,
    room_bytes: usize,
    /// Callers of `send` that wait for room: then nothing lingers.
    waiting_for_room: AtomicUsize,
    flushing: AtomicUsize,
    /// Wakes the sender.
    pub(super) wake: Notify,
    state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    by_name: FixedHashMap<Arc<str>, usize>,
    pub(super) topics: Vec<TopicQueues>,
    /// Every batch that is not done.
    pub(super) unfinished: BTreeMap<u64, Arc<Completion>>,
    next_batch: u64,
    pub(super) closed: bool,
}

pub(super) struct TopicQueues {
    pub(super) name: Arc<str>,
    pub(super) partitions: Vec<Queue>,
    /// Partitions that have a leader.
    available: Vec<i32>,
    sticky: Sticky,
}

#[derive(Default)]
pub(super) struct Queue {
    pub(super) open: Option<OpenBatch>,
    pub(super) full: VecDeque<OpenBatch>,
}

pub(super) enum Appended {
    In(Delivery),
    UnknownTopic,
}

impl Accumulator {
    pub(super) fn new(runtime: Runtime, mut options: ProducerOptions) -> Self {
        options.idempotent &= options.acks == Acks::All;
        options.in_flight = options.in_flight.max(1);
        if options.idempotent {
            options.in_flight = options.in_flight.min(strandline_types::limits::CLIENT_PRODUCE_IN_FLIGHT);
        }
        let room_bytes = options.buffer_bytes.clamp(1, u32::MAX as usize);
        Self {
            options,
            runtime,
            room: Semaphore::new(room_bytes),
            room_bytes,
            waiting_for_room: AtomicUsize::new(0),
            flushing: AtomicUsize::new(0),
            wake: Notify::new(),
            state: Mutex::default(),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room for a record.
    pub(super) async fn admit(&self, bytes: usize) -> Result<SemaphorePermit<'_>, ClientError> {
        if bytes > self.room_bytes {
            return Err(ClientError::RecordTooLarge { bytes, max: self.room_bytes });
        }
        if let Ok(permit) = self.room.try_acquire_many(bytes as u32) {
            return Ok(permit);
        }
        let _waiting = Counted::new(&self.waiting_for_room);
        self.wake.notify_one();
        self.room.acquire_many(bytes as u32).await.map_err(|_| ClientError::Closed("the producer"))
    }

    pub(super) fn release(&self, bytes: usize) {
        if bytes > 0 {
            self.room.add_permits(bytes);
        }
    }

    pub(super) fn buffered_bytes(&self) -> usize {
        self.room_bytes.saturating_sub(self.room.available_permits())
    }

    /// Whether batches are sent as they are, without waiting for more records.
    pub(super) fn in_haste(&self) -> bool {
        self.waiting_for_room.load(Ordering::Relaxed) > 0 || self.flushing.load(Ordering::Relaxed) > 0
    }

    /// Puts a record into the open batch of its partition.
    pub(super) fn append(&self, record: &ProducerRecord<'_>, bytes: usize) -> Result<Appended, ClientError> {
        let now = self.runtime.clock.monotonic();
        let timestamp_ms = record.timestamp_ms.unwrap_or_else(|| self.runtime.clock.now_ms());
        let mut state = self.state();
        if state.closed {
            return Err(ClientError::Closed("the producer"));
        }
        let Some(&index) = state.by_name.get(record.topic) else { return Ok(Appended::UnknownTopic) };
        let next_batch = state.next_batch;
        let topic = &mut state.topics[index];
        let count = topic.partitions.len();
        let partition = match (record.partition, record.key) {
            (Some(partition), _) => partition,
            (None, Some(key)) => partition_of_key(key, count),
            (None, None) => topic.sticky.next(&topic.available, bytes, self.options.batch_bytes, self.runtime.random.as_ref()),
        };
        let Some(queue) = usize::try_from(partition).ok().and_then(|place| topic.partitions.get_mut(place)) else {
            return Err(ClientError::NoPartition { topic: record.topic.to_owned(), partition, partitions: count });
        };
        let mut wake = false;
        let is_full = |open: &OpenBatch| open.builder.bytes() + bytes > self.options.batch_bytes.max(BATCH_HEADER_BYTES);
        if queue.open.as_ref().is_some_and(is_full) {
            queue.full.extend(queue.open.take());
            wake = true;
        }
        let mut opened = None;
        let open = queue.open.get_or_insert_with(|| {
            let batch = self.open_batch(now, next_batch, bytes);
            opened = Some(batch.completion.clone());
            batch
        });
        let index = open.builder.record_count();
        let pushed = open.builder.push_next(timestamp_ms, record.key, record.value, record.headers);
        if let Err(error) = pushed {
            if index == 0 {
                queue.open = None;
            }
            return Err(ClientError::Batch { what: format!("a record for topic \"{}\"", record.topic), error });
        }
        open.permits += bytes;
        let completion = open.completion.clone();
        if let Some(opened) = opened {
            state.unfinished.insert(next_batch, opened);
            state.next_batch += 1;
            wake = true;
        }
        drop(state);
        if wake {
            self.wake.notify_one();
        }
        Ok(Appended::In(Delivery { completion, partition, index, sent_at: now }))
    }

    fn open_batch(&self, now: Duration, id: u64, bytes: usize) -> OpenBatch {
        let options = BatchOptions { compression: self.options.compression, ..BatchOptions::default() };
        // Most batches are small at low rates: they grow from a few records' size on.
        let capacity = self.options.batch_bytes.min(bytes.saturating_mul(4));
        OpenBatch {
            builder: BatchBuilder::with_capacity(options, capacity),
            permits: 0,
            created: now,
            id,
            completion: Arc::default(),
        }
    }

    /// Takes in a topic's partitions.
    pub(super) fn learn(&self, topic: &Topic) {
        let mut state = self.state();
        let index = match state.by_name.get(topic.name.as_str()) {
            Some(index) => *index,
            None => {
                let name: Arc<str> = topic.name.as_str().into();
                let index = state.topics.len();
                state.by_name.insert(name.clone(), index);
                let (partitions, available) = (Vec::new(), Vec::new());
                state.topics.push(TopicQueues { name, partitions, available, sticky: Sticky::default() });
                index
            }
        };
        let queues = &mut state.topics[index];
        // A topic that was created anew may have fewer; what waits for the others fails in time.
        while queues.partitions.len() < topic.partitions.len() {
            queues.partitions.push(Queue::default());
        }
        let leading = topic.partitions.iter().filter(|partition| partition.leader >= 0);
        queues.available = leading.map(|partition| partition.partition).collect();
        if queues.available.is_empty() {
            queues.available = topic.partitions.iter().map(|partition| partition.partition).collect();
        }
    }

    /// A batch is done: its records learn, and its room is free.
    pub(super) fn finished(&self, id: u64, permits: usize) {
        self.state().unfinished.remove(&id);
        self.release(permits);
    }

    /// Nothing lingers while the first lives; the second is every batch that is not done.
    pub(super) fn begin_flush(&self) -> (Counted<'_>, Vec<Arc<Completion>>) {
        let flushing = Counted::new(&self.flushing);
        self.wake.notify_one();
        (flushing, self.state().unfinished.values().cloned().collect())
    }

    /// Refuses further records.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.room.close();
        self.wake.notify_one();
    }

    /// Fails everything that is not done: the sender is gone.
    pub(super) fn abandon(&self) {
        self.close();
        let unfinished = std::mem::take(&mut self.state().unfinished);
        for completion in unfinished.into_values() {
            completion.set(Err(ClientError::Closed("the producer")));
        }
    }
}

/// Counts itself while it lives.
pub(super) struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
