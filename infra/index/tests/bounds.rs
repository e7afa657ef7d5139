//! Every part of the index has a bound (I11): each is filled up to it, what goes beyond is refused, what shrinks is not, and a
//! cell of version 1 goes on as before. The last bytes are filled by commands; the counts are set as if the rest were there.
#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests may, as tests do

mod cell;

use cell::{ID, Player};
use strandline_commands::*;
use strandline_index::{BatchOutcome, Fill, Outcome, Refusal};
use strandline_types::limits;

/// A cell whose parts are as full as `fill` says, besides what is in them.
fn nearly_full(fold_version: u32, fill: impl Fn(&mut Fill)) -> Player {
    let mut player = Player::new(fold_version);
    fill(&mut player.index.fill);
    player.checked = false;
    player
}

fn limit(what: &'static str) -> Outcome {
    Outcome::Refused(Refusal::Limit { what })
}

fn batch(producer_id: i64) -> Batch {
    Batch { length: 10, last_offset_delta: 9, producer_id, base_sequence: 0, ..Batch::default() }
}

fn produce(partition: i32, producers: std::ops::Range<i64>) -> Produce {
    let batches = producers.map(|id| Batch { length: 1, ..batch(id) }).collect();
    Produce { topic_id: ID.0.to_vec(), partition, object: 0, position: 0, batches }
}

fn results(outcome: Outcome) -> Vec<Option<Refusal>> {
    let Outcome::Produced(results) = outcome else { panic!("{outcome:?}") };
    let refusal = |result| if let BatchOutcome::Refused(refusal) = result { Some(refusal) } else { None };
    results.into_iter().map(refusal).collect()
}

#[test]
fn producers_of_partitions() {
    let full = |fill: &mut Fill| fill.producer_partitions = limits::PRODUCER_PARTITIONS as u64 - 3;
    let mut player = nearly_full(2, full);
    let refused = Some(Refusal::Limit { what: "producers of partitions" });
    assert_eq!(results(player.play(produce(0, 0..5))), [None, None, None, refused.clone(), refused.clone()]);
    assert_eq!(results(player.play(produce(1, 0..1))), [refused], "a known producer, in another partition");
    let again = Produce { batches: vec![Batch { base_sequence: 10, length: 1, ..batch(0) }], ..produce(0, 0..0) };
    assert_eq!(results(player.play(again)), [None], "what is remembered goes on");
    assert_eq!(results(player.play(produce(0, -1..0))), [None], "and so do those without an id");
    let last_active = player.index.producers[&1].last_active.0;
    player.done(ExpireProducers { producers: vec![ExpireProducer { producer_id: 1, last_active }] });
    assert_eq!(results(player.play(produce(1, 0..1))), [None], "what is forgotten makes room");
    let mut older = nearly_full(1, full);
    assert_eq!(results(older.play(produce(0, 0..5))), vec![None; 5]);
}

fn commit(player: &Player, offset: i64, metadata: usize) -> CommitOffsets {
    let claim = player.index.groups["g"].claim.unwrap().epoch.0;
    let offset =
        CommittedOffset { topic_id: ID.0.to_vec(), partition: 0, offset, leader_epoch: -1, metadata: "m".repeat(metadata) };
    CommitOffsets { group: "g".into(), claim, generation: -1, offsets: vec![offset], ..CommitOffsets::default() }
}

fn store(player: &Player, bytes: usize) -> StoreGroup {
    let group = &player.index.groups["g"];
    let member = GroupMember { member_id: "m".into(), assignment: vec![0; bytes].into(), ..GroupMember::default() };
    let (claim, expected_generation) = (group.claim.unwrap().epoch.0, group.generation);
    let members = if bytes == 0 { Vec::new() } else { vec![member] };
    StoreGroup { group: "g".into(), claim, expected_generation, generation: 1, members, ..StoreGroup::default() }
}

