//! The way into the buffers: which class a partition's batches go to, and the batches that no buffer's task has seen yet.
//!
//! One lock over all of it, held for a moment: what was taken in and what was lost have one order, so that no batch slips past
//! an earlier one that is being refused.

use super::item::Item;
use crate::door::Taken;
use crate::failure::Failure;
use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use strandline_index::BatchOutcome;
use strandline_runtime::Held;
use strandline_topic_config::LatencyClass;
use strandline_types::{FixedHashMap, TopicPartition};
use tokio::sync::{Notify, oneshot};

/// The three classes, each with its buffer.
pub(crate) const CLASSES: [LatencyClass; 3] = [LatencyClass::Express, LatencyClass::Standard, LatencyClass::Relaxed];

/// A class's place in [`CLASSES`].
const fn place(class: LatencyClass) -> usize {
    match class {
        LatencyClass::Express => 0,
        LatencyClass::Standard => 1,
        LatencyClass::Relaxed => 2,
    }
}

/// What came for one class since its task looked last.
#[derive(Default)]
pub(crate) struct Arrived {
    pub(crate) items: VecDeque<Item>,
    /// Do not wait for the linger.
    pub(crate) urgent: bool,
    /// Who waits until everything is committed.
    pub(crate) drains: Vec<oneshot::Sender<()>>,
    /// Nothing more will come.
    pub(crate) closed: bool,
}

/// Shared by those who take batches in and the tasks that buffer them.
#[derive(Default)]
pub(crate) struct Intake {
    table: Mutex<Table>,
    arrived: [Notify; 3],
}

#[derive(Default)]
struct Table {
    /// Partitions that have batches on their way. All of a partition's batches go through one buffer at a time: a topic that
    /// changes its class stays in the old one until that is empty of it, else a batch could overtake.
    homes: FixedHashMap<TopicPartition, Home>,
    waiting: [Arrived; 3],
}

struct Home {
    class: LatencyClass,
    outstanding: usize,
}

/// One batch on its way; its partition may change class once none is.
pub(crate) struct Stay {
    intake: Arc<Intake>,
    partition: TopicPartition,
}

/// A batch with the one who waits for it.
pub(crate) type Entry = (Taken, oneshot::Sender<Result<BatchOutcome, Failure>>, Held);

impl Intake {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes batches in, in this order.
    pub(crate) fn push(self: &Arc<Self>, entries: Vec<Entry>, urgent: bool) {
        let mut table = self.table();
        let mut touched = [false; 3];
        for (taken, reply, share) in entries {
            let (partition, class) = (taken.partition, taken.topic.config.latency);
            let home = table.homes.entry(partition).or_insert(Home { class, outstanding: 0 });
            home.outstanding += 1;
            let at = place(home.class);
            let stay = Stay { intake: self.clone(), partition };
            table.waiting[at].items.push_back(Item::new(taken, stay, reply, share));
            table.waiting[at].urgent |= urgent;
            touched[at] = true;
        }
        drop(table);
        self.arrived.iter().zip(touched).filter(|(_, touched)| *touched).for_each(|(arrived, _)| arrived.notify_one());
    }

    /// Asks a class to flush everything; the answer comes when it is committed.
    pub(crate) fn drain(&self, class: LatencyClass) -> oneshot::Receiver<()> {
        let (done, drained) = oneshot::channel();
        self.table().waiting[place(class)].drains.push(done);
        self.arrived[place(class)].notify_one();
        drained
    }

    /// Nothing more will come: the tasks end once they are done.
    pub(crate) fn close(&self) {
        self.table().waiting.iter_mut().for_each(|waiting| waiting.closed = true);
        self.arrived.iter().for_each(Notify::notify_one);
    }

    /// Returns when something may have come for this class.
    pub(crate) async fn arrived(&self, class: LatencyClass) {
        self.arrived[place(class)].notified().await;
    }

    /// What came for this class.
    pub(crate) fn take(&self, class: LatencyClass) -> Arrived {
        let mut table = self.table();
        let closed = table.waiting[place(class)].closed;
        std::mem::replace(&mut table.waiting[place(class)], Arrived { closed, ..Arrived::default() })
    }

    /// Takes out what came for these partitions: an earlier batch of theirs was lost.
    pub(crate) fn sweep(&self, class: LatencyClass, partitions: &BTreeSet<TopicPartition>) -> Vec<Item> {
        let mut table = self.table();
        let waiting = std::mem::take(&mut table.waiting[place(class)].items);
        let (swept, left): (VecDeque<Item>, VecDeque<Item>) =
            waiting.into_iter().partition(|item| partitions.contains(&item.partition));
        table.waiting[place(class)].items = left;
        // Dropped by the caller: that takes the lock.
        swept.into()
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        let mut table = self.intake.table();
        if let Some(home) = table.homes.get_mut(&self.partition) {
            home.outstanding -= 1;
            if home.outstanding == 0 {
                table.homes.remove(&self.partition);
            }
        }
    }
}
