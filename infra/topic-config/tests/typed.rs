//! The typed view and what DescribeConfigs shows.

use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;
use strandline_topic_config::{
    Cleanup, CompressionType, ConfigSource, DEFINITIONS, FormatPreference, LatencyClass, TopicConfig, describe, normalize,
    validate_all,
};
use strandline_types::{TimestampType, limits};

fn configs(values: &[(&str, &str)]) -> BTreeMap<String, String> {
    values.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

#[test]
fn the_defaults_are_kafkas() {
    let config = TopicConfig::default();
    assert_eq!(config.cleanup, Cleanup { delete: true, compact: false });
    assert_eq!(config.compression, CompressionType::Producer);
    assert_eq!(config.max_message_bytes, 1_048_588);
    assert_eq!(config.timestamp_type, TimestampType::Create);
    assert_eq!((config.timestamp_before_max_ms, config.timestamp_after_max_ms), (i64::MAX, 3_600_000));
    assert_eq!((config.retention_ms, config.retention_bytes), (Some(604_800_000), None));
    assert_eq!((config.bronze_retention_ms, config.bronze_follows_log), (Some(604_800_000), true));
    for (value, kept_ms) in [("-1", None), ("604800001", Some(604_800_001))] {
        let config = TopicConfig::of(&configs(&[("strandline.bronze.retention.ms", value)]));
        assert_eq!((config.bronze_retention_ms, config.bronze_follows_log), (kept_ms, false));
    }
    assert_eq!(
        (config.latency, config.bronze_freshness, config.bronze_seal_ms),
        (LatencyClass::Standard, Duration::from_secs(10), None)
    );
    assert_eq!((config.key_format, config.value_format), (FormatPreference::Auto, FormatPreference::Auto));
}

#[test]
fn values_that_are_set_count() {
    let config = TopicConfig::of(&configs(&[
        ("cleanup.policy", "compact,delete"),
        ("compression.type", "zstd"),
        ("max.message.bytes", "2147483647"),
        ("message.timestamp.type", "LogAppendTime"),
        ("retention.ms", "-1"),
        ("retention.bytes", "5"),
        ("strandline.bronze.seal.ms", "60000"),
        ("strandline.value.format", "binary"),
    ]));
    assert_eq!(config.cleanup, Cleanup { delete: true, compact: true });
    assert_eq!(config.compression, CompressionType::Zstd);
    assert_eq!(config.max_message_bytes, limits::BATCH_BYTES);
    assert_eq!(config.timestamp_type, TimestampType::LogAppend);
    assert_eq!((config.retention_ms, config.retention_bytes, config.bronze_retention_ms), (None, Some(5), None));
    assert_eq!(
        (config.latency, config.bronze_seal_ms, config.value_format),
        (LatencyClass::Express, Some(60_000), FormatPreference::Binary)
    );
}

#[test]
fn compacted_topics_are_express_unless_set_otherwise() {
    let latency = |values: &[(&str, &str)]| TopicConfig::of(&configs(values)).latency;
    assert_eq!(latency(&[("cleanup.policy", "compact")]), LatencyClass::Express);
    assert_eq!(latency(&[("cleanup.policy", "compact"), ("strandline.latency", "standard")]), LatencyClass::Standard);
    assert_eq!(latency(&[("strandline.latency", "relaxed")]), LatencyClass::Relaxed);
}

#[test]
fn described_values_show_where_they_come_from() {
    let described = describe(&configs(&[("retention.ms", " 5 "), ("cleanup.policy", "compact")]));
    assert_eq!(described.len(), DEFINITIONS.len() - 1, "the internal one is not listed");
    let of = |name: &str| described.iter().find(|config| config.definition.name == name).unwrap();
    let retention = of("retention.ms");
    assert_eq!((retention.value.as_deref(), retention.source), (Some("5"), ConfigSource::Topic));
    assert_eq!(
        retention.synonyms(),
        [
            ("retention.ms", Some("5".to_owned()), ConfigSource::Topic),
            ("log.retention.ms", Some("604800000".to_owned()), ConfigSource::Default)
        ]
    );
    assert_eq!(
        (of("strandline.latency").value.as_deref(), of("strandline.latency").source),
        (Some("express"), ConfigSource::Default)
    );
    assert_eq!(of("segment.ms").source.code(), 5);
}

proptest! {
    #[test]
    fn whatever_is_written_is_refused_or_stays_as_it_is_reported(at in 0..DEFINITIONS.len(), value in "[ -]?[0-9a-z:,.*+]{0,12}") {
        let name = DEFINITIONS[at].name;
        if let Ok(reported) = normalize(name, &value) {
            prop_assert_eq!(normalize(name, &reported), Ok(reported.clone()));
            let set = configs(&[(name, &value)]);
            let _ = validate_all(&set);
            prop_assert_eq!(TopicConfig::of(&set), TopicConfig::of(&configs(&[(name, &reported)])));
        }
    }
}
