//! What every segment index has to do, as a suite that any implementation can run.
//!
//! `conformance::run(make)` makes a fresh, empty index for each promise and returns the first that is broken.

use crate::errors::PutError;
use crate::row::{RowKey, SealedRow};
use crate::seam::{PutOutcome, SegmentIndex, for_each};
use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use std::future::Future;
use std::sync::Arc;
use strandline_types::{Seq, TopicId, TopicPartition, limits};

/// A promise that an index does not keep.
#[derive(Debug, thiserror::Error)]
#[error("`{promise}` does not hold: {what}")]
pub struct Broken {
    /// Which promise.
    pub promise: &'static str,
    /// What was seen instead.
    pub what: String,
}

type Outcome = Result<(), String>;
type Promise = fn(Arc<dyn SegmentIndex>) -> BoxFuture<'static, Outcome>;

const PROMISES: &[(&str, Promise)] = &[
    ("an offset finds the segment that holds it", |index| finds(index).boxed()),
    ("a row gives way only to a higher generation", |index| generations(index).boxed()),
    ("a refused batch writes nothing", |index| refused(index).boxed()),
    ("scans are in order and bounded", |index| scans(index).boxed()),
    ("removed rows are gone, others stay", |index| removal(index).boxed()),
    ("a topic is removed whole and alone", |index| topic_removal(index).boxed()),
    ("writers at the same time lose nothing", |index| concurrent(index).boxed()),
];

/// Runs every promise on an index of its own.
pub async fn run<F, Fut>(make: F) -> Result<(), Broken>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Arc<dyn SegmentIndex>>,
{
    for (promise, holds) in PROMISES {
        holds(make().await).await.map_err(|what| Broken { promise, what })?;
    }
    Ok(())
}

fn need(holds: bool, what: &str) -> Outcome {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}

fn said<T, E: std::error::Error>(result: Result<T, E>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}

fn place(topic: u8, partition: i32) -> TopicPartition {
    TopicPartition { topic_id: TopicId([topic; 16]), partition }
}

fn row(at: TopicPartition, start_offset: i64, end_offset: i64, generation: u32) -> SealedRow {
    SealedRow {
        topic_partition: at,
        start_offset,
        end_offset,
        path: format!("bronze/t/{}/o{start_offset:020}-g{generation}.parquet", at.topic_id.id8()),
        generation,
        size: 128 << 20,
        crc32c: 0x1234_5678,
        rows: end_offset.abs_diff(start_offset),
        first_row: 0,
        row_group: 0,
        min_timestamp_ms: 1_000,
        max_timestamp_ms: 2_000,
        max_timestamp_offset: start_offset,
        sent_bytes: 1 << 20,
        sealed_seq: Seq(9),
    }
}

async fn put(index: &Arc<dyn SegmentIndex>, rows: &[SealedRow]) -> Result<PutOutcome, String> {
    said(index.put(rows.to_vec()).await)
}

async fn found(index: &Arc<dyn SegmentIndex>, at: TopicPartition, offset: i64) -> Result<Option<SealedRow>, String> {
    said(index.find(at, offset).await)
}

async fn finds(index: Arc<dyn SegmentIndex>) -> Outcome {
    let at = place(1, 0);
    need(found(&index, at, 0).await?.is_none(), "a new index is not empty")?;
    let (first, second) = (row(at, 0, 100, 0), row(at, 100, 250, 0));
    // A hole in front of the third: its row is found all the same, and starts behind the offset.
    let (third, other) = (row(at, 300, 400, 0), row(place(1, 1), 0, 1_000, 0));
    put(&index, &[third.clone(), other.clone(), first.clone(), second.clone()]).await?;
    for (offset, wanted) in [
        (-1, Some(&first)),
        (0, Some(&first)),
        (99, Some(&first)),
        (100, Some(&second)),
        (249, Some(&second)),
        (250, Some(&third)),
        (399, Some(&third)),
        (400, None),
        (i64::MAX, None),
    ] {
        let found = found(&index, at, offset).await?;
        need(found.as_ref() == wanted, &format!("offset {offset} found {found:?}"))?;
    }
    need(found(&index, place(1, 1), 999).await?.as_ref() == Some(&other), "the next partition's row is not found")?;
    need(found(&index, place(1, 2), 0).await?.is_none(), "a partition without rows has one")?;
    need(found(&index, place(0, 0), 0).await?.is_none(), "a topic without rows has one")
}

async fn generations(index: Arc<dyn SegmentIndex>) -> Outcome {
    let at = place(1, 0);
    let [zero, one, two] = [0, 1, 2].map(|generation| row(at, 0, 100, generation));
    let written = PutOutcome { written: 1, ..PutOutcome::default() };
    let kept = PutOutcome { kept: 1, ..PutOutcome::default() };
    need(put(&index, std::slice::from_ref(&zero)).await? == written, "a free key was not written")?;
    need(put(&index, std::slice::from_ref(&zero)).await? == kept, "the same row was written again")?;
    need(put(&index, std::slice::from_ref(&two)).await? == written, "a higher generation was not written")?;
    need(put(&index, std::slice::from_ref(&one)).await? == kept, "a delayed write was taken")?;
    need(put(&index, std::slice::from_ref(&zero)).await? == kept, "a delayed write was taken")?;
    need(found(&index, at, 5).await? == Some(two.clone()), "a delayed write undid a rewrite")?;
    let different = SealedRow { path: "bronze/other".to_owned(), ..two.clone() };
    let outcome = put(&index, &[different]).await?;
    need(outcome.differing == [two.key()] && outcome.written == 0, "a differing row was not reported")?;
    need(found(&index, at, 5).await? == Some(two), "a differing row was taken")?;
    // Within one batch the same rule holds.
    let (low, high) = (row(at, 100, 200, 3), row(at, 100, 200, 4));
    let outcome = put(&index, &[low.clone(), high.clone(), low]).await?;
    need(outcome == PutOutcome { written: 2, kept: 1, differing: Vec::new() }, "wrong counts for one batch")?;
    need(found(&index, at, 150).await? == Some(high), "a lower generation of the same batch was taken")
}

