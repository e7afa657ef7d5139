//! The tasks: when each step is taken. All wait for changes of the index or for a time, never for storage.

use crate::error::{Retry, WorkError};
use crate::options::millis;
use crate::shared::Shared;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use strandline_cell::Watch;
use strandline_types::{Seq, TopicId, limits};

/// A look at all topics is taken at most this often.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// Time alone makes seals due; where there are fresh segments they are looked at this often.
const SEAL_LOOK_INTERVAL: Duration = Duration::from_secs(15);
/// The longest wait after failures.
const LONGEST_BACKOFF_MS: i64 = 60_000;

/// Waits after failures, per topic.
#[derive(Default)]
struct Backoffs(BTreeMap<TopicId, (i64, i64)>);

impl Backoffs {
    fn until_ms(&self, topic_id: TopicId) -> i64 {
        self.0.get(&topic_id).map_or(i64::MIN, |(until_ms, _)| *until_ms)
    }

    /// Takes in a result; logs a failure with what is done about it.
    fn note<T>(&mut self, shared: &Shared, what: &'static str, topic_id: TopicId, result: Result<T, WorkError>) -> Option<T> {
        match result {
            Ok(value) => {
                self.0.remove(&topic_id);
                Some(value)
            }
            Err(error) => {
                let first_ms = millis(shared.options.backoff).max(1);
                let (_, wait_ms) = self.0.get(&topic_id).copied().unwrap_or((0, first_ms / 2));
                let wait_ms = match error.retry() {
                    Retry::Alarm => LONGEST_BACKOFF_MS,
                    _ if error.is_elsewhere() => LONGEST_BACKOFF_MS / 10,
                    Retry::LookAgain | Retry::Later | Retry::Stop => (wait_ms * 2).clamp(first_ms, LONGEST_BACKOFF_MS),
                };
                report_failure(what, topic_id, &error, wait_ms);
                // Copies, snapshots and deletes are what makes room again; what makes new files waits for it.
                let makes_files = matches!(what, "a conversion" | "a seal" | "a merge");
                if error.is_full() && !makes_files && shared.cell.log().release_reserve() {
                    tracing::warn!("the disk is full: the log's reserve was let go, so that space can be freed");
                }
                self.0.insert(topic_id, (shared.steady_ms().saturating_add(wait_ms), wait_ms));
                None
            }
        }
    }
}

fn report_failure(what: &'static str, topic_id: TopicId, error: &WorkError, wait_ms: i64) {
    metrics::counter!("strandline_compactor_failures_total", "step" => what).increment(1);
    match error.retry() {
        Retry::Alarm => tracing::error!(%topic_id, %error, wait_ms, "{what} failed and needs someone to look"),
        Retry::LookAgain | Retry::Stop => tracing::debug!(%topic_id, %error, "{what} was overtaken"),
        Retry::Later if error.is_elsewhere() => tracing::debug!(%topic_id, %error, "{what} waits for another node"),
        Retry::Later => tracing::warn!(%topic_id, %error, wait_ms, "{what} failed and is tried again"),
    }
}

/// Waits for a change or until `until_ms` (of the time that only goes forward), and never returns sooner than [`LOOK_INTERVAL`], so that a busy log does not
/// mean a busy task. False when the cell has stopped.
async fn wait(shared: &Shared, watch: &mut Watch, until_ms: Option<i64>) -> bool {
    let runtime = shared.cell.runtime();
    runtime.sleep(LOOK_INTERVAL).await;
    match until_ms {
        Some(until_ms) => {
            let left_ms = until_ms.saturating_sub(shared.steady_ms()).max(0).unsigned_abs();
            tokio::select! {
                biased;
                () = watch.changed() => {}
                () = runtime.sleep(Duration::from_millis(left_ms)) => {}
                () = shared.cell.stopped() => {}
            }
        }
        None => {
            tokio::select! {
                biased;
                () = watch.changed() => {}
                () = shared.cell.stopped() => {}
            }
        }
    }
    !shared.cell.is_stopped()
}

/// Waits for a while. False when the cell has stopped.
async fn pause(shared: &Shared, duration: Duration) -> bool {
    tokio::select! {
        biased;
        () = shared.cell.runtime().sleep(duration) => {}
        () = shared.cell.stopped() => {}
    }
    !shared.cell.is_stopped()
}

