//! The suite that every commit log runs, a third one too: what [`crate::CommitLog`] promises, as checks.
//!
//! ```ignore
//! conformance::run(async || MyLog::new()).await?;
//! ```

use crate::{AppendError, CommitLog, Entry, Floor, FloorError, Payload, ReadAgain, ReadError, Row, SnapshotRef, Tail, TrimError};
use bytes::Bytes;
use std::sync::Arc;
use strandline_types::{ChainHash, Seq, limits};

/// A promise that was not kept.
#[derive(Debug, thiserror::Error)]
#[error("the commit log breaks its promise `{check}`: {what}")]
pub struct Broken {
    /// The check.
    pub check: &'static str,
    /// What was found.
    pub what: String,
}

type Checked = Result<(), String>;

macro_rules! ensure {
    ($condition:expr, $($what:tt)+) => {
        if !$condition {
            return Err(format!($($what)+));
        }
    };
}

/// Runs every check, each on a new and empty log from `make_log`.
pub async fn run<L: CommitLog>(make_log: impl AsyncFn() -> L) -> Result<(), Broken> {
    macro_rules! checks {
        ($($check:ident),+ $(,)?) => {$(
            let log = Arc::new(make_log().await);
            $check(log).await.map_err(|what| Broken { check: stringify!($check), what })?;
        )+};
    }
    checks!(
        an_empty_log_reads_empty,
        appends_are_read_in_order,
        a_taken_seq_names_its_winner,
        a_seq_beyond_the_next_is_a_gap,
        pages_have_no_gaps,
        the_floor_moves_up_and_conditionally,
        trim_stays_below_the_floor,
        what_was_trimmed_says_so,
        rows_are_read_before_the_floor,
        payloads_are_read_by_range,
        limits_are_kept,
        one_appender_wins_each_seq,
        a_closed_log_takes_nothing,
    );
    Ok(())
}

/// An entry whose bytes, hash and payload follow from `number`, so that a mix-up shows.
pub fn entry(number: u64, bytes: usize, payload: usize) -> Entry {
    let fill = |length: usize, salt: u64| -> Vec<u8> {
        (0..length as u64).map(|at| (number.wrapping_mul(31) + at.wrapping_mul(salt) + at / 251) as u8).collect()
    };
    let whole = Bytes::from(fill(payload, 7));
    let (first, second) = (whole.slice(..payload / 3), whole.slice(payload / 3..));
    Entry {
        hash_before: hash(number),
        bytes: fill(bytes, 3).into(),
        payload: if payload == 0 { Payload::default() } else { Payload::new(vec![first, second]) },
    }
}

fn hash(number: u64) -> ChainHash {
    let mut hash = [0x5a; 16];
    hash[..8].copy_from_slice(&number.to_le_bytes());
    ChainHash(hash)
}

/// A floor at `seq` whose snapshot holds all that lies below it.
pub fn floor_at(seq: u64) -> Floor {
    Floor {
        seq: Seq(seq),
        snapshot: Some(SnapshotRef { seq: Seq(seq - 1), key: format!("index/snapshot-{seq}"), digest: [seq as u8; 32] }),
    }
}

async fn fill(log: &impl CommitLog, count: u64, bytes: usize, payload: usize) -> Checked {
    for seq in 1..=count {
        log.append(Seq(seq), entry(seq, bytes, payload)).await.map_err(|error| format!("append at {seq}: {error}"))?;
    }
    Ok(())
}

async fn rows(log: &impl CommitLog, from: u64, max_bytes: usize) -> Result<(Vec<Row>, u64), String> {
    match log.read(Seq(from), max_bytes).await {
        Ok(Tail::Rows { rows, head, .. }) => Ok((rows, head.0)),
        Ok(Tail::Trimmed { floor }) => Err(format!("read from {from}: trimmed up to {}", floor.seq)),
        Err(error) => Err(format!("read from {from}: {error}")),
    }
}

async fn raise(log: &impl CommitLog, expected: Floor, to: Floor) -> Checked {
    log.raise_floor(expected, to).await.map_err(|error| format!("raise: {error}"))
}

