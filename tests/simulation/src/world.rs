//! The cell and everything around it.

use crate::bucket::Bucket;
use crate::core::{Core, locked};
use crate::dice::Dice;
use crate::gate::Gate;
use crate::gauges::Gauges;
use crate::happenings::Happening;
use crate::mutation::Mutation;
use crate::node::Node;
use crate::shape::Shape;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use strandline_cell::Submission;
use strandline_commands::{ConfigEntry, CreateTopic, DeclareGone, DeleteTopic};
use strandline_commit_log::MemoryCommitLog;
use strandline_commit_log::disk::SimulatedDisk;
use strandline_index::{FOLD_VERSION, Group, Index, Outcome};
use strandline_object_store::{FaultPlan, Objects, RetryPolicy};
use strandline_runtime::{Runtime, SeededRandom, Spawner, VirtualClock};
use strandline_types::{Incarnation, TopicId, TopicPartition};

/// A topic that clients use.
#[derive(Debug, Clone)]
pub(crate) struct TopicInfo {
    pub id: TopicId,
    pub name: String,
    pub partitions: i32,
    pub log_append_time: bool,
    /// Somebody asked for its deletion.
    pub deleted: bool,
    /// It is never deleted.
    pub permanent: bool,
}

/// One that divides a day.
pub(crate) fn seal_ms(dice: &Dice) -> String {
    dice.pick(&["5000", "6000", "8000", "10000", "15000", "20000", "30000", "60000"]).copied().unwrap_or("60000").to_owned()
}

pub(crate) struct World {
    pub seed: u64,
    pub shape: Shape,
    pub core: Arc<Core>,
    pub bucket: Bucket,
    /// One a slot: a badly set clock survives its node.
    pub clocks: Vec<Arc<VirtualClock>>,
    /// Under a sole node's embedded log.
    pub disk: Option<SimulatedDisk>,
    nodes: Mutex<Vec<Option<Arc<Node>>>>,
    /// A node is on its way to a graceful end: it still holds the lock of its folder.
    is_stopping: AtomicBool,
    /// Runs that ended and are not declared gone yet.
    graves: Mutex<Vec<Incarnation>>,
    topics: Mutex<Vec<TopicInfo>>,
    runs: AtomicU64,
    ending: AtomicBool,
    pub start_ms: i64,
}

impl World {
    pub fn new(seed: u64, mutation: Option<Mutation>, shape: Shape, gauges: Gauges) -> Arc<Self> {
        let start_ms = shape.start_ms;
        let clocks: Vec<_> = (0..shape.nodes).map(|_| Arc::new(VirtualClock::new(start_ms))).collect();
        let random: Arc<SeededRandom> = Dice::new(seed, 2).random();
        let runtime = Runtime { clock: Arc::new(VirtualClock::new(start_ms)), random, spawner: Spawner::in_place() };
        let log = MemoryCommitLog::with_semantics(runtime.clone(), shape.semantics).taking_any_payload(shape.sole);
        let core = Core::new(runtime, log, mutation, gauges);
        let kinds = shape.kinds().into_iter().filter(|(_, is_so)| *is_so);
        kinds.for_each(|(kind, _)| core.count(kind));
        let bucket = Bucket::new(core.clone(), Dice::new(seed, 3));
        Arc::new(Self {
            seed,
            nodes: Mutex::new(vec![None; shape.nodes]),
            is_stopping: AtomicBool::new(false),
            core,
            bucket,
            clocks,
            disk: shape.disk.then(SimulatedDisk::new),
            shape,
            graves: Mutex::default(),
            topics: Mutex::default(),
            runs: AtomicU64::new(0),
            ending: AtomicBool::new(false),
            start_ms,
        })
    }

