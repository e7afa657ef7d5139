//! Listings, in the byte order of the whole name, as S3 gives them.

use super::error::FolderError;
use super::{Folder, FolderStore, read};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::path::Path as ObjectPath;
use object_store::{ListResult, ObjectMeta, Result};
use std::fs;
use std::io::ErrorKind;

/// One name of a directory.
#[derive(Debug)]
struct Named {
    location: ObjectPath,
    is_directory: bool,
}

impl Named {
    /// A directory sorts as its objects do: with the separator that follows its name.
    fn sort_key(&self) -> (&str, &str) {
        (self.location.as_ref(), if self.is_directory { "/" } else { "" })
    }
}

fn in_order(a: &Named, b: &Named) -> std::cmp::Ordering {
    let bytes = |named: &Named| {
        let (name, end) = named.sort_key();
        [name.as_bytes(), end.as_bytes()].concat()
    };
    bytes(a).cmp(&bytes(b))
}

/// What is still to be visited, the next one last.
struct Walk {
    store: FolderStore,
    stack: Vec<Named>,
    offset: Option<ObjectPath>,
}

impl FolderStore {
    pub(crate) fn list_from(
        &self,
        prefix: Option<&ObjectPath>,
        offset: Option<ObjectPath>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let start = Named { location: prefix.cloned().unwrap_or_default(), is_directory: true };
        let walk = Walk { store: self.clone(), stack: vec![start], offset };
        stream::try_unfold(walk, |mut walk| async move {
            // One directory at a time: memory is that of the directories on the way, not of the whole store.
            let mut found = Vec::new();
            while found.is_empty() {
                let Some(next) = walk.stack.pop() else { return Ok::<_, object_store::Error>(None) };
                if next.is_directory {
                    walk.descend(next.location).await?;
                } else {
                    found = walk.files(next).await?;
                }
            }
            Ok(Some((stream::iter(found.into_iter().map(Ok)), walk)))
        })
        .try_flatten()
        .boxed()
    }

    pub(crate) async fn list_level(&self, prefix: Option<&ObjectPath>) -> Result<ListResult> {
        let prefix = prefix.cloned().unwrap_or_default();
        let location = prefix.clone();
        let (objects, common_prefixes) = self
            .blocking("list objects", &location, move |folder| {
                let (directories, files): (Vec<_>, Vec<_>) =
                    folder.names(&prefix)?.into_iter().partition(|named| named.is_directory);
                let directories = directories.into_iter().map(|named| named.location).collect();
                Ok((folder.metas(files.into_iter().map(|named| named.location).collect())?, directories))
            })
            .await?;
        Ok(ListResult { common_prefixes, objects, extensions: Default::default() })
    }
}

impl Walk {
    async fn descend(&mut self, location: ObjectPath) -> Result<()> {
        let directory = location.clone();
        let named = self.store.blocking("list objects", &location, move |folder| folder.names(&directory)).await?;
        self.stack.extend(named.into_iter().rev());
        Ok(())
    }

    /// The file and those that follow it in the same directory.
    async fn files(&mut self, first: Named) -> Result<Vec<ObjectMeta>> {
        let mut locations = vec![first.location];
        while locations.len() < 1_000 && self.stack.last().is_some_and(|next| !next.is_directory) {
            locations.extend(self.stack.pop().map(|named| named.location));
        }
        if let Some(offset) = &self.offset {
            locations.retain(|location| location > offset);
        }
        let place = locations.first().cloned().unwrap_or_default();
        self.store.blocking("list objects", &place, move |folder| folder.metas(locations)).await
    }
}

impl Folder {
    /// What lies directly in a directory, in order; nothing if it is missing.
    fn names(&self, prefix: &ObjectPath) -> Result<Vec<Named>, FolderError> {
        let mut directory = self.root.clone();
        directory.extend(prefix.parts().map(|part| part.as_ref().to_owned()));
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(Vec::new());
            }
            Err(error) => return Err(FolderError::io("list", &directory)(error)),
        };
        let mut named = Vec::new();
        for entry in entries {
            let entry = entry.map_err(FolderError::io("list", &directory))?;
            let kind = entry.file_type().map_err(FolderError::io("look at", &entry.path()))?;
            let name = entry.file_name();
            // A name that is no object's cannot come from us; it is left alone and out of the listing.
            let Some(location) = name.to_str().and_then(|name| child(prefix, name)) else {
                tracing::warn!(path = %entry.path().display(), "not an object's name, left out of the listing");
                continue;
            };
            if kind.is_dir() || kind.is_file() {
                named.push(Named { location, is_directory: kind.is_dir() });
            }
        }
        named.sort_unstable_by(in_order);
        Ok(named)
    }

    /// Sizes and times; what has been deleted meanwhile is left out.
    fn metas(&self, locations: Vec<ObjectPath>) -> Result<Vec<ObjectMeta>, FolderError> {
        let mut metas = Vec::with_capacity(locations.len());
        for location in locations {
            let mut path = self.root.clone();
            path.extend(location.parts().map(|part| part.as_ref().to_owned()));
            match fs::metadata(&path) {
                Ok(metadata) => metas.push(read::object_meta(location, &metadata)),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(FolderError::io("look at", &path)(error)),
            }
        }
        Ok(metas)
    }
}

fn child(prefix: &ObjectPath, name: &str) -> Option<ObjectPath> {
    let full = if prefix.is_root() { name.to_owned() } else { format!("{prefix}/{name}") };
    ObjectPath::parse(full).ok()
}
