//! What became of a record.

use crate::error::ClientError;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::Notify;

/// A record that is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acknowledged {
    /// Its partition.
    pub partition: i32,
    /// Its offset; -1 if the broker did not say (`acks=0`, or a repeat that was in the log already).
    pub offset: i64,
    /// The log's own time for it, where the topic has append times.
    pub log_append_time_ms: Option<i64>,
    /// From `send` to the answer.
    pub latency: Duration,
    /// When the answer came, on the injected clock that only goes forward.
    pub at: Duration,
}

/// What became of a batch; shared by all its records.
#[derive(Debug, Default)]
pub(super) struct Completion {
    result: OnceLock<Result<Done, ClientError>>,
    notify: Notify,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Done {
    pub(super) base_offset: i64,
    pub(super) log_append_time_ms: i64,
    pub(super) at: Duration,
}

impl Completion {
    pub(super) fn set(&self, result: Result<Done, ClientError>) {
        let _ = self.result.set(result);
        self.notify.notify_waiters();
    }

    pub(super) async fn wait(&self) -> &Result<Done, ClientError> {
        loop {
            let notified = self.notify.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if let Some(result) = self.result.get() {
                return result;
            }
            notified.await;
        }
    }
}

/// One record on its way. Dropping it changes nothing for the record.
#[derive(Debug)]
#[must_use = "whether the record got into the log is known only by waiting"]
pub struct Delivery {
    pub(super) completion: Arc<Completion>,
    pub(super) partition: i32,
    pub(super) index: i32,
    pub(super) sent_at: Duration,
}

impl Delivery {
    /// The partition that it goes to.
    pub const fn partition(&self) -> i32 {
        self.partition
    }

    /// Waits until the broker has it.
    ///
    /// # Errors
    /// It was refused, or not acknowledged in time: then it may be in the log all the same.
    pub async fn wait(self) -> Result<Acknowledged, ClientError> {
        self.answer(self.completion.wait().await)
    }

    /// Waits until [`Self::now`] has something.
    pub async fn known(&self) {
        self.completion.wait().await;
    }

    /// What is known now; `None` while it is on its way.
    pub fn now(&self) -> Option<Result<Acknowledged, ClientError>> {
        self.completion.result.get().map(|result| self.answer(result))
    }

    fn answer(&self, result: &Result<Done, ClientError>) -> Result<Acknowledged, ClientError> {
        result.clone().map(|done| Acknowledged {
            partition: self.partition,
            offset: if done.base_offset < 0 { -1 } else { done.base_offset + i64::from(self.index) },
            log_append_time_ms: (done.log_append_time_ms >= 0).then_some(done.log_append_time_ms),
            latency: done.at.saturating_sub(self.sent_at),
            at: done.at,
        })
    }
}
