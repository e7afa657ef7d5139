//! A cell of one node at a time over stores that outlive it, and a model of what it must answer.
#![allow(dead_code, clippy::unwrap_used, clippy::panic)] // a test support file; not every test file uses every helper

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use strandline_bronze::manifest::{DayManifest, RootManifest, root_path};
use strandline_bronze::{Fetched, ReadError, SegmentFooter, SegmentScan};
use strandline_cell::{Cell, CellOptions, JoinAs, Submission};
use strandline_commands::{Batch, ConfigEntry, CreateTopic, Produce, Role};
use strandline_commit_log::{CommitLog, MemoryCommitLog};
use strandline_compactor::{Compactor, CompactorOptions};
use strandline_extents::ExtentReader;
use strandline_index::{BatchOutcome, ExtentPlace, Index, Outcome, decode_snapshot};
use strandline_object_store::{FaultPlan, Faults, InMemory, Objects, Purpose, RetryPolicy};
use strandline_runtime::{Runtime, VirtualClock};
use strandline_segment_index::{
    MemorySegmentIndex, PutError, PutOutcome, ReadError as IndexReadError, RemoveError, RowKey, SealedRow, SegmentIndex,
};
use strandline_types::{HeaderRef, RecordRef, TimestampType, TopicId, TopicPartition};
use strandline_wire::records::{BatchBuilder, BatchOptions, BatchPlace, RecordScratch, for_each_record, split_batches};

pub const START_MS: i64 = 1_790_000_000_000;

/// A record as a consumer sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub timestamp_ms: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Seen {
    fn of(record: &RecordRef<'_>) -> Self {
        let headers = record.headers.iter().map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec)));
        Self {
            timestamp_ms: record.timestamp_ms,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: headers.collect(),
        }
    }
}

/// Everything that outlives a node.
pub struct World {
    pub runtime: Runtime,
    pub log: MemoryCommitLog,
    pub store: Arc<InMemory>,
    pub faults: FaultPlan,
    pub segment_index: MemorySegmentIndex,
    pub options: CompactorOptions,
    /// Whole payloads fail their checksum, as where a byte of them is wrong in the embedded log.
    pub payloads_fail_checksum: bool,
    /// What was acknowledged: (topic, partition) to records by offset.
    pub model: BTreeMap<(TopicId, i32), BTreeMap<i64, Seen>>,
    produced: i64,
}

