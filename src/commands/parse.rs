//! What people type: times, durations, partitions, pairs.

use std::time::Duration;
use strandline_client::PartitionName;

/// `KEY=VALUE`.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE".to_owned()),
    }
}

/// `90s`, `15m`, `2h`, `7d`, `250ms`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.len() - text.trim_start_matches(|digit: char| digit.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| format!("`{text}` is no duration; write 250ms, 90s, 15m, 2h or 7d"))?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(format!("`{text}` needs a unit: 250ms, 90s, 15m, 2h or 7d")),
    };
    Ok(Duration::from_millis(number.saturating_mul(milliseconds)))
}

/// Something a second.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate.is_finite() => Ok(rate),
        _ => Err(format!("`{text}` is no rate; write a number above 0, such as 1000 or 0.5")),
    }
}

/// A moment: RFC 3339, milliseconds since 1970, or a duration ago such as `15m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// In milliseconds since 1970, UTC.
    At(i64),
    /// Before now.
    Ago(Duration),
}

impl Moment {
    /// In milliseconds since 1970, UTC.
    pub(super) fn timestamp_ms(self, now_ms: i64) -> i64 {
        match self {
            Self::At(timestamp_ms) => timestamp_ms,
            Self::Ago(duration) => now_ms.saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)),
        }
    }
}

/// See [`Moment`].
pub(super) fn moment(text: &str) -> Result<Moment, String> {
    if let Ok(timestamp_ms) = text.parse() {
        return Ok(Moment::At(timestamp_ms));
    }
    if let Ok(time) = chrono::DateTime::parse_from_rfc3339(text) {
        return Ok(Moment::At(time.timestamp_millis()));
    }
    duration(text).map(Moment::Ago).map_err(|_| {
        format!("`{text}` is no time; write 2026-11-23T14:15:00Z, milliseconds since 1970, or how long ago, such as 15m")
    })
}

/// `topic` or `topic:0,1,2`.
pub(super) fn topic_partitions(text: &str) -> Result<(String, Option<Vec<i32>>), String> {
    match text.split_once(':') {
        None => Ok((text.to_owned(), None)),
        Some((topic, partitions)) => partition_list(partitions).map(|partitions| (topic.to_owned(), Some(partitions))),
    }
}

fn partition_list(text: &str) -> Result<Vec<i32>, String> {
    let numbers = text.split(',').map(|number| number.trim().parse::<i32>());
    numbers.collect::<Result<_, _>>().map_err(|_| format!("`{text}` are no partitions; write 0,1,2"))
}

/// What `\n`, `\t`, `\r`, `\0` and `\\` stand for.
pub(super) fn unescape(text: &str) -> String {
    let mut unescaped = String::new();
    let mut rest = text.chars();
    while let Some(next) = rest.next() {
        if next != '\\' {
            unescaped.push(next);
            continue;
        }
        match rest.next() {
            Some('n') => unescaped.push('\n'),
            Some('t') => unescaped.push('\t'),
            Some('r') => unescaped.push('\r'),
            Some('0') => unescaped.push('\0'),
            Some(other) => unescaped.push(other),
            None => unescaped.push('\\'),
        }
    }
    unescaped
}

/// A partition as people write it.
pub(super) fn show(partition: &PartitionName) -> String {
    format!("{}-{}", partition.0, partition.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_type_is_understood() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("7d"), Ok(Duration::from_secs(7 * 86_400)));
        assert!(duration("5").is_err() && duration("m").is_err() && duration("5y").is_err());
        assert_eq!(moment("1700000000000"), Ok(Moment::At(1_700_000_000_000)));
        assert_eq!(moment("1970-01-01T01:00:00+01:00"), Ok(Moment::At(0)));
        assert_eq!(moment("15m").map(|moment| moment.timestamp_ms(1_000_000)), Ok(100_000));
        assert!(moment("yesterday").is_err());
        assert_eq!(topic_partitions("t:0, 2"), Ok(("t".into(), Some(vec![0, 2]))));
        assert_eq!(topic_partitions("t"), Ok(("t".into(), None)));
        assert!(topic_partitions("t:x").is_err());
        assert_eq!(pair("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert!(pair("=b").is_err() && pair("a").is_err());
        assert_eq!(unescape(r"a\tb\\n\"), "a\tb\\n\\");
    }
}
