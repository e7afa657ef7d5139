//! Topics: create, delete, list, describe, more partitions.

use super::Admin;
use crate::cluster::Topic;
use crate::error::{ClientError, check};
use std::collections::BTreeMap;
use std::sync::Arc;
use strandline_types::TopicId;
use strandline_wire::ErrorCode;
use strandline_wire::messages::create_partitions::CreatePartitionsTopic;
use strandline_wire::messages::create_topics::{CreatableTopic, CreatableTopicConfig};
use strandline_wire::messages::delete_topics::DeleteTopicState;
use strandline_wire::messages::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest,
    DeleteTopicsResponse, Request,
};

/// A topic to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions; -1 is the cluster's default.
    pub partitions: i32,
    /// How many replicas; -1 is the cluster's default.
    pub replication_factor: i16,
    /// Its configs, where they differ from the defaults.
    pub configs: BTreeMap<String, String>,
}

impl NewTopic {
    /// A topic with the cluster's default replication.
    pub fn new(name: impl Into<String>, partitions: i32) -> Self {
        Self { name: name.into(), partitions, replication_factor: -1, configs: BTreeMap::new() }
    }

    /// With one more config.
    #[must_use]
    pub fn config(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.configs.insert(name.into(), value.into());
        self
    }
}

/// What was created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedTopic {
    /// Its name.
    pub name: String,
    /// Its id; zero from brokers that do not say.
    pub topic_id: TopicId,
    /// Its partitions; -1 from brokers that do not say.
    pub partitions: i32,
    /// Its replication factor; -1 from brokers that do not say.
    pub replication_factor: i16,
}

impl Admin {
    /// All topics, the cluster's own included.
    ///
    /// # Errors
    /// No broker answers.
    pub async fn list_topics(&self) -> Result<Vec<Arc<Topic>>, ClientError> {
        Ok(self.client().cluster().await?.topics.values().cloned().collect())
    }

    /// Topics by name, asked for now.
    ///
    /// # Errors
    /// No broker answers, or one of them does not exist.
    pub async fn describe_topics(&self, names: &[&str]) -> Result<Vec<Arc<Topic>>, ClientError> {
        self.client().retrying("describing topics", |_| self.client().refresh(names)).await?;
        let cluster = self.client().known();
        Ok(names.iter().filter_map(|name| cluster.topics.get(*name).cloned()).collect())
    }

    /// Creates topics; each succeeds or fails on its own. With `validate_only` nothing is created.
    ///
    /// # Errors
    /// No broker answers.
    pub async fn create_topics(
        &self,
        topics: &[NewTopic],
        validate_only: bool,
    ) -> Result<Vec<Result<CreatedTopic, ClientError>>, ClientError> {
        let request =
            CreateTopicsRequest { topics: topics.iter().map(creatable).collect(), timeout_ms: self.timeout_ms(), validate_only };
        let codes = |answer: &CreateTopicsResponse| answer.topics.iter().map(|topic| topic.error_code).collect();
        let response = self.on_controller("creating topics", &request, codes).await?;
        Ok(response
            .topics
            .into_iter()
            .map(|topic| {
                check(topic.error_code, || format!("topic \"{}\"", topic.name), topic.error_message)?;
                Ok(CreatedTopic {
                    name: topic.name,
                    topic_id: topic.topic_id,
                    partitions: topic.num_partitions,
                    replication_factor: topic.replication_factor,
                })
            })
            .collect())
    }

    /// Creates one topic.
    ///
    /// # Errors
    /// No broker answers, or the topic is refused.
    pub async fn create_topic(&self, topic: NewTopic) -> Result<CreatedTopic, ClientError> {
        let what = format!("topic \"{}\"", topic.name);
        self.create_topics(&[topic], false).await?.pop().unwrap_or(Err(ClientError::Missing(what)))
    }

    /// Deletes topics by name; each succeeds or fails on its own.
    ///
    /// # Errors
    /// No broker answers.
    pub async fn delete_topics(&self, names: &[&str]) -> Result<Vec<(String, Result<(), ClientError>)>, ClientError> {
        let request = DeleteTopicsRequest {
            topics: names
                .iter()
                .map(|name| DeleteTopicState { name: Some((*name).to_owned()), topic_id: TopicId::ZERO })
                .collect(),
            topic_names: names.iter().map(|name| (*name).to_owned()).collect(),
            timeout_ms: self.timeout_ms(),
        };
        let codes = |answer: &DeleteTopicsResponse| answer.responses.iter().map(|topic| topic.error_code).collect();
        let response = self.on_controller("deleting topics", &request, codes).await?;
        Ok(response
            .responses
            .into_iter()
            .map(|topic| {
                let name = topic.name.unwrap_or_default();
                let result = check(topic.error_code, || format!("topic \"{name}\""), topic.error_message);
                (name, result)
            })
            .collect())
    }

    /// Raises a topic's number of partitions to `count`.
    ///
    /// # Errors
    /// No broker answers, or it refuses.
    pub async fn create_partitions(&self, topic: &str, count: i32) -> Result<(), ClientError> {
        let request = CreatePartitionsRequest {
            topics: vec![CreatePartitionsTopic { name: topic.to_owned(), count, assignments: None }],
            timeout_ms: self.timeout_ms(),
            validate_only: false,
        };
        let what = || format!("topic \"{topic}\"");
        let codes = |answer: &CreatePartitionsResponse| answer.results.iter().map(|topic| topic.error_code).collect();
        let response = self.on_controller("adding partitions", &request, codes).await?;
        let result = response.results.into_iter().next().ok_or_else(|| ClientError::Missing(what()))?;
        check(result.error_code, what, result.error_message)
    }

    /// Asks the broker that takes changes of topics; `codes` are those of an answer's topics. Where all of them say that another broker takes
    /// these by now, nothing is done, and it is asked for again, there.
    async fn on_controller<R: Request>(
        &self,
        what: &'static str,
        request: &R,
        codes: impl Fn(&R::Response) -> Vec<i16>,
    ) -> Result<R::Response, ClientError> {
        let codes = &codes;
        let attempt = move |last| async move {
            let response = self.client().controller(last).await?.call(request).await?;
            let codes = codes(&response);
            let is_elsewhere = !codes.is_empty() && codes.iter().all(|code| *code == ErrorCode::NotController.code());
            if is_elsewhere {
                Err(ClientError::broker("changes of topics", ErrorCode::NotController, None))
            } else {
                Ok(response)
            }
        };
        self.client().retrying(what, attempt).await
    }

    pub(super) fn timeout_ms(&self) -> i32 {
        i32::try_from(self.client().options().request_timeout.as_millis()).unwrap_or(i32::MAX)
    }
}

fn creatable(topic: &NewTopic) -> CreatableTopic {
    let config = |(name, value): (&String, &String)| CreatableTopicConfig { name: name.clone(), value: Some(value.clone()) };
    CreatableTopic {
        name: topic.name.clone(),
        num_partitions: topic.partitions,
        replication_factor: topic.replication_factor,
        assignments: Vec::new(),
        configs: topic.configs.iter().map(config).collect(),
    }
}
