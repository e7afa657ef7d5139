//! `strandline demo`: all of it at work on a new folder, and checked.
//!
//! A node in this process, traffic through a real client connection, a group that reads along, everything sealed and read
//! back from the Parquet alone: every event must come back once and the same, in order. It ends with an error otherwise.

mod feed;
mod files;
mod follow;
mod histogram;
mod node;
mod replay;
mod screen;
mod summary;
mod tally;

use crate::output::remark;
use crate::signals::stop_signal;
use anyhow::{Context as _, bail};
use feed::Feed;
use node::DemoNode;
use screen::Screen;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use strandline_client::{Client, ClientOptions, NewTopic};
use strandline_commit_log::disk::{Disk, SystemDisk};
use strandline_runtime::Runtime;
use strandline_traffic::{ALERTS, DOMAIN, INVENTORY, TELEMETRY};
use strandline_types::limits;
use summary::Summary;
use tokio_util::sync::CancellationToken;

/// Shows all of it at work, in about a minute, and checks that it was right.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:
  strandline demo              10,000 events/s for 20 s on a folder that is removed afterwards
  strandline demo --keep       Keep the folder, to open its Parquet with DuckDB
  strandline demo --rate 50000 --seconds 10 --data ./demo-data

It starts a node on free ports, feeds it the traffic of a vehicle fleet, reads along with a consumer
group, seals everything to Parquet, reads it back from there and compares every event. The exit code
is 0 only when all was right.")]
pub struct DemoArgs {
    /// Events a second
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
    /// How long traffic flows
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: u32,
    /// A new folder, which is kept [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Keep the temporary folder
    #[arg(long)]
    keep: bool,
    /// The same seed gives the same traffic
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

/// Topics and their partitions.
const TOPICS: [(&str, i32); 4] = [(TELEMETRY, 12), (DOMAIN, 6), (INVENTORY, 6), (ALERTS, 2)];

/// Runs the demo.
///
/// # Errors
/// Anything that was not right, or what kept it from running.
pub async fn run(args: DemoArgs) -> anyhow::Result<()> {
    let runtime = Runtime::system();
    let folder = Folder::create(&args, &runtime)?;
    enough_room(&args, &folder.path)?;
    let screen = Screen::new();
    screen.say(&format!("Starting a node on {}", folder.path.display()))?;
    let started = runtime.clock.monotonic();
    let node = DemoNode::start(&folder.path).await?;
    let serving = runtime.clock.monotonic() - started;
    screen.say(&format!(
        "Serving Kafka clients on {} after {} ms; metrics and more on http://{}",
        node.kafka(),
        serving.as_millis(),
        node.http()
    ))?;
    let stop = stop_signal()?;
    let worked = tokio::select! {
        worked = work(&args, &runtime, &screen, &node) => worked,
        // The folder goes when it is dropped, as at any other end.
        () = stop => Err(anyhow::anyhow!("stopped by a signal before it was done")),
    };
    node.stop().await;
    let summary = worked?;
    let files = files::check(&folder.path, summary.acknowledged());
    let wrong = summary.print(&files)?;
    summary::print_queries(&folder.path, folder.is_kept(), &files)?;
    if wrong.is_empty() {
        return Ok(());
    }
    bail!("not all was right:\n  {}", wrong.join("\n  "))
}

/// About what one event costs on disk: in the log, fresh, and sealed.
const EVENT_BYTES: u64 = 1_024;

/// A node that has too little disk refuses records, and its producer goes on trying.
fn enough_room(args: &DemoArgs, folder: &Path) -> anyhow::Result<()> {
    let free =
        SystemDisk.free_bytes(folder).with_context(|| format!("cannot look how full the disk of {} is", folder.display()))?;
    let needed = room(args);
    if free < needed {
        bail!(
            "{} has {} free, and the demo needs about {}: a node takes no records below {} (`min_free_bytes`). Name a folder on another disk with --data, or with TMPDIR",
            folder.display(),
            screen::bytes(free),
            screen::bytes(needed),
            screen::bytes(limits::FREE_DISK_BYTES)
        );
    }
    Ok(())
}

fn room(args: &DemoArgs) -> u64 {
    limits::FREE_DISK_BYTES.saturating_add(u64::from(args.rate) * u64::from(args.seconds) * EVENT_BYTES)
}

async fn work(args: &DemoArgs, runtime: &Runtime, screen: &Screen, node: &DemoNode) -> anyhow::Result<Summary> {
    let notice = Some(crate::commands::notice());
    let options = ClientOptions { client_id: "strandline-demo".into(), notice, ..ClientOptions::new(&node.kafka().to_string()) };
    let client = Client::tcp(runtime.clone(), options)?;
    let topics: Vec<NewTopic> =
        TOPICS.iter().map(|(name, partitions)| NewTopic::new(*name, *partitions).config("retention.ms", "-1")).collect();
    for created in client.admin().create_topics(&topics, false).await? {
        created?;
    }

    let enough = CancellationToken::new();
    let (fed, followed) = {
        let mut feed = Feed::new(&client, args);
        let follow = follow::follow(&client, enough.clone());
        let feeding = async {
            let result = feed.run(screen, node).await;
            // Also when the feed failed: the group must not wait for what will never come.
            if let Ok(fed) = &result {
                follow::wait_for(&follow.progress, fed, runtime).await;
            }
            enough.cancel();
            result
        };
        let (fed, followed) = tokio::join!(feeding, follow.run());
        (fed?, followed?)
    };

    screen.say("Sealing: what is still in the log becomes Parquet now")?;
    let before = runtime.clock.monotonic();
    node.seal().await.context("sealing failed")?;
    let sealing = runtime.clock.monotonic() - before;
    let status = node.status().await;

    screen.say("Reading every event back from the Parquet")?;
    let replayed = replay::replay(&client, &fed).await?;
    Ok(Summary { fed, followed, replayed, status, sealing })
}

/// The folder, removed at the end unless it is kept.
struct Folder {
    path: PathBuf,
    remove: bool,
}

impl Folder {
    fn create(args: &DemoArgs, runtime: &Runtime) -> anyhow::Result<Self> {
        let (path, remove) = match &args.data {
            Some(path) => (path.clone(), false),
            None => {
                let name = format!("strandline-demo-{:012x}", runtime.random.next_u64() >> 16);
                (std::env::temp_dir().join(name), !args.keep)
            }
        };
        let look = || format!("cannot look into {}", path.display());
        if path.try_exists().with_context(look)? && std::fs::read_dir(&path).with_context(look)?.next().is_some() {
            bail!("{} is not empty; the demo wants a new folder: name another with --data, or leave --data out", path.display());
        }
        std::fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        let path = path.canonicalize().with_context(|| format!("cannot find {}", path.display()))?;
        Ok(Self { path, remove })
    }

    const fn is_kept(&self) -> bool {
        !self.remove
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.remove
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            remark!("{} could not be removed: {error}", self.path.display());
        }
    }
}

/// What several tasks look at.
type Shared<T> = Arc<std::sync::Mutex<T>>;

fn lock<T>(shared: &Shared<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// How long the group and the replay may take behind the feed before something is wrong.
const PATIENCE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_without_room_is_refused_before_anything_begins() {
        let args = DemoArgs { rate: 10_000, seconds: 20, data: None, keep: false, seed: 1 };
        assert_eq!(room(&args), limits::FREE_DISK_BYTES + 10_000 * 20 * EVENT_BYTES);
        // A file system without blocks.
        let error = enough_room(&args, Path::new("/proc")).unwrap_err().to_string();
        assert!(error.contains("has 0 B free") && error.contains("--data"), "{error}");
    }
}
