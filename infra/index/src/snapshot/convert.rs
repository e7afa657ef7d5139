//! Between the index and its Protobuf. What can be counted (references, extents, partitions, a producer's partitions) is
//! not stored but counted anew.

use super::messages::*;
use crate::state::*;
use std::sync::Arc;
use strandline_types::{ChainHash, Incarnation, LeaseNumber, ObjectName, Seq, TopicId, TopicPartition};

impl From<&Index> for Snapshot {
    fn from(index: &Index) -> Self {
        Self {
            cell: Some(cell(&index.cell)),
            nodes: index.nodes.iter().map(|(incarnation, run)| node(*incarnation, run)).collect(),
            slots: index
                .slots
                .iter()
                .map(|(node_id, slot)| SlotMessage {
                    node_id: *node_id,
                    host: slot.host.clone(),
                    port: slot.port,
                    zone: slot.zone.clone(),
                    holder: slot.holder.map(|holder| holder.0),
                })
                .collect(),
            leases: index
                .leases
                .iter()
                .map(|((kind, scope), lease)| LeaseMessage {
                    kind: *kind,
                    scope: scope.clone(),
                    number: lease.number.0,
                    holder: lease.holder.0,
                })
                .collect(),
            topics: index.topics.values().map(|topic| topic_message(topic)).collect(),
            dropped: index
                .dropped
                .iter()
                .map(|(id, dropped)| Dropped {
                    id: id.0.to_vec(),
                    name: dropped.name.clone(),
                    since: dropped.since.0,
                    since_ms: dropped.since_ms,
                })
                .collect(),
            producers: index
                .producers
                .iter()
                .map(|(producer_id, producer)| ProducerMessage {
                    producer_id: *producer_id,
                    epoch: producer.epoch,
                    last_active: producer.last_active.0,
                    last_active_ms: producer.last_active_ms,
                })
                .collect(),
            groups: index.groups.iter().map(|(name, group)| group_message(name, group)).collect(),
            wal_objects: index
                .wal_objects
                .iter()
                .map(|(object, kept)| WalObjectMessage { name: Some(name(*object)), size: kept.size, crc32c: kept.crc32c })
                .collect(),
            garbage: index
                .garbage
                .iter()
                .map(|(path, garbage)| GarbageMessage {
                    path: path.clone(),
                    since: garbage.since.0,
                    since_ms: garbage.since_ms,
                    size: garbage.size,
                })
                .collect(),
        }
    }
}

/// The index of a snapshot; None if a value in it is impossible.
pub(super) fn index(snapshot: Snapshot) -> Option<Index> {
    let mut index = Index { cell: cell_state(snapshot.cell?)?, ..Index::default() };
    for run in snapshot.nodes {
        let kept = NodeRun {
            node_id: run.node_id,
            nonce: run.nonce,
            roles: run.roles,
            zone: run.zone,
            last_n: run.last_n,
            folded: Seq(run.folded),
            fold_version_supported: run.fold_version_supported,
        };
        index.nodes.insert(Incarnation(run.incarnation), kept);
    }
    for slot in snapshot.slots {
        let kept = Slot { host: slot.host, port: slot.port, zone: slot.zone, holder: slot.holder.map(Incarnation) };
        index.slots.insert(slot.node_id, kept);
    }
    for lease in snapshot.leases {
        let kept = Lease { number: LeaseNumber(lease.number), holder: Incarnation(lease.holder) };
        index.leases.insert((lease.kind, lease.scope), kept);
    }
    for kept in snapshot.wal_objects {
        let object = WalObject { size: kept.size, crc32c: kept.crc32c, references: 0 };
        index.wal_objects.insert(object_name(kept.name?), object);
    }
    for producer in snapshot.producers {
        let kept = Producer {
            epoch: producer.epoch,
            last_active: Seq(producer.last_active),
            last_active_ms: producer.last_active_ms,
            partitions: Default::default(),
        };
        index.producers.insert(producer.producer_id, Arc::new(kept));
    }
    for message in snapshot.topics {
        let topic = topic(message)?;
        index.names.insert(topic.name.clone(), topic.id);
        index.partition_count += topic.partitions.len() as u64;
        for (number, partition) in topic.partitions.iter().enumerate() {
            let place = TopicPartition { topic_id: topic.id, partition: i32::try_from(number).ok()? };
            for producer_id in partition.producers.keys() {
                Arc::make_mut(index.producers.get_mut(producer_id)?).partitions.insert(place);
            }
            index.extent_count += partition.extents.len() as u64;
            for extent in &partition.extents {
                match extent.place {
                    ExtentPlace::Inline { seq, .. } => *index.inline_references.entry(seq).or_default() += 1,
                    ExtentPlace::Object { name, .. } => index.wal_objects.get_mut(&name)?.references += 1,
                    ExtentPlace::Marker { .. } | ExtentPlace::Hole => {}
                }
            }
        }
        index.topics.insert(topic.id, Arc::new(topic));
    }
    for dropped in snapshot.dropped {
        let kept = DroppedTopic { name: dropped.name, since: Seq(dropped.since), since_ms: dropped.since_ms };
        index.dropped.insert(TopicId::from_slice(&dropped.id)?, kept);
    }
    for message in snapshot.groups {
        let (name, group) = group(message)?;
        index.groups.insert(name, Arc::new(group));
    }
    for garbage in snapshot.garbage {
        let kept = Garbage { since: Seq(garbage.since), since_ms: garbage.since_ms, size: garbage.size };
        index.garbage.insert(garbage.path, kept);
    }
    index.fill = Fill::of(&index);
    Some(index)
}

