//! As fast as it goes: requests follow each other, as many in flight as a Kafka producer has. Back-pressure is the
//! broker's: answers that come late and `throttle_time_ms`. What is on its way is bounded by requests times their bytes.

use crate::latency::{Latencies, LatencySummary};
use crate::load::{RecordArgs, SendArgs, Shared, Target, start};
use crate::payload;
use crate::process::{Sample, Usage, sample};
use crate::template::{ANONYMOUS, Identity, Template, templates};
use anyhow::{Context as _, bail};
use clap::Args;
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use strandline_client::{Acks, Connection, TcpConnect, Topic};
use strandline_runtime::Runtime;
use strandline_wire::ErrorCode;
use strandline_wire::messages::produce::{PartitionProduceData, TopicProduceData};
use strandline_wire::messages::{InitProducerIdRequest, ProduceRequest, ProduceResponse};

/// The last Produce version that names topics instead of giving their ids.
const NAMES_CAP: i16 = 12;
/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends as fast as the broker takes records
#[derive(Debug, Clone, Args)]
pub struct SaturateArgs {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    records: RecordArgs,
    #[command(flatten)]
    send: SendArgs,
    /// How long; it ends earlier once `--bytes` are sent
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Bytes of records to send at most; 0 is without end
    #[arg(long, default_value_t = 0)]
    bytes: u64,
    /// Bytes of a Produce request (Kafka's `max.request.size` is 1 MiB)
    #[arg(long, default_value_t = 1 << 20)]
    request_bytes: usize,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct Saturated {
    /// From the first request to the last answer.
    pub seconds: f64,
    /// Records that were acknowledged.
    pub records: u64,
    /// Bytes of their keys, values and headers.
    pub record_bytes: u64,
    /// Bytes of their batches, as sent.
    pub batch_bytes: u64,
    /// Produce requests.
    pub requests: u64,
    /// `throttle_time_ms` of all answers.
    pub throttled_ms: u64,
    /// Batches that were refused, by error.
    pub refused: BTreeMap<String, u64>,
    /// Records a second.
    pub records_per_second: f64,
    /// 10^6 bytes of records a second.
    pub mb_per_second: f64,
    /// From a request's hand-over to its answer, counted per record.
    pub ack: LatencySummary,
    /// CPU time of the server, in seconds.
    pub server_cpu_seconds: Option<f64>,
    /// CPU time of this generator, in seconds.
    pub generator_cpu_seconds: f64,
    /// 10^6 bytes of records per CPU-second of the server.
    pub mb_per_cpu_second: Option<f64>,
    /// The server, once a second.
    pub samples: Vec<Sample>,
}

#[derive(Debug, Default, Clone)]
struct Tally {
    records: u64,
    record_bytes: u64,
    batch_bytes: u64,
    requests: u64,
    throttled_ms: u64,
    refused: BTreeMap<String, u64>,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.records += other.records;
        self.record_bytes += other.record_bytes;
        self.batch_bytes += other.batch_bytes;
        self.requests += other.requests;
        self.throttled_ms += other.throttled_ms;
        for (error, count) in other.refused {
            *self.refused.entry(error).or_default() += count;
        }
    }
}

/// One connection and the partitions that it writes to.
struct Lane {
    runtime: Runtime,
    connection: Arc<Connection>,
    topic: Arc<Topic>,
    /// Each with its next sequence.
    partitions: Vec<(i32, i32)>,
    next_partition: usize,
    templates: Arc<Vec<Template>>,
    next_template: usize,
    identity: Identity,
    acks: Acks,
    version: i16,
    args: SaturateArgs,
    until: Duration,
    sent: Shared<u64>,
    tally: Tally,
    latencies: Latencies,
}

struct Request {
    message: ProduceRequest,
    batches: u64,
    records: u64,
    record_bytes: u64,
    batch_bytes: u64,
}

