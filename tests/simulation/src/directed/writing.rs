//! Commits that land late, twice or never (A4 to A8, A12, A15, A17), batches without room (Awaited), names (B6), and objects
//! before commits (B8).

use super::stage::{LARGE, Stage};
use crate::clients::{Told, read_all};
use crate::record::Sender;
use crate::stops::Place;
use futures::FutureExt;
use std::sync::Arc;
use std::time::Duration;
use strandline_commands::{DecodedEntry, EntryBody, decode, encode};
use strandline_commit_log::memory::AppendFault;
use strandline_commit_log::{CommitLog, Entry, Payload};
use strandline_types::Seq;
use strandline_wire::ErrorCode;

/// The commits of an entry, as an entry of their own at the end of the log.
async fn land(stage: &Stage, seq: Seq, slot: usize) {
    let DecodedEntry::Body(body) = decode(&stage.world.core.log.stored(seq).unwrap().bytes).unwrap() else { return };
    stage.catch_up().await;
    let (hash_before, head) = {
        let view = stage.node(slot).cell.view().clone();
        (view.cell.hash, view.cell.seq)
    };
    let body = EntryBody { hash_before: hash_before.0.to_vec(), ..body };
    let entry = Entry { hash_before, bytes: encode(&body).unwrap(), payload: Payload::default() };
    stage.world.core.log.for_node().append(head.next(), entry).await.unwrap();
    stage.say(&format!("the commits of {seq} land again at {}", head.next()));
    stage.catch_up().await;
}

/// A copy that was forwarded, of a node that lives.
pub(super) async fn lands_again(stage: &Stage) {
    stage.send(0, LARGE).await;
    let seq = stage.world.core.log.head();
    land(stage, seq, 1).await;
}

/// The same copy, when its node has been forgotten.
pub(super) async fn lands_again_from_the_grave(stage: &Stage) {
    stage.send(0, LARGE).await;
    let seq = stage.world.core.log.head();
    stage.bury(0).await;
    land(stage, seq, 1).await;
}

/// The last append of a run lands between the start and the first append of the next run at the same address. (Inline: the
/// names of objects would clash first.)
pub(super) async fn late_into_the_next_run(stage: &Stage) {
    let second = Duration::from_secs(1);
    stage.node(0).log.faults().on_append(1, AppendFault::Late { reply: 600 * second, land: 5 * second });
    let crash = async {
        stage.sleep(second).await;
        stage.world.kill(0);
        stage.start(0).await;
        let hold = stage.hold(0, Place::Append, "");
        let land = async {
            hold.reached().await;
            stage.sleep(10 * second).await;
            hold.release();
        };
        futures::join!(stage.send(0, 2), land);
    };
    futures::join!(stage.send(0, 2), crash);
    stage.catch_up().await;
    read_all(&stage.world, &stage.node(1), &stage.topic, stage.at(), 1 << 20).await;
}

/// The log has the entry, and its writer does not hear it.
pub(super) async fn lost_reply(stage: &Stage) {
    stage.node(0).log.faults().on_append(1, AppendFault::AmbiguousAfter);
    stage.send(0, LARGE).await;
    stage.send(0, LARGE).await;
}

/// The log does not have the entry, and its writer does not know.
pub(super) async fn lost_request(stage: &Stage) {
    stage.node(0).log.faults().on_append(1, AppendFault::AmbiguousBefore);
    stage.send(0, LARGE).await;
    stage.send(0, LARGE).await;
}

/// What was asked for first comes first, also when its append is in doubt.
pub(super) async fn behind_one_in_doubt(stage: &Stage) {
    let second = Duration::from_secs(1);
    stage.node(0).log.faults().on_append(1, AppendFault::Late { reply: second, land: 3 * second });
    let later = async {
        stage.sleep(second / 2).await;
        stage.commit(0).await
    };
    let (first, second) = futures::join!(stage.commit(0), later);
    stage.say(&format!("first {first:?}, second {second:?}"));
    match (first, second) {
        (Some(Ok(first)), Some(Ok(second))) if first.seq <= second.seq => {}
        told => stage.world.core.fail(format!("a commit behind one in doubt: {told:?} (A17)")),
    }
}

/// There is no room for a producer's first batch, at the door or in the log, and then there is. Its partition knows nothing of
/// the producer and would take whatever comes: what was sent behind that batch waits until it has come again.
pub(super) async fn behind_a_refused_batch(stage: &Stage) {
    let fail = |what: String| stage.world.core.fail(what);
    for (producer_id, at_the_door) in [(7_000, true), (7_001, false)] {
        let sender = |base_sequence| Some(Sender { producer_id, producer_epoch: 0, base_sequence });
        let (first, second) = (stage.new_ids(2), stage.new_ids(3));
        let faults = stage.node(0).log.faults();
        if at_the_door {
            faults.set_full(true);
        } else {
            faults.on_append(1, AppendFault::Full);
        }
        let told = stage.send_batch(0, 0, &first, sender(0)).await;
        faults.set_full(false);
        if told != Told::Error(ErrorCode::KafkaStorageError) {
            return fail(format!("there is no room for a batch, and it was told {told}"));
        }
        // Until one is let through to find out whether there is room again.
        stage.sleep(Duration::from_secs(5)).await;
        if let Told::Acked(offset) = stage.send_batch(0, 0, &second, sender(2)).await {
            return fail(format!("a batch at {offset} overtook the one before it, for which there was no room"));
        }
        stage.sleep(Duration::from_secs(5)).await;
        let told = (stage.send_batch(0, 0, &first, sender(0)).await, stage.send_batch(0, 0, &second, sender(2)).await);
        if !matches!(told, (Told::Acked(first), Told::Acked(second)) if second == first + 2) {
            return fail(format!("batches for which there was no room, sent again: {told:?}"));
        }
    }
    stage.catch_up().await;
    read_all(&stage.world, &stage.node(1), &stage.topic, stage.at(), 1 << 20).await;
}

/// Another writer's entry is at the seq, three times.
pub(super) async fn faster_rival(stage: &Stage) {
    let clock = stage.world.core.clock().clone();
    let rival = move |_: Seq, entry: &Entry| {
        let body = EntryBody {
            time_ms: clock.now_ms(),
            hash_before: entry.hash_before.0.to_vec(),
            cell_epoch: 1,
            ..EntryBody::default()
        };
        Entry { hash_before: entry.hash_before, bytes: encode(&body).unwrap(), payload: Payload::default() }
    };
    stage.node(0).log.faults().conflict_storm(3, Arc::new(rival));
    stage.send(0, LARGE).await;
}

/// Two WAL segments are on their way at once, named at the same seq.
pub(super) async fn two_objects_at_once(stage: &Stage) {
    let hold = stage.hold(0, Place::Put, "wal/");
    let second = async {
        hold.reached().await;
        let second = stage.send(0, LARGE).boxed();
        let release = async {
            stage.sleep(Duration::from_secs(2)).await;
            hold.release();
        };
        futures::join!(second, release);
    };
    futures::join!(stage.send(0, LARGE), second);
}

/// A node dies before the store has its WAL segment: nobody was told that the batch is there, and nothing refers to it.
pub(super) async fn dies_putting_a_segment(stage: &Stage) {
    let hold = stage.hold(0, Place::Put, "wal/");
    let crash = async {
        stage.reach(&hold, "no segment is put").await;
        stage.sleep(Duration::from_secs(2)).await;
        stage.bury(0).await;
    };
    futures::join!(stage.send(0, LARGE), crash);
    stage.catch_up().await;
    read_all(&stage.world, &stage.node(1), &stage.topic, stage.at(), 1 << 20).await;
}
