//! Why an embedded log was not opened.

use std::io;
use std::path::{Path, PathBuf};

/// Why an embedded log was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The system refused. Trying again may help once its cause is gone.
    #[error("the commit log could not be opened: {doing} {path}: {source}", path = path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// What is there is not what was written, and no crash explains it. Trying again does not help.
    #[error(
        "the commit log is damaged: {path} byte {position}: {reason}. Nothing was changed. If a backup has this very \
         file, closed by then, put that back; else move commit-log/ aside and run `strandline index rebuild --data DIR`",
        path = path.display()
    )]
    Damaged {
        /// The file, or the folder if a file is missing.
        path: PathBuf,
        /// Where in it.
        position: u64,
        /// What is wrong.
        reason: String,
    },
    /// A newer strandline wrote this log.
    #[error("{path} has format version {version}; this strandline knows up to {known}: use a newer one", path = path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
        /// The newest version known here.
        known: u32,
    },
    /// A setting is out of bounds.
    #[error("the commit log's setting {setting} cannot be {value}: {reason}")]
    Option {
        /// Its name.
        setting: &'static str,
        /// What was asked.
        value: u64,
        /// Why not.
        reason: &'static str,
    },
}

impl OpenError {
    pub(super) fn damaged(path: &Path, position: u64, reason: &str) -> Self {
        Self::Damaged { path: path.into(), position, reason: reason.to_owned() }
    }

    /// Whether trying again later can help.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Io { .. })
    }
}

/// Says where and at what an error of the system happened.
pub(super) trait At<T> {
    fn at(self, path: &Path, doing: &'static str) -> Result<T, OpenError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, path: &Path, doing: &'static str) -> Result<T, OpenError> {
        self.map_err(|source| OpenError::Io { path: path.into(), doing, source })
    }
}
