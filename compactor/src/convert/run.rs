//! One conversion, from the plan to the commit.

use crate::convert::decode::{Quarantined, WantedFormats, write_segment};
use crate::convert::plan::{Backlog, ConversionPlan, PartitionInput, backlog, plan_conversion};
use crate::convert::unreadable::Failure;
use crate::error::WorkError;
use crate::files::new_file;
use crate::options::millis;
use crate::shared::Shared;
use crate::work_memory::{Urgency, writer_bytes};
use bytes::Bytes;
use std::collections::BTreeMap;
use strandline_bronze::{Format as WantedFormat, fresh_path};
use strandline_commands::{Convert, LeaseKind, Lost};
use strandline_extents::{Damaged, ExtentError, Salvaged};
use strandline_index::{Extent, Refusal};
use strandline_object_store::{Purpose, crc32c};
use strandline_topic_config::{FormatPreference, TopicConfig};
use strandline_types::{TopicId, TopicPartition, limits};

/// A topic with something to convert, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConvertDue {
    pub topic_id: TopicId,
    /// The time of day from which it is due.
    pub due_ms: i64,
    pub backlog: Backlog,
    /// Which of this node's conversions was the topic's last; 0 for none.
    pub begun: u64,
}

impl Shared {
    /// Topics with stable extents and when each is due; the most urgent first.
    pub fn conversions_due(&self) -> Vec<ConvertDue> {
        let view = self.cell.view();
        let (mut bytes, mut blocked, mut oldest_ms) = (0, 0, None::<i64>);
        let mut due: Vec<ConvertDue> = Vec::new();
        let (now_ms, steady_ms) = (self.now_ms(), self.steady_ms());
        self.memory().unreadable.retain(|topic_id, partition, extent| {
            let state = view.topics.get(&topic_id).and_then(|topic| topic.partition(partition));
            state.is_some_and(|state| state.has_extent(extent))
        });
        for topic in view.topics.values() {
            let (held_back, next_try_ms, begun) = {
                let memory = self.memory();
                let begun = memory.conversions_begun.get(&topic.id).copied().unwrap_or(0);
                (memory.unreadable.held_back(topic.id, steady_ms), memory.unreadable.next_try_ms(topic.id), begun)
            };
            let backlog = backlog(topic, &held_back);
            bytes += backlog.bytes + backlog.pinned_bytes;
            blocked += backlog.blocked_bytes;
            let try_ms = next_try_ms.map_or(i64::MAX, |try_ms| now_ms.saturating_add(try_ms.saturating_sub(steady_ms)));
            let Some(topic_oldest_ms) = backlog.oldest_ms else {
                if next_try_ms.is_some_and(|try_ms| try_ms > steady_ms) {
                    due.push(ConvertDue { topic_id: topic.id, due_ms: try_ms, backlog, begun });
                }
                continue;
            };
            oldest_ms = Some(oldest_ms.map_or(topic_oldest_ms, |oldest| oldest.min(topic_oldest_ms)));
            // Half for waiting, half for the conversion itself and the manifest.
            let wait_ms = millis(TopicConfig::of(&topic.configs).bronze_freshness) / 2;
            let enough = backlog.bytes >= self.options.conversion_bytes || backlog.extents >= limits::CONVERSION_EXTENTS as u64;
            // A clock that was ahead has left its time in the log: that would put conversions off until it has come.
            let ahead = topic_oldest_ms > now_ms.saturating_add(wait_ms);
            let due_ms = if enough || ahead { i64::MIN } else { topic_oldest_ms.saturating_add(wait_ms).min(try_ms) };
            due.push(ConvertDue { topic_id: topic.id, due_ms, backlog, begun });
        }
        drop(view);
        metrics::gauge!("strandline_conversion_backlog_bytes").set(bytes as f64);
        metrics::gauge!("strandline_conversion_blocked_bytes").set(blocked as f64);
        metrics::gauge!("strandline_unreadable_extents").set(self.memory().unreadable.count() as f64);
        let age_ms = oldest_ms.map_or(0, |oldest| self.now_ms().saturating_sub(oldest).max(0));
        metrics::gauge!("strandline_conversion_backlog_seconds").set(age_ms as f64 / 1_000.0);
        due.sort_by_key(|due| (due.due_ms, due.backlog.oldest_ms));
        due
    }

