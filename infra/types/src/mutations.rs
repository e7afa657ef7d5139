//! Rules that a simulation switches off, to see that its checks find what happens without them. Only in builds with the
//! feature `mutations`; else every rule holds, and nothing of this is left.

/// A rule of the protocol, by its id in docs/rules.md; what has no id there has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "docs/rules.md says what each id means")]
pub enum Rule {
    A1,
    A2,
    A3,
    A4,
    A5,
    A6,
    A7,
    A8,
    A9,
    A10,
    A12,
    A13,
    A15,
    A17,
    B1,
    B2,
    B3,
    B5,
    B6,
    B7,
    B8,
    B9,
    B10,
    C1,
    C2,
    C3,
    C4,
    C5,
    C6,
    C7,
    C8,
    C9,
    D1,
    D2,
    D3,
    D4,
    D5,
    D6,
    /// A batch that is known already is a duplicate.
    Duplicates,
    /// A topic is its id: what was sent to one that is deleted is not the next one's of that name.
    Identity,
    /// Only who holds a group's claim changes the group.
    Claim,
    /// Offsets are committed by members of the group's generation only.
    Generation,
    /// A group's offsets, and the group, are committed or deleted only by what was sent after its coordinator claimed it.
    Connection,
    /// The fold version is raised only when every live node can fold by it.
    FoldVersion,
    /// Records from Parquet are handed out only after their digest was checked.
    Digest,
    /// A manifest names the files that answer, and no other.
    Manifest,
    /// A sealed file counts as listed only with all of its rows.
    WholeFiles,
    /// Every record becomes a row.
    EveryRecord,
    /// Retention takes what is old or too much, and no more.
    Retention,
    /// Retention takes all that is old or too much.
    WholeRetention,
    /// A log start is where a command has put it.
    LogStart,
    /// What the log says to be copied is in the bucket.
    Copied,
    /// Where a topic asks for LogAppendTime, records in Parquet have the time at which the log took them.
    AppendTime,
    /// What was sent behind a batch that was refused, and comes again, does not overtake it.
    Awaited,
    /// The embedded log says yes once an entry is synced.
    Synced,
    /// A manifest lacks no file that answers.
    WholeManifest,
    /// Memory that was taken for some work is given back.
    GivenBack,
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

/// Whether the rule holds.
#[cfg(feature = "mutations")]
pub fn holds(rule: Rule) -> bool {
    OFF.get() != Some(rule)
}

/// Whether the rule holds: always.
#[cfg(not(feature = "mutations"))]
pub const fn holds(_: Rule) -> bool {
    true
}
