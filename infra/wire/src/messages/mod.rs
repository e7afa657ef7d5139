//! Requests and responses, one API a file. `crate::codec` says how to read the declarations.
//!
//! Structs are plain: all fields public, `Default` gives Kafka's defaults, and null where null is allowed.

use crate::ApiKey;
use crate::primitives::{DecodeError, Reader, Writer};

pub mod add_offsets_to_txn;
pub mod add_partitions_to_txn;
pub mod alter_configs;
pub mod api_versions;
pub mod consumer_protocol;
pub mod create_partitions;
pub mod create_topics;
pub mod delete_groups;
pub mod delete_records;
pub mod delete_topics;
pub mod describe_cluster;
pub mod describe_configs;
pub mod describe_groups;
pub mod describe_log_dirs;
pub mod describe_topic_partitions;
pub mod end_txn;
pub mod fetch;
pub mod find_coordinator;
pub mod heartbeat;
pub mod incremental_alter_configs;
pub mod init_producer_id;
pub mod join_group;
pub mod leave_group;
pub mod list_groups;
pub mod list_offsets;
pub mod metadata;
pub mod offset_commit;
pub mod offset_delete;
pub mod offset_fetch;
pub mod offset_for_leader_epoch;
#[cfg(test)]
mod oracle_tests;
pub mod produce;
#[cfg(test)]
pub(crate) mod sample;
pub mod sasl_authenticate;
pub mod sasl_handshake;
pub mod sync_group;
pub mod txn_offset_commit;

pub use add_offsets_to_txn::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};
pub use add_partitions_to_txn::{AddPartitionsToTxnRequest, AddPartitionsToTxnResponse};
pub use alter_configs::{AlterConfigsRequest, AlterConfigsResponse};
pub use api_versions::{ApiVersionsRequest, ApiVersionsResponse};
pub use create_partitions::{CreatePartitionsRequest, CreatePartitionsResponse};
pub use create_topics::{CreateTopicsRequest, CreateTopicsResponse};
pub use delete_groups::{DeleteGroupsRequest, DeleteGroupsResponse};
pub use delete_records::{DeleteRecordsRequest, DeleteRecordsResponse};
pub use delete_topics::{DeleteTopicsRequest, DeleteTopicsResponse};
pub use describe_cluster::{DescribeClusterRequest, DescribeClusterResponse};
pub use describe_configs::{DescribeConfigsRequest, DescribeConfigsResponse};
pub use describe_groups::{DescribeGroupsRequest, DescribeGroupsResponse};
pub use describe_log_dirs::{DescribeLogDirsRequest, DescribeLogDirsResponse};
pub use describe_topic_partitions::{DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse};
pub use end_txn::{EndTxnRequest, EndTxnResponse};
pub use fetch::{FetchRequest, FetchResponse};
pub use find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
pub use heartbeat::{HeartbeatRequest, HeartbeatResponse};
pub use incremental_alter_configs::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};
pub use init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
pub use join_group::{JoinGroupRequest, JoinGroupResponse};
pub use leave_group::{LeaveGroupRequest, LeaveGroupResponse};
pub use list_groups::{ListGroupsRequest, ListGroupsResponse};
pub use list_offsets::{ListOffsetsRequest, ListOffsetsResponse};
pub use metadata::{MetadataRequest, MetadataResponse};
pub use offset_commit::{OffsetCommitRequest, OffsetCommitResponse};
pub use offset_delete::{OffsetDeleteRequest, OffsetDeleteResponse};
pub use offset_fetch::{OffsetFetchRequest, OffsetFetchResponse};
pub use offset_for_leader_epoch::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};
pub use produce::{ProduceRequest, ProduceResponse};
pub use sasl_authenticate::{SaslAuthenticateRequest, SaslAuthenticateResponse};
pub use sasl_handshake::{SaslHandshakeRequest, SaslHandshakeResponse};
pub use sync_group::{SyncGroupRequest, SyncGroupResponse};
pub use txn_offset_commit::{TxnOffsetCommitRequest, TxnOffsetCommitResponse};

/// A request or a response.
pub trait Message: Default + Clone + PartialEq + std::fmt::Debug {
    /// The API it belongs to.
    const API_KEY: ApiKey;

    /// Writes the body as `version` has it.
    fn encode(&self, version: i16, writer: &mut Writer);

    /// Reads the body as `version` has it.
    ///
    /// # Errors
    /// Bytes that are no such body, or a version that is not spoken.
    fn decode(version: i16, reader: &mut Reader) -> Result<Self, DecodeError>;
}

/// A request, which knows its response.
pub trait Request: Message {
    /// What answers it.
    type Response: Message;
}

