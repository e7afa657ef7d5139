//! `strandline run`.

use crate::node::{Node, NodeOptions};
use crate::signals::stop_signal;
use anyhow::Context as _;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use strandline_config::{Flag, Loaded, load};

/// Serves Kafka clients on a folder.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  strandline run
  strandline run --data /var/lib/strandline --listen 0.0.0.0:9092 \\
      --advertise broker.example.org:9092
  STRANDLINE_DEFAULT_PARTITIONS=6 strandline run --config strandline.toml
  strandline run --print-config

A setting is taken from a flag, else from STRANDLINE_<SETTING>, else from the file, else from its
default. SIGTERM stops gracefully, in 20 s at most; a second one ends at once.")]
pub(super) struct RunArgs {
    /// A TOML file with settings
    #[arg(long, value_name = "FILE", env = "STRANDLINE_CONFIG", value_parser = clap::builder::OsStringValueParser::new())]
    config: Option<OsString>,
    /// The folder that holds everything [default: ./strandline-data]
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// Where Kafka clients connect [default: 127.0.0.1:9092]
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// What Kafka clients are told to connect to [default: the listening address]
    #[arg(long, value_name = "HOST:PORT")]
    advertise: Option<String>,
    /// Where metrics, health and operators' commands are served; '' for nowhere [default: 127.0.0.1:9644]
    #[arg(long, value_name = "HOST:PORT")]
    http: Option<String>,
    /// Start although the machine's clock is behind the last entry of the log
    #[arg(long)]
    accept_clock: bool,
    /// Any other setting, as KEY=VALUE; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// Show every setting and where it comes from, and end
    #[arg(long)]
    print_config: bool,
}

impl RunArgs {
    fn load(&self) -> anyhow::Result<Loaded> {
        let mut flags = Vec::new();
        let given = [("data", &self.data), ("listen", &self.listen), ("advertise", &self.advertise), ("http", &self.http)];
        for (key, value) in given {
            flags.extend(value.clone().map(|value| Flag { name: key, key, value }));
        }
        if self.accept_clock {
            flags.push(Flag { name: "accept-clock", key: "accept_clock", value: "true".to_owned() });
        }
        for setting in &self.settings {
            let (key, value) = setting.split_once('=').with_context(|| format!("--set takes KEY=VALUE, not `{setting}`"))?;
            let known = strandline_config::SETTINGS.iter().find(|known| known.key == key);
            let known = known.with_context(|| {
                let hint = strandline_config::hint_for_setting(key);
                format!("flag --set: there is no setting `{key}`{hint}; `strandline run --print-config` lists them all")
            })?;
            flags.push(Flag { name: "set", key: known.key, value: value.to_owned() });
        }
        // Empty is as unset: so is a variable that a unit or a compose file names without a value.
        let file = self.config.as_deref().filter(|file| !file.is_empty()).map(Path::new);
        let text = |text: OsString| text.to_string_lossy().into_owned();
        let loaded = load(file, std::env::vars_os().map(|(name, value)| (text(name), text(value))), &flags)?;
        let origin = || loaded.origins.get("log").map_or_else(|| "default".to_owned(), ToString::to_string);
        strandline_telemetry::check_log_filter(&loaded.settings.log).with_context(origin)?;
        Ok(loaded)
    }
}

pub(super) fn run(args: RunArgs) -> anyhow::Result<ExitCode> {
    let loaded = args.load()?;
    if args.print_config {
        crate::output::print(format_args!("{}", loaded.print()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let settings = loaded.settings;
    strandline_telemetry::start_logs(&settings.log, settings.log_format)?;
    to_its_end(async move {
        let node = Node::start(NodeOptions { settings, ..NodeOptions::default() }).await?;
        let stop = stop_signal()?;
        tokio::select! {
            () = stop => {}
            () = node.failed() => {
                // What was acknowledged is in the log; the next start finds it.
                strandline_telemetry::say_last(
                    "strandline: the node can no longer serve; see the log lines above, then start it again\n",
                );
                return Ok(ExitCode::FAILURE);
            }
        }
        tracing::info!("stopping; a second signal ends at once");
        let second = stop_signal()?;
        tokio::select! {
            () = node.stop() => Ok(ExitCode::SUCCESS),
            () = second => Ok(ExitCode::FAILURE),
        }
    })?
}

/// Runs a command that has a node in this process.
pub(super) fn in_node_runtime(command: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<ExitCode> {
    to_its_end(command)??;
    Ok(ExitCode::SUCCESS)
}

/// What still goes on when a node has stopped may go on for so long: it is what a crash would leave.
const LAST_WORK: Duration = Duration::from_secs(1);

/// Runs what has a node, and lets the process end then, also where a thread waits for a disk that stands still.
fn to_its_end<T>(work: impl Future<Output = T>) -> std::io::Result<T> {
    let runtime = node_runtime()?;
    let done = runtime.block_on(work);
    runtime.shutdown_timeout(LAST_WORK);
    Ok(done)
}

/// Threads for a node: one for each core; blocking work has its own, which end when idle.
fn node_runtime() -> std::io::Result<tokio::runtime::Runtime> {
    crate::open_files::raise_limit();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(32)
        .thread_keep_alive(Duration::from_secs(5))
        .thread_stack_size(1 << 20)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::sync_channel;

    #[test]
    #[allow(clippy::disallowed_methods)] // threads of the test
    fn work_that_stands_still_does_not_keep_the_process() {
        let (end, ended) = sync_channel::<()>(1);
        let (done, is_done) = sync_channel(1);
        std::thread::spawn(move || {
            let stands_still = async move {
                let (begin, begun) = tokio::sync::oneshot::channel();
                tokio::task::spawn_blocking(move || {
                    let _ = begin.send(());
                    ended.recv()
                });
                begun.await
            };
            let _ = done.send(to_its_end(stands_still).is_ok());
        });
        let in_time = is_done.recv_timeout(Duration::from_secs(20));
        drop(end);
        assert_eq!(in_time, Ok(true), "it waits for work that does not end");
    }
}
