//! `strandline bronze` and `strandline index`: of a running node over its HTTP port, or of a folder that no node holds.

use crate::http::{BronzeTopic, IndexReport, VerifyResult};
use crate::node::{Node, NodeOptions};
use anyhow::{Context as _, bail};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use strandline_config::Settings;

/// Where the node or the folder is.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Where {
    /// A running node's HTTP address
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9644", conflicts_with = "data")]
    http: String,
    /// A folder that no node works on just now
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// What can be asked of the Parquet.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "Examples:
  strandline bronze list
  strandline bronze head veh.events.raw --rows 3
  strandline bronze seal veh.events.raw
  strandline bronze verify --data ./strandline-data      (no node is running)")]
pub(super) enum BronzeCommand {
    /// Files and rows of each topic
    List {
        /// One topic only
        topic: Option<String>,
        #[command(flatten)]
        at: Where,
    },
    /// The columns and their types
    Schema {
        /// The topic
        topic: String,
        #[command(flatten)]
        at: Where,
    },
    /// Reads every file whole and checks CRCs, digests, order and coverage
    Verify {
        /// One topic only
        topic: Option<String>,
        #[command(flatten)]
        at: Where,
    },
    /// The first rows of the newest file, as JSON lines
    Head {
        /// The topic
        topic: String,
        /// How many
        #[arg(long, default_value_t = 10)]
        rows: usize,
        #[command(flatten)]
        at: Where,
    },
    /// Converts and seals now all that is stable, so that a bare glob of bronze/ sees it
    Seal {
        /// One topic only
        topic: Option<String>,
        #[command(flatten)]
        at: Where,
    },
    /// The exact file list, as JSON
    Manifest {
        /// The topic
        topic: String,
        #[command(flatten)]
        at: Where,
    },
}

/// What can be asked of the index.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "Examples:
  strandline index inspect
  strandline index snapshot
  strandline index rebuild --data ./strandline-data      (no node is running)")]
pub(super) enum IndexCommand {
    /// The index in numbers, and whether its invariants hold
    Inspect {
        #[command(flatten)]
        at: Where,
    },
    /// Writes and verifies a snapshot now
    Snapshot {
        #[command(flatten)]
        at: Where,
    },
    /// Brings the cell back from the folder's other files after its commit log is lost
    Rebuild {
        /// The folder; no node may work on it
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
    },
}

