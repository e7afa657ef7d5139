//! DescribeConfigs, AlterConfigs, IncrementalAlterConfigs.

use crate::Cluster;
use crate::cluster::{Refused, take_doubled};
use std::collections::{BTreeMap, BTreeSet};
use strandline_commands::{ConfigChange, ConfigOperation, ConfigureTopic};
use strandline_topic_config::{
    ConfigError, append, broker_configs, definition, describe, effective, elements, normalize, subtract, validate_all,
};
use strandline_types::{Caller, limits};
use strandline_wire::ErrorCode;
use strandline_wire::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResponse,
    DescribeConfigsResult, DescribeConfigsSynonym,
};
use strandline_wire::messages::{alter_configs, incremental_alter_configs};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const BROKER_LOGGER: i8 = 8;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;

/// A name, what to do, and what with.
type Item = (String, ConfigOperation, Option<String>);

/// One resource whose configuration is to change.
struct Change {
    resource_type: i8,
    name: String,
    replace_all: bool,
    /// Refused where one of them is nothing that can be done.
    items: Result<Vec<Item>, Refused>,
}

impl Cluster {
    /// DescribeConfigs (32), for topics and for this node.
    pub async fn describe_configs(
        &self,
        _caller: &Caller,
        _version: i16,
        request: DescribeConfigsRequest,
    ) -> DescribeConfigsResponse {
        let mut results = Vec::new();
        // Each once: a small request cannot have one resource's configs answered a thousand times.
        let mut seen = BTreeSet::new();
        let mut room = limits::DESCRIBED_CONFIG_BYTES;
        for resource in &request.resources {
            if !seen.insert((resource.resource_type, &resource.resource_name)) {
                continue;
            }
            let described = if room == 0 {
                let message = "The answer is full: ask for the configurations of fewer resources at once.";
                Err(Refused::new(ErrorCode::PolicyViolation, message))
            } else {
                self.describe_resource(resource, request.include_synonyms, request.include_documentation).await
            };
            let (code, error_message, configs) = match described {
                Ok(configs) => (ErrorCode::None, None, configs),
                Err(refused) => (refused.code, Some(refused.message), Vec::new()),
            };
            room = room.saturating_sub(configs.iter().map(memory_bytes).sum());
            results.push(DescribeConfigsResult {
                error_code: code.code(),
                error_message,
                resource_type: resource.resource_type,
                resource_name: resource.resource_name.clone(),
                configs,
            });
        }
        DescribeConfigsResponse { results, ..DescribeConfigsResponse::default() }
    }

    async fn describe_resource(
        &self,
        resource: &DescribeConfigsResource,
        synonyms: bool,
        documentation: bool,
    ) -> Result<Vec<DescribeConfigsResourceResult>, Refused> {
        let wanted = |name: &str| {
            resource.configuration_keys.as_ref().is_none_or(|keys| keys.is_empty() || keys.iter().any(|key| key == name))
        };
        match resource.resource_type {
            TOPIC => {
                self.fresh_for_name(&resource.resource_name).await?;
                let topic = self.topic(&resource.resource_name).ok_or_else(Refused::unknown_topic)?;
                let described =
                    describe(&topic.configs).into_iter().filter(|config| wanted(config.definition.name)).map(|config| {
                        let all = config.synonyms().into_iter().map(|(name, value, source)| DescribeConfigsSynonym {
                            name: name.to_owned(),
                            value,
                            source: source.code(),
                        });
                        DescribeConfigsResourceResult {
                            name: config.definition.name.to_owned(),
                            synonyms: if synonyms { all.collect() } else { Vec::new() },
                            config_source: config.source.code(),
                            config_type: config.definition.kind.code(),
                            documentation: documentation.then(|| config.definition.doc.to_owned()),
                            value: config.value,
                            ..DescribeConfigsResourceResult::default()
                        }
                    });
                Ok(described.collect())
            }
            BROKER => {
                let own = self.cell.node_id().to_string();
                if !resource.resource_name.is_empty() && resource.resource_name != own {
                    let message =
                        format!("Unexpected broker id, expected {own} or empty string, but received {}", resource.resource_name);
                    return Err(Refused::new(ErrorCode::InvalidRequest, message));
                }
                if resource.resource_name.is_empty() {
                    // The cluster's dynamic defaults: there are none, settings come from the node's file.
                    return Ok(Vec::new());
                }
                let described =
                    broker_configs(&self.options.broker).into_iter().filter(|config| wanted(config.name)).map(|config| {
                        DescribeConfigsResourceResult {
                            name: config.name.to_owned(),
                            value: config.value,
                            read_only: true,
                            config_source: config.source.code(),
                            config_type: config.kind.code(),
                            documentation: documentation.then(|| config.doc.to_owned()),
                            ..DescribeConfigsResourceResult::default()
                        }
                    });
                Ok(described.collect())
            }
            BROKER_LOGGER | CLIENT_METRICS | GROUP => Ok(Vec::new()),
            other => Err(Refused::new(ErrorCode::InvalidRequest, format!("Unsupported resource type: {other}"))),
        }
    }