/// Runs it.
///
/// # Errors
/// No broker, no topic, or an answer that cannot be gone on from.
pub async fn run(runtime: &Runtime, args: SaturateArgs) -> anyhow::Result<Saturated> {
    let client = args.target.client(runtime)?;
    let topic = client.topic(&args.target.topic).await?;
    let cluster = client.known();
    let pool = payload::pool(&args.records)?;
    let templates = Arc::new(templates(&pool, args.send.codec.into(), args.send.batch_bytes)?);
    drop(pool);
    let mut by_leader: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for partition in &topic.partitions {
        by_leader.entry(partition.leader).or_default().push(partition.partition);
    }
    let acks: Acks = args.send.acks.into();
    let sent = Shared::<u64>::default();
    let mut lanes = Vec::new();
    for number in 0..args.send.connections.max(1) {
        for (leader, partitions) in &by_leader {
            let broker = cluster.brokers.get(leader).with_context(|| format!("broker {leader} leads and is not known"))?;
            let connection = Connection::open(runtime, &TcpConnect, &args.target.options(), &broker.host, broker.port).await?;
            let identity = if args.send.idempotent && acks == Acks::All { new_identity(&connection).await? } else { ANONYMOUS };
            let first = if identity == ANONYMOUS { -1 } else { 0 };
            lanes.push(Lane {
                runtime: runtime.clone(),
                version: connection.version::<ProduceRequest>(NAMES_CAP)?,
                connection,
                topic: topic.clone(),
                partitions: partitions.iter().map(|partition| (*partition, first)).collect(),
                // Connections begin at different places.
                next_partition: number * partitions.len() / args.send.connections.max(1),
                next_template: number * templates.len() / args.send.connections.max(1),
                templates: templates.clone(),
                identity,
                acks,
                args: args.clone(),
                until: Duration::ZERO,
                sent: sent.clone(),
                tally: Tally::default(),
                latencies: Latencies::new(3)?,
            });
        }
    }
    let started = runtime.clock.monotonic();
    let samples = args.target.pid.map(|pid| sample(runtime, pid, started));
    let before = args.target.pid.map(Usage::of).transpose()?;
    let own_before = Usage::of(std::process::id())?;
    let mut running = Vec::new();
    for mut lane in lanes {
        lane.until = started + Duration::from_secs_f64(args.seconds);
        running.push(start(runtime, "lane", lane.run()));
    }
    let mut tally = Tally::default();
    let mut latencies = Latencies::new(3)?;
    for lane in running {
        let (one, times) = lane.await?;
        tally.add(one);
        latencies.merge(&times);
    }
    let seconds = (runtime.clock.monotonic() - started).as_secs_f64();
    let after = args.target.pid.map(Usage::of).transpose()?;
    let cpu = before.zip(after).map(|(before, after)| after.cpu_seconds - before.cpu_seconds);
    let megabytes = tally.record_bytes as f64 / 1e6;
    Ok(Saturated {
        seconds,
        records: tally.records,
        record_bytes: tally.record_bytes,
        batch_bytes: tally.batch_bytes,
        requests: tally.requests,
        throttled_ms: tally.throttled_ms,
        refused: tally.refused,
        records_per_second: tally.records as f64 / seconds,
        mb_per_second: megabytes / seconds,
        ack: latencies.summary(),
        server_cpu_seconds: cpu,
        generator_cpu_seconds: Usage::of(std::process::id())?.cpu_seconds - own_before.cpu_seconds,
        mb_per_cpu_second: cpu.filter(|cpu| *cpu > 0.0).map(|cpu| megabytes / cpu),
        samples: samples.map(|samples| samples.with(|samples| samples.clone())).unwrap_or_default(),
    })
}

async fn new_identity(connection: &Arc<Connection>) -> anyhow::Result<Identity> {
    let request = InitProducerIdRequest { transaction_timeout_ms: i32::MAX, producer_epoch: -1, ..Default::default() };
    // A broker that has just started may not have ids yet.
    for _ in 0..100 {
        let answer = connection.call(&request).await?;
        match ErrorCode::from_code(answer.error_code) {
            ErrorCode::None => return Ok(Identity { id: answer.producer_id, epoch: answer.producer_epoch }),
            ErrorCode::CoordinatorLoadInProgress | ErrorCode::CoordinatorNotAvailable => tokio::time::sleep(PAUSE).await,
            error => bail!("no producer id: {}", error.name()),
        }
    }
    bail!("no producer id within 10 s")
}

const PAUSE: Duration = Duration::from_millis(100);