pub(super) fn bronze(command: BronzeCommand) -> anyhow::Result<ExitCode> {
    match command {
        BronzeCommand::List { topic, at } => {
            let topics: Vec<BronzeTopic> = serde_json::from_str(&at.ask(Method::Get, &with_topic("/bronze", topic.as_deref()))?)?;
            print_topics(&topics);
        }
        BronzeCommand::Schema { topic, at } => print!("{}", at.ask(Method::Get, &format!("/bronze/{topic}/schema"))?),
        BronzeCommand::Head { topic, rows, at } => print!("{}", at.ask(Method::Get, &format!("/bronze/{topic}/head?rows={rows}"))?),
        BronzeCommand::Seal { topic, at } => print!("{}", at.ask(Method::Post, &with_topic("/bronze/seal", topic.as_deref()))?),
        BronzeCommand::Manifest { topic, at } => {
            let manifest: serde_json::Value = serde_json::from_str(&at.ask(Method::Get, &format!("/bronze/{topic}/manifest"))?)?;
            println!("{}", serde_json::to_string_pretty(&manifest)?);
        }
        BronzeCommand::Verify { topic, at } => {
            let results: Vec<VerifyResult> = serde_json::from_str(&at.ask(Method::Post, &with_topic("/bronze/verify", topic.as_deref()))?)?;
            return Ok(print_verified(&results));
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn index(command: IndexCommand) -> anyhow::Result<ExitCode> {
    match command {
        IndexCommand::Inspect { at } => {
            let report: IndexReport = serde_json::from_str(&at.ask(Method::Get, "/index")?)?;
            return Ok(print_index(&report));
        }
        IndexCommand::Snapshot { at } => print!("{}", at.ask(Method::Post, "/index/snapshot")?),
        IndexCommand::Rebuild { data } => {
            strandline_telemetry::start_logs("warn", strandline_config::LogFormat::Text)?;
            let report = super::small_runtime()?.block_on(crate::rebuild::rebuild(&data))?;
            for line in &report.lines {
                println!("{line}");
            }
            println!("{} records lost, {} files adopted, {} moved to lost/", report.records_lost, report.adopted, report.set_aside);
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Debug, Clone, Copy)]
enum Method {
    Get,
    Post,
}

impl Where {
    /// Asks the node; with `--data`, one that is started on the folder for this question alone and serves no Kafka client.
    fn ask(&self, method: Method, path: &str) -> anyhow::Result<String> {
        match &self.data {
            None => request(&self.http, method, path),
            Some(data) => with_node(data, |address| request(&address, method, path)),
        }
    }
}

fn with_node(data: &Path, ask: impl FnOnce(String) -> anyhow::Result<String>) -> anyhow::Result<String> {
    if !data.join("format").exists() {
        bail!("{} is no folder of strandline (it has no file `format`)", data.display());
    }
    strandline_telemetry::start_logs("warn", strandline_config::LogFormat::Text)?;
    let runtime = super::small_runtime()?;
    let settings = Settings {
        data: data.to_owned(),
        listen: "127.0.0.1:0".to_owned(),
        http: Some("127.0.0.1:0".to_owned()),
        ..Settings::default()
    };
    let node = runtime.block_on(Node::start(NodeOptions { settings }))?;
    let address = node.http_address().context("the node has no HTTP port")?.to_string();
    let answer = ask(address);
    runtime.block_on(node.stop());
    answer
}

fn request(address: &str, method: Method, path: &str) -> anyhow::Result<String> {
    let url = format!("http://{address}{path}");
    // A seal of everything takes as long as it takes; a node that is gone is found by the connection.
    let agent = ureq::Agent::config_builder()
        .timeout_connect(Some(Duration::from_secs(5)))
        .http_status_as_error(false)
        .build()
        .new_agent();
    let sent = match method {
        Method::Get => agent.get(&url).call(),
        Method::Post => agent.post(&url).send_empty(),
    };
    let mut response = sent.with_context(|| {
        format!("no node answers on http://{address}: start one with `strandline run`, name it with --http, or name a folder with --data")
    })?;
    let text = response.body_mut().with_config().limit(1 << 30).read_to_string().context("the answer could not be read")?;
    if !response.status().is_success() {
        bail!("{}", text.trim());
    }
    Ok(text)
}

fn with_topic(path: &str, topic: Option<&str>) -> String {
    topic.map_or_else(|| path.to_owned(), |topic| format!("{path}?topic={topic}"))
}

fn print_topics(topics: &[BronzeTopic]) {
    if topics.is_empty() {
        println!("there are no topics");
    }
    for topic in topics {
        let rows: u64 = topic.files.iter().map(|file| file.rows).sum();
        println!("{}  {rows} rows in {} files, {} records not in a file yet", topic.topic, topic.files.len(), topic.records_in_wal);
        for file in &topic.files {
            let kind = if file.sealed { "sealed" } else { "fresh" };
            println!("  {kind:<6} {:>12} rows {:>14} bytes  {}", file.rows, file.size, file.path);
        }
    }
}

fn print_verified(results: &[VerifyResult]) -> ExitCode {
    let bad: Vec<&VerifyResult> = results.iter().filter(|result| !result.problems.is_empty()).collect();
    for result in &bad {
        for problem in &result.problems {
            println!("{}: {problem}", result.path);
        }
    }
    let rows: u64 = results.iter().map(|result| result.rows).sum();
    println!("{} files, {rows} rows, {} of the files damaged", results.len(), bad.len());
    if bad.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print_index(report: &IndexReport) -> ExitCode {
    println!("cluster        {} (epoch {}, fold version {})", report.cluster_id, report.cell_epoch, report.fold_version);
    println!("entry          {} (chain {})", report.seq, report.chain_hash);
    println!("digest         {} ({} bytes as a snapshot)", report.digest, report.snapshot_bytes);
    println!("floor          {} (snapshot {})", report.floor, report.floor_snapshot.as_deref().unwrap_or("none"));
    println!("log copied to  {}; horizon {}", report.log_copied, report.horizon);
    for (id, host, port) in &report.nodes {
        println!("node           {id} at {host}:{port}");
    }
    for (name, count) in &report.counts {
        println!("{name:<15}{count}");
    }
    for violation in &report.violations {
        println!("BROKEN: {violation}");
    }
    if report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
