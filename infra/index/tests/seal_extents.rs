//! A sealed file straight from extents: what its plan demands, what it pins, and how it ends.
#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests may, as tests do

mod cell;

use cell::{ID, Player};
use strandline_commands::*;
use strandline_index::{Format, Outcome, Refusal, decode_snapshot, encode_snapshot};

fn planned(lease: u64, ranges: &[(i32, i64, i64)]) -> SealExtents {
    let ranges = ranges.iter().map(|(partition, start, end)| OffsetRange { partition: *partition, start: *start, end: *end });
    SealExtents { lease, topic_id: ID.0.to_vec(), ranges: ranges.collect(), key_format: 1, value_format: 2 }
}

fn is_planned(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Planned { .. })
}

/// A cell of version 2 with three extents of ten offsets in partition 0 and one in partition 1; the seal lease.
fn filled() -> (Player, u64) {
    let mut player = Player::new(2);
    let lease = player.lease(LeaseKind::Seal);
    for partition in [0, 0, 0, 1] {
        player.produce_to(partition);
    }
    (player, lease)
}

fn file_of(player: &Player) -> NewFile {
    let (path, plan) = player.index.topics[&ID].plans.first_key_value().unwrap();
    NewFile { path: path.clone(), size: 1, ranges: plan.ranges.clone(), ingest_day: plan.ingest_day, ..NewFile::default() }
}

fn seal(player: &mut Player, lease: u64) {
    let file = file_of(player);
    let path = file.path.clone();
    player.done(Sealed { lease, topic_id: ID.0.to_vec(), file: Some(file) });
    player.done(SealDone { lease, topic_id: ID.0.to_vec(), path });
}

#[test]
fn the_plan_names_the_file_and_its_end_moves_the_frontier() {
    let (mut player, lease) = filled();
    let Outcome::Planned { path, ranges } = player.play(planned(lease, &[(0, 0, 20), (1, 0, 10)])) else { panic!() };
    assert!(
        path.starts_with("bronze/t/07070707/ingest_date=2026-09-21/")
            && path.ends_with("-p00000-o00000000000000000000-g0.parquet")
    );
    assert_eq!(
        ranges.iter().map(|range| (range.partition, range.start, range.end)).collect::<Vec<_>>(),
        [(0, 0, 20), (1, 0, 10)]
    );
    let before = player.index.partition(ID, 0).unwrap().clone();
    assert_eq!((before.frontier, before.extents.len(), before.planned_end), (0, 3, Some(20)), "extents go on answering");
    let topic = &player.index.topics[&ID];
    assert_eq!((topic.key_format, topic.value_format), (Format::Text, Format::Binary));
    seal(&mut player, lease);
    let after = player.index.partition(ID, 0).unwrap();
    assert_eq!((after.sealed_end, after.frontier, after.extents.len(), after.planned_end), (20, 20, 1, None));
    assert_eq!((player.index.extent_count, player.index.fill.file_bytes), (1, 0));
    assert!(is_planned(&player.play(planned(lease, &[(0, 20, 30)]))), "the next one goes on where it ended");
}

#[test]
fn what_does_not_follow_is_refused() {
    let (mut player, lease) = filled();
    let wrong: [&[(i32, i64, i64)]; 8] = [
        &[],
        &[(0, 0, 15)],
        &[(0, 10, 20)],
        &[(0, 0, 40)],
        &[(0, 0, 0)],
        &[(7, 0, 10)],
        &[(1, 0, 10), (0, 0, 10)],
        &[(0, 0, 10), (0, 0, 10)],
    ];
    for ranges in wrong {
        assert!(matches!(player.play(planned(lease, ranges)), Outcome::Refused(_)), "{ranges:?}");
    }
    assert_eq!(player.play(planned(lease + 1, &[(0, 0, 10)])), Outcome::Refused(Refusal::LeaseLost));
    // Something fresh lies before it.
    let convert = player.lease(LeaseKind::Convert);
    player.convert_to(convert, 1, 0, 10);
    assert!(matches!(player.play(planned(lease, &[(0, 10, 20)])), Outcome::Refused(Refusal::Superseded { .. })));
    assert!(is_planned(&player.play(planned(lease, &[(1, 0, 10)]))), "other partitions are free");
    assert!(matches!(player.play(planned(lease, &[(1, 0, 10)])), Outcome::Refused(Refusal::Superseded { .. })), "one at a time");
}

#[test]
fn a_plan_never_spans_a_day() {
    let (mut player, lease) = filled();
    player.time_ms += 86_400_000;
    player.produce_to(0);
    assert!(matches!(player.play(planned(lease, &[(0, 0, 40)])), Outcome::Refused(Refusal::Malformed { .. })));
    assert!(matches!(player.play(planned(lease, &[(0, 0, 40), (1, 0, 10)])), Outcome::Refused(Refusal::Malformed { .. })));
    assert!(is_planned(&player.play(planned(lease, &[(0, 0, 30), (1, 0, 10)]))));
}

#[test]
fn version_1_refuses_it_and_goes_on_without() {
    let mut player = Player::new(1);
    let lease = player.lease(LeaseKind::Seal);
    player.produce();
    assert!(matches!(player.play(planned(lease, &[(0, 0, 10)])), Outcome::Refused(Refusal::Superseded { .. })));
    assert_eq!(player.index.partition(ID, 0).unwrap().planned_end, None);
    player.done(RaiseFoldVersion { to: 2 });
    assert!(is_planned(&player.play(planned(lease, &[(0, 0, 10)]))));
}

