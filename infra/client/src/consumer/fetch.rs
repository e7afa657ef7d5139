//! Fetches: one at a time per broker, for all its partitions.

use super::{Consumer, Event, Fetched, FetchedPartition, Isolation, StartAt};
use crate::admin::PartitionName;
use crate::cluster::{Broker, Cluster};
use crate::error::{ClientError, ConnectionError, Retry, check, retry_of};
use crate::pool::{Address, Pool};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use strandline_types::TopicId;
use strandline_wire::ErrorCode;
use strandline_wire::messages::fetch::{FetchPartition, FetchTopic, PartitionData};
use strandline_wire::messages::{FetchRequest, FetchResponse};

/// The last Fetch version that names topics instead of giving their ids.
const NAMES_CAP: i16 = 12;

#[derive(Default)]
pub(super) struct Node {
    busy: bool,
    pub(super) not_before: Duration,
    /// The partition to begin with, so that a full answer starves none.
    turn: usize,
}

/// A partition of a fetch.
struct Asked {
    name: PartitionName,
    topic_id: TopicId,
    epoch: u64,
    offset: i64,
}

/// The error of one partition, whose answer brought records of others: the next poll returns it.
pub(super) struct Failed {
    name: PartitionName,
    epoch: u64,
    error: ClientError,
}

pub(super) struct FetchDone {
    node_id: i32,
    asked: Vec<Asked>,
    result: Result<FetchResponse, ConnectionError>,
}

impl Consumer {
    /// Starts a fetch at every broker that has none and something to read.
    pub(super) fn start_fetches(&mut self, now: Duration) {
        let cluster = self.client.known();
        let mut by_node: BTreeMap<i32, (Broker, Vec<Asked>)> = BTreeMap::new();
        for (name, position) in &self.positions {
            let Some(offset) = position.offset.filter(|_| !position.paused && !position.in_flight) else { continue };
            if position.not_before > now {
                continue;
            }
            let Some(broker) = home(&cluster, name, position.preferred) else {
                self.refresh_wanted = true;
                continue;
            };
            let node = self.nodes.entry(broker.node_id).or_default();
            if node.busy || node.not_before > now {
                continue;
            }
            let topic_id = cluster.topics.get(&name.0).map(|topic| topic.topic_id).unwrap_or_default();
            let (_, asked) = by_node.entry(broker.node_id).or_insert_with(|| (broker.clone(), Vec::new()));
            asked.push(Asked { name: name.clone(), topic_id, epoch: position.epoch, offset });
        }
        for (node_id, (broker, mut asked)) in by_node {
            for asked in &asked {
                if let Some(position) = self.positions.get_mut(&asked.name) {
                    position.in_flight = true;
                }
            }
            let node = self.nodes.entry(node_id).or_default();
            node.busy = true;
            node.turn = node.turn.wrapping_add(1);
            let first = node.turn % asked.len().max(1);
            asked.rotate_left(first);
            let request = self.fetch_request(&asked);
            let pool = self.pool.clone();
            let timeout = self.client.options().request_timeout + self.options.max_wait;
            self.running.push(Box::pin(async move {
                let by_id = asked.iter().all(|asked| asked.topic_id != TopicId::ZERO);
                let result = fetch(&pool, &broker.address(), by_id, timeout, &request).await;
                Event::Fetched(FetchDone { node_id, asked, result })
            }));
        }
    }

    fn fetch_request(&self, asked: &[Asked]) -> FetchRequest {
        let mut topics: Vec<FetchTopic> = Vec::new();
        for asked in asked {
            let partition = FetchPartition {
                partition: asked.name.1,
                fetch_offset: asked.offset,
                partition_max_bytes: self.options.partition_bytes,
                ..Default::default()
            };
            match topics.iter_mut().find(|topic| topic.topic == asked.name.0) {
                Some(topic) => topic.partitions.push(partition),
                None => {
                    topics.push(FetchTopic { topic: asked.name.0.clone(), topic_id: asked.topic_id, partitions: vec![partition] })
                }
            }
        }
        FetchRequest {
            max_wait_ms: i32::try_from(self.options.max_wait.as_millis()).unwrap_or(i32::MAX),
            min_bytes: self.options.min_bytes,
            max_bytes: self.options.max_bytes,
            isolation_level: self.options.isolation.wire(),
            topics,
            rack_id: self.options.rack.clone(),
            ..Default::default()
        }
    }

