//! The index looks at itself: what must hold after every entry (tests, simulation, `index inspect`).

use crate::state::{ExtentPlace, Index};
use std::collections::BTreeMap;
use strandline_types::{ObjectName, Seq};

impl Index {
    /// Every broken invariant, in words; empty when all hold.
    pub fn violations(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut inline: BTreeMap<Seq, u64> = BTreeMap::new();
        let mut wal: BTreeMap<ObjectName, u64> = BTreeMap::new();
        let (mut extents, mut partitions) = (0_u64, 0_u64);
        for (id, topic) in &self.topics {
            if self.names.get(&topic.name) != Some(id) {
                found.push(format!("topic {id}: its name does not lead to it"));
            }
            let mut live: BTreeMap<ObjectName, u64> = BTreeMap::new();
            for (number, partition) in topic.partitions.iter().enumerate() {
                partitions += 1;
                let mut wrong = |what: String| found.push(format!("topic {} partition {number}: {what}", topic.name));
                if partition.sealed_end > partition.frontier
                    || partition.frontier > partition.next_offset
                    || partition.log_start > partition.next_offset
                {
                    wrong(format!(
                        "sealed end {}, frontier {}, next {}, log start {} (I5)",
                        partition.sealed_end, partition.frontier, partition.next_offset, partition.log_start
                    ));
                }
                let mut at = partition.frontier;
                for extent in &partition.extents {
                    if extent.start != at || extent.end <= extent.start {
                        wrong(format!("extent [{}, {}) where {at} is due (I5)", extent.start, extent.end));
                    }
                    at = extent.end;
                    extents += 1;
                    match extent.place {
                        ExtentPlace::Inline { seq, .. } => *inline.entry(seq).or_default() += 1,
                        ExtentPlace::Object { name, .. } => *wal.entry(name).or_default() += 1,
                        ExtentPlace::Marker { .. } | ExtentPlace::Hole => {}
                    }
                }
                if at != partition.next_offset {
                    wrong(format!("extents end at {at}, not at {} (I5)", partition.next_offset));
                }
                let mut at = partition.sealed_end;
                for fresh in &partition.fresh {
                    if fresh.start != at && fresh.start > partition.log_start {
                        wrong(format!("fresh [{}, {}) where {at} is due (I5)", fresh.start, fresh.end));
                    }
                    at = fresh.end;
                    *live.entry(fresh.segment).or_default() += 1;
                }
                if at != partition.frontier && partition.frontier > partition.log_start {
                    wrong(format!("fresh segments end at {at}, not at {} (I5)", partition.frontier));
                }
            }
            for (name, segment) in &topic.fresh {
                let answering = live.remove(name).unwrap_or(0);
                if answering == 0 && segment.plan.is_none() {
                    found.push(format!("fresh segment {name} answers for nothing and is not garbage (I8)"));
                }
                if segment.plan.is_none() && answering != segment.live_ranges {
                    found.push(format!("fresh segment {name} answers for {answering} ranges, counted {}", segment.live_ranges));
                }
                if self.garbage.contains_key(&segment.file.path) {
                    found.push(format!("fresh segment {name} is garbage (I8)"));
                }
            }
            for name in live.keys() {
                found.push(format!("fresh segment {name} answers but is not listed (I5)"));
            }
        }
        if inline != self.inline_references {
            found.push("inline references are counted wrongly (I8)".to_owned());
        }
        let counted = self.wal_objects.iter().map(|(name, object)| (*name, object.references)).collect::<BTreeMap<_, _>>();
        if wal != counted {
            found.push("references to WAL segments are counted wrongly (I8)".to_owned());
        }
        for name in wal.keys().filter(|name| self.garbage.contains_key(&format!("wal/{name}"))) {
            found.push(format!("WAL segment {name} is referred to and garbage (I8)"));
        }
        if (extents, partitions) != (self.extent_count, self.partition_count) {
            found.push("extents or partitions are counted wrongly (I11)".to_owned());
        }
        found
    }
}
