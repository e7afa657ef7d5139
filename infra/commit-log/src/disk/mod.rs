//! The file layer under the embedded log, as a seam: a real folder, or one whose failures and power cuts are
//! ordered by a test.

mod simulated;
mod system;

pub use simulated::{Crash, SimulatedDisk};
pub use system::SystemDisk;

use bytes::Bytes;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

/// A file system, as much of it as the log needs. Calls block.
pub trait Disk: Send + Sync + 'static {
    /// Makes a folder and those above it, if they are not there.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// The names in a folder, in any order.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Makes an empty file, emptying the one that may be there, open to read and write.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens a file to read and write.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Renames a file over another.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Opens a folder, to sync it.
    fn open_dir(&self, dir: &Path) -> io::Result<Box<dyn DiskDir>>;
    /// Makes names in a folder durable: creations, renames and removals.
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.open_dir(dir)?.sync()
    }
    /// Bytes that this process may still write.
    fn free_bytes(&self, dir: &Path) -> io::Result<u64>;
}

/// One open folder.
pub trait DiskDir {
    /// Makes the names in it durable.
    fn sync(&self) -> io::Result<()>;
}

/// One open file. Positions are given with every call, so that readers and the writer share it.
pub trait DiskFile: Send + Sync {
    /// Its length.
    fn length(&self) -> io::Result<u64>;
    /// Reads some bytes; 0 at the end.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;
    /// Reads some bytes past the system's page cache; fewer only at the end. Position, length and the place in memory are multiples of
    /// [`DIRECT_ALIGNMENT`]. It sees what any other read sees. `Unsupported` where there is no such way.
    fn read_direct(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;
    /// Writes some bytes of the chunks, in order; returns how many.
    fn write_at(&self, chunks: &[IoSlice<'_>], position: u64) -> io::Result<usize>;
    /// Writes some bytes past the system's page cache; returns how many. Position, length and the place in memory are multiples of
    /// [`DIRECT_ALIGNMENT`]. It is durable only after a sync, as any other write, and other calls see it as any other. `Unsupported`
    /// where there is no such way.
    fn write_direct(&self, bytes: &[u8], position: u64) -> io::Result<usize>;
    /// Makes what was written durable.
    fn sync_data(&self) -> io::Result<()>;
    /// Cuts or extends (with zeros).
    fn set_length(&self, length: u64) -> io::Result<()>;
    /// Takes disk space for a range ahead of writes; the file extends over it and reads as zeros there.
    fn allocate(&self, from: u64, length: u64) -> io::Result<()>;
    /// Gives back the memory that holds these synced bytes; a hint.
    fn forget(&self, from: u64, length: u64);
}

/// What [`DiskFile::write_direct`] and [`DiskFile::read_direct`] ask of their arguments: as much as any disk's sector.
pub const DIRECT_ALIGNMENT: usize = 4_096;

/// Reads exactly `buffer`; `UnexpectedEof` if the file ends before.
pub(crate) fn read_exact_at(file: &dyn DiskFile, mut buffer: &mut [u8], mut position: u64) -> io::Result<()> {
    while !buffer.is_empty() {
        match file.read_at(buffer, position) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                buffer = &mut buffer[read..];
                position += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Where in this memory the part begins that may be handed to such calls.
pub(crate) fn aligned_start(memory: &[u8]) -> usize {
    // Always below the alignment: the memory's bytes are aligned to one.
    memory.as_ptr().align_offset(DIRECT_ALIGNMENT).min(DIRECT_ALIGNMENT)
}

/// Reads `length` bytes past the system's page cache, with those around them in the first and the last block; `UnexpectedEof` if the file ends
/// before.
pub(crate) fn read_exact_direct(file: &dyn DiskFile, length: usize, position: u64) -> io::Result<Bytes> {
    let before = (position % DIRECT_ALIGNMENT as u64) as usize;
    let blocks = (before + length).next_multiple_of(DIRECT_ALIGNMENT);
    let mut memory = vec![0; blocks + DIRECT_ALIGNMENT];
    let start = aligned_start(&memory);
    let (first, needed) = (position - before as u64, before + length);
    let mut read = 0;
    while read < needed {
        match file.read_direct(&mut memory[start + read..start + blocks], first + read as u64) {
            // A part of a block is all there is behind it.
            Ok(now) if read + now < needed && (now == 0 || !now.is_multiple_of(DIRECT_ALIGNMENT)) => {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            Ok(now) => read += now,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Bytes::from(memory).slice(start + before..start + needed))
}

/// The most chunks that one call of the system takes.
const CHUNKS_PER_WRITE: usize = 1_024;

/// Writes all of the chunks, in as few calls as the system allows: one, up to 1,024 chunks.
pub(crate) fn write_all_at(file: &dyn DiskFile, chunks: &mut [IoSlice<'_>], mut position: u64) -> io::Result<()> {
    let mut rest = chunks;
    // Empty chunks would look like a write of nothing.
    IoSlice::advance_slices(&mut rest, 0);
    while !rest.is_empty() {
        let now = rest.len().min(CHUNKS_PER_WRITE);
        match file.write_at(&rest[..now], position) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                position += written as u64;
                IoSlice::advance_slices(&mut rest, written);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether a failed write means that the disk, or the quota, is full.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
