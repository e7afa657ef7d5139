//! Faults that are planted on purpose: each breaks one rule, and the checks must find it.

use crate::directed::Script;
use crate::finding::Finding;
use strandline_types::mutations::Rule;

/// A rule that does not hold in this run. The ids are those of docs/rules.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// The log says yes to an append that it has not stored (I1).
    LogForgets,
    /// The store says yes to a PUT of a WAL segment that it has not stored (I1).
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
    /// A rule that is kept in the code under test, switched off there: only with the feature `mutations`.
    Rule(Rule),
}

/// Kinds of runs. Where a fault is looked for in others than ordinary ones, those have to pass without the fault, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Runs {
    /// As of every seed.
    Ordinary,
    /// On a log that keeps nothing for those who sleep, with snapshots all the time.
    NothingKept,
    /// Requests to the store take long, and orphans are looked for all the time.
    SlowStore,
}

impl Mutation {
    /// In which runs it is looked for.
    pub fn runs(self) -> Runs {
        match self {
            Self::OldFloor => Runs::NothingKept,
            Self::Rule(Rule::B1 | Rule::B3 | Rule::B5) => Runs::SlowStore,
            _ => Runs::Ordinary,
        }
    }

    /// Those that need no switch in the code under test, with the number of seeds within which each is found, and by what.
    pub const ALL: [(Mutation, u64, Finding); 7] = [
        (Mutation::LogForgets, 3, Finding::FalseAck),
        (Mutation::StoreForgets, 3, Finding::Unreadable),
        (Mutation::DeletedEarly, 3, Finding::Unreadable),
        (Mutation::StaleReads, 10, Finding::OldAnswer),
        (Mutation::TrimAtOnce, 60, Finding::FalseAck),
        (Mutation::EntriesExpire, 10, Finding::Diverged),
        (Mutation::OldFloor, 30, Finding::Diverged),
    ];

    /// Rules that chance finds, each within so many seeds, and by what. The example `rules_by_chance` tells which is the first that
    /// does; it is another one after most changes of the code, which the bound has room for.
    pub const BY_CHANCE: [(Rule, u64, Finding); 35] = [
        (Rule::A4, 30, Finding::Twice),
        (Rule::A5, 40, Finding::Twice),
        (Rule::A6, 250, Finding::Twice),
        (Rule::A8, 40, Finding::FalseAck),
        (Rule::A12, 40, Finding::BrokenChain),
        (Rule::A15, 300, Finding::FalseAck),
        (Rule::B1, 60, Finding::Unreadable),
        (Rule::B2, 300, Finding::DeletedObject),
        (Rule::B5, 60, Finding::DeletedObject),
        (Rule::B6, 40, Finding::Unreadable),
        (Rule::B7, 40, Finding::DeletedObject),
        (Rule::B8, 300, Finding::Unreadable),
        (Rule::B9, 300, Finding::DeletedObject),
        (Rule::B10, 40, Finding::DeletedObject),
        (Rule::C2, 100, Finding::Unreadable),
        (Rule::C3, 100, Finding::Unreadable),
        (Rule::C4, 40, Finding::Violation),
        (Rule::C5, 40, Finding::DeletedObject),
        (Rule::C7, 100, Finding::DeletedObject),
        (Rule::C8, 40, Finding::PutEarly),
        (Rule::C9, 40, Finding::Violation),
        (Rule::D4, 40, Finding::DeletedObject),
        (Rule::D6, 5, Finding::FloorPassesExtents),
        (Rule::Duplicates, 5, Finding::Twice),
        (Rule::Generation, 20, Finding::CommittedOffset),
        (Rule::FoldVersion, 20, Finding::FoldVersion),
        (Rule::EveryRecord, 3, Finding::Missing),
        (Rule::Retention, 10, Finding::Retention),
        (Rule::WholeRetention, 20, Finding::Left),
        (Rule::LogStart, 5, Finding::LogStart),
        (Rule::Copied, 3, Finding::NotCopied),
        (Rule::AppendTime, 20, Finding::Changed),
        (Rule::Synced, 40, Finding::LostEntry),
        (Rule::WholeManifest, 5, Finding::Unlisted),
        (Rule::GivenBack, 3, Finding::Held),
    ];

