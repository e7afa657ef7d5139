//! One connection: requests are taken in order and pipelined, answers go out in the same order.

use super::Shared;
use super::answer::{Answer, Close, write_frame};
use super::dispatch::Session;
use super::incoming::Incoming;
use super::pressure::{Admitted, IDLE, TooSlow, Transfer};
use super::whereabouts::Whereabouts;
use bytes::Bytes;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use strandline_types::{Gone, Seq, limits};
use strandline_wire::Frame;
use strandline_wire::frame::frame_length;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

/// A client that sends no more still gets its answers, for so long.
const LAST_ANSWERS: Duration = Duration::from_secs(60);
/// Small answers that are there at the same time are written together, up to so many bytes.
const TOGETHER_BYTES: usize = 16 << 10;

/// What is known of a connection before anything has come over it.
pub(super) struct Begun {
    pub(super) peer: SocketAddr,
    /// What the node had folded by then, at least.
    pub(super) connected_at: Seq,
    pub(super) id: u64,
}

/// A connection, wherever it is served.
pub(super) struct Connection<R, W> {
    incoming: Incoming<R>,
    write: W,
    session: Session,
    pub(super) whereabouts: Whereabouts,
    /// A request that has come and was not taken where it came.
    first: Option<(Bytes, Admitted)>,
    peer: SocketAddr,
    id: u64,
}

impl<R, W> Connection<R, W> {
    pub(super) fn new(shared: &Arc<Shared>, read: R, write: W, begun: Begun, whereabouts: Whereabouts) -> Self {
        let Begun { peer, connected_at, id } = begun;
        let session = Session::new(shared, peer, connected_at, id);
        Self { incoming: Incoming::new(read), write, session, whereabouts, first: None, peer, id }
    }

    /// The same connection over halves that are made of its own.
    pub(super) fn over<R2, W2, E>(self, anew: impl FnOnce(R, W) -> Result<(R2, W2), E>) -> Result<Connection<R2, W2>, E> {
        let Self { incoming, write, session, whereabouts, first, peer, id } = self;
        let (incoming, write) = incoming.over(|read| anew(read, write))?;
        Ok(Connection { incoming, write, session, whereabouts, first, peer, id })
    }
}

/// Serves it to its end; or until it is to be served elsewhere: then all that it was asked here is answered.
pub(super) async fn serve<R, W>(shared: &Arc<Shared>, mut connection: Connection<R, W>) -> Option<Connection<R, W>>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let moves = take_and_answer(shared, &mut connection).await;
    if !moves {
        shared.services.connection_closed(connection.id);
    }
    moves.then_some(connection)
}

/// Whether it goes on elsewhere.
async fn take_and_answer<R, W>(shared: &Arc<Shared>, connection: &mut Connection<R, W>) -> bool
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let Connection { incoming, write, session, whereabouts, first, peer, .. } = connection;
    let peer = *peer;
    let (answers, queue) = mpsc::channel(limits::REQUESTS_IN_FLIGHT_PER_CONNECTION);
    let reader = ReaderState::default();
    let gone = session.gone.clone();
    let reading = read_requests(shared, session, incoming, whereabouts, first, answers);
    let writing = write_answers(shared, write, queue, &reader, &gone);
    tokio::pin!(reading, writing);
    // When reading ends (the client closed, a bad frame, draining), what was taken is still answered. When writing ends,
    // nobody hears us any more. In a fixed order here and below, so that a simulation is the same each time.
    tokio::select! {
        biased;
        result = &mut reading => {
            let (lost, moves) = (matches!(result, Err(Closed::Io(_))), matches!(result, Ok(Read::Elsewhere)));
            if let Err(closed) = &result {
                tracing::debug!(%peer, %closed, "connection closes");
            }
            if !lost {
                reader.is_moving.store(moves, Ordering::Relaxed);
                reader.has_ended.store(matches!(result, Ok(Read::Ended)), Ordering::Relaxed);
                // One that goes on elsewhere is as any other: its answers have the time that answers have.
                let patience = if moves { IDLE } else { LAST_ANSWERS };
                tokio::select! {
                    biased;
                    result = tokio::time::timeout(patience, &mut writing) => match result {
                        Ok(Ok(Written::All)) => return moves,
                        Ok(Ok(Written::Closed)) | Err(_) => {}
                        Ok(Err(error)) => log_lost(peer, &error),
                    },
                    () = shared.services.cell.stopped() => {}
                }
            }
        }
        result = &mut writing => if let Err(error) = result { log_lost(peer, &error) },
        () = shared.services.cell.stopped() => {}
    }
    false
}

