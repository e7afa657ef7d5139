//! What holds when all is quiet: everything acknowledged, through every node, hot and from Parquet.

use crate::check::check_now;
use crate::clients::{Told, answer, check_record, read_all, read_back, read_over, send};
use crate::ledger::record_id;
use crate::network::Link;
use crate::record::{Record, batch};
use crate::world::World;
use futures::TryStreamExt;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use strandline_bronze::{Fetched, ReadError, SegmentFooter, SegmentScan};
use strandline_object_store::Purpose;
use strandline_segment_index::SegmentIndex;
use strandline_types::{TopicId, TopicPartition};
use strandline_wire::records::Compression;

/// All nodes serve, have folded the same, and it is right. A node under which the floor passed by begins anew first.
pub(crate) async fn agree(world: &World) {
    let mut quiet = false;
    for _ in 0..60 {
        let mut barriers = world.live().len() == world.shape.nodes && !world.has_graves();
        for node in world.live() {
            barriers &= node.ask(node.cell.barrier()).await.is_some_and(|barrier| barrier.is_ok());
        }
        let seqs: BTreeSet<_> = world.live().iter().map(|node| node.cell.seq()).collect();
        quiet = barriers && seqs.len() == 1 && seqs.contains(&world.core.log.head());
        if quiet || world.core.has_failed() {
            break;
        }
        world.core.runtime.sleep(std::time::Duration::from_millis(700)).await;
    }
    if !quiet {
        world.core.fail("the nodes do not come to agree, without any fault");
    }
    for node in world.live() {
        let violations = node.cell.view().violations();
        if !violations.is_empty() {
            world.core.fail(format!("{}: {}", node.name(), violations.join("; ")));
        }
    }
    // What has grown is read as a whole.
    world.learn_partitions();
    check_now(world);
}

/// Reads everything through every node.
pub(crate) async fn read_everything(world: &World, max_bytes: usize) {
    for node in world.live() {
        for topic in world.topics() {
            for partition in 0..topic.partitions {
                if world.core.has_failed() {
                    return;
                }
                let at = TopicPartition { topic_id: topic.id, partition };
                read_all(world, &node, &topic, at, max_bytes).await;
            }
        }
    }
    check_now(world);
}

/// Nodes that are asked one after another for the whole of a partition, as some begin anew.
const READERS: usize = 5;

/// The same over a connection, through whichever node serves.
pub(crate) async fn read_over_connections(world: &Arc<World>, max_bytes: usize) {
    let link = Link::new(world, u64::from(LAST_CLIENT) + max_bytes as u64);
    for topic in world.topics() {
        for partition in 0..topic.partitions {
            let at = TopicPartition { topic_id: topic.id, partition };
            let mut is_read = false;
            for _ in 0..READERS {
                let Some(node) = world.live().pop() else { break };
                is_read = read_over(world, &link, &node, &topic, at, max_bytes as i32).await;
                if is_read || world.core.has_failed() {
                    break;
                }
                world.core.runtime.sleep(std::time::Duration::from_secs(2)).await;
            }
            if world.core.has_failed() {
                return;
            }
            if !is_read {
                return world.core.fail(format!("nobody serves {}-{partition} over a connection, without any fault", topic.name));
            }
        }
    }
}

/// So many rounds in which a step fails everywhere and nothing gets further are an end.
const IDLE_ROUNDS: usize = 3;

/// How far a topic is converted and sealed: offsets, over all partitions.
fn standing(world: &World, topic: TopicId) -> (i64, i64) {
    let oracle = world.core.oracle();
    let partitions = oracle.index().topics.get(&topic).into_iter().flat_map(|topic| &topic.partitions);
    partitions.fold((0, 0), |sums, partition| (sums.0 + partition.frontier, sums.1 + partition.sealed_end))
}

