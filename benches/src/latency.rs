//! Latencies in HDR histograms, and what is said of them.

use hdrhistogram::Histogram;
use serde::Serialize;
use std::time::Duration;

/// The longest time that is told apart from longer ones.
const LONGEST_US: u64 = 600_000_000;

/// Times, to a microsecond and three digits.
#[derive(Debug, Clone)]
pub struct Latencies(Histogram<u64>);

/// A distribution in numbers, milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LatencySummary {
    /// How many times there were.
    pub count: u64,
    /// Their mean.
    pub mean_ms: f64,
    /// The median.
    pub p50_ms: f64,
    /// Nine in ten are not above it.
    pub p90_ms: f64,
    /// 99 in a hundred.
    pub p99_ms: f64,
    /// 999 in a thousand.
    pub p999_ms: f64,
    /// The longest.
    pub max_ms: f64,
    /// Pairs of quantile and milliseconds, for plots.
    pub curve: Vec<(f64, f64)>,
}

impl Latencies {
    /// An empty histogram of so many significant digits, 1 to 5.
    ///
    /// # Errors
    /// More digits, or fewer.
    pub fn new(digits: u8) -> anyhow::Result<Self> {
        Ok(Self(Histogram::new_with_bounds(1, LONGEST_US, digits)?))
    }

    /// Takes a time in, `count` times.
    pub fn add(&mut self, time: Duration, count: u64) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.0.saturating_record_n(micros.max(1), count);
    }

    /// Takes another histogram in.
    pub fn merge(&mut self, other: &Self) {
        // Both have the same bounds.
        let _ = self.0.add(&other.0);
    }

    /// How many times there are.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// What this part of all does not exceed, in milliseconds; 0 when there are none.
    pub fn quantile_ms(&self, part: f64) -> f64 {
        if self.0.is_empty() { 0.0 } else { self.0.value_at_quantile(part) as f64 / 1e3 }
    }

    /// The distribution in numbers.
    pub fn summary(&self) -> LatencySummary {
        let mut curve = Vec::new();
        // Evenly spaced by the number of nines.
        for step in 0..=48_u32 {
            let quantile = 1.0 - 10_f64.powf(-f64::from(step) / 12.0);
            if (1.0 - quantile) * self.count() as f64 >= 1.0 {
                curve.push((quantile, self.quantile_ms(quantile)));
            }
        }
        LatencySummary {
            count: self.count(),
            mean_ms: if self.0.is_empty() { 0.0 } else { self.0.mean() / 1e3 },
            p50_ms: self.quantile_ms(0.5),
            p90_ms: self.quantile_ms(0.9),
            p99_ms: self.quantile_ms(0.99),
            p999_ms: self.quantile_ms(0.999),
            max_ms: if self.0.is_empty() { 0.0 } else { self.0.max() as f64 / 1e3 },
            curve,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_count_each_time_as_often_as_it_came() {
        let mut latencies = Latencies::new(3).unwrap();
        assert_eq!((latencies.count(), latencies.quantile_ms(0.99)), (0, 0.0));
        for millis in 1..=1_000 {
            latencies.add(Duration::from_millis(millis), 2);
        }
        let summary = latencies.summary();
        assert_eq!(summary.count, 2_000);
        for (found, exact) in [(summary.p50_ms, 500.0), (summary.p99_ms, 990.0), (summary.max_ms, 1_000.0)] {
            assert!((found / exact - 1.0_f64).abs() < 0.002, "{found} for {exact}");
        }
        assert!(summary.curve.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1));
    }

    #[test]
    fn merging_adds_and_what_is_beyond_the_longest_is_kept_there() {
        let (mut a, mut b) = (Latencies::new(2).unwrap(), Latencies::new(2).unwrap());
        a.add(Duration::from_millis(1), 99);
        b.add(Duration::from_secs(100_000), 1);
        a.merge(&b);
        assert_eq!(a.count(), 100);
        assert!(a.quantile_ms(0.5) < 1.1 && a.summary().max_ms > 500_000.0);
    }
}
