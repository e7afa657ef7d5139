//! One conversion, from the plan to the commit.

use crate::convert::decode::{Quarantined, WantedFormats, write_segment};
use crate::convert::plan::{Backlog, ConversionPlan, backlog, plan_conversion};
use crate::error::WorkError;
use crate::files::new_file;
use crate::options::millis;
use crate::shared::Shared;
use bytes::Bytes;
use std::collections::BTreeMap;
use strandline_bronze::{Format as WantedFormat, fresh_path};
use strandline_commands::{Convert, LeaseKind};
use strandline_extents::ExtentError;
use strandline_index::{Extent, ExtentPlace};
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
}

impl Shared {
    /// Topics with stable extents and when each is due; the most urgent first.
    pub fn conversions_due(&self) -> Vec<ConvertDue> {
        let view = self.cell.view();
        let (mut bytes, mut blocked, mut oldest_ms) = (0, 0, None::<i64>);
        let mut due: Vec<ConvertDue> = Vec::new();
        for topic in view.topics.values() {
            let backlog = backlog(topic);
            bytes += backlog.bytes + backlog.pinned_bytes;
            blocked += backlog.blocked_bytes;
            let Some(topic_oldest_ms) = backlog.oldest_ms else { continue };
            oldest_ms = Some(oldest_ms.map_or(topic_oldest_ms, |oldest| oldest.min(topic_oldest_ms)));
            // Half for waiting, half for the conversion itself and the manifest.
            let wait_ms = millis(TopicConfig::of(&topic.configs).bronze_freshness) / 2;
            let enough = backlog.bytes >= self.options.conversion_bytes || backlog.extents >= limits::CONVERSION_EXTENTS as u64;
            // A clock that was ahead has left its time in the log: that would put conversions off until it has come.
            let ahead = topic_oldest_ms > self.now_ms().saturating_add(wait_ms);
            let due_ms = if enough || ahead { i64::MIN } else { topic_oldest_ms.saturating_add(wait_ms) };
            due.push(ConvertDue { topic_id: topic.id, due_ms, backlog });
        }
        drop(view);
        metrics::gauge!("strandline_conversion_backlog_bytes").set(bytes as f64);
        metrics::gauge!("strandline_conversion_blocked_bytes").set(blocked as f64);
        let age_ms = oldest_ms.map_or(0, |oldest| self.now_ms().saturating_sub(oldest).max(0));
        metrics::gauge!("strandline_conversion_backlog_seconds").set(age_ms as f64 / 1_000.0);
        due.sort_by_key(|due| (due.due_ms, due.backlog.oldest_ms));
        due
    }

