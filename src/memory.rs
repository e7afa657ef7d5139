//! When memory that was freed goes back to the system: soon, where the process holds much, so that a busy minute leaves nothing behind;
//! later, where it holds little, since asking for it again costs a tenth of the time that a conversion takes.

use std::time::Duration;
use strandline_telemetry::resident_bytes;

/// Half of the memory that a node may take. Below it, what was freed goes back after a second, as mimalloc has it; above it, at the next
/// look. With a second there, too, a node under full load would hold half as much again as it uses.
const AMPLE_BYTES: u64 = 192 << 20;
/// How often the process looks how much it holds, and gives back what is due although nobody asks for memory.
const LOOK: Duration = Duration::from_millis(100);
/// The same where there was no work for a while.
const IDLE_LOOK: Duration = Duration::from_millis(500);
/// After how many looks that saw no work everything free goes back: nobody is going to ask for it soon.
const IDLE_LOOKS: u32 = 10;
/// CPU time between two looks below which there was no work.
const IDLE_CPU: Duration = Duration::from_millis(5);

/// Sees to it from now on.
#[allow(clippy::disallowed_methods)] // it runs beside the node, which has no part in it
pub fn return_what_is_freed() {
    strandline_runtime::after_blocking(|| collect(false));
    let look = || {
        let mut looks = Looks::default();
        loop {
            std::thread::sleep(looks.until_next());
            collect(looks.is_all_to_go(resident_bytes(), cpu_time()));
        }
    };
    // If there can be no thread, what a last burst left stays until the next one: no more is lost.
    let _ = std::thread::Builder::new().name("memory".to_owned()).stack_size(64 << 10).spawn(look);
}

/// What was seen so far.
#[derive(Default)]
struct Looks {
    cpu: Duration,
    idle: u32,
}

impl Looks {
    /// How long until the next look.
    fn until_next(&self) -> Duration {
        if self.idle > IDLE_LOOKS { IDLE_LOOK } else { LOOK }
    }

    /// Whether everything that is free goes back now, and not only what is due.
    fn is_all_to_go(&mut self, resident_bytes: Option<u64>, cpu: Duration) -> bool {
        let used = cpu.saturating_sub(std::mem::replace(&mut self.cpu, cpu));
        self.idle = if used < IDLE_CPU { self.idle.saturating_add(1) } else { 0 };
        self.idle == IDLE_LOOKS || resident_bytes.is_none_or(|bytes| bytes >= AMPLE_BYTES)
    }
}

/// CPU time that the process has used.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// Gives up what the allocator holds for this thread, and to the system what is due, or all that is free.
fn collect(all: bool) {
    // SAFETY: any thread may call it at any time.
    #[allow(unsafe_code)]
    unsafe {
        libmimalloc_sys::mi_collect(all);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_goes_where_there_is_much_and_once_when_work_has_ended() {
        let mut looks = Looks::default();
        let mut cpu = Duration::ZERO;
        let mut look = |bytes, used_ms| {
            cpu += Duration::from_millis(used_ms);
            looks.is_all_to_go(Some(bytes), cpu)
        };
        assert!(look(AMPLE_BYTES, 90));
        assert!(!look(AMPLE_BYTES - 1, 90));
        let idle: Vec<bool> = (0..30).map(|_| look(1, 1)).collect();
        assert_eq!(idle.iter().position(|all| *all), Some(IDLE_LOOKS as usize - 1));
        assert_eq!(idle.iter().filter(|all| **all).count(), 1);
        assert!(!look(1, 90));
        assert!((0..IDLE_LOOKS).any(|_| look(1, 0)), "again after more work");
        assert!(!look(1, 0));
        assert_eq!(looks.until_next(), IDLE_LOOK);
        assert!(!looks.is_all_to_go(Some(1), cpu + LOOK));
        assert_eq!(looks.until_next(), LOOK);
    }

    fn resident_mib() -> u64 {
        resident_bytes().unwrap() >> 20
    }

    #[test]
    fn memory_that_was_freed_goes_back_to_the_system() {
        return_what_is_freed();
        // Of one size that makes little, and of one that makes much.
        for count in [100, 400] {
            let before = resident_mib();
            let pieces: Vec<Vec<u8>> = (0..count).map(|_| vec![1; 1 << 20]).collect();
            assert!(resident_mib() >= before + count - 10);
            drop(pieces);
            let is_back = (0..60).any(|_| {
                #[allow(clippy::disallowed_methods)]
                std::thread::sleep(Duration::from_millis(100));
                resident_mib().saturating_sub(before) < 20
            });
            assert!(is_back, "{} MiB of {count} are kept", resident_mib() - before);
        }
    }
}
