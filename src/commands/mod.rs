//! The commands that speak Kafka to a cluster, ours or another: `topic`, `produce`, `consume`, `group`.

pub mod consume;
pub mod group;
pub mod produce;
pub mod topic;

mod format;
mod parse;
mod table;

use crate::output::remark;
use anyhow::anyhow;
use strandline_client::{Client, ClientError, ClientOptions, Notice};
use strandline_runtime::Runtime;
use strandline_wire::ErrorCode;

const DEFAULT_BOOTSTRAP: &str = "127.0.0.1:9092";

/// Which cluster.
#[derive(Debug, Clone, clap::Args)]
pub struct BootstrapArgs {
    /// One or more brokers to begin with, separated by commas
    #[arg(
        long,
        short = 'b',
        value_name = "HOST:PORT",
        env = "STRANDLINE_BOOTSTRAP",
        default_value = DEFAULT_BOOTSTRAP,
        global = true
    )]
    pub bootstrap: String,
}

impl BootstrapArgs {
    fn client(&self, command: &str) -> anyhow::Result<Client> {
        let client_id = format!("strandline-{command}");
        // Empty is as unset: so is a variable that a unit or a compose file names without a value.
        let bootstrap = if self.bootstrap.is_empty() { DEFAULT_BOOTSTRAP } else { &self.bootstrap };
        let options = ClientOptions { client_id, notice: Some(notice()), ..ClientOptions::new(bootstrap) };
        Client::tcp(Runtime::system(), options).map_err(explain)
    }
}

/// A client's error with what to do about it, where there is something.
fn explain(error: ClientError) -> anyhow::Error {
    let advice = match error.code() {
        Some(ErrorCode::UnknownTopicOrPartition) => {
            "`strandline topic list` shows those there are, `strandline topic create` makes one"
        }
        Some(ErrorCode::TopicAlreadyExists) => "`strandline topic alter` changes it; --if-not-exists takes it as it is",
        Some(ErrorCode::GroupIdNotFound) => "`strandline group list` shows those there are",
        Some(ErrorCode::NonEmptyGroup | ErrorCode::UnknownMemberId) => {
            "the group has members: stop its consumers first (`strandline group describe` shows them)"
        }
        Some(ErrorCode::MessageTooLarge) => {
            "raise the topic's max.message.bytes (`strandline topic alter --set`; 64 MiB is the most), or send less at once"
        }
        Some(ErrorCode::PolicyViolation) => {
            "a limit is reached (`strandline index inspect` shows how full each part is), or the topic's cleanup.policy does not allow it"
        }
        _ => return anyhow!(error),
    };
    anyhow!("{error}\n  {advice}")
}

/// Tells a person what a client goes on trying.
pub(crate) fn notice() -> Notice {
    Notice::new(|line| remark!("strandline: {line}"))
}

/// Written to a pipe whose reader went away, as `head` does: no failure of ours.
fn is_broken_pipe(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::BrokenPipe
}
