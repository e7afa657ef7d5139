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
use strandline_traffic::{Event, Traffic, TrafficOptions};
use strandline_types::{RecordRef, TimestampType, TopicId};

/// Between two commits: all that one brings has one time of ingest.
const COMMIT_MS: i64 = 5;
const ROUNDS: usize = 5;
/// The size of records (none: events as they come, with their headers), and what that is called.
const RECORDS: [(Option<usize>, &str); 2] = [(None, "events as they come"), (Some(1_024), "1 KiB, no headers")];
/// What a file is like, its partitions and the rows of each.
const SHAPES: [(&str, usize, usize); 3] = [
    ("sealed: 2 partitions of 100,000 rows", 2, 100_000),
    ("fresh: 48 partitions of 600 rows", 48, 600),
    ("small: 48 partitions of 20 rows", 48, 20),
];

/// Events of a fleet, equally many for each partition; keys choose it by their hash, as with producers. With a size, key and
/// value have so many bytes together, as the load generator sends them.
fn traffic(record_bytes: Option<usize>, partitions: usize, each: usize) -> Vec<Vec<Event>> {
    let options = TrafficOptions { commuter_peaks: false, value_bytes: record_bytes, ..TrafficOptions::default() };
    let mut events = vec![Vec::new(); partitions];
    let mut left = partitions * each;
    for mut event in Traffic::new(options) {
        let place = crc_fast::crc32_iscsi(&event.key) as usize % partitions;
        if events[place].len() == each {
            continue;
        }
        if let Some(bytes) = record_bytes {
            event.value.truncate(bytes - event.key.len());
        }
        events[place].push(event);
        left -= 1;
        if left == 0 {
            break;
        }
    }
    events
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

fn write(partitions: &[Vec<Event>], with_headers: bool) -> FinishedSegment {
    let covered = |(partition, events): (i32, &Vec<Event>)| CoveredRange { partition, start: 0, end: events.len() as i64 };
    let spec = SegmentSpec {
        topic: "veh.events.raw".to_owned(),
        topic_id: TopicId([7; 16]),
        covered: (0..).zip(partitions).map(covered).collect(),
        plan: "speed".to_owned(),
        key: Preference::Text,
        value: Preference::Text,
    };
    let mut writer = SegmentWriter::new(spec).unwrap();
    for (partition, events) in (0..).zip(partitions) {
        for (offset, event) in (0..).zip(events) {
            let headers = event.header_refs();
            let record = RecordRef {
                offset,
                timestamp_ms: event.timestamp_ms,
                timestamp_type: TimestampType::Create,
                key: Some(&event.key),
                value: Some(&event.value),
                headers: if with_headers { &headers[..] } else { &[] },
            };
            let ingest_ms = (event.timestamp_ms / COMMIT_MS + 1) * COMMIT_MS;
            writer.push(partition, ingest_ms, &record).unwrap();
        }
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
    for (record_bytes, records) in RECORDS {
        for (shape, partitions, each) in SHAPES {
            let events = traffic(record_bytes, partitions, each);
            let with_headers = record_bytes.is_none();
            let segment = write(&events, with_headers);
            let (bytes, file) = (segment.record_bytes, Bytes::from(segment.bytes.concat()));
            println!(
                "{shape}, {records}: {:.1} MB of records, {:.0} bytes each, ratio {:.2}",
                bytes as f64 / 1e6,
                bytes as f64 / segment.rows as f64,
                bytes as f64 / file.len() as f64
            );
            if let Some(path) = std::env::args().skip_while(|argument| argument != "--file").nth(1) {
                std::fs::write(path, &file).unwrap();
                return;
            }
            write_speed(&events, with_headers, bytes, &batches(&file));
            if !std::env::args().any(|argument| argument == "--write") {
                read_speed(&events, bytes, &file);
            }
        }
    }
}

fn write_speed(events: &[Vec<Event>], with_headers: bool, bytes: u64, arrays: &[RecordBatch]) {
    compare(
        ["write", "bare ArrowWriter, arrays at hand"],
        bytes,
        || drop(black_box(write(events, with_headers))),
        || {
            black_box(bare(arrays));
        },
    );
}

fn read_speed(events: &[Vec<Event>], bytes: u64, file: &Bytes) {
    let footer = SegmentFooter::parse("speed", file.len() as u64, file).unwrap();
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
    let last = events[1].len() - 1;
    measure("one record by offset (whole file / that)", bytes, || {
        let plan = footer.plan(1, last as i64, 1);
        drop(black_box(plan.map(|plan| read(&footer, &plan, &fetched, |_, _| ControlFlow::Continue(())))))
    });
    measure("one timestamp (whole file / that)", bytes, || {
        let plan = plan_timestamp(&footer, 1, 0, events[1][last].timestamp_ms);
        black_box(plan.map(|plan| read_timestamp(&footer, &plan, &fetched).unwrap()));
    });
    measure("open the footer", file.len() as u64, || {
        drop(black_box(SegmentFooter::parse("speed", file.len() as u64, file).unwrap()))
    });
}
