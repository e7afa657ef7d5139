//! Times in buckets, so that memory does not grow with events.

use std::time::Duration;

/// Buckets a doubling: a time is known to about 3 %.
const STEPS: usize = 32;
const DOUBLINGS: usize = 40;

/// Counts of times, from a microsecond to twelve days.
#[derive(Debug, Clone)]
pub(super) struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; STEPS * DOUBLINGS], total: 0 }
    }
}

impl Histogram {
    pub(super) fn add(&mut self, time: Duration) {
        let micros = (time.as_micros() as u64).max(1);
        let doubling = micros.ilog2() as usize;
        let step = ((micros as u128 * STEPS as u128) >> doubling) as usize - STEPS;
        let bucket = (doubling * STEPS + step).min(self.counts.len() - 1);
        self.counts[bucket] += 1;
        self.total += 1;
    }

    /// The time that this part of all does not exceed, such as 0.99; zero when there are none.
    pub(super) fn quantile(&self, part: f64) -> Duration {
        let wanted = (self.total as f64 * part).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted && *count > 0 {
                // The bucket's upper end.
                let (doubling, step) = (bucket / STEPS, bucket % STEPS);
                return Duration::from_micros(((1_u64 << doubling) * (STEPS + step + 1) as u64) / STEPS as u64);
            }
        }
        Duration::ZERO
    }
}

/// A time as people read it.
pub(super) fn show(time: Duration) -> String {
    let micros = time.as_micros();
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..100_000 => format!("{:.1} ms", micros as f64 / 1e3),
        100_000..10_000_000 => format!("{} ms", micros / 1_000),
        _ => format!("{:.1} s", micros as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_four_percent() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), Duration::ZERO);
        for micros in 1..=100_000 {
            histogram.add(Duration::from_micros(micros));
        }
        for part in [0.01, 0.5, 0.9, 0.99, 1.0] {
            let (found, exact) = (histogram.quantile(part).as_micros() as f64, 100_000.0 * part);
            assert!((found / exact - 1.0).abs() < 0.04, "{part}: {found}");
        }
        histogram.add(Duration::from_secs(10_000_000));
        assert_eq!(show(Duration::from_micros(1_500)), "1.5 ms");
    }
}
