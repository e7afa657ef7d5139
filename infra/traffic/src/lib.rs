//! Strandline: traffic.
