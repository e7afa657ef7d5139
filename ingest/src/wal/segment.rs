//! What is flushed together: its place, its PUT, its commands.

use super::item::Item;
use crate::door::Taken;
use crate::failure::Failure;
use bytes::Bytes;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use strandline_cell::{Cell, Submission};
use strandline_commands::{Command, NewObject, Produce};
use strandline_object_store::{Objects, Purpose, PutNewError};
use strandline_runtime::Clock;
use strandline_types::{ObjectName, TopicPartition, limits};
use strandline_wal::WalSegmentBuilder;
use strandline_wire::ErrorCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Where a flush's bytes go.
pub(crate) enum SegmentPlace {
    /// Into the entry itself.
    Inline {
        /// Inline bytes of all buffers together stay within one entry's bound, since all may land in one entry.
        _room: OwnedSemaphorePermit,
    },
    /// Into an object.
    Object { name: ObjectName, object: NewObject, chunks: Vec<Bytes> },
}

/// How far a flush has come.
pub(crate) enum SegmentState {
    /// Its PUT is under way.
    Putting,
    /// Its bytes are durable, or ride inline: it may be committed.
    Ready,
    /// Its PUT has failed for good.
    Lost(Failure),
}

/// A flush.
pub(crate) struct Segment {
    pub(crate) id: u64,
    /// By partition, in the order of intake within each: the order of their bytes.
    pub(crate) items: Vec<Item>,
    pub(crate) place: SegmentPlace,
    pub(crate) state: SegmentState,
    /// Names it was PUT under.
    pub(crate) names: u32,
}

/// A run of items whose outcomes come with one command.
pub(crate) type Runs = Vec<usize>;

impl Segment {
    /// Sorts the items by partition. Stable: the order within a partition stays.
    pub(crate) fn new(
        id: u64,
        mut items: Vec<Item>,
        place: impl FnOnce(&[Item]) -> Result<SegmentPlace, Failure>,
    ) -> Result<Self, (Vec<Item>, Failure)> {
        items.sort_by_key(|item| item.partition);
        match place(&items) {
            Ok(place) => {
                let state =
                    if matches!(place, SegmentPlace::Inline { .. }) { SegmentState::Ready } else { SegmentState::Putting };
                Ok(Self { id, items, place, state, names: 1 })
            }
            Err(failure) => Err((items, failure)),
        }
    }

    /// Whether the object's name lies below the horizon, so that the fold would refuse it.
    pub(crate) fn is_below_horizon(&self, cell: &Cell) -> bool {
        matches!(&self.place, SegmentPlace::Object { name, .. } if name.seq < cell.view().cell.horizon)
    }

    /// The commands for the items that may be committed, one a partition, and how many items each has. Items that were told of
    /// an earlier one's loss are left out; they are the first of their partition, so a run has no gap.
    pub(crate) fn submission(&mut self) -> (Submission, Runs) {
        let mut submission = Submission::default();
        let object = match &self.place {
            SegmentPlace::Inline { .. } => 0,
            SegmentPlace::Object { object, .. } => {
                submission.objects.push(object.clone());
                1
            }
        };
        let (mut position, mut runs) = (0_u64, Runs::new());
        let mut run: Option<(TopicPartition, Produce)> = None;
        let mut kept = Vec::with_capacity(self.items.len());
        for item in std::mem::take(&mut self.items) {
            let length = item.bytes.len() as u64;
            if item.is_told() {
                // What does not ride along takes no place in an inline payload; in the object it lies where it lies.
                position += if object == 0 { 0 } else { length };
                continue;
            }
            if object == 0 {
                submission.payload.push(item.bytes.clone());
            }
            match &mut run {
                Some((partition, produce)) if *partition == item.partition => produce.batches.push(item.batch.clone()),
                run => close(run.replace((item.partition, start(&item, object, position))), &mut submission.commands, &mut runs),
            }
            position += length;
            kept.push(item);
        }
        close(run, &mut submission.commands, &mut runs);
        self.items = kept;
        (submission, runs)
    }
}

fn start(item: &Item, object: u32, position: u64) -> Produce {
    Produce {
        topic_id: item.partition.topic_id.0.to_vec(),
        partition: item.partition.partition,
        object,
        position,
        batches: vec![item.batch.clone()],
    }
}

