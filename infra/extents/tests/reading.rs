//! Extents from payloads and WAL segments, with and without a cache, whole and damaged.
#![allow(clippy::unwrap_used)]

use async_trait::async_trait;
use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use strandline_cache::Cache;
use strandline_cell::{Cell, CellOptions, JoinAs, Submission};
use strandline_commands::{Batch, CreateTopic, NewObject, Produce, Role};
use strandline_commit_log::embedded::Options;
use strandline_commit_log::memory::ReadFault;
use strandline_commit_log::{
    AppendError, CommitLog, EmbeddedCommitLog, Entry, Floor, FloorError, MemoryCommitLog, ReadAgain, ReadError, Tail, TrimError,
};
use strandline_extents::{ExtentError, ExtentReader};
use strandline_index::{Extent, ExtentPlace, Index};
use strandline_object_store::{Objects, Purpose};
use strandline_runtime::Runtime;
use strandline_types::{Seq, TopicId, TopicPartition};
use strandline_wal::WalSegmentBuilder;
use strandline_wire::records::{BatchBuilder, BatchOptions};

const TOPIC: TopicId = TopicId([1; 16]);

fn batch(records: u32, value: &[u8]) -> Bytes {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for _ in 0..records {
        builder.push_next(5, None, Some(value), &[]).unwrap();
    }
    builder.finish(None).unwrap()
}

fn produce(partition: i32, object: u32, position: u64, bytes: &Bytes, records: u32) -> Produce {
    let batch = Batch {
        length: bytes.len() as u32,
        last_offset_delta: records - 1,
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        max_timestamp_ms: 5,
        min_timestamp_ms: 5,
        ..Batch::default()
    };
    Produce { topic_id: TOPIC.0.to_vec(), partition, object, position, batches: vec![batch] }
}

struct World {
    log: MemoryCommitLog,
    objects: Objects,
    cell: Cell,
}

async fn world(takes_any_payload: bool) -> World {
    let runtime = Runtime::simulated(1, 1_790_000_000_000);
    let log = MemoryCommitLog::new(runtime.clone()).taking_any_payload(takes_any_payload);
    let objects = Objects::in_memory(&runtime);
    let cell = node(&runtime, &log, 9092).await;
    create_topic(&cell, 4).await;
    World { log, objects, cell }
}

async fn create_topic(cell: &Cell, partitions: i32) {
    let topic_id = TOPIC.0.to_vec();
    let create = CreateTopic { topic_id, name: "t".to_owned(), partitions, replication_factor: 1, configs: Vec::new() };
    cell.submit(Submission::one(create)).await.unwrap();
}

async fn node(runtime: &Runtime, log: &MemoryCommitLog, port: u16) -> Cell {
    node_on(runtime, Arc::new(log.clone()), port).await
}

async fn node_on(runtime: &Runtime, log: Arc<dyn CommitLog>, port: u16) -> Cell {
    let join = JoinAs { host: "127.0.0.1".to_owned(), port, zone: String::new(), roles: vec![Role::Reader], sole: false };
    let options = CellOptions { join, accept_clock: false, poll: Duration::from_millis(100) };
    Cell::start(runtime.clone(), log, Index::default(), options).await.unwrap()
}

