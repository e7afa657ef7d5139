//! One fetch however many wait, errors that reach everyone and stay nowhere, bounds, and blocks.
#![allow(clippy::unwrap_used)] // helpers of tests

use bytes::Bytes;
use futures::FutureExt;
use futures::future::join_all;
use metrics_exporter_prometheus::PrometheusBuilder;
use proptest::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use strandline_cache::{BlockReader, Cache, CacheKey, ReadRangeError};
use strandline_object_store::{
    Effect, Fault, FaultPlan, Faults, GetError, InMemory, Objects, Operation, Purpose, RetryPolicy, crc32c,
};
use strandline_runtime::{Runtime, Spawner};
use strandline_types::limits::BLOCK_BYTES;
use tokio::sync::Semaphore;

const MIB: usize = 1 << 20;

#[derive(Debug, thiserror::Error)]
#[error("the fetch failed for the {0}. time")]
struct Failed(usize);

fn key(seq: u64) -> CacheKey {
    CacheKey::Inline { seq }
}

fn both() -> [Cache; 2] {
    [Cache::simple(64 * MIB), Cache::foyer(64 * MIB)]
}

/// A fetch that counts its calls and waits for a sign.
#[derive(Clone)]
struct Source {
    calls: Arc<AtomicUsize>,
    sign: Arc<Semaphore>,
}