    /// Converts the oldest stable extents of a topic, as far as they can be read, or plans a sealed file of them where they fill one. False
    /// if there is nothing to convert.
    pub async fn convert_once(&self, topic_id: TopicId) -> Result<bool, WorkError> {
        let _one = self.converting.lock().await;
        let wanted = {
            let view = self.cell.view();
            let Some(topic) = view.topics.get(&topic_id) else { return Ok(false) };
            self.memory().conversion_begins(topic_id);
            let config = TopicConfig::of(&topic.configs);
            WantedFormats { key: wanted(config.key_format), value: wanted(config.value_format) }
        };
        if self.plan_extents(topic_id, wanted).await? {
            return Ok(true);
        }
        let planned = {
            let held_back = self.memory().unreadable.held_back(topic_id, self.steady_ms());
            let view = self.cell.view();
            view.topics.get(&topic_id).and_then(|topic| plan_conversion(topic, self.options.conversion_bytes, &held_back))
        };
        let Some(mut plan) = planned else { return Ok(false) };
        let lease = self.lease(LeaseKind::Convert, &topic_id.0).await?;
        // Records may be compressed; more than a few times as large they rarely get.
        let _memory = self.work_memory.take(Urgency::Fresh, plan.bytes + writer_bytes(plan.bytes)).await;
        let started = self.cell.runtime().clock.monotonic();
        let oldest_ms = plan.inputs.iter().flat_map(|input| &input.extents).map(|extent| extent.ingest_ms).min();
        let bytes = self.conversion_bytes(&mut plan).await?;
        if plan.inputs.is_empty() {
            return Ok(false);
        }
        let path = fresh_path(&plan.topic, topic_id, self.cell.name_object());
        let (plan, result) = {
            let path = path.clone();
            let work = move || {
                let result = write_segment(&plan, &bytes, wanted, &path);
                (plan, result)
            };
            self.cell.runtime().spawner.background("convert", work).await?
        };
        let converted = result.map_err(|error| WorkError::Write { path: path.clone(), reason: error.to_string() })?;
        for quarantined in &converted.quarantined {
            self.set_aside(&plan, quarantined).await?;
        }
        let sent: BTreeMap<i32, u64> =
            plan.inputs.iter().map(|input| (input.partition, input.extents.iter().map(|extent| extent.length).sum())).collect();
        let segment = converted.segment;
        let file = new_file(&path, plan.day, &segment, &sent);
        let (rows, size) = (file.rows, file.size);
        self.objects.put_new(Purpose::Fresh, &path, segment.bytes, segment.crc32c).await?;
        let command = Convert {
            lease: lease.0,
            topic_id: topic_id.0.to_vec(),
            file: Some(file),
            key_format: converted.key_format,
            value_format: converted.value_format,
        };
        self.commit_one(command).await?;
        let elapsed = self.cell.runtime().clock.monotonic().saturating_sub(started);
        metrics::histogram!("strandline_convert_seconds").record(elapsed.as_secs_f64());
        metrics::counter!("strandline_bronze_rows_total").increment(rows);
        metrics::counter!("strandline_bronze_bytes_total").increment(size);
        metrics::counter!("strandline_bronze_segments_total").increment(1);
        if let Some(oldest_ms) = oldest_ms {
            let age_ms = self.now_ms().saturating_sub(oldest_ms).max(0);
            metrics::histogram!("strandline_bronze_freshness_seconds").record(age_ms as f64 / 1_000.0);
        }
        Ok(true)
    }

