//! A node on a folder: opened, recovered, joined, serving; and stopped so that nothing is left to recover.

mod folder;
mod gaps;
mod log_end;
mod restore;
mod segment_rows;
mod status;
mod upgrade;

pub(crate) use folder::REBUILD_LOSSES;
pub use folder::{FOLDER_FORMAT, Folder, FolderError};
pub(crate) use gaps::Coverage;
pub use log_end::{LogEndError, check_log_end};
pub use restore::{RestoreError, restore_index};
pub use segment_rows::{SegmentRowsError, complete_segment_rows, rows_of_footer};
pub use status::NodeStatus;
pub(crate) use status::answering_fresh;

use crate::server::{Server, Services};
use anyhow::Context as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use strandline_cache::Cache;
use strandline_cell::{Cell, CellOptions, JoinAs};
use strandline_cluster::{Cluster, ClusterOptions, DiskUse};
use strandline_commands::Role;
use strandline_commit_log::embedded::Options as LogOptions;
use strandline_commit_log::{CommitLog, EmbeddedCommitLog};
use strandline_compactor::{Compactor, CompactorOptions};
use strandline_config::Settings;
use strandline_extents::ExtentReader;
use strandline_groups::{Groups, GroupsOptions};
use strandline_ingest::{Ingest, IngestOptions};
use strandline_object_store::{FolderStore, Objects, Purpose, RetryPolicy, self_test};
use strandline_reader::{Reader, ReaderOptions};
use strandline_runtime::Runtime;
use strandline_segment_index::{RedbSegmentIndex, SegmentIndex};
use strandline_telemetry::Metrics;
use strandline_topic_config::BrokerSettings;
use strandline_types::limits;
use tokio::net::TcpSocket;
use tokio_util::sync::CancellationToken;

/// How a node is started.
#[derive(Debug, Clone, Default)]
pub struct NodeOptions {
    /// Its settings.
    pub settings: Settings,
    /// What it does besides answering.
    pub upkeep: Upkeep,
}

/// What a node does besides answering.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Upkeep {
    /// Everything: it converts, seals and deletes, and raises the version of the rules.
    #[default]
    Full,
    /// What it is asked for alone, for a look at a folder: nothing is converted, sealed, retained, expired or deleted by itself, and the log
    /// gets the entries of the node's coming and going alone.
    Asked,
}

/// A node at work. One that is dropped ends as a crash would end it.
pub struct Node {
    // Before the folder is let go.
    _tasks: EndTasks,
    parts: Arc<Parts>,
    server: Server,
    kafka: SocketAddr,
    http: Option<SocketAddr>,
    upkeep: Upkeep,
    // Held until the node is gone.
    folder: Folder,
}

/// Ends a node's tasks and threads, also where its start fails half-way.
struct EndTasks {
    runtime: Runtime,
    ending: CancellationToken,
}

impl Drop for EndTasks {
    fn drop(&mut self) {
        self.ending.cancel();
        self.runtime.spawner.group().abort_all();
    }
}

/// What a node is made of; the HTTP side and the operator's commands work on it.
pub struct Parts {
    /// The settings.
    pub settings: Settings,
    /// Time, randomness, tasks.
    pub runtime: Runtime,
    /// The cell.
    pub cell: Cell,
    /// The embedded commit log.
    pub log: Arc<EmbeddedCommitLog>,
    /// The bucket.
    pub objects: Objects,
    /// Sealed segments.
    pub segment_index: Arc<dyn SegmentIndex>,
    /// Produce.
    pub ingest: Ingest,
    /// Groups.
    pub groups: Groups,
    /// Bronze.
    pub compactor: Compactor,
    /// Metrics.
    pub metrics: Metrics,
    /// Cancelled once no new request of a Kafka client is taken.
    pub draining: CancellationToken,
    /// Once it is cancelled, no request of the HTTP side goes on.
    pub ending: CancellationToken,
}

