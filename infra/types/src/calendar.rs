//! The proleptic Gregorian calendar in UTC: days as they stand in paths.

use std::fmt;

/// Milliseconds of a day.
pub const DAY_MS: i64 = 86_400_000;
/// First and last day of the years 1 to 9999, which every reader of Parquet can show.
const FIRST_DAY: i64 = -719_162;
const LAST_DAY: i64 = 2_932_896;

/// A UTC day, as days since 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub i32);

/// Not a day of the form `YYYY-MM-DD`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a day of the form YYYY-MM-DD")]
pub struct DayError(pub String);

impl Day {
    /// The UTC day in which a time lies.
    pub fn of_ms(time_ms: i64) -> Self {
        Self(time_ms.div_euclid(DAY_MS).clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32)
    }

    /// Its first millisecond.
    pub fn start_ms(self) -> i64 {
        i64::from(self.0) * DAY_MS
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil(i64::from(self.0));
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

impl std::str::FromStr for Day {
    type Err = DayError;

    fn from_str(text: &str) -> Result<Self, DayError> {
        date(text.as_bytes()).map(|day| Self(day as i32)).ok_or_else(|| DayError(text.to_owned()))
    }
}

/// True if the time lies in the years 1 to 9999.
pub fn is_shown_by_readers(time_ms: i64) -> bool {
    (FIRST_DAY..=LAST_DAY).contains(&time_ms.div_euclid(DAY_MS))
}

/// Year, month and day of a day since 1970 (Howard Hinnant's `civil_from_days`).
pub fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Days since 1970 of a date that exists.
pub fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let month_days = match month {
        2 => 28 + i64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=9_999).contains(&year) || !(1..=month_days).contains(&day) {
        return None;
    }
    let shifted_year = year - i64::from(month <= 2);
    let era = shifted_year.div_euclid(400);
    let year_of_era = shifted_year.rem_euclid(400);
    let month_from_march = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    Some(era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468)
}

/// A number of at most 18 decimal digits, and nothing else.
pub fn digits(text: &[u8]) -> Option<i64> {
    if text.is_empty() || text.len() > 18 {
        return None;
    }
    text.iter().try_fold(0_i64, |number, byte| byte.is_ascii_digit().then(|| number * 10 + i64::from(byte - b'0')))
}

/// `YYYY-MM-DD`.
pub fn date(text: &[u8]) -> Option<i64> {
    let [y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1] = text else { return None };
    days(digits(&[*y0, *y1, *y2, *y3])?, digits(&[*m0, *m1])?, digits(&[*d0, *d1])?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_round_trip_over_all_years() {
        assert_eq!(Day(0).to_string(), "1970-01-01");
        assert_eq!(Day::of_ms(-1).to_string(), "1969-12-31");
        assert_eq!(Day::of_ms(1_795_443_300_000).to_string(), "2026-11-23");
        for day in (FIRST_DAY..=LAST_DAY).step_by(97).chain([FIRST_DAY, LAST_DAY]) {
            let day = Day(day as i32);
            assert_eq!(day.to_string().parse(), Ok(day));
        }
        assert_eq!(Day(FIRST_DAY as i32).to_string(), "0001-01-01");
        assert_eq!(Day(LAST_DAY as i32).to_string(), "9999-12-31");
        for text in [
            "2026-02-29",
            "1900-02-29",
            "2024-02-30",
            "2026-04-31",
            "2026-01-32",
            "2026-01-00",
            "2026-00-01",
            "2026-13-01",
            "2026-1-01",
            "0000-01-01",
            "",
            "2026-01-01T",
            "20260101xx",
        ] {
            assert!(text.parse::<Day>().is_err(), "{text}");
        }
        for text in ["2024-02-29", "2000-02-29", "2026-04-30", "2026-12-31"] {
            assert!(text.parse::<Day>().is_ok(), "{text}");
        }
    }
}
