//! Configs of topics and brokers.

use super::Admin;
use crate::connection::Connection;
use crate::error::{ClientError, Retry, check};
use std::sync::Arc;
use strandline_wire::messages::describe_configs::DescribeConfigsResource;
use strandline_wire::messages::incremental_alter_configs::{AlterConfigsResource, AlterableConfig};
use strandline_wire::messages::{DescribeConfigsRequest, IncrementalAlterConfigsRequest};

/// What has configs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// A topic, by name.
    Topic(String),
    /// A broker, by id.
    Broker(i32),
}

impl Resource {
    fn wire(&self) -> (i8, String) {
        match self {
            Self::Topic(name) => (2, name.clone()),
            Self::Broker(id) => (4, id.to_string()),
        }
    }

    fn what(&self) -> String {
        match self {
            Self::Topic(name) => format!("topic \"{name}\""),
            Self::Broker(id) => format!("broker {id}"),
        }
    }
}

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigSource {
    /// Set on the topic.
    Topic,
    /// Set on the broker, or as the cluster's default.
    Broker,
    /// Nobody set it.
    Default,
    /// Something newer.
    Other(i8),
}

impl From<i8> for ConfigSource {
    fn from(code: i8) -> Self {
        match code {
            1 => Self::Topic,
            2..=4 => Self::Broker,
            5 => Self::Default,
            code => Self::Other(code),
        }
    }
}

/// One config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigEntry {
    /// Its name.
    pub name: String,
    /// Its value; null for sensitive ones.
    pub value: Option<String>,
    /// Where the value comes from.
    pub source: ConfigSource,
    /// Whether it cannot be changed.
    pub is_read_only: bool,
    /// What it means, where the broker says so.
    pub documentation: Option<String>,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigChange {
    /// A new value.
    Set(String, String),
    /// Back to the default.
    Delete(String),
    /// One more element of a list.
    Append(String, String),
    /// One element of a list less.
    Subtract(String, String),
}

impl Admin {
    /// All configs of a resource, or those named.
    ///
    /// # Errors
    /// No broker answers, or there is no such resource.
    pub async fn describe_configs(&self, resource: &Resource, names: Option<&[&str]>) -> Result<Vec<ConfigEntry>, ClientError> {
        let (resource_type, resource_name) = resource.wire();
        let configuration_keys = names.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
        let request = DescribeConfigsRequest {
            resources: vec![DescribeConfigsResource { resource_type, resource_name, configuration_keys }],
            include_synonyms: false,
            include_documentation: true,
        };
        let request = &request;
        self.client()
            .retrying("describing configs", move |last| async move {
                let response = self.config_home(resource, last).await?.call(request).await?;
                let result = response.results.into_iter().next().ok_or_else(|| ClientError::Missing(resource.what()))?;
                check(result.error_code, || resource.what(), result.error_message)?;
                Ok(result
                    .configs
                    .into_iter()
                    .map(|config| ConfigEntry {
                        name: config.name,
                        value: config.value,
                        source: config.config_source.into(),
                        is_read_only: config.read_only,
                        documentation: config.documentation,
                    })
                    .collect())
            })
            .await
    }

    /// Changes configs of a resource, all or none of them.
    ///
    /// # Errors
    /// No broker answers, or it refuses.
    pub async fn alter_configs(&self, resource: &Resource, changes: &[ConfigChange]) -> Result<(), ClientError> {
        let (resource_type, resource_name) = resource.wire();
        let configs = changes.iter().map(alterable).collect();
        let request = IncrementalAlterConfigsRequest {
            resources: vec![AlterConfigsResource { resource_type, resource_name, configs }],
            validate_only: false,
        };
        let request = &request;
        self.client()
            .retrying("changing configs", move |last| async move {
                let response = self.config_home(resource, last).await?.call(request).await?;
                let result = response.responses.into_iter().next().ok_or_else(|| ClientError::Missing(resource.what()))?;
                check(result.error_code, || resource.what(), result.error_message)
            })
            .await
    }

    /// Who knows a resource's configs: a broker its own, the controller those of topics.
    async fn config_home(&self, resource: &Resource, last: Option<Retry>) -> Result<Arc<Connection>, ClientError> {
        let Resource::Broker(id) = resource else { return self.client().controller(last).await };
        let cluster = self.client().cluster().await?;
        match cluster.brokers.get(id) {
            Some(broker) => self.client().connection(broker).await,
            None => Err(ClientError::Invalid(format!("there is no broker {id}"))),
        }
    }
}

fn alterable(change: &ConfigChange) -> AlterableConfig {
    let (name, config_operation, value) = match change {
        ConfigChange::Set(name, value) => (name, 0, Some(value.clone())),
        ConfigChange::Delete(name) => (name, 1, None),
        ConfigChange::Append(name, value) => (name, 2, Some(value.clone())),
        ConfigChange::Subtract(name, value) => (name, 3, Some(value.clone())),
    };
    AlterableConfig { name: name.clone(), config_operation, value }
}
