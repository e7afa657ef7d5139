//! What clients sent, were told and saw.

use std::collections::BTreeMap;
use strandline_types::TopicPartition;

/// One record: its producer in the upper half, its number in the lower.
pub(crate) type RecordId = u64;

pub(crate) fn record_id(producer: u32, number: u32) -> RecordId {
    u64::from(producer) << 32 | u64::from(number)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub id: RecordId,
    pub timestamp_ms: i64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Tries {
    most: u32,
    idempotent: bool,
}

/// The record of a run. Whatever contradicts it is a violation.
#[derive(Default)]
pub(crate) struct Ledger {
    seen: BTreeMap<TopicPartition, BTreeMap<i64, Seen>>,
    acked: BTreeMap<TopicPartition, BTreeMap<i64, RecordId>>,
    /// Per record and where it was sent, how often it may be there at most: anywhere else it may not be at all.
    tries: BTreeMap<(TopicPartition, RecordId), Tries>,
    places: BTreeMap<(TopicPartition, RecordId), Vec<i64>>,
}

impl Ledger {
    /// A record is about to be sent there (again). Idempotent ones count once, however often they are sent.
    pub fn tried(&mut self, at: TopicPartition, id: RecordId, idempotent: bool) {
        let tries = self.tries.entry((at, id)).or_default();
        *tries = Tries { most: if idempotent { 1 } else { tries.most + 1 }, idempotent };
    }

    /// A client was told that one try of its record is surely not there.
    pub fn refused(&mut self, at: TopicPartition, id: RecordId) -> Result<(), String> {
        let tries = self.tries.entry((at, id)).or_default();
        if tries.idempotent {
            return Ok(());
        }
        tries.most = tries.most.saturating_sub(1);
        let places = self.places.get(&(at, id)).map_or(0, Vec::len);
        if places > tries.most as usize {
            return Err(format!(
                "{at:?} holds record {id:x} {places} times, and no more than {} tries were left open",
                tries.most
            ));
        }
        Ok(())
    }

    /// A client was told that its record is at this offset.
    pub fn acked(&mut self, at: TopicPartition, offset: i64, id: RecordId) -> Result<(), String> {
        match self.acked.entry(at).or_default().insert(offset, id) {
            Some(other) if other != id => {
                return Err(format!("{at:?} offset {offset} was acknowledged to {other:x} and to {id:x}"));
            }
            _ => {}
        }
        self.place(at, offset, id)
    }

    /// A consumer was given this record at this offset.
    pub fn saw(&mut self, at: TopicPartition, offset: i64, seen: Seen) -> Result<(), String> {
        if let Some(before) = self.seen.entry(at).or_default().insert(offset, seen)
            && before != seen
        {
            return Err(format!("{at:?} offset {offset} held {before:x?}, and then {seen:x?} (I6)"));
        }
        if let Some(acked) = self.acked.get(&at).and_then(|acked| acked.get(&offset))
            && *acked != seen.id
        {
            return Err(format!("{at:?} offset {offset} was acknowledged to {acked:x} and holds {:x} (I1)", seen.id));
        }
        self.place(at, offset, seen.id)
    }

    fn place(&mut self, at: TopicPartition, offset: i64, id: RecordId) -> Result<(), String> {
        let tries = self.tries.get(&(at, id)).map_or(0, |tries| tries.most);
        let places = self.places.entry((at, id)).or_default();
        if !places.contains(&offset) {
            places.push(offset);
        }
        if places.len() > tries as usize {
            return Err(format!("{at:?} holds record {id:x} at {places:?}, it was tried {tries} times"));
        }
        Ok(())
    }

    pub fn has_seen(&self, at: TopicPartition, offset: i64) -> bool {
        self.seen.get(&at).is_some_and(|seen| seen.contains_key(&offset))
    }

    /// Where a record of an idempotent producer is.
    pub fn place_of(&self, at: TopicPartition, id: RecordId) -> Option<i64> {
        self.places.get(&(at, id))?.first().copied()
    }

    /// What was acknowledged from `log_start` on.
    pub fn acked_from(&self, at: TopicPartition, log_start: i64) -> BTreeMap<i64, RecordId> {
        self.acked.get(&at).map(|acked| acked.range(log_start..).map(|(offset, id)| (*offset, *id)).collect()).unwrap_or_default()
    }

    pub fn counts(&self) -> (usize, usize) {
        (self.acked.values().map(BTreeMap::len).sum(), self.seen.values().map(BTreeMap::len).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strandline_types::TopicId;

    fn at(topic: u8, partition: i32) -> TopicPartition {
        TopicPartition { topic_id: TopicId([topic; 16]), partition }
    }

    #[test]
    fn a_record_is_where_it_was_sent_as_often_as_it_was_tried_and_nowhere_else() {
        let mut ledger = Ledger::default();
        let seen = Seen { id: 7, timestamp_ms: 0 };
        ledger.tried(at(1, 0), 7, false);
        ledger.tried(at(1, 0), 7, false);
        ledger.saw(at(1, 0), 3, seen).unwrap();
        ledger.acked(at(1, 0), 4, 7).unwrap();
        ledger.saw(at(1, 0), 5, seen).unwrap_err();
        // Another partition; another topic, of the same name perhaps.
        ledger.saw(at(1, 1), 0, seen).unwrap_err();
        ledger.acked(at(2, 0), 0, 7).unwrap_err();
        ledger.tried(at(1, 0), 8, true);
        ledger.tried(at(1, 0), 8, true);
        ledger.acked(at(1, 0), 9, 8).unwrap();
        ledger.acked(at(1, 0), 10, 8).unwrap_err();
    }
}
