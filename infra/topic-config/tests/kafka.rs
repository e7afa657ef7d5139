//! What Kafka 4.2's own `LogConfig.validate` answered to the same values.

use std::collections::BTreeMap;
use strandline_topic_config::{normalize, validate, validate_all};

#[test]
fn values_that_kafka_takes() {
    let cases = [
        ("cleanup.policy", "", ""),
        ("cleanup.policy", "compact,delete", "compact,delete"),
        ("cleanup.policy", " compact , delete ", "compact,delete"),
        ("cleanup.policy", "delete,delete", "delete"),
        ("compression.type", " zstd ", "zstd"),
        ("compression.gzip.level", "-1", "-1"),
        ("compression.zstd.level", "-131072", "-131072"),
        ("retention.ms", " 5 ", "5"),
        ("retention.ms", "+5", "5"),
        ("retention.bytes", "-5", "-5"),
        ("min.cleanable.dirty.ratio", "1e-1", "0.1"),
        ("min.cleanable.dirty.ratio", "0.5f", "0.5"),
        ("min.cleanable.dirty.ratio", "1", "1.0"),
        ("preallocate", "TRUE", "true"),
        ("preallocate", " true ", "true"),
        ("follower.replication.throttled.replicas", "*", "*"),
        ("follower.replication.throttled.replicas", "", ""),
        ("follower.replication.throttled.replicas", "0:1, 2:3", "0:1,2:3"),
        ("leader.replication.throttled.replicas", "0:1,0:1", "0:1,0:1"),
        ("internal.segment.bytes", "5", "5"),
        ("remote.storage.enable", "true", "true"),
        ("strandline.bronze.seal.ms", "3600000", "3600000"),
        ("strandline.bronze.seal.ms", "-1", "-1"),
        ("strandline.latency", "express", "express"),
    ];
    for (name, value, reported) in cases {
        assert_eq!(normalize(name, value).as_deref(), Ok(reported), "{name}={value}");
    }
}

#[test]
fn values_that_kafka_refuses_in_kafkas_words() {
    let at_least = |name: &str, value: &str, least: &str| {
        (
            name.to_owned(),
            value.to_owned(),
            format!("Invalid value {value} for configuration {name}: Value must be at least {least}"),
        )
    };
    let text = |name: &str, value: &str, message: &str| (name.to_owned(), value.to_owned(), message.to_owned());
    let throttled = "leader.replication.throttled.replicas must be the literal '*' or a list of replicas in the following format: [partitionId]:[brokerId],[partitionId]:[brokerId],...";
    let cases = [
        text(
            "cleanup.policy",
            "nope",
            "Invalid value nope for configuration cleanup.policy: String must be one of: compact, delete",
        ),
        text("cleanup.policy", "compact,,delete", "Configuration 'cleanup.policy' values must not be empty."),
        text("cleanup.policy", "delete,", "Configuration 'cleanup.policy' values must not be empty."),
        text(
            "cleanup.policy",
            "Delete",
            "Invalid value Delete for configuration cleanup.policy: String must be one of: compact, delete",
        ),
        text(
            "compression.type",
            "none",
            "Invalid value none for configuration compression.type: String must be one of: uncompressed, zstd, lz4, snappy, gzip, producer",
        ),
        text(
            "compression.gzip.level",
            "0",
            "Invalid value 0 for configuration compression.gzip.level: Value must be between 1 and 9 or equal to -1",
        ),
        text(
            "compression.gzip.level",
            "10",
            "Invalid value 10 for configuration compression.gzip.level: Value must be between 1 and 9 or equal to -1",
        ),
        text(
            "compression.lz4.level",
            "18",
            "Invalid value 18 for configuration compression.lz4.level: Value must be no more than 17",
        ),
        at_least("compression.lz4.level", "0", "1"),
        text(
            "compression.zstd.level",
            "23",
            "Invalid value 23 for configuration compression.zstd.level: Value must be no more than 22",
        ),
        at_least("compression.zstd.level", "-131073", "-131072"),
        at_least("retention.ms", "-2", "-1"),
        text("retention.ms", "abc", "Invalid value abc for configuration retention.ms: Not a number of type LONG"),
        text("retention.ms", "", "Invalid value  for configuration retention.ms: Not a number of type LONG"),
        text(
            "retention.ms",
            "9223372036854775808",
            "Invalid value 9223372036854775808 for configuration retention.ms: Not a number of type LONG",
        ),
        text("max.message.bytes", "1.5", "Invalid value 1.5 for configuration max.message.bytes: Not a number of type INT"),
        text(
            "max.message.bytes",
            "2147483648",
            "Invalid value 2147483648 for configuration max.message.bytes: Not a number of type INT",
        ),
        at_least("max.message.bytes", "-1", "0"),
        at_least("segment.bytes", "1000", "1048576"),
        at_least("segment.ms", "0", "1"),
        text(
            "min.cleanable.dirty.ratio",
            "1.5",
            "Invalid value 1.5 for configuration min.cleanable.dirty.ratio: Value must be no more than 1",
        ),
        at_least("min.cleanable.dirty.ratio", "-0.5", "0"),
        text(
            "min.cleanable.dirty.ratio",
            "abc",
            "Invalid value abc for configuration min.cleanable.dirty.ratio: Not a number of type DOUBLE",
        ),
        text("preallocate", "yes", "Invalid value yes for configuration preallocate: Expected value to be either true or false"),
        text(
            "leader.replication.throttled.replicas",
            "0:a",
            &format!("Invalid value [0:a] for configuration leader.replication.throttled.replicas: {throttled}"),
        ),
        text(
            "leader.replication.throttled.replicas",
            "*,0:1",
            &format!("Invalid value [*, 0:1] for configuration leader.replication.throttled.replicas: {throttled}"),
        ),
        text(
            "message.timestamp.type",
            "x",
            "Invalid value x for configuration message.timestamp.type: String must be one of: CreateTime, LogAppendTime",
        ),
        text("message.timestamp.difference.max.ms", "5", "Unknown topic config name: message.timestamp.difference.max.ms"),
        text("internal.segment.bytes", "x", "Invalid value x for configuration internal.segment.bytes: Not a number of type INT"),
        at_least("min.insync.replicas", "0", "1"),
        at_least("flush.messages", "0", "1"),
        at_least("segment.index.bytes", "3", "4"),
        at_least("max.compaction.lag.ms", "0", "1"),
        at_least("local.retention.ms", "-3", "-2"),
        text(
            "strandline.bronze.seal.ms",
            "7000",
            "Invalid value 7000 for configuration strandline.bronze.seal.ms: Value must be -1, or at least 1000 and divide a day (86400000) without a remainder",
        ),
        text(
            "strandline.latency",
            "fast",
            "Invalid value fast for configuration strandline.latency: String must be one of: standard, express, relaxed",
        ),
    ];
    for (name, value, message) in cases {
        assert_eq!(validate(&name, &value).map_err(|error| error.to_string()), Err(message), "{name}={value}");
    }
}

