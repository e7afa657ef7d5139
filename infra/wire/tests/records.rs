//! Record batches: against `kafka-protocol` in both directions, every rule of the validator, and damage.

#![allow(clippy::unwrap_used, reason = "a test may")]

use bytes::{Bytes, BytesMut};
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records as theirs;
use proptest::prelude::*;
use std::ops::ControlFlow;
use strandline_types::{HeaderRef, RecordRef, TimestampType};
use strandline_wire::ErrorCode;
use strandline_wire::records::*;

const CODECS: [Compression; 5] = [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

/// A record that owns what it has.
#[derive(Debug, Clone, PartialEq)]
struct Owned {
    offset: i64,
    timestamp_ms: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Owned {
    fn with<T>(&self, work: impl FnOnce(&RecordRef<'_>) -> T) -> T {
        let headers: Vec<_> = self.headers.iter().map(|(key, value)| HeaderRef { key, value: value.as_deref() }).collect();
        work(&RecordRef {
            offset: self.offset,
            timestamp_ms: self.timestamp_ms,
            timestamp_type: TimestampType::Create,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: &headers,
        })
    }
}

fn read(batch: &[u8]) -> Result<Vec<Owned>, BatchError> {
    let mut records = Vec::new();
    let place = BatchPlace::of(&BatchHeader::parse(batch)?);
    for_each_record(batch, place, &mut RecordScratch::default(), |record| {
        records.push(Owned {
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: record.headers.iter().map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect(),
        });
        ControlFlow::Continue(())
    })?;
    Ok(records)
}

fn build(records: &[Owned], options: BatchOptions) -> Bytes {
    let mut builder = BatchBuilder::new(options);
    for record in records {
        record.with(|record| builder.push(record)).unwrap();
    }
    builder.finish(None).unwrap()
}

fn rules() -> ValidationRules {
    ValidationRules { max_message_bytes: usize::MAX, timestamp_after_max_ms: i64::MAX, ..ValidationRules::kafka_defaults(0) }
}

fn optional_bytes(most: usize) -> impl Strategy<Value = Option<Vec<u8>>> {
    proptest::option::of(proptest::collection::vec(any::<u8>(), 0..most))
}

/// Records with dense offsets. `unique` keeps header keys apart, since the oracle holds them in a map.
fn records(unique: bool) -> impl Strategy<Value = Vec<Owned>> {
    let header = ("[a-zé]{0,6}", optional_bytes(9));
    let record = (0_i64..4_102_444_800_000, optional_bytes(12), optional_bytes(300), proptest::collection::vec(header, 0..4));
    proptest::collection::vec(record, 1..40).prop_map(move |records| {
        let record = |(index, (timestamp_ms, key, value, mut headers)): (usize, (i64, _, _, Vec<(String, _)>))| {
            if unique {
                headers.iter_mut().enumerate().for_each(|(place, header)| header.0 += &place.to_string());
            }
            Owned { offset: index as i64, timestamp_ms, key, value, headers }
        };
        records.into_iter().enumerate().map(record).collect()
    })
}

fn their_compression(compression: Compression) -> theirs::Compression {
    match compression {
        Compression::None => theirs::Compression::None,
        Compression::Gzip => theirs::Compression::Gzip,
        Compression::Snappy => theirs::Compression::Snappy,
        Compression::Lz4 => theirs::Compression::Lz4,
        Compression::Zstd => theirs::Compression::Zstd,
    }
}

fn to_theirs(record: &Owned) -> theirs::Record {
    theirs::Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: -1,
        producer_id: 7,
        producer_epoch: 3,
        timestamp_type: theirs::TimestampType::Creation,
        offset: record.offset,
        sequence: record.offset as i32,
        timestamp: record.timestamp_ms,
        key: record.key.clone().map(Bytes::from),
        value: record.value.clone().map(Bytes::from),
        headers: record
            .headers
            .iter()
            .map(|(key, value)| (StrBytes::from_string(key.clone()), value.clone().map(Bytes::from)))
            .collect(),
    }
}

fn from_theirs(record: &theirs::Record) -> Owned {
    Owned {
        offset: record.offset,
        timestamp_ms: record.timestamp,
        key: record.key.as_ref().map(|key| key.to_vec()),
        value: record.value.as_ref().map(|value| value.to_vec()),
        headers: record
            .headers
            .iter()
            .map(|(key, value)| (key.to_string(), value.as_ref().map(|value| value.to_vec())))
            .collect(),
    }
}

fn producer(compression: Compression) -> BatchOptions {
    BatchOptions { compression, producer_id: 7, producer_epoch: 3, base_sequence: 0, ..BatchOptions::default() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_batch_is_the_same_behind_others(first in records(true), second in records(true), codec in 0..CODECS.len()) {
        let options = BatchOptions { compression: CODECS[codec], ..BatchOptions::default() };
        let mut buffer = b"before".to_vec();
        for records in [&first, &second] {
            let mut builder = BatchBuilder::behind(buffer, options);
            records.iter().for_each(|record| record.with(|record| builder.push(record)).unwrap());
            buffer = builder.finish_behind(None).unwrap();
        }
        let alone = [&b"before"[..], &build(&first, options), &build(&second, options)].concat();
        prop_assert_eq!(buffer, alone);
    }

    #[test]
    fn the_oracle_reads_what_we_build(records in records(true)) {
        for compression in CODECS {
            let batch = build(&records, producer(compression));
            let set = theirs::RecordBatchDecoder::decode(&mut batch.clone()).unwrap();
            prop_assert_eq!(set.compression, their_compression(compression));
            prop_assert_eq!(set.records.iter().map(from_theirs).collect::<Vec<_>>(), records.clone());
            prop_assert!(set.records.iter().all(|record| record.producer_id == 7 && record.producer_epoch == 3));
        }
    }

    #[test]
    fn we_read_and_accept_what_the_oracle_builds(records in records(true)) {
        for compression in CODECS {
            let mut buffer = BytesMut::new();
            let options = theirs::RecordEncodeOptions { version: 2, compression: their_compression(compression) };
            let their: Vec<_> = records.iter().map(to_theirs).collect();
            theirs::RecordBatchEncoder::encode(&mut buffer, &their, &options).unwrap();
            let batch = buffer.freeze();
            prop_assert_eq!(read(&batch).unwrap(), records.clone());
            let summary = validate_batch(&batch, &rules()).unwrap();
            prop_assert_eq!(summary.record_count as usize, records.len());
            prop_assert_eq!((summary.producer_id, summary.producer_epoch, summary.base_sequence), (7, 3, 0));
            let max = records.iter().map(|record| record.timestamp_ms).max().unwrap();
            prop_assert_eq!((summary.max_timestamp, summary.stated_max_timestamp), (max, max));
            prop_assert_eq!(summary.min_timestamp, records.iter().map(|record| record.timestamp_ms).min().unwrap());
            let first = records.iter().position(|record| record.timestamp_ms == max).unwrap();
            prop_assert_eq!(summary.max_timestamp_offset_delta as usize, first);
        }
    }

    #[test]
    fn records_come_back_with_repeated_header_keys(records in records(false)) {
        for compression in CODECS {
            prop_assert_eq!(read(&build(&records, producer(compression))).unwrap(), records.clone());
        }
    }

    #[test]
    fn damage_is_refused_and_never_panics(records in records(false), at in any::<prop::sample::Index>(), bit in 0_u32..8) {
        for compression in CODECS {
            let batch = build(&records, producer(compression));
            let mut flipped = batch.to_vec();
            let at = at.index(flipped.len());
            flipped[at] ^= 1_u8 << bit;
            // Base offset and leader epoch are the server's, and not covered.
            prop_assert_eq!(validate_batch(&flipped, &rules()).is_ok(), at < 8 || (12..16).contains(&at));
            let _ = read(&flipped);
            // And with a checksum that fits: whatever is said, nothing panics, and what is accepted can be read.
            if let Ok(batch) = resealed(&flipped) && validate_batch(&batch, &rules()).is_ok() {
                prop_assert!(read(&batch).is_ok());
            }
            for end in [0, 16, 17, 60, 61, batch.len() / 2, batch.len() - 1] {
                prop_assert!(validate_batch(&batch[..end.min(batch.len() - 1)], &rules()).is_err());
                let _ = read(&batch[..end.min(batch.len())]);
            }
        }
    }

    #[test]
    fn random_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), codec in 0_u8..8) {
        let _ = read(&bytes);
        let _ = split_batches(bytes.clone().into());
        let _ = split_whole_batches(bytes.clone().into());
        if bytes.len() > 61 {
            bytes[16] = 2;
            bytes[22] = codec;
            bytes[57..61].copy_from_slice(&[0, 0, 0, 3]);
            bytes[23..27].copy_from_slice(&[0, 0, 0, 2]);
            let length = (bytes.len() as i32 - 12).to_be_bytes();
            bytes[8..12].copy_from_slice(&length);
            let _ = read(&bytes);
            let _ = validate_batch(&resealed(&bytes).unwrap(), &rules());
        }
    }

    #[test]
    fn a_served_batch_is_the_same_but_for_what_the_fold_decided(records in records(false), base in 0_i64..1 << 50) {
        for compression in CODECS {
            let batch = build(&records, producer(compression));
            let moved: Bytes = rebase(&batch, base).unwrap().concat().into();
            let mut in_place = batch.to_vec();
            rebase_in_place(&mut in_place, base).unwrap();
            prop_assert_eq!(&moved[..], &in_place[..]);
            prop_assert!(validate_batch(&moved, &rules()).is_ok());
            let expected: Vec<_> = records.iter().map(|record| Owned { offset: record.offset + base, ..record.clone() }).collect();
            prop_assert_eq!(read(&moved).unwrap(), expected);

            let [head, body] = restamp(&batch, base, TimestampType::LogAppend, 1_234_567).unwrap();
            prop_assert_eq!(body.as_ptr(), batch[61..].as_ptr());
            let stamped = [head, body].concat();
            prop_assert_eq!(&resealed(&stamped).unwrap()[..], &stamped[..], "the checksum is right");
            let expected: Vec<_> = records.iter()
                .map(|record| Owned { offset: record.offset + base, timestamp_ms: 1_234_567, ..record.clone() }).collect();
            prop_assert_eq!(read(&stamped).unwrap(), expected);
            let set = theirs::RecordBatchDecoder::decode(&mut Bytes::from(stamped));
            prop_assert!(set.is_ok());
        }
    }
}

/// The bytes with a right length and checksum.
fn resealed(batch: &[u8]) -> Result<Bytes, BatchError> {
    let mut header = BatchHeader::parse(batch)?;
    header.batch_length = batch.len() as i32 - 12;
    let mut bytes = batch.to_vec();
    bytes[..61].copy_from_slice(&header.to_bytes());
    header.crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &bytes[21..]) as u32;
    bytes[..61].copy_from_slice(&header.to_bytes());
    Ok(bytes.into())
}