async fn an_empty_log_reads_empty(log: Arc<impl CommitLog>) -> Checked {
    ensure!(rows(&*log, 1, 1_000).await? == (vec![], 0), "an empty log has rows or a head");
    let floor = log.floor().await.map_err(|error| error.to_string())?;
    ensure!(floor == Floor::default(), "an empty log's floor is {floor:?}");
    Ok(())
}

async fn appends_are_read_in_order(log: Arc<impl CommitLog>) -> Checked {
    for seq in 1..=20 {
        log.append(Seq(seq), entry(seq, 40, 100)).await.map_err(|error| format!("at {seq}: {error}"))?;
        let (found, head) = rows(&*log, seq, usize::MAX).await?;
        ensure!(head == seq, "head {head} after the append at {seq}");
        ensure!(found == [entry(seq, 40, 100).row(Seq(seq))], "row {seq} is not what was appended");
    }
    let (found, head) = rows(&*log, 1, usize::MAX).await?;
    let expected: Vec<Row> = (1..=20).map(|seq| entry(seq, 40, 100).row(Seq(seq))).collect();
    ensure!(head == 20 && found == expected, "the whole log is not what was appended");
    ensure!(rows(&*log, 21, 100).await? == (vec![], 20), "there are rows past the head");
    Ok(())
}

async fn a_taken_seq_names_its_winner(log: Arc<impl CommitLog>) -> Checked {
    fill(&*log, 5, 30, 200).await?;
    for seq in 1..=5 {
        // Another entry, and the very same one again: the store cannot tell, the caller can.
        for number in [100 + seq, seq] {
            match log.append(Seq(seq), entry(number, 10, 0)).await {
                Err(AppendError::Conflict { winner }) => {
                    ensure!(winner == entry(seq, 30, 200).row(Seq(seq)), "the winner at {seq} is not what was appended")
                }
                other => return Err(format!("an append at the taken seq {seq}: {other:?}")),
            }
        }
    }
    let (found, head) = rows(&*log, 1, usize::MAX).await?;
    ensure!(head == 5 && found.len() == 5, "a lost append changed the log");
    Ok(())
}

async fn a_seq_beyond_the_next_is_a_gap(log: Arc<impl CommitLog>) -> Checked {
    for (count, wrong) in [(0, 2), (0, 0), (3, 5), (3, u64::MAX)] {
        let (_, head) = rows(&*log, 1, 1).await?;
        for seq in head + 1..=count {
            log.append(Seq(seq), entry(seq, 10, 0)).await.map_err(|error| error.to_string())?;
        }
        match log.append(Seq(wrong), entry(wrong, 10, 0)).await {
            Err(AppendError::Gap { at, next }) => {
                ensure!(at == Seq(wrong) && next == Seq(count + 1), "gap at {at}, next {next}");
            }
            other => return Err(format!("an append at {wrong} after {count}: {other:?}")),
        }
    }
    Ok(())
}

async fn pages_have_no_gaps(log: Arc<impl CommitLog>) -> Checked {
    // Entries of many sizes, one larger than every page, some with a payload that a reader has to step over.
    let sizes = |seq: u64| (((seq * 37) % 300) as usize + usize::from(seq == 20) * 5_000, (seq % 4 * 50) as usize);
    for seq in 1..=60 {
        let (bytes, payload) = sizes(seq);
        log.append(Seq(seq), entry(seq, bytes, payload)).await.map_err(|error| error.to_string())?;
    }
    for max_bytes in [0, 1, 300, 1_000, usize::MAX] {
        let mut next = 1;
        while next <= 60 {
            let (found, head) = rows(&*log, next, max_bytes).await?;
            ensure!(head == 60, "head {head} of 60");
            ensure!(!found.is_empty(), "no row at {next} with max_bytes {max_bytes}");
            let bytes: usize = found.iter().map(|row| row.bytes.len()).sum();
            ensure!(found.len() == 1 || bytes <= max_bytes, "{bytes} bytes where {max_bytes} were allowed");
            for row in found {
                let (bytes, payload) = sizes(next);
                ensure!(row == entry(next, bytes, payload).row(Seq(next)), "row {next} is wrong");
                next += 1;
            }
        }
    }
    Ok(())
}

