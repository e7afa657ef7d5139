//! The index as far back as the bucket tells: snapshot, then copies of the log.

use super::Report;
use anyhow::bail;
use std::fmt::Display;
use std::str::FromStr;
use strandline_compactor::{LOG_COPY_PREFIX, LogCopy, LogCopyName, SNAPSHOT_PREFIX, SnapshotName};
use strandline_index::Index;
use strandline_object_store::{Objects, Purpose};
use strandline_types::limits;

pub(super) async fn newest_index(objects: &Objects, report: &mut Report) -> anyhow::Result<Index> {
    let snapshots: Vec<SnapshotName> = names(objects, SNAPSHOT_PREFIX, report).await?;
    let copies: Vec<LogCopyName> = names(objects, LOG_COPY_PREFIX, report).await?;
    let (mut index, from) = match newest_snapshot(objects, &snapshots, report).await? {
        Some((index, name)) => (index, Some(name)),
        None => (Index::default(), None),
    };
    fold_copies(objects, &mut index, &copies, report).await?;
    if index.cell.cluster_id.is_empty() {
        bail!("there is nothing to rebuild from: neither a snapshot under store/index/ nor copies of the log under store/log/");
    }
    if let Some(agreed) = from.and_then(|from| agreed_before(&index, &from)) {
        let mut again = Report::default();
        let older: Vec<SnapshotName> = snapshots.into_iter().filter(|name| *name == agreed).collect();
        if let Some((mut agreed, _)) = newest_snapshot(objects, &older, &mut again).await? {
            fold_copies(objects, &mut agreed, &copies, &mut again).await?;
            if agreed.cell.seq >= index.cell.seq {
                report.say(
                    "a second fold disagreed with that snapshot: begun anew with the newest one that was agreed to".to_owned(),
                );
                report.lines.append(&mut again.lines);
                index = agreed;
            }
        }
    }
    report.say(format!("the snapshot and the copies of the log reach to entry {}", index.cell.seq));
    Ok(index)
}

/// The newest snapshot that was agreed to, where a second fold disagreed with one after it and that one was begun with.
fn agreed_before(index: &Index, from: &SnapshotName) -> Option<SnapshotName> {
    let snapshot = &index.cell.snapshot;
    let (_, _, key, _) = snapshot.agreed.as_ref().filter(|(seq, ..)| snapshot.disagreed && *seq < from.seq)?;
    key.parse().ok()
}