fn some_records() -> Vec<Owned> {
    (0..3)
        .map(|offset| Owned {
            offset,
            timestamp_ms: 1_000 + offset,
            key: Some(b"key".to_vec()),
            value: Some(b"value".to_vec()),
            headers: vec![("trace".into(), Some(b"1".to_vec()))],
        })
        .collect()
}

/// A good batch with one thing changed, in every codec.
fn refused(change: impl Fn(&mut BatchHeader), expected: ErrorCode) {
    for compression in CODECS {
        let batch = build(&some_records(), producer(compression));
        let mut header = BatchHeader::parse(&batch).unwrap();
        change(&mut header);
        let mut bytes = batch.to_vec();
        bytes[..61].copy_from_slice(&header.to_bytes());
        let error = validate_batch(&resealed(&bytes).unwrap(), &rules()).unwrap_err();
        assert_eq!(error.error_code(), expected, "{compression:?}: {error}");
    }
}

#[test]
fn headers_that_lie_are_refused() {
    refused(|header| header.record_count = 2, ErrorCode::InvalidRecord);
    refused(|header| header.last_offset_delta = 3, ErrorCode::InvalidRecord);
    refused(|header| (header.record_count, header.last_offset_delta) = (2, 1), ErrorCode::InvalidRecord);
    refused(|header| (header.record_count, header.last_offset_delta) = (4, 3), ErrorCode::InvalidRecord);
    refused(|header| (header.record_count, header.last_offset_delta) = (i32::MAX, i32::MAX - 1), ErrorCode::InvalidRecord);
    refused(|header| (header.record_count, header.last_offset_delta) = (0, -1), ErrorCode::InvalidRecord);
    refused(|header| header.attributes |= 0x20, ErrorCode::InvalidRecord);
    refused(|header| header.attributes |= 0x08, ErrorCode::InvalidTimestamp);
    refused(|header| header.attributes |= 0x07, ErrorCode::UnsupportedCompressionType);
    refused(|header| header.base_sequence = -1, ErrorCode::InvalidRecord);
    refused(|header| header.producer_epoch = -1, ErrorCode::InvalidRecord);
    refused(|header| header.producer_id = -2, ErrorCode::InvalidRecord);
    refused(|header| (header.producer_id, header.attributes) = (-1, header.attributes | 0x10), ErrorCode::InvalidRecord);
    refused(|header| header.base_timestamp = 253_402_300_800_000, ErrorCode::InvalidTimestamp);
    refused(|header| header.base_timestamp = i64::MAX, ErrorCode::InvalidTimestamp);
    refused(|header| header.base_timestamp = -62_135_596_800_001, ErrorCode::InvalidTimestamp);
}

