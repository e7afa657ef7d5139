//! What a topic has: by its offsets, and by reading every record.

use crate::load::Target;
use anyhow::Context as _;
use clap::Args;
use serde::Serialize;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;
use strandline_client::{ConsumerOptions, OffsetAt, StartAt};
use strandline_runtime::Runtime;

/// Counts what a topic has, from its first to its last offset
#[derive(Debug, Clone, Args)]
pub struct CountArgs {
    #[command(flatten)]
    target: Target,
    /// Whether every record is read, with its checksum; without, only offsets are asked for
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set)]
    read: bool,
    /// It fails if reading takes longer
    #[arg(long, default_value_t = 1_200.0)]
    timeout_seconds: f64,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Counted {
    /// Offsets from the first to the end, of all partitions.
    pub offsets: u64,
    /// Partitions that have any.
    pub partitions: usize,
    /// What was read of them; zeros unless it was asked for.
    pub read: Read,
}

/// Records that came, against the offsets that there are.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Read {
    /// Each at the offset that was next.
    pub records: u64,
    /// Offsets without a record.
    pub missing: u64,
    /// Records at an offset that had come already.
    pub repeated: u64,
}

/// One partition, as far as it was read.
#[derive(Debug, Clone, Copy)]
struct Place {
    next: i64,
    end: i64,
}

impl Read {
    fn take(&mut self, place: &mut Place, offset: i64) {
        if offset >= place.end {
            return;
        }
        if offset < place.next {
            self.repeated += 1;
        } else {
            self.skip_to(place, offset);
            self.records += 1;
            place.next = offset + 1;
        }
    }

    fn skip_to(&mut self, place: &mut Place, offset: i64) {
        let to = offset.min(place.end);
        self.missing += (to - place.next).max(0).unsigned_abs();
        place.next = place.next.max(to);
    }
}

/// Runs it.
///
/// # Errors
/// No broker, no topic, a record that cannot be read, or not all within the time.
pub async fn run(runtime: &Runtime, args: CountArgs) -> anyhow::Result<Counted> {
    let client = args.target.client(runtime)?;
    let topic = client.topic(&args.target.topic).await?;
    let names: Vec<_> = topic.partitions.iter().map(|one| (args.target.topic.clone(), one.partition)).collect();
    let starts = client.admin().offsets_at(&names, OffsetAt::Earliest).await?;
    let ends = client.admin().offsets_at(&names, OffsetAt::Latest).await?;
    let mut places = BTreeMap::new();
    for name in &names {
        let (start, end) = starts.get(name).copied().flatten().zip(ends.get(name).copied().flatten()).context("no offset")?;
        places.insert(name.1, Place { next: start, end });
    }
    let lengths = || places.values().map(|place| (place.end - place.next).max(0).unsigned_abs());
    let mut counted =
        Counted { offsets: lengths().sum(), partitions: lengths().filter(|length| *length > 0).count(), read: Read::default() };
    if !args.read {
        return Ok(counted);
    }
    let mut consumer = client.consumer(ConsumerOptions { check_crcs: true, ..ConsumerOptions::default() });
    consumer
        .assign(places.iter().map(|(partition, place)| ((args.target.topic.clone(), *partition), StartAt::Offset(place.next))));
    let deadline = runtime.clock.monotonic() + Duration::from_secs_f64(args.timeout_seconds);
    while places.values().any(|place| place.next < place.end) {
        anyhow::ensure!(runtime.clock.monotonic() < deadline, "not read within {} s: {counted:?}", args.timeout_seconds);
        let fetched = consumer.poll(Duration::from_millis(100)).await?;
        for partition in &fetched.partitions {
            let Some(place) = places.get_mut(&partition.partition) else { continue };
            partition.for_each(|record| {
                counted.read.take(place, record.offset);
                ControlFlow::Continue(())
            })?;
            // What an answer covers without a record in it is not there.
            counted.read.skip_to(place, partition.next_offset);
        }
    }
    Ok(counted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_without_a_record_and_records_that_come_twice_are_seen() {
        let (mut read, mut place) = (Read::default(), Place { next: 3, end: 10 });
        for offset in [3, 4, 4, 7, 10, 11] {
            read.take(&mut place, offset);
        }
        assert_eq!(read, Read { records: 3, missing: 2, repeated: 1 });
        read.skip_to(&mut place, 12);
        assert_eq!((read.missing, place.next), (4, 10));
    }
}
