//! Repetition or definition levels of one page, as Parquet's pages of version 1 have them.

use crate::value_page::KEPT_BYTES;

/// Levels of one kind, packed as they come; the lowest bits of a byte first.
pub(crate) struct Levels {
    bits: usize,
    count: usize,
    packed: Vec<u8>,
    /// Of the level that all have so far.
    first: u8,
    are_alike: bool,
}

impl Levels {
    /// `bits` a level: 1, 2, 4 or 8.
    pub fn new(bits: usize) -> Self {
        Self { bits, count: 0, packed: Vec::new(), first: 0, are_alike: true }
    }

    /// Adds the level of one value.
    pub fn push(&mut self, level: u8) {
        let bit = self.count * self.bits % 8;
        match self.packed.last_mut() {
            Some(last) if bit > 0 => *last |= level << bit,
            _ => self.packed.push(level),
        }
        if self.count == 0 {
            self.first = level;
        }
        self.are_alike &= level == self.first;
        self.count += 1;
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Appends them with their length before them, in the hybrid of runs and packed bits: one run where all are alike.
    pub fn encode(&self, into: &mut Vec<u8>) {
        let start = into.len();
        into.extend_from_slice(&[0; 4]);
        if self.are_alike {
            push_varint(self.count << 1, into);
            into.push(self.first);
        } else {
            let groups = self.count.div_ceil(8);
            push_varint(groups << 1 | 1, into);
            into.extend_from_slice(&self.packed);
            into.resize(into.len() + groups * self.bits - self.packed.len(), 0);
        }
        let length = (into.len() - start - 4) as u32;
        into[start..start + 4].copy_from_slice(&length.to_le_bytes());
    }

    /// None are there any more.
    pub fn clear(&mut self) {
        self.count = 0;
        self.packed.clear();
        self.packed.shrink_to(KEPT_BYTES);
        self.are_alike = true;
    }
}

fn push_varint(mut number: usize, into: &mut Vec<u8>) {
    while number >= 0x80 {
        into.push(number as u8 | 0x80);
        number >>= 7;
    }
    into.push(number as u8);
}
