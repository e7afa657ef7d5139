//! Log lines.

use crate::lossy::Lossy;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal};
use std::sync::OnceLock;
use std::time::Duration;
use strandline_config::LogFormat;
use tracing_subscriber::EnvFilter;

/// What a process says last is waited for so long, if nobody reads it.
const LAST_WORDS: Duration = Duration::from_secs(2);

static STANDARD_ERROR: OnceLock<Lossy> = OnceLock::new();

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
    let tell_lost: fn(u64) -> String = match format {
        LogFormat::Text => lost_as_text,
        LogFormat::Json => lost_as_json,
    };
    let to = STANDARD_ERROR.get_or_init(|| Lossy::new(io::stderr(), tell_lost));
    // What the standard library says of a panic waits for who reads it, and whoever panics next waits for that. The Parquet library panics at damage.
    std::panic::set_hook(Box::new(move |panic| {
        let backtrace = Backtrace::capture();
        let backtrace = if backtrace.status() == BacktraceStatus::Captured { backtrace.to_string() } else { String::new() };
        to.line_from_anywhere(format!("{panic}\n{backtrace}").as_bytes());
    }));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(parsed)
        .with_writer(move || to)
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

/// Writes a line to standard error before the process ends, for which nobody who does not read it keeps that waiting.
pub fn say_last(line: &str) {
    STANDARD_ERROR.get_or_init(|| Lossy::new(io::stderr(), lost_as_text)).line(line.as_bytes(), Some(LAST_WORDS));
}

fn lost_as_text(lines: u64) -> String {
    format!("WARN strandline_telemetry: {lines} log lines before this one could not be written and are lost\n")
}

fn lost_as_json(lines: u64) -> String {
    format!(
        "{{\"level\":\"WARN\",\"fields\":{{\"message\":\"log lines before this one could not be written and are lost\",\"lines\":{lines}}},\
         \"target\":\"strandline_telemetry\"}}\n"
    )
}

/// Whether [`start_logs`] would take the filter.
pub fn check_log_filter(filter: &str) -> Result<(), LogError> {
    parse(filter).map(drop)
}

fn parse(filter: &str) -> Result<EnvFilter, LogError> {
    let parsed = EnvFilter::builder().parse(filter);
    parsed.map_err(|error| LogError::Filter { filter: filter.to_owned(), reason: error.to_string() })
}
