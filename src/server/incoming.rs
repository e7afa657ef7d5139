//! Frames out of a stream: a system call for each, or less.

use super::connection::Closed;
use super::frames::{Frames, LARGEST_BYTES};
use super::pressure::Transfer;
use bytes::{BufMut, Bytes};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Small frames come with one read, several at once; large ones are read into their own memory, and a little of what is behind
/// them comes with them.
const AHEAD_BYTES: usize = 2 << 10;
const GROWS_BY_BYTES: usize = 1 << 20;

/// What a connection reads from.
#[derive(Debug)]
pub(super) struct Incoming<R> {
    read: R,
    /// What has come and was not taken yet.
    ahead: Box<[u8; AHEAD_BYTES]>,
    from: usize,
    to: usize,
}

impl<R> Incoming<R> {
    pub(super) fn new(read: R) -> Self {
        Self { read, ahead: Box::new([0; AHEAD_BYTES]), from: 0, to: 0 }
    }

    /// The same over another stream, which goes on where this one ends; with whatever else is made of it.
    pub(super) fn over<S, T, E>(self, anew: impl FnOnce(R) -> Result<(S, T), E>) -> Result<(Incoming<S>, T), E> {
        let Self { read, ahead, from, to } = self;
        let (read, with) = anew(read)?;
        Ok((Incoming { read, ahead, from, to }, with))
    }
}

impl<R: AsyncRead + Unpin> Incoming<R> {
    /// Waits until something is there; false at the end of the stream. Nothing is lost if it is not waited for to the end.
    pub(super) async fn begins(&mut self) -> io::Result<bool> {
        if self.from == self.to {
            (self.from, self.to) = (0, 0);
            self.to = self.read.read(&mut self.ahead[..]).await?;
        }
        Ok(self.from < self.to)
    }

    /// The four bytes that every frame begins with.
    pub(super) async fn prefix(&mut self) -> io::Result<[u8; 4]> {
        let mut prefix = [0; 4];
        let mut got = 0;
        while got < prefix.len() {
            if !self.begins().await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            got += self.take(&mut &mut prefix[got..]);
        }
        Ok(prefix)
    }

    /// Moves what is there to `to`, as much as it has room for.
    fn take(&mut self, to: &mut impl BufMut) -> usize {
        let bytes = (self.to - self.from).min(to.remaining_mut());
        to.put_slice(&self.ahead[self.from..self.from + bytes]);
        self.from += bytes;
        bytes
    }

    /// The frame of this length that comes next. A sender that holds room and sends too slowly is not waited for.
    pub(super) async fn frame(
        &mut self,
        frames: &Frames,
        length: usize,
        mut transfer: Transfer<'_>,
        is_needed: impl Fn() -> bool,
    ) -> Result<Bytes, Closed> {
        let behind = match LARGEST_BYTES.checked_sub(length) {
            // A frame that is here whole is copied, and nothing is read.
            _ if self.to - self.from >= length => 0,
            Some(left) => AHEAD_BYTES.min(length / 8).min(left),
            None => AHEAD_BYTES,
        };
        let kept = frames.take(length + behind);
        let is_kept = kept.is_some();
        // Memory grows with what really comes, not with what was announced.
        let mut frame = kept.unwrap_or_else(|| Vec::with_capacity((length + behind).min(GROWS_BY_BYTES)));
        self.take(&mut (&mut frame).limit(length));
        while frame.len() < length {
            let missing = length + behind - frame.len();
            if frame.capacity() == frame.len() {
                frame.reserve_exact(missing.min(frame.len().max(GROWS_BY_BYTES)));
            }
            let mut limited = (&mut self.read).take(missing as u64);
            if transfer.step(limited.read_buf(&mut frame), &is_needed).await?? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
        if let Some(next) = frame.get(length..).filter(|next| !next.is_empty()) {
            self.ahead[..next.len()].copy_from_slice(next);
            (self.from, self.to) = (0, next.len());
            frame.truncate(length);
        }
        Ok(if is_kept { frames.freeze(frame) } else { frame.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::pin::Pin;
    use std::task::{Context, Poll};
    use tokio::io::ReadBuf;

    /// A stream that gives at most so many bytes a read, in turn.
    struct Pieces {
        bytes: Vec<u8>,
        given: usize,
        pieces: Vec<usize>,
        reads: usize,
    }

    impl Pieces {
        fn of(frames: &[Vec<u8>], pieces: Vec<usize>) -> Self {
            let framed = |frame: &Vec<u8>| [&(frame.len() as u32).to_be_bytes()[..], frame].concat();
            Self { bytes: frames.iter().flat_map(framed).collect(), given: 0, pieces, reads: 0 }
        }
    }

    impl AsyncRead for Pieces {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            let piece = self.pieces[self.reads % self.pieces.len()];
            self.reads += 1;
            let bytes = piece.min(buffer.remaining()).min(self.bytes.len() - self.given);
            buffer.put_slice(&self.bytes[self.given..self.given + bytes]);
            self.given += bytes;
            Poll::Ready(Ok(()))
        }
    }

    async fn read_all(incoming: &mut Incoming<Pieces>) -> Result<Vec<Bytes>, Closed> {
        read_all_into(&Frames::default(), incoming).await
    }

    async fn read_all_into(frames: &Frames, incoming: &mut Incoming<Pieces>) -> Result<Vec<Bytes>, Closed> {
        let clock = strandline_runtime::Runtime::system().clock;
        let mut all = Vec::new();
        while incoming.begins().await? {
            let length = u32::from_be_bytes(incoming.prefix().await?) as usize;
            let transfer = Transfer::of_request(&*clock, length);
            all.push(incoming.frame(frames, length, transfer, || false).await?);
        }
        Ok(all)
    }

    fn block_on<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
    }

    fn frame(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at % 251) as u8 ^ length as u8).collect()
    }

