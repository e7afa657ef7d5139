//! Where a connection is served.

use std::time::Duration;
use strandline_cell::{Cell, Place};
use strandline_runtime::{Clock, Spawner};
use strandline_types::limits;
use strandline_wire::ApiKey;

/// A mean follows the last requests: so many of them make it what they are.
const MEAN_OF: usize = 8;
/// Who had to go since there was no time does not come again for so many requests; the next time twice as many, and so on.
const LEAST_AWAY: u32 = 256;
const MOST_AWAY: u32 = 1 << 16;

/// Where a connection is served, and by what that is decided. Most are served on the node's workers. Producers with small requests are
/// served on the thread that writes the log, as far as that has time ([`strandline_cell::Beside`]).
#[derive(Debug, Default)]
pub(super) struct Whereabouts {
    place: Option<Place>,
    /// The place is given back once it is registered elsewhere.
    leaves: bool,
    stays: bool,
    /// Of the Produce requests that have come.
    mean_bytes: usize,
    /// When the last of them came.
    last: Option<Duration>,
    /// So many more of them come before it asks for a place again.
    away: u32,
    away_next: u32,
}

impl Whereabouts {
    /// On the workers, for now.
    pub(super) fn anywhere() -> Self {
        Self::default()
    }

    /// Where it began, whatever comes.
    pub(super) fn fixed() -> Self {
        Self { stays: true, ..Self::default() }
    }

    /// What starts tasks where it is served next; none for the workers.
    pub(super) fn log_thread(&self) -> Option<&Spawner> {
        self.place.as_ref().filter(|_| !self.leaves)?.spawner()
    }

    /// It is served where it was to go. Until then the thread that it leaves answers what it took.
    pub(super) fn arrived(&mut self) {
        if std::mem::take(&mut self.leaves) {
            self.place = None;
        }
    }

    /// Whether the connection is to go on elsewhere with this request, which is not taken yet.
    pub(super) fn moves_for(&mut self, frame: &[u8], cell: &Cell, clock: &dyn Clock) -> bool {
        if self.stays {
            return false;
        }
        let is_produce = match api_of(frame) {
            Some(ApiKey::Produce) => true,
            // What a producer asks for now and then.
            Some(ApiKey::ApiVersions | ApiKey::Metadata | ApiKey::InitProducerId) => false,
            // What reads records or waits for others is not for that thread.
            _ => {
                self.stays = true;
                self.leaves = self.place.is_some();
                return self.leaves;
            }
        };
        let is_seldom = is_produce && !self.note(frame.len(), clock.monotonic());
        match &self.place {
            Some(place) => {
                let has_no_time = place.is_to_leave();
                if has_no_time {
                    self.away_next = (self.away_next * 2).clamp(LEAST_AWAY, MOST_AWAY);
                    self.away = self.away_next;
                }
                let gives_way = is_seldom && place.is_wanted();
                self.leaves = has_no_time || gives_way || self.mean_bytes > limits::LOG_THREAD_LEAVE_BYTES;
                self.leaves
            }
            None if !is_produce || is_seldom || self.mean_bytes > limits::LOG_THREAD_ENTER_BYTES => false,
            None if self.away > 0 => {
                self.away -= 1;
                false
            }
            None => {
                self.place = cell.beside().enter();
                self.place.is_some()
            }
        }
    }

    /// Whether the one before it came a moment ago.
    fn note(&mut self, bytes: usize, now: Duration) -> bool {
        let first = self.mean_bytes == 0;
        self.mean_bytes = if first { bytes } else { (self.mean_bytes * (MEAN_OF - 1) + bytes) / MEAN_OF };
        let last = self.last.replace(now);
        last.is_some_and(|last| now.saturating_sub(last) <= limits::LOG_THREAD_WINDOW)
    }
}

/// A frame begins with it.
fn api_of(frame: &[u8]) -> Option<ApiKey> {
    let key = frame.first_chunk::<2>()?;
    ApiKey::from_code(i16::from_be_bytes(*key))
}
