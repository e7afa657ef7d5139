//! Extents that cannot be read: each is tried again for a while, beside everything else, and then given up if its bytes are gone.

use std::collections::BTreeMap;
use strandline_index::Extent;
use strandline_types::{TopicId, limits};

/// How an extent could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The store or the log failed. The bytes may well be there.
    Unavailable,
    /// Its bytes are not there although the newest view names them, or are not those that were written.
    Lost,
}

/// What is known of a partition's extents that could not be read. Only this run knows it.
#[derive(Debug, Clone, PartialEq)]
struct Trouble {
    /// By first offset.
    extents: BTreeMap<i64, Tried>,
    wait_ms: i64,
    again_ms: i64,
}

#[derive(Debug, Clone, PartialEq)]
struct Tried {
    extent: Extent,
    first_ms: i64,
    tries: u32,
}

/// What a conversion leaves out. Times are those of the clock that only goes forward.
#[derive(Debug, Default)]
pub(crate) struct Unreadable {
    partitions: BTreeMap<(TopicId, i32), Trouble>,
    /// Those that were given up and of which some batches are sound, or all after all: these are converted. By topic, partition and first offset.
    salvaged: BTreeMap<(TopicId, i32, i64), Extent>,
}

impl Unreadable {
    /// Per partition of the topic, the offset from which nothing is read for the time being.
    pub fn held_back(&self, topic_id: TopicId, now_ms: i64) -> BTreeMap<i32, i64> {
        let waiting = self.of_topic(topic_id).filter(|(_, trouble)| trouble.again_ms > now_ms);
        waiting.filter_map(|(partition, trouble)| Some((partition, *trouble.extents.first_key_value()?.0))).collect()
    }

    /// When the topic's first is to be tried again.
    pub fn next_try_ms(&self, topic_id: TopicId) -> Option<i64> {
        self.of_topic(topic_id).map(|(_, trouble)| trouble.again_ms).min()
    }

    fn of_topic(&self, topic_id: TopicId) -> impl Iterator<Item = (i32, &Trouble)> {
        let range = self.partitions.range((topic_id, i32::MIN)..=(topic_id, i32::MAX));
        range.map(|((_, partition), trouble)| (*partition, trouble))
    }

    /// Takes in what a read of a partition's extents below `until` came to: those that failed, all others having been read. Returns those that
    /// are to be given up: they have failed for long enough, and are gone.
    pub fn note(
        &mut self,
        topic_id: TopicId,
        partition: i32,
        until: i64,
        failed: &[(Extent, Failure)],
        first_wait_ms: i64,
        now_ms: i64,
    ) -> Vec<Extent> {
        let Some(known) = self.partitions.remove(&(topic_id, partition)).or_else(|| {
            let fresh = Trouble { extents: BTreeMap::new(), wait_ms: first_wait_ms.max(1) / 2, again_ms: now_ms };
            (!failed.is_empty()).then_some(fresh)
        }) else {
            return Vec::new();
        };
        let mut given_up = Vec::new();
        let mut extents: BTreeMap<i64, Tried> =
            known.extents.range(until..).map(|(start, tried)| (*start, tried.clone())).collect();
        for (extent, failure) in failed {
            let before = known.extents.get(&extent.start).filter(|tried| tried.extent == *extent);
            let (first_ms, tries) = before.map_or((now_ms, 1), |tried| (tried.first_ms, tried.tries + 1));
            let long_enough = now_ms.saturating_sub(first_ms) >= crate::options::millis(limits::EXTENT_TRIES_LAST);
            if *failure == Failure::Lost && tries >= limits::EXTENT_TRIES && long_enough {
                given_up.push(*extent);
            }
            extents.insert(extent.start, Tried { extent: *extent, first_ms, tries });
        }
        if !extents.is_empty() {
            // Tried often enough by the time that it may be given up.
            let most_ms = crate::options::millis(limits::EXTENT_TRIES_LAST) / i64::from(limits::EXTENT_TRIES - 1);
            let wait_ms = (known.wait_ms * 2).clamp(1, most_ms.max(1));
            // What was given up is soon converted, or no more; if it is neither after all, it is not asked for all the time.
            let again_ms = now_ms.saturating_add(if given_up.is_empty() { wait_ms } else { first_wait_ms.max(1) });
            self.partitions.insert((topic_id, partition), Trouble { extents, wait_ms, again_ms });
        }
        given_up
    }

