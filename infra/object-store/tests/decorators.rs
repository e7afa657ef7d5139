//! Retries, faults and metrics, and the facade over all of them, in paused time.

#![allow(clippy::unwrap_used)] // helpers of tests

use bytes::Bytes;
use futures::TryStreamExt;
use futures::stream::BoxStream;
use metrics_exporter_prometheus::PrometheusBuilder;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};
use std::sync::Arc;
use std::time::Duration;
use strandline_object_store::{
    DeleteError, Effect, Fault, FaultPlan, FaultRates, Faults, GetError, HeadError, InMemory, ListError, Objects, Operation,
    Purpose, PutNewError, PutReplaceError, RetryPolicy, Seen, SelfTestError, TailError, crc32c, self_test,
};
use strandline_runtime::{Runtime, SeededRandom};

struct Lab {
    objects: Objects,
    plan: FaultPlan,
    runtime: Runtime,
}

fn lab(policy: RetryPolicy) -> Lab {
    let (plan, runtime) = (FaultPlan::new(), Runtime::simulated(7, 0));
    let faults = Faults::new(Arc::new(InMemory::new()), plan.clone(), &runtime);
    Lab { objects: Objects::new(Arc::new(faults), policy, &runtime), plan, runtime }
}

impl Lab {
    async fn put(&self, path: &str, bytes: &'static [u8]) -> Result<(), PutNewError> {
        let chunks = vec![Bytes::from_static(bytes)];
        let crc = crc32c(&chunks);
        self.objects.put_new(Purpose::Wal, path, chunks, crc).await
    }

