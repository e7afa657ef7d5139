//! One failure at a time: a full disk and its reserve, failed writes, syncs, cuts and reads, and what an append costs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that fails says so by panicking

mod support;

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use strandline_commit_log::conformance::{entry, floor_at};
use strandline_commit_log::disk::{Crash, Disk, DiskDir, DiskFile, SimulatedDisk};
use strandline_commit_log::embedded::{EmbeddedCommitLog, OpenError, Options};
use strandline_commit_log::{AppendError, CommitLog, Entry, Floor, Payload, ReadAgain, ReadError};
use strandline_runtime::{Runtime, SeededRandom};
use strandline_types::Seq;
use support::{DIR, block_on, expected, log_paths, open, read_all, small};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

async fn filled(disk: &SimulatedDisk, options: &Options, count: u64) -> EmbeddedCommitLog {
    let log = open(disk, options).await.unwrap();
    for seq in 1..=count {
        log.append(Seq(seq), entry(seq, 50, 0)).await.unwrap();
    }
    log
}

fn entries(numbers: std::ops::RangeInclusive<u64>) -> Vec<Entry> {
    numbers.map(|number| entry(number, 50, 0)).collect()
}

fn used(disk: &SimulatedDisk) -> u64 {
    disk.paths().iter().map(|path| disk.contents(path).unwrap().len() as u64).sum()
}

#[test]
fn an_append_is_one_sync() {
    block_on(async {
        let disk = SimulatedDisk::new();
        let log = filled(&disk, &Options { file_bytes: 1 << 20, ..small() }, 1).await;
        for seq in 2..=50 {
            let before = disk.synced();
            log.append(Seq(seq), entry(seq, 50, 3_000)).await.unwrap();
            assert_eq!(disk.synced(), before + 1);
        }
    });
}

#[test]
fn a_full_disk_refuses_payloads_and_lets_small_entries_use_the_reserve() {
    block_on(async {
        let disk = SimulatedDisk::new();
        let options = Options { file_bytes: 1 << 20, reserve_bytes: 5_000, min_free_bytes: 1_000, ..small() };
        let log = filled(&disk, &options, 3).await;
        assert_eq!(log.disk_use().reserve_bytes, 5_000);
        disk.set_capacity(Some(used(&disk) + 10));

        // A payload does not touch the reserve, however often it is tried.
        for _ in 0..3 {
            let refusal = log.append(Seq(4), entry(4, 50, 3_000)).await;
            assert!(matches!(refusal, Err(AppendError::Full { .. })), "{refusal:?}");
        }
        assert_eq!(log.disk_use().reserve_bytes, 5_000);
        assert_eq!(read_all(&log, 1).await.unwrap(), expected(&entries(1..=3), 1));

        // Entries without one go on: first in what is left, then in the reserve, then they are refused too.
        let mut next = 4;
        let refusal = loop {
            match log.append(Seq(next), entry(next, 50, 0)).await {
                Ok(()) => next += 1,
                Err(refusal) => break refusal,
            }
        };
        assert!(matches!(refusal, AppendError::Full { .. }), "{refusal}");
        assert!((45..60).contains(&next), "{next} entries of 106 bytes in a reserve of 5,000");
        assert_eq!(log.disk_use().reserve_bytes, 0);
        assert!(!log.release_reserve());

        // Room again: the append after the next look takes the reserve again.
        disk.set_capacity(Some(1 << 20));
        let log = open(&disk, &options).await.unwrap();
        assert_eq!(log.disk_use().reserve_bytes, 5_000);
        assert_eq!(read_all(&log, 1).await.unwrap(), expected(&entries(1..=next - 1), 1));
        log.append(Seq(next), entry(next, 50, 3_000)).await.unwrap();
    });
}