#[test]
fn a_producer_without_id_may_send_any_sequence() {
    for (epoch, sequence) in [(-1, -1), (0, 0), (-1, 0)] {
        let options = BatchOptions { producer_id: -1, producer_epoch: epoch, base_sequence: sequence, ..BatchOptions::default() };
        assert!(validate_batch(&build(&some_records(), options), &rules()).is_ok());
    }
}

#[test]
fn another_codec_than_the_header_says_is_refused() {
    for built in CODECS {
        for claimed in CODECS.into_iter().filter(|claimed| *claimed != built) {
            let mut bytes = build(&some_records(), producer(built)).to_vec();
            bytes[22] = claimed as u8;
            assert!(validate_batch(&resealed(&bytes).unwrap(), &rules()).is_err(), "{built:?} {claimed:?}");
        }
    }
}

#[test]
fn records_that_lie_are_refused() {
    let batch = build(&some_records()[..1], BatchOptions::default());
    // length, attributes, timestamp delta, offset delta, key length, key (3), value length, value (5), headers, key length
    let places = [
        (61, "length"),
        (64, "offset delta"),
        (65, "key length"),
        (69, "value length"),
        (75, "header count"),
        (76, "header key length"),
        (82, "header value length"),
    ];
    for (at, what) in places {
        for value in [0x7f_u8, 0x7e, 0x03, 0x80] {
            let mut bytes = batch.to_vec();
            assert_ne!(bytes[at], value, "{what}");
            bytes[at] = value;
            let error = validate_batch(&resealed(&bytes).unwrap(), &rules()).expect_err(what);
            assert_eq!(error.error_code(), ErrorCode::InvalidRecord, "{what} {value}: {error}");
        }
    }
    let mut trailing = batch.to_vec();
    trailing.push(0);
    let error = validate_batch(&resealed(&trailing).unwrap(), &rules()).unwrap_err();
    assert_eq!(error, BatchError::Header("has bytes after its last record"));
    let mut header_key = batch.to_vec();
    header_key[78] = 0xff;
    let error = validate_batch(&resealed(&header_key).unwrap(), &rules()).unwrap_err();
    assert_eq!(error, BatchError::Record { index: 0, rule: RecordRule::HeaderKey });
    assert!(read(&header_key).is_err());
}

