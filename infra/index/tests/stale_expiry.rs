//! What expires something, or takes it away, names what its proposer saw (I3): it does its work while that is so, and nothing at
//! all once something of it has changed. Each change that may come in between is played by itself.
#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests may, as tests do

mod cell;
mod stale;

use cell::{ID, Player};
use stale::{Case, OTHER, PROPOSER, play};
use strandline_commands::*;
use strandline_index::{Index, Outcome, Refusal};
use strandline_types::Incarnation;

fn topic_partition() -> GroupPartition {
    GroupPartition { topic_id: ID.0.to_vec(), partition: 0 }
}

fn write(player: &mut Player, producer_id: i64, base_sequence: i32) {
    let batch = Batch { length: 10, last_offset_delta: 9, producer_id, base_sequence, ..Batch::default() };
    let produce = Produce { topic_id: ID.0.to_vec(), batches: vec![batch], ..Produce::default() };
    assert!(matches!(player.play(produce), Outcome::Produced(_)));
}

fn expiry_of(producers: &[i64], index: &Index) -> ExpireProducers {
    let seen = |id: &i64| ExpireProducer { producer_id: *id, last_active: index.producers[id].last_active.0 };
    ExpireProducers { producers: producers.iter().map(seen).collect() }
}

#[test]
fn of_producers() {
    play(&Case {
        name: "ExpireProducers",
        before: |player| write(player, 7, 0),
        proposed: |index| expiry_of(&[7], index).into(),
        changes: &[
            ("it wrote again", |player| write(player, 7, 10)),
            ("its epoch rose", |player| {
                let raised = player.play(InitProducer { producer_id: 7, producer_epoch: 0 });
                assert!(matches!(raised, Outcome::Producer { producer_epoch: 1, .. }));
            }),
            ("it expired and came anew", |player| {
                let expiry = expiry_of(&[7], &player.index);
                player.done(expiry);
                write(player, 7, 0);
            }),
            ("it expired", |player| {
                let expiry = expiry_of(&[7], &player.index);
                player.done(expiry);
            }),
        ],
        is_refused: false,
    });
}

#[test]
fn of_many_producers_takes_only_those_that_stayed_idle() {
    let mut player = Player::new(2);
    (7..10).for_each(|id| write(&mut player, id, 0));
    let expiry = expiry_of(&[7, 8, 9], &player.index);
    write(&mut player, 8, 10);
    player.done(expiry);
    assert_eq!(player.index.producers.keys().copied().collect::<Vec<_>>(), [8]);
    assert_eq!(player.index.partition(ID, 0).unwrap().producers.keys().copied().collect::<Vec<_>>(), [8]);
}

fn claim_of(index: &Index) -> u64 {
    index.groups.get("g").and_then(|group| group.claim).map_or(0, |claim| claim.epoch.0)
}

fn claim(player: &mut Player) {
    let replaces = claim_of(&player.index);
    assert!(matches!(player.play(ClaimGroup { group: "g".into(), replaces }), Outcome::Claimed(_)));
}

fn commit(player: &mut Player) {
    let offset = CommittedOffset { topic_id: ID.0.to_vec(), offset: 5, leader_epoch: -1, ..CommittedOffset::default() };
    let claim = claim_of(&player.index);
    let commit = CommitOffsets { group: "g".into(), claim, generation: -1, offsets: vec![offset], ..CommitOffsets::default() };
    assert_eq!(player.play(commit), Outcome::Offsets { unknown: Vec::new() });
}

/// The next generation, of these members.
fn stored(index: &Index, members: &[&str]) -> StoreGroup {
    let member = |id: &&str| GroupMember { member_id: (*id).into(), ..GroupMember::default() };
    let (claim, expected_generation) = (claim_of(index), index.groups["g"].generation);
    let (generation, members) = (expected_generation + 1, members.iter().map(member).collect());
    StoreGroup { group: "g".into(), claim, expected_generation, generation, members, ..StoreGroup::default() }
}

fn store(player: &mut Player, members: &[&str]) {
    let stored = stored(&player.index, members);
    player.done(stored);
}

fn delete_group(player: &mut Player) {
    let claim = claim_of(&player.index);
    player.done(DeleteGroup { group: "g".into(), claim });
}

fn group_with_an_offset(player: &mut Player) {
    claim(player);
    commit(player);
}

/// Another node coordinates the group.
fn taken_over(player: &mut Player) {
    player.act_as(OTHER);
    claim(player);
}

fn deleted_and_made_anew(player: &mut Player) {
    delete_group(player);
    group_with_an_offset(player);
}

#[test]
fn of_a_group() {
    play(&Case {
        name: "ExpireGroup",
        before: group_with_an_offset,
        proposed: |index| {
            let last_changed = index.groups["g"].last_changed.0;
            ExpireGroup { group: "g".into(), claim: claim_of(index), last_changed }.into()
        },
        changes: &[
            ("an offset was committed", commit),
            ("a member came", |player| store(player, &["a"])),
            ("a member came and went", |player| {
                store(player, &["a"]);
                store(player, &[]);
            }),
            ("its offset was deleted", |player| {
                let claim = claim_of(&player.index);
                let delete = DeleteOffsets { group: "g".into(), claim, partitions: vec![topic_partition()] };
                assert_eq!(player.play(delete), Outcome::Offsets { unknown: Vec::new() });
            }),
            ("the topic of its offset was deleted", |player| player.done(DeleteTopic { topic_id: ID.0.to_vec() })),
            ("its coordinator claimed it anew", claim),
            ("another coordinates it", taken_over),
            ("it was deleted", delete_group),
            ("it was deleted and made anew", deleted_and_made_anew),
        ],
        is_refused: true,
    });
}

