//! What the commands say. The macros of the standard library panic where a line cannot be written; these do not.

use anyhow::Context as _;
use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write as _};

/// A line to standard output, as `println!`; an error for the caller where it cannot be written.
macro_rules! say {
    () => { $crate::output::print(format_args!("\n")) };
    ($($text:tt)*) => { $crate::output::print(format_args!("{}\n", format_args!($($text)*))) };
}

/// A line to standard error, as `eprintln!`, as far as it can be written: there is nowhere left to say that it cannot.
macro_rules! remark {
    ($($text:tt)*) => { $crate::output::print_error(format_args!("{}\n", format_args!($($text)*))) };
}

pub(crate) use {remark, say};

/// Writes to standard output. A reader that went away, as `head` does, is no failure: what the command does is done all
/// the same.
///
/// # Errors
/// Anything else that keeps it from being written, such as a full disk.
pub(crate) fn print(text: Arguments<'_>) -> anyhow::Result<()> {
    let mut output = io::stdout().lock();
    match output.write_fmt(text).and_then(|()| output.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("standard output cannot be written"),
    }
}

/// `1 row`, `2 rows`.
pub(crate) fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

pub(crate) fn print_error(text: Arguments<'_>) {
    // In one piece: standard error has no buffer, and others write there, too.
    let _ = io::stderr().write_all(text.to_string().as_bytes());
}
