//! Log lines.

use std::io::{self, IsTerminal, Write};
use strandline_config::LogFormat;
use tracing_subscriber::EnvFilter;

/// Logs could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is wrong.
    #[error("the setting `log` is `{filter}`: {reason}; try `info` or `strandline=debug`")]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong.
        reason: String,
    },
}

/// Starts logging to standard error. Only the first call of a process has an effect.
pub fn start_logs(filter: &str, format: LogFormat) -> Result<(), LogError> {
    let parsed = EnvFilter::builder()
        .parse(filter)
        .map_err(|error| LogError::Filter { filter: filter.to_owned(), reason: error.to_string() })?;
    let builder =
        tracing_subscriber::fmt().with_env_filter(parsed).with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    // Err: a subscriber is there already, and stays.
    let _ = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    Ok(())
}