    /// AlterConfigs (33): a topic has what is given here, and nothing else.
    pub async fn alter_configs(
        &self,
        _caller: &Caller,
        _version: i16,
        request: alter_configs::AlterConfigsRequest,
    ) -> alter_configs::AlterConfigsResponse {
        let changes = request.resources.into_iter().map(|resource| Change {
            resource_type: resource.resource_type,
            name: resource.resource_name,
            replace_all: true,
            items: Ok(resource.configs.into_iter().map(|config| (config.name, ConfigOperation::Set, config.value)).collect()),
        });
        let results = self.change(changes.collect(), request.validate_only).await;
        let responses =
            results.into_iter().map(|(resource_type, resource_name, refused)| alter_configs::AlterConfigsResourceResponse {
                error_code: refused.as_ref().map_or(ErrorCode::None, |refused| refused.code).code(),
                error_message: refused.map(|refused| refused.message),
                resource_type,
                resource_name,
            });
        alter_configs::AlterConfigsResponse { responses: responses.collect(), ..Default::default() }
    }

    /// IncrementalAlterConfigs (44, KIP-339).
    pub async fn incremental_alter_configs(
        &self,
        _caller: &Caller,
        _version: i16,
        request: incremental_alter_configs::IncrementalAlterConfigsRequest,
    ) -> incremental_alter_configs::IncrementalAlterConfigsResponse {
        let changes = request.resources.into_iter().map(|resource| Change {
            resource_type: resource.resource_type,
            name: resource.resource_name,
            replace_all: false,
            items: resource.configs.into_iter().map(item).collect(),
        });
        let results = self.change(changes.collect(), request.validate_only).await;
        let responses = results.into_iter().map(|(resource_type, resource_name, refused)| {
            incremental_alter_configs::AlterConfigsResourceResponse {
                error_code: refused.as_ref().map_or(ErrorCode::None, |refused| refused.code).code(),
                error_message: refused.map(|refused| refused.message),
                resource_type,
                resource_name,
            }
        });
        incremental_alter_configs::IncrementalAlterConfigsResponse { responses: responses.collect(), ..Default::default() }
    }

    async fn change(&self, mut changes: Vec<Change>, validate_only: bool) -> Vec<(i8, String, Option<Refused>)> {
        let doubled = take_doubled(&mut changes, |change| (change.resource_type, change.name.clone()));
        let twice = |(resource_type, name)| {
            let refused = Refused::new(ErrorCode::InvalidRequest, "The resource is named more than once.");
            (resource_type, name, Some(refused))
        };
        let mut results: Vec<_> = doubled.into_iter().map(twice).collect();
        // A name may be another topic's by now.
        let fresh = self.cell.barrier().await.map_err(|error| Refused::of(&error));
        let (mut accepted, mut commands) = (Vec::new(), Vec::new());
        for change in changes {
            match fresh.clone().and_then(|()| self.check_change(&change)) {
                Ok(command) => {
                    commands.push(command.into());
                    accepted.push((change.resource_type, change.name));
                }
                Err(refused) => results.push((change.resource_type, change.name, Some(refused))),
            }
        }
        if validate_only {
            results.extend(accepted.into_iter().map(|(resource_type, name)| (resource_type, name, None)));
            return results;
        }
        let outcomes = self.commit(commands).await;
        results.extend(
            accepted.into_iter().zip(outcomes).map(|((resource_type, name), outcome)| (resource_type, name, outcome.err())),
        );
        results
    }

