//! Manifests where several nodes could write them.
#![allow(clippy::unwrap_used)]

mod world;

use std::time::Duration;
use strandline_bronze::manifest::{DayManifest, RootManifest, root_path};
use strandline_cell::Submission;
use strandline_commands::DeleteTopic;
use strandline_compactor::{Retry, WorkError};
use strandline_object_store::{Effect, Fault, Operation, Purpose};
use strandline_segment_index::{SegmentIndex, for_each};
use strandline_types::TopicId;
use world::{Node, World};

const DAY: Duration = Duration::from_secs(24 * 3_600);
/// `by` collects what waits for it, once the bucket's copy of the log, which `a` makes, is there and `a` has said what it has folded.
async fn collect(a: &Node, by: &Node) -> usize {
    a.cell.barrier().await.unwrap();
    a.compactor.copy_log_once().await.unwrap();
    by.cell.barrier().await.unwrap();
    assert_eq!(by.compactor.collect_once().await.unwrap(), 0, "another node has not said to have seen the drop");
    a.cell.barrier().await.unwrap();
    assert_eq!(a.compactor.collect_once().await.unwrap(), 0);
    a.compactor.copy_log_once().await.unwrap();
    by.cell.barrier().await.unwrap();
    by.compactor.collect_once().await.unwrap()
}

/// As soon as nobody can read it through Kafka, a sealed file goes.
const SHORT: [(&str, &str); 2] = [("strandline.bronze.retention.ms", "-2"), ("retention.ms", "1000")];

async fn pair(seed: u64) -> (World, Node, Node) {
    let world = World::new(seed);
    let (a, b) = (world.join(false).await, world.join(false).await);
    (world, a, b)
}

async fn seal(world: &mut World, node: &Node, topic: TopicId) {
    world.produce(node, topic, 0, 3).await;
    node.compactor.seal_everything(topic).await.unwrap();
}

async fn root(world: &World, topic: TopicId) -> RootManifest {
    RootManifest::parse(&world.plain_objects().get(Purpose::Read, &root_path("t", topic)).await.unwrap()).unwrap()
}

/// Where the list of a day is, of which all files have left since.
async fn day_without_files(world: &mut World, node: &Node, topic: TopicId) -> String {
    seal(world, node, topic).await;
    let day = root(world, topic).await.days[0].path.clone();
    world.runtime.sleep(DAY).await;
    node.compactor.retain_once().await.unwrap();
    day
}

#[tokio::test(start_paused = true)]
async fn one_node_writes_a_topics_manifests_until_it_leaves_and_then_another_goes_on() {
    let (mut world, a, b) = pair(41).await;
    let topic = world.create_topic(&a, 7, "t", 1, &[]).await;
    assert!(a.compactor.write_manifest_once(topic).await.unwrap());
    seal(&mut world, &a, topic).await;
    b.cell.barrier().await.unwrap();
    let before = root(&world, topic).await;
    assert!(!b.compactor.write_manifest_once(topic).await.unwrap(), "another node writes them");
    world.produce(&a, topic, 0, 3).await;
    a.compactor.convert_once(topic).await.unwrap();
    b.cell.barrier().await.unwrap();
    assert!(!b.compactor.write_manifest_once(topic).await.unwrap());
    assert_eq!(root(&world, topic).await, before);
    a.cell.stop().await;
    b.cell.barrier().await.unwrap();
    assert!(b.compactor.write_manifest_once(topic).await.unwrap());
    world.check_manifest(&b, topic).await;
    seal(&mut world, &b, topic).await;
    world.check_manifest(&b, topic).await;
    assert!(!b.compactor.write_manifest_once(topic).await.unwrap(), "they are up to date");
}

