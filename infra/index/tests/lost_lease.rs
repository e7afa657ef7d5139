//! Whoever has lost a lease changes nothing by it any more (I9): each command that carries one, after each way of losing it.
#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests may, as tests do

mod cell;

use cell::{ID, Player, fresh_path};
use strandline_commands::*;
use strandline_index::{Index, Outcome, Refusal};
use strandline_types::Incarnation;

/// Who takes the lease first.
const HOLDER: u64 = 1;
/// The other node, by the seq of its join.
const SUCCESSOR: u64 = 3;

struct Case {
    name: &'static str,
    kind: LeaseKind,
    /// What is there to be done, with the lease where it needs that.
    before: fn(&mut Player, u64),
    /// What does it.
    command: fn(&Index, u64) -> Command,
}

fn topic_id() -> Vec<u8> {
    ID.0.to_vec()
}

fn file(path: String, end: i64) -> NewFile {
    NewFile { path, size: 1, ranges: vec![FileRange { end, ..FileRange::default() }], ..NewFile::default() }
}

fn two_fresh_files(player: &mut Player, _: u64) {
    let convert = player.lease(LeaseKind::Convert);
    player.convert(convert, 1);
    player.convert(convert, 2);
}

fn ten_offsets(player: &mut Player, _: u64) {
    player.produce();
}

fn planned(player: &mut Player, seal: u64) {
    two_fresh_files(player, 0);
    player.seal(seal, vec![fresh_path(1)]);
}

fn planned_path(index: &Index) -> String {
    index.topics[&ID].plans.keys().next().unwrap().clone()
}

fn sealed(player: &mut Player, seal: u64) {
    planned(player, seal);
    let file = file(planned_path(&player.index), 10);
    player.done(Sealed { lease: seal, topic_id: topic_id(), file: Some(file) });
}

fn below_the_log_start(player: &mut Player, _: u64) {
    two_fresh_files(player, 0);
    assert_eq!(player.play(MoveLogStart { topic_id: topic_id(), partition: 0, to: 20 }), Outcome::LogStart(20));
    assert_eq!(player.index.garbage.len(), 2);
}

fn deleted(player: &mut Player, _: u64) {
    player.done(DeleteTopic { topic_id: topic_id() });
}

fn nothing(_: &mut Player, _: u64) {}

const CASES: [Case; 11] = [
    Case {
        name: "Convert",
        kind: LeaseKind::Convert,
        before: ten_offsets,
        command: |_, lease| {
            Convert { lease, topic_id: topic_id(), file: Some(file(fresh_path(1), 10)), ..Convert::default() }.into()
        },
    },
    Case {
        name: "Merge",
        kind: LeaseKind::Merge,
        before: two_fresh_files,
        command: |_, lease| {
            let inputs = vec![fresh_path(1), fresh_path(2)];
            Merge { lease, topic_id: topic_id(), inputs, outputs: vec![file(fresh_path(3), 20)] }.into()
        },
    },
    Case {
        name: "SealPlan",
        kind: LeaseKind::Seal,
        before: two_fresh_files,
        command: |_, lease| SealPlan { lease, topic_id: topic_id(), inputs: vec![fresh_path(1)] }.into(),
    },
    Case {
        name: "SealExtents",
        kind: LeaseKind::Seal,
        before: ten_offsets,
        command: |_, lease| {
            let ranges = vec![OffsetRange { partition: 0, start: 0, end: 10 }];
            SealExtents { lease, topic_id: topic_id(), ranges, ..SealExtents::default() }.into()
        },
    },
    Case {
        name: "Sealed",
        kind: LeaseKind::Seal,
        before: planned,
        command: |index, lease| Sealed { lease, topic_id: topic_id(), file: Some(file(planned_path(index), 10)) }.into(),
    },
    Case {
        name: "SealDone",
        kind: LeaseKind::Seal,
        before: sealed,
        command: |index, lease| SealDone { lease, topic_id: topic_id(), path: planned_path(index) }.into(),
    },
    Case {
        name: "DropSealed",
        kind: LeaseKind::Retention,
        before: below_the_log_start,
        command: |_, lease| DropSealed { lease, topic_id: topic_id(), file: Some(file("bronze/t/a.parquet".into(), 10)) }.into(),
    },
    Case {
        name: "CollectGarbage",
        kind: LeaseKind::Garbage,
        before: below_the_log_start,
        command: |_, lease| CollectGarbage { lease, paths: vec![fresh_path(1)] }.into(),
    },
    Case {
        name: "RaiseHorizon",
        kind: LeaseKind::Garbage,
        before: nothing,
        command: |_, lease| RaiseHorizon { lease, to: 2 }.into(),
    },
    Case {
        name: "ForgetTopic",
        kind: LeaseKind::Garbage,
        before: deleted,
        command: |_, lease| ForgetTopic { lease, topic_id: topic_id() }.into(),
    },
    Case {
        name: "DropLease",
        kind: LeaseKind::Snapshot,
        before: nothing,
        command: |_, lease| DropLease { lease, kind: LeaseKind::Snapshot as i32, scope: Vec::new() }.into(),
    },
];

