//! The open loop: records go when the schedule says, whatever the broker does, and latency counts from then.

use crate::freshness::{self, Progress};
use crate::latency::{Latencies, LatencySummary};
use crate::load::{RecordArgs, SendArgs, Shared, Target, start};
use crate::payload::{self, Payload};
use crate::process::{Sample, Usage, sample};
use crate::schedule::Schedule;
use clap::Args;
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use strandline_client::{ConsumerOptions, Delivery, HeaderRef, Producer, ProducerOptions, ProducerRecord, StartAt};
use strandline_runtime::Runtime;
use tokio::sync::Notify;

/// The header that carries when a record was meant to be sent, in nanoseconds of the machine's clock since its start.
pub const SENT_HEADER: &str = "sent";
/// How often the schedule is looked at. What falls due in between waits so long, and that counts.
const TICK: Duration = Duration::from_millis(1);
/// How long the end waits for what is on its way.
const DRAIN: Duration = Duration::from_secs(120);

/// Sends at given rates, whatever the broker does
#[derive(Debug, Clone, Args)]
pub struct OpenLoopArgs {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    records: RecordArgs,
    #[command(flatten)]
    send: SendArgs,
    /// Rates and their lengths
    #[arg(long, value_name = "RATE:SECONDS,…", default_value = "10000:30")]
    phases: String,
    /// Seconds at the beginning that do not count in the sums
    #[arg(long, default_value_t = 5.0)]
    warm_up_seconds: f64,
    /// How long a batch waits for more records
    #[arg(long, default_value_t = 5.0)]
    linger_ms: f64,
    /// Bytes of records that may wait in one producer
    #[arg(long, default_value_t = 32 << 20)]
    buffer_bytes: usize,
    /// A record that could not be handed to its producer for so long is not sent, and counted
    #[arg(long, default_value_t = 5.0)]
    give_up_seconds: f64,
    /// Consumers that read along and measure the time from end to end
    #[arg(long, default_value_t = 0)]
    consumers: usize,
    /// The HTTP address of a Strandline node, to measure when records are rows
    #[arg(long, value_name = "HOST:PORT")]
    http: Option<String>,
}

/// One second of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Second {
    /// Its beginning.
    pub at_seconds: u64,
    /// Records that were meant to be sent in it and were acknowledged.
    pub acknowledged: u64,
    /// Median from the intended time to the acknowledgement.
    pub p50_ms: f64,
    /// The same, 99 in a hundred.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct OpenLoop {
    /// The schedule's length.
    pub seconds: f64,
    /// Records that the schedule has.
    pub scheduled: u64,
    /// Those that were acknowledged.
    pub acknowledged: u64,
    /// Those that could not be handed to a producer in time.
    pub not_sent: u64,
    /// Those that failed, by error.
    pub failed: BTreeMap<String, u64>,
    /// Mean bytes of key, value and headers.
    pub mean_record_bytes: f64,
    /// From the intended time to the acknowledgement, the warm-up left out.
    pub ack: LatencySummary,
    /// From the intended time to the consumer, the warm-up left out.
    pub end_to_end: Option<LatencySummary>,
    /// Records that consumers got.
    pub consumed: Option<u64>,
    /// From the acknowledgement until as many rows were there; for those that never became rows, until the end of the wait.
    pub freshness: Option<LatencySummary>,
    /// Acknowledged records that were no rows a minute behind the schedule: a failure of the server.
    pub never_rows: Option<u64>,
    /// The server's CPU time behind the warm-up, per second.
    pub server_cores: Option<f64>,
    /// The most that was resident.
    pub server_peak_rss_bytes: Option<u64>,
    /// The generator's own CPU time, per second.
    pub generator_cores: f64,
    /// Each second.
    pub series: Vec<Second>,
    /// The server, once a second.
    pub samples: Vec<Sample>,
}