impl Node {
    /// Starts a node with its tasks in the current tokio runtime. Serves Kafka when this returns.
    ///
    /// # Errors
    /// One clear line that says what to do; nothing was changed that a later start would miss.
    pub async fn start(options: NodeOptions) -> anyhow::Result<Self> {
        let NodeOptions { settings, upkeep } = options;
        let runtime = Runtime::system();
        let metrics = Metrics::install().context("metrics could not be started")?;
        let folder = Folder::open(&settings.data)?;
        let ending = CancellationToken::new();
        let tasks = EndTasks { runtime: runtime.clone(), ending: ending.clone() };
        // The ports first: an address that is taken is found before anything is opened.
        let socket = reserve(&settings.listen).await.with_context(|| {
            format!("cannot listen on {} (is another broker running there? choose another with --listen)", settings.listen)
        })?;
        let listen = socket.local_addr().context("the listening address")?;
        let advertise = advertised(&settings, listen)?;
        let http_socket = match &settings.http {
            None => None,
            Some(address) => Some(reserve(address).await.with_context(|| {
                format!("cannot serve HTTP on {address} (choose another with --http, or `--http ''` for none)")
            })?),
        };

        let store = FolderStore::open(folder.path("store"), folder.path("tmp"), runtime.spawner.clone()).await?;
        let objects = Objects::new(Arc::new(store), RetryPolicy::default(), &runtime);
        match self_test(&objects).await {
            // Deletes, retention and readers need a node even then.
            Err(error) if error.is_full() => tracing::error!(%error, "the disk is full: records are refused until there is room"),
            tested => tested.context("the object store's test failed")?,
        }
        let log_options = LogOptions { min_free_bytes: settings.min_free_bytes, ..LogOptions::default() };
        let log = Arc::new(EmbeddedCommitLog::open(&folder.path("commit-log"), log_options, runtime.clone()).await?);
        let shared_log: Arc<dyn CommitLog> = log.clone();
        let index = restore_index(&*shared_log, &objects).await?;
        check_log_end(log.head(), &index, &objects).await?;
        // There is a log: the rebuild that began it has said what was lost.
        if let Err(error) = folder.remove(REBUILD_LOSSES) {
            tracing::warn!(%error, "the next rebuild may name losses of an earlier one again");
        }
        let rows = RedbSegmentIndex::open(folder.path("segment-index.redb"), runtime.spawner.clone()).await?;

        let join = JoinAs {
            host: advertise.0.clone(),
            port: advertise.1,
            zone: settings.zone.clone(),
            roles: vec![Role::Ingest, Role::Reader, Role::Compactor],
            sole: true,
        };
        // A look takes the log's time as it is.
        let accept_clock = settings.accept_clock || upkeep == Upkeep::Asked;
        let cell_options = CellOptions { join, accept_clock, poll: Duration::from_secs(1) };
        let cell = Cell::start(runtime.clone(), shared_log, index, cell_options).await?;
        complete_segment_rows(&cell, &objects, &rows).await.context("the segment index")?;
        let segment_index: Arc<dyn SegmentIndex> = Arc::new(rows);

        let ingest = Ingest::new(IngestOptions::default(), cell.clone(), objects.clone(), None);
        let cache = Cache::foyer(usize::try_from(settings.cache_bytes).unwrap_or(limits::CACHE_BYTES));
        let reader = Reader::new(ReaderOptions::default(), cell.clone(), objects.clone(), segment_index.clone(), cache.clone());
        let groups_options = GroupsOptions {
            initial_rebalance_delay: Duration::from_millis(settings.group_initial_rebalance_delay_ms),
            housekeeping: upkeep == Upkeep::Full,
            ..GroupsOptions::default()
        };
        let groups = Groups::new(groups_options, cell.clone());
        let cluster = Cluster::new(cluster_options(&settings, &cell, listen, &advertise), cell.clone(), segment_index.clone());
        let extents = ExtentReader::through(&cell, objects.clone(), cache, Purpose::Fresh).once();
        let compactor_options = CompactorOptions { conversion_paused: settings.conversion_paused, ..CompactorOptions::default() };
        let compactor = Compactor::new(compactor_options, cell.clone(), objects.clone(), segment_index.clone(), extents);
        if upkeep == Upkeep::Full {
            upgrade::raise_fold_version(&cell, &compactor).await;
            compactor.run();
        }
        metrics.keep_bounded(&runtime);

        let services = Services { cell: cell.clone(), ingest: ingest.clone(), reader, groups: groups.clone(), cluster };
        let server = Server::new(services, runtime.clone(), crate::open_files::connections());
        let parts = Arc::new(Parts {
            settings,
            runtime,
            cell,
            log,
            objects,
            segment_index,
            ingest,
            groups,
            compactor,
            metrics,
            draining: server.draining().clone(),
            ending,
        });
        let http = match http_socket {
            None => None,
            Some(socket) => Some(crate::http::serve(
                socket.listen(BACKLOG).with_context(|| {
                    format!("cannot serve HTTP on {} (the setting `http`)", parts.settings.http.as_deref().unwrap_or_default())
                })?,
                parts.clone(),
            )?),
        };
        let kafka = server
            .listen(socket.listen(BACKLOG).with_context(|| format!("cannot listen on {listen} (the setting `listen`)"))?)?;
        tracing::info!(kafka = %listen, advertised = %address(&advertise), http = %http.map_or_else(|| "none".to_owned(), |http| http.to_string()), data = %parts.settings.data.display(), "serving");
        Ok(Self { _tasks: tasks, parts, server, kafka, http, upkeep, folder })
    }

    /// Where Kafka clients connect.
    pub fn kafka_address(&self) -> SocketAddr {
        self.kafka
    }

