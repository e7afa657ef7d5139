//! The index looks at itself: what must hold after every entry (tests, simulation, `index inspect`).

use crate::state::{ExtentPlace, Fill, Index};
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
            let mut planned: BTreeMap<i32, (i64, i64)> = BTreeMap::new();
            for (path, plan) in topic.plans.iter().filter(|(_, plan)| plan.is_over_extents() && plan.file.is_none()) {
                for range in &plan.ranges {
                    if planned.insert(range.partition, (range.start, range.end)).is_some() {
                        found.push(format!("plan {path}: partition {} is planned twice (I5)", range.partition));
                    }
                }
            }
            if topic.plans.len() > 1 {
                found.push(format!("topic {} has {} open plans", topic.name, topic.plans.len()));
            }
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
                let plan = planned.remove(&i32::try_from(number).unwrap_or(i32::MAX));
                if plan.map(|(_, end)| end) != partition.planned_end {
                    wrong(format!("extents are pinned up to {:?}, planned is {plan:?}", partition.planned_end));
                }
                if let Some((start, end)) = plan {
                    let aligned = partition.extents.iter().any(|extent| extent.end == end);
                    let below = start <= partition.sealed_end && start <= partition.frontier && partition.frontier < end;
                    if !aligned || !below || end > partition.last_stable_offset() || !partition.fresh.is_empty() {
                        wrong(format!("the plan of [{start}, {end}) does not go with its extents (I5, I7)"));
                    }
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
        if Fill::of(self) != self.fill {
            found.push(format!("parts are {:?} full, counted {:?} (I11)", Fill::of(self), self.fill));
        }
        if (extents, partitions) != (self.extent_count, self.partition_count) {
            found.push("extents or partitions are counted wrongly (I11)".to_owned());
        }
        found
    }
}
