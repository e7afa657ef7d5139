//! Strandline: client.
