//! How rows are laid out in a file: numbers of the format's layout that are not bounds of memory.

use strandline_types::limits;

/// A partition's run of at least this many rows has row groups of its own; shorter runs share one.
pub(crate) const OWN_ROW_GROUP_ROWS: usize = 10_000;
/// A partition's run of at least this weight (record bytes and something for each row and header) has row groups of its own, too.
pub(crate) const OWN_ROW_GROUP_WEIGHT: usize = 8 << 20;
/// A row group ends at this many rows: 128 pages, close to what DuckDB takes as one unit of work.
pub(crate) const ROW_GROUP_ROWS: usize = 128 * limits::PAGE_ROWS;
/// A row group ends at this weight, so that what is not yet in the file stays small.
pub(crate) const ROW_GROUP_WEIGHT: usize = 64 << 20;
/// Pages of all columns end at the same rows: at multiples of [`limits::PAGE_ROWS`] within their row group. Where rows are
/// so large that a page would pass this weight, the row group ends there.
pub(crate) const PAGE_WEIGHT: usize = 4 << 20;
/// Longest minimum and maximum kept in statistics.
pub(crate) const STATISTICS_BYTES: usize = 64;
/// Fetching this much of a file's end nearly always gets its whole footer.
pub const TAIL_GUESS_BYTES: u64 = 256 << 10;
