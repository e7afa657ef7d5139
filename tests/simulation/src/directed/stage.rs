//! What scripts are made of.

use crate::check::check_now;
use crate::clients::{Told, answer, send};
use crate::dice::Dice;
use crate::ledger::{RecordId, record_id};
use crate::network::Link;
use crate::node::Node;
use crate::record::{Sender, batch};
use crate::stops::{Hold, Place};
use crate::world::{TopicInfo, World};
use bytes::Bytes;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use strandline_cell::{Submission, SubmitError, Submitted};
use strandline_commands::{CreateTopic, MoveLogStart};
use strandline_object_store::Purpose;
use strandline_types::{TopicId, TopicPartition};
use strandline_wire::records::Compression;

/// More than a flush that rides inline.
pub(super) const LARGE: usize = 40;
/// Longer than entries stay below the floor.
const LONG: Duration = Duration::from_secs(50);

/// What retention takes from the log goes from `bronze/` too.
fn configs() -> Vec<(&'static str, String)> {
    vec![("strandline.bronze.retention.ms", "-2".to_owned())]
}

/// A cell of three nodes with one topic of one partition.
pub(super) struct Stage {
    pub world: Arc<World>,
    pub topic: TopicInfo,
    dice: Dice,
    number: AtomicU32,
}

impl Stage {
    pub async fn set(world: &Arc<World>) -> Option<Self> {
        let dice = Dice::new(world.seed, 20);
        for slot in 0..world.shape.nodes {
            world.start_node(slot, |_, _| {}).await;
        }
        world.create_topic_as(&dice, "topic", 1, configs()).await;
        let topic = world.topics().pop()?;
        let stage = Self { world: world.clone(), topic, dice, number: AtomicU32::new(0) };
        stage.catch_up().await;
        Some(stage)
    }

    pub fn at(&self) -> TopicPartition {
        TopicPartition { topic_id: self.topic.id, partition: 0 }
    }

    /// The node in this slot, which must live.
    pub fn node(&self, slot: usize) -> Arc<Node> {
        self.world.node(slot).unwrap()
    }

    pub fn say(&self, line: &str) {
        self.world.core.trace(line);
    }

    pub async fn sleep(&self, duration: Duration) {
        self.world.core.runtime.sleep(duration).await;
    }

    /// All nodes that can be reached have folded what is there.
    pub async fn catch_up(&self) {
        for node in self.world.live() {
            if node.log_gate.is_open() {
                let _ = node.ask(node.cell.barrier()).await;
            }
        }
    }

    /// The same cell, and another topic of so many partitions.
    pub async fn on_another_topic(&self, name: &str, partitions: i32) -> Self {
        self.on_a_topic(name, partitions, configs()).await
    }

    /// The same, and records have the time at which the log took them.
    pub async fn on_a_topic_of_log_times(&self, name: &str) -> Self {
        self.on_a_topic(name, 1, vec![("message.timestamp.type", "LogAppendTime".to_owned())]).await
    }

