//! Those who use the cell, and what they must be told.

mod admin;
mod consumer;
mod groups;
mod idempotent;
mod operator;
mod producer;
mod send;
mod team;

pub(crate) use admin::administer;
pub(crate) use consumer::{check_answer, check_record, consume, read_all, read_back, read_over};
pub(crate) use groups::{Loner, commit_offset, commit_offsets, offsets_are_kept};
pub(crate) use idempotent::Idempotent;
pub(crate) use operator::operate;
pub(crate) use producer::produce;
pub(crate) use send::{Told, answer, send};
pub(crate) use team::{Team, goes_on, take_part};
