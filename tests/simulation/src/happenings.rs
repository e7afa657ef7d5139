//! What goes wrong while a run goes on, and what is done meanwhile, counted. A kind of it that never comes would be looked at by no check,
//! and all of them would pass.

use crate::core::locked;
use std::collections::BTreeMap;
use std::sync::Mutex;

macro_rules! happenings {
    ($($(#[$doc:meta])* $name:ident = $words:literal,)+) => {
        /// A kind of run, of fault, or of step.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Happening {
            $($(#[$doc])* $name,)+
        }

        impl Happening {
            /// All of them, in the order in which they are printed.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// As it is printed behind its number.
            pub const fn words(self) -> &'static str {
                match self {
                    $(Self::$name => $words,)+
                }
            }
        }
    };
}

happenings! {
    /// A run of more than two nodes.
    ThreeNodes = "runs of three nodes",
    /// A run of a sole node, on a log in memory.
    SoleNodes = "runs of a sole node",
    /// A run on the embedded log.
    EmbeddedLogs = "runs on a disk",
    /// A run in which builds are mixed.
    Upgrades = "upgrades",
    /// A run in which clocks may be wrong.
    WrongClocks = "runs with wrong clocks",

    /// A node ends in the middle of what it does.
    Crashes = "crashes",
    /// A node ends by itself, as it is asked to.
    Stops = "stops",
    /// A node can serve no longer, and is ended.
    GivenUp = "nodes given up",
    /// A node starts that is none of the first.
    Restarts = "restarts",
    /// A node could not be started.
    FailedStarts = "failed starts",
    /// A node of an older build starts.
    OldBuilds = "starts of old builds",
    /// A node stands still, with all that it says.
    Pauses = "pauses",
    /// A node does not reach the log.
    PausesFromTheLog = "pauses from the log",
    /// One of these two lasts longer than every lease.
    LongPauses = "long pauses",
    /// A node is gone for the others while it stands still.
    Zombies = "zombies",
    /// A clock is set ahead.
    ClocksAhead = "clocks set ahead",
    /// A clock is set back.
    ClocksBehind = "clocks set behind",

    /// An append is in doubt, and not in the log when its node hears so.
    AppendsInDoubt = "appends in doubt that were lost",
    /// An append is in doubt, and in the log.
    AppendsUnheard = "appends in doubt that were there",
    /// An append surely fails.
    FailedAppends = "failed appends",
    /// Another entry is there already.
    Conflicts = "conflicts",
    /// An entry that a fault puts before another.
    Rivals = "rivals",
    /// An append is told that there is no room.
    FullAppends = "appends without room",
    /// An append is told that its log has failed for good.
    FatalAppends = "appends to a log that failed",
    /// Appends of a node are ordered to land twice, and late.
    DoubledAppends = "appends ordered to land twice",
    /// A commit lands again as an entry of its own.
    SecondLandings = "second landings",
    /// A commit that the fold does not take: it came twice, or its node was gone.
    RefusedCommits = "commits refused",
    /// A read of the log fails.
    FailedLogReads = "failed reads of the log",
    /// A log in memory has no room for a while.
    FullLogs = "full logs",

    /// The disk has no room for a while.
    FullDisks = "full disks",
    /// A write to the disk is ordered to fail.
    FailedWrites = "writes ordered to fail",
    /// A sync of the disk is ordered to fail.
    FailedSyncs = "syncs ordered to fail",
    /// The power of the disk is ordered to go.
    PowerCuts = "power cuts ordered",
    /// A disk is back after its process was killed.
    KilledDisks = "disks back from a kill",
    /// A disk is back after its power went, without what was not synced.
    LostDisks = "disks back without what was not synced",
    /// A disk is back after its power went, with some of it.
    MixedDisks = "disks back with some of it",
    /// A frame was there in part as a log was opened.
    TornFrames = "torn frames",

    /// A PUT is lost, and nothing new is in the bucket.
    LostPuts = "lost PUTs",
    /// A PUT is lost, and its object is there.
    UnheardPuts = "PUTs without a reply",
    /// A GET is lost.
    LostGets = "lost GETs",
    /// The bucket has no room.
    FullBuckets = "full buckets",
    /// A write to the segment index is lost.
    LostRows = "lost writes of rows",
    /// A write to the segment index is done, and its reply is lost.
    UnheardRows = "writes of rows without a reply",
    /// A read of the segment index is lost.
    LostRowReads = "lost reads of rows",
    /// Rows are written once more when everybody has forgotten them.
    LateRows = "late rows",

    /// A connection is cut on the way to a node.
    CutRequests = "requests cut",
    /// A connection is cut on the way to a client.
    CutAnswers = "answers cut",
    /// A batch is sent and not answered.
    UnansweredBatches = "batches without an answer",
    /// A batch is refused for a while.
    RefusedBatches = "batches refused for a while",
    /// A produce request has batches for several partitions.
    ManyProduced = "produce requests of several partitions",
    /// Some batches of a request are acknowledged, and some are not.
    MixedAnswers = "produce answers that differ by partition",
    /// A fetch asks for several partitions, and is answered.
    ManyFetched = "fetches of several partitions",
    /// A deletion is refused, since the group has members.
    RefusedDeletions = "deletions refused while a group has members",
    /// A static member ends without a word, and is back in its place in the same generation.
    StaticReturns = "static members back in their place",
    /// A member is told that another client has its instance id.
    FencedMembers = "static members fenced",

    /// A node joins.
    Joins = "joins",
    /// A node leaves.
    Leaves = "leaves",
    /// A node is declared gone.
    DeclaredGone = "nodes declared gone",
    /// The fold version rises.
    RaisedVersions = "raised fold versions",
    /// Some work of a node that nobody else does meanwhile.
    Leases = "leases taken",
    /// A second fold, or a second look, has come to an end about a snapshot.
    Snapshots = "second looks at snapshots",
    /// A topic goes.
    DeletedTopics = "topics deleted",
    /// A topic gets the name of one that went.
    TopicsMadeAgain = "topics made again",
    /// A deleted topic has left nothing behind.
    ForgottenTopics = "topics forgotten",
    /// A topic is configured.
    Configured = "topics configured",
    /// A topic gets more partitions.
    GrownTopics = "topics grown",
    /// A batch of an idempotent producer is there already.
    Duplicates = "duplicates",
    /// A group has another generation.
    Rebalances = "rebalances",
    /// A group has another coordinator.
    Coordinators = "groups taken over",
    /// A group goes.
    DeletedGroups = "groups deleted",
    /// What a group has committed of a partition goes.
    DeletedOffsets = "committed offsets deleted",
    /// Extents become a fresh file.
    Conversions = "conversions",
    /// Fresh files become others.
    Merges = "merges",
    /// Batches leave the log for an object.
    Rehomes = "rehomes",
    /// A sealed file is planned straight from extents.
    ExtentPlans = "seals of extents",
    /// A planned file is there.
    Seals = "seals",
    /// A sealed file is let go.
    DroppedFiles = "sealed files dropped",
    /// Objects of the garbage list are gone.
    Collections = "collections of garbage",
    /// Older names of objects will be refused.
    Horizons = "horizons raised",
    /// Retention has taken what is old.
    MovesByAge = "log starts moved by age",
    /// Retention has taken what is too much.
    MovesBySize = "log starts moved by size",
}

/// In few runs of the kind that can have them.
const SELDOM: [Happening; 4] = [Happening::FullAppends, Happening::TornFrames, Happening::RaisedVersions, Happening::ExtentPlans];

impl Happening {
    /// Whether a hundred runs may go without it.
    pub fn is_seldom(self) -> bool {
        SELDOM.contains(&self)
    }
}

/// How often each happened.
#[derive(Default)]
pub(crate) struct Happened(Mutex<BTreeMap<&'static str, u64>>);

impl Happened {
    /// So many times more.
    pub fn add(&self, what: Happening, times: u64) {
        *locked(&self.0).entry(what.words()).or_default() += times;
    }

    /// By their words; what never happened may be missing.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        locked(&self.0).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::Happening;
    use std::collections::BTreeSet;

    #[test]
    fn no_two_are_counted_as_one() {
        let words: BTreeSet<_> = Happening::ALL.iter().map(|what| what.words()).collect();
        assert_eq!(words.len(), Happening::ALL.len());
    }
}
