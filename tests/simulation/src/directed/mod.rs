//! Interleavings that chance seldom comes to, played out step by step over the same world. docs/rules.md says which rule each is for. With the
//! rules each ends well; each whose rule has a switch must be found without it.

mod collecting;
mod coordinating;
mod floors;
mod late;
mod leaving;
mod sealing;
mod stage;
mod starting;
mod writing;

use crate::chaos::supervise;
use crate::mutation::Mutation;
use crate::run::{Finished, come_to_rest, simulate, verify};
use crate::shape::Shape;
use crate::world::World;
use futures::FutureExt;
use late::Meanwhile;
use leaving::Void;
use stage::Stage;
use std::sync::Arc;
use std::time::Duration;
use strandline_commit_log::memory::Semantics;
use strandline_compactor::CompactorOptions;

/// An interleaving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Script {
    /// A node sleeps inside an append until the log is trimmed beyond it.
    SleptInAppend,
    /// Two nodes sleep inside appends at the same seq.
    TwoSlept,
    /// A commit lands again as an entry of its own.
    LandsAgain,
    /// The same, once its node is forgotten.
    LandsAgainFromTheGrave,
    /// A node's last append lands while its next run begins.
    LateIntoTheNextRun,
    /// The reply to an append is lost.
    LostReply,
    /// The request of an append is lost.
    LostRequest,
    /// Another commit waits behind one that is in doubt.
    BehindOneInDoubt,
    /// There is no room for a producer's first batch, and then there is for the second.
    BehindARefusedBatch,
    /// Another writer is faster.
    FasterRival,
    /// A node reads the log while the floor passes it by.
    ReadAcrossTheFloor,
    /// Entries are about to go.
    FloorThenEntries,
    /// A writer of the floor sleeps before it looks at it.
    SleptBeforeTheFloor,
    /// A writer of the floor sleeps between look and write.
    SleptBeforeRaising,
    /// The floor passes a node that starts.
    StartAcrossTheFloor,
    /// A WAL segment is PUT, and its commit comes late.
    LateCommit,
    /// A fresh file is PUT, and its `Convert` comes late.
    LateConvert,
    /// The collector has not read a commit that refers to what it collects.
    CollectorLags,
    /// An object's seq is the horizon itself.
    AtTheHorizon,
    /// What is on the garbage list lies below the horizon, and a node has not folded since.
    GarbageBelowTheHorizon,
    /// A node that reads by an old view is alive.
    GarbageOfALiveReader,
    /// The log cannot be copied to the bucket.
    GarbageNotCopied,
    /// Two objects are PUT at once.
    TwoObjectsAtOnce,
    /// A node dies while it PUTs a sealed file.
    DiesPuttingASealedFile,
    /// A sealed file is read before its rows are written.
    ReadBeforeTheRows,
    /// A node dies while it PUTs a WAL segment.
    DiesPuttingASegment,
    /// Another takes over an open plan.
    OpenPlanTakenOver,
    /// Another merges while a plan is open.
    MergeBesideAPlan,
    /// The plan cannot be copied to the bucket.
    PlanNotCopied,
    /// A file is sealed while `bronze/` is listed.
    SealedWhileListed,
    /// A reader's view is older than the rows of the segment index.
    RowsRemovedUnderAReader,
    /// A manifest is written by an old view.
    ManifestOfAnOldView,
    /// A snapshot is damaged on its way.
    DamagedSnapshot,
    /// A newer snapshot is there before the floor names it.
    SnapshotBeforeTheFloor,
    /// A file's rows are written while another node lists files.
    RowsWrittenWhileListed,
    /// A sealed file is damaged, byte by byte.
    DamagedFile,
    /// A coordinator's commit of offsets lands once another coordinates the group.
    CommitOfAnOldCoordinator,
    /// A commit of offsets without a generation comes once the group has been elsewhere and is back.
    CommitKeptWaiting,
    /// A merge's output is PUT, and goes as an orphan before its commit lands.
    LateMerge,
    /// A merge's inputs are sealed before its commit lands.
    MergeAfterSeal,
    /// The topic is deleted before a merge's commit lands.
    MergeAfterDeletion,
    /// Inline batches are PUT as a WAL segment, which goes as an orphan before the commit lands.
    LateRehome,
    /// What is rehomed is converted before the commit lands.
    RehomeAfterConversion,
    /// The topic is deleted before the commit that rehomes its batches lands.
    RehomeAfterDeletion,
    /// Extents are converted before the plan that seals them lands.
    PlanAfterConversion,
    /// Another seals the extents before the plan of a node that is gone lands.
    PlanAfterTakeover,
    /// The topic is deleted before a plan over its extents lands.
    PlanAfterDeletion,
    /// A topic is deleted and made anew before a batch for it lands.
    ProduceAfterRecreation,
    /// Another completes a plan over extents.
    PlannedExtentsTakenOver,
    /// A node is declared gone with a batch on its way.
    GoneNode,
    /// A node's batch lands without its hearing so, and it is declared gone.
    GoneNodeUnheard,
    /// A node sleeps with a batch on its way until the log is trimmed beyond it.
    TrimmedNode,
    /// Clocks differ by more than they may.
    ClockBehindTheLog,
    /// A node dies in the middle of a frame.
    TornWrite,
}

