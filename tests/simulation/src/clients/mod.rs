//! Those who use the cell, and what they must be told.

mod consumer;
mod groups;
mod idempotent;
mod operator;
mod producer;
mod send;

pub(crate) use consumer::{consume, read_all};
pub(crate) use groups::commit_offsets;
pub(crate) use idempotent::Idempotent;
pub(crate) use operator::{administer, operate};
pub(crate) use producer::produce;
