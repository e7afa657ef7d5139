//! Batches get their offsets; duplicates and zombies are told apart from what is new.

use super::references::{References, references};
use super::{Context, topic_id};
use crate::outcome::{BatchOutcome, Outcome, Refusal};
use crate::state::{Extent, ExtentPlace, Fill, Index, Partition, Producer, ProducerPartition, RecentBatch};
use std::collections::BTreeMap;
use std::sync::Arc;
use strandline_commands::{Batch, ExpireProducers, InitProducer, Produce};
use strandline_types::mutations::{Rule, holds};
use strandline_types::{ProducerId, TopicPartition, limits};

/// The sequence after `sequence`, `steps` further: sequences wrap at 2^31-1.
pub(crate) fn sequence_after(sequence: i32, steps: u32) -> i32 {
    let wrapped = (i64::from(sequence) + i64::from(steps)) % (i64::from(i32::MAX) + 1);
    i32::try_from(wrapped).unwrap_or(0)
}

/// What the fold makes of a batch's producer.
enum Verdict {
    New,
    Duplicate(RecentBatch),
}

impl Index {
    pub(super) fn produce(&mut self, context: &mut Context<'_>, command: &Produce) -> Result<Outcome, Refusal> {
        let mut id = topic_id(&command.topic_id)?;
        if !holds(Rule::Identity) {
            id = self.dropped.get(&id).and_then(|dropped| self.names.get(&dropped.name)).copied().unwrap_or(id);
        }
        let end = command.position.checked_add(command.bytes()).ok_or(Refusal::Malformed { what: "a position" })?;
        let (first_place, object) = if command.object == 0 {
            if end > context.commit.payload_length {
                return Err(Refusal::Malformed { what: "batches beyond the commit's payload" });
            }
            let position = context.commit.payload_start.saturating_add(command.position);
            (ExtentPlace::Inline { seq: context.seq, position }, None)
        } else {
            self.demand_room_for_objects()?;
            let (object, name) = context.object(command.object, self.cell.horizon)?;
            if end > object.size {
                return Err(Refusal::Malformed { what: "batches beyond the object's end" });
            }
            (ExtentPlace::Object { name, position: command.position }, Some((object.size, object.crc32c)))
        };
        if self.extent_count >= limits::EXTENTS as u64 {
            return Err(Refusal::Limit { what: "extents" });
        }
        let most_pairs = if self.has_version_2() { limits::PRODUCER_PARTITIONS as u64 } else { u64::MAX };
        let topic = self.topics.get_mut(&id).ok_or(Refusal::UnknownTopic)?;
        let at = usize::try_from(command.partition).map_err(|_| Refusal::UnknownPartition)?;
        if at >= topic.partitions.len() {
            return Err(Refusal::UnknownPartition);
        }
        let topic = Arc::make_mut(topic);
        let log_append_time = topic.log_append_time();
        let partition = topic.partitions.get_mut(at).ok_or(Refusal::UnknownPartition)?;
        let place = TopicPartition { topic_id: id, partition: command.partition };
        let mut references = references!(self, context);
        let mut skipped = 0;
        let mut outcomes = Vec::with_capacity(command.batches.len());
        for batch in &command.batches {
            let log_start = partition.log_start;
            let outcome = match judge(partition, &self.producers, batch, references.fill.producer_partitions < most_pairs) {
                Ok(Verdict::Duplicate(recent)) => {
                    BatchOutcome::Duplicate { base_offset: recent.base_offset, append_time_ms: recent.append_time_ms, log_start }
                }
                Ok(Verdict::New) => {
                    let extent = Extent {
                        start: partition.next_offset,
                        end: partition.next_offset.saturating_add(i64::from(batch.last_offset_delta)).saturating_add(1),
                        place: shifted(first_place, skipped),
                        length: u64::from(batch.length),
                        ingest_ms: context.now_ms,
                        log_append_time,
                        max_timestamp_ms: batch.max_timestamp_ms,
                        max_timestamp_offset: partition.next_offset.saturating_add(i64::from(batch.max_timestamp_delta)),
                    };
                    partition.next_offset = extent.end;
                    remember(partition, &mut self.producers, references.fill, place, batch, &extent, context);
                    push(partition, extent, object, &mut references);
                    BatchOutcome::Appended { base_offset: extent.start, append_time_ms: context.now_ms, log_start }
                }
                Err(refusal) => BatchOutcome::Refused(refusal),
            };
            skipped += u64::from(batch.length);
            outcomes.push(outcome);
        }
        if outcomes.iter().any(|outcome| matches!(outcome, BatchOutcome::Appended { .. })) {
            context.folded.partitions.push(place);
        }
        Ok(Outcome::Produced(outcomes))
    }

