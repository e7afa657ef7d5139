//! The compactor's steps, in their plainest form, so that every state between them can be stood in.

use super::Node;
use std::ops::ControlFlow;
use strandline_bronze::{
    CoveredRange, Fetched, FinishedSegment, PartitionSummary, Preference, PushError, ReadError, SegmentFooter, SegmentSpec,
    SegmentWriter, fresh_path, merge_rows,
};
use strandline_cell::Submission;
use strandline_commands::{
    Convert, FileRange, LeaseKind, Lost, Merge, MoveLogStart, NewFile, SealDone, SealPlan, Sealed, TakeLease,
};
use strandline_extents::ExtentReader;
use strandline_index::{Extent, Outcome};
use strandline_object_store::Purpose;
use strandline_segment_index::{SealedRow, SegmentIndex};
use strandline_types::{Seq, TopicId, TopicPartition};
use strandline_wire::records::{BatchPlace, RecordScratch, for_each_record, split_batches};

const DAY: i32 = 20_717;

#[derive(Debug)]
struct Failed;

impl From<ReadError> for Failed {
    fn from(error: ReadError) -> Self {
        panic!("{error}")
    }
}

impl From<PushError> for Failed {
    fn from(error: PushError) -> Self {
        panic!("{error}")
    }
}

fn new_file(path: &str, segment: &FinishedSegment) -> NewFile {
    let mut first_row = 0;
    let range = |summary: &PartitionSummary| {
        first_row += summary.rows;
        FileRange {
            partition: summary.partition,
            start: summary.start,
            end: summary.end,
            rows: summary.rows,
            first_row: first_row - summary.rows,
            max_timestamp_ms: summary.timestamps.map_or(-1, |timestamps| timestamps.max_ms),
            max_timestamp_offset: summary.timestamps.map_or(-1, |timestamps| timestamps.max_offset),
            sent_bytes: 0,
        }
    };
    NewFile {
        path: path.to_owned(),
        size: segment.file_bytes,
        crc32c: segment.crc32c,
        rows: segment.rows,
        record_bytes: segment.record_bytes,
        ingest_day: DAY,
        ranges: segment.partitions.iter().map(range).collect(),
    }
}

impl Node {
    pub async fn lease(&self, kind: LeaseKind, topic: TopicId) -> u64 {
        let key = (kind as i32, topic.0.to_vec());
        if let Some(lease) = self.cell.view().leases.get(&key) {
            return lease.number.0;
        }
        let take = TakeLease { kind: kind as i32, scope: topic.0.to_vec(), replaces: 0 };
        match self.commit(Submission::one(take)).await {
            Outcome::Leased(number) => number.0,
            other => panic!("{other:?}"),
        }
    }

    fn writer(&self, topic: TopicId, path: &str, covered: Vec<CoveredRange>) -> SegmentWriter {
        SegmentWriter::new(SegmentSpec {
            topic: self.topics[&topic].0.clone(),
            topic_id: topic,
            covered,
            plan: path.to_owned(),
            key: Preference::Text,
            value: Preference::Text,
        })
        .unwrap()
    }

    async fn put(&self, path: &str, segment: FinishedSegment) -> NewFile {
        let file = new_file(path, &segment);
        self.world.objects.put_new(Purpose::Fresh, path, segment.bytes, segment.crc32c).await.unwrap();
        file
    }

