//! Plan, build, put, say so, list, done; and the same again from wherever another left off.

use crate::convert::plan::ConversionPlan;
use crate::error::WorkError;
use crate::files::{file_ranges, new_file, preference, sent_bytes_of};
use crate::options::millis;
use crate::retain::{BronzeRule, Rules};
use crate::seal::extents::{planned_extents, sent_bytes_of_extents};
use crate::seal::policy::{SealTiming, boundary_ms, choose_inputs, seal_due};
use crate::sealed::row_keys;
use crate::shared::Shared;
use crate::work_memory::Urgency;
use std::collections::BTreeMap;
use strandline_bronze::{CoveredRange, PartitionSummary, SealedName, SegmentFooter, SegmentSpec, verify};
use strandline_commands::{LeaseKind, NewFile, SealDone, SealPlan, Sealed};
use strandline_index::{Outcome, Plan, Refusal, Topic};
use strandline_object_store::{GetError, ObjectInfo, Purpose, PutNewError, PutRule};
use strandline_segment_index::SealedRow;
use strandline_topic_config::TopicConfig;
use strandline_types::mutations::{Rule, holds};
use strandline_types::{LeaseNumber, Seq, TopicId, TopicPartition, limits};

/// What a planned file is made of.
struct PlannedFile {
    plan: Plan,
    spec: SegmentSpec,
    source: PlanSource,
    /// Bytes of the batches as they were sent, by partition.
    sent: BTreeMap<i32, u64>,
}

/// Where its rows come from.
enum PlanSource {
    /// Fresh segments; per partition, the offset below which rows are not kept.
    Fresh(Vec<NewFile>, Vec<(i32, i64)>),
    Extents(ConversionPlan),
}

/// What a look at a topic's seals led to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SealProgress {
    /// Paths of the files that were completed.
    pub sealed: Vec<String>,
}

impl Shared {
    /// Completes what is open, then seals what is due until nothing is; `force`, and where retention waits: everything that is there now, file
    /// by file, and nothing of what comes meanwhile.
    pub async fn seal_once(&self, topic_id: TopicId, force: bool) -> Result<SealProgress, WorkError> {
        let _one = self.sealing.lock().await;
        let mut progress = SealProgress::default();
        let ends: Option<Vec<i64>> = {
            let view = self.cell.view();
            let topic = view.topics.get(&topic_id).filter(|topic| force || self.timing(topic).is_waited_for);
            topic.map(|topic| topic.partitions.iter().map(|partition| partition.frontier).collect())
        };
        let forced = ends.as_deref();
        if self.open_plan(topic_id).is_none() && self.next_seal(topic_id, forced).is_none() {
            return Ok(progress);
        }
        if !force && forced.is_some() {
            // Also if another node has the lease, or this does not succeed: what is planned by then is completed with the next look.
            let steady_ms = self.steady_ms();
            self.memory().unsealed_since.insert(topic_id, steady_ms);
        }
        let lease = self.lease(LeaseKind::Seal, &topic_id.0).await?;
        let mut cut_again = !holds(Rule::C4);
        loop {
            if let Some(path) = self.open_plan(topic_id).filter(|_| !std::mem::take(&mut cut_again)) {
                self.complete(topic_id, lease, &path).await?;
                progress.sealed.push(path);
                continue;
            }
            let Some(inputs) = self.next_seal(topic_id, forced) else { break };
            let command = SealPlan { lease: lease.0, topic_id: topic_id.0.to_vec(), inputs };
            match self.commit_one(command).await?.0 {
                Outcome::Planned { .. } => {}
                _ => return Err(WorkError::Outcome { command: "SealPlan" }),
            }
        }
        self.remember_boundary(topic_id);
        self.memory().unsealed_since.remove(&topic_id);
        Ok(progress)
    }

    /// Whether there is something to complete or to seal in this topic.
    pub fn seal_wanted(&self, topic_id: TopicId) -> bool {
        let wanted = self.open_plan(topic_id).is_some() || self.next_seal(topic_id, None).is_some();
        if !wanted {
            self.remember_boundary(topic_id);
        }
        wanted
    }

    fn timing(&self, topic: &Topic) -> SealTiming {
        let config = TopicConfig::of(&topic.configs);
        let rules = Rules::of(&config);
        // Retention does not look more often than that.
        let least_ms = millis(self.options.retention_interval);
        let retention_ms = rules.retention_ms.filter(|_| BronzeRule::of(&config).outlasts(rules));
        SealTiming {
            interval_ms: config.bronze_seal_ms,
            is_waited_for: retention_ms.is_some_and(|retention_ms| self.unsealed_ms(topic.id) > retention_ms.max(least_ms)),
            file_bytes: self.options.sealed_file_bytes,
        }
    }

