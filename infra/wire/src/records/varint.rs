//! Varints over a slice, as records have them.

/// Reads an unsigned varint of at most 64 bits.
#[inline(always)]
pub(super) fn read_unsigned(bytes: &[u8], position: &mut usize) -> Option<u64> {
    let first = *bytes.get(*position)?;
    *position += 1;
    if first < 0x80 {
        return Some(u64::from(first));
    }
    read_more(bytes, position, first)
}

#[inline]
fn read_more(bytes: &[u8], position: &mut usize, first: u8) -> Option<u64> {
    let mut value = u64::from(first & 0x7f);
    for index in 1..10 {
        let byte = *bytes.get(*position)?;
        *position += 1;
        if index == 9 && byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// Undoes zigzag.
#[inline(always)]
pub(super) const fn zigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Reads a zigzag varint of 64 bits.
#[inline(always)]
pub(super) fn read_long(bytes: &[u8], position: &mut usize) -> Option<i64> {
    read_unsigned(bytes, position).map(zigzag)
}

/// Reads a zigzag varint of 32 bits.
#[inline(always)]
pub(super) fn read_int(bytes: &[u8], position: &mut usize) -> Option<i32> {
    let value = read_unsigned(bytes, position)?;
    u32::try_from(value).ok().map(|value| zigzag(u64::from(value)) as i32)
}

/// Appends a zigzag varint.
#[inline]
pub(super) fn write_long(bytes: &mut Vec<u8>, value: i64) {
    let mut value = (value << 1 ^ value >> 63) as u64;
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// Bytes that [`write_long`] appends.
#[inline]
pub(super) const fn long_bytes(value: i64) -> usize {
    let value = (value << 1 ^ value >> 63) as u64;
    (70 - (value | 1).leading_zeros() as usize) / 7
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_and_sizes_are_right() {
        let mut values = vec![0, -1, 1, 63, 64, -64, -65, i64::MAX, i64::MIN, i64::from(i32::MAX), i64::from(i32::MIN)];
        values.extend((0..63).flat_map(|shift| [1 << shift, -(1 << shift), (1 << shift) - 1]));
        for value in values {
            let mut bytes = Vec::new();
            write_long(&mut bytes, value);
            assert_eq!(bytes.len(), long_bytes(value), "{value}");
            let mut position = 0;
            assert_eq!(read_long(&bytes, &mut position), Some(value));
            assert_eq!(position, bytes.len());
            assert_eq!(read_long(&bytes[..bytes.len() - 1], &mut 0), None);
            let int = i32::try_from(value).ok();
            assert_eq!(read_int(&bytes, &mut 0), int);
        }
        assert_eq!(read_unsigned(&[0xff; 11], &mut 0), None);
    }
}
