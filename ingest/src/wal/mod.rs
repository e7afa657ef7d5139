//! Where the log takes small payloads only: batches wait in a buffer of their latency class and are flushed together, into a
//! WAL segment (PUT, then committed, I1) or, if they are few, inline.
//!
//! One task a class does all of it. Several segments are PUT at once, and commits follow one after the other in the order of
//! intake, so that no batch overtakes an earlier one of its partition, whatever fails.

mod copies;
mod intake;
mod item;
mod pipeline;
mod segment;

use crate::door::Taken;
use crate::failure::Failure;
use crate::options::IngestOptions;
use crate::pending::{Buffered, PendingProduce, Sent};
use intake::{CLASSES, Intake};
use item::Room;
use pipeline::Pipeline;
use std::sync::Arc;
use std::time::Duration;
use strandline_cache::Cache;
use strandline_cell::{Cell, Sequence};
use strandline_object_store::Objects;
use strandline_topic_config::LatencyClass;
use strandline_types::limits;
use tokio::sync::oneshot;

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
    intake: Arc<Intake>,
    room: Room,
}

impl Buffers {
    pub(crate) fn start(options: &IngestOptions, cell: &Cell, objects: &Objects, cache: Option<&Cache>) -> Self {
        let intake = Arc::new(Intake::default());
        let inline = Arc::new(segment::InlineBudget::new(cell.runtime().clock.clone()));
        for class in CLASSES {
            let rule = match class {
                LatencyClass::Express => {
                    FlushRule { linger: None, at_once_if_idle: true, inline_bytes: limits::ENTRY_INLINE_BYTES }
                }
                LatencyClass::Standard => FlushRule {
                    linger: Some(options.linger_standard),
                    at_once_if_idle: true,
                    inline_bytes: limits::INLINE_FLUSH_BYTES,
                },
                LatencyClass::Relaxed => FlushRule {
                    linger: Some(options.linger_relaxed),
                    at_once_if_idle: false,
                    inline_bytes: limits::INLINE_FLUSH_BYTES,
                },
            };
            let pipeline =
                Pipeline::new(class, rule, cell.clone(), objects.clone(), cache.cloned(), intake.clone(), inline.clone());
            cell.runtime().spawner.spawn("ingest buffer", pipeline.run());
        }
        Self { intake, room: Room::new() }
    }

    /// Puts the batches into the buffers of their classes, in order.
    pub(crate) async fn take_in(&self, taken: Vec<Taken>, urgent: bool, pending: &mut PendingProduce) {
        let mut entries = Vec::with_capacity(taken.len());
        for taken in taken {
            let bytes = taken.bytes.len();
            let mut share = self.room.take_now(bytes);
            if share.is_none() {
                // What is flushed gives room back: of one request more can come than there is room for.
                self.intake.push(std::mem::take(&mut entries), urgent);
                share = self.room.take_until(bytes, &*pending.clock, pending.started + limits::REQUEST_WAIT).await;
            }
            let Some(share) = share else {
                pending.refuse(taken.place, Sequence::of(&taken.batch), &Failure::queue_full());
                continue;
            };
            let (reply, receiver) = oneshot::channel();
            pending.buffered.push(Buffered { reply: receiver, sent: Sent::of(&taken) });
            entries.push((taken, reply, share));
        }
        self.intake.push(entries, urgent);
    }

    pub(crate) async fn drain(&self) {
        for drained in CLASSES.map(|class| self.intake.drain(class)) {
            let _ = drained.await;
        }
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        self.intake.close();
    }
}