/// The names below a prefix, in order; says what is none.
async fn names<N: FromStr<Err: Display> + Ord>(objects: &Objects, prefix: &str, report: &mut Report) -> anyhow::Result<Vec<N>> {
    let mut names = Vec::new();
    for name in strandline_compactor::names::<N>(objects, Purpose::Rebuild, prefix).await? {
        match name {
            Ok(name) => names.push(name),
            Err(error) => report.say(format!("passed over: {error}")),
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Goes on from an index as far as the copies tell.
async fn fold_copies(objects: &Objects, index: &mut Index, copies: &[LogCopyName], report: &mut Report) -> anyhow::Result<()> {
    // A cell without a snapshot begins with its first entry, in the newest epoch that reaches back to it.
    let epoch = match index.cell.cluster_id.is_empty() {
        true => copies.iter().filter(|copy| copy.from.0 == 1).map(|copy| copy.cell_epoch).max().unwrap_or(0),
        false => index.cell.cell_epoch,
    };
    for name in copies.iter().filter(|copy| copy.cell_epoch == epoch) {
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
    Ok(())
}

/// The largest epoch in any name of a snapshot or a copy of the log.
pub(super) async fn newest_epoch(objects: &Objects) -> anyhow::Result<u32> {
    let snapshots = strandline_compactor::names::<SnapshotName>(objects, Purpose::Rebuild, SNAPSHOT_PREFIX).await?;
    let copies = strandline_compactor::names::<LogCopyName>(objects, Purpose::Rebuild, LOG_COPY_PREFIX).await?;
    let of_snapshots = snapshots.into_iter().flatten().map(|name| name.cell_epoch);
    Ok(of_snapshots.chain(copies.into_iter().flatten().map(|name| name.cell_epoch)).max().unwrap_or(0))
}

/// The last of these that is whole.
async fn newest_snapshot(
    objects: &Objects,
    names: &[SnapshotName],
    report: &mut Report,
) -> anyhow::Result<Option<(Index, SnapshotName)>> {
    for name in names.iter().rev() {
        let key = name.to_string();
        let bytes = objects.get_in_pieces(Purpose::Rebuild, &key, limits::SNAPSHOT_BYTES).await?;
        match name.read(&bytes) {
            Ok(index) => {
                report.say(format!("began with the snapshot of entry {}", name.seq));
                return Ok(Some((index, *name)));
            }
            Err(error) => report.say(format!("passed over: {key}: {error}")),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use strandline_commands::{AgreeSnapshot, Command, Commit, CreateCell, EntryBody, Join, WroteSnapshot, encode};
    use strandline_commit_log::Row;
    use strandline_index::{digest_of, encode_snapshot};
    use strandline_object_store::crc32c;
    use strandline_runtime::Runtime;

    async fn put(objects: &Objects, key: &str, bytes: bytes::Bytes) {
        let crc = crc32c(std::slice::from_ref(&bytes));
        objects.put_new(Purpose::Rebuild, key, vec![bytes], crc).await.unwrap();
    }

    fn entry(index: &mut Index, rows: &mut Vec<Row>, commands: Vec<Command>) {
        let seq = index.cell.seq.next();
        // The first is of nobody, the others of the node that joined in it.
        let (incarnation, n) = (u64::from(seq.0 > 1), seq.0 - 1);
        let body = EntryBody {
            hash_before: index.cell.hash.0.to_vec(),
            cell_epoch: 1,
            commits: vec![Commit { incarnation, n, commands, ..Commit::default() }],
            ..EntryBody::default()
        };
        let bytes = encode(&body).unwrap();
        rows.push(Row { seq, hash_before: index.cell.hash, bytes: bytes.clone(), payload_length: 0 });
        index.fold(seq, &bytes).unwrap();
    }

    /// Puts it, and writes of it.
    async fn snapshot(objects: &Objects, of: &Index) -> WroteSnapshot {
        let bytes = encode_snapshot(of);
        let digest = digest_of(&bytes);
        let key = SnapshotName { cell_epoch: of.cell.cell_epoch, seq: of.cell.seq, digest }.to_string();
        put(objects, &key, bytes).await;
        WroteSnapshot { seq: of.cell.seq.0, digest: digest.to_vec(), key, fold_version: of.cell.fold_version }
    }

    #[tokio::test(start_paused = true)]
    async fn a_snapshot_in_dispute_gives_way_to_the_one_that_was_agreed_to() {
        let objects = Objects::in_memory(&Runtime::simulated(1, 0));
        let (mut index, mut rows) = (Index::default(), Vec::new());
        let create = CreateCell { cluster_id: "c".repeat(22), fold_version: 2 };
        let join = Join { nonce: vec![1], fold_version_supported: 2, ..Join::default() };
        entry(&mut index, &mut rows, vec![create.into(), join.into()]);
        let good = snapshot(&objects, &index).await;
        let agreed = AgreeSnapshot { seq: good.seq, digest: good.digest.clone() };
        entry(&mut index, &mut rows, vec![good.into()]);
        entry(&mut index, &mut rows, vec![agreed.into()]);
        let mut wrong = index.clone();
        wrong.cell.features_epoch += 1;
        let written = snapshot(&objects, &wrong).await;
        let disputed = AgreeSnapshot { seq: written.seq, digest: vec![1; 32] };
        entry(&mut index, &mut rows, vec![written.into()]);
        entry(&mut index, &mut rows, vec![disputed.into()]);
        assert!(index.cell.snapshot.disagreed);
        let copy = LogCopy { cell_epoch: index.cell.cell_epoch, rows };
        put(&objects, &copy.name().unwrap().to_string(), copy.encode()).await;
        let mut report = Report::default();
        let found = newest_index(&objects, &mut report).await.unwrap();
        assert_eq!(found.cell, index.cell, "{:?}", report.lines);
        assert!(report.lines.iter().any(|line| line.contains("begun anew")));
    }
}
