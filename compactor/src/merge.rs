//! Many small fresh segments become larger ones, so that the index and the lists of files stay small; large ones hold few
//! partitions each, and so do the sealed files that are made of them.

use crate::error::WorkError;
use crate::files::{new_file, preference, sent_bytes_of, weight};
use crate::seal::log_starts;
use crate::shared::Shared;
use std::collections::{BTreeMap, BTreeSet};
use strandline_bronze::{CoveredRange, SegmentSpec, fresh_path};
use strandline_commands::{LeaseKind, Merge, NewFile};
use strandline_index::Topic;
use strandline_object_store::{Purpose, PutRule};
use strandline_types::mutations::{Rule, holds};
use strandline_types::{ObjectName, TopicId, limits};

/// The first tier holds segments below this; each further one is four times as large.
const FIRST_TIER_BYTES: u64 = 128 << 10;
const TIER_FACTOR: u64 = 4;
/// Bytes that one merge takes in, so that it does not take long.
const MERGE_BYTES: u64 = 64 << 20;

/// Whole fresh segments of one day, neighbours in every partition, similar in size; empty if there are too few.
pub(crate) fn choose_merge(topic: &Topic, merge_segments: usize, file_bytes: u64) -> Vec<ObjectName> {
    let order = linear_order(topic);
    let mut tier = FIRST_TIER_BYTES;
    let largest = largest_merged(merge_segments, file_bytes);
    loop {
        let bound = tier.min(largest);
        if let Some(run) = small_run(topic, &order, bound, merge_segments) {
            return run;
        }
        if tier >= largest {
            return Vec::new();
        }
        tier = tier.saturating_mul(TIER_FACTOR);
    }
}

/// What is as large waits for its seal.
fn largest_merged(merge_segments: usize, file_bytes: u64) -> u64 {
    (file_bytes / merge_segments.max(2) as u64).max(1)
}

/// The outputs of a merge: runs of neighbouring partitions, each large enough to wait for its seal, so that a sealed file is made of
/// few partitions. Halves of halves, whatever the topic's size, so that the runs of one merge are those of the next one, or parts of
/// them. One run where there is less. An output that waits is not merged again, and there are fewer of them than inputs: each is
/// as large as an input may be at most.
fn output_runs(cover: &[CoveredRange], bytes: &BTreeMap<i32, u64>, least_bytes: u64) -> Vec<Vec<CoveredRange>> {
    let last = cover.last().map_or(0, |range| range.partition).max(0).unsigned_abs();
    let width = u64::from(last).saturating_add(1).next_power_of_two();
    halves(cover, bytes, least_bytes, (0, width))
}

/// The runs of `cover`, which lies in this range of partitions.
fn halves(
    cover: &[CoveredRange],
    bytes: &BTreeMap<i32, u64>,
    least_bytes: u64,
    (start, width): (u64, u64),
) -> Vec<Vec<CoveredRange>> {
    if width > 1 {
        let half = width / 2;
        let middle = start + half;
        let (left, right) = cover.split_at(cover.partition_point(|range| i64::from(range.partition) < middle as i64));
        let is_enough = |run: &[CoveredRange]| {
            run.iter().map(|range| bytes.get(&range.partition).copied().unwrap_or(0)).sum::<u64>() >= least_bytes
        };
        match (left.is_empty(), right.is_empty()) {
            (false, true) => return halves(left, bytes, least_bytes, (start, half)),
            (true, false) => return halves(right, bytes, least_bytes, (middle, half)),
            _ if is_enough(left) && is_enough(right) => {
                let mut runs = halves(left, bytes, least_bytes, (start, half));
                runs.extend(halves(right, bytes, least_bytes, (middle, half)));
                return runs;
            }
            _ => {}
        }
    }
    vec![cover.to_vec()]
}

/// How many bytes of the files are each partition's, by its share of their rows.
fn bytes_by_partition(files: &[NewFile]) -> BTreeMap<i32, u64> {
    let mut bytes = BTreeMap::new();
    for file in files.iter().filter(|file| file.rows > 0) {
        for range in &file.ranges {
            let share = u128::from(file.size) * u128::from(range.rows) / u128::from(file.rows);
            *bytes.entry(range.partition).or_default() += u64::try_from(share).unwrap_or(file.size);
        }
    }
    bytes
}

