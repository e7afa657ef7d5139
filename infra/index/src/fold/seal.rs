//! Files are planned, sealed, and done: a row enters `bronze/` once (I5).

use super::bronze::{STALE, decide, live_cover, partition_mut, unpinned_inputs};
use super::references::{References, references};
use super::topics::let_go_below_log_start;
use super::{Context, topic_id};
use crate::outcome::{Outcome, Refusal};
use crate::state::fill::{extents_plan_weight, plan_weight};
use crate::state::{Index, Partition, Plan, Topic};
use std::collections::BTreeSet;
use strandline_commands::{FileRange, LeaseKind, NewFile, SealDone, SealExtents, SealPlan, Sealed};
use strandline_types::calendar::{Day, is_shown_by_readers};
use strandline_types::file_names::{SealedName, sealed_path};
use strandline_types::mutations::{Rule, holds};
use strandline_types::{TopicId, TopicPartition};

impl Index {
    pub(super) fn seal_plan(&mut self, context: &mut Context<'_>, command: &SealPlan) -> Result<Outcome, Refusal> {
        let id = topic_id(&command.topic_id)?;
        self.demand_lease(context, LeaseKind::Seal, &command.topic_id, command.lease)?;
        let topic = Self::topic_mut(&mut self.topics, id)?;
        if !topic.plans.is_empty() && holds(Rule::C4) {
            return Err(Refusal::Superseded { what: "a plan is open: complete it first" });
        }
        let inputs = unpinned_inputs(topic, &command.inputs)?;
        let covered = live_cover(topic, &inputs)?;
        let mut ranges = Vec::with_capacity(covered.len());
        for (number, (start, end)) in covered {
            let partition = topic.partition(number).ok_or(Refusal::UnknownPartition)?;
            let follows = start == partition.sealed_end || start <= partition.log_start;
            let first = partition.fresh.front().is_some_and(|fresh| fresh.start == start);
            if !follows || !first {
                return Err(STALE);
            }
            ranges.push(FileRange { partition: number, start: partition.sealed_end, end, ..FileRange::default() });
        }
        let first = ranges.first().ok_or(Refusal::Malformed { what: "a plan covers something" })?;
        let day = topic.fresh.get(inputs.first().ok_or(STALE)?).map(|segment| segment.file.ingest_day).ok_or(STALE)?;
        if inputs.iter().any(|input| topic.fresh.get(input).is_none_or(|segment| segment.file.ingest_day != day)) {
            return Err(Refusal::Malformed { what: "a sealed file holds one UTC day" });
        }
        let path = planned_path(topic, day, context.now_ms, first).ok_or(Refusal::Malformed { what: "the day" })?;
        for input in &inputs {
            if let Some(segment) = topic.fresh.get_mut(input) {
                segment.plan = Some(path.clone());
            }
        }
        let plan = Plan {
            inputs: inputs.into_iter().collect(),
            ranges: ranges.clone(),
            ingest_day: day,
            since: context.seq,
            file: None,
        };
        topic.plans.insert(path.clone(), plan);
        Ok(Outcome::Planned { path, ranges })
    }

    pub(super) fn seal_extents(&mut self, context: &mut Context<'_>, command: &SealExtents) -> Result<Outcome, Refusal> {
        self.demand_version_2()?;
        let id = topic_id(&command.topic_id)?;
        self.demand_lease(context, LeaseKind::Seal, &command.topic_id, command.lease)?;
        self.demand_room_for_objects()?;
        let weight = extents_plan_weight(command.ranges.len());
        self.demand_room_for_files(weight)?;
        let topic = Self::topic_mut(&mut self.topics, id)?;
        if !topic.plans.is_empty() {
            return Err(Refusal::Superseded { what: "a plan is open: complete it first" });
        }
        if !command.ranges.is_sorted_by(|a, b| a.partition < b.partition) {
            return Err(Refusal::Malformed { what: "a plan's partitions ascend" });
        }
        let mut ranges = Vec::with_capacity(command.ranges.len());
        let mut day = None;
        for range in &command.ranges {
            let partition = topic.partition(range.partition).ok_or(Refusal::UnknownPartition)?;
            let aligned = partition.extents.binary_search_by_key(&range.end, |extent| extent.end).is_ok();
            let follows = range.start == partition.frontier && range.end > range.start && partition.fresh.is_empty();
            if !follows || !aligned || range.end > partition.last_stable_offset() {
                return Err(STALE);
            }
            for extent in partition.extents.iter().take_while(|extent| extent.end <= range.end) {
                if *day.get_or_insert(Day::of_ms(extent.ingest_ms).0) != Day::of_ms(extent.ingest_ms).0 {
                    return Err(Refusal::Malformed { what: "a sealed file holds one UTC day" });
                }
            }
            // A log start that moved past fresh segments leaves a gap above what is sealed: the file covers it as a hole.
            let start = partition.sealed_end;
            ranges.push(FileRange { partition: range.partition, start, end: range.end, ..FileRange::default() });
        }
        let (Some(first), Some(day)) = (ranges.first(), day) else {
            return Err(Refusal::Malformed { what: "a plan covers something" });
        };
        let path = planned_path(topic, day, context.now_ms, first).ok_or(Refusal::Malformed { what: "the day" })?;
        for range in &ranges {
            if let Some(partition) = partition_mut(topic, range.partition) {
                partition.planned_end = Some(range.end);
            }
        }
        decide(&mut topic.key_format, command.key_format);
        decide(&mut topic.value_format, command.value_format);
        let plan = Plan { inputs: Vec::new(), ranges: ranges.clone(), ingest_day: day, since: context.seq, file: None };
        topic.plans.insert(path.clone(), plan);
        self.fill.file_bytes += weight;
        Ok(Outcome::Planned { path, ranges })
    }

