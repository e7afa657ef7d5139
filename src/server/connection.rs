//! One connection: requests are taken in order and pipelined, answers go out in the same order.

use super::Shared;
use super::answer::{Answer, write_frame};
use super::dispatch::Session;
use super::pressure::{IDLE, TooSlow, Transfer};
use bytes::{Bytes, BytesMut};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use strandline_types::limits;
use strandline_wire::frame::frame_length;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, BufReader};
use tokio::sync::mpsc;

/// A client that sends no more still gets its answers, for so long.
const LAST_ANSWERS: Duration = Duration::from_secs(60);
/// Small frames come with one read; large ones go past this buffer, straight into their own memory.
const READ_BUFFER_BYTES: usize = 2 << 10;

pub(super) async fn serve<R, W>(shared: Arc<Shared>, read: R, write: W, peer: SocketAddr, id: u64)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let (answers, queue) = mpsc::channel(limits::REQUESTS_IN_FLIGHT_PER_CONNECTION);
    let session = Session::new(&shared, peer, id);
    let reading = read_requests(&shared, session, BufReader::with_capacity(READ_BUFFER_BYTES, read), answers);
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
    mut read: R,
    answers: mpsc::Sender<Answer>,
) -> Result<(), Closed> {
    while !shared.draining.is_cancelled() {
        let mut prefix = [0; 4];
        let first = tokio::select! {
            biased;
            first = tokio::time::timeout(IDLE, read.read(&mut prefix)) => first,
            () = shared.draining.cancelled() => break,
        };
        let got = first.map_err(|_| Closed::Idle)??;
        if got == 0 {
            return Ok(());
        }
        let rest = tokio::time::timeout(limits::REQUEST_TRANSFER, read.read_exact(&mut prefix[got..])).await;
        rest.map_err(|_| Closed::Slow)??;
        let length = frame_length(prefix)?;
        // Admission before allocation: while there is no room the socket is not read, and TCP pushes back.
        let admitted = tokio::time::timeout(limits::REQUEST_WAIT, shared.admission.admit(length)).await;
        let Some(permit) = admitted.map_err(|_| Closed::Busy)? else { return Ok(()) };
        let transfer = Transfer::of_request(&*shared.runtime.clock, length);
        let frame = read_frame(&mut read, length, transfer, || shared.admission.is_short()).await?;
        let Some(answer) = session.take(frame, permit).await? else { continue };
        if answers.send(answer).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// A sender that holds room and sends too slowly is not waited for.
async fn read_frame<R: AsyncRead + Unpin>(
    read: &mut R,
    length: usize,
    mut transfer: Transfer<'_>,
    is_needed: impl Fn() -> bool,
) -> Result<Bytes, Closed> {
    // Memory grows with what really comes, not with what was announced.
    let mut frame = BytesMut::with_capacity(length.min(1 << 20));
    while frame.len() < length {
        let missing = length - frame.len();
        if frame.capacity() == frame.len() {
            frame.reserve(missing.min(frame.len().max(1 << 20)));
        }
        let mut limited = (&mut *read).take(missing as u64);
        if transfer.step(limited.read_buf(&mut frame), &is_needed).await?? == 0 {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
    }
    Ok(frame.freeze())
}

async fn write_answers<W: AsyncWrite + Unpin>(
    shared: &Shared,
    mut write: W,
    mut queue: mpsc::Receiver<Answer>,
) -> std::io::Result<()> {
    while let Some(answer) = queue.recv().await {
        match answer.frame().await {
            Ok(Some(frame)) => {
                // Those that are queued behind this answer hold room of requests.
                let is_needed = || shared.services.reader.is_short_of_room() || shared.admission.is_short();
                write_frame(&mut write, frame, Transfer::of_answer(&*shared.runtime.clock), is_needed).await?;
            }
            Ok(None) => {}
            // An error with acks=0 has no other way to be heard.
            Err(close) => {
                tracing::debug!(reason = close.0, "connection closes");
                return Ok(());
            }
        }
    }
    Ok(())
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
    use super::*;
    use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

    fn future_bytes<A, B, C, D, E, F: Future>(_: impl FnOnce(A, B, C, D, E) -> F) -> usize {
        size_of::<F>()
    }

    /// There may be [`limits::CONNECTIONS`] of them, idle.
    #[test]
    fn what_a_connection_keeps_while_it_is_idle_is_small() {
        let whole = future_bytes(serve::<OwnedReadHalf, OwnedWriteHalf>);
        assert!(whole <= 12 << 10, "{whole}: an answer takes {}, a session {}", size_of::<Answer>(), size_of::<Session>());
    }
}
