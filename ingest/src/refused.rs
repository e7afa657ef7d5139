//! Batches that were refused here though they may come again: what their producer sent behind them does not overtake them.

use crate::failure::Failure;
use crate::sequences::is_ahead;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use strandline_commands::Batch;
use strandline_types::{ProducerId, TopicId};
use strandline_wire::ErrorCode;
use strandline_wire::messages::produce::ProduceRequest;
use strandline_wire::records::BatchHeader;

/// So many refused producers of partitions are remembered for a connection; of what was refused beyond, the order is not kept.
const REMEMBERED: usize = 10_000;
/// Who has not sent a batch again for so long has given it up, by the time-outs that clients have (Java's two minutes, librdkafka's five): what
/// follows is taken.
const COMES_WITHIN: Duration = Duration::from_secs(330);

/// Where a batch stands in what its producer sends to a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sequence {
    producer_id: ProducerId,
    epoch: i32,
    first: i32,
}

impl Sequence {
    /// Of what came for a partition; None if that is no batch of an idempotent producer.
    pub(crate) fn of(records: &[u8]) -> Option<Self> {
        let header = BatchHeader::parse(records).ok()?;
        Self::new(header.producer_id, header.producer_epoch.into(), header.base_sequence)
    }

    /// Of a batch that was taken.
    pub(crate) fn of_batch(batch: &Batch) -> Option<Self> {
        Self::new(batch.producer_id, batch.producer_epoch, batch.base_sequence)
    }

    fn new(producer_id: ProducerId, epoch: i32, first: i32) -> Option<Self> {
        (producer_id >= 0).then_some(Self { producer_id, epoch, first })
    }
}

/// A partition as the connection's requests name it.
type Named = (TopicId, String, i32);

/// What was refused of a connection's requests for want of room, of time, or of a topic that may still come. Where a partition knows nothing
/// of a producer, the fold takes whatever sequence comes first, as Kafka does; what was sent behind a refused batch would be taken then, and
/// the refused one never again.
#[derive(Debug, Default)]
pub(crate) struct Refused(Mutex<BTreeMap<(Named, ProducerId), Noted>>);

#[derive(Debug)]
struct Noted {
    sequence: Sequence,
    at: Duration,
}

impl Refused {
    /// Notes a batch that was refused `now`, if it may come again.
    pub(crate) fn note(&self, named: Named, sequence: Sequence, failure: &Failure, now: Duration) {
        if !comes_again(failure.code) {
            return;
        }
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let noted = all.entry((named, sequence.producer_id)).or_insert(Noted { sequence, at: now });
        if noted.sequence.epoch != sequence.epoch || !is_ahead(sequence.first, noted.sequence.first) {
            *noted = Noted { sequence, at: now };
        }
        if all.len() > REMEMBERED {
            all.pop_first();
        }
    }

    /// Notes all batches of a request that was refused as a whole.
    pub(crate) fn note_all(&self, request: &ProduceRequest, failure: &Failure, now: Duration) {
        for topic in &request.topic_data {
            for partition in &topic.partition_data {
                if let Some(sequence) = partition.records.as_deref().and_then(Sequence::of) {
                    self.note((topic.topic_id, topic.name.clone(), partition.index), sequence, failure, now);
                }
            }
        }
    }

    /// Refuses a batch that was sent behind one that was refused, unless the partition `knows` its producer: then the fold decides. One that
    /// is not behind it is what was waited for.
    pub(crate) fn demand_in_order(
        &self,
        (topic_id, name, partition): (TopicId, &str, i32),
        sequence: Sequence,
        now: Duration,
        knows: impl FnOnce(ProducerId) -> bool,
    ) -> Result<(), Failure> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.is_empty() {
            return Ok(());
        }
        let key = ((topic_id, name.to_owned(), partition), sequence.producer_id);
        let Some(noted) = all.get(&key) else { return Ok(()) };
        let is_behind = noted.sequence.epoch == sequence.epoch && is_ahead(sequence.first, noted.sequence.first);
        let is_awaited = now.saturating_sub(noted.at) <= COMES_WITHIN;
        if is_behind && is_awaited && !knows(sequence.producer_id) {
            return Err(Failure::overtakes());
        }
        all.remove(&key);
        Ok(())
    }
}

