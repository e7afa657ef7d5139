//! A Fetch answer carries its records as they are: the bytes of the store are the bytes that are written.

#![allow(clippy::unwrap_used, reason = "a test may")]

use bytes::{Buf, Bytes};
use std::io::IoSlice;
use strandline_wire::frame::{decode_response, encode_request, encode_response};
use strandline_wire::messages::fetch::{FetchableTopicResponse, PartitionData};
use strandline_wire::messages::produce::{PartitionProduceData, TopicProduceData};
use strandline_wire::messages::{FetchResponse, ProduceRequest};
use strandline_wire::{Reader, Records, RequestHeader};

fn response(records: Vec<Records>) -> FetchResponse {
    let partitions = records
        .into_iter()
        .enumerate()
        .map(|(index, records)| PartitionData { partition_index: index as i32, records: Some(records), ..Default::default() })
        .collect();
    FetchResponse {
        responses: vec![FetchableTopicResponse { topic: "t".into(), partitions, ..Default::default() }],
        ..Default::default()
    }
}

#[test]
fn large_pieces_are_not_copied() {
    let large = Bytes::from(vec![7; 5_000]);
    let small = Bytes::from(vec![9; 16]);
    let records: Records = [small.clone(), large.clone(), small, large.clone()].into_iter().collect();
    for version in 4..=18 {
        let response = response(vec![records.clone(), Records::new(), records.clone()]);
        let frame = encode_response(version, 3, &response);
        let shared = frame.segments().filter(|segment| segment.as_ptr() == large.as_ptr()).count();
        assert_eq!(shared, 4, "version {version}");
        let length = frame.len();
        let bytes = frame.clone().into_bytes();
        assert_eq!(bytes.len(), length);
        assert_eq!(i32::from_be_bytes(*bytes.first_chunk().unwrap()) as usize, length - 4);
        let (correlation_id, mut back) = decode_response::<FetchResponse>(version, bytes.slice(4..)).unwrap();
        assert_eq!(correlation_id, 3);
        if version >= 13 {
            back.responses[0].topic = "t".into();
        }
        assert_eq!(back, response, "version {version}");
    }
}

#[test]
fn a_frame_is_written_in_any_steps() {
    let frame = encode_response(12, 1, &response(vec![Bytes::from(vec![1; 3_000]).into(), Bytes::from(vec![2; 2_000]).into()]));
    let whole = frame.clone().into_bytes();
    for step in [1, 7, 1_024, 2_999, 100_000] {
        let mut left = frame.clone();
        let mut written = Vec::new();
        while left.has_remaining() {
            let mut slices = [IoSlice::new(&[]); 8];
            let count = left.chunks_vectored(&mut slices);
            let vectored: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.iter().copied()).collect();
            assert_eq!(vectored.len(), left.remaining(), "few segments fit into one call");
            let take = step.min(vectored.len());
            written.extend_from_slice(&vectored[..take]);
            left.advance(take);
        }
        assert_eq!(written, whole, "step {step}");
        assert!(left.is_empty());
    }
}

#[test]
fn produced_records_are_slices_of_their_frame() {
    let records = Bytes::from(vec![3; 4_000]);
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: 30_000,
        topic_data: vec![TopicProduceData {
            name: "t".into(),
            partition_data: vec![PartitionProduceData { index: 2, records: Some(records.clone()) }],
            ..Default::default()
        }],
        ..Default::default()
    };
    for version in 3..=12 {
        let frame = encode_request(version, 1, Some("client"), &request);
        assert!(frame.segments().any(|segment| segment.as_ptr() == records.as_ptr()), "the client does not copy either");
        let bytes = frame.into_bytes().slice(4..);
        let mut reader = Reader::new(bytes.clone());
        RequestHeader::decode(&mut reader).unwrap();
        let back = ProduceRequest::decode(version, &mut reader).unwrap();
        assert_eq!(back, request);
        let inside = bytes.as_ptr_range();
        assert!(inside.contains(&back.topic_data[0].partition_data[0].records.as_ref().unwrap().as_ptr()));
    }
}
