//! Consumers that ask for several partitions at once: each partition's answer is right by itself, and all of them are read in the end,
//! however few bytes an answer has.

use super::consumer::{some_bytes, some_offset, some_wait_ms};
use super::fetch::{Terms, Want, check_fetched, fetch};
use super::send::some_partitions;
use crate::dice::Dice;
use crate::happenings::Happening;
use crate::network::Link;
use crate::node::Node;
use crate::world::{TopicInfo, World};
use std::sync::Arc;
use std::time::Duration;
use strandline_types::TopicPartition;

/// Partitions of one request.
const PARTITIONS: u64 = 5;
/// Nodes that are asked one after another for everything, as some begin anew.
const READERS: usize = 5;

/// Any offsets of any partitions.
pub(super) async fn read_several(world: &World, link: &Link, node: &Arc<Node>, dice: &Dice) {
    let (mut wants, mut before) = (Vec::new(), Vec::new());
    for (topic, at) in some_partitions(world, dice, PARTITIONS) {
        let Some(bounds) = world.known_bounds(node, at) else { continue };
        wants.push(Want { topic, at, offset: some_offset(dice, bounds), max_bytes: some_bytes(dice) });
        before.push(bounds);
    }
    if wants.len() < 2 {
        return;
    }
    let terms = Terms { max_bytes: some_bytes(dice), max_wait_ms: some_wait_ms(dice) };
    let Some(answers) = fetch(world, link, node, &wants, terms).await else { return };
    world.core.count(Happening::ManyFetched);
    for ((want, before), data) in wants.iter().zip(before).zip(answers) {
        check_fetched(world, node, want, before, data, false);
    }
}

/// All partitions of all topics over one connection, through whichever node serves.
pub(crate) async fn read_all_at_once(world: &Arc<World>, max_bytes: i32) {
    let link = Link::new(world, 8_500);
    let mut all = Vec::new();
    for topic in world.topics() {
        let partitions = (0..topic.partitions).map(|partition| TopicPartition { topic_id: topic.id, partition });
        all.extend(partitions.map(|at| (topic.clone(), at)));
    }
    for _ in 0..READERS {
        let Some(node) = world.live().pop() else { break };
        if read_together(world, &link, &node, &all, max_bytes).await || world.core.has_failed() {
            return;
        }
        world.core.runtime.sleep(Duration::from_secs(2)).await;
    }
    world.core.fail("nobody serves all partitions at once over a connection, without any fault");
}

/// The whole of these partitions over a connection, with nothing in the way: each answer brings some of them further. False if the node
/// begins anew meanwhile.
async fn read_together(
    world: &World,
    link: &Link,
    node: &Arc<Node>,
    partitions: &[(TopicInfo, TopicPartition)],
    max_bytes: i32,
) -> bool {
    let mut left = Vec::new();
    for (topic, at) in partitions {
        let Some((log_start, end)) = world.known_bounds(node, *at) else { return false };
        left.push((Want { topic: topic.clone(), at: *at, offset: log_start, max_bytes }, end));
    }
    loop {
        left.retain(|(want, end)| want.offset < *end);
        if left.is_empty() || world.core.has_failed() {
            return true;
        }
        let (wants, ends): (Vec<Want>, Vec<i64>) = left.into_iter().unzip();
        let Some(nexts) = read_on(world, link, node, &wants, max_bytes).await else { return false };
        left = Vec::new();
        for ((want, end), next) in wants.into_iter().zip(ends).zip(nexts) {
            left.push((Want { offset: next, ..want }, end));
        }
        // As clients do: who was first is last the next time.
        left.rotate_left(1);
    }
}

/// One answer, and from where each partition goes on. None if the node begins anew.
async fn read_on(world: &World, link: &Link, node: &Arc<Node>, wants: &[Want], max_bytes: i32) -> Option<Vec<i64>> {
    let mut before = Vec::new();
    for want in wants {
        before.push(world.known_bounds(node, want.at)?);
    }
    let answers = fetch(world, link, node, wants, Terms { max_bytes, max_wait_ms: 0 }).await;
    let mut nexts: Vec<i64> = wants.iter().map(|want| want.offset).collect();
    for (number, data) in answers.into_iter().flatten().enumerate() {
        if let Some(next) = check_fetched(world, node, &wants[number], before[number], data, false) {
            nexts[number] = next;
        }
    }
    for (next, want) in nexts.iter_mut().zip(wants) {
        // Retention may have been there first.
        let (log_start, _) = world.core.oracle().bounds(want.at)?;
        *next = (*next).max(log_start);
    }
    let is_further = nexts.iter().zip(wants).any(|(next, want)| *next > want.offset);
    if is_further {
        return Some(nexts);
    }
    if node.cell.is_stopped() || node.gate.is_dead() {
        return None;
    }
    let first = wants.first()?;
    world.core.fail(format!(
        "{} {}-{}: no answer for offset {}, nor for any of {} partitions over a connection, without any fault (I5)",
        node.name(),
        first.topic.name,
        first.at.partition,
        first.offset,
        wants.len()
    ));
    None
}
