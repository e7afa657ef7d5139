//! When whoever started this process wants it to stop.

use anyhow::Context as _;

/// Listens from now on; the future resolves at the first SIGTERM or SIGINT.
///
/// # Errors
/// The system refuses to deliver signals to this process; there is nothing to retry.
pub(crate) fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be listened for")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be listened for")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
