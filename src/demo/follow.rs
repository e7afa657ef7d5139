//! A group of two that reads along.

use super::feed::Fed;
use super::tally::Tally;
use super::{PATIENCE, Shared, lock};
use anyhow::Context as _;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use strandline_client::{Assignor, Client, Consumer, ConsumerOptions, Fetched, PartitionName};
use strandline_runtime::Runtime;
use tokio_util::sync::CancellationToken;

pub(super) const GROUP: &str = "demo";

/// What the group read.
pub(super) struct Followed {
    pub(super) came: Tally,
    /// Partitions whose committed offset is not their end.
    pub(super) not_committed: Vec<PartitionName>,
}

pub(super) struct Follow {
    client: Client,
    enough: CancellationToken,
    pub(super) progress: Shared<Tally>,
}

pub(super) fn follow(client: &Client, enough: CancellationToken) -> Follow {
    Follow { client: client.clone(), enough, progress: Arc::default() }
}

/// Waits until the group read everything, as long as that may take.
pub(super) async fn wait_for(progress: &Shared<Tally>, fed: &Fed, runtime: &Runtime) {
    let deadline = runtime.clock.monotonic() + PATIENCE;
    while !lock(progress).covers(&fed.sent) && runtime.clock.monotonic() < deadline {
        runtime.sleep(Duration::from_millis(20)).await;
    }
}

impl Follow {
    /// Reads until it is enough.
    pub(super) async fn run(&self) -> anyhow::Result<Followed> {
        tokio::try_join!(self.member(), self.member())?;
        let came = lock(&self.progress).clone();
        let committed = self.client.admin().group_offsets(GROUP, None).await.context("the group's offsets")?;
        let is_missing =
            |(name, end): &(&PartitionName, i64)| committed.get(*name).map(|committed| committed.offset) != Some(*end);
        let not_committed = came.partitions().filter(is_missing).map(|(name, _)| name.clone()).collect();
        Ok(Followed { came, not_committed })
    }

    async fn member(&self) -> anyhow::Result<()> {
        let mut consumer = self.client.consumer(ConsumerOptions {
            group: Some(GROUP.into()),
            // Nothing is read twice when the second member joins.
            assignors: vec![Assignor::CooperativeSticky],
            auto_commit: Some(Duration::from_secs(1)),
            max_wait: Duration::from_millis(200),
            heartbeat_interval: Duration::from_millis(500),
            ..ConsumerOptions::default()
        });
        consumer.subscribe(&super::TOPICS.map(|(name, _)| name)).context("the group")?;
        let result = self.read(&mut consumer).await;
        let closed = consumer.close().await.context("a member could not leave the group");
        result.and(closed)
    }

    async fn read(&self, consumer: &mut Consumer) -> anyhow::Result<()> {
        loop {
            let fetched = tokio::select! {
                fetched = consumer.poll(Duration::from_millis(500)) => fetched.context("the group could not read")?,
                () = self.enough.cancelled() => return Ok(()),
            };
            take(&fetched, &mut lock(&self.progress))?;
        }
    }
}

/// Takes what was fetched into the tally.
pub(super) fn take(fetched: &Fetched, tally: &mut Tally) -> anyhow::Result<()> {
    for partition in &fetched.partitions {
        let name = (partition.topic.to_string(), partition.partition);
        partition.for_each(|record| {
            tally.add(&name, record);
            ControlFlow::Continue(())
        })?;
    }
    Ok(())
}
