//! Strandline: telemetry.
