//! The reader and what it is made of.

use crate::answer::copy_left;
use crate::byte_room::ByteRoom;
use crate::error::{Reports, ServeError};
use crate::footers::Footers;
use crate::history::History;
use crate::pages::Pages;
use crate::plan::{Isolation, NoPlan, Plan, plan};
use crate::room::AnswerRoom;
use crate::session::{ConnectionId, SessionCache};
use std::sync::Arc;
use std::time::Duration;
use strandline_cache::Cache;
use strandline_cell::Cell;
use strandline_extents::ExtentReader;
use strandline_object_store::{Objects, Purpose};
use strandline_segment_index::SegmentIndex;
use strandline_types::{TopicPartition, limits};
use strandline_wire::Frame;
use tokio::sync::Semaphore;

/// Settings of the reader. The defaults are those of [`limits`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReaderOptions {
    /// Bytes of one answer, whatever the client allows; a first batch that is larger goes whole.
    pub answer_bytes: usize,
    /// Bytes that all answers together hold until they are sent.
    pub answers_bytes: usize,
    /// The longest that a fetch waits for records, whatever the client asks for.
    pub longest_wait: Duration,
    /// Fetch sessions.
    pub sessions: usize,
    /// Bytes of all fetch sessions.
    pub session_bytes: usize,
    /// Bytes of opened footers.
    pub footer_bytes: usize,
    /// Chunks that are rebuilt ahead of their readers at once; 0 turns it off.
    pub read_ahead: usize,
    /// Bytes of extents that are looked into for times at once, each with what may come out of one of its compressed batches. One that
    /// takes more is looked into alone.
    pub time_search_bytes: usize,
}

impl Default for ReaderOptions {
    fn default() -> Self {
        Self {
            answer_bytes: limits::FETCH_ANSWER_BYTES,
            answers_bytes: limits::FETCH_ANSWERS_BYTES,
            longest_wait: limits::FETCH_WAIT,
            sessions: limits::FETCH_SESSIONS,
            session_bytes: limits::FETCH_SESSION_BYTES,
            footer_bytes: limits::FOOTER_CACHE_BYTES,
            read_ahead: limits::READ_AHEAD,
            time_search_bytes: limits::TIME_SEARCH_BYTES,
        }
    }
}

/// Answers Fetch, ListOffsets and OffsetForLeaderEpoch. Cheap to clone.
#[derive(Clone)]
pub struct Reader {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) options: ReaderOptions,
    pub(crate) cell: Cell,
    pub(crate) extents: ExtentReader,
    pub(crate) history: History,
    pub(crate) segment_index: Arc<dyn SegmentIndex>,
    pub(crate) sessions: SessionCache,
    /// Room for the bytes of answers that are not sent yet.
    pub(crate) answers: AnswerRoom,
    pub(crate) reports: Reports,
    pub(crate) read_ahead: Arc<Semaphore>,
    /// Room for extents that are looked into for times: their bytes, and what comes out of their compressed batches.
    pub(crate) time_searches: ByteRoom,
}

impl Reader {
    /// A reader of this cell.
    pub fn new(options: ReaderOptions, cell: Cell, objects: Objects, segment_index: Arc<dyn SegmentIndex>, cache: Cache) -> Self {
        let runtime = cell.runtime().clone();
        let extents = ExtentReader::through(&cell, objects.clone(), cache.clone(), Purpose::Read);
        let footers = Footers::new(objects.clone(), options.footer_bytes);
        let history = History::new(Arc::new(footers), Pages::new(objects, cache), runtime.spawner.clone());
        let sessions = SessionCache::new(runtime, options.sessions, options.session_bytes);
        let answers = AnswerRoom::new(options.answers_bytes);
        let reports = Reports::new(cell.runtime().clock.clone());
        let read_ahead = Arc::new(Semaphore::new(options.read_ahead));
        let time_searches = ByteRoom::new(options.time_search_bytes, || metrics::gauge!("strandline_time_search_bytes"));
        Self {
            shared: Arc::new(Shared {
                options,
                cell,
                extents,
                history,
                segment_index,
                sessions,
                answers,
                reports,
                read_ahead,
                time_searches,
            }),
        }
    }

    /// The room for answers that are not sent yet runs short: an answer that is not taken is in the way of others.
    pub fn is_short_of_room(&self) -> bool {
        self.shared.answers.is_short()
    }

    /// What is left of an answer lies in memory of its own from here on, as far as there is room right now. Whether that was all.
    pub fn copy_left(&self, frame: &mut Frame) -> bool {
        copy_left(frame, &self.shared.answers)
    }

    /// Frees what a connection held: its fetch sessions.
    pub fn connection_closed(&self, connection: ConnectionId) {
        self.shared.sessions.connection_closed(connection);
    }
}

impl Shared {
    /// A plan from the view of this moment.
    pub(crate) fn plan(&self, at: TopicPartition, offset: i64, isolation: Isolation, limit: u64) -> Result<Plan, NoPlan> {
        plan(&self.cell.view(), at, offset, isolation, limit)
    }

    /// From here on the view is not older than this call.
    pub(crate) async fn barrier(&self) -> Result<(), ServeError> {
        self.cell.barrier().await.map_err(|_| ServeError::NoBarrier)
    }
}
