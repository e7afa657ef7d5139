//! How long until an acknowledged record is a row of the Parquet, seen from outside: the n-th record that was acknowledged
//! against the moment when the node says that it has n rows. Conversions take all partitions of a topic, so records become
//! rows about in the order in which they were acknowledged.

use crate::latency::{Latencies, LatencySummary};
use crate::load::Shared;
use crate::node_http::NodeHttp;
use std::time::Duration;
use strandline_runtime::Runtime;

/// How often the node is asked; freshness is known to within this.
const POLL: Duration = Duration::from_millis(200);

/// Counts at moments, both only growing.
#[derive(Debug, Clone, Default)]
pub struct Progress(Vec<(Duration, u64)>);

impl Progress {
    /// So many by now.
    pub fn add(&mut self, at: Duration, count: u64) {
        match self.0.last() {
            Some((_, last)) if *last >= count => {}
            _ => self.0.push((at, count)),
        }
    }

    /// When there were so many at first.
    fn reached(&self, count: u64) -> Option<Duration> {
        let index = self.0.partition_point(|(_, reached)| *reached < count);
        self.0.get(index).map(|(at, _)| *at)
    }

    /// How many in the end.
    pub fn count(&self) -> u64 {
        self.0.last().map_or(0, |(_, count)| *count)
    }
}

/// For each acknowledged record how long until there were as many rows, and how many records never became rows. Those had waited
/// until the end, `until`, and count with that: left out, they would make the others' times look better.
///
/// # Errors
/// None.
pub fn distances(acknowledged: &Progress, rows: &Progress, until: Duration) -> anyhow::Result<(LatencySummary, u64)> {
    let mut latencies = Latencies::new(3)?;
    let mut before = 0;
    for (at, count) in &acknowledged.0 {
        let reached = rows.reached(*count).unwrap_or(until);
        latencies.add(reached.saturating_sub(*at), count - before);
        before = *count;
    }
    Ok((latencies.summary(), acknowledged.count().saturating_sub(rows.count())))
}

/// Asks the node for its rows until the runtime's tasks end; rows that were there before do not count.
///
/// # Errors
/// The node does not answer.
pub async fn watch(runtime: &Runtime, http: &str) -> anyhow::Result<Shared<Progress>> {
    let node = NodeHttp::new(runtime, http);
    let base = node.status().await?.bronze_rows;
    let progress = Shared::<Progress>::default();
    let (into, runtime) = (progress.clone(), runtime.clone());
    let spawner = runtime.spawner.clone();
    spawner.spawn("freshness", async move {
        loop {
            if let Ok(status) = node.status().await {
                let now = runtime.clock.monotonic();
                into.with(|progress| progress.add(now, status.bronze_rows.saturating_sub(base)));
            }
            runtime.sleep(POLL).await;
        }
    });
    Ok(progress)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_record_waits_until_there_are_as_many_rows() {
        let at = Duration::from_secs;
        let (mut acknowledged, mut rows) = (Progress::default(), Progress::default());
        for second in 1..=10 {
            acknowledged.add(at(second), second * 100);
        }
        rows.add(at(4), 300);
        rows.add(at(5), 300);
        rows.add(at(8), 700);
        let (summary, missing) = distances(&acknowledged, &rows, at(20)).unwrap();
        // 100 records each waited 3, 2, 1 s, then 4, 3, 2, 1 s; the others 12, 11, 10 s, in vain.
        assert_eq!((summary.count, missing), (1_000, 300));
        assert!((summary.mean_ms / 1e3 - 4.9).abs() < 0.01, "{}", summary.mean_ms);
        assert!((summary.max_ms / 12e3 - 1.0).abs() < 0.002);
        assert_eq!((rows.count(), rows.reached(0), rows.reached(701)), (700, Some(at(4)), None));
    }
}
