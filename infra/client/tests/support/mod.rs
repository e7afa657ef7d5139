//! A small cluster in memory on a simulated network: what a client may rely on, and the faults that it must live with.
#![allow(clippy::unwrap_used, missing_docs, dead_code)]

mod group;
mod topics;

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use strandline_client::{Client, ClientOptions, Connect, ProducerOptions, ProducerRecord, Stream};
use strandline_runtime::Runtime;
use strandline_types::TopicId;
use strandline_wire::frame::{encode_response, split_frame};
use strandline_wire::messages::*;
use strandline_wire::records::{BatchHeader, split_batches};
use strandline_wire::{ApiKey, ErrorCode, Frame, Reader, RequestHeader};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_util::sync::CancellationToken;

/// What happens to one Produce request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: it is carried out and answered.
    None,
    /// The connection ends before it is carried out.
    LostRequest,
    /// It is carried out, and the connection ends before the answer.
    LostAnswer,
    /// It is carried out, and the answer never comes.
    Silence,
    /// It is refused.
    Refused(ErrorCode),
    /// The partitions move to the other broker first.
    Moved,
    /// It is answered late.
    Slow,
}

/// A partition's leader, and its batches.
type Log = (i32, Vec<Bytes>);
type Sequences = BTreeMap<(i64, String, i32), (i16, i32, VecDeque<(i32, i64)>)>;

#[derive(Default)]
pub struct State {
    /// Per topic its id, and per partition its leader and log.
    pub topics: BTreeMap<String, (TopicId, Vec<Log>)>,
    pub faults: VecDeque<Fault>,
    /// Metadata names addresses at which nobody is.
    pub misleads: bool,
    pub connections: usize,
    pub produce_requests: usize,
    /// How commits are refused, one after the other.
    pub commit_faults: VecDeque<ErrorCode>,
    /// What was committed of each partition, in the order in which it came.
    pub committed: BTreeMap<i32, Vec<i64>>,
    /// The only group, whatever its name.
    pub group: group::Group,
    /// Who takes changes of topics.
    pub controller: i32,
    /// Ports at which nobody is at the moment.
    pub down: BTreeSet<u16>,
    /// Ends all connections there are.
    end: CancellationToken,
    sequences: Sequences,
    next_producer: i64,
    /// Answered instead of what is right, by API.
    pub garbage: BTreeMap<i16, Bytes>,
    /// The highest ApiVersions version that is known.
    pub api_versions: i16,
}

#[derive(Clone)]
pub struct Cluster {
    pub runtime: Runtime,
    pub state: Arc<Mutex<State>>,
}

impl Connect for Cluster {
    fn connect(&self, _host: &str, port: u16) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        let cluster = self.clone();
        Box::pin(async move {
            if port > 2 || cluster.state().down.contains(&port) {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let (ours, theirs) = tokio::io::duplex(64 << 10);
            cluster.state().connections += 1;
            let (serving, end) = (cluster.clone(), cluster.state().end.clone());
            cluster.runtime.spawner.spawn("mock broker", async move {
                tokio::select! {
                    biased;
                    () = end.cancelled() => {}
                    () = serving.serve(i32::from(port), theirs) => {}
                }
            });
            Ok(Box::new(ours) as Box<dyn Stream>)
        })
    }
}

