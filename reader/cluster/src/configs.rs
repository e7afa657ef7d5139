//! AlterConfigs, IncrementalAlterConfigs.

use crate::Cluster;
use crate::cluster::{Refused, take_doubled};
use std::collections::{BTreeMap, BTreeSet};
use strandline_commands::{ConfigChange, ConfigOperation, ConfigureTopic};
use strandline_index::Fill;
use strandline_topic_config::{ConfigError, append, definition, effective, elements, normalize, subtract, validate_all};
use strandline_types::{Caller, limits};
use strandline_wire::ErrorCode;
use strandline_wire::messages::{alter_configs, incremental_alter_configs};
use tokio::sync::MutexGuard;

/// A topic, as the type of a resource.
pub(crate) const TOPIC: i8 = 2;
/// The same, a node.
pub(crate) const BROKER: i8 = 4;

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

/// One that may be made, and what the topic's configuration takes before and after it.
struct Checked {
    command: ConfigureTopic,
    before: u64,
    after: u64,
}

impl Cluster {
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
        let turn = self.turn_to_configure(validate_only).await;
        let fresh = match &turn {
            // A name may be another topic's by now.
            Ok(_) => self.cell.barrier().await.map_err(|error| Refused::of(&error)),
            Err(refused) => Err(refused.clone()),
        };
        let (mut accepted, mut commands) = (Vec::new(), Vec::new());
        let mut bytes = self.cell.view().fill.topic_bytes;
        for change in changes {
            let checked =
                fresh.clone().and_then(|()| self.check_change(&change)).and_then(|Checked { command, before, after }| {
                    let then = bytes.saturating_sub(before).saturating_add(after);
                    // What does not grow is taken, however full the index is.
                    if after > before {
                        self.room_for_topics(then)?;
                    }
                    bytes = then;
                    Ok(command)
                });
            match checked {
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

    /// Held until a change is made: two additions to one list that are looked at together may come to more than a value may have, of which
    /// older answers would show a part, and nobody could change anything of the topic but that value. The fold does not look.
    async fn turn_to_configure(&self, validate_only: bool) -> Result<Option<MutexGuard<'_, ()>>, Refused> {
        if validate_only {
            return Ok(None);
        }
        let turn = tokio::time::timeout(limits::REQUEST_WAIT, self.configuring.lock()).await;
        turn.map(Some)
            .map_err(|_| Refused::new(ErrorCode::RequestTimedOut, "Other changes of configurations have not ended yet."))
    }

    fn check_change(&self, change: &Change) -> Result<Checked, Refused> {
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
        Ok(Checked {
            command: ConfigureTopic { topic_id: topic.id.0.to_vec(), replace_all: change.replace_all, changes: commands },
            before: Fill::of_topic(&topic.name, &topic.configs),
            after: Fill::of_topic(&topic.name, &result),
        })
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
