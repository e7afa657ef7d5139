//! Which events there are, as eight bytes each: enough to say whether each came back once, the same, and in its place.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};
use strandline_client::PartitionName;
use strandline_types::RecordRef;

/// The digests of a partition's events by offset. The demo's topics are new, so offsets begin at 0.
#[derive(Debug, Default, Clone)]
pub(super) struct Tally {
    partitions: BTreeMap<PartitionName, Vec<u64>>,
    /// Events that came although they had come before.
    pub(super) repeated: u64,
    /// Offsets that were skipped, with the partition of the first.
    pub(super) skipped: u64,
    pub(super) bytes: u64,
}

impl Tally {
    /// Takes an event in at its offset.
    pub(super) fn add(&mut self, name: &PartitionName, record: &RecordRef<'_>) {
        let digests = match self.partitions.get_mut(name) {
            Some(digests) => digests,
            None => self.partitions.entry(name.clone()).or_default(),
        };
        let next = digests.len() as i64;
        if record.offset < next {
            self.repeated += 1;
            return;
        }
        // A place that is empty differs from every event's digest, but for one chance in 2^64.
        self.skipped += (record.offset - next) as u64;
        let places = usize::try_from(record.offset).unwrap_or(usize::MAX).min(digests.len() + MOST_SKIPPED);
        digests.resize(places, 0);
        digests.push(digest(record));
        self.bytes += bytes(record);
    }

    /// The offset that the next event of a partition gets.
    pub(super) fn next_offset(&self, name: &PartitionName) -> i64 {
        self.partitions.get(name).map_or(0, Vec::len) as i64
    }

    pub(super) fn events(&self) -> u64 {
        self.partitions.values().map(Vec::len).sum::<usize>() as u64
    }

    pub(super) fn partitions(&self) -> impl Iterator<Item = (&PartitionName, i64)> {
        self.partitions.iter().map(|(name, digests)| (name, digests.len() as i64))
    }

    /// Whether every event of `other` came here; `repeated` and `skipped` say the rest.
    pub(super) fn covers(&self, other: &Self) -> bool {
        other.partitions().all(|(name, end)| self.next_offset(name) >= end)
    }

    /// What is not as it was sent, in words; empty when all is right.
    pub(super) fn differences(&self, sent: &Self) -> Vec<String> {
        let mut found = Vec::new();
        if self.repeated > 0 {
            found.push(format!("{} events came more than once", self.repeated));
        }
        if self.skipped > 0 {
            found.push(format!("{} offsets were skipped", self.skipped));
        }
        for name in self.partitions.keys().filter(|name| !sent.partitions.contains_key(*name)) {
            found.push(format!("{}-{} has events that nobody sent", name.0, name.1));
        }
        for (name, expected) in &sent.partitions {
            let came = self.partitions.get(name).map(Vec::as_slice).unwrap_or_default();
            if came.len() != expected.len() {
                found.push(format!("{}-{}: {} events were sent, {} came", name.0, name.1, expected.len(), came.len()));
            }
            if let Some(offset) = expected.iter().zip(came).position(|(expected, came)| expected != came) {
                found.push(format!("{}-{}: the event at offset {offset} is not the one that was sent", name.0, name.1));
            }
        }
        found
    }
}

/// More skipped places than this are counted and not kept.
const MOST_SKIPPED: usize = 1_000_000;

/// Everything a consumer sees of it: offset, time, key, value, headers in order.
fn digest(record: &RecordRef<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    record.digest_into(|bytes| hasher.write(bytes));
    hasher.finish()
}

fn bytes(record: &RecordRef<'_>) -> u64 {
    let length = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
    let headers: usize = record.headers.iter().map(|header| header.key.len() + length(header.value)).sum();
    (length(record.key) + length(record.value) + headers) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use strandline_types::TimestampType;

    fn tally(values: &[(i64, &[u8])]) -> Tally {
        let mut tally = Tally::default();
        for (offset, value) in values {
            let record = RecordRef {
                offset: *offset,
                timestamp_ms: 5,
                timestamp_type: TimestampType::Create,
                key: None,
                value: Some(value),
                headers: &[],
            };
            tally.add(&("t".into(), 0), &record);
        }
        tally
    }

    #[test]
    fn what_is_lost_doubled_changed_or_moved_is_found() {
        let sent = tally(&[(0, b"a"), (1, b"b"), (2, b"c")]);
        assert!(tally(&[(0, b"a"), (1, b"b"), (2, b"c")]).differences(&sent).is_empty());
        assert_eq!(sent.bytes, 3);
        for wrong in [
            &[(0, &b"a"[..]), (1, b"b")][..],
            &[(0, b"a"), (2, b"c")],
            &[(0, b"a"), (1, b"b"), (1, b"b"), (2, b"c")],
            &[(0, b"a"), (1, b"x"), (2, b"c")],
            &[(0, b"b"), (1, b"a"), (2, b"c")],
            &[(0, b"a"), (1, b"b"), (2, b"c"), (3, b"d")],
            &[],
        ] {
            assert!(!tally(wrong).differences(&sent).is_empty(), "{wrong:?}");
        }
        assert!(!tally(&[(0, b"a")]).covers(&sent) && sent.covers(&tally(&[(0, b"x")])));
        assert!(!sent.differences(&Tally::default()).is_empty());
    }
}
