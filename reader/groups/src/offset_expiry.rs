//! Committed offsets that expire while their group goes on (KIP-211).

use crate::answers;
use crate::coordinator::Shared;
use crate::group::State;
use std::collections::BTreeSet;
use std::ops::Bound;
use strandline_commands::{DeleteOffsets, GroupPartition};
use strandline_index::{GroupOffset, Outcome};
use strandline_wire::ErrorCode;

/// Groups that one look goes through; the next one goes on behind them.
const GROUPS_AT_ONCE: usize = 1_000;

impl Shared {
    /// Deletes offsets that were not committed again for the retention: of topics that a group with members reads no more, and of groups that
    /// never had members. (The others expire as a whole, once they have had no members for so long.)
    ///
    /// Looks at the groups behind `after`, and gives back the last of them; none once it is through.
    pub(crate) async fn expire_offsets(&self, after: Option<String>, now_ms: i64, retention_ms: i64) -> Option<String> {
        let is_old = |offset: &GroupOffset| offset.committed_ms.saturating_add(retention_ms) <= now_ms;
        let (looked_at, last) = {
            let index = self.cell.view();
            let behind = (after.as_ref().map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
            let groups: Vec<_> = index.groups.range::<String, _>(behind).take(GROUPS_AT_ONCE).collect();
            let last = groups.get(GROUPS_AT_ONCE - 1).map(|(name, _)| (*name).clone());
            let ours = groups.into_iter().filter(|(name, group)| {
                let goes_on = !group.is_empty() || group.protocol_type.is_empty();
                goes_on && self.coordinates_in(&index, name)
            });
            (ours.map(|(name, group)| (name.clone(), group.clone())).collect::<Vec<_>>(), last)
        };
        // Their offsets may be many: the fold does not wait for this.
        let with_old = looked_at.into_iter().filter(|(_, group)| group.offsets.values().any(is_old));
        let names: Vec<String> = with_old.map(|(name, _)| name).collect();
        for name in names {
            match self.expire_offsets_of(&name, is_old).await {
                Ok(0) => {}
                Ok(offsets) => tracing::info!(group = name, offsets, "offsets that were not committed again have expired"),
                Err(error) => {
                    tracing::debug!(group = name, error = error.name(), "offsets did not expire; a later look tries again");
                }
            }
        }
        last
    }

    async fn expire_offsets_of(&self, group: &str, is_old: impl Fn(&GroupOffset) -> bool) -> Result<usize, ErrorCode> {
        let used = self.find_to_use(group).await?;
        // What is on its way is not seen yet; while the slot is held, nothing more begins.
        if self.is_committing(group) {
            return Ok(0);
        }
        let Some(loaded) = &used.held.contents.loaded else { return Ok(0) };
        let read = match loaded.group.state() {
            State::Stable => loaded.group.subscribed_topics(),
            State::Empty if loaded.group.protocol_type().is_empty() => Some(BTreeSet::new()),
            _ => None,
        };
        // What cannot be known counts as read.
        let Some(read) = read else { return Ok(0) };
        let partitions: Vec<GroupPartition> = {
            let index = self.cell.view();
            let Some(known) = index.groups.get(group) else { return Ok(0) };
            let is_read = |topic_id| index.topics.get(topic_id).is_some_and(|topic| read.contains(&topic.name));
            let expired = known.offsets.iter().filter(|(place, offset)| is_old(offset) && !is_read(&place.topic_id));
            expired.map(|(place, _)| GroupPartition { topic_id: place.topic_id.0.to_vec(), partition: place.partition }).collect()
        };
        let count = partitions.len();
        if count == 0 {
            return Ok(0);
        }
        match self.submit(DeleteOffsets { group: group.to_owned(), claim: loaded.claim.0, partitions }).await? {
            Outcome::Refused(refusal) => Err(answers::of_refusal(&refusal)),
            _ => Ok(count),
        }
    }
}
