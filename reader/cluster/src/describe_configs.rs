//! DescribeConfigs.

use crate::Cluster;
use crate::cluster::Refused;
use crate::configs::{BROKER, TOPIC};
use std::collections::BTreeSet;
use strandline_topic_config::{broker_configs, describe};
use strandline_types::{Caller, limits};
use strandline_wire::ErrorCode;
use strandline_wire::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResponse,
    DescribeConfigsResult, DescribeConfigsSynonym,
};

const BROKER_LOGGER: i8 = 8;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;

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
}

/// What one configuration of an answer takes.
fn memory_bytes(config: &DescribeConfigsResourceResult) -> usize {
    let of_text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let of_synonym = |one: &DescribeConfigsSynonym| size_of_val(one) + one.name.len() + of_text(&one.value);
    let texts = config.name.len() + of_text(&config.value) + of_text(&config.documentation);
    size_of_val(config) + texts + config.synonyms.iter().map(of_synonym).sum::<usize>()
}
