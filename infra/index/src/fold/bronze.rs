//! Extents become fresh segments, fresh ones become sealed, and every offset keeps exactly one answer (I5).

use super::references::references;
use super::{Context, object_name, topic_id};
use crate::outcome::{Outcome, Refusal};
use crate::state::{Extent, ExtentPlace, Format, FreshRange, FreshSegment, Index, Plan, Topic};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use strandline_commands::{
    AdoptSealed, CollectGarbage, Convert, DropSealed, FileRange, ForgetTopic, LeaseKind, Lost, Merge, NewFile, RaiseHorizon,
    Rehome, SealDone, SealPlan, Sealed,
};
use strandline_types::mutations::{Rule, holds};
use strandline_types::{ObjectName, Seq, TopicId, TopicPartition};

const STALE: Refusal = Refusal::Superseded { what: "the file does not cover what it should any more" };

impl Index {
    fn topic_mut(topics: &mut BTreeMap<TopicId, Arc<Topic>>, id: TopicId) -> Result<&mut Topic, Refusal> {
        topics.get_mut(&id).map(Arc::make_mut).ok_or(Refusal::UnknownTopic)
    }

    pub(super) fn convert(&mut self, context: &mut Context<'_>, command: &Convert) -> Result<Outcome, Refusal> {
        let id = topic_id(&command.topic_id)?;
        self.demand_lease(context, LeaseKind::Convert, &command.topic_id, command.lease)?;
        let file = command.file.as_ref().ok_or(Refusal::Malformed { what: "a conversion has a file" })?;
        let topic = Self::topic_mut(&mut self.topics, id)?;
        let name = fresh_name(topic, file, self.cell.horizon)?;
        let mut seen = BTreeSet::new();
        for range in &file.ranges {
            let partition = topic.partition(range.partition).ok_or(Refusal::UnknownPartition)?;
            let aligned = partition.extents.binary_search_by_key(&range.end, |extent| extent.end).is_ok();
            if !seen.insert(range.partition) || range.start != partition.frontier || range.end <= range.start {
                return Err(STALE);
            }
            if range.end > partition.last_stable_offset() || !aligned {
                return Err(STALE);
            }
        }
        if seen.is_empty() {
            return Err(Refusal::Malformed { what: "a file covers something" });
        }
        let mut references = references!(self, context);
        for range in &file.ranges {
            let Some(partition) = partition_mut(topic, range.partition) else { continue };
            while partition.extents.front().is_some_and(|extent| extent.end <= range.end) {
                if let Some(extent) = partition.extents.pop_front() {
                    references.drop(&extent);
                }
            }
            partition.frontier = range.end;
            partition.fresh.push_back(fresh_range(range, name));
            partition.aborted.retain(|aborted| aborted.last_offset >= range.end);
            context.folded.partitions.push(TopicPartition { topic_id: id, partition: range.partition });
        }
        decide(&mut topic.key_format, command.key_format);
        decide(&mut topic.value_format, command.value_format);
        insert_fresh(topic, name, file, context);
        Ok(Outcome::Done)
    }

    pub(super) fn merge(&mut self, context: &mut Context<'_>, command: &Merge) -> Result<Outcome, Refusal> {
        let id = topic_id(&command.topic_id)?;
        self.demand_lease(context, LeaseKind::Merge, &command.topic_id, command.lease)?;
        let horizon = self.cell.horizon;
        let topic = Self::topic_mut(&mut self.topics, id)?;
        let inputs = unpinned_inputs(topic, &command.inputs)?;
        let day = topic.fresh.get(inputs.first().ok_or(STALE)?).map(|segment| segment.file.ingest_day);
        let mut outputs = Vec::new();
        let mut offered: BTreeMap<i32, (FileRange, ObjectName)> = BTreeMap::new();
        for file in &command.outputs {
            let name = fresh_name(topic, file, horizon)?;
            if Some(file.ingest_day) != day || inputs.contains(&name) || outputs.iter().any(|(known, _)| *known == name) {
                return Err(Refusal::Malformed { what: "the outputs of a merge" });
            }
            for range in &file.ranges {
                if offered.insert(range.partition, (range.clone(), name)).is_some() {
                    return Err(Refusal::Malformed { what: "one output a partition" });
                }
            }
            outputs.push((name, file));
        }
        let covered = live_cover(topic, &inputs)?;
        let same = covered.len() == offered.len()
            && covered.iter().all(|(partition, (start, end))| {
                offered.get(partition).is_some_and(|(range, _)| (range.start, range.end) == (*start, *end))
            });
        if !same {
            return Err(STALE);
        }
        for (partition, (range, name)) in &offered {
            let Some(partition) = partition_mut(topic, *partition) else { continue };
            let at = partition.fresh.partition_point(|fresh| fresh.end <= range.start);
            partition.fresh.retain(|fresh| !inputs.contains(&fresh.segment));
            partition.fresh.insert(at.min(partition.fresh.len()), fresh_range(range, *name));
        }
        let references = &mut references!(self, context);
        for input in &inputs {
            if let Some(segment) = topic.fresh.remove(input) {
                references.discard(segment.file.path, segment.file.size);
            }
        }
        for (name, file) in outputs {
            insert_fresh(topic, name, file, context);
        }
        Ok(Outcome::Done)
    }