fn cell(cell: &CellState) -> Cell {
    let name = |snapshot: &Option<(Seq, [u8; 32], String, u32)>| {
        snapshot.as_ref().map(|(seq, digest, key, fold_version)| SnapshotName {
            seq: seq.0,
            digest: digest.to_vec(),
            key: key.clone(),
            fold_version: *fold_version,
        })
    };
    Cell {
        cluster_id: cell.cluster_id.clone(),
        cell_epoch: cell.cell_epoch,
        fold_version: cell.fold_version,
        seq: cell.seq.0,
        hash: cell.hash.0.to_vec(),
        now_ms: cell.now_ms,
        horizon: cell.horizon.0,
        log_copied: cell.log_copied.0,
        next_producer_id: cell.next_producer_id,
        features_epoch: cell.features_epoch,
        snapshot_written: name(&cell.snapshot.written),
        snapshot_agreed: name(&cell.snapshot.agreed),
        snapshot_disagreed: cell.snapshot.disagreed,
    }
}

fn cell_state(cell: Cell) -> Option<CellState> {
    let name = |snapshot: Option<SnapshotName>| match snapshot {
        None => Some(None),
        Some(name) => Some(Some((Seq(name.seq), name.digest.try_into().ok()?, name.key, name.fold_version))),
    };
    Some(CellState {
        cluster_id: cell.cluster_id,
        cell_epoch: cell.cell_epoch,
        fold_version: cell.fold_version,
        seq: Seq(cell.seq),
        hash: ChainHash(cell.hash.try_into().ok()?),
        now_ms: cell.now_ms,
        horizon: Seq(cell.horizon),
        log_copied: Seq(cell.log_copied),
        next_producer_id: cell.next_producer_id,
        features_epoch: cell.features_epoch,
        snapshot: SnapshotState {
            written: name(cell.snapshot_written)?,
            agreed: name(cell.snapshot_agreed)?,
            disagreed: cell.snapshot_disagreed,
        },
    })
}

fn node(incarnation: Incarnation, run: &NodeRun) -> Node {
    Node {
        incarnation: incarnation.0,
        node_id: run.node_id,
        nonce: run.nonce.clone(),
        roles: run.roles.clone(),
        zone: run.zone.clone(),
        last_n: run.last_n,
        folded: run.folded.0,
        fold_version_supported: run.fold_version_supported,
    }
}

fn name(object: ObjectName) -> Name {
    Name { seq: object.seq.0, incarnation: object.incarnation.0, n: object.n }
}

fn object_name(name: Name) -> ObjectName {
    ObjectName { seq: Seq(name.seq), incarnation: Incarnation(name.incarnation), n: name.n }
}

fn format_number(format: Format) -> u32 {
    match format {
        Format::Undecided => 0,
        Format::Text => 1,
        Format::Binary => 2,
    }
}

fn format(number: u32) -> Option<Format> {
    [Format::Undecided, Format::Text, Format::Binary].get(usize::try_from(number).ok()?).copied()
}

