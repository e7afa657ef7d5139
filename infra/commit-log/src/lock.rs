//! One process a folder.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Why a folder's lock was not taken. Trying again helps only once the other process has ended.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error(
        "{path} is held by {}: another strandline works on this folder; stop it, or choose another folder",
        pid.map_or("another process".to_owned(), |pid| format!("process {pid}"))
    )]
    Held {
        /// The lock file.
        path: PathBuf,
        /// The holder, where the file says so.
        pid: Option<u32>,
    },
    /// The lock file cannot be made, locked or written.
    #[error("{path} could not be locked: {source}; check that the folder exists and may be written")]
    Io {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Holding it proves that no other process works on the folder, and that every earlier one has ended. It is let
/// go when this is dropped, or when the process dies in whatever way. The file stays: removing it would let two
/// processes lock two files of one name.
#[derive(Debug)]
pub struct DirLock {
    _file: File,
}

impl DirLock {
    /// Takes the lock on the file at `path`, making it if needed, without waiting.
    pub fn acquire(path: &Path) -> Result<Self, LockError> {
        let io = |source: std::io::Error| LockError::Io { path: path.into(), source };
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(io)?;
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut text = String::new();
                // The holder's number is a help to the reader; without it the refusal stands all the same.
                let _ = file.take(20).read_to_string(&mut text);
                return Err(LockError::Held { path: path.into(), pid: text.trim().parse().ok() });
            }
            Err(error) => return Err(io(error.into())),
        }
        file.set_len(0).map_err(io)?;
        file.seek(SeekFrom::Start(0)).map_err(io)?;
        writeln!(file, "{}", std::process::id()).map_err(io)?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_lock_names_its_holder_and_is_free_again_after() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let lock = DirLock::acquire(&path).unwrap();
        let refusal = DirLock::acquire(&path).unwrap_err();
        assert!(matches!(refusal, LockError::Held { pid: Some(pid), .. } if pid == std::process::id()));
        assert!(refusal.to_string().contains(&format!("process {}", std::process::id())), "{refusal}");
        drop(lock);
        DirLock::acquire(&path).unwrap();
        let nowhere = DirLock::acquire(&dir.path().join("no/lock")).unwrap_err();
        assert!(matches!(nowhere, LockError::Io { .. }));
    }
}
