//! Rules of the fold that a simulation switches off, to see that its checks find what happens without them. Only in builds
//! with the feature `mutations`; else every rule holds, and nothing of this is left.

/// A rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// A commit applies only when its n is that incarnation's last + 1 (docs/rules.md, A4).
    NextCommit,
    /// Names of objects below the horizon are refused (docs/rules.md, B1).
    Horizon,
    /// A batch that is known already is a duplicate.
    Duplicates,
}

#[cfg(feature = "mutations")]
thread_local! {
    static OFF: std::cell::Cell<Option<Rule>> = const { std::cell::Cell::new(None) };
}

/// Switches a rule off in this thread, and the one before on again.
#[cfg(feature = "mutations")]
pub fn switch_off(rule: Option<Rule>) {
    OFF.set(rule);
}

#[cfg(feature = "mutations")]
pub(crate) fn holds(rule: Rule) -> bool {
    OFF.get() != Some(rule)
}

#[cfg(not(feature = "mutations"))]
pub(crate) const fn holds(_: Rule) -> bool {
    true
}
