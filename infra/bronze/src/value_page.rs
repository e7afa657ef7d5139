//! One page of a nullable column of values, encoded as PLAIN while its values come: they are copied once, from the record to the page.

use strandline_types::limits;

/// Room before the values for the definition levels, whose length is known only at the end: their own length, the header of a run, and a
/// bit for each row.
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

/// The page that is being filled. Its memory is used again by the next one.
pub(crate) struct ValuePage {
    rows: usize,
    values: usize,
    /// One bit for each row, whether it has a value; the first row's lowest.
    defined: [u8; limits::PAGE_ROWS.div_ceil(8)],
    /// [`LEVELS_BYTES`], then the values, each after its length.
    bytes: Vec<u8>,
}

impl ValuePage {
    pub fn new() -> Self {
        Self { rows: 0, values: 0, defined: [0; limits::PAGE_ROWS.div_ceil(8)], bytes: vec![0; LEVELS_BYTES] }
    }

    /// Adds a row. At most [`limits::PAGE_ROWS`] of them.
    pub fn push(&mut self, value: Option<&[u8]>) {
        if let Some(value) = value {
            self.defined[self.rows / 8] |= 1 << (self.rows % 8);
            self.values += 1;
            // Record sizes are bounded far below 2^32.
            self.bytes.extend_from_slice(&(value.len() as u32).to_le_bytes());
            self.bytes.extend_from_slice(value);
        }
        self.rows += 1;
    }

    /// Definition levels with their length before them, in the hybrid of runs and packed bits: one run where all rows are alike.
    fn encode_levels(&self, levels: &mut [u8; LEVELS_BYTES]) -> usize {
        let is_run = self.values == 0 || self.values == self.rows;
        let groups = self.rows.div_ceil(8);
        // At most 1,024 rows: both headers fit two bytes.
        let header = if is_run { self.rows << 1 } else { groups << 1 | 1 };
        let mut end = 4;
        if header < 0x80 {
            levels[end] = header as u8;
            end += 1;
        } else {
            levels[end..end + 2].copy_from_slice(&[(header & 0x7f) as u8 | 0x80, (header >> 7) as u8]);
            end += 2;
        }
        if is_run {
            levels[end] = u8::from(self.values > 0);
            end += 1;
        } else {
            levels[end..end + groups].copy_from_slice(&self.defined[..groups]);
            end += groups;
        }
        levels[..4].copy_from_slice(&(end as u32 - 4).to_le_bytes());
        end
    }
}

impl PlainPage for ValuePage {
    fn rows(&self) -> usize {
        self.rows
    }

    fn levels(&self) -> usize {
        self.rows
    }

    fn value_bytes(&self) -> usize {
        self.bytes.len() - LEVELS_BYTES - 4 * self.values
    }

    fn encoded(&mut self) -> &[u8] {
        let mut levels = [0; LEVELS_BYTES];
        let length = self.encode_levels(&mut levels);
        let start = LEVELS_BYTES - length;
        self.bytes[start..LEVELS_BYTES].copy_from_slice(&levels[..length]);
        &self.bytes[start..]
    }

    fn clear(&mut self) {
        self.rows = 0;
        self.values = 0;
        self.defined.fill(0);
        self.bytes.truncate(LEVELS_BYTES);
        // One huge value is not held until the file ends.
        self.bytes.shrink_to(KEPT_BYTES);
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