#[test]
fn of_a_group_that_was_seen_empty() {
    play(&Case {
        name: "DeleteGroup",
        before: group_with_an_offset,
        proposed: |index| DeleteGroup { group: "g".into(), claim: claim_of(index) }.into(),
        changes: &[
            ("a member came", |player| store(player, &["a"])),
            ("another coordinates it", taken_over),
            ("it was deleted", delete_group),
            ("it was deleted and made anew", deleted_and_made_anew),
        ],
        is_refused: true,
    });
}

#[test]
fn of_a_member() {
    play(&Case {
        name: "StoreGroup without a member",
        before: |player| {
            claim(player);
            store(player, &["a", "b"]);
        },
        proposed: |index| stored(index, &["a"]).into(),
        changes: &[
            ("the group has rebalanced", |player| store(player, &["a", "b"])),
            ("another coordinates it", taken_over),
            ("its coordinator claimed it anew", claim),
        ],
        is_refused: true,
    });
}

#[test]
fn of_a_claim() {
    play(&Case {
        name: "ClaimGroup",
        before: |player| {
            player.act_as(OTHER);
            group_with_an_offset(player);
            player.act_as(PROPOSER);
        },
        proposed: |index| ClaimGroup { group: "g".into(), replaces: claim_of(index) }.into(),
        changes: &[
            ("its coordinator claimed it anew", taken_over),
            ("a third claimed it", |player| {
                let third = player.join();
                player.act_as(third);
                claim(player);
            }),
            ("it was deleted", |player| {
                player.act_as(OTHER);
                delete_group(player);
            }),
            ("it was deleted and made anew", |player| {
                player.act_as(OTHER);
                deleted_and_made_anew(player);
            }),
        ],
        is_refused: true,
    });
}

/// A claim is its holder's, and is lost as a lease is (I9): every command of a group says which.
#[test]
fn without_the_claim_nothing_of_a_group_changes() {
    let commands = |index: &Index, claim: u64| -> [Command; 5] {
        let (group, last_changed) = ("g".to_owned(), index.groups["g"].last_changed.0);
        let offset = CommittedOffset { topic_id: ID.0.to_vec(), offset: 6, ..CommittedOffset::default() };
        [
            StoreGroup { claim, ..stored(index, &["a"]) }.into(),
            CommitOffsets { group: group.clone(), claim, generation: -1, offsets: vec![offset], ..CommitOffsets::default() }
                .into(),
            DeleteOffsets { group: group.clone(), claim, partitions: vec![topic_partition()] }.into(),
            DeleteGroup { group: group.clone(), claim }.into(),
            ExpireGroup { group, claim, last_changed }.into(),
        ]
    };
    let demand_refused = |player: &Player, run: u64, claim: u64| {
        for command in commands(&player.index, claim) {
            let (mut with, mut without) = (player.clone(), player.clone());
            with.act_as(run);
            without.act_as(run);
            without.play_all(Vec::new(), 10);
            assert_eq!(with.play(command.clone()), Outcome::Refused(Refusal::NotCoordinator), "{command:?}");
            assert_eq!(with.digest_without_hash(), without.digest_without_hash(), "{command:?}");
        }
    };
    let mut player = Player::new(2);
    assert_eq!(player.join(), OTHER);
    group_with_an_offset(&mut player);
    let lost = claim_of(&player.index);
    for command in commands(&player.index, lost) {
        assert!(!matches!(player.clone().play(command.clone()), Outcome::Refused(_)), "{command:?}");
    }
    demand_refused(&player, OTHER, lost);
    demand_refused(&player, PROPOSER, 0);
    taken_over(&mut player);
    demand_refused(&player, PROPOSER, lost);
    demand_refused(&player, PROPOSER, claim_of(&player.index));
}

#[test]
fn of_a_node() {
    play(&Case {
        name: "DeclareGone",
        before: |_| (),
        proposed: |index| DeclareGone { incarnation: OTHER, last_n: index.nodes[&Incarnation(OTHER)].last_n }.into(),
        changes: &[
            ("it reported", |player| {
                player.act_as(OTHER);
                player.done(Report { folded: 1 });
            }),
            ("it sent what was refused", |player| {
                player.act_as(OTHER);
                assert_eq!(player.play(DeleteTopic { topic_id: vec![9; 16] }), Outcome::Refused(Refusal::UnknownTopic));
            }),
            ("it gave a commit up", |player| {
                player.act_as(OTHER);
                player.play_all(Vec::new(), 0);
            }),
            ("it left", |player| {
                player.act_as(OTHER);
                player.done(Leave {});
            }),
        ],
        is_refused: true,
    });
}
