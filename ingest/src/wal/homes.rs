//! Which buffer a partition's batches are in, and which of them must not be committed any more.

use std::sync::{Arc, Mutex, PoisonError};
use strandline_topic_config::LatencyClass;
use strandline_types::{FixedHashMap, TopicPartition};

/// Partitions that have batches in a buffer or on their way from one. All of a partition's batches go through one buffer at a
/// time: a topic that changes its class stays in the old one until that is empty of it, else a batch could overtake.
#[derive(Default)]
pub(crate) struct Homes(Mutex<Table>);

#[derive(Default)]
struct Table {
    partitions: FixedHashMap<TopicPartition, Home>,
    /// Numbers the batches of all partitions in the order of intake.
    taken_in: u64,
}

struct Home {
    class: LatencyClass,
    outstanding: usize,
    /// Batches up to this number fail: an earlier one was lost.
    failed_up_to: u64,
}

/// One batch's stay.
pub(crate) struct Stay {
    homes: Arc<Homes>,
    partition: TopicPartition,
    class: LatencyClass,
    number: u64,
}

impl Homes {
    pub(crate) fn enter(self: &Arc<Self>, partition: TopicPartition, class: LatencyClass) -> Stay {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        table.taken_in += 1;
        let number = table.taken_in;
        let home = table.partitions.entry(partition).or_insert(Home { class, outstanding: 0, failed_up_to: 0 });
        home.outstanding += 1;
        Stay { homes: self.clone(), partition, class: home.class, number }
    }

    /// A batch of this partition was lost: every later one that was taken in by now is lost with it.
    pub(crate) fn fail(&self, partition: TopicPartition) {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let taken_in = table.taken_in;
        if let Some(home) = table.partitions.get_mut(&partition) {
            home.failed_up_to = taken_in;
        }
    }
}

impl Stay {
    pub(crate) fn class(&self) -> LatencyClass {
        self.class
    }

    /// An earlier batch of the partition was lost after this one was taken in.
    pub(crate) fn has_failed(&self) -> bool {
        let table = self.homes.0.lock().unwrap_or_else(PoisonError::into_inner);
        table.partitions.get(&self.partition).is_some_and(|home| self.number <= home.failed_up_to)
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        let mut table = self.homes.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(home) = table.partitions.get_mut(&self.partition) {
            home.outstanding -= 1;
            if home.outstanding == 0 {
                table.partitions.remove(&self.partition);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strandline_types::TopicId;

    const PARTITION: TopicPartition = TopicPartition { topic_id: TopicId([1; 16]), partition: 0 };

    #[test]
    fn a_partition_stays_in_its_class_until_nothing_of_it_is_left() {
        let homes = Arc::new(Homes::default());
        let first = homes.enter(PARTITION, LatencyClass::Standard);
        let second = homes.enter(PARTITION, LatencyClass::Express);
        assert_eq!(second.class(), LatencyClass::Standard);
        drop((first, second));
        assert_eq!(homes.enter(PARTITION, LatencyClass::Express).class(), LatencyClass::Express);
    }

    #[test]
    fn what_was_taken_in_before_a_failure_fails_and_what_comes_after_does_not() {
        let homes = Arc::new(Homes::default());
        let other = homes.enter(TopicPartition { partition: 1, ..PARTITION }, LatencyClass::Standard);
        let before = homes.enter(PARTITION, LatencyClass::Standard);
        homes.fail(PARTITION);
        let after = homes.enter(PARTITION, LatencyClass::Standard);
        assert!(before.has_failed() && !after.has_failed() && !other.has_failed());
    }
}
