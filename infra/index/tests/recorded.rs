//! A recorded log of each version folds, entry by entry, to the digests that it had when it was recorded, and a snapshot of
//! then is read (I2, I3): old behaviour stays in the code for as long as such a log can be read.
//!
//! `STRANDLINE_BLESS=VERSION` records that one anew; only ever for a version that was not released.
#![allow(clippy::unwrap_used)] // helpers of tests may, as tests do

mod player;

use bytes::Bytes;
use player::{Player, Step};
use std::path::PathBuf;
use strandline_index::{Index, decode_snapshot, digest, digest_of, encode_snapshot};

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Everything that version 1 knows, more than once.
fn script() -> Vec<Step> {
    let mut steps = vec![Step::CreateTopic { topic: 0, partitions: 2 }, Step::CreateTopic { topic: 1, partitions: 3 }];
    steps.extend((0..6).map(|kind| Step::Lease { kind, topic: 0, steal: false }));
    steps.push(Step::InitProducer { producer: -1 });
    for round in 0..4 {
        for partition in 0..2 {
            for producer in [-1, 0, 1] {
                let (sequence_off, object) = (i32::from(round == 3 && producer == 1), partition == 1 && round % 2 == 0);
                steps.push(Step::Produce { topic: 0, partition, producer, sequence_off, batches: 2, object });
            }
        }
        steps.push(Step::Produce { topic: 1, partition: round, producer: 1, sequence_off: 0, batches: 3, object: false });
        steps.push(Step::Claim { group: 0 });
        steps.push(Step::Store { group: 0, members: 2, stale: round == 2 });
        steps.push(Step::Commit { group: 0, topic: 0, partition: 0, offset: i64::from(round) });
        steps.push(Step::Repeat);
        steps.push(Step::Rehome { topic: 0, partition: 0 });
        steps.push(Step::Convert { topic: 0, extents: 3, wrong: round == 1 });
        steps.push(Step::LogStart { topic: 0, partition: 0, back: 20 - i64::from(round) });
    }
    steps.push(Step::Merge { topic: 0, inputs: 2 });
    for wrong in [true, false] {
        steps.push(Step::SealPlan { topic: 0, inputs: 1 });
        steps.push(Step::Sealed { topic: 0, wrong });
    }
    steps.push(Step::SealDone { topic: 0 });
    steps.push(Step::Lost { topic: 1, partition: 1 });
    steps.push(Step::Grow { topic: 1, by: 2 });
    steps.push(Step::Expire { producer: 0 });
    steps.push(Step::Horizon);
    steps.push(Step::Garbage);
    steps.push(Step::Join);
    steps.push(Step::Leave);
    steps.push(Step::DeleteTopic { topic: 1 });
    steps.push(Step::CreateTopic { topic: 1, partitions: 1 });
    steps
}

/// A cell of version 1, the upgrade, and everything that version 2 knows besides.
fn script_2() -> Vec<Step> {
    let mut steps = script();
    let produce = |partition, object| Step::Produce { topic: 0, partition, producer: 1, sequence_off: 0, batches: 2, object };
    let planned = |partitions, extents, wrong| Step::SealExtents { topic: 0, partitions, extents, wrong };
    // Refused: the version is not raised. Then what is fresh is sealed, so that extents follow what is sealed.
    steps.push(planned(3, 1, false));
    steps.push(Step::Snapshot { agree: true });
    steps.push(Step::Raise);
    steps.push(Step::Lease { kind: 2, topic: 0, steal: true });
    for _ in 0..4 {
        steps.extend([
            Step::SealPlan { topic: 0, inputs: 9 },
            Step::Sealed { topic: 0, wrong: false },
            Step::SealDone { topic: 0 },
        ]);
    }
    steps.extend([produce(0, false), produce(1, true), produce(0, true), planned(3, 9, true), planned(3, 2, false)]);
    // The log start passes the pinned extents, and more comes behind them.
    steps.extend([
        produce(0, false),
        Step::Convert { topic: 0, extents: 1, wrong: false },
        Step::Rehome { topic: 0, partition: 0 },
    ]);
    steps.push(Step::LogStart { topic: 0, partition: 0, back: 0 });
    steps.extend([Step::Sealed { topic: 0, wrong: true }, Step::Sealed { topic: 0, wrong: false }]);
    steps.extend([produce(1, false), planned(2, 9, false), Step::SealDone { topic: 0 }, planned(2, 9, false)]);
    steps.extend([Step::Snapshot { agree: false }, Step::ClearDisagreement, Step::Snapshot { agree: true }]);
    steps.extend([Step::ClearDisagreement, produce(0, false)]);
    steps
}

