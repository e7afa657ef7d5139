//! As `stale_expiry.rs`, of what is taken over or taken away: leases, and offsets.
#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests may, as tests do

mod cell;
mod stale;

use cell::{ID, Player};
use stale::{Case, OTHER, PROPOSER, play};
use strandline_commands::*;
use strandline_index::{Index, Outcome, Refusal};

fn lease_of(index: &Index) -> u64 {
    index.leases.get(&(LeaseKind::Convert as i32, ID.0.to_vec())).map_or(0, |lease| lease.number.0)
}

fn taking(replaces: u64) -> TakeLease {
    TakeLease { kind: LeaseKind::Convert as i32, scope: ID.0.to_vec(), replaces }
}

fn take(player: &mut Player) {
    let replaces = lease_of(&player.index);
    assert!(matches!(player.play(taking(replaces)), Outcome::Leased(_)));
}

fn give_back(player: &mut Player) {
    let lease = lease_of(&player.index);
    player.done(DropLease { lease, kind: LeaseKind::Convert as i32, scope: ID.0.to_vec() });
}

fn delete(player: &mut Player) {
    player.done(DeleteTopic { topic_id: ID.0.to_vec() });
}

/// Another topic has the name.
fn delete_and_make_anew(player: &mut Player) {
    delete(player);
    let create = CreateTopic { topic_id: vec![8; 16], name: "t".into(), partitions: 2, ..CreateTopic::default() };
    player.done(create);
    let batch = Batch { length: 10, last_offset_delta: 29, producer_id: -1, ..Batch::default() };
    let produce = Produce { topic_id: vec![8; 16], batches: vec![batch], ..Produce::default() };
    assert!(matches!(player.play(produce), Outcome::Produced(_)));
}

fn move_log_start(player: &mut Player, to: i64) {
    assert_eq!(player.play(MoveLogStart { topic_id: ID.0.to_vec(), partition: 0, to }), Outcome::LogStart(to));
}

fn thirty_offsets(player: &mut Player) {
    (0..3).for_each(|_| player.produce());
}

#[test]
fn of_a_lease() {
    play(&Case {
        name: "TakeLease",
        before: |player| {
            player.act_as(OTHER);
            take(player);
            player.act_as(PROPOSER);
        },
        proposed: |index| taking(lease_of(index)).into(),
        changes: &[
            ("its holder took it anew", |player| {
                player.act_as(OTHER);
                take(player);
            }),
            ("a third took it", |player| {
                let third = player.join();
                player.act_as(third);
                take(player);
            }),
            ("its holder gave it back", |player| {
                player.act_as(OTHER);
                give_back(player);
            }),
            ("its holder gave it back and took it anew", |player| {
                player.act_as(OTHER);
                give_back(player);
                take(player);
            }),
            ("its holder left", |player| {
                player.act_as(OTHER);
                player.done(Leave {});
            }),
            ("its topic was deleted", delete),
        ],
        is_refused: true,
    });
}

#[test]
fn of_a_lease_that_was_free() {
    play(&Case {
        name: "TakeLease of none",
        before: |_| (),
        proposed: |_| taking(0).into(),
        changes: &[
            ("another took it", |player| {
                player.act_as(OTHER);
                take(player);
            }),
            ("its topic was deleted", delete),
        ],
        is_refused: true,
    });
}

#[test]
fn in_one_entry_a_lease_is_taken_once() {
    let mut player = Player::new(2);
    let seq = player.index.cell.seq.0 + 1;
    let outcomes = player.play_all(vec![taking(0).into(), taking(0).into(), taking(seq).into()], 0);
    assert!(matches!(outcomes[0], Outcome::Leased(number) if number.0 == seq), "{outcomes:?}");
    let is_superseded = |outcome: &Outcome| matches!(outcome, Outcome::Refused(Refusal::Superseded { .. }));
    assert!(outcomes[1..].iter().all(is_superseded), "{outcomes:?}");
}

#[test]
fn of_offsets_by_retention() {
    play(&Case {
        name: "MoveLogStart",
        before: thirty_offsets,
        proposed: |_| MoveLogStart { topic_id: ID.0.to_vec(), partition: 0, to: 10 }.into(),
        changes: &[
            ("it was moved there", |player| move_log_start(player, 10)),
            ("it was moved further", |player| move_log_start(player, 20)),
            ("its topic was deleted", delete),
            ("its topic was deleted and the name given to another", delete_and_make_anew),
        ],
        is_refused: false,
    });
}

#[test]
fn of_offsets_that_are_lost() {
    play(&Case {
        name: "Lost",
        before: thirty_offsets,
        proposed: |_| Lost { topic_id: ID.0.to_vec(), partition: 0, start: 0, end: 10 }.into(),
        changes: &[
            ("they are in a file", |player| {
                let lease = player.lease(LeaseKind::Convert);
                player.convert_to(lease, 1, 0, 10);
            }),
            ("they are in a file with others", |player| {
                let lease = player.lease(LeaseKind::Convert);
                player.convert_to(lease, 1, 0, 20);
            }),
            ("the log start moved past them", |player| move_log_start(player, 10)),
            ("its topic was deleted", delete),
            ("its topic was deleted and the name given to another", delete_and_make_anew),
        ],
        is_refused: true,
    });
}
