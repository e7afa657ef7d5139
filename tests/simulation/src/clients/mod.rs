//! Those who use the cell, and what they must be told.

mod admin;
mod committing;
mod consumer;
mod fetch;
mod group_admin;
mod groups;
mod idempotent;
mod kept;
mod lane;
mod member;
mod operator;
mod producer;
mod send;
mod static_member;
mod team;
mod together;

pub(crate) use admin::administer;
pub(crate) use consumer::{consume, read_all, read_back, read_over};
pub(crate) use fetch::{check_answer, check_record};
pub(crate) use group_admin::administer_groups;
pub(crate) use groups::{Loner, commit_offset, commit_offsets, offsets_are_kept};
pub(crate) use idempotent::Idempotent;
pub(crate) use operator::operate;
pub(crate) use producer::produce;
pub(crate) use send::{Told, answer, send};
pub(crate) use team::{Team, goes_on, take_part};
pub(crate) use together::read_all_at_once;
