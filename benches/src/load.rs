//! What all commands share: where the broker is, which records go to it, who is watched.

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use strandline_client::{Acks, Client, ClientOptions, Compression, TcpConnect};
use strandline_runtime::Runtime;

/// The broker and the process that is it.
#[derive(Debug, Clone, Args)]
pub struct Target {
    /// The broker's address
    #[arg(long, default_value = "127.0.0.1:9092", value_name = "HOST:PORT")]
    pub bootstrap: String,
    /// The server's process on this machine, to measure its CPU time and memory
    #[arg(long)]
    pub pid: Option<u32>,
    /// The topic
    #[arg(long, default_value = "load")]
    pub topic: String,
}

impl Target {
    /// A client with connections of its own.
    ///
    /// # Errors
    /// An address that is none.
    pub fn client(&self, runtime: &Runtime) -> anyhow::Result<Client> {
        Ok(Client::new(runtime.clone(), Arc::new(TcpConnect), self.options())?)
    }

    /// How clients are set up.
    pub fn options(&self) -> ClientOptions {
        ClientOptions {
            client_id: "strandline-load".into(),
            request_timeout: Duration::from_secs(60),
            ..ClientOptions::new(&self.bootstrap)
        }
    }
}

/// What records are like.
#[derive(Debug, Clone, Args)]
pub struct RecordArgs {
    /// Bytes of key, value and headers of each record; 0 leaves events as they are, about 500 bytes with headers
    #[arg(long, default_value_t = 1_024)]
    pub record_bytes: usize,
    /// What values are
    #[arg(long, value_enum, default_value_t = Values::Traffic)]
    pub values: Values,
    /// Whether records have the keys of their events; without, batches go to partitions in turn
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    pub keys: bool,
    /// Whether records have the headers of their events (CloudEvents)
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set)]
    pub headers: bool,
    /// The seed of what is random
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Distinct bytes of records; after them they begin again
    #[arg(long, default_value_t = 32 << 20)]
    pub pool_bytes: usize,
}

/// Where values come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Values {
    /// MobilityCorps' events, JSON, cut or padded to the size
    Traffic,
    /// Random bytes, which no codec makes smaller
    Random,
}

/// How records are sent.
#[derive(Debug, Clone, Args)]
pub struct SendArgs {
    /// The codec of batches
    #[arg(long, value_enum, default_value_t = Codec::None)]
    pub codec: Codec,
    /// When a record counts as delivered
    #[arg(long, value_enum, default_value_t = AcksArg::All)]
    pub acks: AcksArg,
    /// Whether producers are idempotent (with acks=all)
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    pub idempotent: bool,
    /// Producers, each with connections of its own
    #[arg(long, default_value_t = 2)]
    pub connections: usize,
    /// Bytes of a batch before compression
    #[arg(long, default_value_t = 128 << 10)]
    pub batch_bytes: usize,
    /// Produce requests in flight per connection
    #[arg(long, default_value_t = 5)]
    pub in_flight: usize,
}

/// Kafka's codecs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Codec {
    /// Not compressed
    None,
    /// LZ4
    Lz4,
    /// Zstandard
    Zstd,
    /// Snappy
    Snappy,
    /// Gzip
    Gzip,
}

impl From<Codec> for Compression {
    fn from(codec: Codec) -> Self {
        match codec {
            Codec::None => Self::None,
            Codec::Lz4 => Self::Lz4,
            Codec::Zstd => Self::Zstd,
            Codec::Snappy => Self::Snappy,
            Codec::Gzip => Self::Gzip,
        }
    }
}

/// Kafka's `acks`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AcksArg {
    /// 0
    None,
    /// 1
    Leader,
    /// -1
    All,
}

impl From<AcksArg> for Acks {
    fn from(acks: AcksArg) -> Self {
        match acks {
            AcksArg::None => Self::None,
            AcksArg::Leader => Self::Leader,
            AcksArg::All => Self::All,
        }
    }
}

/// One value that tasks share.
#[derive(Debug, Default)]
pub struct Shared<T>(Arc<Mutex<T>>);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Shared<T> {
    /// A shared value.
    pub fn new(value: T) -> Self {
        Self(Arc::new(Mutex::new(value)))
    }

    /// Reads or changes it. Short: others wait.
    pub fn with<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Starts a task whose end can be waited for.
pub fn start<T: Send + 'static, F: Future<Output = anyhow::Result<T>> + Send + 'static>(
    runtime: &Runtime,
    name: &'static str,
    task: F,
) -> impl Future<Output = anyhow::Result<T>> + use<T, F> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    runtime.spawner.spawn(name, async move {
        let _ = sender.send(task.await);
    });
    async move { receiver.await.with_context(|| format!("the task {name} has ended without a result"))? }
}
