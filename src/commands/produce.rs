//! `strandline produce`.

use super::{BootstrapArgs, explain, parse};
use crate::output::{counted, remark};
use crate::signals::{give_up, stop_signal};
use anyhow::{Context as _, bail};
use clap::ValueEnum;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::time::Duration;
use strandline_client::{Acks, Compression, Delivery, HeaderRef, Producer, ProducerOptions, ProducerRecord};
use strandline_runtime::Runtime;
use strandline_types::limits;
use tokio::sync::mpsc;

/// Sends lines as records.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  echo hello | strandline produce orders
  echo 'k1:hello' | strandline produce orders --key-separator :
  strandline produce orders --file orders.jsonl --compression zstd --header source=import
  yes | strandline produce load --rate 1000 --acks 1

A line is a record. With --key-separator what comes before it is the key; a line without it has
no key. With --null-marker a key or value that is the marker is null: a null value is a tombstone,
which a compacted topic takes as 'deleted'.")]
pub struct ProduceArgs {
    #[command(flatten)]
    bootstrap: BootstrapArgs,
    /// The topic
    topic: String,
    /// A file with the lines [default: standard input]
    #[arg(long, short, value_name = "FILE")]
    file: Option<PathBuf>,
    /// What stands between key and value, such as : or \t
    #[arg(long, short = 'k', value_name = "TEXT")]
    key_separator: Option<String>,
    /// What stands for null
    #[arg(long, value_name = "TEXT")]
    null_marker: Option<String>,
    /// A header of every record; may be repeated
    #[arg(long = "header", short = 'H', value_name = "KEY=VALUE", value_parser = parse::pair)]
    headers: Vec<(String, String)>,
    /// The partition [default: by key as Java's clients, without key any]
    #[arg(long, short, value_name = "N")]
    partition: Option<i32>,
    /// How batches are compressed
    #[arg(long, short = 'z', value_enum, default_value = "none")]
    compression: Codec,
    /// What counts as delivered: 1 and all are the same, synced to disk
    #[arg(long, value_enum, default_value = "all", allow_hyphen_values = true)]
    acks: AcksArg,
    /// Records a second at most
    #[arg(long, value_name = "N", value_parser = parse::rate)]
    rate: Option<f64>,
    /// How long a batch waits for more records
    #[arg(long, value_name = "TIME", value_parser = parse::duration, default_value = "5ms")]
    linger: Duration,
    /// Say nothing at the end
    #[arg(long, short)]
    quiet: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Codec {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl From<Codec> for Compression {
    fn from(codec: Codec) -> Self {
        match codec {
            Codec::None => Self::None,
            Codec::Gzip => Self::Gzip,
            Codec::Snappy => Self::Snappy,
            Codec::Lz4 => Self::Lz4,
            Codec::Zstd => Self::Zstd,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum AcksArg {
    #[value(name = "0")]
    Zero,
    #[value(name = "1")]
    One,
    #[value(alias = "-1")]
    All,
}

impl From<AcksArg> for Acks {
    fn from(acks: AcksArg) -> Self {
        match acks {
            AcksArg::Zero => Self::None,
            AcksArg::One => Self::Leader,
            AcksArg::All => Self::All,
        }
    }
}

/// Deliveries that are waited for at once; beyond it the oldest is waited for first.
const DELIVERIES: usize = 100_000;

/// Runs `strandline produce`.
///
/// # Errors
/// The first record that was not delivered, in plain words.
pub async fn run(args: ProduceArgs) -> anyhow::Result<()> {
    let client = args.bootstrap.client("produce")?;
    client.topic(&args.topic).await.map_err(explain)?;
    let producer = client.producer(ProducerOptions {
        acks: args.acks.into(),
        compression: args.compression.into(),
        linger: args.linger,
        ..ProducerOptions::default()
    });
    let runtime = client.runtime().clone();
    let started = runtime.clock.monotonic();
    let (lines, input) = mpsc::channel(INPUT_CHUNKS);
    let file = args.file.clone();
    let reading = runtime.clone();
    runtime.spawner.spawn("reading lines", async move {
        let failed = lines.clone();
        let read = reading.spawner.blocking("reading lines", move || read_lines(file.as_deref(), &lines)).await;
        if let Err(error) = read.map_err(anyhow::Error::from).and_then(|read| read) {
            let _ = failed.send(Err(error)).await;
        }
    });
    let sending = async {
        let sent = send_lines(&args, &producer, &runtime, input).await;
        let closed = producer.close().await.map_err(explain);
        let sent = sent?;
        closed.map(|()| sent)
    };
    let sent = tokio::select! {
        sent = sending => sent?,
        given_up = give_up(&runtime) => {
            given_up?;
            remark!("strandline: stopped before all was delivered");
            std::process::exit(1);
        }
    };
    if !args.quiet {
        let seconds = (runtime.clock.monotonic() - started).as_secs_f64();
        remark!("{} delivered in {seconds:.1} s", counted(sent, "record"));
    }
    Ok(())
}

/// Lines are handed over in pieces of this size, or as they come.
const INPUT_BYTES: usize = 64 << 10;
/// Pieces that were read ahead.
const INPUT_CHUNKS: usize = 4;

type Lines = mpsc::Sender<anyhow::Result<Vec<u8>>>;

/// Hands over whole lines until the input ends.
fn read_lines(file: Option<&std::path::Path>, lines: &Lines) -> anyhow::Result<()> {
    let input: Box<dyn Read> = match file {
        Some(file) => Box::new(std::fs::File::open(file).with_context(|| format!("cannot read {}", file.display()))?),
        None => Box::new(std::io::stdin()),
    };
    let mut input = BufReader::with_capacity(INPUT_BYTES, input);
    let mut chunk = Vec::new();
    loop {
        let room = limits::BATCH_BYTES as u64;
        let read = (&mut input).take(room).read_until(b'\n', &mut chunk).context("the input cannot be read")?;
        if read as u64 == room {
            bail!("a line has more than {room} bytes, which no record may have");
        }
        let is_over = read == 0;
        if !chunk.is_empty() && (is_over || chunk.len() >= INPUT_BYTES || input.buffer().is_empty()) {
            // Nobody listens any more: the command is over.
            if lines.blocking_send(Ok(std::mem::take(&mut chunk))).is_err() {
                return Ok(());
            }
        }
        if is_over {
            return Ok(());
        }
    }
}

/// Sends what comes until there is no more, or until a signal; returns how many records were delivered.
async fn send_lines(
    args: &ProduceArgs,
    producer: &Producer,
    runtime: &Runtime,
    mut input: mpsc::Receiver<anyhow::Result<Vec<u8>>>,
) -> anyhow::Result<u64> {
    let separator = args.key_separator.as_deref().map(parse::unescape);
    let headers: Vec<HeaderRef<'_>> =
        args.headers.iter().map(|(key, value)| HeaderRef { key, value: Some(value.as_bytes()) }).collect();
    let mut deliveries: VecDeque<Delivery> = VecDeque::new();
    let mut sent = 0;
    let started = runtime.clock.monotonic();
    let mut stop = std::pin::pin!(stop_signal()?);
    'sending: loop {
        let chunk = tokio::select! {
            chunk = input.recv() => chunk,
            // What is refused is said also while no line comes.
            () = answered(deliveries.front()) => {
                check_front(&mut deliveries).await?;
                continue;
            }
            () = &mut stop => break,
        };
        let Some(chunk) = chunk.transpose()? else { break };
        for line in chunk.split_inclusive(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let (key, value) = split(line, separator.as_deref());
            let nulled = |bytes: &[u8]| args.null_marker.as_ref().is_some_and(|marker| marker.as_bytes() == bytes);
            let record = ProducerRecord {
                topic: &args.topic,
                partition: args.partition,
                key: key.filter(|key| !nulled(key)),
                value: Some(value).filter(|value| !nulled(value)),
                headers: &headers,
                timestamp_ms: None,
            };
            deliveries.push_back(producer.send(record).await.map_err(explain)?);
            sent += 1;
            check_front(&mut deliveries).await?;
            if let Some(rate) = args.rate {
                let mut due = std::pin::pin!(pace(runtime, started, sent, rate));
                loop {
                    tokio::select! {
                        biased;
                        () = &mut stop => break 'sending,
                        () = &mut due => break,
                        () = answered(deliveries.front()) => check_front(&mut deliveries).await?,
                    }
                }
            }
        }
    }
    producer.flush().await.map_err(explain)?;
    for delivery in deliveries {
        delivery.wait().await.map_err(explain)?;
    }
    Ok(sent)
}

/// Waits until it is known what became of a record; for ever where there is none.
async fn answered(delivery: Option<&Delivery>) {
    match delivery {
        Some(delivery) => delivery.known().await,
        None => std::future::pending().await,
    }
}

/// Looks at what is delivered already; waits only when very much is not.
async fn check_front(deliveries: &mut VecDeque<Delivery>) -> anyhow::Result<()> {
    while let Some(front) = deliveries.front() {
        match front.now() {
            Some(result) => drop(result.map_err(explain)?),
            None if deliveries.len() <= DELIVERIES => return Ok(()),
            None => {
                if let Some(front) = deliveries.pop_front() {
                    front.wait().await.map_err(explain)?;
                }
                continue;
            }
        }
        deliveries.pop_front();
    }
    Ok(())
}

/// Waits until the next record is due.
async fn pace(runtime: &Runtime, started: Duration, sent: u64, rate: f64) {
    let due = started + Duration::from_secs_f64(sent as f64 / rate);
    let wait = due.saturating_sub(runtime.clock.monotonic());
    if wait > Duration::from_millis(1) {
        runtime.sleep(wait).await;
    }
}

/// Key and value of a line.
fn split<'a>(line: &'a [u8], separator: Option<&str>) -> (Option<&'a [u8]>, &'a [u8]) {
    let Some(separator) = separator.map(str::as_bytes).filter(|separator| !separator.is_empty()) else { return (None, line) };
    match line.windows(separator.len()).position(|window| window == separator) {
        Some(at) => (Some(&line[..at]), &line[at + separator.len()..]),
        None => (None, line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_split_at_the_first_separator() {
        assert_eq!(split(b"k:v:w", Some(":")), (Some(&b"k"[..]), &b"v:w"[..]));
        assert_eq!(split(b"k::v", Some("::")), (Some(&b"k"[..]), &b"v"[..]));
        assert_eq!(split(b"value", Some(":")), (None, &b"value"[..]));
        assert_eq!(split(b":v", Some(":")), (Some(&b""[..]), &b"v"[..]));
        assert_eq!(split(b"k:v", None), (None, &b"k:v"[..]));
        assert_eq!(split(b"k:v", Some("")), (None, &b"k:v"[..]));
    }
}
