//! An answer that is being worked on, and how it leaves.

use super::pressure::{Admitted, Transfer, WINDOW};
use bytes::Buf;
use futures::future::{BoxFuture, FutureExt};
use std::io::{self, IoSlice};
use strandline_wire::Frame;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::oneshot;

/// Close the connection instead of answering.
#[derive(Debug)]
pub(super) struct Close(pub(super) &'static str);

/// What the work for an answer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    /// It is done when its turn has come.
    InTurn,
    /// It may wait for other clients then (Fetch).
    Parks,
    /// The same, and those it waits for need room for requests (JoinGroup, SyncGroup): what comes behind it on its connection is not taken
    /// before it is done, or it would hold that room meanwhile.
    Gathers,
    /// It is done elsewhere, and this waits for its outcome (Produce).
    OnlyWaits,
}

/// What will be written, once it is known. Holds the request's admission until then, or until its turn comes if the work may
/// wait for others: what is parked must not keep out those that it waits for.
pub(super) struct Answer {
    work: BoxFuture<'static, Result<Option<Frame>, Close>>,
    permit: Admitted,
    kind: Work,
    /// Dropped when the work is done.
    until_done: Option<oneshot::Sender<()>>,
}

impl Answer {
    pub(super) fn new(
        permit: Admitted,
        kind: Work,
        work: impl Future<Output = Result<Option<Frame>, Close>> + Send + 'static,
    ) -> Self {
        Self { work: Box::pin(work), permit, kind, until_done: None }
    }

    /// Ends with the work that what comes behind it is not to be taken before, if it is such work.
    pub(super) fn holds_up(&mut self) -> Option<oneshot::Receiver<()>> {
        if self.kind != Work::Gathers {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        self.until_done = Some(sender);
        Some(receiver)
    }

    /// What it is, if it is there already and to find out is no work.
    pub(super) fn at_hand(&mut self) -> Option<Result<Option<Frame>, Close>> {
        if self.kind == Work::OnlyWaits { self.work.as_mut().now_or_never() } else { None }
    }

    /// Finishes the work; None answers nothing (acks=0).
    pub(super) async fn frame(self) -> Result<Option<Frame>, Close> {
        let permit = (!matches!(self.kind, Work::Parks | Work::Gathers)).then_some(self.permit);
        let frame = self.work.await;
        drop((permit, self.until_done));
        frame
    }
}

/// Writes a frame, without copying its segments together; each is dropped as soon as it is written, and gives back the room
/// that it holds. A client that does not take it may keep it waiting for as long as nobody needs that room.
///
/// What a segment lies in may be many times as large: a request's frame with the records of many partitions. So what is left
/// after a while is copied by `copy_left`, which is asked again if that was not all.
pub(super) async fn write_frame<W: AsyncWrite + Unpin>(
    write: &mut W,
    mut frame: Frame,
    mut transfer: Transfer<'_>,
    is_needed: impl Fn() -> bool,
    copy_left: impl Fn(&mut Frame) -> bool,
) -> io::Result<()> {
    const SLICES: usize = 64;
    let late = tokio::time::sleep(WINDOW);
    tokio::pin!(late);
    let mut is_copied = false;
    while frame.has_remaining() {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let count = frame.chunks_vectored(&mut slices);
        let written = tokio::select! {
            biased;
            written = transfer.step(write.write_vectored(&slices[..count]), &is_needed) => Some(written??),
            () = &mut late, if !is_copied => None,
        };
        match written {
            Some(0) => return Err(io::ErrorKind::WriteZero.into()),
            Some(written) => frame.advance(written),
            None => {
                is_copied = copy_left(&mut frame);
                late.set(tokio::time::sleep(WINDOW));
            }
        }
    }
    write.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use std::pin::Pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll};
    use std::time::Duration;
    use tokio::io::AsyncReadExt;

    /// Takes a few bytes at a time, across slices.
    struct Slow(Vec<u8>);

    impl AsyncWrite for Slow {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            let taken = bytes.len().min(3);
            self.0.extend_from_slice(&bytes[..taken]);
            Poll::Ready(Ok(taken))
        }

        fn poll_write_vectored(mut self: Pin<&mut Self>, _: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
            let all: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
            let taken = all.len().min(5);
            self.0.extend_from_slice(&all[..taken]);
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn short_writes_lose_and_double_nothing() {
        let segments: Vec<Bytes> = (0..200_usize).map(|n| Bytes::from(vec![n as u8; n % 7])).collect();
        let expected: Vec<u8> = segments.iter().flat_map(|segment| segment.to_vec()).collect();
        let mut slow = Slow(Vec::new());
        let clock = strandline_runtime::VirtualClock::new(0);
        let transfer = Transfer::of_answer(&clock);
        write_frame(&mut slow, Frame::new(segments), transfer, || false, |_| panic!("it goes on")).await.unwrap();
        assert_eq!(slow.0, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_taken_in_time_is_copied_once_there_is_room() {
        let clock = strandline_runtime::VirtualClock::new(0);
        let whole: Arc<[u8]> = (0..=255).collect();
        let own = Bytes::from_owner(whole.clone());
        let frame = Frame::new([own.slice(10..20), own.slice(100..150)]);
        drop(own);
        let asked = AtomicUsize::new(0);
        let copy_left = |left: &mut Frame| {
            let has_room = asked.fetch_add(1, Ordering::Relaxed) > 0;
            if has_room {
                assert_eq!(left.len(), 40);
                *left = Frame::new([left.copy_to_bytes(40)]);
            }
            has_room
        };
        let (mut writer, mut client) = tokio::io::duplex(20);
        let writes = write_frame(&mut writer, frame, Transfer::of_answer(&clock), || false, copy_left);
        let reads = async {
            for (wait, times, holders) in [(WINDOW - STEP, 0, 2), (STEP * 2, 1, 2), (WINDOW, 2, 1), (WINDOW * 100, 2, 1)] {
                tokio::time::sleep(wait).await;
                assert_eq!((asked.load(Ordering::Relaxed), Arc::strong_count(&whole)), (times, holders), "{wait:?}");
            }
            let mut got = vec![0; 60];
            client.read_exact(&mut got).await.unwrap();
            got
        };
        let (written, got) = tokio::join!(writes, reads);
        written.unwrap();
        assert_eq!(got, [&whole[10..20], &whole[100..150]].concat());
    }

    const STEP: Duration = Duration::from_millis(1);
}
