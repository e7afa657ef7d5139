//! One connection: requests are taken in order and pipelined, answers go out in the same order.

use super::Shared;
use super::answer::{Answer, Close, write_frame};
use super::dispatch::Session;
use super::incoming::Incoming;
use super::pressure::{IDLE, TooSlow, Transfer};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use strandline_types::limits;
use strandline_wire::Frame;
use strandline_wire::frame::frame_length;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

/// A client that sends no more still gets its answers, for so long.
const LAST_ANSWERS: Duration = Duration::from_secs(60);
/// Small answers that are there at the same time are written together, up to so many bytes.
const TOGETHER_BYTES: usize = 16 << 10;

pub(super) async fn serve<R, W>(shared: Arc<Shared>, read: R, write: W, peer: SocketAddr, id: u64)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let (answers, queue) = mpsc::channel(limits::REQUESTS_IN_FLIGHT_PER_CONNECTION);
    let session = Session::new(&shared, peer, id);
    let reading = read_requests(&shared, session, Incoming::new(read), answers);
    let writing = write_answers(&shared, write, queue);
    tokio::pin!(reading, writing);
    // When reading ends (the client closed, a bad frame, draining), what was taken is still answered. When writing ends,
    // nobody hears us any more. In a fixed order here and below, so that a simulation is the same each time.
    tokio::select! {
        biased;
        result = &mut reading => {
            let lost = matches!(&result, Err(Closed::Io(_)));
            if let Err(closed) = result {
                tracing::debug!(%peer, %closed, "connection closes");
            }
            if !lost {
                tokio::select! {
                    biased;
                    result = tokio::time::timeout(LAST_ANSWERS, &mut writing) => log_write(peer, result.unwrap_or(Ok(()))),
                    () = shared.services.cell.stopped() => {}
                }
            }
        }
        result = &mut writing => log_write(peer, result),
        () = shared.services.cell.stopped() => {}
    }
    shared.services.connection_closed(id);
}

fn log_write(peer: SocketAddr, result: std::io::Result<()>) {
    if let Err(error) = result {
        tracing::debug!(%peer, %error, "connection lost");
    }
}

async fn read_requests<R: AsyncRead + Unpin>(
    shared: &Shared,
    mut session: Session,
    mut read: Incoming<R>,
    answers: mpsc::Sender<Answer>,
) -> Result<(), Closed> {
    while !shared.draining.is_cancelled() {
        let first = tokio::select! {
            biased;
            first = tokio::time::timeout(IDLE, read.begins()) => first,
            () = shared.draining.cancelled() => break,
        };
        if !first.map_err(|_| Closed::Idle)?? {
            return Ok(());
        }
        let prefix = tokio::time::timeout(limits::REQUEST_TRANSFER, read.prefix()).await;
        let length = frame_length(prefix.map_err(|_| Closed::Slow)??)?;
        // Admission before allocation: while there is no room the socket is not read, and TCP pushes back.
        let admitted = tokio::time::timeout(limits::REQUEST_WAIT, shared.admission.admit(length)).await;
        let Some(permit) = admitted.map_err(|_| Closed::Busy)? else { return Ok(()) };
        let transfer = Transfer::of_request(&*shared.runtime.clock, length);
        let frame = read.frame(&shared.frames, length, transfer, || shared.admission.is_short()).await?;
        let Some(answer) = session.take(frame, permit).await? else { continue };
        if answers.send(answer).await.is_err() {
            break;
        }
    }
    Ok(())
}

async fn write_answers<W: AsyncWrite + Unpin>(
    shared: &Shared,
    mut write: W,
    mut queue: mpsc::Receiver<Answer>,
) -> std::io::Result<()> {
    let mut next = None;
    loop {
        let answer = match next.take() {
            Some(answer) => answer,
            None => match queue.recv().await {
                Some(answer) => answer,
                None => return Ok(()),
            },
        };
        let Together { frame, close, next: not_ready } = together(answer, &mut queue).await;
        next = not_ready;
        if !frame.is_empty() {
            // The answer holds room of answers; those that are queued behind it, if there are any, hold room of requests.
            let (is_followed, queue, reader) = (next.is_some(), &queue, &shared.services.reader);
            let is_needed = || {
                let holds_requests = is_followed || !queue.is_empty();
                reader.is_short_of_room() || (holds_requests && shared.admission.is_short())
            };
            let transfer = Transfer::of_answer(&*shared.runtime.clock);
            write_frame(&mut write, frame, transfer, is_needed, |left| reader.copy_left(left)).await?;
        }
        if let Some(close) = close {
            tracing::debug!(reason = close.0, "connection closes");
            return Ok(());
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
    #[error("{api} version {version} is not spoken here")]
    Version { api: strandline_wire::ApiKey, version: i16 },
    #[error("the body of {api} version {version} does not decode: {error}")]
    Body { api: strandline_wire::ApiKey, version: i16, error: strandline_wire::DecodeError },
}

#[cfg(test)]
mod tests {
    use super::super::answer::Work;
    use super::*;
    use bytes::Bytes;
    use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

    fn future_bytes<A, B, C, D, E, F: Future>(_: impl FnOnce(A, B, C, D, E) -> F) -> usize {
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
        let whole = future_bytes(serve::<OwnedReadHalf, OwnedWriteHalf>);
        assert!(whole <= 12 << 10, "{whole}: an answer takes {}, a session {}", size_of::<Answer>(), size_of::<Session>());
    }
}
