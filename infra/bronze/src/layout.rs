//! How rows are laid out in a file: numbers of the format's layout. Those that bound memory are in [`limits`].

use strandline_types::limits;

/// A partition's run of at least this many rows (or of [`limits::STAGED_ROWS_BYTES`]) has row groups of its own; shorter runs share one.
pub(crate) const OWN_ROW_GROUP_ROWS: usize = 10_000;
/// A row group ends at this many rows: 128 pages, close to what DuckDB takes as one unit of work.
pub(crate) const ROW_GROUP_ROWS: usize = 128 * limits::PAGE_ROWS;
/// Row groups are copied from file to file as they are if they have at least so many rows each, on average: compressing the rows again
/// is most of what a merge or seal costs, and larger row groups would save a twentieth of the bytes at most,
pub(crate) const COPIED_ROW_GROUP_ROWS: usize = OWN_ROW_GROUP_ROWS;
/// or so many bytes.
pub(crate) const COPIED_ROW_GROUP_BYTES: usize = 8 << 20;
/// Longest minimum and maximum kept in statistics.
pub(crate) const STATISTICS_BYTES: usize = 64;
/// Fetching this much of a file's end nearly always gets its whole footer.
pub const TAIL_GUESS_BYTES: u64 = 256 << 10;
