//! The newest rows, in memory: who follows the log closely (the copies of it in the bucket do) reads no file for them.

use crate::Row;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use strandline_types::Seq;

/// A row takes so much beside its bytes.
const ROW_BYTES: usize = size_of::<Row>();

/// Bounded in bytes; the oldest go first.
pub(super) struct RecentRows {
    kept: Mutex<Kept>,
    most_bytes: usize,
}

#[derive(Default)]
struct Kept {
    rows: VecDeque<Row>,
    bytes: usize,
}

impl RecentRows {
    pub(super) fn new(most_bytes: usize) -> Self {
        Self { kept: Mutex::default(), most_bytes }
    }

    /// Keeps a row that is durable, the one after those before.
    pub(super) fn keep(&self, row: Row) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.bytes += row.bytes.len() + ROW_BYTES;
        kept.rows.push_back(row);
        while kept.bytes > self.most_bytes
            && let Some(oldest) = kept.rows.pop_front()
        {
            kept.bytes -= oldest.bytes.len() + ROW_BYTES;
        }
        metrics::gauge!("strandline_log_recent_row_bytes").set(kept.bytes as f64);
    }

    /// Keeps none of them any more.
    pub(super) fn let_go(&self) {
        let kept = std::mem::take(&mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner));
        drop(kept);
        metrics::gauge!("strandline_log_recent_row_bytes").set(0.0);
    }

    /// The rows from `from` on as far as `max_bytes` allows (the first is free). None if `from` is not among those kept.
    pub(super) fn read(&self, from: Seq, max_bytes: usize) -> Option<Vec<Row>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let first = kept.rows.front()?.seq;
        let at = usize::try_from(from.0.checked_sub(first.0)?).ok().filter(|at| *at < kept.rows.len())?;
        let mut used = 0_usize;
        let room = |row: &&Row| {
            let is_first = used == 0;
            used = used.saturating_add(row.bytes.len()).max(1);
            is_first || used <= max_bytes
        };
        Some(kept.rows.range(at..).take_while(room).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use strandline_types::ChainHash;

    const MOST_BYTES: usize = 1_000;

    fn row(seq: u64, bytes: usize) -> Row {
        Row { seq: Seq(seq), hash_before: ChainHash::default(), bytes: vec![0; bytes].into(), payload_length: 0 }
    }

    #[test]
    fn the_newest_rows_are_there_and_bounded() {
        let recent = RecentRows::new(MOST_BYTES);
        let seqs =
            |from, max_bytes| recent.read(Seq(from), max_bytes).map(|rows| rows.iter().map(|row| row.seq.0).collect::<Vec<_>>());
        assert_eq!(seqs(7, 100), None);
        (7..=9).for_each(|seq| recent.keep(row(seq, 10)));
        assert_eq!(seqs(6, 100), None);
        assert_eq!(seqs(7, 100), Some(vec![7, 8, 9]));
        assert_eq!(seqs(8, 100), Some(vec![8, 9]));
        assert_eq!(seqs(7, 20), Some(vec![7, 8]));
        assert_eq!(seqs(8, 0), Some(vec![8]), "the first is free");
        assert_eq!(seqs(10, 100), None);
        recent.keep(row(10, MOST_BYTES - 2 * ROW_BYTES - 10));
        assert_eq!(seqs(8, 100), None);
        assert_eq!(seqs(9, 0), Some(vec![9]));
        recent.keep(row(11, MOST_BYTES));
        assert_eq!((seqs(10, 0), seqs(11, 0)), (None, None), "one that is larger than all room is not kept");
        recent.keep(Row { bytes: Bytes::new(), ..row(12, 0) });
        assert_eq!(seqs(12, 0), Some(vec![12]));
        recent.let_go();
        assert_eq!(seqs(12, 0), None);
        recent.keep(row(13, 10));
        assert_eq!((seqs(12, 0), seqs(13, 0)), (None, Some(vec![13])));
    }
}
