//! Topic configurations: every one of Kafka 4.2 and ours, with type, default, rule and meaning; the same for what a
//! node reports of itself; and the rules of topic names.
//!
//! Values are validated at the door, before a command is proposed; the fold keeps them as text. What this crate must never
//! do: act differently on two nodes (a default is a constant, never a node's setting), or take a value that Kafka
//! refuses. `docs/topic-configs.md` says which configurations act; a test holds page and table together.

mod broker;
mod cross_check;
mod definition;
mod error;
mod list;
mod table;
pub mod topic_name;
mod typed;
mod value;

pub use broker::{BrokerConfig, BrokerSettings, broker_configs};
pub use cross_check::validate_all;
pub use definition::{ConfigDefinition, ConfigSource, ConfigType, Rule};
pub use error::ConfigError;
pub use list::{append, elements, subtract};
pub use table::{DEFINITIONS, definition};
pub use typed::{Cleanup, CompressionType, DescribedConfig, FormatPreference, LatencyClass, TopicConfig, describe, effective};
pub use value::{normalize, validate};

/// The names that this code acts on.
pub mod names {
    /// Delete by age and size, compact, both or neither.
    pub const CLEANUP_POLICY: &str = "cleanup.policy";
    /// The level of gzip, where `compression.type` asks for it.
    pub const COMPRESSION_GZIP_LEVEL: &str = "compression.gzip.level";
    /// The codec of batches in the log.
    pub const COMPRESSION_TYPE: &str = "compression.type";
    /// The level of zstd, where `compression.type` asks for it.
    pub const COMPRESSION_ZSTD_LEVEL: &str = "compression.zstd.level";
    /// The largest batch.
    pub const MAX_MESSAGE_BYTES: &str = "max.message.bytes";
    /// The producer's time or the log's.
    pub const MESSAGE_TIMESTAMP_TYPE: &str = "message.timestamp.type";
    /// How far a record's time may lie behind the clock.
    pub const MESSAGE_TIMESTAMP_BEFORE_MAX_MS: &str = "message.timestamp.before.max.ms";
    /// How far a record's time may lie ahead of the clock.
    pub const MESSAGE_TIMESTAMP_AFTER_MAX_MS: &str = "message.timestamp.after.max.ms";
    /// Age at which records leave the log.
    pub const RETENTION_MS: &str = "retention.ms";
    /// Size at which a partition's oldest records leave the log.
    pub const RETENTION_BYTES: &str = "retention.bytes";
    /// The latency class.
    pub const LATENCY: &str = "strandline.latency";
    /// How soon a record is a row.
    pub const BRONZE_FRESHNESS_MS: &str = "strandline.bronze.freshness.ms";
    /// How often a file is sealed.
    pub const BRONZE_SEAL_MS: &str = "strandline.bronze.seal.ms";
    /// Age at which sealed files go.
    pub const BRONZE_RETENTION_MS: &str = "strandline.bronze.retention.ms";
    /// How keys are kept in bronze.
    pub const KEY_FORMAT: &str = "strandline.key.format";
    /// How values are kept in bronze.
    pub const VALUE_FORMAT: &str = "strandline.value.format";
}
