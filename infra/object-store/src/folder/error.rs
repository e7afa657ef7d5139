//! What can go wrong in a folder, in words for the operator.

use crate::cause::Cause;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

pub(crate) const STORE: &str = "folder";

/// An operation on a [`FolderStore`](crate::FolderStore) failed; the source of the `object_store::Error`.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The system refused a call.
    #[error("cannot {doing} `{}`: {source}{}", path.display(), advice(source))]
    Io {
        /// What was tried, as a verb.
        doing: &'static str,
        /// Where.
        path: PathBuf,
        /// The system's own words.
        source: io::Error,
    },
    /// A directory could not be synced: a power cut may undo what was done in it, though everybody sees that now. No other try and no
    /// look at what is there makes it durable.
    #[error(
        "cannot sync the directory `{}`, so that a power cut may undo what was done there: {source}{}",
        path.display(),
        advice(source)
    )]
    NotSynced {
        /// Which.
        path: PathBuf,
        /// The system's own words.
        source: io::Error,
    },
    /// A directory could not be synced before: what it holds may be lost in a power cut though the system
    /// would now say that all is well. Only opening the folder again clears this.
    #[error(
        "the folder `{}` could not be synced to disk earlier; nothing more is written to it: look at the disk's and the kernel's messages, then restart",
        root.display()
    )]
    Damaged {
        /// The store's root.
        root: PathBuf,
    },
    /// The name is taken by a directory, or something on its way is a file.
    #[error("`{}` cannot be an object: a directory has that name, or a part of the path is a file", path.display())]
    NotAFile {
        /// Where.
        path: PathBuf,
    },
    /// A range that starts behind the end of the object, or is empty.
    #[error("bytes {}..{} were asked of `{}`, which has {size}", range.start, range.end, path.display())]
    Range {
        /// Where.
        path: PathBuf,
        /// What was asked for.
        range: Range<u64>,
        /// What is there.
        size: u64,
    },
    /// The file shrank while it was read: something other than Strandline writes here.
    #[error("`{}` became shorter while it was read: something else writes in this folder", path.display())]
    Shrunk {
        /// Where.
        path: PathBuf,
    },
    /// An upload ended although not all of its parts had been written.
    #[error("the upload to `{}` was completed before all of its parts were written", path.display())]
    PartsMissing {
        /// The object it was to become.
        path: PathBuf,
    },
    /// The work was cut off by the end of the process.
    #[error(transparent)]
    Interrupted(#[from] strandline_runtime::BlockingError),
}

fn advice(error: &io::Error) -> &'static str {
    match Cause::of_io(error.kind()) {
        Some(Cause::Full) => ": the disk is full; free space on it, or lower the retention of topics",
        Some(Cause::Denied) => ": let the user that runs Strandline read and write there",
        Some(Cause::InvalidPath) => ": the name is too long for this file system",
        _ => "",
    }
}

impl FolderError {
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, path: path.to_owned(), source }
    }

    /// What it means for the caller, where that is not 'try again'.
    pub(crate) fn cause(&self) -> Option<Cause> {
        match self {
            FolderError::Io { source, .. } => Cause::of_io(source.kind()),
            // A full disk has lost nothing, and there may be room later.
            FolderError::NotSynced { source, .. } if Cause::of_io(source.kind()) == Some(Cause::Full) => Some(Cause::Full),
            FolderError::NotSynced { .. } => Some(Cause::Permanent),
            FolderError::Damaged { .. } | FolderError::NotAFile { .. } | FolderError::Range { .. } => Some(Cause::Permanent),
            FolderError::PartsMissing { .. } => Some(Cause::Permanent),
            FolderError::Shrunk { .. } | FolderError::Interrupted(_) => None,
        }
    }

    /// As the trait says it, for the object `location`.
    pub(crate) fn into_store_error(self, location: &object_store::path::Path) -> object_store::Error {
        let path = location.to_string();
        match self.cause() {
            Some(Cause::NotFound) => object_store::Error::NotFound { path, source: Box::new(self) },
            Some(Cause::Denied) => object_store::Error::PermissionDenied { path, source: Box::new(self) },
            _ => object_store::Error::Generic { store: STORE, source: Box::new(self) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    /// What the system says, what the caller is to make of it, and a word of the advice.
    #[test]
    fn errors_of_the_system_are_told_apart() {
        for (errno, cause, word) in [
            (Errno::NOSPC, Cause::Full, "disk is full"),
            (Errno::DQUOT, Cause::Full, "disk is full"),
            (Errno::ACCESS, Cause::Denied, "let the user"),
            (Errno::PERM, Cause::Denied, "let the user"),
            (Errno::ROFS, Cause::Denied, "let the user"),
            (Errno::NAMETOOLONG, Cause::InvalidPath, "too long"),
            (Errno::NOENT, Cause::NotFound, "cannot write"),
            (Errno::IO, Cause::Transient, "cannot write"),
        ] {
            let error = FolderError::io("write", Path::new("/data/store/wal/1"))(errno.into());
            assert!(error.to_string().contains(word), "{error}");
            let error = error.into_store_error(&object_store::path::Path::from("wal/1"));
            assert_eq!(Cause::of(&error), cause, "{error}");
        }
        for (errno, cause) in [(Errno::IO, Cause::Permanent), (Errno::NOSPC, Cause::Full)] {
            let error = FolderError::NotSynced { path: "/data/store/wal".into(), source: errno.into() };
            assert_eq!(Cause::of(&error.into_store_error(&object_store::path::Path::from("wal/1"))), cause, "{errno:?}");
        }
        let damaged = FolderError::Damaged { root: "/data/store".into() };
        let error = damaged.into_store_error(&object_store::path::Path::from("wal/1"));
        assert!(!Cause::of(&error).is_retriable());
    }
}
