//! Where a connection is served.

use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use strandline_cell::{Beside, Place};
use strandline_runtime::Spawner;
use strandline_types::limits;
use strandline_wire::{ApiKey, Reader, RequestHeader};

/// A mean follows the last requests: so many of them make it what they are.
const MEAN_OF: usize = 8;
/// Who had to go since there was no time does not come again for so many requests; the next time twice as many, and so on.
const LEAST_AWAY: u32 = 256;
const MOST_AWAY: u32 = 1 << 16;
/// A Metadata request of more bytes names so many topics that the log would wait for its answer.
const METADATA_BYTES: usize = 4 << 10;

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

    /// Whether the connection is to go on elsewhere with this request, which came now and is not taken yet.
    pub(super) fn moves_for(&mut self, frame: &[u8], beside: &Arc<Beside>, now: impl FnOnce() -> Duration) -> bool {
        if self.stays {
            return false;
        }
        let is_produce = match api_of(frame) {
            Some(ApiKey::Produce) => true,
            // Producers ask for them now and then, and may come back: only this one is not for that thread.
            Some(ApiKey::Metadata) if self.place.is_some() && asks_for_many_topics(frame) => {
                self.leaves = true;
                return true;
            }
            // What a producer asks for now and then.
            Some(ApiKey::ApiVersions | ApiKey::Metadata | ApiKey::InitProducerId) => false,
            // What reads records or waits for others is not for that thread.
            _ => {
                self.stays = true;
                self.leaves = self.place.is_some();
                return self.leaves;
            }
        };
        let is_seldom = is_produce && !self.note(frame.len(), now());
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
                self.place = beside.enter();
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

/// Whether a Metadata request names many topics, or wants all.
fn asks_for_many_topics(frame: &[u8]) -> bool {
    frame.len() > METADATA_BYTES || asks_for_all_topics(frame) == Some(true)
}

/// None where it does not decode.
fn asks_for_all_topics(frame: &[u8]) -> Option<bool> {
    let mut reader = Reader::new(Bytes::copy_from_slice(frame));
    let header = RequestHeader::decode(&mut reader).ok()?;
    if header.api_key.range().is_flexible(header.api_version) {
        return Some(reader.unsigned_varint().ok()? == 0);
    }
    let count = reader.i32().ok()?;
    // The first version has no null: there an empty list is all of them.
    Some(if header.api_version == 0 { count == 0 } else { count < 0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use strandline_wire::frame::encode_request;
    use strandline_wire::messages::MetadataRequest;
    use strandline_wire::messages::metadata::MetadataRequestTopic;

    const SMALL_BYTES: usize = 1 << 10;
    const LARGE_BYTES: usize = limits::LOG_THREAD_LEAVE_BYTES * 2;
    const MOMENT: Duration = Duration::from_millis(1);

    /// A connection, and what it is served by.
    struct Scene {
        whereabouts: Whereabouts,
        beside: Arc<Beside>,
        now: Duration,
    }

    impl Scene {
        fn new(whereabouts: Whereabouts) -> Self {
            let beside = Arc::new(Beside::default());
            beside.open(Spawner::in_place());
            Self { whereabouts, beside, now: Duration::ZERO }
        }

        fn busy(&self, percent: u32) {
            self.beside.measured(limits::LOG_THREAD_WINDOW * percent / 100, limits::LOG_THREAD_WINDOW);
        }

        /// A request comes a moment after the last one; whether the connection moves, which it then does.
        fn asks(&mut self, api: ApiKey, bytes: usize) -> bool {
            let mut frame = vec![0; bytes];
            frame[..2].copy_from_slice(&api.code().to_be_bytes());
            // Of version 1, in which zeros are a Metadata request for no topic.
            frame[3] = 1;
            self.now += MOMENT;
            let moves = self.whereabouts.moves_for(&frame, &self.beside, || self.now);
            if moves {
                self.whereabouts.arrived();
                assert_eq!(self.is_there(), self.beside.taken() == 1);
            }
            moves
        }

        fn produces(&mut self, bytes: usize) -> bool {
            self.asks(ApiKey::Produce, bytes)
        }

        fn is_there(&self) -> bool {
            self.whereabouts.log_thread().is_some()
        }

        /// Until it is served there; how many small requests that takes.
        fn enters(&mut self) -> u32 {
            for number in 1..=4 * MOST_AWAY {
                if self.produces(SMALL_BYTES) {
                    assert!(self.is_there());
                    return number;
                }
            }
            panic!("it does not come");
        }
    }

    #[test]
    fn small_requests_that_follow_each_other_are_served_there_and_what_a_producer_asks_beside_them() {
        let mut scene = Scene::new(Whereabouts::anywhere());
        assert!(!scene.asks(ApiKey::ApiVersions, 30) && !scene.produces(SMALL_BYTES), "one says nothing of the next");
        assert!(scene.produces(SMALL_BYTES) && scene.is_there());
        for api in [ApiKey::Produce, ApiKey::Metadata, ApiKey::InitProducerId, ApiKey::ApiVersions] {
            assert!(!scene.asks(api, SMALL_BYTES) && scene.is_there());
        }
    }

    #[test]
    fn a_question_about_many_topics_is_answered_elsewhere_and_the_producer_comes_back() {
        let topic = |number: usize| {
            let name = Some(format!("topic-{number}"));
            MetadataRequestTopic { name, ..MetadataRequestTopic::default() }
        };
        let some = |count: usize| -> Option<Vec<MetadataRequestTopic>> { Some((0..count).map(topic).collect()) };
        for version in [0, 1, 8, 9, 13] {
            for (topics, leaves) in [(some(1), false), (some(0), version == 0), (None, true), (some(1_000), true)] {
                let mut scene = Scene::new(Whereabouts::anywhere());
                scene.enters();
                let request = MetadataRequest { topics, ..MetadataRequest::default() };
                let frame = encode_request(version, 7, Some("producer"), &request).into_bytes().slice(4..);
                let moves = scene.whereabouts.moves_for(&frame, &scene.beside, || scene.now);
                assert_eq!(moves, leaves, "{} bytes of version {version}", frame.len());
                if leaves {
                    scene.whereabouts.arrived();
                    assert!(!scene.is_there());
                    scene.busy(0);
                    scene.enters();
                }
            }
        }
        // Where it is served already, nothing is looked into.
        let mut scene = Scene::new(Whereabouts::anywhere());
        assert!(!scene.asks(ApiKey::Metadata, 2 * METADATA_BYTES));
        scene.enters();
    }

    #[test]
    fn a_connection_that_is_served_in_one_place_stays() {
        let mut scene = Scene::new(Whereabouts::fixed());
        assert!((0..9).all(|_| !scene.produces(SMALL_BYTES)) && scene.beside.taken() == 0);
    }

    #[test]
    fn large_requests_are_served_elsewhere_while_they_last() {
        let mut scene = Scene::new(Whereabouts::anywhere());
        assert!((0..9).all(|_| !scene.produces(LARGE_BYTES)));
        assert!(scene.enters() > 1, "the mean is to fall first");
        let leaves = (1..9).find(|_| scene.produces(LARGE_BYTES));
        assert!(leaves.is_some_and(|number| number > 1) && !scene.is_there(), "one alone is no reason");
        scene.busy(0);
        scene.enters();
    }

    #[test]
    fn who_reads_leaves_and_does_not_come_back() {
        let mut scene = Scene::new(Whereabouts::anywhere());
        scene.enters();
        assert!(scene.asks(ApiKey::Fetch, 100) && !scene.is_there());
        scene.busy(0);
        assert!((0..9).all(|_| !scene.produces(SMALL_BYTES)));
        let mut scene = Scene::new(Whereabouts::anywhere());
        assert!(!scene.asks(ApiKey::Fetch, 100), "it is served there already");
        assert!((0..9).all(|_| !scene.produces(SMALL_BYTES)));
    }

    #[test]
    fn who_sends_seldom_does_not_come_and_gives_way_where_places_are_wanted() {
        let mut scene = Scene::new(Whereabouts::anywhere());
        for _ in 0..9 {
            scene.now += limits::LOG_THREAD_WINDOW;
            assert!(!scene.produces(SMALL_BYTES));
        }
        scene.enters();
        scene.now += limits::LOG_THREAD_WINDOW;
        assert!(!scene.produces(SMALL_BYTES), "nobody waits for its place");
        let mut others = Vec::new();
        while scene.beside.taken() < limits::LOG_THREAD_CONNECTIONS {
            scene.busy(0);
            others.push(scene.beside.enter().unwrap());
        }
        scene.now += limits::LOG_THREAD_WINDOW + MOMENT;
        let frame = [vec![0; 2], vec![0; SMALL_BYTES]].concat();
        assert!(scene.whereabouts.moves_for(&frame, &scene.beside, || scene.now) && !scene.is_there());
        scene.whereabouts.arrived();
        assert_eq!(scene.beside.taken(), limits::LOG_THREAD_CONNECTIONS - 1);
    }

    #[test]
    fn who_had_to_go_for_want_of_time_stays_away_longer_each_time() {
        let mut scene = Scene::new(Whereabouts::anywhere());
        scene.enters();
        for away in [LEAST_AWAY, 2 * LEAST_AWAY, 4 * LEAST_AWAY] {
            scene.busy(100);
            assert!(scene.produces(SMALL_BYTES) && !scene.is_there());
            scene.busy(0);
            assert_eq!(scene.enters(), away + 1);
        }
        for _ in 0..9 {
            scene.busy(100);
            assert!(scene.produces(SMALL_BYTES));
            scene.busy(0);
            scene.enters();
        }
        assert_eq!(scene.whereabouts.away_next, MOST_AWAY);
    }
}
