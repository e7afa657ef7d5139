//! When each record of an open loop is meant to be sent: fixed before the first one goes, whatever the broker does.

use anyhow::{Context as _, ensure};
use std::time::Duration;

/// A steady rate for a while.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Phase {
    /// Records a second.
    pub rate: f64,
    /// How long.
    pub duration: Duration,
}

/// Phases one after the other.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    phases: Vec<Placed>,
}

#[derive(Debug, Clone, PartialEq)]
struct Placed {
    phase: Phase,
    start: Duration,
    first: u64,
    records: u64,
}

impl Schedule {
    /// A schedule of these phases.
    pub fn new(phases: impl IntoIterator<Item = Phase>) -> Self {
        let (mut start, mut first) = (Duration::ZERO, 0);
        let mut placed = Vec::new();
        for phase in phases {
            let records = (phase.rate * phase.duration.as_secs_f64()).round() as u64;
            placed.push(Placed { phase, start, first, records });
            start += phase.duration;
            first += records;
        }
        Self { phases: placed }
    }

    /// Reads `RATE:SECONDS,RATE:SECONDS,…`.
    ///
    /// # Errors
    /// Text of another form, or numbers that are not above zero.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let phase = |part: &str| -> anyhow::Result<Phase> {
            let (rate, seconds) = part.split_once(':').with_context(|| format!("`{part}` is not RATE:SECONDS"))?;
            let (rate, seconds): (f64, f64) = (rate.trim().parse()?, seconds.trim().parse()?);
            ensure!(rate > 0.0 && seconds > 0.0 && rate.is_finite() && seconds < 1e6, "`{part}`: both must be above zero");
            Ok(Phase { rate, duration: Duration::from_secs_f64(seconds) })
        };
        Ok(Self::new(text.split(',').map(phase).collect::<anyhow::Result<Vec<_>>>()?))
    }

    /// Records in all.
    pub fn records(&self) -> u64 {
        self.phases.last().map_or(0, |last| last.first + last.records)
    }

    /// From the first phase's beginning to the last one's end.
    pub fn duration(&self) -> Duration {
        self.phases.last().map_or(Duration::ZERO, |last| last.start + last.phase.duration)
    }

    /// When the record with this number is meant to be sent, counted from the beginning; `None` behind the last.
    pub fn intended(&self, record: u64) -> Option<Duration> {
        let placed = self.phases.iter().find(|placed| record < placed.first + placed.records)?;
        Some(placed.start + Duration::from_secs_f64((record - placed.first) as f64 / placed.phase.rate))
    }

    /// The phases, each with its beginning.
    pub fn phases(&self) -> impl Iterator<Item = (Duration, Phase)> {
        self.phases.iter().map(|placed| (placed.start, placed.phase))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_evenly_spaced_and_phases_follow_each_other() {
        let schedule = Schedule::parse("10:2, 100:1,10:0.5").unwrap();
        assert_eq!((schedule.records(), schedule.duration()), (20 + 100 + 5, Duration::from_millis(3_500)));
        let at = |record| schedule.intended(record).map(|at| at.as_micros());
        assert_eq!([at(0), at(1), at(19)], [Some(0), Some(100_000), Some(1_900_000)]);
        assert_eq!([at(20), at(21), at(119)], [Some(2_000_000), Some(2_010_000), Some(2_990_000)]);
        assert_eq!([at(120), at(124), at(125)], [Some(3_000_000), Some(3_400_000), None]);
        let mut last = Duration::ZERO;
        for record in 0..schedule.records() {
            let intended = schedule.intended(record).unwrap();
            assert!(intended >= last && intended < schedule.duration());
            last = intended;
        }
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for text in ["", "10", "x:1", "10:0", "0:1", "-1:1", "inf:1"] {
            assert!(Schedule::parse(text).is_err(), "{text}");
        }
    }
}
