//! Producers without idempotence: what they retry may be there more than once, never more often than they tried. Some of their requests have
//! batches for several partitions, each of which has an answer of its own.

use super::send::{Part, Told, answer_parts, send_parts, some_partitions};
use crate::dice::Dice;
use crate::ledger::record_id;
use crate::network::Link;
use crate::record::batch;
use crate::world::{TopicInfo, World};
use std::collections::BTreeMap;
use std::sync::Arc;
use strandline_types::TopicPartition;
use strandline_wire::records::Compression;

/// Partitions of one request, where it has several.
const PARTITIONS: u64 = 4;

pub(crate) fn compression(dice: &Dice) -> Compression {
    match dice.below(8) {
        0 => Compression::Gzip,
        1 => Compression::Snappy,
        2 => Compression::Lz4,
        3 => Compression::Zstd,
        _ => Compression::None,
    }
}

struct Producer {
    world: Arc<World>,
    number: u32,
    dice: Dice,
    /// The number of the next record.
    next: u32,
}

/// Sends until the run ends.
pub(crate) async fn produce(world: Arc<World>, number: u32) {
    let dice = Dice::new(world.seed, 100 + u64::from(number));
    let links = [0, 1].map(|part| Link::new(&world, 1_000 + 2 * u64::from(number) + part));
    let mut producer = Producer { world, number, dice, next: 0 };
    while !producer.world.is_ending() {
        producer.world.core.runtime.sleep(producer.dice.millis(20, 1_500)).await;
        producer.send_some(&links).await;
    }
}

impl Producer {
    /// A batch of new records.
    fn part(&mut self, topic: &TopicInfo, at: TopicPartition, most: u64) -> Part {
        let count = self.dice.between(1, most) as u32;
        let ids: Vec<_> = (0..count).map(|step| record_id(self.number, self.next + step)).collect();
        self.next += count;
        let records = batch(&ids, self.world.start_ms, compression(&self.dice), None);
        self.tries(Part { topic: topic.clone(), at, ids, records })
    }

    fn tries(&self, part: Part) -> Part {
        part.ids.iter().for_each(|id| self.world.core.ledger().tried(part.at, *id, false));
        part
    }

    fn say(&self, node: &str, parts: &[Part], told: &[Told]) {
        for (part, told) in parts.iter().zip(told) {
            let first = part.ids.first().copied().unwrap_or_default();
            self.world.core.trace(format!(
                "producer {} {node} {}-{} {first:x}+{}: {told}",
                self.number,
                part.topic.name,
                part.at.partition,
                part.ids.len()
            ));
        }
    }

    /// A few requests on one connection: taken in in order, answered in order.
    async fn send_some(&mut self, links: &[Link; 2]) {
        let world = self.world.clone();
        let several = self.dice.chance(40);
        let places = some_partitions(&world, &self.dice, if several { PARTITIONS } else { 1 });
        let Some(node) = world.any_node(&self.dice).filter(|_| !places.is_empty()) else { return };
        let by_name = places.iter().all(|(topic, _)| topic.permanent) && self.dice.chance(40);
        // About as many records, however many partitions.
        let most = if places.len() > 1 { 3 } else { 6 };
        let mut sent = Vec::new();
        for _ in 0..self.dice.between(1, 4) {
            let mut parts = Vec::new();
            for (topic, at) in &places {
                if parts.is_empty() || self.dice.chance(70) {
                    parts.push(self.part(topic, *at, most));
                }
            }
            let on_its_way = send_parts(&node, &links[0], &parts, by_name).await;
            sent.push((parts, on_its_way));
        }
        let mut last: BTreeMap<TopicPartition, i64> = BTreeMap::new();
        for (parts, on_its_way) in sent {
            let told = answer_parts(&world, &node, on_its_way, &parts).await;
            self.say(&node.name(), &parts, &told);
            let mut open = Vec::new();
            for (part, told) in parts.into_iter().zip(told) {
                let Told::Acked(offset) = told else {
                    open.push(part);
                    continue;
                };
                if let Some(before) = last.insert(part.at, offset)
                    && offset <= before
                {
                    world.core.fail(format!("{}: a batch at {offset} overtook the one before it, at {before}", node.name()));
                }
            }
            if !open.is_empty() && self.dice.chance(50) {
                self.send_again(&links[1], open).await;
            }
        }
    }

    /// Through another node perhaps: now it may be there twice.
    async fn send_again(&self, link: &Link, parts: Vec<Part>) {
        let Some(node) = self.world.any_node(&self.dice) else { return };
        let parts: Vec<Part> = parts.into_iter().map(|part| self.tries(part)).collect();
        let on_its_way = send_parts(&node, link, &parts, false).await;
        let told = answer_parts(&self.world, &node, on_its_way, &parts).await;
        self.say(&format!("again {}", node.name()), &parts, &told);
    }
}
