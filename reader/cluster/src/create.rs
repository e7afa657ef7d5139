//! CreateTopics, and creation by mention.

use crate::Cluster;
use crate::cluster::{Refused, take_doubled};
use crate::metadata::NAMES_A_VIEW;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use strandline_commands::{ConfigEntry, CreateTopic};
use strandline_index::Fill;
use strandline_topic_config::{ConfigError, DescribedConfig, describe, normalize, topic_name, validate_all};
use strandline_types::{Caller, TopicId, limits};
use strandline_wire::ErrorCode;
use strandline_wire::messages::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreatableTopicConfigs, CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse,
};

/// Older answers have no place for configurations.
const CONFIGS_ANSWERED_FROM: i16 = 5;

/// A topic that may be created.
struct Wanted {
    id: TopicId,
    name: String,
    partitions: i32,
    replication_factor: i16,
    configs: BTreeMap<String, String>,
}

impl Wanted {
    fn command(&self) -> CreateTopic {
        let configs = self.configs.iter().map(|(name, value)| ConfigEntry { name: name.clone(), value: value.clone() });
        CreateTopic {
            topic_id: self.id.0.to_vec(),
            name: self.name.clone(),
            partitions: self.partitions,
            replication_factor: i32::from(self.replication_factor),
            configs: configs.collect(),
        }
    }

    fn result(self, version: i16) -> CreatableTopicResult {
        let described = |config: DescribedConfig| CreatableTopicConfigs {
            name: config.definition.name.to_owned(),
            value: config.value,
            read_only: false,
            config_source: config.source.code(),
            is_sensitive: false,
        };
        let has_place = version >= CONFIGS_ANSWERED_FROM;
        CreatableTopicResult {
            topic_id: self.id,
            num_partitions: self.partitions,
            replication_factor: self.replication_factor,
            configs: has_place.then(|| describe(&self.configs).into_iter().map(described).collect()),
            name: self.name,
            ..CreatableTopicResult::default()
        }
    }
}

impl Cluster {
    /// CreateTopics (19). Each topic by itself; the good ones in one commit.
    pub async fn create_topics(&self, _caller: &Caller, version: i16, mut request: CreateTopicsRequest) -> CreateTopicsResponse {
        // Before anything is looked at: much may be wrong with each of a million.
        if request.topics.len() > limits::CREATED_TOPICS {
            return too_many(request.topics);
        }
        let doubled = take_doubled(&mut request.topics, |topic| topic.name.clone());
        let twice = |name: String| {
            let message = format!("The topic '{name}' is named more than once.");
            failed(name, Refused::new(ErrorCode::InvalidRequest, message))
        };
        let mut results: Vec<CreatableTopicResult> = doubled.into_iter().map(twice).collect();
        // 'exists already' is a 'no' as well.
        let stale = self.cell.barrier().await.err().map(|error| Refused::of(&error));
        let existing = self.names_in_metrics(request.topics.iter().map(|topic| topic.name.as_str()));
        let mut wanted = Vec::new();
        let mut partitions = 0;
        let mut bytes = self.cell.view().fill.topic_bytes;
        for topic in request.topics {
            let checked = match &stale {
                Some(refused) => Err(refused.clone()),
                None => self.check(&topic, &existing, partitions, bytes),
            };
            match checked {
                Ok(checked) => {
                    partitions += u64::from(checked.partitions.unsigned_abs());
                    bytes = bytes.saturating_add(Fill::of_topic(&checked.name, &checked.configs));
                    wanted.push(checked);
                }
                Err(refused) => results.push(failed(topic.name, refused)),
            }
        }
        let outcomes = if request.validate_only {
            wanted.iter().map(|_| Ok(strandline_index::Outcome::Done)).collect()
        } else {
            self.commit(wanted.iter().map(|topic| topic.command().into()).collect()).await
        };
        for (topic, outcome) in wanted.into_iter().zip(outcomes) {
            results.push(match outcome {
                Ok(_) if request.validate_only => CreatableTopicResult { topic_id: TopicId::ZERO, ..topic.result(version) },
                Ok(_) => topic.result(version),
                Err(refused) => failed(topic.name, refused),
            });
        }
        CreateTopicsResponse { topics: results, ..CreateTopicsResponse::default() }
    }

