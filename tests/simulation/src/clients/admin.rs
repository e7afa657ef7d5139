//! What operators ask for by frames: topics that are deleted and made again, under the same name unless a request may still be on its way,
//! more partitions, log starts, configs; and which topics there are. What they are told is held against the log: 'done' must be in it, and what is there must not be said to be missing.

use crate::dice::Dice;
use crate::network::Link;
use crate::world::{TopicInfo, World, seal_ms};
use std::collections::BTreeSet;
use std::sync::Arc;
use strandline_types::TopicId;
use strandline_wire::ErrorCode;
use strandline_wire::messages::create_partitions::CreatePartitionsTopic;
use strandline_wire::messages::create_topics::{CreatableTopic, CreatableTopicConfig};
use strandline_wire::messages::delete_records::{DeleteRecordsPartition, DeleteRecordsTopic};
use strandline_wire::messages::delete_topics::DeleteTopicState;
use strandline_wire::messages::incremental_alter_configs::{AlterConfigsResource, AlterableConfig};
use strandline_wire::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteRecordsRequest, DeleteTopicsRequest, IncrementalAlterConfigsRequest,
    MetadataRequest,
};

const TIMEOUT_MS: i32 = 15_000;
/// How often something is asked for before it is given up.
const TRIES: usize = 10;
/// Of Metadata, the last in whose answer an error has no place but beside a topic.
const METADATA_VERSION: i16 = 12;
/// In what changes configs.
const TOPIC_RESOURCE: i8 = 2;
/// A topic that has so many partitions gets no more.
const MOST_PARTITIONS: i32 = 5;

/// Until the run ends.
pub(crate) async fn administer(world: Arc<World>) {
    let link = Link::new(&world, 5_000);
    let dice = Dice::new(world.seed, 500);
    let mut operator = Operator { dice, link, temporary: 0, in_doubt: false, set_in_doubt: BTreeSet::new(), world };
    while !operator.world.is_ending() {
        operator.pause(2_000, 10_000).await;
        match operator.dice.below(6) {
            0 => operator.make_anew().await,
            1 => operator.configure().await,
            2 => operator.grow().await,
            3 => operator.list().await,
            _ => operator.delete_records().await,
        }
    }
}

/// It may be done later all the same.
fn is_in_doubt(told: Option<ErrorCode>) -> bool {
    told.is_none_or(|told| told == ErrorCode::RequestTimedOut)
}

struct Operator {
    world: Arc<World>,
    link: Link,
    dice: Dice,
    /// The number of the topic that comes and goes.
    temporary: u32,
    /// A request that names it had no answer: it may be done later, and to another topic of that name.
    in_doubt: bool,
    /// Configs of which a change may be on its way.
    set_in_doubt: BTreeSet<(TopicId, &'static str)>,
}

impl Operator {
    async fn pause(&self, least_ms: u64, most_ms: u64) {
        self.world.core.runtime.sleep(self.dice.millis(least_ms, most_ms)).await;
    }

    fn fail_unless_so(&self, is_so: bool, what: &str) {
        self.world.core.trace(what);
        if !is_so {
            self.world.core.fail(format!("what was told is not so (I1): {what}"));
        }
    }

    async fn make_anew(&mut self) {
        let temporary = self.world.topics().into_iter().find(|topic| !topic.permanent);
        if let Some(topic) = temporary {
            self.delete(&topic).await;
            self.pause(0, 2_000).await;
        }
        if std::mem::take(&mut self.in_doubt) {
            self.temporary += 1;
        }
        self.create().await;
    }

