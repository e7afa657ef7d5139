//! Logs by `tracing`, metrics for Prometheus.
//!
//! One recorder a process: a second node in the same process shares it. Histograms have fixed buckets, so that their memory
//! is bounded (I11). Names are `strandline_<what>_<unit>`; `docs/metrics.md` lists them.

mod logs;
mod lossy;
mod occasionally;
mod process;

pub use logs::{LogError, check_log_filter, say_last, start_logs};
pub use occasionally::Occasionally;
pub use process::resident_bytes;

use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use std::sync::OnceLock;
use std::time::Duration;
use strandline_runtime::Runtime;

static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();

/// Seconds, from what a group commit takes to what a request may wait.
const BUCKETS: [f64; 16] = [0.000_5, 0.001, 0.002, 0.003, 0.005, 0.008, 0.012, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1.2, 5.0, 20.0];

/// The metrics of this process.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

impl Metrics {
    /// Installs the recorder, or finds the one that is there.
    pub fn install() -> Result<Self, BuildError> {
        if let Some(handle) = HANDLE.get() {
            return Ok(Self(handle.clone()));
        }
        let recorder = PrometheusBuilder::new().set_buckets(&BUCKETS)?.build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_ok() {
            let _ = HANDLE.set(handle.clone());
            return Ok(Self(handle));
        }
        // Another thread was first.
        Ok(Self(HANDLE.get().cloned().unwrap_or(handle)))
    }

    /// All metrics in Prometheus' text format.
    pub fn render(&self) -> String {
        process::update();
        self.0.render()
    }

    /// Keeps the recorder's memory bounded while nobody scrapes.
    pub fn keep_bounded(&self, runtime: &Runtime) {
        let (handle, runtime) = (self.0.clone(), runtime.clone());
        runtime.clone().spawner.spawn("metrics upkeep", async move {
            loop {
                runtime.sleep(Duration::from_secs(10)).await;
                handle.run_upkeep();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_render_with_buckets_and_the_process() {
        let metrics = Metrics::install().unwrap();
        metrics::histogram!("strandline_test_seconds").record(0.004);
        let text = Metrics::install().unwrap().render();
        assert!(text.contains("strandline_test_seconds_bucket{le=\"0.005\"} 1"), "{text}");
        assert!(text.contains("strandline_process_resident_bytes"), "{text}");
        drop(metrics);
    }
}
