//! The segment as others see it: round trip, golden file, damage.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use proptest::prelude::*;
use strandline_types::{TopicId, TopicPartition};
use strandline_wal::{TRAILER_BYTES, WalFooter, WalReadError, WalSegment, WalSegmentBuilder, verify_batches};

fn batch(base_offset: i64, body: &[u8]) -> Bytes {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&base_offset.to_be_bytes());
    bytes.extend_from_slice(&(49 + body.len() as i32).to_be_bytes());
    bytes.extend_from_slice(&[0, 0, 0, 0, 2]);
    let mut covered = vec![0x5a; 40];
    covered.extend_from_slice(body);
    bytes.extend_from_slice(&slow_crc32c(&covered).to_be_bytes());
    bytes.extend_from_slice(&covered);
    bytes.into()
}

/// CRC-32C bit by bit, so that the test does not trust the crate's own.
fn slow_crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    !crc
}

fn partition(topic: u8, partition: i32) -> TopicPartition {
    TopicPartition { topic_id: TopicId([topic; 16]), partition }
}

fn whole(segment: &WalSegment) -> Bytes {
    segment.bytes.concat().into()
}

fn sample() -> WalSegment {
    let mut builder = WalSegmentBuilder::new();
    builder.push(partition(2, 7), batch(0, b"second"));
    builder.push(partition(1, 3), batch(5, b"first"));
    builder.push(partition(2, 7), batch(1, b"third"));
    builder.push(partition(1, 0), batch(9, b""));
    builder.finish().unwrap()
}

/// No run is written without a batch. Fuzzing found one to be let in.
#[test]
fn a_run_of_no_bytes_is_refused() {
    let mut segment = [&[0x0a, 18, 0x0a, 16][..], &[1; 16]].concat();
    let (length, crc) = (segment.len() as u32, slow_crc32c(&segment));
    for number in [length, crc, 1] {
        segment.extend_from_slice(&number.to_be_bytes());
    }
    segment.extend_from_slice(b"SWAL");
    let found = WalFooter::read(&segment.into(), 36);
    assert_eq!(found.unwrap_err(), WalReadError::Footer("its runs do not follow one another"));
}

#[test]
fn runs_are_grouped_and_found() {
    let segment = sample();
    let bytes = whole(&segment);
    assert_eq!(bytes.len() as u64, segment.file_bytes);
    assert_eq!(slow_crc32c(&bytes), segment.crc32c);
    let footer = WalFooter::read(&bytes, segment.file_bytes).unwrap();
    assert_eq!(footer.runs, segment.runs);
    assert_eq!(
        footer.runs.iter().map(|run| run.partition).collect::<Vec<_>>(),
        [partition(1, 0), partition(1, 3), partition(2, 7)]
    );
    let run = footer.run(partition(2, 7)).unwrap();
    let expected = [batch(0, b"second"), batch(1, b"third")].concat();
    assert_eq!(bytes[run.range.start as usize..run.range.end as usize], expected);
    assert_eq!(run.batches, 2);
    assert_eq!(run.headers_digest, slow_crc32c(&[&expected[..61], &expected[67..128]].concat()));
    assert!(footer.run(partition(2, 8)).is_none());
}

#[test]
fn nothing_is_copied() {
    let chunk = batch(0, b"the producer's bytes");
    let mut builder = WalSegmentBuilder::new();
    builder.push(partition(1, 1), chunk.clone());
    assert_eq!(builder.batch_bytes(), chunk.len() as u64);
    let segment = builder.finish().unwrap();
    assert_eq!(segment.bytes[0].as_ptr(), chunk.as_ptr());
}

#[test]
fn an_empty_segment_is_a_footer() {
    let segment = WalSegmentBuilder::new().finish().unwrap();
    assert_eq!(segment.file_bytes, TRAILER_BYTES as u64);
    assert_eq!(WalFooter::read(&whole(&segment), segment.file_bytes), Ok(WalFooter::default()));
}

#[test]
fn what_is_no_batch_is_refused() {
    for bytes in [&b"short"[..], &[0; 61], &batch(0, b"cut")[..62]] {
        let mut builder = WalSegmentBuilder::new();
        builder.push(partition(1, 4), Bytes::copy_from_slice(bytes));
        let error = builder.finish().unwrap_err();
        assert_eq!(error.run, partition(1, 4));
    }
}

