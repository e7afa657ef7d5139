//! Faults that are planted on purpose: each breaks one rule, and the checks must find it.

use crate::directed::Script;
use strandline_types::mutations::Rule;

/// A rule that does not hold in this run. The ids are those of docs/rules.md.
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
    /// Entries go by themselves, wherever the floor is (A16).
    EntriesExpire,
    /// The floor that is looked at after a long append is an old one (A1, A2, A3).
    OldFloor,
    /// The floor passes entries whose bytes extents still refer to (D6).
    FloorPassesExtents,
    /// Rows of a sealed file are not written before the plan is done (C2).
    RowsForgotten,
    /// A rule that is kept in the code under test, switched off there: only with the feature `mutations`.
    Rule(Rule),
}

impl Mutation {
    /// Whether the rule matters where requests to the store take long and orphans are looked for all the time.
    pub(crate) fn needs_a_slow_store(self) -> bool {
        matches!(self, Self::Rule(Rule::B1 | Rule::B5 | Rule::B3))
    }

    /// Those that need no switch in the code under test, with the number of seeds within which each is found.
    pub const ALL: [(Mutation, u64); 9] = [
        (Mutation::LogForgets, 3),
        (Mutation::StoreForgets, 3),
        (Mutation::DeletedEarly, 3),
        (Mutation::StaleReads, 3),
        (Mutation::TrimAtOnce, 60),
        (Mutation::EntriesExpire, 10),
        (Mutation::OldFloor, 30),
        (Mutation::FloorPassesExtents, 5),
        (Mutation::RowsForgotten, 5),
    ];

    /// Rules that chance finds, each within so many seeds.
    pub const BY_CHANCE: [(Rule, u64); 6] = [
        (Rule::A4, 10),
        (Rule::B1, 60),
        (Rule::Duplicates, 5),
        (Rule::Generation, 20),
        (Rule::FoldVersion, 20),
        (Rule::EveryRecord, 3),
    ];

    /// Rules that a script finds: chance seldom comes to where they matter.
    pub const BY_SCRIPT: [(Rule, Script); 38] = [
        (Rule::A1, Script::SleptInAppend),
        (Rule::A2, Script::SleptInAppend),
        (Rule::A3, Script::TwoSlept),
        (Rule::A4, Script::LandsAgain),
        (Rule::A5, Script::LostReply),
        (Rule::A6, Script::LandsAgainFromTheGrave),
        (Rule::A7, Script::LateIntoTheNextRun),
        (Rule::A8, Script::LostRequest),
        (Rule::A9, Script::FloorThenEntries),
        (Rule::A10, Script::SleptBeforeTheFloor),
        (Rule::A12, Script::FasterRival),
        (Rule::A13, Script::ReadAcrossTheFloor),
        (Rule::A15, Script::LostReply),
        (Rule::A17, Script::BehindOneInDoubt),
        (Rule::B1, Script::LateCommit),
        (Rule::B2, Script::CollectorLags),
        (Rule::B3, Script::AtTheHorizon),
        (Rule::B5, Script::LateConvert),
        (Rule::B6, Script::TwoObjectsAtOnce),
        (Rule::B7, Script::GarbageBelowTheHorizon),
        (Rule::B9, Script::CollectorLags),
        (Rule::B10, Script::GarbageNotCopied),
        (Rule::C3, Script::DiesPuttingASealedFile),
        (Rule::C4, Script::OpenPlanTakenOver),
        (Rule::C5, Script::GarbageOfALiveReader),
        (Rule::C6, Script::RowsRemovedUnderAReader),
        (Rule::C7, Script::SealedWhileListed),
        (Rule::C8, Script::PlanNotCopied),
        (Rule::C9, Script::MergeBesideAPlan),
        (Rule::D1, Script::StartAcrossTheFloor),
        (Rule::D2, Script::DamagedSnapshot),
        (Rule::D3, Script::DamagedSnapshot),
        (Rule::D4, Script::SnapshotBeforeTheFloor),
        (Rule::D5, Script::SleptBeforeRaising),
        (Rule::Claim, Script::CommitOfAnOldCoordinator),
        (Rule::Digest, Script::DamagedFile),
        (Rule::Manifest, Script::ManifestOfAnOldView),
        (Rule::WholeFiles, Script::RowsWrittenWhileListed),
    ];
}