/// What the generators write down.
struct Record {
    ack: Latencies,
    end_to_end: Latencies,
    seconds: Vec<Latencies>,
    /// Acknowledgements by the tenth of a second in which they came.
    tenths: BTreeMap<u64, u64>,
    acknowledged: u64,
    not_sent: u64,
    consumed: u64,
    /// On the machine's clock; consumers do not count what was meant to be sent before.
    warm_until: Duration,
    failed: BTreeMap<String, u64>,
}

#[derive(Clone)]
struct Run {
    runtime: Runtime,
    args: OpenLoopArgs,
    schedule: Arc<Schedule>,
    pool: Arc<Vec<Payload>>,
    started: Duration,
    record: Shared<Record>,
    enough: Arc<Notify>,
}

/// Runs it.
///
/// # Errors
/// No broker, no topic, no node.
pub async fn run(runtime: &Runtime, args: OpenLoopArgs) -> anyhow::Result<OpenLoop> {
    let schedule = Arc::new(Schedule::parse(&args.phases)?);
    let pool = Arc::new(payload::pool(&args.records)?);
    let mean_record_bytes = pool.iter().map(Payload::bytes).sum::<usize>() as f64 / pool.len().max(1) as f64;
    args.target.client(runtime)?.topic(&args.target.topic).await?;
    let record = Shared::new(Record {
        ack: Latencies::new(3)?,
        end_to_end: Latencies::new(3)?,
        seconds: (0..=schedule.duration().as_secs()).map(|_| Latencies::new(2)).collect::<anyhow::Result<_>>()?,
        tenths: BTreeMap::new(),
        acknowledged: 0,
        not_sent: 0,
        consumed: 0,
        warm_until: Duration::MAX,
        failed: BTreeMap::new(),
    });
    let rows = match &args.http {
        Some(http) => Some(freshness::watch(runtime, http).await?),
        None => None,
    };
    // Consumers begin at the end that there is now, before the first record.
    let mut run = Run { runtime: runtime.clone(), args, schedule, pool, started: Duration::ZERO, record, enough: Arc::default() };
    let mut consumers = Vec::new();
    let ready = Shared::<usize>::default();
    for number in 0..run.args.consumers {
        consumers.push(start(runtime, "consumer", run.clone().consume(number, ready.clone())));
    }
    for _ in 0..100 {
        if ready.with(|ready| *ready == run.args.consumers) {
            break;
        }
        runtime.sleep(Duration::from_millis(50)).await;
    }
    // Time for the consumers' first fetches to be there.
    runtime.sleep(Duration::from_millis(200)).await;
    run.started = runtime.clock.monotonic();
    let warm_up = Duration::from_secs_f64(run.args.warm_up_seconds);
    run.record.with(|record| record.warm_until = run.started + warm_up);
    let samples = run.args.target.pid.map(|pid| sample(runtime, pid, run.started));
    let generators: Vec<_> = (0..run.args.send.connections.max(1))
        .map(|number| start(runtime, "generator", run.clone().generate(number as u64)))
        .collect();
    runtime.sleep(warm_up).await;
    let before = run.args.target.pid.map(Usage::of).transpose()?;
    let own_before = Usage::of(std::process::id())?;
    let warm_at = runtime.clock.monotonic();
    let left = (run.started + run.schedule.duration()).saturating_sub(warm_at);
    runtime.sleep(left).await;
    let after = run.args.target.pid.map(Usage::of).transpose()?;
    let own_after = Usage::of(std::process::id())?;
    let measured = (runtime.clock.monotonic() - warm_at).as_secs_f64().max(0.001);
    for generator in generators {
        generator.await?;
    }
    run.wait_for_consumers().await;
    run.enough.notify_waiters();
    for consumer in consumers {
        consumer.await?;
    }
    let freshness = match rows {
        Some(rows) => Some(run.freshness(&rows).await?),
        None => None,
    };
    let cpu = before.zip(after).map(|(before, after)| (after.cpu_seconds - before.cpu_seconds) / measured);
    let has_consumers = run.args.consumers > 0;
    let result = run.record.with(|record| OpenLoop {
        seconds: run.schedule.duration().as_secs_f64(),
        scheduled: run.schedule.records(),
        acknowledged: record.acknowledged,
        not_sent: record.not_sent,
        failed: record.failed.clone(),
        mean_record_bytes,
        ack: record.ack.summary(),
        end_to_end: has_consumers.then(|| record.end_to_end.summary()),
        consumed: has_consumers.then_some(record.consumed),
        never_rows: freshness.as_ref().map(|(_, missing)| *missing),
        freshness: freshness.map(|(summary, _)| summary),
        server_cores: cpu,
        server_peak_rss_bytes: after.map(|after| after.peak_rss_bytes),
        generator_cores: (own_after.cpu_seconds - own_before.cpu_seconds) / measured,
        series: record.seconds.iter().zip(0..).filter(|(second, _)| second.count() > 0).map(as_second).collect(),
        samples: samples.map(|samples| samples.with(|samples| samples.clone())).unwrap_or_default(),
    });
    Ok(result)
}

