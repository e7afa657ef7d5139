//! Commits that land once what they are about has changed: Merge, Rehome and SealExtents (B1, B5, A6, I5), and a batch.

use super::collecting::sweep_all;
use super::stage::{LARGE, Stage};
use crate::clients::{Told, read_all};
use crate::stops::Place;
use std::time::Duration;
use strandline_wire::ErrorCode;

/// What happens to what a commit is about, before it lands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meanwhile {
    /// Its object is old enough to be an orphan, and goes.
    Swept,
    /// Another node takes the next step: what was fresh is sealed, what were extents is converted.
    Next,
    /// The topic is deleted.
    Deleted,
    /// Its node is declared gone, and another does all the work.
    TakenOver,
}

async fn meanwhile(stage: &Stage, what: Meanwhile, next: impl AsyncFnOnce()) {
    match what {
        Meanwhile::Swept => sweep_all(stage).await,
        Meanwhile::Next => next().await,
        Meanwhile::Deleted => {
            stage.delete_topic().await;
            // What lies in the bucket for it goes, and what is not in the log yet must not bring it back.
            stage.sweep(1).await;
        }
        Meanwhile::TakenOver => {
            stage.world.declare_gone(&stage.node(1), stage.node(0).cell.incarnation()).await;
            next().await;
        }
    }
}

/// A merge's output lies in the bucket, its commit is not in the log.
pub(super) async fn late_merge(stage: &Stage, what: Meanwhile) {
    let stage = &stage.on_another_topic("merged", 1).await;
    for _ in 0..2 {
        stage.send(0, LARGE).await;
        stage.convert(0).await;
    }
    let node = stage.node(0);
    let hold = stage.hold(0, Place::PutDone, "fresh/");
    let others = async {
        stage.reach(&hold, "a merge puts nothing").await;
        meanwhile(stage, what, async || stage.seal(1).await).await;
        stage.say("the merge goes on");
        hold.release();
    };
    let (done, ()) = futures::join!(node.ask(node.compactor.merge_once(stage.topic.id)), others);
    stage.say(&format!("the late merge: {done:?}"));
    if matches!(done, Some(Ok(true))) {
        stage.world.core.fail(format!("a merge counts, and what it is about is not there any more: {what:?} (I5)"));
    }
    nothing_is_left(stage, what).await;
}

/// Batches that ride inline lie in a WAL segment, and the commit that says so is not in the log.
pub(super) async fn late_rehome(stage: &Stage, what: Meanwhile) {
    let stage = &stage.on_another_topic("rehomed", 1).await;
    stage.send(0, 2).await;
    stage.sleep(Duration::from_secs(1)).await;
    stage.catch_up().await;
    let node = stage.node(0);
    let hold = stage.hold(0, Place::PutDone, "wal/");
    let others = async {
        stage.reach(&hold, "nothing is rehomed").await;
        meanwhile(stage, what, async || stage.convert(1).await).await;
        stage.say("the rehoming goes on");
        hold.release();
    };
    let (done, ()) = futures::join!(node.ask(node.compactor.snapshot_once(true)), others);
    stage.say(&format!("the late rehoming, in a snapshot: {done:?}"));
    nothing_is_left(stage, what).await;
}

/// Extents fill a file, and the plan that seals them comes late.
pub(super) async fn late_seal_extents(stage: &Stage, what: Meanwhile) {
    let stage = &stage.on_another_topic("planned", 1).await;
    stage.send(0, LARGE).await;
    // Its lease is there already, so the next append is the plan's.
    let node = stage.node(0);
    let lease = stage.hold(0, Place::Append, "");
    let others = async {
        stage.reach(&lease, "no lease is taken").await;
        let plan = stage.hold(0, Place::Append, "");
        lease.release();
        stage.reach(&plan, "nothing is planned").await;
        meanwhile(stage, what, async || {
            stage.convert(1).await;
            stage.seal(1).await;
        })
        .await;
        stage.say("the plan goes on");
        plan.release();
    };
    futures::join!(stage.convert(0), others);
    if node.cell.is_stopped() {
        stage.world.kill(0);
    }
    let topic = stage.world.core.oracle().index().topics.get(&stage.topic.id).cloned();
    if what != Meanwhile::Deleted && topic.is_none_or(|topic| topic.partitions.iter().any(|partition| partition.frontier == 0)) {
        stage.world.core.fail(format!("nobody has converted what the late plan is about: {what:?}"));
    }
    nothing_is_left(stage, what).await;
}

