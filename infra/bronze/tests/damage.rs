//! A changed or missing byte is found, or changes nothing that a consumer sees.
#![allow(clippy::unwrap_used)]

mod support;

use bytes::Bytes;
use proptest::prelude::*;
use std::cell::Cell;
use std::sync::Once;
use strandline_bronze::{Fetched, ReadError, SegmentFooter, plan_timestamp, read_timestamp, verify};
use support::{Row, open, scan, write};

fn sample() -> Vec<Row> {
    let row = |at: i64| {
        let mut row = Row::new((at / 40) as i32, 100 + at, format!("{{\"vehicle\":{at},\"speed\":{}}}", at * 7 % 50).as_bytes());
        row.key = Some(format!("vehicle-{at}").into_bytes());
        row.headers = vec![("ce_id".to_owned(), Some(at.to_string().into_bytes())), ("trace".to_owned(), None)];
        row
    };
    (0..60).map(row).collect()
}

/// What a reader of the whole file gets: an error, or the rows.
fn read_all(bytes: &Bytes) -> Result<Vec<Row>, String> {
    let footer = SegmentFooter::parse("a", bytes.len() as u64, bytes).map_err(|error| error.to_string())?;
    // What is planned to be fetched lies in the file, wherever a damaged page index says that pages are.
    for partition in footer.partitions() {
        let rows = footer.plan(partition.partition, partition.start, u64::MAX).map(|plan| plan.ranges().to_vec());
        let times = plan_timestamp(&footer, partition.partition, partition.start, 0).map(|plan| plan.ranges().to_vec());
        for range in rows.into_iter().chain(times).flatten() {
            assert!(range.start <= range.end && range.end <= bytes.len() as u64, "{range:?}");
        }
    }
    scan(&footer, bytes).map_err(|error| error.to_string())
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// The Parquet library may panic on damaged bytes, which the reader turns into an error; its message is not wanted here.
fn quietly<T>(test: impl FnOnce() -> T) -> T {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                loud(info);
            }
        }));
    });
    QUIET.set(true);
    let result = test();
    QUIET.set(false);
    result
}

#[test]
fn every_changed_byte_is_found_or_harmless() {
    let rows = sample();
    let segment = write(&rows);
    let (_, bytes) = open(&segment);
    let wrong = quietly(|| {
        let mut wrong = Vec::new();
        for at in 0..bytes.len() {
            for change in [1_u8, 0x80] {
                let mut changed = bytes.to_vec();
                changed[at] ^= change;
                let changed = Bytes::from(changed);
                // Bytes that records do not hang on (statistics, columns for other readers) are under the file's checksum of itself.
                if read_all(&changed).is_ok_and(|found| found != rows) || verify("a", &[changed], None).is_sound() {
                    wrong.push((at, change));
                }
            }
        }
        wrong
    });
    assert_eq!(wrong, []);
}

#[test]
fn every_cut_is_found() {
    let (_, bytes) = open(&write(&sample()));
    quietly(|| {
        for length in 0..bytes.len() {
            assert!(read_all(&bytes.slice(..length)).is_err(), "cut to {length}");
        }
    });
}

/// Values that are stored uncompressed within a page's frame, so that a change reaches the decoded rows.
#[test]
fn a_changed_value_fails_its_digest() {
    let mut state = 88_172_645_463_325_252_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    let noise: Vec<u8> = (0..4_000).map(|_| next()).collect();
    let rows = [Row::new(0, 7, &noise)];
    let segment = write(&rows);
    let (footer, bytes) = open(&segment);
    let needle = &noise[1_000..1_100];
    let at = bytes.windows(100).position(|window| window == needle).unwrap();
    let mut changed = bytes.to_vec();
    changed[at + 50] ^= 1;
    let error = scan(&footer, &changed.into()).unwrap_err();
    assert_eq!(error, ReadError::Digest { file: "a.parquet".into(), partition: 0, first_offset: 7, last_offset: 7 });
    assert_eq!(error.to_string(), "a.parquet is damaged: the digest of partition 0, offsets 7 to 7, differs");
}

#[test]
fn timestamps_of_damaged_pages_are_wrong_for_nobody() {
    let rows = sample();
    let (footer, bytes) = open(&write(&rows));
    let plan = plan_timestamp(&footer, 1, 0, rows[50].timestamp_ms).unwrap();
    let right = Some((rows[50].offset, rows[50].timestamp_ms));
    assert_eq!(read_timestamp(&footer, &plan, &Fetched::whole(bytes.clone())).unwrap(), right);
    let missed = quietly(|| {
        let mut missed = 0;
        for at in plan.ranges().iter().flat_map(|range| range.clone()) {
            let mut changed = bytes.to_vec();
            changed[at as usize] ^= 0x10;
            if let Ok(found) = read_timestamp(&footer, &plan, &Fetched::whole(changed.into())) {
                missed += usize::from(found != right);
            }
        }
        missed
    });
    assert_eq!(missed, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn noise_never_panics(mut noise in proptest::collection::vec(any::<u8>(), 0..300), footer_bytes in proptest::option::of(0_u32..310)) {
        if let Some(footer_bytes) = footer_bytes {
            noise.extend_from_slice(&footer_bytes.to_le_bytes());
            noise.extend_from_slice(b"PAR1");
        }
        prop_assert!(quietly(|| read_all(&noise.into())).is_err());
    }
}

/// A finding of the fuzzer: the Parquet library went round for ever in a page of headers that claims more values than it has levels.
#[test]
#[allow(clippy::disallowed_methods, reason = "what does not end must not keep the test from failing")]
fn a_page_with_too_few_levels_is_damaged_and_no_endless_work() {
    const FOUND: &[u8] = include_bytes!("../../../tests/fuzz/corpus/parquet/found-levels");
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let read = quietly(|| read_all(&Bytes::from_static(FOUND)));
        let problems = quietly(|| verify("a", &[Bytes::from_static(FOUND)], None).problems);
        let _ = sender.send((read, problems));
    });
    let (read, problems) = receiver.recv_timeout(std::time::Duration::from_secs(60)).unwrap();
    assert!(read.is_err() && !problems.is_empty(), "{read:?} {problems:?}");
}