    /// Asks until it is there: it may have come to be although the answer was lost.
    async fn create(&mut self) {
        let (world, name) = (self.world.clone(), format!("temporary-{}", self.temporary));
        let (partitions, configs) = world.new_topic(&self.dice);
        let config = |(name, value): &(&str, String)| {
            let (name, value) = ((*name).to_owned(), Some(value.clone()));
            CreatableTopicConfig { name, value }
        };
        let topic = CreatableTopic {
            name: name.clone(),
            num_partitions: partitions,
            replication_factor: 1,
            configs: configs.iter().map(config).collect(),
            ..Default::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: TIMEOUT_MS, validate_only: false };
        while !world.core.has_failed() && !world.is_ending() {
            if let Some(node) = world.any_node(&self.dice) {
                let answer = self.link.call(&node, 7, &request).await;
                let told = answer.and_then(|answer| answer.topics.into_iter().next());
                let told = told.map(|topic| (ErrorCode::from_code(topic.error_code), topic.topic_id));
                self.in_doubt |= is_in_doubt(told.map(|(code, _)| code));
                let found = world.core.oracle().index().names.get(&name).copied();
                let is_so = match told {
                    Some((ErrorCode::None, id)) => found == Some(id),
                    Some((ErrorCode::TopicAlreadyExists, _)) => found.is_some(),
                    // The request is right.
                    Some((ErrorCode::InvalidConfig | ErrorCode::InvalidRequest | ErrorCode::InvalidPartitions, _)) => false,
                    _ => true,
                };
                self.fail_unless_so(is_so, &format!("{} creates {name}: {told:?}, there is {found:?}", node.name()));
                if let Some(id) = found {
                    // The one before, if it could not be deleted.
                    if world.topic(id).is_none() {
                        world.add_topic(id, &name, false, partitions, &configs);
                    }
                    return;
                }
            }
            self.pause(100, 2_000).await;
        }
    }

    /// Asks until it is gone, some times.
    async fn delete(&mut self, topic: &TopicInfo) {
        let world = self.world.clone();
        world.expect_deletion(topic.id);
        let by_name = self.dice.chance(50);
        let (name, topic_id) = if by_name { (Some(topic.name.clone()), TopicId::ZERO) } else { (None, topic.id) };
        let topics = vec![DeleteTopicState { name, topic_id }];
        let request = DeleteTopicsRequest { topics, timeout_ms: TIMEOUT_MS, ..Default::default() };
        for _ in 0..TRIES {
            if let Some(node) = world.any_node(&self.dice) {
                let answer = self.link.call(&node, 6, &request).await;
                let told = answer.and_then(|answer| Some(ErrorCode::from_code(answer.responses.first()?.error_code)));
                self.in_doubt |= is_in_doubt(told);
                let is_there = world.core.oracle().has_topic(topic.id);
                let gone = [ErrorCode::None, ErrorCode::UnknownTopicId, ErrorCode::UnknownTopicOrPartition];
                let is_so = !is_there || told.is_none_or(|told| !gone.contains(&told));
                self.fail_unless_so(
                    is_so,
                    &format!("{} deletes {} {}: {told:?}, it is there: {is_there}", node.name(), topic.name, topic.id),
                );
                if !is_there {
                    return;
                }
            }
            self.pause(100, 2_000).await;
        }
        // Its name is not to be had.
        self.in_doubt = true;
    }

    /// More partitions; clients use them once they are there, whatever the operator was told.
    async fn grow(&mut self) {
        let world = self.world.clone();
        world.learn_partitions();
        let topics: Vec<_> = world.topics().into_iter().filter(|topic| topic.partitions < MOST_PARTITIONS).collect();
        let (Some(node), Some(topic)) = (world.any_node(&self.dice), self.dice.pick(&topics)) else { return };
        let count = topic.partitions + self.dice.between(1, 2) as i32;
        let asked = CreatePartitionsTopic { name: topic.name.clone(), count, assignments: None };
        let request = CreatePartitionsRequest { topics: vec![asked], timeout_ms: TIMEOUT_MS, validate_only: false };
        let answer = self.link.call(&node, 3, &request).await;
        let told = answer.and_then(|answer| Some(ErrorCode::from_code(answer.results.first()?.error_code)));
        self.in_doubt |= is_in_doubt(told) && !topic.permanent;
        let there = world.core.oracle().index().topics.get(&topic.id).map(|topic| topic.partitions.len() as i32);
        let is_so = match (told, there) {
            // If it has them already, an earlier request was done meanwhile.
            (Some(ErrorCode::None | ErrorCode::InvalidPartitions), Some(there)) => there >= count,
            (Some(ErrorCode::UnknownTopicOrPartition), there) => there.is_none(),
            (Some(ErrorCode::InvalidRequest), _) => false,
            _ => true,
        };
        let what = format!("{} gives {} {count} partitions: {told:?}, it has {there:?}", node.name(), topic.name);
        self.fail_unless_so(is_so, &what);
        world.learn_partitions();
    }

