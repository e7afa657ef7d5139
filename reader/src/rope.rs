//! What is served of one partition, put together: small batches are copied, large ones stay where they are.

use bytes::{Bytes, BytesMut};
use strandline_extents::is_most_of;
use strandline_types::TimestampType;
use strandline_wire::Records;
use strandline_wire::records::{BATCH_HEADER_BYTES, BatchError, Compression, rebase_in_place, restamp};

/// Batches below this are copied: a copy costs less than a piece of its own.
const SHARED_FROM_BYTES: usize = 4_096;

/// Batches for one partition, with what may still go in.
#[derive(Debug)]
pub(crate) struct Rope {
    pieces: Vec<Bytes>,
    small: BytesMut,
    bytes: usize,
    /// Bytes that are not control batches: a client learns nothing from those, so the first batch comes after them.
    data_bytes: usize,
    limit: usize,
    first_limit: usize,
    /// What the whole answer has room for.
    room: usize,
    /// What the client asked for, of this partition.
    asked: usize,
    /// Codecs that the request's version does not know end the answer.
    zstd: bool,
    refused_codec: bool,
}

impl Rope {
    /// At most `limit` bytes, but the first batch whole up to `first_limit` (KIP-74); zstd only where `zstd`.
    pub(crate) fn new(limit: usize, first_limit: usize, zstd: bool) -> Self {
        Self {
            pieces: Vec::new(),
            small: BytesMut::new(),
            bytes: 0,
            data_bytes: 0,
            limit,
            first_limit,
            room: limit,
            asked: limit,
            zstd,
            refused_codec: false,
        }
    }

    /// The answer has `room` for so many bytes yet, and the client `asked` for so many of this partition.
    pub(crate) fn within(self, room: usize, asked: usize) -> Self {
        Self { room, asked, ..self }
    }

    /// What the client asked for, of this partition.
    pub(crate) fn asked(&self) -> usize {
        self.asked
    }

    /// Whether batches that were rebuilt together, so many bytes of them, are to be added as far as they are admitted. They go whole where the
    /// answer has room and it is less than twice what was asked for: of a part of them the rest has to be kept, or rebuilt once more. So a part
    /// goes only where an answer needs it, or little was asked for, or it is at least half of that.
    pub(crate) fn begins(&mut self, together: usize) -> bool {
        let end = self.bytes.saturating_add(together);
        if end <= self.limit {
            return true;
        }
        if end <= self.room && end / 2 < self.asked {
            self.limit = end;
            return true;
        }
        let is_first = self.data_bytes == 0 && self.first_limit == usize::MAX;
        let begins = is_first || together / 2 >= self.asked || self.left() >= self.asked / 2;
        if !begins {
            (self.limit, self.first_limit) = (0, 0);
        }
        begins
    }

    /// Whether a batch of that size and codec still goes in. Once one does not, the rope is full.
    pub(crate) fn admits(&mut self, bytes: usize, compression: Compression) -> bool {
        self.admits_after(0, bytes, compression)
    }

    /// The same, when `taken` bytes are about to go in before it.
    pub(crate) fn admits_after(&mut self, taken: usize, bytes: usize, compression: Compression) -> bool {
        if self.refused_codec {
            return false;
        }
        if compression == Compression::Zstd && !self.zstd {
            self.refused_codec = true;
            return false;
        }
        let fits = match self.data_bytes + taken {
            // Control batches before it count, too.
            0 => self.bytes.saturating_add(bytes) <= self.first_limit.max(self.limit),
            _ => self.bytes.saturating_add(taken).saturating_add(bytes) <= self.limit,
        };
        if !fits {
            (self.limit, self.first_limit) = (0, 0);
        }
        fits
    }

    /// Whether nothing more will go in.
    pub(crate) fn is_full(&self) -> bool {
        self.refused_codec || self.bytes >= self.limit.max(if self.data_bytes == 0 { self.first_limit } else { 0 })
    }