    async fn on_a_topic(&self, name: &str, partitions: i32, configs: Vec<(&'static str, String)>) -> Self {
        self.world.create_topic_as(&self.dice, name, partitions, configs).await;
        self.catch_up().await;
        let topic = self.world.topics().pop().unwrap();
        // Records are told apart by their numbers.
        Self { world: self.world.clone(), topic, dice: self.dice.clone(), number: AtomicU32::new(1 << 20) }
    }

    /// By the second node.
    pub async fn delete_topic(&self) {
        self.world.delete_topic_by(&self.node(1), self.topic.id).await;
    }

    /// A topic of the same name, once this one is deleted; made by the second node.
    pub async fn create_again(&self) -> Self {
        let id = TopicId(strandline_runtime::Random::id(&*self.dice.random()));
        let name = self.topic.name.clone();
        let command = CreateTopic {
            topic_id: id.0.to_vec(),
            name: name.clone(),
            partitions: 1,
            replication_factor: 1,
            configs: Vec::new(),
        };
        let node = self.node(1);
        let answer = node.ask(node.cell.submit(Submission::one(command))).await;
        self.say(&format!("{} creates {name} again, {id}: {answer:?}", node.name()));
        self.world.add_topic(id, &name, true, 1, &[]);
        let topic = self.world.topics().pop().unwrap();
        Self { world: self.world.clone(), topic, dice: self.dice.clone(), number: AtomicU32::new(1 << 21) }
    }

    /// Produces so many records to the first partition through this node, as one batch.
    pub async fn send(&self, slot: usize, records: usize) -> Told {
        self.send_to(slot, 0, records).await
    }

    /// The same, to any partition.
    pub async fn send_to(&self, slot: usize, partition: i32, records: usize) -> Told {
        let ids = self.new_ids(records);
        self.send_batch(slot, partition, &ids, None).await
    }

    /// Ids of records that nobody has sent.
    pub fn new_ids(&self, records: usize) -> Vec<RecordId> {
        let from = self.number.fetch_add(records as u32, Ordering::Relaxed);
        (0..records as u32).map(|step| record_id(1, from + step)).collect()
    }

    /// Produces these records as one batch; an idempotent producer may do so again.
    pub async fn send_batch(&self, slot: usize, partition: i32, ids: &[RecordId], sender: Option<Sender>) -> Told {
        self.send_batch_to(slot, partition, ids, sender, false).await
    }

    /// Produces a record to the first partition, and names the topic as clients of before Kafka 4.1 do.
    pub async fn send_by_name(&self, slot: usize) -> Told {
        let ids = self.new_ids(1);
        self.send_batch_to(slot, 0, &ids, None, true).await
    }

    async fn send_batch_to(&self, slot: usize, partition: i32, ids: &[RecordId], sender: Option<Sender>, by_name: bool) -> Told {
        let at = TopicPartition { topic_id: self.topic.id, partition };
        let node = self.node(slot);
        ids.iter().for_each(|id| self.world.core.ledger().tried(at, *id, sender.is_some()));
        let bytes = batch(ids, self.world.start_ms, Compression::None, sender);
        let link = Link::new(&self.world, ids[0] & 0xffff_ffff);
        let sent = send(&node, &link, &self.topic, at, bytes, by_name).await;
        let told = answer(&self.world, &node, sent, &self.topic, at, ids).await;
        self.say(&format!("{} {:x}+{}: {told}", node.name(), ids[0], ids.len()));
        told
    }

    /// Commits a command that asks for nothing through this node, and waits as long as it takes.
    pub async fn commit(&self, slot: usize) -> Option<Result<Submitted, SubmitError>> {
        let node = self.node(slot);
        let command = self.log_start(0, 0);
        let reply = node.cell.enqueue(Submission::one(command)).await.ok()?;
        node.ask(reply).await?.ok()
    }

    fn log_start(&self, partition: i32, to: i64) -> MoveLogStart {
        let at = TopicPartition { topic_id: self.topic.id, partition };
        self.world.core.oracle().retention.ask(at, to);
        MoveLogStart { topic_id: self.topic.id.0.to_vec(), partition, to }
    }

    /// Moves a partition's log start.
    pub async fn move_log_start(&self, slot: usize, partition: i32, to: i64) {
        let node = self.node(slot);
        let done = node.ask(node.cell.submit(Submission::one(self.log_start(partition, to)))).await;
        self.say(&format!("{} moves a log start: {done:?}", node.name()));
    }

    /// The floor passes all that is there, and it goes.
    pub async fn pass_floor(&self, slot: usize) {
        let node = self.node(slot);
        for round in 0..3 {
            self.send(slot, 2).await;
            self.sleep(Duration::from_millis(200)).await;
            let done = node.ask(node.compactor.snapshot_once(true)).await;
            self.say(&format!("{} snapshot: {done:?}", node.name()));
            if round < 2 && !self.world.shape.entries_stay.is_zero() {
                self.sleep(LONG).await;
            }
        }
    }

    pub fn hold(&self, slot: usize, place: Place, path: &'static str) -> Hold {
        self.node(slot).stops.next(place, path)
    }

    /// Whether it is there within a while.
    pub async fn is_reached(&self, hold: &Hold) -> bool {
        tokio::time::timeout(Duration::from_secs(20), hold.reached()).await.is_ok()
    }

    /// Waits until it is there; the script fails as said if it never is.
    pub async fn reach(&self, hold: &Hold, otherwise: &str) {
        if !self.is_reached(hold).await {
            self.world.core.fail(otherwise);
        }
    }

    /// Cut off from the log, or no longer.
    pub fn cut_off(&self, slot: usize, cut_off: bool) {
        self.node(slot).log_gate.set_paused(cut_off);
    }

    /// A crash that everybody knows of.
    pub async fn bury(&self, slot: usize) {
        self.world.kill(slot);
        for _ in 0..100 {
            if !self.world.has_graves() {
                return;
            }
            self.world.bury(&self.dice).await;
            self.sleep(Duration::from_millis(100)).await;
        }
        self.world.core.fail("a run that is over cannot be declared gone");
    }

    pub async fn start(&self, slot: usize) {
        self.world.start_node(slot, |_, _| {}).await;
    }

    /// Converts all that is stable.
    pub async fn convert(&self, slot: usize) {
        let node = self.node(slot);
        let _ = node.ask(node.cell.barrier()).await;
        let done = node.ask(node.compactor.convert_once(self.topic.id)).await;
        self.say(&format!("{} convert: {done:?}", node.name()));
    }

    /// Seals all that is fresh.
    pub async fn seal(&self, slot: usize) {
        let node = self.node(slot);
        let _ = node.ask(node.cell.barrier()).await;
        let done = node.ask(node.compactor.seal_once(self.topic.id, true)).await;
        self.say(&format!("{} seal: {done:?}", node.name()));
    }

    /// Looks for orphans; what was folded until now is old after a while.
    pub async fn sweep(&self, slot: usize) {
        let node = self.node(slot);
        let done = node.ask(node.compactor.sweep_once()).await;
        self.say(&format!("{} sweep: {done:?}", node.name()));
        self.sleep(Duration::from_secs(1)).await;
    }

    pub async fn collect(&self, slot: usize) {
        let node = self.node(slot);
        self.sleep(Duration::from_secs(1)).await;
        let done = node.ask(node.compactor.collect_once()).await;
        self.say(&format!("{} collect: {done:?}", node.name()));
    }

    /// Holds the nodes against the log.
    pub fn check(&self) {
        check_now(&self.world);
    }

    /// Whether 'everything' is everything: after a barrier a node has folded what was there before it.
    pub async fn check_barrier(&self, slot: usize) {
        let node = self.node(slot);
        let head = self.world.core.log.head();
        if let Some(Ok(())) = node.ask(node.cell.barrier()).await
            && node.cell.seq() < head
        {
            self.world.core.fail(format!("{}: a barrier at {}, the log was at {head} before it", node.name(), node.cell.seq()));
        }
    }

    pub async fn objects(&self, prefix: &str) -> Vec<String> {
        use futures::TryStreamExt;
        let listed = self.world.plain_objects().list(Purpose::Sweep, prefix).try_collect::<Vec<_>>().await.unwrap();
        listed.into_iter().map(|object| object.path).collect()
    }

    pub async fn bytes_of(&self, path: &str) -> Bytes {
        self.world.plain_objects().get(Purpose::Read, path).await.unwrap()
    }

    /// Puts other bytes there, as damage does.
    pub async fn overwrite(&self, path: &str, bytes: Bytes) {
        self.world.bucket.inner.put(&Path::from(path), bytes.into()).await.unwrap();
    }
}
