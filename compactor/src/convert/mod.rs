//! Extents become fresh segments.

pub(crate) mod decode;
pub(crate) mod plan;
mod run;
pub(crate) mod unreadable;
