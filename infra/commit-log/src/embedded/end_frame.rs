//! The index that an end frame holds, so that a file that was closed is opened without reading it.
//!
//! ```text
//! positions  of the file's entry frames, in order, each as LEB128 of the distance to the one before
//! trailer    position of the end frame u64 · magic u32: the last 12 bytes of the file
//! ```

use super::format::field;

const MAGIC: [u8; 4] = *b"sLeN";
/// Bytes of the trailer.
pub(super) const TRAILER: usize = 12;

/// The entry bytes of an end frame that begins at `position`.
pub(super) fn encode(positions: &[u32], position: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(positions.len() * 2 + TRAILER);
    let mut before = 0;
    for position in positions {
        let mut distance = position - before;
        while distance >= 0x80 {
            bytes.push(distance as u8 | 0x80);
            distance >>= 7;
        }
        bytes.push(distance as u8);
        before = *position;
    }
    bytes.extend_from_slice(&position.to_le_bytes());
    bytes.extend_from_slice(&MAGIC);
    bytes
}

/// Where the end frame begins, by the last bytes of a file; none if it does not end so.
pub(super) fn position(trailer: &[u8; TRAILER]) -> Option<u64> {
    (trailer[8..] == MAGIC).then(|| u64::from_le_bytes(field(trailer, 0)))
}

/// The positions of exactly `count` entry frames; none if the bytes hold anything else.
pub(super) fn decode(bytes: &[u8], count: u64) -> Option<Vec<u32>> {
    let encoded = bytes.get(..bytes.len().checked_sub(TRAILER)?)?;
    // Each position takes a byte at least: the count cannot ask for more memory than the bytes that are there.
    if count > encoded.len() as u64 {
        return None;
    }
    let mut positions = Vec::with_capacity(count as usize);
    let (mut before, mut distance, mut shift) = (0u32, 0u32, 0);
    for byte in encoded {
        let bits = u32::from(byte & 0x7f);
        if shift > 28 || (shift == 28 && bits > 0xf) {
            return None;
        }
        distance |= bits << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            before = before.checked_add(distance)?;
            positions.push(before);
            (distance, shift) = (0, 0);
        }
    }
    (shift == 0 && positions.len() as u64 == count).then_some(positions)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_index_comes_back(mut positions in proptest::collection::vec(any::<u32>(), 0..50), at in any::<u64>()) {
            positions.sort_unstable();
            let bytes = encode(&positions, at);
            prop_assert_eq!(decode(&bytes, positions.len() as u64), Some(positions.clone()));
            prop_assert_eq!(decode(&bytes, positions.len() as u64 + 1), None);
            prop_assert_eq!(position(&field(&bytes, bytes.len() - TRAILER)), Some(at));
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..60), count in any::<u64>()) {
            let _ = decode(&bytes, count);
            for count in 0..bytes.len() as u64 {
                if let Some(positions) = decode(&bytes, count) {
                    prop_assert_eq!(positions.len() as u64, count);
                }
            }
        }
    }
}