    pub(super) fn init_producer(&mut self, context: &mut Context<'_>, command: &InitProducer) -> Result<Outcome, Refusal> {
        let known = self.producers.get_mut(&command.producer_id).filter(|_| command.producer_id >= 0);
        if let Some(producer) = known {
            if command.producer_epoch < producer.epoch {
                return Err(Refusal::InvalidProducerEpoch);
            }
            if command.producer_epoch < i32::from(i16::MAX) - 1 {
                let producer = Arc::make_mut(producer);
                producer.epoch = command.producer_epoch.max(producer.epoch).saturating_add(1);
                (producer.last_active, producer.last_active_ms) = (context.seq, context.now_ms);
                return Ok(Outcome::Producer { producer_id: command.producer_id, producer_epoch: producer.epoch });
            }
        }
        // A new one, one that was forgotten, or one whose epochs are used up. It is remembered once it writes: ids that are
        // only given out cost nothing.
        let mut producer_id = self.cell.next_producer_id;
        // An id that a client made up is in use all the same.
        while self.producers.contains_key(&producer_id) {
            producer_id = producer_id.checked_add(1).ok_or(Refusal::Limit { what: "producer ids" })?;
        }
        self.cell.next_producer_id = producer_id.checked_add(1).ok_or(Refusal::Limit { what: "producer ids" })?;
        Ok(Outcome::Producer { producer_id, producer_epoch: 0 })
    }

    pub(super) fn expire_producers(&mut self, command: &ExpireProducers) -> Result<Outcome, Refusal> {
        for expired in &command.producers {
            let idle = self.producers.get(&expired.producer_id).is_some_and(|known| known.last_active.0 == expired.last_active);
            if !idle {
                continue;
            }
            let Some(producer) = self.producers.remove(&expired.producer_id) else { continue };
            for place in &producer.partitions {
                let topic = self.topics.get_mut(&place.topic_id).map(Arc::make_mut);
                let partition = topic.and_then(|topic| topic.partitions.get_mut(usize::try_from(place.partition).ok()?));
                if let Some(partition) = partition
                    && partition.producers.remove(&expired.producer_id).is_some()
                {
                    self.fill.producer_partitions = self.fill.producer_partitions.saturating_sub(1);
                }
            }
        }
        Ok(Outcome::Done)
    }
}

fn shifted(place: ExtentPlace, by: u64) -> ExtentPlace {
    match place {
        ExtentPlace::Inline { seq, position } => ExtentPlace::Inline { seq, position: position.saturating_add(by) },
        ExtentPlace::Object { name, position } => ExtentPlace::Object { name, position: position.saturating_add(by) },
        other => other,
    }
}

