//! Fresh segments become sealed ones, once: DESIGN section 7, steps 1 to 7.

pub(crate) mod policy;
mod run;

pub use run::SealProgress;
pub(crate) use run::log_starts;
