//! Objects that nothing refers to any more leave the bucket (I8), and nothing else does.

mod collect;
mod dropped;
pub(crate) mod orphans;
mod sweep;

pub(crate) use orphans::is_referenced;
