//! Names of Parquet objects. Fresh ones carry what decides about orphans; sealed ones say what they hold, and a plan makes
//! the same name whoever completes it. Topic names are safe in paths: Kafka allows letters, digits, `.`, `_` and `-` only.

use crate::calendar::{DAY_MS, Day, DayError, civil, days, digits};
use crate::{ObjectName, TopicId};
use std::fmt;
use std::str::FromStr;

/// `<tree>/<topic>/<id8>`, where tree is `fresh`, `bronze`, `manifest` or `iceberg`.
pub fn topic_folder(tree: &str, topic: &str, topic_id: TopicId) -> String {
    format!("{tree}/{topic}/{}", topic_id.id8())
}

/// `fresh/<topic>/<id8>/<seq>-<incarnation>-<n>.parquet`; the last part is read back by [`ObjectName`].
pub fn fresh_path(topic: &str, topic_id: TopicId, name: ObjectName) -> String {
    format!("{}/{name}.parquet", topic_folder("fresh", topic, topic_id))
}

/// `bronze/<topic>/<id8>/ingest_date=YYYY-MM-DD/<name>.parquet`; the last part is read back by [`SealedName`].
pub fn sealed_path(topic: &str, topic_id: TopicId, day: Day, name: SealedName) -> String {
    format!("{}/ingest_date={day}/{name}.parquet", topic_folder("bronze", topic, topic_id))
}

/// The day of ingest that is in the path of a sealed file; none in that of another one.
///
/// # Errors
/// What stands in its place is no day.
pub fn day_of_sealed_path(path: &str) -> Option<Result<Day, DayError>> {
    path.split('/').find_map(|part| part.strip_prefix("ingest_date=")).map(str::parse)
}

/// `<time of the plan's entry>-p<partition>-o<offset>-g<generation>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SealedName {
    /// Time of the entry with the plan, in milliseconds.
    pub time_ms: i64,
    /// The first partition.
    pub partition: i32,
    /// The first offset of it that the file covers.
    pub offset: i64,
    /// 0, and one more for each rewrite.
    pub generation: u32,
}

/// Not the name of a sealed file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a name of the form YYYYMMDDTHHMMSSmmmZ-pPARTITION-oOFFSET-gGENERATION")]
pub struct NameError(pub String);

impl fmt::Display for SealedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil(self.time_ms.div_euclid(DAY_MS));
        let ms = self.time_ms.rem_euclid(DAY_MS);
        let (hour, minute, second, ms) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60, ms % 1_000);
        write!(f, "{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}{ms:03}Z")?;
        write!(f, "-p{:05}-o{:020}-g{}", self.partition, self.offset, self.generation)
    }
}

impl FromStr for SealedName {
    type Err = NameError;

    /// Takes the last path component, with or without `.parquet`.
    fn from_str(name: &str) -> Result<Self, NameError> {
        let last = name.rsplit('/').next().unwrap_or(name);
        let parsed = parse(last.strip_suffix(".parquet").unwrap_or(last));
        parsed.ok_or_else(|| NameError(name.to_owned()))
    }
}

fn parse(stem: &str) -> Option<SealedName> {
    let mut parts = stem.split('-');
    let (time, partition, offset, generation) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || !time.is_ascii() || time.len() != 19 || &time[8..9] != "T" || !time.ends_with('Z') {
        return None;
    }
    let number = |range: std::ops::Range<usize>| digits(time[range].as_bytes());
    let (hour, minute, second, ms) = (number(9..11)?, number(11..13)?, number(13..15)?, number(15..18)?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let day = days(number(0..4)?, number(4..6)?, number(6..8)?)?;
    let name = SealedName {
        time_ms: day * DAY_MS + hour * 3_600_000 + minute * 60_000 + second * 1_000 + ms,
        partition: partition.strip_prefix('p')?.parse().ok()?,
        offset: offset.strip_prefix('o')?.parse().ok()?,
        generation: generation.strip_prefix('g')?.parse().ok()?,
    };
    // One file, one name: another spelling of the same numbers is not a name.
    (name.to_string() == stem).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Incarnation, Seq};

    const TOPIC: TopicId = TopicId([0x1a, 0x2b, 0x3c, 0x4d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);

    #[test]
    fn names_are_as_documented_and_round_trip() {
        let name = SealedName { time_ms: 1_795_443_300_000, partition: 7, offset: 42, generation: 1 };
        assert_eq!(name.to_string(), "20261123T141500000Z-p00007-o00000000000000000042-g1");
        let path = sealed_path("veh.events.raw", TOPIC, Day::of_ms(name.time_ms), name);
        assert_eq!(
            path,
            "bronze/veh.events.raw/1a2b3c4d/ingest_date=2026-11-23/20261123T141500000Z-p00007-o00000000000000000042-g1.parquet"
        );
        assert_eq!(path.parse(), Ok(name));
        assert_eq!(day_of_sealed_path(&path), Some(Ok(Day::of_ms(name.time_ms))));
        assert!(matches!(day_of_sealed_path("bronze/a/1a2b3c4d/ingest_date=2026-13-01/x.parquet"), Some(Err(_))));
        let widest = SealedName { time_ms: 253_402_300_799_999, partition: i32::MAX, offset: i64::MAX, generation: u32::MAX };
        assert_eq!(widest.to_string().parse(), Ok(widest));
        let fresh = ObjectName { seq: Seq(3), incarnation: Incarnation(2), n: 1 };
        let path = fresh_path("a", TOPIC, fresh);
        assert_eq!(path, "fresh/a/1a2b3c4d/00000000000000000003-2-1.parquet");
        assert_eq!(path.parse(), Ok(fresh));
        assert_eq!(day_of_sealed_path(&path), None);
    }

    #[test]
    fn other_names_are_refused() {
        for name in [
            "",
            "x.parquet",
            "20261123T141500000Z-p7-o00000000000000000042-g1",
            "20261123T141500000Z-p00007-o00000000000000000042-g01",
            "20261123T141500000Z-p00007-o00000000000000000042",
            "20261123T141500000Z-p00007-o00000000000000000042-g1-x",
            "20261323T141500000Z-p00007-o00000000000000000042-g1",
            "20261123T246100000Z-p00007-o00000000000000000042-g1",
            "größe1123T141500000Z-p00007-o00000000000000000042-g1",
        ] {
            assert!(name.parse::<SealedName>().is_err(), "{name}");
        }
    }
}