    /// All topics: those that are there from the question to the answer are in it, whatever the node can read.
    async fn list(&mut self) {
        let Some(node) = self.world.any_node(&self.dice) else { return };
        let before = self.world.known_topics(&node);
        let request = MetadataRequest { topics: None, ..MetadataRequest::default() };
        let Some(answer) = self.link.call(&node, METADATA_VERSION, &request).await else { return };
        let told: BTreeSet<TopicId> = answer.topics.into_iter().map(|topic| topic.topic_id).collect();
        let is_missing = |id: &&TopicId| !told.contains(*id) && self.world.core.oracle().has_topic(**id);
        let missing: Vec<_> = before.iter().filter(is_missing).collect();
        self.fail_unless_so(missing.is_empty(), &format!("{} lists {} topics, and not {missing:?}", node.name(), told.len()));
    }

    async fn delete_records(&mut self) {
        let (Some(node), Some((topic, at))) = (self.world.any_node(&self.dice), self.world.any_partition(&self.dice)) else {
            return;
        };
        let Some((log_start, end)) = self.world.core.oracle().bounds(at) else { return };
        // Mostly a little, now and then all of it.
        let some = log_start + self.dice.below(((end - log_start) / 2).max(1) as u64) as i64;
        let (offset, least) = if self.dice.chance(10) { (-1, end) } else { (some, some) };
        self.world.core.oracle().retention.ask(at, offset);
        let partitions = vec![DeleteRecordsPartition { partition_index: at.partition, offset }];
        let topics = vec![DeleteRecordsTopic { name: topic.name.clone(), partitions }];
        let answer = self.link.call(&node, 2, &DeleteRecordsRequest { topics, timeout_ms: TIMEOUT_MS }).await;
        let told = answer.and_then(|answer| answer.topics.into_iter().next()?.partitions.into_iter().next());
        let told = told.map(|partition| (ErrorCode::from_code(partition.error_code), partition.low_watermark));
        self.in_doubt |= is_in_doubt(told.map(|(code, _)| code)) && !topic.permanent;
        let after = self.world.core.oracle().bounds(at);
        let is_so = match (told, after) {
            (Some((ErrorCode::None, low_watermark)), Some((log_start, _))) => (least..=log_start).contains(&low_watermark),
            // No log ends earlier than it did.
            (Some((ErrorCode::OffsetOutOfRange, _)), Some(_)) => false,
            _ => true,
        };
        let what = format!("{} deletes records of {}-{} below {offset}", node.name(), topic.name, at.partition);
        self.fail_unless_so(is_so, &format!("{what}: {told:?}, {after:?}"));
    }

    /// Something that changes how a topic's records are written, and nothing of what is kept.
    async fn configure(&mut self) {
        let (Some(node), Some((topic, _))) = (self.world.any_node(&self.dice), self.world.any_partition(&self.dice)) else {
            return;
        };
        let latency = || self.dice.pick(&["standard", "express", "relaxed"]).copied().unwrap_or("standard").to_owned();
        let (name, value) = match self.dice.below(3) {
            0 => ("strandline.bronze.seal.ms", seal_ms(&self.dice)),
            1 => ("strandline.bronze.freshness.ms", self.dice.between(500, 8_000).to_string()),
            _ => ("strandline.latency", latency()),
        };
        let config = AlterableConfig { name: name.to_owned(), config_operation: 0, value: Some(value.clone()) };
        let (resource_type, resource_name) = (TOPIC_RESOURCE, topic.name.clone());
        let resources = vec![AlterConfigsResource { resource_type, resource_name, configs: vec![config] }];
        let request = IncrementalAlterConfigsRequest { resources, validate_only: false };
        let answer = self.link.call(&node, 1, &request).await;
        let told = answer.and_then(|answer| Some(ErrorCode::from_code(answer.responses.first()?.error_code)));
        if is_in_doubt(told) {
            self.set_in_doubt.insert((topic.id, name));
        }
        let topics = self.world.core.oracle().index().topics.get(&topic.id).cloned();
        let known = topics.map(|topic| topic.configs.get(name).cloned());
        let is_so = match (told, &known) {
            (Some(ErrorCode::None), Some(known)) => {
                known.as_ref() == Some(&value) || self.set_in_doubt.contains(&(topic.id, name))
            }
            (Some(ErrorCode::InvalidConfig | ErrorCode::InvalidRequest), _) => false,
            _ => true,
        };
        let what = format!("{} sets {name} of {} to {value}: {told:?}, it is {known:?}", node.name(), topic.name);
        self.fail_unless_so(is_so, &what);
    }
}
