//! `tests/corruption/run`: every damage, or every n-th, and what became of it.

use std::path::Path;
use std::process::ExitCode;
use strandline_corruption::examine::{State, Verdict, examine};
use strandline_corruption::sweep::{Choice, Tally, sweep};
use strandline_corruption::{alarms, sample};

fn main() -> anyhow::Result<ExitCode> {
    let clock = strandline_runtime::Runtime::system().clock;
    let mut choice = Choice { stride: 1, phase: 0, large_stride: 1_009, only: None, one_of_a_kind: false };
    let mut arguments = std::env::args().skip(1);
    let mut write_to = None;
    let mut states = vec![State::Stopped, State::Killed, State::LogLost];
    while let Some(name) = arguments.next() {
        if name == "--one-of-a-kind" {
            choice.one_of_a_kind = true;
            continue;
        }
        let value = arguments.next().ok_or_else(|| anyhow::anyhow!("{name} needs a value"))?;
        match name.as_str() {
            "--stride" => choice.stride = value.parse()?,
            "--phase" => choice.phase = value.parse()?,
            "--large-stride" => choice.large_stride = value.parse()?,
            "--only" => choice.only = Some(value),
            "--write" => write_to = Some(value),
            "--state" => states.retain(|state| format!("{state:?}").eq_ignore_ascii_case(&value)),
            _ => anyhow::bail!(
                "there is no {name}; --stride, --phase, --large-stride, --only PART, --one-of-a-kind, --write DIR, --state stopped|killed|loglost"
            ),
        }
    }
    anyhow::ensure!(!states.is_empty(), "--state is one of stopped, killed and loglost");
    alarms::listen();
    // Panics of the Parquet library on damaged bytes are caught; their messages are not wanted here.
    std::panic::set_hook(Box::new(|_| {}));
    // In memory where there is such a folder: what is synced here need not outlive anything.
    let shared = Path::new("/dev/shm");
    let root = if shared.is_dir() { tempfile::tempdir_in(shared)? } else { tempfile::tempdir()? };
    let runtime = tokio::runtime::Runtime::new()?;
    let data = root.path().join("sample");
    let sample = runtime.block_on(sample::make(&data))?;
    for (file, bytes) in &sample.stopped.files {
        println!("{:>9} bytes  {file}", bytes.len());
    }
    if let Some(folder) = write_to {
        sample.stopped.write(Path::new(&folder))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut wrong = 0;
    for state in states {
        let sound = examine(&sample, state, None, &root.path().join("sound"));
        std::fs::remove_dir_all(root.path().join("sound"))?;
        println!("{state:?}, undamaged: {sound:?}");
        anyhow::ensure!(sound == Ok(Verdict::Sound), "an undamaged folder must be right");
        let begun = clock.monotonic();
        let said = |file: &str, tally: &Tally| {
            println!(
                "{state:?} {file}: {} found, {} harmless, {} torn, {} WRONG",
                tally.found,
                tally.harmless.values().sum::<usize>(),
                tally.torn,
                tally.wrong.len()
            );
            for (reason, count) in &tally.harmless {
                println!("    {count} harmless: {reason}");
            }
            for line in tally.wrong.iter().take(12) {
                println!("    {line}");
            }
        };
        wrong += sweep(&sample, state, &choice, root.path(), said).values().map(|tally| tally.wrong.len()).sum::<usize>();
        println!("{state:?}: {:.1} s", (clock.monotonic() - begun).as_secs_f64());
    }
    println!("{wrong} wrong");
    Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
