//! Topics and log starts.

use super::references::{References, references};
use super::{Context, topic_id};
use crate::outcome::{Outcome, Refusal};
use crate::state::fill::{configs_weight, offset_weight, producers_of, topic_files_weight, topic_name_weight, topic_weight};
use crate::state::{DroppedTopic, Index, Partition, Topic};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use strandline_commands::{ConfigOperation, ConfigureTopic, CreateTopic, DeleteTopic, GrowTopic, LeaseKind, MoveLogStart};
use strandline_types::mutations::{Rule, holds};
use strandline_types::{TopicId, TopicPartition, limits};

impl Index {
    pub(super) fn create_topic(&mut self, context: &mut Context<'_>, command: &CreateTopic) -> Result<Outcome, Refusal> {
        let id = topic_id(&command.topic_id)?;
        if self.names.contains_key(&command.name) {
            return Err(Refusal::TopicExists);
        }
        if self.topics.contains_key(&id) || self.dropped.contains_key(&id) || id == TopicId::ZERO {
            return Err(Refusal::Malformed { what: "a topic id is used once" });
        }
        if command.name.is_empty() || command.name.len() > limits::TOPIC_NAME_BYTES {
            return Err(Refusal::Malformed { what: "a topic's name" });
        }
        let partitions = self.room_for_partitions(0, command.partitions)?;
        let topic = Topic {
            id,
            name: command.name.clone(),
            replication_factor: command.replication_factor,
            configs: command.configs.iter().map(|config| (config.name.clone(), config.value.clone())).collect(),
            created: context.seq,
            partitions: vec![Partition::default(); partitions],
            bronze_changed: context.seq,
            ..Topic::default()
        };
        let weight = topic_weight(&topic);
        if !self.has_room_for_topics(self.fill.topic_bytes.saturating_add(weight)) {
            return Err(Refusal::Limit { what: "bytes of topics" });
        }
        self.fill.topic_bytes += weight;
        self.partition_count += partitions as u64;
        self.names.insert(command.name.clone(), id);
        self.topics.insert(id, Arc::new(topic));
        context.folded.metadata = true;
        Ok(Outcome::Done)
    }

    fn room_for_partitions(&self, current: i32, wanted: i32) -> Result<usize, Refusal> {
        if wanted <= current {
            return Err(Refusal::InvalidPartitions { current });
        }
        if wanted > limits::PARTITIONS_PER_TOPIC {
            return Err(Refusal::Limit { what: "partitions of one topic" });
        }
        let more = u64::try_from(wanted.saturating_sub(current)).unwrap_or(0);
        if self.partition_count.saturating_add(more) > limits::PARTITIONS as u64 {
            return Err(Refusal::Limit { what: "partitions" });
        }
        usize::try_from(wanted).map_err(|_| Refusal::InvalidPartitions { current })
    }

    pub(super) fn delete_topic(&mut self, context: &mut Context<'_>, command: &DeleteTopic) -> Result<Outcome, Refusal> {
        let id = topic_id(&command.topic_id)?;
        let topic = self.topics.remove(&id).ok_or(Refusal::UnknownTopic)?;
        self.names.remove(&topic.name);
        self.partition_count = self.partition_count.saturating_sub(topic.partitions.len() as u64);
        let fill = &mut self.fill;
        fill.topic_bytes = fill.topic_bytes.saturating_sub(topic_weight(&topic)) + topic_name_weight(&topic.name);
        fill.file_bytes = fill.file_bytes.saturating_sub(topic_files_weight(&topic));
        let producers = topic.partitions.iter().map(producers_of).sum();
        fill.producer_partitions = fill.producer_partitions.saturating_sub(producers);
        let mut references = references!(self, context);
        for (number, partition) in topic.partitions.iter().enumerate() {
            for extent in &partition.extents {
                references.drop(extent);
            }
            let place = TopicPartition { topic_id: id, partition: i32::try_from(number).unwrap_or(i32::MAX) };
            for producer_id in partition.producers.keys() {
                if let Some(producer) = self.producers.get_mut(producer_id) {
                    Arc::make_mut(producer).partitions.remove(&place);
                }
            }
            context.folded.partitions.push(place);
        }
        for segment in topic.fresh.values() {
            references.discard(segment.file.path.clone(), segment.file.size);
        }
        for group in self.groups.values_mut() {
            let of_topic =
                TopicPartition { topic_id: id, partition: i32::MIN }..=TopicPartition { topic_id: id, partition: i32::MAX };
            let committed: Vec<TopicPartition> = group.offsets.range(of_topic).map(|(place, _)| *place).collect();
            if !committed.is_empty() {
                let group = Arc::make_mut(group);
                for place in committed {
                    if let Some(offset) = group.offsets.remove(&place) {
                        self.fill.group_bytes = self.fill.group_bytes.saturating_sub(offset_weight(&offset.metadata));
                    }
                }
                (group.last_changed, group.last_changed_ms) = (context.seq, context.now_ms);
            }
        }
        // Key by key: one entry may delete thousands of topics, and each has its own.
        for kind in [LeaseKind::Convert, LeaseKind::Merge, LeaseKind::Seal] {
            self.leases.remove(&(kind as i32, id.0.to_vec()));
        }
        let dropped = DroppedTopic { name: topic.name.clone(), since: context.seq, since_ms: context.now_ms };
        self.dropped.insert(id, dropped);
        context.folded.metadata = true;
        Ok(Outcome::Done)
    }

