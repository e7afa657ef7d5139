//! The one task of a producer: it sends what is ready and takes the answers in.

use super::accumulator::{Accumulator, Place};
use super::batch::{ANONYMOUS, Identity, SealedBatch};
use super::delivery::Done;
use super::partition::{PartitionState, Verdict};
use crate::client::Client;
use crate::connection::Connection;
use crate::error::{ClientError, ConnectionError, Retry, check, retry_of};
use crate::pool::Pool;
use crate::wait::Backoff;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use strandline_types::TopicId;
use strandline_wire::ErrorCode;
use strandline_wire::messages::produce::PartitionProduceResponse;
use strandline_wire::messages::{InitProducerIdRequest, ProduceResponse};
use tokio_util::sync::CancellationToken;

/// How often batches are looked at whose time may be over.
const EXPIRY_CHECK: Duration = Duration::from_millis(500);

pub(super) struct Sender {
    pub(super) client: Client,
    pub(super) accumulator: Arc<Accumulator>,
    stop: CancellationToken,
    pub(super) pool: Arc<Pool>,
    pub(super) partitions: BTreeMap<Place, PartitionState>,
    pub(super) nodes: BTreeMap<i32, Node>,
    /// `None` until the broker gave one, where one is needed.
    pub(super) identity: Option<Identity>,
    asking_identity: bool,
    refreshing: bool,
    pub(super) refresh_wanted: bool,
    last_refresh: Duration,
    /// No question about metadata or identity before this.
    ask_not_before: Duration,
    ask_backoff: Backoff,
    pub(super) running: FuturesUnordered<BoxFuture<'static, Event>>,
    pub(super) turn: usize,
}

#[derive(Default)]
pub(super) struct Node {
    pub(super) connection: Option<Arc<Connection>>,
    pub(super) connecting: bool,
    pub(super) in_flight: usize,
}

/// What went out together, by topic and partition.
pub(super) type Sent = Vec<(Place, Arc<str>, TopicId, SealedBatch)>;

pub(super) enum Event {
    Connected(i32, Result<Arc<Connection>, ConnectionError>),
    Answered(i32, Sent, Result<Option<ProduceResponse>, ConnectionError>),
    Identity(Result<Identity, ClientError>),
    Refreshed(Result<(), ClientError>),
}

impl Sender {
    pub(super) fn new(client: Client, accumulator: Arc<Accumulator>, stop: CancellationToken) -> Self {
        let identity = (!accumulator.options.idempotent).then_some(ANONYMOUS);
        Self {
            pool: Arc::new(client.new_pool()),
            accumulator,
            stop,
            partitions: BTreeMap::new(),
            nodes: BTreeMap::new(),
            identity,
            asking_identity: false,
            refreshing: false,
            refresh_wanted: false,
            last_refresh: client.now(),
            ask_not_before: Duration::ZERO,
            ask_backoff: client.backoff(),
            running: FuturesUnordered::new(),
            turn: 0,
            client,
        }
    }

