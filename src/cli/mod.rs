//! The command line.

mod ask;
mod operate;
mod run;

use crate::commands::{consume, group, produce, topic};
use crate::demo;
use crate::output::remark;
use clap::{Parser, Subcommand};
use std::future::Future;
use std::process::ExitCode;

/// Strandline: an event broker whose log is its Parquet.
///
/// Kafka clients write to it and read from it; what lies in the folder is Parquet that DuckDB, Polars or Spark open directly.
#[derive(Debug, Parser)]
#[command(
    name = "strandline",
    version,
    after_help = "Examples:
  strandline demo                                    See all of it at work, in about a minute
  strandline run --data ./strandline-data            Serve Kafka clients on 127.0.0.1:9092
  strandline topic create orders --partitions 6
  echo 'k1:hello' | strandline produce orders --key-separator :
  strandline consume orders --from-beginning --max 1
  strandline bronze list                             The Parquet files and their rows

Every command has its own --help."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Shows all of it at work on a new folder, checks every event, and ends by itself
    Demo(demo::DemoArgs),
    /// Serves Kafka clients on a folder
    Run(run::RunArgs),
    /// Creates, lists, describes, alters and deletes topics
    Topic(topic::TopicArgs),
    /// Writes records from standard input or a file
    Produce(produce::ProduceArgs),
    /// Reads records
    Consume(consume::ConsumeArgs),
    /// Lists, describes, resets and deletes consumer groups
    Group(group::GroupArgs),
    /// Looks at the Parquet, checks it, seals it
    #[command(subcommand)]
    Bronze(operate::BronzeCommand),
    /// Looks at the cell's index, snapshots it, rebuilds it
    #[command(subcommand)]
    Index(operate::IndexCommand),
}

/// Runs the command line.
pub fn main() -> ExitCode {
    let command = Cli::parse().command;
    let is_node = matches!(command, Command::Run(_));
    let result = match command {
        Command::Run(args) => run::run(args),
        Command::Demo(args) => run::in_node_runtime(demo::run(args)),
        Command::Topic(args) => talk(topic::run(args)),
        Command::Produce(args) => talk(produce::run(args)),
        Command::Consume(args) => talk(consume::run(args)),
        Command::Group(args) => talk(group::run(args)),
        Command::Bronze(command) => operate::bronze(command),
        Command::Index(command) => operate::index(command),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            let line = format!("strandline: {}", explained(&error));
            // A node that cannot go on ends, also where nobody reads what it says.
            if is_node {
                strandline_telemetry::say_last(&(line + "\n"));
            } else {
                remark!("{line}");
            }
            ExitCode::FAILURE
        }
    }
}

/// The error with its causes, each said once: many errors name their cause in their own words.
fn explained(error: &anyhow::Error) -> String {
    error
        .chain()
        .skip(1)
        .map(ToString::to_string)
        .fold(error.to_string(), |text, cause| if text.contains(&cause) { text } else { format!("{text}: {cause}") })
}

/// Runs a command that speaks Kafka.
fn talk(command: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<ExitCode> {
    let runtime = small_runtime()?;
    let done = runtime.block_on(command);
    // A read of a terminal cannot be called off, and nothing waits for it.
    runtime.shutdown_background();
    done.map(|()| ExitCode::SUCCESS)
}

/// A runtime for a command that talks to a node.
fn small_runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
}