    pub(super) fn rehome(&mut self, context: &mut Context<'_>, command: &Rehome) -> Result<Outcome, Refusal> {
        let (object, name) = context.object(command.object, self.cell.horizon)?;
        let whole = Some((object.size, object.crc32c));
        let mut moved = 0_usize;
        for run in &command.runs {
            let id = topic_id(&run.topic_id)?;
            let Some(topic) = self.topics.get_mut(&id).map(Arc::make_mut) else { continue };
            let Some(partition) = partition_mut(topic, run.partition) else { continue };
            let Some(at) = partition.extent_at(run.start) else { continue };
            let Some(extent) = partition.extents.get_mut(at) else { continue };
            let fits = run.position.checked_add(extent.length).is_some_and(|end| end <= object.size);
            if (extent.start, extent.end) != (run.start, run.end) || extent.length == 0 || !fits {
                continue;
            }
            let mut references = references!(self, context);
            let old = *extent;
            extent.place = ExtentPlace::Object { name, position: run.position };
            references.add(extent, whole);
            references.drop(&old);
            moved += 1;
        }
        if moved == 0 {
            return Err(Refusal::Superseded { what: "none of the extents is there any more" });
        }
        Ok(Outcome::Done)
    }

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
        let path = sealed_path(topic, day, context.now_ms, first).ok_or(Refusal::Malformed { what: "the day" })?;
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

