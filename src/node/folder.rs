//! The folder of a node: whose it is, and which format it has.

use std::path::{Path, PathBuf};
use strandline_commit_log::lock::{DirLock, LockError};

/// The format of the folder that this build writes.
pub const FOLDER_FORMAT: u32 = 1;
/// What a rebuild has named as lost, until the new log has begun.
pub(crate) const REBUILD_LOSSES: &str = "rebuild-losses";

/// Why a folder is not opened.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// It cannot be made or written.
    #[error("the data folder {path} cannot be used: {source}. Check that it may be written, or choose another with --data")]
    Io {
        /// The folder or a file in it.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another process has it.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// It holds what no node has written.
    #[error(
        "the folder {path} is not empty (it holds `{found}`) and has no file `format`, so it is no data folder of strandline: choose an empty or a new one with --data{}",
        if *.is_copy { ". If it is a copy of a data folder's store/, `strandline index rebuild --data DIR` makes one of it" } else { "" }
    )]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// Something in it.
        found: String,
        /// Whether it has a `store/`.
        is_copy: bool,
    },
    /// A newer build wrote it.
    #[error(
        "the data folder {path} has format {found}, this strandline knows up to {FOLDER_FORMAT}: use the newer strandline that wrote it"
    )]
    Newer {
        /// The folder.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// Not a number.
    #[error("{path} should hold the folder's format, a number, and holds `{text}`: is this a folder of strandline?")]
    NotAFormat {
        /// The file.
        path: PathBuf,
        /// What it holds.
        text: String,
    },
}

/// A folder that this process owns until it is dropped.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
    _lock: DirLock,
}

impl Folder {
    /// Makes the folder if needed, takes its lock, and looks at its format.
    ///
    /// # Errors
    /// Nothing was changed, except that an empty folder may have been made.
    pub fn open(root: &Path) -> Result<Self, FolderError> {
        make(root, sync)?;
        // Before the lock: a newer folder, or somebody else's, is not touched at all.
        let known = check_format(root, &root.join("format"))?;
        if known {
            return Self::take(root);
        }
        check_unused(root)?;
        let folder = Self::take(root)?;
        folder.claim()?;
        Ok(folder)
    }

    /// The same for a rebuild: of a folder that is lost, a copy of `store/` alone may be left.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(crate) fn open_to_rebuild(root: &Path) -> Result<Self, FolderError> {
        check_format(root, &root.join("format"))?;
        Self::take(root)
    }

    fn take(root: &Path) -> Result<Self, FolderError> {
        Ok(Self { root: root.to_owned(), _lock: DirLock::acquire(&root.join("lock"))? })
    }

    /// Makes a data folder of it for good. A rebuild does it last, so that no node begins anew on what it could not finish.
    ///
    /// # Errors
    /// It is what it was.
    pub(crate) fn claim(&self) -> Result<(), FolderError> {
        self.replace("format", &format!("{FOLDER_FORMAT}\n"))
    }

    /// Writes a small file, whole or not at all; it outlives a power cut once this returns.
    ///
    /// # Errors
    /// The file is as it was, or is the new one.
    pub fn replace(&self, name: &str, text: &str) -> Result<(), FolderError> {
        let (file, temporary) = (self.path(name), self.path(&format!("{name}.new")));
        std::fs::write(&temporary, text).map_err(io(&temporary))?;
        std::fs::File::open(&temporary).and_then(|file| file.sync_all()).map_err(io(&temporary))?;
        std::fs::rename(&temporary, &file).map_err(io(&file))?;
        sync(&self.root).map_err(io(&self.root))
    }

    /// Removes a file that may be there.
    ///
    /// # Errors
    /// It is there still.
    pub fn remove(&self, name: &str) -> Result<(), FolderError> {
        let file = self.path(name);
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io(&file)(error)),
            _ => Ok(()),
        }
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> FolderError + use<> {
    let path = path.to_owned();
    move |source| FolderError::Io { path, source }
}

/// Makes the folder and those above it that are missing. Once this returns, a power cut takes none of their names back, with all that was
/// written below them since. Also where an earlier start has made them and was cut short: until there is a `format`, all names are made durable that
/// this user may.
fn make(root: &Path, mut sync: impl FnMut(&Path) -> std::io::Result<()>) -> Result<(), FolderError> {
    if root.join("format").exists() {
        return Ok(());
    }
    let is_missing = |path: &&Path| !path.as_os_str().is_empty() && !path.is_dir();
    let missing = root.ancestors().take_while(is_missing).count();
    std::fs::create_dir_all(root).map_err(io(root))?;
    for (number, above) in root.ancestors().skip(1).enumerate() {
        let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
        match sync(above) {
            Err(error) if number < missing => return Err(io(above)(error)),
            // A folder that was there before may be one that nobody else reads.
            _ => {}
        }
    }
    Ok(())
}

/// Syncs the entries of a directory.
fn sync(directory: &Path) -> std::io::Result<()> {
    std::fs::File::open(directory)?.sync_all()
}