#[tokio::test(start_paused = true)]
async fn the_reserve_comes_back_and_free_disk_is_asked_rarely() {
    let disk = SimulatedDisk::new();
    let options = Options { file_bytes: 1 << 20, reserve_bytes: 5_000, min_free_bytes: 20_000, ..small() };
    let runtime = Runtime::simulated(3, 0);
    let dir = Path::new(DIR);
    let log = EmbeddedCommitLog::open_on(Arc::new(disk.clone()), dir, options, runtime.clone()).await.unwrap();
    assert!(log.has_room() && log.release_reserve());
    let used = log.disk_use().bytes;
    disk.set_capacity(Some(used + 10_000));
    log.append(Seq(1), entry(1, 10, 10)).await.unwrap();
    // The look is half a second old at most.
    runtime.sleep(std::time::Duration::from_secs(1)).await;
    assert!(!log.has_room());
    assert!((5_000..10_000).contains(&log.free_bytes().unwrap()));
    log.append(Seq(2), entry(2, 10, 10)).await.unwrap();
    assert_eq!(log.disk_use().reserve_bytes, 0);
    disk.set_capacity(Some(used + 50_000));
    assert!(!log.has_room(), "asked again within half a second");
    runtime.sleep(std::time::Duration::from_secs(1)).await;
    log.append(Seq(3), entry(3, 10, 10)).await.unwrap();
    assert_eq!(log.disk_use().reserve_bytes, 5_000);
    assert!(log.has_room());
}

#[tokio::test(start_paused = true)]
async fn a_reserve_that_cannot_be_made_is_not_tried_at_every_append() {
    let disk = SimulatedDisk::new();
    let options = Options { file_bytes: 1 << 20, reserve_bytes: 5_000, min_free_bytes: 20_000, ..small() };
    let runtime = Runtime::simulated(3, 0);
    let log = EmbeddedCommitLog::open_on(Arc::new(disk.clone()), Path::new(DIR), options, runtime.clone()).await.unwrap();
    assert!(log.release_reserve());
    // As a quota does: there is room, and none for a file of that size.
    disk.set_allocate_fails_late(true);
    log.append(Seq(1), entry(1, 10, 10)).await.unwrap();
    disk.set_allocate_fails_late(false);
    runtime.sleep(std::time::Duration::from_secs(50)).await;
    log.append(Seq(2), entry(2, 10, 10)).await.unwrap();
    assert_eq!(log.disk_use().reserve_bytes, 0, "not yet");
    runtime.sleep(std::time::Duration::from_secs(15)).await;
    log.append(Seq(3), entry(3, 10, 10)).await.unwrap();
    assert_eq!(log.disk_use().reserve_bytes, 5_000);
}

#[test]
fn the_floor_and_the_close_may_use_the_reserve() {
    block_on(async {
        for close in [false, true] {
            let disk = SimulatedDisk::new();
            let options = Options { reserve_bytes: 5_000, preallocate_bytes: 0, ..small() };
            let log = filled(&disk, &options, 3).await;
            disk.set_capacity(Some(used(&disk)));
            if close {
                log.close().await.unwrap();
            } else {
                log.raise_floor(Floor::default(), floor_at(2)).await.unwrap();
            }
        }
    });
}

#[test]
fn a_write_that_fails_at_any_byte_leaves_the_log_as_it_was() {
    block_on(async {
        let whole = 56 + 50 + 400;
        for (errno, direct_bytes) in [(EIO, u64::MAX), (ENOSPC, u64::MAX), (EIO, 300), (ENOSPC, 300)] {
            for after in 0..whole {
                let disk = SimulatedDisk::new();
                disk.set_takes_direct(true);
                let log = filled(&disk, &Options { file_bytes: 1 << 20, direct_bytes, ..small() }, 2).await;
                disk.fail_write_after(after, errno);
                match log.append(Seq(3), entry(3, 50, 400)).await {
                    Err(AppendError::Unavailable { .. }) if errno == EIO => {}
                    Err(AppendError::Full { .. }) if errno == ENOSPC => {}
                    other => panic!("{other:?}"),
                }
                // Another, shorter one takes its place, and nothing of the first comes back.
                log.append(Seq(3), entry(3, 50, 0)).await.unwrap();
                disk.restart(Crash::PowerMixed, &SeededRandom::new(after));
                let log = open(&disk, &small()).await.unwrap();
                assert_eq!(log.recovery().torn_bytes, 0);
                assert_eq!(read_all(&log, 1).await.unwrap(), expected(&entries(1..=3), 1));
            }
        }
    });
}

