//! One record at a time, from a producer to a consumer that waits for it: the shortest way there is.

use crate::latency::{Latencies, LatencySummary};
use crate::load::{RecordArgs, SendArgs, Target, start};
use crate::payload;
use crate::process::Usage;
use anyhow::Context as _;
use clap::Args;
use serde::Serialize;
use std::ops::ControlFlow;
use std::time::Duration;
use strandline_client::{ConsumerOptions, ProducerOptions, ProducerRecord, StartAt};
use strandline_runtime::Runtime;
use tokio::sync::mpsc;

/// Sends a record, waits until a consumer has it, sends the next
#[derive(Debug, Clone, Args)]
pub struct OneAtATimeArgs {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    records: RecordArgs,
    #[command(flatten)]
    send: SendArgs,
    /// How many records count
    #[arg(long, default_value_t = 2_000)]
    count: u64,
    /// How many go before them
    #[arg(long, default_value_t = 200)]
    warm_up: u64,
    /// How long to wait between two
    #[arg(long, default_value_t = 0.0)]
    pause_ms: f64,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct OneAtATime {
    /// From `send` to the acknowledgement.
    pub ack: LatencySummary,
    /// From `send` to the consumer.
    pub end_to_end: LatencySummary,
    /// The server's CPU time per record, in milliseconds.
    pub server_cpu_ms_per_record: Option<f64>,
}

/// Runs it.
///
/// # Errors
/// No broker, no topic, or a record that does not arrive within 10 s.
pub async fn run(runtime: &Runtime, args: OneAtATimeArgs) -> anyhow::Result<OneAtATime> {
    let pool = payload::pool(&args.records)?;
    let client = args.target.client(runtime)?;
    let producer = client.producer(ProducerOptions {
        acks: args.send.acks.into(),
        idempotent: args.send.idempotent,
        compression: args.send.codec.into(),
        linger: Duration::ZERO,
        ..ProducerOptions::default()
    });
    let (arrived, mut arrivals) = mpsc::channel(16);
    let consumer = start(runtime, "consumer", consume(runtime.clone(), args.clone(), arrived));
    // The consumer says once that it is there.
    arrivals.recv().await.context("the consumer has ended")?;
    let (mut ack, mut end_to_end) = (Latencies::new(3)?, Latencies::new(3)?);
    let mut before = None;
    for number in 0..args.warm_up + args.count {
        if number == args.warm_up {
            before = args.target.pid.map(Usage::of).transpose()?;
        }
        let payload = &pool[(number % pool.len() as u64) as usize];
        let headers = payload.header_refs();
        let sent = runtime.clock.monotonic();
        let record = ProducerRecord {
            topic: &args.target.topic,
            partition: Some(0),
            key: payload.key.as_deref(),
            value: Some(&payload.value),
            headers: &headers,
            timestamp_ms: None,
        };
        let delivery = producer.send(record).await?;
        let arrived = tokio::time::timeout(Duration::from_secs(10), arrivals.recv()).await;
        let arrived = arrived.context("a record did not arrive within 10 s")?.context("the consumer has ended")?;
        let acknowledged = delivery.wait().await?;
        if number >= args.warm_up {
            ack.add(acknowledged.at.saturating_sub(sent), 1);
            end_to_end.add(arrived.saturating_sub(sent), 1);
        }
        if args.pause_ms > 0.0 {
            runtime.sleep(Duration::from_secs_f64(args.pause_ms / 1e3)).await;
        }
    }
    let after = args.target.pid.map(Usage::of).transpose()?;
    drop(arrivals);
    producer.close().await?;
    drop(consumer);
    let cpu = before.zip(after).map(|(before, after)| after.cpu_seconds - before.cpu_seconds);
    Ok(OneAtATime {
        ack: ack.summary(),
        end_to_end: end_to_end.summary(),
        server_cpu_ms_per_record: cpu.map(|cpu| cpu * 1e3 / args.count.max(1) as f64),
    })
}

async fn consume(runtime: Runtime, args: OneAtATimeArgs, arrived: mpsc::Sender<Duration>) -> anyhow::Result<()> {
    let client = args.target.client(&runtime)?;
    client.topic(&args.target.topic).await?;
    let mut consumer = client.consumer(ConsumerOptions::default());
    consumer.assign([((args.target.topic.clone(), 0), StartAt::Latest)]);
    consumer.poll(Duration::from_millis(500)).await?;
    if arrived.send(Duration::ZERO).await.is_err() {
        return Ok(());
    }
    loop {
        let fetched = consumer.poll(Duration::from_secs(1)).await?;
        let now = runtime.clock.monotonic();
        let mut count = 0_u64;
        for partition in &fetched.partitions {
            partition.for_each(|_| {
                count += 1;
                ControlFlow::Continue(())
            })?;
        }
        for _ in 0..count {
            if arrived.send(now).await.is_err() {
                return Ok(());
            }
        }
        if arrived.is_closed() {
            return Ok(());
        }
    }
}