    pub(super) fn sealed(&mut self, context: &mut Context<'_>, command: &Sealed) -> Result<Outcome, Refusal> {
        let id = topic_id(&command.topic_id)?;
        self.demand_lease(context, LeaseKind::Seal, &command.topic_id, command.lease)?;
        let file = command.file.as_ref().ok_or(Refusal::Malformed { what: "a sealed file" })?;
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
        for range in &file.ranges {
            let Some(partition) = partition_mut(topic, range.partition) else { continue };
            while partition.fresh.front().is_some_and(|fresh| fresh.end <= range.end) {
                partition.fresh.pop_front();
            }
            partition.sealed_end = range.end;
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
        for input in &plan.inputs {
            if let Some(segment) = topic.fresh.remove(input) {
                references.discard(segment.file.path, segment.file.size);
            }
        }
        topic.bronze_changed = context.seq;
        Ok(Outcome::Done)
    }

    pub(super) fn drop_sealed(&mut self, context: &mut Context<'_>, command: &DropSealed) -> Result<Outcome, Refusal> {
        let id = topic_id(&command.topic_id)?;
        self.demand_lease(context, LeaseKind::Retention, &[], command.lease)?;
        let file = command.file.as_ref().ok_or(Refusal::Malformed { what: "a sealed file" })?;
        if let Some(topic) = self.topics.get_mut(&id) {
            if topic.plans.contains_key(&file.path) || !file.path.starts_with("bronze/") {
                return Err(Refusal::Superseded { what: "the file belongs to an open plan" });
            }
            let below =
                |range: &FileRange| topic.partition(range.partition).is_some_and(|partition| range.end <= partition.log_start);
            if !file.ranges.iter().all(below) {
                return Err(Refusal::Superseded { what: "the file holds offsets that can be read" });
            }
            Arc::make_mut(topic).bronze_changed = context.seq;
        }
        if !self.garbage.contains_key(&file.path) {
            references!(self, context).discard(file.path.clone(), file.size);
        }
        Ok(Outcome::Done)
    }

    pub(super) fn collect_garbage(&mut self, context: &mut Context<'_>, command: &CollectGarbage) -> Result<Outcome, Refusal> {
        self.demand_lease(context, LeaseKind::Garbage, &[], command.lease)?;
        for path in &command.paths {
            self.garbage.remove(path);
        }
        Ok(Outcome::Done)
    }

    pub(super) fn raise_horizon(&mut self, context: &mut Context<'_>, command: &RaiseHorizon) -> Result<Outcome, Refusal> {
        self.demand_lease(context, LeaseKind::Garbage, &[], command.lease)?;
        if command.to > context.seq.0 {
            return Err(Refusal::Malformed { what: "a horizon in the future" });
        }
        self.cell.horizon = self.cell.horizon.max(Seq(command.to));
        Ok(Outcome::Done)
    }

    pub(super) fn lost(&mut self, context: &mut Context<'_>, command: &Lost) -> Result<Outcome, Refusal> {
        let id = topic_id(&command.topic_id)?;
        let topic = Self::topic_mut(&mut self.topics, id)?;
        let partition = partition_mut(topic, command.partition).ok_or(Refusal::UnknownPartition)?;
        let at = partition.extent_at(command.start).ok_or(STALE)?;
        let until = partition.extents.binary_search_by_key(&command.end, |extent| extent.end).map_err(|_| STALE)?;
        if until < at || partition.extents.get(at).is_none_or(|extent| extent.start != command.start) {
            return Err(STALE);
        }
        let mut references = references!(self, context);
        for extent in partition.extents.range_mut(at..=until) {
            let old = *extent;
            *extent = Extent { place: ExtentPlace::Hole, length: 0, max_timestamp_ms: -1, max_timestamp_offset: -1, ..old };
            references.add(extent, None);
            references.drop(&old);
        }
        context.folded.partitions.push(TopicPartition { topic_id: id, partition: command.partition });
        Ok(Outcome::Done)
    }

    pub(super) fn adopt_sealed(&mut self, context: &mut Context<'_>, command: &AdoptSealed) -> Result<Outcome, Refusal> {
        if context.incarnation.0 != 0 || !self.nodes.is_empty() {
            return Err(Refusal::Malformed { what: "only a rebuild adopts" });
        }
        let id = topic_id(&command.topic_id)?;
        let file = command.file.as_ref().ok_or(Refusal::Malformed { what: "a file to adopt" })?;
        let topic = Self::topic_mut(&mut self.topics, id)?;
        let fresh = match file.path.starts_with("fresh/") {
            true => Some(object_name(&file.path, Seq::ZERO, Rule::B5)?),
            false => None,
        };
        if let Some(known) = fresh.and_then(|name| topic.fresh.get_mut(&name)) {
            // Its object was lost and has been put anew, without rows: it goes on answering for its ranges.
            let cover = |file: &NewFile| {
                file.ranges.iter().map(|range| (range.partition, range.start, range.end)).collect::<BTreeSet<_>>()
            };
            if cover(&known.file) != cover(file) {
                return Err(STALE);
            }
            known.file = file.clone();
            topic.bronze_changed = context.seq;
            return Ok(Outcome::Done);
        }
        for range in &file.ranges {
            let partition = topic.partition(range.partition).ok_or(Refusal::UnknownPartition)?;
            if range.start != partition.frontier || range.end <= range.start || (fresh.is_none() && !partition.fresh.is_empty()) {
                return Err(STALE);
            }
            let cut = partition.extents.iter().find(|extent| extent.start < range.end && extent.end > range.end);
            if cut.is_some_and(|extent| extent.place != ExtentPlace::Hole) {
                return Err(STALE);
            }
        }
        let mut references = references!(self, context);
        for range in &file.ranges {
            let Some(partition) = partition_mut(topic, range.partition) else { continue };
            while partition.extents.front().is_some_and(|extent| extent.end <= range.end) {
                if let Some(extent) = partition.extents.pop_front() {
                    references.drop(&extent);
                }
            }
            if let Some(hole) = partition.extents.front_mut().filter(|extent| extent.start < range.end) {
                hole.start = range.end;
            }
            partition.frontier = range.end;
            partition.next_offset = partition.next_offset.max(range.end);
            match fresh {
                Some(name) => partition.fresh.push_back(fresh_range(range, name)),
                None => partition.sealed_end = range.end,
            }
        }
        if let Some(name) = fresh {
            insert_fresh(topic, name, file, context);
        }
        topic.bronze_changed = context.seq;
        Ok(Outcome::Done)
    }

    pub(super) fn forget_topic(&mut self, context: &mut Context<'_>, command: &ForgetTopic) -> Result<Outcome, Refusal> {
        self.demand_lease(context, LeaseKind::Garbage, &[], command.lease)?;
        self.dropped.remove(&topic_id(&command.topic_id)?).ok_or(Refusal::UnknownTopic)?;
        Ok(Outcome::Done)
    }
}

fn partition_mut(topic: &mut Topic, number: i32) -> Option<&mut crate::state::Partition> {
    topic.partitions.get_mut(usize::try_from(number).ok()?)
}

fn fresh_range(range: &FileRange, segment: ObjectName) -> FreshRange {
    FreshRange {
        start: range.start,
        end: range.end,
        segment,
        max_timestamp_ms: range.max_timestamp_ms,
        max_timestamp_offset: range.max_timestamp_offset,
    }
}

/// The name of a new fresh file, if it lies where it should, is new, and may still be used.
fn fresh_name(topic: &Topic, file: &NewFile, horizon: Seq) -> Result<ObjectName, Refusal> {
    let name = object_name(&file.path, horizon, Rule::B5)?;
    let expected = format!("fresh/{}/{}/{name}.parquet", topic.name, topic.id.id8());
    if file.path != expected || topic.fresh.contains_key(&name) {
        return Err(Refusal::Malformed { what: "a fresh file's path" });
    }
    Ok(name)
}

fn insert_fresh(topic: &mut Topic, name: ObjectName, file: &NewFile, context: &Context<'_>) {
    topic.bronze_changed = context.seq;
    let segment = FreshSegment {
        file: file.clone(),
        since: context.seq,
        since_ms: context.now_ms,
        plan: None,
        live_ranges: file.ranges.len() as u64,
    };
    topic.fresh.insert(name, segment);
}

fn decide(format: &mut Format, wanted: u32) {
    if *format == Format::Undecided {
        *format = match wanted {
            1 => Format::Text,
            2 => Format::Binary,
            _ => Format::Undecided,
        };
    }
}

/// No open plan has it as an input (docs/rules.md, C9).
fn is_unpinned(segment: &FreshSegment) -> bool {
    segment.plan.is_none() || !holds(Rule::C9) || !holds(Rule::C4)
}

fn unpinned_inputs(topic: &Topic, paths: &[String]) -> Result<BTreeSet<ObjectName>, Refusal> {
    let mut inputs = BTreeSet::new();
    for path in paths {
        let name: ObjectName = path.parse().map_err(|_| Refusal::Malformed { what: "an input's name" })?;
        match topic.fresh.get(&name) {
            Some(segment) if is_unpinned(segment) && segment.file.path == *path => inputs.insert(name),
            _ => return Err(Refusal::Superseded { what: "an input is no longer live" }),
        };
    }
    if inputs.is_empty() { Err(Refusal::Malformed { what: "no inputs" }) } else { Ok(inputs) }
}

/// Per partition, what the inputs still answer for: one run without a gap, else the inputs do not belong together. A gap below
/// the log start is none: a log start that moved while an open plan pinned its inputs leaves one, and what covers it, covers a hole.
fn live_cover(topic: &Topic, inputs: &BTreeSet<ObjectName>) -> Result<BTreeMap<i32, (i64, i64)>, Refusal> {
    let mut partitions = BTreeSet::new();
    for input in inputs {
        if let Some(segment) = topic.fresh.get(input) {
            partitions.extend(segment.file.ranges.iter().map(|range| range.partition));
        }
    }
    let mut cover = BTreeMap::new();
    for number in partitions {
        let Some(partition) = topic.partition(number) else { continue };
        let mut run: Option<(i64, i64)> = None;
        for fresh in partition.fresh.iter().filter(|fresh| inputs.contains(&fresh.segment)) {
            run = match run {
                None => Some((fresh.start, fresh.end)),
                Some((start, end)) if end == fresh.start || fresh.start <= partition.log_start => Some((start, fresh.end)),
                Some(_) => return Err(Refusal::Superseded { what: "the inputs are not neighbours" }),
            };
        }
        if let Some(run) = run {
            cover.insert(number, run);
        }
    }
    Ok(cover)
}

/// `bronze/<topic>/<id8>/ingest_date=YYYY-MM-DD/<time>-p<partition>-o<offset>-g<generation>.parquet`
fn sealed_path(topic: &Topic, day: i32, now_ms: i64, first: &FileRange) -> Option<String> {
    let date = chrono::DateTime::from_timestamp_millis(i64::from(day).checked_mul(86_400_000)?)?.format("%Y-%m-%d");
    let time = chrono::DateTime::from_timestamp_millis(now_ms)?.format("%Y%m%dT%H%M%S%3fZ");
    let time = time.to_string();
    // 20261123T141500000Z has 18 characters and nothing between seconds and milliseconds.
    let (partition, offset) = (first.partition, first.start);
    Some(format!("bronze/{}/{}/ingest_date={date}/{time}-p{partition:05}-o{offset:020}-g0.parquet", topic.name, topic.id.id8()))
}
