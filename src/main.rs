//! The one binary, `strandline`.

#![deny(clippy::print_stdout, clippy::print_stderr)]

mod memory;

use std::process::ExitCode;

// Kept small and returned to the system when idle; the default allocator holds on to what a busy minute took.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    memory::return_what_is_freed();
    strandline::cli::main()
}
