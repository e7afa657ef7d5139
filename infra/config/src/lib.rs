//! Strandline: config.
