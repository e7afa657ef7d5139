//! The table: Kafka 4.2's topic configurations, then ours. Types, defaults, rules and synonyms are those of Kafka's
//! `LogConfig` and `ServerTopicConfigSynonyms`.

use crate::definition::ConfigType::{Boolean, Double, Int, List, Long, String};
use crate::definition::Rule::{Any, AtLeast, Between, BetweenOr, DividesDayOrAuto, OneOf, ThrottledReplicas};
use crate::definition::{ConfigDefinition, ConfigType, Rule};
use crate::names;

const MAX_LONG: &str = "9223372036854775807";
const WEEK_MS: &str = "604800000";
const FORMATS: Rule = OneOf(&["auto", "text", "binary"]);

const fn config(
    name: &'static str,
    kind: ConfigType,
    default: &'static str,
    rule: Rule,
    synonyms: &'static [&'static str],
    doc: &'static str,
) -> ConfigDefinition {
    ConfigDefinition { name, kind, default: Some(default), rule, synonyms, acts: false, internal: false, doc }
}

impl ConfigDefinition {
    const fn acts(self) -> Self {
        Self { acts: true, ..self }
    }

    const fn internal(self) -> Self {
        Self { internal: true, default: None, ..self }
    }
}

/// Every topic configuration, by name.
pub static DEFINITIONS: &[ConfigDefinition] = &[
    config(names::CLEANUP_POLICY, List, "delete", OneOf(&["compact", "delete"]), &["log.cleanup.policy"],
        "`delete` removes records by age and size. With `compact` alone nothing is removed by age or size, and a record without a key is refused; old values of a key stay until compaction exists. Empty: nothing is removed but by DeleteRecords.").acts(),
    config(names::COMPRESSION_GZIP_LEVEL, Int, "-1", BetweenOr(1, 9, -1), &["compression.gzip.level"],
        "The level, where `compression.type` is `gzip` and a batch came with another codec. -1: zlib's own default.").acts(),
    config("compression.lz4.level", Int, "9", Between(1, 17), &["compression.lz4.level"],
        "No effect: LZ4 is written at one level, the quickest."),
    config(names::COMPRESSION_TYPE, String, "producer", OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]), &["compression.type"],
        "With `producer` batches keep the codec of their producer. With another value a batch that comes with another codec is compressed anew before it is committed, which costs time; one that comes with this codec is kept as it is, whatever its level. It is about the log alone: Parquet is always zstd.").acts(),
    config(names::COMPRESSION_ZSTD_LEVEL, Int, "3", Between(-131_072, 22), &["compression.zstd.level"],
        "The level, where `compression.type` is `zstd` and a batch came with another codec. Levels above 19 count as 19.").acts(),
    config("delete.retention.ms", Long, "86400000", AtLeast(0), &["log.cleaner.delete.retention.ms"],
        "No effect until compaction exists: tombstones stay."),
    config("file.delete.delay.ms", Long, "60000", AtLeast(0), &["log.segment.delete.delay.ms"],
        "No effect: objects go once no reader can still need them."),
    config("flush.messages", Long, MAX_LONG, AtLeast(1), &["log.flush.interval.messages"],
        "No effect: nothing is acknowledged before it is durable."),
    config("flush.ms", Long, MAX_LONG, AtLeast(0), &["log.flush.interval.ms", "log.flush.scheduler.interval.ms"],
        "No effect: nothing is acknowledged before it is durable."),
    config("follower.replication.throttled.replicas", List, "", ThrottledReplicas, &[],
        "No effect: there are no replicas to copy between nodes."),
    config("index.interval.bytes", Int, "4096", AtLeast(0), &["log.index.interval.bytes"],
        "No effect: offsets are found in the index and in Parquet's own statistics."),
    config("internal.segment.bytes", Int, "", Any, &[],
        "No effect: internal to Kafka's tests.").internal(),
    config("leader.replication.throttled.replicas", List, "", ThrottledReplicas, &[],
        "No effect: there are no replicas to copy between nodes."),
    config("local.retention.bytes", Long, "-2", AtLeast(-2), &["log.local.retention.bytes"],
        "No effect: all data lies in the data folder."),
    config("local.retention.ms", Long, "-2", AtLeast(-2), &["log.local.retention.ms"],
        "No effect: all data lies in the data folder."),
    config("max.compaction.lag.ms", Long, MAX_LONG, AtLeast(1), &["log.cleaner.max.compaction.lag.ms"],
        "No effect until compaction exists."),
    config(names::MAX_MESSAGE_BYTES, Int, "1048588", AtLeast(0), &["message.max.bytes"],
        "A larger batch, as it was sent, is refused with MESSAGE_TOO_LARGE. Whatever is set here, 64 MiB is the largest.").acts(),
    config(names::MESSAGE_TIMESTAMP_AFTER_MAX_MS, Long, "3600000", AtLeast(0), &["log.message.timestamp.after.max.ms"],
        "A record whose time lies further ahead of the node's clock is refused with INVALID_TIMESTAMP. Ignored with LogAppendTime.").acts(),
    config(names::MESSAGE_TIMESTAMP_BEFORE_MAX_MS, Long, MAX_LONG, AtLeast(0), &["log.message.timestamp.before.max.ms"],
        "A record whose time lies further behind the node's clock is refused with INVALID_TIMESTAMP. Ignored with LogAppendTime.").acts(),
    config(names::MESSAGE_TIMESTAMP_TYPE, String, "CreateTime", OneOf(&["CreateTime", "LogAppendTime"]), &["log.message.timestamp.type"],
        "With `LogAppendTime` consumers see the time at which the log took the record, and the producer is told it.").acts(),
    config("min.cleanable.dirty.ratio", Double, "0.5", Between(0, 1), &["log.cleaner.min.cleanable.ratio"],
        "No effect until compaction exists."),
    config("min.compaction.lag.ms", Long, "0", AtLeast(0), &["log.cleaner.min.compaction.lag.ms"],
        "No effect until compaction exists."),
    config("min.insync.replicas", Int, "1", AtLeast(1), &["min.insync.replicas"],
        "No effect: there is one copy, on this node's disk; `acks=1` and `acks=all` are the same promise, synced to that disk."),
    config("preallocate", Boolean, "false", Any, &["log.preallocate"],
        "No effect: there are no segment files to preallocate."),
    config("remote.log.copy.disable", Boolean, "false", Any, &[],
        "No effect: there is one copy of the data, in the data folder."),
    config("remote.log.delete.on.disable", Boolean, "false", Any, &[],
        "No effect: there is one copy of the data, in the data folder."),
    config("remote.storage.enable", Boolean, "false", Any, &[],
        "No effect: all data lies in the data folder either way. Accepted, so that topics can be moved from clusters that use it."),
    config(names::RETENTION_BYTES, Long, "-1", Any, &["log.retention.bytes"],
        "Once a partition holds more bytes of batches, as they were sent, its oldest records leave the log. Below 0: no limit. Only with `delete`.").acts(),
    config(names::RETENTION_MS, Long, WEEK_MS, AtLeast(-1), &["log.retention.ms", "log.retention.minutes", "log.retention.hours"],
        "Records older than this, by their own time, leave the log. -1: no limit. Only with `delete`.").acts(),
    config("segment.bytes", Int, "1073741824", AtLeast(1_048_576), &["log.segment.bytes"],
        "No effect: sealed files have a size of their own."),
    config("segment.index.bytes", Int, "10485760", AtLeast(4), &["log.index.size.max.bytes"],
        "No effect: there are no index files."),
    config("segment.jitter.ms", Long, "0", AtLeast(0), &["log.roll.jitter.ms", "log.roll.jitter.hours"],
        "No effect: seals are spread over time by themselves."),
    config("segment.ms", Long, WEEK_MS, AtLeast(1), &["log.roll.ms", "log.roll.hours"],
        "No effect: see `strandline.bronze.seal.ms`."),
    config(names::BRONZE_FRESHNESS_MS, Long, "10000", AtLeast(100), &[],
        "Within this time of its ack a record is a row of a file that the manifest lists. At least 100.").acts(),
    config(names::BRONZE_RETENTION_MS, Long, "-2", AtLeast(-2), &[],
        "Sealed files that lie wholly below the log start go at this age. -2: at once, with the log (by age, by size, by DeleteRecords). -1: never. Less than `retention.ms` is refused. Where they stay longer than the log keeps records, age and size take records from the log only once they are sealed, and what is fresh is sealed once nothing was sealed for `retention.ms`, if not before; DeleteRecords takes them at once.").acts(),
    config(names::BRONZE_SEAL_MS, Long, "-1", DividesDayOrAuto(1_000), &[],
        "Files are sealed at multiples of this time; at least 1000, and it must divide a day (86400000). -1: at 128 MiB, or at the end of the UTC hour with at least 8 MiB, else of the UTC day. Where `strandline.bronze.retention.ms` outlasts `retention.ms`, whatever has waited for the latter is sealed, too.").acts(),
    config(names::KEY_FORMAT, String, "auto", FORMATS, &[],
        "Whether keys are kept in the `text` or the `binary` column. Read once, at the topic's first conversion (seconds after its first record); set afterwards it is kept and reported, and changes nothing. `auto` is `text` if all of the first records (1,024 at most) are text, else `binary`, and either holds for all that come later.").acts(),
    config(names::LATENCY, String, "standard", OneOf(&["standard", "express", "relaxed"]), &[],
        "The latency class, `standard`, `express` or `relaxed`: how long a batch waits for others before it is committed. Topics with `compact` in their policy are `express` unless set otherwise. Answers on a connection keep their order, so a client that produces to topics of several classes over one connection waits as long as the slowest. On a single node with a local log the three are one.").acts(),
    config(names::VALUE_FORMAT, String, "auto", FORMATS, &[],
        "Whether values are kept in the `text` or the `binary` column. Read once, at the topic's first conversion (seconds after its first record); set afterwards it is kept and reported, and changes nothing. `auto` is `text` if all of the first records (1,024 at most) are text, else `binary`, and either holds for all that come later.").acts(),
    config("unclean.leader.election.enable", Boolean, "false", Any, &["unclean.leader.election.enable"],
        "No effect: every node serves every partition, none can be behind."),
];

/// The configuration of that name.
pub fn definition(name: &str) -> Option<&'static ConfigDefinition> {
    DEFINITIONS.binary_search_by(|definition| definition.name.cmp(name)).ok().map(|at| &DEFINITIONS[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_finds_every_name() {
        assert!(DEFINITIONS.is_sorted_by(|a, b| a.name < b.name));
        for entry in DEFINITIONS {
            assert_eq!(definition(entry.name).map(|found| found.name), Some(entry.name));
        }
        assert!(definition("no.such.config").is_none());
        assert_eq!(
            DEFINITIONS.iter().filter(|entry| !entry.name.starts_with("strandline.")).count(),
            34,
            "Kafka 4.2 has 34, one of them internal"
        );
    }

    #[test]
    fn every_default_passes_its_own_rule_unchanged() {
        for entry in DEFINITIONS.iter().filter(|entry| entry.default.is_some()) {
            let default = entry.default.unwrap();
            assert_eq!(crate::normalize(entry.name, default).as_deref(), Ok(default), "{}", entry.name);
        }
    }

    #[test]
    fn what_does_not_act_says_so() {
        for entry in DEFINITIONS {
            assert_eq!(entry.acts, !entry.doc.starts_with("No effect"), "{}", entry.name);
        }
    }
}