#[test]
fn members_and_offsets_of_groups() {
    for version in [1, 2] {
        let mut player = nearly_full(version, |_| ());
        let claim = |group: &str| ClaimGroup { group: group.into(), replaces: 0 };
        assert!(matches!(player.play(claim("g")), Outcome::Claimed(_)));
        player.index.fill.group_bytes = limits::GROUPS_BYTES - 1_000;
        assert_eq!(player.play(commit(&player, 1, 500)), Outcome::Offsets { unknown: Vec::new() });
        let grown =
            [player.play(claim(&"h".repeat(500))), player.play(commit(&player, 2, 1_500)), player.play(store(&player, 500))];
        match version {
            1 => assert!(grown.iter().all(|outcome| !matches!(outcome, Outcome::Refused(_))), "{grown:?}"),
            _ => assert_eq!(grown, [limit("groups"), limit("committed offsets"), limit("members of groups")]),
        }
        if version == 2 {
            assert_eq!(player.play(commit(&player, 3, 500)), Outcome::Offsets { unknown: Vec::new() }, "what does not grow");
            assert_eq!(player.play(commit(&player, 4, 0)), Outcome::Offsets { unknown: Vec::new() });
            assert_eq!(player.play(store(&player, 500)), Outcome::Done, "what shrank made room");
            assert_eq!(player.play(store(&player, 0)), Outcome::Done);
        }
    }
}

#[test]
fn names_and_configurations_of_topics() {
    let create = |n: u8| CreateTopic {
        topic_id: vec![n; 16],
        name: format!("topic-{n}"),
        partitions: 1,
        replication_factor: 1,
        configs: Vec::new(),
    };
    let set = |value: usize| ConfigureTopic {
        topic_id: ID.0.to_vec(),
        replace_all: true,
        changes: vec![ConfigChange { name: "name".into(), value: "v".repeat(value), ..ConfigChange::default() }],
    };
    let full = |fill: &mut Fill| fill.topic_bytes = limits::TOPICS_BYTES - 400;
    let mut player = nearly_full(2, full);
    player.done(create(1));
    assert_eq!(player.play(create(2)), limit("bytes of topics"));
    assert_eq!(player.play(set(500)), limit("bytes of topics"));
    player.done(set(50));
    player.done(set(40));
    // A deleted topic is remembered until its files are gone.
    player.done(DeleteTopic { topic_id: vec![1; 16] });
    assert_eq!(player.play(create(2)), limit("bytes of topics"));
    let lease = player.cell_lease(LeaseKind::Garbage);
    player.done(ForgetTopic { lease, topic_id: vec![1; 16] });
    player.done(create(2));
    let mut older = nearly_full(1, full);
    (10..18).for_each(|n| older.done(create(n)));
    older.done(set(500));
}

#[test]
fn fresh_files_and_plans() {
    let full = |fill: &mut Fill| fill.file_bytes = limits::FILES_BYTES - 3_000;
    let mut player = nearly_full(2, full);
    let (convert, seal) = (player.lease(LeaseKind::Convert), player.lease(LeaseKind::Seal));
    (0..3).for_each(|_| player.produce_to(0));
    player.produce_to(1);
    assert_eq!(player.try_convert(convert, 1, 0, 10), Outcome::Done);
    assert_eq!(player.try_convert(convert, 2, 0, 20), limit("fresh files"));
    let range = OffsetRange { partition: 1, start: 0, end: 10 };
    let plan = SealExtents { lease: seal, topic_id: ID.0.to_vec(), ranges: vec![range], ..SealExtents::default() };
    assert_eq!(player.play(plan.clone()), limit("fresh files"));
    // A seal is what makes room.
    let input = player.index.topics[&ID].fresh.values().next().unwrap().file.path.clone();
    let planned = player.seal(seal, vec![input]);
    player.complete(seal, planned, 0);
    assert!(matches!(player.play(plan), Outcome::Planned { .. }));
    let mut older = nearly_full(1, full);
    let convert = older.lease(LeaseKind::Convert);
    (0..3).for_each(|_| older.produce_to(0));
    assert_eq!([older.try_convert(convert, 1, 0, 10), older.try_convert(convert, 2, 0, 20)], [Outcome::Done, Outcome::Done]);
}