    /// Where metrics and the operator's commands are.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http
    }

    /// What the node is made of.
    pub fn parts(&self) -> &Arc<Parts> {
        &self.parts
    }

    /// Numbers for progress and for `/status`.
    pub async fn status(&self) -> NodeStatus {
        NodeStatus::of(&self.parts).await
    }

    /// Seals everything that is stable, in all topics.
    pub async fn seal_all(&self) -> anyhow::Result<()> {
        seal(&self.parts, None).await
    }

    /// Resolves when the node cannot serve any more.
    pub async fn failed(&self) {
        self.parts.cell.stopped().await;
    }

    /// Stops: no new requests, answers to those in flight, what is due committed, everything closed. At most
    /// [`limits::SHUTDOWN`].
    pub async fn stop(self) {
        let clock = self.parts.runtime.clock.clone();
        let until = clock.monotonic() + limits::SHUTDOWN;
        let left = || until.saturating_sub(clock.monotonic());
        self.server.drain(left().min(Duration::from_secs(8))).await;
        // Where the disk stands still, what is not done in time is what a crash would leave.
        let _ = tokio::time::timeout(left(), self.parts.ingest.drain()).await;
        let _ = tokio::time::timeout(left(), self.parts.groups.stop()).await;
        // Before the last copies are made: a seal that was asked for does not go on behind them.
        self.parts.ending.cancel();
        if self.upkeep == Upkeep::Full {
            self.parts.compactor.stop(left().min(Duration::from_secs(5))).await;
        }
        let stopped = tokio::time::timeout(left(), self.parts.cell.stop()).await;
        self.parts.runtime.spawner.group().abort_all();
        if stopped.is_err() {
            // The log's thread may still be within a write: the folder is this process's until that ends.
            std::mem::forget(self.folder);
        }
        tracing::info!("stopped");
    }
}

/// Converts and seals what is stable, in one topic or in all.
pub async fn seal(parts: &Parts, topic: Option<&str>) -> anyhow::Result<()> {
    let topics: Vec<(String, strandline_types::TopicId)> = {
        let view = parts.cell.view();
        view.topics
            .values()
            .filter(|known| topic.is_none_or(|name| name == known.name))
            .map(|known| (known.name.clone(), known.id))
            .collect()
    };
    if let (Some(name), true) = (topic, topics.is_empty()) {
        anyhow::bail!("there is no topic `{name}`");
    }
    let mut first_error = None;
    for (name, id) in topics {
        // One topic's trouble is not another's.
        if let Err(error) = parts.compactor.seal_everything(id).await {
            first_error.get_or_insert(anyhow::Error::new(error).context(format!("topic `{name}` could not be sealed")));
        }
    }
    first_error.map_or(Ok(()), Err)
}

/// Connections that wait to be accepted, as tokio's own listeners.
const BACKLOG: u32 = 1_024;

/// Takes an address, without listening yet: who connects before the node serves is refused, and does not wait for an answer.
async fn reserve(address: &str) -> std::io::Result<TcpSocket> {
    let mut last = None;
    for address in tokio::net::lookup_host(address).await? {
        let reserved = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        };
        let reserved = reserved.and_then(|socket| {
            // As tokio's listeners: what an earlier run has left of its connections is in nobody's way.
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            Ok(socket)
        });
        match reserved {
            Ok(socket) => return Ok(socket),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| std::io::Error::new(std::io::ErrorKind::InvalidInput, "it is no address of this machine")))
}

/// What clients are told: as set, else where the node really listens.
fn advertised(settings: &Settings, listen: SocketAddr) -> anyhow::Result<(String, u16)> {
    let text = match (&settings.advertise, settings.listen.rsplit_once(':')) {
        (Some(advertise), _) => advertise.clone(),
        (None, Some((host, _))) => format!("{host}:{}", listen.port()),
        (None, None) => listen.to_string(),
    };
    let (host, port) = text.rsplit_once(':').with_context(|| format!("`{text}` is not HOST:PORT"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Ok((host.to_owned(), port.parse().with_context(|| format!("`{text}` is not HOST:PORT"))?))
}

/// As people write it: an IPv6 address stands in brackets.
fn address((host, port): &(String, u16)) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn cluster_options(settings: &Settings, cell: &Cell, listen: SocketAddr, advertise: &(String, u16)) -> ClusterOptions {
    let data = settings.data.clone();
    let disk = move || {
        let disk = rustix::fs::statvfs(&data).ok()?;
        let bytes = |blocks: u64| i64::try_from(blocks.saturating_mul(disk.f_frsize)).unwrap_or(i64::MAX);
        Some(DiskUse { total_bytes: bytes(disk.f_blocks), usable_bytes: bytes(disk.f_bavail) })
    };
    ClusterOptions {
        broker: BrokerSettings {
            node_id: cell.node_id(),
            listen: listen.to_string(),
            advertise: address(advertise),
            zone: settings.zone.clone(),
            data: settings.data.display().to_string(),
            auto_create_topics: settings.auto_create_topics,
            partitions: settings.default_partitions,
            replication_factor: settings.default_replication_factor,
        },
        disk: Some(Arc::new(disk)),
    }
}
