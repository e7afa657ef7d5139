//! Fresh segments, or extents that fill a file by themselves, become sealed ones, once: take the lease, finish what is open, plan,
//! put, say so, list, done.

pub(crate) mod extents;
pub(crate) mod policy;
mod run;

pub use run::SealProgress;
pub(crate) use run::log_starts;