/// One run of a node.
pub struct Node {
    pub cell: Cell,
    pub compactor: Compactor,
    pub objects: Objects,
    pub spawner: strandline_runtime::Spawner,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let runtime = Runtime::simulated(seed, START_MS);
        Self {
            log: MemoryCommitLog::new(runtime.clone()),
            runtime,
            store: Arc::new(InMemory::new()),
            faults: FaultPlan::new(),
            segment_index: MemorySegmentIndex::new(),
            options: CompactorOptions { merge_segments: 4, ..CompactorOptions::default() },
            payloads_fail_checksum: false,
            model: BTreeMap::new(),
            produced: 0,
        }
    }

    /// The same, and the nodes' clock, whose time of day can be set.
    pub fn with_clock(seed: u64) -> (Self, Arc<VirtualClock>) {
        let (mut world, clock) = (Self::new(seed), Arc::new(VirtualClock::new(START_MS)));
        world.runtime.clock = clock.clone();
        (world, clock)
    }

    /// A new run over what is there; the one before is dead.
    pub async fn start(&self) -> Node {
        self.join(true).await
    }

    /// A new run, the `sole` one or beside others.
    pub async fn join(&self, sole: bool) -> Node {
        let runtime = Runtime { spawner: self.runtime.spawner.new_group(), ..self.runtime.clone() };
        let log = self.log.for_node();
        log.faults().set_payloads_fail_checksum(self.payloads_fail_checksum);
        let log: Arc<dyn CommitLog> = Arc::new(log);
        let faulty = Faults::new(self.store.clone(), self.faults.clone(), &runtime);
        let objects = Objects::new(Arc::new(faulty), RetryPolicy::once(), &runtime);
        let index = self.load_index().await;
        let options = CellOptions {
            join: JoinAs { host: "127.0.0.1".to_owned(), port: 9092, zone: String::new(), roles: vec![Role::Compactor], sole },
            accept_clock: true,
            poll: Duration::from_secs(1),
        };
        let cell = Cell::start(runtime.clone(), log.clone(), index, options).await.unwrap();
        let extents = ExtentReader::new(log, objects.clone(), Purpose::Fresh);
        let compactor =
            Compactor::new(self.options.clone(), cell.clone(), objects.clone(), Arc::new(self.segment_index.clone()), extents);
        Node { cell, compactor, objects, spawner: runtime.spawner }
    }

    /// Another compactor of a node, over a segment index of its own.
    pub fn compactor(&self, node: &Node, segment_index: Arc<dyn SegmentIndex>) -> Compactor {
        let extents = ExtentReader::new(Arc::new(self.log.for_node()), node.objects.clone(), Purpose::Fresh);
        Compactor::new(self.options.clone(), node.cell.clone(), node.objects.clone(), segment_index, extents)
    }

    async fn load_index(&self) -> Index {
        let Some(snapshot) = self.log.floor().await.unwrap().snapshot else { return Index::default() };
        let objects = self.plain_objects();
        decode_snapshot(&objects.get(Purpose::Rebuild, &snapshot.key).await.unwrap()).unwrap()
    }

    /// The store without faults.
    pub fn plain_objects(&self) -> Objects {
        Objects::new(self.store.clone(), RetryPolicy::once(), &self.runtime)
    }

    pub async fn paths(&self, folder: &str) -> Vec<String> {
        let listed: Vec<_> = self.plain_objects().list(Purpose::Sweep, folder).try_collect().await.unwrap();
        listed.into_iter().map(|object| object.path).collect()
    }

    pub async fn create_topic(&self, node: &Node, id: u8, name: &str, partitions: i32, configs: &[(&str, &str)]) -> TopicId {
        let configs = configs.iter().map(|(name, value)| ConfigEntry { name: (*name).to_owned(), value: (*value).to_owned() });
        let command = CreateTopic {
            topic_id: vec![id; 16],
            name: name.to_owned(),
            partitions,
            replication_factor: 1,
            configs: configs.collect(),
        };
        assert_eq!(node.cell.submit(Submission::one(command)).await.unwrap().outcomes, vec![Outcome::Done]);
        TopicId([id; 16])
    }

    /// Appends a batch of records and notes them in the model; returns the first offset.
    pub async fn produce(&mut self, node: &Node, topic_id: TopicId, partition: i32, records: usize) -> i64 {
        let (bytes, seen, max, delta) = self.batch(records);
        let base = self.append(node, topic_id, partition, bytes, records as u32, max, delta).await;
        self.remember(node, topic_id, partition, base, seen);
        base
    }

    /// Batches of so many records each that become one extent; of those that are named one bit changed on the way into the log. Their
    /// first offsets.
    pub async fn produce_together(
        &mut self,
        node: &Node,
        topic_id: TopicId,
        partition: i32,
        records: &[usize],
        damaged: &[usize],
    ) -> Vec<i64> {
        let (mut batches, mut payload, mut seen) = (Vec::new(), Vec::new(), Vec::new());
        for (at, records) in records.iter().enumerate() {
            let (bytes, of_batch, max, delta) = self.batch(*records);
            let mut bytes = bytes.to_vec();
            if damaged.contains(&at) {
                bytes[70] ^= 1;
            }
            batches.push(batch_command(bytes.len(), *records as u32, max, delta));
            payload.push(Bytes::from(bytes));
            seen.push(of_batch);
        }
        let produce = Produce { topic_id: topic_id.0.to_vec(), partition, object: 0, position: 0, batches };
        let submission = Submission { commands: vec![produce.into()], payload, objects: Vec::new() };
        let Outcome::Produced(outcomes) = node.cell.submit(submission).await.unwrap().outcomes.remove(0) else { panic!() };
        let mut bases = Vec::new();
        for (outcome, seen) in outcomes.into_iter().zip(seen) {
            let BatchOutcome::Appended { base_offset, .. } = outcome else { panic!("{outcome:?}") };
            self.remember(node, topic_id, partition, base_offset, seen);
            bases.push(base_offset);
        }
        bases
    }

    /// These records are lost.
    pub fn forget(&mut self, topic_id: TopicId, partition: i32, mut offsets: std::ops::Range<i64>) {
        let model = self.model.entry((topic_id, partition)).or_default();
        assert!(offsets.all(|offset| model.remove(&offset).is_some()));
    }

    /// A batch, what is in it, and the largest time with where it is first.
    fn batch(&mut self, records: usize) -> (Bytes, Vec<Seen>, i64, u32) {
        let now_ms = self.runtime.clock.now_ms();
        let mut builder = BatchBuilder::new(BatchOptions::default());
        let mut seen = Vec::new();
        for _ in 0..records {
            self.produced += 1;
            let number = self.produced;
            let key = (number % 3 != 0).then(|| format!("key {number}").into_bytes());
            let value = (number % 7 != 0).then(|| format!("{{\"number\":{number}}}").into_bytes());
            let headers = [HeaderRef { key: "a", value: Some(b"1") }, HeaderRef { key: "a", value: None }];
            let headers = if number % 2 == 0 { &headers[..] } else { &[] };
            builder.push_next(now_ms + number % 5, key.as_deref(), value.as_deref(), headers).unwrap();
            let headers = headers.iter().map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect();
            seen.push(Seen { timestamp_ms: now_ms + number % 5, key, value, headers });
        }
        let max = seen.iter().map(|seen| seen.timestamp_ms).max().unwrap();
        let delta = seen.iter().position(|seen| seen.timestamp_ms == max).unwrap();
        (builder.finish(None).unwrap(), seen, max, delta as u32)
    }

    fn remember(&mut self, node: &Node, topic_id: TopicId, partition: i32, base: i64, seen: Vec<Seen>) {
        let log_append = node.cell.view().topics[&topic_id].log_append_time();
        let now_ms = self.runtime.clock.now_ms();
        let model = self.model.entry((topic_id, partition)).or_default();
        for (offset, mut record) in (base..).zip(seen) {
            if log_append {
                record.timestamp_ms = now_ms;
            }
            model.insert(offset, record);
        }
    }

    /// Appends bytes as they are.
    #[allow(clippy::too_many_arguments)]
    pub async fn append(
        &self,
        node: &Node,
        topic_id: TopicId,
        partition: i32,
        bytes: Bytes,
        records: u32,
        max_timestamp_ms: i64,
        max_timestamp_delta: u32,
    ) -> i64 {
        let batch = batch_command(bytes.len(), records, max_timestamp_ms, max_timestamp_delta);
        let produce = Produce { topic_id: topic_id.0.to_vec(), partition, object: 0, position: 0, batches: vec![batch] };
        let submission = Submission { commands: vec![produce.into()], payload: vec![bytes], objects: Vec::new() };
        match node.cell.submit(submission).await.unwrap().outcomes.remove(0) {
            Outcome::Produced(batches) => match batches[0] {
                BatchOutcome::Appended { base_offset, .. } => base_offset,
                ref other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    async fn rows_of(&self, path: &str) -> Vec<(i32, i64, Seen)> {
        let bytes = self.plain_objects().get(Purpose::Read, path).await.unwrap_or_else(|error| panic!("{error}"));
        let footer = SegmentFooter::parse(path, bytes.len() as u64, &bytes).unwrap();
        let mut rows = Vec::new();
        let scan = SegmentScan::new(&footer, &Fetched::whole(bytes));
        scan.for_each_row(|partition, _, record| {
            rows.push((partition, record.offset, Seen::of(record)));
            Ok::<(), ReadError>(())
        })
        .unwrap();
        rows
    }

    /// Every offset from log start to high watermark is answered once, by what the model says; a glob of bronze/ shows no row
    /// twice; everything that is referred to is there. With `holes`, records may be missing, never wrong.
    pub async fn check(&self, node: &Node, holes: bool) {
        assert_eq!(node.cell.view().violations(), Vec::<String>::new());
        let topics: Vec<TopicId> = node.cell.view().topics.keys().copied().collect();
        for topic_id in topics {
            self.check_topic(node, topic_id, holes).await;
        }
        let mut globbed = BTreeSet::new();
        for path in self.paths("bronze").await {
            let id8 = path.split('/').nth(2).unwrap().to_owned();
            for (partition, offset, seen) in self.rows_of(&path).await {
                assert!(
                    globbed.insert((id8.clone(), partition, offset)),
                    "{path} shows offset {offset} of partition {partition} again"
                );
                let model = self.model.iter().find(|((id, of), _)| id.id8() == id8 && *of == partition).unwrap().1;
                assert_eq!(model.get(&offset), Some(&seen), "{path}");
            }
        }
    }

    async fn check_topic(&self, node: &Node, topic_id: TopicId, holes: bool) {
        let topic = node.cell.view().topics[&topic_id].clone();
        let mut files: BTreeMap<String, Vec<(i32, i64, Seen)>> = BTreeMap::new();
        for (number, partition) in (0..).zip(&topic.partitions) {
            let place = TopicPartition { topic_id, partition: number };
            let mut answers: BTreeMap<i64, Seen> = BTreeMap::new();
            let mut at = partition.log_start;
            while at < partition.next_offset {
                let (path, end) = if at < partition.sealed_end {
                    match topic.sealed_plan_at(number, at) {
                        Some((file, range)) => (file.path.clone(), range.end),
                        None => {
                            let row = self.segment_index.find(place, at).await.unwrap();
                            let row = row.unwrap_or_else(|| panic!("nothing answers for offset {at} of partition {number}"));
                            assert!(row.start_offset <= at, "a gap before {}", row.start_offset);
                            (row.path, row.end_offset)
                        }
                    }
                } else if at < partition.frontier {
                    let range = partition.fresh_at(at).unwrap();
                    (topic.fresh[&range.segment].file.path.clone(), range.end)
                } else {
                    let extent = partition.extents[partition.extent_at(at).unwrap()];
                    self.read_extent(node, &extent, &mut answers, partition.log_start).await;
                    at = extent.end;
                    continue;
                };
                if !files.contains_key(&path) {
                    files.insert(path.clone(), self.rows_of(&path).await);
                }
                for (of, offset, seen) in &files[&path] {
                    if *of == number && (at..end).contains(offset) {
                        assert!(answers.insert(*offset, seen.clone()).is_none());
                    }
                }
                at = end;
            }
            let model = self.model.get(&(topic_id, number)).cloned().unwrap_or_default();
            let expected: BTreeMap<i64, Seen> = model.into_iter().filter(|(offset, _)| *offset >= partition.log_start).collect();
            if holes {
                for (offset, seen) in &answers {
                    assert_eq!(expected.get(offset), Some(seen));
                }
            } else {
                assert_eq!(answers, expected, "partition {number}");
            }
        }
    }

    async fn read_extent(
        &self,
        node: &Node,
        extent: &strandline_index::Extent,
        answers: &mut BTreeMap<i64, Seen>,
        log_start: i64,
    ) {
        if matches!(extent.place, ExtentPlace::Hole | ExtentPlace::Marker { .. }) {
            return;
        }
        let log: Arc<dyn CommitLog> = Arc::new(self.log.for_node());
        let _ = node;
        let bytes = ExtentReader::new(log, self.plain_objects(), Purpose::Read).bytes(extent).await.unwrap();
        let mut base_offset = extent.start;
        for batch in split_batches(bytes).unwrap() {
            let place = BatchPlace { base_offset, log_append_time_ms: extent.log_append_time.then_some(extent.ingest_ms) };
            for_each_record(&batch.bytes, place, &mut RecordScratch::default(), |record| {
                if record.offset >= log_start {
                    answers.insert(record.offset, Seen::of(record));
                }
                std::ops::ControlFlow::Continue(())
            })
            .unwrap();
            base_offset += i64::from(batch.header.last_offset_delta) + 1;
        }
    }

    /// What a reader of the manifests sees: every row once, down to each partition's watermark.
    pub async fn check_manifest(&self, node: &Node, topic_id: TopicId) {
        let objects = self.plain_objects();
        let topic = node.cell.view().topics[&topic_id].clone();
        let root = objects.get(Purpose::Read, &root_path(&topic.name, topic_id)).await.unwrap();
        let root = RootManifest::parse(&root).unwrap();
        let mut rows: BTreeMap<(i32, i64), Seen> = BTreeMap::new();
        for day in &root.days {
            let manifest = DayManifest::parse(&objects.get(Purpose::Read, &day.path).await.unwrap()).unwrap();
            assert_eq!((manifest.files.len() as u64, manifest.applied_seq <= root.applied_seq), (day.files, true));
            for file in &manifest.files {
                for (partition, offset, seen) in self.rows_of(&file.path).await {
                    assert!(rows.insert((partition, offset), seen).is_none(), "{} shows offset {offset} again", file.path);
                }
            }
        }
        for partition in &root.partitions {
            let state = &topic.partitions[partition.partition as usize];
            assert_eq!((partition.log_start, partition.watermark), (state.log_start, state.frontier));
            let shown = rows.iter().filter(|((of, offset), _)| *of == partition.partition && *offset >= partition.log_start);
            let shown: BTreeMap<i64, Seen> = shown.map(|((_, offset), seen)| (*offset, seen.clone())).collect();
            let model = self.model.get(&(topic_id, partition.partition)).cloned().unwrap_or_default();
            let expected = model.into_iter().filter(|(offset, _)| (partition.log_start..partition.watermark).contains(offset));
            assert_eq!(shown, expected.collect::<BTreeMap<_, _>>());
        }
    }
}

fn batch_command(length: usize, records: u32, max_timestamp_ms: i64, max_timestamp_delta: u32) -> Batch {
    Batch {
        length: length as u32,
        last_offset_delta: records - 1,
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        attributes: 0,
        max_timestamp_ms,
        max_timestamp_delta,
        min_timestamp_ms: max_timestamp_ms,
    }
}

impl Node {
    /// Ends the run where it stands.
    pub fn kill(&self) {
        self.spawner.group().abort_all();
    }

    pub fn timestamp_type(&self, topic_id: TopicId) -> TimestampType {
        if self.cell.view().topics[&topic_id].log_append_time() { TimestampType::LogAppend } else { TimestampType::Create }
    }
}

/// A segment index that does not remove rows while it is stubborn, and holds scans that have read their rows.
#[derive(Debug)]
pub struct StubbornIndex {
    pub rows: MemorySegmentIndex,
    pub stubborn: AtomicBool,
    pub puts_fail: AtomicBool,
    pub hold_scans: AtomicBool,
    pub release: tokio::sync::Notify,
}

impl StubbornIndex {
    pub fn new(rows: MemorySegmentIndex) -> Self {
        let [stubborn, puts_fail, hold_scans] = [(); 3].map(|()| AtomicBool::new(false));
        Self { rows, stubborn, puts_fail, hold_scans, release: tokio::sync::Notify::new() }
    }

    pub fn let_scans_go(&self) {
        self.hold_scans.store(false, Ordering::Relaxed);
        self.release.notify_waiters();
    }

    fn check(&self) -> Result<(), RemoveError> {
        let stubborn = self.stubborn.load(Ordering::Relaxed);
        if stubborn { Err(RemoveError::Failed { source: Arc::new(std::io::Error::other("stubborn")) }) } else { Ok(()) }
    }
}

#[async_trait]
impl SegmentIndex for StubbornIndex {
    async fn put(&self, rows: Vec<SealedRow>) -> Result<PutOutcome, PutError> {
        if self.puts_fail.load(Ordering::Relaxed) {
            return Err(PutError::Failed { source: Arc::new(std::io::Error::other("ordered by the test")) });
        }
        self.rows.put(rows).await
    }

    async fn find(&self, topic_partition: TopicPartition, offset: i64) -> Result<Option<SealedRow>, IndexReadError> {
        self.rows.find(topic_partition, offset).await
    }

    async fn scan(&self, of: TopicPartition, from_offset: i64, limit: usize) -> Result<Vec<SealedRow>, IndexReadError> {
        self.rows.scan(of, from_offset, limit).await
    }

    async fn scan_all(&self, after: Option<RowKey>, limit: usize) -> Result<Vec<SealedRow>, IndexReadError> {
        let rows = self.rows.scan_all(after, limit).await;
        if self.hold_scans.load(Ordering::Relaxed) {
            self.release.notified().await;
        }
        rows
    }

    async fn remove(&self, keys: Vec<RowKey>) -> Result<u64, RemoveError> {
        self.check()?;
        self.rows.remove(keys).await
    }

    async fn remove_topic(&self, topic_id: TopicId) -> Result<u64, RemoveError> {
        self.check()?;
        self.rows.remove_topic(topic_id).await
    }

    async fn count(&self) -> Result<u64, IndexReadError> {
        self.rows.count().await
    }
}