fn topic_message(topic: &Topic) -> TopicMessage {
    TopicMessage {
        id: topic.id.0.to_vec(),
        name: topic.name.clone(),
        replication_factor: topic.replication_factor,
        configs: topic.configs.clone(),
        created: topic.created.0,
        partitions: topic.partitions.iter().map(partition_message).collect(),
        key_format: format_number(topic.key_format),
        value_format: format_number(topic.value_format),
        fresh: topic
            .fresh
            .values()
            .map(|segment| FreshMessage {
                file: Some(segment.file.clone()),
                since: segment.since.0,
                since_ms: segment.since_ms,
                plan: segment.plan.clone(),
                live_ranges: segment.live_ranges,
            })
            .collect(),
        plans: topic
            .plans
            .iter()
            .map(|(path, plan)| PlanMessage {
                path: path.clone(),
                inputs: plan.inputs.iter().copied().map(name).collect(),
                ranges: plan.ranges.clone(),
                ingest_day: plan.ingest_day,
                since: plan.since.0,
                file: plan.file.clone(),
            })
            .collect(),
        bronze_changed: topic.bronze_changed.0,
    }
}

fn topic(message: TopicMessage) -> Option<Topic> {
    let mut topic = Topic {
        id: TopicId::from_slice(&message.id)?,
        name: message.name,
        replication_factor: message.replication_factor,
        configs: message.configs,
        created: Seq(message.created),
        partitions: message.partitions.into_iter().map(partition).collect::<Option<_>>()?,
        key_format: format(message.key_format)?,
        value_format: format(message.value_format)?,
        bronze_changed: Seq(message.bronze_changed),
        ..Topic::default()
    };
    for fresh in message.fresh {
        let file = fresh.file?;
        let name = file.path.parse().ok()?;
        let segment = FreshSegment {
            file,
            since: Seq(fresh.since),
            since_ms: fresh.since_ms,
            plan: fresh.plan,
            live_ranges: fresh.live_ranges,
        };
        topic.fresh.insert(name, segment);
    }
    for plan in message.plans {
        let kept = Plan {
            inputs: plan.inputs.into_iter().map(object_name).collect(),
            ranges: plan.ranges,
            ingest_day: plan.ingest_day,
            since: Seq(plan.since),
            file: plan.file,
        };
        if kept.is_over_extents() && kept.file.is_none() {
            for range in &kept.ranges {
                topic.partitions.get_mut(usize::try_from(range.partition).ok()?)?.planned_end = Some(range.end);
            }
        }
        topic.plans.insert(plan.path, kept);
    }
    Some(topic)
}

fn partition_message(partition: &Partition) -> PartitionMessage {
    PartitionMessage {
        next_offset: partition.next_offset,
        log_start: partition.log_start,
        frontier: partition.frontier,
        sealed_end: partition.sealed_end,
        extents: partition.extents.iter().map(extent_message).collect(),
        fresh: partition
            .fresh
            .iter()
            .map(|range| FreshRangeMessage {
                start: range.start,
                end: range.end,
                segment: Some(name(range.segment)),
                max_timestamp_ms: range.max_timestamp_ms,
                max_timestamp_offset: range.max_timestamp_offset,
            })
            .collect(),
        producers: partition
            .producers
            .iter()
            .map(|(producer_id, known)| ProducerPartitionMessage {
                producer_id: *producer_id,
                epoch: known.epoch,
                batches: known
                    .batches
                    .iter()
                    .map(|recent| RecentMessage {
                        first_sequence: recent.first_sequence,
                        last_sequence: recent.last_sequence,
                        base_offset: recent.base_offset,
                        append_time_ms: recent.append_time_ms,
                    })
                    .collect(),
            })
            .collect(),
        aborted: partition
            .aborted
            .iter()
            .map(|aborted| AbortedMessage {
                producer_id: aborted.producer_id,
                first_offset: aborted.first_offset,
                last_offset: aborted.last_offset,
            })
            .collect(),
        open_transactions: partition.open_transactions.clone(),
    }
}

fn partition(message: PartitionMessage) -> Option<Partition> {
    let fresh = |range: FreshRangeMessage| {
        Some(FreshRange {
            start: range.start,
            end: range.end,
            segment: object_name(range.segment?),
            max_timestamp_ms: range.max_timestamp_ms,
            max_timestamp_offset: range.max_timestamp_offset,
        })
    };
    let producer = |known: ProducerPartitionMessage| {
        let batches = known.batches.into_iter().map(|recent| RecentBatch {
            first_sequence: recent.first_sequence,
            last_sequence: recent.last_sequence,
            base_offset: recent.base_offset,
            append_time_ms: recent.append_time_ms,
        });
        (known.producer_id, ProducerPartition { epoch: known.epoch, batches: batches.collect() })
    };
    Some(Partition {
        next_offset: message.next_offset,
        log_start: message.log_start,
        frontier: message.frontier,
        sealed_end: message.sealed_end,
        extents: message.extents.into_iter().map(extent).collect::<Option<_>>()?,
        planned_end: None,
        fresh: message.fresh.into_iter().map(fresh).collect::<Option<_>>()?,
        producers: message.producers.into_iter().map(producer).collect(),
        aborted: message
            .aborted
            .into_iter()
            .map(|aborted| AbortedTransaction {
                producer_id: aborted.producer_id,
                first_offset: aborted.first_offset,
                last_offset: aborted.last_offset,
            })
            .collect(),
        open_transactions: message.open_transactions,
    })
}

