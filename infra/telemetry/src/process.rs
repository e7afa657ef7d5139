//! What the process itself costs.

/// Resident memory in bytes, where the system tells it.
pub fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// CPU seconds used so far, user and system.
fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

pub(crate) fn update() {
    if let Some(bytes) = resident_bytes() {
        metrics::gauge!("strandline_process_resident_bytes").set(bytes as f64);
    }
    metrics::gauge!("strandline_process_cpu_seconds").set(cpu_seconds());
}
