//! What was refused before it came to the commit queue: what its producer sends behind it does not overtake it. What is refused after that, the
//! cell knows.

use crate::failure::Failure;
use std::time::Duration;
use strandline_cell::{Awaited, Sequence};
use strandline_types::{ProducerId, TopicId, limits};
use strandline_wire::messages::produce::ProduceRequest;
use strandline_wire::records::BatchHeader;

/// Of what came for a partition; None if that is no batch of an idempotent producer.
pub(crate) fn sequence_of(records: &[u8]) -> Option<Sequence> {
    let header = BatchHeader::parse(records).ok()?;
    Sequence::new(header.producer_id, header.producer_epoch.into(), header.base_sequence)
}

/// A partition as requests name it: the topic may be one that is not there yet.
type Named = (TopicId, String, i32);

/// What was refused and may come again.
#[derive(Debug, Default)]
pub(crate) struct Refused(Awaited<Named>);

impl Refused {
    /// Notes a batch that was refused `now`, if it may come again.
    pub(crate) fn note(&self, named: Named, sequence: Sequence, failure: &Failure, now: Duration) {
        if failure.comes_again() && named.1.len() <= limits::TOPIC_NAME_BYTES {
            self.0.note(named, sequence, now);
        } else {
            self.0.forget(|| named, sequence);
        }
    }

    /// Notes all batches of a request that was refused as a whole.
    pub(crate) fn note_all(&self, request: &ProduceRequest, failure: &Failure, now: Duration) {
        for topic in &request.topic_data {
            for partition in &topic.partition_data {
                if let Some(sequence) = partition.records.as_deref().and_then(sequence_of) {
                    self.note((topic.topic_id, topic.name.clone(), partition.index), sequence, failure, now);
                }
            }
        }
    }

    /// Refuses a batch that was sent behind one that was refused, unless the partition `knows` its producer: then the fold decides.
    pub(crate) fn demand_in_order(
        &self,
        (topic_id, name, partition): (TopicId, &str, i32),
        sequence: Sequence,
        now: impl FnOnce() -> Duration,
        knows: impl FnOnce(ProducerId) -> bool,
    ) -> Result<(), Failure> {
        if self.0.is_quiet() {
            return Ok(());
        }
        let now = now();
        let passes = self.0.is_empty(now) || self.0.lets_pass(|| (topic_id, name.to_owned(), partition), sequence, now, knows);
        if passes { Ok(()) } else { Err(Failure::overtakes()) }
    }

    /// The same of one that is only looked at: it is not there yet, and what was sent behind it goes on waiting for it.
    pub(crate) fn holds_up(
        &self,
        (topic_id, name, partition): (TopicId, &str, i32),
        sequence: Sequence,
        now: impl FnOnce() -> Duration,
        knows: impl FnOnce(ProducerId) -> bool,
    ) -> bool {
        !self.0.is_quiet() && self.0.holds_up(|| (topic_id, name.to_owned(), partition), sequence, now(), knows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strandline_wire::ErrorCode;

    #[test]
    fn what_is_refused_for_good_holds_nothing_up() {
        let refused = Refused::default();
        let sequence = |first| Sequence::new(7, 0, first).unwrap();
        let named = || (TopicId::default(), "t".to_owned(), 0);
        let is_taken = |first| {
            refused.demand_in_order((TopicId::default(), "t", 0), sequence(first), || Duration::from_secs(1), |_| false).is_ok()
        };
        refused.note(named(), sequence(0), &Failure::new(ErrorCode::InvalidTimestamp, "no"), Duration::ZERO);
        assert!(is_taken(10));
        refused.note(named(), sequence(0), &Failure::no_room(), Duration::ZERO);
        assert!(!is_taken(10));
    }
}
