//! Log lines that many clients could cause at once.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Says when a line may be written: once in an interval, with the number of those that were left out since. The time is its
/// caller's, so that it is the injected one.
#[derive(Debug)]
pub struct Occasionally {
    interval: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    said: Option<Duration>,
    unsaid: u64,
}

impl Occasionally {
    /// At most one line in this time; the first at once.
    pub fn every(interval: Duration) -> Self {
        Self { interval, state: Mutex::default() }
    }

    /// Whether a line may be written at `now` of a monotonic clock, and how many were left out before it.
    pub fn now(&self, now: Duration) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.said.is_some_and(|said| now.saturating_sub(said) < self.interval) {
            state.unsaid += 1;
            return None;
        }
        state.said = Some(now);
        Some(std::mem::take(&mut state.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_in_an_interval_and_none_is_forgotten() {
        let line = Occasionally::every(Duration::from_secs(1));
        let at = |ms| line.now(Duration::from_millis(ms));
        assert_eq!([at(0), at(1), at(999), at(1_000), at(1_500), at(9_000)], [Some(0), None, None, Some(2), None, Some(1)]);
    }
}
