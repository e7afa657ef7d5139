//! A file under the temporary folder that is to become an object.

use super::error::FolderError;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, IoSlice, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use strandline_types::limits;

/// Names of our files in the temporary folder begin with this; leftovers are removed at the next start.
pub(crate) const PREFIX: &str = "put-";

static NEXT: AtomicU64 = AtomicU64::new(0);

/// Removed when dropped, unless it has been moved into place.
#[derive(Debug)]
pub(crate) struct Staged {
    file: File,
    path: PathBuf,
    written: u64,
    unsynced: u64,
    kept: bool,
}

impl Staged {
    pub(crate) fn create(tmp: &Path) -> Result<Self, FolderError> {
        loop {
            let n = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = tmp.join(format!("{PREFIX}{}-{n}", std::process::id()));
            match OpenOptions::new().read(true).write(true).create_new(true).open(&path) {
                Ok(file) => return Ok(Self { file, path, written: 0, unsynced: 0, kept: false }),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(FolderError::io("create the file", &path)(error)),
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Appends all chunks, syncing on the way so that the last sync is short.
    pub(crate) fn append(&mut self, chunks: &[bytes::Bytes]) -> Result<(), FolderError> {
        for group in chunks.chunks(256) {
            let mut slices: Vec<IoSlice<'_>> = group.iter().map(|chunk| IoSlice::new(chunk)).collect();
            let mut left = slices.as_mut_slice();
            IoSlice::advance_slices(&mut left, 0);
            while !left.is_empty() {
                match self.file.write_vectored(left) {
                    Ok(0) => return Err(self.failed(ErrorKind::WriteZero.into())),
                    Ok(count) => {
                        IoSlice::advance_slices(&mut left, count);
                        self.wrote(count as u64)?;
                    }
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(self.failed(error)),
                }
            }
        }
        Ok(())
    }

    /// Writes chunks at `offset`, for parts that arrive in any order.
    pub(crate) fn write_at(&mut self, mut offset: u64, chunks: &[bytes::Bytes]) -> Result<(), FolderError> {
        for chunk in chunks {
            self.file.write_all_at(chunk, offset).map_err(FolderError::io("write", &self.path))?;
            offset += chunk.len() as u64;
            self.wrote(chunk.len() as u64)?;
        }
        Ok(())
    }

    /// Waits until the bytes are on disk.
    pub(crate) fn sync(&mut self) -> Result<(), FolderError> {
        self.file.sync_data().map_err(FolderError::io("sync", &self.path))?;
        self.unsynced = 0;
        Ok(())
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// The file has another name now and is not removed.
    pub(crate) fn keep(&mut self) {
        self.kept = true;
    }

    fn wrote(&mut self, count: u64) -> Result<(), FolderError> {
        self.written += count;
        self.unsynced += count;
        if self.unsynced >= limits::STORE_UNSYNCED_BYTES {
            self.sync()?;
        }
        Ok(())
    }

    fn failed(&self, error: std::io::Error) -> FolderError {
        FolderError::io("write", &self.path)(error)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.kept {
            let _ = fs::remove_file(&self.path);
        }
    }
}
