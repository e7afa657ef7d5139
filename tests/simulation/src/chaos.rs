//! What goes wrong: crashes, pauses, lost replies, rivals, full disks, slow stores, wrong clocks; and who puts it right.

use crate::dice::Dice;
use crate::happenings::Happening;
use crate::node::Node;
use crate::world::World;
use std::sync::Arc;
use std::time::Duration;
use strandline_commands::{EntryBody, encode};
use strandline_commit_log::memory::{AppendFault, Delay, Delays, FaultRates as LogRates, Rival};
use strandline_commit_log::{Entry, MemoryCommitLog, Payload};
use strandline_object_store::{FaultPlan, FaultRates as StoreRates};

/// Errors of the system, as numbers.
const ENOSPC: i32 = 28;
const EIO: i32 = 5;

/// The faults that a node lives with from its start.
pub(crate) fn weather(world: &World, dice: &Dice, log: &MemoryCommitLog, faults: &FaultPlan) {
    if world.is_calm() || world.shape.directed {
        return;
    }
    let rough = dice.below(4);
    let late = if world.shape.sole { 0 } else { 40 * rough };
    log.faults().set_rates(LogRates {
        unavailable: 40 * rough,
        ambiguous_before: 40 * rough,
        ambiguous_after: 40 * rough,
        late,
        late_by: dice.millis(100, 8_000),
        read_unavailable: 60 * rough,
    });
    let delay = |from, to| Delay { from: Duration::from_micros(from), to: Duration::from_micros(to) };
    log.faults().set_delays(Delays {
        before_append: delay(200, 4_000 + 3_000 * rough),
        after_append: delay(100, 4_000),
        between_rows_and_floor: delay(0, 2_000 * rough),
    });
    let slow = dice.chance(15) || world.shape.slow_store;
    let rates = StoreRates {
        before: 6 * rough,
        after: 6 * rough,
        late: 6 * rough,
        delay: 350,
        full: 2 * rough,
        longest: dice.millis(20, 120) * if slow { 40 } else { 1 },
    };
    faults.set_rates(rates, dice.random());
}

/// A writer that takes the seq first, with an entry that asks for nothing.
fn rival(world: &Arc<World>) -> Rival {
    let core = world.core.clone();
    Arc::new(move |_, entry: &Entry| {
        core.count(Happening::Rivals);
        let body = EntryBody {
            time_ms: core.clock().now_ms(),
            hash_before: entry.hash_before.0.to_vec(),
            cell_epoch: 1,
            ..EntryBody::default()
        };
        Entry { hash_before: entry.hash_before, bytes: encode(&body).unwrap(), payload: Payload::default() }
    })
}

/// Plans what goes wrong until the run ends.
pub(crate) async fn chaos(world: Arc<World>) {
    let dice = Dice::new(world.seed, 10);
    while !world.is_ending() {
        world.core.runtime.sleep(dice.millis(300, 9_000)).await;
        if world.is_ending() {
            break;
        }
        let Some(node) = world.any_node(&dice) else { continue };
        // Most who sleep are left to wake up.
        if !node.log_gate.is_open() && (world.shape.long_sleeps || dice.chance(70)) {
            continue;
        }
        match dice.below(12) {
            0..=3 => {
                world.core.count(Happening::Crashes);
                world.kill(node.slot);
            }
            4 => {
                world.core.count(Happening::Stops);
                world.stop(node.slot).await;
            }
            5 | 6 => pause(&world, &dice, &node).await,
            7 if !world.shape.sole => {
                world.core.trace(format!("{} meets rivals", node.name()));
                node.log.faults().conflict_storm(dice.between(1, 12), rival(&world));
            }
            8 if !world.shape.sole => {
                world.core.trace(format!("{}: an append lands twice, another late", node.name()));
                world.core.count(Happening::DoubledAppends);
                node.log.faults().on_append(dice.between(1, 3), AppendFault::Twice(dice.millis(1, 60_000)));
                let (reply, land) = (dice.millis(1, 20_000), dice.millis(1, 90_000));
                node.log.faults().on_append(dice.between(4, 8), AppendFault::Late { reply, land });
            }
            7..=9 if world.disk.is_some() => fail_the_disk(&world, &dice).await,
            9 => {
                world.core.trace(format!("{} has no room", node.name()));
                world.core.count(Happening::FullLogs);
                node.log.faults().set_full(true);
                world.core.runtime.sleep(dice.millis(200, 6_000)).await;
                node.log.faults().set_full(false);
            }
            10 if world.shape.skew => set_clock(&world, &dice, node.slot),
            10 if world.disk.is_some() => fail_the_disk(&world, &dice).await,
            _ => {
                world.core.trace(format!("{} sees other weather", node.name()));
                weather(&world, &dice, &node.log, &node.faults);
            }
        }
    }
}