    /// The bytes of every extent of a plan, in order. What cannot be read is left out with all that follows it in its partition, and the
    /// plan follows.
    pub(crate) async fn conversion_bytes(&self, plan: &mut ConversionPlan) -> Result<Vec<Bytes>, WorkError> {
        // What lies wholly below the log start is covered without being read.
        let needed = |input: &PartitionInput| -> Vec<Extent> {
            let log_start = input.log_start;
            let extents = input.extents.iter();
            extents.map(|extent| Extent { length: if extent.end <= log_start { 0 } else { extent.length }, ..*extent }).collect()
        };
        let extents: Vec<Extent> = plan.inputs.iter().flat_map(needed).collect();
        if let Ok(bytes) = self.extents.bytes_of(&extents).await {
            for input in &plan.inputs {
                self.note_read(plan.topic_id, input, &[]);
            }
            return Ok(bytes);
        }
        let mut found = Vec::with_capacity(extents.len());
        let mut inputs = Vec::with_capacity(plan.inputs.len());
        for mut input in std::mem::take(&mut plan.inputs) {
            let extents = needed(&input);
            if let Ok(bytes) = self.extents.bytes_of(&extents).await {
                self.note_read(plan.topic_id, &input, &[]);
                found.extend(bytes);
                inputs.push(input);
                continue;
            }
            let mut failed = Vec::new();
            for (extent, original) in extents.iter().zip(&input.extents) {
                match self.sound_bytes(plan.topic_id, input.partition, extent, original).await {
                    Ok(Salvaged { bytes, damaged }) if failed.is_empty() => {
                        if let Some(Damaged { offsets, bytes }) = damaged {
                            let (partition, start, end) = (input.partition, offsets.start, offsets.end);
                            let reason = "it is not what was sent".to_owned();
                            self.set_aside(plan, &Quarantined { partition, start, end, bytes, reason }).await?;
                        }
                        found.push(bytes);
                    }
                    // It waits for the one before it.
                    Ok(_) => {}
                    Err(error) => failed.push((*original, self.failure(plan, input.partition, original, &error).await?)),
                }
            }
            for given_up in self.note_read(plan.topic_id, &input, &failed) {
                self.give_up(plan, input.partition, &given_up).await?;
            }
            if let Some((first, _)) = failed.first() {
                input.extents.retain(|extent| extent.start < first.start);
                input.end = first.start;
            }
            if !input.extents.is_empty() {
                inputs.push(input);
            }
        }
        plan.bytes = inputs.iter().flat_map(|input| &input.extents).map(|extent| extent.length).sum();
        plan.inputs = inputs;
        Ok(found)
    }

    /// The bytes of an extent; of one that was given up, those that are sound.
    async fn sound_bytes(
        &self,
        topic_id: TopicId,
        partition: i32,
        extent: &Extent,
        original: &Extent,
    ) -> Result<Salvaged, ExtentError> {
        match self.extents.bytes(extent).await {
            Ok(bytes) => Ok(Salvaged { bytes, damaged: None }),
            Err(error @ ExtentError::Damaged { .. }) => {
                let is_salvaged = self.memory().unreadable.is_salvaged(topic_id, partition, original);
                if is_salvaged { self.extents.salvaged(extent).await } else { Err(error) }
            }
            Err(error) => Err(error),
        }
    }

    fn note_read(&self, topic_id: TopicId, input: &PartitionInput, failed: &[(Extent, Failure)]) -> Vec<Extent> {
        let (first_wait_ms, now_ms) = (millis(self.options.backoff), self.steady_ms());
        self.memory().unreadable.note(topic_id, input.partition, input.end, failed, first_wait_ms, now_ms)
    }

    /// What it means that an extent could not be read.
    async fn failure(
        &self,
        plan: &ConversionPlan,
        partition: i32,
        extent: &Extent,
        error: &ExtentError,
    ) -> Result<Failure, WorkError> {
        tracing::warn!(
            topic = plan.topic,
            partition,
            start = extent.start,
            end = extent.end,
            %error,
            "records could not be read for their conversion: their partition waits, they are tried again"
        );
        let is_missing = match error {
            ExtentError::Unavailable { .. } => return Ok(Failure::Unavailable),
            ExtentError::Damaged { .. } => false,
            ExtentError::Missing { .. } => true,
        };
        if is_missing {
            // To be missing it must be named by a view that is no older than the look.
            self.cell.barrier().await?;
            let view = self.cell.view();
            let state = view.topics.get(&plan.topic_id).and_then(|topic| topic.partition(partition));
            if !state.is_some_and(|state| state.has_extent(extent)) {
                return Err(Refusal::Superseded { what: "the extent lies elsewhere by now" }.into());
            }
        }
        Ok(Failure::Lost)
    }

