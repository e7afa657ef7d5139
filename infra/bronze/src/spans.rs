//! Spans: how row groups are cut for requests to the store. A span is a run of whole pages, the same for whoever reads any of them,
//! so that what is fetched and cached for one reader serves the next, and nothing is fetched twice for lying in two ranges.

use crate::footer::SegmentFooter;
use crate::plan::{RECORD_LEAVES, ReadPlan, chunk_ranges, join_ranges};
use std::ops::Range;

impl SegmentFooter {
    /// The spans that hold the pages of a plan: ascending, without overlap. A span has at most `largest_bytes`, or one page, and
    /// joins what lies at most `gap_bytes` apart. A column of a row group that takes more has spans of its own: a reader that comes
    /// back for its next pages then finds the pages of all small columns together. Every plan has to be asked with the same numbers.
    pub fn spans(&self, plan: &ReadPlan, largest_bytes: u64, gap_bytes: u64) -> Vec<Range<u64>> {
        let mut row_groups: Vec<usize> = self.runs()[plan.runs.clone()].iter().map(|run| run.row_group as usize).collect();
        row_groups.dedup();
        let all = row_groups.into_iter().flat_map(|row_group| self.row_group_spans(row_group, largest_bytes, gap_bytes));
        let wanted = |span: &Range<u64>| {
            let first = plan.ranges().partition_point(|range| range.end <= span.start);
            plan.ranges().get(first).is_some_and(|range| range.start < span.end)
        };
        all.filter(wanted).collect()
    }

    fn row_group_spans(&self, row_group: usize, largest_bytes: u64, gap_bytes: u64) -> Vec<Range<u64>> {
        let mut columns: Vec<Vec<Range<u64>>> = RECORD_LEAVES
            .iter()
            .map(|leaf| chunk_ranges(self.metadata(), row_group, *leaf))
            .filter(|pages| !pages.is_empty())
            .collect();
        columns.sort_by_key(|pages| pages[0].start);
        let mut spans: Vec<Range<u64>> = Vec::new();
        // Whether the last span may still grow: not by another column's pages where a large column begins or ends.
        let mut open = false;
        for pages in columns {
            let large = join_ranges(pages.clone(), u64::MAX).iter().any(|whole| whole.end - whole.start > largest_bytes);
            open &= !large;
            for page in pages {
                match spans.last_mut() {
                    Some(last) if open && may_grow(last, &page, largest_bytes, gap_bytes) => last.end = last.end.max(page.end),
                    _ => spans.push(page),
                }
                open = true;
            }
            open &= !large;
        }
        spans
    }
}

/// Whether a page may be taken into the span before it. One that a damaged page index puts in front of the span may not.
fn may_grow(last: &Range<u64>, page: &Range<u64>, largest_bytes: u64, gap_bytes: u64) -> bool {
    page.start <= last.end.saturating_add(gap_bytes)
        && page.start >= last.start
        && page.end.checked_sub(last.start).is_some_and(|bytes| bytes <= largest_bytes)
}

#[cfg(test)]
mod tests {
    use super::may_grow;

    #[test]
    fn a_page_that_lies_before_the_span_is_not_taken_into_it() {
        assert!(may_grow(&(100..200), &(210..300), 200, 10));
        assert!(!may_grow(&(100..200), &(211..300), 200, 10), "beyond the gap");
        assert!(!may_grow(&(100..200), &(200..301), 200, 10), "too large");
        // As a page index tells it whose offsets are damaged: nothing checks that they ascend.
        assert!(!may_grow(&(100..200), &(20..50), 200, 10));
        assert!(!may_grow(&(100..200), &(50..150), 200, 10));
        assert!(!may_grow(&(100..200), &(0..u64::MAX), u64::MAX, 10));
    }
}
