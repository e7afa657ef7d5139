//! What members commit, and find committed.

use super::groups::committed;
use super::member::Member;
use crate::node::Node;
use std::sync::Arc;
use strandline_types::TopicId;
use strandline_wire::ErrorCode;
use strandline_wire::messages::OffsetCommitRequest;
use strandline_wire::messages::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};

impl Member {
    /// What is committed; none if nobody says.
    pub async fn committed(&self, partition: i32) -> Option<i64> {
        let node = self.coordinator().await?;
        let at = self.team.at(partition);
        let asked = self.team.kept.ask(&self.world, &node, at);
        let found = committed(&self.link, &node, self.team.name(), self.team.topic(), partition).await?.ok()?;
        self.team.kept.check(&self.world, &node, at, asked, found);
        Some(found)
    }

    /// Reads on, and says so.
    pub async fn commit(&mut self) -> Option<ErrorCode> {
        let node = self.coordinator().await?;
        let step = self.dice.between(0, 3) as i64;
        let (generation, offsets) = self.place.as_mut()?;
        let generation = *generation;
        let offsets: Vec<(i32, i64)> = offsets
            .iter_mut()
            .map(|(partition, offset)| {
                *offset = (*offset).max(0) + step;
                (*partition, *offset)
            })
            .collect();
        let mut deletions = Vec::new();
        for (partition, offset) in &offsets {
            self.team.kept.tries(self.team.at(*partition), *offset);
            deletions.push(self.team.kept.deletions(&self.world, self.team.at(*partition)));
        }
        let code = self.send_commit(&node, generation, &offsets).await?;
        self.late = Some((generation, offsets.clone()));
        if code == ErrorCode::None {
            for ((partition, offset), deletions) in offsets.iter().zip(deletions) {
                self.team.kept.has(&self.world, self.team.at(*partition), *offset, deletions);
            }
        } else {
            self.say(&format!("commits at {}: {code}", node.name()));
            self.lose_place(code);
        }
        Some(code)
    }

    /// The last commit of an earlier generation arrives only now: it must not count.
    pub async fn commit_late(&mut self) {
        let (Some(node), Some((now, _)), Some((generation, offsets))) = (self.coordinator().await, &self.place, &self.late)
        else {
            return;
        };
        let (now, generation) = (*now, *generation);
        if generation >= now || offsets.is_empty() {
            return;
        }
        let code = self.send_commit(&node, generation, offsets).await;
        self.say(&format!("commits late, of generation {generation} in {now}: {code:?}"));
        if code == Some(ErrorCode::None) {
            self.world.core.fail(format!("{} took a commit of generation {generation} in {now}", node.name()));
        }
    }

    async fn send_commit(&self, node: &Arc<Node>, generation: i32, offsets: &[(i32, i64)]) -> Option<ErrorCode> {
        let partitions = offsets
            .iter()
            .map(|(partition, offset)| OffsetCommitRequestPartition {
                partition_index: *partition,
                committed_offset: *offset,
                committed_leader_epoch: -1,
                committed_metadata: None,
            })
            .collect();
        let topic = OffsetCommitRequestTopic { name: self.team.topic().name.clone(), topic_id: TopicId::ZERO, partitions };
        let request = OffsetCommitRequest {
            group_id: self.team.name().to_owned(),
            generation_id_or_member_epoch: generation,
            member_id: self.id.clone(),
            group_instance_id: self.instance.clone(),
            topics: vec![topic],
            ..OffsetCommitRequest::default()
        };
        let answer = self.link.call(node, 9, &request).await?;
        let code = match answer.topics.first().and_then(|topic| topic.partitions.first()) {
            Some(partition) => ErrorCode::from_code(partition.error_code),
            // It owns nothing.
            None => ErrorCode::None,
        };
        Some(code)
    }
}