#[test]
fn the_tail_is_enough_and_too_little_says_how_much() {
    let segment = sample();
    let bytes = whole(&segment);
    let Err(WalReadError::NeedsMore { tail_bytes }) = WalFooter::read(&bytes.slice(bytes.len() - 20..), segment.file_bytes)
    else {
        panic!("20 bytes are not enough");
    };
    let tail = bytes.slice(bytes.len() - tail_bytes as usize..);
    assert_eq!(WalFooter::read(&tail, segment.file_bytes).unwrap().runs, segment.runs);
    let shorter = tail.slice(1..);
    assert_eq!(WalFooter::read(&shorter, segment.file_bytes), Err(WalReadError::NeedsMore { tail_bytes }));
    assert_eq!(
        WalFooter::read(&bytes.slice(bytes.len() - 3..), segment.file_bytes),
        Err(WalReadError::NeedsMore { tail_bytes: 16 })
    );
}

#[test]
fn a_newer_version_is_refused() {
    let mut bytes = whole(&sample()).to_vec();
    let at = bytes.len() - 5;
    bytes[at] = 2;
    let length = bytes.len() as u64;
    assert_eq!(WalFooter::read(&bytes.into(), length), Err(WalReadError::Version(2)));
}

/// Every check that a reader of the whole object makes.
fn read_all(bytes: &Bytes) -> Result<Vec<(TopicPartition, Bytes)>, String> {
    let footer = WalFooter::read(bytes, bytes.len() as u64).map_err(|error| error.to_string())?;
    let mut runs = Vec::new();
    for run in &footer.runs {
        let slice = bytes.slice(run.range.start as usize..run.range.end as usize);
        run.check(&slice).map_err(|error| error.to_string())?;
        let batches = verify_batches(&slice).map_err(|error| error.to_string())?;
        if batches != run.batches {
            return Err("another number of batches".to_owned());
        }
        runs.push((run.partition, slice));
    }
    Ok(runs)
}

#[test]
fn every_changed_byte_is_found() {
    let bytes = whole(&sample());
    read_all(&bytes).unwrap();
    for at in 0..bytes.len() {
        for change in [1_u8, 0x80, 0xff] {
            let mut changed = bytes.to_vec();
            changed[at] ^= change;
            assert!(read_all(&changed.into()).is_err(), "byte {at} xor {change}");
        }
    }
}

#[test]
fn every_cut_is_found() {
    let bytes = whole(&sample());
    for length in 0..bytes.len() {
        assert!(read_all(&bytes.slice(..length)).is_err(), "cut to {length}");
        assert!(read_all(&bytes.slice(bytes.len() - length..)).is_err(), "only the last {length}");
    }
}

/// Written once by version 1; must be read for ever, and written the same.
#[test]
fn golden_v1() {
    let golden = Bytes::from_static(include_bytes!("golden/v1.wal"));
    assert_eq!(read_all(&golden).unwrap().len(), 3);
    assert_eq!(whole(&sample()), golden, "the writer's bytes changed: raise the version and add a golden file");
}

proptest! {
    #[test]
    fn round_trip(runs in proptest::collection::vec((0_u8..4, 0_i32..5, proptest::collection::vec(any::<u8>(), 0..80)), 0..40)) {
        let mut builder = WalSegmentBuilder::new();
        let mut expected = std::collections::BTreeMap::<TopicPartition, Vec<u8>>::new();
        for (at, (topic, number, body)) in runs.iter().enumerate() {
            let chunk = batch(at as i64, body);
            expected.entry(partition(*topic, *number)).or_default().extend_from_slice(&chunk);
            builder.push(partition(*topic, *number), chunk);
        }
        let segment = builder.finish().unwrap();
        let read = read_all(&whole(&segment)).unwrap();
        prop_assert_eq!(read.len(), expected.len());
        for ((found, bytes), (wanted, batches)) in read.iter().zip(&expected) {
            prop_assert_eq!(found, wanted);
            prop_assert_eq!(&bytes[..], &batches[..]);
        }
    }

    #[test]
    fn noise_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), with_trailer in any::<bool>()) {
        let mut bytes = bytes;
        if with_trailer {
            let crc = slow_crc32c(&bytes);
            for number in [bytes.len() as u32, crc, 1] {
                bytes.extend_from_slice(&number.to_be_bytes());
            }
            bytes.extend_from_slice(b"SWAL");
        }
        let _ = read_all(&bytes.into());
    }
}
