//! When a topic's fresh segments are sealed, and which of them: decided from the index alone.

use crate::files::weight;
use std::collections::{BTreeMap, BTreeSet};
use strandline_index::{FreshSegment, Topic};
use strandline_types::calendar::DAY_MS;
use strandline_types::mutations::{Rule, holds};
use strandline_types::{ObjectName, TopicId, limits};

/// Milliseconds of an hour.
const HOUR_MS: i64 = 3_600_000;
/// Boundaries of time are spread over this by topic id.
const SPREAD_MS: i64 = 600_000;

/// What a topic says about sealing, and what waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SealTiming {
    /// `strandline.bronze.seal.ms`: divides a day, and replaces hour and day.
    pub interval_ms: Option<i64>,
    /// Retention waits for a seal (`BronzeRule::outlasts`), and nothing was sealed for `retention.ms`.
    pub is_waited_for: bool,
    /// A sealed file's aim.
    pub file_bytes: u64,
}

/// Why a seal is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SealReason {
    /// Someone asked for it.
    Forced,
    /// There is enough for a file.
    Full,
    /// Its interval has ended, or retention waits for it.
    Time,
}

/// How far into an interval a topic's boundary lies.
pub(crate) fn spread_ms(topic_id: TopicId, interval_ms: i64) -> i64 {
    let spread = SPREAD_MS.min(interval_ms / 6);
    if spread <= 0 {
        return 0;
    }
    let [a, b, c, d, ..] = topic_id.0;
    i64::from(u32::from_be_bytes([a, b, c, d])) % spread
}

/// The start of the last interval that has wholly ended for this topic at `now_ms`: what was taken in before it is due.
pub(crate) fn ended_before_ms(topic_id: TopicId, interval_ms: i64, now_ms: i64) -> i64 {
    let spread = spread_ms(topic_id, interval_ms);
    (now_ms - spread).div_euclid(interval_ms) * interval_ms
}

/// Whether a segment has rows that a forced seal is to reach: per partition, offsets before `ends`. So a seal that is asked for on
/// a topic that is being written has an end.
fn is_asked_for(segment: &FreshSegment, ends: &[i64]) -> bool {
    let end_of = |partition| usize::try_from(partition).ok().and_then(|partition| ends.get(partition));
    segment.file.ranges.iter().any(|range| end_of(range.partition).is_some_and(|end| range.start < *end))
}

/// Whether the topic's oldest day has something to seal now, and of which day; with `forced` ends, whether anything before them is
/// there. `seen_boundary_ms` is what [`boundary_ms`] was at the last look (merges renew a segment's time, a boundary that passed
/// counts all the same).
pub(crate) fn seal_due(
    topic: &Topic,
    timing: SealTiming,
    now_ms: i64,
    seen_boundary_ms: Option<i64>,
    forced: Option<&[i64]>,
) -> Option<(i32, SealReason)> {
    let free = || {
        let free = topic.fresh.values().filter(|segment| is_free(segment) && is_live(segment));
        free.filter(move |segment| forced.is_none_or(|ends| is_asked_for(segment, ends)))
    };
    let day = free().map(|segment| segment.file.ingest_day).min()?;
    let of_day = || free().filter(|segment| segment.file.ingest_day == day);
    let bytes: u64 = of_day().map(|segment| segment.file.size).sum();
    if forced.is_some() {
        return Some((day, SealReason::Forced));
    }
    if bytes >= timing.file_bytes {
        return Some((day, SealReason::Full));
    }
    let oldest_ms = of_day().map(|segment| segment.since_ms).min()?;
    if timing.is_waited_for {
        return Some((day, SealReason::Time));
    }
    let day_start_ms = i64::from(day) * DAY_MS;
    let ended = |interval_ms: i64| {
        let ended_ms = ended_before_ms(topic.id, interval_ms, now_ms);
        // The day of the rows has ended, or an interval since the oldest of them came (or since the last look).
        day_start_ms + DAY_MS <= ended_ms
            || oldest_ms < ended_ms
            || seen_boundary_ms.is_some_and(|seen_ms| seen_ms < ended_ms && oldest_ms < now_ms)
    };
    let due = match timing.interval_ms {
        Some(interval_ms) if interval_ms > 0 => ended(interval_ms),
        _ => {
            day_start_ms + DAY_MS <= ended_before_ms(topic.id, DAY_MS, now_ms)
                || (bytes >= limits::SEAL_HOURLY_BYTES && ended(HOUR_MS))
        }
    };
    due.then_some((day, SealReason::Time))
}

