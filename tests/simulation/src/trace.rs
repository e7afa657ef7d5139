//! What happened, in order: a digest of all of it, and the last lines to read.

use std::collections::VecDeque;

const LINES: usize = 400;

/// The history of one run.
#[derive(Default)]
pub(crate) struct Trace {
    lines: VecDeque<String>,
    digest: u64,
    count: u64,
    echo: bool,
}

impl Trace {
    pub fn new() -> Self {
        Self { digest: 0xcbf2_9ce4_8422_2325, echo: std::env::var_os("SIMULATION_TRACE").is_some(), ..Self::default() }
    }

    pub fn push(&mut self, at_ms: u128, line: &str) {
        let line = format!("{at_ms:>8} {line}");
        for byte in line.bytes() {
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        self.count += 1;
        if self.echo {
            eprintln!("{line}");
        }
        if self.lines.len() == LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    pub fn digest(&self) -> (u64, u64) {
        (self.count, self.digest)
    }

    pub fn last(&self, lines: usize) -> String {
        let skip = self.lines.len().saturating_sub(lines);
        self.lines.iter().skip(skip).cloned().collect::<Vec<_>>().join("\n")
    }
}
