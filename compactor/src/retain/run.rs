//! Moves log starts, lets sealed files go, forgets idle producers.

use crate::error::WorkError;
use crate::options::millis;
use crate::retain::plan::{BronzeRule, Rules, SealedUnit, Unit, index_units, new_log_start, sealed_units, time_or};
use crate::sealed::{garbage_of, row_keys};
use crate::shared::Shared;
use strandline_bronze::Day;
use strandline_cell::Submission;
use strandline_commands::{
    Command, DropSealed, ExpireProducer, ExpireProducers, LeaseKind, MoveLogStart, NewFile, command_bytes,
};
use strandline_index::Topic;
use strandline_topic_config::TopicConfig;
use strandline_types::{TopicId, limits};

/// Commands of one commit.
const COMMIT_COMMANDS: usize = 1_024;
/// Bytes of commands of one commit.
const COMMIT_BYTES: usize = limits::ENTRY_BYTES / 4;

impl Shared {
    /// One round of retention over all topics. Writes nothing where nothing is old.
    pub async fn retain_once(&self) -> Result<(), WorkError> {
        let mut first_error = None;
        for topic_id in self.topic_ids() {
            // One topic's trouble is not another's.
            if let Err(error) = self.retain_topic(topic_id).await {
                tracing::warn!(%topic_id, %error, "retention of a topic failed");
                first_error.get_or_insert(error);
            }
        }
        self.expire_producers_once().await?;
        first_error.map_or(Ok(()), Err)
    }

    async fn retain_topic(&self, topic_id: TopicId) -> Result<(), WorkError> {
        let Some(topic) = self.topic(topic_id) else { return Ok(()) };
        let config = TopicConfig::of(&topic.configs);
        let (rules, rule) = (Rules::of(&config), BronzeRule::of(&config));
        self.move_log_starts(&topic, rules, rule.outlasts(rules)).await?;
        drop(topic);
        if rule != BronzeRule::Keep {
            self.drop_sealed(topic_id, rule).await?;
        }
        self.remove_dropped_rows(topic_id).await
    }

    /// Moves log starts by age and size, with `only_sealed` no further than what is sealed: what leaves before that is in no file.
    async fn move_log_starts(&self, topic: &Topic, rules: Rules, only_sealed: bool) -> Result<(), WorkError> {
        if rules == Rules::default() || topic.partitions.iter().all(|partition| partition.log_start == partition.next_offset) {
            return Ok(());
        }
        let sealed_rows = topic.partitions.iter().any(|partition| partition.sealed_end > partition.log_start);
        let sealed = if sealed_rows { Some(self.sealed_files(topic.id).await?) } else { None };
        let mut by_partition: std::collections::BTreeMap<i32, Vec<SealedUnit>> = std::collections::BTreeMap::new();
        let planned = topic.plans.values().filter_map(|plan| plan.file.as_ref());
        for file in sealed.iter().flat_map(|sealed| sealed.files.values()).chain(planned) {
            for range in &file.ranges {
                let came_ms = Day(file.ingest_day.saturating_add(1)).start_ms();
                let unit = Unit { end: range.end, time_ms: time_or(range.max_timestamp_ms, came_ms), bytes: range.sent_bytes };
                by_partition.entry(range.partition).or_default().push(SealedUnit { start: range.start, unit, came_ms });
            }
        }
        let now_ms = self.now_ms();
        let mut commands: Vec<Command> = Vec::new();
        for (number, partition) in (0..).zip(&topic.partitions) {
            let sealed = by_partition.remove(&number).unwrap_or_default();
            let mut units = sealed_units(sealed, partition.log_start, partition.sealed_end);
            units.extend(index_units(topic, partition, number));
            let sealed_end = if only_sealed { partition.sealed_end } else { i64::MAX };
            let limit = partition.last_stable_offset().min(sealed_end);
            if let Some(to) = new_log_start(&units, partition.log_start, limit, rules, now_ms) {
                commands.push(MoveLogStart { topic_id: topic.id.0.to_vec(), partition: number, to }.into());
            }
        }
        self.commit_all(commands).await
    }

