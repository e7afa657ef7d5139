//! `strandline bronze` and `strandline index`: of a running node over its HTTP port, or of a folder that no node holds.

use crate::http::{BronzeTopic, IndexReport, VerifyLine};
use crate::node::{Node, NodeOptions, Upkeep};
use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressStyle};
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
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
    /// A folder that no node works on just now: one is started on it for this command alone, which does no upkeep of its own
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
    /// Reads every file whole and checks CRCs, digests, order and coverage; without a topic also the log and its copies
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
        /// How many, at most 1,000
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1_000))]
        rows: u16,
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
    let out;
    let mut code = ExitCode::SUCCESS;
    match command {
        BronzeCommand::List { topic, at } => {
            let topics: Vec<BronzeTopic> = serde_json::from_str(&at.ask(Method::Get, &with_topic("/bronze", topic.as_deref()))?)?;
            out = topic_lines(&topics);
        }
        BronzeCommand::Schema { topic, at } => out = at.ask(Method::Get, &format!("/bronze/{topic}/schema"))?,
        BronzeCommand::Head { topic, rows, at } => out = at.ask(Method::Get, &format!("/bronze/{topic}/head?rows={rows}"))?,
        BronzeCommand::Seal { topic, at } => out = at.ask(Method::Post, &with_topic("/bronze/seal", topic.as_deref()))?,
        BronzeCommand::Manifest { topic, at } => {
            let manifest: serde_json::Value = serde_json::from_str(&at.ask(Method::Get, &format!("/bronze/{topic}/manifest"))?)?;
            out = serde_json::to_string_pretty(&manifest)? + "\n";
        }
        BronzeCommand::Verify { topic, at } => {
            (out, code) = at.ask_with(Method::Post, &with_topic("/bronze/verify", topic.as_deref()), verified)?;
        }
    }
    say(&out)?;
    Ok(code)
}

pub(super) fn index(command: IndexCommand) -> anyhow::Result<ExitCode> {
    let mut out = String::new();
    let mut code = ExitCode::SUCCESS;
    match command {
        IndexCommand::Inspect { at } => {
            let report: IndexReport = serde_json::from_str(&at.ask(Method::Get, "/index")?)?;
            (out, code) = index_lines(&report);
        }
        IndexCommand::Snapshot { at } => out = at.ask(Method::Post, "/index/snapshot")?,
        IndexCommand::Rebuild { data } => {
            strandline_telemetry::start_logs("warn", strandline_config::LogFormat::Text)?;
            let report = super::small_runtime()?.block_on(crate::rebuild::rebuild(&data))?;
            for line in &report.lines {
                writeln!(out, "{line}")?;
            }
            writeln!(
                out,
                "{} files adopted, {} moved to lost/, {} damaged that stay",
                report.adopted, report.set_aside, report.damaged
            )?;
            writeln!(
                out,
                "{} records are known to be lost; what came after the last copy of the log is not known at all",
                report.records_lost
            )?;
        }
    }
    say(&out)?;
    Ok(code)
}

#[derive(Debug, Clone, Copy)]
enum Method {
    Get,
    Post,
}

impl Where {
    /// Asks the node; with `--data`, one that is started on the folder for this question alone and serves no Kafka client.
    fn ask(&self, method: Method, path: &str) -> anyhow::Result<String> {
        self.ask_with(method, path, text)
    }

    /// The same, and `read` takes the answer as it comes.
    fn ask_with<T>(&self, method: Method, path: &str, read: impl FnOnce(ureq::Body) -> anyhow::Result<T>) -> anyhow::Result<T> {
        match &self.data {
            None => read(request(&self.http, method, path)?),
            Some(data) => with_node(data, |address| read(request(&address, method, path)?)),
        }
    }
}

fn with_node<T>(data: &Path, ask: impl FnOnce(String) -> anyhow::Result<T>) -> anyhow::Result<T> {
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
    let node = runtime.block_on(Node::start(NodeOptions { settings, upkeep: Upkeep::Asked }))?;
    let address = node.http_address().context("the node has no HTTP port")?.to_string();
    let answer = ask(address);
    runtime.block_on(node.stop());
    answer
}

