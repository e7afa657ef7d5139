//! The payloads of the entries that this node appended last: readers of the tail need no read of the log.

use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{PoisonError, RwLock};
use strandline_commit_log::Payload;
use strandline_types::{Seq, limits};

/// Bounded in bytes; the oldest go first.
#[derive(Default)]
pub(crate) struct Recent(RwLock<Kept>);

#[derive(Default)]
struct Kept {
    entries: BTreeMap<Seq, (Vec<Bytes>, u64)>,
    bytes: u64,
}

impl Recent {
    /// Keeps the chunks as they are: what memory they hold beside themselves is the submitter's to bound
    /// ([`crate::Submission::payload`]).
    pub(crate) fn keep(&self, seq: Seq, payload: &Payload) {
        if payload.length == 0 {
            return;
        }
        let mut kept = self.0.write().unwrap_or_else(PoisonError::into_inner);
        kept.bytes += payload.length;
        kept.entries.insert(seq, (payload.chunks.clone(), payload.length));
        while kept.bytes > limits::RECENT_PAYLOAD_BYTES {
            let Some((_, (_, length))) = kept.entries.pop_first() else { break };
            kept.bytes = kept.bytes.saturating_sub(length);
        }
        metrics::gauge!("strandline_recent_payload_bytes").set(kept.bytes as f64);
    }

    pub(crate) fn get(&self, seq: Seq, range: Range<u64>) -> Option<Vec<Bytes>> {
        let kept = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let (chunks, length) = kept.entries.get(&seq)?;
        if range.end > *length || range.start > range.end {
            return None;
        }
        let mut found = Vec::new();
        let mut at = 0_u64;
        for chunk in chunks {
            let end = at + chunk.len() as u64;
            if end > range.start && at < range.end {
                let from = range.start.saturating_sub(at) as usize;
                let to = (range.end.min(end) - at) as usize;
                found.push(chunk.slice(from..to));
            }
            at = end;
            if at >= range.end {
                break;
            }
        }
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cross_chunks() {
        let recent = Recent::default();
        let payload = Payload::new(vec![Bytes::from_static(b"abc"), Bytes::from_static(b"defg"), Bytes::from_static(b"hi")]);
        recent.keep(Seq(5), &payload);
        let read = |range| recent.get(Seq(5), range).map(|chunks| chunks.concat());
        assert_eq!(read(0..9).as_deref(), Some(&b"abcdefghi"[..]));
        assert_eq!(read(2..8).as_deref(), Some(&b"cdefgh"[..]));
        assert_eq!(read(3..7).as_deref(), Some(&b"defg"[..]));
        assert_eq!(read(0..10), None);
        assert_eq!(recent.get(Seq(6), 0..1), None);
    }

    #[test]
    fn the_oldest_go_first() {
        let recent = Recent::default();
        let chunk = Bytes::from(vec![0; (limits::RECENT_PAYLOAD_BYTES / 2) as usize]);
        for seq in 1..=3 {
            recent.keep(Seq(seq), &Payload::new(vec![chunk.clone()]));
        }
        assert!(recent.get(Seq(1), 0..1).is_none());
        assert!(recent.get(Seq(2), 0..1).is_some());
        assert!(recent.get(Seq(3), 0..1).is_some());
    }
}
