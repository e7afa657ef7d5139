//! Taking a request in: check, then put what is good on its way, in order.

use crate::checks::{Checks, RequestChecks};
use crate::config_cache::ConfigCache;
use crate::connection::ProduceConnection;
use crate::door::{Offered, Taken, rules};
use crate::failure::Failure;
use crate::instruments::Instruments;
use crate::options::IngestOptions;
use crate::pending::{Committing, PendingProduce, Sent, fail_all, skeleton};
use crate::refused::{Refused, sequence_of};
use crate::resolve::{TOPIC_IDS_SINCE, View, resolve};
use crate::sequences::Sequences;
use crate::throttle::{InFlight, throttle_time_ms};
use crate::wal::{Buffers, keep, one_segment};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use strandline_cache::Cache;
use strandline_cell::{Cell, Submission};
use strandline_commands::Produce;
use strandline_object_store::Objects;
use strandline_types::{Caller, TopicPartition, limits};
use strandline_wire::ErrorCode;
use strandline_wire::messages::produce::{ProduceRequest, TopicProduceData};

/// A submission is closed beyond this, so that it fits into an entry with its commands.
const SUBMISSION_BYTES: usize = limits::ENTRY_PAYLOAD_BYTES - (1 << 20);
const SUBMISSION_COMMANDS: usize = limits::ENTRY_COMMANDS / 4;

/// The produce path of a node. Cheap to clone.
#[derive(Clone)]
pub struct Ingest(Arc<Inner>);

struct Inner {
    cell: Cell,
    objects: Objects,
    cache: Option<Cache>,
    options: IngestOptions,
    configs: ConfigCache,
    sequences: Sequences,
    refused: Arc<Refused>,
    in_flight: InFlight,
    checks: Checks,
    instruments: Instruments,
    /// None: the log takes payloads of any size, and batches ride inline.
    buffers: Option<Buffers>,
    /// When a request was last let through to find out whether there is room again, in milliseconds of the monotonic clock.
    probed_ms: AtomicU64,
}

impl Ingest {
    /// A produce path into `cell`; WAL segments go to `objects`, and copies of those that were committed to `cache`
    /// (the cell itself keeps what rides inline).
    /// Must be made inside a tokio runtime.
    pub fn new(options: IngestOptions, cell: Cell, objects: Objects, cache: Option<Cache>) -> Self {
        let buffers = (!cell.log().takes_any_payload()).then(|| Buffers::start(&options, &cell, &objects, cache.as_ref()));
        let instruments = Instruments::new();
        Self(Arc::new(Inner {
            checks: Checks::new(cell.runtime().clone(), instruments.clone()),
            cell,
            objects,
            cache,
            options,
            configs: ConfigCache::default(),
            sequences: Sequences::default(),
            refused: Arc::default(),
            in_flight: InFlight::default(),
            instruments,
            buffers,
            probed_ms: AtomicU64::new(0),
        }))
    }

    /// A way in for one connection.
    pub fn connection(&self) -> ProduceConnection {
        ProduceConnection::new(self.clone())
    }

    pub(crate) fn cell(&self) -> &Cell {
        &self.0.cell
    }

    /// Takes a request in: checks it, and puts the good batches into the commit queue (or a buffer) in the order of the
    /// calls. Await it before the next request of the connection is taken in; it waits while the queue is full, at most
    /// [`limits::REQUEST_WAIT`]. Every error is in the answer.
    pub async fn accept(&self, caller: &Caller, version: i16, request: ProduceRequest) -> PendingProduce {
        // What the records are slices of is not known.
        self.take_in(caller, version, request, usize::MAX, false).await
    }

    /// Flushes what is buffered and waits until it is committed; nothing to do where batches ride inline. Call it once no
    /// more requests are taken in, before [`Cell::stop`].
    pub async fn drain(&self) {
        if let Some(buffers) = &self.0.buffers {
            buffers.drain().await;
        }
    }

    pub(crate) async fn take_in(
        &self,
        caller: &Caller,
        version: i16,
        request: ProduceRequest,
        held_bytes: usize,
        urgent: bool,
    ) -> PendingProduce {
        self.0.instruments.requests.increment(1);
        let mut pending = self.pending(version, &request, held_bytes);
        let resolved = match self.refuse(caller, &request) {
            Some(failure) => Err(failure),
            None => self.resolve(version, &request.topic_data).await,
        };
        match resolved {
            Ok(view) => self.check(version, request.topic_data, &view, urgent, &mut pending).await,
            Err(failure) => {
                fail_all(&mut pending.response, &failure);
                self.0.refused.note_all(&request, &failure, pending.started);
            }
        }
        pending
    }