impl Cluster {
    /// Two brokers and a topic of some partitions.
    pub fn new(seed: u64, partitions: usize) -> Self {
        let state = State { api_versions: 4, controller: 1, ..State::default() };
        let cluster = Self { runtime: Runtime::simulated(seed, 1_700_000_000_000), state: Arc::new(Mutex::new(state)) };
        let logs = (0..partitions).map(|partition| (partition as i32 % 2 + 1, Vec::new())).collect();
        cluster.state().topics.insert("t".into(), (TopicId([7; 16]), logs));
        cluster
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// All connections end, as they do when brokers are started again.
    pub fn restart(&self) {
        std::mem::take(&mut self.state().end).cancel();
    }

    pub fn client(&self) -> Client {
        self.client_at("b1:1,b2:2")
    }

    pub fn client_at(&self, bootstrap: &str) -> Client {
        self.client_with(ClientOptions::new(bootstrap))
    }

    pub fn client_with(&self, options: ClientOptions) -> Client {
        let options = ClientOptions { request_timeout: Duration::from_secs(5), ..options };
        Client::new(self.runtime.clone(), Arc::new(self.clone()), options).unwrap()
    }

    /// Every value of a partition, in order.
    pub fn values(&self, partition: usize) -> Vec<String> {
        let log = self.state().topics["t"].1[partition].1.clone();
        let mut values = Vec::new();
        for batch in log {
            let header = BatchHeader::parse(&batch).unwrap();
            let place = strandline_wire::records::BatchPlace::of(&header);
            strandline_wire::records::for_each_record(&batch, place, &mut Default::default(), |record| {
                values.push(String::from_utf8(record.value.unwrap().to_vec()).unwrap());
                std::ops::ControlFlow::Continue(())
            })
            .unwrap();
        }
        values
    }

    async fn serve(self, node_id: i32, mut stream: DuplexStream) {
        let mut buffer = BytesMut::new();
        loop {
            while let Some(frame) = split_frame(&mut buffer).unwrap() {
                let mut reader = Reader::new(frame);
                let header = RequestHeader::decode(&mut reader).unwrap();
                match self.answer(node_id, &header, &mut reader).await {
                    Some(answer) => {
                        if stream.write_all(&answer.into_bytes()).await.is_err() {
                            return;
                        }
                    }
                    None => return,
                }
            }
            match stream.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }

    /// `None` closes the connection.
    async fn answer(&self, node_id: i32, header: &RequestHeader, reader: &mut Reader) -> Option<Frame> {
        let (version, id) = (header.api_version, header.correlation_id);
        if let Some(garbage) = self.state().garbage.get(&header.api_key.code()) {
            let mut frame = BytesMut::from(&garbage[..]);
            // Where a correlation id is expected there is one.
            if frame.len() >= 8 {
                frame[4..8].copy_from_slice(&id.to_be_bytes());
            }
            return Some(Frame::new([frame.freeze()]));
        }
        if header.api_key == ApiKey::ApiVersions {
            return Some(self.api_versions(version, id));
        }
        let request = RequestBody::decode(header.api_key, version, reader).unwrap();
        match request {
            RequestBody::Metadata(request) => Some(encode_response(version, id, &self.metadata(request))),
            RequestBody::InitProducerId(_) => {
                let mut state = self.state();
                state.next_producer += 1;
                let response = InitProducerIdResponse { producer_id: state.next_producer, ..Default::default() };
                Some(encode_response(version, id, &response))
            }
            RequestBody::Produce(request) => {
                self.produce(node_id, request).await.map(|response| encode_response(version, id, &response))
            }
            RequestBody::Fetch(request) => Some(encode_response(version, id, &self.fetch(node_id, request).await)),
            RequestBody::ListOffsets(request) => Some(encode_response(version, id, &self.list_offsets(node_id, request))),
            RequestBody::FindCoordinator(request) => Some(encode_response(version, id, &find_coordinator(request))),
            RequestBody::OffsetCommit(request) => Some(encode_response(version, id, &self.offset_commit(request))),
            RequestBody::OffsetFetch(request) => Some(encode_response(version, id, &self.offset_fetch(request))),
            RequestBody::JoinGroup(request) => {
                let answer = self.state().group.join(request);
                or_silence(version, id, answer).await
            }
            RequestBody::SyncGroup(request) => {
                let answer = self.state().group.sync(request);
                Some(encode_response(version, id, &answer))
            }
            RequestBody::Heartbeat(request) => {
                let answer = self.state().group.heartbeat(&request);
                Some(encode_response(version, id, &answer))
            }
            RequestBody::LeaveGroup(request) => {
                let answer = self.state().group.leave(request);
                or_silence(version, id, answer).await
            }
            RequestBody::CreateTopics(request) => Some(encode_response(version, id, &self.create_topics(node_id, request))),
            RequestBody::DeleteTopics(request) => Some(encode_response(version, id, &self.delete_topics(node_id, request))),
            RequestBody::CreatePartitions(request) => {
                Some(encode_response(version, id, &self.create_partitions(node_id, request)))
            }
            RequestBody::IncrementalAlterConfigs(request) => {
                Some(encode_response(version, id, &self.alter_configs(node_id, request)))
            }
            RequestBody::DescribeConfigs(request) => Some(encode_response(version, id, &self.describe_configs(node_id, request))),
            // Not part of this cluster: the client is told so.
            other => {
                eprintln!("the mock cluster does not speak {}", other.api_key());
                None
            }
        }
    }

    fn api_versions(&self, version: i16, id: i32) -> Frame {
        let known = self.state().api_versions;
        let keys = strandline_wire::api::SUPPORTED.iter().map(|range| api_versions::ApiVersion {
            api_key: range.key.code(),
            min_version: range.min,
            max_version: if range.key == ApiKey::ApiVersions { known } else { range.max },
        });
        if version > known {
            let error_code = ErrorCode::UnsupportedVersion.code();
            return encode_response(0, id, &ApiVersionsResponse { error_code, ..Default::default() });
        }
        encode_response(version, id, &ApiVersionsResponse { api_keys: keys.collect(), ..Default::default() })
    }

    fn metadata(&self, request: MetadataRequest) -> MetadataResponse {
        let state = self.state();
        let names: Vec<String> = match request.topics {
            None => state.topics.keys().cloned().collect(),
            Some(topics) => topics.into_iter().filter_map(|topic| topic.name).collect(),
        };
        let topic = |name: String| match state.topics.get(&name) {
            None => metadata::MetadataResponseTopic {
                error_code: ErrorCode::UnknownTopicOrPartition.code(),
                name: Some(name),
                ..Default::default()
            },
            Some((topic_id, partitions)) => metadata::MetadataResponseTopic {
                name: Some(name),
                topic_id: *topic_id,
                partitions: partitions
                    .iter()
                    .enumerate()
                    .map(|(partition, (leader, _))| metadata::MetadataResponsePartition {
                        partition_index: partition as i32,
                        leader_id: *leader,
                        ..Default::default()
                    })
                    .collect(),
                ..Default::default()
            },
        };
        let broker = |node_id: i32| metadata::MetadataResponseBroker {
            node_id,
            host: format!("b{node_id}"),
            port: node_id + if state.misleads { 10 } else { 0 },
            rack: None,
        };
        MetadataResponse {
            brokers: vec![broker(1), broker(2)],
            controller_id: state.controller,
            topics: names.into_iter().map(topic).collect(),
            ..Default::default()
        }
    }

    fn offset_commit(&self, request: OffsetCommitRequest) -> OffsetCommitResponse {
        let mut state = self.state();
        let code = match state.commit_faults.pop_front() {
            Some(code) => code,
            // Without a membership.
            None if request.member_id.is_empty() => ErrorCode::None,
            None => state.group.member_code(&request.member_id),
        };
        let error_code = code.code();
        let mut response = OffsetCommitResponse::default();
        for topic in request.topics {
            let mut answer = offset_commit::OffsetCommitResponseTopic { name: topic.name, ..Default::default() };
            for partition in topic.partitions {
                let partition_index = partition.partition_index;
                if error_code == ErrorCode::None.code() {
                    state.committed.entry(partition_index).or_default().push(partition.committed_offset);
                }
                let answered = offset_commit::OffsetCommitResponsePartition { partition_index, error_code };
                answer.partitions.push(answered);
            }
            response.topics.push(answer);
        }
        response
    }

    fn offset_fetch(&self, request: OffsetFetchRequest) -> OffsetFetchResponse {
        let state = self.state();
        let partition = |partition_index: i32| offset_fetch::OffsetFetchResponsePartitions {
            partition_index,
            committed_offset: state.committed.get(&partition_index).and_then(|offsets| offsets.last()).copied().unwrap_or(-1),
            ..Default::default()
        };
        let topic = |topic: offset_fetch::OffsetFetchRequestTopics| offset_fetch::OffsetFetchResponseTopics {
            name: topic.name,
            partitions: topic.partition_indexes.into_iter().map(partition).collect(),
            ..Default::default()
        };
        let group = |group: offset_fetch::OffsetFetchRequestGroup| offset_fetch::OffsetFetchResponseGroup {
            group_id: group.group_id,
            topics: group.topics.unwrap_or_default().into_iter().map(topic).collect(),
            ..Default::default()
        };
        OffsetFetchResponse { groups: request.groups.into_iter().map(group).collect(), ..Default::default() }
    }

    async fn produce(&self, node_id: i32, request: ProduceRequest) -> Option<ProduceResponse> {
        let fault = {
            let mut state = self.state();
            state.produce_requests += 1;
            state.faults.pop_front().unwrap_or(Fault::None)
        };
        match fault {
            Fault::LostRequest => return None,
            Fault::Moved => self.state().topics.values_mut().flat_map(|topic| &mut topic.1).for_each(|log| log.0 = 3 - log.0),
            Fault::Slow => self.runtime.sleep(Duration::from_millis(300)).await,
            _ => {}
        }
        let mut response = ProduceResponse::default();
        for topic in request.topic_data {
            let name = self.name_of(&topic.name, topic.topic_id);
            let mut partition_responses = Vec::new();
            for data in topic.partition_data {
                let records = data.records.unwrap();
                let result = match fault {
                    // A broker that has the batch says so, whatever else it forgot: else nobody could write once.
                    Fault::Refused(code) if !code.is_retriable() && self.has(&name, data.index, &records) => {
                        self.append(node_id, &name, data.index, records)
                    }
                    Fault::Refused(code) => Err(code),
                    _ => self.append(node_id, &name, data.index, records),
                };
                partition_responses.push(produce::PartitionProduceResponse {
                    index: data.index,
                    error_code: result.err().unwrap_or_default().code(),
                    base_offset: result.unwrap_or(-1),
                    ..Default::default()
                });
            }
            let (name, topic_id) = (topic.name, topic.topic_id);
            response.responses.push(produce::TopicProduceResponse { name, topic_id, partition_responses });
        }
        match fault {
            Fault::LostAnswer => None,
            Fault::Silence => std::future::pending().await,
            _ => Some(response),
        }
    }

    fn name_of(&self, name: &str, topic_id: TopicId) -> String {
        if !name.is_empty() {
            return name.to_owned();
        }
        self.state().topics.iter().find(|(_, (id, _))| *id == topic_id).unwrap().0.clone()
    }

    /// Whether the log has this batch of this producer.
    fn has(&self, topic: &str, partition: i32, records: &[u8]) -> bool {
        let asked = BatchHeader::parse(records).unwrap();
        let identity = |header: &BatchHeader| (header.producer_id, header.producer_epoch, header.base_sequence);
        let state = self.state();
        state.topics[topic].1[partition as usize]
            .1
            .iter()
            .any(|batch| identity(&BatchHeader::parse(batch).unwrap()) == identity(&asked))
    }

    /// Kafka's rules for sequences.
    fn append(&self, node_id: i32, topic: &str, partition: i32, records: Bytes) -> Result<i64, ErrorCode> {
        let mut state = self.state();
        let State { topics, sequences, .. } = &mut *state;
        let (leader, log) = &mut topics.get_mut(topic).unwrap().1[partition as usize];
        if *leader != node_id {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        let batches = split_batches(records).unwrap();
        assert_eq!(batches.len(), 1, "one batch a partition");
        let batch = &batches[0];
        let rules = strandline_wire::records::ValidationRules::kafka_defaults(self.runtime.clock.now_ms());
        strandline_wire::records::validate_batch(&batch.bytes, &rules).unwrap();
        let base_offset = log.last().map_or(0, |last| BatchHeader::parse(last).unwrap().last_offset() + 1);
        let header = batch.header;
        if header.producer_id >= 0 {
            let key = (header.producer_id, topic.to_owned(), partition);
            let (epoch, next, remembered) = sequences.entry(key).or_insert((header.producer_epoch, 0, VecDeque::new()));
            if header.producer_epoch < *epoch {
                return Err(ErrorCode::InvalidProducerEpoch);
            }
            if header.producer_epoch > *epoch {
                (*epoch, *next) = (header.producer_epoch, 0);
                remembered.clear();
            }
            if let Some((_, offset)) = remembered.iter().find(|(sequence, _)| *sequence == header.base_sequence) {
                return Ok(*offset);
            }
            if header.base_sequence != *next {
                return Err(ErrorCode::OutOfOrderSequenceNumber);
            }
            *next += header.record_count;
            remembered.push_back((header.base_sequence, base_offset));
            if remembered.len() > 5 {
                remembered.pop_front();
            }
        }
        let mut stored = batch.bytes.to_vec();
        stored[..8].copy_from_slice(&base_offset.to_be_bytes());
        log.push(stored.into());
        Ok(base_offset)
    }

    async fn fetch(&self, node_id: i32, request: FetchRequest) -> FetchResponse {
        let mut response = FetchResponse::default();
        let mut found = false;
        for topic in request.topics {
            let name = self.name_of(&topic.topic, topic.topic_id);
            let state = self.state();
            let logs = &state.topics[&name].1;
            let partitions = topic.partitions.iter().map(|asked| {
                let (leader, log) = &logs[asked.partition as usize];
                let end = log.last().map_or(0, |last| BatchHeader::parse(last).unwrap().last_offset() + 1);
                let error = match asked.fetch_offset {
                    _ if *leader != node_id => ErrorCode::NotLeaderOrFollower,
                    offset if offset < 0 || offset > end => ErrorCode::OffsetOutOfRange,
                    _ => ErrorCode::None,
                };
                let wanted = log.iter().filter(|batch| BatchHeader::parse(batch).unwrap().last_offset() >= asked.fetch_offset);
                let records: Vec<u8> = if error.is_none() { wanted.take(3).flatten().copied().collect() } else { Vec::new() };
                found |= !records.is_empty() || !error.is_none();
                fetch::PartitionData {
                    partition_index: asked.partition,
                    error_code: error.code(),
                    high_watermark: end,
                    records: Some(Bytes::from(records).into()),
                    ..Default::default()
                }
            });
            let partitions = partitions.collect();
            response.responses.push(fetch::FetchableTopicResponse { topic: topic.topic, topic_id: topic.topic_id, partitions });
        }
        if !found {
            self.runtime.sleep(Duration::from_millis(request.max_wait_ms as u64)).await;
        }
        response
    }

    fn list_offsets(&self, node_id: i32, request: ListOffsetsRequest) -> ListOffsetsResponse {
        let state = self.state();
        let topic = |topic: &list_offsets::ListOffsetsTopic| {
            let partition = |asked: &list_offsets::ListOffsetsPartition| {
                let (leader, log) = &state.topics[&topic.name].1[asked.partition_index as usize];
                let end = log.last().map_or(0, |last| BatchHeader::parse(last).unwrap().last_offset() + 1);
                list_offsets::ListOffsetsPartitionResponse {
                    partition_index: asked.partition_index,
                    error_code: if *leader == node_id { 0 } else { ErrorCode::NotLeaderOrFollower.code() },
                    offset: if asked.timestamp == -2 { 0 } else { end },
                    ..Default::default()
                }
            };
            list_offsets::ListOffsetsTopicResponse {
                name: topic.name.clone(),
                partitions: topic.partitions.iter().map(partition).collect(),
            }
        };
        ListOffsetsResponse { topics: request.topics.iter().map(topic).collect(), ..Default::default() }
    }
}

fn find_coordinator(request: FindCoordinatorRequest) -> FindCoordinatorResponse {
    let coordinator = |key| find_coordinator::Coordinator { key, node_id: 1, host: "b1".into(), port: 1, ..Default::default() };
    FindCoordinatorResponse {
        node_id: 1,
        host: "b1".into(),
        port: 1,
        coordinators: request.coordinator_keys.into_iter().map(coordinator).collect(),
        ..Default::default()
    }
}

/// The answer, or none for as long as the connection lasts.
async fn or_silence<M: Message>(version: i16, id: i32, answer: Option<M>) -> Option<Frame> {
    match answer {
        Some(answer) => Some(encode_response(version, id, &answer)),
        None => std::future::pending().await,
    }
}

pub fn simulated<F: Future>(run: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(run)
}

/// Writes numbers to the partitions by turns, about a dozen a batch.
pub async fn fill(cluster: &Cluster, partitions: i32, records: i32) {
    let producer = cluster.client().producer(ProducerOptions { batch_bytes: 200, ..Default::default() });
    for number in 0..records {
        let value = number.to_string();
        let partition = Some(number % partitions);
        let record = ProducerRecord { topic: "t", partition, value: Some(value.as_bytes()), ..Default::default() };
        drop(producer.send(record).await.unwrap());
    }
    producer.close().await.unwrap();
}
