//! A topic's configuration as the code uses it.

use crate::definition::{ConfigDefinition, ConfigSource};
use crate::names;
use crate::table::{DEFINITIONS, definition};
use crate::value::{normalize, split};
use std::collections::BTreeMap;
use std::time::Duration;
use strandline_types::{TimestampType, limits};

/// What removes old records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cleanup {
    /// Age and size do.
    pub delete: bool,
    /// A newer value of the same key does: every record needs a key.
    pub compact: bool,
}

/// `compression.type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompressionType {
    /// As the producer sent it.
    Producer,
    /// None.
    Uncompressed,
    /// gzip.
    Gzip,
    /// snappy.
    Snappy,
    /// lz4.
    Lz4,
    /// zstd.
    Zstd,
}

/// How long a batch waits for others before it is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LatencyClass {
    /// The shortest wait: the batch rides inside the entry.
    Express,
    /// The default.
    Standard,
    /// The longest wait, the fewest requests.
    Relaxed,
}

/// How keys or values are kept in bronze.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FormatPreference {
    /// Decided once, at the first conversion.
    Auto,
    /// As text where it is valid.
    Text,
    /// As bytes.
    Binary,
}

/// A topic's configuration with its defaults, for code. Made from a few dozen string comparisons: keep it per topic and
/// make it anew when the topic changes, not per request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicConfig {
    /// What removes old records.
    pub cleanup: Cleanup,
    /// The codec asked for.
    pub compression: CompressionType,
    /// The level for gzip; -1 is zlib's own default.
    pub gzip_level: i32,
    /// The level for zstd.
    pub zstd_level: i32,
    /// The largest batch as sent, in bytes; never above [`limits::BATCH_BYTES`].
    pub max_message_bytes: usize,
    /// Whose time records carry.
    pub timestamp_type: TimestampType,
    /// How far a record's time may lie behind the clock.
    pub timestamp_before_max_ms: i64,
    /// How far a record's time may lie ahead of the clock.
    pub timestamp_after_max_ms: i64,
    /// Age at which records leave the log; None: never. Only with `cleanup.delete`.
    pub retention_ms: Option<i64>,
    /// Size at which a partition's oldest records leave the log; None: never. Only with `cleanup.delete`.
    pub retention_bytes: Option<u64>,
    /// Age at which sealed files go; None: never. Never below `retention_ms`.
    pub bronze_retention_ms: Option<i64>,
    /// Sealed files go with the log: as soon as they lie below every log start, whatever moved it and whatever their age.
    pub bronze_follows_log: bool,
    /// The latency class.
    pub latency: LatencyClass,
    /// How soon an acknowledged record is a row.
    pub bronze_freshness: Duration,
    /// How often files are sealed; None: by the automatic rule.
    pub bronze_seal_ms: Option<i64>,
    /// How keys are kept.
    pub key_format: FormatPreference,
    /// How values are kept.
    pub value_format: FormatPreference,
}

impl Default for TopicConfig {
    fn default() -> Self {
        Self::of(&BTreeMap::new())
    }
}

impl TopicConfig {
    /// The configuration of a topic that has these values set. Values were validated at the door; one that cannot be read
    /// all the same counts as not set.
    pub fn of(configs: &BTreeMap<String, String>) -> Self {
        let policy = split(text(configs, names::CLEANUP_POLICY));
        let cleanup = Cleanup { delete: policy.contains(&"delete"), compact: policy.contains(&"compact") };
        let unlimited = |value: i64| (value >= 0).then_some(value);
        let retention_ms = unlimited(long(configs, names::RETENTION_MS));
        Self {
            cleanup,
            compression: match text(configs, names::COMPRESSION_TYPE) {
                "uncompressed" => CompressionType::Uncompressed,
                "gzip" => CompressionType::Gzip,
                "snappy" => CompressionType::Snappy,
                "lz4" => CompressionType::Lz4,
                "zstd" => CompressionType::Zstd,
                _ => CompressionType::Producer,
            },
            gzip_level: i32::try_from(long(configs, names::COMPRESSION_GZIP_LEVEL)).unwrap_or(-1),
            zstd_level: i32::try_from(long(configs, names::COMPRESSION_ZSTD_LEVEL)).unwrap_or(3),
            max_message_bytes: usize::try_from(long(configs, names::MAX_MESSAGE_BYTES)).unwrap_or(0).min(limits::BATCH_BYTES),
            timestamp_type: match text(configs, names::MESSAGE_TIMESTAMP_TYPE) {
                "LogAppendTime" => TimestampType::LogAppend,
                _ => TimestampType::Create,
            },
            timestamp_before_max_ms: long(configs, names::MESSAGE_TIMESTAMP_BEFORE_MAX_MS),
            timestamp_after_max_ms: long(configs, names::MESSAGE_TIMESTAMP_AFTER_MAX_MS),
            retention_ms,
            retention_bytes: u64::try_from(long(configs, names::RETENTION_BYTES)).ok(),
            bronze_retention_ms: match long(configs, names::BRONZE_RETENTION_MS) {
                -2 => retention_ms,
                value => unlimited(value),
            },
            bronze_follows_log: long(configs, names::BRONZE_RETENTION_MS) == -2,
            latency: latency(configs, cleanup),
            bronze_freshness: Duration::from_millis(u64::try_from(long(configs, names::BRONZE_FRESHNESS_MS)).unwrap_or(0)),
            bronze_seal_ms: Some(long(configs, names::BRONZE_SEAL_MS)).filter(|value| *value > 0),
            key_format: format_preference(text(configs, names::KEY_FORMAT)),
            value_format: format_preference(text(configs, names::VALUE_FORMAT)),
        }
    }
}

