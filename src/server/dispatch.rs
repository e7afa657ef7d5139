//! From a frame to the role that answers it.

use super::Shared;
use super::answer::{Answer, Close, Work};
use super::connection::Closed;
use super::heavy;
use super::pressure::Admitted;
use bytes::Bytes;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use strandline_cell::Cell;
use strandline_cluster::Cluster;
use strandline_groups::{Groups, OldConnection};
use strandline_ingest::{Ingest, ProduceConnection};
use strandline_reader::{ConnectionId, Reader};
use strandline_types::{Caller, Gone, Seq, limits};
use strandline_wire::frame::{RequestHeader, encode_response};
use strandline_wire::messages::RequestBody;
use strandline_wire::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use strandline_wire::messages::{ProduceRequest, fetch, join_group, sync_group};
use strandline_wire::records::BATCH_HEADER_BYTES;
use strandline_wire::{ApiKey, ErrorCode, Frame, Message};

/// A long poll or a join that was parked when the node began to stop is answered after this: what is at hand is still sent.
const WORK_WHILE_DRAINING: Duration = Duration::from_millis(200);

/// A list of none would say that there are none.
const TOPICS_NOT_KNOWN: Close = Close("which topics there are is not known: the log cannot be read");

/// So many partitions of a Produce request are answered whatever came for them.
const HOLLOW_PARTITIONS: usize = 1_000;

/// The roles that this node has, behind one listener.
#[derive(Clone)]
pub struct Services {
    /// The cell.
    pub cell: Cell,
    /// Produce.
    pub ingest: Ingest,
    /// Fetch and ListOffsets.
    pub reader: Reader,
    /// Consumer groups.
    pub groups: Groups,
    /// Topics, configurations and the cluster.
    pub cluster: Cluster,
}

impl Services {
    pub(super) fn connection_closed(&self, id: u64) {
        self.reader.connection_closed(id);
    }
}

/// What one connection remembers between requests.
pub(super) struct Session {
    services: Services,
    produce: ProduceConnection,
    host: String,
    connected_at: Seq,
    pub(super) gone: Gone,
    id: u64,
    shared: Arc<Shared>,
}

impl Session {
    pub(super) fn new(shared: &Arc<Shared>, peer: SocketAddr, connected_at: Seq, id: u64) -> Self {
        let services = shared.services.clone();
        let produce = services.ingest.connection();
        Self {
            services,
            produce,
            host: format!("/{}", peer.ip()),
            connected_at,
            gone: Gone::default(),
            id,
            shared: shared.clone(),
        }
    }

    /// Takes one request. What must happen in order (batches into the commit queue) has happened when this returns; the
    /// rest is in the answer.
    pub(super) async fn take(&mut self, frame: Bytes, permit: Admitted) -> Result<Option<Answer>, Closed> {
        let frame_bytes = frame.len();
        let budget = frame_bytes.saturating_mul(8).clamp(limits::DECODED_REQUEST_BYTES, limits::DECODED_MESSAGE_BYTES);
        let mut reader = strandline_wire::Reader::with_budget(frame, budget);
        let header = RequestHeader::decode(&mut reader)?;
        let (api, version, correlation_id) = (header.api_key, header.api_version, header.correlation_id);
        metrics::counter!("strandline_requests_total", "api" => api.name()).increment(1);
        if api == ApiKey::ApiVersions && !api.range().is_served(version) {
            // The asker cannot know what is spoken here: version 0, with the range of this API (KIP-511).
            let response = self.services.cluster.unsupported_api_versions();
            return Ok(Some(ready(permit, encode_response(0, correlation_id, &response))));
        }
        if !api.range().is_served(version) || !strandline_wire::api::SUPPORTED.iter().any(|range| range.key == api) {
            return Err(Closed::Version { api, version });
        }
        let caller = Caller::anonymous(header.client_id, self.host.clone(), self.connected_at, self.gone.clone());
        let mut decode = || RequestBody::decode(api, version, &mut reader);
        let is_heavy = heavy::is_heavy(api, frame_bytes);
        let body = match if is_heavy { heavy::compute(&mut decode) } else { decode() } {
            Ok(body) => body,
            Err(error) => {
                tracing::debug!(%api, version, %error, "a request does not decode");
                return match invalid_request(api, version, correlation_id) {
                    Some(frame) => Ok(Some(ready(permit, frame))),
                    None => Err(Closed::Body { api, version, error }),
                };
            }
        };
        if let RequestBody::Produce(request) = body {
            if is_hollow(&request, frame_bytes) {
                return Err(Closed::Hollow);
            }
            let pending = self.produce.accept(&caller, version, request, frame_bytes).await;
            let work = async move {
                let answer = pending.answer().await;
                match (answer.acks, answer.had_error) {
                    (0, false) => Ok(None),
                    (0, true) => Err(Close("a batch with acks=0 was refused")),
                    _ => Ok(Some(encode_response(version, correlation_id, &answer.response))),
                }
            };
            return Ok(Some(Answer::new(permit, Work::OnlyWaits, work)));
        }
        let is_heavy = is_heavy || heavy::asks_for_all(&body, version);
        let work = handle(self.shared.clone(), self.id, caller, version, correlation_id, body);
        let kind = match api {
            ApiKey::Fetch => Work::Parks,
            ApiKey::JoinGroup | ApiKey::SyncGroup => Work::Gathers,
            _ => Work::InTurn,
        };
        Ok(Some(if is_heavy { Answer::new(permit, kind, heavy::compute_all(work)) } else { Answer::new(permit, kind, work) }))
    }
}

