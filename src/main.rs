//! The one binary, `strandline`.

use std::process::ExitCode;
use std::time::Duration;

// Kept small and returned to the system when idle; the default allocator holds on to what a busy minute took.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of mimalloc's `mi_option_t`, which its bindings do not name.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
/// After how many milliseconds memory that was freed goes back to the system. With mimalloc's own second, a node under full load
/// holds half as much again as it uses; with none, a fifth of its time goes into asking for memory.
const PURGE_DELAY_MS: std::ffi::c_long = 50;
/// How often what is due goes back although nobody asks for memory.
const LOOK: Duration = Duration::from_millis(500);

/// Sees to it that memory goes back to the system soon after it was freed.
fn return_memory_soon() {
    // SAFETY: it only stores a number, and no other thread runs yet.
    #[allow(unsafe_code)]
    unsafe {
        libmimalloc_sys::mi_option_set(PURGE_DELAY, PURGE_DELAY_MS);
    }
    strandline_runtime::after_blocking(collect);
    let look = || {
        loop {
            #[allow(clippy::disallowed_methods)] // it runs beside the node, which has no part in it
            std::thread::sleep(LOOK);
            collect();
        }
    };
    // If there can be no thread, what a last burst left stays until the next one: no more is lost.
    let _ = std::thread::Builder::new().name("memory".to_owned()).stack_size(64 << 10).spawn(look);
}

/// Gives up what the allocator holds for this thread, and to the system what is due.
fn collect() {
    // SAFETY: any thread may call it at any time.
    #[allow(unsafe_code)]
    unsafe {
        libmimalloc_sys::mi_collect(false);
    }
}

fn main() -> ExitCode {
    return_memory_soon();
    strandline::cli::main()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Memory of this process in use, in MiB.
    fn resident_mib() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
    }

    #[test]
    fn memory_that_was_freed_goes_back_to_the_system() {
        return_memory_soon();
        let before = resident_mib();
        let pieces: Vec<Vec<u8>> = (0..200).map(|_| vec![1; 1 << 20]).collect();
        assert!(resident_mib() >= before + 190);
        drop(pieces);
        let mut left = u64::MAX;
        for _ in 0..40 {
            #[allow(clippy::disallowed_methods)]
            std::thread::sleep(Duration::from_millis(100));
            left = resident_mib().saturating_sub(before);
            if left < 20 {
                return;
            }
        }
        panic!("{left} MiB are kept");
    }
}