fn log_lost(peer: SocketAddr, error: &std::io::Error) {
    tracing::debug!(%peer, %error, "connection lost");
}

/// How reading ended.
#[derive(Debug, PartialEq, Eq)]
enum Read {
    /// Nothing more is taken.
    All,
    /// The client sends no more.
    Ended,
    /// The next request is to be taken elsewhere.
    Elsewhere,
}

/// How reading ended, for what is still to be written.
#[derive(Debug, Default)]
struct ReaderState {
    is_moving: AtomicBool,
    has_ended: AtomicBool,
}

/// How writing ended.
#[derive(Debug, PartialEq, Eq)]
enum Written {
    /// All that was asked is answered.
    All,
    /// Nothing more is to be answered.
    Closed,
}

async fn read_requests<R: AsyncRead + Unpin>(
    shared: &Shared,
    session: &mut Session,
    read: &mut Incoming<R>,
    whereabouts: &mut Whereabouts,
    first: &mut Option<(Bytes, Admitted)>,
    answers: mpsc::Sender<Answer>,
) -> Result<Read, Closed> {
    let mut held_up = None;
    if let Some((frame, permit)) = first.take()
        && let Some(mut answer) = session.take(frame, permit).await?
    {
        held_up = answer.holds_up();
        if answers.send(answer).await.is_err() {
            return Ok(Read::All);
        }
    }
    while !shared.draining.is_cancelled() {
        let begins = tokio::select! {
            biased;
            begins = tokio::time::timeout(IDLE, read.begins()) => begins,
            () = shared.draining.cancelled() => break,
        };
        if !begins.map_err(|_| Closed::Idle)?? {
            return Ok(Read::Ended);
        }
        if let Some(done) = held_up.take() {
            tokio::select! {
                biased;
                _ = done => {}
                () = shared.draining.cancelled() => break,
            }
        }
        let prefix = tokio::time::timeout(limits::REQUEST_TRANSFER, read.prefix()).await;
        let length = frame_length(prefix.map_err(|_| Closed::Slow)??)?;
        // Admission before allocation: while there is no room the socket is not read, and TCP pushes back.
        let admitted = tokio::time::timeout(limits::REQUEST_WAIT, shared.admission.admit(length)).await;
        let Some(permit) = admitted.map_err(|_| Closed::Busy)? else { return Ok(Read::All) };
        let transfer = Transfer::of_request(&*shared.runtime.clock, length);
        let frame = read.frame(&shared.frames, length, transfer, || shared.admission.is_short()).await?;
        if whereabouts.moves_for(&frame, shared.services.cell.beside(), || shared.runtime.clock.monotonic()) {
            *first = Some((frame, permit));
            return Ok(Read::Elsewhere);
        }
        let Some(mut answer) = session.take(frame, permit).await? else { continue };
        held_up = answer.holds_up();
        if answers.send(answer).await.is_err() {
            break;
        }
    }
    Ok(Read::All)
}

async fn write_answers<W: AsyncWrite + Unpin>(
    shared: &Shared,
    write: &mut W,
    mut queue: mpsc::Receiver<Answer>,
    reader_state: &ReaderState,
    gone: &Gone,
) -> std::io::Result<Written> {
    let mut next = None;
    loop {
        let answer = match next.take() {
            Some(answer) => answer,
            None => match queue.recv().await {
                Some(answer) => answer,
                None => return Ok(Written::All),
            },
        };
        let Together { frame, close, next: not_ready } = together(answer, &mut queue).await;
        next = not_ready;
        if !frame.is_empty() {
            // The answer holds room of answers; those that are queued behind it, if there are any, hold room of requests, and so does a
            // request that is to be taken elsewhere.
            let (is_followed, queue, reader) = (next.is_some(), &queue, &shared.services.reader);
            let is_needed = || {
                let holds_requests = is_followed || !queue.is_empty() || reader_state.is_moving.load(Ordering::Relaxed);
                reader.is_short_of_room() || (holds_requests && shared.admission.is_short())
            };
            let transfer = Transfer::of_answer(&*shared.runtime.clock);
            write_frame(write, frame, transfer, is_needed, |left| reader.copy_left(left)).await?;
            // Who still listened would have kept its side open, as all clients do. A commit that was sent last is done all the same; of several
            // the first. (Kafka loses the others, too, once the client's system has refused the answer.)
            if reader_state.has_ended.load(Ordering::Relaxed) {
                gone.set();
            }
        }
        if let Some(close) = close {
            tracing::debug!(reason = close.0, "connection closes");
            return Ok(Written::Closed);
        }
    }
}

