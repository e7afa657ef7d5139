//! How fast a consumer is served, in CPU time of one core: the hot tail, and a replay from Parquet.
//!
//! `cargo run --release -p strandline-reader --example serving_speed`
#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "../tests/support/mod.rs"]
mod support;

use rustix::time::{ClockId, clock_gettime};
use strandline_reader::ReaderOptions;
use strandline_types::TopicPartition;
use strandline_wire::records::Compression;
use support::check::{caller, only, request};
use support::{Home, Node, Record, START_MS};

const BATCHES: i64 = 400;
const RECORDS: i64 = 256;

fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Telemetry of one vehicle, about 500 bytes with its CloudEvents headers.
fn record(n: i64) -> Record {
    let mixed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as i64).unsigned_abs();
    let value = format!(
        r#"{{"vehicleId":"v-{:06}","position":{{"lat":{:.6},"lon":{:.6}}},"speedKmh":{},"battery":{:.3},"odometerKm":{},"doors":["closed","closed","closed","closed"],"errors":[],"signal":{{"lte":-{},"gnss":{}}},"trip":"{:016x}","note":"{}"}}"#,
        mixed % 20_000,
        48.0 + (mixed % 1_000_000) as f64 / 1e6,
        11.0 + (mixed / 7 % 1_000_000) as f64 / 1e6,
        mixed % 130,
        (mixed % 1_000) as f64 / 1e3,
        mixed % 90_000,
        60 + mixed % 50,
        mixed % 17,
        mixed,
        "abcdefgh".repeat(8),
    );
    let header = |key: &str, value: String| (key.to_owned(), Some(value.into_bytes()));
    Record {
        timestamp_ms: START_MS + n / 10,
        key: Some(format!("v-{:06}", mixed % 20_000).into_bytes()),
        value: Some(value.into_bytes()),
        headers: vec![
            header("ce_specversion", "1.0".to_owned()),
            header("ce_id", format!("{mixed:032x}")),
            header("ce_source", "/vehicles".to_owned()),
            header("ce_type", "vehicle.telemetry.v1".to_owned()),
        ],
        ..Record::default()
    }
}

async fn replay(node: &Node, what: &str) {
    let at = *node.models.keys().next().unwrap();
    let end = node.models[&at].end;
    let reader = node.world.reader(&node.cell, ReaderOptions { read_ahead: 0, ..ReaderOptions::default() });
    let (mut next, mut bytes, mut answers) = (0, 0, 0);
    let began = cpu_seconds();
    while next < end {
        let data = only(reader.fetch(&caller(), 12, request("t", 0, next, 1 << 20), 1).await);
        let records = data.records.unwrap();
        bytes += records.len();
        answers += 1;
        let last = strandline_wire::records::split_batches(records.into_bytes()).unwrap().pop().unwrap();
        next = last.header.last_offset() + 1;
    }
    let seconds = cpu_seconds() - began;
    println!("{what}: {:.0} MB/s, {answers} answers, {:.1} MB", bytes as f64 / 1e6 / seconds, bytes as f64 / 1e6);
}

async fn measure() {
    let mut node = Node::start(1).await;
    let topic = node.topic(1, "t", 1, false).await;
    let at = TopicPartition { topic_id: topic, partition: 0 };
    for batch in 0..BATCHES {
        let records: Vec<Record> = (0..RECORDS).map(|n| record(batch * RECORDS + n)).collect();
        node.produce(at, &[records], Home::Inline, Compression::None).await;
    }
    for _ in 0..3 {
        replay(&node, "hot").await;
    }
    assert!(node.convert(topic, 1.0).await);
    for _ in 0..3 {
        replay(&node, "fresh").await;
    }
    node.seal_whole(topic).await;
    for _ in 0..3 {
        replay(&node, "sealed").await;
    }
}

fn main() {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(measure());
}