    /// Whether the very first batch had a codec that the request's version does not know.
    pub(crate) fn refused_codec(&self) -> bool {
        self.refused_codec && self.bytes == 0
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What still goes in, but for a first batch.
    pub(crate) fn left(&self) -> usize {
        self.limit.saturating_sub(self.bytes)
    }

    /// Adds a stored batch at its offset; with the entry's time where the topic had LogAppendTime.
    pub(crate) fn push_stored(&mut self, batch: &Bytes, base_offset: i64, append_ms: Option<i64>) -> Result<(), BatchError> {
        let too_short = BatchError::Length { expected: BATCH_HEADER_BYTES as i64, actual: batch.len() };
        let (header, records) = match append_ms {
            Some(append_ms) => {
                let [header, records] = restamp(batch, base_offset, TimestampType::LogAppend, append_ms)?;
                (header.first_chunk().copied().ok_or(too_short)?, records)
            }
            None => {
                let mut header: [u8; BATCH_HEADER_BYTES] = batch.first_chunk().copied().ok_or(too_short)?;
                rebase_in_place(&mut header, base_offset)?;
                (header, batch.slice(BATCH_HEADER_BYTES..))
            }
        };
        self.push_copy(&header);
        self.push(records);
        self.data_bytes += BATCH_HEADER_BYTES;
        Ok(())
    }

    /// Adds batches as they are.
    pub(crate) fn push(&mut self, batches: Bytes) {
        self.data_bytes += batches.len();
        if batches.len() < SHARED_FROM_BYTES {
            self.push_copy(&batches);
            return;
        }
        self.flush();
        self.bytes += batches.len();
        self.pieces.push(batches);
    }

    /// Adds a part of batches that are kept together. The answer counts what goes out: where that is less than most of the whole, it is
    /// copied, and does not keep the rest in memory.
    pub(crate) fn push_part(&mut self, whole: &Bytes, part: std::ops::Range<usize>) {
        if is_most_of(part.len() as u64, whole.len() as u64) {
            self.push(whole.slice(part));
        } else {
            self.push(Bytes::copy_from_slice(&whole[part]));
        }
    }

    /// Adds a control batch, if it fits.
    pub(crate) fn push_control(&mut self, batch: &[u8]) -> bool {
        let admitted = !self.is_full() && (self.bytes == 0 || self.bytes + batch.len() <= self.limit.max(self.first_limit));
        if admitted {
            self.push_copy(batch);
        }
        admitted
    }

    fn push_copy(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len();
        self.small.extend_from_slice(bytes);
    }

    fn flush(&mut self) {
        if !self.small.is_empty() {
            self.pieces.push(self.small.split().freeze());
        }
    }

    /// All of it.
    pub(crate) fn finish(mut self) -> Records {
        self.flush();
        self.pieces.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_batch_goes_whole_and_later_ones_within_the_limit() {
        let mut rope = Rope::new(100, usize::MAX, true);
        assert!(rope.admits(5_000, Compression::None));
        rope.push(Bytes::from(vec![1; 5_000]));
        assert!(rope.is_full() && !rope.admits(1, Compression::None));
        let mut rope = Rope::new(100, usize::MAX, true);
        for _ in 0..2 {
            assert!(rope.admits(40, Compression::Zstd));
            rope.push(Bytes::from(vec![1; 40]));
        }
        assert!(!rope.is_full() && !rope.admits(40, Compression::None));
        // What came later must not go in before what did not fit.
        assert!(rope.is_full() && !rope.admits(10, Compression::None));
        assert_eq!(rope.finish().len(), 80);
    }

    /// Adds batches of 100 bytes that were rebuilt together; how many went in.
    fn add(rope: &mut Rope, batches: usize) -> usize {
        if !rope.begins(100 * batches) {
            return 0;
        }
        (0..batches)
            .take_while(|_| {
                let fits = rope.admits(100, Compression::None);
                if fits {
                    rope.push(Bytes::from(vec![1; 100]));
                }
                fits
            })
            .count()
    }

    #[test]
    fn what_was_rebuilt_together_goes_whole_where_there_is_room() {
        let first = |limit, room| Rope::new(limit, usize::MAX, true).within(room, limit);
        assert_eq!(add(&mut first(1_000, 2_000), 11), 11, "a little more than was asked for");
        assert_eq!(add(&mut first(1_000, 1_000), 11), 10, "there is no more room");
        assert_eq!(add(&mut first(1_000, 5_000), 30), 10, "far more than was asked for");
        assert_eq!(add(&mut first(50, 5_000), 30), 1, "the first goes whole");
        let later = |limit: usize, asked| Rope::new(limit, limit, true).within(limit, asked);
        assert_eq!(add(&mut later(700, 1_000), 11), 7, "most of what was asked for");
        assert_eq!(add(&mut later(400, 1_000), 11), 0, "the rest would be rebuilt once more");
        assert_eq!(add(&mut later(400, 400), 11), 4, "little was asked for");
        // Behind a control batch, and behind the rest of another chunk.
        let mut rope = first(100, 150);
        assert!(rope.push_control(&[1; 80]));
        assert_eq!(add(&mut rope, 3), 1);
        let mut rope = first(1_000, 3_000);
        assert_eq!((add(&mut rope, 2), add(&mut rope, 11), add(&mut rope, 11)), (2, 11, 0));
    }

    #[test]
    fn a_small_part_does_not_keep_the_whole() {
        let whole = Bytes::from(vec![1; 20_000]);
        for (part, copied) in [(0..20_000, false), (2_000..18_000, false), (0..6_000, true), (12_000..20_000, true)] {
            let mut rope = Rope::new(100_000, usize::MAX, true);
            rope.push_part(&whole, part.clone());
            let records = rope.finish();
            let piece = &records.chunks()[0];
            assert_eq!((piece.len(), piece.as_ptr() != whole[part.start..].as_ptr()), (part.len(), copied));
        }
    }

    #[test]
    fn a_codec_that_the_version_does_not_know_ends_the_answer() {
        let mut rope = Rope::new(1_000, usize::MAX, false);
        assert!(!rope.admits(40, Compression::Zstd));
        assert!(rope.refused_codec() && rope.is_full());
        let mut rope = Rope::new(1_000, usize::MAX, false);
        assert!(rope.admits(40, Compression::Lz4));
        rope.push(Bytes::from(vec![1; 40]));
        assert!(!rope.admits(40, Compression::Zstd) && !rope.admits(40, Compression::None));
        assert!(!rope.refused_codec() && rope.is_full());
    }
}
