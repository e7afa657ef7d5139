//! What one conversion takes in: decided from the index alone, without I/O.

use std::collections::BTreeMap;
use strandline_index::{AbortedTransaction, Extent, Format, Partition, Topic};
use strandline_types::calendar::Day;
use strandline_types::{TopicId, limits};

/// The UTC day of a time, in days since 1970.
pub(crate) fn day_of(ms: i64) -> i32 {
    Day::of_ms(ms).0
}

/// Extents of one partition that become rows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PartitionInput {
    pub partition: i32,
    /// The frontier.
    pub start: i64,
    /// Where the frontier will be.
    pub end: i64,
    /// Records below it are not written: nobody can read them any more.
    pub log_start: i64,
    /// From `start` to `end`, without a gap.
    pub extents: Vec<Extent>,
    /// Aborted transactions that may overlap them.
    pub aborted: Vec<AbortedTransaction>,
}

/// One conversion: stable extents of one topic and one UTC day.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ConversionPlan {
    pub topic_id: TopicId,
    pub topic: String,
    pub day: i32,
    pub key_format: Format,
    pub value_format: Format,
    /// Ascending by partition.
    pub inputs: Vec<PartitionInput>,
    /// Bytes of batches in them.
    pub bytes: u64,
}

impl PartitionInput {
    /// These extents of a partition, from its frontier on. None without extents.
    pub(crate) fn of(topic: &Topic, number: usize, extents: Vec<Extent>) -> Option<Self> {
        let partition = topic.partitions.get(number)?;
        let (start, end) = (extents.first()?.start, extents.last()?.end);
        Some(Self {
            partition: i32::try_from(number).ok()?,
            start: start.max(partition.frontier),
            end,
            log_start: partition.log_start,
            extents,
            aborted: partition.aborted.iter().filter(|aborted| aborted.first_offset < end).copied().collect(),
        })
    }
}

impl ConversionPlan {
    /// These inputs of a topic, whose records came on `day`.
    pub(crate) fn of(topic: &Topic, day: i32, inputs: Vec<PartitionInput>) -> Self {
        Self {
            topic_id: topic.id,
            topic: topic.name.clone(),
            day,
            key_format: topic.key_format,
            value_format: topic.value_format,
            bytes: inputs.iter().flat_map(|input| &input.extents).map(|extent| extent.length).sum(),
            inputs,
        }
    }

    /// The same topic and day, of nothing.
    pub(crate) fn clone_without_inputs(&self) -> Self {
        Self { topic: self.topic.clone(), inputs: Vec::new(), bytes: 0, ..*self }
    }
}

/// How much of a topic waits to be converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Backlog {
    /// Stable bytes above the frontier.
    pub bytes: u64,
    /// Stable extents above the frontier.
    pub extents: u64,
    /// When the oldest of them was acknowledged.
    pub oldest_ms: Option<i64>,
    /// Bytes above the last stable offset: an open transaction holds them back.
    pub blocked_bytes: u64,
    /// Bytes of partitions whose extents are being sealed as they are: what follows is converted after that.
    pub pinned_bytes: u64,
}

/// How far a partition can be converted: up to its last stable offset, or to what is held back because it cannot be read.
fn stable_end(number: usize, partition: &Partition, held_back: &BTreeMap<i32, i64>) -> i64 {
    let held_back = i32::try_from(number).ok().and_then(|number| held_back.get(&number)).copied();
    partition.last_stable_offset().min(held_back.unwrap_or(i64::MAX))
}

/// What waits in a topic. `held_back`: per partition, the offset from which nothing is taken.
pub(crate) fn backlog(topic: &Topic, held_back: &BTreeMap<i32, i64>) -> Backlog {
    let mut found = Backlog::default();
    for (number, partition) in topic.partitions.iter().enumerate().filter(|(_, partition)| !partition.extents.is_empty()) {
        if partition.planned_end.is_some() {
            found.pinned_bytes += partition.extents.iter().map(|extent| extent.length).sum::<u64>();
            continue;
        }
        let stable = stable_end(number, partition, held_back);
        for extent in &partition.extents {
            if extent.end > stable {
                found.blocked_bytes += extent.length;
                continue;
            }
            found.bytes += extent.length;
            found.extents += 1;
            let oldest = found.oldest_ms.get_or_insert(extent.ingest_ms);
            *oldest = (*oldest).min(extent.ingest_ms);
        }
    }
    found
}

