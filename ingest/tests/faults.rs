//! PUTs and appends that fail by chance: whatever happens, what was acknowledged is there once and in order, what was
//! refused is not, and nothing overtakes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says where")]

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;
use strandline_commit_log::memory::FaultRates as LogFaultRates;
use strandline_object_store::FaultRates;
use strandline_types::limits;
use strandline_wire::ErrorCode;
use support::*;

const PARTITIONS: i32 = 3;

#[derive(Debug, Clone)]
struct Sent {
    partition: i32,
    name: String,
    taken_in: Duration,
    /// When and what.
    answered: Option<(Duration, ErrorCode, i64)>,
}

async fn run(seed: u64) -> [usize; 2] {
    let node = Node::buffered_with_seed(seed).await;
    let random = node.runtime.random.clone();
    let class = ["standard", "relaxed", "express"][random.below(3) as usize];
    let id = node.topic("a", PARTITIONS, &[("strandline.latency", class)]).await;
    let longest = Duration::from_millis(900);
    node.faults.set_rates(FaultRates { before: 60, after: 60, late: 60, delay: 400, full: 20, longest }, random.clone());
    node.log.faults().set_rates(LogFaultRates {
        ambiguous_before: 300,
        ambiguous_after: 300,
        unavailable: 300,
        ..LogFaultRates::default()
    });
    let sent: Arc<Mutex<Vec<Sent>>> = Arc::default();
    let connection = connection(&node);
    for at in 0..80_usize {
        let partition = random.below(PARTITIONS as u64) as i32;
        let size = [10, 3_000, 20_000, limits::ENTRY_INLINE_BYTES + 1][random.below(4) as usize];
        let name = format!("{at:03}");
        let bytes = batch(&[&format!("{name}{}", "x".repeat(size))]);
        let pending = connection.accept(&caller(), 9, request(&[("a", partition, bytes)]), usize::MAX).await;
        let clock = node.runtime.clock.clone();
        sent.lock().unwrap().push(Sent { partition, name, taken_in: clock.monotonic(), answered: None });
        let answers = sent.clone();
        node.runtime.spawner.spawn("answer", async move {
            let response = pending.answer().await.response;
            let answer = (clock.monotonic(), error(&response, 0, 0), support::partition(&response, 0, 0).base_offset);
            answers.lock().unwrap()[at].answered = Some(answer);
        });
        tokio::time::sleep(Duration::from_millis(random.below(120))).await;
    }
    node.faults.clear();
    node.log.faults().set_rates(LogFaultRates::default());
    tokio::time::sleep(limits::REQUEST_WAIT * 2).await;
    let sent = sent.lock().unwrap().clone();
    check(&node, id, &sent).await;
    let answered =
        |wanted: ErrorCode| sent.iter().filter(|sent| sent.answered.is_some_and(|(_, code, _)| code == wanted)).count();
    [ErrorCode::None, ErrorCode::KafkaStorageError].map(answered)
}

async fn check(node: &Node, id: strandline_types::TopicId, sent: &[Sent]) {
    for partition in 0..PARTITIONS {
        let found: Vec<(i64, String)> =
            node.values(id, partition).await.into_iter().map(|(offset, value)| (offset, value[..3].to_owned())).collect();
        assert!(found.is_sorted_by(|a, b| a.1 < b.1), "in the order of intake, none twice: {found:?}");
        let of_partition: Vec<&Sent> = sent.iter().filter(|sent| sent.partition == partition).collect();
        for (at, sent) in of_partition.iter().enumerate() {
            let (when, code, offset) = sent.answered.unwrap();
            let there = found.iter().find(|(_, name)| *name == sent.name).map(|(offset, _)| *offset);
            match code {
                ErrorCode::None => assert_eq!(there, Some(offset), "{} was acknowledged", sent.name),
                ErrorCode::KafkaStorageError => {
                    assert_eq!(there, None, "{} was refused", sent.name);
                    for later in of_partition[at + 1..].iter().filter(|later| later.taken_in < when) {
                        assert!(!found.iter().any(|(_, name)| *name == later.name), "{later:?} overtook {sent:?}");
                    }
                }
                ErrorCode::RequestTimedOut => {}
                other => panic!("{}: {other}", sent.name),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_fails_nothing_is_lost_doubled_or_overtaken() {
    let mut all = [0; 2];
    for seed in 0..40 {
        let more = run(seed).await;
        all.iter_mut().zip(more).for_each(|(all, more)| *all += more);
    }
    // Of those that are in doubt nothing can be said: they do not count.
    let [good, refused] = all;
    assert!(good > 1_000 && refused > 100, "the faults were too few or too many: {good} good, {refused} refused");
}
