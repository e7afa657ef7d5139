//! Which of the files that the index does not know are adopted: those that continue their partitions.

use super::Report;
use super::adopt::Places;
use super::gone::{lose, put_empty};
use super::look::{FileState, Found, Looked};
use super::lost::{keep_copy, set_aside};
use std::collections::{BTreeMap, BTreeSet};
use strandline_bronze::Day;
use strandline_commands::{AdoptSealed, Command, FileRange, NewFile};
use strandline_index::{ExtentPlace, Index};
use strandline_types::TopicId;

const COVERS_NOTHING: &str = "it covers nothing";

/// Files that the index does not know.
pub(super) struct Adopting<'a> {
    index: &'a Index,
    places: &'a Places,
    /// Of the partitions that no open plan pins: where a file has to begin.
    frontiers: BTreeMap<(TopicId, i32), i64>,
    /// Partitions with a fresh file, which no sealed one may follow.
    with_fresh: BTreeSet<(TopicId, i32)>,
    /// The day of the file that ends at a partition's frontier.
    days: BTreeMap<(TopicId, i32), i32>,
    pub commands: Vec<Vec<Command>>,
    pub report: &'a mut Report,
}

impl<'a> Adopting<'a> {
    pub fn new(index: &'a Index, places: &'a Places, report: &'a mut Report) -> Self {
        let (mut frontiers, mut with_fresh, mut days) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        for (id, topic) in &index.topics {
            for (number, partition) in (0..).zip(&topic.partitions) {
                if partition.planned_end.is_none() {
                    frontiers.insert((*id, number), partition.frontier);
                }
                if let Some(range) = partition.fresh.back() {
                    with_fresh.insert((*id, number));
                    days.extend(topic.fresh.get(&range.segment).map(|segment| ((*id, number), segment.file.ingest_day)));
                }
            }
        }
        Self { index, places, frontiers, with_fresh, days, commands: Vec::new(), report }
    }

    /// Adopts the files that continue their partitions, whatever their order, and moves the others to `lost/`: says which. Sealed ones
    /// first, for they cannot follow fresh ones. A damaged one gives way to a hole once no sound one goes on, for else none of those after
    /// it would begin where another ends.
    pub async fn take(&mut self, files: Vec<(&str, &Looked)>) -> anyhow::Result<Vec<String>> {
        let mut gone = Vec::new();
        let mut left: Vec<(&str, &Found)> = Vec::new();
        for (path, looked) in files {
            let reason = match looked {
                // The sweep of dropped topics takes it.
                Looked::Found(found) if self.index.dropped.contains_key(&found.topic_id) => continue,
                Looked::Found(found) => {
                    left.push((path, found));
                    continue;
                }
                Looked::Nothing => COVERS_NOTHING,
                Looked::Unreadable(reason) => reason,
            };
            set_aside(&self.places.objects, path, reason, self.report).await?;
            gone.push(path.to_owned());
        }
        loop {
            let mut next = self.next(&left, Kind::Sealed);
            if next.is_empty() {
                next = self.next(&left, Kind::Fresh);
            }
            if next.is_empty() {
                let Some(at) = self.next_hole(&left) else { break };
                let (path, found) = left.remove(at);
                self.put_hole(path, found).await?;
                continue;
            }
            let mut adopted = BTreeSet::new();
            for (path, found) in next {
                // One of the same round may have been as long and come first.
                if self.continues(found, &found.file.ranges) {
                    self.adopt(path, found).await?;
                    adopted.insert(path);
                }
            }
            left.retain(|(path, _)| !adopted.contains(path));
        }
        for (path, found) in left {
            let reason = match &found.state {
                FileState::Damaged(problem) => problem,
                _ if !self.index.topics.contains_key(&found.topic_id) => "its topic is not known",
                _ => "it does not begin where the known files end",
            };
            set_aside(&self.places.objects, path, reason, self.report).await?;
            gone.push(path.to_owned());
        }
        Ok(gone)
    }

