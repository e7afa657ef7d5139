//! Nodes that others have given up, what their clients are told, clocks that are wrong, and frames that are torn.

use super::stage::{LARGE, Stage};
use crate::clients::{Told, read_all};
use crate::core::locked;
use crate::record::Sender;
use crate::stops::Place;
use std::sync::atomic::Ordering;
use std::time::Duration;
use strandline_commit_log::disk::Crash;
use strandline_wire::ErrorCode;

/// What a node that cannot go on may tell a client: nothing, or what every Kafka client answers by trying again.
fn is_tried_again(told: Told) -> bool {
    match told {
        Told::Nothing => true,
        Told::Acked(_) => false,
        Told::Error(code) => matches!(
            code,
            ErrorCode::RequestTimedOut
                | ErrorCode::NotLeaderOrFollower
                | ErrorCode::KafkaStorageError
                | ErrorCode::CoordinatorNotAvailable
                | ErrorCode::LeaderNotAvailable
        ),
    }
}

/// How a node comes to be void.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Void {
    /// Another has declared it gone, before its append.
    Gone,
    /// The log has its append, it does not hear so, and is declared gone.
    GoneUnheard,
    /// The log was trimmed beyond it.
    Trimmed,
}

/// A producer has a batch on its way through a node that turns out to be void, and sends it again through another: it is there once.
pub(super) async fn retried_elsewhere(stage: &Stage, void: Void) {
    let sender = |base_sequence| Some(Sender { producer_id: 7_000, producer_epoch: 0, base_sequence });
    let first = stage.new_ids(2);
    stage.send_batch(0, 0, &first, sender(0)).await;
    stage.catch_up().await;
    let ids = stage.new_ids(3);
    let node = stage.node(0);
    let hold = stage.hold(0, Place::Append, "");
    let others = async {
        stage.reach(&hold, "a batch is not on its way").await;
        let declare = async || stage.world.declare_gone(&stage.node(1), node.cell.incarnation()).await;
        match void {
            Void::Trimmed => stage.pass_floor(1).await,
            Void::Gone => drop(declare().await),
            Void::GoneUnheard => {
                // What it appends is in the log, and the answer does not come through.
                stage.cut_off(0, true);
                hold.release();
                stage.sleep(Duration::from_secs(1)).await;
                declare().await;
                let told = stage.send_batch(1, 0, &ids, sender(2)).await;
                stage.sleep(Duration::from_secs(1)).await;
                stage.cut_off(0, false);
                return Some(told);
            }
        }
        hold.release();
        stage.sleep(Duration::from_secs(10)).await;
        None
    };
    let (told, elsewhere) = futures::join!(stage.send_batch(0, 0, &ids, sender(2)), others);
    // What landed while it was no longer heard of did land.
    if !is_tried_again(told) && elsewhere != Some(told) {
        stage.world.core.fail(format!("a void node ({void:?}) told a client {told}, which no client tries again"));
    }
    let later = stage.new_ids(1);
    if void == Void::GoneUnheard {
        let told = stage.send_batch(0, 0, &later, sender(5)).await;
        if !is_tried_again(told) {
            stage.world.core.fail(format!("a void node ({void:?}) told a client {told}, which no client tries again"));
        }
    }
    if !node.cell.is_stopped() {
        stage.world.core.fail(format!("a void node ({void:?}) goes on"));
    }
    // A connection to it is refused, or closed without an answer.
    let told = stage.send_batch(0, 0, &later, sender(5)).await;
    if told != Told::Nothing {
        stage.world.core.fail(format!("a void node ({void:?}) told a client {told}"));
    }
    let second = stage.send_batch(1, 0, &ids, sender(2)).await;
    let third = stage.send_batch(1, 0, &later, sender(5)).await;
    let (second, third) = match (second, third) {
        (Told::Acked(second), Told::Acked(third)) => (second, third),
        told => return stage.world.core.fail(format!("what a void node ({void:?}) left open, through another: {told:?}")),
    };
    if third != second + 3 {
        stage.world.core.fail(format!("sequence 2 is at {second}, sequence 5 at {third}"));
    }
    stage.catch_up().await;
    read_all(&stage.world, &stage.node(1), &stage.topic, stage.at(), 1 << 20).await;
    stage.world.kill(0);
}

