//! Everything once more, from the beginning: by now it all comes from Parquet.

use super::PATIENCE;
use super::feed::Fed;
use super::follow::take;
use super::tally::Tally;
use anyhow::Context as _;
use std::time::Duration;
use strandline_client::{Client, ConsumerOptions, StartAt};

/// What came back.
pub(super) struct Replayed {
    pub(super) came: Tally,
    pub(super) elapsed: Duration,
}

pub(super) async fn replay(client: &Client, fed: &Fed) -> anyhow::Result<Replayed> {
    let clock = client.runtime().clock.clone();
    let started = clock.monotonic();
    let mut consumer = client.consumer(ConsumerOptions { max_wait: Duration::from_millis(100), ..ConsumerOptions::default() });
    let topics = super::TOPICS.map(|(name, _)| name);
    consumer.assign_topics(&topics, StartAt::Earliest).await.context("the replay")?;
    let mut came = Tally::default();
    let mut elapsed = Duration::ZERO;
    while !came.covers(&fed.sent) && clock.monotonic() - started < PATIENCE {
        let fetched = consumer.poll(Duration::from_millis(500)).await.context("the replay could not read")?;
        take(&fetched, &mut came)?;
        elapsed = clock.monotonic() - started;
    }
    // Whatever comes beyond what was sent is wrong, too.
    take(&consumer.poll(Duration::from_millis(300)).await.context("the replay could not read")?, &mut came)?;
    consumer.close().await.context("the replay could not end")?;
    Ok(Replayed { came, elapsed })
}
