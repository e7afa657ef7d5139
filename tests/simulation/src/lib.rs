//! A cell of several nodes in one thread: real code from the connection to the sealed file, over a simulated network, commit
//! log, object store and segment index, in virtual time, with everything drawn from one seed.
//!
//! A [`run`](run::run_seed) lets producers, consumers, groups and operators work while nodes crash, pause, lose replies and
//! clocks, and then holds what they were told against what is there: nothing acknowledged is lost (I1), nothing an idempotent
//! producer sent is there twice, every offset has one answer (I5) and the same one from the log and from Parquet (I6), all
//! nodes fold the same (I2), nothing that is referred to is deleted (I8).
//!
//! What it must never do: depend on anything but its seed (the same seed gives the same history, and a test says so), or
//! know less than the nodes: the [`oracle`] folds the log itself and is asked at every answer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test bench; what cannot go on says where")]

mod alarms;
mod bucket;
mod chaos;
mod check;
mod clients;
mod committed;
mod copies;
mod core;
mod dice;
mod directed;
mod final_checks;
mod finding;
mod gate;
mod gauges;
mod happenings;
mod ledger;
mod leftovers;
mod manifests;
mod mutation;
mod network;
mod node;
mod node_log;
mod node_rows;
mod oracle;
mod promised;
mod record;
mod retention;
mod run;
mod seeds;
mod shape;
mod steps;
mod stops;
mod trace;
mod watched_store;
mod world;

pub use directed::{Script, run_script};
pub use finding::Finding;
pub use mutation::{Mutation, Runs};
pub use run::{Finished, run_control, run_mutated, run_seed};
pub use seeds::{check_seeds, seeds_of_each_kind, seeds_or};