    /// Puts batches on their way.
    async fn send(&self, taken: Vec<Taken>, view: &View, urgent: bool, pending: &mut PendingProduce) {
        if taken.is_empty() {
            return;
        }
        let bytes = taken.iter().map(|taken| taken.bytes.len()).sum();
        self.0.instruments.records.increment(taken.iter().map(|taken| taken.records).sum());
        self.0.instruments.bytes.increment(bytes as u64);
        pending.in_flight.push(self.0.in_flight.add(bytes));
        pending.response.throttle_time_ms = throttle_time_ms(self.0.in_flight.bytes(), view.extents);
        if self.0.options.wait_for_sequence {
            pending.on_their_way.extend(self.0.sequences.wait(&self.0.cell, &taken).await);
        }
        match &self.0.buffers {
            Some(buffers) => buffers.take_in(taken, urgent, pending).await,
            None => self.enqueue(taken, pending).await,
        }
    }

    fn pending(&self, version: i16, request: &ProduceRequest, held_bytes: usize) -> PendingProduce {
        let clock = self.0.cell.runtime().clock.clone();
        let started = clock.monotonic();
        let asked = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
        // The time-out of a request is about acks=all, as in Kafka; with acks=1 it would have been answered at once there.
        let wait =
            if request.acks == -1 { asked.clamp(limits::PRODUCE_WAIT_LEAST, limits::REQUEST_WAIT) } else { limits::REQUEST_WAIT };
        PendingProduce {
            acks: request.acks,
            by_id: version >= TOPIC_IDS_SINCE,
            response: skeleton(request),
            held_bytes,
            committing: Vec::new(),
            buffered: Vec::new(),
            clock,
            started,
            deadline: started + wait,
            instruments: self.0.instruments.clone(),
            in_flight: Vec::new(),
            unanswered: None,
            on_their_way: Vec::new(),
            refused: self.0.refused.clone(),
        }
    }

    /// What is wrong with the request as a whole.
    fn refuse(&self, caller: &Caller, request: &ProduceRequest) -> Option<Failure> {
        if !(-1..=1).contains(&request.acks) {
            return Some(Failure::new(ErrorCode::InvalidRequiredAcks, "acks is none of -1, 0 and 1"));
        }
        if request.transactional_id.is_some() {
            tracing::info!(client = ?caller.client_id, "refused a transactional request: transactions are not supported");
            return Some(Failure::new(ErrorCode::InvalidRequest, "transactions are not supported: unset transactional.id"));
        }
        let no_room = !self.0.cell.log().has_room() || (self.0.cell.out_of_room() && !self.may_probe());
        no_room.then(Failure::no_room)
    }

