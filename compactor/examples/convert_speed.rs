//! How fast extents become Parquet: one conversion after the other over a log and a store in memory.
//!
//! `cargo run --release -p strandline-compactor --example convert_speed`

use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use strandline_cell::{Cell, CellOptions, JoinAs, Submission};
use strandline_commands::{Batch, CreateTopic, Produce, Role};
use strandline_commit_log::{CommitLog, MemoryCommitLog};
use strandline_compactor::{Compactor, CompactorOptions};
use strandline_extents::ExtentReader;
use strandline_index::Index;
use strandline_object_store::{Objects, Purpose};
use strandline_runtime::Runtime;
use strandline_segment_index::MemorySegmentIndex;
use strandline_types::TopicId;
use strandline_wire::records::{BatchBuilder, BatchOptions};

const PARTITIONS: i32 = 48;
const RECORDS: usize = 200;
const ROUNDS: usize = 32;

fn batch(number: usize) -> (Bytes, u64) {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    let mut bytes = 0;
    for record in 0..RECORDS {
        let seed = (number * RECORDS + record).wrapping_mul(2_654_435_761);
        let value = format!(
            r#"{{"vehicle":"veh-{:06}","lat":{}.{:06},"lon":{}.{:06},"battery":{},"speed":{},"state":"{}","trip":"{:016x}","pad":"{:x}{:x}{:x}"}}"#,
            seed % 200_000,
            48 + seed % 4,
            seed % 1_000_000,
            11 + seed % 3,
            (seed >> 7) % 1_000_000,
            seed % 100,
            seed % 120,
            ["riding", "parked", "charging"][seed % 3],
            seed,
            seed.wrapping_mul(31),
            seed.wrapping_mul(37),
            seed.wrapping_mul(41)
        );
        let key = format!("veh-{:06}", seed % 200_000);
        bytes += (key.len() + value.len()) as u64;
        let time_ms = 1_790_000_000_000 + (number * RECORDS + record) as i64;
        let pushed = builder.push_next(time_ms, Some(key.as_bytes()), Some(value.as_bytes()), &[]);
        assert!(pushed.is_ok());
    }
    (builder.finish(None).unwrap_or_default(), bytes)
}

async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = Runtime::system();
    let log: Arc<dyn CommitLog> = Arc::new(MemoryCommitLog::new(runtime.clone()));
    let join = JoinAs { host: "localhost".to_owned(), port: 9092, zone: String::new(), roles: vec![Role::Compactor], sole: true };
    let options = CellOptions { join, accept_clock: true, poll: Duration::from_secs(1) };
    let cell = Cell::start(runtime.clone(), log.clone(), Index::default(), options).await?;
    let objects = Objects::in_memory(&runtime);
    let extents = ExtentReader::new(log, objects.clone(), Purpose::Fresh);
    let compactor =
        Compactor::new(CompactorOptions::default(), cell.clone(), objects, Arc::new(MemorySegmentIndex::new()), extents);
    let topic_id = TopicId([7; 16]);
    let create = CreateTopic {
        topic_id: vec![7; 16],
        name: "veh.events.raw".to_owned(),
        partitions: PARTITIONS,
        replication_factor: 1,
        configs: Vec::new(),
    };
    cell.submit(Submission::one(create)).await?;
    let mut record_bytes = 0;
    for round in 0..ROUNDS {
        for partition in 0..PARTITIONS {
            let (bytes, of_batch) = batch(round * PARTITIONS as usize + partition as usize);
            record_bytes += of_batch;
            let batch = Batch {
                length: bytes.len() as u32,
                last_offset_delta: RECORDS as u32 - 1,
                producer_id: -1,
                producer_epoch: -1,
                base_sequence: -1,
                attributes: 0,
                max_timestamp_ms: 1_790_000_000_000,
                max_timestamp_delta: 0,
                min_timestamp_ms: 1_790_000_000_000,
            };
            let produce = Produce { topic_id: vec![7; 16], partition, object: 0, position: 0, batches: vec![batch] };
            cell.submit(Submission { commands: vec![produce.into()], payload: vec![bytes], objects: Vec::new() }).await?;
        }
    }
    let mib = record_bytes as f64 / f64::from(1 << 20);
    let started = runtime.clock.monotonic();
    while compactor.convert_once(topic_id).await? {}
    let convert = (runtime.clock.monotonic() - started).as_secs_f64();
    let fresh: u64 = cell.view().topics.values().flat_map(|topic| topic.fresh.values()).map(|segment| segment.file.size).sum();
    let started = runtime.clock.monotonic();
    compactor.seal_once(topic_id, true).await?;
    let seal = (runtime.clock.monotonic() - started).as_secs_f64();
    println!("{mib:.0} MiB of records, {:.1} MiB of Parquet", fresh as f64 / f64::from(1 << 20));
    println!("convert {:.0} MiB/s, seal {:.0} MiB/s of record bytes", mib / convert, mib / seal);
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(run())
}