async fn refused(index: Arc<dyn SegmentIndex>) -> Outcome {
    let at = place(1, 0);
    let bad = [row(at, 0, 100, 0), row(at, 200, 200, 0)];
    need(matches!(index.put(bad.to_vec()).await, Err(PutError::BadRange { .. })), "an empty range was taken")?;
    let negative = vec![row(at, -5, 100, 0)];
    need(matches!(index.put(negative).await, Err(PutError::BadRange { .. })), "a negative range was taken")?;
    let many = vec![row(at, 0, 100, 0); limits::SEGMENT_INDEX_BATCH_ROWS + 1];
    let error = index.put(many).await.err();
    let too_many = matches!(&error, Some(PutError::TooMany { .. }));
    need(too_many && error.is_some_and(|error| !error.is_retriable()), "a batch past the bound was taken")?;
    let keys = vec![row(at, 0, 100, 0).key(); limits::SEGMENT_INDEX_BATCH_ROWS + 1];
    need(index.remove(keys).await.is_err(), "a removal past the bound was taken")?;
    need(said(index.count().await)? == 0, "a refused batch left rows")
}

async fn scans(index: Arc<dyn SegmentIndex>) -> Outcome {
    let mut rows = Vec::new();
    for (topic, partition) in [(1, 0), (1, 1), (2, 0)] {
        rows.extend((0..10).map(|n| row(place(topic, partition), n * 10, n * 10 + 10, 0)));
    }
    let shuffled: Vec<_> = rows.iter().rev().cloned().collect();
    put(&index, &shuffled).await?;
    need(said(index.count().await)? == 30, "the count is not that of the rows")?;
    let at = place(1, 1);
    need(said(index.scan(at, 0, 100).await)? == rows[10..20], "a scan shows other rows than the partition's")?;
    need(said(index.scan(at, 35, 2).await)? == rows[13..15], "a scan begins or ends elsewhere")?;
    need(said(index.scan(at, 100, 5).await)?.is_empty(), "a scan from the end shows rows")?;
    need(said(index.scan(at, i64::MAX, 5).await)?.is_empty(), "a scan from the last offset shows rows")?;
    need(said(index.scan(at, 0, 0).await)?.is_empty(), "a scan of no rows shows some")?;
    need(said(index.scan_all(None, 7).await)? == rows[..7], "the first page of all is wrong")?;
    need(said(index.scan_all(Some(rows[6].key()), 7).await)? == rows[7..14], "the second page of all is wrong")?;
    let mut all = Vec::new();
    let visited = said(for_each(index.as_ref(), |row| all.push(row)).await)?;
    need(visited == 30 && all == rows, "not every row was visited once, in order")
}

async fn removal(index: Arc<dyn SegmentIndex>) -> Outcome {
    let at = place(1, 0);
    let rows: Vec<_> = (0..5).map(|n| row(at, n * 10, n * 10 + 10, 0)).collect();
    put(&index, &rows).await?;
    let missing = RowKey { topic_partition: at, end_offset: 11 };
    let removed = said(index.remove(vec![rows[0].key(), missing, rows[1].key()]).await)?;
    need(removed == 2, "the number of removed rows is wrong")?;
    need(said(index.scan(at, 0, 10).await)? == rows[2..], "other rows are left")?;
    need(said(index.remove(vec![rows[0].key()]).await)? == 0, "a row was removed twice")?;
    need(found(&index, at, 0).await?.as_ref() == Some(&rows[2]), "a removed row is found")
}

async fn topic_removal(index: Arc<dyn SegmentIndex>) -> Outcome {
    let kept = [row(place(1, 7), 0, 10, 0), row(place(3, 0), 0, 10, 0)];
    let mut rows: Vec<_> = (0..50).map(|n| row(place(2, n % 5), i64::from(n) * 10, i64::from(n) * 10 + 10, 0)).collect();
    rows.extend(kept.clone());
    put(&index, &rows).await?;
    need(said(index.remove_topic(TopicId([2; 16])).await)? == 50, "the number of removed rows is wrong")?;
    need(said(index.scan_all(None, 100).await)? == kept, "other rows are left")?;
    need(said(index.remove_topic(TopicId([2; 16])).await)? == 0, "a topic was removed twice")
}

async fn concurrent(index: Arc<dyn SegmentIndex>) -> Outcome {
    let writers = (0..8).map(|writer| {
        let index = Arc::clone(&index);
        async move {
            for n in 0..20 {
                let own = row(place(1, writer), n * 10, n * 10 + 10, 0);
                // All writers also fight for one key; the highest generation has to win.
                let shared = row(place(9, 0), 0, 10, u32::try_from(n).unwrap_or(0));
                put(&index, &[own.clone(), shared]).await?;
                need(found(&index, own.topic_partition, n * 10).await? == Some(own), "a write is not seen after it")?;
            }
            Ok::<(), String>(())
        }
    });
    for result in join_all(writers).await {
        result?;
    }
    need(said(index.count().await)? == 161, "rows were lost")?;
    let shared = found(&index, place(9, 0), 0).await?;
    need(shared.is_some_and(|row| row.generation == 19), "a lower generation won")
}