impl Lane {
    async fn run(mut self) -> anyhow::Result<(Tally, Latencies)> {
        if self.acks == Acks::None {
            return self.run_unanswered().await;
        }
        let mut in_flight = FuturesOrdered::new();
        loop {
            while in_flight.len() < self.args.send.in_flight.max(1) && self.may_send() {
                let request = self.next_request();
                let handed_over = self.runtime.clock.monotonic();
                let answer = self.connection.submit(self.version, &request.message)?;
                in_flight.push_back(async move { (answer.wait(PATIENCE).await, handed_over, request) });
            }
            let Some((answer, handed_over, request)) = in_flight.next().await else { break };
            let answer = answer?;
            let throttle = u64::try_from(answer.throttle_time_ms).unwrap_or_default();
            self.take(&answer, handed_over, &request)?;
            if throttle > 0 {
                // Clients keep still for as long as they are told (KIP-219).
                self.tally.throttled_ms += throttle;
                self.runtime.sleep(Duration::from_millis(throttle)).await;
            }
        }
        Ok((self.tally, self.latencies))
    }

    async fn run_unanswered(mut self) -> anyhow::Result<(Tally, Latencies)> {
        while self.may_send() {
            let request = self.next_request();
            let handed_over = self.runtime.clock.monotonic();
            self.connection.submit_unanswered(self.version, &request.message)?.await?;
            self.latencies.add(self.runtime.clock.monotonic() - handed_over, request.records);
            self.count(&request);
        }
        Ok((self.tally, self.latencies))
    }

    fn may_send(&self) -> bool {
        let enough = self.args.bytes > 0 && self.sent.with(|sent| *sent >= self.args.bytes);
        !enough && self.runtime.clock.monotonic() < self.until
    }

    /// One batch for each of the next partitions, as many as a request may hold.
    fn next_request(&mut self) -> Request {
        let mut partition_data = Vec::new();
        let (mut records, mut record_bytes, mut batch_bytes) = (0, 0, 0);
        let timestamp_ms = self.runtime.clock.now_ms();
        for _ in 0..self.partitions.len() {
            let template = &self.templates[self.next_template];
            if !partition_data.is_empty() && batch_bytes + template.bytes() > self.args.request_bytes {
                break;
            }
            let (partition, sequence) = &mut self.partitions[self.next_partition];
            let batch = template.stamp(self.identity, *sequence, timestamp_ms);
            if *sequence >= 0 {
                *sequence = ((i64::from(*sequence) + i64::from(template.records)) % (i64::from(i32::MAX) + 1)) as i32;
            }
            records += u64::from(template.records);
            record_bytes += template.record_bytes;
            batch_bytes += batch.len();
            partition_data.push(PartitionProduceData { index: *partition, records: Some(batch) });
            self.next_template = (self.next_template + 1) % self.templates.len();
            self.next_partition = (self.next_partition + 1) % self.partitions.len();
        }
        self.sent.with(|sent| *sent += record_bytes);
        let batches = partition_data.len() as u64;
        let topic = TopicProduceData { name: self.topic.name.clone(), topic_id: self.topic.topic_id, partition_data };
        let acks = match self.acks {
            Acks::None => 0,
            Acks::Leader => 1,
            Acks::All => -1,
        };
        let message = ProduceRequest { transactional_id: None, acks, timeout_ms: 30_000, topic_data: vec![topic] };
        Request { message, batches, records, record_bytes, batch_bytes: batch_bytes as u64 }
    }

    fn take(&mut self, answer: &ProduceResponse, handed_over: Duration, request: &Request) -> anyhow::Result<()> {
        let answers = answer.responses.iter().flat_map(|topic| &topic.partition_responses);
        let mut refused = 0;
        for one in answers {
            let error = ErrorCode::from_code(one.error_code);
            if !error.is_none() {
                refused += 1;
                *self.tally.refused.entry(error.name().to_owned()).or_default() += 1;
            }
        }
        // Behind a refused batch an idempotent producer would have to number anew: a run in which that happens is void.
        if refused > 0 {
            bail!("{refused} of {} batches of a request were refused: {:?}", request.batches, self.tally.refused);
        }
        self.latencies.add(self.runtime.clock.monotonic() - handed_over, request.records);
        self.count(request);
        Ok(())
    }

    fn count(&mut self, request: &Request) {
        self.tally.requests += 1;
        self.tally.records += request.records;
        self.tally.record_bytes += request.record_bytes;
        self.tally.batch_bytes += request.batch_bytes;
    }
}
