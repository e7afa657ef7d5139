//! Opened Parquet files: footers and chunk maps, kept within a bound, each read once however many wait.

use crate::chunks::ChunkMap;
use crate::error::SourceError;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use strandline_bronze::{FooterError, SegmentFooter, TAIL_GUESS_BYTES};
use strandline_object_store::{Objects, Purpose, TailError};
use tokio::sync::OnceCell;

/// One opened file.
pub(crate) struct OpenedSegment {
    pub(crate) footer: SegmentFooter,
    maps: Mutex<BTreeMap<i32, Option<Arc<ChunkMap>>>>,
}

impl OpenedSegment {
    /// How the partition is cut; none if the file does not cover it.
    pub(crate) fn chunks(&self, partition: i32) -> Option<Arc<ChunkMap>> {
        let mut maps = self.maps.lock().unwrap_or_else(PoisonError::into_inner);
        maps.entry(partition).or_insert_with(|| ChunkMap::of(&self.footer, partition).map(Arc::new)).clone()
    }

    fn memory_bytes(&self) -> usize {
        // Chunk maps come later; a chunk takes less than a fifth of the digest runs that it is made of.
        self.footer.memory_bytes() + self.footer.memory_bytes() / 4 + 1_024
    }
}

#[derive(Default)]
struct Entry {
    opened: Arc<OnceCell<Arc<OpenedSegment>>>,
    used: u64,
    bytes: usize,
}

#[derive(Default)]
struct Entries {
    by_path: BTreeMap<String, Entry>,
    bytes: usize,
    uses: u64,
}

/// The cache of opened files.
pub(crate) struct Footers {
    objects: Objects,
    limit_bytes: usize,
    entries: Mutex<Entries>,
}

impl Footers {
    pub(crate) fn new(objects: Objects, limit_bytes: usize) -> Self {
        Self { objects, limit_bytes, entries: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file, opened. A failure is not remembered.
    pub(crate) async fn open(&self, path: &str, size: u64) -> Result<Arc<OpenedSegment>, SourceError> {
        let cell = {
            let mut entries = self.lock();
            entries.uses += 1;
            let uses = entries.uses;
            let entry = entries.by_path.entry(path.to_owned()).or_default();
            entry.used = uses;
            entry.opened.clone()
        };
        let opened = cell.get_or_try_init(|| self.load(path, size)).await;
        let opened = match opened {
            Ok(opened) => opened.clone(),
            Err(error) => {
                self.lock().forget(path);
                return Err(error);
            }
        };
        self.account(path, opened.memory_bytes());
        Ok(opened)
    }

    /// Forgets a file whose bytes were not what its footer said.
    pub(crate) fn forget(&self, path: &str) {
        self.lock().forget(path);
    }

    fn account(&self, path: &str, bytes: usize) {
        let mut entries = self.lock();
        if let Some(entry) = entries.by_path.get_mut(path)
            && entry.bytes == 0
        {
            entry.bytes = bytes;
            entries.bytes += bytes;
        }
        while entries.bytes > self.limit_bytes {
            let others = entries.by_path.iter().filter(|(other, entry)| other.as_str() != path && entry.bytes > 0);
            let Some(oldest) = others.min_by_key(|(_, entry)| entry.used).map(|(path, _)| path.clone()) else { break };
            entries.forget(&oldest);
        }
        metrics::gauge!("strandline_footer_cache_bytes").set(entries.bytes as f64);
    }

    async fn load(&self, path: &str, size: u64) -> Result<Arc<OpenedSegment>, SourceError> {
        let name = path.to_owned();
        let parse = move |tail: &Bytes| SegmentFooter::parse(&name, size, tail);
        let parsed = self.objects.parse_tail(Purpose::Read, path, size, TAIL_GUESS_BYTES, parse, FooterError::needed_bytes);
        match parsed.await {
            Ok(footer) => Ok(Arc::new(OpenedSegment { footer, maps: Mutex::default() })),
            Err(TailError::Get(error)) => Err(SourceError::of_store(path, &error)),
            Err(TailError::Blocking(error)) => Err(SourceError::of_blocking(path, &error)),
            Err(TailError::Parse(error)) => Err(SourceError::of_footer(path, &error)),
        }
    }
}

impl Entries {
    fn forget(&mut self, path: &str) {
        if let Some(entry) = self.by_path.remove(path) {
            self.bytes -= entry.bytes;
        }
    }
}