    proptest! {
        #[test]
        fn frames_are_what_was_sent_however_it_comes(
            lengths in prop::collection::vec(prop_oneof![0..20_usize, 0..5_000_usize, 30_000..80_000_usize], 0..12),
            pieces in prop::collection::vec(prop_oneof![1..8_usize, 1..3_000_usize, 1..100_000_usize], 1..6),
        ) {
            let sent: Vec<_> = lengths.into_iter().map(frame).collect();
            let mut incoming = Incoming::new(Pieces::of(&sent, pieces));
            prop_assert_eq!(block_on(read_all(&mut incoming)).unwrap(), sent);
        }
    }

    #[test]
    fn a_frame_that_is_followed_by_others_takes_one_read() {
        for length in [200, 16_500, 100_000] {
            let sent = vec![frame(length); 50];
            let mut incoming = Incoming::new(Pieces::of(&sent, vec![usize::MAX]));
            assert_eq!(block_on(read_all(&mut incoming)).unwrap(), sent);
            let reads = incoming.read.reads;
            assert!(reads <= 53, "{reads} reads of frames of {length}");
        }
    }

    #[test]
    fn large_frames_are_kept_up_to_their_bound_and_grow_beyond() {
        for (length, is_kept) in [
            (LARGEST_BYTES - 2_048, true),
            (LARGEST_BYTES - 5, true),
            (LARGEST_BYTES, true),
            (LARGEST_BYTES + 1, false),
            (3_500_000, false),
        ] {
            let sent = vec![frame(length), frame(90)];
            for piece in [usize::MAX, 65_521] {
                let frames = Frames::default();
                let mut incoming = Incoming::new(Pieces::of(&sent, vec![piece]));
                let read = block_on(read_all_into(&frames, &mut incoming)).unwrap();
                assert!(read == sent, "{length}");
                let place = read[0].as_ptr();
                drop(read);
                assert_eq!(frames.take(length).is_some_and(|buffer| buffer.as_ptr() == place), is_kept, "{length}");
            }
        }
    }

    #[tokio::test]
    async fn who_stops_waiting_for_a_frame_loses_nothing_of_it() {
        let (mut client, server) = tokio::io::duplex(64);
        let mut incoming = Incoming::new(server);
        assert!(futures::poll!(std::pin::pin!(incoming.begins())).is_pending());
        tokio::io::AsyncWriteExt::write_all(&mut client, &[0, 0, 0, 1, 7]).await.unwrap();
        assert!(incoming.begins().await.unwrap());
        assert!(incoming.begins().await.unwrap(), "it says so again");
        assert_eq!(incoming.prefix().await.unwrap(), [0, 0, 0, 1]);
    }

    #[test]
    fn a_stream_that_ends_within_a_frame_is_an_error() {
        for cut in [1, 3, 4, 5, 4_000, 40_003] {
            let mut pieces = Pieces::of(&[frame(40_000)], vec![999]);
            pieces.bytes.truncate(cut);
            let error = block_on(read_all(&mut Incoming::new(pieces))).unwrap_err();
            assert!(matches!(&error, Closed::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof), "{cut}: {error}");
        }
    }
}