    /// Converts the oldest stable extents of a topic, or plans a sealed file of them where they fill one. False if there is nothing
    /// stable.
    pub async fn convert_once(&self, topic_id: TopicId) -> Result<bool, WorkError> {
        let _one = self.converting.lock().await;
        let wanted = {
            let view = self.cell.view();
            let Some(topic) = view.topics.get(&topic_id) else { return Ok(false) };
            let config = TopicConfig::of(&topic.configs);
            WantedFormats { key: wanted(config.key_format), value: wanted(config.value_format) }
        };
        if self.plan_extents(topic_id, wanted).await? {
            return Ok(true);
        }
        let planned = {
            let view = self.cell.view();
            view.topics.get(&topic_id).and_then(|topic| plan_conversion(topic, self.options.conversion_bytes))
        };
        let Some(plan) = planned else { return Ok(false) };
        let lease = self.lease(LeaseKind::Convert, &topic_id.0).await?;
        let started = self.cell.runtime().clock.monotonic();
        let oldest_ms = plan.inputs.iter().flat_map(|input| &input.extents).map(|extent| extent.ingest_ms).min();
        let (bytes, unreadable) = self.conversion_bytes(&plan).await?;
        let path = fresh_path(&plan.topic, topic_id, self.cell.name_object());
        let (plan, result) = {
            let path = path.clone();
            let work = move || {
                let result = write_segment(&plan, &bytes, wanted, &path, unreadable);
                (plan, result)
            };
            self.cell.runtime().spawner.blocking("convert", work).await?
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
        metrics::counter!("strandline_bronze_rows").increment(rows);
        metrics::counter!("strandline_bronze_bytes").increment(size);
        metrics::counter!("strandline_bronze_segments").increment(1);
        if let Some(oldest_ms) = oldest_ms {
            let age_ms = self.now_ms().saturating_sub(oldest_ms).max(0);
            metrics::histogram!("strandline_bronze_freshness_seconds").record(age_ms as f64 / 1_000.0);
        }
        Ok(true)
    }

    /// The bytes of every extent of a plan, in order; what is damaged is set aside and left out.
    pub(crate) async fn conversion_bytes(&self, plan: &ConversionPlan) -> Result<(Vec<Bytes>, Vec<Quarantined>), WorkError> {
        // What lies wholly below the log start is covered without being read.
        let needed: Vec<(i32, i64, Extent)> = plan
            .inputs
            .iter()
            .flat_map(|input| input.extents.iter().map(|extent| (input.partition, input.log_start, *extent)))
            .map(|(partition, log_start, extent)| {
                let length = if extent.end <= log_start { 0 } else { extent.length };
                (partition, log_start, Extent { length, ..extent })
            })
            .collect();
        let extents: Vec<Extent> = needed.iter().map(|(.., extent)| *extent).collect();
        match self.extents.bytes_of(&extents).await {
            Ok(bytes) => return Ok((bytes, Vec::new())),
            Err(ExtentError::Damaged { .. }) => {}
            Err(error) => {
                let (partition, start) = needed.first().map_or((-1, -1), |(partition, _, extent)| (*partition, extent.start));
                return Err(WorkError::Extents { topic: plan.topic.clone(), partition, start, reason: error.to_string() });
            }
        }
        let mut found = Vec::with_capacity(needed.len());
        let mut damaged = Vec::new();
        for (partition, _, extent) in needed {
            match self.extents.bytes(&extent).await {
                Ok(bytes) => found.push(bytes),
                Err(error @ ExtentError::Damaged { .. }) => {
                    let bytes = self.raw_extent(&extent).await.unwrap_or_default();
                    let reason = error.to_string();
                    damaged.push(Quarantined { partition, start: extent.start, end: extent.end, bytes, reason });
                    found.push(Bytes::new());
                }
                Err(error) => return Err(unreadable(&plan.topic, partition, &extent, &error)),
            }
        }
        Ok((found, damaged))
    }

    /// The bytes of one extent, checked.
    pub(crate) async fn extent_bytes(&self, partition: TopicPartition, extent: &Extent) -> Result<Bytes, WorkError> {
        let topic = partition.topic_id.to_string();
        self.extents.bytes(extent).await.map_err(|error| unreadable(&topic, partition.partition, extent, &error))
    }

    /// The bytes of an extent as they lie there, whatever they are.
    async fn raw_extent(&self, extent: &Extent) -> Option<Bytes> {
        match extent.place {
            ExtentPlace::Inline { seq, position } => {
                self.cell.log().read_payload(seq, position..position.checked_add(extent.length)?).await.ok()
            }
            ExtentPlace::Object { name, position } => {
                let range = position..position.checked_add(extent.length)?;
                self.objects.get_range(Purpose::Fresh, &format!("wal/{name}"), range).await.ok()
            }
            ExtentPlace::Marker { .. } | ExtentPlace::Hole => None,
        }
    }

    /// Keeps what cannot become rows under `corrupt/`, and says so loudly.
    pub(crate) async fn set_aside(&self, plan: &ConversionPlan, quarantined: &Quarantined) -> Result<(), WorkError> {
        let Quarantined { partition, start, end, bytes, reason } = quarantined;
        metrics::counter!("strandline_corrupt_batches").increment(1);
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
