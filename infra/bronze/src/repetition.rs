//! Whether a page of a list has a repetition level for each of its values. The Parquet library asks for more of them for ever where they have run out.

use parquet::basic::Encoding;
use parquet::column::page::Page;
use parquet::errors::{ParquetError, Result};

/// Values of a bit-packed group.
const GROUP: u64 = 8;

/// # Errors
/// The page claims more values than it has levels, or has them in a form that nobody writes any more.
pub(crate) fn check_repetition_levels(page: &Page, max_level: i16) -> Result<()> {
    if max_level == 0 {
        return Ok(());
    }
    let (levels, values) = match page {
        Page::DictionaryPage { .. } => return Ok(()),
        Page::DataPage { rep_level_encoding, .. } if *rep_level_encoding != Encoding::RLE => None,
        Page::DataPage { buf, num_values, .. } => Some((prefixed(buf), *num_values)),
        Page::DataPageV2 { buf, num_values, rep_levels_byte_len, .. } => {
            Some((buf.get(..*rep_levels_byte_len as usize), *num_values))
        }
    }
    .ok_or_else(|| {
        ParquetError::General("a page has repetition levels of an encoding that is not written any more".to_owned())
    })?;
    let bits = u64::from(i16::BITS - max_level.leading_zeros());
    let count = levels.map_or(0, |levels| count(levels, bits));
    if count < u64::from(values) {
        return Err(ParquetError::General(format!("a page has {count} repetition levels for {values} values")));
    }
    Ok(())
}

/// Of version 1: their length, and then they.
fn prefixed(page: &[u8]) -> Option<&[u8]> {
    let (length, rest) = page.split_first_chunk::<4>()?;
    rest.get(..u32::from_le_bytes(*length) as usize)
}

/// How many levels of so many bits there are (Parquet, RLE / bit-packing hybrid), as far as a reader comes: no more than it finds.
fn count(mut bytes: &[u8], bits: u64) -> u64 {
    let mut count = 0_u64;
    while let Some((indicator, rest)) = varint(bytes) {
        let run = indicator >> 1;
        // Readers count in 32 bits, and no page has so many values.
        if indicator == 0 || run > u64::from(u32::MAX) / GROUP {
            break;
        }
        let (levels, length) = if indicator & 1 == 1 {
            let length = (run * bits).min(rest.len() as u64);
            (length * GROUP / bits, length)
        } else {
            (run, bits.div_ceil(GROUP))
        };
        let Some(following) = rest.get(length as usize..) else { break };
        count += levels;
        bytes = following;
    }
    count
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (at, byte) in bytes.iter().enumerate().take(9) {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[at + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::levels::Levels;
    use bytes::Bytes;
    use proptest::prelude::*;

    fn page(levels: &[u8], length: u32, num_values: u32) -> Page {
        let mut buf = length.to_le_bytes().to_vec();
        buf.extend_from_slice(levels);
        Page::DataPage {
            buf: Bytes::from(buf),
            num_values,
            encoding: Encoding::PLAIN,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        }
    }

    #[test]
    fn runs_and_groups_are_counted() {
        // Five times 1; two groups of eight; a group of which the last byte is missing.
        let cases: [(&[u8], u64, u64); 10] = [
            (&[], 1, 0),
            (&[10, 1], 1, 5),
            (&[10], 1, 0),
            (&[5, 0xff, 0x01], 1, 16),
            (&[5, 0xff], 1, 8),
            (&[10, 1, 5, 0, 0, 4, 0], 1, 23),
            (&[10, 1, 0, 10, 1], 1, 5),
            (&[3, 0xff, 0xff, 0xff], 3, 8),
            // Of these a reader that counts in 32 bits takes none.
            (&[0x81, 0x80, 0x80, 0x80, 0x04, 0, 0, 0, 0, 0, 0], 1, 0),
            (&[10, 1, 0x83, 0x80, 0x80, 0x80, 0x04, 0, 0, 0, 0, 0], 1, 5),
        ];
        for (bytes, bits, expected) in cases {
            assert_eq!(count(bytes, bits), expected, "{bytes:?}");
        }
        assert_eq!(count(&[0x80; 20], 1), 0);
    }

    proptest! {
        #[test]
        fn what_is_written_is_counted(levels in proptest::collection::vec(0..2_u8, 0..100)) {
            let mut written = Levels::new(1);
            levels.iter().for_each(|level| written.push(*level));
            let mut page = Vec::new();
            written.encode(&mut page);
            let found = count(prefixed(&page).unwrap(), 1);
            prop_assert!((levels.len() as u64..levels.len() as u64 + GROUP).contains(&found), "{} for {}", found, levels.len());
        }
    }

    #[test]
    fn a_page_with_fewer_levels_than_values_is_damaged() {
        check_repetition_levels(&page(&[10, 1], 2, 5), 1).unwrap();
        check_repetition_levels(&page(&[5, 0xff, 0x01], 3, 11), 1).unwrap();
        check_repetition_levels(&page(&[10, 1], 2, 6), 1).unwrap_err();
        check_repetition_levels(&page(&[10, 1], 2, 6), 0).unwrap();
        // It ends before its levels do.
        check_repetition_levels(&page(&[10, 1], 9, 1), 1).unwrap_err();
    }
}
