//! A sealed file straight from extents: where one conversion alone fills a file, there is no fresh one between.
//!
//! The plan is made where conversions are; it is completed as any other plan (`run.rs`), by whoever has the lease.

use crate::convert::decode::{SegmentBuild, WantedFormats, decided_formats};
use crate::convert::plan::{ConversionPlan, PartitionInput, day_of};
use crate::error::WorkError;
use crate::shared::Shared;
use crate::work_memory::{Urgency, writer_bytes};
use std::collections::BTreeMap;
use strandline_bronze::{FinishedSegment, SegmentSpec};
use strandline_commands::{LeaseKind, OffsetRange, SealExtents};
use strandline_index::{Extent, Format, Outcome, Partition, Plan, Refusal, Topic};
use strandline_object_store::{NewObject, Purpose, PutRule};
use strandline_types::mutations::{Rule, holds};
use strandline_types::{TopicId, limits};

/// Bytes of batches that a topic's formats are decided from.
const SAMPLE_BYTES: u64 = 1 << 20;
/// The first fold version that has such plans.
const FOLD_VERSION: u32 = 2;

/// Extents that fill a sealed file by themselves: stable ones of one UTC day, of as few neighbouring partitions as do, from their
/// frontiers on, with nothing fresh before them. None if there are none, or a plan is open.
pub(crate) fn choose_extents(topic: &Topic, file_bytes: u64) -> Option<ConversionPlan> {
    if !topic.plans.is_empty() {
        return None;
    }
    let is_free = |partition: &Partition| partition.fresh.is_empty() && partition.planned_end.is_none();
    // Most looks end here, without a copy of anything.
    let waiting = topic.partitions.iter().filter(|partition| is_free(partition)).flat_map(|partition| &partition.extents);
    if waiting.map(|extent| extent.length).sum::<u64>() < file_bytes {
        return None;
    }
    let first_of = |partition: &Partition| {
        let first = partition.extents.front().filter(|extent| extent.end <= partition.last_stable_offset())?;
        is_free(partition).then_some(day_of(first.ingest_ms))
    };
    let day = topic.partitions.iter().filter_map(first_of).min()?;
    // Per partition, as many as fill a file by themselves, at most.
    let mut candidates: Vec<(usize, Vec<Extent>, u64)> = Vec::new();
    for (number, partition) in topic.partitions.iter().enumerate().filter(|(_, partition)| first_of(partition) == Some(day)) {
        let stable = partition.last_stable_offset();
        let of_day = partition.extents.iter().take_while(|extent| extent.end <= stable && day_of(extent.ingest_ms) == day);
        let (mut taken, mut bytes) = (Vec::new(), 0_u64);
        for extent in of_day.take(limits::CONVERSION_EXTENTS) {
            taken.push(*extent);
            bytes = bytes.saturating_add(extent.length);
            if bytes >= file_bytes {
                break;
            }
        }
        candidates.push((number, taken, bytes));
    }
    let window = shortest_run(&candidates, file_bytes)?;
    let (mut bytes, mut extents) = (0_u64, 0);
    let mut inputs = Vec::new();
    for (number, taken, _) in candidates.drain(window) {
        let mut kept = Vec::new();
        for extent in taken {
            if bytes >= file_bytes || extents >= limits::CONVERSION_EXTENTS {
                break;
            }
            bytes = bytes.saturating_add(extent.length);
            extents += 1;
            kept.push(extent);
        }
        inputs.extend(PartitionInput::of(topic, number, kept));
    }
    (bytes >= file_bytes).then(|| ConversionPlan::of(topic, day, inputs))
}