macro_rules! bodies {
    ($($key:ident: $request:ident, $response:ident),* $(,)?) => {
        /// Any request.
        #[derive(Debug, Clone, PartialEq)]
        #[allow(missing_docs, reason = "one variant an API")]
        pub enum RequestBody {
            $($key($request),)*
        }

        /// Any response.
        #[derive(Debug, Clone, PartialEq)]
        #[allow(missing_docs, reason = "one variant an API")]
        pub enum ResponseBody {
            $($key($response),)*
        }

        impl RequestBody {
            /// The API.
            pub const fn api_key(&self) -> ApiKey {
                match self { $(Self::$key(_) => ApiKey::$key,)* }
            }

            /// Reads the request of this API and version.
            ///
            /// # Errors
            /// Bytes that are no such body, or a version that is not spoken.
            pub fn decode(key: ApiKey, version: i16, reader: &mut Reader) -> Result<Self, DecodeError> {
                match key { $(ApiKey::$key => $request::decode(version, reader).map(Self::$key),)* }
            }

            /// Writes the body as `version` has it.
            pub fn encode(&self, version: i16, writer: &mut Writer) {
                match self { $(Self::$key(body) => body.encode(version, writer),)* }
            }
        }

        impl ResponseBody {
            /// The API.
            pub const fn api_key(&self) -> ApiKey {
                match self { $(Self::$key(_) => ApiKey::$key,)* }
            }

            /// Reads the response of this API and version.
            ///
            /// # Errors
            /// Bytes that are no such body, or a version that is not spoken.
            pub fn decode(key: ApiKey, version: i16, reader: &mut Reader) -> Result<Self, DecodeError> {
                match key { $(ApiKey::$key => $response::decode(version, reader).map(Self::$key),)* }
            }

            /// Writes the body as `version` has it.
            pub fn encode(&self, version: i16, writer: &mut Writer) {
                match self { $(Self::$key(body) => body.encode(version, writer),)* }
            }
        }

        $(
            impl From<$request> for RequestBody {
                fn from(body: $request) -> Self {
                    Self::$key(body)
                }
            }

            impl From<$response> for ResponseBody {
                fn from(body: $response) -> Self {
                    Self::$key(body)
                }
            }
        )*
    };
}

bodies! {
    Produce: ProduceRequest, ProduceResponse,
    Fetch: FetchRequest, FetchResponse,
    ListOffsets: ListOffsetsRequest, ListOffsetsResponse,
    Metadata: MetadataRequest, MetadataResponse,
    ApiVersions: ApiVersionsRequest, ApiVersionsResponse,
    InitProducerId: InitProducerIdRequest, InitProducerIdResponse,
    OffsetForLeaderEpoch: OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
    DeleteRecords: DeleteRecordsRequest, DeleteRecordsResponse,
    OffsetCommit: OffsetCommitRequest, OffsetCommitResponse,
    OffsetFetch: OffsetFetchRequest, OffsetFetchResponse,
    FindCoordinator: FindCoordinatorRequest, FindCoordinatorResponse,
    JoinGroup: JoinGroupRequest, JoinGroupResponse,
    Heartbeat: HeartbeatRequest, HeartbeatResponse,
    LeaveGroup: LeaveGroupRequest, LeaveGroupResponse,
    SyncGroup: SyncGroupRequest, SyncGroupResponse,
    DescribeGroups: DescribeGroupsRequest, DescribeGroupsResponse,
    ListGroups: ListGroupsRequest, ListGroupsResponse,
    DeleteGroups: DeleteGroupsRequest, DeleteGroupsResponse,
    OffsetDelete: OffsetDeleteRequest, OffsetDeleteResponse,
    CreateTopics: CreateTopicsRequest, CreateTopicsResponse,
    DeleteTopics: DeleteTopicsRequest, DeleteTopicsResponse,
    CreatePartitions: CreatePartitionsRequest, CreatePartitionsResponse,
    DescribeConfigs: DescribeConfigsRequest, DescribeConfigsResponse,
    AlterConfigs: AlterConfigsRequest, AlterConfigsResponse,
    IncrementalAlterConfigs: IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
    DescribeLogDirs: DescribeLogDirsRequest, DescribeLogDirsResponse,
    DescribeCluster: DescribeClusterRequest, DescribeClusterResponse,
    DescribeTopicPartitions: DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
    SaslHandshake: SaslHandshakeRequest, SaslHandshakeResponse,
    SaslAuthenticate: SaslAuthenticateRequest, SaslAuthenticateResponse,
    AddPartitionsToTxn: AddPartitionsToTxnRequest, AddPartitionsToTxnResponse,
    AddOffsetsToTxn: AddOffsetsToTxnRequest, AddOffsetsToTxnResponse,
    EndTxn: EndTxnRequest, EndTxnResponse,
    TxnOffsetCommit: TxnOffsetCommitRequest, TxnOffsetCommitResponse,
}
