//! What does not continue the log, or is not understood, stops the fold (I2): nothing of it is folded, nothing is skipped, and
//! the entry that belongs there still is the next one.
#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests may, as tests do

mod cell;

use bytes::Bytes;
use cell::{ID, Player};
use strandline_commands::*;
use strandline_index::{FoldError, Index};
use strandline_types::{ChainHash, Seq};

/// The entry that may come next, with one thing to see.
fn next(index: &Index) -> EntryBody {
    let ChainHash(hash) = index.cell.hash;
    let last_n = index.nodes.values().next().map_or(0, |run| run.last_n);
    let commands = vec![DeleteTopic { topic_id: ID.0.to_vec() }.into()];
    EntryBody {
        time_ms: index.cell.now_ms + 1,
        hash_before: hash.to_vec(),
        cell_epoch: 1,
        commits: vec![Commit { incarnation: 1, n: last_n + 1, commands, ..Commit::default() }],
        ..EntryBody::default()
    }
}

fn bytes(body: &EntryBody) -> Bytes {
    encode(body).unwrap()
}

/// Folding it is this error and leaves all as it was, as often as it is tried.
fn stops(index: &mut Index, seq: Seq, entry: &Bytes, error: &FoldError) {
    let before = index.clone();
    for _ in 0..2 {
        assert_eq!(index.fold(seq, entry).as_ref(), Err(error));
        assert_eq!(*index, before);
    }
}

#[test]
fn an_entry_after_another_one() {
    let mut index = Player::new(2).index;
    let seq = index.cell.seq.next();
    let good = next(&index);
    let wrong = [vec![0; 16], vec![7; 16], Vec::new(), good.hash_before[..15].to_vec(), [&good.hash_before[..], &[0]].concat()];
    for hash_before in wrong {
        let body = EntryBody { hash_before, ..good.clone() };
        stops(&mut index, seq, &bytes(&body), &FoldError::Chain { seq });
        let before = index.clone();
        assert_eq!(index.fold_encoded(seq, &bytes(&body), body), Err(FoldError::Chain { seq }));
        assert_eq!(index, before);
    }
    index.fold(seq, &bytes(&good)).unwrap();
    assert!(index.topics.is_empty());
}

/// One bit of an entry, of two logs that are otherwise the same: the next entry of one does not fold after the other.
#[test]
fn an_entry_was_exchanged() {
    let index = Player::new(2).index;
    let (seq, mut last) = (index.cell.seq.next(), next(&index));
    last.commits[0].commands = Vec::new();
    let (mut one, mut other) = (index.clone(), index);
    one.fold(seq, &bytes(&last)).unwrap();
    last.time_ms ^= 1;
    other.fold(seq, &bytes(&last)).unwrap();
    let following = bytes(&next(&one));
    stops(&mut other, seq.next(), &following, &FoldError::Chain { seq: seq.next() });
    one.fold(seq.next(), &following).unwrap();
}

/// What folds to nothing is a link of the chain all the same.
#[test]
fn an_entry_that_folds_to_nothing_was_left_out_of_the_chain() {
    let mut index = Player::new(2).index;
    let (seq, without) = (index.cell.seq.next(), next(&index));
    index.fold(seq, &Bytes::from_static(b"\x00\x01\xff\xff")).unwrap();
    stops(&mut index, seq.next(), &bytes(&without), &FoldError::Chain { seq: seq.next() });
    let good = bytes(&next(&index));
    index.fold(seq.next(), &good).unwrap();
}

#[test]
fn an_entry_of_a_newer_format() {
    let mut index = Player::new(2).index;
    let (seq, good) = (index.cell.seq.next(), bytes(&next(&index)));
    for found in [FORMAT_VERSION + 1, u16::MAX, 0] {
        let newer = Bytes::from([&found.to_be_bytes()[..], &good[2..]].concat());
        stops(&mut index, seq, &newer, &FoldError::Decode { seq, source: DecodeError::UnknownVersion { found } });
    }
    stops(&mut index, seq, &good.slice(..1), &FoldError::Decode { seq, source: DecodeError::Short });
    index.fold(seq, &good).unwrap();
}

#[test]
fn an_entry_of_another_place_or_another_epoch_of_the_cell() {
    let mut index = Player::new(2).index;
    let (last, good) = (index.cell.seq, next(&index));
    for found in [Seq::ZERO, last, last.next().next()] {
        stops(&mut index, found, &bytes(&good), &FoldError::Gap { last, found });
        assert_eq!(index.fold_encoded(found, &bytes(&good), good.clone()), Err(FoldError::Gap { last, found }));
    }
    let seq = last.next();
    for found in [0, 2] {
        let body = EntryBody { cell_epoch: found, ..good.clone() };
        stops(&mut index, seq, &bytes(&body), &FoldError::CellEpoch { seq, found, expected: 1 });
    }
    index.fold(seq, &bytes(&good)).unwrap();
}
