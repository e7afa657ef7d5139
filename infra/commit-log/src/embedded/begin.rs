//! A log that does not begin at entry 1: what a rebuild leaves.

use super::floor_file;
use super::format::{FileHeader, file_name, first_seq};
use super::open_error::{At, OpenError};
use crate::Floor;
use crate::disk::{Disk, SystemDisk, write_all_at};
use std::io::IoSlice;
use std::path::Path;
use strandline_runtime::Random;
use strandline_types::ChainHash;

/// Makes an empty log in `dir` that begins at the floor's seq, after an entry with this hash, and whose floor names the
/// snapshot to start from. Durable when this returns. Blocking; the caller holds the folder's lock.
///
/// # Errors
/// There is a log in the folder already, or it cannot be written.
pub fn begin(dir: &Path, floor: &Floor, hash_before: ChainHash, random: &dyn Random) -> Result<(), OpenError> {
    let disk = SystemDisk;
    disk.create_dir(dir).at(dir, "making the folder")?;
    let names = disk.list(dir).at(dir, "listing the folder")?;
    if let Some(name) = names.iter().find(|name| first_seq(name).is_some()) {
        return Err(OpenError::damaged(&dir.join(name), 0, "a log is here already, and a rebuild begins a new one"));
    }
    // The floor first: a log file alone that begins beyond entry 1 would be taken for a damaged log.
    floor_file::store(&disk, dir, floor).at(dir, "writing the floor in")?;
    let path = dir.join(file_name(floor.seq));
    let header = FileHeader { first: floor.seq, hash_before, nonce: random.id() };
    let file = disk.create(&path).at(&path, "making")?;
    write_all_at(&*file, &mut [IoSlice::new(&header.encode())], 0).at(&path, "writing")?;
    file.sync_data().at(&path, "syncing")?;
    disk.sync_dir(dir).at(dir, "syncing the folder")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::floor_at;
    use crate::{CommitLog, EmbeddedCommitLog, Entry, Payload, Tail};
    use bytes::Bytes;
    use strandline_runtime::Runtime;
    use strandline_types::Seq;

    #[tokio::test]
    async fn a_log_that_begins_late_is_opened_and_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let (runtime, hash) = (Runtime::system(), ChainHash([9; 16]));
        begin(dir.path(), &floor_at(500), hash, &*runtime.random).unwrap();
        assert!(begin(dir.path(), &floor_at(500), hash, &*runtime.random).is_err());
        for seq in 500..503 {
            let log = EmbeddedCommitLog::open(dir.path(), super::super::Options::default(), runtime.clone()).await.unwrap();
            assert_eq!(log.floor().await.unwrap(), floor_at(500));
            assert!(matches!(log.read(Seq(499), 1).await.unwrap(), Tail::Trimmed { .. }));
            let entry = Entry { hash_before: hash, bytes: Bytes::from_static(b"entry"), payload: Payload::default() };
            log.append(Seq(seq), entry).await.unwrap();
            log.close().await.unwrap();
        }
    }
}