#[test]
fn a_topics_rules_are_kept() {
    let mut keyless = some_records();
    keyless[1].key = None;
    for compression in CODECS {
        let batch = build(&keyless, producer(compression));
        assert!(validate_batch(&batch, &rules()).is_ok());
        let error = validate_batch(&batch, &ValidationRules { key_required: true, ..rules() }).unwrap_err();
        assert_eq!((error.error_code(), error.record_index()), (ErrorCode::InvalidRecord, Some(1)));
        let small = ValidationRules { max_message_bytes: batch.len() - 1, ..rules() };
        assert_eq!(validate_batch(&batch, &small).unwrap_err().error_code(), ErrorCode::MessageTooLarge);
        assert!(validate_batch(&batch, &ValidationRules { max_message_bytes: batch.len(), ..rules() }).is_ok());
        // Timestamps are 1000, 1001 and 1002.
        let early = ValidationRules { now_ms: 0, timestamp_after_max_ms: 1_001, ..rules() };
        let error = validate_batch(&batch, &early).unwrap_err();
        assert_eq!((error.error_code(), error.record_index()), (ErrorCode::InvalidTimestamp, Some(2)));
        let late = ValidationRules { now_ms: 1_101, timestamp_before_max_ms: 100, ..rules() };
        let error = validate_batch(&batch, &late).unwrap_err();
        assert_eq!((error.error_code(), error.record_index()), (ErrorCode::InvalidTimestamp, Some(0)));
        assert!(validate_batch(&batch, &ValidationRules { timestamp_type: TimestampType::LogAppend, ..late }).is_ok());
        let no_zstd = validate_batch(&batch, &ValidationRules { zstd_allowed: false, ..rules() });
        assert_eq!(no_zstd.is_err(), compression == Compression::Zstd);
    }
    let mut timeless = some_records();
    timeless.iter_mut().for_each(|record| record.timestamp_ms = -1);
    let strict = ValidationRules { now_ms: 1 << 40, timestamp_before_max_ms: 1, ..rules() };
    assert!(validate_batch(&build(&timeless, BatchOptions::default()), &strict).is_ok(), "-1 is no timestamp");
}

