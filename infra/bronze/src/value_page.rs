//! One page of a nullable column of values, encoded as PLAIN while its values come: they are copied once, from the record to the page.

use crate::levels::Levels;
use strandline_types::limits;

/// Room before the values for the definition levels: their own length, the header of a run, and a bit for each row.
const LEVELS_BYTES: usize = 4 + 2 + limits::PAGE_ROWS.div_ceil(8);

/// What a page keeps of its memory for the next one, at most.
pub(crate) const KEPT_BYTES: usize = 2 * limits::PAGE_BYTES;

/// A page of PLAIN values that is encoded while it is filled.
pub(crate) trait PlainPage {
    /// Rows so far.
    fn rows(&self) -> usize;
    /// Values so far, those that are null and rows that have none included.
    fn levels(&self) -> usize;
    /// Bytes of the values themselves.
    fn value_bytes(&self) -> usize;
    /// The page as Parquet has it before compression: levels, then values.
    fn encoded(&mut self) -> &[u8];
    /// The page is empty again.
    fn clear(&mut self);
}

/// Values one after the other, each after its length, with room before them for the levels, whose length is known only at the end.
pub(crate) struct PlainValues {
    count: usize,
    /// More than at the beginning, once the levels of a page took more.
    room: usize,
    /// `room`, then the values.
    bytes: Vec<u8>,
    encoded_levels: Vec<u8>,
}

impl PlainValues {
    /// None yet, and so much room for levels.
    pub fn new(room: usize) -> Self {
        Self { count: 0, room, bytes: vec![0; room], encoded_levels: Vec::new() }
    }

    /// Adds one.
    pub fn push(&mut self, value: &[u8]) {
        self.count += 1;
        // Record sizes are bounded far below 2^32.
        self.bytes.extend_from_slice(&(value.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(value);
    }

    /// Bytes of the values themselves.
    pub fn bytes(&self) -> usize {
        self.bytes.len() - self.room - 4 * self.count
    }

    /// The levels, then the values.
    pub fn encoded(&mut self, levels: &[&Levels]) -> &[u8] {
        self.encoded_levels.clear();
        levels.iter().for_each(|levels| levels.encode(&mut self.encoded_levels));
        let length = self.encoded_levels.len();
        if length > self.room {
            self.bytes.splice(..0, std::iter::repeat_n(0, length - self.room));
            self.room = length;
        }
        let start = self.room - length;
        self.bytes[start..self.room].copy_from_slice(&self.encoded_levels);
        &self.bytes[start..]
    }

    /// None are there any more.
    pub fn clear(&mut self) {
        self.count = 0;
        self.bytes.truncate(self.room);
        // One huge value is not held until the file ends.
        self.bytes.shrink_to(KEPT_BYTES);
    }
}

/// The page that is being filled. Its memory is used again by the next one.
pub(crate) struct ValuePage {
    /// Whether a row has a value.
    definition: Levels,
    values: PlainValues,
}

impl ValuePage {
    pub fn new() -> Self {
        Self { definition: Levels::new(1), values: PlainValues::new(LEVELS_BYTES) }
    }

    /// Adds a row.
    pub fn push(&mut self, value: Option<&[u8]>) {
        self.definition.push(u8::from(value.is_some()));
        if let Some(value) = value {
            self.values.push(value);
        }
    }
}

impl PlainPage for ValuePage {
    fn rows(&self) -> usize {
        self.definition.count()
    }

    fn levels(&self) -> usize {
        self.definition.count()
    }

    fn value_bytes(&self) -> usize {
        self.values.bytes()
    }

    fn encoded(&mut self) -> &[u8] {
        self.values.encoded(&[&self.definition])
    }

    fn clear(&mut self) {
        self.definition.clear();
        self.values.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(values: &[Option<&[u8]>]) -> Vec<u8> {
        let mut page = ValuePage::new();
        // What was there before leaves no trace.
        (0..limits::PAGE_ROWS).for_each(|row| page.push((row % 3 == 0).then_some(b"before")));
        page.encoded();
        page.clear();
        values.iter().for_each(|value| page.push(*value));
        assert_eq!(page.value_bytes(), values.iter().flatten().map(|value| value.len()).sum::<usize>());
        page.encoded().to_vec()
    }

    #[test]
    fn alike_rows_are_one_run_and_others_a_bit_each() {
        assert_eq!(encoded(&[Some(b"ab"), Some(b"")]), [2, 0, 0, 0, 4, 1, 2, 0, 0, 0, b'a', b'b', 0, 0, 0, 0]);
        assert_eq!(encoded(&[None; 64]), [3, 0, 0, 0, 0x80, 1, 0]);
        let mut mixed = [None; 9];
        mixed[1] = Some(&b"x"[..]);
        mixed[8] = Some(&b""[..]);
        assert_eq!(encoded(&mixed), [3, 0, 0, 0, 5, 2, 1, 1, 0, 0, 0, b'x', 0, 0, 0, 0]);
        let mut full = [Some(&b""[..]); limits::PAGE_ROWS];
        full[0] = None;
        let page = encoded(&full);
        assert_eq!(
            (page[..7].to_vec(), page.len()),
            (vec![130, 0, 0, 0, 0x81, 2, 0xfe], LEVELS_BYTES + 4 * (limits::PAGE_ROWS - 1))
        );
    }
}