async fn the_floor_moves_up_and_conditionally(log: Arc<impl CommitLog>) -> Checked {
    fill(&*log, 10, 10, 0).await?;
    raise(&*log, Floor::default(), floor_at(4)).await?;
    match log.raise_floor(Floor::default(), floor_at(6)).await {
        Err(FloorError::Conflict { found }) => ensure!(found == floor_at(4), "found {found:?}"),
        other => return Err(format!("a raise from a stale floor: {other:?}")),
    }
    let without_snapshot = Floor { seq: Seq(7), snapshot: None };
    let mut short_snapshot = floor_at(7);
    short_snapshot.seq = Seq(9);
    for (to, why) in [
        (floor_at(3), "below the floor"),
        (floor_at(12), "beyond the next seq"),
        (Floor::default(), "back to the start"),
        (without_snapshot, "without a snapshot"),
        (short_snapshot, "to where no snapshot reaches"),
    ] {
        match log.raise_floor(floor_at(4), to).await {
            Err(FloorError::Refused { .. }) => {}
            other => return Err(format!("a move {why}: {other:?}")),
        }
    }
    let floor = log.floor().await.map_err(|error| error.to_string())?;
    ensure!(floor == floor_at(4), "the floor is {floor:?} after refused moves");
    raise(&*log, floor_at(4), floor_at(11)).await?;
    // Racing raises: one wins.
    log.append(Seq(11), entry(11, 10, 0)).await.map_err(|error| error.to_string())?;
    let race = futures::future::join_all((0..8).map(|racer| {
        let log = log.clone();
        async move {
            let mut to = floor_at(12);
            if let Some(snapshot) = &mut to.snapshot {
                snapshot.key = format!("index/by-{racer}");
            }
            log.raise_floor(floor_at(11), to.clone()).await.map(|()| to)
        }
    }))
    .await;
    let winners: Vec<&Floor> = race.iter().flatten().collect();
    let floor = log.floor().await.map_err(|error| error.to_string())?;
    ensure!(winners.len() == 1, "{} racing raises won", winners.len());
    ensure!(winners.first() == Some(&&floor), "the floor is not the winner's");
    Ok(())
}

async fn trim_stays_below_the_floor(log: Arc<impl CommitLog>) -> Checked {
    fill(&*log, 8, 10, 0).await?;
    match log.trim(Seq(3)).await {
        Err(TrimError::AboveFloor { below, floor }) => {
            ensure!(below == Seq(3) && floor == Seq(1), "refused below {below}, floor {floor}");
        }
        other => return Err(format!("a trim above the floor: {other:?}")),
    }
    ensure!(rows(&*log, 1, usize::MAX).await?.0.len() == 8, "a refused trim took rows");
    raise(&*log, Floor::default(), floor_at(5)).await?;
    log.trim(Seq(5)).await.map_err(|error| format!("trim at the floor: {error}"))?;
    log.trim(Seq(2)).await.map_err(|error| format!("a trim again, lower: {error}"))?;
    let (found, head) = rows(&*log, 5, usize::MAX).await?;
    ensure!(head == 8 && found.len() == 4, "the trim took rows at or above the floor");
    log.append(Seq(9), entry(9, 10, 0)).await.map_err(|error| format!("append after a trim: {error}"))
}

