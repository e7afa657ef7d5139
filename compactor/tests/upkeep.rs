//! Retention, garbage, orphans, copies of the log, snapshots, and the tasks that do all of it by themselves.
#![allow(clippy::unwrap_used)]

mod world;

use bytes::Bytes;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use strandline_cell::Submission;
use strandline_commands::{AgreeSnapshot, DeleteTopic, MoveLogStart, WroteSnapshot};
use strandline_commit_log::{CommitLog, Tail};
use strandline_compactor::{LogCopy, LogCopyName, Retry, WorkError};
use strandline_index::{ExtentPlace, Index};
use strandline_object_store::{Effect, Fault, Operation, Purpose};
use strandline_segment_index::SegmentIndex;
use strandline_types::{Seq, TopicId, TopicPartition};
use world::{Node, StubbornIndex, World};

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// The index as a rebuild would fold it from the copies alone.
async fn fold_copies(world: &World) -> Index {
    let mut index = Index::default();
    for path in world.paths("log").await {
        let name: LogCopyName = path.parse().unwrap();
        let copy = LogCopy::decode(&world.plain_objects().get(Purpose::Rebuild, &path).await.unwrap()).unwrap();
        assert_eq!(copy.name(), Some(name));
        for row in copy.rows {
            if row.seq == index.cell.seq.next() {
                index.fold(row.seq, &row.bytes).unwrap();
            }
        }
    }
    index
}

