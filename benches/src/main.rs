//! `strandline-load`.

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use serde::Serialize;
use std::process::ExitCode;
use std::time::Duration;
use strandline_benches::load::Target;
use strandline_benches::{connections, consume, count, one_at_a_time, open_loop, plot, saturate};
use strandline_client::{NewTopic, OffsetAt};
use strandline_runtime::Runtime;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Load for any Kafka address. Every command prints one JSON object.
#[derive(Debug, Parser)]
#[command(name = "strandline-load", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Creates a topic
    Topic(TopicArgs),
    Saturate(saturate::SaturateArgs),
    OpenLoop(open_loop::OpenLoopArgs),
    OneAtATime(one_at_a_time::OneAtATimeArgs),
    Consume(consume::ConsumeArgs),
    Count(count::CountArgs),
    Connections(connections::ConnectionsArgs),
    Plot(plot::PlotArgs),
}

#[derive(Debug, Clone, Args)]
struct TopicArgs {
    #[command(flatten)]
    target: Target,
    /// How many partitions
    #[arg(long, default_value_t = 1)]
    partitions: i32,
    /// A config of the topic
    #[arg(long = "config", value_name = "KEY=VALUE")]
    configs: Vec<String>,
    /// Delete it instead
    #[arg(long)]
    delete: bool,
}

fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(tracing_subscriber::filter::LevelFilter::WARN).init();
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("strandline-load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    let machine = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    machine.block_on(async {
        let runtime = Runtime::system();
        match command {
            Command::Topic(args) => topic(&runtime, args).await,
            Command::Saturate(args) => print(&saturate::run(&runtime, args).await?),
            Command::OpenLoop(args) => print(&open_loop::run(&runtime, args).await?),
            Command::OneAtATime(args) => print(&one_at_a_time::run(&runtime, args).await?),
            Command::Consume(args) => print(&consume::run(&runtime, args).await?),
            Command::Count(args) => print(&count::run(&runtime, args).await?),
            Command::Connections(args) => print(&connections::run(&runtime, args).await?),
            Command::Plot(args) => plot::run(&args),
        }
    })
}

async fn topic(runtime: &Runtime, args: TopicArgs) -> anyhow::Result<()> {
    let admin = args.target.client(runtime)?.admin();
    if args.delete {
        for (_, result) in admin.delete_topics(&[&args.target.topic]).await? {
            result?;
        }
        return Ok(());
    }
    let name = args.target.topic.clone();
    let mut topic = NewTopic::new(&name, args.partitions);
    for config in &args.configs {
        let (key, value) = config.split_once('=').with_context(|| format!("`{config}` is not KEY=VALUE"))?;
        topic = topic.config(key, value);
    }
    admin.create_topic(topic).await?;
    // A broker may need a while until it leads what it has just created. Of very many partitions the first ones do.
    let partitions: Vec<_> = (0..args.partitions.min(1_000)).map(|partition| (name.clone(), partition)).collect();
    let mut tries = 0..200;
    loop {
        match admin.offsets_at(&partitions, OffsetAt::Latest).await {
            Ok(_) => return Ok(()),
            Err(_) if tries.next().is_some() => runtime.sleep(Duration::from_millis(100)).await,
            Err(error) => return Err(error.into()),
        }
    }
}

fn print(result: &impl Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(result)?);
    Ok(())
}