async fn what_was_trimmed_says_so(log: Arc<impl CommitLog>) -> Checked {
    fill(&*log, 8, 10, 300).await?;
    raise(&*log, Floor::default(), floor_at(9)).await?;
    // The floor rules, whether rows are still there or not.
    for trimmed in [false, true] {
        if trimmed {
            log.trim(Seq(9)).await.map_err(|error| error.to_string())?;
        }
        for from in [1, 8] {
            match log.read(Seq(from), 100).await {
                Ok(Tail::Trimmed { floor }) => {
                    ensure!(floor == floor_at(9), "trimmed up to {floor:?}")
                }
                other => return Err(format!("a read from {from} below the floor: {other:?}")),
            }
        }
        ensure!(rows(&*log, 9, 100).await? == (vec![], 8), "the trimmed log forgot its head");
        match log.read_payload(Seq(8), 0..300).await {
            Err(ReadError::Gone { seq }) => ensure!(seq == Seq(8), "{seq} is gone"),
            // An implementation may keep more.
            Ok(bytes) => {
                ensure!(Some(bytes) == entry(8, 0, 300).payload.slice(0..300), "wrong payload below the floor");
            }
            Err(other) => return Err(format!("a payload below the floor: {other}")),
        }
    }
    match log.append(Seq(4), entry(4, 10, 0)).await {
        Err(AppendError::Gap { .. } | AppendError::Conflict { .. }) => Ok(()),
        other => Err(format!("an append below the floor: {other:?}")),
    }
}

async fn rows_are_read_before_the_floor(log: Arc<impl CommitLog>) -> Checked {
    // A reader that follows while rows go below it must see every row or be told 'trimmed', never an early end.
    const LAST: u64 = 120;
    let writer = async {
        let mut floor = Floor::default();
        for seq in 1..=LAST {
            log.append(Seq(seq), entry(seq, 50, 0)).await.map_err(|error| format!("at {seq}: {error}"))?;
            if seq % 3 == 0 {
                raise(&*log, floor.clone(), floor_at(seq)).await?;
                floor = floor_at(seq);
                log.trim(floor.seq).await.map_err(|error| error.to_string())?;
            }
        }
        Ok::<(), String>(())
    };
    let reader = async {
        let mut next = 1;
        while next <= LAST {
            match log.read(Seq(next), 200).await.map_err(|error| error.to_string())? {
                Tail::Trimmed { floor } => {
                    ensure!(floor.seq.0 > next, "told 'trimmed' at {next} with the floor at {}", floor.seq);
                    next = floor.seq.0;
                }
                Tail::Rows { rows, head, .. } => {
                    ensure!(!rows.is_empty() || head.0 < next, "an early end at {next} of {head}");
                    for row in rows {
                        ensure!(row == entry(next, 50, 0).row(Seq(next)), "row {next} is wrong");
                        next += 1;
                    }
                }
            }
            // Lets the writer go on where nothing in this log waits.
            let mut yielded = false;
            futures::future::poll_fn(|context| {
                if std::mem::replace(&mut yielded, true) {
                    return std::task::Poll::Ready(());
                }
                context.waker().wake_by_ref();
                std::task::Poll::Pending
            })
            .await;
        }
        Ok(())
    };
    let (wrote, read) = futures::future::join(writer, reader).await;
    wrote.and(read)
}

async fn payloads_are_read_by_range(log: Arc<impl CommitLog>) -> Checked {
    let length = if log.takes_any_payload() { 300_000 } else { 20_000 };
    for seq in 1..=6 {
        let payload = if seq % 3 == 0 { 0 } else { length };
        log.append(Seq(seq), entry(seq, 20, payload)).await.map_err(|error| error.to_string())?;
    }
    let end = length as u64;
    for (seq, range) in
        [(1, 0..end), (1, 0..0), (2, 5..6), (4, 0..17), (5, end / 3 - 1..end / 3 + 1), (5, end - 1..end), (3, 0..0)]
    {
        let expected = entry(seq, 20, if seq == 3 { 0 } else { length }).payload.slice(range.clone());
        let found = log.read_payload(Seq(seq), range.clone()).await.map_err(|error| error.to_string())?;
        ensure!(Some(found) == expected, "bytes {range:?} of payload {seq} are wrong");
    }
    let reads = vec![(Seq(2), 5..6), (Seq(4), 0..17), (Seq(2), 0..end), (Seq(3), 0..0)];
    let found = log.read_payloads(reads.clone(), ReadAgain::Maybe).await.map_err(|error| error.to_string())?;
    ensure!(found.len() == reads.len(), "{} payloads of {}", found.len(), reads.len());
    for ((seq, range), bytes) in reads.iter().zip(found) {
        let expected = entry(seq.0, 20, if seq.0 == 3 { 0 } else { length }).payload.slice(range.clone());
        ensure!(Some(bytes) == expected, "bytes {range:?} of payload {seq} among others are wrong");
    }
    match log.read_payloads(vec![(Seq(1), 0..1), (Seq(1), 0..end + 1), (Seq(2), 0..1)], ReadAgain::No).await {
        Err(ReadError::Corrupt { .. }) => {}
        other => return Err(format!("past the end of a payload among others: {other:?}")),
    }
    for (seq, range) in [(1, 0..end + 1), (3, 0..1), (1, end + 5..end + 6)] {
        match log.read_payload(Seq(seq), range.clone()).await {
            Err(ReadError::Corrupt { .. }) => {}
            other => {
                return Err(format!("bytes {range:?} past the end of payload {seq}: {other:?}"));
            }
        }
    }
    match log.read_payload(Seq(7), 0..1).await {
        Err(ReadError::Unavailable { .. }) => Ok(()),
        other => Err(format!("the payload of an entry that is not there yet: {other:?}")),
    }
}

