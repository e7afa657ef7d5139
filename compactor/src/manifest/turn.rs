//! Which of several nodes writes a topic's manifests, and what it knows to be there.

use crate::error::WorkError;
use crate::shared::{Shared, lease_key};
use strandline_commands::{LeaseKind, Role};
use strandline_index::{Index, Refusal};
use strandline_types::{Incarnation, LeaseNumber, Seq, TopicId};

/// The live node that seals a topic; else the one that converts it, and will seal it.
pub(super) fn writer(view: &Index, topic_id: TopicId) -> Option<Incarnation> {
    let live = |kind| {
        let holder = view.leases.get(&lease_key(kind, &topic_id.0))?.holder;
        view.nodes.contains_key(&holder).then_some(holder)
    };
    live(LeaseKind::Seal).or_else(|| live(LeaseKind::Convert))
}

impl Shared {
    /// With several nodes, whoever seals a topic writes its manifests: a root and its days belong together, and two that write in turns
    /// would take each other's for their own. Until somebody does either, one node is as good as another: each topic has its own, so that
    /// not all try to become it at once.
    pub(super) fn is_this_nodes_turn(&self, view: &Index, topic_id: TopicId) -> bool {
        if self.cell.is_sole() {
            return true;
        }
        let turn = writer(view, topic_id).or_else(|| {
            let compactors = view.nodes.iter().filter(|(_, run)| run.roles.contains(&(Role::Compactor as i32)));
            let compactors: Vec<Incarnation> = compactors.map(|(incarnation, _)| *incarnation).collect();
            let at = topic_id.0.iter().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)));
            compactors.get(at.checked_rem(compactors.len())?).copied()
        });
        turn.is_none_or(|turn| turn == self.cell.incarnation())
    }

    /// The lease under which this node writes a topic's manifests; none if another one does. A sole node needs none.
    pub(super) async fn manifest_lease(&self, topic_id: TopicId) -> Result<Option<LeaseNumber>, WorkError> {
        if self.cell.is_sole() {
            return Ok(Some(LeaseNumber(0)));
        }
        if writer(&self.cell.view(), topic_id).is_some_and(|writer| writer != self.cell.incarnation()) {
            return Ok(None);
        }
        match self.lease(LeaseKind::Seal, &topic_id.0).await {
            Ok(lease) => Ok(Some(lease)),
            Err(WorkError::LeaseElsewhere | WorkError::Refused(Refusal::Superseded { .. } | Refusal::UnknownTopic)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the bucket has, as this run knows, the root of a topic with all changes up to this one.
    pub fn has_root_manifest(&self, topic_id: TopicId, changed: Seq) -> bool {
        self.memory().manifests.get(&topic_id).is_some_and(|written| written.changed >= changed)
    }
}