    fn check_change(&self, change: &Change) -> Result<ConfigureTopic, Refused> {
        match change.resource_type {
            TOPIC => {}
            BROKER => {
                let message =
                    "A node's settings come from its configuration file, environment and flags, and change with a restart.";
                return Err(Refused::new(ErrorCode::InvalidConfig, message));
            }
            other => {
                return Err(Refused::new(
                    ErrorCode::InvalidRequest,
                    format!("Resource type {other} has no configuration to change here."),
                ));
            }
        }
        let items = change.items.as_ref().map_err(Refused::clone)?;
        let topic = self.topic(&change.name).ok_or_else(Refused::unknown_topic)?;
        let mut seen = BTreeSet::new();
        if let Some((name, ..)) = items.iter().find(|(name, ..)| !seen.insert(name.as_str())) {
            return Err(Refused::new(ErrorCode::InvalidRequest, format!("Error due to duplicate config keys: {name}")));
        }
        let nulls: Vec<&str> = items
            .iter()
            .filter(|(_, operation, value)| *operation != ConfigOperation::Delete && value.is_none())
            .map(|(name, ..)| name.as_str())
            .collect();
        if !nulls.is_empty() {
            // As Kafka: a malformed request, where CreateTopics calls it a wrong configuration.
            let message = format!("Null value not supported for : {}", nulls.join(", "));
            return Err(Refused::new(ErrorCode::InvalidRequest, message));
        }
        let mut result = if change.replace_all { BTreeMap::new() } else { topic.configs.clone() };
        let mut commands = Vec::new();
        for (name, operation, value) in items {
            let value = value.as_deref().unwrap_or_default();
            let default = definition(name).and_then(|definition| definition.default).unwrap_or_default().to_owned();
            let current = effective(&topic.configs, name).unwrap_or_default();
            let refuse = |error: ConfigError| Refused::config(&error);
            let command_value = match operation {
                ConfigOperation::Set => {
                    let value = normalize(name, value).map_err(refuse)?;
                    result.insert(name.clone(), value.clone());
                    value
                }
                ConfigOperation::Delete => {
                    // As Kafka: what is not there is gone already, also where nothing of that name could be.
                    if result.remove(name).is_none() && definition(name).is_none() {
                        continue;
                    }
                    String::new()
                }
                ConfigOperation::Append => {
                    result.insert(name.clone(), append(name, &current, value).map_err(refuse)?);
                    elements(value)
                }
                ConfigOperation::Subtract => {
                    result.insert(name.clone(), subtract(name, &current, value).map_err(refuse)?);
                    elements(value)
                }
            };
            commands.push(ConfigChange { name: name.clone(), operation: *operation as i32, value: command_value, default });
        }
        validate_all(&result).map_err(|error| Refused::config(&error))?;
        Ok(ConfigureTopic { topic_id: topic.id.0.to_vec(), replace_all: change.replace_all, changes: commands })
    }
}

fn item(config: incremental_alter_configs::AlterableConfig) -> Result<Item, Refused> {
    match ConfigOperation::try_from(i32::from(config.config_operation)) {
        Ok(operation) => Ok((config.name, operation, config.value)),
        Err(_) => {
            let message = format!("Unknown config operation {} for {}", config.config_operation, config.name);
            Err(Refused::new(ErrorCode::InvalidRequest, message))
        }
    }
}

/// What one configuration of an answer takes.
fn memory_bytes(config: &DescribeConfigsResourceResult) -> usize {
    let of_text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let of_synonym = |one: &DescribeConfigsSynonym| size_of_val(one) + one.name.len() + of_text(&one.value);
    let texts = config.name.len() + of_text(&config.value) + of_text(&config.documentation);
    size_of_val(config) + texts + config.synonyms.iter().map(of_synonym).sum::<usize>()
}
