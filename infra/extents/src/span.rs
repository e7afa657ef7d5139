//! Which extents are read together: neighbours in one payload or object, so that a request is made per run of
//! partitions and not per partition.

use std::ops::Range;
use strandline_index::{Extent, ExtentPlace};
use strandline_types::{ObjectName, Seq, limits};

/// Where bytes lie: an entry's payload or a WAL segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Home {
    Entry(Seq),
    Object(ObjectName),
}

impl Home {
    /// For errors and paths.
    pub(crate) fn place(self) -> String {
        match self {
            Home::Entry(seq) => format!("the payload of entry {seq}"),
            Home::Object(name) => format!("wal/{name}"),
        }
    }
}

/// A range that is read in one request, and the extents in it by their position in the caller's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) home: Home,
    pub(crate) range: Range<u64>,
    pub(crate) extents: Vec<(usize, Range<u64>)>,
}

impl Span {
    /// Bytes of its extents.
    pub(crate) fn used(&self) -> u64 {
        self.extents.iter().map(|(_, range)| range.end - range.start).sum()
    }
}

/// Where an extent's bytes lie; none for markers and holes.
pub(crate) fn home_of(extent: &Extent) -> Option<(Home, Range<u64>)> {
    let (home, position) = match extent.place {
        ExtentPlace::Inline { seq, position } => (Home::Entry(seq), position),
        ExtentPlace::Object { name, position } => (Home::Object(name), position),
        ExtentPlace::Marker { .. } | ExtentPlace::Hole => return None,
    };
    (extent.length > 0).then(|| (home, position..position.saturating_add(extent.length)))
}

/// Groups the wanted extents into spans. Two neighbours share one if what lies between them is less than
/// [`limits::EXTENT_GAP_BYTES`] and the span stays within [`limits::BLOCK_BYTES`] (one extent may be larger).
pub(crate) fn spans(extents: &[Extent], wanted: impl Fn(usize) -> bool) -> Vec<Span> {
    let asked = extents.iter().enumerate().filter(|(at, _)| wanted(*at));
    let mut placed: Vec<(Home, Range<u64>, usize)> =
        asked.filter_map(|(at, extent)| home_of(extent).map(|(home, range)| (home, range, at))).collect();
    placed.sort_by_key(|(home, range, at)| (*home, range.start, *at));
    let mut spans: Vec<Span> = Vec::new();
    for (home, range, at) in placed {
        if let Some(last) = spans.last_mut()
            && last.home == home
            && range.start <= last.range.end.saturating_add(limits::EXTENT_GAP_BYTES)
            && range.end.max(last.range.end) - last.range.start <= limits::BLOCK_BYTES as u64
        {
            last.range.end = last.range.end.max(range.end);
            last.extents.push((at, range));
            continue;
        }
        spans.push(Span { home, range: range.clone(), extents: vec![(at, range)] });
    }
    spans
}

/// Which spans one piece of work reads: up to [`limits::LOG_READS_TOGETHER`] neighbours that are local, any other alone. A few are spread
/// over the [`limits::BLOCKS_IN_FLIGHT`] pieces that go on at once: a disk that has to be waited for is waited for together.
pub(crate) fn groups(spans: Vec<Span>, is_local: impl Fn(Home) -> bool) -> Vec<Vec<Span>> {
    let most = spans.len().div_ceil(limits::BLOCKS_IN_FLIGHT).clamp(1, limits::LOG_READS_TOGETHER);
    let mut groups: Vec<Vec<Span>> = Vec::new();
    // Bytes of the last group, if it may grow.
    let mut open_bytes = None;
    for span in spans {
        let bytes = span.range.end - span.range.start;
        let may_join = is_local(span.home);
        let joined =
            open_bytes.map(|open: u64| open.saturating_add(bytes)).filter(|sum| *sum <= limits::LOG_READS_TOGETHER_BYTES);
        match (groups.last_mut(), joined) {
            (Some(group), Some(sum)) if may_join && group.len() < most => {
                group.push(span);
                open_bytes = Some(sum);
            }
            _ => {
                groups.push(vec![span]);
                open_bytes = may_join.then_some(bytes);
            }
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn extent(place: ExtentPlace, length: u64) -> Extent {
        Extent {
            start: 0,
            end: 1,
            place,
            length,
            ingest_ms: 0,
            log_append_time: false,
            max_timestamp_ms: -1,
            max_timestamp_offset: 0,
        }
    }

    fn inline(seq: u64, position: u64, length: u64) -> Extent {
        extent(ExtentPlace::Inline { seq: Seq(seq), position }, length)
    }

    #[test]
    fn local_spans_are_read_together_up_to_a_number_and_a_size() {
        let sizes = |spans: Vec<Span>| groups(spans, |home| home != Home::Entry(Seq(2))).iter().map(Vec::len).collect::<Vec<_>>();
        let span = |seq, bytes| Span { home: Home::Entry(Seq(seq)), range: 5..5 + bytes, extents: Vec::new() };
        let (most, most_bytes) = (limits::LOG_READS_TOGETHER, limits::LOG_READS_TOGETHER_BYTES);
        assert_eq!(sizes(Vec::new()), [0; 0]);
        let five = [vec![most; 5], vec![1]].concat();
        assert_eq!(sizes(vec![span(1, 9); 5 * most + 1]), five);
        assert_eq!(sizes(vec![span(1, 9); 6]), [2, 2, 2], "a few are spread");
        assert_eq!(sizes(vec![span(1, 9); 2]), [1, 1]);
        let many = |sizes: &[u64]| sizes.iter().map(|bytes| span(1, *bytes)).collect::<Vec<_>>();
        let halves = many(&[most_bytes / 2, most_bytes - most_bytes / 2, 1, 1, 1, 1, 1, 1, 1]);
        assert_eq!(sizes(halves), [2, 3, 3, 1], "no more bytes than that");
        assert_eq!(sizes(many(&[most_bytes + 1, 1, 1, 1, 1])), [1, 2, 2], "a large one goes alone");
        let mixed = [1, 2, 2, 3, 3, 3].map(|seq| span(seq, 1));
        assert_eq!(sizes(mixed.to_vec()), [1, 1, 1, 2, 1], "others go one by one");
    }

    #[test]
    fn neighbours_of_one_entry_share_a_span_and_others_do_not() {
        let far = limits::EXTENT_GAP_BYTES + 200;
        let extents = [
            inline(2, 100, 50),
            inline(1, 0, 100),
            extent(ExtentPlace::Hole, 0),
            inline(1, 110, 10),
            inline(1, far, 10),
            inline(3, 0, limits::BLOCK_BYTES as u64 + 1),
            inline(3, limits::BLOCK_BYTES as u64 + 1, 1),
        ];
        let found: Vec<_> =
            spans(&extents, |_| true).into_iter().map(|span| (span.home, span.range, span.extents.len())).collect();
        let block = limits::BLOCK_BYTES as u64;
        assert!(spans(&extents, |at| at == 2).is_empty());
        assert_eq!(
            found,
            [
                (Home::Entry(Seq(1)), 0..120, 2),
                (Home::Entry(Seq(1)), far..far + 10, 1),
                (Home::Entry(Seq(2)), 100..150, 1),
                (Home::Entry(Seq(3)), 0..block + 1, 1),
                (Home::Entry(Seq(3)), block + 1..block + 2, 1),
            ]
        );
    }
}