    /// Sealed files that nobody can read through Kafka any more, if the topic does not keep them all the same.
    async fn drop_sealed(&self, topic_id: TopicId, rule: BronzeRule) -> Result<(), WorkError> {
        let Some(topic) = self.topic(topic_id) else { return Ok(()) };
        if topic.partitions.iter().all(|partition| partition.log_start == 0) {
            return Ok(());
        }
        let now_ms = self.now_ms();
        let sealed = self.sealed_files(topic_id).await?;
        let goes = |file: &&NewFile| !topic.plans.contains_key(&file.path) && rule.lets_go(&topic, file, now_ms);
        let gone = sealed.files.values().filter(goes);
        let gone: Vec<NewFile> = gone.cloned().collect();
        drop(topic);
        let known: Vec<NewFile> = {
            let view = self.cell.view();
            gone.into_iter().filter(|file| !view.garbage.contains_key(&file.path)).collect()
        };
        if known.is_empty() {
            return Ok(());
        }
        let lease = match self.lease(LeaseKind::Retention, &[]).await {
            Ok(lease) => lease,
            // It does that, and what it has dropped is to be forgotten here.
            Err(WorkError::LeaseElsewhere) => return Ok(()),
            Err(error) => return Err(error),
        };
        let drop_file = |file: NewFile| DropSealed { lease: lease.0, topic_id: topic_id.0.to_vec(), file: Some(file) }.into();
        self.commit_all(known.into_iter().map(drop_file).collect()).await
    }

    /// Rows of files that are on the garbage list: the second half of [`DropSealed`], also after a crash between the two.
    pub async fn remove_dropped_rows(&self, topic_id: TopicId) -> Result<(), WorkError> {
        let garbage: Vec<String> = {
            let view = self.cell.view();
            let Some(topic) = view.topics.get(&topic_id) else { return Ok(()) };
            garbage_of(&view, topic).cloned().collect()
        };
        if garbage.is_empty() {
            return Ok(());
        }
        let sealed = self.sealed_files(topic_id).await?;
        for file in garbage.iter().filter_map(|path| sealed.files.get(path)) {
            self.segment_index.remove(row_keys(topic_id, &file.ranges)).await?;
            self.forget_sealed(topic_id, &file.path);
        }
        Ok(())
    }

    /// Forgets producers that have been idle for long (Kafka's `producer.id.expiration.ms`).
    pub async fn expire_producers_once(&self) -> Result<(), WorkError> {
        let before_ms = self.now_ms().saturating_sub(millis(self.options.producer_expiry));
        let idle: Vec<ExpireProducer> = {
            let view = self.cell.view();
            let idle = view.producers.iter().filter(|(_, producer)| producer.last_active_ms < before_ms);
            let idle = idle.map(|(id, producer)| ExpireProducer { producer_id: *id, last_active: producer.last_active.0 });
            idle.take(limits::ENTRY_COMMANDS).collect()
        };
        for producers in idle.chunks(COMMIT_COMMANDS) {
            self.commit_one(ExpireProducers { producers: producers.to_vec() }).await?;
        }
        Ok(())
    }

    /// Commits commands that are independent of one another; refusals mean that something changed, the next round looks again.
    async fn commit_all(&self, commands: Vec<Command>) -> Result<(), WorkError> {
        for commands in commits_of(commands) {
            self.cell.submit(Submission { commands, ..Submission::default() }).await?;
        }
        Ok(())
    }
}

/// Splits commands so that each commit fits into an entry with room to spare: a command that names a file names every partition
/// in it, and an entry that is too large would be refused for ever.
fn commits_of(commands: Vec<Command>) -> Vec<Vec<Command>> {
    let mut commits = Vec::new();
    let (mut commit, mut bytes) = (Vec::new(), 0);
    for command in commands {
        let added = command_bytes(&command);
        if !commit.is_empty() && (commit.len() >= COMMIT_COMMANDS || bytes + added > COMMIT_BYTES) {
            commits.push(std::mem::take(&mut commit));
            bytes = 0;
        }
        bytes += added;
        commit.push(command);
    }
    if !commit.is_empty() {
        commits.push(commit);
    }
    commits
}

#[cfg(test)]
mod tests {
    use super::*;
    use strandline_commands::FileRange;

    fn drops(files: usize, partitions: i32) -> Vec<Command> {
        let range = |partition| FileRange { partition, start: 1 << 40, end: 1 << 41, rows: 1 << 40, ..FileRange::default() };
        let drop_file = |at: usize| DropSealed {
            lease: at as u64,
            topic_id: vec![7; 16],
            file: Some(NewFile { ranges: (0..partitions).map(range).collect(), ..NewFile::default() }),
        };
        (0..files).map(|at| drop_file(at).into()).collect()
    }

    #[test]
    fn commits_are_bounded_in_count_and_bytes_and_lose_nothing() {
        let few = drops(2_500, 1);
        assert_eq!(commits_of(few.clone()).iter().map(Vec::len).collect::<Vec<_>>(), [1_024, 1_024, 452]);
        assert_eq!(commits_of(few.clone()).concat(), few);
        let large = drops(600, 2_000);
        assert!(large.iter().map(command_bytes).sum::<usize>() > limits::ENTRY_BYTES);
        let commits = commits_of(large.clone());
        assert!(commits.iter().all(|commit| commit.iter().map(command_bytes).sum::<usize>() <= limits::ENTRY_BYTES / 4));
        assert_eq!(commits.concat(), large);
        assert!(commits_of(Vec::new()).is_empty());
    }
}
