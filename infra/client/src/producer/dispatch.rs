//! Which batches go now, and how they go: one request per broker with at most one batch per partition.

use super::accumulator::Place;
use super::batch::{ANONYMOUS, Identity, SealedBatch};
use super::partition::Turn;
use super::sender::{Event, Sender, Sent};
use crate::client::Client;
use crate::connection::Connection;
use crate::error::ClientError;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use strandline_types::{TopicId, limits};
use strandline_wire::messages::ProduceRequest;
use strandline_wire::messages::produce::{PartitionProduceData, TopicProduceData};

/// The last Produce version that names topics instead of giving their ids.
const NAMES_CAP: i16 = 12;

/// A partition that has something to send.
struct Ready {
    place: Place,
    name: Arc<str>,
    topic_id: TopicId,
}

impl Sender {
    /// Sends all that can go now; returns when the next batch is due.
    pub(super) fn dispatch(&mut self, now: Duration) -> Option<Duration> {
        let identity = self.begin_epochs(self.identity?)?;
        let (ready, mut next) = self.ready(now, identity);
        for (node_id, mut places) in ready {
            let Some(connection) = self.open_connection(node_id) else { continue };
            // Another partition is first each time, so that a full request starves none.
            self.turn = self.turn.wrapping_add(1);
            let first = self.turn % places.len().max(1);
            places.rotate_left(first);
            while self.nodes.get(&node_id).is_some_and(|node| node.in_flight < self.accumulator.options.in_flight) {
                let sent = self.take(&mut places, identity, now, &mut next);
                if sent.is_empty() {
                    break;
                }
                self.send(node_id, &connection, sent);
            }
        }
        next
    }

    /// Restarts the sequences of partitions whose old ones were refused. `None` while a new producer id is needed.
    fn begin_epochs(&mut self, mut current: Identity) -> Option<Identity> {
        if current == ANONYMOUS {
            return Some(current);
        }
        for state in self.partitions.values_mut() {
            if state.turn(current) != Turn::NewEpoch {
                continue;
            }
            if state.identity() == current {
                if current.epoch == i16::MAX {
                    self.identity = None;
                    return None;
                }
                current.epoch += 1;
                self.identity = Some(current);
            }
            if let Err(error) = state.begin_epoch(current) {
                tracing::warn!(%error, "a batch could not be numbered again");
            }
        }
        Some(current)
    }

    /// Partitions with something to send, by leader, and when the next one is due.
    fn ready(&mut self, now: Duration, identity: Identity) -> (BTreeMap<i32, Vec<Ready>>, Option<Duration>) {
        let cluster = self.client.known();
        let haste = self.accumulator.in_haste();
        let linger = self.accumulator.options.linger;
        let mut next: Option<Duration> = None;
        let mut due_at = |at: Duration| next = Some(next.map_or(at, |next| next.min(at)));
        let mut ready: BTreeMap<i32, Vec<Ready>> = BTreeMap::new();
        let mut no_leader = false;
        let state = self.accumulator.state();
        for (index, topic) in state.topics.iter().enumerate() {
            let known = cluster.topics.get(&*topic.name);
            for (partition, queue) in (0_i32..).zip(&topic.partitions) {
                let place = (index, partition);
                let sending = self.partitions.get(&place);
                let turn = sending.map_or(Turn::New, |sending| sending.turn(identity));
                let is_due = match turn {
                    Turn::Wait | Turn::NewEpoch => false,
                    Turn::Again => true,
                    Turn::New => match (&queue.open, queue.full.is_empty()) {
                        (_, false) => true,
                        (None, true) => false,
                        (Some(open), true) if haste || now >= open.created + linger => true,
                        (Some(open), true) => {
                            due_at(open.created + linger);
                            false
                        }
                    },
                };
                if !is_due {
                    continue;
                }
                if let Some(not_before) = sending.map(|sending| sending.not_before).filter(|at| *at > now) {
                    due_at(not_before);
                    continue;
                }
                let leader = known.and_then(|known| known.partitions.get(place.1 as usize)).map_or(-1, |one| one.leader);
                if leader < 0 || !cluster.brokers.contains_key(&leader) {
                    no_leader = true;
                    continue;
                }
                let topic_id = known.map(|known| known.topic_id).unwrap_or_default();
                ready.entry(leader).or_default().push(Ready { place, name: topic.name.clone(), topic_id });
            }
        }
        drop(state);
        self.refresh_wanted |= no_leader;
        (ready, next)
    }

    /// The connection to a broker, if it is there; else it is being opened from now on.
    fn open_connection(&mut self, node_id: i32) -> Option<Arc<Connection>> {
        let node = self.nodes.entry(node_id).or_default();
        if let Some(connection) = node.connection.as_ref().filter(|connection| connection.is_open()) {
            return Some(connection.clone());
        }
        node.connection = None;
        if !node.connecting {
            let address = self.client.known().brokers.get(&node_id)?.address();
            node.connecting = true;
            let pool = self.pool.clone();
            self.running.push(Box::pin(async move { Event::Connected(node_id, pool.get(&address).await) }));
        }
        None
    }