/// Whether the batch is new, known already, or out of order, by what this partition remembers. Without state any sequence is
/// accepted; a higher epoch starts at 0 again. `room`: the cell remembers one more producer of one more partition.
fn judge(
    partition: &Partition,
    producers: &BTreeMap<ProducerId, Arc<Producer>>,
    batch: &Batch,
    room: bool,
) -> Result<Verdict, Refusal> {
    if batch.producer_id < 0 {
        return Ok(Verdict::New);
    }
    if !producers.contains_key(&batch.producer_id) && producers.len() >= limits::PRODUCERS {
        return Err(Refusal::Limit { what: "producers" });
    }
    // An idempotent producer raises its epoch partition by partition, and what it sent to others before goes on under the old
    // one: fencing it there would make it send those records again, as new ones.
    let Some(known) = partition.producers.get(&batch.producer_id) else {
        return if room { Ok(Verdict::New) } else { Err(Refusal::Limit { what: "producers of partitions" }) };
    };
    if batch.producer_epoch < known.epoch {
        return Err(Refusal::InvalidProducerEpoch);
    }
    if batch.producer_epoch > known.epoch {
        return if batch.base_sequence == 0 { Ok(Verdict::New) } else { Err(Refusal::OutOfOrderSequence) };
    }
    let last_sequence = sequence_after(batch.base_sequence, batch.last_offset_delta);
    let duplicate =
        known.batches.iter().find(|recent| recent.first_sequence == batch.base_sequence && recent.last_sequence == last_sequence);
    if let Some(recent) = duplicate {
        if !holds(Rule::Duplicates) {
            return Ok(Verdict::New);
        }
        return Ok(Verdict::Duplicate(*recent));
    }
    match known.batches.back() {
        Some(last) if batch.base_sequence != sequence_after(last.last_sequence, 1) => Err(Refusal::OutOfOrderSequence),
        _ => Ok(Verdict::New),
    }
}

fn remember(
    partition: &mut Partition,
    producers: &mut BTreeMap<ProducerId, Arc<Producer>>,
    fill: &mut Fill,
    place: TopicPartition,
    batch: &Batch,
    extent: &Extent,
    context: &Context<'_>,
) {
    if batch.producer_id < 0 {
        return;
    }
    let known = partition.producers.entry(batch.producer_id).or_insert_with(|| {
        fill.producer_partitions += 1;
        ProducerPartition::default()
    });
    if known.epoch != batch.producer_epoch {
        *known = ProducerPartition { epoch: batch.producer_epoch, ..ProducerPartition::default() };
    }
    if known.batches.len() >= limits::BATCHES_PER_PRODUCER {
        known.batches.pop_front();
    }
    known.batches.push_back(RecentBatch {
        first_sequence: batch.base_sequence,
        last_sequence: sequence_after(batch.base_sequence, batch.last_offset_delta),
        base_offset: extent.start,
        append_time_ms: context.now_ms,
    });
    let producer = producers.entry(batch.producer_id).or_insert_with(|| {
        Arc::new(Producer {
            epoch: batch.producer_epoch,
            last_active: context.seq,
            last_active_ms: context.now_ms,
            partitions: Default::default(),
        })
    });
    let producer = Arc::make_mut(producer);
    producer.epoch = producer.epoch.max(batch.producer_epoch);
    (producer.last_active, producer.last_active_ms) = (context.seq, context.now_ms);
    producer.partitions.insert(place);
}

/// Adds an extent, or lengthens the last one where the bytes go on (and no plan ends there).
fn push(partition: &mut Partition, extent: Extent, object: Option<(u64, u32)>, references: &mut References<'_>) {
    if let Some(last) = partition.extents.back_mut() {
        let goes_on = shifted(last.place, last.length) == extent.place
            && last.length > 0
            && partition.planned_end != Some(last.end)
            && last.ingest_ms == extent.ingest_ms
            && last.log_append_time == extent.log_append_time
            && last.length.saturating_add(extent.length) <= limits::EXTENT_BYTES;
        if goes_on {
            last.end = extent.end;
            last.length += extent.length;
            if extent.max_timestamp_ms > last.max_timestamp_ms {
                last.max_timestamp_ms = extent.max_timestamp_ms;
                last.max_timestamp_offset = extent.max_timestamp_offset;
            }
            return;
        }
    }
    references.add(&extent, object);
    partition.extents.push_back(extent);
}
