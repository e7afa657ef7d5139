//! The floor, and nodes that sleep while it moves (A1 to A3, A9, A10, A13, D5).

use super::stage::Stage;
use crate::stops::Place;
use std::time::Duration;
use strandline_commit_log::memory::{Delay, Delays};

/// A node sleeps with an append on its way. The store takes it, far below the floor: the yes must not count.
pub(super) async fn slept_in_append(stage: &Stage) {
    let hold = stage.hold(0, Place::Append, "");
    let sleeper = stage.commit(0);
    let others = async {
        hold.reached().await;
        stage.pass_floor(1).await;
        hold.release();
    };
    let (told, ()) = futures::join!(sleeper, others);
    stage.say(&format!("the sleeper was told {told:?}"));
    if let Some(Ok(submitted)) = told {
        stage.world.core.fail(format!("an append at {} was acknowledged, and nobody folds it (A1, A2)", submitted.seq));
    }
}

/// Two sleep at the same seq. What the second one finds there is bogus, too.
pub(super) async fn two_slept(stage: &Stage) {
    let (first, second) = (stage.hold(0, Place::Append, ""), stage.hold(2, Place::Append, ""));
    let others = async {
        first.reached().await;
        second.reached().await;
        stage.pass_floor(1).await;
        first.release();
        stage.sleep(Duration::from_secs(1)).await;
        let reads = stage.hold(2, Place::Read, "");
        second.release();
        // Only who has folded what it found reads on.
        if stage.is_reached(&reads).await {
            stage.check();
        }
        reads.release();
    };
    futures::join!(stage.commit(0), stage.commit(2), others);
}

/// A read that takes long: rows first and then the floor, else it sees neither.
pub(super) async fn read_across_the_floor(stage: &Stage) {
    let slow = Delays { between_rows_and_floor: Delay::always(Duration::from_secs(8)), ..Delays::default() };
    stage.node(2).log.faults().set_delays(slow);
    stage.send(1, 2).await;
    futures::join!(stage.check_barrier(2), stage.pass_floor(1));
}

/// Entries go below the floor only.
pub(super) async fn floor_then_entries(stage: &Stage) {
    stage.send(1, 2).await;
    let hold = stage.hold(1, Place::RaiseFloor, "");
    let reader = async {
        hold.reached().await;
        stage.check_barrier(2).await;
        hold.release();
    };
    futures::join!(stage.pass_floor(1), reader);
}

/// Another has raised the floor further, when a writer comes to look at it.
pub(super) async fn slept_before_the_floor(stage: &Stage) {
    overtaken(stage, Place::Floor).await;
}

/// Another has raised the floor further, since a writer looked at it.
pub(super) async fn slept_before_raising(stage: &Stage) {
    overtaken(stage, Place::RaiseFloor).await;
}

async fn overtaken(stage: &Stage, place: Place) {
    stage.send(0, 2).await;
    stage.sleep(Duration::from_secs(1)).await;
    let node = stage.node(0);
    let hold = stage.hold(0, place, "");
    let slow = node.ask(node.compactor.snapshot_once(true));
    let other = async {
        hold.reached().await;
        // Only the log holds it back: it is declared gone, and its lease with it.
        stage.world.declare_gone(&stage.node(1), node.cell.incarnation()).await;
        stage.pass_floor(1).await;
        hold.release();
    };
    let (done, ()) = futures::join!(slow, other);
    stage.say(&format!("the slow writer of the floor: {done:?}"));
}
