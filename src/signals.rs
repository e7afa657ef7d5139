//! When whoever started this process wants it to stop.

use anyhow::Context as _;
use std::time::Duration;
use strandline_runtime::Runtime;

/// How long what was begun may still take once a signal came.
const LAST_WORK: Duration = Duration::from_secs(5);

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

/// Waits for a signal, and for the end of what may follow it: the time of the last work, or a second signal.
///
/// # Errors
/// As above.
pub(crate) async fn give_up(runtime: &Runtime) -> anyhow::Result<()> {
    stop_signal()?.await;
    let second = stop_signal()?;
    tokio::select! {
        () = second => {}
        () = runtime.sleep(LAST_WORK) => {}
    }
    Ok(())
}