fn close(run: Option<(TopicPartition, Produce)>, commands: &mut Vec<Command>, runs: &mut Runs) {
    if let Some((_, produce)) = run {
        runs.push(produce.batches.len());
        commands.push(produce.into());
    }
}

fn path(name: ObjectName) -> String {
    format!("wal/{name}")
}

/// Gives the batches a place in an object, under a name that no object ever had. Call it when the PUT is about to begin (I8).
pub(crate) fn object<'a>(
    cell: &Cell,
    batches: impl Iterator<Item = (TopicPartition, &'a Bytes)>,
) -> Result<SegmentPlace, Failure> {
    let mut builder = WalSegmentBuilder::new();
    for (partition, bytes) in batches {
        builder.push(partition, bytes.clone());
    }
    let segment = builder.finish().map_err(|error| {
        tracing::error!(%error, "checked batches do not make a WAL segment");
        Failure::new(ErrorCode::UnknownServerError, "the batch could not be stored: its segment could not be built")
    })?;
    let name = cell.name_object();
    let object = NewObject { path: path(name), size: segment.file_bytes, crc32c: segment.crc32c };
    Ok(SegmentPlace::Object { name, object, chunks: segment.bytes })
}

/// Makes the object durable. The store retries by itself; what fails here has failed for good.
pub(crate) async fn put(objects: Objects, object: NewObject, chunks: Vec<Bytes>) -> Result<(), Failure> {
    objects.put_new(Purpose::Wal, &object.path, chunks, object.crc32c).await.map_err(|error| of_put(&error))
}

fn of_put(error: &PutNewError) -> Failure {
    tracing::warn!(%error, "a WAL segment could not be put; its batches are refused");
    match error.is_full() {
        true => Failure::no_room(),
        false => Failure::new(ErrorCode::KafkaStorageError, "the object store failed; the batch is not in the log"),
    }
}

/// One batch in a WAL segment of its own, PUT: the submission that commits it, and the object for the cache.
pub(crate) async fn one_segment(
    cell: &Cell,
    objects: &Objects,
    taken: Taken,
) -> Result<(Submission, String, Vec<Bytes>), Failure> {
    let SegmentPlace::Object { object, chunks, .. } = object(cell, std::iter::once((taken.partition, &taken.bytes)))? else {
        return Err(Failure::new(ErrorCode::UnknownServerError, "no object was made"));
    };
    put(objects.clone(), object.clone(), chunks.clone()).await?;
    let produce = Produce {
        topic_id: taken.partition.topic_id.0.to_vec(),
        partition: taken.partition.partition,
        object: 1,
        position: 0,
        batches: vec![taken.batch],
    };
    let path = object.path.clone();
    Ok((Submission { commands: vec![produce.into()], payload: Vec::new(), objects: vec![object] }, path, chunks))
}

/// Bounds what rides inline: at once (one entry's payload), and per second (log writes are billed by size).
pub(crate) struct InlineBudget {
    clock: Arc<dyn Clock>,
    room: Arc<Semaphore>,
    bucket: Mutex<Bucket>,
}

struct Bucket {
    bytes: u64,
    filled: Duration,
}

impl InlineBudget {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        let bucket = Bucket { bytes: limits::INLINE_BYTES_PER_SECOND as u64, filled: clock.monotonic() };
        Self { clock, room: Arc::new(Semaphore::new(limits::ENTRY_INLINE_BYTES)), bucket: Mutex::new(bucket) }
    }

    /// Room for `bytes` inline, or none: then they go by a PUT.
    pub(crate) fn take(&self, bytes: usize) -> Option<SegmentPlace> {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.monotonic();
        let per_second = limits::INLINE_BYTES_PER_SECOND as u64;
        let passed_ms = u64::try_from(now.saturating_sub(bucket.filled).as_millis()).unwrap_or(u64::MAX);
        bucket.bytes = bucket.bytes.saturating_add(passed_ms.saturating_mul(per_second) / 1_000).min(per_second);
        bucket.filled = now;
        let left = bucket.bytes.checked_sub(bytes as u64)?;
        let room = self.room.clone().try_acquire_many_owned(u32::try_from(bytes).ok()?).ok()?;
        bucket.bytes = left;
        Some(SegmentPlace::Inline { _room: room })
    }
}
