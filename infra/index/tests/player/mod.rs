//! Plays steps against an index, good ones and bad ones.
#![allow(clippy::unwrap_used, clippy::panic, dead_code)] // each test file uses its part of it

use bytes::Bytes;
use proptest::prelude::*;
use std::collections::BTreeMap;
use strandline_commands::*;
use strandline_index::{Index, Outcome, decode_snapshot, digest, encode_snapshot};
use strandline_types::{Incarnation, TopicId};

#[derive(Debug, Clone)]
pub enum Step {
    CreateTopic {
        topic: u8,
        partitions: i32,
    },
    DeleteTopic {
        topic: u8,
    },
    Grow {
        topic: u8,
        by: i32,
    },
    Produce {
        topic: u8,
        partition: i32,
        producer: i64,
        sequence_off: i32,
        batches: u8,
        object: bool,
    },
    Lease {
        kind: i32,
        topic: u8,
        steal: bool,
    },
    Convert {
        topic: u8,
        extents: usize,
        wrong: bool,
    },
    Merge {
        topic: u8,
        inputs: usize,
    },
    SealPlan {
        topic: u8,
        inputs: usize,
    },
    Sealed {
        topic: u8,
        wrong: bool,
    },
    SealDone {
        topic: u8,
    },
    LogStart {
        topic: u8,
        partition: i32,
        back: i64,
    },
    Rehome {
        topic: u8,
        partition: i32,
    },
    Lost {
        topic: u8,
        partition: i32,
    },
    Claim {
        group: u8,
    },
    Store {
        group: u8,
        members: usize,
        stale: bool,
    },
    Commit {
        group: u8,
        topic: u8,
        partition: i32,
        offset: i64,
    },
    Join,
    Leave,
    Repeat,
    InitProducer {
        producer: i64,
    },
    Expire {
        producer: i64,
    },
    Horizon,
    Garbage,
    /// `partitions`: a bit each.
    SealExtents {
        topic: u8,
        partitions: u8,
        extents: usize,
        wrong: bool,
    },
    Raise,
    Snapshot {
        agree: bool,
    },
    ClearDisagreement,
    Forget,
}

pub fn step() -> impl Strategy<Value = Step> {
    let topic = 0..3_u8;
    let partition = 0..3_i32;
    prop_oneof![
        3 => (topic.clone(), 1..4_i32).prop_map(|(topic, partitions)| Step::CreateTopic { topic, partitions }),
        1 => topic.clone().prop_map(|topic| Step::DeleteTopic { topic }),
        1 => (topic.clone(), 0..2_i32).prop_map(|(topic, by)| Step::Grow { topic, by }),
        12 => (topic.clone(), partition.clone(), -1..3_i64, -1..2_i32, 1..4_u8, any::<bool>())
            .prop_map(|(topic, partition, producer, sequence_off, batches, object)| Step::Produce { topic, partition, producer, sequence_off, batches, object }),
        3 => (0..6_i32, topic.clone(), any::<bool>()).prop_map(|(kind, topic, steal)| Step::Lease { kind, topic, steal }),
        8 => (topic.clone(), 1..5_usize, prop::bool::weighted(0.1)).prop_map(|(topic, extents, wrong)| Step::Convert { topic, extents, wrong }),
        3 => (topic.clone(), 1..4_usize).prop_map(|(topic, inputs)| Step::Merge { topic, inputs }),
        3 => (topic.clone(), 1..4_usize).prop_map(|(topic, inputs)| Step::SealPlan { topic, inputs }),
        3 => (topic.clone(), prop::bool::weighted(0.1)).prop_map(|(topic, wrong)| Step::Sealed { topic, wrong }),
        3 => topic.clone().prop_map(|topic| Step::SealDone { topic }),
        3 => (topic.clone(), partition.clone(), -2..6_i64).prop_map(|(topic, partition, back)| Step::LogStart { topic, partition, back }),
        2 => (topic.clone(), partition.clone()).prop_map(|(topic, partition)| Step::Rehome { topic, partition }),
        1 => (topic.clone(), partition.clone()).prop_map(|(topic, partition)| Step::Lost { topic, partition }),
        2 => (0..2_u8).prop_map(|group| Step::Claim { group }),
        2 => (0..2_u8, 0..3_usize, any::<bool>()).prop_map(|(group, members, stale)| Step::Store { group, members, stale }),
        3 => (0..2_u8, topic, partition, 0..9_i64).prop_map(|(group, topic, partition, offset)| Step::Commit { group, topic, partition, offset }),
        1 => Just(Step::Join),
        1 => Just(Step::Leave),
        2 => Just(Step::Repeat),
        1 => (-1..3_i64).prop_map(|producer| Step::InitProducer { producer }),
        1 => (0..3_i64).prop_map(|producer| Step::Expire { producer }),
        1 => Just(Step::Horizon),
        1 => Just(Step::Garbage),
        6 => (0..3_u8, 1..8_u8, 1..5_usize, prop::bool::weighted(0.1)).prop_map(|(topic, partitions, extents, wrong)| Step::SealExtents { topic, partitions, extents, wrong }),
        1 => Just(Step::Raise),
        1 => any::<bool>().prop_map(|agree| Step::Snapshot { agree }),
        1 => Just(Step::ClearDisagreement),
        1 => Just(Step::Forget),
    ]
}

