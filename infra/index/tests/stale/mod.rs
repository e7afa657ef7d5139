//! A command that was proposed from what was seen, and what may come before it is folded.
#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests may, as tests do

use crate::cell::Player;
use strandline_commands::Command;
use strandline_index::{Index, Outcome, Refusal};

/// Who proposes.
pub const PROPOSER: u64 = 1;
/// The other node, by the seq of its join.
pub const OTHER: u64 = 3;

/// What else happens, in words and in commands.
pub type Change = (&'static str, fn(&mut Player));

pub struct Case {
    pub name: &'static str,
    /// What a proposer will see.
    pub before: fn(&mut Player),
    /// What it makes of that.
    pub proposed: fn(&Index) -> Command,
    /// What may come first.
    pub changes: &'static [Change],
    /// Whether the proposer is told so: what names many things, or only ever moves up, is done all the same, without effect.
    pub is_refused: bool,
}

/// Folds what was proposed with nothing and with each change in between, each time beside a commit of no commands.
pub fn play(case: &Case) {
    let mut seen = Player::new(2);
    assert_eq!(seen.join(), OTHER);
    (case.before)(&mut seen);
    let stale = (case.proposed)(&seen.index);

    let (outcome, has_effect) = seen.effect(stale.clone());
    assert!(!matches!(outcome, Outcome::Refused(_)) && has_effect, "{}: nothing changed, yet {outcome:?}", case.name);
    for (change, apply) in case.changes {
        let mut changed = seen.clone();
        apply(&mut changed);
        changed.act_as(PROPOSER);
        let (outcome, has_effect) = changed.effect(stale.clone());
        assert!(!has_effect, "{} after '{change}' changed something: {outcome:?}", case.name);
        let is_refused = matches!(outcome, Outcome::Refused(refusal) if !matches!(refusal, Refusal::Malformed { .. }));
        assert!(is_refused || !case.is_refused, "{} after '{change}' was not refused", case.name);
    }
}