fn default_of(name: &str) -> &'static str {
    definition(name).and_then(|definition| definition.default).unwrap_or_default()
}

fn text<'a>(configs: &'a BTreeMap<String, String>, name: &str) -> &'a str {
    configs.get(name).map_or_else(|| default_of(name), |value| value.trim())
}

fn long(configs: &BTreeMap<String, String>, name: &str) -> i64 {
    text(configs, name).parse().or_else(|_| default_of(name).parse()).unwrap_or_default()
}

fn latency(configs: &BTreeMap<String, String>, cleanup: Cleanup) -> LatencyClass {
    match configs.get(names::LATENCY).map(|value| value.trim()) {
        Some("express") => LatencyClass::Express,
        Some("relaxed") => LatencyClass::Relaxed,
        Some("standard") => LatencyClass::Standard,
        _ if cleanup.compact => LatencyClass::Express,
        _ => LatencyClass::Standard,
    }
}

fn format_preference(value: &str) -> FormatPreference {
    match value {
        "text" => FormatPreference::Text,
        "binary" => FormatPreference::Binary,
        _ => FormatPreference::Auto,
    }
}

/// The value that is in force, as DescribeConfigs reports it: what is set, else the default (for `strandline.latency` that
/// depends on the policy). None: unknown, or null.
pub fn effective(configs: &BTreeMap<String, String>, name: &str) -> Option<String> {
    let definition = definition(name)?;
    if let Some(value) = configs.get(name) {
        return Some(normalize(name, value).unwrap_or_else(|_| value.clone()));
    }
    if name == names::LATENCY && TopicConfig::of(configs).latency == LatencyClass::Express {
        return Some("express".to_owned());
    }
    definition.default.map(str::to_owned)
}

/// One configuration as DescribeConfigs reports it.
#[derive(Debug, Clone)]
pub struct DescribedConfig {
    /// Type, documentation, synonyms.
    pub definition: &'static ConfigDefinition,
    /// The value in force; None is null.
    pub value: Option<String>,
    /// Set on the topic, or the default.
    pub source: ConfigSource,
}

impl DescribedConfig {
    /// Kafka's synonyms of it (KIP-226): name, value and source of each place that a value could come from, the one in
    /// force first.
    pub fn synonyms(&self) -> Vec<(&'static str, Option<String>, ConfigSource)> {
        let mut synonyms = Vec::new();
        if self.source == ConfigSource::Topic {
            synonyms.push((self.definition.name, self.value.clone(), ConfigSource::Topic));
        }
        if let (Some(name), Some(default)) = (self.definition.synonyms.first(), self.definition.default) {
            synonyms.push((name, Some(default.to_owned()), ConfigSource::Default));
        }
        synonyms
    }
}

/// Every configuration of a topic that has these values set, by name; internal ones only if they are set.
pub fn describe(configs: &BTreeMap<String, String>) -> Vec<DescribedConfig> {
    let listed = DEFINITIONS.iter().filter(|definition| !definition.internal || configs.contains_key(definition.name));
    let described = listed.map(|definition| DescribedConfig {
        definition,
        value: effective(configs, definition.name),
        source: if configs.contains_key(definition.name) { ConfigSource::Topic } else { ConfigSource::Default },
    });
    described.collect()
}
