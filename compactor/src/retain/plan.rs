//! How far retention moves a log start: decided as Kafka does, unit by unit from the oldest on.

use strandline_commands::{FileRange, NewFile};
use strandline_index::{Extent, Partition, Topic};
use strandline_topic_config::TopicConfig;
use strandline_types::ObjectName;
use strandline_types::calendar::DAY_MS;
use strandline_types::mutations::{Rule, holds};

/// What leaves as a whole: a partition's part of a sealed or fresh file, or an extent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unit {
    pub end: i64,
    /// The largest timestamp, or when it came where it has none.
    pub time_ms: i64,
    /// Bytes as sent.
    pub bytes: u64,
}

/// What a topic asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Rules {
    pub retention_ms: Option<i64>,
    pub retention_bytes: Option<u64>,
}

impl Rules {
    /// Those of a topic; none where nothing is deleted.
    pub fn of(config: &TopicConfig) -> Self {
        if !config.cleanup.delete {
            return Self::default();
        }
        Self { retention_ms: config.retention_ms, retention_bytes: config.retention_bytes }
    }
}

/// Which sealed files leave once nobody can read them through Kafka any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BronzeRule {
    Keep,
    /// Whatever their age: `retention.bytes` and DeleteRecords free space too.
    AtOnce,
    OlderThan(i64),
}

impl BronzeRule {
    pub fn of(config: &TopicConfig) -> Self {
        match config.bronze_retention_ms {
            // Of the others DeleteRecords may have moved the log start.
            _ if config.cleanup.compact && !config.cleanup.delete => Self::Keep,
            _ if config.bronze_follows_log => Self::AtOnce,
            kept_ms => kept_ms.map_or(Self::Keep, Self::OlderThan),
        }
    }

    /// Whether sealed files stay longer than the log keeps records: then records leave the log only once they are in one.
    pub fn outlasts(self, rules: Rules) -> bool {
        match self {
            Self::Keep => true,
            Self::AtOnce => false,
            // By size a record leaves at any age.
            Self::OlderThan(kept_ms) => {
                rules.retention_bytes.is_some() || rules.retention_ms.is_some_and(|retention_ms| kept_ms > retention_ms)
            }
        }
    }

    /// Whether a file of the topic leaves now.
    pub fn lets_go(self, topic: &Topic, file: &NewFile, now_ms: i64) -> bool {
        let is_old = match self {
            Self::Keep => false,
            Self::AtOnce => true,
            Self::OlderThan(kept_ms) => {
                // The file's newest record; a file without timestamps goes by its day.
                let newest_ms = file.ranges.iter().map(|range| range.max_timestamp_ms).max().filter(|ms| *ms >= 0);
                let newest_ms = newest_ms.unwrap_or(i64::from(file.ingest_day).saturating_add(1).saturating_mul(DAY_MS));
                now_ms.saturating_sub(newest_ms) > kept_ms
            }
        };
        let is_below =
            |range: &FileRange| topic.partition(range.partition).is_some_and(|partition| range.end <= partition.log_start);
        is_old && file.ranges.iter().all(is_below)
    }
}

/// Where the log start moves to, if it moves. Never past `limit`.
pub(crate) fn new_log_start(units: &[Unit], log_start: i64, limit: i64, rules: Rules, now_ms: i64) -> Option<i64> {
    let mut to = log_start;
    // Time: the oldest units whose newest record is too old. The first that is not stops it, as in Kafka.
    if let Some(retention_ms) = rules.retention_ms {
        for unit in units.iter().filter(|unit| unit.end > log_start) {
            if now_ms.saturating_sub(unit.time_ms) <= retention_ms || unit.end > limit {
                break;
            }
            to = to.max(unit.end);
        }
    }
    // Size: a unit goes while what is left without it is still as large as asked for.
    if let Some(retention_bytes) = rules.retention_bytes {
        let live = || units.iter().filter(|unit| unit.end > to);
        let mut bytes: u64 = live().map(|unit| unit.bytes).sum();
        let mut moved = to;
        for unit in live() {
            let left = bytes.saturating_sub(unit.bytes);
            if left < retention_bytes || bytes <= retention_bytes || unit.end > limit {
                break;
            }
            bytes = left;
            moved = unit.end;
        }
        to = to.max(moved);
    }
    if to > log_start && !holds(Rule::Retention) {
        let next = units.iter().find(|unit| unit.end > to && unit.end <= limit);
        to = next.map_or(to, |unit| unit.end);
    }
    if !holds(Rule::WholeRetention) {
        let before = units.iter().rfind(|unit| unit.end < to);
        to = before.map_or(log_start, |unit| unit.end);
    }
    (to > log_start).then_some(to)
}