async fn limits_are_kept(log: Arc<impl CommitLog>) -> Checked {
    let payload_limit = Payload::most_bytes(log.takes_any_payload());
    let zeros = |length| Bytes::from(vec![0; length]);
    let large = |bytes, payload| Entry {
        hash_before: ChainHash::default(),
        bytes: zeros(bytes),
        payload: Payload::new(vec![zeros(payload)]),
    };
    for (bytes, payload) in [(limits::ENTRY_BYTES + 1, 0), (1, payload_limit + 1)] {
        match log.append(Seq(1), large(bytes, payload)).await {
            Err(AppendError::TooLarge { .. }) => {}
            other => {
                return Err(format!("an entry of {bytes} bytes with {payload} inline: {other:?}"));
            }
        }
    }
    log.append(Seq(1), large(1, payload_limit)).await.map_err(|error| format!("the largest payload: {error}"))
}

async fn one_appender_wins_each_seq(log: Arc<impl CommitLog>) -> Checked {
    const APPENDERS: u64 = 6;
    const EACH: u64 = 15;
    let appenders = (0..APPENDERS).map(|appender| {
        let log = log.clone();
        async move {
            let (mut won, mut next) = (Vec::new(), 1);
            while (won.len() as u64) < EACH {
                let number = appender * 1_000 + won.len() as u64;
                match log.append(Seq(next), entry(number, 30, 10)).await {
                    Ok(()) => won.push((next, number)),
                    Err(AppendError::Conflict { winner }) => {
                        ensure!(winner.seq == Seq(next), "asked at {next}, the winner is at {}", winner.seq);
                    }
                    Err(other) => return Err(format!("appender {appender} at {next}: {other}")),
                }
                next += 1;
            }
            Ok(won)
        }
    });
    let mut expected = Vec::new();
    for won in futures::future::join_all(appenders).await {
        expected.extend(won?);
    }
    expected.sort_unstable();
    let (found, head) = rows(&*log, 1, usize::MAX).await?;
    ensure!(head == APPENDERS * EACH, "{head} entries of {}", APPENDERS * EACH);
    let expected: Vec<Row> = expected.into_iter().map(|(seq, number)| entry(number, 30, 10).row(Seq(seq))).collect();
    ensure!(found == expected, "the log does not hold what its appenders were told");
    Ok(())
}

async fn a_closed_log_takes_nothing(log: Arc<impl CommitLog>) -> Checked {
    fill(&*log, 3, 10, 10).await?;
    log.close().await.map_err(|error| format!("close: {error}"))?;
    log.close().await.map_err(|error| format!("a second close: {error}"))?;
    match log.append(Seq(4), entry(4, 10, 0)).await {
        Err(AppendError::Unavailable { .. }) => Ok(()),
        other => Err(format!("an append after close: {other:?}")),
    }
}
