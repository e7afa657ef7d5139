//! Conversion, merge, seal and manifests, cut off at every request and done again by another run.
#![allow(clippy::unwrap_used)]

mod world;

use bytes::Bytes;
use std::time::Duration;
use strandline_cell::Submission;
use strandline_commands::{DeleteTopic, MoveLogStart};
use strandline_compactor::WorkError;
use strandline_object_store::{Effect, Fault, Operation, Purpose};
use strandline_types::{TopicId, limits};
use world::World;

async fn fill(world: &mut World, node: &world::Node, topic: TopicId, rounds: usize) {
    for round in 0..rounds {
        for partition in 0..3 {
            world.produce(node, topic, partition, 1 + (round + partition as usize) % 4).await;
        }
        assert!(node.compactor.convert_once(topic).await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn records_become_fresh_then_sealed_and_stay_the_same() {
    let mut world = World::new(1);
    let node = world.start().await;
    let topic = world.create_topic(&node, 7, "veh.events.raw", 3, &[]).await;
    let appended = world.create_topic(&node, 8, "stamped", 1, &[("message.timestamp.type", "LogAppendTime")]).await;
    fill(&mut world, &node, topic, 9).await;
    world.produce(&node, appended, 0, 5).await;
    world.check(&node, false).await;
    assert!(node.compactor.merge_once(topic).await.unwrap());
    assert_eq!(node.cell.view().topics[&topic].fresh.len(), 1);
    world.check(&node, false).await;
    world.produce(&node, topic, 1, 3).await;
    assert!(node.compactor.write_manifest_once(topic).await.unwrap());
    world.check_manifest(&node, topic).await;
    assert!(world.paths("bronze").await.is_empty());
    let progress = node.compactor.seal_everything(topic).await.unwrap();
    assert_eq!(progress.sealed, world.paths("bronze").await);
    assert_eq!(node.compactor.seal_everything(appended).await.unwrap().sealed.len(), 1);
    assert!(node.cell.view().topics[&topic].fresh.is_empty());
    world.check(&node, false).await;
    world.check_manifest(&node, topic).await;
    world.check_manifest(&node, appended).await;
    assert!(!node.compactor.write_manifest_once(topic).await.unwrap());
    // A new run knows the same, and has nothing to do.
    node.kill();
    let again = world.start().await;
    world.check(&again, false).await;
    assert!(!again.compactor.write_manifest_once(topic).await.unwrap());
    assert!(again.compactor.seal_once(topic, true).await.unwrap().sealed.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_merge_before_a_seal_cuts_rows_into_runs_of_partitions() {
    let mut world = World::new(13);
    let node = world.start().await;
    let topic = world.create_topic(&node, 7, "t", 3, &[]).await;
    fill(&mut world, &node, topic, 4).await;
    let bytes: u64 = node.cell.view().topics[&topic].fresh.values().map(|segment| segment.file.size).sum();
    node.kill();
    // A merge of the four has enough for an output of each partition.
    world.options.merge_segments = 4;
    world.options.sealed_file_bytes = bytes * 6 / 5;
    let node = world.start().await;
    assert!(node.compactor.merge_once(topic).await.unwrap());
    let runs: Vec<Vec<i32>> = {
        let view = node.cell.view();
        let fresh = view.topics[&topic].fresh.values();
        fresh.map(|segment| segment.file.ranges.iter().map(|range| range.partition).collect()).collect()
    };
    assert_eq!(runs, [[0], [1], [2]]);
    world.check(&node, false).await;
    assert!(!node.compactor.merge_once(topic).await.unwrap(), "they wait for their seal");
    node.compactor.seal_everything(topic).await.unwrap();
    world.check(&node, false).await;
    world.check_manifest(&node, topic).await;
}

#[tokio::test(start_paused = true)]
async fn a_merge_into_several_files_that_finds_damage_after_the_first_one_is_begun_anew_under_other_names() {
    // Wherever it is found: the first output may be in the store by then.
    let mut left = 0;
    for eighth in 1..8 {
        let mut world = World::new(14);
        let node = world.start().await;
        let topic = world.create_topic(&node, 7, "t", 3, &[]).await;
        for _ in 0..4 {
            for partition in 0..3 {
                world.produce(&node, topic, partition, 4_000).await;
            }
            assert!(node.compactor.convert_once(topic).await.unwrap());
        }
        let bytes: u64 = node.cell.view().topics[&topic].fresh.values().map(|segment| segment.file.size).sum();
        node.kill();
        world.options.merge_segments = 4;
        world.options.sealed_file_bytes = bytes * 6 / 5;
        world.options.whole_input_bytes = 0;
        let path = world.paths("fresh").await[1].clone();
        let mut damaged = world.plain_objects().get(Purpose::Read, &path).await.unwrap().to_vec();
        let at = damaged.len() * eighth / 8;
        damaged[at] ^= 0xff;
        world.plain_objects().put_replace(Purpose::Fresh, &path, Bytes::from(damaged)).await.unwrap();
        let node = world.start().await;
        assert!(node.compactor.merge_once(topic).await.unwrap(), "{eighth}");
        world.check(&node, true).await;
        let named: Vec<String> =
            node.cell.view().topics[&topic].fresh.values().map(|segment| segment.file.path.clone()).collect();
        let garbage: Vec<String> = node.cell.view().garbage.keys().cloned().collect();
        left += world.paths("fresh").await.iter().filter(|path| !named.contains(path) && !garbage.contains(path)).count();
    }
    assert!(left > 0, "in none of them an output was there when the damage was found");
}

#[tokio::test(start_paused = true)]
async fn extents_that_fill_a_file_are_sealed_without_a_fresh_one() {
    let mut world = World::new(12);
    world.options.sealed_file_bytes = 1;
    let node = world.start().await;
    let topic = world.create_topic(&node, 7, "t", 3, &[]).await;
    for partition in 0..3 {
        world.produce(&node, topic, partition, 5).await;
    }
    // Conversion plans it, and what is planned is not converted; the log start may move past it meanwhile.
    assert!(node.compactor.convert_once(topic).await.unwrap());
    assert_eq!(node.cell.view().topics[&topic].plans.len(), 1);
    let planned = node.cell.view().topics[&topic].partitions[0].planned_end.unwrap();
    world.produce(&node, topic, 0, 2).await;
    let log_start = MoveLogStart { topic_id: topic.0.to_vec(), partition: 0, to: planned - 1 };
    node.cell.submit(Submission::one(log_start)).await.unwrap();
    world.check(&node, false).await;
    let sealed = node.compactor.seal_once(topic, false).await.unwrap().sealed;
    assert_eq!(sealed, world.paths("bronze").await);
    assert!(world.paths("fresh").await.is_empty() && node.cell.view().topics[&topic].plans.is_empty());
    world.check(&node, false).await;
    // A later run goes on where the file ends, with the rows in the segment index.
    node.kill();
    let again = world.start().await;
    world.check(&again, false).await;
    again.compactor.seal_everything(topic).await.unwrap();
    world.check(&again, false).await;
    world.check_manifest(&again, topic).await;
}

#[tokio::test(start_paused = true)]
async fn whatever_request_fails_another_run_completes_the_work() {
    complete_after_faults(limits::SEALED_FILE_BYTES).await;
}

#[tokio::test(start_paused = true)]
async fn whatever_request_fails_extents_that_fill_a_file_are_sealed_once() {
    complete_after_faults(200).await;
}

async fn complete_after_faults(sealed_file_bytes: u64) {
    for operation in [Operation::Put, Operation::Get, Operation::Head] {
        for effect in [Effect::Before, Effect::After] {
            for nth in 1.. {
                let mut world = World::new(nth);
                world.options.sealed_file_bytes = sealed_file_bytes;
                let node = world.start().await;
                let topic = world.create_topic(&node, 7, "t", 3, &[]).await;
                let before = world.faults.calls(operation);
                fill(&mut world, &node, topic, 2).await;
                world.produce(&node, topic, 0, 3).await;
                world.faults.add(Fault::nth(operation, nth, effect));
                let first = node.compactor.seal_everything(topic).await;
                let met = world.faults.calls(operation) - before;
                world.faults.clear();
                node.kill();
                let again = world.start().await;
                world.check(&again, false).await;
                again.compactor.seal_everything(topic).await.unwrap();
                world.check(&again, false).await;
                world.check_manifest(&again, topic).await;
                assert!(again.cell.view().topics[&topic].plans.is_empty());
                assert_eq!(
                    again.cell.view().topics[&topic].partitions[0].sealed_end,
                    again.cell.view().topics[&topic].partitions[0].next_offset
                );
                if first.is_ok() && nth > met {
                    break;
                }
                assert!(nth < 100, "the work never ends");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn work_that_is_cut_off_at_any_await_is_completed_by_the_next_run() {
    complete_after_cut(limits::SEALED_FILE_BYTES).await;
}

#[tokio::test(start_paused = true)]
async fn a_seal_of_extents_that_is_cut_off_at_any_await_is_completed_by_the_next_run() {
    complete_after_cut(200).await;
}

async fn complete_after_cut(sealed_file_bytes: u64) {
    let mut cut = 0;
    loop {
        let mut world = World::new(3);
        world.options.sealed_file_bytes = sealed_file_bytes;
        let node = world.start().await;
        let topic = world.create_topic(&node, 7, "t", 3, &[]).await;
        for partition in 0..3 {
            world.produce(&node, topic, partition, 4).await;
        }
        let mut work = Box::pin(node.compactor.seal_everything(topic));
        let mut done = false;
        for _ in 0..cut {
            let polled = futures::poll!(&mut work);
            if polled.is_ready() {
                done = true;
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(work);
        node.kill();
        let again = world.start().await;
        world.check(&again, false).await;
        again.compactor.seal_everything(topic).await.unwrap();
        world.check(&again, false).await;
        world.check_manifest(&again, topic).await;
        if done {
            break;
        }
        cut += 1;
    }
    assert!(cut > 5, "{cut}");
}

#[tokio::test(start_paused = true)]
async fn a_forced_seal_of_a_topic_that_is_being_written_ends() {
    let mut world = World::new(10);
    world.options.conversion_bytes = 1;
    world.options.sealed_file_bytes = 1;
    let node = world.start().await;
    let topic = world.create_topic(&node, 7, "t", 1, &[]).await;
    for _ in 0..4 {
        world.produce(&node, topic, 0, 2).await;
    }
    let mut work = Box::pin(node.compactor.seal_everything(topic));
    let mut conversion = Box::pin(node.compactor.convert_once(topic));
    let mut rounds = 0;
    let progress = loop {
        if let std::task::Poll::Ready(progress) = futures::poll!(&mut work) {
            break progress.unwrap();
        }
        // Another one converts what comes in, too.
        world.produce(&node, topic, 0, 1).await;
        if futures::poll!(&mut conversion).is_ready() {
            conversion = Box::pin(node.compactor.convert_once(topic));
        }
        rounds += 1;
        assert!(rounds < 300, "the seal runs after what is produced");
    };
    assert!(rounds > 0 && progress.sealed.len() >= 4);
    let view = node.cell.view();
    let partition = &view.topics[&topic].partitions[0];
    assert!(partition.sealed_end >= 8 && partition.sealed_end < partition.next_offset, "{}", partition.sealed_end);
}

#[tokio::test(start_paused = true)]
async fn a_forced_seal_ends_while_one_partition_is_held_back_and_another_is_written() {
    let mut world = World::new(15);
    world.options.conversion_bytes = 1;
    world.options.sealed_file_bytes = 1;
    let node = world.start().await;
    let topic = world.create_topic(&node, 7, "t", 2, &[]).await;
    world.produce(&node, topic, 0, 3).await;
    world.runtime.sleep(Duration::from_secs(61)).await;
    node.compactor.snapshot_once(true).await.unwrap();
    world.faults.add(Fault::every(Operation::Get, Effect::Before).below("wal"));
    world.produce(&node, topic, 1, 2).await;
    while node.compactor.convert_once(topic).await.is_ok_and(|converted| converted) {}
    world.produce(&node, topic, 1, 1).await;
    let mut work = Box::pin(node.compactor.seal_everything(topic));
    let mut rounds = 0;
    let result = loop {
        if let std::task::Poll::Ready(result) = futures::poll!(&mut work) {
            break result;
        }
        world.produce(&node, topic, 1, 1).await;
        rounds += 1;
        assert!(rounds < 1_000, "the seal runs after what is produced");
        // Retries of what cannot be read take time.
        world.runtime.sleep(Duration::from_millis(20)).await;
    };
    // And what is not sealed is not passed over in silence.
    assert!(
        matches!(
            result,
            Err(WorkError::HeldBack { partition: 0, offset: 0 } | WorkError::Extents { partition: 0, start: 0, .. })
        ),
        "{result:?}"
    );
    assert_eq!(node.cell.view().topics[&topic].partitions[0].frontier, 0);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_batch_takes_none_of_its_neighbours_with_it() {
    // Converted, converted and sealed, and sealed straight from extents. A log may have a checksum over the whole payload, too; then there
    // may be nothing wrong but what no batch's checksum covers.
    let ways = [(1 << 30, false), (1 << 30, true), (1, false)];
    let cases = ways.into_iter().flat_map(|way| [(way, false, true), (way, true, true), (way, true, false)]);
    for (seed, ((sealed_file_bytes, seals), payloads_fail_checksum, is_damaged)) in (30..).zip(cases) {
        let mut world = World::new(seed);
        world.options.sealed_file_bytes = sealed_file_bytes;
        world.payloads_fail_checksum = payloads_fail_checksum;
        let node = world.start().await;
        let topic = world.create_topic(&node, 7, "t", 1, &[("message.timestamp.type", "LogAppendTime")]).await;
        // One extent of five batches, of which the third one may be damaged.
        let damaged = if is_damaged { &[2][..] } else { &[] };
        let numbers = world.produce_together(&node, topic, 0, &[4, 2, 3, 1, 2], damaged).await;
        assert_eq!(numbers, [0, 4, 6, 9, 10]);
        assert_eq!(node.cell.view().topics[&topic].partitions[0].extents.len(), 1);
        for _ in 0..12 {
            world.runtime.sleep(Duration::from_secs(13)).await;
            // A plan over extents waits for what cannot be read.
            let _waits = node.compactor.convert_once(topic).await;
            let _waits = node.compactor.seal_once(topic, false).await;
        }
        if seals {
            node.compactor.seal_everything(topic).await.unwrap();
        }
        let partition = node.cell.view().topics[&topic].partitions[0].clone();
        assert_eq!((partition.frontier, partition.extents.len()), (12, 0));
        assert_eq!(world.paths("fresh").await.is_empty(), sealed_file_bytes == 1, "straight from extents, or not");
        assert_eq!(world.paths("corrupt").await.len(), usize::from(is_damaged));
        if is_damaged {
            world.forget(topic, 0, 6..9);
        }
        world.check(&node, false).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_decoded_is_set_aside_and_stops_nothing() {
    let mut world = World::new(4);
    let node = world.start().await;
    let topic = world.create_topic(&node, 7, "t", 2, &[]).await;
    world.produce(&node, topic, 0, 2).await;
    // A batch whose checksum is right and whose records are not records.
    let mut builder = strandline_wire::records::BatchBuilder::new(strandline_wire::records::BatchOptions::default());
    builder.push_next(world::START_MS, None, Some(b"abcdefgh"), &[]).unwrap();
    let mut bytes = builder.finish(None).unwrap().to_vec();
    let end = bytes.len();
    bytes[61..end].fill(0xff);
    let crc = crc_fast::crc32_iscsi(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    assert_eq!(world.append(&node, topic, 0, bytes.clone().into(), 1, world::START_MS, 0).await, 2);
    // One whose bytes are damaged in the log.
    bytes[61] = 0;
    assert_eq!(world.append(&node, topic, 1, bytes.clone().into(), 1, world::START_MS, 0).await, 0);
    world.produce(&node, topic, 0, 2).await;
    world.produce(&node, topic, 1, 2).await;
    world.faults.add(Fault::nth(Operation::Put, 1, Effect::Before).below("fresh"));
    node.compactor.convert_once(topic).await.unwrap_err();
    world.faults.clear();
    assert!(node.compactor.convert_once(topic).await.unwrap());
    let frontiers = |node: &world::Node| {
        let partitions = &node.cell.view().topics[&topic].partitions;
        partitions.iter().map(|partition| partition.frontier).collect::<Vec<_>>()
    };
    assert_eq!(frontiers(&node), [5, 0], "bytes that differ may be read right the next time");
    for _ in 0..10 {
        world.runtime.sleep(Duration::from_secs(13)).await;
        node.compactor.convert_once(topic).await.unwrap();
    }
    assert_eq!(frontiers(&node), [5, 3]);
    assert_eq!(world.paths("corrupt").await.len(), 2, "what is tried again is kept once");
    for path in world.paths("corrupt").await {
        let kept = world.plain_objects().get(Purpose::Read, &path).await.unwrap();
        assert_eq!(kept.len(), bytes.len(), "{path}");
    }
    node.compactor.seal_everything(topic).await.unwrap();
    world.check(&node, false).await;
}

#[tokio::test(start_paused = true)]
async fn a_fresh_file_that_is_damaged_becomes_a_hole_and_is_kept() {
    let mut world = World::new(5);
    let node = world.start().await;
    let topic = world.create_topic(&node, 7, "t", 3, &[]).await;
    fill(&mut world, &node, topic, 3).await;
    let path = world.paths("fresh").await[1].clone();
    let mut bytes = world.plain_objects().get(Purpose::Read, &path).await.unwrap().to_vec();
    bytes[100] ^= 0xff;
    let first = Bytes::from(bytes.clone());
    world.plain_objects().put_replace(Purpose::Fresh, &path, first.clone()).await.unwrap();
    // Cut off before it was sealed, and damaged otherwise when that is done again: both are kept.
    world.faults.add(Fault::every(Operation::Put, Effect::Before).below("bronze"));
    node.compactor.seal_everything(topic).await.unwrap_err();
    world.faults.clear();
    bytes[101] ^= 0xff;
    let second = Bytes::from(bytes);
    world.plain_objects().put_replace(Purpose::Fresh, &path, second.clone()).await.unwrap();
    node.compactor.seal_everything(topic).await.unwrap();
    let mut kept = [first, second].map(|bytes| format!("corrupt/{path}-{:08x}", crc_fast::crc32_iscsi(&bytes)));
    kept.sort_unstable();
    assert_eq!(world.paths("corrupt").await, kept);
    world.check(&node, true).await;
    assert_eq!(
        node.cell.view().topics[&topic].partitions[0].sealed_end,
        node.cell.view().topics[&topic].partitions[0].next_offset
    );
}

#[tokio::test(start_paused = true)]
async fn a_fresh_file_that_is_gone_or_cut_off_becomes_a_hole_and_stops_no_seal() {
    for (whole, gone) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut world = World::new(12);
        if !whole {
            world.options.whole_input_bytes = 0;
        }
        let node = world.start().await;
        let topic = world.create_topic(&node, 7, "t", 3, &[]).await;
        fill(&mut world, &node, topic, 3).await;
        let path = world.paths("fresh").await[1].clone();
        let mut kept = Vec::new();
        if gone {
            world.plain_objects().delete(Purpose::Garbage, &path).await.unwrap();
        } else {
            let bytes = world.plain_objects().get(Purpose::Read, &path).await.unwrap();
            let half = bytes.slice(..bytes.len() / 2);
            kept.push(format!("corrupt/{path}-{:08x}", crc_fast::crc32_iscsi(&half)));
            world.plain_objects().put_replace(Purpose::Fresh, &path, half).await.unwrap();
        }
        node.compactor.seal_everything(topic).await.unwrap();
        assert_eq!(world.paths("corrupt").await, kept);
        world.check(&node, true).await;
        assert!(node.cell.view().topics[&topic].partitions.iter().all(|partition| partition.sealed_end == partition.next_offset));
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_start_that_moves_while_a_plan_is_open_refuses_nothing() {
    let mut world = World::new(6);
    let node = world.start().await;
    let topic = world.create_topic(&node, 7, "t", 3, &[]).await;
    fill(&mut world, &node, topic, 3).await;
    // The plan is committed, its object is not put.
    world.faults.add(Fault::every(Operation::Put, Effect::Before).below("bronze"));
    node.compactor.seal_once(topic, true).await.unwrap_err();
    world.faults.clear();
    assert_eq!(node.cell.view().topics[&topic].plans.len(), 1);
    for (partition, to) in [(0, -1), (1, 3)] {
        node.cell.submit(Submission::one(MoveLogStart { topic_id: topic.0.to_vec(), partition, to })).await.unwrap();
    }
    world.produce(&node, topic, 0, 4).await;
    node.kill();
    let node = world.start().await;
    node.compactor.seal_everything(topic).await.unwrap();
    world.check(&node, false).await;
    world.check_manifest(&node, topic).await;
}

#[tokio::test(start_paused = true)]
async fn a_sealed_object_is_put_only_once_the_bucket_holds_its_plan() {
    let mut world = World::new(8);
    let node = world.start().await;
    let topic = world.create_topic(&node, 7, "t", 3, &[]).await;
    fill(&mut world, &node, topic, 2).await;
    world.faults.add(Fault::every(Operation::Put, Effect::Before).below("log"));
    node.compactor.seal_once(topic, true).await.unwrap_err();
    assert_eq!(node.cell.view().topics[&topic].plans.len(), 1);
    assert!(world.paths("bronze").await.is_empty());
    world.faults.clear();
    node.compactor.seal_once(topic, true).await.unwrap();
    assert_eq!(world.paths("bronze").await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn large_inputs_are_read_by_ranges_and_give_the_same_rows() {
    let mut world = World::new(9);
    world.options.whole_input_bytes = 0;
    let node = world.start().await;
    let topic = world.create_topic(&node, 7, "t", 3, &[]).await;
    fill(&mut world, &node, topic, 12).await;
    world.produce(&node, topic, 1, 3_000).await;
    assert!(node.compactor.merge_once(topic).await.unwrap());
    world.check(&node, false).await;
    node.compactor.seal_everything(topic).await.unwrap();
    world.check(&node, false).await;
    world.check_manifest(&node, topic).await;
}

#[tokio::test(start_paused = true)]
async fn a_deleted_topic_leaves_nothing_behind_and_a_late_put_is_found() {
    let mut world = World::new(7);
    let node = world.start().await;
    let topic = world.create_topic(&node, 7, "t", 3, &[]).await;
    fill(&mut world, &node, topic, 3).await;
    node.compactor.seal_everything(topic).await.unwrap();
    let sealed = world.paths("bronze").await[0].clone();
    let bytes = world.plain_objects().get(Purpose::Read, &sealed).await.unwrap();
    node.cell.submit(Submission::one(DeleteTopic { topic_id: topic.0.to_vec() })).await.unwrap();
    node.compactor.collect_once().await.unwrap();
    assert!(world.paths("bronze").await.is_empty() && world.paths("manifest").await.is_empty());
    world.plain_objects().put_replace(Purpose::Seal, &sealed, bytes).await.unwrap();
    world.runtime.sleep(Duration::from_secs(3_700)).await;
    node.compactor.collect_once().await.unwrap();
    assert!(world.paths("bronze").await.is_empty() && world.paths("fresh").await.is_empty());
    assert!(node.cell.view().dropped.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_object_of_the_log_that_is_gone_costs_its_records_and_nothing_else() {
    let mut world = World::new(20);
    let node = world.start().await;
    let topic = world.create_topic(&node, 7, "t", 2, &[]).await;
    world.produce(&node, topic, 0, 3).await;
    world.runtime.sleep(Duration::from_secs(61)).await;
    node.compactor.snapshot_once(true).await.unwrap();
    world.produce(&node, topic, 1, 3).await;
    world.produce(&node, topic, 0, 2).await;
    let frontier = |node: &world::Node, of: usize| node.cell.view().topics[&topic].partitions[of].frontier;
    for path in world.paths("wal").await {
        world.plain_objects().delete(Purpose::Garbage, &path).await.unwrap();
    }
    node.compactor.run();
    world.runtime.sleep(Duration::from_secs(20)).await;
    assert_eq!((frontier(&node, 0), frontier(&node, 1)), (0, 3), "the other partition goes on");
    let lost = |node: &world::Node| {
        let view = node.cell.view();
        view.topics[&topic].partitions[0].extents.iter().any(|extent| extent.place == strandline_index::ExtentPlace::Hole)
    };
    assert!(!lost(&node), "nothing is given up after a few seconds");
    world.runtime.sleep(Duration::from_secs(120)).await;
    assert_eq!(frontier(&node, 0), 5);
    world.produce(&node, topic, 0, 2).await;
    world.runtime.sleep(Duration::from_secs(20)).await;
    assert_eq!(frontier(&node, 0), 7);
    world.model.get_mut(&(topic, 0)).unwrap().retain(|offset, _| *offset >= 3);
    world.check(&node, false).await;
    assert!(world.paths("corrupt").await.is_empty(), "there was nothing to keep");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_for_a_while_loses_nothing_and_stops_no_other_partition() {
    let mut world = World::new(21);
    let node = world.start().await;
    let topic = world.create_topic(&node, 7, "t", 2, &[]).await;
    world.produce(&node, topic, 0, 3).await;
    world.runtime.sleep(Duration::from_secs(61)).await;
    node.compactor.snapshot_once(true).await.unwrap();
    world.faults.add(Fault::every(Operation::Get, Effect::Before).below("wal"));
    node.compactor.run();
    for round in 1..6 {
        world.produce(&node, topic, 1, 3).await;
        world.produce(&node, topic, 0, 1).await;
        world.runtime.sleep(Duration::from_secs(60)).await;
        let view = node.cell.view();
        let frontiers: Vec<i64> = view.topics[&topic].partitions.iter().map(|partition| partition.frontier).collect();
        assert_eq!(frontiers, [0, 3 * round]);
    }
    world.faults.clear();
    world.runtime.sleep(Duration::from_secs(30)).await;
    assert_eq!(node.cell.view().topics[&topic].partitions[0].frontier, 8);
    world.check(&node, false).await;
    assert!(world.paths("corrupt").await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_foreign_object_under_a_planned_name_is_set_aside_and_the_plan_completed_under_it() {
    let mut world = World::new(22);
    let node = world.start().await;
    let topic = world.create_topic(&node, 7, "t", 3, &[]).await;
    fill(&mut world, &node, topic, 2).await;
    let other = world.create_topic(&node, 8, "other", 1, &[]).await;
    world.produce(&node, other, 0, 3).await;
    let sound = node.compactor.seal_everything(other).await.unwrap().sealed[0].clone();
    let sound = world.plain_objects().get(Purpose::Read, &sound).await.unwrap();
    for foreign in [Bytes::from_static(b"not Parquet"), Bytes::new(), sound] {
        world.faults.add(Fault::every(Operation::Put, Effect::Before).below("bronze"));
        world.produce(&node, topic, 0, 3).await;
        node.compactor.seal_everything(topic).await.unwrap_err();
        world.faults.clear();
        let planned = node.cell.view().topics[&topic].plans.keys().next().unwrap().clone();
        world.plain_objects().put_replace(Purpose::Seal, &planned, foreign.clone()).await.unwrap();
        // Cut off between the copy and the put, it is done again.
        world.faults.add(Fault::every(Operation::Put, Effect::Before).below("bronze"));
        node.compactor.seal_once(topic, true).await.unwrap_err();
        world.faults.clear();
        let progress = node.compactor.seal_once(topic, true).await.unwrap();
        assert_eq!(progress.sealed[0], planned, "a plan is completed under its name");
        let crc = crc_fast::crc32_iscsi(&foreign);
        let kept = world.plain_objects().get(Purpose::Read, &format!("corrupt/{planned}-{crc:08x}")).await.unwrap();
        assert_eq!(kept, foreign);
        world.check(&node, false).await;
    }
    assert_eq!(world.paths("corrupt").await.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_manifest_that_was_given_up_and_comes_late_takes_no_newer_ones_place() {
    for first in [true, false] {
        let mut world = World::new(24);
        let node = world.start().await;
        let topic = world.create_topic(&node, 7, "t", 1, &[]).await;
        world.produce(&node, topic, 0, 3).await;
        node.compactor.convert_once(topic).await.unwrap();
        if !first {
            node.compactor.write_manifest_once(topic).await.unwrap();
            world.produce(&node, topic, 0, 3).await;
            node.compactor.convert_once(topic).await.unwrap();
        }
        // Every try of one put comes an hour late.
        let late = Fault::every(Operation::Put, Effect::Late(Duration::from_secs(3_600)));
        world.faults.add(late.below(strandline_bronze::manifest::root_path("t", topic)));
        node.compactor.write_manifest_once(topic).await.unwrap_err();
        world.faults.clear();
        world.produce(&node, topic, 0, 3).await;
        node.compactor.convert_once(topic).await.unwrap();
        node.compactor.write_manifest_once(topic).await.unwrap();
        world.check_manifest(&node, topic).await;
        world.runtime.sleep(Duration::from_secs(4_000)).await;
        world.check_manifest(&node, topic).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_day_that_is_no_more_goes_from_the_manifests_whenever_the_run_ended() {
    for kills in [false, true] {
        let mut world = World::new(23);
        let mut node = world.start().await;
        let configs = [("strandline.bronze.retention.ms", "-2"), ("retention.ms", "1000")];
        let topic = world.create_topic(&node, 7, "t", 1, &configs).await;
        world.produce(&node, topic, 0, 4).await;
        node.compactor.seal_everything(topic).await.unwrap();
        assert_eq!(world.paths("manifest").await.len(), 2);
        world.runtime.sleep(Duration::from_secs(24 * 3_600)).await;
        node.compactor.retain_once().await.unwrap();
        world.faults.add(Fault::every(Operation::Delete, Effect::Before).below("manifest"));
        node.compactor.write_manifest_once(topic).await.unwrap_err();
        assert_eq!(world.paths("manifest").await.len(), 2, "the root is written, the day is left");
        world.faults.clear();
        if kills {
            node.kill();
            node = world.start().await;
        }
        node.compactor.write_manifest_once(topic).await.unwrap();
        assert_eq!(world.paths("manifest").await, [strandline_bronze::manifest::root_path("t", topic)]);
        world.check_manifest(&node, topic).await;
        world.produce(&node, topic, 0, 2).await;
        node.compactor.convert_once(topic).await.unwrap();
        node.compactor.write_manifest_once(topic).await.unwrap();
        world.check_manifest(&node, topic).await;
    }
}

#[tokio::test(start_paused = true)]
async fn long_runs_are_copied_from_file_to_file_and_read_the_same() {
    for whole in [true, false] {
        let mut world = World::new(24);
        if !whole {
            world.options.whole_input_bytes = 0;
        }
        let node = world.start().await;
        let topic = world.create_topic(&node, 7, "t", 2, &[]).await;
        for _ in 0..2 {
            for partition in 0..2 {
                world.produce(&node, topic, partition, 17_000).await;
            }
            world.produce(&node, topic, 0, 5).await;
            assert!(node.compactor.convert_once(topic).await.unwrap());
        }
        let sealed = node.compactor.seal_everything(topic).await.unwrap().sealed;
        assert_eq!(sealed.len(), 1);
        world.check(&node, false).await;
        world.check_manifest(&node, topic).await;
        let bytes = world.plain_objects().get(Purpose::Read, &sealed[0]).await.unwrap();
        let report = strandline_bronze::verify(&sealed[0], &[bytes], None);
        assert!(report.is_sound() && report.rows == 68_010, "{report:?}");
    }
}