    pub(super) async fn run(mut self) {
        let accumulator = self.accumulator.clone();
        let stop = self.stop.clone();
        loop {
            let wait = self.advance();
            let has_running = !self.running.is_empty();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(event) = self.running.next(), if has_running => self.handle(event),
                () = accumulator.wake.notified() => {}
                () = self.client.runtime().sleep(wait.unwrap_or_default()), if wait.is_some() => {}
            }
        }
        accumulator.abandon();
    }

    /// Sends all that can go now; returns when to look again, if nothing else happens.
    fn advance(&mut self) -> Option<Duration> {
        let now = self.client.now();
        self.expire(now);
        let next = self.dispatch(now);
        self.ask(now);
        let unfinished = !self.accumulator.state().unfinished.is_empty();
        let check = unfinished.then_some(EXPIRY_CHECK);
        let next = next.map(|next| next.saturating_sub(now).max(Duration::from_millis(1)));
        match (next, check) {
            (Some(next), Some(check)) => Some(next.min(check)),
            (next, check) => next.or(check),
        }
    }

    /// Asks for what is missing: the producer id, or metadata.
    fn ask(&mut self, now: Duration) {
        if now < self.ask_not_before {
            return;
        }
        let has_work = !self.accumulator.state().unfinished.is_empty();
        if self.identity.is_none() && !self.asking_identity && has_work {
            self.asking_identity = true;
            self.running.push(Box::pin(new_identity(self.client.clone())));
        }
        let old = now.saturating_sub(self.last_refresh) >= self.client.options().metadata_age;
        if (self.refresh_wanted || (old && has_work)) && !self.refreshing {
            self.refreshing = true;
            self.refresh_wanted = false;
            let names: Vec<Arc<str>> = self.accumulator.state().topics.iter().map(|topic| topic.name.clone()).collect();
            let client = self.client.clone();
            self.running.push(Box::pin(async move {
                let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
                Event::Refreshed(client.refresh(&names).await)
            }));
        }
    }

    fn handle(&mut self, event: Event) {
        let now = self.client.now();
        match event {
            Event::Connected(node_id, result) => {
                let node = self.nodes.entry(node_id).or_default();
                node.connecting = false;
                match result {
                    Ok(connection) => node.connection = Some(connection),
                    Err(error) => {
                        tracing::debug!(node_id, %error, "producer cannot connect");
                        self.client.retried(&error.into());
                        self.refresh_wanted = true;
                    }
                }
            }
            Event::Answered(node_id, sent, result) => self.answered(node_id, sent, result, now),
            Event::Identity(result) => {
                self.asking_identity = false;
                match result {
                    Ok(identity) => {
                        self.identity = Some(identity);
                        self.ask_backoff.reset();
                    }
                    Err(error) if error.retry() == Retry::Never => self.fail_everything(&error),
                    Err(error) => self.ask_later(now, &error),
                }
            }
            Event::Refreshed(result) => {
                self.refreshing = false;
                self.last_refresh = now;
                if let Err(error) = result {
                    self.refresh_wanted = true;
                    self.ask_later(now, &error);
                } else {
                    self.ask_backoff.reset();
                }
                for topic in self.client.known().topics.values() {
                    if self.accumulator.state().topics.iter().any(|queues| *queues.name == *topic.name) {
                        self.accumulator.learn(topic);
                    }
                }
            }
        }
    }

    fn ask_later(&mut self, now: Duration, error: &ClientError) {
        tracing::debug!(%error, "producer asks again later");
        self.client.retried(error);
        self.ask_not_before = now + self.ask_backoff.next(self.client.runtime());
    }

    fn answered(&mut self, node_id: i32, sent: Sent, result: Result<Option<ProduceResponse>, ConnectionError>, now: Duration) {
        let node = self.nodes.entry(node_id).or_default();
        node.in_flight = node.in_flight.saturating_sub(1);
        let mut response = match result {
            Ok(response) => response,
            Err(error) => {
                node.connection = node.connection.take().filter(|connection| connection.is_open());
                let retry = error.retry();
                let error = ClientError::from(error);
                self.client.retried(&error);
                for (place, _, _, batch) in sent {
                    self.failed(place, batch, error.clone(), retry != Retry::Never, now);
                }
                self.refresh_wanted = true;
                return;
            }
        };
        for (place, name, topic_id, batch) in sent {
            match &mut response {
                None => self.done(place, batch, Done { base_offset: -1, log_append_time_ms: -1, at: now }),
                Some(response) => match take_answer(response, &name, topic_id, place.1) {
                    Some(answer) => self.judged(place, &name, batch, answer, now),
                    None => {
                        let error = ClientError::Missing(format!("partition {name}-{}", place.1));
                        self.failed(place, batch, error, true, now);
                    }
                },
            }
        }
    }

    fn judged(&mut self, place: Place, name: &str, batch: SealedBatch, answer: PartitionProduceResponse, now: Duration) {
        let code = ErrorCode::from_code(answer.error_code);
        let done = Done { base_offset: answer.base_offset, log_append_time_ms: answer.log_append_time_ms, at: now };
        if code.is_none() {
            return self.done(place, batch, done);
        }
        let message =
            answer.error_message.or_else(|| answer.record_errors.into_iter().find_map(|record| record.batch_index_error_message));
        let error = ClientError::broker(format!("partition {name}-{}", place.1), code, message);
        let state = self.partitions.entry(place).or_default();
        match state.judge(&batch, code) {
            Verdict::Done => self.done(place, batch, Done { base_offset: -1, ..done }),
            Verdict::Fail => self.failed(place, batch, error, false, now),
            Verdict::Again => {
                self.refresh_wanted |= retry_of(code) == Retry::Elsewhere;
                self.client.retried(&error);
                self.failed(place, batch, error, true, now);
            }
            Verdict::Restart => {
                let batch = SealedBatch { last_error: Some(error), ..batch };
                state.put_back(batch, true);
            }
        }
    }

    fn done(&mut self, place: Place, batch: SealedBatch, done: Done) {
        let state = self.partitions.entry(place).or_default();
        state.acknowledge(&batch);
        batch.completion.set(Ok(done));
        self.accumulator.finished(batch.id, batch.permits);
    }

    /// A batch failed: it waits for its next try, or is given up.
    fn failed(&mut self, place: Place, batch: SealedBatch, error: ClientError, again: bool, now: Duration) {
        let expired = now.saturating_sub(batch.created) >= self.accumulator.options.delivery_timeout;
        let pause = Backoff::new(self.client.options().backoff, self.client.options().backoff).next(self.client.runtime());
        let state = self.partitions.entry(place).or_default();
        if again && !expired {
            state.not_before = now + pause;
            state.put_back(SealedBatch { last_error: Some(error), ..batch }, false);
        } else {
            state.give_up(&batch);
            let error = if again { self.too_late(error) } else { error };
            self.finish_failed(batch.id, batch.permits, &batch.completion, error);
        }
    }

    pub(super) fn too_late(&self, last: impl Into<Option<ClientError>>) -> ClientError {
        ClientError::TimedOut {
            what: "delivering a record".into(),
            after: self.accumulator.options.delivery_timeout,
            last: last.into().map(Box::new),
        }
    }

    pub(super) fn finish_failed(&self, id: u64, permits: usize, completion: &super::delivery::Completion, error: ClientError) {
        completion.set(Err(error));
        self.accumulator.finished(id, permits);
    }

    /// Gives up what waited too long.
    fn expire(&mut self, now: Duration) {
        let timeout = self.accumulator.options.delivery_timeout;
        let is_late = |created: Duration| now.saturating_sub(created) >= timeout;
        let mut late = Vec::new();
        for state in self.partitions.values_mut() {
            while state.again.first_key_value().is_some_and(|(_, batch)| is_late(batch.created)) {
                let Some((_, batch)) = state.again.pop_first() else { break };
                state.give_up(&batch);
                late.push((batch.id, batch.permits, batch.completion, batch.last_error));
            }
        }
        {
            let mut state = self.accumulator.state();
            for queue in state.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
                while queue.full.front().is_some_and(|batch| is_late(batch.created)) {
                    late.extend(queue.full.pop_front().map(|batch| (batch.id, batch.permits, batch.completion, None)));
                }
                if queue.full.is_empty()
                    && let Some(batch) = queue.open.take_if(|batch| is_late(batch.created))
                {
                    late.push((batch.id, batch.permits, batch.completion, None));
                }
            }
        }
        for (id, permits, completion, last) in late {
            self.finish_failed(id, permits, &completion, self.too_late(last));
        }
    }

    /// No producer id will ever come.
    fn fail_everything(&mut self, error: &ClientError) {
        let mut all = Vec::new();
        for queue in self.accumulator.state().topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
            let batches = queue.full.drain(..).chain(queue.open.take());
            all.extend(batches.map(|batch| (batch.id, batch.permits, batch.completion)));
        }
        for (id, permits, completion) in all {
            self.finish_failed(id, permits, &completion, error.clone());
        }
    }
}

/// The answer for one partition.
fn take_answer(
    response: &mut ProduceResponse,
    name: &str,
    topic_id: TopicId,
    partition: i32,
) -> Option<PartitionProduceResponse> {
    let topic = response
        .responses
        .iter_mut()
        .find(|topic| if topic.name.is_empty() { topic.topic_id == topic_id } else { topic.name == name })?;
    let index = topic.partition_responses.iter().position(|answer| answer.index == partition)?;
    Some(topic.partition_responses.swap_remove(index))
}

async fn new_identity(client: Client) -> Event {
    let ask = async {
        let request = InitProducerIdRequest { transaction_timeout_ms: i32::MAX, ..Default::default() };
        let request = InitProducerIdRequest { producer_epoch: -1, ..request };
        let response = client.any_connection().await?.call(&request).await?;
        check(response.error_code, || "a producer id".into(), None)?;
        Ok(Identity { id: response.producer_id, epoch: response.producer_epoch })
    };
    Event::Identity(ask.await)
}
