//! Where a partition begins: the group's committed offset, else what the options say.

use super::{Consumer, Event, StartAt};
use crate::admin::{Isolation, OffsetAt, PartitionName};
use crate::client::Client;
use crate::error::{ClientError, Retry};
use std::collections::BTreeMap;
use std::time::Duration;

/// One partition's beginning.
pub(super) struct Resolved {
    name: PartitionName,
    epoch: u64,
    offset: Result<i64, ClientError>,
}

struct Wanted {
    name: PartitionName,
    epoch: u64,
    start: StartAt,
    from_committed: bool,
}

impl Consumer {
    pub(super) fn start_resolving(&mut self, now: Duration) {
        if self.resolving || now < self.resolve_not_before {
            return;
        }
        let unknown = self.positions.iter().filter(|(_, position)| position.offset.is_none());
        let wanted: Vec<Wanted> = unknown
            .map(|(name, position)| Wanted {
                name: name.clone(),
                epoch: position.epoch,
                start: position.start,
                from_committed: position.from_committed,
            })
            .collect();
        if wanted.is_empty() {
            return;
        }
        self.resolving = true;
        let client = self.client.clone();
        let (group, isolation) = (self.options.group.clone(), self.options.isolation);
        self.running.push(Box::pin(async move { Event::Resolved(resolve(client, group, isolation, wanted).await) }));
    }

    pub(super) fn resolved(&mut self, result: Result<Vec<Resolved>, ClientError>, now: Duration) -> Result<(), ClientError> {
        self.resolving = false;
        let resolved = match result {
            Ok(resolved) => resolved,
            Err(error) if error.retry() == Retry::Never => return Err(error),
            Err(error) => {
                tracing::debug!(%error, "offsets to begin with again later");
                self.client.retried(&error);
                self.resolve_not_before = now + self.backoff.next(self.client.runtime());
                return Ok(());
            }
        };
        self.backoff.reset();
        // One without an offset keeps no other from its own.
        let mut failed = None;
        for Resolved { name, epoch, offset } in resolved {
            let Some(position) = self.positions.get_mut(&name).filter(|position| position.epoch == epoch) else { continue };
            match offset {
                Ok(offset) => position.offset = Some(offset),
                Err(error) if error.retry() == Retry::Never => {
                    failed.get_or_insert(error);
                }
                Err(error) => {
                    self.client.retried(&error);
                    self.resolve_not_before = now + self.client.options().backoff_longest;
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }
}

async fn resolve(
    client: Client,
    group: Option<String>,
    isolation: Isolation,
    wanted: Vec<Wanted>,
) -> Result<Vec<Resolved>, ClientError> {
    let admin = client.admin();
    let by_group: Vec<PartitionName> =
        wanted.iter().filter(|wanted| wanted.from_committed).map(|wanted| wanted.name.clone()).collect();
    let committed = match &group {
        Some(group) if !by_group.is_empty() => admin.group_offsets(group, Some(&by_group)).await?,
        _ => BTreeMap::new(),
    };
    let mut found: BTreeMap<PartitionName, Result<i64, ClientError>> = BTreeMap::new();
    let mut ask = BTreeMap::new();
    for wanted in &wanted {
        let name = &wanted.name;
        match (committed.get(name), wanted.start) {
            (Some(committed), _) if wanted.from_committed => drop(found.insert(name.clone(), Ok(committed.offset))),
            (_, StartAt::Offset(offset)) => drop(found.insert(name.clone(), Ok(offset))),
            (_, StartAt::Earliest) => drop(ask.insert(name.clone(), OffsetAt::Earliest)),
            (_, StartAt::Latest) => drop(ask.insert(name.clone(), OffsetAt::Latest)),
            (_, StartAt::Timestamp(timestamp_ms)) => drop(ask.insert(name.clone(), OffsetAt::Timestamp(timestamp_ms))),
            (_, StartAt::Fail) => {
                let error = ClientError::NoOffset { topic: name.0.clone(), partition: name.1 };
                found.insert(name.clone(), Err(error));
            }
        }
    }
    let mut after_all = BTreeMap::new();
    if !ask.is_empty() {
        for (name, result) in admin.list_offsets(ask, isolation).await? {
            match result.map(|listed| listed.offset) {
                Ok(Some(offset)) => drop(found.insert(name, Ok(offset))),
                // No record is as late as the time asked for.
                Ok(None) => drop(after_all.insert(name, OffsetAt::Latest)),
                Err(error) => drop(found.insert(name, Err(error))),
            }
        }
    }
    if !after_all.is_empty() {
        for (name, result) in admin.list_offsets(after_all, isolation).await? {
            found.insert(name, result.map(|listed| listed.offset.unwrap_or(0)));
        }
    }
    let resolved = wanted.into_iter().filter_map(|wanted| {
        let offset = found.remove(&wanted.name)?;
        Some(Resolved { name: wanted.name, epoch: wanted.epoch, offset })
    });
    Ok(resolved.collect())
}
