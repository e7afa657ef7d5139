//! Settings of the embedded log.

use strandline_types::limits;

/// How the embedded log uses its folder. The default is what a node runs with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// A file is closed, and the next begun, before it grows beyond this. At most 1 GiB.
    pub file_bytes: u64,
    /// Disk space taken ahead of writes, so that most appends change no metadata; 0 for none.
    pub preallocate_bytes: u64,
    /// Below this much free disk [`super::EmbeddedCommitLog::has_room`] says no.
    pub min_free_bytes: u64,
    /// Size of the file that is let go when the disk is full, for entries that free space; 0 for none.
    pub reserve_bytes: u64,
    /// The log's newest bytes that stay in the system's page cache; older pages are given back for the next writes.
    pub page_cache_bytes: u64,
    /// An entry's frame of at least this many bytes is written past the system's page cache, if the file system has such writes.
    pub direct_bytes: u64,
    /// A part of a payload of at least this many bytes that nobody is likely to read again is read past it, too.
    pub direct_read_bytes: u64,
    /// Space that is taken ahead for a frame of fewer bytes than these is zeroed.
    pub zeroed_below_bytes: u64,
    /// The newest rows that stay in memory.
    pub recent_row_bytes: usize,
    /// A payload larger than this is stepped over by `read` and at start, and not checked there.
    pub skipped_payload_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            file_bytes: limits::LOG_FILE_BYTES,
            preallocate_bytes: limits::LOG_PREALLOCATE_BYTES,
            min_free_bytes: limits::FREE_DISK_BYTES,
            reserve_bytes: limits::RESERVE_BYTES,
            page_cache_bytes: limits::LOG_PAGE_CACHE_BYTES,
            direct_bytes: limits::LOG_DIRECT_BYTES,
            direct_read_bytes: limits::LOG_DIRECT_READ_BYTES,
            zeroed_below_bytes: limits::LOG_ZEROED_BELOW_BYTES,
            recent_row_bytes: limits::LOG_RECENT_ROW_BYTES,
            skipped_payload_bytes: limits::LOG_SKIPPED_PAYLOAD_BYTES,
        }
    }
}

impl Options {
    /// Positions in a file are kept in 32 bits.
    pub(super) const LARGEST_FILE_BYTES: u64 = 1 << 30;
}