#[test]
fn the_garbage_list() {
    for version in [1, 2] {
        let mut player = nearly_full(version, |_| ());
        let (convert, garbage) = (player.lease(LeaseKind::Convert), player.cell_lease(LeaseKind::Garbage));
        let object = |n| vec![NewObject { path: format!("wal/{:020}-1-{n}", 1), size: 10, crc32c: 0 }];
        let by_object = || Produce { object: 1, ..produce(0, -1..0) };
        assert_eq!(results(player.play_with(by_object(), object(7))), [None]);
        player.index.fill.garbage_bytes = limits::GARBAGE_BYTES - 1;
        // What frees space goes on, whatever the list holds.
        assert_eq!(player.play(MoveLogStart { topic_id: ID.0.to_vec(), partition: 0, to: -1 }), Outcome::LogStart(10));
        player.produce_to(1);
        let refused = [player.play_with(by_object(), object(8)), player.try_convert(convert, 1, 1, 10)];
        match version {
            1 => assert!(refused.iter().all(|outcome| !matches!(outcome, Outcome::Refused(_))), "{refused:?}"),
            _ => assert_eq!(refused, [limit("garbage"), limit("garbage")]),
        }
        let paths: Vec<String> = player.index.garbage.keys().cloned().collect();
        assert_eq!(paths.len(), 1);
        player.done(CollectGarbage { lease: garbage, paths });
        assert_eq!(results(player.play_with(by_object(), object(9))), [None], "what is collected makes room");
        player.done(DeleteTopic { topic_id: ID.0.to_vec() });
    }
}

#[test]
fn nodes() {
    let join = |host: usize| Join { host: "h".repeat(host), nonce: vec![2], fold_version_supported: 2, ..Join::default() };
    let mut player = Player::new(2);
    player.checked = false;
    assert!(matches!(player.nobody(join(300)), Outcome::Refused(Refusal::Malformed { .. })));
    for _ in 1..limits::NODES {
        assert!(matches!(player.nobody(join(10)), Outcome::Joined { .. }));
    }
    assert_eq!(player.nobody(join(10)), limit("nodes"));
    assert!(matches!(player.nobody(Join { sole: true, ..join(10) }), Outcome::Joined { .. }), "who is alone takes over");
    assert!(matches!(player.nobody(join(10)), Outcome::Joined { .. }), "and its slots are given out anew");
    assert!(matches!(Player::new(1).nobody(join(300)), Outcome::Joined { .. }));
}

#[test]
fn a_disagreement_is_cleared_by_a_newer_snapshot_that_was_agreed_to() {
    let mut player = Player::new(2);
    let write = |player: &mut Player, agree: bool| {
        let seq = player.index.cell.seq.0;
        player.done(WroteSnapshot { seq, digest: vec![1; 32], key: format!("index/{seq}"), fold_version: 2 });
        player.done(AgreeSnapshot { seq, digest: vec![if agree { 1 } else { 2 }; 32] });
        seq
    };
    let agreed = write(&mut player, true);
    let disagreed = write(&mut player, false);
    let clear = |seq| ClearDisagreement { seq };
    assert!(player.index.cell.snapshot.disagreed);
    for seq in [agreed, disagreed] {
        assert!(matches!(player.play(clear(seq)), Outcome::Refused(Refusal::Superseded { .. })), "the newest was not agreed to");
    }
    // A newer one alone clears nothing: someone has to look.
    let newer = write(&mut player, true);
    assert!(player.index.cell.snapshot.disagreed);
    assert!(matches!(player.play(clear(agreed)), Outcome::Refused(Refusal::Superseded { .. })));
    player.done(clear(newer));
    assert!(!player.index.cell.snapshot.disagreed);
    // The same after a rebuild, which keeps what it found.
    write(&mut player, false);
    player.nobody(Rebuilt { cell_epoch: 2 });
    assert!(player.index.cell.snapshot.disagreed);
    player.rejoin();
    let newest = write(&mut player, true);
    player.done(clear(newest));
    assert!(!player.index.cell.snapshot.disagreed);
    // Version 1 does not know the command.
    let mut older = Player::new(1);
    write(&mut older, false);
    let seq = write(&mut older, true);
    assert!(matches!(older.play(clear(seq)), Outcome::Refused(Refusal::Superseded { .. })));
    assert!(older.index.cell.snapshot.disagreed);
}