    /// Takes one batch of each partition that has its turn, up to the bound of a request.
    fn take(&mut self, places: &mut [Ready], identity: Identity, now: Duration, next: &mut Option<Duration>) -> Sent {
        let mut sent = Sent::new();
        let mut bytes = 0;
        for ready in places {
            let Some(batch) =
                self.take_batch(ready, identity, now, limits::CLIENT_PRODUCE_BYTES.saturating_sub(bytes), sent.is_empty())
            else {
                continue;
            };
            bytes += batch.bytes.len();
            sent.push((ready.place, ready.name.clone(), ready.topic_id, batch));
            if bytes >= limits::CLIENT_PRODUCE_BYTES {
                // The rest is due at once, when this request's turn is over.
                *next = Some(now);
                break;
            }
        }
        sent
    }

    fn take_batch(
        &mut self,
        ready: &Ready,
        identity: Identity,
        now: Duration,
        room: usize,
        is_first: bool,
    ) -> Option<SealedBatch> {
        let fits = |bytes: usize| is_first || bytes <= room;
        let state = self.partitions.entry(ready.place).or_default();
        match state.turn(identity) {
            Turn::Wait | Turn::NewEpoch => None,
            Turn::Again => {
                let fits =
                    state.not_before <= now && state.again.first_key_value().is_some_and(|(_, batch)| fits(batch.bytes.len()));
                if fits { state.take_again() } else { None }
            }
            Turn::New => {
                let haste = self.accumulator.in_haste();
                let linger = self.accumulator.options.linger;
                let open = {
                    let mut accumulated = self.accumulator.state();
                    let queue = accumulated.topics.get_mut(ready.place.0)?.partitions.get_mut(ready.place.1 as usize)?;
                    if queue.full.front().is_some_and(|batch| fits(batch.builder.bytes())) {
                        queue.full.pop_front()
                    } else if queue.full.is_empty() {
                        queue.open.take_if(|open| fits(open.builder.bytes()) && (haste || now >= open.created + linger))
                    } else {
                        None
                    }
                }?;
                match state.seal(open, identity) {
                    Ok(batch) => Some(batch),
                    Err((unbuilt, error)) => {
                        let error = ClientError::Batch { what: format!("a batch for {}-{}", ready.name, ready.place.1), error };
                        self.finish_failed(unbuilt.id, unbuilt.permits, &unbuilt.completion, error);
                        None
                    }
                }
            }
        }
    }

    fn send(&mut self, node_id: i32, connection: &Arc<Connection>, sent: Sent) {
        self.nodes.entry(node_id).or_default().in_flight += 1;
        let by_id = sent.iter().all(|(_, _, topic_id, _)| *topic_id != TopicId::ZERO);
        let version = match connection.version::<ProduceRequest>(if by_id { i16::MAX } else { NAMES_CAP }) {
            Ok(version) => version,
            Err(error) => {
                self.running.push(Box::pin(async move { Event::Answered(node_id, sent, Err(error)) }));
                return;
            }
        };
        let acks = self.accumulator.options.acks.wire();
        let request = produce_request(&sent, acks, &self.client);
        if acks == 0 {
            match connection.submit_unanswered(version, &request) {
                Ok(written) => self.running.push(Box::pin(async move {
                    let result = written.await.map(|()| None);
                    Event::Answered(node_id, sent, result)
                })),
                Err(error) => self.running.push(Box::pin(async move { Event::Answered(node_id, sent, Err(error)) })),
            }
            return;
        }
        let timeout = self.client.options().request_timeout;
        match connection.submit(version, &request) {
            Ok(answer) => self.running.push(Box::pin(async move {
                let result = answer.wait(timeout).await.map(Some);
                Event::Answered(node_id, sent, result)
            })),
            Err(error) => self.running.push(Box::pin(async move { Event::Answered(node_id, sent, Err(error)) })),
        }
    }
}

fn produce_request(sent: &Sent, acks: i16, client: &Client) -> ProduceRequest {
    let mut topics: BTreeMap<usize, TopicProduceData> = BTreeMap::new();
    for (place, name, topic_id, batch) in sent {
        let topic = topics.entry(place.0).or_insert_with(|| TopicProduceData {
            name: name.to_string(),
            topic_id: *topic_id,
            partition_data: Vec::new(),
        });
        topic.partition_data.push(PartitionProduceData { index: place.1, records: Some(batch.bytes.clone()) });
    }
    ProduceRequest {
        transactional_id: None,
        acks,
        timeout_ms: i32::try_from(client.options().request_timeout.as_millis()).unwrap_or(i32::MAX),
        topic_data: topics.into_values().collect(),
    }
}
