//! What a node reports of itself to DescribeConfigs: a short list, and only what is true.

use crate::definition::{ConfigSource, ConfigType};
use crate::table::DEFINITIONS;
use strandline_types::{NodeId, limits};

/// The settings of a node that clients may ask for.
#[derive(Debug, Clone)]
pub struct BrokerSettings {
    /// Its Kafka id.
    pub node_id: NodeId,
    /// Where it listens, `HOST:PORT`.
    pub listen: String,
    /// What clients are told, `HOST:PORT`.
    pub advertise: String,
    /// Its zone; empty for none.
    pub zone: String,
    /// Where its data lies.
    pub data: String,
    /// Metadata and Produce create topics.
    pub auto_create_topics: bool,
    /// Partitions of a topic that is created without a number.
    pub partitions: i32,
    /// What a topic reports if none was asked for.
    pub replication_factor: i16,
}

/// One value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerConfig {
    /// Kafka's name.
    pub name: &'static str,
    /// Its type.
    pub kind: ConfigType,
    /// Its value; None is null. All of them are read-only: settings change in the node's file.
    pub value: Option<String>,
    /// Where it comes from.
    pub source: ConfigSource,
    /// What it means here.
    pub doc: &'static str,
}

/// Everything that a node reports, by name: its settings, its limits, and the defaults of topics under their broker names.
pub fn broker_configs(settings: &BrokerSettings) -> Vec<BrokerConfig> {
    let mut configs = of_settings(settings);
    configs.extend(of_limits());
    configs.extend(of_topic_defaults());
    configs.sort_by_key(|config| config.name);
    configs
}

fn of_settings(settings: &BrokerSettings) -> Vec<BrokerConfig> {
    let set =
        |name, kind, value: String, doc| BrokerConfig { name, kind, value: Some(value), source: ConfigSource::StaticBroker, doc };
    vec![
        set(
            "advertised.listeners",
            ConfigType::List,
            format!("PLAINTEXT://{}", settings.advertise),
            "What clients are told to connect to.",
        ),
        set(
            "auto.create.topics.enable",
            ConfigType::Boolean,
            settings.auto_create_topics.to_string(),
            "Whether asking for an unknown topic creates it.",
        ),
        set("broker.id", ConfigType::Int, settings.node_id.to_string(), "The node's id."),
        set(
            "default.replication.factor",
            ConfigType::Int,
            settings.replication_factor.to_string(),
            "Reported only: nothing is replicated.",
        ),
        BrokerConfig {
            value: Some(settings.zone.clone()).filter(|zone| !zone.is_empty()),
            ..set("broker.rack", ConfigType::String, String::new(), "The node's zone.")
        },
        set("listeners", ConfigType::List, format!("PLAINTEXT://{}", settings.listen), "Where the node listens."),
        set("log.dirs", ConfigType::List, settings.data.clone(), "Where the node's data lies."),
        set("node.id", ConfigType::Int, settings.node_id.to_string(), "The node's id."),
        set(
            "num.partitions",
            ConfigType::Int,
            settings.partitions.to_string(),
            "Partitions of a topic that is created without a number.",
        ),
    ]
}

fn of_limits() -> Vec<BrokerConfig> {
    let fixed =
        |name, kind, value: String, doc| BrokerConfig { name, kind, value: Some(value), source: ConfigSource::Default, doc };
    vec![
        fixed("delete.topic.enable", ConfigType::Boolean, "true".to_owned(), "Topics can be deleted."),
        fixed("group.max.size", ConfigType::Int, limits::GROUP_MEMBERS.to_string(), "Members of one group."),
        fixed("max.connections", ConfigType::Int, limits::CONNECTIONS.to_string(), "Connections at once."),
        fixed(
            "offset.metadata.max.bytes",
            ConfigType::Int,
            limits::OFFSET_METADATA_BYTES.to_string(),
            "Metadata of a committed offset.",
        ),
        fixed(
            "offsets.retention.minutes",
            ConfigType::Int,
            "10080".to_owned(),
            "Offsets of an empty group are forgotten after this time.",
        ),
        fixed(
            "producer.id.expiration.ms",
            ConfigType::Int,
            "86400000".to_owned(),
            "Idle producer ids are forgotten after this time.",
        ),
        fixed("socket.request.max.bytes", ConfigType::Int, limits::FRAME_BYTES.to_string(), "The largest request."),
    ]
}

/// The defaults of topic configurations that act: they are constants, the same on every node (I2).
fn of_topic_defaults() -> Vec<BrokerConfig> {
    let acting = DEFINITIONS.iter().filter(|definition| definition.acts);
    let named = acting.filter_map(|definition| {
        let name = definition.synonyms.first()?;
        let value = definition.default.map(str::to_owned);
        Some(BrokerConfig { name, kind: definition.kind, value, source: ConfigSource::Default, doc: definition.doc })
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_reports_its_settings_its_limits_and_the_defaults_of_topics() {
        let settings = BrokerSettings {
            node_id: 3,
            listen: "0.0.0.0:9092".to_owned(),
            advertise: "broker:9092".to_owned(),
            zone: String::new(),
            data: "/data".to_owned(),
            auto_create_topics: true,
            partitions: 4,
            replication_factor: 3,
        };
        let configs = broker_configs(&settings);
        assert!(configs.is_sorted_by(|a, b| a.name < b.name), "no name twice");
        let value = |name: &str| configs.iter().find(|config| config.name == name).and_then(|config| config.value.as_deref());
        assert_eq!(value("node.id"), Some("3"));
        assert_eq!(value("advertised.listeners"), Some("PLAINTEXT://broker:9092"));
        assert_eq!(value("num.partitions"), Some("4"));
        assert_eq!(value("default.replication.factor"), Some("3"));
        assert_eq!(value("broker.rack"), None);
        assert_eq!(value("log.retention.ms"), Some("604800000"));
        assert_eq!(value("message.max.bytes"), Some("1048588"));
        assert_eq!(value("compression.type"), Some("producer"));
        assert_eq!(value("compression.lz4.level"), None, "what does not act is not a fact about the node");
    }
}