fn extent_message(extent: &Extent) -> ExtentMessage {
    let mut message = ExtentMessage {
        start: extent.start,
        end: extent.end,
        length: extent.length,
        ingest_ms: extent.ingest_ms,
        log_append_time: extent.log_append_time,
        max_timestamp_ms: extent.max_timestamp_ms,
        max_timestamp_offset: extent.max_timestamp_offset,
        ..ExtentMessage::default()
    };
    match extent.place {
        ExtentPlace::Inline { seq, position } => (message.place, message.seq, message.position) = (1, seq.0, position),
        ExtentPlace::Object { name: object, position } => {
            (message.place, message.object, message.position) = (2, Some(name(object)), position);
        }
        ExtentPlace::Marker { producer_id, producer_epoch, kind } => {
            message.place = if kind == MarkerKind::Commit { 3 } else { 4 };
            (message.producer_id, message.producer_epoch) = (producer_id, producer_epoch);
        }
        ExtentPlace::Hole => message.place = 5,
    }
    message
}

fn extent(message: ExtentMessage) -> Option<Extent> {
    let marker = |kind| ExtentPlace::Marker { producer_id: message.producer_id, producer_epoch: message.producer_epoch, kind };
    let place = match message.place {
        1 => ExtentPlace::Inline { seq: Seq(message.seq), position: message.position },
        2 => ExtentPlace::Object { name: object_name(message.object.clone()?), position: message.position },
        3 => marker(MarkerKind::Commit),
        4 => marker(MarkerKind::Abort),
        5 => ExtentPlace::Hole,
        _ => return None,
    };
    Some(Extent {
        start: message.start,
        end: message.end,
        place,
        length: message.length,
        ingest_ms: message.ingest_ms,
        log_append_time: message.log_append_time,
        max_timestamp_ms: message.max_timestamp_ms,
        max_timestamp_offset: message.max_timestamp_offset,
    })
}

fn group_message(name: &str, group: &Group) -> GroupMessage {
    GroupMessage {
        name: name.to_owned(),
        claim_epoch: group.claim.map(|claim| claim.epoch.0),
        claim_holder: group.claim.map_or(0, |claim| claim.holder.0),
        generation: group.generation,
        protocol_type: group.protocol_type.clone(),
        protocol_name: group.protocol_name.clone(),
        leader: group.leader.clone(),
        members: group.members.clone(),
        stable: group.stable,
        offsets: group
            .offsets
            .iter()
            .map(|(place, offset)| OffsetMessage {
                topic_id: place.topic_id.0.to_vec(),
                partition: place.partition,
                offset: offset.offset,
                leader_epoch: offset.leader_epoch,
                metadata: offset.metadata.clone(),
                committed_ms: offset.committed_ms,
            })
            .collect(),
        last_changed: group.last_changed.0,
        last_changed_ms: group.last_changed_ms,
    }
}

fn group(message: GroupMessage) -> Option<(String, Group)> {
    let mut group = Group {
        claim: message.claim_epoch.map(|epoch| Claim { epoch: Seq(epoch), holder: Incarnation(message.claim_holder) }),
        generation: message.generation,
        protocol_type: message.protocol_type,
        protocol_name: message.protocol_name,
        leader: message.leader,
        members: message.members.iter().map(crate::fold::detached).collect(),
        stable: message.stable,
        last_changed: Seq(message.last_changed),
        last_changed_ms: message.last_changed_ms,
        ..Group::default()
    };
    for offset in message.offsets {
        let place = TopicPartition { topic_id: TopicId::from_slice(&offset.topic_id)?, partition: offset.partition };
        let kept = GroupOffset {
            offset: offset.offset,
            leader_epoch: offset.leader_epoch,
            metadata: offset.metadata,
            committed_ms: offset.committed_ms,
        };
        group.offsets.insert(place, kept);
    }
    Some((message.name, group))
}
