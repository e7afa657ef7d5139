//! A file of the commit log, whatever is in it: refused, or opened, read, appended to and opened again.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;
use strandline_commit_log::disk::SimulatedDisk;
use strandline_commit_log::embedded::{EmbeddedCommitLog, OpenError, Options};
use strandline_commit_log::{CommitLog, Entry, Payload, Tail};
use strandline_fuzz::within;
use strandline_runtime::Runtime;
use strandline_types::ChainHash;

thread_local! {
    static RUNTIME: RefCell<tokio::runtime::Runtime> =
        RefCell::new(tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap());
}

const DIR: &str = "/log";
/// The nonce at 40 and the checksums follow from the rest: put right, so that frames are reached.
const HEADER: usize = 64;
const FRAME: usize = 56;

fn options() -> Options {
    Options { preallocate_bytes: 0, min_free_bytes: 0, reserve_bytes: 0, skipped_payload_bytes: 100, ..Options::default() }
}

async fn open(disk: &SimulatedDisk) -> Result<EmbeddedCommitLog, OpenError> {
    EmbeddedCommitLog::open_on(Arc::new(disk.clone()), Path::new(DIR), options(), Runtime::simulated(11, 0)).await
}

fuzz_target!(|data: &[u8]| {
    check(data, None);
    check(&put_right(data), None);
    // The first byte says how long the floor is, which then stands in front.
    if let [length, rest @ ..] = data
        && rest.len() >= usize::from(*length)
    {
        let (floor, log) = rest.split_at(usize::from(*length));
        check(&put_right(log), Some(floor));
        let mut right = floor.to_vec();
        if let Some(at) = right.len().checked_sub(4) {
            let crc = crc_fast::crc32_iscsi(&right[..at]);
            right[at..].copy_from_slice(&crc.to_le_bytes());
        }
        check(&put_right(log), Some(&right));
    }
});

/// Right checksums for the file's header and for every frame that its own lengths lead to.
fn put_right(data: &[u8]) -> Vec<u8> {
    let mut right = data.to_vec();
    if right.len() < HEADER {
        return right;
    }
    right[..8].copy_from_slice(b"STRNDLOG");
    right[8..12].copy_from_slice(&1_u32.to_le_bytes());
    right[12..16].fill(0);
    right[16..24].copy_from_slice(&1_u64.to_le_bytes());
    right[56..60].fill(0);
    let crc = crc_fast::crc32_iscsi(&right[..60]);
    right[60..64].copy_from_slice(&crc.to_le_bytes());
    let nonce: [u8; 16] = right[40..56].try_into().unwrap();
    let mut at = HEADER;
    while right.len() - at >= FRAME && right[at] == b's' {
        right[at..at + 4].copy_from_slice(b"sLfR");
        right[at + 5..at + 8].fill(0);
        let entry = u32::from_le_bytes(right[at + 32..at + 36].try_into().unwrap()) as usize;
        let payload = u64::from_le_bytes(right[at + 40..at + 48].try_into().unwrap()) as usize;
        let Some(end) =
            (at + FRAME).checked_add(entry).and_then(|end| end.checked_add(payload)).filter(|end| *end <= right.len())
        else {
            break;
        };
        let entry_crc = crc_fast::crc32_iscsi(&right[at + FRAME..at + FRAME + entry]);
        let payload_crc = crc_fast::crc32_iscsi(&right[at + FRAME + entry..end]);
        right[at + 36..at + 40].copy_from_slice(&payload_crc.to_le_bytes());
        right[at + 48..at + 52].copy_from_slice(&entry_crc.to_le_bytes());
        let mut all = nonce.to_vec();
        all.extend_from_slice(&(at as u64).to_le_bytes());
        all.extend_from_slice(&right[at..at + 52]);
        let crc = crc_fast::crc32_iscsi(&all);
        right[at + 52..at + 56].copy_from_slice(&crc.to_le_bytes());
        at = end;
    }
    right
}

fn check(log: &[u8], floor: Option<&[u8]>) {
    let disk = SimulatedDisk::new();
    disk.put(Path::new("/log/00000000000000000001.log"), log.to_vec());
    if let Some(floor) = floor {
        disk.put(Path::new("/log/floor"), floor.to_vec());
    }
    // The read buffer of 1 MiB twice, and what the simulated disk itself keeps of each file.
    within(log.len() * 64 + (6 << 20), || {
        RUNTIME.with_borrow(|runtime| runtime.block_on(whole(&disk)));
    });
}

async fn whole(disk: &SimulatedDisk) {
    let Ok(log) = open(disk).await else { return };
    let Ok(floor) = log.floor().await else { return };
    let mut next = floor.seq;
    // A file with a sound end frame is opened without a look at what is before it.
    let looked_at = !log.recovery().clean;
    let mut read = Vec::new();
    while let Ok(Tail::Rows { rows, head, .. }) = log.read(next, 1 << 20).await {
        assert!(head.0 + 1 >= next.0);
        let Some(last) = rows.last() else { break };
        next = last.seq.next();
        for row in rows {
            let _ = log.read_payload(row.seq, 0..row.payload_length).await;
            read.push(row);
        }
    }
    let head = log.head();
    let entry = Entry {
        hash_before: ChainHash([7; 16]),
        bytes: Bytes::from_static(b"entry"),
        payload: Payload::new(vec![Bytes::from_static(b"payload")]),
    };
    if log.append(head.next(), entry).await.is_err() {
        return;
    }
    drop(log);
    // What was acknowledged is there after a kill, and what stood before it has not changed.
    let again = match open(disk).await {
        Ok(again) => again,
        // The end frame is gone, and all frames are looked at: damage that was there before may be found only now.
        Err(error) => return assert!(!looked_at, "{error}"),
    };
    assert_eq!(again.head(), head.next());
    let Tail::Rows { rows, .. } = again.read(head.next(), 1 << 20).await.unwrap() else { panic!("trimmed") };
    assert_eq!((rows.len(), rows[0].bytes.as_ref()), (1, &b"entry"[..]));
    if let Some(first) = read.first()
        && let Ok(Tail::Rows { rows, .. }) = again.read(first.seq, 1 << 20).await
    {
        assert_eq!(rows[0], *first);
    }
}
