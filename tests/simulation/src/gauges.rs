//! What nodes show of the memory that they hold (docs/metrics.md), each gauge against its bound while a run goes on, and against
//! nothing once all is quiet (I11).
//!
//! Gauges are of a process, and here several nodes are in one: each shows its own, and the last one counts. So what is to be zero
//! at rest is looked at after each node in turn was the last to do something.

use crate::core::locked;
use metrics::{Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use strandline_types::limits;

/// Bounds in bytes, and whether nothing is held at rest.
const BOUNDED: [(&str, usize, bool); 12] = [
    ("strandline_requests_in_flight_bytes", limits::REQUESTS_IN_FLIGHT_BYTES, true),
    ("strandline_produce_in_flight_bytes", limits::REQUESTS_IN_FLIGHT_BYTES, true),
    ("strandline_produce_decompressing_bytes", limits::DECOMPRESSING_BYTES, true),
    ("strandline_ingest_buffer_bytes", limits::INGEST_BUFFER_BYTES, true),
    ("strandline_commit_queue_bytes", limits::COMMIT_QUEUE_BYTES, true),
    ("strandline_fetch_answers_bytes", limits::FETCH_ANSWERS_BYTES, true),
    ("strandline_compactor_bytes", limits::COMPACTOR_BYTES, true),
    ("strandline_idle_frame_bytes", limits::IDLE_FRAME_BYTES, false),
    ("strandline_fetch_session_bytes", limits::FETCH_SESSION_BYTES, false),
    ("strandline_footer_cache_bytes", limits::FOOTER_CACHE_BYTES, false),
    ("strandline_recent_payload_bytes", limits::RECENT_PAYLOAD_BYTES as usize, false),
    ("strandline_log_recent_row_bytes", limits::LOG_RECENT_ROW_BYTES, false),
];

/// No client here sends what these count: large frames, large compressed batches, fetches of a session.
const UNMOVED: [&str; 3] =
    ["strandline_produce_decompressing_bytes", "strandline_idle_frame_bytes", "strandline_fetch_session_bytes"];

#[derive(Default, Clone, Copy)]
struct Level {
    now: f64,
    most: f64,
}

/// All gauges of a run.
#[derive(Default, Clone)]
pub(crate) struct Gauges(Arc<Mutex<BTreeMap<String, Arc<Shown>>>>);

#[derive(Default)]
struct Shown(Mutex<Level>);

impl Shown {
    fn change(&self, to: impl FnOnce(f64) -> f64) {
        let mut level = locked(&self.0);
        level.now = to(level.now);
        level.most = level.most.max(level.now);
    }
}

impl GaugeFn for Shown {
    fn increment(&self, value: f64) {
        self.change(|now| now + value);
    }

    fn decrement(&self, value: f64) {
        self.change(|now| now - value);
    }

    fn set(&self, value: f64) {
        self.change(|_| value);
    }
}

struct Nothing;

impl CounterFn for Nothing {
    fn increment(&self, _: u64) {}

    fn absolute(&self, _: u64) {}
}

impl HistogramFn for Nothing {
    fn record(&self, _: f64) {}
}

impl Recorder for Gauges {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(Arc::new(Nothing))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        let mut gauges = locked(&self.0);
        if let Some(shown) = gauges.get(key.name()) {
            return Gauge::from_arc(shown.clone());
        }
        let shown = Arc::new(Shown::default());
        gauges.insert(key.name().to_owned(), shown.clone());
        Gauge::from_arc(shown)
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::new(Nothing))
    }
}

impl Gauges {
    fn level(&self, name: &str) -> Level {
        locked(&self.0).get(name).map(|shown| *locked(&shown.0)).unwrap_or_default()
    }

    /// What was ever above its bound, or below nothing.
    pub fn beyond_bounds(&self) -> Option<String> {
        BOUNDED.iter().find_map(|(name, bound, _)| {
            let level = self.level(name);
            (level.most > *bound as f64 || level.now < 0.0)
                .then(|| format!("{name} was {} and is {}, its bound is {bound} (I11)", level.most, level.now))
        })
    }

    /// What is still held, of what is held only while something is under way.
    pub fn held(&self) -> Vec<String> {
        let held = BOUNDED.iter().filter(|(name, _, ends)| *ends && self.level(name).now != 0.0);
        held.map(|(name, ..)| format!("{name} is {}", self.level(name).now)).collect()
    }

    /// Which of them the run has ever moved.
    pub fn moved(&self) -> Vec<&'static str> {
        BOUNDED.iter().map(|(name, ..)| *name).filter(|name| self.level(name).most > 0.0).collect()
    }

    /// Those that runs move between them.
    pub fn expected() -> impl Iterator<Item = &'static str> {
        BOUNDED.iter().map(|(name, ..)| *name).filter(|name| !UNMOVED.contains(name))
    }
}
