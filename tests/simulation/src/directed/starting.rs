//! Snapshots, and nodes that start from them (D1 to D4).

use super::stage::Stage;
use crate::stops::Place;
use bytes::Bytes;
use std::time::Duration;
use strandline_commit_log::memory::ReadFault;

/// A node has loaded the floor's snapshot, and reads the rows after it when they are gone.
pub(super) async fn start_across_the_floor(stage: &Stage) {
    stage.pass_floor(1).await;
    stage.bury(0).await;
    let starter = stage.world.start_node(0, |log, _| {
        // The first read is that of the floor.
        log.faults().on_read(2, ReadFault::Delayed(Duration::from_secs(30)));
    });
    let others = async {
        stage.sleep(Duration::from_secs(5)).await;
        stage.pass_floor(1).await;
    };
    let started = tokio::time::timeout(Duration::from_secs(600), async { futures::join!(starter, others) }).await;
    if started.is_err() {
        stage.world.core.fail("a node that starts goes round and round below the floor (D1)");
    }
}

/// A snapshot is not what was written. A second fold does not agree, and the floor stays where it is: so everybody can start.
pub(super) async fn damaged_snapshot(stage: &Stage) {
    stage.send(1, 5).await;
    let node = stage.node(1);
    let hold = stage.hold(1, Place::PutDone, "index/");
    let damage = async {
        hold.reached().await;
        for path in stage.objects("index").await {
            let mut bytes = stage.bytes_of(&path).await.to_vec();
            bytes.pop();
            stage.overwrite(&path, Bytes::from(bytes)).await;
        }
        hold.release();
    };
    let (done, ()) = futures::join!(node.ask(node.compactor.snapshot_once(true)), damage);
    stage.say(&format!("a damaged snapshot: {done:?}"));
    stage.bury(0).await;
    stage.start(0).await;
    if stage.world.node(0).is_none() {
        stage.world.core.fail("nobody can start from the snapshot that the floor names (D2, D3)");
    }
}

/// There is a newer snapshot, and the floor still names the one before.
pub(super) async fn snapshot_before_the_floor(stage: &Stage) {
    let node = stage.node(1);
    for _ in 0..2 {
        stage.send(1, 5).await;
        stage.sleep(Duration::from_secs(1)).await;
        let done = node.ask(node.compactor.snapshot_once(true)).await;
        stage.say(&format!("snapshot: {done:?}"));
    }
    stage.send(1, 5).await;
    // The floor has passed those who lag.
    stage.bury(2).await;
    stage.start(2).await;
    let hold = stage.hold(1, Place::RaiseFloor, "");
    let crash = async {
        hold.reached().await;
        stage.world.kill(1);
    };
    futures::join!(node.ask(node.compactor.snapshot_once(true)), crash);
    stage.bury(0).await;
    stage.start(0).await;
    if stage.world.node(0).is_none() {
        stage.world.core.fail("the snapshot that the floor names is gone (D4)");
    }
}