    /// Keeps what there is of an extent whose bytes are gone or damaged, and makes its offsets a hole: the topic goes on. Of one that is
    /// damaged in part the sound batches become rows with the next conversion, and the offsets of the others a hole there.
    async fn give_up(&self, plan: &ConversionPlan, partition: i32, extent: &Extent) -> Result<(), WorkError> {
        let error = match self.extents.bytes(extent).await {
            Err(error @ (ExtentError::Missing { .. } | ExtentError::Damaged { .. })) => error,
            Ok(_) | Err(ExtentError::Unavailable { .. }) => return Ok(()),
        };
        if matches!(error, ExtentError::Damaged { .. }) {
            match self.extents.salvaged(extent).await {
                Ok(_) => {
                    self.memory().unreadable.salvage(plan.topic_id, partition, *extent);
                    return Ok(());
                }
                Err(ExtentError::Unavailable { .. }) => return Ok(()),
                Err(ExtentError::Missing { .. } | ExtentError::Damaged { .. }) => {}
            }
        }
        let bytes = match self.extents.raw(extent).await {
            Ok(bytes) => bytes,
            Err(ExtentError::Unavailable { .. }) => return Ok(()),
            Err(ExtentError::Missing { .. } | ExtentError::Damaged { .. }) => Bytes::new(),
        };
        metrics::counter!("strandline_lost_extents_total").increment(1);
        let quarantined = Quarantined { partition, start: extent.start, end: extent.end, bytes, reason: error.to_string() };
        self.set_aside(plan, &quarantined).await?;
        let topic_id = plan.topic_id.0.to_vec();
        self.commit_one(Lost { topic_id, partition, start: extent.start, end: extent.end }).await?;
        Ok(())
    }

    /// The bytes of one extent, checked.
    pub(crate) async fn extent_bytes(&self, partition: TopicPartition, extent: &Extent) -> Result<Bytes, WorkError> {
        let topic = partition.topic_id.to_string();
        self.extents.bytes(extent).await.map_err(|error| unreadable(&topic, partition.partition, extent, &error))
    }

    /// Keeps what cannot become rows under `corrupt/`, and says so loudly.
    pub(crate) async fn set_aside(&self, plan: &ConversionPlan, quarantined: &Quarantined) -> Result<(), WorkError> {
        let Quarantined { partition, start, end, bytes, reason } = quarantined;
        metrics::counter!("strandline_corrupt_batches_total").increment(1);
        if bytes.is_empty() {
            tracing::error!(topic = plan.topic, partition, start, end, reason, "records are lost: their offsets are a hole");
            return Ok(());
        }
        let chunks = vec![bytes.clone()];
        let crc = crc32c(&chunks);
        // A name that follows from what it holds: a conversion that is tried again keeps it once.
        let (topic, id8) = (&plan.topic, plan.topic_id.id8());
        let path = format!("corrupt/{topic}/{id8}/p{partition:05}-o{start:020}-{end:020}-{crc:08x}");
        tracing::error!(
            topic = plan.topic,
            partition,
            start,
            end,
            path,
            reason,
            "records could not be converted: their bytes were set aside and their offsets are a hole in bronze"
        );
        Ok(self.objects.put_new(Purpose::Fresh, &path, chunks, crc).await?)
    }
}

fn wanted(format: FormatPreference) -> WantedFormat {
    match format {
        FormatPreference::Auto => WantedFormat::Auto,
        FormatPreference::Text => WantedFormat::Text,
        FormatPreference::Binary => WantedFormat::Binary,
    }
}

fn unreadable(topic: &str, partition: i32, extent: &Extent, error: &ExtentError) -> WorkError {
    WorkError::Extents { topic: topic.to_owned(), partition, start: extent.start, reason: error.to_string() }
}
