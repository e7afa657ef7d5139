//! The one way to give an object a name for the first time.

use crate::cause::Cause;
use crate::errors::PutNewError;
use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{Error, GetOptions, ObjectStore, ObjectStoreExt, PutMode, PutPayload, Result};
use strandline_types::mutations::{Rule, holds};

/// Rounds of 'exists already' followed by 'not there', which S3 answers while two puts race.
const ROUNDS: usize = 4;

/// Size and checksum of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checksum {
    /// Bytes.
    pub size: u64,
    /// CRC-32C over all of them.
    pub crc32c: u32,
}

/// The CRC-32C of the chunks one after another.
pub fn crc32c(chunks: &[Bytes]) -> u32 {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    for chunk in chunks {
        digest.update(chunk);
    }
    u32::try_from(digest.finalize()).unwrap_or(u32::MAX)
}

/// Puts an object that must not exist yet, or is exactly this one (I8).
///
/// `crc32c` is that of `chunks`. 'Exists already' and every error that leaves the outcome open are followed
/// by a look at what is there; only equal size *and* checksum make the first a success. After the others it is put once more, since
/// what is seen then may not be on disk yet. On success the object is durable. May be repeated with the same bytes by anyone, after any
/// error that is retriable.
pub async fn put_new(store: &dyn ObjectStore, path: &Path, chunks: Vec<Bytes>, crc32c: u32) -> Result<(), PutNewError> {
    put_by(store, path, chunks, crc32c, PutMode::Create).await
}

/// The same by a mode that answers that something is there, once it has taken effect.
pub(crate) async fn put_by(
    store: &dyn ObjectStore,
    path: &Path,
    chunks: Vec<Bytes>,
    crc32c: u32,
    mode: PutMode,
) -> Result<(), PutNewError> {
    debug_assert_eq!(crc32c, self::crc32c(&chunks), "the checksum of the bytes that are put");
    let payload: PutPayload = chunks.into_iter().collect();
    let wanted = Checksum { size: payload.content_length() as u64, crc32c };
    let (mut round, mut is_seen) = (1, false);
    loop {
        let error = match store.put_opts(path, payload.clone(), mode.clone().into()).await {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        let (cause, is_durable) = (Cause::of(&error), is_taken(&error));
        if !is_durable && cause != Cause::Transient {
            return Err(PutNewError::of(path, error));
        }
        match look(store, path, wanted).await {
            Ok(Some(found)) if found == wanted || !holds(Rule::B6) => match is_durable {
                true => return Ok(()),
                false if is_seen => return Err(PutNewError::of(path, error)),
                false => is_seen = true,
            },
            Ok(Some(found)) => return Err(PutNewError::taken(path, found, wanted)),
            Ok(None) if cause == Cause::AlreadyExists && round < ROUNDS => round += 1,
            // Not seen, but its put may still be on the way: in doubt, whatever the look said.
            Ok(None) | Err(_) => return Err(PutNewError::of(path, error)),
        }
    }
}

/// Whether the store says that an object is there. A store says so only once that one is durable.
pub(crate) fn is_taken(error: &Error) -> bool {
    Cause::of(error) == Cause::AlreadyExists || matches!(error, Error::Precondition { .. })
}

/// What lies there; the bytes are read only where the size is right.
pub(crate) async fn look(store: &dyn ObjectStore, path: &Path, wanted: Checksum) -> Result<Option<Checksum>> {
    let meta = match store.head(path).await {
        Ok(meta) => meta,
        Err(error) if Cause::of(&error) == Cause::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if meta.size != wanted.size {
        return Ok(Some(Checksum { size: meta.size, crc32c: 0 }));
    }
    match checksum(store, path).await {
        Err(error) if Cause::of(&error) == Cause::NotFound => Ok(None),
        other => other.map(Some),
    }
}

/// Reads an object through, piece by piece.
pub(crate) async fn checksum(store: &dyn ObjectStore, path: &Path) -> Result<Checksum> {
    let mut pieces = store.get_opts(path, GetOptions::default()).await?.into_stream();
    let (mut digest, mut size) = (Digest::new(CrcAlgorithm::Crc32Iscsi), 0);
    while let Some(piece) = pieces.try_next().await? {
        digest.update(&piece);
        size += piece.len() as u64;
    }
    Ok(Checksum { size, crc32c: u32::try_from(digest.finalize()).unwrap_or(u32::MAX) })
}