/// A partition's part of a sealed file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SealedUnit {
    pub start: i64,
    pub unit: Unit,
    /// All of it had come by then.
    pub came_ms: i64,
}

/// The units of a partition that lie in sealed files, in the order of offsets, without those whose end is not below `sealed_end`. A gap,
/// whose file is damaged or gone, is a unit, too: no bytes, and as old as what came after it allows. Were it none, what follows would
/// take it along, whatever it holds.
pub(crate) fn sealed_units(mut sealed: Vec<SealedUnit>, log_start: i64, sealed_end: i64) -> Vec<Unit> {
    sealed.retain(|part| part.unit.end <= sealed_end);
    sealed.sort_by_key(|part| part.unit.end);
    sealed.dedup_by_key(|part| part.unit.end);
    let mut units = Vec::with_capacity(sealed.len());
    let mut at = log_start;
    for part in sealed {
        if part.start > at {
            units.push(Unit { end: part.start, time_ms: part.came_ms, bytes: 0 });
        }
        at = at.max(part.unit.end);
        units.push(part.unit);
    }
    if at < sealed_end {
        // Nothing sealed came after it: it waits until something has.
        units.push(Unit { end: sealed_end, time_ms: i64::MAX, bytes: 0 });
    }
    units
}

/// The units of a partition that lie in the index: fresh ranges and extents. Sealed ones come before them.
pub(crate) fn index_units(topic: &Topic, partition: &Partition, number: i32) -> Vec<Unit> {
    let fresh = partition.fresh.iter().map(|range| {
        let (sent_bytes, since_ms) = fresh_facts(topic, range.segment, number);
        Unit { end: range.end, time_ms: time_or(range.max_timestamp_ms, since_ms), bytes: sent_bytes }
    });
    fresh.chain(partition.extents.iter().map(extent_unit)).collect()
}

fn fresh_facts(topic: &Topic, segment: ObjectName, partition: i32) -> (u64, i64) {
    let Some(segment) = topic.fresh.get(&segment) else { return (0, i64::MAX) };
    let ranges = &segment.file.ranges;
    let at = ranges.binary_search_by_key(&partition, |range| range.partition);
    (at.map_or(0, |at| ranges[at].sent_bytes), segment.since_ms)
}

fn extent_unit(extent: &Extent) -> Unit {
    Unit { end: extent.end, time_ms: time_or(extent.visible_max_timestamp_ms(), extent.ingest_ms), bytes: extent.length }
}