/// A node whose clock is behind the log by more than the bound does not start; by less, it does. The log's time never falls.
pub(super) async fn clock_behind_the_log(stage: &Stage) {
    let stage = &stage.on_a_topic_of_log_times("stamped").await;
    let starts = async |slot: usize, skew_ms: i64| {
        stage.bury(slot).await;
        stage.world.clocks[slot].set_skew_ms(skew_ms);
        stage.start(slot).await;
        stage.world.node(slot).is_some()
    };
    // Ahead of all others: what it writes is the log's time.
    stage.world.clocks[1].set_skew_ms(60_000);
    stage.send(1, 2).await;
    let ahead_ms = stage.world.core.oracle().index().cell.now_ms;
    if starts(0, 60_000 - 2_500).await {
        stage.world.core.fail("a node starts with a clock that is 2.5 s behind the log");
    }
    if stage.world.core.oracle().index().cell.now_ms != ahead_ms {
        stage.world.core.fail("a start that is refused writes");
    }
    if !starts(0, 60_000 - 1_000).await {
        stage.world.core.fail("a node does not start with a clock that is 1 s behind the log");
    }
    // One that runs already goes on: the log's time stands still until its clock has caught up.
    stage.world.clocks[0].set_skew_ms(0);
    let mut last_ms = stage.world.core.oracle().index().cell.now_ms;
    for slot in [0, 2, 1, 0, 2] {
        if !matches!(stage.send(slot, 2).await, Told::Acked(_)) {
            stage.world.core.fail("a node with a clock that is wrong takes nothing in");
        }
        stage.sleep(Duration::from_secs(1)).await;
        let now_ms = stage.world.core.oracle().index().cell.now_ms;
        if now_ms < last_ms || now_ms < ahead_ms {
            stage.world.core.fail(format!("the log's time falls from {last_ms} to {now_ms}"));
        }
        last_ms = now_ms;
        stage.catch_up().await;
        for node in [0, 1, 2] {
            read_all(&stage.world, &stage.node(node), &stage.topic, stage.at(), 1 << 20).await;
        }
    }
    for clock in &stage.world.clocks {
        clock.set_skew_ms(0);
    }
    // What starts now is behind, and waits until it is not.
    stage.sleep(Duration::from_secs(60)).await;
    if !starts(2, 0).await {
        stage.world.core.fail("a node does not start although its clock has caught up");
    }
}

/// Places in the frame at which its write ends.
const TORN_AT: [u64; 14] = [0, 1, 4, 15, 40, 100, 200, 400, 1_000, 3_000, 7_000, 12_000, 17_000, 22_000];
/// An error of the system, as a number.
const EIO: i32 = 5;

/// A node dies in the middle of a frame, at many places of it: what was acknowledged is there, what was not is there whole or not at all.
pub(super) async fn torn_write(stage: &Stage) {
    let Some(disk) = &stage.world.disk else { return stage.world.core.fail("a torn write needs a disk") };
    let end = || stage.world.core.oracle().bounds(stage.at()).unwrap_or_default().1;
    let mut torn = 0;
    for at in TORN_AT {
        if !matches!(stage.send(0, 2).await, Told::Acked(_)) {
            stage.world.core.fail("a batch is not taken in, without any fault");
        }
        let before = end();
        // It cannot be taken back either: the node dies with it, and what was written of it is there.
        disk.fail_write_after(at, EIO);
        disk.set_cut_fails(true);
        *locked(&stage.world.core.crash) = Some(Crash::Killed);
        let ids = stage.new_ids(LARGE);
        let send = stage.send_batch(0, 0, &ids, None);
        let crash = async {
            stage.sleep(Duration::from_secs(1)).await;
            stage.world.kill(0);
        };
        let (told, ()) = futures::join!(send, crash);
        stage.start(0).await;
        let Some(node) = stage.world.node(0) else {
            return stage.world.core.fail(format!("the log does not open after a frame that ends at byte {at}"));
        };
        stage.catch_up().await;
        let after = end();
        let may_be =
            if matches!(told, Told::Acked(_)) { vec![before + LARGE as i64] } else { vec![before, before + LARGE as i64] };
        if !may_be.contains(&after) {
            stage
                .world
                .core
                .fail(format!("torn at {at}: the log ended at {before}, a batch of {LARGE} was told {told}, it ends at {after}"));
        }
        read_all(&stage.world, &node, &stage.topic, stage.at(), 1 << 20).await;
        torn += u64::from(stage.world.core.torn_bytes.swap(0, Ordering::Relaxed) > 0);
    }
    stage.say(&format!("{torn} frames were torn"));
    if torn < 5 {
        stage.world.core.fail(format!("only {torn} frames were torn: the script does not play what it should"));
    }
}
