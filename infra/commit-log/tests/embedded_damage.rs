//! Every byte of a small log flipped, every length cut: found, or no more than a torn tail.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that fails says so by panicking

mod support;

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use strandline_commit_log::conformance::{entry, floor_at};
use strandline_commit_log::disk::{Disk, SimulatedDisk};
use strandline_commit_log::embedded::{EmbeddedCommitLog, OpenError};
use strandline_commit_log::{CommitLog, Entry, Floor};
use strandline_types::Seq;
use support::{block_on, expected, log_paths, open, read_all, small};

/// A log of two files: entries with and without payloads, small ones and ones that a replay steps over.
struct Made {
    entries: Vec<Entry>,
    files: Vec<(PathBuf, Vec<u8>)>,
}

/// Bytes of an entry, and of its payload.
const SIZES: [(usize, usize); 8] = [(30, 0), (50, 90), (0, 300), (64, 10), (9, 900), (20, 0), (40, 40), (33, 350)];

fn make(closed: bool) -> Made {
    let entries: Vec<Entry> =
        SIZES.into_iter().zip(1..).map(|((bytes, payload), number)| entry(number, bytes, payload)).collect();
    block_on(async {
        let disk = SimulatedDisk::new();
        let log = open(&disk, &small()).await.unwrap();
        for (entry, seq) in entries.iter().zip(1..) {
            log.append(Seq(seq), entry.clone()).await.unwrap();
        }
        if closed {
            log.close().await.unwrap();
        }
        let files: Vec<_> = log_paths(&disk).into_iter().map(|path| (path.clone(), disk.contents(&path).unwrap())).collect();
        assert_eq!(files.len(), 2, "the test is about a closed file and the newest one");
        Made { entries, files }
    })
}

enum Outcome {
    /// Opening or reading said no.
    Found(String),
    /// This many entries are there, the right ones, and the log goes on behind them.
    Entries(usize),
}

/// Opens a folder of these files and reads everything; a wrong byte in what is read is a failed test.
fn outcome(made: &Made, files: &[(PathBuf, Vec<u8>)]) -> Outcome {
    let disk = SimulatedDisk::new();
    for (path, bytes) in files {
        disk.put(path, bytes.clone());
    }
    block_on(async {
        let log = match open(&disk, &small()).await {
            Ok(log) => log,
            Err(OpenError::Damaged { path, position, reason }) => {
                for (path, bytes) in files {
                    assert_eq!(disk.contents(path).as_ref(), Some(bytes), "a refused log was changed");
                }
                return Outcome::Found(format!("{} {position} {reason}", path.display()));
            }
            Err(other) => panic!("{other}"),
        };
        let read = match read_all(&log, 1).await {
            Ok(read) => read,
            Err(error) => return Outcome::Found(error.to_string()),
        };
        assert_eq!(read, expected(&made.entries[..read.len()], 1), "wrong bytes were read");
        let next = read.len() as u64 + 1;
        log.append(Seq(next), entry(99, 20, 200)).await.unwrap();
        log.close().await.unwrap();
        let again = open(&disk, &small()).await.unwrap();
        assert!(again.recovery().clean);
        assert_eq!(read_all(&again, 1).await.unwrap().len(), read.len() + 1);
        Outcome::Entries(read.len())
    })
}

#[test]
fn a_whole_log_comes_back() {
    for closed in [false, true] {
        let made = make(closed);
        assert!(matches!(outcome(&made, &made.files), Outcome::Entries(8)));
    }
}

