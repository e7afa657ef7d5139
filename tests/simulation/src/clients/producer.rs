//! Producers without idempotence: what they retry may be there more than once, never more often than they tried.

use super::send::{Told, answer, send};
use crate::dice::Dice;
use crate::ledger::record_id;
use crate::network::Link;
use crate::record::batch;
use crate::world::World;
use std::sync::Arc;
use strandline_wire::records::Compression;

pub(crate) fn compression(dice: &Dice) -> Compression {
    match dice.below(8) {
        0 => Compression::Gzip,
        1 => Compression::Snappy,
        2 => Compression::Lz4,
        3 => Compression::Zstd,
        _ => Compression::None,
    }
}

/// Sends until the run ends.
pub(crate) async fn produce(world: Arc<World>, producer: u32) {
    let dice = Dice::new(world.seed, 100 + u64::from(producer));
    let links = [0, 1].map(|part| Link::new(&world, 1_000 + 2 * u64::from(producer) + part));
    let mut next = 0;
    while !world.is_ending() {
        world.core.runtime.sleep(dice.millis(20, 1_500)).await;
        let (Some(node), Some((topic, at))) = (world.any_node(&dice), world.any_partition(&dice)) else { continue };
        let by_name = topic.permanent && dice.chance(40);
        // A few requests on one connection: taken in in order, answered in order.
        let mut sent = Vec::new();
        for _ in 0..dice.between(1, 4) {
            let ids: Vec<_> = (0..dice.between(1, 6) as u32).map(|step| record_id(producer, next + step)).collect();
            next += ids.len() as u32;
            ids.iter().for_each(|id| world.core.ledger().tried(at, *id, false));
            let bytes = batch(&ids, world.start_ms, compression(&dice), None);
            let on_its_way = send(&node, &links[0], &topic, at, bytes, by_name).await;
            sent.push((ids, on_its_way));
        }
        let mut last = -1;
        for (ids, on_its_way) in sent {
            let told = answer(&world, &node, on_its_way, &topic, at, &ids).await;
            world.core.trace(format!(
                "producer {producer} {} {}-{} {:x}+{}: {told}",
                node.name(),
                topic.name,
                at.partition,
                ids[0],
                ids.len()
            ));
            if let Told::Acked(offset) = told {
                if offset <= last {
                    world.core.fail(format!("{}: a batch at {offset} overtook the one before it, at {last}", node.name()));
                }
                last = offset;
                continue;
            }
            // Again, through another node perhaps: now it may be there twice.
            if dice.chance(50)
                && let Some(other) = world.any_node(&dice)
            {
                ids.iter().for_each(|id| world.core.ledger().tried(at, *id, false));
                let bytes = batch(&ids, world.start_ms, compression(&dice), None);
                let on_its_way = send(&other, &links[1], &topic, at, bytes, false).await;
                let told = answer(&world, &other, on_its_way, &topic, at, &ids).await;
                world.core.trace(format!("producer {producer} again {} {:x}: {told}", other.name(), ids[0]));
            }
        }
    }
}
