//! Extents become fresh segments, fresh ones others, objects garbage; and every offset keeps exactly one answer (I5).

use super::references::references;
use super::seal::drop_extents;
use super::{Context, object_name, topic_id};
use crate::outcome::{Outcome, Refusal};
use crate::state::fill::{fresh_weight, garbage_weight, topic_name_weight};
use crate::state::{Extent, ExtentPlace, Fill, Format, FreshRange, FreshSegment, Index, Topic};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use strandline_commands::{
    AdoptSealed, CollectGarbage, Convert, DropSealed, FileRange, ForgetTopic, LeaseKind, Lost, Merge, NewFile, RaiseHorizon,
    Rehome,
};
use strandline_types::file_names::fresh_path;
use strandline_types::mutations::{Rule, holds};
use strandline_types::{ObjectName, Seq, TopicId, TopicPartition, limits};

const PINNED: Refusal = Refusal::Superseded { what: "an open plan seals these extents" };
pub(super) const STALE: Refusal = Refusal::Superseded { what: "the file does not cover what it should any more" };

impl Index {
    pub(super) fn topic_mut(topics: &mut BTreeMap<TopicId, Arc<Topic>>, id: TopicId) -> Result<&mut Topic, Refusal> {
        topics.get_mut(&id).map(Arc::make_mut).ok_or(Refusal::UnknownTopic)
    }