    fn continues(&self, found: &Found, ranges: &[FileRange]) -> bool {
        let begins = |range: &FileRange| {
            let place = (found.topic_id, range.partition);
            let is_free = Kind::of(found) == Kind::Fresh || !self.with_fresh.contains(&place);
            is_free && self.frontiers.get(&place) == Some(&range.start)
        };
        !ranges.is_empty() && ranges.iter().all(begins)
    }

    /// The sound files that go on and that no other one of the kind goes beyond; if each is passed somewhere, one of them. A merge may have
    /// left some of its inputs: the longest file is the whole of them, and of those that are as long the one of most partitions, which comes
    /// first.
    fn next<'f>(&self, left: &[(&'f str, &'f Found)], kind: Kind) -> Vec<(&'f str, &'f Found)> {
        let goes_on = |(_, found): &(&str, &Found)| {
            Kind::of(found) == kind && !is_damaged(found) && self.continues(found, &found.file.ranges)
        };
        let going_on: Vec<(&str, &Found)> = left.iter().copied().filter(goes_on).collect();
        let mut farthest = BTreeMap::<(TopicId, i32), i64>::new();
        for (_, found) in &going_on {
            for range in &found.file.ranges {
                let end = farthest.entry((found.topic_id, range.partition)).or_insert(range.end);
                *end = range.end.max(*end);
            }
        }
        let is_farthest = |(_, found): &(&str, &Found)| {
            found.file.ranges.iter().all(|range| farthest.get(&(found.topic_id, range.partition)) == Some(&range.end))
        };
        let mut next: Vec<(&str, &Found)> = going_on.iter().copied().filter(is_farthest).collect();
        if next.is_empty() {
            next.extend(going_on.first());
        }
        next.sort_by_key(|(_, found)| std::cmp::Reverse(found.file.ranges.len()));
        next
    }

    async fn adopt(&mut self, path: &str, found: &Found) -> anyhow::Result<()> {
        let mut file = found.file.clone();
        // A fresh file without rows does not say when they came.
        if found.state != FileState::Sound || file.rows == 0 {
            file.ingest_day = self.safe_day(found);
        }
        self.report.adopted += 1;
        self.report.say(format!("adopted {path} with {} rows", file.rows));
        self.report.note_records_alone(path, &found.state);
        if file.rows == 0
            && let Some(topic) = self.index.topics.get(&found.topic_id)
        {
            // A rebuild that did not end may have put it there: what it stands for is to be told.
            let lost = self.places.copies.ranges(&self.places.objects, &self.places.runtime, path).await?;
            let covers = |lost: &FileRange| {
                file.ranges
                    .iter()
                    .any(|range| (range.partition, range.start, range.end) == (lost.partition, lost.start, lost.end))
            };
            for range in lost.iter().filter(|range| covers(range)) {
                lose(self.report, topic, range.partition, range.start, range.end, i64::try_from(range.rows).unwrap_or(i64::MAX));
            }
        }
        self.move_on(found.topic_id, file);
        Ok(())
    }

    fn move_on(&mut self, topic_id: TopicId, file: NewFile) {
        let is_fresh = file.path.starts_with("fresh/");
        for range in &file.ranges {
            self.frontiers.insert((topic_id, range.partition), range.end);
            self.with_fresh.extend(is_fresh.then_some((topic_id, range.partition)));
            self.days.insert((topic_id, range.partition), file.ingest_day);
        }
        self.commands.push(vec![AdoptSealed { topic_id: topic_id.0.to_vec(), file: Some(file) }.into()]);
    }

    /// The first of the damaged files that continues its partitions; one that would take the place of the beginning of a sound file,
    /// which waits for another partition, comes last.
    fn next_hole(&self, left: &[(&str, &Found)]) -> Option<usize> {
        let continue_ = |(_, found): &&(&str, &Found)| is_damaged(found) && self.continues(found, &unanswered(self.index, found));
        let begins = |found: &Found, range: &FileRange| {
            let same = |other: &FileRange| (other.partition, other.start) == (range.partition, range.start);
            found.file.ranges.iter().any(same)
        };
        let is_awaited = |found: &Found| {
            let sound = left.iter().filter(|(_, other)| !is_damaged(other) && other.topic_id == found.topic_id);
            sound.into_iter().any(|(_, other)| other.file.ranges.iter().any(|range| begins(found, range)))
        };
        let holes = || left.iter().enumerate().filter(|(_, file)| continue_(file));
        holes().find(|(_, (_, found))| !is_awaited(found)).or_else(|| holes().next()).map(|(at, _)| at)
    }

    async fn put_hole(&mut self, path: &str, found: &Found) -> anyhow::Result<()> {
        let (FileState::Damaged(problem), Some(topic)) = (&found.state, self.index.topics.get(&found.topic_id)) else {
            return Ok(());
        };
        let lost = NewFile { ranges: unanswered(self.index, found), ingest_day: self.safe_day(found), ..found.file.clone() };
        keep_copy(&self.places.objects, path, problem, self.report).await?;
        let file = put_empty(&self.places.objects, topic, &lost, self.report).await?;
        self.move_on(found.topic_id, file);
        Ok(())
    }

    /// The day of a file whose statistics may be damaged, or that has none for want of rows: not before that of the file in front of it, and
    /// not to come. That of a sealed file is in its name.
    fn safe_day(&self, found: &Found) -> i32 {
        if found.file.path.starts_with("bronze/") {
            return found.file.ingest_day;
        }
        let days = found.file.ranges.iter().filter_map(|range| self.days.get(&(found.topic_id, range.partition)));
        let before = days.copied().max();
        let today = Day::of_ms(self.places.runtime.clock.now_ms()).0;
        let told = match (found.file.rows, is_damaged(found)) {
            (0, _) => None,
            (_, true) => Some(before.unwrap_or(found.file.ingest_day)),
            (_, false) => Some(found.file.ingest_day),
        };
        bounded_day(told, before, today)
    }
}

