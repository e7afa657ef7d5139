//! Writes past the system's page cache.
//!
//! A large frame that goes through the page cache costs more there (memory for every page, and giving it back) than all the rest of its
//! append. Past it, a write begins and ends at whole blocks of the file. So the bytes that stand before a frame in its first block are
//! written once more, the same ones; and behind a frame zeros follow up to the end of its last block, as they do where space was taken
//! ahead: what a crash leaves is what it leaves otherwise.

use super::log_file::LogFile;
use crate::disk::{DIRECT_ALIGNMENT, DiskFile, aligned_start, read_exact_at};
use std::io::{self, IoSlice};
use std::sync::Arc;
use strandline_types::limits::LOG_DIRECT_BUFFER_BYTES;

const BLOCK: u64 = DIRECT_ALIGNMENT as u64;
const _: () = assert!(LOG_DIRECT_BUFFER_BYTES.is_multiple_of(DIRECT_ALIGNMENT));

/// What is written is put together here: aligned memory that is used again and again.
#[derive(Default)]
pub(super) struct DirectWriter {
    /// Longer than what is used of it, so that an aligned part can be found. Empty until the first write.
    memory: Vec<u8>,
    /// The bytes of the newest file in the block in which it ends, and where it ends. None: to be read.
    tail: Option<Tail>,
    /// The file system takes no such writes.
    unsupported: bool,
}

struct Tail {
    file: Arc<LogFile>,
    end: u64,
    bytes: Vec<u8>,
}

impl DirectWriter {
    /// Writes all of the chunks at `position`, the file's end. None: nothing was written, there is no such way here. After an error what
    /// stands behind `position` is unknown; what stands before it has not changed.
    pub(super) fn write(&mut self, file: &Arc<LogFile>, position: u64, chunks: &[IoSlice<'_>]) -> Option<io::Result<()>> {
        if self.unsupported {
            return None;
        }
        let written = self.with_buffer(|writer, buffer| writer.write_with(buffer, file, position, chunks));
        if self.unsupported { None } else { Some(written) }
    }

    /// No more is written to this file; it is not kept open.
    pub(super) fn file_ended(&mut self) {
        self.tail = None;
    }

    /// Writes zeros, whole blocks of them, at most from `from` to `to`. They say nothing that was not so before: the range was taken
    /// ahead and reads as zeros. But the file system has then written down where it lies, and a sync of what is written there later
    /// need not. Where that is not possible nothing is done.
    pub(super) fn write_zeros(&mut self, file: &LogFile, from: u64, to: u64) -> io::Result<()> {
        let (mut at, end) = (from.next_multiple_of(BLOCK), to - to % BLOCK);
        if self.unsupported || at >= end {
            return Ok(());
        }
        let written = self.with_buffer(|_, buffer| {
            buffer.fill(0);
            while at < end {
                let length = buffer.len().min((end - at) as usize);
                write_all(&*file.file, &buffer[..length], at)?;
                at += length as u64;
            }
            Ok(())
        });
        if self.unsupported { Ok(()) } else { written }
    }

    fn with_buffer(&mut self, work: impl FnOnce(&mut Self, &mut [u8]) -> io::Result<()>) -> io::Result<()> {
        let mut memory = std::mem::take(&mut self.memory);
        if memory.is_empty() {
            memory.resize(LOG_DIRECT_BUFFER_BYTES + DIRECT_ALIGNMENT, 0);
        }
        let start = aligned_start(&memory);
        let done = work(self, &mut memory[start..start + LOG_DIRECT_BUFFER_BYTES]);
        if done.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::Unsupported) {
            self.unsupported = true;
        } else {
            self.memory = memory;
        }
        done
    }

    fn write_with(&mut self, buffer: &mut [u8], file: &Arc<LogFile>, position: u64, chunks: &[IoSlice<'_>]) -> io::Result<()> {
        let mut at = position - position % BLOCK;
        let mut filled = self.take_tail(file, position, buffer)?;
        for chunk in chunks {
            let mut rest = &chunk[..];
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rest.len().min(buffer.len() - filled));
                buffer[filled..filled + now.len()].copy_from_slice(now);
                filled += now.len();
                rest = later;
                if filled == buffer.len() {
                    write_all(&*file.file, buffer, at)?;
                    at += filled as u64;
                    filled = 0;
                }
            }
        }
        let whole = filled.next_multiple_of(DIRECT_ALIGNMENT);
        buffer[filled..whole].fill(0);
        write_all(&*file.file, &buffer[..whole], at)?;
        file.is_at_least(at + whole as u64);
        let last_block = filled - filled % DIRECT_ALIGNMENT;
        let bytes = buffer[last_block..filled].to_vec();
        self.tail = Some(Tail { file: file.clone(), end: at + filled as u64, bytes });
        Ok(())
    }

    /// Puts what stands in the block before `position` at the start of the buffer; gives its length.
    fn take_tail(&mut self, file: &Arc<LogFile>, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let length = (position % BLOCK) as usize;
        let known = self.tail.take().filter(|tail| Arc::ptr_eq(&tail.file, file) && tail.end == position);
        match known {
            Some(tail) => buffer[..length].copy_from_slice(&tail.bytes),
            None => read_exact_at(&*file.file, &mut buffer[..length], position - length as u64)?,
        }
        Ok(length)
    }
}

fn write_all(file: &dyn DiskFile, mut bytes: &[u8], mut position: u64) -> io::Result<()> {
    let mut stuck = 0;
    while !bytes.is_empty() {
        match file.write_direct(bytes, position) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                // The next write has to begin at a block, too; the part of one that is there is written again.
                let whole = written.min(bytes.len()) / DIRECT_ALIGNMENT * DIRECT_ALIGNMENT;
                stuck = if whole == 0 { stuck + 1 } else { 0 };
                if stuck == 3 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                bytes = &bytes[whole..];
                position += whole as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