#[test]
fn every_flipped_byte_is_found_or_no_more_than_a_torn_tail() {
    for closed in [false, true] {
        let made = make(closed);
        let (mut found, mut torn, mut harmless) = (0, 0, 0);
        for file in 0..made.files.len() {
            for at in 0..made.files[file].1.len() {
                for flip in [0x01, 0x80, 0xff] {
                    let mut files = made.files.clone();
                    files[file].1[at] ^= flip;
                    match outcome(&made, &files) {
                        Outcome::Found(_) => found += 1,
                        Outcome::Entries(8) => {
                            // The newest file's tail: its end frame, or zeros that were taken ahead.
                            assert_eq!(file, 1, "byte {at} of the closed file has no meaning");
                            harmless += 1;
                        }
                        Outcome::Entries(7) if !closed && file == 1 => torn += 1,
                        Outcome::Entries(count) => {
                            panic!("closed {closed}, file {file}, byte {at}: {count} entries are left")
                        }
                    }
                }
            }
        }
        let bytes: usize = made.files.iter().map(|(_, bytes)| bytes.len()).sum();
        assert_eq!(found + torn + harmless, bytes * 3);
        // The last frame has 56 + 33 + 350 bytes; a closed log has no torn frame at all.
        assert_eq!(torn, if closed { 0 } else { 3 * (56 + 33 + 350) });
    }
}

#[test]
fn every_cut_of_the_newest_file_leaves_a_prefix_and_of_an_older_one_is_found() {
    for closed in [false, true] {
        let made = make(closed);
        let (mut counts, mut newest) = (Vec::new(), made.files[1].1.clone());
        while !newest.is_empty() {
            newest.pop();
            match outcome(&made, &[made.files[0].clone(), (made.files[1].0.clone(), newest.clone())]) {
                Outcome::Entries(count) => counts.push(count),
                Outcome::Found(why) => panic!("cut to {}: {why}", newest.len()),
            }
        }
        assert!(counts.is_sorted_by(|longer, shorter| longer >= shorter));
        assert_eq!((counts.first(), counts.last()), (Some(&8), Some(&6)), "the newest file holds two entries");
        for length in 0..made.files[0].1.len() {
            let mut files = made.files.clone();
            files[0].1.truncate(length);
            assert!(matches!(outcome(&made, &files), Outcome::Found(_)), "cut to {length}");
        }
    }
}

#[test]
fn every_torn_last_write_is_cut_whatever_part_of_it_is_there() {
    // Zeros up to `at` and bytes behind, bytes up to `at` and zeros behind; taken ahead or not.
    let made = make(false);
    let (path, whole) = &made.files[1];
    let frame = 56 + 33 + 350;
    let used = whole.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let start = used - frame;
    for at in 0..frame {
        for (zeros, kept) in [(start..start + at, at == 0), (start + at..used, false)] {
            for ahead in [0, 60, 5_000] {
                let mut bytes = whole[..used].to_vec();
                bytes[zeros.clone()].fill(0);
                bytes.resize(used + ahead, 0);
                let same = bytes[..used] == whole[..used];
                match outcome(&made, &[made.files[0].clone(), (path.clone(), bytes)]) {
                    Outcome::Entries(count) => assert_eq!(count, if kept || same { 8 } else { 7 }),
                    Outcome::Found(why) => panic!("a torn write was taken for damage: {why}"),
                }
            }
        }
    }
}

#[test]
fn a_producers_copy_of_a_log_is_no_frame() {
    // The last entry carries the whole newest file as its payload, and is torn: the frames inside must count for
    // nothing, though their checksums are right.
    let made = make(false);
    let copied = &made.files[1].1;
    block_on(async {
        let disk = SimulatedDisk::new();
        for (path, bytes) in &made.files {
            disk.put(path, bytes.clone());
        }
        let options = strandline_commit_log::embedded::Options { file_bytes: 100_000, ..small() };
        let log = open(&disk, &options).await.unwrap();
        let mut payload = copied.clone();
        payload.extend_from_slice(copied);
        let carrier = Entry { payload: strandline_commit_log::Payload::new(vec![payload.into()]), ..entry(9, 10, 0) };
        log.append(Seq(9), carrier).await.unwrap();
        let path = &made.files[1].0;
        let mut torn = disk.contents(path).unwrap();
        let last = torn.iter().rposition(|byte| *byte != 0).unwrap();
        torn[last] ^= 1;
        disk.put(path, torn);
        let log = open(&disk, &options).await.unwrap();
        assert!(log.recovery().torn_bytes > copied.len() as u64);
        assert_eq!(read_all(&log, 1).await.unwrap(), expected(&made.entries, 1));
    });
}