/// Refuses a folder that holds folders: a file beside ours (a log, a file of settings) is in nobody's way, and what a file system or a tool makes by
/// itself neither.
fn check_unused(root: &Path) -> Result<(), FolderError> {
    for entry in std::fs::read_dir(root).map_err(io(root))? {
        let entry = entry.map_err(io(root))?;
        let found = entry.file_name().to_string_lossy().into_owned();
        let is_ours = found == "segment-index.redb";
        let is_folder = entry.file_type().map_err(io(root))?.is_dir();
        if (is_folder || is_ours) && !found.starts_with(['.', '@']) && found != "lost+found" {
            return Err(FolderError::Foreign { path: root.to_owned(), found, is_copy: root.join("store").is_dir() });
        }
    }
    Ok(())
}

fn check_format(root: &Path, file: &Path) -> Result<bool, FolderError> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(source) => return Err(FolderError::Io { path: file.to_owned(), source }),
    };
    match text.trim().parse::<u32>() {
        Ok(found) if found > FOLDER_FORMAT => Err(FolderError::Newer { path: root.to_owned(), found }),
        Ok(1..) => Ok(true),
        _ => Err(FolderError::NotAFormat { path: file.to_owned(), text: text.trim().chars().take(40).collect() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_owner_and_a_newer_one_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        assert!(matches!(Folder::open(root.path()), Err(FolderError::Lock(LockError::Held { .. }))));
        drop(folder);
        drop(Folder::open(root.path()).unwrap());
        for text in ["0", "-1", "x", ""] {
            std::fs::write(root.path().join("format"), text).unwrap();
            assert!(matches!(Folder::open(root.path()), Err(FolderError::NotAFormat { .. })), "{text}");
        }
        std::fs::write(root.path().join("format"), "2\n").unwrap();
        let error = Folder::open(root.path()).unwrap_err();
        assert!(error.to_string().contains("format 2"), "{error}");
        std::fs::write(root.path().join("format"), "hello").unwrap();
        assert!(matches!(Folder::open(root.path()), Err(FolderError::NotAFormat { .. })));
    }

    #[test]
    fn the_names_of_folders_that_were_made_are_synced() {
        let root = tempfile::tempdir().unwrap();
        let synced = |path: &Path| {
            let mut synced = Vec::new();
            let made = make(path, |above| {
                assert!(path.is_dir());
                synced.push(above.to_owned());
                Ok(())
            });
            made.map(|()| synced)
        };
        let at = |name: &str| root.path().join(name);
        let above = |path: &Path| path.ancestors().skip(1).map(Path::to_owned).collect::<Vec<_>>();
        for name in ["a/b/data", "a/c", "a/c"] {
            assert_eq!(synced(&at(name)).unwrap(), above(&at(name)), "an earlier start may have been cut short");
        }
        std::fs::write(at("a/c/format"), "1").unwrap();
        assert_eq!(synced(&at("a/c")).unwrap(), Vec::<PathBuf>::new());
        std::fs::write(at("file"), "").unwrap();
        assert!(matches!(synced(&at("file")), Err(FolderError::Io { .. })));
        make(&at("a/b/data"), |_| Err(std::io::ErrorKind::PermissionDenied.into())).unwrap();
        let full = make(&at("d"), |_| Err(std::io::ErrorKind::StorageFull.into())).unwrap_err();
        assert!(matches!(full, FolderError::Io { path, .. } if path == root.path()));
        drop(Folder::open(&at("e/data")).unwrap());
    }

    #[test]
    fn a_folder_of_somebody_else_is_refused_and_not_touched() {
        let root = tempfile::tempdir().unwrap();
        let names = || {
            let mut names: Vec<_> = std::fs::read_dir(root.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        std::fs::create_dir(root.path().join("orders-0")).unwrap();
        let error = Folder::open(root.path()).unwrap_err().to_string();
        assert!(error.contains("`orders-0`") && error.contains("--data") && !error.contains("rebuild"), "{error}");
        assert_eq!(names(), ["orders-0"]);
        std::fs::rename(root.path().join("orders-0"), root.path().join("store")).unwrap();
        let error = Folder::open(root.path()).unwrap_err().to_string();
        assert!(error.contains("index rebuild"), "{error}");
        assert_eq!(names(), ["store"]);
        drop(Folder::open_to_rebuild(root.path()).unwrap());
        assert!(Folder::open(root.path()).is_err(), "a rebuild that did not end makes no data folder of it");
        Folder::open_to_rebuild(root.path()).unwrap().claim().unwrap();
        drop(Folder::open(root.path()).unwrap());
    }

    #[test]
    fn what_lies_in_a_new_file_system_or_a_first_start_left_is_in_nobodys_way() {
        let root = tempfile::tempdir().unwrap();
        for name in [".DS_Store", "lock", "format.new", "node.log", "strandline.toml"] {
            std::fs::write(root.path().join(name), "").unwrap();
        }
        for name in ["lost+found", "@eaDir"] {
            std::fs::create_dir(root.path().join(name)).unwrap();
        }
        drop(Folder::open(root.path()).unwrap());
        assert_eq!(std::fs::read_to_string(root.path().join("format")).unwrap(), "1\n");
    }
}