fn as_second((latencies, at_seconds): (&Latencies, u64)) -> Second {
    Second {
        at_seconds,
        acknowledged: latencies.count(),
        p50_ms: latencies.quantile_ms(0.5),
        p99_ms: latencies.quantile_ms(0.99),
        max_ms: latencies.quantile_ms(1.0),
    }
}

impl Run {
    /// One producer's share of the schedule: every n-th record.
    async fn generate(self, number: u64) -> anyhow::Result<()> {
        let client = self.args.target.client(&self.runtime)?;
        let producer = client.producer(ProducerOptions {
            acks: self.args.send.acks.into(),
            idempotent: self.args.send.idempotent,
            compression: self.args.send.codec.into(),
            linger: Duration::from_secs_f64(self.args.linger_ms / 1e3),
            batch_bytes: self.args.send.batch_bytes,
            buffer_bytes: self.args.buffer_bytes,
            in_flight: self.args.send.in_flight,
            ..ProducerOptions::default()
        });
        let step = self.args.send.connections.max(1) as u64;
        let mut next = number;
        let mut on_their_way = VecDeque::new();
        while let Some(intended) = self.schedule.intended(next) {
            let now = self.runtime.clock.monotonic() - self.started;
            if intended > now {
                self.take_acknowledgements(&mut on_their_way);
                self.runtime.sleep(TICK).await;
                continue;
            }
            if now - intended > Duration::from_secs_f64(self.args.give_up_seconds) {
                self.record.with(|record| record.not_sent += 1);
            } else {
                self.send(&producer, next, intended, &mut on_their_way).await;
            }
            next += step;
        }
        let deadline = self.runtime.clock.monotonic() + DRAIN;
        while !on_their_way.is_empty() && self.runtime.clock.monotonic() < deadline {
            self.take_acknowledgements(&mut on_their_way);
            self.runtime.sleep(TICK).await;
        }
        if !on_their_way.is_empty() {
            let late = on_their_way.len() as u64;
            self.record.with(|record| *record.failed.entry("not answered".into()).or_default() += late);
        }
        Ok(())
    }

    async fn send(
        &self,
        producer: &Producer,
        number: u64,
        intended: Duration,
        on_their_way: &mut VecDeque<(Duration, Delivery)>,
    ) {
        let payload = &self.pool[(number % self.pool.len() as u64) as usize];
        let sent = u64::try_from((self.started + intended).as_nanos()).unwrap_or_default().to_be_bytes();
        let mut headers = payload.header_refs();
        if self.args.consumers > 0 {
            headers.push(HeaderRef { key: SENT_HEADER, value: Some(&sent) });
        }
        let record = ProducerRecord {
            topic: &self.args.target.topic,
            partition: None,
            key: payload.key.as_deref(),
            value: Some(&payload.value),
            headers: &headers,
            timestamp_ms: None,
        };
        match producer.send(record).await {
            Ok(delivery) => on_their_way.push_back((intended, delivery)),
            Err(error) => self.record.with(|record| *record.failed.entry(error.to_string()).or_default() += 1),
        }
    }