impl World {
    /// One entry with a batch in each of the first three partitions, and one WAL segment with one in each of them.
    async fn fill(&self) -> Vec<Bytes> {
        let inline: Vec<Bytes> = (0..3).map(|n| batch(n + 1, &[n as u8; 300])).collect();
        let (mut commands, mut at) = (Vec::new(), 0);
        for (partition, bytes) in (0..).zip(&inline) {
            commands.push(produce(partition, 0, at, bytes, partition as u32 + 1).into());
            at += bytes.len() as u64;
        }
        self.cell.submit(Submission { commands, payload: inline.clone(), objects: Vec::new() }).await.unwrap();
        let stored: Vec<Bytes> = (0..3).map(|n| batch(n + 1, &[100 + n as u8; 500])).collect();
        let mut builder = WalSegmentBuilder::new();
        for (partition, bytes) in (0..).zip(&stored) {
            builder.push(TopicPartition { topic_id: TOPIC, partition }, bytes.clone());
        }
        let segment = builder.finish().unwrap();
        let path = format!("wal/{}", self.cell.name_object());
        self.objects.put_new(Purpose::Wal, &path, segment.bytes, segment.crc32c).await.unwrap();
        let (mut commands, mut at) = (Vec::new(), 0);
        for (partition, bytes) in (0..).zip(&stored) {
            commands.push(produce(partition, 1, at, bytes, partition as u32 + 1).into());
            at += bytes.len() as u64;
        }
        let object = NewObject { path, size: segment.file_bytes, crc32c: segment.crc32c };
        self.cell.submit(Submission { commands, payload: Vec::new(), objects: vec![object] }).await.unwrap();
        inline.into_iter().zip(stored).flat_map(|(inline, stored)| [inline, stored]).collect()
    }

