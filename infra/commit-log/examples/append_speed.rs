//! What an append costs on this machine's disk: `cargo run --release -p strandline-commit-log --example append_speed [DIR]`.
//!
//! Appends one after another, as the committer does, with payloads of several sizes; then reopens the log as after a
//! kill and reads it through.
#![allow(clippy::print_stdout)]

use bytes::Bytes;
use std::path::Path;
use std::time::Duration;
use strandline_commit_log::embedded::{EmbeddedCommitLog, Options};
use strandline_commit_log::{CommitLog, Entry, Payload, Tail};
use strandline_runtime::Runtime;
use strandline_types::{ChainHash, Seq};

const ENTRY_BYTES: usize = 200;

fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok());
    ticks.sum::<f64>() / 100.0
}

async fn measure(dir: &Path, payload_bytes: usize, appends: u64, options: &Options) -> anyhow::Result<()> {
    let runtime = Runtime::system();
    let clock = runtime.clock.clone();
    let log = EmbeddedCommitLog::open(dir, options.clone(), runtime.clone()).await?;
    let payload = Bytes::from((0..payload_bytes).map(|at| (at * 7 % 251) as u8).collect::<Vec<_>>());
    let mut took = Vec::with_capacity(appends as usize);
    let (begun, cpu) = (clock.monotonic(), cpu_seconds());
    for seq in 1..=appends {
        let entry = Entry {
            hash_before: ChainHash([seq as u8; 16]),
            bytes: Bytes::from(vec![seq as u8; ENTRY_BYTES]),
            // The CRC is part of what an append costs.
            payload: Payload::new(vec![payload.clone()]),
        };
        let before = clock.monotonic();
        log.append(Seq(seq), entry).await?;
        took.push(clock.monotonic() - before);
    }
    let (wall, cpu) = ((clock.monotonic() - begun).as_secs_f64(), cpu_seconds() - cpu);
    took.sort_unstable();
    let quantile = |q: f64| took.get((appends as f64 * q) as usize).map_or(0.0, Duration::as_secs_f64) * 1e3;
    let bytes = appends as f64 * (payload_bytes + ENTRY_BYTES + 56) as f64;
    drop(log);

    let begun = clock.monotonic();
    let log = EmbeddedCommitLog::open(dir, options.clone(), runtime).await?;
    let opened = clock.monotonic() - begun;
    let (begun, mut next) = (clock.monotonic(), 1);
    loop {
        match log.read(Seq(next), 4 << 20).await? {
            Tail::Rows { rows, .. } if rows.is_empty() => break,
            Tail::Rows { rows, .. } => next += rows.len() as u64,
            Tail::Trimmed { floor } => anyhow::bail!("trimmed up to {}", floor.seq),
        }
    }
    let replayed = clock.monotonic() - begun;
    anyhow::ensure!(next == appends + 1, "{} entries came back", next - 1);
    println!(
        "{:>8} B  {:>7.0} appends/s  {:>6.1} MB/s  p50 {:.2} p99 {:.2} max {:.1} ms  {:.2} CPU-s/GB  {:>5.0} us CPU each  \
         open after kill {:>4.0} ms, replay {:>4.0} ms of {:.0} MB",
        payload_bytes,
        appends as f64 / wall,
        bytes / wall / 1e6,
        quantile(0.5),
        quantile(0.99),
        quantile(0.9999),
        cpu / (bytes / 1e9),
        cpu / appends as f64 * 1e6,
        opened.as_secs_f64() * 1e3,
        replayed.as_secs_f64() * 1e3,
        bytes / 1e6,
    );
    Ok(())
}

fn main() -> anyhow::Result<()> {
    let base = std::env::args().nth(1).map_or_else(std::env::temp_dir, Into::into);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    for preallocate_bytes in [Options::default().preallocate_bytes, 0] {
        println!("taken ahead: {preallocate_bytes} bytes");
        for (payload_bytes, appends) in [(0, 10_000), (1 << 10, 10_000), (64 << 10, 4_000), (1 << 20, 500)] {
            let dir = base.join(format!("append-speed-{}", std::process::id()));
            let options = Options { preallocate_bytes, ..Options::default() };
            let measured = runtime.block_on(measure(&dir, payload_bytes, appends, &options));
            std::fs::remove_dir_all(&dir)?;
            measured?;
        }
    }
    Ok(())
}