    /// Clients come to an end.
    pub fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed) || self.core.has_failed()
    }

    pub fn end(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    /// No more faults from now on.
    pub fn is_calm(&self) -> bool {
        self.core.is_calm()
    }

    pub fn calm_down(&self) {
        self.core.calm_down();
    }

    /// The store without faults, for checks.
    pub fn plain_objects(&self) -> Objects {
        Objects::new(self.bucket.inner.clone(), RetryPolicy::once(), &self.core.runtime)
    }

    /// The nodes that run (paused ones too).
    pub fn live(&self) -> Vec<Arc<Node>> {
        locked(&self.nodes).iter().flatten().cloned().collect()
    }

    pub fn node(&self, slot: usize) -> Option<Arc<Node>> {
        locked(&self.nodes)[slot].clone()
    }

    pub fn any_node(&self, dice: &Dice) -> Option<Arc<Node>> {
        dice.pick(&self.live()).cloned()
    }

    /// Starts a node in an empty slot. It may fail: then it is tried again later.
    pub async fn start_node(&self, slot: usize, prepare: impl FnOnce(&MemoryCommitLog, &FaultPlan)) {
        if self.disk.is_some() && self.is_stopping.load(Ordering::Relaxed) {
            self.core.trace(format!("slot {slot} cannot be started: its folder is in use"));
            return;
        }
        let run = self.runs.fetch_add(1, Ordering::Relaxed);
        let (gate, log, faults) = (Gate::new(), self.core.log.for_node(), FaultPlan::new());
        prepare(&log, &faults);
        // A build of before and one of after, as long as not all is quiet.
        let is_old = self.shape.upgrade && !self.is_calm() && Dice::new(self.seed, 30 + run).chance(60);
        let fold_version = if is_old { 1 } else { FOLD_VERSION };
        match Node::start(self, slot, run, gate, log, faults, fold_version).await {
            Ok(node) => {
                let name = node.name();
                self.core.trace(format!("{name} has joined as {}, version {fold_version}", node.cell.incarnation()));
                self.count_start(run, is_old);
                locked(&self.nodes)[slot] = Some(Arc::new(node));
            }
            Err(error) => {
                self.core.count(Happening::FailedStarts);
                self.core.trace(format!("slot {slot} could not be started: {error}"));
            }
        }
    }

    fn count_start(&self, run: u64, is_old: bool) {
        // The first runs are those that a world begins with.
        if run >= self.shape.nodes as u64 {
            self.core.count(Happening::Restarts);
        }
        if is_old {
            self.core.count(Happening::OldBuilds);
        }
    }

    /// A crash.
    pub fn kill(&self, slot: usize) {
        let Some(node) = locked(&self.nodes)[slot].take() else { return };
        self.core.trace(format!("{} dies", node.name()));
        node.kill();
        locked(&self.graves).push(node.cell.incarnation());
    }

    /// A graceful end.
    pub async fn stop(&self, slot: usize) {
        let Some(node) = locked(&self.nodes)[slot].take() else { return };
        self.core.trace(format!("{} stops", node.name()));
        self.is_stopping.store(true, Ordering::Relaxed);
        let stopped = node.ask(async {
            node.server.drain(std::time::Duration::from_secs(8)).await;
            node.groups.stop().await;
            node.ingest.drain().await;
            node.compactor.stop(std::time::Duration::from_secs(2)).await;
            node.cell.stop().await;
        });
        // A node that hangs as it stops is ended by force.
        let _ = tokio::time::timeout(std::time::Duration::from_secs(20), stopped).await;
        node.kill();
        self.is_stopping.store(false, Ordering::Relaxed);
        locked(&self.graves).push(node.cell.incarnation());
    }

    /// A node says of another's run that it is over, as far as it sees.
    pub async fn declare_gone(&self, by: &Node, incarnation: Incarnation) -> bool {
        if by.ask(by.cell.barrier()).await.is_none_or(|answer| answer.is_err()) {
            return false;
        }
        let known = by.cell.view().nodes.get(&incarnation).map(|run| run.last_n);
        let Some(last_n) = known else { return true };
        let gone = DeclareGone { incarnation: incarnation.0, last_n };
        let answer = by.ask(by.cell.submit(Submission::one(gone))).await;
        let done = matches!(&answer, Some(Ok(submitted)) if submitted.outcomes == [Outcome::Done]);
        self.core.trace(format!("{} declares {incarnation} gone: {done}", by.name()));
        done
    }

    /// Dead runs are declared gone by those that live.
    pub async fn bury(&self, dice: &Dice) {
        let graves = std::mem::take(&mut *locked(&self.graves));
        for incarnation in graves {
            let buried = match self.any_node(dice) {
                Some(node) => self.declare_gone(&node, incarnation).await,
                None => false,
            };
            if !buried {
                locked(&self.graves).push(incarnation);
            }
        }
    }

    /// Runs that joined and did not come up are known to nobody but the log: who looks at the list of nodes finds them.
    pub fn find_strays(&self) {
        let live = self.live();
        // One that stops says so itself.
        if live.len() < self.shape.nodes || self.is_stopping.load(Ordering::Relaxed) {
            return;
        }
        // A node that sleeps has an old list.
        let Some(node) = live.iter().find(|node| node.log_gate.is_open() && node.gate.is_open()) else { return };
        let mut graves = locked(&self.graves);
        let is_known = |run: &Incarnation| graves.contains(run) || live.iter().any(|node| node.cell.incarnation() == *run);
        let strays: Vec<_> = node.cell.view().nodes.keys().filter(|run| !is_known(run)).copied().collect();
        graves.extend(strays);
    }

    pub fn has_graves(&self) -> bool {
        !locked(&self.graves).is_empty()
    }

    /// What anybody can have been told of when a node is asked. A sole node's own view is all that anybody knows of: an entry that
    /// is in its log and not folded yet has been told to nobody.
    fn known<T>(&self, node: &Node, look: impl FnOnce(&Index) -> T) -> T {
        if self.shape.sole { look(&node.cell.view()) } else { look(self.core.oracle().index()) }
    }

    /// Log start and end as they are known.
    pub fn known_bounds(&self, node: &Node, at: TopicPartition) -> Option<(i64, i64)> {
        let bounds = |index: &Index| {
            let partition = index.partition(at.topic_id, at.partition)?;
            Some((partition.log_start, partition.next_offset))
        };
        self.known(node, bounds)
    }

    /// A group as it is known.
    pub fn known_group(&self, node: &Node, group: &str) -> Option<Arc<Group>> {
        self.known(node, |index| index.groups.get(group).cloned())
    }

    /// All topics that are known.
    pub fn known_topics(&self, node: &Node) -> Vec<TopicId> {
        self.known(node, |index| index.topics.keys().copied().collect())
    }

    /// Topics may have grown, also where nobody was told so: clients use partitions that nodes know of.
    pub fn learn_partitions(&self) {
        let learn = |index: &Index| {
            for topic in locked(&self.topics).iter_mut() {
                let known = index.topics.get(&topic.id).map_or(0, |topic| topic.partitions.len());
                topic.partitions = topic.partitions.max(i32::try_from(known).unwrap_or(0));
            }
        };
        match self.live().pop() {
            Some(node) => self.known(&node, learn),
            None if self.shape.sole => {}
            None => learn(self.core.oracle().index()),
        }
    }

    pub fn topics(&self) -> Vec<TopicInfo> {
        locked(&self.topics).iter().filter(|topic| !topic.deleted).cloned().collect()
    }

    pub fn all_topics(&self) -> Vec<TopicInfo> {
        locked(&self.topics).clone()
    }

    pub fn topic(&self, id: TopicId) -> Option<TopicInfo> {
        locked(&self.topics).iter().find(|topic| topic.id == id).cloned()
    }

    pub fn any_partition(&self, dice: &Dice) -> Option<(TopicInfo, TopicPartition)> {
        let topics = self.topics();
        let topic = dice.pick(&topics)?.clone();
        let at = TopicPartition { topic_id: topic.id, partition: dice.below(topic.partitions as u64) as i32 };
        Some((topic, at))
    }

    /// Partitions and configs of a topic that is to be.
    pub fn new_topic(&self, dice: &Dice) -> (i32, Vec<(&'static str, String)>) {
        let partitions = dice.between(1, 3) as i32;
        let log_append_time = dice.chance(25);
        let mut configs = vec![
            ("strandline.bronze.freshness.ms", dice.between(500, 8_000).to_string()),
            ("strandline.bronze.seal.ms", seal_ms(dice)),
            ("strandline.latency", dice.pick(&["standard", "express", "relaxed"]).copied().unwrap_or("standard").to_owned()),
        ];
        if dice.chance(30) {
            configs.push(("retention.bytes", (dice.between(8, 64) << 10).to_string()));
        }
        let retention_ms = dice.chance(30).then(|| dice.between(15_000, 90_000));
        if let Some(retention_ms) = retention_ms {
            configs.push(("retention.ms", retention_ms.to_string()));
        }
        match (dice.below(4), retention_ms) {
            (0, _) => configs.push(("strandline.bronze.retention.ms", "-2".to_owned())),
            (1, _) => configs.push(("strandline.bronze.retention.ms", "-1".to_owned())),
            (2, Some(retention_ms)) => {
                let kept_ms = retention_ms + dice.between(0, 60_000);
                configs.push(("strandline.bronze.retention.ms", kept_ms.to_string()));
            }
            _ => {}
        }
        if log_append_time {
            configs.push(("message.timestamp.type", "LogAppendTime".to_owned()));
        }
        (partitions, configs)
    }

    /// A topic that stays; tried until it is there.
    pub async fn create_topic(&self, dice: &Dice, name: &str) {
        let (partitions, configs) = self.new_topic(dice);
        self.create_topic_as(dice, name, partitions, configs).await;
    }

    /// The same of so many partitions, with these configs.
    pub async fn create_topic_as(&self, dice: &Dice, name: &str, partitions: i32, configs: Vec<(&str, String)>) {
        let id = TopicId(strandline_runtime::Random::id(&*dice.random()));
        let entry = |(name, value): &(&str, String)| ConfigEntry { name: (*name).to_owned(), value: value.clone() };
        let entries = configs.iter().map(entry).collect();
        let command =
            CreateTopic { topic_id: id.0.to_vec(), name: name.to_owned(), partitions, replication_factor: 1, configs: entries };
        while !self.core.has_failed() {
            if let Some(node) = self.any_node(dice) {
                let answer = node.ask(node.cell.submit(Submission::one(command.clone()))).await;
                self.core.trace(format!("{} creates {name} {id}: {answer:?}", node.name()));
                if self.core.oracle().has_topic(id) {
                    break;
                }
                // In doubt it may come later, and then the name is taken by this very topic.
                if let Some(Ok(submitted)) = &answer
                    && matches!(submitted.outcomes.as_slice(), [Outcome::Refused(_)])
                {
                    return;
                }
            }
            self.core.runtime.sleep(dice.millis(100, 2_000)).await;
            if self.is_ending() {
                return;
            }
        }
        self.add_topic(id, name, true, partitions, &configs);
    }

    /// A topic is there, and clients may use it.
    pub fn add_topic(&self, id: TopicId, name: &str, permanent: bool, partitions: i32, configs: &[(&str, String)]) {
        let log_append_time = configs.iter().any(|(name, _)| *name == "message.timestamp.type");
        let info = TopicInfo { id, name: name.to_owned(), partitions, log_append_time, deleted: false, permanent };
        locked(&self.topics).push(info);
    }

    /// From here on clients may be told that it is gone.
    pub fn expect_deletion(&self, id: TopicId) {
        locked(&self.topics).iter_mut().filter(|topic| topic.id == id).for_each(|topic| topic.deleted = true);
    }

    /// Asks for a topic's deletion once, through this node.
    pub async fn delete_topic_by(&self, node: &Node, id: TopicId) {
        self.expect_deletion(id);
        let command = DeleteTopic { topic_id: id.0.to_vec() };
        let answer = node.ask(node.cell.submit(Submission::one(command))).await;
        self.core.trace(format!("{} deletes {id}: {answer:?}", node.name()));
    }
}
