//! When which group is to be looked at: one list for all, so that no group needs a task of its own.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// The list. Bounded by the groups that are loaded: each has one entry at most.
#[derive(Default)]
pub(crate) struct Timers {
    due: Mutex<BTreeSet<(Duration, String)>>,
    earlier: Notify,
}

impl Timers {
    /// Moves a group's entry from `before` to `at`.
    pub(crate) fn reschedule(&self, group: &str, before: Option<Duration>, at: Option<Duration>) {
        if before == at {
            return;
        }
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let first = due.first().map(|(at, _)| *at);
        if let Some(before) = before {
            due.remove(&(before, group.to_owned()));
        }
        if let Some(at) = at {
            due.insert((at, group.to_owned()));
            if first.is_none_or(|first| at < first) {
                self.earlier.notify_one();
            }
        }
    }

    /// When the first entry is due.
    pub(crate) fn first(&self) -> Option<Duration> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner).first().map(|(at, _)| *at)
    }

    /// Takes an entry that is due at `now`.
    pub(crate) fn pop(&self, now: Duration) -> Option<(Duration, String)> {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        if due.first().is_some_and(|(at, _)| *at <= now) { due.pop_first() } else { None }
    }

    /// Returns when an entry came that is due before all others.
    pub(crate) async fn earlier(&self) {
        self.earlier.notified().await;
    }
}
