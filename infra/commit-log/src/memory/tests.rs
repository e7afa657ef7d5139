use super::*;
use crate::conformance::{self, entry, floor_at};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn log() -> MemoryCommitLog {
    MemoryCommitLog::new(Runtime::simulated(1, 0))
}

async fn head_read(log: &MemoryCommitLog) -> u64 {
    match log.read(Seq(1), 1 << 20).await.unwrap() {
        Tail::Rows { rows, head, .. } => {
            assert_eq!(rows.len() as u64, head.0);
            head.0
        }
        Tail::Trimmed { floor } => panic!("trimmed up to {}", floor.seq),
    }
}

#[tokio::test(start_paused = true)]
async fn it_keeps_the_promises_of_a_commit_log() {
    conformance::run(async || log()).await.unwrap();
    conformance::run(async || log().taking_any_payload(false)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_suite_finds_a_log_that_lies() {
    // Each of these breaks one promise; the suite must name a check.
    let ambiguous = conformance::run(async || {
        let log = log();
        log.faults().on_append(3, AppendFault::AmbiguousBefore);
        log
    });
    assert_eq!(ambiguous.await.unwrap_err().check, "appends_are_read_in_order");
    let holes = conformance::run(async || MemoryCommitLog::with_semantics(Runtime::simulated(1, 0), Semantics::ConditionalPut));
    assert_eq!(holes.await.unwrap_err().check, "a_seq_beyond_the_next_is_a_gap");
    let stale = conformance::run(async || {
        let log = log();
        let slow = Delays { between_rows_and_floor: Delay::always(SECOND), ..Delays::default() };
        log.faults().set_delays(slow);
        log.faults().on_append(1, AppendFault::Rival(Arc::new(|_, _| entry(77, 1, 0))));
        log
    });
    assert_eq!(stale.await.unwrap_err().check, "appends_are_read_in_order");
}

#[tokio::test(start_paused = true)]
async fn faults_strike_the_append_they_were_ordered_for() {
    let log = log();
    let other = log.for_node();
    log.faults().on_append(2, AppendFault::Unavailable);
    log.faults().on_append(3, AppendFault::AmbiguousBefore);
    log.faults().on_append(4, AppendFault::AmbiguousAfter);
    log.append(Seq(1), entry(1, 5, 0)).await.unwrap();
    assert!(matches!(log.append(Seq(2), entry(2, 5, 0)).await, Err(AppendError::Unavailable { .. })));
    assert!(matches!(log.append(Seq(2), entry(2, 5, 0)).await, Err(AppendError::Ambiguous { .. })));
    assert_eq!(head_read(&log).await, 1);
    assert!(matches!(log.append(Seq(2), entry(2, 5, 0)).await, Err(AppendError::Ambiguous { .. })));
    assert_eq!(head_read(&log).await, 2);
    // The other node's handle was never touched, and sees the same log.
    assert_eq!((head_read(&other).await, other.faults().appends(), log.faults().appends()), (2, 0, 4));
    other.append(Seq(3), entry(3, 5, 0)).await.unwrap();
    log.faults().on_append(1, AppendFault::Fatal);
    for _ in 0..2 {
        assert!(matches!(log.append(Seq(4), entry(4, 5, 0)).await, Err(AppendError::Fatal { .. })));
    }
    other.append(Seq(4), entry(4, 5, 0)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn late_and_doubled_requests_land_when_they_were_ordered_to() {
    let log = log();
    log.faults().on_append(1, AppendFault::Late { reply: SECOND, land: 5 * SECOND });
    assert!(matches!(log.append(Seq(1), entry(1, 5, 0)).await, Err(AppendError::Ambiguous { .. })));
    assert_eq!(log.runtime.clock.monotonic(), SECOND);
    assert_eq!(log.head(), Seq(0));
    log.runtime.sleep(5 * SECOND).await;
    assert_eq!(log.head(), Seq(1));
    log.faults().on_append(1, AppendFault::LostReply(SECOND));
    assert!(matches!(log.append(Seq(2), entry(2, 5, 0)).await, Err(AppendError::Ambiguous { .. })));
    log.faults().on_append(1, AppendFault::Twice(SECOND));
    log.append(Seq(3), entry(3, 5, 0)).await.unwrap();
    log.runtime.sleep(2 * SECOND).await;
    assert_eq!(log.head(), Seq(3));
}

#[tokio::test(start_paused = true)]
async fn a_conflict_storm_lets_rivals_win() {
    let log = log();
    log.faults().conflict_storm(3, Arc::new(|seq, ours| Entry { hash_before: ours.hash_before, ..entry(900 + seq.0, 7, 0) }));
    for seq in 1..=3 {
        match log.append(Seq(seq), entry(seq, 5, 0)).await {
            Err(AppendError::Conflict { winner }) => {
                assert_eq!(winner.bytes, entry(900 + seq, 7, 0).bytes);
                assert_eq!(winner.hash_before, entry(seq, 5, 0).hash_before);
            }
            other => panic!("{other:?}"),
        }
    }
    log.append(Seq(4), entry(4, 5, 0)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_paused_node_hears_later_what_took_effect_before() {
    let log = log();
    let slow = Delays { after_append: Delay::always(SECOND), ..Delays::default() };
    log.faults().set_delays(slow);
    let appending = log.append(Seq(1), entry(1, 5, 0));
    let other = log.for_node();
    let meanwhile = async {
        log.runtime.sleep(SECOND / 2).await;
        log.faults().pause();
        assert_eq!(other.head(), Seq(1));
        log.runtime.sleep(60 * SECOND).await;
        log.faults().resume();
    };
    let (answer, ()) = tokio::join!(appending, meanwhile);
    answer.unwrap();
    assert_eq!(log.runtime.clock.monotonic(), 60 * SECOND + SECOND / 2);
}

#[tokio::test(start_paused = true)]
async fn reads_fail_and_full_spares_small_entries() {
    let log = log();
    log.faults().set_full(true);
    assert!(!log.has_room() && log.for_node().has_room());
    assert!(matches!(log.append(Seq(1), entry(1, 5, 9)).await, Err(AppendError::Full { .. })));
    log.append(Seq(1), entry(1, 5, 0)).await.unwrap();
    log.faults().on_read(2, ReadFault::Unavailable);
    log.faults().on_read(3, ReadFault::Delayed(SECOND));
    log.floor().await.unwrap();
    assert!(matches!(log.read(Seq(1), 1).await, Err(ReadError::Unavailable { .. })));
    assert_eq!(log.runtime.clock.monotonic(), Duration::ZERO);
    log.read_payload(Seq(1), 0..0).await.unwrap();
    assert_eq!(log.runtime.clock.monotonic(), SECOND);
    log.faults().set_reads_down(true);
    assert!(matches!(log.floor().await, Err(ReadError::Unavailable { .. })));
    log.faults().set_reads_down(false);
    log.floor().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_trim_between_rows_and_floor_is_told() {
    let log = log();
    for seq in 1..=4 {
        log.append(Seq(seq), entry(seq, 5, 0)).await.unwrap();
    }
    let slow = Delays { between_rows_and_floor: Delay::always(SECOND), ..Delays::default() };
    log.faults().set_delays(slow);
    let other = log.for_node();
    let trimming = async {
        log.runtime.sleep(SECOND / 2).await;
        other.raise_floor(Floor::default(), floor_at(3)).await.unwrap();
        other.trim(Seq(3)).await.unwrap();
    };
    let (tail, ()) = tokio::join!(log.read(Seq(1), 1_000), trimming);
    assert_eq!(tail.unwrap(), Tail::Trimmed { floor: floor_at(3) });
    assert!(log.stored(Seq(2)).is_none() && log.stored(Seq(3)).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_conditional_put_takes_what_the_node_must_refuse() {
    let log = MemoryCommitLog::with_semantics(Runtime::simulated(1, 0), Semantics::ConditionalPut);
    for seq in 1..=4 {
        log.append(Seq(seq), entry(seq, 5, 0)).await.unwrap();
    }
    log.raise_floor(Floor::default(), floor_at(5)).await.unwrap();
    log.trim(Seq(5)).await.unwrap();
    // A1: told yes in the trimmed range, and nobody reads it. A12: a hole, past which nobody reads.
    log.append(Seq(2), entry(2, 5, 0)).await.unwrap();
    log.append(Seq(6), entry(6, 5, 0)).await.unwrap();
    assert!(matches!(log.read(Seq(2), 9).await.unwrap(), Tail::Trimmed { .. }));
    let past_the_hole = Tail::Rows { rows: vec![], head: Seq(4), store_time_ms: None };
    assert_eq!(log.read(Seq(5), 9).await.unwrap(), past_the_hole);
    log.append(Seq(5), entry(5, 5, 0)).await.unwrap();
    assert_eq!(log.head(), Seq(6));
}

#[tokio::test(start_paused = true)]
async fn faults_by_chance_follow_the_seed_and_their_rates() {
    let history = |seed| async move {
        let log = MemoryCommitLog::new(Runtime::simulated(seed, 0)).telling_time(true);
        log.faults().set_rates(FaultRates {
            unavailable: 1_000,
            ambiguous_before: 1_000,
            ambiguous_after: 1_000,
            late: 1_000,
            late_by: SECOND,
            read_unavailable: 3_000,
        });
        let (mut answers, mut seq) = (Vec::new(), 1);
        for _ in 0..400 {
            let answer = log.append(Seq(seq), entry(seq, 5, 0)).await;
            answers.push(answer.as_ref().map_or_else(|error| error.to_string(), |()| "ok".into()));
            answers.push(format!("{:?}", log.floor().await.is_ok()));
            seq = log.head().0 + 1;
        }
        answers
    };
    let first = history(7).await;
    assert_eq!(first, history(7).await);
    assert_ne!(first, history(8).await);
    let count = |what: &str| first.iter().filter(|answer| answer.contains(what)).count();
    assert!((20..80).contains(&count("ordered by the test")), "{}", count("ordered by the test"));
    assert!((80..170).contains(&count("not known")), "{}", count("not known"));
    assert!((70..170).contains(&count("false")), "{}", count("false"));
}
