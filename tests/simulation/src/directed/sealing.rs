//! Files on their way into `bronze/` (C2 to C4, C6 to C9), what lists them, and damage.

use super::stage::{LARGE, Stage};
use crate::clients::read_all;
use crate::stops::Place;
use bytes::Bytes;
use std::time::Duration;
use strandline_object_store::{Effect, Fault, Operation};

/// A node dies before the store has the file: its plan stays open, and nothing else says that the file is there.
pub(super) async fn dies_putting(stage: &Stage) {
    stage.send(0, LARGE).await;
    stage.convert(0).await;
    stage.node(0).faults.add(Fault::every(Operation::Put, Effect::Delay(Duration::from_secs(60))).below("bronze/"));
    let crash = async {
        stage.sleep(Duration::from_secs(20)).await;
        stage.bury(0).await;
    };
    futures::join!(stage.seal(0), crash);
    stage.seal(1).await;
}

/// A file's rows are on their way when a consumer reads what it holds: until they are there, what it was made of answers.
pub(super) async fn read_before_the_rows(stage: &Stage) {
    stage.send(0, LARGE).await;
    stage.convert(0).await;
    let hold = stage.hold(0, Place::Rows, "");
    let read = async {
        stage.reach(&hold, "no rows are written").await;
        stage.catch_up().await;
        read_all(&stage.world, &stage.node(1), &stage.topic, stage.at(), 1 << 20).await;
        hold.release();
    };
    futures::join!(stage.seal(0), read);
}

/// A node dies with a plan open, and its file in the bucket: who takes over completes that plan.
pub(super) async fn open_plan_taken_over(stage: &Stage) {
    stage.send(0, LARGE).await;
    stage.convert(0).await;
    let hold = stage.hold(0, Place::PutDone, "bronze/");
    let crash = async {
        hold.reached().await;
        stage.bury(0).await;
    };
    futures::join!(stage.seal(0), crash);
    stage.sleep(Duration::from_secs(1)).await;
    stage.seal(1).await;
}

/// The inputs of an open plan stay what they are.
pub(super) async fn merge_beside_a_plan(stage: &Stage) {
    for _ in 0..3 {
        stage.send(0, 4).await;
        stage.convert(0).await;
    }
    let hold = stage.hold(0, Place::Put, "bronze/");
    let merge = async {
        hold.reached().await;
        let node = stage.node(1);
        stage.catch_up().await;
        let done = node.ask(node.compactor.merge_once(stage.topic.id)).await;
        stage.say(&format!("merge: {done:?}"));
        hold.release();
    };
    futures::join!(stage.seal(0), merge);
}

/// The bucket takes no copy of the log: so it gets no sealed file either.
pub(super) async fn plan_not_copied(stage: &Stage) {
    stage.send(0, LARGE).await;
    stage.convert(0).await;
    stage.node(0).faults.add(Fault::every(Operation::Put, Effect::Before).below("log/"));
    stage.seal(0).await;
}

/// The sweep lists, and only then looks at what is known.
pub(super) async fn sealed_while_listed(stage: &Stage) {
    stage.send(0, LARGE).await;
    stage.convert(0).await;
    let hold = stage.hold(1, Place::List, "bronze");
    let seal = async {
        hold.reached().await;
        stage.seal(0).await;
        hold.release();
    };
    futures::join!(stage.sweep(1), seal);
}

/// The row of an offset is removed by retention while a node still thinks that it can be read: the next row does not answer.
pub(super) async fn rows_removed_under_a_reader(stage: &Stage) {
    for _ in 0..2 {
        stage.send(0, LARGE).await;
        stage.convert(0).await;
        stage.seal(0).await;
    }
    stage.catch_up().await;
    stage.cut_off(2, true);
    let node = stage.node(0);
    stage.move_log_start(0, 0, LARGE as i64).await;
    let done = node.ask(node.compactor.retain_once()).await;
    stage.say(&format!("retain: {done:?}"));
    let reader = stage.node(2);
    let at = stage.at();
    let later = async {
        stage.sleep(Duration::from_secs(3)).await;
        stage.cut_off(2, false);
    };
    let (read, ()) = futures::join!(reader.ask(reader.reader.read_records(at, 0, 1_000)), later);
    match read {
        Some(Ok(records)) if !records.is_empty() => {
            crate::clients::check_answer(&stage.world, &stage.topic, at, 0, records, i64::MAX);
        }
        other => stage.say(&format!("the reader says {:?}", other.map(|read| read.map(|records| records.len())))),
    }
}