    /// Creates topics that a client mentioned, with the defaults. What cannot be created, or not all at once, stays unknown.
    pub(crate) async fn auto_create(&self, names: &[&str]) {
        let existing = self.names_in_metrics(names.iter().copied());
        let creatable = names.iter().filter(|name| collision(&existing, name).is_none()).take(limits::MENTIONED_TOPICS);
        let commands = creatable.map(|name| {
            let topic = Wanted {
                id: self.new_topic_id(),
                name: (*name).to_owned(),
                partitions: self.options.broker.partitions,
                replication_factor: self.options.broker.replication_factor,
                configs: BTreeMap::new(),
            };
            topic.command().into()
        });
        let outcomes = self.commit(commands.collect()).await;
        let refused: Vec<Refused> = outcomes
            .into_iter()
            .filter_map(Result::err)
            .filter(|refused| refused.code != ErrorCode::TopicAlreadyExists)
            .collect();
        // Once for all: there may be thousands, and they have one cause.
        if let Some(first) = refused.first() {
            let (topics, code, reason) = (refused.len(), first.code.name(), first.message.as_str());
            tracing::warn!(topics, code, reason, "topics could not be created by mention");
        }
    }

    /// Existing topics that metrics call as they would call one of `asked`, by that name.
    fn names_in_metrics<'a>(&self, asked: impl Iterator<Item = &'a str>) -> BTreeMap<String, String> {
        let wanted: BTreeSet<String> = asked.filter(|name| may_collide(name)).map(topic_name::metric_name).collect();
        let mut existing = BTreeMap::new();
        let mut after = None;
        while !wanted.is_empty() {
            // In pieces: nothing is folded while somebody looks at the index.
            let view = self.cell.view();
            let behind = (after.as_ref().map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
            let mut last = None;
            for name in view.names.range::<String, _>(behind).map(|(name, _)| name).take(NAMES_A_VIEW) {
                last = Some(name);
                if may_collide(name)
                    && let Some(metric) = wanted.get(&topic_name::metric_name(name))
                {
                    existing.entry(metric.clone()).or_insert_with(|| name.clone());
                }
            }
            let Some(last) = last else { break };
            after = Some(last.clone());
        }
        existing
    }

    /// Whether a topic may be created, beside others of its request with so many `partitions`, with which all topics come to `bytes`.
    fn check(
        &self,
        topic: &CreatableTopic,
        existing: &BTreeMap<String, String>,
        partitions: u64,
        bytes: u64,
    ) -> Result<Wanted, Refused> {
        topic_name::validate(&topic.name).map_err(|error| Refused::new(ErrorCode::InvalidTopicException, error.to_string()))?;
        let (own_partitions, replication_factor) = self.shape(topic)?;
        let configs = configs(&topic.configs)?;
        let exists = self.cell.view().names.contains_key(&topic.name);
        if exists {
            return Err(Refused::new(ErrorCode::TopicAlreadyExists, format!("Topic '{}' already exists.", topic.name)));
        }
        if let Some(other) = collision(existing, &topic.name) {
            return Err(Refused::new(
                ErrorCode::InvalidTopicException,
                format!("Topic '{}' collides with existing topic: {other}", topic.name),
            ));
        }
        self.room_for_partitions(partitions + u64::from(own_partitions.unsigned_abs()))?;
        self.room_for_topics(bytes.saturating_add(Fill::of_topic(&topic.name, &configs)))?;
        Ok(Wanted { id: self.new_topic_id(), name: topic.name.clone(), partitions: own_partitions, replication_factor, configs })
    }

    /// Partitions and replication factor.
    fn shape(&self, topic: &CreatableTopic) -> Result<(i32, i16), Refused> {
        let (partitions, factor) = if topic.assignments.is_empty() { self.numbers(topic)? } else { assigned(topic)? };
        if partitions > limits::PARTITIONS_PER_TOPIC {
            let most = limits::PARTITIONS_PER_TOPIC;
            return Err(Refused::new(ErrorCode::InvalidPartitions, format!("A topic has at most {most} partitions.")));
        }
        Ok((partitions, factor))
    }

    fn numbers(&self, topic: &CreatableTopic) -> Result<(i32, i16), Refused> {
        let partitions = if topic.num_partitions == -1 { self.options.broker.partitions } else { topic.num_partitions };
        if partitions < 1 {
            return Err(Refused::new(
                ErrorCode::InvalidPartitions,
                "Number of partitions was set to an invalid non-positive value.",
            ));
        }
        let factor =
            if topic.replication_factor == -1 { self.options.broker.replication_factor } else { topic.replication_factor };
        if factor < 1 {
            return Err(Refused::new(
                ErrorCode::InvalidReplicationFactor,
                "Replication factor must be larger than 0, or -1 to use the default value.",
            ));
        }
        Ok((partitions, factor))
    }
}