/// Plays steps against an index, with the sequences that well-behaved producers would use.
pub struct Player {
    pub index: Index,
    pub generation: u8,
    pub sequences: BTreeMap<(i64, TopicId, i32), i32>,
    pub objects: u64,
    pub last: Option<Commit>,
    pub applied: u64,
    pub now_ms: i64,
    /// Every entry that was folded.
    pub entries: Vec<Bytes>,
    /// What its nodes say that they support.
    pub supported: u32,
    /// The model: what sealed files cover, by partition. A row enters one once.
    pub sealed: BTreeMap<(TopicId, i32), Vec<(i64, i64)>>,
}

impl Player {
    /// A cell of version 1 whose nodes know nothing else.
    pub fn new() -> Self {
        Self::of(1, 1)
    }

    /// A cell of that fold version.
    pub fn of(fold_version: u32, supported: u32) -> Self {
        let mut player = Self {
            index: Index::default(),
            generation: 0,
            sequences: Default::default(),
            objects: 0,
            last: None,
            applied: 0,
            entries: Vec::new(),
            now_ms: 1_790_000_000_000,
            supported,
            sealed: BTreeMap::new(),
        };
        let create = CreateCell { cluster_id: "cell".to_owned(), fold_version };
        player.fold(Commit { commands: vec![create.into(), join(0, supported)], ..Commit::default() });
        player
    }

    fn fold(&mut self, commit: Commit) -> Vec<Outcome> {
        self.now_ms += 7;
        let body = EntryBody {
            time_ms: self.now_ms,
            hash_before: self.index.cell.hash.0.to_vec(),
            cell_epoch: 1,
            commits: vec![commit],
            ..EntryBody::default()
        };
        let bytes = encode(&body).unwrap();
        self.entries.push(bytes.clone());
        // A node that starts from a snapshot of this moment folds the same.
        let mut other = decode_snapshot(&encode_snapshot(&self.index)).unwrap();
        assert_eq!(other, self.index, "a snapshot holds everything");
        let seq = self.index.cell.seq.next();
        let folded = self.index.fold(seq, &bytes).unwrap();
        assert_eq!(other.fold(seq, &bytes).unwrap(), folded);
        assert_eq!(digest(&other), digest(&self.index));
        assert_eq!(self.index.violations(), Vec::<String>::new());
        let bytes = encode_snapshot(&self.index).len() as u64;
        assert!(bytes <= self.index.snapshot_bytes_bound(), "{bytes} bytes, bound {}", self.index.snapshot_bytes_bound());
        self.demand_one_answer();
        folded.commits.into_iter().next().unwrap().outcomes.unwrap_or_default()
    }

    /// The model: each offset that can be read is answered by extents, a fresh segment or a sealed file, and by one of them (I5).
    fn demand_one_answer(&self) {
        for (id, topic) in &self.index.topics {
            for (partition, number) in topic.partitions.iter().zip(0..) {
                let sealed = self.sealed.get(&(*id, number)).map_or(&[][..], Vec::as_slice);
                assert!(sealed.is_sorted_by(|a, b| a.1 <= b.0), "a row is sealed once: {sealed:?}");
                for offset in partition.log_start..partition.next_offset {
                    let hot = partition.extents.iter().filter(|extent| extent.start <= offset && offset < extent.end).count();
                    let fresh = partition.fresh.iter().filter(|range| range.start <= offset && offset < range.end).count();
                    let sealed = sealed.iter().filter(|(start, end)| *start <= offset && offset < *end).count();
                    let answers = (hot, fresh, sealed);
                    let expected = match offset {
                        _ if offset >= partition.frontier => (1, 0, 0),
                        _ if offset >= partition.sealed_end => (0, 1, 0),
                        _ => (0, 0, 1),
                    };
                    assert_eq!(answers, expected, "offset {offset} of partition {number}: {partition:?}");
                }
            }
        }
    }

