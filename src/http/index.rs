//! `strandline index`: what the cell knows of itself.

use super::Failure;
use crate::node::Parts;
use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use strandline_index::Index;

/// The index in numbers, and whether its invariants hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IndexReport {
    /// Kafka's cluster id.
    pub cluster_id: String,
    /// 1, and one more with each rebuild.
    pub cell_epoch: u32,
    /// The rules that the fold follows.
    pub fold_version: u32,
    /// The last entry folded.
    pub seq: u64,
    /// Its hash in the chain.
    pub chain_hash: String,
    /// SHA-256 of the index's canonical encoding.
    pub digest: String,
    /// Its bytes.
    pub snapshot_bytes: u64,
    /// The lowest entry that can be read.
    pub floor: u64,
    /// The snapshot that a start begins from.
    pub floor_snapshot: Option<String>,
    /// A second fold disagreed with a snapshot: what is known of it.
    #[serde(default)]
    pub disagreement: Option<String>,
    /// How full the bounded parts of the index are: what they hold, and their bound.
    #[serde(default)]
    pub parts: std::collections::BTreeMap<String, (u64, u64)>,
    /// The bucket's copy of the log covers this.
    pub log_copied: u64,
    /// Names of objects below this seq are refused.
    pub horizon: u64,
    /// Nodes that are alive as far as the log knows: id, host, port.
    pub nodes: Vec<(i32, String, u32)>,
    /// Topics, partitions, extents, producers, groups, leases, objects on the garbage list.
    pub counts: std::collections::BTreeMap<String, u64>,
    /// Broken invariants, in words; empty when all hold.
    pub violations: Vec<String>,
}

pub(super) async fn inspect(State(parts): State<Arc<Parts>>) -> Result<Json<IndexReport>, Failure> {
    let floor = strandline_commit_log::CommitLog::floor(&*parts.log).await?;
    let index = parts.cell.view().clone();
    let report = parts.runtime.spawner.blocking("inspect the index", move || {
        let snapshot = strandline_index::encode_snapshot(&index);
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let counts = [
            ("topics", index.topics.len() as u64),
            ("partitions", index.partition_count),
            ("extents", index.extent_count),
            ("producers", index.producers.len() as u64),
            ("groups", index.groups.len() as u64),
            ("leases", index.leases.len() as u64),
            ("garbage objects", index.garbage.len() as u64),
            ("WAL segments", index.wal_objects.len() as u64),
        ];
        IndexReport {
            cluster_id: index.cell.cluster_id.clone(),
            cell_epoch: index.cell.cell_epoch,
            fold_version: index.cell.fold_version,
            seq: index.cell.seq.0,
            chain_hash: index.cell.hash.to_string(),
            digest: hex(&strandline_index::digest_of(&snapshot)),
            snapshot_bytes: snapshot.len() as u64,
            floor: floor.seq.0,
            floor_snapshot: floor.snapshot.map(|snapshot| snapshot.key),
            disagreement: disagreement(&index),
            parts: index.parts().into_iter().map(|(part, fill, bound)| (part.to_owned(), (fill, bound))).collect(),
            log_copied: index.cell.log_copied.0,
            horizon: index.cell.horizon.0,
            nodes: index
                .slots
                .iter()
                .filter(|(_, slot)| slot.holder.is_some())
                .map(|(id, slot)| (*id, slot.host.clone(), slot.port))
                .collect(),
            counts: counts.into_iter().map(|(name, count)| (name.to_owned(), count)).collect(),
            violations: index.violations(),
        }
    });
    Ok(Json(report.await?))
}

/// A snapshot now. Who asks for one has looked at a disagreement about an earlier one: that is cleared if this one is agreed to.
pub(super) async fn snapshot(State(parts): State<Arc<Parts>>) -> Result<String, Failure> {
    let taken = parts.compactor.snapshot_once(true).await?;
    let cleared = parts.compactor.clear_disagreement_once().await?;
    if let Some(disagreement) = disagreement(&parts.cell.view()) {
        return Err(anyhow::anyhow!(disagreement).into());
    }
    let mut said = match taken {
        Some(seq) => format!("a snapshot of entry {seq} was written and verified\n"),
        None => "there is nothing newer than the last snapshot\n".to_owned(),
    };
    if cleared {
        said += "the disagreement about an earlier snapshot is cleared: trimming and garbage collection go on\n";
    }
    Ok(said)
}

/// What is wrong with the snapshots, for people; None if nothing is.
pub(super) fn disagreement(index: &Index) -> Option<String> {
    let snapshot = &index.cell.snapshot;
    if !snapshot.disagreed {
        return None;
    }
    let written = snapshot.written.as_ref().map_or("none", |(_, _, key, _)| key);
    let what_to_do = if snapshot.written.is_none() || snapshot.written != snapshot.agreed {
        "the newest one was not agreed to"
    } else {
        "a newer one was agreed to: `strandline index snapshot` clears it"
    };
    let text = "a second fold disagreed with a snapshot, and nothing is trimmed or collected";
    Some(format!("{text}; the newest is {written}, {what_to_do}"))
}