#[test]
fn missing_swapped_and_foreign_files_are_found() {
    let made = make(true);
    let (first, second) = (&made.files[0], &made.files[1]);
    let damaged = |files: &[(PathBuf, Vec<u8>)]| match outcome(&made, files) {
        Outcome::Found(why) => why,
        Outcome::Entries(count) => panic!("{count} entries"),
    };
    assert!(damaged(std::slice::from_ref(second)).contains("floor"));
    damaged(&[(first.0.clone(), second.1.clone()), (second.0.clone(), first.1.clone())]);
    damaged(&[first.clone(), (second.0.with_file_name("00000000000000000009.log"), second.1.clone())]);
    let other = make(false);
    let mut mixed = first.1.clone();
    let half = mixed.len() / 2;
    mixed.truncate(half);
    mixed.extend_from_slice(&other.files[1].1);
    damaged(&[(first.0.clone(), mixed), second.clone()]);
}

#[test]
fn a_gap_is_forgiven_only_below_the_floor() {
    block_on(async {
        let disk = SimulatedDisk::new();
        let log = open(&disk, &small()).await.unwrap();
        for seq in 1..=40 {
            log.append(Seq(seq), entry(seq, 100, 100)).await.unwrap();
        }
        let paths = log_paths(&disk);
        assert!(paths.len() > 3, "{}", paths.len());
        let middle = disk.contents(&paths[1]).unwrap();
        drop(log);
        // A trim removed the second file, and the power went before the removal of the first was durable.
        strandline_commit_log::disk::Disk::remove(&disk, &paths[1]).unwrap();
        let refusal = open(&disk, &small()).await.err().unwrap();
        assert!(refusal.to_string().contains("are missing"), "{refusal}");
        disk.put(&paths[1], middle);
        let log = open(&disk, &small()).await.unwrap();
        log.raise_floor(Floor::default(), floor_at(35)).await.unwrap();
        drop(log);
        strandline_commit_log::disk::Disk::remove(&disk, &paths[1]).unwrap();
        let log = open(&disk, &small()).await.unwrap();
        assert_eq!(log.floor().await.unwrap(), floor_at(35));
        assert!(!log_paths(&disk).contains(&paths[0]));
        assert_eq!(read_all(&log, 35).await.unwrap().len(), 6);
        // A floor that the files do not reach.
        for path in &log_paths(&disk)[1..] {
            strandline_commit_log::disk::Disk::remove(&disk, path).unwrap();
        }
        assert!(matches!(open(&disk, &small()).await, Err(OpenError::Damaged { .. })));
    });
}

#[test]
fn bytes_behind_a_bad_frame_that_it_cannot_explain_are_found() {
    // The last frame's entry (at 60) or payload (at 200) is bad, and something stands behind its end that no write of
    // it can have left.
    let made = make(false);
    let (path, whole) = &made.files[1];
    let used = whole.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let start = used - (56 + 33 + 350);
    for (bad, behind) in [(60, 0), (200, 0), (60, 40), (200, 40)] {
        let mut bytes = whole[..used].to_vec();
        bytes[start + bad] ^= 1;
        bytes.resize(used + behind, 0);
        assert!(matches!(outcome(&made, &[made.files[0].clone(), (path.clone(), bytes.clone())]), Outcome::Entries(7)));
        bytes.push(1);
        match outcome(&made, &[made.files[0].clone(), (path.clone(), bytes)]) {
            Outcome::Found(why) => assert!(why.starts_with(&format!("{} {start} ", path.display())), "{why}"),
            Outcome::Entries(count) => panic!("{count} entries"),
        }
    }
}

