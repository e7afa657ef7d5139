//! One run of a node, with all of its roles.

use crate::bucket::NodeStore;
use crate::dice::Dice;
use crate::gate::Gate;
use crate::node_log::NodeLog;
use crate::node_rows::NodeRows;
use crate::promised::Promised;
use crate::stops::Stops;
use crate::watched_store::WatchedStore;
use crate::world::World;
use futures::FutureExt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use strandline::server::{Server, Services};
use strandline_cache::Cache;
use strandline_cell::{Cell, CellOptions, JoinAs};
use strandline_cluster::{Cluster, ClusterOptions};
use strandline_commands::Role;
use strandline_commit_log::{CommitLog, MemoryCommitLog};
use strandline_compactor::Compactor;
use strandline_extents::ExtentReader;
use strandline_groups::{Groups, GroupsOptions};
use strandline_index::{Index, decode_snapshot};
use strandline_ingest::{Ingest, IngestOptions};
use strandline_object_store::{FaultPlan, Faults, Objects, Purpose, RetryPolicy};
use strandline_reader::{Reader, ReaderOptions};
use strandline_runtime::Runtime;
use strandline_segment_index::SegmentIndex;
use strandline_topic_config::BrokerSettings;

/// Small, so that what a node keeps of the store is dropped often.
const CACHE_BYTES: usize = 96 << 10;
/// Tasks of a node at work: far more would mean that something is started and never ends (I11).
const TASKS: usize = 400;

/// A node that runs, or ran.
pub(crate) struct Node {
    pub slot: usize,
    pub run: u64,
    /// The newest rules that its build knows.
    pub fold_version: u32,
    pub cell: Cell,
    pub ingest: Ingest,
    pub reader: Reader,
    pub groups: Groups,
    /// What clients reach.
    pub server: Server,
    pub compactor: Compactor,
    pub cache: Cache,
    pub log: MemoryCommitLog,
    pub faults: FaultPlan,
    pub gate: Gate,
    pub log_gate: Gate,
    pub stops: Stops,
    runtime: Runtime,
}

