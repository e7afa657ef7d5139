//! Giving a written file its name.

use super::Folder;
use super::error::FolderError;
use super::read;
use super::staged::Staged;
use object_store::path::Path as ObjectPath;
use object_store::{PutResult, Result};
use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::PoisonError;

/// What happens to an object that has the name already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mode {
    /// It stays, and the answer is 'exists already'.
    Create,
    /// It is replaced in one step.
    Replace,
    /// It is replaced in one step if it has this tag.
    Instead(String),
}

/// How giving the name ended.
#[derive(Debug)]
#[must_use]
pub(crate) enum Done {
    /// The object is there, durably; with its entity tag.
    Created(String),
    /// An object was there, and is durable.
    Exists,
    /// Another object than the one to be replaced is there, durably, or none.
    Differs,
}

impl Done {
    pub(crate) fn put_result(self, location: &ObjectPath) -> Result<PutResult> {
        match self {
            Done::Created(e_tag) => Ok(PutResult { e_tag: Some(e_tag), version: None, extensions: Default::default() }),
            Done::Exists => Err(object_store::Error::AlreadyExists {
                path: location.to_string(),
                source: "an object has that name already".into(),
            }),
            Done::Differs => Err(object_store::Error::Precondition {
                path: location.to_string(),
                source: "another object has that name, or none".into(),
            }),
        }
    }

    pub(crate) fn created(self, location: &ObjectPath) -> Result<()> {
        self.put_result(location).map(|_| ())
    }
}

impl Folder {
    /// Moves a synced file to its name and returns once the name is on disk.
    pub(crate) fn publish(&self, staged: &mut Staged, target: &Path, mode: Mode) -> Result<Done, FolderError> {
        let e_tag = staged.file().metadata().map(|metadata| read::e_tag(&metadata));
        let e_tag = e_tag.map_err(FolderError::io("look at", staged.path()))?;
        let parent = target.parent().unwrap_or(&self.root);
        let mut replacing = None;
        if let Mode::Instead(seen) = &mode {
            // One at a time. A creation finds the name taken; what is deleted meanwhile would come back, so this is not for names that
            // somebody may delete, unless they bear that (manifests do).
            replacing = Some(self.replacing.lock().unwrap_or_else(PoisonError::into_inner));
            match fs::metadata(target) {
                Ok(metadata) if metadata.is_file() && read::e_tag(&metadata) == *seen => {}
                // Perhaps the very object that is put, from a try whose sync nobody waited for.
                Ok(_) => {
                    self.settle(parent)?;
                    return Ok(Done::Differs);
                }
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Done::Differs),
                Err(error) => return Err(FolderError::io("look at", target)(error)),
            }
        }
        let is_named = self.give_name(staged.path(), target, &mode)?;
        drop(replacing);
        if is_named {
            staged.keep();
            return Ok(Done::Created(e_tag));
        }
        Ok(Done::Exists)
    }

    /// Copies an object by way of the temporary folder.
    pub(crate) fn copy_object(&self, from: &Path, target: &Path, mode: Mode) -> Result<Done, FolderError> {
        let mut source = read::open_object(from)?;
        let mut staged = Staged::create(&self.tmp)?;
        io::copy(&mut source, &mut staged.file()).map_err(FolderError::io("copy", from))?;
        staged.sync()?;
        self.publish(&mut staged, target, mode)
    }

    /// Moves an object in one step.
    pub(crate) fn move_object(&self, from: &Path, target: &Path, mode: Mode) -> Result<Done, FolderError> {
        let source = read::open_object(from)?;
        let e_tag = source.metadata().map(|metadata| read::e_tag(&metadata));
        let e_tag = e_tag.map_err(FolderError::io("look at", from))?;
        if !self.give_name(from, target, &mode)? {
            return Ok(Done::Exists);
        }
        if let Some(parent) = from.parent() {
            self.directories.sync(parent)?;
            self.directories.remove_empty(parent);
        }
        Ok(Done::Created(e_tag))
    }

    /// `false`: the name is taken, by an object that is durable now.
    fn give_name(&self, from: &Path, target: &Path, mode: &Mode) -> Result<bool, FolderError> {
        let parent = target.parent().unwrap_or(&self.root);
        let mut last = None;
        // More than one round only while others remove directories that became empty.
        for _ in 0..16 {
            self.directories.ensure(parent)?;
            match rename(from, target, mode) {
                Ok(()) => {
                    self.settle(parent)?;
                    return Ok(true);
                }
                Err(error) if error.kind() == ErrorKind::NotFound && from.exists() => {
                    self.directories.forget(parent);
                    last = Some(error);
                }
                // Answering 'exists' lets the caller take the object for its own, so it has to be as durable
                // as its own: the process that wrote it may have died before its last sync.
                Err(error) if *mode == Mode::Create && error.kind() == ErrorKind::AlreadyExists => {
                    if target.is_dir() {
                        return Err(FolderError::NotAFile { path: target.to_owned() });
                    }
                    self.settle(parent)?;
                    return Ok(false);
                }
                Err(error) if matches!(error.kind(), ErrorKind::IsADirectory | ErrorKind::NotADirectory) => {
                    return Err(FolderError::NotAFile { path: target.to_owned() });
                }
                Err(error) => return Err(FolderError::io("give a name to", target)(error)),
            }
        }
        let error = last.unwrap_or_else(|| ErrorKind::NotFound.into());
        Err(FolderError::io("give a name to", target)(error))
    }

    fn settle(&self, parent: &Path) -> Result<(), FolderError> {
        self.directories.sync(parent)?;
        // Looked at again: the directory may have been removed and made anew since the first look.
        self.directories.ensure(parent)
    }
}

fn rename(from: &Path, to: &Path, mode: &Mode) -> io::Result<()> {
    if *mode != Mode::Create {
        return fs::rename(from, to);
    }
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        // A file system that does not know the flag: a second name, then without the first.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => link_then_unlink(from, to),
        Err(error) => Err(error.into()),
    }
}

fn link_then_unlink(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to)?;
    fs::remove_file(from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_the_flag_a_name_is_still_given_once() {
        let folder = tempfile::tempdir().unwrap();
        let (from, other, to) = (folder.path().join("from"), folder.path().join("other"), folder.path().join("to"));
        fs::write(&from, b"first").unwrap();
        fs::write(&other, b"second").unwrap();
        link_then_unlink(&from, &to).unwrap();
        assert!(!from.exists());
        assert_eq!(link_then_unlink(&other, &to).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&to).unwrap(), b"first");
        assert!(other.exists());
    }
}