    /// How long it is that the topic has had fresh files and none was sealed, as far as this run has seen. Merges change nothing about it.
    fn unsealed_ms(&self, topic_id: TopicId) -> i64 {
        let since = self.memory().unsealed_since.get(&topic_id).copied();
        since.map_or(0, |since_ms| self.steady_ms().saturating_sub(since_ms))
    }

    fn remember_boundary(&self, topic_id: TopicId) {
        let now_ms = self.now_ms();
        let boundary = self.cell.view().topics.get(&topic_id).map(|topic| boundary_ms(topic_id, self.timing(topic), now_ms));
        if let Some(boundary) = boundary {
            self.memory().seal_boundaries.insert(topic_id, boundary);
        }
    }

    fn open_plan(&self, topic_id: TopicId) -> Option<String> {
        self.cell.view().topics.get(&topic_id)?.plans.keys().next().cloned()
    }

    /// The inputs of the next file, if one is due, or before the `forced` ends.
    fn next_seal(&self, topic_id: TopicId, forced: Option<&[i64]>) -> Option<Vec<String>> {
        let now_ms = self.now_ms();
        let seen = self.memory().seal_boundaries.get(&topic_id).copied();
        // What follows looks at every file of every partition: not while the fold waits for the view.
        let topic = &*self.topic(topic_id)?;
        if topic.fresh.is_empty() {
            self.memory().unsealed_since.remove(&topic_id);
            return None;
        }
        let steady_ms = self.steady_ms();
        self.memory().unsealed_since.entry(topic_id).or_insert(steady_ms);
        let timing = self.timing(topic);
        // Where the index has no room for much more, a seal is what makes some: nothing waits for its hour then.
        let crowded = self.cell.view().fill.file_bytes >= limits::FILES_BYTES / 2;
        let everything = vec![i64::MAX; if crowded { topic.partitions.len() } else { 0 }];
        let forced = forced.or(crowded.then_some(everything.as_slice()));
        let (day, _) = seal_due(topic, timing, now_ms, seen, forced)?;
        let inputs = choose_inputs(topic, day, timing.file_bytes, forced);
        let paths: Vec<String> = inputs.iter().filter_map(|name| Some(topic.fresh.get(name)?.file.path.clone())).collect();
        (!paths.is_empty()).then_some(paths)
    }

    /// Steps 4 to 7 of one plan, from wherever it stands.
    async fn complete(&self, topic_id: TopicId, lease: LeaseNumber, path: &str) -> Result<(), WorkError> {
        let Some(planned) = self.planned(topic_id, path) else { return Ok(()) };
        let plan = planned.plan.clone();
        let (file, summaries) = match &plan.file {
            Some(file) => (file.clone(), None),
            None => {
                // 4: the plan is in the bucket before its object is.
                if holds(Rule::C8) {
                    self.copied_up_to(plan.since).await?;
                }
                let (file, summaries) = self.put_planned(path, planned).await?;
                // 5
                let command = Sealed { lease: lease.0, topic_id: topic_id.0.to_vec(), file: Some(file.clone()) };
                self.commit_one(command).await?;
                metrics::counter!("strandline_sealed_segments_total").increment(1);
                metrics::counter!("strandline_sealed_bytes_total").increment(file.size);
                (file, Some(summaries))
            }
        };
        let summaries = match summaries {
            Some(summaries) => summaries,
            None => self.summaries_of(topic_id, path, file.size).await?,
        };
        if !holds(Rule::C2) {
            self.seal_done(topic_id, lease, path).await?;
            return self.put_rows(topic_id, &file, &summaries, plan.since).await;
        }
        // 6
        self.put_rows(topic_id, &file, &summaries, plan.since).await?;
        // 7
        self.seal_done(topic_id, lease, path).await
    }

