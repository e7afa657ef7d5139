//! Fetch sessions (KIP-227): a client names its partitions once, and hears only of those that changed.
//!
//! A session belongs to the connection that made it and ends with it. Slots are bounded in number and bytes; a client
//! that gets none is served without a session.

use crate::answer::PartitionAnswer;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use strandline_runtime::Runtime;
use strandline_types::{FixedHashMap, TopicId};
use strandline_wire::ErrorCode;
use strandline_wire::messages::fetch::FetchRequest;

/// The connection that a session belongs to: any number that no other live connection has.
pub type ConnectionId = u64;

/// A topic as a request names it: by name below version 13, by id from there on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum TopicKey {
    Name(Arc<str>),
    Id(TopicId),
}

/// A partition as a request names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PartitionKey {
    pub(crate) topic: TopicKey,
    pub(crate) partition: i32,
}

impl PartitionKey {
    fn bytes(&self) -> usize {
        // Two map entries of about 100 bytes each, and the name (counted each time, though it may be shared).
        208 + match &self.topic {
            TopicKey::Name(name) => name.len(),
            TopicKey::Id(_) => 0,
        }
    }
}

/// What a client wants of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) key: PartitionKey,
    pub(crate) offset: i64,
    pub(crate) max_bytes: i32,
}

/// How a request stands to sessions, once it was found good.
#[derive(Debug)]
pub(crate) struct Opened {
    /// What to read, in order.
    pub(crate) wanted: Vec<Wanted>,
    mode: Mode,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Sessionless,
    /// A session is made with the answer, if there is a slot.
    New,
    /// The session exists; the answer leaves out what did not change.
    Incremental(i32),
}

/// Epochs of a request (KIP-227).
const INITIAL_EPOCH: i32 = 0;
const FINAL_EPOCH: i32 = -1;
/// No session.
const NO_SESSION: i32 = 0;
/// A session may be evicted once it was idle for this long, Kafka's own.
const EVICT_AFTER: Duration = Duration::from_secs(120);

#[derive(Debug)]
struct SessionPartition {
    wanted: Wanted,
    /// What the client was told last; -1 after an error, so that what follows counts as changed.
    high_watermark: i64,
    log_start: i64,
}

#[derive(Debug)]
struct Session {
    owner: ConnectionId,
    by_id: bool,
    epoch: i32,
    used: Duration,
    bytes: usize,
    /// The order in which partitions are served: one that had data goes to the end.
    order: BTreeMap<u64, SessionPartition>,
    places: FixedHashMap<PartitionKey, u64>,
    next_place: u64,
}

#[derive(Debug, Default)]
struct Sessions {
    sessions: BTreeMap<i32, Session>,
    bytes: usize,
}

/// All sessions of a node.
pub(crate) struct SessionCache {
    runtime: Runtime,
    slots: usize,
    bytes: usize,
    state: Mutex<Sessions>,
}