#[test]
fn large_frames_go_past_the_page_cache_between_small_ones() {
    block_on(async {
        // None of it, a part of a block, whole blocks, more than the buffer.
        let payloads = [0, 300, 4_000, 9_000, 100, (1 << 20) - 7, 50, (2 << 20) + 5_000, 4_096, 0];
        for supported in [true, false] {
            let disk = SimulatedDisk::new();
            disk.set_takes_direct(supported);
            let options = Options { file_bytes: 64 << 20, direct_bytes: 1_000, ..small() };
            let mut log = open(&disk, &options).await.unwrap();
            let mut written = Vec::new();
            for (nth, payload) in payloads.into_iter().enumerate() {
                let seq = nth as u64 + 1;
                written.push(entry(seq, 50, payload));
                log.append(Seq(seq), written[nth].clone()).await.unwrap();
                if nth % 3 == 0 {
                    disk.restart(Crash::PowerMixed, &SeededRandom::new(seq));
                    log = open(&disk, &options).await.unwrap();
                    assert_eq!(log.recovery().torn_bytes, 0);
                }
                assert!(read_all(&log, 1).await.unwrap() == expected(&written, 1), "{seq}");
            }
            log.close().await.unwrap();
            disk.restart(Crash::PowerLost, &SeededRandom::new(1));
            let log = open(&disk, &options).await.unwrap();
            assert!(log.recovery().clean);
            assert!(read_all(&log, 1).await.unwrap() == expected(&written, 1));
        }
    });
}

#[test]
fn the_machines_disk_takes_large_frames() {
    block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { file_bytes: 8 << 20, preallocate_bytes: 1 << 20, direct_bytes: 1_000, ..small() };
        let open = || EmbeddedCommitLog::open(dir.path(), options.clone(), Runtime::simulated(1, 0));
        let mut log = open().await.unwrap();
        let mut written = Vec::new();
        for (nth, payload) in [10, 5_000, 300, (3 << 20) + 77, 1 << 20, 0, 4_096, (6 << 20) + 1].into_iter().enumerate() {
            let seq = nth as u64 + 1;
            written.push(entry(seq, 50, payload));
            log.append(Seq(seq), written[nth].clone()).await.unwrap();
            // What other calls see is what was written.
            assert!(read_all(&log, 1).await.unwrap() == expected(&written, 1), "{seq}");
            let length = written[nth].payload.length;
            let range = length / 3..length;
            let found = log.read_payloads(vec![(Seq(seq), range.clone())], ReadAgain::No).await.unwrap();
            assert_eq!(found.first(), written[nth].payload.slice(range).as_ref());
            if nth == 4 {
                log = open().await.unwrap();
            }
        }
        let log = open().await.unwrap();
        assert_eq!(log.recovery().torn_bytes, 0);
        assert!(read_all(&log, 1).await.unwrap() == expected(&written, 1));
    });
}

