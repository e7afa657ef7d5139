//! The node: one process that has all three roles on one folder, and the command line around it.
//!
//! This crate wires; what is wired lives in `ingest/`, `reader/`, `compactor/` and `infra/`. What it must never do: hold
//! state that another node would miss; panic because nobody takes what it says (the macros that would are denied).

#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod cli;
pub mod commands;
pub mod demo;
pub mod http;
pub mod node;
mod open_files;
mod output;
pub mod rebuild;
pub mod server;
mod signals;