/// The boundary to remember for the next [`seal_due`].
pub(crate) fn boundary_ms(topic_id: TopicId, timing: SealTiming, now_ms: i64) -> i64 {
    ended_before_ms(topic_id, timing.interval_ms.filter(|ms| *ms > 0).unwrap_or(HOUR_MS), now_ms)
}

/// No open plan has it as an input.
fn is_free(segment: &FreshSegment) -> bool {
    segment.plan.is_none() || !holds(Rule::C4)
}

fn is_live(segment: &FreshSegment) -> bool {
    segment.live_ranges > 0
}

/// Whole fresh segments of `day` for one sealed file: per partition they follow what is sealed without a gap, together they
/// fill a file (or are all there is), in as few partitions as possible; with `forced` ends, of those that begin before them. Empty
/// if an open plan is in the way.
pub(crate) fn choose_inputs(topic: &Topic, day: i32, file_bytes: u64, forced: Option<&[i64]>) -> Vec<ObjectName> {
    let queues = fresh_queues(topic);
    let mut next: BTreeMap<i32, usize> = queues.keys().map(|partition| (*partition, 0)).collect();
    let places = places_of(&queues);
    let mut chosen = Vec::new();
    let mut partitions: BTreeSet<i32> = BTreeSet::new();
    let (mut bytes, mut record_bytes) = (0_u64, 0_u64);
    loop {
        // Ready: at the head of the queue of every partition that it answers for.
        // Each of them once: a file of many partitions stands at the head of many queues.
        let heads: BTreeSet<ObjectName> =
            next.iter().filter_map(|(partition, at)| queues.get(partition)?.get(*at)).copied().collect();
        let ready = heads.into_iter().filter(|name| {
            let of_day = topic.fresh.get(name).is_some_and(|segment| {
                let asked_for = forced.is_none_or(|ends| is_asked_for(segment, ends));
                asked_for && is_free(segment) && segment.file.ingest_day == day
            });
            of_day && places.get(name).is_some_and(|places| places.iter().all(|(partition, at)| next.get(partition) == Some(at)))
        });
        let added = |name: &ObjectName| {
            places.get(name).map_or(0, |places| places.iter().filter(|(partition, _)| !partitions.contains(partition)).count())
        };
        let best = ready.min_by_key(|name| (added(name), *name));
        let Some((name, file)) = best.and_then(|name| Some((name, &topic.fresh.get(&name)?.file))) else { break };
        // One more would make the file far larger than its aim: it is the next file's.
        let too_large = bytes.saturating_add(file.size) > file_bytes.saturating_add(file_bytes / 2);
        let too_much = record_bytes.saturating_add(weight(file)) > limits::SEAL_RECORD_BYTES;
        if !chosen.is_empty() && (too_large || too_much) {
            break;
        }
        for (partition, at) in places.get(&name).into_iter().flatten() {
            partitions.insert(*partition);
            next.insert(*partition, at + 1);
        }
        (bytes, record_bytes) = (bytes.saturating_add(file.size), record_bytes.saturating_add(weight(file)));
        chosen.push(name);
        if bytes >= file_bytes || chosen.len() >= limits::SEAL_INPUTS {
            break;
        }
    }
    chosen
}

/// Per partition, its fresh segments in the order of their offsets.
fn fresh_queues(topic: &Topic) -> BTreeMap<i32, Vec<ObjectName>> {
    let queues = topic.partitions.iter().enumerate().filter(|(_, partition)| !partition.fresh.is_empty());
    let queues = queues.map(|(number, partition)| {
        (i32::try_from(number).unwrap_or(i32::MAX), partition.fresh.iter().map(|range| range.segment).collect())
    });
    queues.collect()
}