#[tokio::test(start_paused = true)]
async fn a_file_that_another_node_dropped_is_not_listed_again_once_the_garbage_list_has_forgotten_it() {
    let (mut world, a, b) = pair(42).await;
    let topic = world.create_topic(&a, 7, "t", 1, &SHORT).await;
    seal(&mut world, &a, topic).await;
    world.runtime.sleep(Duration::from_secs(5)).await;
    b.cell.barrier().await.unwrap();
    b.compactor.retain_once().await.unwrap();
    world.runtime.sleep(DAY).await;
    assert_eq!(collect(&a, &b).await, 2, "the sealed file and its input");
    assert!(world.paths("bronze").await.is_empty());
    world.produce(&b, topic, 0, 3).await;
    a.cell.barrier().await.unwrap();
    a.compactor.convert_once(topic).await.unwrap();
    assert!(a.compactor.write_manifest_once(topic).await.unwrap());
    world.check_manifest(&a, topic).await;
    assert!(a.compactor.sealed_files(topic).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn rows_that_come_when_their_file_has_gone_for_good_are_not_listed() {
    let (mut world, a, b) = pair(43).await;
    let topic = world.create_topic(&a, 7, "t", 1, &SHORT).await;
    seal(&mut world, &a, topic).await;
    let mut rows = Vec::new();
    for_each(&world.segment_index, |row| rows.push(row)).await.unwrap();
    world.runtime.sleep(Duration::from_secs(5)).await;
    a.compactor.retain_once().await.unwrap();
    world.runtime.sleep(DAY).await;
    assert_eq!(collect(&a, &b).await, 2);
    assert!(world.paths("bronze").await.is_empty());
    assert_eq!((rows.len(), world.segment_index.count().await.unwrap()), (1, 0));
    world.segment_index.put(rows).await.unwrap();
    a.cell.stop().await;
    b.cell.stop().await;
    let c = world.join(false).await;
    world.produce(&c, topic, 0, 3).await;
    c.compactor.convert_once(topic).await.unwrap();
    c.compactor.write_manifest_once(topic).await.unwrap();
    world.check_manifest(&c, topic).await;
    // And they go.
    world.runtime.sleep(Duration::from_secs(5)).await;
    c.compactor.retain_once().await.unwrap();
    assert_eq!(world.segment_index.count().await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_day_without_files_stays_empty_until_no_node_can_have_something_for_it() {
    let (mut world, a, _b) = pair(44).await;
    let topic = world.create_topic(&a, 7, "t", 1, &SHORT).await;
    let day = day_without_files(&mut world, &a, topic).await;
    assert!(a.compactor.write_manifest_once(topic).await.unwrap());
    assert!(root(&world, topic).await.days.is_empty());
    let empty = DayManifest::parse(&world.plain_objects().get(Purpose::Read, &day).await.unwrap()).unwrap();
    assert!(empty.files.is_empty());
    world.check_manifest(&a, topic).await;
    world.runtime.sleep(DAY * 8).await;
    seal(&mut world, &a, topic).await;
    assert!(!world.paths("manifest").await.contains(&day));
    world.check_manifest(&a, topic).await;
}

#[tokio::test(start_paused = true)]
async fn a_manifest_that_was_written_while_its_topic_was_deleted_goes_too() {
    let (mut world, a, b) = pair(45).await;
    let topic = world.create_topic(&a, 7, "t", 1, &[]).await;
    world.produce(&a, topic, 0, 3).await;
    a.compactor.convert_once(topic).await.unwrap();
    // The root takes a minute on its way.
    let slow = Fault::every(Operation::Put, Effect::Late(Duration::from_secs(60)));
    world.faults.add(slow.below(root_path("t", topic)));
    a.compactor.write_manifest_once(topic).await.unwrap_err();
    world.faults.clear();
    b.cell.submit(Submission::one(DeleteTopic { topic_id: topic.0.to_vec() })).await.unwrap();
    b.compactor.collect_once().await.unwrap();
    assert_eq!(world.paths("manifest").await, Vec::<String>::new());
    world.runtime.sleep(Duration::from_secs(61)).await;
    assert_eq!(world.paths("manifest").await, [root_path("t", topic)]);
    a.cell.barrier().await.unwrap();
    a.compactor.collect_once().await.unwrap();
    assert_eq!(world.paths("manifest").await, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_day_that_was_left_is_cleared_by_the_next_node_though_nothing_changes() {
    let (mut world, a, b) = pair(46).await;
    let topic = world.create_topic(&a, 7, "t", 1, &SHORT).await;
    let day = day_without_files(&mut world, &a, topic).await;
    // The root is put, and the run ends before the day is.
    world.faults.add(Fault::every(Operation::Put, Effect::Before).below(day.clone()));
    a.compactor.write_manifest_once(topic).await.unwrap_err();
    world.faults.clear();
    let list = async || DayManifest::parse(&world.plain_objects().get(Purpose::Read, &day).await.unwrap()).unwrap();
    assert!(root(&world, topic).await.days.is_empty());
    assert_eq!(list().await.files.len(), 1);
    a.cell.stop().await;
    b.cell.barrier().await.unwrap();
    assert!(b.compactor.write_manifest_once(topic).await.unwrap());
    assert!(list().await.files.is_empty());
    world.check_manifest(&b, topic).await;
    assert!(!b.compactor.write_manifest_once(topic).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn what_a_run_without_its_lease_has_put_is_written_over_as_of_later() {
    let (mut world, a, _b) = pair(47).await;
    let topic = world.create_topic(&a, 7, "t", 1, &[]).await;
    seal(&mut world, &a, topic).await;
    let (path, objects) = (root_path("t", topic), world.plain_objects());
    let mut newer = root(&world, topic).await;
    newer.applied_seq += 30;
    newer.days.clear();
    objects.put_replace(Purpose::Manifest, &path, newer.encode().unwrap().into()).await.unwrap();
    world.produce(&a, topic, 0, 3).await;
    a.compactor.convert_once(topic).await.unwrap();
    let overtaken = a.compactor.write_manifest_once(topic).await.unwrap_err();
    assert!(matches!(overtaken, WorkError::Overtaken { .. }), "{overtaken}");
    assert_eq!(overtaken.retry(), Retry::LookAgain);
    while a.cell.seq().0 <= newer.applied_seq {
        world.produce(&a, topic, 0, 1).await;
    }
    assert!(a.compactor.write_manifest_once(topic).await.unwrap());
    world.check_manifest(&a, topic).await;
}