/// A node that has folded a plan and not its `Sealed` lists the inputs, and not the file that has their rows. It takes itself for the one that
/// seals the topic and writes its manifests, and another one is by now.
pub(super) async fn manifest_of_an_old_view(stage: &Stage) {
    stage.send(0, LARGE).await;
    stage.convert(0).await;
    let node = stage.node(0);
    let hold = stage.hold(0, Place::Put, "bronze/");
    let others = async {
        hold.reached().await;
        stage.catch_up().await;
        stage.cut_off(0, true);
        stage.world.declare_gone(&stage.node(1), node.cell.incarnation()).await;
        stage.seal(1).await;
        let done = node.ask(node.compactor.write_manifest_once(stage.topic.id)).await;
        stage.say(&format!("manifest: {done:?}"));
        crate::manifests::nothing_is_listed_twice(&stage.world).await;
        hold.release();
        stage.cut_off(0, false);
    };
    futures::join!(stage.seal(0), others);
}

/// A node has read a page of a topic's rows when those of another file are written, of which some lie before that page's end. Then the
/// log start passes the others.
pub(super) async fn rows_written_while_listed(stage: &Stage) {
    let wide = stage.on_another_topic("wide", 2).await;
    let fill = async || {
        for partition in 0..2 {
            wide.send_to(0, partition, LARGE).await;
        }
        wide.convert(0).await;
        wide.seal(0).await;
    };
    fill().await;
    stage.catch_up().await;
    let node = stage.node(1);
    let hold = stage.hold(1, Place::Listed, "");
    let sealed = async {
        stage.reach(&hold, "no rows are listed").await;
        fill().await;
        hold.release();
    };
    let (listed, ()) = futures::join!(node.ask(node.compactor.sealed_files(wide.topic.id)), sealed);
    stage.say(&format!("listed: {listed:?}"));
    wide.move_log_start(0, 1, -1).await;
    stage.catch_up().await;
    let done = node.ask(node.compactor.retain_once()).await;
    stage.say(&format!("retention: {done:?}"));
    // Nobody else reads: what is garbage goes.
    stage.bury(0).await;
    stage.bury(2).await;
    stage.collect(1).await;
}

/// Whatever byte of a sealed file is wrong, nobody is given a wrong record.
pub(super) async fn damaged_file(stage: &Stage) {
    stage.send(0, LARGE).await;
    stage.convert(0).await;
    stage.seal(0).await;
    stage.catch_up().await;
    read_all(&stage.world, &stage.node(1), &stage.topic, stage.at(), 1 << 20).await;
    let Some(path) = stage.objects("bronze").await.pop() else { return };
    let whole = stage.bytes_of(&path).await;
    for at in (0..whole.len()).step_by(whole.len() / 150) {
        let mut damaged = whole.to_vec();
        damaged[at] ^= 0x01;
        stage.overwrite(&path, Bytes::from(damaged)).await;
        // Every time with empty memory.
        stage.bury(2).await;
        stage.start(2).await;
        let Some(node) = stage.world.node(2) else { continue };
        match node.reader.read_records(stage.at(), 0, 1 << 20).await {
            // As if the log ended there.
            Ok(records) if records.is_empty() => {
                stage.world.core.fail(format!("byte {at} of {path} is wrong: no answer for offset 0, and no error (I5)"));
            }
            Ok(records) => {
                crate::clients::check_answer(&stage.world, &stage.topic, stage.at(), 0, records, i64::MAX);
            }
            Err(error) => stage.say(&format!("byte {at} of {path} is wrong: {error}")),
        }
        // It says so, and that is right.
        let (_, cries) = crate::alarms::Listening::take();
        if let Some(panic) = cries.iter().find(|cry| cry.starts_with("PANIC")) {
            return stage.world.core.fail(format!("byte {at} of {path} is wrong: {panic}"));
        }
        if stage.world.core.has_failed() {
            return;
        }
    }
    stage.overwrite(&path, whole).await;
}