/// Every topic converted and sealed, each step by whoever has its lease.
pub(crate) async fn seal_everything(world: &World) {
    for topic in world.topics() {
        for step in ["convert", "seal", "manifest"] {
            let mut errors = Vec::new();
            let (mut done, mut idle) = (false, 0);
            let mut stands = standing(world, topic.id);
            while idle < IDLE_ROUNDS && !world.core.has_failed() {
                for node in world.live() {
                    let work = async {
                        let _ = node.cell.barrier().await;
                        match step {
                            "convert" => loop {
                                match node.compactor.convert_once(topic.id).await {
                                    Ok(true) => {}
                                    other => break other.map(|_| ()),
                                }
                            },
                            "seal" => node.compactor.seal_once(topic.id, true).await.map(|_| ()),
                            _ => node.compactor.write_manifest_once(topic.id).await.map(|_| ()),
                        }
                    };
                    match node.ask(work).await {
                        Some(Ok(())) => done = true,
                        Some(Err(error)) => errors.push(format!("{}: {error}", node.name())),
                        // Its view was trimmed away under it.
                        None => errors.push(format!("{} begins anew", node.name())),
                    }
                }
                if done {
                    break;
                }
                // A plan waits for its copy in the bucket, which is another node's work perhaps: then a round makes one file.
                for node in world.live() {
                    node.ask(node.compactor.copy_log_once()).await;
                }
                let stood = std::mem::replace(&mut stands, standing(world, topic.id));
                if stood == stands {
                    idle += 1;
                } else {
                    idle = 0;
                    errors.clear();
                }
                world.core.runtime.sleep(std::time::Duration::from_secs(30)).await;
            }
            if !done {
                return world.core.fail(format!("{step} of {} fails without any fault: {}", topic.name, errors.join("; ")));
            }
        }
        let fresh = world.core.oracle().index().topics.get(&topic.id).map_or(0, |topic| topic.fresh.len());
        if fresh > 0 {
            world.core.fail(format!("{fresh} segments of {} are still fresh after a seal of everything", topic.name));
        }
    }
}

/// The bucket: no row twice under bronze/, each is what was sent and what consumers saw, and all that is referred to is there.
pub(crate) async fn bucket(world: &World) {
    let objects = world.plain_objects();
    let listed: Vec<_> = objects.list(Purpose::Sweep, "").try_collect().await.unwrap();
    let there: BTreeSet<String> = listed.into_iter().map(|object| object.path).collect();
    let (referenced, topics) = {
        let oracle = world.core.oracle();
        let index = oracle.index();
        let mut referenced: Vec<String> = index.wal_objects.keys().map(|name| format!("wal/{name}")).collect();
        for topic in index.topics.values() {
            referenced.extend(topic.fresh.values().map(|segment| segment.file.path.clone()));
            referenced.extend(topic.plans.values().filter_map(|plan| Some(plan.file.as_ref()?.path.clone())));
        }
        let topics: BTreeMap<String, strandline_types::TopicId> = index.topics.keys().map(|id| (id.id8(), *id)).collect();
        (referenced, topics)
    };
    for path in referenced {
        if !there.contains(&path) {
            return world.core.fail(format!("{path} is referred to and not there (I1, I8)"));
        }
    }
    let mut rows: BTreeMap<(TopicPartition, i64), String> = BTreeMap::new();
    for path in there.iter().filter(|path| path.starts_with("bronze/")) {
        let bytes = objects.get(Purpose::Read, path).await.unwrap();
        let id8 = path.split('/').nth(2).unwrap_or_default();
        // A deleted topic's files go by themselves.
        let Some(topic) = topics.get(id8).and_then(|id| world.topic(*id)) else { continue };
        let footer = match SegmentFooter::parse(path, bytes.len() as u64, &bytes) {
            Ok(footer) => footer,
            Err(error) => return world.core.fail(format!("{path}: {error}")),
        };
        let mut failed = None;
        let scanned = SegmentScan::new(&footer, &Fetched::whole(bytes)).for_each_row(|partition, _, record| {
            let at = TopicPartition { topic_id: topic.id, partition };
            let own = Record {
                timestamp_ms: record.timestamp_ms,
                key: record.key.map(<[u8]>::to_vec),
                value: record.value.map(<[u8]>::to_vec),
                headers: record.headers.iter().map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect(),
            };
            if let Some(other) = rows.insert((at, record.offset), path.clone()) {
                failed.get_or_insert(format!("{path} and {other} both show offset {} of {at:?}", record.offset));
            }
            if let Err(what) = check_record(world, &topic, at, record.offset, &own, record.timestamp_type) {
                failed.get_or_insert(format!("{path}: {what}"));
            }
            Ok::<(), ReadError>(())
        });
        if let Err(error) = scanned {
            failed.get_or_insert(format!("{path}: {error}"));
        }
        if let Some(what) = failed {
            return world.core.fail(what);
        }
    }
}

/// Rounds until retention has had its turn, without any fault.
const RETENTION_ROUNDS: usize = 5;

/// The offsets of what leaves the log first, as a whole: a partition's part of a file, or a run of batches. It may begin below the log
/// start, where an operator has moved that into it.
async fn first_unit(world: &World, at: TopicPartition) -> Option<Range<i64>> {
    let (log_start, sealed_end, next) = {
        let oracle = world.core.oracle();
        let partition = oracle.index().partition(at.topic_id, at.partition)?;
        let fresh = partition.fresh.iter().map(|range| range.start..range.end);
        let mut units = fresh.chain(partition.extents.iter().map(|extent| extent.start..extent.end));
        (partition.log_start, partition.sealed_end, units.find(|unit| unit.end > partition.log_start))
    };
    if log_start >= sealed_end {
        return next;
    }
    let row = world.core.segment_index.find(at, log_start).await.ok()??;
    Some(row.start_offset..row.end_offset)
}

