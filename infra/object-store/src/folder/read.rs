//! Reading objects.

use super::error::FolderError;
use super::{Folder, FolderStore};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream::{self, StreamExt};
use object_store::path::Path as ObjectPath;
use object_store::{GetOptions, GetRange, GetResult, GetResultPayload, ObjectMeta, Result};
use std::fs::{File, Metadata};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use strandline_types::limits;

/// An object that was opened, with the first of its bytes.
struct Opened {
    file: File,
    path: PathBuf,
    meta: ObjectMeta,
    range: Range<u64>,
    first: Bytes,
}

impl FolderStore {
    pub(crate) async fn read(&self, location: &ObjectPath, options: GetOptions) -> Result<GetResult> {
        let file = self.folder.file(location)?;
        let name = location.clone();
        let opened = self.blocking("get an object", location, move |folder| folder.open_range(file, name, &options));
        let Opened { file, path, meta, range, first } = opened.await??;
        let next = range.start + first.len() as u64;
        let (end, store, location) = (range.end, self.clone(), location.clone());
        // The rest, piece by piece, as the caller asks for it.
        let rest = stream::try_unfold((Arc::new(file), next), move |(file, at)| {
            let (store, path, location) = (store.clone(), path.clone(), location.clone());
            async move {
                if at >= end {
                    return Ok(None);
                }
                let piece = at..end.min(at + limits::STORE_READ_BYTES);
                let (reader, after) = (Arc::clone(&file), piece.end);
                let read = store.blocking("get an object", &location, move |_| read_range(&reader, &path, piece));
                Ok(Some((read.await?, (file, after))))
            }
        });
        let payload = if first.is_empty() { rest.boxed() } else { stream::iter([Ok(first)]).chain(rest).boxed() };
        Ok(GetResult {
            payload: GetResultPayload::Stream(payload),
            meta,
            range,
            attributes: Default::default(),
            extensions: Default::default(),
        })
    }
}

impl Folder {
    /// The outer error is the folder's, the inner one a condition of the request that does not hold.
    fn open_range(&self, path: PathBuf, location: ObjectPath, options: &GetOptions) -> Result<Result<Opened>, FolderError> {
        let file = open_object(&path)?;
        let metadata = file.metadata().map_err(FolderError::io("look at", &path))?;
        let meta = object_meta(location, &metadata);
        if let Err(error) = options.check_preconditions(&meta) {
            return Ok(Err(error));
        }
        let range = resolve(options.range.as_ref(), meta.size, &path)?;
        if options.head {
            return Ok(Ok(Opened { file, path, meta, range: range.start..range.start, first: Bytes::new() }));
        }
        let first = range.start..range.end.min(range.start + limits::STORE_READ_BYTES);
        let first = read_range(&file, &path, first)?;
        Ok(Ok(Opened { file, path, meta, range, first }))
    }
}

/// Opens an object; a directory is none.
pub(crate) fn open_object(path: &Path) -> Result<File, FolderError> {
    let file = File::open(path).map_err(|error| match error.kind() {
        // A part of the path is a file, so there is no such object.
        ErrorKind::NotADirectory => FolderError::io("open", path)(ErrorKind::NotFound.into()),
        _ => FolderError::io("open", path)(error),
    })?;
    let metadata = file.metadata().map_err(FolderError::io("look at", path))?;
    if metadata.is_file() {
        return Ok(file);
    }
    Err(FolderError::io("open", path)(ErrorKind::NotFound.into()))
}

fn read_range(mut file: &File, path: &Path, range: Range<u64>) -> Result<Bytes, FolderError> {
    let length = range.end - range.start;
    if length == 0 {
        return Ok(Bytes::new());
    }
    // Several pieces of one open file are never read at once, so its position is ours.
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
    file.seek(SeekFrom::Start(range.start)).map_err(FolderError::io("read", path))?;
    file.take(length).read_to_end(&mut bytes).map_err(FolderError::io("read", path))?;
    if bytes.len() as u64 != length {
        return Err(FolderError::Shrunk { path: path.to_owned() });
    }
    Ok(bytes.into())
}

fn resolve(range: Option<&GetRange>, size: u64, path: &Path) -> Result<Range<u64>, FolderError> {
    let refused = |range| FolderError::Range { path: path.to_owned(), range, size };
    match range {
        None => Ok(0..size),
        Some(GetRange::Suffix(length)) => Ok(size.saturating_sub(*length)..size),
        Some(GetRange::Offset(start)) if *start < size => Ok(*start..size),
        Some(GetRange::Offset(start)) => Err(refused(*start..size)),
        Some(GetRange::Bounded(asked)) if asked.start < asked.end && asked.start < size => Ok(asked.start..asked.end.min(size)),
        Some(GetRange::Bounded(asked)) => Err(refused(asked.clone())),
    }
}

pub(crate) fn object_meta(location: ObjectPath, metadata: &Metadata) -> ObjectMeta {
    ObjectMeta {
        location,
        last_modified: metadata.modified().map_or(DateTime::<Utc>::UNIX_EPOCH, DateTime::from),
        size: metadata.len(),
        e_tag: Some(e_tag(metadata)),
        version: None,
    }
}

pub(crate) fn e_tag(metadata: &Metadata) -> String {
    format!("\"{:x}-{:x}-{:x}-{:x}\"", metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.len())
}
