//! Text written into a buffer: numbers, times, ids.

use crate::seed::Seeded;

/// A decimal number.
pub(crate) fn number(buffer: &mut Vec<u8>, value: i64) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    let mut rest = value.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        buffer.push(b'-');
    }
    buffer.extend_from_slice(&digits[at..]);
}

/// A number with leading zeros.
pub(crate) fn padded(buffer: &mut Vec<u8>, value: u64, digits: usize) {
    let start = buffer.len();
    buffer.resize(start + digits, b'0');
    let mut rest = value;
    for digit in buffer[start..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

/// `value` divided by ten to the power of `decimals`.
pub(crate) fn fixed(buffer: &mut Vec<u8>, value: i64, decimals: usize) {
    let unit = 10_u64.pow(decimals as u32);
    if value < 0 {
        buffer.push(b'-');
    }
    number(buffer, (value.unsigned_abs() / unit) as i64);
    buffer.push(b'.');
    padded(buffer, value.unsigned_abs() % unit, decimals);
}

/// A time as RFC 3339 with milliseconds, UTC.
pub(crate) fn time(buffer: &mut Vec<u8>, timestamp_ms: i64) {
    let seconds = timestamp_ms.div_euclid(1_000);
    let (year, month, day) = civil(seconds.div_euclid(86_400));
    let second_of_day = seconds.rem_euclid(86_400) as u64;
    padded(buffer, year as u64, 4);
    buffer.push(b'-');
    padded(buffer, month, 2);
    buffer.push(b'-');
    padded(buffer, day, 2);
    buffer.push(b'T');
    padded(buffer, second_of_day / 3_600, 2);
    buffer.push(b':');
    padded(buffer, second_of_day / 60 % 60, 2);
    buffer.push(b':');
    padded(buffer, second_of_day % 60, 2);
    buffer.push(b'.');
    padded(buffer, timestamp_ms.rem_euclid(1_000) as u64, 3);
    buffer.push(b'Z');
}

/// Year, month and day of a day since 1970 (Howard Hinnant's algorithm).
fn civil(days: i64) -> (i64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097) as u64;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year_of_era as i64 + carry, month, day)
}

/// A random UUID, version 4.
pub(crate) fn uuid(buffer: &mut Vec<u8>, seed: &mut Seeded) {
    let mut bytes = (u128::from(seed.next()) << 64 | u128::from(seed.next())).to_be_bytes();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            buffer.push(b'-');
        }
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        buffer.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut buffer = Vec::new();
        write(&mut buffer);
        String::from_utf8(buffer).unwrap()
    }

    #[test]
    fn numbers_and_times_read_as_they_should() {
        assert_eq!(text(|buffer| number(buffer, i64::MIN)), i64::MIN.to_string());
        assert_eq!(text(|buffer| number(buffer, 0)), "0");
        assert_eq!(text(|buffer| fixed(buffer, -3_700_012, 6)), "-3.700012");
        assert_eq!(text(|buffer| fixed(buffer, -7, 2)), "-0.07");
        assert_eq!(text(|buffer| time(buffer, 0)), "1970-01-01T00:00:00.000Z");
        assert_eq!(text(|buffer| time(buffer, 1_709_164_799_999)), "2024-02-28T23:59:59.999Z");
        assert_eq!(text(|buffer| time(buffer, 1_709_164_800_000)), "2024-02-29T00:00:00.000Z");
        assert_eq!(text(|buffer| time(buffer, 1_767_225_599_001)), "2025-12-31T23:59:59.001Z");
        assert_eq!(text(|buffer| time(buffer, -1)), "1969-12-31T23:59:59.999Z");
        let id = text(|buffer| uuid(buffer, &mut Seeded::new(1)));
        assert_eq!((id.len(), &id[14..15]), (36, "4"));
    }
}