/// Retention: what was to go is gone, as whole files and runs of batches; sealed files that are kept for ever are there. (That nothing
/// else went is looked at whenever a log start moves.)
pub(crate) async fn retention(world: &World) {
    let now_ms = world.core.clock().now_ms();
    let mut done = false;
    let mut errors = Vec::new();
    for _ in 0..RETENTION_ROUNDS {
        for node in world.live() {
            // Age first, then size, as in Kafka: what size has uncovered may be old, and goes with the next round.
            let twice = async {
                let agrees = node.cell.barrier().await.is_ok();
                let first = node.compactor.retain_once().await;
                (agrees, first.and(node.compactor.retain_once().await))
            };
            match node.ask(twice).await {
                Some((true, Ok(()))) => done = true,
                other => errors.push(format!("{}: {other:?}", node.name())),
            }
        }
        if done || world.core.has_failed() {
            break;
        }
        world.core.runtime.sleep(std::time::Duration::from_secs(30)).await;
    }
    if !done {
        return world.core.fail(format!("retention fails without any fault: {}", errors.join("; ")));
    }
    for topic in world.topics() {
        for partition in 0..topic.partitions {
            let at = TopicPartition { topic_id: topic.id, partition };
            let first = first_unit(world, at).await;
            let wrong = {
                let oracle = world.core.oracle();
                let stays = first.and_then(|unit| Some((unit.end, oracle.retention.must_go(oracle.index(), at, unit, now_ms)?)));
                stays.map(|(end, why)| format!("retention leaves {}-{partition} up to {end}: {why}", topic.name))
            };
            if let Some(what) = wrong {
                return world.core.fail(what);
            }
        }
    }
    let listed: Vec<_> = world.plain_objects().list(Purpose::Sweep, "bronze").try_collect().await.unwrap();
    let there: BTreeSet<String> = listed.into_iter().map(|object| object.path).collect();
    let missing = world.core.oracle().kept_for_ever(None).find(|path| !there.contains(*path)).cloned();
    if let Some(path) = missing {
        world.core.fail(format!("retention has taken {path}, which is kept for ever"));
    }
    let moves = world.core.oracle().retention.moves;
    world.core.trace(format!("retention has moved log starts {} times by age, {} times by size", moves.0, moves.1));
}

/// Looks until what is held has been given back: upkeep goes on by itself.
const GIVES_BACK: usize = 60;
/// The producer and consumer of these checks.
const LAST_CLIENT: u32 = 9_000;

/// At rest a node holds nothing of what it counts (I11): each is the last to take a batch in, to serve it and to convert it, and
/// then shows zero.
pub(crate) async fn nothing_is_held(world: &Arc<World>) {
    let Some(topic) = world.topics().into_iter().next() else { return };
    let at = TopicPartition { topic_id: topic.id, partition: 0 };
    for (node, number) in world.live().into_iter().zip(0..) {
        let id = record_id(LAST_CLIENT, number);
        let link = Link::new(world, u64::from(LAST_CLIENT + number));
        // It comes to agree with the others first: no time is counted then.
        let _ = node.ask(node.cell.barrier()).await;
        world.core.ledger().tried(at, id, false);
        let sent = send(&node, &link, &topic, at, batch(&[id], world.start_ms, Compression::Zstd, None), false).await;
        let told = answer(world, &node, sent, &topic, at, &[id]).await;
        match told {
            Told::Acked(offset) => read_back(world, &link, &node, &topic, at, offset).await,
            // Its view was trimmed away under it.
            _ if node.cell.is_stopped() || node.gate.is_dead() => {}
            told => world.core.fail(format!("{} was sent a batch, and said {told}, without any fault", node.name())),
        }
        let _ = node.ask(node.compactor.convert_once(topic.id)).await;
        drop(link);
        let mut held = Vec::new();
        for _ in 0..GIVES_BACK {
            world.core.runtime.sleep(std::time::Duration::from_millis(500)).await;
            held = world.core.gauges.held();
            if held.is_empty() || world.core.has_failed() {
                break;
            }
        }
        world.core.trace(format!(
            "{} was told {told}, and holds {held:?}; {} gauges have moved",
            node.name(),
            world.core.gauges.moved().len()
        ));
        if !held.is_empty() {
            world.core.fail(format!("{} does not give back what it holds: {} (I11)", node.name(), held.join(", ")));
        }
    }
}
