//! An answer that is being worked on, and how it leaves.

use super::pressure::{Admission, LateFetches};
use bytes::Bytes;
use futures::future::BoxFuture;
use std::io::{self, IoSlice};
use strandline_wire::Frame;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::OwnedSemaphorePermit;

/// Close the connection instead of answering.
#[derive(Debug)]
pub(super) struct Close(pub(super) &'static str);

/// What will be written, once it is known. Holds the request's admission until then, or until its turn comes if the work may
/// wait for others: what is parked must not keep out those that it waits for.
pub(super) struct Answer {
    work: BoxFuture<'static, Result<Option<Frame>, Close>>,
    permit: OwnedSemaphorePermit,
    parks: bool,
}

impl Answer {
    pub(super) fn new(
        permit: OwnedSemaphorePermit,
        work: impl Future<Output = Result<Option<Frame>, Close>> + Send + 'static,
    ) -> Self {
        Self { work: Box::pin(work), permit, parks: false }
    }

    /// The work may wait for other clients (Fetch, JoinGroup, SyncGroup).
    pub(super) fn that_parks(self) -> Self {
        Self { parks: true, ..self }
    }

    /// Finishes the work; None answers nothing (acks=0).
    pub(super) async fn frame(self) -> Result<Option<Frame>, Close> {
        let permit = (!self.parks).then_some(self.permit);
        let frame = self.work.await;
        drop(permit);
        frame
    }
}

/// Writes all segments of a frame, without copying them together. A client that does not take it may keep it waiting for as
/// long as no other needs the room; then the connection is lost, and the client asks again.
pub(super) async fn write_frame<W: AsyncWrite + Unpin>(
    write: &mut W,
    frame: &Frame,
    late: &LateFetches,
    admission: &Admission,
) -> io::Result<()> {
    const SLICES: usize = 64;
    let segments: Vec<&Bytes> = frame.segments().filter(|segment| !segment.is_empty()).collect();
    let (mut at, mut skip) = (0, 0);
    while at < segments.len() {
        let end = segments.len().min(at + SLICES);
        let slices: Vec<IoSlice<'_>> = segments[at..end]
            .iter()
            .enumerate()
            .map(|(number, segment)| IoSlice::new(if number == 0 { &segment[skip..] } else { segment }))
            .collect();
        let mut written =
            late.unless_stalled(admission, write.write_vectored(&slices)).await.ok_or(io::ErrorKind::TimedOut)??;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        while at < segments.len() && written >= segments[at].len() - skip {
            written -= segments[at].len() - skip;
            (at, skip) = (at + 1, 0);
        }
        skip += written;
    }
    write.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::Pin;
    use std::task::{Context, Poll};

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
        write_frame(&mut slow, &Frame::new(segments), &LateFetches::default(), &Admission::default()).await.unwrap();
        assert_eq!(slow.0, expected);
    }
}