/// Records without a timestamp count by when they came.
pub(crate) fn time_or(timestamp_ms: i64, came_ms: i64) -> i64 {
    if timestamp_ms >= 0 { timestamp_ms } else { came_ms }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn units(of: &[(i64, u64)]) -> Vec<Unit> {
        (1..).zip(of).map(|(at, (time_ms, bytes))| Unit { end: at * 10, time_ms: *time_ms, bytes: *bytes }).collect()
    }

    #[test]
    fn time_stops_at_the_first_unit_that_stays() {
        let rules = Rules { retention_ms: Some(100), retention_bytes: None };
        let units = units(&[(0, 1), (10, 1), (500, 1), (20, 1)]);
        assert_eq!(new_log_start(&units, 0, 40, rules, 200), Some(20));
        assert_eq!(new_log_start(&units, 0, 15, rules, 200), Some(10));
        assert_eq!(new_log_start(&units, 20, 40, rules, 200), None);
        assert_eq!(new_log_start(&units, 0, 40, rules, 1_000), Some(40));
        assert_eq!(new_log_start(&units, 0, 40, Rules::default(), 1_000), None);
    }

    #[test]
    fn size_keeps_at_least_what_was_asked_for() {
        let rules = |bytes| Rules { retention_ms: None, retention_bytes: Some(bytes) };
        let units = units(&[(0, 10), (0, 10), (0, 10)]);
        assert_eq!(new_log_start(&units, 0, 30, rules(30), 0), None);
        assert_eq!(new_log_start(&units, 0, 30, rules(25), 0), None);
        assert_eq!(new_log_start(&units, 0, 30, rules(20), 0), Some(10));
        assert_eq!(new_log_start(&units, 0, 30, rules(5), 0), Some(20));
        assert_eq!(new_log_start(&units, 0, 30, rules(0), 0), Some(30));
        assert_eq!(new_log_start(&units, 10, 30, rules(20), 0), None);
    }

    #[test]
    fn sealed_files_outlast_a_log_that_lets_go_sooner() {
        let config = |configs: &[(&str, &str)]| {
            let configs: BTreeMap<String, String> =
                configs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            TopicConfig::of(&configs)
        };
        let outlasts = |configs: &[(&str, &str)]| {
            let config = config(configs);
            BronzeRule::of(&config).outlasts(Rules::of(&config))
        };
        let (log, size) = (("retention.ms", "1000"), ("retention.bytes", "5"));
        let bronze = |value: &'static str| ("strandline.bronze.retention.ms", value);
        assert!(!outlasts(&[]) && !outlasts(&[log, size]) && !outlasts(&[log, bronze("-2"), size]));
        assert!(!outlasts(&[log, bronze("1000")]) && outlasts(&[log, bronze("1001")]) && outlasts(&[log, bronze("-1")]));
        assert!(outlasts(&[log, bronze("1000"), size]), "by size at any age");
        for policy in ["compact", ""] {
            assert_eq!(Rules::of(&config(&[("cleanup.policy", policy), log, size])), Rules::default());
        }
        // DeleteRecords acts on the one, and not on the other.
        assert_eq!(BronzeRule::of(&config(&[("cleanup.policy", "")])), BronzeRule::AtOnce);
        assert_eq!(BronzeRule::of(&config(&[("cleanup.policy", "compact")])), BronzeRule::Keep);
    }

    #[test]
    fn what_follows_a_gap_does_not_take_it_along() {
        let part = |start: i64, end: i64, time_ms: i64, came_ms: i64| SealedUnit {
            start,
            unit: Unit { end, time_ms, bytes: 10 },
            came_ms,
        };
        let rules = Rules { retention_ms: Some(100), retention_bytes: None };
        // The last one's records say that they are old; it came not long ago, and so may what is not there.
        let sealed = vec![part(20, 30, 0, 950), part(0, 10, 0, 10), part(40, 50, 0, 990)];
        let units = sealed_units(sealed.clone(), 0, 45);
        assert_eq!(units.iter().map(|unit| (unit.end, unit.bytes)).collect::<Vec<_>>(), [(10, 10), (20, 0), (30, 10), (45, 0)]);
        assert_eq!(new_log_start(&units, 0, 45, rules, 1_000), Some(10));
        assert_eq!(new_log_start(&units, 0, 45, rules, 1_060), Some(30), "nothing says when the last gap came");
        let units = sealed_units(sealed, 15, 50);
        assert_eq!(new_log_start(&units, 15, 50, rules, 1_000), None);
        assert_eq!(new_log_start(&units, 15, 50, rules, 1_100), Some(50));
        assert_eq!(sealed_units(Vec::new(), 7, 7), []);
    }

    proptest! {
        #[test]
        fn a_log_start_never_goes_back_nor_past_its_limit_and_what_it_leaves_was_to_go(
            of in prop::collection::vec((0_i64..1_000, 0_u64..50), 0..20),
            retention_ms in prop::option::of(0_i64..500), retention_bytes in prop::option::of(0_u64..400),
            log_start in 0_i64..200, limit in 0_i64..220,
        ) {
            let units = units(&of);
            let rules = Rules { retention_ms, retention_bytes };
            if let Some(to) = new_log_start(&units, log_start, limit, rules, 1_000) {
                prop_assert!(to > log_start && to <= limit);
                let left: u64 = units.iter().filter(|unit| unit.end > to).map(|unit| unit.bytes).sum();
                for unit in units.iter().filter(|unit| unit.end > log_start && unit.end <= to) {
                    let old = retention_ms.is_some_and(|retention_ms| 1_000 - unit.time_ms > retention_ms);
                    let much = retention_bytes.is_some_and(|retention_bytes| left >= retention_bytes);
                    prop_assert!(old || much);
                }
            }
        }
    }
}