/// It names so many partitions that there cannot be a batch for each: its answer would be many times as large as the request, for nothing.
fn is_hollow(request: &ProduceRequest, frame_bytes: usize) -> bool {
    let partitions: usize = request.topic_data.iter().map(|topic| topic.partition_data.len()).sum();
    partitions > HOLLOW_PARTITIONS && partitions.saturating_mul(BATCH_HEADER_BYTES) > frame_bytes
}

fn ready(permit: Admitted, frame: Frame) -> Answer {
    Answer::new(permit, Work::InTurn, async move { Ok(Some(frame)) })
}

/// The header was readable and the body was not: an answer, where the API has a place for one error over all.
fn invalid_request(api: ApiKey, version: i16, correlation_id: i32) -> Option<Frame> {
    use strandline_wire::messages::*;
    let code = ErrorCode::InvalidRequest.code();
    macro_rules! answer {
        ($response:path) => {{
            let mut response = <$response>::default();
            response.error_code = code;
            Some(encode_response(version, correlation_id, &response))
        }};
    }
    match api {
        ApiKey::Fetch if version >= 7 => answer!(fetch::FetchResponse),
        ApiKey::InitProducerId => answer!(init_producer_id::InitProducerIdResponse),
        ApiKey::JoinGroup => answer!(join_group::JoinGroupResponse),
        ApiKey::SyncGroup => answer!(sync_group::SyncGroupResponse),
        ApiKey::Heartbeat => answer!(heartbeat::HeartbeatResponse),
        ApiKey::LeaveGroup => answer!(leave_group::LeaveGroupResponse),
        ApiKey::ListGroups => answer!(list_groups::ListGroupsResponse),
        ApiKey::OffsetDelete => answer!(offset_delete::OffsetDeleteResponse),
        ApiKey::DescribeCluster => answer!(describe_cluster::DescribeClusterResponse),
        ApiKey::DescribeLogDirs if version >= 3 => answer!(describe_log_dirs::DescribeLogDirsResponse),
        ApiKey::ApiVersions => {
            let response = ApiVersionsResponse { error_code: code, ..ApiVersionsResponse::default() };
            Some(encode_response(version, correlation_id, &response))
        }
        _ => None,
    }
}

/// What may take long: nothing, if it is not done soon after the node began to stop.
async fn unless_draining<T>(shared: &Shared, work: impl Future<Output = T>) -> Option<T> {
    tokio::pin!(work);
    tokio::select! {
        biased;
        done = &mut work => Some(done),
        () = shared.draining.cancelled() => tokio::time::timeout(WORK_WHILE_DRAINING, work).await.ok(),
    }
}