/// Conversions, one at a time: of the topics whose time has come, the one whose last conversion began longest ago, however much waits in
/// another; of those without any, the most urgent.
pub(crate) async fn convert(shared: Arc<Shared>) {
    let mut watch = shared.cell.watch_everything();
    let mut backoffs = Backoffs::default();
    loop {
        let paused = shared.conversion_paused.load(Ordering::Relaxed);
        let due = if paused { Vec::new() } else { shared.conversions_due() };
        let (now_ms, steady_ms) = (shared.now_ms(), shared.steady_ms());
        // What is due by the time of day, by the time that waits go by.
        let when = |backoffs: &Backoffs, topic_id: TopicId, due_ms: i64| {
            steady_ms.saturating_add(due_ms.saturating_sub(now_ms)).max(backoffs.until_ms(topic_id))
        };
        let ready = due.iter().filter(|due| when(&backoffs, due.topic_id, due.due_ms) <= steady_ms).min_by_key(|due| due.begun);
        if let Some(ready) = ready.copied() {
            let result = shared.convert_once(ready.topic_id).await;
            backoffs.note(&shared, "a conversion", ready.topic_id, result);
            if shared.cell.is_stopped() {
                return;
            }
            continue;
        }
        let next_ms = due.iter().map(|due| when(&backoffs, due.topic_id, due.due_ms)).min();
        if !wait(&shared, &mut watch, next_ms).await {
            return;
        }
    }
}

/// Merges, seals, and the folders of deleted topics.
pub(crate) async fn upkeep(shared: Arc<Shared>) {
    let mut watch = shared.cell.watch_everything();
    let mut backoffs = Backoffs::default();
    loop {
        let (mut any_fresh, mut worked) = (false, false);
        for topic_id in shared.topic_ids() {
            let fresh =
                shared.cell.view().topics.get(&topic_id).is_some_and(|topic| !topic.fresh.is_empty() || !topic.plans.is_empty());
            any_fresh |= fresh;
            if !fresh || backoffs.until_ms(topic_id) > shared.steady_ms() {
                continue;
            }
            if shared.seal_wanted(topic_id) {
                let result = shared.seal_once(topic_id, false).await;
                worked |= backoffs.note(&shared, "a seal", topic_id, result).is_some();
            }
            if shared.merge_wanted(topic_id) {
                let result = shared.merge_once(topic_id).await;
                worked |= backoffs.note(&shared, "a merge", topic_id, result).unwrap_or(false);
            }
            if shared.cell.is_stopped() {
                return;
            }
        }
        if shared.dropped_due() {
            let result = shared.empty_dropped_once().await;
            backoffs.note(&shared, "emptying a deleted topic", TopicId::ZERO, result);
        }
        let dropped = !shared.cell.view().dropped.is_empty();
        let look_again = (any_fresh || dropped).then(|| shared.steady_ms().saturating_add(millis(SEAL_LOOK_INTERVAL)));
        let next_ms = if worked { Some(shared.steady_ms()) } else { look_again };
        if !wait(&shared, &mut watch, next_ms).await {
            return;
        }
    }
}

/// Manifests, at most one a topic and interval.
pub(crate) async fn manifests(shared: Arc<Shared>) {
    let mut watch = shared.cell.watch_everything();
    let mut backoffs = Backoffs::default();
    loop {
        if backoffs.until_ms(TopicId::ZERO) <= shared.steady_ms() {
            let result = shared.delete_manifests_of_deleted_topics().await;
            backoffs.note(&shared, "deleting manifests of a deleted topic", TopicId::ZERO, result);
        }
        // What is over by the time that the lists are written is tried again at once.
        let again_ms = Some(backoffs.until_ms(TopicId::ZERO)).filter(|until_ms| *until_ms > shared.steady_ms());
        let due = shared.manifests_due();
        for topic_id in &due {
            if backoffs.until_ms(*topic_id) <= shared.steady_ms() {
                let result = shared.write_manifest_once(*topic_id).await;
                backoffs.note(&shared, "a manifest", *topic_id, result);
            }
            if shared.cell.is_stopped() {
                return;
            }
        }
        let due = shared.manifests_due();
        let next_ms = due.iter().map(|topic_id| backoffs.until_ms(*topic_id).max(shared.steady_ms())).chain(again_ms).min();
        if !pause(&shared, shared.options.manifest_interval).await || !wait(&shared, &mut watch, next_ms).await {
            return;
        }
    }
}