impl SessionCache {
    pub(crate) fn new(runtime: Runtime, slots: usize, bytes: usize) -> Self {
        Self { runtime, slots, bytes, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Sessions> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies the session part of a request. An error is the answer's own `error_code`, with nothing else in it.
    pub(crate) fn open(&self, request: &FetchRequest, version: i16, owner: ConnectionId) -> Result<Opened, ErrorCode> {
        let by_id = version >= 13;
        let (id, epoch) = (request.session_id, request.session_epoch);
        if version < 7 || epoch == FINAL_EPOCH || epoch == INITIAL_EPOCH {
            if id != NO_SESSION {
                self.close_if_owned(id, owner);
            }
            let mode = if version >= 7 && epoch == INITIAL_EPOCH { Mode::New } else { Mode::Sessionless };
            return Ok(Opened { wanted: wanted(request, by_id), mode });
        }
        self.open_incremental(request, by_id, owner)
    }

    fn open_incremental(&self, request: &FetchRequest, by_id: bool, owner: ConnectionId) -> Result<Opened, ErrorCode> {
        let now = self.runtime.clock.monotonic();
        let mut state = self.lock();
        let id = request.session_id;
        let session = state.sessions.get_mut(&id).filter(|session| session.owner == owner);
        let session = session.ok_or(ErrorCode::FetchSessionIdNotFound)?;
        if session.epoch != request.session_epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        if session.by_id != by_id {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        session.epoch = next_epoch(session.epoch);
        session.used = now;
        let before = session.bytes;
        for forgotten in &request.forgotten_topics_data {
            let topic = topic_key(by_id, &forgotten.topic, forgotten.topic_id);
            for partition in &forgotten.partitions {
                session.remove(&PartitionKey { topic: topic.clone(), partition: *partition });
            }
        }
        for wanted in wanted(request, by_id) {
            session.upsert(wanted);
        }
        let wanted: Vec<Wanted> = session.order.values().map(|partition| partition.wanted.clone()).collect();
        let after = session.bytes;
        state.bytes = state.bytes + after - before;
        if wanted.is_empty() {
            // As Kafka does: a session of nothing ends, and the answer has no session.
            state.remove(id);
            self.report(&state);
            return Ok(Opened { wanted, mode: Mode::Sessionless });
        }
        if state.bytes > self.bytes && !self.evict(&mut state, now, Some(id)) {
            state.remove(id);
            self.report(&state);
            return Err(ErrorCode::FetchSessionIdNotFound);
        }
        self.report(&state);
        Ok(Opened { wanted, mode: Mode::Incremental(id) })
    }

    /// Ends a request: makes the session that was asked for, or leaves out of `answers` what the client knows already.
    /// Gives the session id for the answer.
    pub(crate) fn close(&self, opened: Opened, version: i16, owner: ConnectionId, answers: &mut Vec<PartitionAnswer>) -> i32 {
        match opened.mode {
            Mode::Sessionless => NO_SESSION,
            Mode::New => self.create(opened.wanted, version >= 13, owner, answers),
            Mode::Incremental(id) => {
                if let Some(session) = self.lock().sessions.get_mut(&id) {
                    answers.retain(|answer| session.answered(answer));
                }
                id
            }
        }
    }

    fn create(&self, wanted: Vec<Wanted>, by_id: bool, owner: ConnectionId, answers: &[PartitionAnswer]) -> i32 {
        if wanted.is_empty() {
            return NO_SESSION;
        }
        let now = self.runtime.clock.monotonic();
        let mut session = Session {
            owner,
            by_id,
            epoch: next_epoch(INITIAL_EPOCH),
            used: now,
            bytes: 512,
            order: BTreeMap::new(),
            places: FixedHashMap::default(),
            next_place: 0,
        };
        for wanted in wanted {
            session.upsert(wanted);
        }
        for answer in answers {
            session.answered(answer);
        }
        let mut state = self.lock();
        state.bytes += session.bytes;
        let fits = |state: &Sessions| state.sessions.len() < self.slots && state.bytes <= self.bytes;
        while !fits(&state) && self.evict_one(&mut state, now, None) {}
        if !fits(&state) {
            state.bytes -= session.bytes;
            return NO_SESSION;
        }
        let id = loop {
            let id = (self.runtime.random.next_u64() & 0x7fff_ffff) as i32;
            if id != NO_SESSION && !state.sessions.contains_key(&id) {
                break id;
            }
        };
        state.sessions.insert(id, session);
        self.report(&state);
        id
    }

    /// Ends the sessions of a connection that has closed.
    pub(crate) fn connection_closed(&self, owner: ConnectionId) {
        let mut state = self.lock();
        let ids: Vec<i32> = state.sessions.iter().filter(|(_, session)| session.owner == owner).map(|(id, _)| *id).collect();
        for id in ids {
            state.remove(id);
        }
        self.report(&state);
    }

    fn close_if_owned(&self, id: i32, owner: ConnectionId) {
        let mut state = self.lock();
        if state.sessions.get(&id).is_some_and(|session| session.owner == owner) {
            state.remove(id);
            self.report(&state);
        }
    }

    fn evict(&self, state: &mut Sessions, now: Duration, spare: Option<i32>) -> bool {
        while state.bytes > self.bytes {
            if !self.evict_one(state, now, spare) {
                return false;
            }
        }
        true
    }

    fn evict_one(&self, state: &mut Sessions, now: Duration, spare: Option<i32>) -> bool {
        let idle = |session: &Session| now.saturating_sub(session.used) >= EVICT_AFTER;
        let candidates = state.sessions.iter().filter(|(id, session)| Some(**id) != spare && idle(session));
        let Some(id) = candidates.min_by_key(|(_, session)| session.used).map(|(id, _)| *id) else {
            return false;
        };
        state.remove(id);
        true
    }

    fn report(&self, state: &Sessions) {
        metrics::gauge!("strandline_fetch_sessions").set(state.sessions.len() as f64);
        metrics::gauge!("strandline_fetch_session_bytes").set(state.bytes as f64);
    }

    #[cfg(test)]
    fn held(&self) -> (usize, usize) {
        let state = self.lock();
        (state.sessions.len(), state.bytes)
    }
}

impl Sessions {
    fn remove(&mut self, id: i32) {
        if let Some(session) = self.sessions.remove(&id) {
            self.bytes -= session.bytes;
        }
    }
}

impl Session {
    fn upsert(&mut self, wanted: Wanted) {
        if let Some(partition) = self.places.get(&wanted.key).and_then(|place| self.order.get_mut(place)) {
            partition.wanted = wanted;
            return;
        }
        self.bytes += wanted.key.bytes();
        self.places.insert(wanted.key.clone(), self.next_place);
        self.order.insert(self.next_place, SessionPartition { wanted, high_watermark: -1, log_start: -1 });
        self.next_place += 1;
    }

    fn remove(&mut self, key: &PartitionKey) {
        if let Some(place) = self.places.remove(key) {
            self.order.remove(&place);
            self.bytes -= key.bytes();
        }
    }

    /// Notes what the client is told; whether it has to be told at all.
    fn answered(&mut self, answer: &PartitionAnswer) -> bool {
        let Some(place) = self.places.get(&answer.key).copied() else {
            return true;
        };
        let Some(mut partition) = self.order.remove(&place) else {
            return true;
        };
        let failed = !answer.error.is_none();
        let has_data = !answer.records.is_empty();
        let changed = partition.high_watermark != answer.high_watermark || partition.log_start != answer.log_start_offset;
        // After an error the next answer always counts as changed.
        partition.high_watermark = if failed { -1 } else { answer.high_watermark };
        partition.log_start = answer.log_start_offset;
        let place = if has_data {
            self.next_place += 1;
            self.places.insert(answer.key.clone(), self.next_place - 1);
            self.next_place - 1
        } else {
            place
        };
        self.order.insert(place, partition);
        failed || has_data || changed
    }
}

fn next_epoch(epoch: i32) -> i32 {
    if epoch == i32::MAX { 1 } else { epoch + 1 }
}

fn topic_key(by_id: bool, name: &str, id: TopicId) -> TopicKey {
    if by_id { TopicKey::Id(id) } else { TopicKey::Name(name.into()) }
}

/// Each partition once, as Kafka has it: what is said of it last, where it is named first.
fn wanted(request: &FetchRequest, by_id: bool) -> Vec<Wanted> {
    let mut all: Vec<Wanted> = Vec::new();
    let mut places: BTreeMap<TopicKey, BTreeMap<i32, usize>> = BTreeMap::new();
    for topic in &request.topics {
        let key = topic_key(by_id, &topic.topic, topic.topic_id);
        let places = places.entry(key.clone()).or_default();
        for partition in &topic.partitions {
            let wanted = Wanted {
                key: PartitionKey { topic: key.clone(), partition: partition.partition },
                offset: partition.fetch_offset,
                max_bytes: partition.partition_max_bytes,
            };
            let place = *places.entry(partition.partition).or_insert(all.len());
            match all.get_mut(place) {
                Some(named) => *named = wanted,
                None => all.push(wanted),
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use strandline_wire::Records;
    use strandline_wire::messages::fetch::{FetchPartition, FetchTopic};

    fn cache(slots: usize, bytes: usize) -> SessionCache {
        SessionCache::new(Runtime::simulated(1, 0), slots, bytes)
    }

    fn full(partitions: i32) -> FetchRequest {
        let partition = |partition| FetchPartition { partition, ..FetchPartition::default() };
        let topic =
            FetchTopic { topic: "t".to_owned(), partitions: (0..partitions).map(partition).collect(), ..FetchTopic::default() };
        FetchRequest { session_epoch: 0, topics: vec![topic], ..FetchRequest::default() }
    }

    fn begin(cache: &SessionCache, owner: ConnectionId, partitions: i32) -> i32 {
        let opened = cache.open(&full(partitions), 7, owner).unwrap();
        cache.close(opened, 7, owner, &mut Vec::new())
    }

    #[tokio::test(start_paused = true)]
    async fn slots_and_bytes_are_bounded_and_only_idle_sessions_give_way() {
        let sessions = cache(2, 1 << 20);
        let first = begin(&sessions, 1, 3);
        let second = begin(&sessions, 2, 3);
        assert!(first != 0 && second != 0 && first != second);
        assert_eq!(begin(&sessions, 3, 3), NO_SESSION, "no slot, and nobody is idle");
        sessions.runtime.sleep(EVICT_AFTER).await;
        let incremental = FetchRequest { session_id: first, session_epoch: 1, ..FetchRequest::default() };
        sessions.open(&incremental, 7, 1).unwrap();
        assert_ne!(begin(&sessions, 3, 3), NO_SESSION);
        let gone = FetchRequest { session_id: second, session_epoch: 1, ..FetchRequest::default() };
        assert_eq!(sessions.open(&gone, 7, 2).unwrap_err(), ErrorCode::FetchSessionIdNotFound);
        for owner in 1..=3 {
            sessions.connection_closed(owner);
        }
        assert_eq!(sessions.held(), (0, 0));
        let small = cache(10, 5_000);
        assert_eq!(begin(&small, 1, 100), NO_SESSION);
        let id = begin(&small, 1, 10);
        assert_ne!(id, NO_SESSION);
        // A session that grows past the bound ends; the client begins anew, without one.
        let grown = FetchRequest { session_id: id, session_epoch: 1, ..full(100) };
        assert_eq!(small.open(&grown, 7, 1).unwrap_err(), ErrorCode::FetchSessionIdNotFound);
        assert_eq!(small.held(), (0, 0));
    }

    #[test]
    fn a_partition_that_is_named_again_is_wanted_once_and_as_it_is_named_last() {
        let partition = |partition, fetch_offset| FetchPartition { partition, fetch_offset, ..FetchPartition::default() };
        let topic = |name: &str, partitions: &[(i32, i64)]| FetchTopic {
            topic: name.to_owned(),
            partitions: partitions.iter().map(|(at, offset)| partition(*at, *offset)).collect(),
            ..FetchTopic::default()
        };
        let topics = vec![topic("t", &[(1, 10), (0, 20), (1, 30)]), topic("u", &[(1, 40)]), topic("t", &[(0, 50), (2, 60)])];
        let found = wanted(&FetchRequest { topics, ..FetchRequest::default() }, false);
        let found: Vec<(TopicKey, i32, i64)> =
            found.into_iter().map(|wanted| (wanted.key.topic, wanted.key.partition, wanted.offset)).collect();
        let key = |name: &str| TopicKey::Name(name.into());
        assert_eq!(found, [(key("t"), 1, 30), (key("t"), 0, 50), (key("u"), 1, 40), (key("t"), 2, 60)]);
    }

    #[tokio::test(start_paused = true)]
    async fn epochs_wrap_and_an_emptied_session_ends() {
        assert_eq!((next_epoch(0), next_epoch(i32::MAX)), (1, 1));
        let sessions = cache(2, 1 << 20);
        let id = begin(&sessions, 1, 1);
        let forgotten =
            strandline_wire::messages::fetch::ForgottenTopic { topic: "t".to_owned(), partitions: vec![0], ..Default::default() };
        let emptied =
            FetchRequest { session_id: id, session_epoch: 1, forgotten_topics_data: vec![forgotten], ..FetchRequest::default() };
        let opened = sessions.open(&emptied, 7, 1).unwrap();
        assert!(opened.wanted.is_empty());
        assert_eq!(sessions.close(opened, 7, 1, &mut Vec::new()), NO_SESSION);
        assert_eq!(sessions.held(), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn below_version_7_there_are_none() {
        let sessions = cache(2, 1 << 20);
        let opened = sessions.open(&full(1), 6, 1).unwrap();
        let key = opened.wanted[0].key.clone();
        let mut answers = vec![PartitionAnswer { records: Records::new(), ..PartitionAnswer::refused(key, ErrorCode::None) }];
        assert_eq!((sessions.close(opened, 6, 1, &mut answers), answers.len()), (NO_SESSION, 1));
        assert_eq!(sessions.held(), (0, 0));
    }
}