    pub(super) fn convert(&mut self, context: &mut Context<'_>, command: &Convert) -> Result<Outcome, Refusal> {
        let id = topic_id(&command.topic_id)?;
        self.demand_lease(context, LeaseKind::Convert, &command.topic_id, command.lease)?;
        let file = command.file.as_ref().ok_or(Refusal::Malformed { what: "a conversion has a file" })?;
        self.demand_room_for_objects()?;
        self.demand_room_for_files(fresh_weight(file))?;
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
            if partition.planned_end.is_some() {
                return Err(PINNED);
            }
        }
        if seen.is_empty() {
            return Err(Refusal::Malformed { what: "a file covers something" });
        }
        let mut references = references!(self, context);
        for range in &file.ranges {
            let Some(partition) = partition_mut(topic, range.partition) else { continue };
            drop_extents(partition, range.end, &mut references);
            partition.fresh.push_back(fresh_range(range, name));
            context.folded.partitions.push(TopicPartition { topic_id: id, partition: range.partition });
        }
        decide(&mut topic.key_format, command.key_format);
        decide(&mut topic.value_format, command.value_format);
        insert_fresh(topic, name, file, context, references.fill);
        Ok(Outcome::Done)
    }

    /// The index holds as many fresh files as it may.
    pub(super) fn demand_room_for_files(&self, weight: u64) -> Result<(), Refusal> {
        if weight > self.room_for_files() { Err(Refusal::Limit { what: "fresh files" }) } else { Ok(()) }
    }

    fn room_for_files(&self) -> u64 {
        if self.has_version_2() { limits::FILES_BYTES.saturating_sub(self.fill.file_bytes) } else { u64::MAX }
    }

    pub(super) fn merge(&mut self, context: &mut Context<'_>, command: &Merge) -> Result<Outcome, Refusal> {
        let id = topic_id(&command.topic_id)?;
        self.demand_lease(context, LeaseKind::Merge, &command.topic_id, command.lease)?;
        let horizon = self.cell.horizon;
        self.demand_room_for_objects()?;
        let room = self.room_for_files();
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
        let weight_of = |input| topic.fresh.get(input).map_or(0, |segment| fresh_weight(&segment.file));
        let before: u64 = inputs.iter().map(weight_of).sum();
        let after: u64 = outputs.iter().map(|(_, file)| fresh_weight(file)).sum();
        let room = room.saturating_add(before);
        if after > before && after > room {
            return Err(Refusal::Limit { what: "fresh files" });
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
            references.discard_fresh(topic.fresh.remove(input));
        }
        for (name, file) in outputs {
            insert_fresh(topic, name, file, context, references.fill);
        }
        Ok(Outcome::Done)
    }

    pub(super) fn rehome(&mut self, context: &mut Context<'_>, command: &Rehome) -> Result<Outcome, Refusal> {
        self.demand_room_for_objects()?;
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

    pub(super) fn drop_sealed(&mut self, context: &mut Context<'_>, command: &DropSealed) -> Result<Outcome, Refusal> {
        let id = topic_id(&command.topic_id)?;
        self.demand_lease(context, LeaseKind::Retention, &[], command.lease)?;
        let file = command.file.as_ref().ok_or(Refusal::Malformed { what: "a sealed file" })?;
        self.demand_room_for_objects()?;
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
            if self.garbage.remove(path).is_some() {
                self.fill.garbage_bytes = self.fill.garbage_bytes.saturating_sub(garbage_weight(path));
            }
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
        let planned_are_adopted = self.has_version_2();
        let topic = Self::topic_mut(&mut self.topics, id)?;
        if planned_are_adopted && topic.plans.contains_key(&file.path) {
            // The file of an open plan is there, and only the word of it is lost: the plan goes on from here.
            return self.sealed_as_planned(context, id, file);
        }
        let fresh = match file.path.starts_with("fresh/") {
            true => Some(object_name(&file.path, Seq::ZERO, Rule::B5)?),
            false => None,
        };
        if let Some((name, known)) = fresh.and_then(|name| topic.fresh.get_mut(&name).map(|known| (name, known))) {
            // Its object was lost and has been put anew, without rows: it goes on answering for its ranges.
            let cover = |file: &NewFile| {
                file.ranges.iter().map(|range| (range.partition, range.start, range.end)).collect::<BTreeSet<_>>()
            };
            if cover(&known.file) != cover(file) {
                return Err(STALE);
            }
            self.fill.file_bytes = self.fill.file_bytes.saturating_sub(fresh_weight(&known.file)) + fresh_weight(file);
            known.file = file.clone();
            for range in &file.ranges {
                let fresh = partition_mut(topic, range.partition).into_iter().flat_map(|partition| &mut partition.fresh);
                // Lost records are not the newest of anything any more.
                for fresh in fresh.filter(|fresh| fresh.segment == name && fresh.start == range.start) {
                    (fresh.max_timestamp_ms, fresh.max_timestamp_offset) = (range.max_timestamp_ms, range.max_timestamp_offset);
                }
            }
            topic.bronze_changed = context.seq;
            return Ok(Outcome::Done);
        }
        for range in &file.ranges {
            let partition = topic.partition(range.partition).ok_or(Refusal::UnknownPartition)?;
            if partition.planned_end.is_some() {
                return Err(PINNED);
            }
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
            insert_fresh(topic, name, file, context, references.fill);
        }
        topic.bronze_changed = context.seq;
        Ok(Outcome::Done)
    }

    pub(super) fn forget_topic(&mut self, context: &mut Context<'_>, command: &ForgetTopic) -> Result<Outcome, Refusal> {
        self.demand_lease(context, LeaseKind::Garbage, &[], command.lease)?;
        let dropped = self.dropped.remove(&topic_id(&command.topic_id)?).ok_or(Refusal::UnknownTopic)?;
        self.fill.topic_bytes = self.fill.topic_bytes.saturating_sub(topic_name_weight(&dropped.name));
        Ok(Outcome::Done)
    }
}

pub(super) fn partition_mut(topic: &mut Topic, number: i32) -> Option<&mut crate::state::Partition> {
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
    if file.path != fresh_path(&topic.name, topic.id, name) || topic.fresh.contains_key(&name) {
        return Err(Refusal::Malformed { what: "a fresh file's path" });
    }
    Ok(name)
}

fn insert_fresh(topic: &mut Topic, name: ObjectName, file: &NewFile, context: &Context<'_>, fill: &mut Fill) {
    fill.file_bytes += fresh_weight(file);
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

pub(super) fn decide(format: &mut Format, wanted: u32) {
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

pub(super) fn unpinned_inputs(topic: &Topic, paths: &[String]) -> Result<BTreeSet<ObjectName>, Refusal> {
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
pub(super) fn live_cover(topic: &Topic, inputs: &BTreeSet<ObjectName>) -> Result<BTreeMap<i32, (i64, i64)>, Refusal> {
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
