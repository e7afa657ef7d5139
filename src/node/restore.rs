//! The index that a start begins from: the snapshot that the floor names, or an empty one.

use strandline_commit_log::CommitLog;
use strandline_index::{Index, SNAPSHOT_VERSION, SnapshotError, decode_snapshot, digest_of};
use strandline_object_store::{Objects, Purpose};
use strandline_types::limits;

/// Where the snapshot is lost.
const REMEDY: &str = "put it back from a backup, or move commit-log/ aside and run `strandline index rebuild --data DIR`";

/// Why there is nothing to begin from.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The floor cannot be read.
    #[error(transparent)]
    Floor(#[from] strandline_commit_log::ReadError),
    /// The snapshot cannot be read.
    #[error("the snapshot {key} cannot be read: {source}; {REMEDY}")]
    Get {
        /// Its key.
        key: String,
        /// What happened.
        source: strandline_object_store::GetError,
    },
    /// A newer build wrote it. Nothing is damaged: a rebuild would lose what is not yet in Parquet.
    #[error(
        "the snapshot {key} has format version {found}, this strandline knows up to {SNAPSHOT_VERSION}: use the newer strandline that wrote it"
    )]
    Newer {
        /// Its key.
        key: String,
        /// Its version.
        found: u16,
    },
    /// The snapshot is damaged.
    #[error("the snapshot {key} cannot be used: {source}; {REMEDY}")]
    Decode {
        /// Its key.
        key: String,
        /// What is wrong.
        source: SnapshotError,
    },
    /// It is not the one that the floor names.
    #[error("the snapshot {key} is not the one that the log names: its digest differs; {REMEDY}")]
    Digest {
        /// Its key.
        key: String,
    },
}

/// Loads the snapshot that the log's floor names, and checks that it is that one.
///
/// # Errors
/// What is missing or damaged.
pub async fn restore_index(log: &dyn CommitLog, objects: &Objects) -> Result<Index, RestoreError> {
    let floor = log.floor().await?;
    let Some(snapshot) = floor.snapshot else { return Ok(Index::default()) };
    let key = snapshot.key;
    let bytes = objects
        .get_in_pieces(Purpose::Snapshot, &key, limits::SNAPSHOT_BYTES)
        .await
        .map_err(|source| RestoreError::Get { key: key.clone(), source })?;
    let index = decode_snapshot(&bytes).map_err(|source| match source {
        SnapshotError::UnknownVersion { found } => RestoreError::Newer { key: key.clone(), found },
        source => RestoreError::Decode { key: key.clone(), source },
    })?;
    if digest_of(&bytes) != snapshot.digest || index.cell.seq != snapshot.seq {
        return Err(RestoreError::Digest { key });
    }
    Ok(index)
}