    /// Converts the first `share` of every partition's extents. False if there are none.
    pub async fn convert(&self, topic: TopicId, share: f64) -> bool {
        let inputs: Vec<(i32, i64, Vec<Extent>)> = {
            let view = self.cell.view();
            let partitions = (0..).zip(&view.topics[&topic].partitions);
            partitions
                .map(|(number, partition)| {
                    let count = (partition.extents.len() as f64 * share).ceil() as usize;
                    (number, partition.frontier, partition.extents.iter().take(count).copied().collect::<Vec<_>>())
                })
                .filter(|(_, _, extents)| !extents.is_empty())
                .collect()
        };
        if inputs.is_empty() {
            return false;
        }
        let lease = self.lease(LeaseKind::Convert, topic).await;
        let path = fresh_path(&self.topics[&topic].0, topic, self.cell.name_object());
        let covered = inputs.iter().map(|(partition, start, extents)| CoveredRange {
            partition: *partition,
            start: *start,
            end: extents.last().unwrap().end,
        });
        let mut writer = self.writer(topic, &path, covered.collect());
        let reader = ExtentReader::new(self.cell.log().clone(), self.world.objects.clone(), Purpose::Fresh);
        for (partition, _, extents) in inputs {
            let log_start = self.models[&TopicPartition { topic_id: topic, partition }].log_start;
            for (extent, bytes) in extents.iter().zip(reader.bytes_of(&extents).await.unwrap()) {
                let mut base_offset = extent.start;
                for batch in split_batches(bytes).unwrap() {
                    let place =
                        BatchPlace { base_offset, log_append_time_ms: extent.log_append_time.then_some(extent.ingest_ms) };
                    for_each_record(&batch.bytes, place, &mut RecordScratch::default(), |record| {
                        if record.offset >= log_start {
                            writer.push(partition, extent.ingest_ms, record).unwrap();
                        }
                        ControlFlow::Continue(())
                    })
                    .unwrap();
                    base_offset += i64::from(batch.header.last_offset_delta) + 1;
                }
            }
        }
        let file = self.put(&path, writer.finish().unwrap()).await;
        self.done(Convert { lease, topic_id: topic.0.to_vec(), file: Some(file), key_format: 1, value_format: 1 }).await;
        true
    }

    /// Fresh segments that no plan has, oldest first.
    fn free_fresh(&self, topic: TopicId) -> Vec<NewFile> {
        let view = self.cell.view();
        let mut free: Vec<_> = view.topics[&topic].fresh.values().filter(|segment| segment.plan.is_none()).collect();
        free.sort_by_key(|segment| segment.since);
        free.into_iter().map(|segment| segment.file.clone()).collect()
    }

    async fn rewrite(&self, topic: TopicId, path: &str, inputs: &[NewFile], covered: Vec<CoveredRange>) -> FinishedSegment {
        let mut files = Vec::new();
        for input in inputs {
            let bytes = self.world.objects.get(Purpose::Fresh, &input.path).await.unwrap();
            files.push((SegmentFooter::parse(&input.path, input.size, &bytes).unwrap(), Fetched::whole(bytes)));
        }
        let mut writer = self.writer(topic, path, covered.clone());
        merge_rows::<Failed>(&files, |partition, ingest_ms, record| {
            let range = covered.iter().find(|range| range.partition == partition);
            if range.is_some_and(|range| (range.start..range.end).contains(&record.offset)) {
                writer.push(partition, ingest_ms, record)?;
            }
            Ok(())
        })
        .unwrap();
        writer.finish().unwrap()
    }

    /// Merges the free fresh segments into one; their objects are deleted at once. False if there are not two.
    pub async fn merge(&self, topic: TopicId) -> bool {
        let inputs = self.free_fresh(topic);
        if inputs.len() < 2 {
            return false;
        }
        let lease = self.lease(LeaseKind::Merge, topic).await;
        let path = fresh_path(&self.topics[&topic].0, topic, self.cell.name_object());
        // What the inputs still answer for.
        let covered: Vec<CoveredRange> = {
            let view = self.cell.view();
            let names: Vec<_> = inputs.iter().map(|input| input.path.parse().unwrap()).collect();
            let partitions = (0..).zip(&view.topics[&topic].partitions);
            partitions
                .filter_map(|(partition, state)| {
                    let mut own = state.fresh.iter().filter(|range| names.contains(&range.segment));
                    let first = own.next()?;
                    let end = own.next_back().map_or(first.end, |last| last.end);
                    Some(CoveredRange { partition, start: first.start, end })
                })
                .collect()
        };
        let segment = self.rewrite(topic, &path, &inputs, covered).await;
        let file = self.put(&path, segment).await;
        let paths: Vec<String> = inputs.into_iter().map(|input| input.path).collect();
        self.done(Merge { lease, topic_id: topic.0.to_vec(), inputs: paths.clone(), outputs: vec![file] }).await;
        for path in paths {
            self.world.objects.delete(Purpose::Garbage, &path).await.unwrap();
        }
        true
    }

