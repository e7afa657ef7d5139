//! How fast rows become Parquet and Parquet becomes rows, on one core, in CPU time; beside the bare Parquet writer.
//!
//! `cargo run --release -p strandline-bronze --example speed` (`-- --write`: the writer alone; `-- --file PATH`: keep the first file)
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use arrow_array::RecordBatch;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use rustix::time::{ClockId, clock_gettime};
use std::hint::black_box;
use std::ops::ControlFlow;
use strandline_bronze::{
    CoveredRange, Fetched, FinishedSegment, Preference, ReadError, SegmentFooter, SegmentSpec, SegmentWriter, arrow_schema,
    merge_rows, plan_timestamp, read, read_timestamp, writer_properties,
};
use strandline_types::{HeaderRef, RecordRef, TimestampType, TopicId};

const INGEST_MS: i64 = 1_795_443_300_000;
const ROUNDS: usize = 5;

/// Telemetry of one vehicle, about 500 bytes of JSON.
struct Event {
    key: String,
    value: String,
    headers: Vec<(&'static str, String)>,
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

fn event(random: &mut Random, at: usize) -> Event {
    let vehicle = random.below(20_000);
    let id = format!("{:016x}{:016x}", random.0, random.0.rotate_left(17) ^ at as u64);
    let time = format!("2026-11-23T14:{:02}:{:02}.{:03}Z", at / 60_000 % 60, at / 1_000 % 60, at % 1_000);
    let value = format!(
        r#"{{"eventId":"{id}","vehicleId":"veh-{vehicle:06}","type":"scooter","timestamp":"{time}","position":{{"lat":{}.{:06},"lon":{}.{:06},"accuracyM":{}}},"speedKmh":{}.{},"battery":{{"percent":{},"voltage":{}.{:02},"temperatureC":{}}},"odometerM":{},"state":"{}","firmware":"4.{}.{}","zone":"{}","locked":{},"signal":{{"rssi":-{},"network":"LTE-M"}},"tripId":"{:012x}","faults":[]}}"#,
        47 + random.below(8),
        random.below(1_000_000),
        5 + random.below(12),
        random.below(1_000_000),
        2 + random.below(15),
        random.below(25),
        random.below(10),
        random.below(100),
        36 + random.below(6),
        random.below(100),
        10 + random.below(25),
        random.below(9_000_000),
        ["idle", "riding", "charging", "maintenance"][random.below(4) as usize],
        random.below(4),
        random.below(20),
        ["ams-centrum", "ber-mitte", "par-10e", "vie-innere-stadt", "bru-ixelles"][random.below(5) as usize],
        random.below(2) == 0,
        60 + random.below(50),
        random.below(1 << 48),
    );
    let headers = vec![
        ("ce_specversion", "1.0".to_owned()),
        ("ce_id", id),
        ("ce_source", format!("/fleet/gateway-{:02}", random.below(40))),
        ("ce_type", "eu.mobility.vehicle.telemetry.v1".to_owned()),
        ("ce_subject", format!("veh-{vehicle:06}")),
        ("ce_time", time),
        ("content-type", "application/json".to_owned()),
    ];
    Event { key: format!("veh-{vehicle:06}"), value, headers }
}

fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn timed(round: &mut impl FnMut()) -> f64 {
    let start = cpu_seconds();
    round();
    cpu_seconds() - start
}

fn print(name: &str, bytes: u64, seconds: f64) {
    println!("  {name:<46} {:>7.0} MB/s   {:>8.2} ms", bytes as f64 / seconds / 1e6, seconds * 1e3);
}

/// The best of several rounds, in MB of `bytes` per CPU second.
fn measure(name: &str, bytes: u64, mut round: impl FnMut()) {
    print(name, bytes, (0..ROUNDS).map(|_| timed(&mut round)).fold(f64::MAX, f64::min));
}

/// Two things in turns, so that what else the machine does falls on both.
fn compare(names: [&str; 2], bytes: u64, mut one: impl FnMut(), mut other: impl FnMut()) {
    let mut best = [f64::MAX; 2];
    for _ in 0..2 * ROUNDS {
        best = [best[0].min(timed(&mut one)), best[1].min(timed(&mut other))];
    }
    print(names[0], bytes, best[0]);
    print(names[1], bytes, best[1]);
    println!("  {:<46} {:>7.0} %", "the first in parts of the second", best[1] / best[0] * 100.0);
}

fn write(events: &[Event], partitions: i32) -> FinishedSegment {
    let each = events.len() as i64 / i64::from(partitions);
    let covered = (0..partitions).map(|partition| CoveredRange { partition, start: 0, end: each }).collect();
    let spec = SegmentSpec {
        topic: "veh.events.raw".to_owned(),
        topic_id: TopicId([7; 16]),
        covered,
        plan: "speed".to_owned(),
        key: Preference::Text,
        value: Preference::Text,
    };
    let mut writer = SegmentWriter::new(spec).unwrap();
    let mut headers = Vec::new();
    for (at, event) in events.iter().take((each * i64::from(partitions)) as usize).enumerate() {
        headers.clear();
        headers.extend(event.headers.iter().map(|(key, value)| HeaderRef { key, value: Some(value.as_bytes()) }));
        let record = RecordRef {
            offset: at as i64 % each,
            timestamp_ms: INGEST_MS + at as i64 / 10,
            timestamp_type: TimestampType::Create,
            key: Some(event.key.as_bytes()),
            value: Some(event.value.as_bytes()),
            headers: &headers,
        };
        writer.push((at as i64 / each) as i32, INGEST_MS + at as i64 / 1_000, &record).unwrap();
    }
    writer.finish().unwrap()
}

/// The bare writer gets the very same pages as arrays that are already there.
fn bare(batches: &[RecordBatch]) -> usize {
    let options = ArrowWriterOptions::new().with_properties(writer_properties()).with_skip_arrow_metadata(true);
    let mut writer = ArrowWriter::try_new_with_options(Vec::new(), arrow_schema(), options).unwrap();
    for batch in batches {
        writer.write(batch).unwrap();
        if writer.in_progress_rows() >= 131_072 {
            writer.flush().unwrap();
        }
    }
    writer.into_inner().unwrap().len()
}

fn batches(file: &Bytes) -> Vec<RecordBatch> {
    let options = ArrowReaderOptions::new().with_schema(arrow_schema());
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(file.clone(), options).unwrap();
    builder.with_batch_size(1_024).build().unwrap().map(Result::unwrap).collect()
}

fn replay(footer: &SegmentFooter, fetched: &Fetched, max_bytes: u64) -> u64 {
    let mut bytes = 0;
    for summary in footer.partitions() {
        let mut offset = summary.start;
        while let Some(plan) = footer.plan(summary.partition, offset, max_bytes) {
            read(footer, &plan, fetched, |record, _| {
                bytes += (record.value.map_or(0, <[u8]>::len) + record.key.map_or(0, <[u8]>::len)) as u64;
                bytes += record.headers.iter().map(|header| header.value.map_or(0, <[u8]>::len)).sum::<usize>() as u64;
                ControlFlow::Continue(())
            })
            .unwrap();
            offset = plan.next_offset();
        }
    }
    bytes
}

fn main() {
    let mut random = Random(88_172_645_463_325_252);
    let events: Vec<Event> = (0..200_000).map(|at| event(&mut random, at)).collect();
    for (shape, partitions, rows) in [
        ("sealed: 2 partitions of 100,000 rows", 2, 200_000),
        ("fresh: 48 partitions of 600 rows", 48, 28_800),
        ("small: 48 partitions of 20 rows", 48, 960),
    ] {
        let events = &events[..rows];
        let segment = write(events, partitions);
        let (bytes, file) = (segment.record_bytes, Bytes::from(segment.bytes.concat()));
        println!(
            "{shape}: {:.1} MB of records, {:.0} bytes each, ratio {:.2}",
            bytes as f64 / 1e6,
            bytes as f64 / rows as f64,
            bytes as f64 / file.len() as f64
        );
        if let Some(path) = std::env::args().skip_while(|argument| argument != "--file").nth(1) {
            std::fs::write(path, &file).unwrap();
            return;
        }
        let arrays = batches(&file);
        compare(
            ["write", "bare ArrowWriter, arrays at hand"],
            bytes,
            || drop(black_box(write(events, partitions))),
            || {
                black_box(bare(&arrays));
            },
        );
        if std::env::args().any(|argument| argument == "--write") {
            continue;
        }
        let footer = SegmentFooter::parse("speed", file.len() as u64, &file).unwrap();
        let fetched = Fetched::whole(file.clone());
        measure("replay, 1 MiB a read", bytes, || {
            black_box(replay(&footer, &fetched, 1 << 20));
        });
        measure("replay, 8 MiB a read", bytes, || {
            black_box(replay(&footer, &fetched, 8 << 20));
        });
        measure("whole file in order (merge)", bytes, || {
            let mut rows = 0;
            merge_rows(&[(footer.clone(), fetched.clone())], |_, _, record| {
                rows += record.offset & 1;
                Ok::<_, ReadError>(())
            })
            .unwrap();
            black_box(rows);
        });
        let last = rows as i64 / i64::from(partitions) - 1;
        measure("one record by offset (whole file / that)", bytes, || {
            drop(black_box(footer.plan(1, last, 1).map(|plan| read(&footer, &plan, &fetched, |_, _| ControlFlow::Continue(())))))
        });
        measure("one timestamp (whole file / that)", bytes, || {
            let plan = plan_timestamp(&footer, 1, 0, INGEST_MS + rows as i64 / 10 - 5);
            black_box(plan.map(|plan| read_timestamp(&footer, &plan, &fetched).unwrap()));
        });
        measure("open the footer", file.len() as u64, || {
            drop(black_box(SegmentFooter::parse("speed", file.len() as u64, &file).unwrap()))
        });
    }
}