#[test]
fn a_failed_sync_or_cut_is_fatal_for_ever_and_reads_go_on() {
    block_on(async {
        for cut in [false, true] {
            let disk = SimulatedDisk::new();
            let log = filled(&disk, &Options { file_bytes: 1 << 20, ..small() }, 2).await;
            if cut {
                disk.fail_write_after(10, EIO);
                disk.set_cut_fails(true);
            } else {
                disk.fail_sync(1);
            }
            for _ in 0..3 {
                let answer = log.append(Seq(3), entry(3, 50, 0)).await;
                assert!(matches!(answer, Err(AppendError::Fatal { .. })), "{answer:?}");
                disk.set_cut_fails(false);
            }
            assert!(matches!(log.close().await, Err(AppendError::Fatal { .. })));
            assert_eq!(log.head(), Seq(2));
            assert_eq!(read_all(&log, 1).await.unwrap(), expected(&entries(1..=2), 1));
        }
    });
}

#[test]
fn a_new_file_that_there_is_no_descriptor_for_is_tried_again() {
    block_on(async {
        // A file and the folder are opened for it.
        for opens in 0..2 {
            let disk = SimulatedDisk::new();
            let log = filled(&disk, &Options { file_bytes: 400, ..small() }, 1).await;
            let files = log_paths(&disk).len();
            let mut next = 2;
            disk.set_opens_left(Some(opens));
            while let Ok(()) = log.append(Seq(next), entry(next, 50, 0)).await {
                next += 1;
            }
            for _ in 0..3 {
                let answer = log.append(Seq(next), entry(next, 50, 0)).await;
                assert!(matches!(answer, Err(AppendError::Unavailable { .. })), "{answer:?}");
            }
            assert_eq!(log_paths(&disk).len(), files, "nothing is left of it");
            disk.set_opens_left(None);
            for seq in next..next + 20 {
                log.append(Seq(seq), entry(seq, 50, 0)).await.unwrap();
            }
            drop(log);
            disk.restart(Crash::PowerLost, &SeededRandom::new(1));
            let log = open(&disk, &small()).await.unwrap();
            assert_eq!(read_all(&log, 1).await.unwrap(), expected(&entries(1..=next + 19), 1));
        }
    });
}

#[test]
fn an_entry_that_was_there_after_a_failed_sync_stays() {
    // The system took the bytes for written: a start that believed it would show an entry that a power cut takes back.
    block_on(async {
        let disk = SimulatedDisk::new();
        let log = filled(&disk, &Options { file_bytes: 1 << 20, ..small() }, 2).await;
        disk.fail_sync(1);
        log.append(Seq(3), entry(3, 50, 0)).await.unwrap_err();
        let random = SeededRandom::new(1);
        disk.restart(Crash::Killed, &random);
        let log = open(&disk, &small()).await.unwrap();
        assert_eq!(read_all(&log, 1).await.unwrap(), expected(&entries(1..=3), 1));
        disk.restart(Crash::PowerLost, &random);
        let log = open(&disk, &small()).await.unwrap();
        assert_eq!(read_all(&log, 1).await.unwrap(), expected(&entries(1..=3), 1));
    });
}