    /// Plans a sealed file of the oldest `share` of the free fresh segments.
    pub async fn seal_plan(&self, topic: TopicId, share: f64) -> bool {
        let free = self.free_fresh(topic);
        if free.is_empty() || !self.cell.view().topics[&topic].plans.is_empty() {
            return false;
        }
        let count = (free.len() as f64 * share).ceil() as usize;
        let lease = self.lease(LeaseKind::Seal, topic).await;
        let inputs = free.into_iter().take(count).map(|file| file.path).collect();
        self.done(SealPlan { lease, topic_id: topic.0.to_vec(), inputs }).await;
        true
    }

    /// Puts the planned file and says so.
    pub async fn sealed(&self, topic: TopicId) -> bool {
        let planned = {
            let view = self.cell.view();
            let own = &view.topics[&topic];
            own.plans.iter().next().filter(|(_, plan)| plan.file.is_none()).map(|(path, plan)| {
                let inputs: Vec<NewFile> = plan.inputs.iter().map(|input| own.fresh[input].file.clone()).collect();
                let covered = plan.ranges.iter().map(|range| CoveredRange {
                    partition: range.partition,
                    start: range.start,
                    end: range.end,
                });
                (path.clone(), inputs, covered.collect::<Vec<_>>())
            })
        };
        let Some((path, inputs, covered)) = planned else { return false };
        let segment = self.rewrite(topic, &path, &inputs, covered).await;
        let file = self.put(&path, segment).await;
        let lease = self.lease(LeaseKind::Seal, topic).await;
        self.done(Sealed { lease, topic_id: topic.0.to_vec(), file: Some(file) }).await;
        true
    }

    /// Writes the rows and closes the plan; the inputs' objects are deleted at once.
    pub async fn seal_done(&self, topic: TopicId) -> bool {
        let planned = {
            let view = self.cell.view();
            let own = &view.topics[&topic];
            let plan = own.plans.values().next().and_then(|plan| Some((plan.file.clone()?, plan)));
            plan.map(|(file, plan)| {
                (file, plan.inputs.iter().map(|input| own.fresh[input].file.path.clone()).collect::<Vec<_>>())
            })
        };
        let Some((file, inputs)) = planned else { return false };
        let rows = file.ranges.iter().map(|range| SealedRow {
            topic_partition: TopicPartition { topic_id: topic, partition: range.partition },
            start_offset: range.start,
            end_offset: range.end,
            path: file.path.clone(),
            generation: 0,
            size: file.size,
            crc32c: file.crc32c,
            rows: range.rows,
            first_row: range.first_row,
            row_group: 0,
            min_timestamp_ms: -1,
            max_timestamp_ms: range.max_timestamp_ms,
            max_timestamp_offset: range.max_timestamp_offset,
            sent_bytes: 0,
            sealed_seq: Seq(1),
        });
        self.world.segment_index.put(rows.collect()).await.unwrap();
        let lease = self.lease(LeaseKind::Seal, topic).await;
        self.done(SealDone { lease, topic_id: topic.0.to_vec(), path: file.path }).await;
        for path in inputs {
            self.world.objects.delete(Purpose::Garbage, &path).await.unwrap();
        }
        true
    }

    pub async fn seal_whole(&self, topic: TopicId) {
        assert!(self.seal_plan(topic, 1.0).await && self.sealed(topic).await && self.seal_done(topic).await);
    }

    pub async fn move_log_start(&mut self, at: TopicPartition, to: i64) {
        self.done(MoveLogStart { topic_id: at.topic_id.0.to_vec(), partition: at.partition, to }).await;
        let model = self.models.get_mut(&at).unwrap();
        model.log_start = model.log_start.max(to);
    }

    /// One extent's bytes are declared lost.
    pub async fn lose(&mut self, at: TopicPartition, which: usize) -> bool {
        let extent = {
            let view = self.cell.view();
            let partition = view.partition(at.topic_id, at.partition).unwrap();
            if partition.extents.is_empty() {
                return false;
            }
            partition.extents[which % partition.extents.len()]
        };
        self.done(Lost { topic_id: at.topic_id.0.to_vec(), partition: at.partition, start: extent.start, end: extent.end }).await;
        self.models.get_mut(&at).unwrap().records.retain(|offset, _| !(extent.start..extent.end).contains(offset));
        true
    }
}