impl Script {
    /// All of them.
    pub const ALL: [Script; 54] = [
        Script::SleptInAppend,
        Script::TwoSlept,
        Script::LandsAgain,
        Script::LandsAgainFromTheGrave,
        Script::LateIntoTheNextRun,
        Script::LostReply,
        Script::LostRequest,
        Script::BehindOneInDoubt,
        Script::BehindARefusedBatch,
        Script::FasterRival,
        Script::ReadAcrossTheFloor,
        Script::FloorThenEntries,
        Script::SleptBeforeTheFloor,
        Script::SleptBeforeRaising,
        Script::StartAcrossTheFloor,
        Script::LateCommit,
        Script::LateConvert,
        Script::CollectorLags,
        Script::AtTheHorizon,
        Script::GarbageBelowTheHorizon,
        Script::GarbageOfALiveReader,
        Script::GarbageNotCopied,
        Script::TwoObjectsAtOnce,
        Script::DiesPuttingASealedFile,
        Script::ReadBeforeTheRows,
        Script::DiesPuttingASegment,
        Script::OpenPlanTakenOver,
        Script::MergeBesideAPlan,
        Script::PlanNotCopied,
        Script::SealedWhileListed,
        Script::RowsRemovedUnderAReader,
        Script::ManifestOfAnOldView,
        Script::DamagedSnapshot,
        Script::SnapshotBeforeTheFloor,
        Script::RowsWrittenWhileListed,
        Script::DamagedFile,
        Script::CommitOfAnOldCoordinator,
        Script::CommitKeptWaiting,
        Script::LateMerge,
        Script::MergeAfterSeal,
        Script::MergeAfterDeletion,
        Script::LateRehome,
        Script::RehomeAfterConversion,
        Script::RehomeAfterDeletion,
        Script::PlanAfterConversion,
        Script::PlanAfterTakeover,
        Script::PlanAfterDeletion,
        Script::ProduceAfterRecreation,
        Script::PlannedExtentsTakenOver,
        Script::GoneNode,
        Script::GoneNodeUnheard,
        Script::TrimmedNode,
        Script::ClockBehindTheLog,
        Script::TornWrite,
    ];

    fn shape(self) -> Shape {
        let stay = match self {
            // Where the day that entries stay is over.
            Self::ReadAcrossTheFloor | Self::FloorThenEntries | Self::StartAcrossTheFloor => Duration::ZERO,
            _ => Duration::from_secs(45),
        };
        let shape = Shape::directed(3, stay);
        match self {
            Self::TornWrite => Shape { nodes: 1, sole: true, disk: true, semantics: Semantics::Checked, ..shape },
            // A batch fills a file.
            Self::PlanAfterConversion | Self::PlanAfterTakeover | Self::PlanAfterDeletion | Self::PlannedExtentsTakenOver => {
                let compactor = CompactorOptions { sealed_file_bytes: 8 << 10, ..shape.compactor };
                Shape { compactor, ..shape }
            }
            _ => shape,
        }
    }