fn scope(kind: LeaseKind) -> Vec<u8> {
    match kind {
        LeaseKind::Convert | LeaseKind::Merge | LeaseKind::Seal => topic_id(),
        LeaseKind::Snapshot | LeaseKind::Garbage | LeaseKind::Retention => Vec::new(),
    }
}

/// Takes the lease as the run that acts now.
fn take(player: &mut Player, kind: LeaseKind, replaces: u64) -> u64 {
    player.take_lease(kind, scope(kind), replaces)
}

/// Two nodes, the first of which has the lease and something to do with it.
fn ready(case: &Case) -> (Player, u64) {
    let mut player = Player::new(2);
    assert_eq!(player.join(), SUCCESSOR);
    let lease = take(&mut player, case.kind, 0);
    (case.before)(&mut player, lease);
    (player, lease)
}

fn give_back(player: &mut Player, kind: LeaseKind, lease: u64) {
    player.done(DropLease { lease, kind: kind as i32, scope: scope(kind) });
}

/// What the command does as that run: its outcome, and whether anything is other than after a commit without it.
fn effect(player: &Player, run: u64, command: Command) -> (Outcome, bool) {
    let mut player = player.clone();
    player.act_as(run);
    player.effect(command)
}

/// That the command does its work, as that run with that lease.
fn assert_done(case: &Case, player: &Player, run: u64, lease: u64) {
    let (outcome, has_effect) = effect(player, run, (case.command)(&player.index, lease));
    assert!(!matches!(outcome, Outcome::Refused(_)) && has_effect, "{}: {outcome:?}", case.name);
}

const LOST: (Outcome, bool) = (Outcome::Refused(Refusal::LeaseLost), false);

#[test]
fn its_holder_does_the_work() {
    for case in &CASES {
        let (player, lease) = ready(case);
        assert_done(case, &player, HOLDER, lease);
        assert_eq!(effect(&player, SUCCESSOR, (case.command)(&player.index, lease)), LOST, "{}: another's lease", case.name);
        assert_eq!(effect(&player, HOLDER, (case.command)(&player.index, 0)), LOST, "{}: without one", case.name);
    }
}

#[test]
fn a_successor_took_it_over() {
    for case in &CASES {
        let (mut player, lost) = ready(case);
        player.act_as(SUCCESSOR);
        let lease = take(&mut player, case.kind, lost);
        assert_eq!(effect(&player, HOLDER, (case.command)(&player.index, lost)), LOST, "{}", case.name);
        assert_eq!(effect(&player, HOLDER, (case.command)(&player.index, lease)), LOST, "{}: a lease is its holder's", case.name);
        assert_done(case, &player, SUCCESSOR, lease);
    }
}

#[test]
fn it_came_back_under_another_number() {
    for case in &CASES {
        let (mut player, lost) = ready(case);
        let lease = take(&mut player, case.kind, lost);
        assert_eq!(effect(&player, HOLDER, (case.command)(&player.index, lost)), LOST, "{}: taken anew", case.name);
        assert_done(case, &player, HOLDER, lease);
    }
}

#[test]
fn it_was_given_back() {
    for case in &CASES {
        let (mut player, lost) = ready(case);
        give_back(&mut player, case.kind, lost);
        assert_eq!(effect(&player, HOLDER, (case.command)(&player.index, lost)), LOST, "{}", case.name);
        player.act_as(SUCCESSOR);
        take(&mut player, case.kind, 0);
        assert_eq!(effect(&player, HOLDER, (case.command)(&player.index, lost)), LOST, "{}: and taken by another", case.name);
    }
}

/// Who was declared gone sends nothing at all any more, leases or not.
#[test]
fn its_holder_was_declared_gone() {
    for case in &CASES {
        let (mut player, lost) = ready(case);
        let last_n = player.index.nodes[&Incarnation(HOLDER)].last_n;
        let (mut zombie, command) = (player.clone(), (case.command)(&player.index, lost));
        player.act_as(SUCCESSOR);
        player.done(DeclareGone { incarnation: HOLDER, last_n });
        assert!(player.index.leases.is_empty(), "{}: its leases are free", case.name);
        zombie.index = player.index.clone();
        let mut without = zombie.clone();
        assert_eq!((zombie.try_play(vec![command]), without.try_play(Vec::new())), (None, None), "{}", case.name);
        assert_eq!(zombie.digest_without_hash(), without.digest_without_hash(), "{}", case.name);
    }
}

/// A command with a lease that is missing above would go untested.
#[test]
fn every_command_that_carries_a_lease_is_here() {
    let sources = [include_str!("../../commands/src/bronze.rs"), include_str!("../../commands/src/cell.rs")];
    let fields: usize = sources.iter().map(|source| source.matches("pub lease: u64").count()).sum();
    assert_eq!(fields, CASES.len());
}
