//! Where a group goes on reading.

use super::{Admin, OffsetAt, PartitionName};
use crate::error::ClientError;
use std::collections::BTreeMap;

/// Where to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetTo {
    /// The first record.
    Earliest,
    /// The end.
    Latest,
    /// This offset in every partition.
    Offset(i64),
    /// The first record at this time or later, in milliseconds since 1970; the end if there is none.
    Timestamp(i64),
    /// So many records on, or back when negative, from where the group is. What the group never read starts at the end.
    Shift(i64),
}

/// What a reset does to one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetChange {
    /// The partition.
    pub partition: PartitionName,
    /// The committed offset before.
    pub from: Option<i64>,
    /// The one after.
    pub to: i64,
}

impl Admin {
    /// What a reset would do. New offsets always lie in what the partition has.
    ///
    /// # Errors
    /// No broker answers, or a partition does not exist.
    pub async fn plan_reset(
        &self,
        group: &str,
        partitions: &[PartitionName],
        to: ResetTo,
    ) -> Result<Vec<OffsetChange>, ClientError> {
        let committed = self.group_offsets(group, Some(partitions)).await?;
        let earliest = self.offsets_at(partitions, OffsetAt::Earliest).await?;
        let latest = self.offsets_at(partitions, OffsetAt::Latest).await?;
        let found = match to {
            ResetTo::Timestamp(timestamp_ms) => self.offsets_at(partitions, OffsetAt::Timestamp(timestamp_ms)).await?,
            _ => BTreeMap::new(),
        };
        let change = |partition: &PartitionName| {
            let offset = |offsets: &BTreeMap<PartitionName, Option<i64>>| offsets.get(partition).copied().flatten();
            let (start, end) = (offset(&earliest).unwrap_or(0), offset(&latest).unwrap_or(0));
            let from = committed.get(partition).map(|committed| committed.offset);
            let to = match to {
                ResetTo::Earliest => start,
                ResetTo::Latest => end,
                ResetTo::Offset(offset) => offset,
                ResetTo::Timestamp(_) => offset(&found).unwrap_or(end),
                ResetTo::Shift(by) => from.unwrap_or(end).saturating_add(by),
            };
            OffsetChange { partition: partition.clone(), from, to: to.max(start).min(end.max(start)) }
        };
        Ok(partitions.iter().map(change).collect())
    }

    /// Carries a reset out. The group must have no members.
    ///
    /// # Errors
    /// As [`Self::commit_group_offsets`].
    pub async fn reset_offsets(&self, group: &str, changes: &[OffsetChange]) -> Result<(), ClientError> {
        let offsets = changes.iter().map(|change| (change.partition.clone(), change.to)).collect();
        self.commit_group_offsets(group, &offsets).await
    }
}