    fn incarnation(&self) -> Option<Incarnation> {
        self.index.nodes.keys().next().copied()
    }

    fn send(&mut self, commands: Vec<Command>, payload_length: u64, objects: Vec<NewObject>) -> Vec<Outcome> {
        let Some(incarnation) = self.incarnation() else { return Vec::new() };
        let n = self.index.nodes[&incarnation].last_n + 1;
        let commit = Commit { incarnation: incarnation.0, n, payload_start: 0, payload_length, objects, commands };
        self.last = Some(commit.clone());
        let outcomes = self.fold(commit);
        self.applied += 1;
        outcomes
    }

    fn one(&mut self, command: impl Into<Command>) -> Option<Outcome> {
        self.send(vec![command.into()], 0, Vec::new()).into_iter().next()
    }

    pub fn topic(&self, topic: u8) -> Option<TopicId> {
        self.index.names.get(&format!("topic-{topic}")).copied()
    }

    fn name(&mut self, seq: u64) -> String {
        self.objects += 1;
        format!("{seq:020}-{}-{}", self.incarnation().map_or(0, |run| run.0), self.objects)
    }

    fn lease(&self, kind: LeaseKind, scope: &[u8]) -> u64 {
        self.index.leases.get(&(kind as i32, scope.to_vec())).map_or(0, |lease| lease.number.0)
    }

