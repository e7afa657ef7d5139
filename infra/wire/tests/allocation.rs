//! What a lying length makes the decoder allocate: nothing. A counting allocator watches.

#![allow(clippy::unwrap_used)] // helpers of tests

use std::ops::ControlFlow;
use strandline_counting_allocator::allocated;
use strandline_types::{HeaderRef, limits};
use strandline_wire::messages::{MetadataRequest, ProduceRequest, RequestBody, ResponseBody};
use strandline_wire::records::{
    BatchBuilder, BatchError, BatchOptions, BatchPlace, Compression, RecordRule, RecordScratch, ValidationRules, for_each_record,
    validate_batch,
};
use strandline_wire::{ApiKey, Reader, api};

#[test]
fn an_array_of_a_billion_allocates_nothing() {
    let mut frame = vec![0xff, 0xff, 0, 1, 0, 0, 0x75, 0x30];
    frame.extend_from_slice(&1_000_000_000_i32.to_be_bytes());
    let mut reader = Reader::new(frame.into());
    let (result, bytes) = allocated(|| ProduceRequest::decode(3, &mut reader));
    assert!(result.is_err());
    assert_eq!(bytes, 0);
}

#[test]
fn a_length_of_two_gib_allocates_nothing() {
    let mut frame = vec![0, 0, 0, 1, 0x7f, 0xff];
    let mut reader = Reader::new(frame.clone().into());
    let (result, bytes) = allocated(|| MetadataRequest::decode(1, &mut reader));
    assert!(result.is_err());
    assert!(bytes <= 64, "one element of the array: {bytes}");
    frame = vec![0xff, 0xff, 0, 1, 0, 0, 0x75, 0x30, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff];
    let mut reader = Reader::new(frame.into());
    let (result, bytes) = allocated(|| ProduceRequest::decode(3, &mut reader));
    assert!(result.is_err());
    assert!(bytes <= 256, "one topic and one partition: {bytes}");
}

#[test]
fn no_message_reserves_for_what_cannot_be_there() {
    // 0xff as the first bytes of every field, then a few hundred that look like counts.
    for fill in [0x7f_u8, 0xfe, 0x01, 0x80] {
        let mut frame = vec![fill; 512];
        frame[..4].copy_from_slice(&[0x3b, 0x9a, 0xca, 0x00]);
        let frame = bytes::Bytes::from(frame);
        for range in api::SUPPORTED {
            for version in range.min..=range.max {
                let (_, bytes) = allocated(|| {
                    let _ = RequestBody::decode(range.key, version, &mut Reader::new(frame.clone()));
                    let _ = ResponseBody::decode(range.key, version, &mut Reader::new(frame.clone()));
                });
                assert!(bytes < 1 << 20, "{} {version}: {bytes}", range.name);
            }
        }
    }
}

#[test]
fn small_elements_cannot_fill_the_memory() {
    // 40 MiB of empty names would be 960 MiB of strings.
    let mut frame = vec![0x80, 0x80, 0x80, 0x14];
    frame.resize(40 << 20, 1);
    let mut reader = Reader::new(frame.into());
    let (result, bytes) = allocated(|| RequestBody::decode(ApiKey::DeleteTopics, 4, &mut reader));
    assert!(result.is_err());
    assert_eq!(bytes, 0);
}

/// A batch of one record with so many headers of two bytes.
fn headers_alone(count: usize, compression: Compression) -> bytes::Bytes {
    let headers = vec![HeaderRef { key: "", value: None }; count];
    let mut builder = BatchBuilder::new(BatchOptions { compression, ..BatchOptions::default() });
    builder.push_next(0, None, None, &headers).unwrap();
    builder.finish(None).unwrap()
}

#[test]
fn a_record_of_a_million_headers_is_refused_and_never_held() {
    let check = |batch: &[u8]| validate_batch(batch, &ValidationRules::kafka_defaults(0)).map(|_| ());
    let too_many = |max| Err(BatchError::Record { index: 0, rule: RecordRule::Headers { max } });
    for compression in [Compression::None, Compression::Zstd, Compression::Lz4, Compression::Gzip] {
        assert_eq!(check(&headers_alone(limits::RECORD_HEADERS, compression)), Ok(()));
        assert_eq!(check(&headers_alone(limits::RECORD_HEADERS + 1, compression)), too_many(limits::RECORD_HEADERS));
    }
    // What was taken in before there was a bound is read up to a larger one.
    let read = |count| {
        let batch = headers_alone(count, Compression::Zstd);
        let place = BatchPlace { base_offset: 0, log_append_time_ms: None };
        let mut found = 0;
        let (result, bytes) = allocated(|| {
            for_each_record(&batch, place, &mut RecordScratch::default(), |record| {
                found = record.headers.len();
                ControlFlow::Continue(())
            })
        });
        (result, found, bytes)
    };
    let most = limits::RECORD_HEADERS_READ;
    let (result, found, bytes) = read(most);
    assert_eq!((result, found), (Ok(()), most));
    assert!(bytes < 80 << 20, "{bytes}");
    let (result, found, bytes) = read(20 * most);
    assert_eq!((result, found), (too_many(most), 0));
    assert!(bytes < 160 << 20, "the decompressed records as they grow, not 640 MiB of headers: {bytes}");
}