fn all(values: &[(&str, &str)]) -> Result<(), String> {
    let configs: BTreeMap<String, String> = values.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    validate_all(&configs).map_err(|error| error.to_string())
}

#[test]
fn values_that_must_agree() {
    assert_eq!(all(&[]), Ok(()));
    assert_eq!(
        all(&[("min.compaction.lag.ms", "10"), ("max.compaction.lag.ms", "5")]),
        Err("conflict topic config setting min.compaction.lag.ms (10) > max.compaction.lag.ms (5)".to_owned())
    );
    let remote = ("remote.storage.enable", "true");
    assert_eq!(all(&[remote]), Ok(()));
    assert_eq!(all(&[remote, ("cleanup.policy", "")]), Ok(()));
    assert_eq!(
        all(&[remote, ("cleanup.policy", "compact")]),
        Err("Remote log storage only supports topics with cleanup.policy=delete or cleanup.policy being an empty list."
            .to_owned())
    );
    assert_eq!(
        all(&[remote, ("local.retention.ms", "5"), ("retention.ms", "3")]),
        Err("Invalid value 5 for configuration local.retention.ms: Value must not be more than retention.ms property value: 3"
            .to_owned())
    );
    assert_eq!(all(&[("local.retention.ms", "5"), ("retention.ms", "3")]), Ok(()));
    assert_eq!(
        all(&[remote, ("local.retention.bytes", "-1"), ("retention.bytes", "3")]),
        Err("Invalid value -1 for configuration local.retention.bytes: Value must not be -1 as retention.bytes value is set as 3.".to_owned())
    );
    assert_eq!(all(&[remote, ("remote.log.copy.disable", "true")]), Ok(()));
    assert!(
        all(&[remote, ("remote.log.copy.disable", "true"), ("local.retention.ms", "5")])
            .is_err_and(|message| message.starts_with("When `remote.log.copy.disable`"))
    );
}

#[test]
fn files_outlive_the_log() {
    let bronze = |value| ("strandline.bronze.retention.ms", value);
    assert_eq!(all(&[bronze("-2")]), Ok(()));
    assert_eq!(all(&[bronze("-1")]), Ok(()));
    assert_eq!(all(&[bronze("604800000")]), Ok(()));
    assert_eq!(
        all(&[bronze("604799999")]),
        Err("Invalid value 604799999 for configuration strandline.bronze.retention.ms: Value must not be less than retention.ms property value: 604800000".to_owned())
    );
    assert_eq!(all(&[("retention.ms", "1000"), bronze("1000")]), Ok(()));
    assert!(all(&[("retention.ms", "-1"), bronze("9000000000000")]).is_err());
    assert_eq!(all(&[("retention.ms", "-1"), bronze("-1")]), Ok(()));
}
