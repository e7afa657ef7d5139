//! The payloads of the entries that this node appended last: readers of the tail need no read of the log.

use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;
use strandline_commit_log::{Payload, parts};
use strandline_types::{Seq, limits};

/// Bounded in bytes; the oldest go first, and all of them once nothing was appended for a while, so that an idle node is small.
#[derive(Default)]
pub(crate) struct Recent(RwLock<Kept>);

#[derive(Default)]
struct Kept {
    entries: BTreeMap<Seq, (Vec<Bytes>, u64)>,
    bytes: u64,
    last_kept: Duration,
}

impl Recent {
    /// Keeps the chunks as they are: what memory they hold beside themselves is the submitter's to bound
    /// ([`crate::Submission::payload`]). `now` is the monotonic clock's.
    pub(crate) fn keep(&self, seq: Seq, payload: &Payload, now: Duration) {
        if payload.length == 0 {
            return;
        }
        let mut kept = self.0.write().unwrap_or_else(PoisonError::into_inner);
        kept.last_kept = now;
        kept.bytes += payload.length;
        kept.entries.insert(seq, (payload.chunks.clone(), payload.length));
        while kept.bytes > limits::RECENT_PAYLOAD_BYTES {
            let Some((_, (_, length))) = kept.entries.pop_first() else { break };
            kept.bytes = kept.bytes.saturating_sub(length);
        }
        metrics::gauge!("strandline_recent_payload_bytes").set(kept.bytes as f64);
    }

    /// How long until nothing is to be kept any more if nothing comes; none if nothing is kept.
    pub(crate) fn until_idle(&self, now: Duration) -> Option<Duration> {
        let kept = self.0.read().unwrap_or_else(PoisonError::into_inner);
        (!kept.entries.is_empty()).then(|| (kept.last_kept + limits::RECENT_PAYLOAD_IDLE).saturating_sub(now))
    }

    /// Lets everything go if nothing came for [`limits::RECENT_PAYLOAD_IDLE`].
    pub(crate) fn let_go_if_idle(&self, now: Duration) {
        if self.until_idle(now) != Some(Duration::ZERO) {
            return;
        }
        let mut kept = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let entries = std::mem::take(&mut kept.entries);
        kept.bytes = 0;
        drop(kept);
        drop(entries);
        metrics::gauge!("strandline_recent_payload_bytes").set(0.0);
    }

    pub(crate) fn get(&self, seq: Seq, range: Range<u64>) -> Option<Vec<Bytes>> {
        let kept = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let (chunks, length) = kept.entries.get(&seq)?;
        if range.end > *length || range.start > range.end {
            return None;
        }
        Some(parts(chunks, 0, range).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cross_chunks() {
        let recent = Recent::default();
        let payload = Payload::new(vec![Bytes::from_static(b"abc"), Bytes::from_static(b"defg"), Bytes::from_static(b"hi")]);
        recent.keep(Seq(5), &payload, Duration::ZERO);
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
            recent.keep(Seq(seq), &Payload::new(vec![chunk.clone()]), Duration::ZERO);
        }
        assert!(recent.get(Seq(1), 0..1).is_none());
        assert!(recent.get(Seq(2), 0..1).is_some());
        assert!(recent.get(Seq(3), 0..1).is_some());
    }

    #[test]
    fn all_go_once_nothing_comes_any_more() {
        let recent = Recent::default();
        let (first, idle) = (Duration::from_secs(10), limits::RECENT_PAYLOAD_IDLE);
        assert_eq!(recent.until_idle(first), None);
        let payload = Payload::new(vec![Bytes::from_static(b"abc")]);
        recent.keep(Seq(1), &payload, first);
        recent.keep(Seq(2), &payload, first + idle / 2);
        recent.let_go_if_idle(first + idle);
        assert!(recent.get(Seq(1), 0..3).is_some());
        assert_eq!(recent.until_idle(first + idle), Some(idle / 2));
        recent.let_go_if_idle(first + idle + idle / 2);
        assert!(recent.get(Seq(1), 0..3).is_none() && recent.get(Seq(2), 0..3).is_none());
        assert_eq!(recent.until_idle(first + idle * 2), None);
        recent.keep(Seq(3), &payload, first + idle * 2);
        assert!(recent.get(Seq(3), 0..3).is_some());
    }
}