async fn handle(
    shared: Arc<Shared>,
    connection: ConnectionId,
    caller: Caller,
    version: i16,
    correlation_id: i32,
    body: RequestBody,
) -> Result<Option<Frame>, Close> {
    fn frame<M: Message>(version: i16, correlation_id: i32, response: M) -> Result<Option<Frame>, Close> {
        Ok(Some(encode_response(version, correlation_id, &response)))
    }
    macro_rules! answer {
        ($response:expr) => {
            frame(version, correlation_id, $response)
        };
    }
    let Services { ingest, reader, groups, cluster, .. } = shared.services.clone();
    // The next connection is to be younger than the claim that is there now.
    let too_old = |_: OldConnection| {
        shared.look_at_backlog.notify_one();
        Close("what came may be older than what was done for its sender elsewhere")
    };
    match body {
        RequestBody::ApiVersions(request) => answer!(api_versions(&cluster, version, &request)),
        RequestBody::Metadata(request) => {
            let response = cluster.metadata(&caller, version, request).await;
            // Up to version 12 there is no place for an error but beside a topic.
            if version < 13 && response.error_code != 0 && response.topics.is_empty() {
                return Err(TOPICS_NOT_KNOWN);
            }
            answer!(response)
        }
        RequestBody::Fetch(request) => {
            let nothing = fetch::FetchResponse { session_id: request.session_id, ..fetch::FetchResponse::default() };
            let fetch = reader.fetch(&caller, version, request, connection);
            answer!(unless_draining(&shared, fetch).await.unwrap_or(nothing))
        }
        RequestBody::ListOffsets(request) => answer!(reader.list_offsets(&caller, version, request).await),
        RequestBody::OffsetForLeaderEpoch(request) => answer!(reader.offset_for_leader_epoch(&caller, version, request).await),
        RequestBody::InitProducerId(request) => answer!(ingest.init_producer_id(&caller, request).await),
        RequestBody::DeleteRecords(request) => answer!(cluster.delete_records(&caller, version, request).await),
        RequestBody::FindCoordinator(request) => answer!(groups.find_coordinator(&caller, version, request).await),
        RequestBody::JoinGroup(request) => {
            let member_id = request.member_id.clone();
            let joined = unless_draining(&shared, groups.join_group(&caller, version, request)).await;
            // It asks again, this node or its next run, and is still the member it was.
            let error_code = ErrorCode::NotCoordinator.code();
            answer!(joined.unwrap_or(join_group::JoinGroupResponse {
                error_code,
                member_id,
                ..join_group::JoinGroupResponse::default()
            }))
        }
        RequestBody::SyncGroup(request) => {
            let synced = unless_draining(&shared, groups.sync_group(&caller, version, request)).await;
            let error_code = ErrorCode::NotCoordinator.code();
            answer!(synced.unwrap_or(sync_group::SyncGroupResponse { error_code, ..sync_group::SyncGroupResponse::default() }))
        }
        RequestBody::Heartbeat(request) => answer!(groups.heartbeat(&caller, version, request).await),
        RequestBody::LeaveGroup(request) => answer!(groups.leave_group(&caller, version, request).await),
        RequestBody::OffsetCommit(request) => answer!(groups.offset_commit(&caller, version, request).await.map_err(too_old)?),
        RequestBody::OffsetFetch(request) => answer!(groups.offset_fetch(&caller, version, request).await),
        RequestBody::DescribeGroups(request) => answer!(groups.describe_groups(&caller, version, request).await),
        RequestBody::ListGroups(request) => answer!(groups.list_groups(&caller, version, request).await),
        RequestBody::DeleteGroups(request) => answer!(groups.delete_groups(&caller, version, request).await.map_err(too_old)?),
        RequestBody::OffsetDelete(request) => answer!(groups.offset_delete(&caller, version, request).await.map_err(too_old)?),
        RequestBody::CreateTopics(request) => answer!(cluster.create_topics(&caller, version, request).await),
        RequestBody::DeleteTopics(request) => answer!(cluster.delete_topics(&caller, version, request).await),
        RequestBody::CreatePartitions(request) => answer!(cluster.create_partitions(&caller, version, request).await),
        RequestBody::DescribeConfigs(request) => answer!(cluster.describe_configs(&caller, version, request).await),
        RequestBody::AlterConfigs(request) => answer!(cluster.alter_configs(&caller, version, request).await),
        RequestBody::IncrementalAlterConfigs(request) => {
            answer!(cluster.incremental_alter_configs(&caller, version, request).await)
        }
        RequestBody::DescribeLogDirs(request) => answer!(cluster.describe_log_dirs(&caller, version, request).await),
        RequestBody::DescribeCluster(request) => answer!(cluster.describe_cluster(&caller, version, request).await),
        RequestBody::DescribeTopicPartitions(request) => {
            match cluster.describe_topic_partitions(&caller, version, request).await {
                Some(response) => answer!(response),
                None => Err(TOPICS_NOT_KNOWN),
            }
        }
        // Announced by no node yet; refused before this by the table.
        RequestBody::Produce(_)
        | RequestBody::AddPartitionsToTxn(_)
        | RequestBody::AddOffsetsToTxn(_)
        | RequestBody::EndTxn(_)
        | RequestBody::TxnOffsetCommit(_)
        | RequestBody::SaslHandshake(_)
        | RequestBody::SaslAuthenticate(_) => Err(Close("an API that is not announced")),
    }
}

/// As Kafka: names of software that no one could print are refused.
fn api_versions(cluster: &Cluster, version: i16, request: &ApiVersionsRequest) -> ApiVersionsResponse {
    let valid = |name: &str| {
        let bytes = name.as_bytes();
        let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(byte))
    };
    if version >= 3 && !(valid(&request.client_software_name) && valid(&request.client_software_version)) {
        return ApiVersionsResponse { error_code: ErrorCode::InvalidRequest.code(), ..ApiVersionsResponse::default() };
    }
    cluster.api_versions()
}