/// An assignment to brokers says how many; where they are is not the client's matter.
fn assigned(topic: &CreatableTopic) -> Result<(i32, i16), Refused> {
    if topic.num_partitions != -1 || topic.replication_factor != -1 {
        return Err(Refused::new(
            ErrorCode::InvalidRequest,
            "A manual partition assignment was specified, but numPartitions or replicationFactor was not set to -1.",
        ));
    }
    let mut numbers: Vec<i32> = topic.assignments.iter().map(|assignment| assignment.partition_index).collect();
    numbers.sort_unstable();
    let consecutive = numbers.iter().enumerate().all(|(at, number)| i32::try_from(at) == Ok(*number));
    let factor = topic.assignments.first().map_or(0, |assignment| assignment.broker_ids.len());
    let even = factor > 0 && topic.assignments.iter().all(|assignment| assignment.broker_ids.len() == factor);
    if !consecutive || !even {
        return Err(Refused::new(
            ErrorCode::InvalidReplicaAssignment,
            "Partitions must be numbered from 0 without a gap, and each needs the same number of replicas, at least one.",
        ));
    }
    Ok((i32::try_from(numbers.len()).unwrap_or(i32::MAX), i16::try_from(factor).unwrap_or(i16::MAX)))
}

/// Whether metrics may call another topic the same.
fn may_collide(name: &str) -> bool {
    name.contains(['.', '_'])
}

/// An existing topic that differs from `name` only by dots and underscores: metrics could not tell them apart.
fn collision<'a>(existing: &'a BTreeMap<String, String>, name: &str) -> Option<&'a str> {
    let other = existing.get(&topic_name::metric_name(name))?;
    (other != name).then_some(other.as_str())
}

/// Every topic of a request is refused.
fn too_many(topics: Vec<CreatableTopic>) -> CreateTopicsResponse {
    let refused =
        Refused::new(ErrorCode::PolicyViolation, format!("A request creates at most {} topics.", limits::CREATED_TOPICS));
    let mut names: Vec<String> = topics.into_iter().map(|topic| topic.name).collect();
    names.sort_unstable();
    names.dedup();
    let topics = names.into_iter().map(|name| failed(name, refused.clone())).collect();
    CreateTopicsResponse { topics, ..CreateTopicsResponse::default() }
}

fn configs(given: &[CreatableTopicConfig]) -> Result<BTreeMap<String, String>, Refused> {
    let nulls: Vec<&str> = given.iter().filter(|config| config.value.is_none()).map(|config| config.name.as_str()).collect();
    if !nulls.is_empty() {
        return Err(Refused::config(&ConfigError::Null { names: nulls.join(",") }));
    }
    let mut configs = BTreeMap::new();
    for config in given {
        let value = config.value.as_deref().unwrap_or_default();
        let value = normalize(&config.name, value).map_err(|error| Refused::config(&error))?;
        configs.insert(config.name.clone(), value);
    }
    validate_all(&configs).map_err(|error| Refused::config(&error))?;
    Ok(configs)
}

fn failed(name: String, refused: Refused) -> CreatableTopicResult {
    CreatableTopicResult {
        name,
        error_code: refused.code.code(),
        error_message: Some(refused.message),
        configs: None,
        ..CreatableTopicResult::default()
    }
}
