//! Offsets that a sealed file should answer for and none does.

use std::collections::BTreeMap;
use std::fmt;
use strandline_index::{Index, Topic};
use strandline_types::TopicId;

/// Offsets of one partition, `[start, end)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gap {
    pub topic_id: TopicId,
    pub topic: String,
    pub partition: i32,
    pub start: i64,
    pub end: i64,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "offsets {} to {} of partition {}", self.start, self.end - 1, self.partition)
    }
}

/// What is covered of each partition below its sealed end.
#[derive(Debug, Default)]
pub(crate) struct Coverage {
    /// Up to where all is known: covered, or a gap; and where the sealed part ends.
    partitions: BTreeMap<(TopicId, i32), (i64, i64)>,
    names: BTreeMap<TopicId, String>,
    gaps: Vec<Gap>,
}

impl Coverage {
    /// Of all topics.
    pub(crate) fn of_index(index: &Index) -> Self {
        let mut coverage = Self::default();
        index.topics.values().for_each(|topic| coverage.add(topic));
        coverage
    }

    /// Of one more.
    pub(crate) fn add(&mut self, topic: &Topic) {
        self.names.insert(topic.id, topic.name.clone());
        let partitions = (0..).zip(&topic.partitions);
        self.partitions
            .extend(partitions.map(|(number, partition)| ((topic.id, number), (partition.log_start, partition.sealed_end))));
    }

    /// `[start, end)` is answered for. In the order of offsets, partition by partition.
    pub(crate) fn cover(&mut self, topic_id: TopicId, partition: i32, start: i64, end: i64) {
        let Some((at, sealed_end)) = self.partitions.get_mut(&(topic_id, partition)) else { return };
        let (from, to) = (*at, start.min(*sealed_end));
        *at = from.max(end);
        if from < to {
            let topic = self.names.get(&topic_id).cloned().unwrap_or_default();
            self.gaps.push(Gap { topic_id, topic, partition, start: from, end: to });
        }
    }

    /// The open plans of these topics, whose files answer once they are named, and no more: what is not answered for.
    pub(crate) fn gaps(mut self, index: &Index) -> Vec<Gap> {
        let topics = index.topics.values().filter(|topic| self.names.contains_key(&topic.id));
        let files = topics.flat_map(|topic| topic.plans.values().filter_map(|plan| Some((topic.id, plan.file.as_ref()?))));
        let ranges = files.flat_map(|(id, file)| file.ranges.iter().map(move |range| (id, range)));
        let mut planned: Vec<_> = ranges.map(|(id, range)| (id, range.partition, range.start, range.end)).collect();
        planned.sort_unstable();
        planned.into_iter().for_each(|(id, partition, start, end)| self.cover(id, partition, start, end));
        for ((id, partition), (_, sealed_end)) in self.partitions.clone() {
            self.cover(id, partition, sealed_end, sealed_end);
        }
        self.gaps
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use strandline_index::Partition;

    #[test]
    fn gaps_lie_between_what_is_covered_from_the_log_start_to_the_sealed_end() {
        let id = TopicId([1; 16]);
        let partition = Partition { log_start: 5, sealed_end: 50, ..Partition::default() };
        let empty = Partition::default();
        let topic = Topic { id, name: "t".to_owned(), partitions: vec![partition.clone(), partition, empty], ..Topic::default() };
        let index = Index { topics: [(id, Arc::new(topic))].into(), ..Index::default() };
        let gaps = |covered: &[(i32, i64, i64)]| {
            let mut coverage = Coverage::of_index(&index);
            covered.iter().for_each(|(partition, start, end)| coverage.cover(id, *partition, *start, *end));
            let mut gaps: Vec<_> = coverage.gaps(&index).into_iter().map(|gap| (gap.partition, gap.start, gap.end)).collect();
            gaps.sort_unstable();
            gaps
        };
        assert_eq!(gaps(&[]), [(0, 5, 50), (1, 5, 50)]);
        assert_eq!(gaps(&[(0, 0, 50), (1, 0, 3), (1, 3, 20), (1, 20, 60)]), []);
        assert_eq!(gaps(&[(0, 0, 10), (0, 20, 30), (1, 8, 50)]), [(0, 10, 20), (0, 30, 50), (1, 5, 8)]);
        // A row of what is not sealed yet, as far as the index knows.
        assert_eq!(gaps(&[(0, 0, 50), (0, 60, 70), (1, 60, 70), (9, 1, 2)]), [(1, 5, 50)]);
    }
}
