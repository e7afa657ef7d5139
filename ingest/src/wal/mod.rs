//! Where the log takes small payloads only: batches wait in a buffer of their latency class and are flushed together, into a
//! WAL segment (PUT, then committed, I1) or, if they are few, inline.
//!
//! One task a class does all of it. Several segments are PUT at once, and commits follow one after the other in the order of
//! intake, so that no batch overtakes an earlier one of its partition, whatever fails.

mod copies;
mod homes;
mod item;
mod pipeline;
mod segment;

use crate::door::Taken;
use crate::failure::Failure;
use crate::options::IngestOptions;
use crate::pending::{Buffered, PendingProduce, fail};
use homes::Homes;
use item::{Intake, Item};
use pipeline::Pipeline;
use std::sync::Arc;
use std::time::Duration;
use strandline_cache::Cache;
use strandline_cell::Cell;
use strandline_object_store::Objects;
use strandline_topic_config::LatencyClass;
use strandline_types::limits;
use tokio::sync::{Semaphore, mpsc, oneshot};

pub(crate) use copies::keep;
pub(crate) use segment::one_segment;

/// When a class flushes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FlushRule {
    /// How long a batch waits for others. None: until what was flushed before is committed.
    pub(crate) linger: Option<Duration>,
    /// Nothing is under way: flush at once, since waiting saves nothing but requests.
    pub(crate) at_once_if_idle: bool,
    /// The largest flush that rides inline.
    pub(crate) inline_bytes: usize,
}

/// The three buffers.
pub(crate) struct Buffers {
    senders: [mpsc::Sender<Intake>; 3],
    homes: Arc<Homes>,
    room: Arc<Semaphore>,
}

const CLASSES: [LatencyClass; 3] = [LatencyClass::Express, LatencyClass::Standard, LatencyClass::Relaxed];

impl Buffers {
    pub(crate) fn start(options: &IngestOptions, cell: &Cell, objects: &Objects, cache: Option<&Cache>) -> Self {
        let homes = Arc::new(Homes::default());
        let inline = Arc::new(segment::InlineBudget::new(cell.runtime().clock.clone()));
        let senders = CLASSES.map(|class| {
            let rule = match class {
                LatencyClass::Express => FlushRule { linger: None, at_once_if_idle: true, inline_bytes: limits::ENTRY_INLINE_BYTES },
                LatencyClass::Standard => {
                    FlushRule { linger: Some(options.linger_standard), at_once_if_idle: true, inline_bytes: limits::INLINE_FLUSH_BYTES }
                }
                LatencyClass::Relaxed => {
                    FlushRule { linger: Some(options.linger_relaxed), at_once_if_idle: false, inline_bytes: limits::INLINE_FLUSH_BYTES }
                }
            };
            let (sender, receiver) = mpsc::channel(limits::INTAKE_QUEUE);
            let pipeline = Pipeline::new(rule, cell.clone(), objects.clone(), cache.cloned(), homes.clone(), inline.clone(), receiver);
            cell.runtime().spawner.spawn("ingest buffer", pipeline.run());
            sender
        });
        Self { senders, homes, room: Arc::new(Semaphore::new(limits::INGEST_BUFFER_BYTES)) }
    }

    /// Puts the batches into the buffers of their classes, in order.
    pub(crate) async fn take_in(&self, taken: Vec<Taken>, urgent: bool, pending: &mut PendingProduce) {
        let mut queues: [Vec<Item>; 3] = Default::default();
        for taken in taken {
            let bytes = u32::try_from(taken.bytes.len()).unwrap_or(u32::MAX);
            let room = self.room.clone().acquire_many_owned(bytes);
            let room = match tokio::time::timeout(limits::REQUEST_WAIT, room).await {
                Ok(Ok(room)) => room,
                _ => {
                    fail(&mut pending.response, taken.place, &Failure::queue_full());
                    continue;
                }
            };
            metrics::gauge!("strandline_ingest_buffer_bytes").set(limits::INGEST_BUFFER_BYTES.saturating_sub(self.room.available_permits()) as f64);
            let (reply, receiver) = oneshot::channel();
            pending.buffered.push(Buffered { reply: receiver, place: taken.place, log_append_time: taken.log_append_time() });
            let home = self.homes.enter(taken.partition, taken.topic.config.latency);
            queues[class_at(home.class())].push(Item::new(taken, home, reply, room));
        }
        for (sender, items) in self.senders.iter().zip(queues) {
            if !items.is_empty() {
                // If the buffer's task is gone, so are the replies: the outcome is then in doubt, as it should be.
                let _ = sender.send(Intake::Items { items, urgent }).await;
            }
        }
    }

    pub(crate) async fn drain(&self) {
        for sender in &self.senders {
            let (done, drained) = oneshot::channel();
            if sender.send(Intake::Drain(done)).await.is_ok() {
                let _ = drained.await;
            }
        }
    }
}

fn class_at(class: LatencyClass) -> usize {
    match class {
        LatencyClass::Express => 0,
        LatencyClass::Standard => 1,
        LatencyClass::Relaxed => 2,
    }
}
