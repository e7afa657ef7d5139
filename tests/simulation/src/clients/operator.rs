//! Those who run the cell: every step of the upkeep is asked for at any time.

use crate::dice::Dice;
use crate::mutation::Mutation;
use crate::node::Node;
use crate::world::World;
use std::sync::Arc;
use strandline_cell::Submission;
use strandline_commands::RaiseFoldVersion;
use strandline_compactor::{Retry, WorkError};
use strandline_index::FOLD_VERSION;
use strandline_object_store::Purpose;

/// Steps of the upkeep, by hand, on any node.
pub(crate) async fn operate(world: Arc<World>) {
    let dice = Dice::new(world.seed, 501);
    while !world.is_ending() {
        world.core.runtime.sleep(dice.millis(100, 3_000)).await;
        if world.core.mutated(Mutation::DeletedEarly) {
            delete_early(&world).await;
        }
        let (Some(node), Some((topic, _))) = (world.any_node(&dice), world.any_partition(&dice)) else { continue };
        let compactor = &node.compactor;
        let step = dice.below(if world.shape.upgrade { 10 } else { 9 });
        if step == 9 {
            raise_fold_version(&world, &node).await;
            continue;
        }
        let work = async {
            match step {
                0 => compactor.convert_once(topic.id).await.map(|done| done.to_string()),
                1 => compactor.merge_once(topic.id).await.map(|done| done.to_string()),
                2 => compactor.seal_once(topic.id, true).await.map(|done| done.sealed.len().to_string()),
                3 => compactor.seal_everything(topic.id).await.map(|done| done.sealed.len().to_string()),
                4 => compactor.snapshot_once(true).await.map(|done| format!("{done:?}")),
                5 => compactor.collect_once().await.map(|done| done.to_string()),
                6 => compactor.sweep_once().await.map(|done| done.to_string()),
                7 => compactor.copy_log_once().await.map(|done| done.to_string()),
                _ => compactor.retain_once().await.map(|()| "done".to_owned()),
            }
        };
        let name = ["convert", "merge", "seal", "seal everything", "snapshot", "collect", "sweep", "copy the log", "retain"]
            [step as usize];
        match node.ask(tokio::time::timeout(std::time::Duration::from_secs(120), node.ask(work))).await {
            Some(Ok(Some(result))) => note(&world, &format!("{} {name} {}", node.name(), topic.name), result),
            _ => world.core.trace(format!("{} {name}: no answer", node.name())),
        }
    }
}

/// What an operator does once all builds are new, and tries before.
async fn raise_fold_version(world: &World, node: &Node) {
    let answer = node.ask(node.cell.submit(Submission::one(RaiseFoldVersion { to: FOLD_VERSION }))).await;
    world.core.trace(format!("{} raises the fold version: {answer:?}", node.name()));
}

fn note(world: &World, what: &str, result: Result<String, WorkError>) {
    match result {
        Ok(done) => world.core.trace(format!("{what}: {done}")),
        Err(error) => {
            if error.retry() == Retry::Alarm {
                world.core.fail(format!("{what}: {error}, an alarm that nothing explains"));
            }
            world.core.trace(format!("{what}: {error}"));
        }
    }
}

/// The planted fault: an object that extents refer to goes.
async fn delete_early(world: &World) {
    let name = world.core.oracle().index().wal_objects.keys().next().copied();
    if let Some(name) = name {
        world.core.trace(format!("wal/{name} is deleted, and should not be"));
        let _ = world.plain_objects().delete(Purpose::Garbage, &format!("wal/{name}")).await;
    }
}