    /// From here on what is sound of this extent is converted.
    pub fn salvage(&mut self, topic_id: TopicId, partition: i32, extent: Extent) {
        self.salvaged.insert((topic_id, partition, extent.start), extent);
    }

    /// Whether what is sound of this extent is to be converted.
    pub fn is_salvaged(&self, topic_id: TopicId, partition: i32, extent: &Extent) -> bool {
        self.salvaged.get(&(topic_id, partition, extent.start)) == Some(extent)
    }

    /// Forgets extents that are no more, or lie elsewhere.
    pub fn retain(&mut self, exists: impl Fn(TopicId, i32, &Extent) -> bool) {
        self.salvaged.retain(|(topic_id, partition, _), extent| exists(*topic_id, *partition, extent));
        self.partitions.retain(|(topic_id, partition), trouble| {
            trouble.extents.retain(|_, tried| exists(*topic_id, *partition, &tried.extent));
            !trouble.extents.is_empty()
        });
    }

    /// How many extents there are.
    pub fn count(&self) -> usize {
        self.partitions.values().map(|trouble| trouble.extents.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strandline_index::ExtentPlace;
    use strandline_types::Seq;

    fn extent(start: i64) -> Extent {
        Extent {
            start,
            end: start + 10,
            place: ExtentPlace::Inline { seq: Seq(1), position: 0 },
            length: 1,
            ingest_ms: 0,
            log_append_time: false,
            max_timestamp_ms: 0,
            max_timestamp_offset: start,
        }
    }

    #[test]
    fn what_is_gone_is_given_up_after_so_many_tries_and_what_may_come_back_is_not() {
        let topic = TopicId([7; 16]);
        let mut unreadable = Unreadable::default();
        let failed = [(extent(10), Failure::Lost), (extent(30), Failure::Unavailable), (extent(50), Failure::Lost)];
        let (mut now_ms, mut tries) = (1_000, 0);
        let given_up = loop {
            let given_up = unreadable.note(topic, 3, 60, &failed, 200, now_ms);
            tries += 1;
            if !given_up.is_empty() {
                break given_up;
            }
            assert_eq!(unreadable.held_back(topic, now_ms), BTreeMap::from([(3, 10)]));
            now_ms = unreadable.next_try_ms(topic).unwrap();
            assert_eq!(unreadable.held_back(topic, now_ms), BTreeMap::new());
            assert!(tries < 100);
        };
        assert_eq!(given_up, [extent(10), extent(50)]);
        assert!(tries >= limits::EXTENT_TRIES && now_ms >= 1_000 + crate::options::millis(limits::EXTENT_TRIES_LAST));
        assert!(now_ms < 1_000 + 2 * crate::options::millis(limits::EXTENT_TRIES_LAST));
        // Read at last: nothing is known any more. Another extent in its place begins anew.
        assert!(unreadable.note(topic, 3, 60, &[], 200, now_ms).is_empty());
        assert_eq!((unreadable.count(), unreadable.next_try_ms(topic)), (0, None));
        assert!(unreadable.note(topic, 3, 60, &failed[..1], 200, now_ms + 1_000_000).is_empty());
        assert!(unreadable.note(topic, 3, 10, &[], 200, now_ms + 1_000_000).is_empty());
        assert_eq!(unreadable.count(), 1, "it was not looked at");
        unreadable.retain(|_, _, _| false);
        assert_eq!(unreadable.count(), 0);
    }
}
