//! The embedded log against a pure model: random appends, crashes with torn tails, failing writes and syncs, floors,
//! trims, restarts, on a disk that loses what was not synced.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that fails says so by panicking

mod support;

use proptest::prelude::*;
use strandline_commit_log::conformance::{entry, floor_at};
use strandline_commit_log::disk::{Crash, SimulatedDisk};
use strandline_commit_log::embedded::{EmbeddedCommitLog, Options};
use strandline_commit_log::{AppendError, CommitLog, Entry, Floor, Tail};
use strandline_runtime::{Random, SeededRandom};
use strandline_types::Seq;
use support::{block_on, expected, open, read_all, small};

#[derive(Debug, Clone)]
enum Fault {
    Write { after: u64, errno: i32 },
    Sync { nth: u64 },
    Cut { after: u64 },
    PowerOff { after: u64 },
}

#[derive(Debug, Clone)]
enum Action {
    Append { bytes: usize, payload: usize },
    AppendWith { bytes: usize, payload: usize, fault: Fault },
    RaiseFloor { up: u64, power_off_after: Option<u64> },
    Trim { power_off_after: Option<u64> },
    Read { from: u64, max_bytes: usize },
    Restart { crash: Crash, power_off_while_opening: Option<u64> },
    Close { power_off_after: Option<u64> },
}

fn sizes() -> impl Strategy<Value = (usize, usize)> {
    (0..200usize, prop_oneof![2 => Just(0), 2 => 1..100usize, 2 => 100..1_500usize, 1 => 1_500..6_000usize])
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        (0..900u64, prop_oneof![Just(5), Just(28)]).prop_map(|(after, errno)| Fault::Write { after, errno }),
        (1..4u64).prop_map(|nth| Fault::Sync { nth }),
        (0..400u64).prop_map(|after| Fault::Cut { after }),
        (0..9u64).prop_map(|after| Fault::PowerOff { after }),
    ]
}

fn crash() -> impl Strategy<Value = Crash> {
    prop_oneof![1 => Just(Crash::PowerLost), 1 => Just(Crash::Killed), 3 => Just(Crash::PowerMixed)]
}

fn action() -> impl Strategy<Value = Action> {
    let off = || proptest::option::weighted(0.3, 0..6u64);
    prop_oneof![
        10 => sizes().prop_map(|(bytes, payload)| Action::Append { bytes, payload }),
        5 => (sizes(), fault()).prop_map(|((bytes, payload), fault)| Action::AppendWith { bytes, payload, fault }),
        2 => (0..6u64, off()).prop_map(|(up, power_off_after)| Action::RaiseFloor { up, power_off_after }),
        2 => off().prop_map(|power_off_after| Action::Trim { power_off_after }),
        2 => (0..40u64, 0..900usize).prop_map(|(from, max_bytes)| Action::Read { from, max_bytes }),
        3 => (crash(), off()).prop_map(|(crash, power_off_while_opening)| Action::Restart { crash, power_off_while_opening }),
        2 => off().prop_map(|power_off_after| Action::Close { power_off_after }),
    ]
}

/// Files of one block and of several; no frame, large ones or all of them past the page cache; no row in memory, or some.
fn options(seed: u64) -> Options {
    let direct_bytes = [u64::MAX, 600, 0][(seed % 3) as usize];
    let file_bytes = [2_000, 15_000][(seed / 3 % 2) as usize];
    let recent_row_bytes = [0, 500][(seed / 6 % 2) as usize];
    let preallocate_bytes = [700, 9_000][(seed / 12 % 2) as usize];
    Options { direct_bytes, file_bytes, recent_row_bytes, preallocate_bytes, zeroed_below_bytes: 1_000, ..small() }
}

/// What the log must hold.
struct Model {
    disk: SimulatedDisk,
    options: Options,
    random: SeededRandom,
    log: EmbeddedCommitLog,
    entries: Vec<Entry>,
    /// Appended, and nobody knows whether it is there.
    doubt: Option<Entry>,
    floor: Floor,
    floor_doubt: Option<Floor>,
    appends: u64,
}

impl Model {
    async fn new(seed: u64) -> Self {
        let (disk, options) = (SimulatedDisk::new(), options(seed));
        disk.set_takes_direct(true);
        let log = open(&disk, &options).await.unwrap();
        Self {
            disk,
            options,
            random: SeededRandom::new(seed),
            log,
            entries: vec![],
            doubt: None,
            floor: Floor::default(),
            floor_doubt: None,
            appends: 0,
        }
    }

    fn next_entry(&mut self, bytes: usize, payload: usize) -> (Seq, Entry) {
        self.appends += 1;
        (Seq(self.entries.len() as u64 + 1), entry(self.appends, bytes, payload))
    }

    async fn restart(&mut self, crash: Crash) {
        self.disk.restart(crash, &self.random);
        self.log = open(&self.disk, &self.options).await.unwrap();
        let head = self.log.head().0;
        if head == self.entries.len() as u64 + 1
            && let Some(doubt) = self.doubt.take()
        {
            self.entries.push(doubt);
        }
        assert_eq!(head, self.entries.len() as u64, "entries were lost or came from nowhere");
        self.doubt = None;
        let floor = self.log.floor().await.unwrap();
        if self.floor_doubt.as_ref() == Some(&floor) {
            self.floor = floor.clone();
        }
        assert_eq!(floor, self.floor, "the floor was lost");
        self.floor_doubt = None;
        self.check_all().await;
    }