impl Source {
    fn new() -> Self {
        Self { calls: Arc::default(), sign: Arc::new(Semaphore::new(0)) }
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    async fn get(self, fails: bool) -> Result<Bytes, Failed> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        self.sign.acquire().await.unwrap().forget();
        if fails { Err(Failed(call)) } else { Ok(Bytes::from(format!("fetched {call}"))) }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_waiters_make_one_request() {
    for cache in both() {
        let (source, spawner) = (Source::new(), Spawner::tokio());
        let (sender, mut receiver) = tokio::sync::mpsc::channel(200);
        for _ in 0..200 {
            let (cache, source, sender) = (cache.clone(), source.clone(), sender.clone());
            spawner.spawn("waiter", async move {
                let bytes = cache.get_or_fetch(key(1), || source.get(false)).await.unwrap();
                sender.send(bytes).await.unwrap();
            });
        }
        while source.calls() == 0 {
            tokio::task::yield_now().await;
        }
        source.sign.add_permits(200);
        for _ in 0..200 {
            assert_eq!(receiver.recv().await.unwrap(), "fetched 1");
        }
        assert_eq!((source.calls(), cache.fetches()), (1, 0));
        assert_eq!(cache.get(&key(1)).unwrap(), "fetched 1");
    }
}

#[tokio::test]
async fn an_error_reaches_all_who_wait_and_is_not_kept() {
    for cache in both() {
        let source = Source::new();
        let waiters = (0..20).map(|_| cache.get_or_fetch(key(1), || source.clone().get(true)));
        let sign = async { source.sign.add_permits(1) };
        // The sign comes once all of them wait: who comes after the error would fetch anew.
        let (results, ()) = futures::join!(join_all(waiters), sign);
        for result in results {
            let error = result.unwrap_err();
            assert_eq!(error.cause::<Failed>().map(|failed| failed.0), Some(1), "{error}");
        }
        assert_eq!((source.calls(), cache.fetches()), (1, 0));
        source.sign.add_permits(1);
        assert_eq!(cache.get_or_fetch(key(1), || source.clone().get(false)).await.unwrap(), "fetched 2");
    }
}

#[tokio::test]
async fn who_stops_waiting_stops_nobody_else_even_if_it_began() {
    for cache in both() {
        let source = Source::new();
        let mut first = Box::pin(cache.get_or_fetch(key(1), || source.clone().get(false)));
        let mut second = Box::pin(cache.get_or_fetch(key(1), || source.clone().get(false)));
        assert!(first.as_mut().now_or_never().is_none() && second.as_mut().now_or_never().is_none());
        drop(first);
        source.sign.add_permits(1);
        assert_eq!(tokio::time::timeout(Duration::from_secs(5), second).await.unwrap().unwrap(), "fetched 1");
        assert_eq!(source.calls(), 1);
    }
}

/// As above, but the waiters are tasks, so that it is the waking that is tested.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiters_that_are_killed_leave_the_others_awake() {
    for cache in both() {
        for _ in 0..50 {
            let (source, doomed, lasting) = (Source::new(), Spawner::tokio(), Spawner::tokio());
            cache.remove(&key(1));
            let waiting = Arc::new(AtomicUsize::new(0));
            let (sender, mut receiver) = tokio::sync::mpsc::channel(16);
            for waiter in 0..16 {
                let is_doomed = waiter % 2 == 0;
                let spawner = if is_doomed { &doomed } else { &lasting };
                let (cache, source, sender, waiting) = (cache.clone(), source.clone(), sender.clone(), waiting.clone());
                spawner.spawn("waiter", async move {
                    let mut result = Box::pin(cache.get_or_fetch(key(1), || source.get(false)));
                    assert!(futures::poll!(&mut result).is_pending());
                    waiting.fetch_add(1, Ordering::SeqCst);
                    let result = result.await;
                    if !is_doomed {
                        let _ = sender.send(result.is_ok()).await;
                    }
                });
            }
            drop(sender);
            // All of them wait: if only doomed ones did, the next one would fetch anew.
            while waiting.load(Ordering::SeqCst) < 16 {
                tokio::task::yield_now().await;
            }
            source.sign.add_permits(1);
            doomed.group().abort_all();
            for _ in 0..8 {
                let woken = tokio::time::timeout(Duration::from_secs(10), receiver.recv()).await;
                assert_eq!(woken.expect("a waiter was never woken"), Some(true));
            }
            // Nobody of this round is left who could meet the next one's fetch.
            let ended = tokio::time::timeout(Duration::from_secs(10), receiver.recv()).await;
            assert_eq!(ended.expect("a killed waiter goes on"), None);
            assert_eq!(source.calls(), 1);
        }
    }
}

#[tokio::test]
async fn when_nobody_waits_any_more_the_fetch_ends_and_the_next_one_begins_anew() {
    for cache in both() {
        let source = Source::new();
        let mut only = Box::pin(cache.get_or_fetch(key(1), || source.clone().get(false)));
        assert!(only.as_mut().now_or_never().is_none());
        assert_eq!(cache.fetches(), 1);
        drop(only);
        assert_eq!(cache.fetches(), 0);
        source.sign.add_permits(1);
        assert_eq!(cache.get_or_fetch(key(1), || source.clone().get(false)).await.unwrap(), "fetched 2");
    }
}

#[tokio::test]
async fn keys_do_not_wait_for_one_another() {
    for cache in both() {
        let (slow, quick) = (Source::new(), Source::new());
        let mut waiting = Box::pin(cache.get_or_fetch(key(1), || slow.clone().get(false)));
        assert!(waiting.as_mut().now_or_never().is_none());
        quick.sign.add_permits(1);
        cache.get_or_fetch(key(2), || quick.clone().get(false)).await.unwrap();
    }
}

#[test]
fn bytes_are_bounded_and_what_is_too_large_is_not_kept() {
    for cache in both() {
        for id in 0..200 {
            cache.insert(key(id), Bytes::from(vec![1; MIB]));
            assert!(cache.usage() <= cache.capacity(), "{} > {}", cache.usage(), cache.capacity());
        }
        assert!(cache.usage() > cache.capacity() / 2, "{cache:?} keeps too little");
        cache.insert(key(1_000), Bytes::from(vec![1; 65 * MIB]));
        assert!(cache.get(&key(1_000)).is_none());
        cache.insert(key(1_001), Bytes::from_static(b"here"));
        assert_eq!(cache.get(&key(1_001)).unwrap(), "here");
        cache.remove(&key(1_001));
        assert!(cache.get(&key(1_001)).is_none());
    }
}

/// A fetch whose bytes cannot be kept is still one fetch, and answers.
#[tokio::test]
async fn what_cannot_be_kept_is_answered_all_the_same() {
    for cache in [Cache::simple(10), Cache::foyer(10)] {
        let source = Source::new();
        source.sign.add_permits(2);
        assert_eq!(cache.get_or_fetch(key(1), || source.clone().get(false)).await.unwrap(), "fetched 1");
        assert_eq!(cache.get_or_fetch(key(1), || source.clone().get(false)).await.unwrap(), "fetched 2");
    }
}

struct Lab {
    reader: BlockReader,
    plan: FaultPlan,
    objects: Objects,
}

fn lab(cache: Cache) -> Lab {
    let (plan, runtime) = (FaultPlan::new(), Runtime::simulated(1, 0));
    let faults = Faults::new(Arc::new(InMemory::new()), plan.clone(), &runtime);
    let objects = Objects::new(Arc::new(faults), RetryPolicy::once(), &runtime);
    Lab { reader: BlockReader::new(cache, objects.clone(), Purpose::Read), plan, objects }
}

impl Lab {
    async fn object(&self, path: &str, size: usize) -> (Arc<str>, Bytes) {
        let bytes: Bytes = (0..size).map(|at| (at.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
        let crc = crc32c(std::slice::from_ref(&bytes));
        self.objects.put_new(Purpose::Wal, path, vec![bytes.clone()], crc).await.unwrap();
        (Arc::from(path), bytes)
    }
}

#[tokio::test(start_paused = true)]
async fn many_readers_of_one_block_make_one_request_and_share_its_bytes() {
    let lab = lab(Cache::simple(64 * MIB));
    let (path, bytes) = lab.object("wal/1", 2 * BLOCK_BYTES).await;
    lab.plan.add(Fault::every(Operation::Get, Effect::Delay(Duration::from_millis(20))));
    let size = bytes.len() as u64;
    let reads = (0..200_u64).map(|n| lab.reader.read_range(&path, size, n * 100..n * 100 + 100));
    let read = join_all(reads).await;
    for (n, read) in read.iter().enumerate() {
        assert_eq!(read.as_ref().unwrap(), &bytes[n * 100..n * 100 + 100]);
    }
    assert_eq!(lab.plan.calls(Operation::Get), 1);
    // Slices of one block: the hundredth read lies behind the first one in memory, by as much as in the object.
    let place = |n: usize| read[n].as_ref().unwrap().as_ptr() as usize;
    assert_eq!(place(100) - place(0), 100 * 100);
}

#[tokio::test(start_paused = true)]
async fn a_range_over_blocks_is_put_together_and_fetched_once() {
    let lab = lab(Cache::simple(64 * MIB));
    let (path, bytes) = lab.object("bronze/t/1", 3 * BLOCK_BYTES + 1_000).await;
    let size = bytes.len() as u64;
    let whole = lab.reader.read_range(&path, size, 0..size).await.unwrap();
    assert!(whole == bytes);
    assert_eq!(lab.plan.calls(Operation::Get), 4);
    let chunks = lab.reader.read_chunks(&path, size, 10..size).await.unwrap();
    assert_eq!(chunks.iter().map(Bytes::len).collect::<Vec<_>>(), [BLOCK_BYTES - 10, BLOCK_BYTES, BLOCK_BYTES, 1_000]);
    assert_eq!(lab.plan.calls(Operation::Get), 4);
    assert_eq!(lab.reader.read_range(&path, size, size..size).await.unwrap(), "");
}

#[tokio::test(start_paused = true)]
async fn a_span_is_one_request_of_just_its_bytes() {
    let lab = lab(Cache::simple(64 * MIB));
    let (path, bytes) = lab.object("bronze/t/1", BLOCK_BYTES + 1_000).await;
    lab.plan.add(Fault::every(Operation::Get, Effect::Delay(Duration::from_millis(20))));
    let (size, span) = (bytes.len() as u64, BLOCK_BYTES as u64 - 500..BLOCK_BYTES as u64 + 500);
    for read in join_all((0..20).map(|_| lab.reader.read_span(&path, size, span.clone()))).await {
        assert_eq!(read.unwrap(), bytes[span.start as usize..span.end as usize]);
    }
    assert_eq!(lab.plan.calls(Operation::Get), 1);
    assert!(lab.reader.cache().usage() < 2_000);
    assert_eq!(lab.reader.read_span(&path, size, size..size).await.unwrap(), "");
    #[allow(clippy::reversed_empty_ranges)] // refused as any other
    for span in [0..size + 1, 10..5] {
        let error = lab.reader.read_span(&path, size, span).await.unwrap_err();
        assert!(matches!(error, ReadRangeError::OutOfRange { .. }), "{error}");
    }
    assert_eq!(lab.plan.calls(Operation::Get), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_forgotten_is_fetched_again_and_nothing_else() {
    for cache in both() {
        let lab = lab(cache);
        let (path, bytes) = lab.object("bronze/t/1", 3 * BLOCK_BYTES).await;
        let (size, block) = (bytes.len() as u64, BLOCK_BYTES as u64);
        let read = async || {
            assert!(lab.reader.read_range(&path, size, 0..size).await.unwrap() == bytes);
            for span in [10..20, 20..30] {
                lab.reader.read_span(&path, size, span).await.unwrap();
            }
            lab.plan.calls(Operation::Get)
        };
        assert_eq!((read().await, read().await), (5, 5));
        lab.reader.forget_range(&path, block + 1..block + 2);
        assert_eq!(read().await, 6);
        lab.reader.forget_range(&path, 0..block + 1);
        assert_eq!(read().await, 8);
        lab.reader.forget_span(&path, 20..30);
        assert_eq!(read().await, 9);
    }
}

/// A replay of 48 partitions in turns: each has a span that it comes back to, and batches that it reads once.
#[test]
fn batches_that_pass_by_drive_out_no_spans_and_stay_until_they_are_read() {
    let cache = Cache::foyer(64 * MIB);
    let path: Arc<str> = Arc::from("bronze/t/1");
    let span = |n: u64| CacheKey::Span { path: path.clone(), start: n * MIB as u64, end: (n + 1) * MIB as u64 };
    let batches = |partition: i32, offset: i64| CacheKey::Batches { path: path.clone(), partition, offset };
    let whole = Bytes::from(vec![0; MIB]);
    for n in 0..40 {
        cache.insert(span(n), whole.slice(..MIB / 2));
    }
    for turn in 0..10 {
        for partition in 0..40 {
            cache.insert(batches(partition, turn), whole.clone());
            // Read ahead for eight others before this one is read again.
            if partition >= 8 {
                assert!(cache.get(&batches(partition - 8, turn)).is_some(), "{turn}, {partition}");
            }
        }
    }
    for n in 0..40 {
        assert!(cache.get(&span(n)).is_some(), "{n}");
    }
    assert!(cache.usage() <= cache.capacity());
    // Without spans, batches may have it all.
    let cache = Cache::foyer(64 * MIB);
    for partition in 0..100 {
        cache.insert(batches(partition, 0), whole.clone());
    }
    assert!(cache.usage() > 60 * MIB && cache.get(&batches(50, 0)).is_some());
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_says_what_it_means() {
    let lab = lab(Cache::simple(64 * MIB));
    let (path, bytes) = lab.object("wal/1", 1_000).await;
    let size = bytes.len() as u64;
    let missing: Arc<str> = Arc::from("wal/2");
    let error = lab.reader.read_range(&missing, size, 0..10).await.unwrap_err();
    assert!(error.is_not_found() && !error.is_retriable(), "{error}");
    #[allow(clippy::reversed_empty_ranges)] // refused as any other
    for range in [0..1_001, 1_000..1_001, 10..5] {
        let error = lab.reader.read_range(&path, size, range).await.unwrap_err();
        assert!(matches!(error, ReadRangeError::OutOfRange { .. }), "{error}");
    }
    // A size that is not the object's gives no wrong bytes, whether the block is cached or not.
    assert!(matches!(lab.reader.read_range(&path, 2_000, 0..10).await, Err(ReadRangeError::Get(GetError::OutOfRange { .. }))));
    lab.reader.read_range(&path, size, 0..10).await.unwrap();
    let error = lab.reader.read_range(&path, 2_000, 0..10).await.unwrap_err();
    assert!(matches!(error, ReadRangeError::OutOfRange { .. }), "{error}");
    let other: Arc<str> = Arc::from("wal/3");
    lab.plan.add(Fault::nth(Operation::Get, 1, Effect::Before));
    assert!(lab.reader.read_range(&other, size, 0..10).await.unwrap_err().is_retriable());
    assert_eq!(lab.reader.cache().fetches(), 0);
}

#[test]
fn hits_misses_and_bytes_are_metrics() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let cache = Cache::simple(1_000);
            cache.insert(key(1), Bytes::from_static(b"0123456789"));
            assert!(cache.get(&key(1)).is_some() && cache.get(&key(2)).is_none());
        });
    });
    let text = handle.render();
    for line in [
        r#"strandline_cache_hits_total{kind="inline"} 1"#,
        r#"strandline_cache_misses_total{kind="inline"} 1"#,
        "strandline_cache_bytes 138",
        "strandline_cache_capacity_bytes 1000",
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Whatever the cache has room for, every range reads as the object has it.
    #[test]
    fn every_range_reads_as_the_object_has_it(
        size in 1..3 * BLOCK_BYTES,
        ranges in proptest::collection::vec((0.0..1.0_f64, 0.0..1.0_f64), 1..8),
        capacity in prop_oneof![Just(0), Just(BLOCK_BYTES + 1_000), Just(64 * MIB)],
        foyer in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let cache = if foyer { Cache::foyer(capacity) } else { Cache::simple(capacity) };
            let lab = lab(cache);
            let (path, bytes) = lab.object("bronze/t/1", size).await;
            for (a, b) in ranges {
                let (a, b) = ((a * size as f64) as usize, (b * size as f64) as usize);
                let range = a.min(b)..a.max(b);
                let read = lab.reader.read_range(&path, size as u64, range.start as u64..range.end as u64).await;
                assert!(read.unwrap() == bytes.slice(range));
            }
        });
    }
}
