//! An answer that is being worked on, and how it leaves.

use super::pressure::{Admitted, Transfer, WINDOW};
use bytes::Buf;
use futures::future::{BoxFuture, FutureExt};
use std::io::{self, IoSlice};
use strandline_runtime::Held;
use strandline_wire::Frame;
use tokio::io::{AsyncWrite, AsyncWriteExt};

/// Close the connection instead of answering.
#[derive(Debug)]
pub(super) struct Close(pub(super) &'static str);

/// What the work for an answer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    /// It is done when its turn has come.
    InTurn,
    /// It may wait for other clients then (Fetch, JoinGroup, SyncGroup).
    Parks,
    /// It is done elsewhere, and this waits for its outcome (Produce).
    OnlyWaits,
}

/// What will be written, once it is known. Holds the request's admission until then, or until its turn comes if the work may
/// wait for others: what is parked must not keep out those that it waits for.
pub(super) struct Answer {
    work: BoxFuture<'static, Result<Option<Frame>, Close>>,
    permit: Admitted,
    kind: Work,
}

impl Answer {
    pub(super) fn new(
        permit: Admitted,
        kind: Work,
        work: impl Future<Output = Result<Option<Frame>, Close>> + Send + 'static,
    ) -> Self {
        Self { work: Box::pin(work), permit, kind }
    }

    /// What it is, if it is there already and to find out is no work.
    pub(super) fn at_hand(&mut self) -> Option<Result<Option<Frame>, Close>> {
        if self.kind == Work::OnlyWaits { self.work.as_mut().now_or_never() } else { None }
    }

    /// Finishes the work; None answers nothing (acks=0).
    pub(super) async fn frame(self) -> Result<Option<Frame>, Close> {
        let permit = (self.kind != Work::Parks).then_some(self.permit);
        let frame = self.work.await;
        drop(permit);
        frame
    }
}

/// Writes a frame, without copying its segments together; each is dropped as soon as it is written, and gives back the room
/// that it holds. A client that does not take it may keep it waiting for as long as nobody needs that room.
///
/// What a segment lies in may be many times as large: a request's frame with the records of many partitions. So what is left
/// after a while is copied, into room from `hold`, once there is some.
pub(super) async fn write_frame<W: AsyncWrite + Unpin>(
    write: &mut W,
    mut frame: Frame,
    mut transfer: Transfer<'_>,
    is_needed: impl Fn() -> bool,
    hold: impl Fn(usize) -> Option<Held>,
) -> io::Result<()> {
    const SLICES: usize = 64;
    let late = tokio::time::sleep(WINDOW);
    tokio::pin!(late);
    let mut copied = None;
    while frame.has_remaining() {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let count = frame.chunks_vectored(&mut slices);
        let written = tokio::select! {
            biased;
            written = transfer.step(write.write_vectored(&slices[..count]), &is_needed) => Some(written??),
            () = &mut late, if copied.is_none() => None,
        };
        match written {
            Some(0) => return Err(io::ErrorKind::WriteZero.into()),
            Some(written) => frame.advance(written),
            None => {
                copied = hold(frame.len());
                if copied.is_some() {
                    frame = Frame::new([frame.copy_to_bytes(frame.len())]);
                } else {
                    late.set(tokio::time::sleep(WINDOW));
                }
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
    use std::task::{Context, Poll};
    use std::time::Duration;
    use tokio::io::AsyncReadExt;
    use tokio::sync::Semaphore;

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
    async fn an_answer_that_stands_still_keeps_its_own_bytes_alone() {
        let clock = strandline_runtime::VirtualClock::new(0);
        let room = Arc::new(Semaphore::new(1_000));
        let hold = |bytes: usize| {
            let permit = room.clone().try_acquire_many_owned(bytes as u32).ok()?;
            Some(Held::new(permit, metrics::Gauge::noop()))
        };
        let large: Arc<[u8]> = (0..=255).collect();
        let frame = || {
            let large = Bytes::from_owner(large.clone());
            Frame::new([large.slice(10..20), large.slice(100..150)])
        };
        let (mut writer, mut client) = tokio::io::duplex(20);
        let writes = write_frame(&mut writer, frame(), Transfer::of_answer(&clock), || false, hold);
        let reads = async {
            tokio::time::sleep(WINDOW - Duration::from_millis(1)).await;
            assert_eq!((Arc::strong_count(&large), room.available_permits()), (2, 1_000));
            tokio::time::sleep(Duration::from_millis(2)).await;
            assert_eq!((Arc::strong_count(&large), room.available_permits()), (1, 960), "what is left, and nothing else");
            tokio::time::sleep(WINDOW * 100).await;
            let mut got = vec![0; 60];
            client.read_exact(&mut got[..30]).await.unwrap();
            assert_eq!(room.available_permits(), 960, "the copy goes as a whole");
            client.read_exact(&mut got[30..]).await.unwrap();
            got
        };
        let (written, got) = tokio::join!(writes, reads);
        written.unwrap();
        assert_eq!(got, [&large[10..20], &large[100..150]].concat());
        assert_eq!(room.available_permits(), 1_000);
        // Room comes late.
        let others = hold(990).unwrap();
        let (mut writer, mut client) = tokio::io::duplex(20);
        let writes = write_frame(&mut writer, frame(), Transfer::of_answer(&clock), || false, hold);
        let reads = async {
            tokio::time::sleep(WINDOW * 3 / 2).await;
            assert_eq!(Arc::strong_count(&large), 2);
            drop(others);
            tokio::time::sleep(WINDOW).await;
            assert_eq!(Arc::strong_count(&large), 1);
            client.read_exact(&mut [0; 60]).await.unwrap();
        };
        tokio::join!(writes, reads).0.unwrap();
    }
}
