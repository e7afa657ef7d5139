//! What a lying length makes the decoder allocate: nothing. A counting allocator watches.

use strandline_counting_allocator::allocated;
use strandline_wire::messages::{MetadataRequest, ProduceRequest, RequestBody, ResponseBody};
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