/// Per segment, where it stands in the queues.
fn places_of(queues: &BTreeMap<i32, Vec<ObjectName>>) -> BTreeMap<ObjectName, Vec<(i32, usize)>> {
    let mut places: BTreeMap<ObjectName, Vec<(i32, usize)>> = BTreeMap::new();
    for (partition, queue) in queues {
        for (at, name) in queue.iter().enumerate() {
            places.entry(*name).or_default().push((*partition, at));
        }
    }
    places
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;
    use strandline_commands::{FileRange, NewFile};
    use strandline_index::{FreshRange, Partition};
    use strandline_runtime::{Clock, SystemClock};
    use strandline_types::{Incarnation, Seq};

    pub(crate) fn name(n: u64) -> ObjectName {
        ObjectName { seq: Seq(1), incarnation: Incarnation(1), n }
    }

    /// A topic whose fresh segments hold ten offsets of each named partition; (day, size, since, partitions).
    pub(crate) fn topic_with(partitions: usize, segments: &[(i32, u64, i64, Vec<i32>)]) -> Topic {
        let mut topic = Topic { name: "t".into(), partitions: vec![Partition::default(); partitions], ..Topic::default() };
        for (n, (day, size, since_ms, of)) in segments.iter().enumerate() {
            let name = name(n as u64);
            let mut ranges = Vec::new();
            for partition in of {
                let state = &mut topic.partitions[*partition as usize];
                let start = state.frontier;
                state.frontier += 10;
                state.next_offset = state.frontier;
                let range =
                    FreshRange { start, end: start + 10, segment: name, max_timestamp_ms: 0, max_timestamp_offset: start };
                state.fresh.push_back(range);
                ranges.push(FileRange { partition: *partition, start, end: start + 10, rows: 10, ..FileRange::default() });
            }
            let live_ranges = ranges.len() as u64;
            let file = NewFile {
                path: format!("fresh/t/0/{name}.parquet"),
                size: *size,
                ingest_day: *day,
                ranges,
                ..NewFile::default()
            };
            topic.fresh.insert(name, FreshSegment { file, since: Seq(n as u64), since_ms: *since_ms, plan: None, live_ranges });
        }
        topic
    }

    const TIMING: SealTiming = SealTiming { interval_ms: None, is_waited_for: false, file_bytes: 100 << 20 };

    #[test]
    fn inputs_of_many_partitions_are_chosen_in_time_that_grows_with_the_partitions_alone() {
        let partitions = 6_000;
        let segments: Vec<_> = (0..24).map(|_| (0, 5 << 20, 0, (0..partitions).collect())).collect();
        let topic = topic_with(partitions as usize, &segments);
        let clock = SystemClock;
        let began = clock.monotonic();
        assert_eq!(choose_inputs(&topic, 0, 100 << 20, None).len(), 20);
        // It takes some 0.1 s; with their square it would take minutes.
        assert!(clock.monotonic().saturating_sub(began) < std::time::Duration::from_secs(15));
    }

    #[test]
    fn size_hour_and_day_make_a_seal_due() {
        let small = topic_with(1, &[(0, 1 << 20, 1_000, vec![0])]);
        assert_eq!(seal_due(&small, TIMING, 2 * HOUR_MS, None, None), None);
        assert_eq!(seal_due(&small, TIMING, 2 * HOUR_MS, None, Some(&[i64::MAX])), Some((0, SealReason::Forced)));
        assert_eq!(seal_due(&small, TIMING, DAY_MS - 1, None, None), None);
        assert_eq!(seal_due(&small, TIMING, DAY_MS, None, None), Some((0, SealReason::Time)));
        let medium = topic_with(1, &[(0, 9 << 20, 1_000, vec![0])]);
        assert_eq!(seal_due(&medium, TIMING, HOUR_MS - 1, None, None), None);
        assert_eq!(seal_due(&medium, TIMING, HOUR_MS, None, None), Some((0, SealReason::Time)));
        let full = topic_with(1, &[(0, 50 << 20, 1_000, vec![0]), (0, 50 << 20, 1_000, vec![0])]);
        assert_eq!(seal_due(&full, TIMING, 2_000, None, None), Some((0, SealReason::Full)));
        let own = SealTiming { interval_ms: Some(60_000), ..TIMING };
        assert_eq!(seal_due(&small, own, 59_999, None, None), None);
        assert_eq!(seal_due(&small, own, 60_000, None, None), Some((0, SealReason::Time)));
        assert_eq!(seal_due(&topic_with(1, &[]), TIMING, DAY_MS, None, Some(&[i64::MAX])), None);
    }

    #[test]
    fn what_retention_waits_for_is_sealed() {
        let small = topic_with(1, &[(0, 1, 1_000, vec![0])]);
        assert_eq!(seal_due(&small, TIMING, 61_000, None, None), None);
        let waited_for = SealTiming { is_waited_for: true, ..TIMING };
        assert_eq!(seal_due(&small, waited_for, 61_000, None, None), Some((0, SealReason::Time)));
    }

    #[test]
    fn a_merge_after_the_boundary_does_not_put_a_seal_off() {
        let merged = topic_with(1, &[(0, 9 << 20, HOUR_MS + 5, vec![0])]);
        assert_eq!(seal_due(&merged, TIMING, HOUR_MS + 10, None, None), None);
        assert_eq!(seal_due(&merged, TIMING, HOUR_MS + 10, Some(0), None), Some((0, SealReason::Time)));
        assert_eq!(seal_due(&merged, TIMING, HOUR_MS + 10, Some(HOUR_MS), None), None);
    }

    #[test]
    fn boundaries_are_spread_within_a_sixth_of_the_interval() {
        let ids = [TopicId([0xff; 16]), TopicId([0x12; 16]), TopicId([0x7a; 16])];
        for id in ids {
            assert!((0..SPREAD_MS).contains(&spread_ms(id, DAY_MS)));
            assert!((0..10_000).contains(&spread_ms(id, 60_000)));
            let spread = spread_ms(id, HOUR_MS);
            assert_eq!(ended_before_ms(id, HOUR_MS, HOUR_MS + spread), HOUR_MS);
            assert_eq!(ended_before_ms(id, HOUR_MS, HOUR_MS + spread - 1), 0);
        }
    }

    #[test]
    fn a_file_takes_as_few_partitions_as_fill_it() {
        let topic = topic_with(
            4,
            &[(0, 60, 0, vec![0, 1]), (0, 60, 0, vec![2, 3]), (0, 60, 0, vec![0, 1]), (0, 10, 0, vec![0, 1, 2, 3])],
        );
        assert_eq!(choose_inputs(&topic, 0, 100, None), vec![name(0), name(2)]);
    }

    proptest! {
        #[test]
        fn chosen_inputs_are_a_prefix_of_every_partition(
            segments in prop::collection::vec((0_i32..3, 1_u64..80, prop::collection::btree_set(0_i32..4, 1..4)), 1..20),
            file_bytes in 1_u64..300,
        ) {
            let mut segments: Vec<_> = segments.into_iter().map(|(day, size, of)| (day, size, 0_i64, of.into_iter().collect::<Vec<_>>())).collect();
            segments.sort_by_key(|(day, ..)| *day);
            let topic = topic_with(4, &segments);
            let day = segments[0].0;
            let chosen: BTreeSet<_> = choose_inputs(&topic, day, file_bytes, None).into_iter().collect();
            prop_assert!(!chosen.is_empty());
            for partition in &topic.partitions {
                let taken: Vec<bool> = partition.fresh.iter().map(|range| chosen.contains(&range.segment)).collect();
                prop_assert!(taken.is_sorted_by(|a, b| a >= b), "{taken:?}");
            }
            prop_assert!(chosen.iter().all(|name| topic.fresh[name].file.ingest_day == day));
            let bytes: u64 = chosen.iter().map(|name| topic.fresh[name].file.size).sum();
            prop_assert!(chosen.len() == 1 || bytes <= file_bytes + file_bytes / 2);
        }
    }
}
