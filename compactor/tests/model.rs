//! Random steps, faults and restarts against the model: each offset answered once, no row twice in a glob, nothing referred to is
//! ever deleted.
#![allow(clippy::unwrap_used)]

mod world;

use proptest::prelude::*;
use std::time::Duration;
use strandline_cell::Submission;
use strandline_commands::MoveLogStart;
use strandline_object_store::{FaultRates, Operation};
use strandline_runtime::SeededRandom;
use world::World;

#[derive(Debug, Clone, Copy)]
enum Step {
    Produce(i32, usize),
    Convert,
    Merge,
    Seal(bool),
    Manifest,
    Retain,
    Collect,
    Sweep,
    CopyLog,
    Snapshot,
    MoveLogStart(i32, u8),
    Wait(u32),
    Restart,
    Faults(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0_i32..3, 1_usize..6).prop_map(|(partition, records)| Step::Produce(partition, records)),
        4 => Just(Step::Convert),
        2 => Just(Step::Merge),
        2 => any::<bool>().prop_map(Step::Seal),
        1 => Just(Step::Manifest),
        1 => Just(Step::Retain),
        2 => Just(Step::Collect),
        1 => Just(Step::Sweep),
        1 => Just(Step::CopyLog),
        1 => Just(Step::Snapshot),
        1 => (0_i32..3, 0_u8..=100).prop_map(|(partition, percent)| Step::MoveLogStart(partition, percent)),
        2 => prop_oneof![Just(1_u32), Just(100), Just(1_000), Just(90_000)].prop_map(Step::Wait),
        1 => Just(Step::Restart),
        1 => prop_oneof![Just(0_u64), Just(100), Just(300)].prop_map(Step::Faults),
    ];
    prop::collection::vec(step, 1..60)
}

async fn run(steps: Vec<Step>, seed: u64) {
    let mut world = World::new(seed);
    let mut node = world.start().await;
    let configs = [
        ("retention.ms", "200000000"),
        ("strandline.bronze.retention.ms", "400000000"),
        ("strandline.bronze.seal.ms", "3600000"),
    ];
    let topic = world.create_topic(&node, 7, "t", 3, &configs).await;
    let mut rates = 0;
    for step in steps {
        // A step may fail; what it leaves behind may not be wrong.
        match step {
            Step::Produce(partition, records) => {
                world.produce(&node, topic, partition, records).await;
            }
            Step::Convert => drop(node.compactor.convert_once(topic).await),
            Step::Merge => drop(node.compactor.merge_once(topic).await),
            Step::Seal(force) => drop(node.compactor.seal_once(topic, force).await),
            Step::Manifest => drop(node.compactor.write_manifest_once(topic).await),
            Step::Retain => drop(node.compactor.retain_once().await),
            Step::Collect => drop(node.compactor.collect_once().await),
            Step::Sweep => drop(node.compactor.sweep_once().await),
            Step::CopyLog => drop(node.compactor.copy_log_once().await),
            Step::Snapshot => drop(node.compactor.snapshot_once(true).await),
            Step::MoveLogStart(partition, percent) => {
                let next = node.cell.view().topics[&topic].partitions[partition as usize].next_offset;
                let command = MoveLogStart { topic_id: topic.0.to_vec(), partition, to: next * i64::from(percent) / 100 };
                node.cell.submit(Submission::one(command)).await.unwrap();
            }
            Step::Wait(seconds) => world.runtime.sleep(Duration::from_secs(seconds.into())).await,
            Step::Restart => {
                node.kill();
                node = world.start().await;
            }
            Step::Faults(per_thousand) => rates = per_thousand,
        }
        // Checks look without faults; late requests land all the same.
        world.faults.clear();
        world.check(&node, false).await;
        let longest = Duration::from_secs(30);
        let rates = FaultRates { before: rates, after: rates, late: rates / 2, longest, ..FaultRates::default() };
        world.faults.set_rates(rates, std::sync::Arc::new(SeededRandom::new(seed ^ world.faults.calls(Operation::Put))));
    }
    world.faults.clear();
    node.kill();
    let node = world.start().await;
    node.compactor.seal_everything(topic).await.unwrap();
    world.check(&node, false).await;
    node.compactor.write_manifest_once(topic).await.unwrap();
    world.check_manifest(&node, topic).await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]
    #[test]
    fn random_work_keeps_every_answer(steps in steps(), seed: u64) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(run(steps, seed));
    }
}
