//! Directories whose existence would survive a power cut.
//!
//! A file is durable only if its own directory entry and those of all directories above it are on disk. Two
//! writers may meet in a directory that one of them has just made and not yet synced, and a directory that
//! has become empty may be removed while another writer is on its way into it. So one lock orders making,
//! syncing and removing, and a set remembers what is known to be on disk; a writer looks at the set before
//! *and after* its rename, since a directory that was removed in between may have been made anew.

use super::error::FolderError;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use strandline_types::limits;

/// The directories below one root.
#[derive(Debug)]
pub(crate) struct DurableDirectories {
    root: PathBuf,
    known: RwLock<BTreeSet<PathBuf>>,
    change: Mutex<()>,
    damaged: AtomicBool,
    /// The next sync fails so.
    #[cfg(test)]
    failing: Mutex<Option<rustix::io::Errno>>,
}

impl DurableDirectories {
    /// `root` must exist and be durable.
    pub(crate) fn new(root: PathBuf) -> Self {
        Self {
            root,
            known: RwLock::default(),
            change: Mutex::default(),
            damaged: AtomicBool::new(false),
            #[cfg(test)]
            failing: Mutex::default(),
        }
    }

    /// Refuses once a sync has failed: a second sync would answer 'well' though the first one's data is lost.
    pub(crate) fn check(&self) -> Result<(), FolderError> {
        if self.damaged.load(Ordering::Acquire) {
            return Err(FolderError::Damaged { root: self.root.clone() });
        }
        Ok(())
    }

    pub(crate) fn is_known(&self, directory: &Path) -> bool {
        directory == self.root || self.known.read().unwrap_or_else(PoisonError::into_inner).contains(directory)
    }

    /// Makes `directory` and all above it, below the root, and returns once they are on disk.
    pub(crate) fn ensure(&self, directory: &Path) -> Result<(), FolderError> {
        if self.is_known(directory) {
            return Ok(());
        }
        let _change = self.lock();
        match self.ensure_locked(directory) {
            // Something else removed what we believed to be there: believe nothing and begin again.
            Err(FolderError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                self.known.write().unwrap_or_else(PoisonError::into_inner).clear();
                self.ensure_locked(directory)
            }
            other => other,
        }
    }

    fn ensure_locked(&self, directory: &Path) -> Result<(), FolderError> {
        let below: Vec<&Path> = directory.ancestors().take_while(|path| *path != self.root).collect();
        for path in below.into_iter().rev() {
            if self.is_known(path) {
                continue;
            }
            match fs::create_dir(path) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => {}
                Err(error) if matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::NotADirectory) => {
                    return Err(FolderError::NotAFile { path: path.to_owned() });
                }
                Err(error) => return Err(FolderError::io("create the directory", path)(error)),
            }
            if let Some(parent) = path.parent() {
                self.sync(parent)?;
            }
            let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
            if known.len() >= limits::STORE_KNOWN_DIRECTORIES {
                known.clear();
            }
            known.insert(path.to_owned());
        }
        Ok(())
    }

    /// Makes `ensure` look at the disk again: the directory was found missing.
    pub(crate) fn forget(&self, directory: &Path) {
        let _change = self.lock();
        self.known.write().unwrap_or_else(PoisonError::into_inner).remove(directory);
    }

    /// Syncs the entries of `directory`.
    pub(crate) fn sync(&self, directory: &Path) -> Result<(), FolderError> {
        self.check()?;
        let opened = File::open(directory).map_err(FolderError::io("open the directory", directory))?;
        let synced = opened.sync_all();
        #[cfg(test)]
        let synced = self.failing().map_or(synced, |errno| Err(errno.into()));
        synced.map_err(|source| {
            // A full disk says nothing about the disk's health; anything else may have lost data for good.
            if !matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::Interrupted) {
                self.damaged.store(true, Ordering::Release);
            }
            FolderError::NotSynced { path: directory.to_owned(), source }
        })
    }

    /// The same; of one that is gone, those of the nearest above it that is there.
    pub(crate) fn sync_nearest(&self, directory: &Path) -> Result<(), FolderError> {
        for above in directory.ancestors().take_while(|above| above.starts_with(&self.root)) {
            match self.sync(above) {
                Err(FolderError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {}
                synced => return synced,
            }
        }
        Ok(())
    }

    #[cfg(test)]
    fn failing(&self) -> Option<rustix::io::Errno> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    #[cfg(test)]
    pub(crate) fn fail_next(&self, errno: rustix::io::Errno) {
        *self.failing.lock().unwrap_or_else(PoisonError::into_inner) = Some(errno);
    }

    /// Removes `directory` and those above it while they are empty, down to the first level below the root,
    /// which stays. Failing is no harm: an empty directory is not an object.
    pub(crate) fn remove_empty(&self, directory: &Path) {
        for path in directory.ancestors() {
            let first_level = path.parent().is_none_or(|parent| parent == self.root);
            if path == self.root || first_level || !is_empty(path).unwrap_or(false) {
                return;
            }
            let _change = self.lock();
            // Forgotten before it goes, so that nobody believes in it afterwards.
            self.known.write().unwrap_or_else(PoisonError::into_inner).remove(path);
            if fs::remove_dir(path).is_err() {
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.change.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_empty(directory: &Path) -> io::Result<bool> {
    Ok(fs::read_dir(directory)?.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_made_known_removed_when_empty_and_made_again() {
        let root = tempfile::tempdir().unwrap();
        let directories = DurableDirectories::new(root.path().to_owned());
        let deep = root.path().join("bronze/topic/day");
        directories.ensure(&deep).unwrap();
        assert!(deep.is_dir() && directories.is_known(&deep));
        directories.remove_empty(&deep);
        assert!(!deep.exists() && !directories.is_known(&deep));
        assert!(!root.path().join("bronze/topic").exists());
        assert!(root.path().join("bronze").is_dir(), "the first level stays");
        directories.ensure(&deep).unwrap();
        assert!(deep.is_dir());
    }

    #[test]
    fn a_tree_removed_behind_our_back_is_made_again() {
        let root = tempfile::tempdir().unwrap();
        let directories = DurableDirectories::new(root.path().to_owned());
        directories.ensure(&root.path().join("a/b")).unwrap();
        fs::remove_dir_all(root.path().join("a")).unwrap();
        directories.ensure(&root.path().join("a/b/c")).unwrap();
        assert!(root.path().join("a/b/c").is_dir());
    }

    #[test]
    fn a_file_in_the_way_is_said() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("a"), b"file").unwrap();
        let directories = DurableDirectories::new(root.path().to_owned());
        assert!(matches!(directories.ensure(&root.path().join("a/b")), Err(FolderError::NotAFile { .. })));
    }

    #[test]
    fn a_directory_that_is_not_empty_stays() {
        let root = tempfile::tempdir().unwrap();
        let directories = DurableDirectories::new(root.path().to_owned());
        let deep = root.path().join("a/b");
        directories.ensure(&deep).unwrap();
        fs::write(deep.join("object"), b"x").unwrap();
        directories.remove_empty(&deep);
        assert!(deep.join("object").exists() && directories.is_known(&deep));
    }
}