fn request(address: &str, method: Method, path: &str) -> anyhow::Result<ureq::Body> {
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
    let response = sent.with_context(|| {
        format!("no node answers on http://{address}: start one with `strandline run`, name it with --http, or name a folder with --data")
    })?;
    let succeeded = response.status().is_success();
    let body = response.into_body();
    if !succeeded {
        bail!("{}", text(body)?.trim());
    }
    Ok(body)
}

fn text(mut body: ureq::Body) -> anyhow::Result<String> {
    body.with_config().limit(1 << 30).read_to_string().context("the answer could not be read")
}

fn with_topic(path: &str, topic: Option<&str>) -> String {
    topic.map_or_else(|| path.to_owned(), |topic| format!("{path}?topic={topic}"))
}

/// Writes to standard output; a reader that went away, as `head` does, is no failure.
fn say(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error).context("standard output"),
        _ => Ok(()),
    }
}

fn topic_lines(topics: &[BronzeTopic]) -> String {
    if topics.is_empty() {
        return "there are no topics\n".to_owned();
    }
    let of_file = |file: &crate::http::BronzeFile| {
        let kind = if file.sealed { "sealed" } else { "fresh" };
        format!("  {kind:<6} {:>12} rows {:>14} bytes  {}\n", file.rows, file.size, file.path)
    };
    let of_topic = |topic: &BronzeTopic| {
        let rows: u64 = topic.files.iter().map(|file| file.rows).sum();
        let (name, files, waiting) = (&topic.topic, topic.files.len(), topic.records_in_wal);
        let head = format!("{name}  {rows} rows in {files} files, {waiting} records not in a file yet\n");
        head + &topic.files.iter().map(of_file).collect::<String>()
    };
    topics.iter().map(of_topic).collect()
}

/// Shows what is wrong as it is found, and on a terminal how far it has come.
fn verified(mut body: ureq::Body) -> anyhow::Result<(String, ExitCode)> {
    // Nothing is drawn where standard error is no terminal.
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{bar:40.cyan/blue} {pos} of {len} files, {msg} rows  {eta} left") {
        bar.set_style(style);
    }
    let (mut files, mut bad, mut rows) = (0_u64, 0_u64, 0_u64);
    let lines = BufReader::new(body.with_config().limit(u64::MAX).reader()).lines();
    for line in lines {
        match serde_json::from_str(&line.context("the answer ended in the middle: not all was checked")?)? {
            VerifyLine::Files(count) => bar.set_length(count),
            VerifyLine::Checked(result) => {
                files += 1;
                rows += result.rows;
                bad += u64::from(!result.problems.is_empty());
                let problems = result.problems.iter().map(|problem| format!("{}: {problem}\n", result.path));
                bar.suspend(|| say(&problems.collect::<String>()))?;
                bar.set_message(rows.to_string());
                bar.set_position(files);
            }
            VerifyLine::Failed(reason) => bail!("{reason}"),
        }
    }
    bar.finish_and_clear();
    let summary = format!("{files} files, {rows} rows, {bad} of the files damaged\n");
    Ok((summary, if bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }))
}

fn index_lines(report: &IndexReport) -> (String, ExitCode) {
    let mut lines = vec![
        format!("cluster        {} (epoch {}, fold version {})", report.cluster_id, report.cell_epoch, report.fold_version),
        format!("entry          {} (chain {})", report.seq, report.chain_hash),
        format!("digest         {} ({} bytes as a snapshot)", report.digest, report.snapshot_bytes),
        format!("floor          {} (snapshot {})", report.floor, report.floor_snapshot.as_deref().unwrap_or("none")),
        format!("log copied to  {}; horizon {}", report.log_copied, report.horizon),
    ];
    lines.extend(report.disagreement.iter().map(|disagreement| format!("DISPUTED: {disagreement}")));
    lines.extend(report.parts.iter().map(|(part, (fill, bound))| {
        let percent = fill.saturating_mul(100).checked_div(*bound).unwrap_or(0);
        format!("part           {part}: {fill} of {bound} ({percent} %)")
    }));
    lines.extend(report.nodes.iter().map(|(id, host, port)| format!("node           {id} at {host}:{port}")));
    lines.extend(report.counts.iter().map(|(name, count)| format!("{name:<15}{count}")));
    lines.extend(report.violations.iter().map(|violation| format!("BROKEN: {violation}")));
    let sound = report.violations.is_empty() && report.disagreement.is_none();
    let code = if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    (lines.join("\n") + "\n", code)
}
