//! What taking requests in costs without sockets and disks, and what checking batches costs, by codec.
//!
//! `cargo run --release -p strandline-ingest --example speed`
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a measurement that cannot go on says where")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::Duration;
use strandline_commit_log::MemoryCommitLog;
use strandline_ingest::{Ingest, IngestOptions};
use strandline_runtime::{Runtime, SystemClock};
use strandline_wire::records::Compression;
use support::*;

fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

async fn measure(name: &str, value_bytes: usize, compression: Compression) {
    let runtime = Runtime { clock: std::sync::Arc::new(SystemClock), ..Runtime::simulated(1, START_MS) };
    let log = MemoryCommitLog::new(runtime.clone());
    let cell = cell(&runtime, &log, true, 9092).await;
    let (objects, faults) = objects(&runtime);
    let ingest = Ingest::new(IngestOptions::default(), cell.clone(), objects.clone(), None);
    let node = Node { runtime, log, cell, objects, faults, ingest };
    node.topic("a", 16, &[("message.timestamp.after.max.ms", "9223372036854775807")]).await;
    // Half of it can be compressed, and together it is larger than the machine's caches.
    let random = &node.runtime.random;
    let value = || -> String {
        (0..value_bytes).map(|at| if at % 2 == 0 { 'x' } else { char::from(b'0' + random.below(64) as u8) }).collect()
    };
    let count = 16_000 / value_bytes;
    let record_bytes = count * (value_bytes + 10);
    let requests: Vec<_> = (0..256)
        .map(|_| {
            let values: Vec<String> = (0..count).map(|_| value()).collect();
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            let batches: Vec<(&str, i32, bytes::Bytes)> = (0..16).map(|at| ("a", at, compressed(&values, compression))).collect();
            request(&batches)
        })
        .collect();
    let (began, cpu_began) = (node.runtime.clock.monotonic(), cpu());
    let rounds = 4 * requests.len();
    let mut pending = std::collections::VecDeque::new();
    for at in 0..rounds {
        pending.push_back(node.accept(requests[at % requests.len()].clone()).await);
        if pending.len() >= 32 {
            assert!(!pending.pop_front().unwrap().answer().await.had_error);
        }
    }
    for pending in pending {
        assert!(!pending.answer().await.had_error);
    }
    let megabytes = (rounds * 16 * record_bytes) as f64 / 1e6;
    let (wall, cpu) = ((node.runtime.clock.monotonic() - began).as_secs_f64(), (cpu() - cpu_began).as_secs_f64());
    println!("{name}: {megabytes:.0} MB of records, {:.0} MB per CPU-second, {:.0} MB/s", megabytes / cpu, megabytes / wall);
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    measure("500 B records, not compressed", 500, Compression::None).await;
    measure("100 B records, not compressed", 100, Compression::None).await;
    measure("500 B records, lz4", 500, Compression::Lz4).await;
    measure("500 B records, zstd", 500, Compression::Zstd).await;
    checking().await;
}

/// What checking costs a KiB, by codec, and what it costs to hand it over: the numbers behind
/// `limits::INLINE_DECOMPRESSED_BYTES`.
async fn checking() {
    use strandline_wire::records::{ValidationRules, validate_batch};
    let spawner = strandline_runtime::Spawner::tokio();
    let clock = SystemClock;
    let now = || strandline_runtime::Clock::monotonic(&clock);
    let began = now();
    for _ in 0..2_000 {
        spawner.blocking("nothing", || ()).await.unwrap();
    }
    println!("handing over: {:.1} us", (now() - began).as_secs_f64() * 1e6 / 2_000.0);
    let rules =
        ValidationRules { timestamp_after_max_ms: i64::MAX, max_message_bytes: usize::MAX, ..ValidationRules::kafka_defaults(0) };
    let random = strandline_runtime::SeededRandom::new(1);
    for value_bytes in [100, 1_000] {
        let value = |_| -> String {
            let digit =
                |at| if at % 2 == 0 { 'x' } else { char::from(b'0' + strandline_runtime::Random::below(&random, 64) as u8) };
            (0..value_bytes).map(digit).collect()
        };
        let values: Vec<String> = (0..(1 << 20) / value_bytes).map(value).collect();
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        for codec in [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
            let batch = compressed(&values, codec);
            let began = now();
            for _ in 0..50 {
                validate_batch(&batch, &rules).unwrap();
            }
            let us = (now() - began).as_secs_f64() * 1e6 / 50.0;
            println!("{codec:?}, records of {value_bytes} B: {us:.0} us for 1 MiB ({} KiB compressed)", batch.len() >> 10);
        }
    }
}
