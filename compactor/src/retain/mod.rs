//! Retention: what is old or too much leaves the log, then its files leave the bucket.

pub(crate) mod plan;
mod run;

pub(crate) use plan::{BronzeRule, Rules};
