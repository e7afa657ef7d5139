//! Batches that are ahead of their producer's sequence wait for the ones before: a producer may change
//! node with five requests in flight, and this node's view may lag behind the other's commits.

use crate::door::Taken;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use strandline_cell::{Cell, is_ahead};
use strandline_commands::Batch;
use strandline_index::Index;
use strandline_types::{ProducerId, TopicPartition, limits};

type Key = (TopicPartition, ProducerId);

/// What this node has taken in and not heard of yet: the next batch of the same producer follows these, not the view.
#[derive(Default)]
pub(crate) struct Sequences(Arc<Mutex<BTreeMap<Key, Next>>>);

#[derive(Clone, Copy)]
struct Next {
    epoch: i32,
    sequence: i32,
    outstanding: usize,
}

/// One batch on its way; forgotten when it is dropped.
pub(crate) struct OnItsWay {
    all: Arc<Mutex<BTreeMap<Key, Next>>>,
    key: Key,
}

impl Drop for OnItsWay {
    fn drop(&mut self) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(next) = all.get_mut(&self.key) {
            next.outstanding -= 1;
            if next.outstanding == 0 {
                all.remove(&self.key);
            }
        }
    }
}

fn after(batch: &Batch) -> i32 {
    let next = i64::from(batch.base_sequence) + i64::from(batch.last_offset_delta) + 1;
    i32::try_from(next % (i64::from(i32::MAX) + 1)).unwrap_or(0)
}

/// The view says that something is still missing before this batch. Everything else is for the fold to decide.
fn must_wait(index: &Index, partition: TopicPartition, batch: &Batch) -> bool {
    let Some(found) = index.partition(partition.topic_id, partition.partition) else { return false };
    let expected = match found.producers.get(&batch.producer_id) {
        Some(known) if known.epoch != batch.producer_epoch => return false,
        Some(known) => {
            let Some(last) = known.batches.back() else { return false };
            i32::try_from((i64::from(last.last_sequence) + 1) % (i64::from(i32::MAX) + 1)).unwrap_or(0)
        }
        // The producer's first batch here comes through another node, perhaps. (Or the partition is a new one, where its
        // producers go on with their sequences: then nothing comes, and this one is taken.)
        None if batch.producer_id < index.cell.next_producer_id => 0,
        None => return false,
    };
    is_ahead(batch.base_sequence, expected)
}

impl Sequences {
    fn follows(&self, key: Key, batch: &Batch) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&key).is_some_and(|next| next.epoch == batch.producer_epoch && !is_ahead(batch.base_sequence, next.sequence))
    }

    fn take_in(&self, key: Key, batch: &Batch) -> OnItsWay {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let next = all.entry(key).or_insert(Next { epoch: 0, sequence: 0, outstanding: 0 });
        *next = Next { epoch: batch.producer_epoch, sequence: after(batch), outstanding: next.outstanding + 1 };
        OnItsWay { all: self.0.clone(), key }
    }

    /// Waits until each of these batches follows what is known, or [`limits::SEQUENCE_WAIT`] has passed; then the fold decides.
    pub(crate) async fn wait(&self, cell: &Cell, batches: &[Taken]) -> Vec<OnItsWay> {
        let give_up = cell.runtime().clock.monotonic() + limits::SEQUENCE_WAIT;
        let mut on_their_way = Vec::new();
        for taken in batches.iter().filter(|taken| taken.batch.producer_id >= 0) {
            let key = (taken.partition, taken.batch.producer_id);
            if !self.follows(key, &taken.batch) {
                let mut watch = cell.watch(vec![taken.partition]);
                while must_wait(&cell.view(), taken.partition, &taken.batch) {
                    let left = give_up.saturating_sub(cell.runtime().clock.monotonic());
                    if left.is_zero() || tokio::time::timeout(left, watch.changed()).await.is_err() {
                        break;
                    }
                }
            }
            on_their_way.push(self.take_in(key, &taken.batch));
        }
        on_their_way
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strandline_types::TopicId;

    fn batch(base_sequence: i32, records: u32) -> Batch {
        Batch { producer_id: 7, producer_epoch: 1, base_sequence, last_offset_delta: records - 1, ..Batch::default() }
    }

    #[test]
    fn sequences_are_on_a_circle() {
        assert_eq!(after(&batch(i32::MAX, 1)), 0);
        assert_eq!(after(&batch(i32::MAX - 1, 3)), 1);
    }

    #[test]
    fn what_is_on_its_way_counts_until_it_has_arrived() {
        let sequences = Sequences::default();
        let key = (TopicPartition { topic_id: TopicId([1; 16]), partition: 0 }, 7);
        assert!(!sequences.follows(key, &batch(3, 2)));
        let first = sequences.take_in(key, &batch(0, 3));
        assert!(sequences.follows(key, &batch(3, 2)) && !sequences.follows(key, &batch(4, 2)));
        let second = sequences.take_in(key, &batch(3, 2));
        drop(first);
        assert!(sequences.follows(key, &batch(5, 1)));
        drop(second);
        assert!(!sequences.follows(key, &batch(5, 1)));
    }
}