fn record(version: u32) {
    let mut player = if version == 1 { Player::new() } else { Player::of(1, 2) };
    let steps = if version == 1 { script() } else { script_2() };
    steps.into_iter().for_each(|step| player.play(step));
    let (mut log, mut digests, mut index) = (Vec::new(), String::new(), Index::default());
    for entry in &player.entries {
        log.extend_from_slice(&u32::try_from(entry.len()).unwrap().to_be_bytes());
        log.extend_from_slice(entry);
        index.fold(index.cell.seq.next(), entry).unwrap();
        digests.push_str(&hex(&digest(&index)));
        digests.push('\n');
    }
    std::fs::write(golden(&format!("fold-v{version}.log")), log).unwrap();
    std::fs::write(golden(&format!("fold-v{version}.digests")), digests).unwrap();
    std::fs::write(golden(&format!("snapshot-v{version}.bin")), encode_snapshot(&index)).unwrap();
}

/// The index after a recorded log, which folds as it did then.
fn folds_as_then(version: u32) -> Index {
    if std::env::var("STRANDLINE_BLESS").is_ok_and(|wanted| wanted == version.to_string()) {
        record(version);
    }
    let log = Bytes::from(std::fs::read(golden(&format!("fold-v{version}.log"))).unwrap());
    let digests = std::fs::read_to_string(golden(&format!("fold-v{version}.digests"))).unwrap();
    let (mut index, mut at) = (Index::default(), 0);
    for expected in digests.lines() {
        let length = u32::from_be_bytes(log[at..at + 4].try_into().unwrap()) as usize;
        let entry = log.slice(at + 4..at + 4 + length);
        at += 4 + length;
        index.fold(index.cell.seq.next(), &entry).unwrap();
        assert_eq!(hex(&digest(&index)), expected, "after entry {}", index.cell.seq);
    }
    assert_eq!(at, log.len());
    assert!(index.cell.seq.0 > 60, "the script is played");
    let snapshot = Bytes::from(std::fs::read(golden(&format!("snapshot-v{version}.bin"))).unwrap());
    assert_eq!(decode_snapshot(&snapshot).unwrap(), index);
    assert_eq!(digest_of(&snapshot), digest(&index));
    assert_eq!(snapshot[4..6], u16::try_from(version).unwrap().to_be_bytes());
    index
}

#[test]
fn version_1_folds_to_the_digests_of_then() {
    assert_eq!(folds_as_then(1).cell.fold_version, 1);
}

#[test]
fn version_2_folds_to_the_digests_of_then_upgrade_included() {
    let index = folds_as_then(2);
    assert_eq!(index.cell.fold_version, 2);
    let plans: Vec<_> = index.topics.values().flat_map(|topic| topic.plans.values()).collect();
    assert!(plans.iter().any(|plan| plan.is_over_extents() && plan.file.is_none()), "a plan over extents is open");
    assert!(!index.cell.snapshot.disagreed, "a disagreement was cleared");
}

/// Every byte of a snapshot matters: none can change, and none can go, without being found.
#[test]
fn a_changed_or_cut_snapshot_is_found() {
    let snapshot = std::fs::read(golden("snapshot-v2.bin")).unwrap();
    for at in 0..snapshot.len() {
        let mut changed = snapshot.clone();
        changed[at] ^= 1 << (at % 8);
        assert!(decode_snapshot(&Bytes::from(changed)).is_err(), "byte {at}");
        assert!(decode_snapshot(&Bytes::copy_from_slice(&snapshot[..at])).is_err(), "length {at}");
    }
}
