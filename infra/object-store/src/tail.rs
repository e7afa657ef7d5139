//! What stands at the end of an object, such as a footer: read with one request where a guess at its length suffices.

use crate::errors::GetError;
use crate::objects::Objects;
use crate::purpose::Purpose;
use bytes::Bytes;
use strandline_runtime::BlockingError;

/// The end of an object could not be read and understood.
#[derive(Debug, thiserror::Error)]
pub enum TailError<E> {
    /// The bytes could not be read.
    #[error(transparent)]
    Get(#[from] GetError),
    /// The work on a thread did not end.
    #[error(transparent)]
    Blocking(#[from] BlockingError),
    /// The bytes were read and are not what was expected.
    #[error("{0}")]
    Parse(E),
}

impl Objects {
    /// Reads the end of an object of `size` bytes and hands it to `parse`, on a thread for blocking work. `guess_bytes` are
    /// fetched first. Where `needs` says of an error that more of the end is needed (that many bytes, all in all), those are fetched
    /// and parsed; what cannot be, because it is no more than was there or more than the object has, is the error itself.
    ///
    /// # Errors
    /// [`TailError`] says which of the three failed.
    pub async fn parse_tail<T, E>(
        &self,
        purpose: Purpose,
        path: &str,
        size: u64,
        guess_bytes: u64,
        parse: impl Fn(&Bytes) -> Result<T, E> + Clone + Send + 'static,
        needs: impl Fn(&E) -> Option<u64>,
    ) -> Result<T, TailError<E>>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        let mut tail_bytes = guess_bytes.min(size);
        loop {
            let tail = self.get_range(purpose, path, size - tail_bytes..size).await?;
            let parse = parse.clone();
            match self.runtime().spawner.blocking("parse the end of an object", move || parse(&tail)).await? {
                Ok(parsed) => return Ok(parsed),
                Err(error) => match needs(&error) {
                    // Strictly more each time, so this ends.
                    Some(more) if more > tail_bytes && more <= size => tail_bytes = more,
                    _ => return Err(TailError::Parse(error)),
                },
            }
        }
    }
}