/// Not before the file in front, and not to come. Where nothing tells it, that of the file in front, or today: were it long ago, nothing would be
/// sealed as long as it waits behind a newer one.
fn bounded_day(told: Option<i32>, before: Option<i32>, today: i32) -> i32 {
    told.or(before).unwrap_or(today).min(today).max(before.unwrap_or(0))
}

/// What a file is by its path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sealed,
    Fresh,
}

impl Kind {
    fn of(found: &Found) -> Self {
        if found.file.path.starts_with("fresh/") { Self::Fresh } else { Self::Sealed }
    }
}

fn is_damaged(found: &Found) -> bool {
    matches!(found.state, FileState::Damaged(_))
}

/// The ranges of a file of which no offset can be had from WAL segments. All or nothing of a sealed one, whose name says what it
/// begins with.
fn unanswered(index: &Index, found: &Found) -> Vec<FileRange> {
    let Some(topic) = index.topics.get(&found.topic_id) else { return Vec::new() };
    let is_answered = |range: &&FileRange| {
        let partition = topic.partition(range.partition);
        partition.is_some_and(|partition| {
            let mut within = partition.extents.iter().filter(|extent| extent.start < range.end && extent.end > range.start);
            within.any(|extent| matches!(extent.place, ExtentPlace::Object { .. }))
        })
    };
    let ranges: Vec<FileRange> = found.file.ranges.iter().filter(|range| !is_answered(range)).cloned().collect();
    let whole = ranges.len() == found.file.ranges.len() || found.file.path.starts_with("fresh/");
    if whole { ranges } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::super::lost::Copies;
    use super::*;
    use strandline_commands::CommandKind;
    use strandline_index::{Partition, Topic};
    use strandline_object_store::{Objects, Purpose, crc32c};
    use strandline_runtime::Runtime;

    const TOPIC: TopicId = TopicId([7; 16]);

    fn fresh(n: u64) -> String {
        format!("fresh/t/07070707/{n:020}-1-1.parquet")
    }

    fn found(path: &str, ranges: &[(i32, i64, i64)]) -> Looked {
        let ranges = ranges.iter().map(|(partition, start, end)| FileRange {
            partition: *partition,
            start: *start,
            end: *end,
            rows: 1,
            ..FileRange::default()
        });
        let file = NewFile { path: path.to_owned(), rows: 1, ingest_day: 20_000, ranges: ranges.collect(), ..NewFile::default() };
        Looked::Found(Found { topic_id: TOPIC, file, state: FileState::Sound })
    }

    /// Offers files to a topic of two empty partitions; gives what was adopted, in order.
    async fn adopted(files: &[(String, Looked)]) -> Vec<String> {
        let runtime = Runtime::simulated(1, 0);
        let objects = Objects::in_memory(&runtime);
        for (path, _) in files {
            let bytes = vec![path.clone().into_bytes().into()];
            let crc = crc32c(&bytes);
            objects.put_new(Purpose::Rebuild, path, bytes, crc).await.unwrap();
        }
        let mut index = Index::default();
        let topic = Topic { id: TOPIC, name: "t".into(), partitions: vec![Partition::default(); 2], ..Topic::default() };
        index.topics.insert(TOPIC, topic.into());
        let places = Places { copies: Copies::list(&objects).await.unwrap(), objects, runtime };
        let mut report = Report::default();
        let mut adopting = Adopting::new(&index, &places, &mut report);
        let gone = adopting.take(files.iter().map(|(path, looked)| (path.as_str(), looked)).collect()).await.unwrap();
        let path = |command: &Command| match &command.kind {
            Some(CommandKind::AdoptSealed(adopt)) => adopt.file.as_ref().unwrap().path.clone(),
            _ => String::new(),
        };
        let adopted: Vec<String> = adopting.commands.iter().flatten().map(path).collect();
        assert_eq!(adopted.len() + gone.len(), files.len(), "each is adopted or set aside");
        adopted
    }

    fn offer(path: &str, ranges: &[(i32, i64, i64)]) -> (String, Looked) {
        (path.to_owned(), found(path, ranges))
    }

    #[tokio::test(start_paused = true)]
    async fn a_fresh_file_may_follow_a_sealed_one_and_no_sealed_one_a_fresh_one() {
        let files = [
            offer(&fresh(1), &[(0, 10, 20)]),
            offer(&fresh(2), &[(0, 0, 10)]),
            offer("bronze/t/a", &[(0, 0, 10)]),
            offer("bronze/t/b", &[(0, 20, 30)]),
        ];
        assert_eq!(adopted(&files).await, ["bronze/t/a".to_owned(), fresh(1)]);
    }

    #[tokio::test(start_paused = true)]
    async fn of_a_merge_and_what_is_left_of_its_inputs_the_merge_is_taken() {
        let files = [
            offer(&fresh(1), &[(0, 0, 5), (1, 0, 5)]),
            offer(&fresh(3), &[(0, 0, 10)]),
            offer(&fresh(4), &[(1, 0, 10)]),
            offer(&fresh(5), &[(0, 10, 12)]),
        ];
        assert_eq!(adopted(&files).await, [fresh(3), fresh(4), fresh(5)]);
        // Two that pass each other: one of them.
        let files = [offer(&fresh(1), &[(0, 0, 5), (1, 0, 9)]), offer(&fresh(2), &[(0, 0, 9), (1, 0, 5)])];
        assert_eq!(adopted(&files).await, [fresh(1)]);
    }

    #[test]
    fn a_day_out_of_damaged_statistics_has_bounds() {
        assert_eq!(bounded_day(Some(20_000), None, 20_500), 20_000);
        assert_eq!(bounded_day(Some(i32::MAX), None, 20_500), 20_500, "not to come");
        assert_eq!(bounded_day(Some(-7), None, 20_500), 0);
        assert_eq!(bounded_day(Some(3), Some(20_100), 20_500), 20_100, "not before the file in front");
        assert_eq!(bounded_day(None, Some(20_100), 20_500), 20_100, "without rows nothing tells it");
        assert_eq!(bounded_day(None, None, 20_500), 20_500);
    }
}
