//! Traffic at a steady rate through one producer.

use super::DemoArgs;
use super::histogram::{Histogram, show};
use super::node::DemoNode;
use super::screen::{Screen, bytes};
use super::tally::Tally;
use crate::node::NodeStatus;
use anyhow::{Context as _, ensure};
use std::collections::VecDeque;
use std::time::Duration;
use strandline_client::{Client, Compression, Delivery, PartitionName, Producer, ProducerOptions, ProducerRecord};
use strandline_runtime::Runtime;
use strandline_traffic::{Event, Traffic, TrafficOptions};
use strandline_types::{RecordRef, TimestampType};

/// What was sent and acknowledged.
pub(super) struct Fed {
    pub(super) sent: Tally,
    pub(super) latency: Histogram,
    pub(super) freshness: Histogram,
    pub(super) elapsed: Duration,
}

pub(super) struct Feed {
    runtime: Runtime,
    producer: Producer,
    traffic: Traffic,
    rate: f64,
    duration: Duration,
    sent: Tally,
    on_their_way: VecDeque<(PartitionName, i64, Delivery)>,
    latency: Histogram,
    freshness: Histogram,
}

/// How often the screen is drawn anew.
const DRAW: Duration = Duration::from_millis(250);
/// Events are sent in spurts of this length.
const SPURT: Duration = Duration::from_millis(5);

impl Feed {
    pub(super) fn new(client: &Client, args: &DemoArgs) -> Self {
        let runtime = client.runtime().clone();
        let traffic = Traffic::new(TrafficOptions {
            seed: args.seed,
            start_ms: runtime.clock.now_ms(),
            events_per_second: f64::from(args.rate),
            // The clock on the wall goes on at one speed, so does the fleet's.
            commuter_peaks: false,
            ..TrafficOptions::default()
        });
        let options = ProducerOptions { compression: Compression::Lz4, ..ProducerOptions::default() };
        Self {
            producer: client.producer(options),
            runtime,
            traffic,
            rate: f64::from(args.rate),
            duration: Duration::from_secs(u64::from(args.seconds)),
            sent: Tally::default(),
            on_their_way: VecDeque::new(),
            latency: Histogram::default(),
            freshness: Histogram::default(),
        }
    }

    pub(super) async fn run(&mut self, screen: &Screen, node: &DemoNode) -> anyhow::Result<Fed> {
        let started = self.runtime.clock.monotonic();
        let progress = screen.progress(self.duration);
        let mut drawn = Duration::ZERO;
        let mut drawn_events = 0;
        loop {
            let elapsed = self.runtime.clock.monotonic() - started;
            if elapsed >= self.duration {
                break;
            }
            let due = (elapsed.as_secs_f64() * self.rate) as u64;
            self.send_up_to(due).await?;
            self.take_acknowledgements()?;
            if elapsed - drawn >= DRAW {
                let status = node.status().await;
                self.freshness.add(Duration::from_millis(status.freshness_ms.max(0).unsigned_abs()));
                let rate = (self.sent.events() - drawn_events) as f64 / (elapsed - drawn).as_secs_f64();
                progress.draw(elapsed, &self.lines(rate, &status))?;
                (drawn, drawn_events) = (elapsed, self.sent.events());
            }
            self.runtime.sleep(SPURT).await;
        }
        self.producer.close().await.context("the producer could not deliver everything")?;
        self.take_acknowledgements()?;
        ensure!(self.on_their_way.is_empty(), "{} events were not acknowledged", self.on_their_way.len());
        progress.finish();
        Ok(Fed {
            sent: self.sent.clone(),
            latency: self.latency.clone(),
            freshness: self.freshness.clone(),
            elapsed: self.runtime.clock.monotonic() - started,
        })
    }

    async fn send_up_to(&mut self, due: u64) -> anyhow::Result<()> {
        while self.sent.events() < due {
            let Some(event) = self.traffic.next() else { return Ok(()) };
            let headers = event.header_refs();
            let record = ProducerRecord {
                topic: event.topic,
                partition: None,
                key: Some(&event.key),
                value: Some(&event.value),
                headers: &headers,
                timestamp_ms: Some(event.timestamp_ms),
            };
            let delivery = self.producer.send(record).await.context("an event could not be sent")?;
            let name = (event.topic.to_owned(), delivery.partition());
            // One task sends, and the producer keeps the order: the offset is known before the broker says it.
            let offset = self.sent.next_offset(&name);
            self.sent.add(&name, &as_record(&event, offset, &headers));
            self.on_their_way.push_back((name, offset, delivery));
        }
        Ok(())
    }

    fn take_acknowledgements(&mut self) -> anyhow::Result<()> {
        while let Some((name, expected, delivery)) = self.on_their_way.front() {
            let Some(result) = delivery.now() else { return Ok(()) };
            let acknowledged = result.context("an event was not taken")?;
            ensure!(
                acknowledged.offset < 0 || acknowledged.offset == *expected,
                "{}-{}: the broker says offset {}, in order it is {expected}",
                name.0,
                name.1,
                acknowledged.offset
            );
            self.latency.add(acknowledged.latency);
            self.on_their_way.pop_front();
        }
        Ok(())
    }

    fn lines(&self, rate: f64, status: &NodeStatus) -> Vec<String> {
        vec![
            format!(
                "{rate:>8.0} events/s   {:>9} events   {:>9}   ack p50 {}, p99 {}",
                self.sent.events(),
                bytes(self.sent.bytes),
                show(self.latency.quantile(0.5)),
                show(self.latency.quantile(0.99))
            ),
            format!(
                "log {} entries, not yet Parquet {}   fresh {} files, {}   sealed {} files, {}   {} rows, {} behind",
                status.entries,
                bytes(status.wal_bytes),
                status.fresh_segments,
                bytes(status.fresh_bytes),
                status.sealed_segments,
                bytes(status.sealed_bytes),
                status.bronze_rows,
                show(Duration::from_millis(status.freshness_ms.max(0).unsigned_abs()))
            ),
        ]
    }
}

fn as_record<'a>(event: &'a Event, offset: i64, headers: &'a [strandline_types::HeaderRef<'a>]) -> RecordRef<'a> {
    RecordRef {
        offset,
        timestamp_ms: event.timestamp_ms,
        timestamp_type: TimestampType::Create,
        key: Some(&event.key),
        value: Some(&event.value),
        headers,
    }
}
