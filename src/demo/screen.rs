//! What people see while it runs: lines that move on a terminal, plain lines elsewhere.

use crate::output::say;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::cell::Cell;
use std::io::IsTerminal;
use std::time::Duration;

/// Without a terminal a line is printed this often.
const PLAIN: Duration = Duration::from_secs(2);

pub(super) struct Screen {
    is_terminal: bool,
}

impl Screen {
    pub(super) fn new() -> Self {
        Self { is_terminal: std::io::stdout().is_terminal() }
    }

    pub(super) fn say(&self, line: &str) -> anyhow::Result<()> {
        say!("{line}")
    }

    /// The feed's progress.
    pub(super) fn progress(&self, duration: Duration) -> Progress {
        let bar = self.is_terminal.then(|| {
            let bar = ProgressBar::with_draw_target(Some(duration.as_millis() as u64), ProgressDrawTarget::stdout());
            if let Ok(style) = ProgressStyle::with_template("{bar:40.cyan/blue} {percent:>3} %\n{msg}") {
                bar.set_style(style);
            }
            bar
        });
        Progress { bar, printed: Cell::new(Duration::ZERO) }
    }
}

pub(super) struct Progress {
    bar: Option<ProgressBar>,
    printed: Cell<Duration>,
}

impl Progress {
    pub(super) fn draw(&self, elapsed: Duration, lines: &[String]) -> anyhow::Result<()> {
        match &self.bar {
            Some(bar) => {
                bar.set_position(elapsed.as_millis() as u64);
                bar.set_message(lines.join("\n"));
            }
            None if elapsed >= self.printed.get() + PLAIN => {
                self.printed.set(elapsed);
                say!("{:>4} s  {}", elapsed.as_secs(), lines.join("   "))?;
            }
            None => {}
        }
        Ok(())
    }

    /// Leaves the last lines as they are.
    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.abandon();
        }
    }
}

/// Bytes as people read them.
pub(super) fn bytes(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}
