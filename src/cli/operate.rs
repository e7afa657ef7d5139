//! `strandline bronze` and `strandline index`: of a running node over its HTTP port, or of a folder that no node holds.

use super::ask::{Method, Where, parsed};
use crate::http::{BronzeTopic, IndexReport, VerifyLine};
use crate::output::counted;
use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressStyle};
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::ExitCode;

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
            let topics: Vec<BronzeTopic> = parsed(&at.ask(Method::Get, &with_topic("/bronze", topic.as_deref()))?)?;
            out = topic_lines(&topics);
        }
        BronzeCommand::Schema { topic, at } => out = at.ask(Method::Get, &format!("/bronze/{topic}/schema"))?,
        BronzeCommand::Head { topic, rows, at } => out = at.ask(Method::Get, &format!("/bronze/{topic}/head?rows={rows}"))?,
        BronzeCommand::Seal { topic, at } => out = at.ask(Method::Post, &with_topic("/bronze/seal", topic.as_deref()))?,
        BronzeCommand::Manifest { topic, at } => {
            let manifest: serde_json::Value = parsed(&at.ask(Method::Get, &format!("/bronze/{topic}/manifest"))?)?;
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
            let report: IndexReport = parsed(&at.ask(Method::Get, "/index")?)?;
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
                "{} adopted, {} moved to lost/, {} damaged that stay",
                counted(report.adopted as u64, "file"),
                report.set_aside,
                report.damaged
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

fn with_topic(path: &str, topic: Option<&str>) -> String {
    topic.map_or_else(|| path.to_owned(), |topic| format!("{path}?topic={topic}"))
}

fn say(text: &str) -> anyhow::Result<()> {
    crate::output::print(format_args!("{text}"))
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
        let head = format!(
            "{name}  {} in {}, {} not in a file yet\n",
            counted(rows, "row"),
            counted(files as u64, "file"),
            counted(waiting.max(0).unsigned_abs(), "record")
        );
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
    let summary = format!("{}, {}, {bad} of the files damaged\n", counted(files, "file"), counted(rows, "row"));
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
    lines.extend(report.counts.iter().map(|(name, count)| format!("{:<15}{count}", format!("{name} "))));
    lines.extend(report.violations.iter().map(|violation| format!("BROKEN: {violation}")));
    let sound = report.violations.is_empty() && report.disagreement.is_none();
    let code = if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    (lines.join("\n") + "\n", code)
}