#[test]
fn reads_that_fail_say_so_and_damage_says_where() {
    block_on(async {
        let disk = SimulatedDisk::new();
        let log = filled(&disk, &Options { file_bytes: 1 << 20, ..small() }, 2).await;
        log.append(Seq(3), entry(3, 50, 500)).await.unwrap();
        disk.set_reads_fail(true);
        assert!(matches!(log.read(Seq(1), 100).await, Err(ReadError::Unavailable { .. })));
        assert!(matches!(log.read_payload(Seq(3), 0..10).await, Err(ReadError::Unavailable { .. })));
        // What would be a conflict, were the winner readable, is surely not written.
        let answer = log.append(Seq(1), entry(1, 50, 0)).await;
        assert!(matches!(answer, Err(AppendError::Unavailable { .. })), "{answer:?}");
        disk.set_reads_fail(false);
        log.close().await.unwrap();

        // A payload that a replay steps over is found when it is read.
        let path = log_paths(&disk).remove(0);
        let mut bytes = disk.contents(&path).unwrap();
        let payload = entry(3, 50, 500).payload.chunks.concat();
        let at = bytes.windows(500).position(|window| window == payload).unwrap();
        bytes[at + 250] ^= 4;
        disk.put(&path, bytes);
        let log = open(&disk, &small()).await.unwrap();
        match log.read_payload(Seq(3), 0..500).await {
            Err(ReadError::Corrupt { place, .. }) => assert_eq!(place, format!("{} byte {}", path.display(), at - 106)),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn a_payload_that_lies_about_its_length_is_refused() {
    block_on(async {
        let disk = SimulatedDisk::new();
        let log = filled(&disk, &small(), 1).await;
        let payload = Payload { length: 9, ..Payload::new(vec![vec![1; 10].into()]) };
        let answer = log.append(Seq(2), Entry { payload, ..entry(2, 10, 0) }).await;
        assert!(matches!(answer, Err(AppendError::Unavailable { .. })), "{answer:?}");
        log.append(Seq(2), entry(2, 10, 10)).await.unwrap();
    });
}

#[test]
fn a_newer_format_and_a_bad_setting_are_refused() {
    block_on(async {
        let disk = SimulatedDisk::new();
        drop(filled(&disk, &small(), 3).await);
        let path = log_paths(&disk).remove(0);
        let mut bytes = disk.contents(&path).unwrap();
        bytes[8] = 9;
        let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
        digest.update(&bytes[..60]);
        bytes[60..64].copy_from_slice(&(digest.finalize() as u32).to_le_bytes());
        disk.put(&path, bytes);
        let refusal = open(&disk, &small()).await.err().unwrap();
        assert!(matches!(refusal, OpenError::Newer { version: 9, known: 1, .. }), "{refusal}");
        for file_bytes in [0, (1 << 30) + 1] {
            let refusal = open(&disk, &Options { file_bytes, ..small() }).await.err().unwrap();
            assert!(matches!(refusal, OpenError::Option { setting: "file_bytes", .. }), "{refusal}");
        }
    });
}

#[test]
fn a_closed_log_opens_without_being_read_and_goes_on_in_the_same_file() {
    block_on(async {
        let disk = SimulatedDisk::new();
        let options = Options { file_bytes: 1 << 20, ..small() };
        let mut log = filled(&disk, &options, 3).await;
        for round in 0..4 {
            log.close().await.unwrap();
            log = open(&disk, &options).await.unwrap();
            assert!(log.recovery().clean && log.recovery().scanned_bytes == 0);
            assert_eq!((log_paths(&disk).len(), log.disk_use().files), (1, 1));
            // A second close without an append between adds nothing.
            let length = disk.contents(&log_paths(&disk)[0]).unwrap().len();
            log.close().await.unwrap();
            log = open(&disk, &options).await.unwrap();
            assert_eq!(disk.contents(&log_paths(&disk)[0]).unwrap().len(), length);
            log.append(Seq(4 + round), entry(4 + round, 50, 0)).await.unwrap();
        }
        // Without a close the file is read through, over the end frames in it.
        disk.restart(Crash::Killed, &SeededRandom::new(1));
        let log = open(&disk, &options).await.unwrap();
        assert!(!log.recovery().clean && log.recovery().scanned_bytes > 1_000);
        assert_eq!(read_all(&log, 1).await.unwrap(), expected(&entries(1..=7), 1));
    });
}

#[test]
fn trim_frees_whole_files_and_disk_use_is_what_the_files_have() {
    block_on(async {
        let disk = SimulatedDisk::new();
        let log = filled(&disk, &small(), 200).await;
        let on_disk = || log_paths(&disk).iter().map(|path| disk.contents(path).unwrap().len() as u64).sum::<u64>();
        let before = log.disk_use();
        assert!(before.files > 8);
        assert_eq!((before.files, before.bytes), (log_paths(&disk).len(), on_disk()));
        log.raise_floor(Floor::default(), floor_at(201)).await.unwrap();
        log.trim(Seq(201)).await.unwrap();
        let after = log.disk_use();
        assert_eq!((after.files, after.bytes), (1, on_disk()));
        assert_eq!(log.head(), Seq(200));
        drop(log);
        disk.restart(Crash::PowerLost, &SeededRandom::new(1));
        let log = open(&disk, &small()).await.unwrap();
        assert_eq!(log.head(), Seq(200));
        log.append(Seq(201), entry(201, 50, 0)).await.unwrap();
    });
}

#[test]
fn pages_behind_the_newest_are_given_back_once_each() {
    block_on(async {
        let disk = SimulatedDisk::new();
        let options = Options { file_bytes: 20_000, page_cache_bytes: 3_000, ..small() };
        let log = filled(&disk, &options, 500).await;
        let paths = log_paths(&disk);
        assert!(paths.len() > 2);
        let forgotten = disk.forgotten();
        for path in &paths {
            // Without a gap or an overlap, whole for all but the newest file, and never its newest bytes.
            let mut end = 0;
            for (_, range) in forgotten.iter().filter(|(at, _)| at == path) {
                assert_eq!(range.start, end);
                end = range.end;
            }
            let bytes = disk.contents(path).unwrap();
            let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64 + 1;
            if Some(path) == paths.last() {
                assert!(end + 3_000 <= used && end + 6_200 >= used, "{end} of {used}");
            } else {
                assert_eq!(end, used);
            }
        }
        drop(log);
    });
}

#[test]
fn what_nobody_reads_again_is_read_past_the_page_cache() {
    block_on(async {
        for takes_direct in [true, false] {
            let disk = SimulatedDisk::new();
            disk.set_takes_direct(takes_direct);
            let log = open(&disk, &Options { file_bytes: 20_000, ..small() }).await.unwrap();
            for seq in 1..=12 {
                log.append(Seq(seq), entry(seq, 50, 9_000)).await.unwrap();
            }
            log.close().await.unwrap();
            log.read_payload(Seq(1), 0..9_000).await.unwrap();
            log.read_payloads(vec![(Seq(1), 0..9_000), (Seq(2), 0..9_000)], ReadAgain::Maybe).await.unwrap();
            log.read_payloads(vec![(Seq(2), 20..319), (Seq(3), 0..0)], ReadAgain::No).await.unwrap();
            assert_eq!(disk.direct_reads(), 0);
            // The last of them ends near the file's end, in no whole block.
            let reads: Vec<_> = (1..=12).map(|seq| (Seq(seq), 10 * seq..8_999 + seq / 12)).collect();
            let found = log.read_payloads(reads.clone(), ReadAgain::No).await.unwrap();
            for ((seq, range), bytes) in reads.into_iter().zip(found) {
                assert_eq!(Some(bytes), entry(seq.0, 50, 9_000).payload.slice(range));
            }
            assert_eq!(disk.direct_reads(), if takes_direct { 12 } else { 0 });
        }
    });
}

#[test]
fn a_file_that_ends_too_early_is_damage_past_the_page_cache_too() {
    block_on(async {
        let disk = SimulatedDisk::new();
        disk.set_takes_direct(true);
        let log = filled(&disk, &small(), 0).await;
        log.append(Seq(1), entry(1, 50, 9_000)).await.unwrap();
        let path = log_paths(&disk).pop().unwrap();
        for length in [8_000, 8_192, 5_000] {
            disk.open(&path).unwrap().set_length(length).unwrap();
            let answer = log.read_payloads(vec![(Seq(1), 0..9_000)], ReadAgain::No).await;
            assert!(matches!(answer, Err(ReadError::Corrupt { .. })), "{length}: {answer:?}");
        }
    });
}

/// Whoever closes a file last frees its blocks: that must be who trims it, never an append.
#[test]
fn a_file_that_was_trimmed_is_not_held_open() {
    block_on(async {
        let disk = SimulatedDisk::new();
        let options = Options { file_bytes: 10_000, page_cache_bytes: 9_000, direct_bytes: 0, ..small() };
        let log = filled(&disk, &options, 300).await;
        let files = log_paths(&disk).len();
        log.raise_floor(Floor::default(), floor_at(301)).await.unwrap();
        log.trim(Seq(301)).await.unwrap();
        assert_eq!((files > 2, log_paths(&disk).len()), (true, 1), "{files}");
        assert_eq!(disk.held_without_a_name(), 0);
    });
}

#[test]
fn space_that_was_taken_ahead_by_a_failed_call_is_cut_too() {
    block_on(async {
        let disk = SimulatedDisk::new();
        disk.set_allocate_fails_late(true);
        let log = filled(&disk, &small(), 60).await;
        assert!(log_paths(&disk).len() > 2);
        log.close().await.unwrap();
        let log = open(&disk, &small()).await.unwrap();
        assert!(log.recovery().clean);
        assert_eq!(read_all(&log, 1).await.unwrap(), expected(&entries(1..=60), 1));
    });
}

/// A disk on which a write ends its thread, once.
#[derive(Clone)]
struct DeadlyDisk {
    inner: SimulatedDisk,
    deadly: Arc<AtomicBool>,
}

struct DeadlyFile {
    inner: Arc<dyn DiskFile>,
    deadly: Arc<AtomicBool>,
}

impl DeadlyDisk {
    fn wrap(&self, inner: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(DeadlyFile { inner, deadly: self.deadly.clone() })
    }
}

impl Disk for DeadlyDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.inner.create_dir(dir)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.inner.list(dir)
    }
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.wrap(self.inner.create(path)?))
    }
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.wrap(self.inner.open(path)?))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.inner.remove(path)
    }
    fn open_dir(&self, dir: &Path) -> io::Result<Box<dyn DiskDir>> {
        self.inner.open_dir(dir)
    }
    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        self.inner.free_bytes(dir)
    }
}

