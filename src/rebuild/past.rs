//! The index as far back as the bucket tells: snapshot, then copies of the log.

use super::Report;
use anyhow::bail;
use futures::TryStreamExt;
use strandline_compactor::{LOG_COPY_PREFIX, LogCopy, LogCopyName, SNAPSHOT_PREFIX, SnapshotName};
use strandline_index::{Index, decode_snapshot, digest_of};
use strandline_object_store::{Objects, Purpose};
use strandline_types::limits;

pub(super) async fn newest_index(objects: &Objects, report: &mut Report) -> anyhow::Result<Index> {
    let mut index = newest_snapshot(objects, report).await?;
    let mut copies: Vec<LogCopyName> = Vec::new();
    let mut listed = objects.list(Purpose::Rebuild, LOG_COPY_PREFIX.trim_end_matches('/'));
    while let Some(found) = listed.try_next().await? {
        match found.path.parse::<LogCopyName>() {
            Ok(name) => copies.push(name),
            Err(error) => report.say(format!("passed over: {error}")),
        }
    }
    // A cell without a snapshot begins with its first entry, in the newest epoch that reaches back to it.
    let epoch = match index.cell.cluster_id.is_empty() {
        true => copies.iter().filter(|copy| copy.from.0 == 1).map(|copy| copy.cell_epoch).max().unwrap_or(0),
        false => index.cell.cell_epoch,
    };
    copies.retain(|copy| copy.cell_epoch == epoch);
    copies.sort_unstable_by_key(|copy| (copy.from, copy.to));
    for name in copies {
        if name.to <= index.cell.seq {
            continue;
        }
        if name.from > index.cell.seq.next() {
            report.say(format!(
                "a copy of the log is missing: entries {} to {} are not known",
                index.cell.seq.next(),
                name.from.0 - 1
            ));
            break;
        }
        let bytes = objects.get(Purpose::Rebuild, &name.to_string()).await?;
        let copy = match LogCopy::decode(&bytes) {
            Ok(copy) => copy,
            Err(error) => {
                report.say(format!("{name}: {error}; nothing after it is known"));
                break;
            }
        };
        for row in copy.rows.into_iter().filter(|row| row.seq > index.cell.seq).collect::<Vec<_>>() {
            index.fold(row.seq, &row.bytes)?;
        }
    }
    if index.cell.cluster_id.is_empty() {
        bail!("there is nothing to rebuild from: neither a snapshot under store/index/ nor copies of the log under store/log/");
    }
    report.say(format!("the snapshot and the copies of the log reach to entry {}", index.cell.seq));
    Ok(index)
}

/// The largest epoch in any name of a snapshot or a copy of the log.
pub(super) async fn newest_epoch(objects: &Objects) -> anyhow::Result<u32> {
    let mut newest = 0;
    for prefix in [SNAPSHOT_PREFIX, LOG_COPY_PREFIX] {
        let mut listed = objects.list(Purpose::Rebuild, prefix.trim_end_matches('/'));
        while let Some(found) = listed.try_next().await? {
            let of_snapshot = found.path.parse::<SnapshotName>().map(|name| name.cell_epoch).ok();
            let of_copy = found.path.parse::<LogCopyName>().map(|name| name.cell_epoch).ok();
            newest = newest.max(of_snapshot.or(of_copy).unwrap_or(0));
        }
    }
    Ok(newest)
}

async fn newest_snapshot(objects: &Objects, report: &mut Report) -> anyhow::Result<Index> {
    let mut names: Vec<SnapshotName> = Vec::new();
    let mut listed = objects.list(Purpose::Rebuild, SNAPSHOT_PREFIX.trim_end_matches('/'));
    while let Some(found) = listed.try_next().await? {
        match found.path.parse() {
            Ok(name) => names.push(name),
            Err(error) => report.say(format!("passed over: {error}")),
        }
    }
    names.sort_unstable();
    while let Some(name) = names.pop() {
        let key = name.to_string();
        let bytes = objects.get_in_pieces(Purpose::Rebuild, &key, limits::SNAPSHOT_BYTES).await?;
        match decode_snapshot(&bytes) {
            Ok(index) if digest_of(&bytes) == name.digest && index.cell.seq == name.seq => {
                report.say(format!("began with the snapshot of entry {}", name.seq));
                return Ok(index);
            }
            Ok(_) => report.say(format!("passed over: {key} is not what its name says")),
            Err(error) => report.say(format!("passed over: {key}: {error}")),
        }
    }
    Ok(Index::default())
}