/// A plan over extents is in the log and nothing else of it, when its node dies: another completes it.
pub(super) async fn planned_extents_taken_over(stage: &Stage) {
    stage.send(0, LARGE).await;
    let hold = stage.hold(0, Place::Put, "bronze/");
    let crash = async {
        stage.reach(&hold, "no sealed file is put straight from extents").await;
        stage.bury(0).await;
    };
    let work = async {
        stage.convert(0).await;
        if let Some(node) = stage.world.node(0) {
            let _ = node.ask(node.compactor.seal_once(stage.topic.id, true)).await;
        }
    };
    futures::join!(work, crash);
    stage.sleep(Duration::from_secs(1)).await;
    // The plan pins them: neither is there another for them.
    stage.convert(1).await;
    stage.seal(1).await;
    let open = stage.world.core.oracle().index().topics.get(&stage.topic.id).map_or(0, |topic| topic.plans.len());
    let sealed = stage.objects("bronze").await.iter().filter(|path| path.ends_with(".parquet")).count();
    if (open, sealed) != (0, 1) {
        stage.world.core.fail(format!("a plan over extents that was taken over: {open} are open, {sealed} files (C4)"));
    }
}

/// A producer names its topic, which is deleted before the batch lands, and made anew. Identity is the id: the batch is not the new one's.
pub(super) async fn late_produce(stage: &Stage) {
    let stage = &stage.on_another_topic("again", 1).await;
    let hold = stage.hold(0, Place::Append, "");
    let others = async {
        stage.reach(&hold, "nothing is appended").await;
        stage.delete_topic().await;
        let again = stage.create_again().await;
        stage.say("the batch goes on");
        hold.release();
        again
    };
    let (told, again) = futures::join!(stage.send_by_name(0), others);
    if !matches!(again.send_by_name(0).await, Told::Acked(_)) {
        again.world.core.fail("the topic was not made again".to_owned());
    }
    again.catch_up().await;
    for slot in 0..3 {
        read_all(&again.world, &again.node(slot), &again.topic, again.at(), 1 << 20).await;
    }
    if !matches!(told, Told::Error(ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId)) {
        stage.world.core.fail(format!("a batch for a topic that is deleted meanwhile: {told}"));
    }
}

/// What belongs to a topic that is deleted goes, also what came late.
async fn nothing_is_left(stage: &Stage, what: Meanwhile) {
    if what != Meanwhile::Deleted {
        return;
    }
    stage.catch_up().await;
    for _ in 0..3 {
        sweep_on_the_first_topic(stage).await;
        stage.collect(1).await;
    }
    let mut listed = stage.objects("wal").await;
    for folder in ["fresh", "bronze"] {
        listed.extend(stage.objects(folder).await);
    }
    // What is on the garbage list goes once everybody has said to have folded that, as any garbage.
    let left: Vec<_> = {
        let oracle = stage.world.core.oracle();
        let is_left = |path: &String| oracle.refers_to(path).is_none() && !oracle.index().garbage.contains_key(path);
        listed.into_iter().filter(is_left).collect()
    };
    if !left.is_empty() {
        stage.world.core.fail(format!("a topic is deleted, and what came late stays: {left:?}"));
    }
}

/// The horizon moves with what others write.
async fn sweep_on_the_first_topic(stage: &Stage) {
    for _ in 0..2 {
        let _ = stage.commit(1).await;
        stage.sweep(1).await;
    }
}