/// The next conversion of a topic: stable extents of one UTC day, up to `max_bytes` (at least one extent), of the partition that waits
/// longest and of those that follow it; `held_back` as for [`backlog`]. None if nothing is stable.
pub(crate) fn plan_conversion(topic: &Topic, max_bytes: u64, held_back: &BTreeMap<i32, i64>) -> Option<ConversionPlan> {
    // Whole backlogs of neighbours, from the partition that waits longest on: where more waits than one conversion takes, a few long runs
    // rather than a bit of each, since long ones have row groups of their own, which a seal copies as they are.
    let free = topic.partitions.iter().enumerate().filter(|(_, partition)| partition.planned_end.is_none());
    let mut waiting: Vec<(usize, &Partition)> = free.collect();
    let oldest = waiting.iter().enumerate().filter_map(|(at, (number, partition))| {
        let first = partition.extents.front().filter(|extent| extent.end <= stable_end(*number, partition, held_back))?;
        Some((first.ingest_ms, at))
    });
    let (oldest_ms, from) = oldest.min()?;
    let day = day_of(oldest_ms);
    waiting.rotate_left(from);
    let mut taken: BTreeMap<usize, Vec<Extent>> = BTreeMap::new();
    let (mut bytes, mut extents) = (0_u64, 0);
    'full: for (number, partition) in waiting {
        let stable = stable_end(number, partition, held_back);
        for extent in partition.extents.iter().take_while(|extent| extent.end <= stable && day_of(extent.ingest_ms) == day) {
            if extents > 0 && (bytes.saturating_add(extent.length) > max_bytes || extents >= limits::CONVERSION_EXTENTS) {
                break 'full;
            }
            bytes += extent.length;
            extents += 1;
            taken.entry(number).or_default().push(*extent);
        }
    }
    let inputs = taken.into_iter().filter_map(|(number, extents)| PartitionInput::of(topic, number, extents));
    Some(ConversionPlan::of(topic, day, inputs.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;
    use strandline_index::ExtentPlace;
    use strandline_types::Seq;
    use strandline_types::calendar::DAY_MS;

    fn extent(start: i64, end: i64, length: u64, ingest_ms: i64) -> Extent {
        Extent {
            start,
            end,
            place: ExtentPlace::Inline { seq: Seq(1), position: 0 },
            length,
            ingest_ms,
            log_append_time: false,
            max_timestamp_ms: ingest_ms,
            max_timestamp_offset: start,
        }
    }

    fn topic(partitions: Vec<Vec<(u64, i64)>>, open: Option<(usize, i64)>) -> Topic {
        let partitions = partitions.into_iter().enumerate().map(|(number, extents)| {
            let mut at = 0;
            let extents: VecDeque<_> = extents
                .into_iter()
                .map(|(length, ingest_ms)| {
                    at += 10;
                    extent(at - 10, at, length, ingest_ms)
                })
                .collect();
            let mut partition = Partition { next_offset: at, extents, ..Partition::default() };
            if let Some((of, offset)) = open.filter(|(of, _)| *of == number) {
                assert_eq!(of, number);
                partition.open_transactions.insert(offset, 1);
            }
            partition
        });
        Topic { name: "t".into(), partitions: partitions.collect(), ..Topic::default() }
    }

    #[test]
    fn where_more_waits_than_is_taken_whoever_waits_longest_goes_whole_and_its_neighbours_follow() {
        let ranges = |partitions, max_bytes| {
            let plan = plan_conversion(&topic(partitions, None), max_bytes, &BTreeMap::new()).unwrap();
            let ranges = plan.inputs.iter().map(|input| (input.partition, input.start, input.end));
            (ranges.collect::<Vec<_>>(), plan.bytes)
        };
        let of_two = vec![vec![(10, 5), (10, 9)], vec![(10, 6), (10, 7)]];
        assert_eq!(ranges(of_two.clone(), 30), (vec![(0, 0, 20), (1, 0, 10)], 30));
        assert_eq!(ranges(of_two, 100), (vec![(0, 0, 20), (1, 0, 20)], 40));
        // From the last one on it goes round to the first.
        let of_three = vec![vec![(10, 6), (10, 6)], vec![(10, 6)], vec![(10, 5), (10, 9)]];
        assert_eq!(ranges(of_three, 30), (vec![(0, 0, 10), (2, 0, 20)], 30));
    }

    #[test]
    fn nobody_waits_longer_than_one_round_of_all() {
        let mut topic = topic((0..48).map(|_| (0..10).map(|at| (100, at)).collect()).collect(), None);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..12 {
            for input in plan_conversion(&topic, 4_000, &BTreeMap::new()).unwrap().inputs {
                seen.insert(input.partition);
                let partition = &mut topic.partitions[input.partition as usize];
                partition.extents.drain(..input.extents.len());
                partition.frontier = input.end;
                // What comes meanwhile is younger.
                let (next, last_ms) = (partition.next_offset, 100 + i64::from(input.partition));
                partition.extents.push_back(extent(next, next + 10, 100, last_ms));
                partition.next_offset += 10;
            }
        }
        assert_eq!(seen.len(), 48);
    }

    #[test]
    fn what_is_held_back_stops_its_partition_alone() {
        let topic = topic(vec![vec![(10, 5), (10, 9)], vec![(10, 6), (10, 7)]], None);
        let ends = |held_back: &[(i32, i64)]| {
            let plan = plan_conversion(&topic, 1_000, &held_back.iter().copied().collect());
            plan.map(|plan| plan.inputs.iter().map(|input| (input.partition, input.end)).collect::<Vec<_>>())
        };
        assert_eq!(ends(&[(0, 10)]), Some(vec![(0, 10), (1, 20)]));
        assert_eq!(ends(&[(0, 0)]), Some(vec![(1, 20)]));
        assert_eq!(ends(&[(0, 0), (1, 0)]), None);
        assert_eq!(backlog(&topic, &BTreeMap::from([(1, 0)])).bytes, 20);
    }

    #[test]
    fn an_extent_larger_than_the_bound_goes_alone() {
        let topic = topic(vec![vec![(500, 5), (10, 9)]], None);
        assert_eq!(plan_conversion(&topic, 30, &BTreeMap::new()).unwrap().inputs[0].end, 10);
    }

    #[test]
    fn a_conversion_never_spans_a_day_and_stops_at_open_transactions() {
        let topic_of_days = topic(vec![vec![(1, DAY_MS - 1), (1, DAY_MS)], vec![(1, DAY_MS)]], None);
        let plan = plan_conversion(&topic_of_days, 1_000, &BTreeMap::new()).unwrap();
        assert_eq!((plan.day, plan.inputs.len(), plan.inputs[0].end), (0, 1, 10));
        let held = topic(vec![vec![(1, 1), (1, 2)]], Some((0, 12)));
        assert_eq!(plan_conversion(&held, 1_000, &BTreeMap::new()).unwrap().inputs[0].end, 10);
        let expected = Backlog { bytes: 1, extents: 1, oldest_ms: Some(1), blocked_bytes: 1, ..Backlog::default() };
        assert_eq!(backlog(&held, &BTreeMap::new()), expected);
        assert_eq!(plan_conversion(&topic(vec![vec![(1, 1)]], Some((0, 0))), 1_000, &BTreeMap::new()), None);
    }

    proptest! {
        /// Converting until nothing is left takes each extent once, in order, one day at a time.
        #[test]
        fn repeated_plans_cover_everything_once(
            mut partitions in prop::collection::vec(prop::collection::vec((1_u64..100, 0_i64..3 * DAY_MS), 0..12), 1..5),
            max_bytes in 1_u64..300,
        ) {
            for extents in &mut partitions {
                extents.sort_by_key(|(_, ingest_ms)| *ingest_ms);
            }
            let mut topic = topic(partitions, None);
            let mut rounds = 0;
            while let Some(plan) = plan_conversion(&topic, max_bytes, &BTreeMap::new()) {
                rounds += 1;
                prop_assert!(rounds < 100);
                prop_assert!(plan.bytes <= max_bytes || plan.inputs.iter().map(|input| input.extents.len()).sum::<usize>() == 1);
                for input in &plan.inputs {
                    let partition = &mut topic.partitions[input.partition as usize];
                    prop_assert_eq!(input.start, partition.frontier);
                    for extent in &input.extents {
                        prop_assert_eq!(Some(*extent), partition.extents.pop_front());
                        prop_assert_eq!(day_of(extent.ingest_ms), plan.day);
                    }
                    partition.frontier = input.end;
                }
            }
            for partition in &topic.partitions {
                prop_assert!(partition.extents.is_empty());
                prop_assert_eq!(partition.frontier, partition.next_offset);
            }
        }
    }
}