/// A client sends the same batch once more after these.
fn comes_again(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::RequestTimedOut
            | ErrorCode::KafkaStorageError
            | ErrorCode::UnknownTopicId
            | ErrorCode::UnknownTopicOrPartition
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_000);

    fn sequence(epoch: i32, first: i32) -> Sequence {
        Sequence { producer_id: 7, epoch, first }
    }

    fn named(partition: i32) -> Named {
        (TopicId::default(), "t".to_owned(), partition)
    }

    fn is_taken(refused: &Refused, partition: i32, sequence: Sequence) -> bool {
        refused.demand_in_order((TopicId::default(), "t", partition), sequence, NOW, |_| false).is_ok()
    }

    #[test]
    fn where_the_partition_knows_the_producer_the_fold_decides() {
        let refused = Refused::default();
        refused.note(named(0), sequence(0, 0), &Failure::no_room(), NOW);
        assert!(refused.demand_in_order((TopicId::default(), "t", 0), sequence(0, 10), NOW, |producer| producer == 7).is_ok());
        assert!(is_taken(&refused, 0, sequence(0, 10)), "nothing is noted any more");
    }

    #[test]
    fn what_was_sent_behind_a_refused_batch_waits_for_it() {
        let refused = Refused::default();
        refused.note(named(0), sequence(0, 10), &Failure::queue_full(), NOW);
        refused.note(named(0), sequence(0, 0), &Failure::no_room(), NOW);
        refused.note(named(0), sequence(0, 20), &Failure::no_room(), NOW);
        assert!(!is_taken(&refused, 0, sequence(0, 10)) && !is_taken(&refused, 0, sequence(0, 20)));
        assert!(is_taken(&refused, 1, sequence(0, 10)), "another partition");
        assert!(is_taken(&refused, 0, Sequence { producer_id: 8, ..sequence(0, 10) }), "another producer");
        assert!(is_taken(&refused, 0, sequence(0, 0)) && is_taken(&refused, 0, sequence(0, 10)));
    }

    #[test]
    fn a_batch_that_was_given_up_is_not_waited_for() {
        let refused = Refused::default();
        let after = |waited: Duration, first| {
            refused.demand_in_order((TopicId::default(), "t", 0), sequence(0, first), NOW + waited, |_| false).is_ok()
        };
        refused.note(named(0), sequence(0, 0), &Failure::no_room(), NOW - COMES_WITHIN);
        refused.note(named(0), sequence(0, 0), &Failure::no_room(), NOW);
        refused.note(named(0), sequence(0, 20), &Failure::no_room(), NOW + COMES_WITHIN);
        assert!(!after(COMES_WITHIN, 10), "it came again lately");
        assert!(after(COMES_WITHIN + Duration::from_millis(1), 10));
    }

    #[test]
    fn a_new_epoch_waits_for_nothing_of_the_old_one() {
        let refused = Refused::default();
        refused.note(named(0), sequence(0, 0), &Failure::no_room(), NOW);
        assert!(is_taken(&refused, 0, sequence(1, 0)) && is_taken(&refused, 0, sequence(1, 5)));
    }

    #[test]
    fn what_is_refused_for_good_holds_nothing_up_and_no_more_is_remembered_than_may_be() {
        let refused = Refused::default();
        refused.note(named(0), sequence(0, 0), &Failure::new(ErrorCode::InvalidTimestamp, "no"), NOW);
        assert!(is_taken(&refused, 0, sequence(0, 10)));
        for partition in 0..2 * REMEMBERED as i32 {
            refused.note(named(partition), sequence(0, 0), &Failure::no_room(), NOW);
        }
        assert_eq!(refused.0.lock().unwrap().len(), REMEMBERED);
    }
}
