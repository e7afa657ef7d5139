//! Every message in every version, against `kafka-protocol` (which knows Kafka 4.1), against bytes that Kafka's own Java
//! classes wrote, and against damage.

use super::sample::{Entropy, Sample};
use super::*;
use crate::api::{ApiRange, LATER, SUPPORTED};
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages as theirs;
use kafka_protocol::protocol::{Decodable, Encodable, Message as TheirMessage};
use proptest::prelude::*;

/// Encodes a random message, and checks that it comes back, and that the oracle reads and writes the same bytes.
/// Says whether the oracle knows the version.
fn check<M: Message + Sample, T: TheirMessage + Decodable + Encodable>(version: i16, seed: u64) -> bool {
    let message = M::sample(M::API_KEY.range().context(version), &mut Entropy::new(seed));
    let mut writer = Writer::new();
    message.encode(version, &mut writer);
    let length = writer.len();
    let bytes = writer.finish().into_bytes();
    assert_eq!(bytes.len(), length);
    let mut reader = Reader::new(bytes.clone());
    let back = M::decode(version, &mut reader).unwrap_or_else(|error| panic!("version {version}: {error}"));
    reader.finish().unwrap();
    assert_eq!(back, message, "version {version}");
    let mut again = Writer::new();
    back.encode(version, &mut again);
    assert_eq!(again.finish().into_bytes(), bytes, "version {version}");
    if !(T::VERSIONS.min..=T::VERSIONS.max).contains(&version) {
        return false;
    }
    let mut unread = bytes.clone();
    let their = T::decode(&mut unread, version).unwrap_or_else(|error| panic!("version {version}: {error}: {message:?}"));
    assert!(unread.is_empty(), "version {version}: the oracle leaves {} bytes", unread.len());
    let mut rewritten = BytesMut::new();
    their.encode(&mut rewritten, version).unwrap_or_else(|error| panic!("version {version}: {error}"));
    assert_eq!(rewritten.freeze(), bytes, "version {version}");
    true
}

macro_rules! oracle {
    ($($name:ident: $request:ident, $response:ident;)*) => {
        $(
            #[test]
            fn $name() {
                let range = <$request as Message>::API_KEY.range();
                for version in range.min..=range.max {
                    if !range.is_served(version) {
                        continue;
                    }
                    for seed in 0..24 {
                        let seed = seed * 1_000 + version as u64;
                        let known = check::<$request, theirs::$request>(version, seed)
                            & check::<$response, theirs::$response>(version, seed);
                        assert!(known || version > 0 && version == range.max, "the oracle lacks version {version}");
                    }
                }
            }
        )*

        fn decode_anything(range: &ApiRange, version: i16, bytes: Bytes) {
            let _ = RequestBody::decode(range.key, version, &mut Reader::new(bytes.clone()));
            let _ = ResponseBody::decode(range.key, version, &mut Reader::new(bytes));
        }

        fn sample_of(key: ApiKey, version: i16, request: bool, seed: u64) -> Bytes {
            let context = key.range().context(version);
            let mut entropy = Entropy::new(seed);
            let mut writer = Writer::new();
            $(
                if key == <$request as Message>::API_KEY {
                    if request {
                        $request::sample(context, &mut entropy).encode(version, &mut writer);
                    } else {
                        $response::sample(context, &mut entropy).encode(version, &mut writer);
                    }
                }
            )*
            writer.finish().into_bytes()
        }

        /// The same bytes after decoding and encoding.
        fn rewrite(name: &str, version: i16, bytes: Bytes) -> Bytes {
            let mut reader = Reader::new(bytes);
            let mut writer = Writer::new();
            $(
                if name == stringify!($request) {
                    $request::decode(version, &mut reader).unwrap().encode(version, &mut writer);
                }
                if name == stringify!($response) {
                    $response::decode(version, &mut reader).unwrap().encode(version, &mut writer);
                }
            )*
            reader.finish().unwrap();
            writer.finish().into_bytes()
        }
    };
}

oracle! {
    produce: ProduceRequest, ProduceResponse;
    fetch: FetchRequest, FetchResponse;
    list_offsets: ListOffsetsRequest, ListOffsetsResponse;
    metadata: MetadataRequest, MetadataResponse;
    api_versions: ApiVersionsRequest, ApiVersionsResponse;
    init_producer_id: InitProducerIdRequest, InitProducerIdResponse;
    offset_for_leader_epoch: OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse;
    delete_records: DeleteRecordsRequest, DeleteRecordsResponse;
    offset_commit: OffsetCommitRequest, OffsetCommitResponse;
    offset_fetch: OffsetFetchRequest, OffsetFetchResponse;
    find_coordinator: FindCoordinatorRequest, FindCoordinatorResponse;
    join_group: JoinGroupRequest, JoinGroupResponse;
    heartbeat: HeartbeatRequest, HeartbeatResponse;
    leave_group: LeaveGroupRequest, LeaveGroupResponse;
    sync_group: SyncGroupRequest, SyncGroupResponse;
    describe_groups: DescribeGroupsRequest, DescribeGroupsResponse;
    list_groups: ListGroupsRequest, ListGroupsResponse;
    delete_groups: DeleteGroupsRequest, DeleteGroupsResponse;
    offset_delete: OffsetDeleteRequest, OffsetDeleteResponse;
    create_topics: CreateTopicsRequest, CreateTopicsResponse;
    delete_topics: DeleteTopicsRequest, DeleteTopicsResponse;
    create_partitions: CreatePartitionsRequest, CreatePartitionsResponse;
    describe_configs: DescribeConfigsRequest, DescribeConfigsResponse;
    alter_configs: AlterConfigsRequest, AlterConfigsResponse;
    incremental_alter_configs: IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse;
    describe_log_dirs: DescribeLogDirsRequest, DescribeLogDirsResponse;
    describe_cluster: DescribeClusterRequest, DescribeClusterResponse;
    describe_topic_partitions: DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse;
    sasl_handshake: SaslHandshakeRequest, SaslHandshakeResponse;
    sasl_authenticate: SaslAuthenticateRequest, SaslAuthenticateResponse;
    add_partitions_to_txn: AddPartitionsToTxnRequest, AddPartitionsToTxnResponse;
    add_offsets_to_txn: AddOffsetsToTxnRequest, AddOffsetsToTxnResponse;
    end_txn: EndTxnRequest, EndTxnResponse;
    txn_offset_commit: TxnOffsetCommitRequest, TxnOffsetCommitResponse;
}