    /// Whether this request finds out if there is room again: else nothing would, while nobody deletes.
    fn may_probe(&self) -> bool {
        let now_ms = u64::try_from(self.0.cell.runtime().clock.monotonic().as_millis()).unwrap_or(0);
        let interval_ms = u64::try_from(limits::OUT_OF_ROOM_PROBE.as_millis()).unwrap_or(0);
        let last = self.0.probed_ms.load(Ordering::Relaxed);
        now_ms >= last.saturating_add(interval_ms)
            && self.0.probed_ms.compare_exchange(last, now_ms, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// 'Unknown' is never told from a view older than the request.
    async fn resolve(&self, version: i16, topics: &[TopicProduceData]) -> Result<View, Failure> {
        let view = resolve(&self.0.cell, &self.0.configs, version, topics);
        if view.knows_all(topics) {
            return Ok(view);
        }
        self.0.cell.barrier().await.map_err(|error| Failure::new(ErrorCode::RequestTimedOut, error.to_string()))?;
        Ok(resolve(&self.0.cell, &self.0.configs, version, topics))
    }

    /// Checks every batch and sends the good ones, all together as long as they are slices of the request.
    async fn check(&self, version: i16, topics: Vec<TopicProduceData>, view: &View, urgent: bool, pending: &mut PendingProduce) {
        let mut request = RequestChecks::until(pending.started + limits::REQUEST_WAIT);
        let mut recompressed_bytes = 0;
        let now_ms = self.0.cell.runtime().clock.now_ms();
        let mut all = Vec::with_capacity(topics.iter().map(|topic| topic.partition_data.len()).sum());
        for (topic_at, (data, topic)) in topics.into_iter().zip(&view.topics).enumerate() {
            let rules = topic.map(|topic| rules(&topic, version, now_ms));
            for (partition_at, partition) in data.partition_data.into_iter().enumerate() {
                let place = (topic_at, partition_at);
                let sequence = partition.records.as_deref().and_then(sequence_of);
                let named = (data.topic_id, data.name.as_str(), partition.index);
                let place_in_log = topic.map(|topic| TopicPartition { topic_id: topic.id, partition: partition.index });
                let now = || self.0.cell.runtime().clock.monotonic();
                let knows = |producer| place_in_log.is_some_and(|at| self.0.cell.view().knows_producer(at, producer));
                let waits_in_cell =
                    || place_in_log.zip(sequence).is_some_and(|(at, sequence)| self.0.cell.holds_up(at, sequence));
                if sequence.is_some_and(|sequence| self.0.refused.holds_up(named, sequence, now, knows)) || waits_in_cell() {
                    pending.refuse(place, None, &Failure::overtakes());
                    continue;
                }
                let result = match (topic, &rules) {
                    (Some(topic), Some(rules)) if (0..topic.partitions).contains(&partition.index) => {
                        match Offered::new(place, *topic, partition.index, partition.records) {
                            Ok(offered) => self.0.checks.check(offered, rules, &mut request).await,
                            Err(failure) => Err(failure),
                        }
                    }
                    (Some(_), _) => Err(Failure::unknown_partition()),
                    (None, _) => Err(Failure::unknown_topic(pending.by_id)),
                };
                let checked = match result {
                    Ok(checked) => checked,
                    Err(failure) => {
                        pending.refuse(place, sequence, &failure);
                        if let (Some(at), Some(sequence), false) = (place_in_log, sequence, failure.comes_again()) {
                            self.0.cell.await_no_more(at, sequence);
                        }
                        continue;
                    }
                };
                // The one before it may have been refused while this one was checked.
                let in_order = sequence.map_or(Ok(()), |sequence| self.0.refused.demand_in_order(named, sequence, now, knows));
                if in_order.is_err() || waits_in_cell() {
                    pending.refuse(place, None, &Failure::overtakes());
                    continue;
                }
                let bytes = checked.taken.bytes.len();
                all.push(checked.taken);
                if let Some(room) = checked.recompressed {
                    self.0.instruments.recompressed.increment(1);
                    recompressed_bytes += bytes;
                    // From then on the commit queue, or the buffers, account for them.
                    if recompressed_bytes > limits::RECOMPRESSED_WAITING_BYTES {
                        self.send(std::mem::take(&mut all), view, urgent, pending).await;
                        recompressed_bytes = 0;
                    }
                    drop(room);
                }
            }
        }
        self.send(all, view, urgent, pending).await;
    }

    /// Inline, as slices of the frame. The cell's driver makes groups of what comes together.
    async fn enqueue(&self, mut taken: Vec<Taken>, pending: &mut PendingProduce) {
        copy_out_of_large_frame(&mut taken, pending.held_bytes);
        let mut submission = Submission::default();
        let mut batches = Vec::with_capacity(taken.len());
        let mut payload_bytes = 0;
        for taken in taken {
            let length = taken.bytes.len();
            let large = length > SUBMISSION_BYTES;
            let full = payload_bytes + length > SUBMISSION_BYTES || submission.commands.len() >= SUBMISSION_COMMANDS;
            if full && !submission.commands.is_empty() {
                self.submit(std::mem::take(&mut submission), std::mem::take(&mut batches), pending).await;
                payload_bytes = 0;
            }
            if large {
                self.put_one(taken, pending).await;
                continue;
            }
            batches.push(Sent::of(&taken));
            submission.commands.push(
                Produce {
                    topic_id: taken.partition.topic_id.0.to_vec(),
                    partition: taken.partition.partition,
                    object: 0,
                    position: payload_bytes as u64,
                    batches: vec![taken.batch],
                }
                .into(),
            );
            submission.payload.push(taken.bytes);
            payload_bytes += length;
        }
        if !submission.commands.is_empty() {
            self.submit(submission, batches, pending).await;
        }
    }

    async fn submit(&self, submission: Submission, batches: Vec<Sent>, pending: &mut PendingProduce) {
        match self.0.cell.enqueue_until(submission, pending.started + limits::REQUEST_WAIT).await {
            Ok(reply) => pending.committing.push(Committing { reply, batches }),
            Err(error) => {
                let failure = Failure::of_submit(&error);
                batches.iter().for_each(|sent| pending.refuse(sent.place, sent.sequence, &failure));
            }
        }
    }

    /// A batch that is larger than an entry's payload may be gets a WAL segment of its own. Done while the connection waits,
    /// so that nothing of it overtakes.
    async fn put_one(&self, taken: Taken, pending: &mut PendingProduce) {
        let sent = Sent::of(&taken);
        match one_segment(&self.0.cell, &self.0.objects, taken).await {
            Ok((submission, path, chunks)) => {
                self.submit(submission, vec![sent], pending).await;
                keep(self.0.cache.as_ref(), &path, &chunks);
            }
            Err(failure) => pending.refuse(sent.place, sent.sequence, &failure),
        }
    }
}

/// What rides inline stays in memory for the tail's readers: little of a frame must not keep all of it there. Larger batches, which
/// get an object of their own, do not stay.
fn copy_out_of_large_frame(taken: &mut [Taken], held_bytes: usize) {
    let stays = |taken: &Taken| taken.is_slice && taken.bytes.len() <= SUBMISSION_BYTES;
    let bytes: usize = taken.iter().filter(|taken| stays(taken)).map(|taken| taken.bytes.len()).sum();
    if bytes < held_bytes / 4 * 3 {
        taken.iter_mut().filter(|taken| stays(taken)).for_each(|taken| taken.bytes = Bytes::copy_from_slice(&taken.bytes));
    }
}