/// The first run of at least `merge_segments` neighbours below `bound`.
fn small_run(topic: &Topic, order: &[ObjectName], bound: u64, merge_segments: usize) -> Option<Vec<ObjectName>> {
    let mut run: Vec<ObjectName> = Vec::new();
    let (mut day, mut bytes, mut record_bytes) = (None, 0_u64, 0_u64);
    for name in order {
        let segment = topic.fresh.get(name)?;
        let (size, records, of_day) = (segment.file.size, weight(&segment.file), segment.file.ingest_day);
        let in_memory = bytes + size <= MERGE_BYTES && record_bytes.saturating_add(records) <= limits::MERGE_RECORD_BYTES;
        let is_free = segment.plan.is_none() || !holds(Rule::C9);
        let fits = is_free && size < bound && (run.is_empty() || (day == Some(of_day) && in_memory));
        if fits && run.len() < limits::SEAL_INPUTS {
            run.push(*name);
            (day, bytes, record_bytes) = (Some(of_day), bytes + size, record_bytes.saturating_add(records));
            continue;
        }
        if run.len() >= merge_segments.max(2) {
            return Some(run);
        }
        run.clear();
        (bytes, record_bytes) = (0, 0);
        if is_free && size < bound {
            run.push(*name);
            (day, bytes, record_bytes) = (Some(of_day), size, records);
        }
    }
    (run.len() >= merge_segments.max(2)).then_some(run)
}

/// The live fresh segments in an order that agrees with the order of offsets in every partition. A window of it holds
/// neighbours only: nothing outside lies between two of its segments.
pub(crate) fn linear_order(topic: &Topic) -> Vec<ObjectName> {
    let mut before: BTreeMap<ObjectName, BTreeSet<ObjectName>> = BTreeMap::new();
    let mut after: BTreeMap<ObjectName, BTreeSet<ObjectName>> = BTreeMap::new();
    for partition in &topic.partitions {
        let mut last: Option<ObjectName> = None;
        for range in &partition.fresh {
            let waits_for = before.entry(range.segment).or_default();
            if let Some(last) = last.filter(|last| *last != range.segment) {
                waits_for.insert(last);
                after.entry(last).or_default().insert(range.segment);
            }
            last = Some(range.segment);
        }
    }
    let mut ready: BTreeSet<(u64, ObjectName)> = BTreeSet::new();
    let since = |name: &ObjectName| topic.fresh.get(name).map_or(0, |segment| segment.since.0);
    for (name, waits_for) in &before {
        if waits_for.is_empty() {
            ready.insert((since(name), *name));
        }
    }
    let mut order = Vec::with_capacity(before.len());
    while let Some((_, name)) = ready.pop_first() {
        order.push(name);
        for next in after.remove(&name).unwrap_or_default() {
            if let Some(waits_for) = before.get_mut(&next) {
                waits_for.remove(&name);
                if waits_for.is_empty() {
                    ready.insert((since(&next), next));
                }
            }
        }
    }
    order.retain(|name| topic.fresh.contains_key(name));
    order
}

/// What the inputs still answer for, by partition: exactly what the output has to cover.
fn live_cover(topic: &Topic, inputs: &BTreeSet<ObjectName>) -> Vec<CoveredRange> {
    let covers = (0..).zip(&topic.partitions).filter_map(|(number, partition)| {
        let mut ranges = partition.fresh.iter().filter(|range| inputs.contains(&range.segment));
        let first = ranges.next()?;
        let end = ranges.next_back().map_or(first.end, |last| last.end);
        Some(CoveredRange { partition: number, start: first.start, end })
    });
    covers.collect()
}

impl Shared {
    /// Whether the topic has segments to merge.
    pub fn merge_wanted(&self, topic_id: TopicId) -> bool {
        // Not under the view: the fold would wait for it.
        let topic = self.topic(topic_id).filter(|topic| topic.fresh.len() >= self.options.merge_segments);
        topic.is_some_and(|topic| !choose_merge(&topic, self.options.merge_segments, self.options.sealed_file_bytes).is_empty())
    }

