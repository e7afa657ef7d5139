//! Who refers to what: the one place where objects and entries gain and lose references, and join the garbage list (I8).

use crate::state::fill::{fresh_weight, garbage_weight};
use crate::state::{Extent, ExtentPlace, Fill, FreshSegment, Garbage, WalObject};
use std::collections::BTreeMap;
use strandline_types::{ObjectName, Seq};

/// The parts of the index that count references, borrowed apart from the topics.
pub(crate) struct References<'a> {
    pub(crate) inline: &'a mut BTreeMap<Seq, u64>,
    pub(crate) wal: &'a mut BTreeMap<ObjectName, WalObject>,
    pub(crate) garbage: &'a mut BTreeMap<String, Garbage>,
    pub(crate) extent_count: &'a mut u64,
    pub(crate) fill: &'a mut Fill,
    pub(crate) seq: Seq,
    pub(crate) now_ms: i64,
}

/// Borrows them: `references!(self, context)`, with `self.topics` still free.
macro_rules! references {
    ($index:expr, $context:expr) => {
        $crate::fold::references::References {
            inline: &mut $index.inline_references,
            wal: &mut $index.wal_objects,
            garbage: &mut $index.garbage,
            extent_count: &mut $index.extent_count,
            fill: &mut $index.fill,
            seq: $context.seq,
            now_ms: $context.now_ms,
        }
    };
}
pub(crate) use references;

impl References<'_> {
    /// An extent came; for one in a WAL segment the object's size and CRC are given.
    pub(crate) fn add(&mut self, extent: &Extent, object: Option<(u64, u32)>) {
        *self.extent_count += 1;
        match extent.place {
            ExtentPlace::Inline { seq, .. } => *self.inline.entry(seq).or_default() += 1,
            ExtentPlace::Object { name, .. } => {
                let (size, crc32c) = object.unwrap_or_default();
                self.wal.entry(name).or_insert(WalObject { size, crc32c, references: 0 }).references += 1;
            }
            ExtentPlace::Marker { .. } | ExtentPlace::Hole => {}
        }
    }

    /// An extent went.
    pub(crate) fn drop(&mut self, extent: &Extent) {
        *self.extent_count = self.extent_count.saturating_sub(1);
        match extent.place {
            ExtentPlace::Inline { seq, .. } => {
                if let Some(count) = self.inline.get_mut(&seq) {
                    *count = count.saturating_sub(1);
                    if *count == 0 {
                        self.inline.remove(&seq);
                    }
                }
            }
            ExtentPlace::Object { name, .. } => {
                if let Some(object) = self.wal.get_mut(&name) {
                    object.references = object.references.saturating_sub(1);
                    if object.references == 0 {
                        let size = object.size;
                        self.wal.remove(&name);
                        self.discard(format!("wal/{name}"), size);
                    }
                }
            }
            ExtentPlace::Marker { .. } | ExtentPlace::Hole => {}
        }
    }

    /// A fresh segment went.
    pub(crate) fn discard_fresh(&mut self, segment: Option<FreshSegment>) {
        if let Some(FreshSegment { file, .. }) = segment {
            self.fill.file_bytes = self.fill.file_bytes.saturating_sub(fresh_weight(&file));
            self.discard(file.path, file.size);
        }
    }

    /// Nothing refers to this object any more.
    pub(crate) fn discard(&mut self, path: String, size: u64) {
        let weight = garbage_weight(&path);
        if self.garbage.insert(path, Garbage { since: self.seq, since_ms: self.now_ms, size }).is_none() {
            self.fill.garbage_bytes += weight;
        }
    }
}