    /// Rules that a script finds, and by what: chance seldom comes to where they matter, or only to some of what they are for.
    pub const BY_SCRIPT: [(Rule, Script, Finding); 47] = [
        (Rule::A1, Script::SleptInAppend, Finding::FalseAck),
        (Rule::A2, Script::SleptInAppend, Finding::FalseAck),
        (Rule::A3, Script::TwoSlept, Finding::Diverged),
        (Rule::A4, Script::LandsAgain, Finding::Twice),
        (Rule::A5, Script::LostReply, Finding::Twice),
        (Rule::A6, Script::LandsAgainFromTheGrave, Finding::Twice),
        (Rule::A7, Script::LateIntoTheNextRun, Finding::FalseAck),
        (Rule::A8, Script::LostRequest, Finding::FalseAck),
        (Rule::A9, Script::FloorThenEntries, Finding::OldAnswer),
        (Rule::A10, Script::SleptBeforeTheFloor, Finding::LoweredFloor),
        (Rule::A12, Script::FasterRival, Finding::BrokenChain),
        (Rule::A13, Script::ReadAcrossTheFloor, Finding::OldAnswer),
        (Rule::A15, Script::LostReply, Finding::FalseAck),
        (Rule::A17, Script::BehindOneInDoubt, Finding::Order),
        (Rule::B1, Script::LateCommit, Finding::Unreadable),
        (Rule::B2, Script::CollectorLags, Finding::DeletedObject),
        (Rule::B3, Script::AtTheHorizon, Finding::Unreadable),
        (Rule::B5, Script::LateConvert, Finding::Unreadable),
        (Rule::B6, Script::TwoObjectsAtOnce, Finding::Unreadable),
        (Rule::B7, Script::GarbageBelowTheHorizon, Finding::DeletedObject),
        (Rule::B8, Script::DiesPuttingASegment, Finding::Unreadable),
        (Rule::B9, Script::CollectorLags, Finding::DeletedObject),
        (Rule::B10, Script::GarbageNotCopied, Finding::DeletedObject),
        (Rule::C2, Script::ReadBeforeTheRows, Finding::Unreadable),
        (Rule::C3, Script::DiesPuttingASealedFile, Finding::Unreadable),
        (Rule::C4, Script::OpenPlanTakenOver, Finding::Violation),
        (Rule::C5, Script::GarbageOfALiveReader, Finding::DeletedObject),
        (Rule::C6, Script::RowsRemovedUnderAReader, Finding::WrongOffsets),
        (Rule::C7, Script::SealedWhileListed, Finding::DeletedObject),
        (Rule::C8, Script::PlanNotCopied, Finding::PutEarly),
        (Rule::C9, Script::MergeBesideAPlan, Finding::Violation),
        (Rule::D1, Script::StartAcrossTheFloor, Finding::Snapshot),
        (Rule::D2, Script::DamagedSnapshot, Finding::Snapshot),
        (Rule::D3, Script::DamagedSnapshot, Finding::Snapshot),
        (Rule::D4, Script::SnapshotBeforeTheFloor, Finding::DeletedObject),
        (Rule::D5, Script::SleptBeforeRaising, Finding::LoweredFloor),
        (Rule::Claim, Script::CommitOfAnOldCoordinator, Finding::CommittedOffset),
        (Rule::Connection, Script::CommitKeptWaiting, Finding::CommittedOffset),
        (Rule::Identity, Script::ProduceAfterRecreation, Finding::Twice),
        (Rule::Digest, Script::DamagedFile, Finding::Changed),
        (Rule::Manifest, Script::ManifestOfAnOldView, Finding::ListedTwice),
        (Rule::WholeFiles, Script::RowsWrittenWhileListed, Finding::DeletedObject),
        (Rule::Awaited, Script::BehindARefusedBatch, Finding::Order),
        (Rule::A1, Script::TrimmedNode, Finding::VoidNode),
        (Rule::B1, Script::LateRehome, Finding::Unreadable),
        (Rule::B5, Script::LateMerge, Finding::LateCommit),
        (Rule::Duplicates, Script::GoneNodeUnheard, Finding::Twice),
    ];
}