    pub(super) fn grow_topic(&mut self, context: &mut Context<'_>, command: &GrowTopic) -> Result<Outcome, Refusal> {
        let id = topic_id(&command.topic_id)?;
        let topic = self.topics.get(&id).ok_or(Refusal::UnknownTopic)?;
        let current = topic.partitions.len();
        let wanted = self.room_for_partitions(i32::try_from(current).unwrap_or(i32::MAX), command.partitions)?;
        if let Some(topic) = self.topics.get_mut(&id) {
            Arc::make_mut(topic).partitions.resize(wanted, Partition::default());
            self.partition_count += (wanted - current) as u64;
        }
        context.folded.metadata = true;
        Ok(Outcome::Done)
    }

    pub(super) fn configure_topic(&mut self, context: &mut Context<'_>, command: &ConfigureTopic) -> Result<Outcome, Refusal> {
        let id = topic_id(&command.topic_id)?;
        let topic = self.topics.get(&id).ok_or(Refusal::UnknownTopic)?;
        let mut configs = if command.replace_all { BTreeMap::new() } else { topic.configs.clone() };
        for change in &command.changes {
            let operation = ConfigOperation::try_from(change.operation)
                .map_err(|_| Refusal::Malformed { what: "an unknown config operation" })?;
            let current = configs.get(&change.name).unwrap_or(&change.default);
            let value = match operation {
                ConfigOperation::Set => Some(change.value.clone()),
                ConfigOperation::Delete => None,
                ConfigOperation::Append => Some(append(current, &change.value)),
                ConfigOperation::Subtract => Some(subtract(current, &change.value)),
            };
            match value {
                Some(value) => configs.insert(change.name.clone(), value),
                None => configs.remove(&change.name),
            };
        }
        let weight = |configs: &BTreeMap<String, String>| {
            configs_weight(configs.iter().map(|(name, value)| (name.as_str(), value.as_str())))
        };
        let (before, after) = (weight(&topic.configs), weight(&configs));
        let bytes = self.fill.topic_bytes.saturating_sub(before).saturating_add(after);
        if after > before && !self.has_room_for_topics(bytes) {
            return Err(Refusal::Limit { what: "bytes of topics" });
        }
        self.fill.topic_bytes = bytes;
        let topic = self.topics.get_mut(&id).ok_or(Refusal::UnknownTopic)?;
        Arc::make_mut(topic).configs = configs;
        context.folded.metadata = true;
        Ok(Outcome::Done)
    }

    pub(super) fn move_log_start(&mut self, context: &mut Context<'_>, command: &MoveLogStart) -> Result<Outcome, Refusal> {
        let id = topic_id(&command.topic_id)?;
        let topic = Arc::make_mut(self.topics.get_mut(&id).ok_or(Refusal::UnknownTopic)?);
        let at = usize::try_from(command.partition).map_err(|_| Refusal::UnknownPartition)?;
        let partition = topic.partitions.get(at).ok_or(Refusal::UnknownPartition)?;
        let to = if command.to == -1 { partition.next_offset } else { command.to };
        if to < 0 || to > partition.next_offset {
            return Err(Refusal::OffsetOutOfRange);
        }
        if to <= partition.log_start {
            return Ok(Outcome::LogStart(partition.log_start));
        }
        let moved = if holds(Rule::LogStart) { to } else { to - 1 };
        raise_log_start(topic, at, moved, &mut references!(self, context));
        context.folded.partitions.push(TopicPartition { topic_id: id, partition: command.partition });
        Ok(Outcome::LogStart(to))
    }
}

/// The elements of a list.
fn elements(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').filter(|element| !element.is_empty())
}

/// The list with those elements that it lacks, each once; what it has twice already stays so. By a set: an entry may bring a
/// million, and nobody sees the index meanwhile.
fn append(list: &str, added: &str) -> String {
    let mut items: Vec<&str> = elements(list).collect();
    let mut known: BTreeSet<&str> = items.iter().copied().collect();
    items.extend(elements(added).filter(|&item| known.insert(item)));
    items.join(",")
}

/// The list without those elements.
fn subtract(list: &str, removed: &str) -> String {
    let removed: BTreeSet<&str> = elements(removed).collect();
    elements(list).filter(|item| !removed.contains(item)).collect::<Vec<_>>().join(",")
}

/// Moves the log start up and lets go of what lies wholly below it. Inputs of an open plan stay: the plan is completed,
/// and covers what is below the log start as a hole.
fn raise_log_start(topic: &mut Topic, at: usize, to: i64, references: &mut References<'_>) {
    topic.bronze_changed = references.seq;
    if let Some(partition) = topic.partitions.get_mut(at) {
        partition.log_start = to;
    }
    let_go_below_log_start(topic, at, references);
}

/// Lets go of what lies wholly below the log start and is not pinned.
pub(super) fn let_go_below_log_start(topic: &mut Topic, at: usize, references: &mut References<'_>) {
    let Some(partition) = topic.partitions.get_mut(at) else { return };
    let to = partition.log_start;
    while partition.planned_end.is_none() && partition.extents.front().is_some_and(|extent| extent.end <= to) {
        if let Some(extent) = partition.extents.pop_front() {
            references.drop(&extent);
            partition.frontier = extent.end;
        }
    }
    while let Some(range) = partition.fresh.front().copied().filter(|range| range.end <= to) {
        let Some(segment) = topic.fresh.get_mut(&range.segment) else { break };
        if segment.plan.is_some() {
            break;
        }
        partition.fresh.pop_front();
        segment.live_ranges = segment.live_ranges.saturating_sub(1);
        if segment.live_ranges == 0 {
            references.discard_fresh(topic.fresh.remove(&range.segment));
        }
    }
    let pinned = partition.fresh.front().map(|range| range.start);
    partition.sealed_end = pinned.unwrap_or(partition.frontier).max(partition.sealed_end);
    let frontier = partition.frontier;
    partition.aborted.retain(|aborted| aborted.last_offset >= frontier);
}
