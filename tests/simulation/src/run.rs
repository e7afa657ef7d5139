//! One run: start, work under faults, come to rest, check.

use crate::alarms::Listening;
use crate::chaos::{chaos, supervise, weather};
use crate::check::take_cries;
use crate::clients::{
    Idempotent, Loner, Team, administer, administer_groups, commit_offsets, consume, goes_on, offsets_are_kept, operate, produce,
    read_all_at_once, take_part,
};
use crate::dice::Dice;
use crate::final_checks::{agree, bucket, nothing_is_held, read_everything, read_over_connections, retention, seal_everything};
use crate::gauges::Gauges;
use crate::leftovers::{Before, conversion, leftovers, upkeep_by_hand};
use crate::manifests::{manifests, nothing_is_listed_twice};
use crate::mutation::Mutation;
use crate::shape::Shape;
use crate::world::World;
use futures::FutureExt;
use futures::future::{BoxFuture, LocalBoxFuture, join_all};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use strandline_index::digest;

/// What a run without a violation was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Lines of the history, and their digest.
    pub history: (u64, u64),
    /// The digest of the index at the end.
    pub index: [u8; 32],
    /// Entries of the log.
    pub entries: u64,
    /// Records acknowledged, and seen by consumers.
    pub records: (usize, usize),
    /// Records acknowledged, and answers with records to consumers, while things went wrong.
    pub at_work: (u64, u64),
    /// How often each kind of fault and of step happened while things went wrong, by its words; what never did may be missing.
    pub happened: BTreeMap<&'static str, u64>,
    /// The gauges of memory that were ever above zero.
    pub moved: Vec<&'static str>,
    /// Virtual time that it took.
    pub took: Duration,
}

/// The longest a run may take, in virtual time: beyond it, something waits without an end (I11).
const LONGEST: Duration = Duration::from_secs(4 * 3_600);

/// Runs a seed.
///
/// # Errors
/// What must never be and was, with the last lines of the history.
pub fn run_seed(seed: u64) -> Result<Finished, String> {
    run_mutated(seed, None)
}

/// Runs a seed with a rule switched off.
///
/// # Errors
/// As [`run_seed`].
pub fn run_mutated(seed: u64, mutation: Option<Mutation>) -> Result<Finished, String> {
    simulate(seed, mutation, Shape::of(seed, mutation), |world| async move { run(&world).await }.boxed_local())
}

/// Runs a seed as with this rule switched off, and does not switch it off.
///
/// # Errors
/// As [`run_seed`].
pub fn run_control(seed: u64, mutation: Mutation) -> Result<Finished, String> {
    simulate(seed, None, Shape::of(seed, Some(mutation)), |world| async move { run(&world).await }.boxed_local())
}

