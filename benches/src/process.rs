//! What a server process uses, from `/proc`.

use crate::load::Shared;
use anyhow::Context as _;
use serde::Serialize;
use std::fs;
use std::time::Duration;
use strandline_runtime::Runtime;

/// What a process has used until now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Usage {
    /// CPU time, user and system, in seconds. The system counts it in hundredths.
    pub cpu_seconds: f64,
    /// Resident bytes.
    pub rss_bytes: u64,
    /// The most that was ever resident.
    pub peak_rss_bytes: u64,
    /// Bytes that it caused to be written to disks.
    pub written_bytes: u64,
}

impl Usage {
    /// Of this process, now.
    ///
    /// # Errors
    /// There is no such process, or no `/proc`.
    pub fn of(pid: u32) -> anyhow::Result<Self> {
        let read = |name: &str| {
            let path = format!("/proc/{pid}/{name}");
            fs::read_to_string(&path).with_context(|| format!("cannot read {path}; does the process run?"))
        };
        let ticks = parse_ticks(&read("stat")?).context("/proc/PID/stat has another form than is known")?;
        let status = read("status")?;
        let kib = |name: &str| field(&status, name).unwrap_or_default() * 1_024;
        Ok(Self {
            cpu_seconds: ticks as f64 / rustix::param::clock_ticks_per_second() as f64,
            rss_bytes: kib("VmRSS:"),
            peak_rss_bytes: kib("VmHWM:"),
            written_bytes: read("io").ok().and_then(|io| field(&io, "write_bytes:")).unwrap_or_default(),
        })
    }
}

/// utime + stime, fields 14 and 15. The second field is the command's name in parentheses, which may hold anything.
fn parse_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// One look at a process.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Sample {
    /// Seconds since the beginning.
    pub at_seconds: f64,
    /// What it had used then.
    pub usage: Usage,
}

/// Looks at a process once a second, until the runtime's tasks end.
pub fn sample(runtime: &Runtime, pid: u32, started: Duration) -> Shared<Vec<Sample>> {
    let samples = Shared::<Vec<Sample>>::default();
    let (into, clock) = (samples.clone(), runtime.clone());
    runtime.spawner.spawn("sampler", async move {
        while let Ok(usage) = Usage::of(pid) {
            let at_seconds = clock.clock.monotonic().saturating_sub(started).as_secs_f64();
            into.with(|samples| samples.push(Sample { at_seconds, usage }));
            clock.sleep(Duration::from_secs(1)).await;
        }
    });
    samples
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_behind_a_name_of_any_form() {
        let rest = "S 1 2 3 4 5 6 7 8 9 10 250 50 7 7 20 0 3 0 100 1000";
        for name in ["java", "a b", "(x) 1 2", ") ("] {
            assert_eq!(parse_ticks(&format!("42 ({name}) {rest}")), Some(300), "{name}");
        }
        assert_eq!(parse_ticks("42 (java"), None);
        assert_eq!(parse_ticks("42 (java) S 1"), None);
    }

    #[test]
    fn this_process_uses_memory_and_time() {
        let before = Usage::of(std::process::id()).unwrap();
        let mut sum = 0_u64;
        let mut after = before;
        while after.cpu_seconds < before.cpu_seconds + 0.05 {
            for number in 0..1_000_000_u64 {
                sum = std::hint::black_box(sum.wrapping_add(number));
            }
            after = Usage::of(std::process::id()).unwrap();
        }
        assert!(after.cpu_seconds - before.cpu_seconds < 5.0);
        assert!(after.rss_bytes > 1 << 20 && after.peak_rss_bytes >= after.rss_bytes);
        assert!(Usage::of(u32::MAX).is_err());
    }
}