    async fn play(self, stage: &Stage) {
        match self {
            Self::SleptInAppend => floors::slept_in_append(stage).await,
            Self::TwoSlept => floors::two_slept(stage).await,
            Self::LandsAgain => writing::lands_again(stage).await,
            Self::LandsAgainFromTheGrave => writing::lands_again_from_the_grave(stage).await,
            Self::LateIntoTheNextRun => writing::late_into_the_next_run(stage).await,
            Self::LostReply => writing::lost_reply(stage).await,
            Self::LostRequest => writing::lost_request(stage).await,
            Self::BehindOneInDoubt => writing::behind_one_in_doubt(stage).await,
            Self::BehindARefusedBatch => writing::behind_a_refused_batch(stage).await,
            Self::FasterRival => writing::faster_rival(stage).await,
            Self::ReadAcrossTheFloor => floors::read_across_the_floor(stage).await,
            Self::FloorThenEntries => floors::floor_then_entries(stage).await,
            Self::SleptBeforeTheFloor => floors::slept_before_the_floor(stage).await,
            Self::SleptBeforeRaising => floors::slept_before_raising(stage).await,
            Self::StartAcrossTheFloor => starting::start_across_the_floor(stage).await,
            Self::LateCommit => collecting::late_commit(stage).await,
            Self::LateConvert => collecting::late_convert(stage).await,
            Self::CollectorLags => collecting::collector_lags(stage).await,
            Self::AtTheHorizon => collecting::at_the_horizon(stage).await,
            Self::GarbageBelowTheHorizon => collecting::garbage_below_the_horizon(stage).await,
            Self::GarbageOfALiveReader => collecting::garbage_of_a_live_reader(stage).await,
            Self::GarbageNotCopied => collecting::garbage_not_copied(stage).await,
            Self::TwoObjectsAtOnce => writing::two_objects_at_once(stage).await,
            Self::DiesPuttingASealedFile => sealing::dies_putting(stage).await,
            Self::ReadBeforeTheRows => sealing::read_before_the_rows(stage).await,
            Self::DiesPuttingASegment => writing::dies_putting_a_segment(stage).await,
            Self::OpenPlanTakenOver => sealing::open_plan_taken_over(stage).await,
            Self::MergeBesideAPlan => sealing::merge_beside_a_plan(stage).await,
            Self::PlanNotCopied => sealing::plan_not_copied(stage).await,
            Self::SealedWhileListed => sealing::sealed_while_listed(stage).await,
            Self::RowsRemovedUnderAReader => sealing::rows_removed_under_a_reader(stage).await,
            Self::ManifestOfAnOldView => sealing::manifest_of_an_old_view(stage).await,
            Self::DamagedSnapshot => starting::damaged_snapshot(stage).await,
            Self::SnapshotBeforeTheFloor => starting::snapshot_before_the_floor(stage).await,
            Self::RowsWrittenWhileListed => sealing::rows_written_while_listed(stage).await,
            Self::DamagedFile => sealing::damaged_file(stage).await,
            Self::CommitOfAnOldCoordinator => coordinating::commit_of_an_old_coordinator(stage).await,
            Self::CommitKeptWaiting => coordinating::commit_kept_waiting(stage).await,
            Self::LateMerge => late::late_merge(stage, Meanwhile::Swept).await,
            Self::MergeAfterSeal => late::late_merge(stage, Meanwhile::Next).await,
            Self::MergeAfterDeletion => late::late_merge(stage, Meanwhile::Deleted).await,
            Self::LateRehome => late::late_rehome(stage, Meanwhile::Swept).await,
            Self::RehomeAfterConversion => late::late_rehome(stage, Meanwhile::Next).await,
            Self::RehomeAfterDeletion => late::late_rehome(stage, Meanwhile::Deleted).await,
            Self::PlanAfterConversion => late::late_seal_extents(stage, Meanwhile::Next).await,
            Self::PlanAfterTakeover => late::late_seal_extents(stage, Meanwhile::TakenOver).await,
            Self::PlanAfterDeletion => late::late_seal_extents(stage, Meanwhile::Deleted).await,
            Self::ProduceAfterRecreation => late::late_produce(stage).await,
            Self::PlannedExtentsTakenOver => late::planned_extents_taken_over(stage).await,
            Self::GoneNode => leaving::retried_elsewhere(stage, Void::Gone).await,
            Self::GoneNodeUnheard => leaving::retried_elsewhere(stage, Void::GoneUnheard).await,
            Self::TrimmedNode => leaving::retried_elsewhere(stage, Void::Trimmed).await,
            Self::ClockBehindTheLog => leaving::clock_behind_the_log(stage).await,
            Self::TornWrite => leaving::torn_write(stage).await,
        }
    }
}

/// Plays a script, with a rule switched off perhaps, and then lets the cell come to rest and holds it against what clients were
/// told.
///
/// # Errors
/// What must never be and was, with the last lines of the history.
pub fn run_script(script: Script, mutation: Option<Mutation>) -> Result<Finished, String> {
    simulate(0, mutation, script.shape(), move |world| async move { play(&world, script).await }.boxed_local())
}

async fn play(world: &Arc<World>, script: Script) {
    let Some(stage) = Stage::set(world).await else {
        return world.core.fail("the stage could not be set");
    };
    script.play(&stage).await;
    crate::check::check_now(world);
    if world.core.has_failed() {
        return;
    }
    let (rest, resting) = tokio::sync::watch::channel(false);
    let end = async {
        world.end();
        come_to_rest(world).await;
        verify(world).await;
        let _ = rest.send(true);
    };
    futures::join!(supervise(world.clone(), resting), end);
}