    async fn check_all(&self) {
        let from = self.floor.seq.0;
        let read = read_all(&self.log, from).await.unwrap();
        assert!(read == expected(&self.entries[from as usize - 1..], from), "the log holds other bytes");
    }

    async fn append_with(&mut self, bytes: usize, payload: usize, fault: &Fault) {
        let (seq, entry) = self.next_entry(bytes, payload);
        match *fault {
            Fault::Write { after, errno } => self.disk.fail_write_after(after, errno),
            Fault::Sync { nth } => self.disk.fail_sync(nth),
            Fault::Cut { after } => {
                self.disk.fail_write_after(after, 5);
                self.disk.set_cut_fails(true);
            }
            Fault::PowerOff { after } => self.disk.turn_off_after(after),
        }
        let answer = self.log.append(seq, entry.clone()).await;
        let off = matches!(fault, Fault::PowerOff { .. });
        match answer {
            Ok(()) => self.entries.push(entry),
            // Surely not written: it must not come back, ever.
            Err(AppendError::Full { .. } | AppendError::Unavailable { .. }) => {}
            Err(AppendError::Fatal { .. }) => {
                self.doubt = Some(entry.clone());
                let again = self.log.append(seq, entry).await;
                assert!(matches!(again, Err(AppendError::Fatal { .. })), "{again:?}");
            }
            Err(other) => panic!("{other}"),
        }
        // What was synced is readable even now, unless the machine is off.
        if off || self.doubt.is_some() {
            let crash = [Crash::PowerLost, Crash::Killed, Crash::PowerMixed][self.random.below(3) as usize];
            self.restart(crash).await;
        } else {
            self.check_all().await;
            // A fault that did not strike must not strike later.
            self.disk.fail_write_after(u64::MAX, 5);
            self.disk.fail_sync(u64::MAX);
            self.disk.set_cut_fails(false);
        }
    }

    async fn act(&mut self, action: Action) {
        match action {
            Action::Append { bytes, payload } => {
                let (seq, entry) = self.next_entry(bytes, payload);
                self.log.append(seq, entry.clone()).await.unwrap();
                self.entries.push(entry);
            }
            Action::AppendWith { bytes, payload, fault } => self.append_with(bytes, payload, &fault).await,
            Action::RaiseFloor { up, power_off_after } => {
                let to = (self.floor.seq.0 + up).min(self.entries.len() as u64 + 1);
                if to == 1 {
                    return;
                }
                power_off_after.into_iter().for_each(|after| self.disk.turn_off_after(after));
                match self.log.raise_floor(self.floor.clone(), floor_at(to)).await {
                    Ok(()) => self.floor = floor_at(to),
                    Err(error) => {
                        assert!(power_off_after.is_some(), "{error}");
                        self.floor_doubt = Some(floor_at(to));
                    }
                }
                self.restart_if(power_off_after).await;
            }
            Action::Trim { power_off_after } => {
                power_off_after.into_iter().for_each(|after| self.disk.turn_off_after(after));
                if let Err(error) = self.log.trim(self.floor.seq).await {
                    assert!(power_off_after.is_some(), "{error}");
                }
                self.restart_if(power_off_after).await;
            }
            Action::Read { from, max_bytes } => match self.log.read(Seq(from), max_bytes).await.unwrap() {
                Tail::Trimmed { floor } => assert!(floor == self.floor && from < floor.seq.0),
                Tail::Rows { rows, head, .. } => {
                    assert!(from >= self.floor.seq.0 && head.0 == self.entries.len() as u64);
                    let there = self.entries.iter().zip(1..).skip(from as usize - 1);
                    let model: Vec<_> = there.map(|(entry, seq)| entry.row(Seq(seq))).collect();
                    assert_eq!(rows[..], model[..rows.len()]);
                    assert_eq!(rows.is_empty(), model.is_empty());
                }
            },
            Action::Restart { crash, power_off_while_opening } => {
                if let Some(after) = power_off_while_opening {
                    self.disk.restart(crash, &self.random);
                    self.disk.turn_off_after(after);
                    // Whether it gets through or not: what it did must harm nothing.
                    drop(open(&self.disk, &self.options).await);
                }
                self.restart(crash).await;
            }
            Action::Close { power_off_after } => {
                power_off_after.into_iter().for_each(|after| self.disk.turn_off_after(after));
                let closed = self.log.close().await;
                assert!(closed.is_ok() || power_off_after.is_some());
                self.restart(Crash::PowerMixed).await;
                assert!(self.log.recovery().clean || closed.is_err() || self.entries.is_empty());
            }
        }
    }

    async fn restart_if(&mut self, power_off_after: Option<u64>) {
        if power_off_after.is_some() {
            self.restart(Crash::PowerMixed).await;
        }
    }
}

proptest! {
    // More with PROPTEST_CASES.
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.max(3_000),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn the_log_holds_what_it_said_and_nothing_else(
        actions in proptest::collection::vec(action(), 1..60),
        seed in any::<u64>(),
    ) {
        block_on(async {
            let mut model = Model::new(seed).await;
            for action in actions {
                model.act(action).await;
            }
            model.check_all().await;
            model.restart(Crash::PowerLost).await;
        });
    }
}