#[test]
fn conversion_does_not_take_what_is_pinned() {
    let (mut player, lease) = filled();
    let convert = player.lease(LeaseKind::Convert);
    assert!(is_planned(&player.play(planned(lease, &[(0, 0, 20)]))));
    assert!(matches!(player.try_convert(convert, 1, 0, 10), Outcome::Refused(Refusal::Superseded { .. })));
    assert!(matches!(player.try_convert(convert, 2, 0, 30), Outcome::Refused(Refusal::Superseded { .. })));
    assert_eq!(player.try_convert(convert, 3, 1, 10), Outcome::Done, "what is not planned is converted");
    seal(&mut player, lease);
    assert_eq!(player.try_convert(convert, 4, 0, 30), Outcome::Done);
}

#[test]
fn a_log_start_that_moves_breaks_nothing() {
    for to in [5, 10, 15, 20, 25, 30] {
        let (mut player, lease) = filled();
        assert!(is_planned(&player.play(planned(lease, &[(0, 0, 20)]))));
        assert_eq!(player.play(MoveLogStart { topic_id: ID.0.to_vec(), partition: 0, to }), Outcome::LogStart(to));
        let partition = player.index.partition(ID, 0).unwrap();
        assert_eq!((partition.extents.len(), partition.frontier), (3, 0), "the plan pins them");
        let file = file_of(&player);
        assert_eq!((file.ranges[0].start, file.ranges[0].end), (0, 20));
        seal(&mut player, lease);
        let partition = player.index.partition(ID, 0).unwrap();
        let left = if to == 30 { 0 } else { 1 };
        assert_eq!(
            (partition.extents.len(), partition.frontier),
            (left, 30 - 10 * left as i64),
            "what it had kept goes, to {to}"
        );
    }
}

#[test]
fn bytes_may_move_and_be_lost_under_a_plan() {
    let (mut player, lease) = filled();
    assert!(is_planned(&player.play(planned(lease, &[(0, 0, 20)]))));
    let run = RehomedRun { topic_id: ID.0.to_vec(), partition: 0, start: 0, end: 10, position: 0 };
    let object = NewObject { path: format!("wal/{:020}-1-9", 1), size: 10, crc32c: 0 };
    assert_eq!(player.play_with(Rehome { runs: vec![run], object: 1 }, vec![object]), Outcome::Done);
    player.done(Lost { topic_id: ID.0.to_vec(), partition: 0, start: 10, end: 20 });
    seal(&mut player, lease);
    assert_eq!(player.index.partition(ID, 0).unwrap().frontier, 20);
    assert!(player.index.garbage.keys().any(|path| path.starts_with("wal/")), "the moved bytes are garbage");
}

#[test]
fn the_end_of_a_plan_stays_an_extents_end() {
    // In one entry: a batch, the plan that ends with it, and a batch whose bytes go on behind the first one's.
    let (mut player, lease) = filled();
    let produce = |position| Produce {
        topic_id: ID.0.to_vec(),
        partition: 1,
        object: 0,
        position,
        batches: vec![Batch {
            length: 10,
            last_offset_delta: 9,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            ..Batch::default()
        }],
    };
    let commands = vec![produce(0).into(), planned(lease, &[(1, 0, 20)]).into(), produce(10).into()];
    let outcomes = player.play_all(commands, 20);
    assert!(is_planned(&outcomes[1]), "{outcomes:?}");
    let ends: Vec<_> = player.index.partition(ID, 1).unwrap().extents.iter().map(|extent| extent.end).collect();
    assert_eq!(ends, [10, 20, 30]);
    seal(&mut player, lease);
}

#[test]
fn the_deletion_of_its_topic_ends_it() {
    let (mut player, lease) = filled();
    assert!(is_planned(&player.play(planned(lease, &[(0, 0, 20)]))));
    let file = file_of(&player);
    player.done(DeleteTopic { topic_id: ID.0.to_vec() });
    assert_eq!((player.index.extent_count, player.index.fill.file_bytes, player.index.fill.producer_partitions), (0, 0, 0));
    assert_eq!(player.play(Sealed { lease, topic_id: ID.0.to_vec(), file: Some(file) }), Outcome::Refused(Refusal::LeaseLost));
}

#[test]
fn a_snapshot_holds_what_is_pinned() {
    let (mut player, lease) = filled();
    assert!(is_planned(&player.play(planned(lease, &[(0, 0, 20)]))));
    let index = decode_snapshot(&encode_snapshot(&player.index)).unwrap();
    assert_eq!(index, player.index);
    let file = file_of(&player);
    player.done(Sealed { lease, topic_id: ID.0.to_vec(), file: Some(file) });
    let index = decode_snapshot(&encode_snapshot(&player.index)).unwrap();
    assert_eq!((index.partition(ID, 0).unwrap().planned_end, &index), (None, &player.index));
}

#[test]
fn a_rebuild_takes_in_the_planned_file_and_nothing_else_there() {
    let (mut player, lease) = filled();
    assert!(is_planned(&player.play(planned(lease, &[(0, 0, 20)]))));
    let file = file_of(&player);
    let mut other = file.clone();
    other.path = other.path.replace("-o00000000000000000000", "-o00000000000000000001");
    let adopt = |file: &NewFile| AdoptSealed { topic_id: ID.0.to_vec(), file: Some(file.clone()) };
    assert!(matches!(player.play(adopt(&file)), Outcome::Refused(_)), "a live cell adopts nothing");
    player.nobody(Rebuilt { cell_epoch: 2 });
    assert!(matches!(player.nobody(adopt(&other)), Outcome::Refused(Refusal::Superseded { .. })));
    assert_eq!(player.nobody(adopt(&file)), Outcome::Done);
    let partition = player.index.partition(ID, 0).unwrap();
    assert_eq!((partition.sealed_end, partition.frontier, partition.planned_end), (20, 20, None));
    assert_eq!(player.index.topics[&ID].plans.len(), 1, "whoever has the lease next writes its rows");
}
