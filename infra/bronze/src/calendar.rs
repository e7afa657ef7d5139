//! RFC 3339 times.

use strandline_types::calendar::{date, digits, is_shown_by_readers};

/// An RFC 3339 time in microseconds since 1970, UTC; `None` if it is not one or lies outside the years 1 to 9999.
/// Digits below the microsecond are cut. A leap second is not one that readers could show.
pub(crate) fn rfc3339_us(text: &str) -> Option<i64> {
    let (day, rest) = text.as_bytes().split_at_checked(10)?;
    let day = date(day)?;
    let [b'T' | b't' | b' ', h0, h1, b':', m0, m1, b':', s0, s1, rest @ ..] = rest else { return None };
    let (hour, minute, second) = (digits(&[*h0, *h1])?, digits(&[*m0, *m1])?, digits(&[*s0, *s1])?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (fraction_us, zone) = match rest {
        [b'.', rest @ ..] => fraction(rest)?,
        _ => (0, rest),
    };
    let zone_minutes = match zone {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), h0, h1, b':', m0, m1] => {
            let (hours, minutes) = (digits(&[*h0, *h1])?, digits(&[*m0, *m1])?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            if *sign == b'+' { hours * 60 + minutes } else { -(hours * 60 + minutes) }
        }
        _ => return None,
    };
    let seconds = day * 86_400 + hour * 3_600 + minute * 60 + second - zone_minutes * 60;
    is_shown_by_readers(seconds * 1_000).then_some(seconds * 1_000_000 + fraction_us)
}

fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let length = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let kept = length.min(6);
    let mut fraction_us = digits(&text[..kept])?;
    for _ in kept..6 {
        fraction_us *= 10;
    }
    Some((fraction_us, &text[length..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3339_is_read_and_what_does_not_fit_is_not() {
        assert_eq!(rfc3339_us("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(rfc3339_us("2026-11-23T14:15:00.5Z"), Some(1_795_443_300_500_000));
        assert_eq!(rfc3339_us("2026-11-23T15:15:00.500000999+01:00"), Some(1_795_443_300_500_000));
        assert_eq!(rfc3339_us("2026-11-23t12:45:00-01:30"), Some(1_795_443_300_000_000));
        assert_eq!(rfc3339_us("1969-12-31T23:59:59.999999Z"), Some(-1));
        for text in [
            "",
            "2026-11-23",
            "2026-11-23T14:15:00",
            "2026-11-23T24:00:00Z",
            "2026-11-23T14:15:60Z",
            "2026-02-30T00:00:00Z",
            "2026-11-23T14:15:00.Z",
            "2026-11-23T14:15:00+25:00",
            "0001-01-01T00:00:00+01:00",
            "9999-12-31T23:59:59-00:01",
            "2026-11-23T14:15:00Zx",
            "größe",
        ] {
            assert_eq!(rfc3339_us(text), None, "{text}");
        }
    }
}