    pub fn play(&mut self, step: Step) {
        let seq = self.index.cell.seq.0;
        match step {
            Step::CreateTopic { topic, partitions } => {
                self.generation += 1;
                let mut id = [topic; 16];
                id[1] = self.generation;
                self.one(CreateTopic {
                    topic_id: id.to_vec(),
                    name: format!("topic-{topic}"),
                    partitions,
                    replication_factor: 1,
                    configs: Vec::new(),
                });
            }
            Step::DeleteTopic { topic } => {
                if let Some(id) = self.topic(topic) {
                    self.one(DeleteTopic { topic_id: id.0.to_vec() });
                }
            }
            Step::Grow { topic, by } => {
                if let Some(id) = self.topic(topic) {
                    let partitions = self.index.topics[&id].partitions.len() as i32 + by;
                    self.one(GrowTopic { topic_id: id.0.to_vec(), partitions });
                }
            }
            Step::Produce { topic, partition, producer, sequence_off, batches, object } => {
                let Some(id) = self.topic(topic) else { return };
                let next = self.sequences.get(&(producer, id, partition)).copied().unwrap_or(0);
                let before = self.index.partition(id, partition).map_or(0, |partition| partition.next_offset);
                let batches: Vec<Batch> = (0..i32::from(batches))
                    .map(|at| Batch {
                        length: 10,
                        last_offset_delta: 1,
                        producer_id: producer,
                        producer_epoch: if producer < 0 { -1 } else { 0 },
                        base_sequence: if producer < 0 { -1 } else { (next + sequence_off + 2 * at).max(0) },
                        max_timestamp_ms: self.now_ms,
                        min_timestamp_ms: self.now_ms,
                        ..Batch::default()
                    })
                    .collect();
                let bytes = 10 * batches.len() as u64;
                let objects = if object {
                    vec![NewObject { path: format!("wal/{}", self.name(seq)), size: bytes, crc32c: 1 }]
                } else {
                    Vec::new()
                };
                let command = Produce { topic_id: id.0.to_vec(), partition, object: u32::from(object), position: 0, batches };
                let outcomes = self.send(vec![command.into()], if object { 0 } else { bytes }, objects);
                let after = self.index.partition(id, partition).map_or(0, |partition| partition.next_offset);
                if let Some(Outcome::Produced(results)) = outcomes.first() {
                    let appended =
                        results.iter().filter(|result| matches!(result, strandline_index::BatchOutcome::Appended { .. })).count()
                            as i64;
                    assert_eq!(after - before, 2 * appended, "offsets are given out without a gap");
                    if let Some(known) =
                        self.index.partition(id, partition).and_then(|partition| partition.producers.get(&producer))
                    {
                        self.sequences.insert((producer, id, partition), known.batches.back().unwrap().last_sequence + 1);
                    }
                }
            }
            Step::Lease { kind, topic, steal } => {
                let scope = match (kind, self.topic(topic)) {
                    (0..=2, Some(id)) => id.0.to_vec(),
                    (0..=2, None) => return,
                    _ => Vec::new(),
                };
                let held = self.index.leases.get(&(kind, scope.clone())).map_or(0, |lease| lease.number.0);
                self.one(TakeLease { kind, scope, replaces: if steal { held } else { 0 } });
            }
            Step::Convert { topic, extents, wrong } => {
                let Some(id) = self.topic(topic) else { return };
                let lease = self.lease(LeaseKind::Convert, &id.0);
                let name = self.name(seq);
                let state = &self.index.topics[&id];
                let ranges = state.partitions.iter().zip(0..).filter_map(|(partition, number)| {
                    let end = partition.extents.iter().take(extents).next_back()?.end;
                    Some(FileRange {
                        partition: number,
                        start: partition.frontier,
                        end: end + i64::from(wrong),
                        rows: 1,
                        ..FileRange::default()
                    })
                });
                let file = file(format!("fresh/{}/{}/{name}.parquet", state.name, id.id8()), ranges.collect());
                self.one(Convert { lease, topic_id: id.0.to_vec(), file: Some(file), key_format: 1, value_format: 2 });
            }
            Step::Merge { topic, inputs } => {
                let Some(id) = self.topic(topic) else { return };
                let lease = self.lease(LeaseKind::Merge, &id.0);
                let name = self.name(seq);
                let state = self.index.topics[&id].clone();
                let inputs: Vec<_> = state.fresh.iter().filter(|(_, segment)| segment.plan.is_none()).take(inputs).collect();
                let names: Vec<_> = inputs.iter().map(|(name, _)| **name).collect();
                let mut ranges = Vec::new();
                for (partition, number) in state.partitions.iter().zip(0..) {
                    let own: Vec<_> = partition.fresh.iter().filter(|range| names.contains(&range.segment)).collect();
                    if let (Some(first), Some(last)) = (own.first(), own.last()) {
                        ranges.push(FileRange {
                            partition: number,
                            start: first.start,
                            end: last.end,
                            rows: 1,
                            ..FileRange::default()
                        });
                    }
                }
                let output = file(format!("fresh/{}/{}/{name}.parquet", state.name, id.id8()), ranges);
                let inputs = inputs.into_iter().map(|(_, segment)| segment.file.path.clone()).collect();
                self.one(Merge { lease, topic_id: id.0.to_vec(), inputs, outputs: vec![output] });
            }
            Step::SealPlan { topic, inputs } => {
                let Some(id) = self.topic(topic) else { return };
                let lease = self.lease(LeaseKind::Seal, &id.0);
                let inputs =
                    self.index.topics[&id].fresh.values().take(inputs).map(|segment| segment.file.path.clone()).collect();
                self.one(SealPlan { lease, topic_id: id.0.to_vec(), inputs });
            }
            Step::Sealed { topic, wrong } => {
                let Some(id) = self.topic(topic) else { return };
                let lease = self.lease(LeaseKind::Seal, &id.0);
                let Some((path, plan)) = self.index.topics[&id].plans.first_key_value() else { return };
                let mut sealed = file(path.clone(), plan.ranges.clone());
                if wrong {
                    sealed.ranges[0].end += 1;
                }
                // In the model before it is folded, and taken back if it is refused.
                let before = self.sealed.clone();
                for range in plan.ranges.iter().filter(|_| plan.file.is_none() && !wrong) {
                    self.sealed.entry((id, range.partition)).or_default().push((range.start, range.end));
                }
                let leased = self.index.leases.get(&(LeaseKind::Seal as i32, id.0.to_vec())).map(|lease| lease.holder);
                if leased.is_none() || leased != self.incarnation() {
                    self.sealed = before.clone();
                }
                if self.one(Sealed { lease, topic_id: id.0.to_vec(), file: Some(sealed) }) != Some(Outcome::Done) {
                    self.sealed = before;
                }
            }
            Step::SealDone { topic } => {
                let Some(id) = self.topic(topic) else { return };
                let lease = self.lease(LeaseKind::Seal, &id.0);
                let Some(path) = self.index.topics[&id].plans.keys().next().cloned() else { return };
                self.one(SealDone { lease, topic_id: id.0.to_vec(), path });
            }
            Step::LogStart { topic, partition, back } => {
                let Some(id) = self.topic(topic) else { return };
                let Some(state) = self.index.partition(id, partition) else { return };
                let (before, to) = (state.log_start, state.next_offset - back);
                self.one(MoveLogStart { topic_id: id.0.to_vec(), partition, to });
                assert!(self.index.partition(id, partition).unwrap().log_start >= before, "a log start never falls");
            }
            Step::Rehome { topic, partition } => {
                let Some(id) = self.topic(topic) else { return };
                let Some(extent) = self.index.partition(id, partition).and_then(|partition| partition.extents.front().copied())
                else {
                    return;
                };
                let object = NewObject { path: format!("wal/{}", self.name(seq)), size: extent.length, crc32c: 2 };
                let run = RehomedRun { topic_id: id.0.to_vec(), partition, start: extent.start, end: extent.end, position: 0 };
                self.send(vec![Rehome { runs: vec![run], object: 1 }.into()], 0, vec![object]);
            }
            Step::Lost { topic, partition } => {
                let Some(id) = self.topic(topic) else { return };
                let Some(extent) = self.index.partition(id, partition).and_then(|partition| partition.extents.back().copied())
                else {
                    return;
                };
                self.one(Lost { topic_id: id.0.to_vec(), partition, start: extent.start, end: extent.end });
            }
            Step::Claim { group } => {
                let name = format!("group-{group}");
                let replaces = self.index.groups.get(&name).and_then(|group| group.claim).map_or(0, |claim| claim.epoch.0);
                self.one(ClaimGroup { group: name, replaces });
            }
            Step::Store { group, members, stale } => {
                let name = format!("group-{group}");
                let Some((claim, generation)) = self.group(&name) else { return };
                let members =
                    (0..members).map(|n| GroupMember { member_id: format!("member-{n}"), ..GroupMember::default() }).collect();
                let command = StoreGroup {
                    group: name.clone(),
                    claim,
                    expected_generation: generation - i32::from(stale),
                    generation: generation + 1,
                    members,
                    stable: true,
                    ..StoreGroup::default()
                };
                self.one(command);
                let expected = if stale || self.holder(&name) != self.incarnation() { generation } else { generation + 1 };
                assert_eq!(self.index.groups[&name].generation, expected);
            }
            Step::Commit { group, topic, partition, offset } => {
                let name = format!("group-{group}");
                let (Some((claim, generation)), Some(id)) = (self.group(&name), self.topic(topic)) else { return };
                let member = self.index.groups[&name].members.first().map(|member| member.member_id.clone());
                let committed =
                    CommittedOffset { topic_id: id.0.to_vec(), partition, offset, leader_epoch: -1, metadata: String::new() };
                self.one(CommitOffsets {
                    group: name,
                    claim,
                    generation: if member.is_some() { generation } else { -1 },
                    member_id: member.unwrap_or_default(),
                    group_instance_id: None,
                    offsets: vec![committed],
                });
            }
            Step::Join => {
                let sole = self.generation.is_multiple_of(2);
                let command = join(u8::try_from(seq % 251).unwrap(), self.supported).kind.map(|kind| match kind {
                    CommandKind::Join(join) => Join { sole, ..join }.into(),
                    other => other.into(),
                });
                self.fold(Commit { commands: command.into_iter().collect(), ..Commit::default() });
            }
            Step::Leave => {
                if self.index.nodes.len() > 1 {
                    self.one(Leave {});
                }
            }
            Step::Repeat => {
                // The same commit again, as a forwarded copy or a late request would bring it: it changes nothing.
                let Some(commit) = self.last.clone() else { return };
                let strip = |index: &Index| {
                    let mut index = index.clone();
                    (index.cell.seq, index.cell.hash, index.cell.now_ms) = Default::default();
                    index
                };
                let before = strip(&self.index);
                let outcomes = self.fold(commit);
                assert_eq!(outcomes, Vec::new());
                assert_eq!(strip(&self.index), before, "a commit applies once");
            }
            Step::InitProducer { producer } => {
                self.one(InitProducer { producer_id: producer, producer_epoch: if producer < 0 { -1 } else { 0 } });
            }
            Step::Expire { producer } => {
                let Some(last_active) = self.index.producers.get(&producer).map(|known| known.last_active.0) else { return };
                self.one(ExpireProducers { producers: vec![ExpireProducer { producer_id: producer, last_active }] });
                self.sequences.retain(|(known, ..), _| *known != producer);
            }
            Step::Horizon => {
                let lease = self.lease(LeaseKind::Garbage, &[]);
                self.one(RaiseHorizon { lease, to: seq.saturating_sub(1) });
            }
            Step::SealExtents { topic, partitions, extents, wrong } => {
                let Some(id) = self.topic(topic) else { return };
                let lease = self.lease(LeaseKind::Seal, &id.0);
                let state = &self.index.topics[&id];
                let ranges = state.partitions.iter().zip(0..).filter(|(_, number)| partitions & (1 << number) != 0);
                let ranges = ranges.filter_map(|(partition, number)| {
                    let end = partition.extents.iter().take(extents).next_back()?.end + i64::from(wrong);
                    Some(OffsetRange { partition: number, start: partition.frontier, end })
                });
                let ranges: Vec<_> = ranges.collect();
                let command = SealExtents { lease, topic_id: id.0.to_vec(), ranges, key_format: 2, value_format: 1 };
                let outcome = self.one(command);
                if wrong || self.index.cell.fold_version < 2 {
                    assert!(!matches!(outcome, Some(Outcome::Planned { .. })), "{outcome:?}");
                }
            }
            Step::Raise => {
                let outcome = self.one(RaiseFoldVersion { to: 2 });
                let all = self.index.nodes.values().all(|run| run.fold_version_supported >= 2);
                assert!(all || outcome != Some(Outcome::Done), "every live node has to support it");
            }
            Step::Snapshot { agree } => {
                let (digest, fold_version) = (digest(&self.index), self.index.cell.fold_version);
                let wrote = WroteSnapshot { seq, digest: digest.to_vec(), key: format!("index/{seq}"), fold_version };
                self.one(wrote);
                let found = if agree { digest } else { [7; 32] };
                self.one(AgreeSnapshot { seq, digest: found.to_vec() });
            }
            Step::ClearDisagreement => {
                let snapshot = &self.index.cell.snapshot;
                let newest = snapshot.written.as_ref().map_or(0, |(seq, ..)| seq.0);
                let agreed = snapshot.written == snapshot.agreed && snapshot.written.is_some();
                let accepted = self.one(ClearDisagreement { seq: newest }) == Some(Outcome::Done);
                assert!(!accepted || (agreed && !self.index.cell.snapshot.disagreed && self.index.cell.fold_version >= 2));
            }
            Step::Forget => {
                let lease = self.lease(LeaseKind::Garbage, &[]);
                let Some(id) = self.index.dropped.keys().next().copied() else { return };
                self.one(ForgetTopic { lease, topic_id: id.0.to_vec() });
            }
            Step::Garbage => {
                let lease = self.lease(LeaseKind::Garbage, &[]);
                let paths = self.index.garbage.keys().take(2).cloned().collect();
                self.one(CollectGarbage { lease, paths });
            }
        }
    }

    fn group(&self, name: &str) -> Option<(u64, i32)> {
        let group = self.index.groups.get(name)?;
        Some((group.claim?.epoch.0, group.generation))
    }

    fn holder(&self, name: &str) -> Option<Incarnation> {
        Some(self.index.groups.get(name)?.claim?.holder)
    }
}

fn join(nonce: u8, fold_version_supported: u32) -> Command {
    Join {
        nonce: vec![nonce; 16],
        host: "h".to_owned(),
        port: 1,
        zone: String::new(),
        roles: vec![Role::Ingest as i32],
        fold_version_supported,
        sole: false,
    }
    .into()
}

fn file(path: String, ranges: Vec<FileRange>) -> NewFile {
    NewFile { path, size: 100, crc32c: 3, rows: ranges.len() as u64, record_bytes: 50, ingest_day: 20_717, ranges }
}