/// The shortest run of candidates that together have so many bytes; the first of several.
fn shortest_run(candidates: &[(usize, Vec<Extent>, u64)], file_bytes: u64) -> Option<std::ops::Range<usize>> {
    let (mut start, mut bytes, mut best) = (0, 0_u64, None::<std::ops::Range<usize>>);
    for (end, (.., added)) in candidates.iter().enumerate() {
        bytes = bytes.saturating_add(*added);
        while let Some((.., first)) = candidates.get(start).filter(|_| bytes >= file_bytes) {
            if best.as_ref().is_none_or(|best| end + 1 - start < best.len()) {
                best = Some(start..end + 1);
            }
            bytes = bytes.saturating_sub(*first);
            start += 1;
        }
    }
    best
}

/// What an open plan over extents takes in, as it lies now: their bytes may have moved since.
pub(crate) fn planned_extents(topic: &Topic, plan: &Plan) -> ConversionPlan {
    let inputs = plan.ranges.iter().filter_map(|range| {
        let number = usize::try_from(range.partition).ok()?;
        let extents = topic.partitions.get(number)?.extents.iter().take_while(|extent| extent.end <= range.end);
        PartitionInput::of(topic, number, extents.copied().collect())
    });
    ConversionPlan::of(topic, plan.ingest_day, inputs.collect())
}

/// Bytes as sent, by partition, of what can still be read.
pub(crate) fn sent_bytes_of_extents(plan: &ConversionPlan) -> BTreeMap<i32, u64> {
    let of_input = |input: &PartitionInput| {
        let live = input.extents.iter().filter(|extent| extent.end > input.log_start);
        (input.partition, live.map(|extent| extent.length).sum())
    };
    plan.inputs.iter().map(of_input).collect()
}

