//! Many connections that do nothing: what they cost, and whether they disturb those that do something.

use crate::latency::{Latencies, LatencySummary};
use crate::load::{Target, start};
use crate::process::{Sample, Usage, sample};
use anyhow::Context as _;
use clap::Args;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use strandline_client::{Connection, TcpConnect};
use strandline_runtime::Runtime;
use tokio::sync::Semaphore;

/// Opens connections and holds them
#[derive(Debug, Clone, Args)]
pub struct ConnectionsArgs {
    #[command(flatten)]
    target: Target,
    /// How many
    #[arg(long, default_value_t = 10_000)]
    count: usize,
    /// How long they are held, once they are open
    #[arg(long, default_value_t = 10.0)]
    hold_seconds: f64,
    /// Connections that are opened at once
    #[arg(long, default_value_t = 100)]
    at_once: usize,
    /// Written once they are open
    #[arg(long, value_name = "FILE")]
    ready_file: Option<std::path::PathBuf>,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct Connections {
    /// Connections that were open together, each with its versions asked for.
    pub open: usize,
    /// How long opening all took, in seconds.
    pub open_seconds: f64,
    /// How long one took.
    pub open_latency: LatencySummary,
    /// Those that were still open in the end.
    pub still_open: usize,
    /// The server's resident bytes before, and with all of them.
    pub rss_bytes: Option<(u64, u64)>,
    /// The server's CPU time while they were held, per second.
    pub held_cores: Option<f64>,
    /// The server, once a second.
    pub samples: Vec<Sample>,
}

/// Runs it.
///
/// # Errors
/// A connection that cannot be opened.
pub async fn run(runtime: &Runtime, args: ConnectionsArgs) -> anyhow::Result<Connections> {
    let client = args.target.client(runtime)?;
    let cluster = client.cluster().await?;
    let broker = cluster.brokers.values().next().context("the cluster has no broker")?.clone();
    let before = args.target.pid.map(Usage::of).transpose()?;
    let started = runtime.clock.monotonic();
    let samples = args.target.pid.map(|pid| sample(runtime, pid, started));
    let at_once = Arc::new(Semaphore::new(args.at_once.max(1)));
    let mut opening = Vec::new();
    for _ in 0..args.count {
        let (own, options, broker) = (runtime.clone(), args.target.options(), broker.clone());
        let turn = at_once.clone().acquire_owned().await?;
        opening.push(start(runtime, "opening", async move {
            let began = own.clock.monotonic();
            let connection = Connection::open(&own, &TcpConnect, &options, &broker.host, broker.port).await?;
            drop(turn);
            Ok((connection, own.clock.monotonic() - began))
        }));
    }
    let mut connections = Vec::new();
    let mut latencies = Latencies::new(3)?;
    for one in opening {
        let (connection, took) = one.await?;
        latencies.add(took, 1);
        connections.push(connection);
    }
    let open_seconds = (runtime.clock.monotonic() - started).as_secs_f64();
    if let Some(path) = &args.ready_file {
        std::fs::write(path, "open\n").with_context(|| format!("cannot write {}", path.display()))?;
    }
    let held = args.target.pid.map(Usage::of).transpose()?;
    runtime.sleep(Duration::from_secs_f64(args.hold_seconds)).await;
    let after = args.target.pid.map(Usage::of).transpose()?;
    Ok(Connections {
        open: connections.len(),
        open_seconds,
        open_latency: latencies.summary(),
        still_open: connections.iter().filter(|connection| connection.is_open()).count(),
        rss_bytes: before.zip(after).map(|(before, after)| (before.rss_bytes, after.rss_bytes)),
        held_cores: held.zip(after).map(|(held, after)| (after.cpu_seconds - held.cpu_seconds) / args.hold_seconds.max(0.001)),
        samples: samples.map(|samples| samples.with(|samples| samples.clone())).unwrap_or_default(),
    })
}