/// Copies the log if it is time.
async fn copy_log(shared: &Shared, first_seen_ms: &mut Option<i64>) -> Result<(), WorkError> {
    shared.measure_index();
    let uncopied = match shared.uncopied().await {
        // The task of the snapshots copied and trimmed it meanwhile.
        Err(WorkError::Trimmed) => return Ok(()),
        uncopied => uncopied?,
    };
    if uncopied.worth_it {
        let since_ms = *first_seen_ms.get_or_insert(shared.steady_ms());
        let late = shared.steady_ms().saturating_sub(since_ms) >= millis(shared.options.log_copy_interval);
        if late || uncopied.entries >= limits::LOG_COPY_ENTRIES {
            shared.copy_log_once(false).await?;
            *first_seen_ms = None;
        }
    } else {
        *first_seen_ms = None;
    }
    Ok(())
}

/// Copies of the log. By themselves: a snapshot that is slow or fails does not keep them waiting.
pub(crate) async fn log_copies(shared: Arc<Shared>) {
    let mut watch = shared.cell.watch_everything();
    let mut backoffs = Backoffs::default();
    let mut first_seen_ms = None;
    loop {
        let mut next_ms = None;
        if backoffs.until_ms(TopicId::ZERO) > shared.steady_ms() {
            next_ms = Some(backoffs.until_ms(TopicId::ZERO));
        } else {
            let result = copy_log(&shared, &mut first_seen_ms).await;
            if backoffs.note(&shared, "a copy of the log", TopicId::ZERO, result).is_none() {
                next_ms = Some(backoffs.until_ms(TopicId::ZERO));
            }
        }
        if let Some(since_ms) = first_seen_ms {
            let copy_ms = since_ms.saturating_add(millis(shared.options.log_copy_interval));
            next_ms = Some(next_ms.map_or(copy_ms, |next: i64| next.max(copy_ms)));
        }
        if !wait(&shared, &mut watch, next_ms).await {
            return;
        }
    }
}

/// Snapshots, when enough was written.
pub(crate) async fn snapshots(shared: Arc<Shared>) {
    let mut watch = shared.cell.watch_everything();
    let mut backoffs = Backoffs::default();
    let mut measured = false;
    loop {
        if backoffs.until_ms(TopicId::ZERO) <= shared.steady_ms() {
            if !measured {
                measured =
                    backoffs.note(&shared, "a look at the log's length", TopicId::ZERO, shared.measure_log().await).is_some();
            }
            let result = shared.snapshot_once(false).await;
            backoffs.note(&shared, "a snapshot", TopicId::ZERO, result);
        }
        let until_ms = backoffs.until_ms(TopicId::ZERO);
        if !wait(&shared, &mut watch, (until_ms > shared.steady_ms()).then_some(until_ms)).await {
            return;
        }
    }
}

/// Retention, every few minutes.
pub(crate) async fn retention(shared: Arc<Shared>) {
    let mut backoffs = Backoffs::default();
    while pause(&shared, shared.options.retention_interval).await {
        let result = shared.retain_once().await;
        backoffs.note(&shared, "retention", TopicId::ZERO, result);
    }
}

/// The garbage list every minute, orphans every hour.
pub(crate) async fn garbage(shared: Arc<Shared>) {
    let mut backoffs = Backoffs::default();
    let mut swept: Option<(i64, Seq)> = None;
    shared.sample_folded();
    while pause(&shared, shared.options.garbage_interval).await {
        shared.sample_folded();
        let result = shared.collect_once().await;
        if matches!(result, Err(WorkError::LeaseElsewhere)) {
            let reported = shared.report_once().await;
            backoffs.note(&shared, "a report", TopicId::ZERO, reported);
            continue;
        }
        backoffs.note(&shared, "a round over the garbage list", TopicId::ZERO, result);
        let now_ms = shared.steady_ms();
        let (last_ms, last_seq) = *swept.get_or_insert((now_ms, Seq::ZERO));
        if now_ms.saturating_sub(last_ms) < millis(shared.options.sweep_interval) {
            continue;
        }
        let seq = shared.cell.seq();
        let result = shared.collect_orphans_once().await;
        backoffs.note(&shared, "a search for orphans", TopicId::ZERO, result);
        if seq > last_seq {
            let result = shared.sweep_bronze_once().await;
            backoffs.note(&shared, "a sweep of bronze/", TopicId::ZERO, result);
        }
        swept = Some((now_ms, shared.cell.seq()));
    }
}