#[tokio::test(start_paused = true)]
async fn the_copies_of_the_log_fold_to_the_same_index_and_do_not_feed_themselves() {
    let mut world = World::new(1);
    let node = world.start().await;
    let topic = world.create_topic(&node, 7, "t", 2, &[]).await;
    world.produce(&node, topic, 0, 3).await;
    node.compactor.copy_log_once().await.unwrap();
    let before = node.cell.seq();
    for _ in 0..3 {
        node.compactor.copy_log_once().await.unwrap();
    }
    assert_eq!(node.cell.seq(), before, "a copy led to another one");
    world.produce(&node, topic, 1, 3).await;
    let copied = node.compactor.copy_log_once().await.unwrap();
    assert_eq!(copied, node.cell.view().cell.log_copied);
    let folded = fold_copies(&world).await;
    assert_eq!(folded.cell.seq, copied);
    assert_eq!(folded.topics, node.cell.view().topics);
    assert_eq!(folded.violations(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_is_agreed_moves_the_floor_and_a_run_starts_from_it() {
    let mut world = World::new(2);
    let node = world.start().await;
    let topic = world.create_topic(&node, 7, "t", 2, &[]).await;
    for _ in 0..5 {
        world.produce(&node, topic, 0, 3).await;
    }
    assert_eq!(node.compactor.snapshot_once(false).await.unwrap(), None);
    // Young inline batches hold the floor back; old ones are moved into a WAL segment.
    node.compactor.snapshot_once(true).await.unwrap();
    let first_reference = node.cell.view().first_inline_reference().unwrap();
    assert_eq!(world.log.floor().await.unwrap().seq, first_reference);
    world.runtime.sleep(Duration::from_secs(61)).await;
    let seq = node.compactor.snapshot_once(true).await.unwrap().unwrap();
    assert_eq!(node.cell.view().first_inline_reference(), None);
    assert!(
        node.cell.view().topics[&topic].partitions[0]
            .extents
            .iter()
            .all(|extent| matches!(extent.place, ExtentPlace::Object { .. }))
    );
    let floor = world.log.floor().await.unwrap();
    assert_eq!((floor.seq, floor.snapshot.as_ref().unwrap().seq), (seq.next(), seq));
    assert!(matches!(world.log.read(Seq(1), 1 << 20).await.unwrap(), Tail::Trimmed { .. }));
    assert_eq!(world.paths("index").await, [floor.snapshot.unwrap().key], "older snapshots go, the floor's stays");
    node.kill();
    let again = world.start().await;
    world.check(&again, false).await;
    again.compactor.seal_everything(topic).await.unwrap();
    world.check(&again, false).await;
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_by_hand_does_not_get_in_the_way_of_one_that_is_under_way() {
    let mut world = World::new(12);
    let node = world.start().await;
    let topic = world.create_topic(&node, 7, "t", 1, &[]).await;
    world.produce(&node, topic, 0, 3).await;
    world.faults.add(Fault::nth(Operation::Get, 1, Effect::Delay(Duration::from_secs(2))).below("index"));
    let by_hand = async {
        // The other one has been written, and is not agreed to yet.
        world.runtime.sleep(Duration::from_secs(1)).await;
        assert!(node.cell.view().cell.snapshot.written.is_some() && node.cell.view().cell.snapshot.agreed.is_none());
        node.compactor.snapshot_once(true).await
    };
    let (first, second) = tokio::join!(node.compactor.snapshot_once(true), by_hand);
    assert!(first.unwrap().unwrap() < second.unwrap().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_whose_put_or_agreement_fails_moves_nothing_and_the_next_one_does() {
    for operation in [Operation::Put, Operation::Get] {
        let mut world = World::new(3);
        let node = world.start().await;
        let topic = world.create_topic(&node, 7, "t", 1, &[]).await;
        world.produce(&node, topic, 0, 3).await;
        world.faults.add(Fault::nth(operation, 1, Effect::Before).below("index"));
        node.compactor.snapshot_once(true).await.unwrap_err();
        assert_eq!(world.log.floor().await.unwrap().snapshot, None);
        world.faults.clear();
        assert!(node.compactor.snapshot_once(true).await.unwrap().is_some());
        assert!(world.log.floor().await.unwrap().snapshot.is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn copies_of_the_log_do_not_wait_for_snapshots_that_fail() {
    let mut world = World::new(33);
    world.options.snapshot_entries = 1;
    let node = world.start().await;
    world.faults.add(Fault::every(Operation::Put, Effect::Before).below("index"));
    node.compactor.run();
    world.create_topic(&node, 7, "t", 1, &[]).await;
    // By now it is tried once a minute.
    world.runtime.sleep(Duration::from_secs(400)).await;
    for id in 8..12 {
        world.create_topic(&node, id, &format!("t{id}"), 1, &[]).await;
        let seq = node.cell.seq();
        world.runtime.sleep(Duration::from_secs(13)).await;
        let copied = node.cell.view().cell.log_copied;
        assert!(copied >= seq, "{copied} of {seq}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_cannot_be_read_holds_the_floor_and_stops_no_snapshot() {
    let mut world = World::new(12);
    let node = world.start().await;
    let topic = world.create_topic(&node, 7, "t", 1, &[]).await;
    world.produce(&node, topic, 0, 3).await;
    let mut bytes = strandline_wire::records::BatchBuilder::new(strandline_wire::records::BatchOptions::default());
    bytes.push_next(world::START_MS, None, Some(b"abcdefgh"), &[]).unwrap();
    let mut bytes = bytes.finish(None).unwrap().to_vec();
    bytes[61] ^= 0xff;
    assert_eq!(world.append(&node, topic, 0, bytes.into(), 1, world::START_MS, 0).await, 3);
    let damaged = node.cell.seq();
    world.produce(&node, topic, 0, 3).await;
    world.runtime.sleep(Duration::from_secs(61)).await;
    let seq = node.compactor.snapshot_once(true).await.unwrap().unwrap();
    let floor = world.log.floor().await.unwrap();
    assert_eq!((floor.seq, floor.snapshot.unwrap().seq), (damaged, seq));
    assert_eq!(node.cell.view().first_inline_reference(), Some(damaged));
    let view = node.cell.view();
    let inline =
        view.topics[&topic].partitions[0].extents.iter().filter(|extent| matches!(extent.place, ExtentPlace::Inline { .. }));
    assert_eq!(inline.count(), 1, "the others were moved");
}

/// It has come as far as it gets while scans are held back.
async fn is_held_up<T>(work: &mut (impl Future<Output = T> + Unpin)) {
    for _ in 0..20 {
        assert!(futures::poll!(&mut *work).is_pending());
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_sealed_while_the_files_are_listed_is_not_lost() {
    let mut world = World::new(13);
    let node = world.start().await;
    let topic = world.create_topic(&node, 7, "t", 1, &[]).await;
    let slow = Arc::new(StubbornIndex::new(world.segment_index.clone()));
    let compactor = world.compactor(&node, slow.clone());
    world.produce(&node, topic, 0, 3).await;
    assert!(compactor.convert_once(topic).await.unwrap());
    // The scan has its rows, and is held back while a file is sealed.
    slow.hold_scans.store(true, Ordering::Relaxed);
    let mut manifest = Box::pin(compactor.write_manifest_once(topic));
    is_held_up(&mut manifest).await;
    assert_eq!(compactor.seal_once(topic, true).await.unwrap().sealed.len(), 1);
    slow.let_scans_go();
    manifest.await.unwrap();
    compactor.write_manifest_once(topic).await.unwrap();
    world.check_manifest(&node, topic).await;
}

#[tokio::test(start_paused = true)]
async fn a_file_that_another_node_seals_after_the_files_were_listed_is_listed_too() {
    let mut world = World::new(16);
    let (a, b) = (world.join(false).await, world.join(false).await);
    let topic = world.create_topic(&a, 7, "t", 2, &[]).await;
    for files in 1..4 {
        for partition in 0..2 {
            world.produce(&a, topic, partition, 3).await;
        }
        b.cell.barrier().await.unwrap();
        b.compactor.seal_everything(topic).await.unwrap();
        a.cell.barrier().await.unwrap();
        assert_eq!(a.compactor.sealed_files(topic).await.unwrap().len(), files);
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_another_node_seals_while_the_files_are_listed_is_listed_whole_and_not_dropped_for_a_part_of_it() {
    let mut world = World::new(14);
    let node = world.start().await;
    let topic = world.create_topic(&node, 7, "t", 2, &[]).await;
    let slow = Arc::new(StubbornIndex::new(world.segment_index.clone()));
    let other = world.compactor(&node, slow.clone());
    for partition in [0, 1] {
        world.produce(&node, topic, partition, 3).await;
    }
    node.compactor.seal_everything(topic).await.unwrap();
    // One page has been read, and is held back while the rows of another file are written: of those, one lies before its end.
    slow.hold_scans.store(true, Ordering::Relaxed);
    let mut listing = Box::pin(other.sealed_files(topic));
    is_held_up(&mut listing).await;
    for partition in [0, 1] {
        world.produce(&node, topic, partition, 3).await;
    }
    node.compactor.seal_everything(topic).await.unwrap();
    slow.let_scans_go();
    let partitions = |file: &strandline_commands::NewFile| file.ranges.iter().map(|range| range.partition).collect::<Vec<_>>();
    let listed: Vec<_> = listing.await.unwrap().iter().map(partitions).collect();
    // Nobody can read partition 1 any more, and everybody partition 0.
    node.cell.submit(Submission::one(MoveLogStart { topic_id: topic.0.to_vec(), partition: 1, to: -1 })).await.unwrap();
    other.retain_once().await.unwrap();
    let garbage = node.cell.view().garbage.keys().filter(|path| path.starts_with("bronze/")).count();
    assert_eq!(garbage, 0, "a file whose records can be read is garbage");
    assert_eq!(listed, [[0, 1], [0, 1]]);
    world.runtime.sleep(DAY).await;
    other.collect_once().await.unwrap();
    world.check(&node, false).await;
}

#[tokio::test(start_paused = true)]
async fn a_seal_waits_for_the_copy_that_another_node_makes_and_says_so() {
    let mut world = World::new(15);
    let (node, other) = (world.join(false).await, world.join(false).await);
    let topic = world.create_topic(&node, 7, "t", 1, &[]).await;
    world.produce(&node, topic, 0, 3).await;
    other.cell.barrier().await.unwrap();
    other.compactor.copy_log_once().await.unwrap();
    assert!(node.compactor.convert_once(topic).await.unwrap());
    let waits = node.compactor.seal_once(topic, true).await.unwrap_err();
    assert!(matches!(waits, WorkError::NotCopied { copied, needed } if copied < needed), "{waits}");
    assert_eq!(waits.retry(), Retry::Later);
    other.cell.barrier().await.unwrap();
    other.compactor.copy_log_once().await.unwrap();
    node.cell.barrier().await.unwrap();
    assert_eq!(node.compactor.seal_once(topic, true).await.unwrap().sealed.len(), 1);
    // And the lease for the seal itself is another matter.
    other.cell.barrier().await.unwrap();
    world.produce(&other, topic, 0, 3).await;
    let refused = other.compactor.convert_once(topic).await.unwrap_err();
    assert!(matches!(refused, WorkError::LeaseElsewhere), "{refused}");
    world.check(&other, false).await;
}

fn referenced(node: &Node) -> BTreeSet<String> {
    let view = node.cell.view();
    let fresh = view.topics.values().flat_map(|topic| topic.fresh.values()).map(|segment| segment.file.path.clone());
    let wal = view.wal_objects.keys().map(|name| format!("wal/{name}"));
    fresh.chain(wal).collect()
}

#[tokio::test(start_paused = true)]
async fn garbage_goes_after_its_grace_and_orphans_after_the_horizon() {
    let mut world = World::new(4);
    let node = world.start().await;
    let topic = world.create_topic(&node, 7, "t", 2, &[]).await;
    node.compactor.sweep_once().await.unwrap();
    for _ in 0..6 {
        world.produce(&node, topic, 0, 3).await;
        node.compactor.convert_once(topic).await.unwrap();
    }
    // An orphan: put, never committed.
    world.faults.add(Fault::nth(Operation::Put, 1, Effect::After).below("fresh"));
    world.produce(&node, topic, 1, 3).await;
    node.compactor.convert_once(topic).await.unwrap_or(false);
    assert!(node.compactor.merge_once(topic).await.unwrap());
    let fresh = world.paths("fresh").await;
    assert_eq!(node.compactor.collect_once().await.unwrap(), 0);
    assert_eq!(world.paths("fresh").await, fresh);
    world.runtime.sleep(Duration::from_secs(15 * 60 + 1)).await;
    // Deleting fails half-way: the list keeps what is still there.
    let second = node.cell.view().garbage.keys().nth(1).unwrap().clone();
    world.faults.add(Fault::every(Operation::Delete, Effect::Before).below(second.clone()));
    node.compactor.collect_once().await.unwrap_err();
    assert_eq!(node.cell.view().garbage.keys().cloned().collect::<Vec<_>>(), [second]);
    world.faults.clear();
    node.compactor.collect_once().await.unwrap();
    assert!(node.cell.view().garbage.is_empty());
    node.compactor.sweep_once().await.unwrap();
    world.runtime.sleep(Duration::from_secs(15 * 60 + 1)).await;
    node.compactor.sweep_once().await.unwrap();
    assert_eq!(world.paths("fresh").await.into_iter().collect::<BTreeSet<_>>(), referenced(&node));
    world.check(&node, false).await;
    let quiet = node.cell.seq();
    node.compactor.collect_once().await.unwrap();
    node.compactor.sweep_once().await.unwrap();
    assert_eq!(node.cell.seq(), quiet, "nothing to do writes nothing");
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_was_ahead_neither_ends_a_grace_nor_puts_it_off() {
    let (mut world, clock) = World::with_clock(17);
    let node = world.start().await;
    let topic = world.create_topic(&node, 7, "t", 1, &[]).await;
    let mut garbage = 0;
    for is_ahead in [false, true] {
        for _ in 0..4 {
            world.produce(&node, topic, 0, 3).await;
            node.compactor.convert_once(topic).await.unwrap();
        }
        assert!(node.compactor.merge_once(topic).await.unwrap());
        garbage += 4;
        assert_eq!(node.cell.view().garbage.len(), garbage);
        if !is_ahead {
            // For one entry; the log's time stays there.
            clock.set_skew_ms(10 * 86_400_000);
            world.create_topic(&node, 8, "other", 1, &[]).await;
            clock.set_skew_ms(0);
        }
        assert_eq!(node.compactor.collect_once().await.unwrap(), 0);
        world.runtime.sleep(Duration::from_secs(60)).await;
    }
    world.runtime.sleep(Duration::from_secs(13 * 60 - 1)).await;
    assert_eq!(node.compactor.collect_once().await.unwrap(), 0);
    // This node's own, while it looks.
    clock.set_skew_ms(10 * 86_400_000);
    assert_eq!(node.compactor.collect_once().await.unwrap(), 0);
    clock.set_skew_ms(0);
    world.runtime.sleep(Duration::from_secs(62)).await;
    assert_eq!(node.compactor.collect_once().await.unwrap(), garbage, "a minute after another, and each had its grace");
    world.check(&node, false).await;
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_damaged_between_its_seal_and_its_listing_stops_nothing_but_its_own_reads() {
    for (round, damage) in [Some(Bytes::from_static(b"not Parquet")), Some(Bytes::new()), None].into_iter().enumerate() {
        let mut world = World::new(31 + round as u64);
        let node = world.start().await;
        let rows = Arc::new(StubbornIndex::new(world.segment_index.clone()));
        let compactor = world.compactor(&node, rows.clone());
        let topic = world.create_topic(&node, 7, "t", 2, &[]).await;
        for partition in [0, 1] {
            world.produce(&node, topic, partition, 3).await;
        }
        rows.puts_fail.store(true, Ordering::Relaxed);
        compactor.seal_everything(topic).await.unwrap_err();
        rows.puts_fail.store(false, Ordering::Relaxed);
        let planned = node.cell.view().topics[&topic].plans.keys().next().unwrap().clone();
        let objects = world.plain_objects();
        match damage {
            Some(bytes) => objects.put_replace(Purpose::Seal, &planned, bytes).await.unwrap(),
            None => assert!(objects.delete_all(Purpose::Seal, std::slice::from_ref(&planned)).await.iter().all(Result::is_ok)),
        }
        world.produce(&node, topic, 0, 4).await;
        let sealed = compactor.seal_everything(topic).await.unwrap().sealed;
        assert_eq!((sealed.len(), &sealed[0]), (2, &planned));
        assert!(node.cell.view().topics[&topic].plans.is_empty());
        // Its offsets have an answer, which names it.
        for partition in [0, 1] {
            let row = rows.find(TopicPartition { topic_id: topic, partition }, 1).await.unwrap().unwrap();
            assert_eq!((row.start_offset, row.end_offset, row.rows, &row.path), (0, 3, 3, &planned));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn rows_that_cannot_be_removed_keep_their_topics_files_and_nothing_else() {
    let mut world = World::new(11);
    let node = world.start().await;
    let rows = Arc::new(StubbornIndex::new(world.segment_index.clone()));
    let compactor = world.compactor(&node, rows.clone());
    let sealed = world.create_topic(&node, 7, "sealed", 1, &[]).await;
    let deleted = world.create_topic(&node, 8, "deleted", 1, &[]).await;
    for topic in [sealed, deleted] {
        world.produce(&node, topic, 0, 3).await;
        compactor.seal_everything(topic).await.unwrap();
    }
    node.cell.submit(Submission::one(MoveLogStart { topic_id: sealed.0.to_vec(), partition: 0, to: -1 })).await.unwrap();
    rows.stubborn.store(true, Ordering::Relaxed);
    compactor.retain_once().await.unwrap_err();
    node.cell.submit(Submission::one(DeleteTopic { topic_id: deleted.0.to_vec() })).await.unwrap();
    world.runtime.sleep(DAY * 2).await;
    compactor.collect_once().await.unwrap_err();
    let bronze = world.paths("bronze").await;
    assert!(bronze.len() == 1 && bronze[0].starts_with("bronze/sealed/"), "{bronze:?}");
    assert_eq!(node.cell.view().garbage.keys().cloned().collect::<Vec<_>>(), bronze, "the rest of the list is done");
    assert_eq!(node.cell.view().dropped.len(), 1, "a topic is forgotten with its rows");
    rows.stubborn.store(false, Ordering::Relaxed);
    compactor.collect_once().await.unwrap();
    assert!(world.paths("bronze").await.is_empty() && node.cell.view().garbage.is_empty() && node.cell.view().dropped.is_empty());
    assert_eq!(world.segment_index.count().await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn retention_moves_log_starts_and_lets_sealed_files_go() {
    let mut world = World::new(5);
    let node = world.start().await;
    let configs = [("retention.ms", "86400000"), ("strandline.bronze.retention.ms", "172800000")];
    let topic = world.create_topic(&node, 7, "t", 2, &configs).await;
    let kept = world.create_topic(&node, 8, "compacted", 1, &[("cleanup.policy", "compact"), ("retention.ms", "1")]).await;
    world.produce(&node, kept, 0, 3).await;
    let boundary = world.produce(&node, topic, 0, 4).await + 4;
    world.produce(&node, topic, 1, 4).await;
    node.compactor.seal_everything(topic).await.unwrap();
    world.runtime.sleep(DAY + Duration::from_secs(1)).await;
    world.produce(&node, topic, 0, 2).await;
    node.compactor.retain_once().await.unwrap();
    let starts =
        |node: &Node| node.cell.view().topics[&topic].partitions.iter().map(|partition| partition.log_start).collect::<Vec<_>>();
    assert_eq!(starts(&node), [boundary, 4]);
    assert_eq!(node.cell.view().topics[&kept].partitions[0].log_start, 0);
    world.check(&node, false).await;
    assert_eq!(world.paths("bronze").await.len(), 1, "bronze keeps what Kafka no longer serves");
    node.compactor.write_manifest_once(topic).await.unwrap();
    world.check_manifest(&node, topic).await;
    world.runtime.sleep(DAY).await;
    node.compactor.retain_once().await.unwrap();
    assert_eq!(world.segment_index.count().await.unwrap(), 0);
    assert_eq!(node.cell.view().garbage.keys().filter(|path| path.starts_with("bronze/")).count(), 1);
    node.compactor.write_manifest_once(topic).await.unwrap();
    world.check_manifest(&node, topic).await;
    node.compactor.collect_once().await.unwrap();
    assert_eq!(world.paths("bronze").await.len(), 1, "the grace is a day");
    world.runtime.sleep(DAY).await;
    node.compactor.collect_once().await.unwrap();
    assert!(world.paths("bronze").await.is_empty());
    let quiet = node.cell.seq();
    node.compactor.retain_once().await.unwrap();
    node.compactor.retain_once().await.unwrap();
    assert!(node.cell.seq().0 <= quiet.0 + 1);
}

#[tokio::test(start_paused = true)]
async fn retention_goes_by_the_clock_and_not_by_a_time_that_it_once_had() {
    let (mut world, clock) = World::with_clock(18);
    let node = world.start().await;
    let hour = ("retention.ms", "3600000");
    let topic = world.create_topic(&node, 7, "t", 1, &[hour]).await;
    let kept = world.create_topic(&node, 8, "kept", 1, &[hour, ("strandline.bronze.retention.ms", "7200000")]).await;
    // For one entry; the log's time stays there.
    clock.set_skew_ms(86_400_000);
    world.create_topic(&node, 9, "other", 1, &[]).await;
    clock.set_skew_ms(0);
    for topic in [topic, kept] {
        world.produce(&node, topic, 0, 3).await;
    }
    node.compactor.seal_everything(kept).await.unwrap();
    node.cell.submit(Submission::one(MoveLogStart { topic_id: kept.0.to_vec(), partition: 0, to: -1 })).await.unwrap();
    let state = |node: &Node| {
        let view = node.cell.view();
        let dropped = view.garbage.keys().filter(|path| path.starts_with("bronze/")).count();
        (view.topics[&topic].partitions[0].log_start, dropped)
    };
    node.compactor.retain_once().await.unwrap();
    assert_eq!(state(&node), (0, 0));
    world.runtime.sleep(Duration::from_secs(3_601)).await;
    node.compactor.retain_once().await.unwrap();
    assert_eq!(state(&node), (3, 0));
    world.runtime.sleep(Duration::from_secs(3_601)).await;
    node.compactor.retain_once().await.unwrap();
    assert_eq!(state(&node), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn where_sealed_files_stay_longer_records_leave_the_log_once_they_are_sealed() {
    let mut world = World::new(19);
    let node = world.start().await;
    let for_ever = ("strandline.bronze.retention.ms", "-1");
    // Nothing comes to the second partition.
    let topic = world.create_topic(&node, 7, "t", 2, &[("retention.ms", "3600000"), for_ever]).await;
    let by_size = world.create_topic(&node, 8, "size", 1, &[("retention.ms", "-1"), ("retention.bytes", "0"), for_ever]).await;
    let starts = |topic: TopicId| {
        let view = node.cell.view();
        view.topics[&topic].partitions.iter().map(|partition| partition.log_start).collect::<Vec<_>>()
    };
    for topic in [topic, by_size] {
        world.produce(&node, topic, 0, 3).await;
        assert!(node.compactor.convert_once(topic).await.unwrap());
        world.produce(&node, topic, 0, 2).await;
    }
    assert!(node.compactor.seal_once(topic, false).await.unwrap().sealed.is_empty());
    world.runtime.sleep(Duration::from_secs(3_601)).await;
    node.compactor.retain_once().await.unwrap();
    assert_eq!((starts(topic), starts(by_size)), (vec![0, 0], vec![0]));
    // Retention waits for a seal, and so it is due; what is not converted waits on.
    assert_eq!(node.compactor.seal_once(topic, false).await.unwrap().sealed.len(), 1);
    node.compactor.retain_once().await.unwrap();
    assert_eq!(starts(topic), [3, 0]);
    for topic in [topic, by_size] {
        node.compactor.seal_everything(topic).await.unwrap();
    }
    node.compactor.retain_once().await.unwrap();
    assert_eq!((starts(topic), starts(by_size)), (vec![5, 0], vec![5]));
    for topic in [topic, by_size] {
        let rows: u64 = node.compactor.sealed_files(topic).await.unwrap().iter().map(|file| file.rows).sum();
        assert_eq!(rows, 5);
    }
    // Who deletes records means it.
    world.produce(&node, topic, 0, 2).await;
    node.cell.submit(Submission::one(MoveLogStart { topic_id: topic.0.to_vec(), partition: 0, to: -1 })).await.unwrap();
    assert_eq!(starts(topic), [7, 0]);
    node.compactor.retain_once().await.unwrap();
    world.check(&node, false).await;
}

#[tokio::test(start_paused = true)]
async fn merges_do_not_put_off_the_seal_that_retention_waits_for() {
    let mut world = World::new(22);
    let node = world.start().await;
    let configs = [("retention.ms", "3600000"), ("strandline.bronze.retention.ms", "-1")];
    let topic = world.create_topic(&node, 7, "t", 1, &configs).await;
    let mut merges = 0;
    for _ in 0..59 {
        world.produce(&node, topic, 0, 1).await;
        assert!(node.compactor.convert_once(topic).await.unwrap());
        merges += u32::from(node.compactor.merge_once(topic).await.unwrap());
        assert!(node.compactor.seal_once(topic, false).await.unwrap().sealed.is_empty());
        world.runtime.sleep(Duration::from_secs(60)).await;
    }
    assert!(merges > 1, "{merges}");
    world.runtime.sleep(Duration::from_secs(120)).await;
    assert_eq!(node.compactor.seal_once(topic, false).await.unwrap().sealed.len(), 1);
    world.check(&node, false).await;
}

#[tokio::test(start_paused = true)]
async fn retention_by_size_counts_bytes_as_sent() {
    let mut world = World::new(6);
    let node = world.start().await;
    let topic = world.create_topic(&node, 7, "t", 1, &[("retention.bytes", "1"), ("retention.ms", "-1")]).await;
    for round in 0..6 {
        world.produce(&node, topic, 0, 5).await;
        if round == 1 {
            node.compactor.seal_everything(topic).await.unwrap();
        } else if round == 3 {
            node.compactor.convert_once(topic).await.unwrap();
        }
    }
    node.compactor.retain_once().await.unwrap();
    let log_start = node.cell.view().topics[&topic].partitions[0].log_start;
    assert_eq!(log_start, 25, "the newest run alone is more than was asked for");
    world.check(&node, false).await;
    node.compactor.seal_everything(topic).await.unwrap();
    world.check(&node, false).await;
}

#[tokio::test(start_paused = true)]
async fn a_log_start_that_was_moved_by_size_or_by_hand_frees_sealed_files_unless_bronze_has_an_age_of_its_own() {
    let mut world = World::new(10);
    let node = world.start().await;
    let default = world.create_topic(&node, 7, "default", 1, &[]).await;
    let by_size = world.create_topic(&node, 8, "size", 1, &[("retention.ms", "-1"), ("retention.bytes", "0")]).await;
    let aged = world.create_topic(&node, 9, "aged", 1, &[("strandline.bronze.retention.ms", "700000000")]).await;
    let never = world.create_topic(&node, 10, "never", 1, &[("strandline.bronze.retention.ms", "-1")]).await;
    for topic in [default, by_size, aged, never] {
        world.produce(&node, topic, 0, 4).await;
        node.compactor.seal_everything(topic).await.unwrap();
        if topic != by_size {
            node.cell.submit(Submission::one(MoveLogStart { topic_id: topic.0.to_vec(), partition: 0, to: -1 })).await.unwrap();
        }
    }
    node.compactor.retain_once().await.unwrap();
    let dropped = |node: &Node| -> BTreeSet<String> {
        let view = node.cell.view();
        let paths = view.garbage.keys().filter_map(|path| path.strip_prefix("bronze/")?.split('/').next().map(str::to_owned));
        paths.collect()
    };
    assert_eq!(dropped(&node), BTreeSet::from(["default".to_owned(), "size".to_owned()]));
    world.runtime.sleep(Duration::from_millis(700_000_100)).await;
    node.compactor.retain_once().await.unwrap();
    assert!(dropped(&node).contains("aged") && !dropped(&node).contains("never"));
    world.check(&node, false).await;
}

#[tokio::test(start_paused = true)]
async fn a_sealed_object_that_a_late_put_brought_back_is_swept_and_a_live_one_is_not() {
    let mut world = World::new(7);
    let node = world.start().await;
    let topic = world.create_topic(&node, 7, "t", 1, &[("strandline.bronze.retention.ms", "-2"), ("retention.ms", "1000")]).await;
    world.produce(&node, topic, 0, 4).await;
    node.compactor.seal_everything(topic).await.unwrap();
    let gone = world.paths("bronze").await[0].clone();
    let bytes = world.plain_objects().get(Purpose::Read, &gone).await.unwrap();
    world.runtime.sleep(Duration::from_secs(5)).await;
    node.compactor.retain_once().await.unwrap();
    world.runtime.sleep(DAY).await;
    node.compactor.collect_once().await.unwrap();
    assert!(world.paths("bronze").await.is_empty());
    world.plain_objects().put_replace(Purpose::Seal, &gone, bytes).await.unwrap();
    world.produce(&node, topic, 0, 4).await;
    node.compactor.seal_everything(topic).await.unwrap();
    assert_eq!(world.paths("bronze").await.len(), 2);
    // As long as the store does not say what it holds, it stays.
    for operation in [Operation::Head, Operation::Get] {
        world.faults.add(Fault::every(operation, Effect::Before).below("bronze"));
        assert_eq!(node.compactor.sweep_once().await.unwrap(), 0);
        world.faults.clear();
    }
    assert_eq!(node.compactor.sweep_once().await.unwrap(), 1);
    assert!(!world.paths("bronze").await.contains(&gone));
    world.check(&node, false).await;
    // An empty segment index (it is derived) must not make the sweep delete what is the truth.
    world.segment_index.remove_topic(topic).await.unwrap();
    assert_eq!(node.compactor.sweep_once().await.unwrap(), 0);
    assert_eq!(world.paths("bronze").await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_tasks_do_it_all_by_themselves_and_an_idle_cell_falls_silent() {
    let mut world = World::new(8);
    let node = world.start().await;
    let topic = world.create_topic(&node, 7, "t", 3, &[("strandline.bronze.seal.ms", "3600000")]).await;
    node.compactor.run();
    for round in 0..40 {
        let offset = world.produce(&node, topic, round % 3, 2).await;
        if round == 20 {
            // An acknowledged record is in the manifest within ten seconds.
            world.runtime.sleep(Duration::from_secs(10)).await;
            assert!(node.cell.view().topics[&topic].partitions[(round % 3) as usize].frontier > offset);
            world.check_manifest(&node, topic).await;
        }
        world.runtime.sleep(Duration::from_secs(2)).await;
    }
    world.runtime.sleep(Duration::from_secs(30)).await;
    world.check(&node, false).await;
    world.check_manifest(&node, topic).await;
    assert_eq!(fold_copies(&world).await.topics, node.cell.view().topics);
    assert!(node.cell.view().topics[&topic].fresh.len() < 8, "merges keep the list short");
    world.runtime.sleep(Duration::from_secs(2 * 3_600)).await;
    assert!(node.cell.view().topics[&topic].fresh.is_empty(), "time seals");
    world.check(&node, false).await;
    world.runtime.sleep(DAY * 2).await;
    assert!(node.cell.view().garbage.is_empty());
    let quiet = (node.cell.seq(), world.faults.calls(Operation::Put));
    world.runtime.sleep(DAY * 3).await;
    assert_eq!((node.cell.seq(), world.faults.calls(Operation::Put)), quiet, "an idle cell writes nothing");
    world.check_manifest(&node, topic).await;
    node.cell.submit(Submission::one(MoveLogStart { topic_id: topic.0.to_vec(), partition: 0, to: -1 })).await.unwrap();
    node.compactor.stop(Duration::from_secs(5)).await;
    assert_eq!(fold_copies(&world).await.topics, node.cell.view().topics);
    world.check(&node, false).await;
}

#[tokio::test(start_paused = true)]
async fn a_paused_conversion_waits_and_one_topic_in_trouble_does_not_stop_another() {
    let mut world = World::new(9);
    world.options.conversion_paused = true;
    let node = world.start().await;
    let bad = world.create_topic(&node, 7, "bad", 1, &[]).await;
    let good = world.create_topic(&node, 8, "good", 1, &[]).await;
    world.faults.add(Fault::every(Operation::Put, Effect::Before).below("fresh/bad"));
    node.compactor.run();
    world.produce(&node, bad, 0, 2).await;
    world.produce(&node, good, 0, 2).await;
    world.runtime.sleep(Duration::from_secs(60)).await;
    assert_eq!(node.cell.view().topics[&good].partitions[0].frontier, 0);
    node.compactor.pause_conversion(false);
    world.runtime.sleep(Duration::from_secs(20)).await;
    world.produce(&node, good, 0, 2).await;
    world.runtime.sleep(Duration::from_secs(10)).await;
    assert_eq!(node.cell.view().topics[&good].partitions[0].frontier, 4);
    assert_eq!(node.cell.view().topics[&bad].partitions[0].frontier, 0);
    world.faults.clear();
    world.runtime.sleep(Duration::from_secs(70)).await;
    assert_eq!(node.cell.view().topics[&bad].partitions[0].frontier, 2);
}

#[tokio::test(start_paused = true)]
async fn a_topic_where_more_always_waits_keeps_no_other_waiting() {
    let mut world = World::new(20);
    // Of the first one each batch alone is enough for a conversion, of the second one none.
    world.options.conversion_bytes = 300;
    let node = world.start().await;
    let busy = world.create_topic(&node, 7, "busy", 1, &[]).await;
    let quiet = world.create_topic(&node, 8, "quiet", 1, &[]).await;
    world.faults.add(Fault::every(Operation::Put, Effect::Delay(Duration::from_secs(1))).below("fresh/busy"));
    for _ in 0..60 {
        world.produce(&node, busy, 0, 20).await;
    }
    world.produce(&node, quiet, 0, 1).await;
    node.compactor.run();
    world.runtime.sleep(Duration::from_secs(12)).await;
    let frontier = |topic: TopicId| node.cell.view().topics[&topic].partitions[0].frontier;
    assert_eq!(frontier(quiet), 1);
    assert!((20..1_000).contains(&frontier(busy)), "{}", frontier(busy));
}

#[tokio::test(start_paused = true)]
async fn a_disputed_snapshot_stops_trimming_until_someone_has_looked() {
    let mut world = World::new(21);
    let node = world.start().await;
    let topic = world.create_topic(&node, 7, "t", 1, &[]).await;
    world.produce(&node, topic, 0, 3).await;
    assert!(node.compactor.convert_once(topic).await.unwrap());
    node.compactor.snapshot_once(true).await.unwrap();
    assert!(!node.compactor.clear_disagreement_once().await.unwrap(), "there is nothing to clear");
    let floor = world.log.for_node().floor().await.unwrap();
    // Another fold comes to another digest.
    let (seq, fold_version) = (node.cell.seq().0, node.cell.view().cell.fold_version);
    let key = format!("index/{seq}");
    let wrote = WroteSnapshot { seq, digest: vec![1; 32], key, fold_version };
    node.cell.submit(Submission::one(wrote)).await.unwrap();
    node.cell.submit(Submission::one(AgreeSnapshot { seq, digest: vec![2; 32] })).await.unwrap();
    assert!(node.cell.view().cell.snapshot.disagreed);
    assert!(!node.compactor.clear_disagreement_once().await.unwrap(), "nobody agrees to the newest");
    // A snapshot that the node takes by itself changes nothing.
    world.produce(&node, topic, 0, 3).await;
    assert!(node.compactor.convert_once(topic).await.unwrap());
    node.compactor.snapshot_once(true).await.unwrap();
    assert!(node.cell.view().cell.snapshot.disagreed);
    assert_eq!(world.log.for_node().floor().await.unwrap(), floor, "the floor stays");
    // Someone has looked.
    assert!(node.compactor.clear_disagreement_once().await.unwrap());
    assert!(!node.cell.view().cell.snapshot.disagreed);
    assert!(world.log.for_node().floor().await.unwrap().seq > floor.seq, "the floor moves again");
    node.kill();
    let again = world.start().await;
    assert!(!again.cell.view().cell.snapshot.disagreed);
    world.check(&again, false).await;
}