/// Sets the clock of a slot to another time, or right.
fn set_clock(world: &World, dice: &Dice, slot: usize) {
    let day = 86_400_000;
    let skew_ms = *dice.pick(&[day, -day, 3_600_000, -3_600_000, 0, 5_000]).unwrap_or(&0);
    world.core.trace(format!("the clock of slot {slot} is wrong by {skew_ms} ms"));
    if skew_ms != 0 {
        world.core.count(if skew_ms > 0 { Happening::ClocksAhead } else { Happening::ClocksBehind });
    }
    world.core.oracle().retention.clock_is_ahead(slot, skew_ms);
    world.clocks[slot].set_skew_ms(skew_ms);
}

/// What a disk does to a node that stands on it alone.
async fn fail_the_disk(world: &World, dice: &Dice) {
    let Some(disk) = &world.disk else { return };
    let bytes = dice.below(6_000);
    match dice.below(5) {
        0 => {
            world.core.trace("the disk is full");
            world.core.count(Happening::FullDisks);
            disk.set_capacity(Some(0));
            world.core.runtime.sleep(dice.millis(200, 6_000)).await;
            disk.set_capacity(None);
        }
        1 => {
            world.core.trace(format!("a write fails after {bytes} bytes"));
            world.core.count(Happening::FailedWrites);
            disk.fail_write_after(bytes, *dice.pick(&[ENOSPC, EIO]).unwrap_or(&EIO));
        }
        2 => {
            world.core.trace("a sync fails");
            world.core.count(Happening::FailedSyncs);
            disk.fail_sync(dice.between(1, 4));
        }
        _ => {
            // In the middle of something: the frame that is being written is torn.
            world.core.trace("the power goes soon");
            world.core.count(Happening::PowerCuts);
            disk.turn_off_after(dice.below(40));
        }
    }
}

/// Longer than every lease.
const LONG_PAUSE: Duration = Duration::from_secs(31);

fn count_pause(world: &World, length: Duration, whole: bool) {
    world.core.count(if whole { Happening::Pauses } else { Happening::PausesFromTheLog });
    if length >= LONG_PAUSE {
        world.core.count(Happening::LongPauses);
    }
}

/// Stands still for a while; others may say meanwhile that it is gone.
async fn pause(world: &Arc<World>, dice: &Dice, node: &Arc<Node>) {
    let length = if dice.chance(35) { dice.millis(31_000, 100_000) } else { dice.millis(200, 12_000) };
    // A node that sleeps until what it knows is trimmed, with a commit on its way.
    let sleeps = world.shape.long_sleeps;
    let length = if sleeps { dice.millis(100_000, 140_000) } else { length };
    // Now and then it is the network to the log alone.
    let whole = dice.chance(70) && !sleeps;
    world.core.trace(format!(
        "{} is paused for {} ms, {}",
        node.name(),
        length.as_millis(),
        if whole { "whole" } else { "from the log" }
    ));
    count_pause(world, length, whole);
    node.log_gate.set_paused(true);
    node.gate.set_paused(whole);
    let (world, dice, node) = (world.clone(), dice.clone(), node.clone());
    let zombie = dice.chance(50);
    let spawner = world.core.runtime.spawner.clone();
    spawner.spawn("pause", async move {
        let half = length / 2;
        world.core.runtime.sleep(half).await;
        if zombie
            && let Some(other) = world.live().into_iter().find(|other| other.slot != node.slot && other.gate.is_open())
            && world.declare_gone(&other, node.cell.incarnation()).await
        {
            world.core.count(Happening::Zombies);
        }
        world.core.runtime.sleep(length - half).await;
        if !node.gate.is_dead() {
            world.core.trace(format!("{} goes on", node.name()));
            node.log_gate.set_paused(false);
            node.gate.set_paused(false);
        }
    });
}

/// Puts right what can be: starts nodes, ends those that cannot serve, declares the dead gone. Goes on until all is quiet.
pub(crate) async fn supervise(world: Arc<World>, until: tokio::sync::watch::Receiver<bool>) {
    let dice = Dice::new(world.seed, 11);
    while !*until.borrow() && !world.core.has_failed() {
        for slot in 0..world.shape.nodes {
            match world.node(slot) {
                Some(node) if node.cell.is_stopped() => {
                    world.core.count(Happening::GivenUp);
                    world.kill(slot);
                }
                Some(_) => {}
                None if world.is_calm() || dice.chance(30) => {
                    world.start_node(slot, |log, faults| weather(&world, &dice, log, faults)).await;
                }
                None => {}
            }
        }
        world.find_strays();
        if world.has_graves() && (world.is_calm() || dice.chance(25)) {
            world.bury(&dice).await;
        }
        crate::check::check_now(&world);
        let wait = dice.millis(100, 1_500);
        world.core.runtime.sleep(wait).await;
    }
}
