//! What was done, by the log: as the oracle folds it.

use crate::happenings::Happening;
use std::collections::BTreeSet;
use strandline_commands::{CommandKind, Commit, EntryBody};
use strandline_index::{BatchOutcome, CommitOutcome, Folded, Outcome};

/// What has been done since somebody asked last.
#[derive(Default)]
pub(crate) struct Steps {
    /// Names that topics have, or had.
    names: BTreeSet<String>,
    found: Vec<Happening>,
}

impl Steps {
    /// The log's next entry.
    pub fn folded(&mut self, body: &EntryBody, folded: &Folded) {
        for (commit, outcome) in body.commits.iter().zip(&folded.commits) {
            self.note(commit, outcome);
        }
    }

    /// What was done since the last call.
    pub fn take(&mut self) -> Vec<Happening> {
        std::mem::take(&mut self.found)
    }

    fn note(&mut self, commit: &Commit, outcome: &CommitOutcome) {
        let Some(outcomes) = &outcome.outcomes else {
            self.found.push(Happening::RefusedCommits);
            return;
        };
        for (command, outcome) in commit.commands.iter().zip(outcomes) {
            if let Some(step) = command.kind.as_ref().and_then(|kind| self.step(kind, outcome)) {
                self.found.push(step);
            }
        }
    }

    /// What a command has done, if it has.
    fn step(&mut self, command: &CommandKind, outcome: &Outcome) -> Option<Happening> {
        match (command, outcome) {
            (_, Outcome::Refused(_)) => None,
            (CommandKind::CreateTopic(command), _) => {
                (!self.names.insert(command.name.clone())).then_some(Happening::TopicsMadeAgain)
            }
            (CommandKind::Produce(_), Outcome::Produced(batches)) => {
                let is_known = batches.iter().any(|batch| matches!(batch, BatchOutcome::Duplicate { .. }));
                is_known.then_some(Happening::Duplicates)
            }
            (CommandKind::ClaimGroup(command), _) => (command.replaces != 0).then_some(Happening::Coordinators),
            (CommandKind::StoreGroup(command), _) => {
                (command.generation > command.expected_generation).then_some(Happening::Rebalances)
            }
            (CommandKind::DeleteOffsets(command), Outcome::Offsets { unknown }) => {
                (unknown.len() < command.partitions.len()).then_some(Happening::DeletedOffsets)
            }
            (command, _) => whenever_done(command),
        }
    }
}

/// What a command of this kind has always done where it was not refused.
fn whenever_done(command: &CommandKind) -> Option<Happening> {
    let done = match command {
        CommandKind::Join(_) => Happening::Joins,
        CommandKind::TakeLease(_) => Happening::Leases,
        CommandKind::Leave(_) => Happening::Leaves,
        CommandKind::DeclareGone(_) => Happening::DeclaredGone,
        CommandKind::RaiseFoldVersion(_) => Happening::RaisedVersions,
        CommandKind::AgreeSnapshot(_) => Happening::Snapshots,
        CommandKind::DeleteTopic(_) => Happening::DeletedTopics,
        CommandKind::ForgetTopic(_) => Happening::ForgottenTopics,
        CommandKind::ConfigureTopic(_) => Happening::Configured,
        CommandKind::GrowTopic(_) => Happening::GrownTopics,
        CommandKind::DeleteGroup(_) => Happening::DeletedGroups,
        CommandKind::Convert(_) => Happening::Conversions,
        CommandKind::Merge(_) => Happening::Merges,
        CommandKind::Rehome(_) => Happening::Rehomes,
        CommandKind::SealExtents(_) => Happening::ExtentPlans,
        CommandKind::Sealed(_) => Happening::Seals,
        CommandKind::DropSealed(_) => Happening::DroppedFiles,
        CommandKind::CollectGarbage(_) => Happening::Collections,
        CommandKind::RaiseHorizon(_) => Happening::Horizons,
        _ => return None,
    };
    Some(done)
}