fn ranges() -> impl Iterator<Item = &'static ApiRange> {
    SUPPORTED.iter().chain(LATER)
}

/// Each line of the file is a message, a version, and hex as Kafka 4.2 writes it.
#[test]
fn bytes_of_kafkas_own_classes_come_back() {
    let mut versions = 0;
    for line in include_str!("../../tests/golden/kafka-4.2-messages.txt").lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split(' ');
        let (name, version) = (words.next().unwrap(), words.next().unwrap().parse().unwrap());
        let hex = words.next().unwrap_or_default();
        let bytes: Bytes = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        assert_eq!(rewrite(name, version, bytes.clone()), bytes, "{name} {version}");
        versions += 1;
    }
    let expected: usize =
        ranges().map(|range| 2 * (range.min..=range.max).filter(|version| range.is_served(*version)).count()).sum();
    assert_eq!(versions, expected);
}

#[test]
fn cut_and_flipped_messages_are_errors_and_never_panics() {
    let mut entropy = Entropy::new(7);
    for range in ranges() {
        for version in (range.min..=range.max).filter(|version| range.is_served(*version)) {
            for request in [true, false] {
                let bytes = sample_of(range.key, version, request, entropy.next());
                for _ in 0..24 {
                    let end = entropy.below(bytes.len() as u64 + 1) as usize;
                    decode_anything(range, version, bytes.slice(..end));
                    let mut flipped = bytes.to_vec();
                    for _ in 0..1 + entropy.below(3) {
                        if !flipped.is_empty() {
                            let at = entropy.below(flipped.len() as u64) as usize;
                            flipped[at] ^= 1 << entropy.below(8);
                        }
                    }
                    decode_anything(range, version, flipped.into());
                }
                if !bytes.is_empty() {
                    let cut = bytes.slice(..bytes.len() - 1);
                    let failed = if request {
                        RequestBody::decode(range.key, version, &mut Reader::new(cut)).is_err()
                    } else {
                        ResponseBody::decode(range.key, version, &mut Reader::new(cut)).is_err()
                    };
                    assert!(failed, "{range:?} {version} cut short");
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let bytes = Bytes::from(bytes);
        for range in ranges() {
            for version in range.min..=range.max {
                decode_anything(range, version, bytes.clone());
            }
        }
    }

    #[test]
    fn random_messages_agree_with_the_oracle(seed in any::<u64>()) {
        for version in 3..=13 {
            check::<ProduceRequest, theirs::ProduceRequest>(version, seed);
            check::<ProduceResponse, theirs::ProduceResponse>(version, seed);
        }
        for version in 4..=18 {
            check::<FetchRequest, theirs::FetchRequest>(version, seed);
            check::<FetchResponse, theirs::FetchResponse>(version, seed);
        }
        for version in 0..=13 {
            check::<MetadataRequest, theirs::MetadataRequest>(version, seed);
            check::<MetadataResponse, theirs::MetadataResponse>(version, seed);
        }
    }
}

#[test]
fn tagged_fields_that_are_not_known_are_skipped() {
    let mut writer = Writer::new();
    MetadataRequest::default().encode(12, &mut writer);
    let mut bytes = writer.finish().into_bytes().to_vec();
    assert_eq!(bytes.pop(), Some(0));
    bytes.extend_from_slice(&[2, 5, 3, 1, 2, 3, 0x80, 1, 0]);
    let mut reader = Reader::new(bytes.into());
    assert_eq!(MetadataRequest::decode(12, &mut reader), Ok(MetadataRequest::default()));
    reader.finish().unwrap();
}

#[test]
fn versions_that_are_not_spoken_are_refused() {
    for version in [-1, 0, 1, 2, 14] {
        let error = ProduceRequest::decode(version, &mut Reader::new(Bytes::from_static(&[0; 64]))).unwrap_err();
        assert_eq!(error.kind, crate::primitives::DecodeErrorKind::Version(version));
    }
}

#[test]
fn an_error_says_where() {
    let mut writer = Writer::new();
    let topic = metadata::MetadataRequestTopic { name: Some("orders".into()), ..Default::default() };
    MetadataRequest { topics: Some(vec![topic]), ..Default::default() }.encode(9, &mut writer);
    let bytes = writer.finish().into_bytes();
    let error = MetadataRequest::decode(9, &mut Reader::new(bytes.slice(..4))).unwrap_err();
    assert_eq!(error.to_string(), "6 bytes are needed and 2 are left at byte 2 in MetadataRequestTopic.name");
}