impl Node {
    /// Starts from the floor's snapshot and the log, with empty memory.
    pub async fn start(
        world: &World,
        slot: usize,
        run: u64,
        gate: Gate,
        log: MemoryCommitLog,
        faults: FaultPlan,
        fold_version: u32,
    ) -> Result<Self, String> {
        let core = world.core.clone();
        let (log_gate, stops) = (Gate::new(), Stops::default());
        let stream = 1_000 + 1_000 * slot as u64 + run;
        let dice = |part: u64| Dice::new(world.seed, stream * 16 + part);
        let clock = world.clocks[slot].clone();
        let runtime = Runtime { clock, random: dice(0).random(), spawner: world.core.runtime.spawner.new_group() };
        let stored: Arc<dyn CommitLog> = match &world.disk {
            Some(disk) => Arc::new(Promised::open(disk, core.clone(), &dice(3), runtime.clone()).await?),
            None => Arc::new(log.clone()),
        };
        let own_log = Arc::new(NodeLog::new(stored, log_gate.clone(), core.clone(), dice(1), &world.shape, stops.clone()));
        let node_log: Arc<dyn CommitLog> = own_log.clone();
        let faulty = Faults::new(
            Arc::new(world.bucket.clone()),
            faults.clone(),
            &Runtime { spawner: core.runtime.spawner.clone(), ..runtime.clone() },
        );
        let watched = WatchedStore { inner: faulty, bucket: world.bucket.inner.clone(), core: core.clone() };
        let store = Arc::new(NodeStore { inner: Arc::new(watched), gate: gate.clone(), stops: stops.clone() });
        let policy = if world.shape.retries { RetryPolicy::default() } else { RetryPolicy::once() };
        let objects = Objects::new(store, policy, &runtime);
        // In half of the lives the segment index fails now and then.
        let failing = if world.shape.directed { 0 } else { dice(4).pick(&[0, 0, 2, 5]).copied().unwrap_or(0) };
        let segment_index: Arc<dyn SegmentIndex> =
            Arc::new(NodeRows { core: core.clone(), gate: gate.clone(), dice: dice(2), stops: stops.clone(), failing });
        let index = load_index(&*node_log, &objects).await?;
        let roles = vec![Role::Ingest, Role::Reader, Role::Compactor];
        let options = CellOptions {
            join: JoinAs {
                host: "127.0.0.1".to_owned(),
                port: 9_092 + slot as u16,
                zone: String::new(),
                roles,
                sole: world.shape.sole,
            },
            accept_clock: world.shape.skew,
            // In a script nodes learn what it wants them to learn.
            poll: Duration::from_millis(if world.shape.directed { 600_000 } else { 900 }),
        };
        let started = Cell::start_as_of(runtime.clone(), node_log.clone(), index, options, fold_version);
        let cell = started.await.map_err(|error| error.to_string())?;
        own_log.started();
        let cache = Cache::simple(CACHE_BYTES);
        let ingest_options = IngestOptions { wait_for_sequence: !world.shape.sole, ..IngestOptions::default() };
        let ingest = Ingest::new(ingest_options, cell.clone(), objects.clone(), Some(cache.clone()));
        let reader = Reader::new(ReaderOptions::default(), cell.clone(), objects.clone(), segment_index.clone(), cache.clone());
        let groups = Groups::new(GroupsOptions::default(), cell.clone());
        let port = 9_092 + slot as u16;
        let broker = BrokerSettings {
            node_id: cell.node_id(),
            listen: format!("127.0.0.1:{port}"),
            advertise: format!("127.0.0.1:{port}"),
            zone: String::new(),
            data: String::new(),
            auto_create_topics: false,
            partitions: 1,
            replication_factor: 1,
        };
        let cluster_options = ClusterOptions { broker, disk: None };
        let cluster = Cluster::new(cluster_options, cell.clone(), segment_index.clone());
        let services =
            Services { cell: cell.clone(), ingest: ingest.clone(), reader: reader.clone(), groups: groups.clone(), cluster };
        let server = Server::new(services, runtime.clone(), strandline_types::limits::CONNECTIONS);
        let extents = ExtentReader::new(node_log, objects.clone(), Purpose::Fresh);
        let compactor = Compactor::new(world.shape.compactor.clone(), cell.clone(), objects, segment_index, extents);
        if !world.shape.directed {
            compactor.run();
        }
        Ok(Self {
            slot,
            run,
            fold_version,
            cell,
            ingest,
            reader,
            groups,
            server,
            compactor,
            cache,
            log,
            faults,
            gate,
            log_gate,
            stops,
            runtime,
        })
    }

    /// The name in the trace.
    pub fn name(&self) -> String {
        format!("node {}.{}", self.slot, self.run)
    }

    /// Ends it as a crash does: tasks stop where they stand, and nothing more leaves it.
    pub fn kill(&self) {
        self.gate.kill();
        self.log_gate.kill();
        self.server.abort();
        self.runtime.spawner.group().abort_all();
        // Its first step ends the compactor's tasks; what it would do then cannot leave a dead node.
        let _ = self.compactor.stop(Duration::ZERO).now_or_never();
    }

    /// What is done inside this node: the result, or none if the node dies first.
    pub async fn ask<T>(&self, answer: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.gate.death() => None,
            answer = answer => Some(answer),
        }
    }

    /// I11, as far as it shows from outside.
    pub fn check_bounds(&self) -> Result<(), String> {
        if self.cache.usage() > self.cache.capacity() {
            return Err(format!("the cache of {} holds {} bytes (I11)", self.name(), self.cache.usage()));
        }
        let tasks = self.runtime.spawner.group().running();
        if tasks > TASKS {
            return Err(format!("{} runs {tasks} tasks (I11)", self.name()));
        }
        Ok(())
    }
}

async fn load_index(log: &dyn CommitLog, objects: &Objects) -> Result<Index, String> {
    let Some(snapshot) = log.floor().await.map_err(|error| error.to_string())?.snapshot else { return Ok(Index::default()) };
    let bytes = objects.get(Purpose::Rebuild, &snapshot.key).await.map_err(|error| error.to_string())?;
    decode_snapshot(&bytes).map_err(|error| error.to_string())
}
