//! The end: what happened, whether it was right, and how to open the data.

use super::feed::Fed;
use super::files::Files;
use super::follow::Followed;
use super::histogram::show;
use super::replay::Replayed;
use super::screen::bytes;
use super::tally::Tally;
use crate::node::NodeStatus;
use crate::output::say;
use std::path::Path;
use std::time::Duration;
use strandline_traffic::TELEMETRY;

pub(super) struct Summary {
    pub(super) fed: Fed,
    pub(super) followed: Followed,
    pub(super) replayed: Replayed,
    pub(super) status: NodeStatus,
    pub(super) sealing: Duration,
}

impl Summary {
    pub(super) const fn acknowledged(&self) -> &Tally {
        &self.fed.sent
    }

    /// Prints the table; returns what was wrong.
    pub(super) fn print(&self, files: &Files) -> anyhow::Result<Vec<String>> {
        let sent = &self.fed.sent;
        let mut wrong = Vec::new();
        let mut check = |found: Vec<String>, who: &str| {
            let verdict = if found.is_empty() { "✓" } else { "✗" };
            wrong.extend(found.into_iter().map(|what| format!("{who}: {what}")));
            verdict
        };
        let group = check(self.followed.came.differences(sent), "the group");
        let not_committed =
            self.followed.not_committed.iter().map(|name| format!("{}-{} is not committed to its end", name.0, name.1));
        let commits = check(not_committed.collect(), "the group");
        let replay = check(self.replayed.came.differences(sent), "the replay");
        let mut left = Vec::new();
        if self.status.wal_records > 0 {
            left.push(format!("{} records are not yet in Parquet", self.status.wal_records));
        }
        if self.status.fresh_segments > 0 {
            left.push(format!("{} files are not sealed", self.status.fresh_segments));
        }
        let sealed = check(left, "sealing");
        let manifests = check(files.wrong.clone(), "the files");

        say!()?;
        for (name, value) in [
            (
                "sent and acknowledged",
                format!(
                    "{} events, {}, {:.0} events/s",
                    sent.events(),
                    bytes(sent.bytes),
                    sent.events() as f64 / self.fed.elapsed.as_secs_f64()
                ),
            ),
            (
                "acknowledged after",
                format!(
                    "p50 {}, p99 {} (durable on disk)",
                    show(self.fed.latency.quantile(0.5)),
                    show(self.fed.latency.quantile(0.99))
                ),
            ),
            (
                "queryable after",
                format!(
                    "p50 {}, p99 {} at most",
                    show(self.fed.freshness.quantile(0.5)),
                    show(self.fed.freshness.quantile(0.99))
                ),
            ),
            (
                "read along by a group of two",
                format!("{group} {} events, once each, in order, the same", self.followed.came.events()),
            ),
            ("its offsets committed", format!("{commits} {} partitions", self.followed.came.partitions().count())),
            ("sealed", format!("{sealed} in {}", show(self.sealing))),
            (
                "read back from Parquet",
                format!(
                    "{replay} {} events in {}, {}/s",
                    self.replayed.came.events(),
                    show(self.replayed.elapsed),
                    bytes((self.replayed.came.bytes as f64 / self.replayed.elapsed.as_secs_f64().max(0.001)) as u64)
                ),
            ),
            (
                "files as the manifests say",
                format!(
                    "{manifests} {} files, {} rows, {}",
                    total(files, |one| one.files),
                    total(files, |one| one.rows),
                    bytes(total(files, |one| one.bytes))
                ),
            ),
        ] {
            say!("  {name:<30}{value}")?;
        }
        say!()?;
        say!("  {:<24}{:>12}{:>8}{:>12}", "topic", "rows", "files", "bytes")?;
        for (topic, one) in &files.topics {
            say!("  {topic:<24}{:>12}{:>8}{:>12}", one.rows, one.files, bytes(one.bytes))?;
        }
        Ok(wrong)
    }
}

fn total(files: &Files, of: impl Fn(&super::files::TopicFiles) -> u64) -> u64 {
    files.topics.values().map(of).sum()
}

/// The lines that open the data with DuckDB, and only with it.
pub(super) fn print_queries(data: &Path, is_kept: bool, files: &Files) -> anyhow::Result<()> {
    let Some(telemetry) = files.topics.get(TELEMETRY) else { return Ok(()) };
    let store = data.join("store");
    let store = store.display();
    say!()?;
    if !is_kept {
        return say!("With --keep the folder stays, and the lines that open it with DuckDB are printed here.");
    }
    say!("Open it with DuckDB:")?;
    say!()?;
    say!(
        "  duckdb -c \"SELECT ce_type, count(*) AS events, min(kafka_timestamp) AS first, max(kafka_timestamp) AS last FROM read_parquet('{store}/bronze/*/*/*/*.parquet', union_by_name=true) GROUP BY ce_type ORDER BY events DESC\""
    )?;
    say!()?;
    say!("Exactly what is in the log, sealed or not (here: telemetry):")?;
    say!()?;
    say!(
        "  duckdb -c \"SET VARIABLE files = (SELECT list('{store}/' || f.path) FROM (SELECT unnest(files) f FROM read_json('{store}/manifest/{}/*.json'))); SELECT kafka_key_text AS vehicle, count(*) AS events, round(avg((kafka_value_text->>'$.speed_kmh')::DOUBLE), 1) AS kmh FROM read_parquet(getvariable('files'), union_by_name=true) GROUP BY vehicle ORDER BY events DESC LIMIT 5\"",
        telemetry.folder
    )
}