#[test]
fn other_formats_are_refused() {
    for magic in [0, 1, 3, 0xff] {
        let mut bytes = build(&some_records(), BatchOptions::default()).to_vec();
        bytes[16] = magic;
        for error in [validate_batch(&bytes, &rules()).unwrap_err(), split_batches(bytes.clone().into()).unwrap_err()] {
            assert_eq!(error, BatchError::Magic(magic as i8));
        }
    }
}

#[test]
fn a_bomb_is_refused() {
    const BOMB: BatchError = BatchError::Bomb { max: strandline_types::limits::DECOMPRESSED_BATCH_BYTES };
    let bomb = vec![0; 40 << 20];
    let record = Owned { offset: 0, timestamp_ms: 0, key: None, value: Some(bomb), headers: vec![] };
    for compression in [Compression::Zstd, Compression::Gzip, Compression::Lz4] {
        let mut builder = BatchBuilder::new(BatchOptions { compression, ..BatchOptions::default() });
        record.with(|record| builder.push(record)).unwrap();
        let one = builder.finish(None).unwrap();
        assert!(validate_batch(&one, &rules()).is_ok(), "a large record by itself is fine: {compression:?}");
    }
    // Four frames of 40 MiB one after the other: zstd and gzip read on, and meet the bound of 128 MiB.
    for compression in [Compression::Zstd, Compression::Gzip] {
        let mut bomb = Vec::new();
        for offset in 0..4 {
            let mut builder = BatchBuilder::new(BatchOptions { compression, ..BatchOptions::default() });
            Owned { offset, ..record.clone() }.with(|record| builder.push(record)).unwrap();
            let one = builder.finish(None).unwrap();
            bomb.extend_from_slice(if offset == 0 { &one } else { &one[61..] });
        }
        bomb[57..61].copy_from_slice(&4_i32.to_be_bytes());
        bomb[23..27].copy_from_slice(&3_i32.to_be_bytes());
        assert!(bomb.len() < 1 << 20);
        assert_eq!(validate_batch(&resealed(&bomb).unwrap(), &rules()).unwrap_err(), BOMB);
        assert_eq!(read(&bomb).unwrap_err(), BOMB);
        assert_eq!(BOMB.error_code(), ErrorCode::MessageTooLarge, "with CORRUPT_MESSAGE clients would send it again");
        // A lower bound ends the check earlier.
        let lower = ValidationRules { max_decompressed_bytes: 1 << 20, ..rules() };
        assert_eq!(validate_batch(&resealed(&bomb).unwrap(), &lower).unwrap_err(), BatchError::Bomb { max: 1 << 20 });
    }
}

#[test]
fn the_largest_record_that_is_taken_in_can_be_rebuilt() {
    const MOST: usize = strandline_types::limits::DECOMPRESSED_BATCH_BYTES;
    // Lengths of record and value take four bytes each; attributes, two deltas, key and count of headers one.
    const OTHER_BYTES: usize = 13;
    let largest = Owned { offset: 0, timestamp_ms: 7, key: None, value: Some(vec![0; MOST - OTHER_BYTES]), headers: vec![] };
    let batch = build(std::slice::from_ref(&largest), BatchOptions { compression: Compression::Zstd, ..BatchOptions::default() });
    assert_eq!(validate_batch(&batch, &rules()).unwrap().decompressed_bytes, MOST);
    // As the first record after a wide hole its offset takes more.
    let mut builder = BatchBuilder::new(BatchOptions { base_offset: -2_000_000_000, ..BatchOptions::default() });
    largest.with(|record| builder.push(record)).unwrap();
    assert!(read(&builder.finish(None).unwrap()).unwrap() == [largest], "another record");
}

