//! Objects that go, and those who still need them (B1 to B3, B5, B7, B9, B10, C5).

use super::stage::{LARGE, Stage};
use crate::stops::Place;
use bytes::Bytes;
use std::time::Duration;
use strandline_object_store::{Effect, Fault, Operation};
use strandline_types::ObjectName;

/// Node 1 moves the horizon past everything that was named until now, and sweeps.
pub(super) async fn sweep_all(stage: &Stage) {
    stage.send(1, 2).await;
    stage.send(1, 2).await;
    stage.sweep(1).await;
    stage.sweep(1).await;
}

/// A WAL segment lies in the bucket, its commit is not in the log, and the collector takes it for an orphan. Rightly: so the
/// commit must be refused.
pub(super) async fn late_commit(stage: &Stage) {
    let hold = stage.hold(0, Place::PutDone, "wal/");
    let sweep = async {
        hold.reached().await;
        sweep_all(stage).await;
        hold.release();
    };
    futures::join!(stage.send(0, LARGE), sweep);
}

/// The same with a fresh file and its `Convert`.
pub(super) async fn late_convert(stage: &Stage) {
    stage.send(0, LARGE).await;
    let hold = stage.hold(0, Place::PutDone, "fresh/");
    let sweep = async {
        hold.reached().await;
        sweep_all(stage).await;
        hold.release();
    };
    futures::join!(stage.convert(0), sweep);
}

/// The collector has not read the log since the commit landed that refers to what it is about to delete.
pub(super) async fn collector_lags(stage: &Stage) {
    // It has the lease already, thanks to a true orphan.
    let incarnation = stage.node(0).cell.incarnation();
    let orphan = ObjectName { seq: strandline_types::Seq(1), incarnation, n: 999 };
    stage.overwrite(&format!("wal/{orphan}"), Bytes::from_static(b"nobody's")).await;
    sweep_all(stage).await;
    stage.catch_up().await;
    let hold = stage.hold(0, Place::PutDone, "wal/");
    let sweep = async {
        hold.reached().await;
        stage.send(1, 2).await;
        stage.send(1, 2).await;
        stage.sweep(1).await;
        hold.release();
        stage.sleep(Duration::from_secs(2)).await;
        stage.sweep(1).await;
    };
    futures::join!(stage.send(0, LARGE), sweep);
}

/// The horizon is the very seq that an object is named after.
pub(super) async fn at_the_horizon(stage: &Stage) {
    stage.catch_up().await;
    // What is folded now is what the horizon will be, and the name.
    stage.sweep(1).await;
    let hold = stage.hold(0, Place::PutDone, "wal/");
    let sweep = async {
        hold.reached().await;
        stage.sweep(1).await;
        hold.release();
    };
    futures::join!(stage.send(0, LARGE), sweep);
}

/// Two conversions are merged: their files are garbage.
async fn make_garbage(stage: &Stage) {
    for _ in 0..2 {
        stage.send(0, LARGE).await;
        stage.convert(0).await;
    }
    // Cut off from now on: it reads by what it knows.
    stage.catch_up().await;
    stage.cut_off(2, true);
    let node = stage.node(0);
    let done = node.ask(node.compactor.merge_once(stage.topic.id)).await;
    stage.say(&format!("merge: {done:?}"));
}

pub(super) async fn garbage_below_the_horizon(stage: &Stage) {
    make_garbage(stage).await;
    // A true orphan, so that the horizon moves.
    let orphan = ObjectName { seq: strandline_types::Seq(1), incarnation: stage.node(0).cell.incarnation(), n: 999 };
    stage.overwrite(&format!("wal/{orphan}"), Bytes::from_static(b"nobody's")).await;
    sweep_all(stage).await;
}

pub(super) async fn garbage_of_a_live_reader(stage: &Stage) {
    make_garbage(stage).await;
    stage.collect(1).await;
}

pub(super) async fn garbage_not_copied(stage: &Stage) {
    make_garbage(stage).await;
    // Nobody else reads: only the copy is missing.
    stage.bury(2).await;
    stage.bury(0).await;
    stage.node(1).faults.add(Fault::every(Operation::Put, Effect::Before).below("log/"));
    stage.collect(1).await;
}
