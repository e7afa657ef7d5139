//! `lost/`: what a rebuild has moved out of the way, kept for people to look at.

use super::Report;
use super::look::look;
use futures::TryStreamExt;
use std::collections::BTreeMap;
use strandline_commands::FileRange;
use strandline_object_store::{Objects, Purpose, crc32c};
use strandline_runtime::Runtime;

/// Out of the way of globs.
pub(super) async fn set_aside(objects: &Objects, path: &str, reason: &str, report: &mut Report) -> anyhow::Result<()> {
    keep_copy(objects, path, reason, report).await?;
    objects.delete(Purpose::Rebuild, path).await?;
    Ok(())
}

/// As [`set_aside`], of a file that another one takes the place of next.
pub(super) async fn keep_copy(objects: &Objects, path: &str, reason: &str, report: &mut Report) -> anyhow::Result<()> {
    let bytes = objects.get(Purpose::Rebuild, path).await?;
    let crc = crc32c(std::slice::from_ref(&bytes));
    // The CRC in the name: another file of the same name may have been set aside before.
    let aside = format!("lost/{crc:08x}/{path}");
    objects.put_new(Purpose::Rebuild, &aside, vec![bytes], crc).await?;
    report.set_aside += 1;
    report.say(format!("moved {path} to {aside}: {reason}"));
    Ok(())
}

/// What earlier rebuilds have moved away: by the path where it lay, its copies.
pub(super) struct Copies(BTreeMap<String, Vec<String>>);

impl Copies {
    /// Lists them.
    pub(super) async fn list(objects: &Objects) -> anyhow::Result<Self> {
        let mut copies = BTreeMap::<String, Vec<String>>::new();
        let mut listed = objects.list(Purpose::Rebuild, "lost");
        while let Some(found) = listed.try_next().await? {
            // lost/CRC/PATH
            if let Some(path) = found.path.splitn(3, '/').nth(2) {
                copies.entry(path.to_owned()).or_default().push(found.path.clone());
            }
        }
        Ok(Self(copies))
    }

    /// What a rebuild that did not end has put an empty file in the place of: the ranges of the copies that have records.
    pub(super) async fn ranges(&self, objects: &Objects, runtime: &Runtime, path: &str) -> anyhow::Result<Vec<FileRange>> {
        let mut ranges = BTreeMap::new();
        for copy in self.0.get(path).into_iter().flatten() {
            if let Some(found) = look(objects, runtime, copy).await?.found() {
                let with_rows = found.file.ranges.iter().filter(|range| range.rows > 0);
                ranges.extend(with_rows.map(|range| ((range.partition, range.start, range.end), range.clone())));
            }
        }
        Ok(ranges.into_values().collect())
    }
}