    /// Takes an answer in.
    pub(super) fn fetched(&mut self, done: FetchDone, now: Duration) -> Result<Fetched, ClientError> {
        let FetchDone { node_id, asked, result } = done;
        for asked in &asked {
            if let Some(position) = self.positions.get_mut(&asked.name) {
                position.in_flight &= position.epoch != asked.epoch;
            }
        }
        let node = self.nodes.entry(node_id).or_default();
        node.busy = false;
        let response = match result
            .map_err(ClientError::from)
            .and_then(|response| check(response.error_code, || format!("a fetch at broker {node_id}"), None).map(|()| response))
        {
            Ok(response) => response,
            Err(error) if error.retry() == Retry::Never => return Err(error),
            Err(error) => {
                tracing::debug!(node_id, %error, "fetch again later");
                self.client.retried(&error);
                node.not_before = now + self.backoff.next(self.client.runtime());
                self.refresh_wanted = true;
                for asked in &asked {
                    if let Some(position) = self.positions.get_mut(&asked.name) {
                        position.preferred = None;
                    }
                }
                return Ok(Fetched::default());
            }
        };
        let mut fetched = Fetched::default();
        let mut failed = None;
        for topic in response.responses {
            for data in topic.partitions {
                let asked = asked.iter().find(|asked| {
                    let same_topic =
                        if topic.topic.is_empty() { asked.topic_id == topic.topic_id } else { asked.name.0 == topic.topic };
                    same_topic && asked.name.1 == data.partition_index
                });
                if let Some(asked) = asked
                    && let Err(error) = self.partition_fetched(asked, data, now, &mut fetched)
                {
                    failed.get_or_insert(Failed { name: asked.name.clone(), epoch: asked.epoch, error });
                }
            }
        }
        match failed {
            None => Ok(fetched),
            Some(failed) if fetched.partitions.is_empty() => Err(failed.error),
            // The positions of the others have moved behind what is here: it would not come again.
            Some(failed) => {
                self.failed = Some(failed);
                Ok(fetched)
            }
        }
    }

    /// The error that was kept back, unless its partition is read elsewhere by now, or not at all.
    pub(super) fn take_failed(&mut self) -> Option<ClientError> {
        let Failed { name, epoch, error } = self.failed.take()?;
        self.positions.get(&name).filter(|position| position.epoch == epoch).map(|_| error)
    }

    fn partition_fetched(
        &mut self,
        asked: &Asked,
        data: PartitionData,
        now: Duration,
        fetched: &mut Fetched,
    ) -> Result<(), ClientError> {
        let (topic, partition) = &asked.name;
        // What was revoked, assigned again or sought since is not asked for any more.
        let current = |position: &&mut super::Position| position.epoch == asked.epoch && position.offset == Some(asked.offset);
        let Some(position) = self.positions.get_mut(&asked.name).filter(current) else { return Ok(()) };
        let code = ErrorCode::from_code(data.error_code);
        match code {
            ErrorCode::None => {}
            ErrorCode::OffsetOutOfRange if position.preferred.take().is_some() => return Ok(()),
            ErrorCode::OffsetOutOfRange if !matches!(self.options.start, StartAt::Fail) => {
                tracing::warn!(topic, partition, offset = asked.offset, "the offset is gone, starting where the options say");
                let place = if matches!(self.options.start, StartAt::Latest) { "end" } else { "beginning" };
                self.client
                    .tell(&format!("partition {topic}-{partition} has no offset {}: reading from its {place}", asked.offset));
                position.offset = None;
                position.from_committed = false;
                position.start = match self.options.start {
                    StartAt::Offset(_) | StartAt::Timestamp(_) => StartAt::Earliest,
                    start => start,
                };
                return Ok(());
            }
            code => {
                let retry = retry_of(code);
                let error = ClientError::broker(format!("partition {topic}-{partition}"), code, None);
                if retry == Retry::Never {
                    return Err(error);
                }
                self.client.retried(&error);
                position.preferred = None;
                position.not_before = now + self.client.options().backoff;
                self.refresh_wanted |= retry == Retry::Elsewhere;
                return Ok(());
            }
        }
        position.high_watermark = Some(data.high_watermark);
        position.log_start = Some(data.log_start_offset).filter(|offset| *offset >= 0);
        if data.preferred_read_replica >= 0 {
            position.preferred = Some(data.preferred_read_replica);
        }
        let records = data.records.unwrap_or_default();
        if records.is_empty() {
            return Ok(());
        }
        let aborted = data.aborted_transactions.filter(|_| self.options.isolation == Isolation::ReadCommitted);
        let topic: Arc<str> = topic.as_str().into();
        let parsed = FetchedPartition::parse(
            topic,
            *partition,
            asked.offset,
            data.high_watermark,
            records.into_bytes(),
            aborted,
            self.options.check_crcs,
        )?;
        if parsed.next_offset == asked.offset {
            let what = format!("a batch of {}-{partition} at offset {}", parsed.topic, asked.offset);
            return Err(ClientError::Missing(format!("{what} whole; raise the bytes of a fetch")));
        }
        position.offset = Some(parsed.next_offset);
        fetched.partitions.push(parsed);
        Ok(())
    }
}

fn home<'a>(cluster: &'a Cluster, name: &PartitionName, preferred: Option<i32>) -> Option<&'a Broker> {
    let preferred = preferred.and_then(|node_id| cluster.brokers.get(&node_id));
    preferred.or_else(|| cluster.leader(&name.0, name.1).ok())
}

async fn fetch(
    pool: &Pool,
    address: &Address,
    by_id: bool,
    timeout: Duration,
    request: &FetchRequest,
) -> Result<FetchResponse, ConnectionError> {
    let connection = pool.get(address).await?;
    connection.call_capped(if by_id { i16::MAX } else { NAMES_CAP }, timeout, request).await
}