    fn extents(&self) -> Vec<Extent> {
        let view = self.cell.view();
        view.topics[&TOPIC].partitions.iter().flat_map(|partition| partition.extents.iter().copied()).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn every_way_gives_the_bytes_as_they_were_sent() {
    for takes_any_payload in [true, false] {
        let world = world(takes_any_payload).await;
        let wanted = world.fill().await;
        let extents = world.extents();
        let log: Arc<dyn CommitLog> = Arc::new(world.log.clone());
        let other = node(world.cell.runtime(), &world.log.for_node(), 9093).await;
        let readers = [
            ExtentReader::new(log, world.objects.clone(), Purpose::Fresh),
            // The node that appended them, and one that did not.
            ExtentReader::through(&world.cell, world.objects.clone(), Cache::simple(1 << 20), Purpose::Read),
            ExtentReader::through(&other, world.objects.clone(), Cache::simple(1 << 20), Purpose::Read),
        ];
        for reader in readers {
            for _ in 0..2 {
                assert_eq!(reader.bytes_of(&extents).await.unwrap(), wanted);
                for (extent, wanted) in extents.iter().zip(&wanted) {
                    assert_eq!(reader.bytes(extent).await.unwrap(), wanted);
                }
            }
            let hole = Extent { place: ExtentPlace::Hole, length: 0, ..extents[0] };
            assert!(reader.bytes(&hole).await.unwrap().is_empty());
            assert_eq!(reader.bytes_of(&[hole, extents[1]]).await.unwrap()[1], wanted[1]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_read_keeps_little_else_in_memory() {
    let world = world(true).await;
    world.fill().await;
    let extents = world.extents();
    let inline: Vec<Extent> = extents.iter().copied().step_by(2).collect();
    let stored: Vec<Extent> = extents.iter().copied().skip(1).step_by(2).collect();
    let log: Arc<dyn CommitLog> = Arc::new(world.log.clone());
    let plain = ExtentReader::new(log, world.objects.clone(), Purpose::Fresh);
    let other = node(world.cell.runtime(), &world.log.for_node(), 9093).await;
    let cached = ExtentReader::through(&other, world.objects.clone(), Cache::simple(1 << 20), Purpose::Read);
    let is_slice = |bytes: &Bytes| !bytes.is_unique();
    for extents in [&inline, &stored] {
        let whole = plain.bytes_of(extents).await.unwrap();
        assert!(whole.iter().all(is_slice), "what is used whole is not copied");
        let ends = plain.bytes_of(&[extents[0], extents[2]]).await.unwrap();
        let parts = 4 * (ends[0].len() + ends[1].len()) < 3 * whole.iter().map(Bytes::len).sum::<usize>();
        assert!(parts, "the one between them is large enough");
        assert!(!ends.iter().any(is_slice), "they keep what lies between them");
    }
    // Of a block of 4 MiB in the cache.
    let few = cached.bytes_of(&stored).await.unwrap();
    assert!(!few.iter().any(is_slice), "they keep the block");
}

#[tokio::test(start_paused = true)]
async fn what_this_node_appended_is_read_from_memory() {
    let world = world(true).await;
    let wanted = world.fill().await;
    let inline: Vec<Extent> = world.extents().into_iter().step_by(2).collect();
    let reader = ExtentReader::through(&world.cell, world.objects.clone(), Cache::simple(1 << 20), Purpose::Read);
    world.log.faults().set_reads_down(true);
    let found = reader.bytes_of(&inline).await.unwrap();
    assert!(found.iter().eq(wanted.iter().step_by(2)));
}

#[tokio::test(start_paused = true)]
async fn what_is_missing_or_damaged_says_so() {
    let world = world(true).await;
    world.fill().await;
    let extents = world.extents();
    let (inline, stored) = (extents[0], extents[1]);
    let log: Arc<dyn CommitLog> = Arc::new(world.log.clone());
    let plain = ExtentReader::new(log, world.objects.clone(), Purpose::Fresh);
    let cached = ExtentReader::through(&world.cell, world.objects.clone(), Cache::simple(1 << 20), Purpose::Read);
    // The index says that another run of offsets lies there.
    let wide = Extent { end: inline.end + 1, ..inline };
    assert!(matches!(plain.bytes(&wide).await, Err(ExtentError::Damaged { .. })));
    let ExtentPlace::Object { name, .. } = stored.place else { panic!("{stored:?}") };
    let unknown =
        Extent { place: ExtentPlace::Object { name: strandline_types::ObjectName { n: 99, ..name }, position: 0 }, ..stored };
    for reader in [&plain, &cached] {
        assert!(reader.bytes(&unknown).await.unwrap_err().is_missing());
    }
    let path = format!("wal/{name}");
    let mut bytes = world.objects.get(Purpose::Wal, &path).await.unwrap().to_vec();
    bytes[200] ^= 1;
    world.objects.put_replace(Purpose::Wal, &path, Bytes::from(bytes)).await.unwrap();
    for reader in [&plain, &cached] {
        let error = reader.bytes(&stored).await.unwrap_err();
        assert!(matches!(error, ExtentError::Damaged { .. }) && !error.is_retriable(), "{error}");
        assert_eq!(reader.bytes(&extents[3]).await.unwrap(), batch(2, &[101; 500]), "its neighbour is whole");
    }
    world.objects.delete(Purpose::Garbage, &path).await.unwrap();
    assert!(plain.bytes(&stored).await.unwrap_err().is_missing());
    let gone = Extent { place: ExtentPlace::Inline { seq: Seq(999), position: 0 }, ..inline };
    assert!(plain.bytes(&gone).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn one_of_many_that_fails_says_what_it_is() {
    let world = world(true).await;
    // Ten entries, so that several of them are read by one call.
    for _ in 0..10 {
        world.fill().await;
    }
    let log: Arc<dyn CommitLog> = Arc::new(world.log.clone());
    let reader = ExtentReader::new(log, world.objects.clone(), Purpose::Fresh);
    let mut inline: Vec<Extent> =
        world.extents().into_iter().filter(|extent| matches!(extent.place, ExtentPlace::Inline { .. })).collect();
    inline.reverse();
    let found = reader.bytes_of(&inline).await.unwrap();
    for (extent, bytes) in inline.iter().zip(&found) {
        assert_eq!(reader.bytes(extent).await.unwrap(), bytes);
    }
    let with = |extent: Extent| [&inline[..7], &[extent], &inline[7..]].concat();
    let end = Extent { place: ExtentPlace::Inline { seq: Seq(999), position: 0 }, ..inline[0] };
    let error = reader.bytes_of(&with(end)).await.unwrap_err();
    assert!(error.is_retriable() && error.to_string().contains("999"), "{error}");
    let ExtentPlace::Inline { seq, .. } = inline[7].place else { panic!("{inline:?}") };
    let beyond = Extent { place: ExtentPlace::Inline { seq, position: 1 << 20 }, ..inline[7] };
    let error = reader.bytes_of(&with(beyond)).await.unwrap_err();
    assert!(matches!(error, ExtentError::Damaged { .. }) && error.to_string().contains(&seq.to_string()), "{error}");
    world.log.faults().set_reads_down(true);
    assert!(reader.bytes_of(&inline).await.unwrap_err().is_retriable());
    world.log.faults().set_reads_down(false);
    // A call for several that fails once: each by itself is there.
    world.log.faults().on_read(world.log.faults().reads() + 2, ReadFault::Unavailable);
    assert!(reader.bytes_of(&inline).await.unwrap() == found);
}

/// A log of which reads past the page cache come with a wrong bit, and the others too if it is told so.
struct Damaging {
    log: MemoryCommitLog,
    all: bool,
}

fn damaged(bytes: Bytes) -> Bytes {
    let mut bytes = bytes.to_vec();
    bytes[90] ^= 4;
    bytes.into()
}

#[async_trait]
impl CommitLog for Damaging {
    async fn append(&self, at: Seq, entry: Entry) -> Result<(), AppendError> {
        self.log.append(at, entry).await
    }
    async fn read(&self, from: Seq, max_bytes: usize) -> Result<Tail, ReadError> {
        self.log.read(from, max_bytes).await
    }
    async fn read_payload(&self, at: Seq, range: Range<u64>) -> Result<Bytes, ReadError> {
        let bytes = self.log.read_payload(at, range).await?;
        Ok(if self.all { damaged(bytes) } else { bytes })
    }
    async fn read_payloads(&self, reads: Vec<(Seq, Range<u64>)>, again: ReadAgain) -> Result<Vec<Bytes>, ReadError> {
        let found = self.log.read_payloads(reads, again).await?;
        Ok(if again == ReadAgain::No { found.into_iter().map(damaged).collect() } else { found })
    }
    async fn floor(&self) -> Result<Floor, ReadError> {
        self.log.floor().await
    }
    async fn raise_floor(&self, expected: Floor, to: Floor) -> Result<(), FloorError> {
        self.log.raise_floor(expected, to).await
    }
    async fn trim(&self, below: Seq) -> Result<(), TrimError> {
        self.log.trim(below).await
    }
    fn takes_any_payload(&self) -> bool {
        self.log.takes_any_payload()
    }
    async fn close(&self) -> Result<(), AppendError> {
        self.log.close().await
    }
}

#[tokio::test(start_paused = true)]
async fn what_comes_damaged_past_the_page_cache_is_looked_at_once_more() {
    let world = world(true).await;
    let wanted = world.fill().await;
    let extents = world.extents();
    let reader = |all| {
        let log: Arc<dyn CommitLog> = Arc::new(Damaging { log: world.log.clone(), all });
        ExtentReader::new(log, world.objects.clone(), Purpose::Fresh)
    };
    assert_eq!(reader(false).bytes_of(&extents).await.unwrap(), wanted);
    let error = reader(true).bytes_of(&extents).await.unwrap_err();
    assert!(matches!(error, ExtentError::Damaged { .. }) && !error.is_retriable(), "{error}");
}

/// The embedded log has a checksum over an entry's whole payload, which says no more than that something is wrong.
#[tokio::test]
async fn an_entry_of_the_embedded_log_with_one_damaged_batch_has_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = Runtime::system();
    let open = async || {
        let opened = EmbeddedCommitLog::open(folder.path(), Options::default(), runtime.clone()).await;
        Arc::new(opened.unwrap())
    };
    let sent: Vec<Bytes> = (1..4).map(|n| batch(n, &[n as u8; 300])).collect();
    let (extent, log) = {
        let log = open().await;
        let cell = node_on(&runtime, log.clone(), 9092).await;
        create_topic(&cell, 1).await;
        let command = Produce {
            batches: sent.iter().zip(1..).flat_map(|(bytes, records)| produce(0, 0, 0, bytes, records).batches).collect(),
            ..produce(0, 0, 0, &sent[0], 1)
        };
        cell.submit(Submission { commands: vec![command.into()], payload: sent.clone(), objects: Vec::new() }).await.unwrap();
        let extents = cell.view().topics[&TOPIC].partitions[0].extents.clone();
        assert_eq!(extents.len(), 1);
        (extents[0], log)
    };
    let reader = ExtentReader::new(log, Objects::in_memory(&runtime), Purpose::Fresh);
    assert_eq!(reader.bytes(&extent).await.unwrap(), sent.concat());
    assert_eq!(reader.salvaged(&extent).await.unwrap().damaged, None);
    let file = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let file = file.into_iter().find(|path| {
        let bytes = std::fs::read(path).unwrap();
        bytes.windows(sent[1].len()).any(|window| window == sent[1])
    });
    let file = file.unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    let at = bytes.windows(sent[1].len()).position(|window| window == sent[1]).unwrap();
    for (wrong, is_damaged) in [(100, true), (16, true), (3, false)] {
        bytes[at + wrong] ^= 1;
        std::fs::write(&file, &bytes).unwrap();
        bytes[at + wrong] ^= 1;
        assert!(matches!(reader.bytes(&extent).await, Err(ExtentError::Damaged { .. })));
        assert_eq!(reader.raw(&extent).await.unwrap().len(), sent.concat().len());
        let salvaged = reader.salvaged(&extent).await.unwrap();
        assert!(salvaged.bytes.starts_with(&sent[0]) && salvaged.bytes.ends_with(&sent[2]));
        let damaged = salvaged.damaged.map(|damaged| (damaged.offsets, damaged.bytes.len()));
        assert_eq!(damaged, is_damaged.then(|| (1..3, sent[1].len())), "byte {wrong}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_extent_of_a_cut_wal_segment_that_is_there_is_read() {
    let world = world(true).await;
    let wanted = world.fill().await;
    let stored = world.extents()[1];
    let ExtentPlace::Object { name, position } = stored.place else { panic!("{stored:?}") };
    let path = format!("wal/{name}");
    let bytes = world.objects.get(Purpose::Wal, &path).await.unwrap();
    let cached = ExtentReader::through(&world.cell, world.objects.clone(), Cache::simple(1 << 20), Purpose::Read);
    world.objects.put_replace(Purpose::Wal, &path, bytes.slice(..bytes.len() - 10)).await.unwrap();
    assert!(matches!(cached.bytes(&stored).await, Err(ExtentError::Damaged { .. })));
    let salvaged = cached.salvaged(&stored).await.unwrap();
    assert_eq!((salvaged.bytes, salvaged.damaged), (wanted[1].clone(), None));
    // Within it: what there is of it comes, and nothing is known of its only batch.
    world.objects.put_replace(Purpose::Wal, &path, bytes.slice(..(position + stored.length) as usize - 10)).await.unwrap();
    assert_eq!(cached.raw(&stored).await.unwrap(), wanted[1].slice(..wanted[1].len() - 10));
    assert!(matches!(cached.salvaged(&stored).await, Err(ExtentError::Damaged { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_batch_of_another_format_is_damaged() {
    let world = world(true).await;
    let mut bytes = batch(2, &[7; 300]).to_vec();
    bytes[16] = 1;
    let bytes = Bytes::from(bytes);
    let command = produce(3, 0, 0, &bytes, 2);
    world.cell.submit(Submission { commands: vec![command.into()], payload: vec![bytes], objects: Vec::new() }).await.unwrap();
    let log: Arc<dyn CommitLog> = Arc::new(world.log.clone());
    let error = ExtentReader::new(log, world.objects.clone(), Purpose::Fresh).bytes(&world.extents()[0]).await.unwrap_err();
    assert!(matches!(&error, ExtentError::Damaged { .. }) && error.to_string().contains("format 1"), "{error}");
}