/// Answers that leave with one write.
struct Together {
    frame: Frame,
    /// Nothing more is answered.
    close: Option<Close>,
    /// The one behind them, which is not there yet.
    next: Option<Answer>,
}

/// Waits for an answer and takes with it those behind it that are there by then: one commit answers many requests.
async fn together(first: Answer, queue: &mut mpsc::Receiver<Answer>) -> Together {
    let mut together = Together { frame: Frame::default(), close: None, next: None };
    let mut answer = first.frame().await;
    loop {
        match answer {
            Ok(frame) => frame.into_iter().for_each(|frame| together.frame.append(frame)),
            // An error with acks=0 has no other way to be heard.
            Err(close) => {
                together.close = Some(close);
                return together;
            }
        }
        if together.frame.len() >= TOGETHER_BYTES {
            return together;
        }
        let Ok(mut behind) = queue.try_recv() else { return together };
        match behind.at_hand() {
            Some(at_hand) => answer = at_hand,
            None => {
                together.next = Some(behind);
                return together;
            }
        }
    }
}

impl From<TooSlow> for Closed {
    fn from(_: TooSlow) -> Self {
        Self::Slow
    }
}

/// Why a connection is closed by this side.
#[derive(Debug, thiserror::Error)]
pub(super) enum Closed {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Frame(#[from] strandline_wire::FrameError),
    #[error("nothing came for ten minutes")]
    Idle,
    #[error("there was no room for a request for too long")]
    Busy,
    #[error("a request came too slowly")]
    Slow,
    #[error("a Produce request names more partitions than it has batches for")]
    Hollow,
    #[error("{api} version {version} is not spoken here")]
    Version { api: strandline_wire::ApiKey, version: i16 },
    #[error("the body of {api} version {version} does not decode: {error}")]
    Body { api: strandline_wire::ApiKey, version: i16, error: strandline_wire::DecodeError },
}

#[cfg(test)]
mod tests {
    use super::super::answer::Work;
    use super::*;
    fn future_bytes<A, B, C, F: Future>(_: impl FnOnce(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    #[tokio::test]
    async fn answers_that_are_there_leave_together_and_in_order() {
        let admission = super::super::pressure::Admission::default();
        let (sender, mut queue) = mpsc::channel(16);
        let frame = |text: &'static str| Ok(Some(Frame::new([Bytes::from_static(text.as_bytes())])));
        let (late, outcome) = tokio::sync::oneshot::channel::<()>();
        let waits = async move {
            let _ = outcome.await;
            frame("d")
        };
        let send = async |work: futures::future::BoxFuture<'static, Result<Option<Frame>, Close>>, only_waits: bool| {
            let kind = if only_waits { Work::OnlyWaits } else { Work::InTurn };
            assert!(sender.send(Answer::new(admission.admit(1).await.unwrap(), kind, work)).await.is_ok());
        };
        send(Box::pin(async move { frame("a") }), true).await;
        send(Box::pin(async { Ok(None) }), true).await;
        send(Box::pin(async move { frame("c") }), true).await;
        send(Box::pin(waits), true).await;
        send(Box::pin(async move { frame("e") }), false).await;
        send(Box::pin(async move { frame("f") }), true).await;
        send(Box::pin(async { Err(Close("refused")) }), true).await;
        send(Box::pin(async move { frame("never") }), true).await;
        let left = |together: Together| (together.frame.into_bytes(), together.close.is_some(), together.next);
        let first = queue.recv().await.unwrap();
        let (bytes, close, next) = left(together(first, &mut queue).await);
        assert_eq!((&bytes[..], close), (&b"ac"[..], false));
        late.send(()).unwrap();
        // What is work to find out begins only when its turn has come.
        let (bytes, close, next) = left(together(next.unwrap(), &mut queue).await);
        assert_eq!((&bytes[..], close), (&b"d"[..], false));
        let (bytes, close, next) = left(together(next.unwrap(), &mut queue).await);
        assert_eq!((&bytes[..], close, next.is_none()), (&b"ef"[..], true, true));
    }

    /// There may be [`limits::CONNECTIONS`] of them, idle.
    #[test]
    fn what_a_connection_keeps_while_it_is_idle_is_small() {
        let whole = future_bytes(crate::server::serve_here).max(future_bytes(crate::server::serve_anew));
        assert!(whole <= 12 << 10, "{whole}: an answer takes {}, a session {}", size_of::<Answer>(), size_of::<Session>());
    }
}