#[test]
fn files_that_overlap_are_found_even_below_the_floor() {
    block_on(async {
        let (long, short) = (SimulatedDisk::new(), SimulatedDisk::new());
        for (disk, file_bytes) in [(&long, 2_000), (&short, 700)] {
            let options = strandline_commit_log::embedded::Options { file_bytes, ..small() };
            let log = open(disk, &options).await.unwrap();
            for seq in 1..=20 {
                log.append(Seq(seq), entry(seq, 100, 0)).await.unwrap();
            }
            log.raise_floor(Floor::default(), floor_at(19)).await.unwrap();
        }
        let overlapping = &log_paths(&short)[1];
        assert!(!log_paths(&long).contains(overlapping));
        long.put(overlapping, short.contents(overlapping).unwrap());
        let refusal = open(&long, &small()).await.err().unwrap();
        assert!(matches!(refusal, OpenError::Damaged { .. }) && refusal.to_string().contains("follows"), "{refusal}");
    });
}

/// One byte of a file that the log has open is another one from now on.
fn set_byte(disk: &SimulatedDisk, path: &Path, at: usize, byte: u8) {
    assert_eq!(disk.open(path).unwrap().write_at(&[IoSlice::new(&[byte])], at as u64).unwrap(), 1);
}

/// What is said of the files, and of what reads from the floor on find.
async fn said(log: &EmbeddedCommitLog, floor: u64) -> Vec<String> {
    let mut said: Vec<String> = log.check_files().await.iter().map(ToString::to_string).collect();
    said.extend(read_all(log, floor).await.err().map(|error| error.to_string()));
    said
}

#[test]
fn every_byte_that_changes_under_a_log_at_work_is_found_below_the_floor_too() {
    // A closed log has no zeros that were taken ahead, and one that went on behind an end frame has that frame inside.
    for (reopened, floor) in [(false, None), (false, Some(4)), (true, Some(7)), (true, Some(10))] {
        block_on(async {
            let disk = SimulatedDisk::new();
            let mut log = open(&disk, &small()).await.unwrap();
            for ((bytes, payload), seq) in SIZES.into_iter().zip(1..) {
                log.append(Seq(seq), entry(seq, bytes, payload)).await.unwrap();
            }
            if reopened {
                log.close().await.unwrap();
                log = open(&disk, &small()).await.unwrap();
                log.append(Seq(9), entry(9, 20, 200)).await.unwrap();
            }
            if let Some(floor) = floor {
                log.raise_floor(Floor::default(), floor_at(floor)).await.unwrap();
            }
            log.close().await.unwrap();
            let floor = floor.unwrap_or(1);
            assert_eq!(said(&log, floor).await, Vec::<String>::new());
            let paths: Vec<PathBuf> = disk.paths().into_iter().filter(|path| !path.ends_with("reserve")).collect();
            assert_eq!(paths.len(), if floor > 1 { 3 } else { 2 }, "{paths:?}");
            for path in paths {
                let sound = disk.contents(&path).unwrap();
                for (at, byte) in sound.iter().enumerate() {
                    for flip in [0x01, 0x80, 0xff] {
                        set_byte(&disk, &path, at, byte ^ flip);
                        let said = said(&log, floor).await;
                        assert!(!said.is_empty(), "{} byte {at}", path.display());
                    }
                    set_byte(&disk, &path, at, *byte);
                }
            }
            assert_eq!(said(&log, floor).await, Vec::<String>::new());
        });
    }
}

#[test]
fn of_a_file_that_is_written_no_more_a_missing_end_is_found_and_one_bad_frame_hides_no_other() {
    block_on(async {
        let disk = SimulatedDisk::new();
        let log = open(&disk, &small()).await.unwrap();
        for seq in 1..=30 {
            log.append(Seq(seq), entry(seq, 50, 90)).await.unwrap();
        }
        let paths = log_paths(&disk);
        assert!(paths.len() > 2);
        let file = disk.open(&paths[0]).unwrap();
        file.set_length(file.length().unwrap() + 1).unwrap();
        let said: Vec<String> = log.check_files().await.iter().map(ToString::to_string).collect();
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains("should end here"), "{said:?}");
        // Frames of 196 bytes: the second and the fourth.
        let sound = disk.contents(&paths[1]).unwrap();
        for at in [64 + 196 + 60, 64 + 3 * 196 + 60] {
            set_byte(&disk, &paths[1], at, !sound[at]);
        }
        assert_eq!(log.check_files().await.len(), 3);
    });
}