#[test]
fn restamping_agrees_for_every_size() {
    for size in [0_usize, 1, 1_000, 65_000, 65_536, 70_000, 300_000] {
        let record = Owned { offset: 0, timestamp_ms: 3, key: None, value: Some(vec![7; size]), headers: vec![] };
        let batch = build(&[record], BatchOptions::default());
        for timestamp_type in [TimestampType::Create, TimestampType::LogAppend] {
            let stamped = restamp(&batch, 9, timestamp_type, 1 << 40).unwrap().concat();
            assert_eq!(&resealed(&stamped).unwrap()[..], &stamped[..], "{size}");
            let header = BatchHeader::parse(&stamped).unwrap();
            assert_eq!((header.base_offset, header.max_timestamp, header.timestamp_type()), (9, 1 << 40, timestamp_type));
        }
    }
}

#[test]
fn lz4_that_kafkas_consumers_cannot_read_is_refused() {
    let batch = build(&some_records(), producer(Compression::Lz4));
    for (what, cut) in [("the end mark", 4), ("half the end mark", 2)] {
        assert!(validate_batch(&resealed(&batch[..batch.len() - cut]).unwrap(), &rules()).is_err(), "{what}");
    }
    let mut dependent = batch.to_vec();
    dependent[65] &= !0x20;
    assert!(validate_batch(&resealed(&dependent).unwrap(), &rules()).is_err());
}

