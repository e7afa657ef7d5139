//! CreateTopics, and creation by mention.

use crate::Cluster;
use crate::cluster::Refused;
use std::collections::{BTreeMap, BTreeSet};
use strandline_commands::{ConfigEntry, CreateTopic};
use strandline_index::Index;
use strandline_topic_config::{ConfigError, describe, normalize, topic_name, validate_all};
use strandline_types::{Caller, TopicId, limits};
use strandline_wire::ErrorCode;
use strandline_wire::messages::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreatableTopicConfigs, CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse,
};

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

    fn result(self) -> CreatableTopicResult {
        let configs = describe(&self.configs).into_iter().map(|config| CreatableTopicConfigs {
            name: config.definition.name.to_owned(),
            value: config.value,
            read_only: false,
            config_source: config.source.code(),
            is_sensitive: false,
        });
        CreatableTopicResult {
            topic_id: self.id,
            num_partitions: self.partitions,
            replication_factor: self.replication_factor,
            configs: Some(configs.collect()),
            name: self.name,
            ..CreatableTopicResult::default()
        }
    }
}

impl Cluster {
    /// CreateTopics (19). Each topic by itself; the good ones in one commit.
    pub async fn create_topics(&self, _caller: &Caller, _version: i16, request: CreateTopicsRequest) -> CreateTopicsResponse {
        let mut seen = BTreeSet::new();
        let doubled: BTreeSet<String> =
            request.topics.iter().filter(|topic| !seen.insert(topic.name.as_str())).map(|topic| topic.name.clone()).collect();
        // 'exists already' is a 'no' as well.
        let stale = self.cell.barrier().await.err().map(|error| Refused::of(&error));
        let mut results = Vec::new();
        let mut wanted = Vec::new();
        for topic in request.topics {
            let name = topic.name.clone();
            let checked = match &stale {
                Some(refused) => Err(refused.clone()),
                None if doubled.contains(&name) => {
                    Err(Refused::new(ErrorCode::InvalidRequest, format!("The topic '{name}' is named more than once.")))
                }
                None => self.check(topic),
            };
            match checked {
                Ok(topic) => wanted.push(topic),
                Err(refused)
                    if doubled.contains(&name) && results.iter().any(|known: &CreatableTopicResult| known.name == name) =>
                {
                    drop(refused)
                }
                Err(refused) => results.push(failed(name, refused)),
            }
        }
        let outcomes = if request.validate_only {
            wanted.iter().map(|_| Ok(strandline_index::Outcome::Done)).collect()
        } else {
            self.commit(wanted.iter().map(|topic| topic.command().into()).collect()).await
        };
        for (topic, outcome) in wanted.into_iter().zip(outcomes) {
            results.push(match outcome {
                Ok(_) if request.validate_only => CreatableTopicResult { topic_id: TopicId::ZERO, ..topic.result() },
                Ok(_) => topic.result(),
                Err(refused) => failed(topic.name, refused),
            });
        }
        CreateTopicsResponse { topics: results, ..CreateTopicsResponse::default() }
    }

    /// Creates topics that a client mentioned, with the defaults. What cannot be created stays unknown.
    pub(crate) async fn auto_create(&self, names: &[&str]) {
        let mut commands = Vec::new();
        {
            let view = self.cell.view();
            for name in names.iter().filter(|name| collision(&view, name).is_none()) {
                let topic = Wanted {
                    id: self.new_topic_id(),
                    name: (*name).to_owned(),
                    partitions: self.options.broker.partitions,
                    replication_factor: self.options.broker.replication_factor,
                    configs: BTreeMap::new(),
                };
                commands.push(topic.command().into());
            }
        }
        for refused in self.commit(commands).await.into_iter().filter_map(Result::err) {
            if refused.code != ErrorCode::TopicAlreadyExists {
                tracing::warn!(code = refused.code.name(), message = refused.message, "a topic could not be created by mention");
            }
        }
    }

    fn check(&self, topic: CreatableTopic) -> Result<Wanted, Refused> {
        topic_name::validate(&topic.name).map_err(|error| Refused::new(ErrorCode::InvalidTopicException, error.to_string()))?;
        let (partitions, replication_factor) = self.shape(&topic)?;
        let configs = configs(&topic.configs)?;
        let view = self.cell.view();
        if view.names.contains_key(&topic.name) {
            return Err(Refused::new(ErrorCode::TopicAlreadyExists, format!("Topic '{}' already exists.", topic.name)));
        }
        if let Some(other) = collision(&view, &topic.name) {
            return Err(Refused::new(
                ErrorCode::InvalidTopicException,
                format!("Topic '{}' collides with existing topic: {other}", topic.name),
            ));
        }
        Ok(Wanted { id: self.new_topic_id(), name: topic.name, partitions, replication_factor, configs })
    }

    /// Partitions and replication factor. An assignment to brokers says how many; where they are is not the client's matter.
    fn shape(&self, topic: &CreatableTopic) -> Result<(i32, i16), Refused> {
        if !topic.assignments.is_empty() {
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
            return Ok((i32::try_from(numbers.len()).unwrap_or(i32::MAX), i16::try_from(factor).unwrap_or(i16::MAX)));
        }
        let partitions = if topic.num_partitions == -1 { self.options.broker.partitions } else { topic.num_partitions };
        if partitions < 1 {
            return Err(Refused::new(
                ErrorCode::InvalidPartitions,
                "Number of partitions was set to an invalid non-positive value.",
            ));
        }
        if partitions > limits::PARTITIONS_PER_TOPIC {
            let most = limits::PARTITIONS_PER_TOPIC;
            return Err(Refused::new(ErrorCode::InvalidPartitions, format!("A topic has at most {most} partitions.")));
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

/// An existing topic that differs from `name` only by dots and underscores: metrics could not tell them apart.
fn collision(index: &Index, name: &str) -> Option<String> {
    if !name.contains(['.', '_']) {
        return None;
    }
    index.names.keys().find(|other| *other != name && topic_name::collide(other, name)).cloned()
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