    pub(super) fn sealed(&mut self, context: &mut Context<'_>, command: &Sealed) -> Result<Outcome, Refusal> {
        let id = topic_id(&command.topic_id)?;
        self.demand_lease(context, LeaseKind::Seal, &command.topic_id, command.lease)?;
        let file = command.file.as_ref().ok_or(Refusal::Malformed { what: "a sealed file" })?;
        self.sealed_as_planned(context, id, file)
    }

    /// The planned file is there: from here on it answers for its ranges.
    pub(super) fn sealed_as_planned(
        &mut self,
        context: &mut Context<'_>,
        id: TopicId,
        file: &NewFile,
    ) -> Result<Outcome, Refusal> {
        let topic = Self::topic_mut(&mut self.topics, id)?;
        let plan = topic.plans.get_mut(&file.path).ok_or(Refusal::Superseded { what: "the plan is done" })?;
        if plan.file.is_some() {
            return Err(Refusal::Superseded { what: "the file is known already" });
        }
        let cover =
            |ranges: &[FileRange]| ranges.iter().map(|range| (range.partition, range.start, range.end)).collect::<BTreeSet<_>>();
        if cover(&plan.ranges) != cover(&file.ranges)
            || file.ranges.len() != plan.ranges.len()
            || file.ingest_day != plan.ingest_day
        {
            return Err(Refusal::Malformed { what: "the file does not cover what was planned" });
        }
        plan.file = Some(file.clone());
        let over_extents = plan.is_over_extents();
        let mut references = references!(self, context);
        for range in &file.ranges {
            let Some(partition) = partition_mut(topic, range.partition) else { continue };
            if over_extents {
                drop_extents(partition, range.end, &mut references);
                partition.planned_end = None;
            }
            while partition.fresh.front().is_some_and(|fresh| fresh.end <= range.end) {
                partition.fresh.pop_front();
            }
            partition.sealed_end = range.end;
            if over_extents && let Ok(at) = usize::try_from(range.partition) {
                // What the plan had pinned in front of it is gone.
                let_go_below_log_start(topic, at, &mut references);
            }
            context.folded.partitions.push(TopicPartition { topic_id: id, partition: range.partition });
        }
        topic.bronze_changed = context.seq;
        Ok(Outcome::Done)
    }

    pub(super) fn seal_done(&mut self, context: &mut Context<'_>, command: &SealDone) -> Result<Outcome, Refusal> {
        let id = topic_id(&command.topic_id)?;
        self.demand_lease(context, LeaseKind::Seal, &command.topic_id, command.lease)?;
        let topic = Self::topic_mut(&mut self.topics, id)?;
        match topic.plans.get(&command.path) {
            None => return Err(Refusal::Superseded { what: "the plan is done" }),
            Some(plan) if plan.file.is_none() => return Err(Refusal::Malformed { what: "the file is not sealed yet" }),
            Some(_) => {}
        }
        let Some(plan) = topic.plans.remove(&command.path) else { return Err(STALE) };
        let mut references = references!(self, context);
        references.fill.file_bytes = references.fill.file_bytes.saturating_sub(plan_weight(&plan));
        for input in &plan.inputs {
            references.discard_fresh(topic.fresh.remove(input));
        }
        topic.bronze_changed = context.seq;
        Ok(Outcome::Done)
    }
}

/// Extents up to `end` became a file: they go, and the frontier moves.
pub(super) fn drop_extents(partition: &mut Partition, end: i64, references: &mut References<'_>) {
    while partition.extents.front().is_some_and(|extent| extent.end <= end) {
        if let Some(extent) = partition.extents.pop_front() {
            references.drop(&extent);
        }
    }
    partition.frontier = end;
    partition.aborted.retain(|aborted| aborted.last_offset >= end);
}

/// The name that a plan's file gets, whoever makes it; none if no reader could show its day.
fn planned_path(topic: &Topic, day: i32, now_ms: i64, first: &FileRange) -> Option<String> {
    let day = Day(day);
    let name = SealedName { time_ms: now_ms, partition: first.partition, offset: first.start, generation: 0 };
    let shown = is_shown_by_readers(day.start_ms()) && is_shown_by_readers(now_ms);
    shown.then(|| sealed_path(&topic.name, topic.id, day, name))
}
