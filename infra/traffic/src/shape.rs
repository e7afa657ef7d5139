//! The shape of a day: two commuter peaks, a quiet night.

/// How many times its daily mean the rate has at this time, in milliseconds since 1970 (UTC; the fleet lives an hour ahead).
pub fn rate_factor(timestamp_ms: i64) -> f64 {
    const DAY_MS: i64 = 24 * 3_600_000;
    /// The mean of the sum below over a day.
    const MEAN: f64 = 0.546_6;
    let hour = (timestamp_ms + 3_600_000).rem_euclid(DAY_MS) as f64 / 3_600_000.0;
    let peak = |at: f64, width: f64, height: f64| height * (-((hour - at) / width).powi(2)).exp();
    (0.15 + peak(8.0, 1.3, 1.2) + peak(13.0, 3.0, 0.5) + peak(17.8, 1.8, 1.3)) / MEAN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_is_one_and_the_peaks_are_where_people_commute() {
        let minutes: Vec<f64> = (0..1_440).map(|minute| rate_factor(minute * 60_000)).collect();
        let mean = minutes.iter().sum::<f64>() / 1_440.0;
        assert!((mean - 1.0).abs() < 0.01, "{mean}");
        let at = |utc_hour: i64| rate_factor(utc_hour * 3_600_000);
        assert!(at(7) > 2.0 && at(17) > 2.0 && at(2) < 0.5 && at(10) < at(7));
    }
}