/// Lets `work` happen in a world of that shape.
pub(crate) fn simulate(
    seed: u64,
    mutation: Option<Mutation>,
    shape: Shape,
    work: impl FnOnce(Arc<World>) -> LocalBoxFuture<'static, ()>,
) -> Result<Finished, String> {
    let _listening = Listening::start();
    let gauges = Gauges::default();
    let _shown = metrics::set_default_local_recorder(&gauges);
    #[cfg(feature = "mutations")]
    strandline_types::mutations::switch_off(match mutation {
        Some(Mutation::Rule(rule)) => Some(rule),
        _ => None,
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .map_err(|error| error.to_string())?;
    let result = runtime.block_on(async {
        let world = World::new(seed, mutation, shape, gauges.clone());
        if tokio::time::timeout(LONGEST, work(world.clone())).await.is_err() {
            world.core.fail("the run does not end: something waits for ever (I11)");
        }
        take_cries(&world);
        for slot in 0..world.shape.nodes {
            world.kill(slot);
        }
        match world.core.failure() {
            Some(failure) => Err(format!(
                "{failure}\n\nthe last of {} lines:\n{}\n\n{failure}\n{:?}",
                world.core.digest().0,
                world.core.last_lines(120),
                world.shape
            )),
            None => Ok(finished(&world)),
        }
    });
    runtime.shutdown_background();
    result
}

fn finished(world: &World) -> Finished {
    let oracle = world.core.oracle();
    Finished {
        history: world.core.digest(),
        index: digest(oracle.index()),
        entries: oracle.index().cell.seq.0,
        records: world.core.ledger().counts(),
        at_work: world.core.at_work(),
        happened: world.core.happened(),
        moved: world.core.gauges.moved(),
        took: world.core.clock().monotonic(),
    }
}

async fn run(world: &Arc<World>) {
    let dice = Dice::new(world.seed, 4);
    let (rest, resting) = tokio::sync::watch::channel(false);
    for slot in 0..world.shape.nodes {
        world.start_node(slot, |log, faults| weather(world, &dice, log, faults)).await;
    }
    let work = async {
        work(world, &dice).await;
        let _ = rest.send(true);
    };
    futures::join!(supervise(world.clone(), resting), work);
}

async fn work(world: &Arc<World>, dice: &Dice) {
    for at in 0..dice.between(1, 2) {
        world.create_topic(dice, &format!("topic-{at}")).await;
    }
    let stop = async {
        world.core.runtime.sleep(world.shape.active).await;
        world.end();
    };
    let mut idempotent: Vec<BoxFuture<'_, Option<Idempotent>>> = Vec::new();
    for at in 0..dice.between(1, 3) as u32 {
        idempotent.push(Box::pin(async move {
            let mut last = None;
            // Other topics after those that were deleted.
            for round in 0..4 {
                let producer = Idempotent::start(world.clone(), 100 + at * 10 + round).await?;
                last = producer.run().await;
                if last.is_some() {
                    break;
                }
            }
            last
        }));
    }
    let mut clients: Vec<BoxFuture<'_, ()>> = Vec::new();
    for at in 0..dice.between(1, 3) as u32 {
        clients.push(produce(world.clone(), 1 + at).boxed());
    }
    for at in 0..dice.between(1, 3) as u32 {
        clients.push(consume(world.clone(), at).boxed());
    }
    let loners: Vec<_> = (0..2).map(Loner::new).collect();
    for loner in &loners {
        clients.push(commit_offsets(world.clone(), loner.clone()).boxed());
    }
    let teams: Vec<_> = world.topics().into_iter().zip(0..).map(|(topic, number)| Team::new(world, number, topic)).collect();
    for team in &teams {
        for at in 0..dice.between(1, 3) as u32 {
            clients.push(take_part(world.clone(), team.clone(), at).boxed());
        }
    }
    clients.push(administer(world.clone()).boxed());
    clients.push(administer_groups(world.clone(), loners.clone(), teams.clone()).boxed());
    clients.push(operate(world.clone()).boxed());
    clients.push(chaos(world.clone()).boxed());
    let (_, producers, _) = futures::join!(stop, join_all(idempotent), join_all(clients));
    if world.core.has_failed() {
        return;
    }
    come_to_rest(world).await;
    for producer in producers.into_iter().flatten() {
        producer.finish().await;
    }
    let late = |round| join_all(teams.iter().map(move |team| goes_on(world.clone(), team.clone(), round)));
    late(0).await;
    verify(world).await;
    if !world.core.has_failed() {
        // Also after the restart of a node that may have been its coordinator.
        late(1).await;
        join_all(loners.iter().map(|loner| offsets_are_kept(world, loner))).await;
    }
}

/// Those of every node; one that was starting has the faults of its start.
fn end_faults(world: &World) {
    for node in world.live() {
        node.log_gate.set_paused(false);
        node.gate.set_paused(false);
        node.log.faults().forget_orders();
        node.log.faults().set_rates(Default::default());
        node.log.faults().set_delays(Default::default());
        node.log.faults().set_full(false);
        node.faults.clear();
    }
}

/// No more faults; what is paused goes on, what is dead comes back, and is declared gone.
pub(crate) async fn come_to_rest(world: &Arc<World>) {
    world.calm_down();
    for (clock, slot) in world.clocks.iter().zip(0..) {
        world.core.oracle().retention.clock_is_ahead(slot, 0);
        clock.set_skew_ms(0);
    }
    if let Some(disk) = &world.disk {
        // A new life of the disk has none of the faults that were ordered.
        disk.set_capacity(None);
        world.kill(0);
    }
    for _ in 0..300 {
        end_faults(world);
        world.core.runtime.sleep(Duration::from_secs(1)).await;
        let all = world.live().len() == world.shape.nodes && world.live().iter().all(|node| !node.cell.is_stopped());
        if (all && !world.has_graves()) || world.core.has_failed() {
            break;
        }
    }
    end_faults(world);
    // Whatever is on its way arrives.
    world.core.runtime.sleep(Duration::from_secs(100)).await;
    // A snapshot moves the floor past a node that has not read the last entries yet (A11 is not kept yet): it joins anew.
    for _ in 0..30 {
        if world.live().len() == world.shape.nodes || world.core.has_failed() {
            break;
        }
        world.core.runtime.sleep(Duration::from_secs(1)).await;
    }
    if world.live().len() != world.shape.nodes {
        world.core.fail("a node does not come back, without any fault");
    }
    world.core.trace("all is quiet");
}

/// At all that there is, in answers of so many bytes.
async fn look(world: &Arc<World>, max_bytes: usize) {
    agree(world).await;
    retention(world).await;
    read_everything(world, max_bytes).await;
    read_over_connections(world, max_bytes).await;
    bucket(world).await;
    manifests(world).await;
    nothing_is_listed_twice(world).await;
}

pub(crate) async fn verify(world: &Arc<World>) {
    conversion(world);
    nothing_is_held(world).await;
    look(world, 40_000).await;
    read_all_at_once(world, 20_000).await;
    if world.core.has_failed() {
        return;
    }
    world.core.trace("sealing everything");
    seal_everything(world).await;
    look(world, 5_000).await;
    if world.core.has_failed() {
        return;
    }
    // The garbage goes, and a node begins anew from what is left.
    world.core.trace("waiting for the garbage to go");
    let before = Before::of(world);
    world.core.runtime.sleep(Duration::from_secs(120)).await;
    leftovers(world, &before, false).await;
    upkeep_by_hand(world).await;
    leftovers(world, &before, true).await;
    world.kill(0);
    for _ in 0..60 {
        world.core.runtime.sleep(Duration::from_secs(1)).await;
        if world.live().len() == world.shape.nodes && !world.has_graves() {
            break;
        }
    }
    look(world, 1 << 20).await;
    if !world.core.has_failed() {
        read_all_at_once(world, 60_000).await;
    }
}
