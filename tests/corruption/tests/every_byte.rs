//! A part of the sweep, so that `cargo test` has it: each format is hit at bytes that are far apart. All bytes: `tests/corruption/run`.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::collections::BTreeSet;
use strandline_corruption::alarms;
use strandline_corruption::examine::{State, Verdict, examine};
use strandline_corruption::sample;
use strandline_corruption::sweep::{Choice, damages, sweep};

#[test]
fn damage_is_found_or_no_consumer_can_tell() {
    alarms::listen();
    // What the Parquet library says when it panics at damaged bytes, which is caught, is not wanted here.
    std::panic::set_hook(Box::new(|_| {}));
    let root = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let sample = runtime.block_on(sample::make(&root.path().join("sample"))).unwrap();
    let has = |part: &str| sample.stopped.files.keys().any(|file| file.contains(part));
    let one_of_a_kind = Choice { stride: 1, phase: 0, large_stride: 1, only: None, one_of_a_kind: true };
    let chosen: BTreeSet<String> =
        damages(&sample.stopped, State::Stopped, &one_of_a_kind).into_iter().map(|damage| damage.file).collect();
    for format in [
        ".log",
        "floor",
        "segment-index",
        "store/wal/",
        "store/fresh/",
        "store/bronze/",
        "store/manifest/",
        "store/index/",
        "store/log/",
    ] {
        assert!(has(format), "the sample has no {format}");
        assert!(chosen.iter().any(|file| file.contains(format)), "no {format} among one of each kind");
    }
    assert!(chosen.iter().filter(|file| file.contains(".parquet")).count() == 2, "{chosen:?}");
    let choice = Choice { stride: 1_009, phase: 11, large_stride: 200_003, only: None, one_of_a_kind: false };
    let mut wrong = Vec::new();
    for state in [State::Stopped, State::Killed, State::LogLost] {
        let sound = examine(&sample, state, None, &root.path().join(format!("{state:?}")));
        assert_eq!(sound, Ok(Verdict::Sound), "undamaged");
        wrong.extend(sweep(&sample, state, &choice, root.path(), |_, _| {}).into_values().flat_map(|tally| tally.wrong));
    }
    let _ = std::panic::take_hook();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