    async fn names(&self) -> Vec<String> {
        let listed = self.objects.list_all(Purpose::Sweep, "", 100).await.unwrap();
        listed.into_iter().map(|info| info.path).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_put_is_tried_again_and_a_lost_reply_finds_its_own_object() {
    let lab = lab(RetryPolicy::default());
    lab.plan.add(Fault::nth(Operation::Put, 1, Effect::Before));
    lab.plan.add(Fault::nth(Operation::Put, 1, Effect::After));
    lab.put("wal/1", b"bytes").await.unwrap();
    // Lost, then lost on the way back, then 'exists already', which turned out to be ours.
    assert_eq!(lab.plan.calls(Operation::Put), 3);
    assert_eq!(lab.plan.calls(Operation::Head), 1);
    assert_eq!(lab.objects.get(Purpose::Read, "wal/1").await.unwrap(), "bytes");
}

#[tokio::test(start_paused = true)]
async fn exists_already_is_no_success_for_other_bytes() {
    let lab = lab(RetryPolicy::default());
    lab.put("wal/1", b"bytes").await.unwrap();
    lab.put("wal/1", b"bytes").await.unwrap();
    assert!(matches!(lab.put("wal/1", b"BYTES").await, Err(PutNewError::Taken { .. })));
    assert!(matches!(lab.put("wal/1", b"more bytes").await, Err(PutNewError::Taken { .. })));
    assert_eq!(lab.objects.get(Purpose::Read, "wal/1").await.unwrap(), "bytes");
}

#[tokio::test(start_paused = true)]
async fn while_a_look_is_impossible_the_outcome_stays_in_doubt() {
    let lab = lab(RetryPolicy::default());
    lab.plan.add(Fault::every(Operation::Put, Effect::After));
    lab.plan.add(Fault::every(Operation::Head, Effect::Before));
    let error = lab.put("wal/1", b"bytes").await.unwrap_err();
    assert!(matches!(error, PutNewError::Failed { .. }) && error.is_retriable(), "{error}");
    lab.plan.clear();
    lab.put("wal/1", b"bytes").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_only_seen_after_a_lost_reply_is_put_once_more() {
    let lab = lab(RetryPolicy::once());
    lab.plan.add(Fault::nth(Operation::Put, 1, Effect::After));
    lab.put("wal/1", b"bytes").await.unwrap();
    assert_eq!(lab.plan.calls(Operation::Put), 2, "'exists already' says that it is on disk");
    lab.plan.add(Fault::every(Operation::Put, Effect::After));
    let error = lab.put("wal/2", b"bytes").await.unwrap_err();
    assert!(matches!(error, PutNewError::Failed { .. }) && error.is_retriable(), "{error}");
    assert_eq!(lab.plan.calls(Operation::Put), 4);
    assert_eq!(lab.names().await, ["wal/1", "wal/2"], "seen, and in doubt all the same");
}

#[tokio::test(start_paused = true)]
async fn a_late_put_lands_after_its_caller_gave_up() {
    let lab = lab(RetryPolicy::once());
    lab.plan.add(Fault::nth(Operation::Put, 1, Effect::Late(Duration::from_secs(60))));
    assert!(lab.put("bronze/t/1", b"zombie").await.unwrap_err().is_retriable());
    assert_eq!(lab.names().await, Vec::<String>::new());
    lab.runtime.sleep(Duration::from_secs(61)).await;
    assert_eq!(lab.names().await, ["bronze/t/1"]);
    assert_eq!(lab.objects.get(Purpose::Read, "bronze/t/1").await.unwrap(), "zombie");
}

#[tokio::test(start_paused = true)]
async fn a_late_replacement_finds_another_object_and_changes_nothing() {
    let lab = lab(RetryPolicy::once());
    let objects = &lab.objects;
    let put = async |bytes: &'static str, seen| objects.put_instead(Purpose::Manifest, "m", bytes.into(), seen).await;
    let late = || lab.plan.add(Fault::nth(Operation::Put, 1, Effect::Late(Duration::from_secs(60))));
    late();
    put("late", Seen::Nothing).await.unwrap_err();
    assert!(put("one", Seen::Nothing).await.unwrap() && !put("two", Seen::Nothing).await.unwrap());
    let (_, seen) = objects.get_seen(Purpose::Manifest, "m").await.unwrap();
    late();
    put("late", seen.clone()).await.unwrap_err();
    assert!(put("two", seen.clone()).await.unwrap() && !put("three", seen).await.unwrap());
    lab.runtime.sleep(Duration::from_secs(61)).await;
    assert_eq!(objects.get(Purpose::Manifest, "m").await.unwrap(), "two");
}

#[tokio::test(start_paused = true)]
async fn tries_are_bounded_in_number_and_in_time() {
    let lab = lab(RetryPolicy { tries: 3, ..RetryPolicy::default() });
    lab.plan.add(Fault::every(Operation::Get, Effect::Before));
    assert!(matches!(lab.objects.get(Purpose::Read, "x").await, Err(GetError::Failed { .. })));
    assert_eq!(lab.plan.calls(Operation::Get), 3);

    let lab = self::lab(RetryPolicy { tries: 1_000, total: Duration::from_secs(5), ..RetryPolicy::default() });
    lab.plan.add(Fault::every(Operation::Get, Effect::Before));
    lab.plan.add(Fault::every(Operation::Head, Effect::Delay(Duration::from_secs(3_600))));
    let started = lab.runtime.clock.monotonic();
    assert!(lab.objects.get(Purpose::Read, "x").await.unwrap_err().is_retriable());
    let took = lab.runtime.clock.monotonic() - started;
    assert!(took <= Duration::from_secs(5) && took >= Duration::from_secs(2), "{took:?}");
    let started = lab.runtime.clock.monotonic();
    let error = lab.objects.head(Purpose::Read, "x").await.unwrap_err();
    assert!(matches!(&error, HeadError::Failed { .. }) && error.to_string().contains("no answer"), "{error}");
    assert_eq!(lab.runtime.clock.monotonic() - started, Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_is_not_tried_again_and_is_told_apart() {
    let lab = lab(RetryPolicy::default());
    lab.plan.add(Fault::every(Operation::Put, Effect::Full).below("wal/"));
    let error = lab.put("wal/1", b"bytes").await.unwrap_err();
    assert!(error.is_full() && error.is_retriable(), "{error}");
    assert_eq!(lab.plan.calls(Operation::Put), 1);
    lab.put("fresh/1", b"bytes").await.unwrap();
    let error = lab.objects.put_replace(Purpose::Manifest, "wal/m", Bytes::new()).await.unwrap_err();
    assert!(matches!(error, PutReplaceError::Full { .. }));
}

#[tokio::test(start_paused = true)]
async fn the_facade_answers_plainly() {
    let lab = lab(RetryPolicy::default());
    let objects = &lab.objects;
    assert!(objects.get(Purpose::Read, "wal/1").await.unwrap_err().is_not_found());
    assert!(objects.head(Purpose::Read, "wal/1").await.unwrap_err().is_not_found());
    lab.put("wal/1", b"0123456789").await.unwrap();
    assert_eq!(objects.head(Purpose::Read, "wal/1").await.unwrap().size, 10);
    assert_eq!(objects.get_range(Purpose::Read, "wal/1", 3..6).await.unwrap(), "345");
    assert_eq!(objects.get_range(Purpose::Read, "wal/1", 6..6).await.unwrap(), "");
    for range in [8..11, 10..11, 50..60] {
        let error = objects.get_range(Purpose::Read, "wal/1", range).await.unwrap_err();
        assert!(matches!(error, GetError::OutOfRange { size: 10, .. }), "{error}");
    }
    let last = |bytes: &Bytes| {
        let wanted = if bytes.len() < 4 { Err(4) } else { Ok(bytes.slice(bytes.len() - 4..)) };
        wanted.map_err(|wanted| if bytes.len() == 3 { wanted } else { 99 })
    };
    let tail = async |guess_bytes| objects.parse_tail(Purpose::Read, "wal/1", 10, guess_bytes, last, |more| Some(*more)).await;
    assert_eq!((tail(3).await.unwrap(), tail(77).await.unwrap()), ("6789".into(), "6789".into()), "asked for more, or not");
    assert!(matches!(tail(2).await, Err(TailError::Parse(99))), "more than there is");
    let checksum = objects.checksum(Purpose::Rebuild, "wal/1").await.unwrap();
    assert_eq!((checksum.size, checksum.crc32c), (10, 0x280c_069e), "CRC-32C of the digits");
    objects.put_replace(Purpose::Manifest, "manifest/t.json", "old".into()).await.unwrap();
    objects.put_replace(Purpose::Manifest, "manifest/t.json", "new".into()).await.unwrap();
    assert_eq!(objects.get(Purpose::Read, "manifest/t.json").await.unwrap(), "new");
    lab.put("wal/2", b"x").await.unwrap();
    let after: Vec<_> = objects.list_after(Purpose::Sweep, "wal", "wal/1").try_collect().await.unwrap();
    assert_eq!(after.iter().map(|info| info.path.as_str()).collect::<Vec<_>>(), ["wal/2"]);
    assert!(matches!(objects.list_all(Purpose::Sweep, "wal", 1).await, Err(ListError::TooMany { limit: 1, .. })));
    objects.delete(Purpose::Garbage, "wal/1").await.unwrap();
    objects.delete(Purpose::Garbage, "wal/1").await.unwrap();
    let paths = ["wal/2", "../x", "manifest/t.json", "gone"].map(str::to_owned);
    let deleted = objects.delete_all(Purpose::Garbage, &paths).await;
    assert!(deleted[0].is_ok() && deleted[2].is_ok() && deleted[3].is_ok());
    assert!(matches!(deleted[1], Err(DeleteError::Refused { .. })));
    assert_eq!(lab.names().await, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn deletions_of_a_batch_that_fail_are_tried_again_alone() {
    let lab = lab(RetryPolicy::default());
    let paths: Vec<String> = (0..10).map(|n| format!("wal/{n}")).collect();
    for path in &paths {
        lab.put(path, b"x").await.unwrap();
    }
    lab.plan.add(Fault::nth(Operation::Delete, 3, Effect::Before));
    lab.plan.add(Fault::nth(Operation::Delete, 5, Effect::After));
    assert!(lab.objects.delete_all(Purpose::Garbage, &paths).await.iter().all(std::result::Result::is_ok));
    assert_eq!(lab.plan.calls(Operation::Delete), 12);
    assert_eq!(lab.names().await, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_breaks_off_says_so() {
    let lab = lab(RetryPolicy::default());
    lab.put("wal/1", b"x").await.unwrap();
    lab.plan.add(Fault::nth(Operation::List, 1, Effect::Before));
    assert!(lab.objects.list_all(Purpose::Sweep, "wal", 10).await.unwrap_err().is_retriable());
    assert_eq!(lab.objects.list_all(Purpose::Sweep, "wal", 10).await.unwrap().len(), 1);
}

/// The same seed gives the same faults; and through all of them nothing is put twice or lost.
#[tokio::test(start_paused = true)]
async fn faults_by_chance_repeat_and_a_put_that_succeeded_is_there() {
    let mut histories = Vec::new();
    for seed in [3, 3, 4] {
        let lab = lab(RetryPolicy { tries: 2, ..RetryPolicy::default() });
        let longest = Duration::from_millis(500);
        let rates = FaultRates { before: 150, after: 150, late: 50, delay: 100, full: 50, longest };
        lab.plan.set_rates(rates, Arc::new(SeededRandom::new(seed)));
        let mut history = Vec::new();
        for n in 0..200 {
            history.push(lab.put(&format!("wal/{n:03}"), b"bytes").await.is_ok());
        }
        lab.plan.clear();
        lab.runtime.sleep(longest * 2).await;
        for (n, succeeded) in history.iter().enumerate() {
            let there = lab.objects.get(Purpose::Read, &format!("wal/{n:03}")).await.is_ok();
            assert!(there || !succeeded, "wal/{n:03} was acknowledged and is gone");
        }
        assert!(history.contains(&true) && history.contains(&false));
        histories.push((history, lab.runtime.clock.monotonic()));
    }
    assert_eq!(histories[0], histories[1]);
    assert_ne!(histories[0].0, histories[2].0);
}

#[test]
fn requests_bytes_and_errors_are_counted_by_operation_and_purpose() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let lab = lab(RetryPolicy::default());
            lab.plan.add(Fault::nth(Operation::Put, 1, Effect::Before));
            lab.put("wal/1", b"0123456789").await.unwrap();
            lab.objects.get_range(Purpose::Read, "wal/1", 2..6).await.unwrap();
            let _ = lab.objects.get(Purpose::Rebuild, "none").await;
            lab.objects.delete(Purpose::Garbage, "wal/1").await.unwrap();
        });
    });
    let text = handle.render();
    for line in [
        r#"strandline_store_requests_total{operation="put",purpose="wal"} 2"#,
        r#"strandline_store_bytes_total{operation="put",purpose="wal"} 10"#,
        r#"strandline_store_errors_total{operation="put",purpose="wal",cause="transient"} 1"#,
        r#"strandline_store_retries_total{request="put"} 1"#,
        r#"strandline_store_bytes_total{operation="get",purpose="read"} 4"#,
        r#"strandline_store_errors_total{operation="get",purpose="rebuild",cause="not_found"} 1"#,
        r#"strandline_store_requests_total{operation="delete",purpose="garbage"} 1"#,
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
}

/// A store that takes every put, or forgets: what the test at start-up is for.
#[derive(Debug)]
struct Liar {
    inner: InMemory,
    takes_twice: bool,
    hides: bool,
}

impl std::fmt::Display for Liar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("liar")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Liar {
    async fn put_opts(&self, location: &Path, payload: PutPayload, mut options: PutOptions) -> Result<PutResult> {
        if self.takes_twice {
            options.mode = PutMode::Overwrite;
        }
        self.inner.put_opts(location, payload, options).await
    }
    async fn put_multipart_opts(&self, at: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(at, options).await
    }
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }
    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }
    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let hidden = Path::from("hidden");
        self.inner.list_with_delimiter(if self.hides { Some(&hidden) } else { prefix }).await
    }
    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_lies_is_refused_in_plain_words() {
    let runtime = Runtime::simulated(1, 0);
    let objects = |takes_twice, hides| {
        let liar = Liar { inner: InMemory::new(), takes_twice, hides };
        Objects::new(Arc::new(liar), RetryPolicy::default(), &runtime)
    };
    let error = self_test(&objects(true, false)).await.unwrap_err();
    assert!(matches!(error, SelfTestError::CreatesTwice { .. }) && !error.is_retriable());
    assert!(error.to_string().contains("created twice") && error.to_string().contains("does not start"), "{error}");
    let error = self_test(&objects(false, true)).await.unwrap_err();
    assert!(matches!(error, SelfTestError::Lies { .. }), "{error}");
    self_test(&objects(false, false)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_store_out_of_reach_fails_the_test_and_may_be_asked_again() {
    let lab = lab(RetryPolicy::default());
    lab.plan.add(Fault::every(Operation::Put, Effect::Before));
    assert!(self_test(&lab.objects).await.unwrap_err().is_retriable());
    lab.plan.clear();
    // Even when replies are lost, the test tells a good store from a liar.
    lab.plan.add(Fault::nth(Operation::Put, 1, Effect::After));
    self_test(&lab.objects).await.unwrap();
    assert_eq!(lab.names().await, Vec::<String>::new());
}
