//! The floor, in a file of its own that is replaced whole.
//!
//! ```text
//! magic "STRNDFLR" · version u32 · seq u64 · has snapshot u8 · snapshot seq u64 · digest [32] · key length u32 ·
//! key · CRC-32C of all before u32        (little-endian; without a snapshot its fields are zero)
//! ```

use super::format::{crc32c, field};
use super::open_error::{At, OpenError};
use crate::disk::{Disk, read_exact_at, write_all_at};
use crate::{Floor, SnapshotRef};
use std::io::{self, IoSlice};
use std::path::Path;
use strandline_types::Seq;

const MAGIC: [u8; 8] = *b"STRNDFLR";
const VERSION: u32 = 1;
const FIXED: usize = 8 + 4 + 8 + 1 + 8 + 32 + 4;
/// More than any key in an object store.
const LARGEST: u64 = 8 << 10;
pub(super) const NAME: &str = "floor";
const NEW_NAME: &str = "floor.tmp";

fn encode(floor: &Floor) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(FIXED + 4);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&floor.seq.0.to_le_bytes());
    bytes.push(u8::from(floor.snapshot.is_some()));
    let none = SnapshotRef { seq: Seq::ZERO, key: String::new(), digest: [0; 32] };
    let snapshot = floor.snapshot.as_ref().unwrap_or(&none);
    bytes.extend_from_slice(&snapshot.seq.0.to_le_bytes());
    bytes.extend_from_slice(&snapshot.digest);
    bytes.extend_from_slice(&(snapshot.key.len() as u32).to_le_bytes());
    bytes.extend_from_slice(snapshot.key.as_bytes());
    bytes.extend_from_slice(&crc32c(&bytes).to_le_bytes());
    bytes
}

enum BadFloor {
    Damaged,
    Newer(u32),
}

fn decode(bytes: &[u8]) -> Result<Floor, BadFloor> {
    let (body, crc) = bytes.split_last_chunk::<4>().ok_or(BadFloor::Damaged)?;
    if body.len() < FIXED || body[..8] != MAGIC || crc32c(body).to_le_bytes() != *crc {
        return Err(BadFloor::Damaged);
    }
    let version = u32::from_le_bytes(field(body, 8));
    if version != VERSION {
        return Err(BadFloor::Newer(version));
    }
    let key = &body[FIXED..];
    if u32::from_le_bytes(field(body, FIXED - 4)) as usize != key.len() {
        return Err(BadFloor::Damaged);
    }
    let key = String::from_utf8(key.to_vec()).map_err(|_| BadFloor::Damaged)?;
    let snapshot = SnapshotRef { seq: Seq(u64::from_le_bytes(field(body, 21))), key, digest: field(body, 29) };
    Ok(Floor { seq: Seq(u64::from_le_bytes(field(body, 12))), snapshot: (body[20] == 1).then_some(snapshot) })
}

/// The floor in `dir`; the default where none was written yet.
pub(super) fn load(disk: &dyn Disk, dir: &Path) -> Result<Floor, OpenError> {
    let path = dir.join(NAME);
    match disk.remove(&dir.join(NEW_NAME)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).at(&dir.join(NEW_NAME), "removing");
        }
        _ => {}
    }
    let file = match disk.open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Floor::default()),
        opened => opened.at(&path, "opening")?,
    };
    let length = file.length().at(&path, "reading the length")?;
    let mut bytes = vec![0; length.min(LARGEST) as usize];
    read_exact_at(&*file, &mut bytes, 0).at(&path, "reading")?;
    decode(&bytes).map_err(|bad| match bad {
        BadFloor::Damaged => OpenError::damaged(&path, 0, "the floor is not what was written"),
        BadFloor::Newer(version) => OpenError::Newer { path, version, known: VERSION },
    })
}

/// Replaces the floor in `dir`. After an error the old one stands, or after a crash the new one.
pub(super) fn store(disk: &dyn Disk, dir: &Path, floor: &Floor) -> io::Result<()> {
    let bytes = encode(floor);
    if bytes.len() as u64 > LARGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the snapshot's key is too long"));
    }
    let new = dir.join(NEW_NAME);
    let written = disk.create(&new).and_then(|file| {
        write_all_at(&*file, &mut [IoSlice::new(&bytes)], 0)?;
        file.sync_data()?;
        disk.rename(&new, &dir.join(NAME))
    });
    if let Err(error) = written {
        // The next start removes it too.
        let _ = disk.remove(&new);
        return Err(error);
    }
    disk.sync_dir(dir)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::floor_at;
    use crate::disk::SimulatedDisk;

    #[test]
    fn a_floor_comes_back_and_any_changed_or_missing_byte_is_found() {
        let (disk, dir) = (SimulatedDisk::new(), Path::new("/log"));
        assert_eq!(load(&disk, dir).unwrap(), Floor::default());
        for floor in [Floor::default(), floor_at(7), floor_at(9_000)] {
            store(&disk, dir, &floor).unwrap();
            assert_eq!(load(&disk, dir).unwrap(), floor);
        }
        let path = dir.join(NAME);
        let sound = disk.contents(&path).unwrap();
        for at in 0..sound.len() {
            for flip in 0..8 {
                let mut bytes = sound.clone();
                bytes[at] ^= 1 << flip;
                disk.put(&path, bytes);
                assert!(matches!(load(&disk, dir), Err(OpenError::Damaged { .. })), "byte {at}");
            }
            disk.put(&path, sound[..at].to_vec());
            assert!(matches!(load(&disk, dir), Err(OpenError::Damaged { .. })), "length {at}");
        }
    }

    #[test]
    fn a_newer_floor_is_refused() {
        let (disk, dir) = (SimulatedDisk::new(), Path::new("/log"));
        let mut bytes = encode(&Floor::default());
        bytes[8] = 2;
        let body = bytes.len() - 4;
        let crc = crc32c(&bytes[..body]).to_le_bytes();
        bytes[body..].copy_from_slice(&crc);
        disk.put(&dir.join(NAME), bytes);
        assert!(matches!(load(&disk, dir), Err(OpenError::Newer { version: 2, known: 1, .. })));
    }
}
