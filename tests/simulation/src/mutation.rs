//! Faults that are planted on purpose: each breaks one rule, and the checks must find it.

/// A rule that does not hold in this run. The letters are those of the model of the design.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// The log says yes to an append that it has not stored (I1).
    LogForgets,
    /// The store says yes to a PUT of a WAL segment that it has not stored (B8).
    StoreForgets,
    /// An object that extents refer to is deleted (I8).
    DeletedEarly,
    /// Reads of the log are not consistent: they may miss what was appended in the last seconds.
    StaleReads,
    /// Entries below the floor go at once (A11).
    TrimAtOnce,
    /// The floor that is looked at after a long append is an old one (A1, A2, A3).
    OldFloor,
    /// The floor passes entries whose bytes extents still refer to (D6).
    FloorPassesExtents,
    /// Rows of a sealed file are not written before the plan is done (C2).
    RowsForgotten,
    /// A rule of the fold does not hold.
    #[cfg(feature = "mutations")]
    Fold(strandline_types::mutations::Rule),
}

impl Mutation {
    /// Whether the rule matters where requests to the store take long and orphans are looked for all the time.
    pub(crate) fn needs_a_slow_store(self) -> bool {
        #[cfg(feature = "mutations")]
        return self == Self::Fold(strandline_types::mutations::Rule::B1);
        #[cfg(not(feature = "mutations"))]
        false
    }

    /// Those that need no switch in the code under test, with the number of seeds within which each is found.
    pub const ALL: [(Mutation, u64); 8] = [
        (Mutation::LogForgets, 3),
        (Mutation::StoreForgets, 3),
        (Mutation::DeletedEarly, 3),
        (Mutation::StaleReads, 3),
        (Mutation::TrimAtOnce, 10),
        (Mutation::OldFloor, 30),
        (Mutation::FloorPassesExtents, 5),
        (Mutation::RowsForgotten, 5),
    ];

    /// Rules of the fold, switched off by a feature of its crate.
    #[cfg(feature = "mutations")]
    pub const SWITCHES: [(Mutation, u64); 3] = [
        (Mutation::Fold(strandline_types::mutations::Rule::A4), 10),
        (Mutation::Fold(strandline_types::mutations::Rule::B1), 60),
        (Mutation::Fold(strandline_types::mutations::Rule::Duplicates), 5),
    ];
}