impl Shared {
    /// Plans a sealed file straight from extents, if they fill one. False if not, or if something is in the way: then they are
    /// converted as usual.
    pub async fn plan_extents(&self, topic_id: TopicId, wanted: WantedFormats) -> Result<bool, WorkError> {
        let planned = {
            let view = self.cell.view();
            let topic = view.topics.get(&topic_id).filter(|_| view.cell.fold_version >= FOLD_VERSION);
            topic.and_then(|topic| choose_extents(topic, self.options.sealed_file_bytes))
        };
        let Some(plan) = planned else { return Ok(false) };
        let (key_format, value_format) = self.sampled_formats(&plan, wanted).await?;
        let lease = match self.lease(LeaseKind::Seal, &topic_id.0).await {
            Ok(lease) => lease,
            Err(WorkError::LeaseElsewhere) => return Ok(false),
            Err(error) => return Err(error),
        };
        let ranges =
            plan.inputs.iter().map(|input| OffsetRange { partition: input.partition, start: input.start, end: input.end });
        let command =
            SealExtents { lease: lease.0, topic_id: topic_id.0.to_vec(), ranges: ranges.collect(), key_format, value_format };
        match self.commit_one(command).await {
            Ok((Outcome::Planned { .. }, _)) => Ok(true),
            Ok(_) => Err(WorkError::Outcome { command: "SealExtents" }),
            Err(WorkError::Refused(Refusal::Superseded { .. } | Refusal::Limit { .. } | Refusal::LeaseLost)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// How the topic's keys and values are to be kept, as a command has it: decided from the first records if it is not yet.
    async fn sampled_formats(&self, plan: &ConversionPlan, wanted: WantedFormats) -> Result<(u32, u32), WorkError> {
        let mut sample = plan.clone();
        if ![plan.key_format, plan.value_format].contains(&Format::Undecided) {
            sample.inputs.clear();
        }
        let mut left = SAMPLE_BYTES;
        for input in &mut sample.inputs {
            input.extents.retain(|extent| {
                let fits = left > 0;
                left = left.saturating_sub(extent.length);
                fits
            });
        }
        let bytes = self.conversion_bytes(&mut sample).await?;
        let decide = move || decided_formats(&sample, &bytes, wanted);
        Ok(self.cell.runtime().spawner.background("decide formats", decide).await?)
    }

    /// Writes the file of a plan over extents, a conversion's share at a time, and puts it as it is written. What cannot become rows is
    /// set aside, as in a conversion. What cannot be read is waited for: the plan names its offsets.
    pub(crate) async fn write_extents(
        &self,
        plan: &ConversionPlan,
        spec: SegmentSpec,
        rule: PutRule,
    ) -> Result<FinishedSegment, WorkError> {
        let path = spec.plan.clone();
        let failed = |reason: String| WorkError::Write { path: path.clone(), reason };
        let share_bytes = self.options.conversion_bytes.min(plan.bytes);
        let _memory = self.work_memory.take(Urgency::Upkeep, share_bytes + writer_bytes(plan.bytes)).await;
        let spawner = &self.cell.runtime().spawner;
        let mut object = self.objects.new_object(Purpose::Seal, &path, rule)?;
        let mut build = SegmentBuild::new(spec).map_err(|error| failed(error.to_string()))?;
        for input in &plan.inputs {
            let mut extents = input.extents.as_slice();
            while !extents.is_empty() {
                let (share, rest) = extents.split_at(share_of(extents, self.options.conversion_bytes));
                extents = rest;
                let share = PartitionInput { end: share[share.len() - 1].end, extents: share.to_vec(), ..input.clone() };
                let (partition, start, extents_of_share) = (share.partition, share.start, share.extents.len());
                let mut part = ConversionPlan { inputs: vec![share], ..plan.clone_without_inputs() };
                let bytes = self.conversion_bytes(&mut part).await?;
                if bytes.len() < extents_of_share {
                    let reason = "some of them cannot be read at the moment".to_owned();
                    return Err(WorkError::Extents { topic: plan.topic.clone(), partition, start, reason });
                }
                let work = move || {
                    let pushed = part.inputs.iter().try_for_each(|input| build.push(input, &bytes));
                    let pieces = build.take_pieces();
                    pushed.map(|()| (build, pieces))
                };
                let pushed = spawner.background("seal extents", work).await?;
                let (returned, pieces) = pushed.map_err(|error| failed(error.to_string()))?;
                build = returned;
                object.push(pieces).await?;
            }
        }
        for quarantined in &build.quarantined {
            self.set_aside(plan, quarantined).await?;
        }
        let finished = spawner.background("seal extents", move || build.finish()).await?;
        let mut segment = finished.map_err(|error| failed(error.to_string()))?;
        object.push(std::mem::take(&mut segment.bytes)).await?;
        self.finish_planned(object).await?;
        Ok(segment)
    }

    /// Ends the put of a planned file: before the command that says so.
    pub(crate) async fn finish_planned(&self, object: NewObject) -> Result<(), WorkError> {
        if !holds(Rule::C3) {
            let late = async move { drop(object.finish().await) };
            self.cell.runtime().spawner.spawn("late put", late);
            return Ok(());
        }
        object.finish().await?;
        Ok(())
    }
}

/// How many of the extents are read together: at least one.
fn share_of(extents: &[Extent], most_bytes: u64) -> usize {
    let mut bytes = 0_u64;
    let fits = extents.iter().take_while(|extent| {
        bytes = bytes.saturating_add(extent.length);
        bytes <= most_bytes
    });
    fits.count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::policy::tests::topic_with;
    use proptest::prelude::*;
    use strandline_index::ExtentPlace;
    use strandline_types::calendar::DAY_MS;

    /// Adds extents of ten offsets: (length, time).
    fn add(topic: &mut Topic, partition: usize, extents: &[(u64, i64)]) {
        let partition = &mut topic.partitions[partition];
        for (length, ingest_ms) in extents {
            let start = partition.next_offset;
            partition.next_offset += 10;
            partition.extents.push_back(Extent {
                start,
                end: start + 10,
                place: ExtentPlace::Hole,
                length: *length,
                ingest_ms: *ingest_ms,
                log_append_time: false,
                max_timestamp_ms: *ingest_ms,
                max_timestamp_offset: start,
            });
        }
    }

    fn ranges(topic: &Topic, file_bytes: u64) -> Vec<(i32, i64, i64)> {
        let plan = choose_extents(topic, file_bytes);
        plan.iter().flat_map(|plan| &plan.inputs).map(|input| (input.partition, input.start, input.end)).collect()
    }

    #[test]
    fn as_few_neighbours_as_fill_a_file() {
        let mut topic = topic_with(4, &[]);
        for (partition, length) in [(0, 30), (1, 20), (2, 60), (3, 50)] {
            add(&mut topic, partition, &[(length, 5), (length, 6)]);
        }
        assert_eq!(ranges(&topic, 100), [(2, 0, 20)]);
        assert_eq!(ranges(&topic, 180), [(2, 0, 20), (3, 0, 20)]);
        assert_eq!(ranges(&topic, 170), [(2, 0, 20), (3, 0, 10)], "no more than fills it");
        assert_eq!(ranges(&topic, 1_000), []);
    }

    #[test]
    fn what_is_fresh_pinned_unstable_or_of_another_day_is_not_taken() {
        let mut topic = topic_with(3, &[(0, 1, 0, vec![0])]);
        (0..3).for_each(|partition| add(&mut topic, partition, &[(100, 5), (100, DAY_MS)]));
        assert_eq!(ranges(&topic, 100), [(1, 0, 10)], "partition 0 has something fresh before it");
        assert_eq!(ranges(&topic, 150), [(1, 0, 10), (2, 0, 10)], "one day at a time");
        topic.partitions[1].open_transactions.insert(5, 1);
        assert_eq!(ranges(&topic, 100), [(2, 0, 10)]);
        topic.partitions[2].planned_end = Some(10);
        assert_eq!(ranges(&topic, 100), []);
    }

    proptest! {
        #[test]
        fn what_is_chosen_fills_a_file_and_is_a_prefix(
            partitions in prop::collection::vec(prop::collection::vec((1_u64..60, 0_i64..3), 0..8), 1..6),
            file_bytes in 1_u64..200,
        ) {
            let mut topic = topic_with(partitions.len(), &[]);
            for (number, extents) in partitions.iter().enumerate() {
                let mut extents: Vec<_> = extents.iter().map(|(length, day)| (*length, day * DAY_MS)).collect();
                extents.sort_by_key(|(_, ingest_ms)| *ingest_ms);
                add(&mut topic, number, &extents);
            }
            let Some(plan) = choose_extents(&topic, file_bytes) else { return Ok(()) };
            prop_assert!(plan.bytes >= file_bytes && plan.bytes < file_bytes + 60);
            let numbers: Vec<_> = plan.inputs.iter().map(|input| input.partition).collect();
            prop_assert!(numbers.is_sorted_by(|a, b| a < b));
            for input in &plan.inputs {
                let partition = &topic.partitions[input.partition as usize];
                prop_assert_eq!(input.start, partition.frontier);
                prop_assert!(input.extents.iter().eq(partition.extents.iter().take(input.extents.len())));
                prop_assert!(input.extents.iter().all(|extent| day_of(extent.ingest_ms) == plan.day));
            }
            let fewest = (1..=plan.inputs.len()).find(|width| {
                let of_day = |extents: &Vec<(u64, i64)>| extents.iter().filter(|(_, day)| *day == i64::from(plan.day)).map(|(length, _)| *length).sum::<u64>();
                let first = |extents: &Vec<(u64, i64)>| extents.iter().map(|(_, day)| *day).min() == Some(i64::from(plan.day));
                let eligible: Vec<u64> = partitions.iter().filter(|extents| first(extents)).map(of_day).collect();
                eligible.windows(*width).any(|run| run.iter().sum::<u64>() >= file_bytes)
            });
            prop_assert_eq!(fewest, Some(plan.inputs.len()));
        }
    }
}
