//! How many events a second one core makes: `cargo run --release -p strandline-traffic --example traffic_speed`.
#![allow(clippy::disallowed_methods, reason = "it measures time")]

use strandline_traffic::{Event, Traffic, TrafficOptions};

fn main() {
    for value_bytes in [None, Some(1_024)] {
        let traffic = Traffic::new(TrafficOptions { value_bytes, ..Default::default() });
        let (count, started) = (1_000_000, std::time::Instant::now());
        let bytes: usize = traffic.take(count).map(|event: Event| event.bytes()).sum();
        let seconds = started.elapsed().as_secs_f64();
        println!("{value_bytes:?}: {:.0} events/s, {:.0} bytes each", count as f64 / seconds, bytes as f64 / count as f64);
    }
}
