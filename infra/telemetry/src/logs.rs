//! Log lines.

use std::io::{self, IsTerminal, Write};
use strandline_config::LogFormat;
use tracing_subscriber::EnvFilter;

/// Logs could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is wrong.
    #[error("the setting `log` is `{filter}`: {reason}; try `info`, or `info,strandline=debug`")]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong.
        reason: String,
    },
}

/// Starts logging to standard error. Only the first call of a process has an effect.
pub fn start_logs(filter: &str, format: LogFormat) -> Result<(), LogError> {
    let parsed = parse(filter)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(parsed)
        .with_writer(|| Lossy(io::stderr()))
        // It would say with `eprintln!` what cannot be said, and that panics.
        .log_internal_errors(false)
        .with_ansi(io::stderr().is_terminal());
    // Err: a subscriber is there already, and stays.
    let _ = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    Ok(())
}

/// Whether [`start_logs`] would take the filter.
pub fn check_log_filter(filter: &str) -> Result<(), LogError> {
    parse(filter).map(drop)
}

fn parse(filter: &str) -> Result<EnvFilter, LogError> {
    let parsed = EnvFilter::builder().parse(filter);
    parsed.map_err(|error| LogError::Filter { filter: filter.to_owned(), reason: error.to_string() })
}

/// Takes every line: one that cannot be written, on a full disk or to a pipe whose reader is gone, is lost, and whoever
/// wrote it goes on.
struct Lossy<W>(W);

impl<W: Write> Write for Lossy<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // An interrupted write is tried again by the caller.
        match self.0.write(line) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Ok(line.len()),
            written => written,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let _ = self.0.flush();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_written_is_lost_and_no_error() {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut lossy = Lossy(full);
        lossy.write_all(b"a line\n").unwrap();
        lossy.flush().unwrap();
    }
}