    /// Merges one run of small neighbours, if there is one. False if not.
    pub async fn merge_once(&self, topic_id: TopicId) -> Result<bool, WorkError> {
        let _one = self.sealing.lock().await;
        let planned = {
            self.topic(topic_id).as_deref().and_then(|topic| {
                let inputs: BTreeSet<ObjectName> =
                    choose_merge(topic, self.options.merge_segments, self.options.sealed_file_bytes).into_iter().collect();
                let files: Vec<NewFile> = inputs.iter().filter_map(|name| Some(topic.fresh.get(name)?.file.clone())).collect();
                let day = files.first()?.ingest_day;
                let least_bytes = largest_merged(self.options.merge_segments, self.options.sealed_file_bytes);
                let spec = |covered: Vec<CoveredRange>| SegmentSpec {
                    topic: topic.name.clone(),
                    topic_id,
                    covered,
                    plan: String::new(),
                    key: preference(topic.key_format),
                    value: preference(topic.value_format),
                };
                let runs = output_runs(&live_cover(topic, &inputs), &bytes_by_partition(&files), least_bytes);
                let specs: Vec<SegmentSpec> = runs.into_iter().map(spec).collect();
                let sent = sent_bytes_of(&files, topic);
                Some((files, day, specs, log_starts(topic), sent))
            })
        };
        let Some((files, day, mut specs, keep_from, sent)) = planned else { return Ok(false) };
        for spec in &mut specs {
            spec.plan = fresh_path(&spec.topic, topic_id, self.cell.name_object());
        }
        let lease = self.lease(LeaseKind::Merge, &topic_id.0).await?;
        let started = self.cell.runtime().clock.monotonic();
        let inputs: Vec<String> = files.iter().map(|file| file.path.clone()).collect();
        let segments = self.rewrite_into(Purpose::Fresh, files, specs, keep_from, PutRule::New).await?;
        let outputs = segments.iter().map(|(path, segment)| new_file(path, day, segment, &sent));
        let command = Merge { lease: lease.0, topic_id: topic_id.0.to_vec(), inputs, outputs: outputs.collect() };
        self.commit_one(command).await?;
        let elapsed = self.cell.runtime().clock.monotonic().saturating_sub(started);
        metrics::histogram!("strandline_merge_seconds").record(elapsed.as_secs_f64());
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::policy::choose_inputs;
    use crate::seal::policy::tests::{name, topic_with};
    use proptest::prelude::*;

    #[test]
    fn sixteen_small_neighbours_are_merged_and_fewer_are_not() {
        let segments: Vec<_> = (0..16).map(|at| (0, 1_000, at, vec![0])).collect();
        assert_eq!(choose_merge(&topic_with(1, &segments), 16, 128 << 20).len(), 16);
        assert!(choose_merge(&topic_with(1, &segments[1..]), 16, 128 << 20).is_empty());
        let mut of_days = segments.clone();
        of_days[15].0 = 1;
        assert!(choose_merge(&topic_with(1, &of_days), 16, 128 << 20).is_empty());
        let large: Vec<_> = (0..32).map(|at| (0, 9 << 20, at, vec![0])).collect();
        assert!(choose_merge(&topic_with(1, &large), 16, 128 << 20).is_empty());
    }

    fn runs(partitions: &[(i32, u64)], least_bytes: u64) -> Vec<Vec<i32>> {
        let cover: Vec<_> =
            partitions.iter().map(|(partition, _)| CoveredRange { partition: *partition, start: 0, end: 1 }).collect();
        let bytes = partitions.iter().copied().collect();
        let runs = output_runs(&cover, &bytes, least_bytes).into_iter();
        runs.map(|run| run.iter().map(|range| range.partition).collect()).collect()
    }

    #[test]
    fn a_large_merge_is_cut_into_runs_of_neighbours() {
        let even: Vec<_> = (0..8).map(|partition| (partition, 10)).collect();
        assert_eq!(runs(&even, 100), [(0..8).collect::<Vec<_>>()]);
        assert_eq!(runs(&even, 40), [vec![0, 1, 2, 3], vec![4, 5, 6, 7]]);
        assert_eq!(runs(&even, 20), [[0, 1], [2, 3], [4, 5], [6, 7]]);
        assert_eq!(runs(&even, 1).len(), 8);
        // Runs stay where they are however many partitions have something, and a quiet half stays with its neighbour.
        assert_eq!(runs(&[(1, 30), (5, 30), (7, 30)], 30), [[1], [5], [7]]);
        assert_eq!(runs(&[(0, 90), (1, 5), (2, 5)], 20), [[0, 1, 2]]);
        assert_eq!(runs(&[(0, 90)], 1), [[0]]);
        assert_eq!(runs(&[], 1), [Vec::<i32>::new()]);
    }

    proptest! {
        #[test]
        fn every_partition_is_in_one_run_and_runs_fit_into_each_other(
            partitions in prop::collection::btree_map(0_i32..40, 1_u64..50, 1..20),
            least_bytes in 1_u64..200,
        ) {
            let partitions: Vec<_> = partitions.into_iter().collect();
            let (wide, narrow) = (runs(&partitions, least_bytes * 2), runs(&partitions, least_bytes));
            let all: Vec<i32> = partitions.iter().map(|(partition, _)| *partition).collect();
            prop_assert_eq!(narrow.concat(), all);
            prop_assert!(narrow.iter().all(|run| wide.iter().any(|wide| run.iter().all(|partition| wide.contains(partition)))));
            if narrow.len() > 1 {
                let bytes = |run: &Vec<i32>| partitions.iter().filter(|(partition, _)| run.contains(partition)).map(|(_, bytes)| bytes).sum::<u64>();
                prop_assert!(narrow.iter().all(|run| bytes(run) >= least_bytes));
            }
        }
    }

    #[test]
    fn what_compresses_very_well_is_bounded_by_its_records() {
        let segments: Vec<_> = (0..16).map(|at| (0, 1_000, at, vec![0])).collect();
        let mut topic = topic_with(1, &segments);
        for segment in topic.fresh.values_mut() {
            segment.file.record_bytes = limits::MERGE_RECORD_BYTES / 4;
        }
        assert_eq!(choose_merge(&topic, 4, 128 << 20), (0..4).map(name).collect::<Vec<_>>());
        assert!(choose_merge(&topic, 5, 128 << 20).is_empty());
        assert_eq!(choose_inputs(&topic, 0, 128 << 20, None).len(), 16);
        for segment in topic.fresh.values_mut() {
            segment.file.record_bytes = limits::SEAL_RECORD_BYTES / 2 + 1;
        }
        assert_eq!(choose_inputs(&topic, 0, 128 << 20, None), [name(0)]);
        // So is what has no bytes at all.
        for segment in topic.fresh.values_mut() {
            (segment.file.record_bytes, segment.file.rows) = (0, limits::MERGE_RECORD_BYTES / limits::ROW_WEIGHT / 4);
        }
        assert_eq!(choose_merge(&topic, 4, 128 << 20), (0..4).map(name).collect::<Vec<_>>());
        assert!(choose_merge(&topic, 5, 128 << 20).is_empty());
    }

    #[test]
    fn small_ones_are_merged_before_larger_ones() {
        let mut segments: Vec<_> = (0..16).map(|at| (0, 1 << 20, at, vec![0])).collect();
        segments.extend((16..32).map(|at| (0, 1_000, at, vec![0])));
        let chosen = choose_merge(&topic_with(1, &segments), 16, 128 << 20);
        assert_eq!(chosen, (16..32).map(name).collect::<Vec<_>>());
    }

    proptest! {
        #[test]
        fn what_is_merged_are_neighbours_in_every_partition(
            segments in prop::collection::vec((1_u64..300_000, prop::collection::btree_set(0_i32..4, 1..4)), 1..40),
        ) {
            let segments: Vec<_> = segments.into_iter().map(|(size, of)| (0, size, 0_i64, of.into_iter().collect::<Vec<_>>())).collect();
            let topic = topic_with(4, &segments);
            prop_assert_eq!(linear_order(&topic).len(), segments.len());
            let chosen: BTreeSet<_> = choose_merge(&topic, 3, 1 << 20).into_iter().collect();
            for partition in &topic.partitions {
                let taken: Vec<bool> = partition.fresh.iter().map(|range| chosen.contains(&range.segment)).collect();
                let runs = taken.iter().zip([false].iter().chain(&taken)).filter(|(now, before)| **now && !**before).count();
                prop_assert!(runs <= 1, "{taken:?}");
            }
        }
    }
}