    fn take_acknowledgements(&self, on_their_way: &mut VecDeque<(Duration, Delivery)>) {
        let warm_up = Duration::from_secs_f64(self.args.warm_up_seconds);
        self.record.with(|record| {
            while let Some((intended, result)) = on_their_way.front().and_then(|(intended, one)| Some((*intended, one.now()?))) {
                on_their_way.pop_front();
                match result {
                    Ok(acknowledged) => {
                        let at = acknowledged.at.saturating_sub(self.started);
                        let latency = at.saturating_sub(intended);
                        record.acknowledged += 1;
                        *record.tenths.entry(at.as_millis() as u64 / 100).or_default() += 1;
                        if let Some(second) = record.seconds.get_mut(intended.as_secs() as usize) {
                            second.add(latency, 1);
                        }
                        if intended >= warm_up {
                            record.ack.add(latency, 1);
                        }
                    }
                    Err(error) => *record.failed.entry(error.to_string()).or_default() += 1,
                }
            }
        });
    }

    async fn consume(self, number: usize, ready: Shared<usize>) -> anyhow::Result<()> {
        let client = self.args.target.client(&self.runtime)?;
        let topic = client.topic(&self.args.target.topic).await?;
        let mut consumer = client.consumer(ConsumerOptions { check_crcs: false, ..ConsumerOptions::default() });
        let mine = topic.partitions.iter().filter(|one| one.partition as usize % self.args.consumers == number);
        let ends = mine.map(|one| ((topic.name.clone(), one.partition), StartAt::Latest));
        consumer.assign(ends.collect::<Vec<_>>());
        // The first poll finds out where the ends are.
        consumer.poll(Duration::from_millis(300)).await?;
        ready.with(|ready| *ready += 1);
        let enough = self.enough.notified();
        tokio::pin!(enough);
        enough.as_mut().enable();
        loop {
            let fetched = tokio::select! {
                fetched = consumer.poll(Duration::from_secs(1)) => fetched?,
                () = &mut enough => return Ok(()),
            };
            let now = self.runtime.clock.monotonic();
            let mut times = Vec::new();
            for partition in &fetched.partitions {
                partition.for_each(|record| {
                    times.extend(record.headers.iter().filter(|header| header.key == SENT_HEADER).filter_map(|header| {
                        header.value.and_then(|value| value.try_into().ok()).map(u64::from_be_bytes).map(Duration::from_nanos)
                    }));
                    ControlFlow::Continue(())
                })?;
            }
            self.record.with(|record| {
                record.consumed += times.len() as u64;
                for sent in times {
                    if sent >= record.warm_until {
                        record.end_to_end.add(now.saturating_sub(sent), 1);
                    }
                }
            });
        }
    }

    async fn wait_for_consumers(&self) {
        let deadline = self.runtime.clock.monotonic() + Duration::from_secs(10);
        let behind = || self.args.consumers > 0 && self.record.with(|record| record.consumed < record.acknowledged);
        while behind() && self.runtime.clock.monotonic() < deadline {
            self.runtime.sleep(Duration::from_millis(20)).await;
        }
    }

    async fn freshness(&self, rows: &Shared<Progress>) -> anyhow::Result<(LatencySummary, u64)> {
        let mut acknowledged = Progress::default();
        let mut count = 0;
        for (tenth, more) in self.record.with(|record| record.tenths.clone()) {
            count += more;
            acknowledged.add(self.started + Duration::from_millis((tenth + 1) * 100), count);
        }
        let deadline = self.runtime.clock.monotonic() + Duration::from_secs(60);
        while rows.with(|rows| rows.count()) < count && self.runtime.clock.monotonic() < deadline {
            self.runtime.sleep(Duration::from_millis(100)).await;
        }
        let until = self.runtime.clock.monotonic();
        rows.with(|rows| freshness::distances(&acknowledged, rows, until))
    }
}