impl DiskFile for DeadlyFile {
    fn length(&self) -> io::Result<u64> {
        self.inner.length()
    }
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.inner.read_at(buffer, position)
    }
    fn write_at(&self, chunks: &[IoSlice<'_>], position: u64) -> io::Result<usize> {
        assert!(!self.deadly.swap(false, Ordering::Relaxed), "ordered by the test");
        self.inner.write_at(chunks, position)
    }
    fn read_direct(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.inner.read_direct(buffer, position)
    }
    fn write_direct(&self, bytes: &[u8], position: u64) -> io::Result<usize> {
        self.inner.write_direct(bytes, position)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.inner.sync_data()
    }
    fn set_length(&self, length: u64) -> io::Result<()> {
        self.inner.set_length(length)
    }
    fn allocate(&self, from: u64, length: u64) -> io::Result<()> {
        self.inner.allocate(from, length)
    }
    fn forget(&self, from: u64, length: u64) {
        self.inner.forget(from, length);
    }
}

#[tokio::test]
async fn an_append_that_never_came_back_makes_the_log_fatal() {
    let disk = DeadlyDisk { inner: SimulatedDisk::new(), deadly: Arc::default() };
    let log = EmbeddedCommitLog::open_on(Arc::new(disk.clone()), Path::new(DIR), small(), Runtime::system()).await.unwrap();
    log.append(Seq(1), entry(1, 50, 0)).await.unwrap();
    disk.deadly.store(true, Ordering::Relaxed);
    let answer = log.append(Seq(2), entry(2, 50, 0)).await;
    assert!(matches!(answer, Err(AppendError::Ambiguous { .. })), "{answer:?}");
    for _ in 0..2 {
        let answer = log.append(Seq(2), entry(2, 50, 0)).await;
        assert!(matches!(answer, Err(AppendError::Fatal { .. })), "{answer:?}");
    }
    assert_eq!(read_all(&log, 1).await.unwrap(), expected(&entries(1..=1), 1));
}
