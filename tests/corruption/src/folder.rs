//! Folders in memory, and damage to them.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

/// The log's reserve: as long as a node wants it, and without meaning.
const RESERVE: &str = "commit-log/reserve";

/// The files of a folder by their paths in it; the reserve as its length alone.
#[derive(Debug, Clone, Default)]
pub struct Files {
    /// Contents.
    pub files: BTreeMap<String, Vec<u8>>,
    reserve_bytes: u64,
}

/// Reads a folder.
///
/// # Errors
/// It cannot be read.
pub fn read_folder(root: &Path) -> io::Result<Files> {
    let mut found = Files::default();
    collect(root, "", &mut found)?;
    Ok(found)
}

fn collect(root: &Path, below: &str, found: &mut Files) -> io::Result<()> {
    for entry in fs::read_dir(root.join(below))? {
        let entry = entry?;
        let name = entry.file_name().into_string().map_err(|_| io::Error::other("a name that is not UTF-8"))?;
        let path = if below.is_empty() { name } else { format!("{below}/{name}") };
        if entry.file_type()?.is_dir() {
            collect(root, &path, found)?;
        } else if path == RESERVE {
            found.reserve_bytes = entry.metadata()?.len();
        } else {
            found.files.insert(path.clone(), fs::read(root.join(&path))?);
        }
    }
    Ok(())
}

impl Files {
    /// Writes them into an empty folder.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn write(&self, root: &Path) -> io::Result<()> {
        for (path, bytes) in &self.files {
            let path = root.join(path);
            if let Some(above) = path.parent() {
                fs::create_dir_all(above)?;
            }
            fs::write(path, bytes)?;
        }
        // A file with a hole: no disk is taken for it, again and again.
        fs::File::create(root.join(RESERVE))?.set_len(self.reserve_bytes)
    }

    /// The same with the damage done.
    #[must_use]
    pub fn damaged(&self, damage: &Damage) -> Files {
        let mut files = self.clone();
        if let Some(bytes) = files.files.get_mut(&damage.file) {
            damage.what.apply(bytes);
        }
        files
    }

    /// The damaged file alone.
    #[must_use]
    pub fn damaged_bytes(&self, damage: &Damage) -> Vec<u8> {
        let mut bytes = self.files.get(&damage.file).cloned().unwrap_or_default();
        damage.what.apply(&mut bytes);
        bytes
    }
}

/// What is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// These bits of one byte.
    Flip {
        /// Where.
        at: usize,
        /// Which.
        mask: u8,
    },
    /// All from there on is gone.
    Cut {
        /// What is left.
        length: usize,
    },
}

impl Change {
    /// Does it to the bytes of a file, which have to be that many.
    fn apply(self, bytes: &mut Vec<u8>) {
        match self {
            Self::Flip { at, mask } => bytes[at] ^= mask,
            Self::Cut { length } => bytes.truncate(length),
        }
    }
}

/// One damage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub file: String,
    /// What happens to it.
    pub what: Change,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.what {
            Change::Flip { at, mask } => write!(f, "{} byte {at} ^ {mask:#04x}", self.file),
            Change::Cut { length } => write!(f, "{} cut to {length}", self.file),
        }
    }
}
