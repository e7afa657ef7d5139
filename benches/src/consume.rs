//! Reading what is there, as fast as it comes: from the tail, from the log, from sealed files.

use crate::load::{Shared, Target, start};
use crate::process::{Sample, Usage, sample};
use anyhow::ensure;
use clap::Args;
use serde::Serialize;
use std::time::Duration;
use strandline_client::{ConsumerOptions, StartAt};
use strandline_runtime::Runtime;

/// Reads a topic from its beginning as fast as it comes
#[derive(Debug, Clone, Args)]
pub struct ConsumeArgs {
    #[command(flatten)]
    target: Target,
    /// Records that the topic has; that many are read, so many times
    #[arg(long)]
    records: u64,
    /// How often
    #[arg(long, default_value_t = 1)]
    repeat: u32,
    /// Bytes of key, value and headers of a record, for the sums
    #[arg(long, default_value_t = 1_024.0)]
    record_bytes: f64,
    /// Consumers, each with a connection and a part of the partitions
    #[arg(long, default_value_t = 1)]
    connections: usize,
    /// Bytes of one partition in a fetch (Kafka's `max.partition.fetch.bytes`)
    #[arg(long, default_value_t = 1 << 20)]
    partition_bytes: i32,
    /// Bytes of a fetch
    #[arg(long, default_value_t = 16 << 20)]
    max_bytes: i32,
    /// Whether checksums are checked; without, the generator takes less of the machine
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set)]
    check_crcs: bool,
    /// It fails if it takes longer
    #[arg(long, default_value_t = 600.0)]
    timeout_seconds: f64,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct Consumed {
    /// From the first fetch to the last record.
    pub seconds: f64,
    /// Records that were read.
    pub records: u64,
    /// Bytes of their batches, as they came.
    pub batch_bytes: u64,
    /// 10^6 bytes of records a second.
    pub mb_per_second: f64,
    /// CPU time of the server, in seconds.
    pub server_cpu_seconds: Option<f64>,
    /// CPU time of this generator, in seconds.
    pub generator_cpu_seconds: f64,
    /// 10^6 bytes of records per CPU-second of the server.
    pub mb_per_cpu_second: Option<f64>,
    /// The server, once a second.
    pub samples: Vec<Sample>,
}

/// Runs it.
///
/// # Errors
/// No broker, no topic, or not all records within the time.
pub async fn run(runtime: &Runtime, args: ConsumeArgs) -> anyhow::Result<Consumed> {
    let client = args.target.client(runtime)?;
    let partitions = client.topic(&args.target.topic).await?.partitions.len();
    let started = runtime.clock.monotonic();
    let samples = args.target.pid.map(|pid| sample(runtime, pid, started));
    let before = args.target.pid.map(Usage::of).transpose()?;
    let own_before = Usage::of(std::process::id())?;
    let connections = args.connections.clamp(1, partitions.max(1));
    let (mut records, mut batch_bytes) = (0, 0);
    for _ in 0..args.repeat.max(1) {
        let left = Shared::new(args.records);
        let mut running = Vec::new();
        for number in 0..connections {
            let mine: Vec<i32> = (0..partitions as i32).filter(|partition| *partition as usize % connections == number).collect();
            running.push(start(runtime, "consumer", read(runtime.clone(), args.clone(), mine, left.clone())));
        }
        for one in running {
            let (count, bytes) = one.await?;
            records += count;
            batch_bytes += bytes;
        }
    }
    let seconds = (runtime.clock.monotonic() - started).as_secs_f64();
    let wanted = args.records * u64::from(args.repeat.max(1));
    ensure!(records >= wanted, "{records} records came of {wanted}, within {seconds:.0} s");
    let after = args.target.pid.map(Usage::of).transpose()?;
    let cpu = before.zip(after).map(|(before, after)| after.cpu_seconds - before.cpu_seconds);
    let megabytes = records as f64 * args.record_bytes / 1e6;
    Ok(Consumed {
        seconds,
        records,
        batch_bytes,
        mb_per_second: megabytes / seconds,
        server_cpu_seconds: cpu,
        generator_cpu_seconds: Usage::of(std::process::id())?.cpu_seconds - own_before.cpu_seconds,
        mb_per_cpu_second: cpu.filter(|cpu| *cpu > 0.0).map(|cpu| megabytes / cpu),
        samples: samples.map(|samples| samples.with(|samples| samples.clone())).unwrap_or_default(),
    })
}

async fn read(runtime: Runtime, args: ConsumeArgs, partitions: Vec<i32>, left: Shared<u64>) -> anyhow::Result<(u64, u64)> {
    // A client each, so that each has its own connection.
    let client = args.target.client(&runtime)?;
    let mut consumer = client.consumer(ConsumerOptions {
        check_crcs: args.check_crcs,
        partition_bytes: args.partition_bytes,
        max_bytes: args.max_bytes,
        max_wait: Duration::from_millis(100),
        ..ConsumerOptions::default()
    });
    client.topic(&args.target.topic).await?;
    consumer.assign(partitions.into_iter().map(|partition| ((args.target.topic.clone(), partition), StartAt::Offset(0))));
    let deadline = runtime.clock.monotonic() + Duration::from_secs_f64(args.timeout_seconds);
    let (mut records, mut bytes) = (0, 0);
    while left.with(|left| *left > 0) && runtime.clock.monotonic() < deadline {
        let fetched = consumer.poll(Duration::from_millis(20)).await?;
        for partition in &fetched.partitions {
            let came: u64 = partition.batches.iter().map(|batch| u64::from(batch.header.record_count.unsigned_abs())).sum();
            records += came;
            bytes += partition.bytes as u64;
            left.with(|left| *left = left.saturating_sub(came));
        }
    }
    Ok((records, bytes))
}