#[test]
fn a_record_larger_than_the_window_is_walked() {
    let headers = vec![("é".repeat(50_000), None), ("k".repeat(40_000), Some(vec![1; 70_000]))];
    let large = |offset| Owned {
        offset,
        timestamp_ms: 5,
        key: Some(vec![2; 33_000]),
        value: Some((0..200_000_u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect()),
        headers: headers.clone(),
    };
    let records = [large(0), large(1)];
    for compression in CODECS {
        let batch = build(&records, producer(compression));
        let summary = validate_batch(&batch, &rules()).unwrap();
        assert_eq!(summary.record_count, 2);
        assert_eq!(read(&batch).unwrap(), records);
    }
    // One byte of the long header key is no longer UTF-8.
    let mut builder = BatchBuilder::new(producer(Compression::None));
    records[0].with(|record| builder.push(record)).unwrap();
    let mut bytes = builder.finish(None).unwrap().to_vec();
    let at = bytes.windows(2).position(|pair| pair == "é".as_bytes()).unwrap() + 2 * 33_333;
    bytes[at] = b'x';
    let plain = resealed(&bytes).unwrap();
    let expected = BatchError::Record { index: 0, rule: RecordRule::HeaderKey };
    assert_eq!(validate_batch(&plain, &rules()).unwrap_err(), expected);
    let mut zstd = plain[..61].to_vec();
    zstd[22] = Compression::Zstd as u8;
    zstd.extend(zstd::bulk::compress(&plain[61..], 1).unwrap());
    assert_eq!(validate_batch(&resealed(&zstd).unwrap(), &rules()).unwrap_err(), expected);
}

#[test]
fn batches_are_split() {
    let one = build(&some_records(), BatchOptions::default());
    let two = build(&some_records()[..1], producer(Compression::Zstd));
    let both: Bytes = [&one[..], &two[..]].concat().into();
    let batches = split_batches(both.clone()).unwrap();
    assert_eq!(batches.iter().map(|batch| batch.bytes.clone()).collect::<Vec<_>>(), [one.clone(), two]);
    assert_eq!(batches[0].bytes.as_ptr(), both.as_ptr(), "slices, not copies");
    assert_eq!(split_batches(Bytes::new()), Ok(vec![]));
    for cut in 1..both.len() - one.len() {
        let cut = both.slice(..one.len() + cut);
        assert!(split_batches(cut.clone()).is_err());
        assert_eq!(split_whole_batches(cut).unwrap().len(), 1);
    }
    let mut negative = one.to_vec();
    negative[8..12].copy_from_slice(&(-13_i32).to_be_bytes());
    assert!(split_batches(negative.clone().into()).is_err());
    assert!(split_whole_batches(negative.into()).is_err());
}

#[test]
fn gaps_and_holes_are_covered() {
    let mut records = some_records();
    records[1].offset = 5;
    records[2].offset = 9;
    let mut builder = BatchBuilder::new(BatchOptions { base_offset: 0, ..BatchOptions::default() });
    records.iter().for_each(|record| record.with(|record| builder.push(record)).unwrap());
    assert!(records[0].with(|record| builder.push(record)).is_err(), "offsets go up");
    let batch = builder.finish(Some(20)).unwrap();
    let header = BatchHeader::parse(&batch).unwrap();
    assert_eq!((header.last_offset(), header.record_count), (20, 3));
    assert_eq!(read(&batch).unwrap(), records);
    let set = theirs::RecordBatchDecoder::decode(&mut batch.clone()).unwrap();
    assert_eq!(set.records.iter().map(|record| record.offset).collect::<Vec<_>>(), [0, 5, 9]);

    let hole = hole_batch(100, 1_000_000_099, 77).unwrap();
    let header = BatchHeader::parse(&hole).unwrap();
    assert_eq!((header.base_offset, header.last_offset(), header.producer_id, header.record_count), (100, 1_000_000_099, -1, 1));
    assert!(header.is_control() && !header.is_transactional());
    assert_eq!(read(&hole).unwrap()[0].offset, 1_000_000_099);
    assert!(hole_batch(5, 4, 0).is_err());
    let wide = BatchHeader::parse(&hole_batch(0, 1 << 40, 0).unwrap()).unwrap();
    assert_eq!(wide.last_offset(), 1 << 40);
}

#[test]
fn markers_are_kafkas() {
    for (kind, number) in [(ControlKind::Abort, 0), (ControlKind::Commit, 1)] {
        let batch = control_batch(42, 9, 3, kind, 1_000, 6).unwrap();
        let header = BatchHeader::parse(&batch).unwrap();
        assert!(header.is_control() && header.is_transactional());
        assert_eq!((header.base_offset, header.last_offset(), header.base_sequence), (42, 42, -1));
        assert_eq!((header.producer_id, header.producer_epoch), (9, 3));
        let records = read(&batch).unwrap();
        assert_eq!(records[0].key.as_deref(), Some(&[0, 0, 0, number][..]));
        assert_eq!(records[0].value.as_deref(), Some(&[0, 0, 0, 0, 0, 6][..]));
        let control = ControlRecord::parse(records[0].key.as_deref(), records[0].value.as_deref());
        assert_eq!(control, Some(ControlRecord { kind, coordinator_epoch: 6 }));
        let set = theirs::RecordBatchDecoder::decode(&mut batch.clone()).unwrap();
        assert!(set.records[0].control && set.records[0].transactional);
    }
}

#[test]
fn a_stated_size_is_enough() {
    let headers = [HeaderRef { key: "k", value: Some(&[1; 100]) }, HeaderRef { key: "", value: None }];
    for (key, value) in [(None, None), (Some(&[1_u8; 70][..]), Some(&[2_u8; 9_000][..]))] {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        let before = builder.bytes();
        builder.push_next(i64::MAX, key, value, &headers).unwrap();
        let added = builder.bytes() - before;
        let stated = BatchBuilder::record_bytes(key, value, &headers);
        assert!(added <= stated && stated <= added + 20, "{added} {stated}");
    }
}

/// Bytes that Kafka's own producer code gives for two records.
#[test]
fn a_batch_as_kafka_writes_it() {
    let golden: Vec<u8> =
        GOLDEN.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect();
    let mut builder = BatchBuilder::new(BatchOptions {
        base_offset: 5,
        producer_id: 11,
        producer_epoch: 2,
        base_sequence: 17,
        ..BatchOptions::default()
    });
    builder
        .push_next(
            1_700_000_000_000,
            Some(b"k1"),
            Some(b"v1"),
            &[HeaderRef { key: "h", value: Some(b"x") }, HeaderRef { key: "h", value: None }],
        )
        .unwrap();
    builder.push_next(1_700_000_000_123, None, None, &[]).unwrap();
    let ours = builder.finish(None).unwrap();
    // Kafka's builder leaves the leader epoch to the broker too.
    assert_eq!(&ours[..], &golden[..]);
    let summary = validate_batch(&golden, &rules()).unwrap();
    assert_eq!((summary.record_count, summary.max_timestamp, summary.max_timestamp_offset_delta), (2, 1_700_000_000_123, 1));
}

const GOLDEN: &str = include_str!("golden/kafka-4.2-batch.hex").trim_ascii_end();