    async fn seal_done(&self, topic_id: TopicId, lease: LeaseNumber, path: &str) -> Result<(), WorkError> {
        let done = SealDone { lease: lease.0, topic_id: topic_id.0.to_vec(), path: path.to_owned() };
        match self.commit_one(done).await {
            Ok(_) => Ok(()),
            // Another try of ours was folded after all.
            Err(WorkError::Refused(Refusal::Superseded { .. })) if self.open_plan(topic_id).as_deref() != Some(path) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn planned(&self, topic_id: TopicId, path: &str) -> Option<PlannedFile> {
        let view = self.cell.view();
        let topic = view.topics.get(&topic_id)?;
        let plan = topic.plans.get(path)?.clone();
        let covered =
            plan.ranges.iter().map(|range| CoveredRange { partition: range.partition, start: range.start, end: range.end });
        let mut covered: Vec<CoveredRange> = covered.collect();
        covered.sort_by_key(|range| range.partition);
        let spec = SegmentSpec {
            topic: topic.name.clone(),
            topic_id,
            covered,
            plan: path.to_owned(),
            key: preference(topic.key_format),
            value: preference(topic.value_format),
        };
        if plan.is_over_extents() {
            let extents = planned_extents(topic, &plan);
            let sent = sent_bytes_of_extents(&extents);
            return Some(PlannedFile { plan, spec, source: PlanSource::Extents(extents), sent });
        }
        let inputs: Vec<NewFile> = plan.inputs.iter().filter_map(|name| Some(topic.fresh.get(name)?.file.clone())).collect();
        let sent = sent_bytes_of(&inputs, topic);
        Some(PlannedFile { plan, spec, source: PlanSource::Fresh(inputs, log_starts(topic)), sent })
    }

    /// Puts the planned object, or finds the one that is there already: then that one is the truth.
    async fn put_planned(&self, path: &str, planned: PlannedFile) -> Result<(NewFile, Vec<PartitionSummary>), WorkError> {
        let PlannedFile { plan, spec, source, sent } = planned;
        let (plan, sent) = (&plan, &sent);
        let mut rule = PutRule::New;
        match self.objects.head(Purpose::Seal, path).await {
            Ok(found) => match self.adopt(path, plan, sent).await {
                Err(WorkError::Foreign { reason, .. }) => rule = self.set_foreign_aside(path, &found, &reason).await?,
                adopted => return adopted,
            },
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
        let started = self.cell.runtime().clock.monotonic();
        let rewritten = match source {
            PlanSource::Fresh(inputs, keep_from) => self.rewrite(Purpose::Seal, inputs, spec, keep_from, rule).await,
            PlanSource::Extents(extents) => self.write_extents(&extents, spec, rule).await,
        };
        let elapsed = self.cell.runtime().clock.monotonic().saturating_sub(started);
        metrics::histogram!("strandline_seal_seconds").record(elapsed.as_secs_f64());
        match rewritten {
            Ok(segment) => Ok((new_file(path, plan.ingest_day, &segment, sent), segment.partitions)),
            Err(WorkError::Put(PutNewError::Taken { path: taken, .. })) if taken == path => self.adopt(path, plan, sent).await,
            Err(error) => Err(error),
        }
    }

    /// Keeps a copy of an object that nobody of ours put under a planned name, and says how its place is taken: a plan is only ever
    /// completed, under its name, and what lies there answers for nothing, since no `Sealed` has named it.
    ///
    /// Create-only could not be kept here, so the new object replaces exactly the one that was looked at, by its tag, in one step. Had
    /// another holder of the lease put a sound file meanwhile (the fold would refuse ours, but it may have been committed), its tag is
    /// another one, nothing is replaced, and the next look adopts it. A folder has one process, which compares and renames under a lock,
    /// and nothing deletes the name of an open plan; S3 does the same with a put on the condition `If-Match`. A put of an earlier
    /// holder that comes late is create-only and finds the name taken.
    async fn set_foreign_aside(&self, path: &str, found: &ObjectInfo, reason: &str) -> Result<PutRule, WorkError> {
        metrics::counter!("strandline_foreign_objects_total").increment(1);
        let checksum = self.objects.checksum(Purpose::Seal, path).await?;
        let aside = format!("corrupt/{path}-{:08x}", checksum.crc32c);
        tracing::error!(
            path,
            aside,
            reason,
            "another object lies under the name of a planned file: it is kept under corrupt/ and the planned file takes its place"
        );
        let mut copy = self.objects.new_object(Purpose::Seal, &aside, PutRule::New)?;
        let mut at = 0;
        while at < found.size {
            let end = (at + limits::BLOCK_BYTES as u64).min(found.size);
            copy.push(vec![self.objects.get_range(Purpose::Seal, path, at..end).await?]).await?;
            at = end;
        }
        copy.finish().await?;
        let again = self.objects.head(Purpose::Seal, path).await?;
        match again.e_tag.filter(|e_tag| found.e_tag.as_ref() == Some(e_tag)) {
            Some(e_tag) => Ok(PutRule::Instead { e_tag }),
            // It is another one now, or the store has no tags: nothing is replaced blindly.
            None => Err(WorkError::Foreign { path: path.to_owned(), reason: reason.to_owned() }),
        }
    }

    /// The object that lies under a planned name, read through and checked.
    async fn adopt(
        &self,
        path: &str,
        plan: &Plan,
        sent: &BTreeMap<i32, u64>,
    ) -> Result<(NewFile, Vec<PartitionSummary>), WorkError> {
        let size = self.objects.head(Purpose::Seal, path).await?.size;
        let _memory = self.work_memory.take(Urgency::Upkeep, size).await;
        let bytes = match self.objects.get(Purpose::Seal, path).await {
            Err(error @ GetError::TooLarge { .. }) => {
                return Err(WorkError::Foreign { path: path.to_owned(), reason: error.to_string() });
            }
            got => got?,
        };
        let foreign = |reason: String| WorkError::Foreign { path: path.to_owned(), reason };
        let (name, checked) = (path.to_owned(), bytes.clone());
        let work = move || verify(&name, &[checked], None);
        let report = self.cell.runtime().spawner.background("verify", work).await?;
        if !report.is_sound() {
            return Err(foreign(report.problems.join("; ")));
        }
        let footer = SegmentFooter::parse(path, bytes.len() as u64, &bytes).map_err(|error| foreign(error.to_string()))?;
        let cover = |ranges: Vec<(i32, i64, i64)>| ranges.into_iter().collect::<std::collections::BTreeSet<_>>();
        let planned = cover(plan.ranges.iter().map(|range| (range.partition, range.start, range.end)).collect());
        let found = cover(footer.partitions().iter().map(|range| (range.partition, range.start, range.end)).collect());
        if planned != found || footer.plan_name() != path {
            return Err(foreign("it covers other offsets".to_owned()));
        }
        let file = NewFile {
            path: path.to_owned(),
            size: report.file_bytes,
            crc32c: report.crc32c,
            rows: report.rows,
            record_bytes: report.record_bytes,
            ingest_day: plan.ingest_day,
            ranges: file_ranges(footer.partitions(), sent),
        };
        // It is seen, and may not be on disk yet: who put it may have died before. 'Exists already' says that it is.
        self.objects.put_new_in_parts(Purpose::Seal, path, bytes).await?;
        Ok((file, footer.partitions().to_vec()))
    }

    /// The footer of an object of this size.
    pub(crate) async fn footer_of(&self, path: &str, size: u64) -> Result<SegmentFooter, WorkError> {
        let footer = self.parse_footer(Purpose::Seal, path, size).await?;
        footer.map_err(|error| WorkError::Foreign { path: path.to_owned(), reason: error.to_string() })
    }

    /// What the footer of a file that was committed says of its partitions. If it was damaged since, nothing: its rows are put all the
    /// same, without what only the footer knows, so that reads of it fail and nothing else waits for it.
    async fn summaries_of(&self, topic_id: TopicId, path: &str, size: u64) -> Result<Vec<PartitionSummary>, WorkError> {
        let error = match self.footer_of(path, size).await {
            Ok(footer) => return Ok(footer.partitions().to_vec()),
            Err(error @ WorkError::Foreign { .. }) => error,
            Err(WorkError::Get(error)) if !error.is_retriable() => error.into(),
            Err(error) => return Err(error),
        };
        self.cell.barrier().await?;
        if self.planned(topic_id, path).is_none() {
            // Its topic was deleted, and the file with it.
            return Err(error);
        }
        tracing::error!(
            path,
            %error,
            "a file was damaged between its seal and its listing: reads of it fail until the whole file is put back from a backup"
        );
        Ok(Vec::new())
    }

    /// The file's rows, each where its key is free or of a lower generation.
    async fn put_rows(
        &self,
        topic_id: TopicId,
        file: &NewFile,
        summaries: &[PartitionSummary],
        planned: Seq,
    ) -> Result<(), WorkError> {
        let generation = file.path.parse::<SealedName>().map_or(0, |name| name.generation);
        let rows = file.ranges.iter().map(|range| {
            let at = summaries.binary_search_by_key(&range.partition, |summary| summary.partition);
            let summary = at.ok().map(|at| &summaries[at]);
            SealedRow {
                topic_partition: TopicPartition { topic_id, partition: range.partition },
                start_offset: range.start,
                end_offset: range.end,
                path: file.path.clone(),
                generation,
                size: file.size,
                crc32c: file.crc32c,
                rows: range.rows,
                first_row: range.first_row,
                row_group: summary.and_then(|summary| summary.row_group).unwrap_or(0),
                min_timestamp_ms: summary.and_then(|summary| summary.timestamps).map_or(-1, |timestamps| timestamps.min_ms),
                max_timestamp_ms: range.max_timestamp_ms,
                max_timestamp_offset: range.max_timestamp_offset,
                sent_bytes: range.sent_bytes,
                // The plan's seq, not that of `Sealed`: whoever repeats this step writes the same row.
                sealed_seq: planned,
            }
        });
        let outcome = self.segment_index.put(rows.collect()).await?;
        if !outcome.differing.is_empty() {
            tracing::error!(
                path = file.path,
                rows = outcome.differing.len(),
                "the segment index holds other rows under the keys of this file"
            );
        }
        debug_assert_eq!(row_keys(topic_id, &file.ranges).len(), file.ranges.len());
        self.remember_sealed(topic_id, file);
        Ok(())
    }
}

/// Per partition, the offset below which rows are not kept.
pub(crate) fn log_starts(topic: &Topic) -> Vec<(i32, i64)> {
    (0..).zip(&topic.partitions).map(|(number, partition)| (number, partition.log_start)).collect()
}
