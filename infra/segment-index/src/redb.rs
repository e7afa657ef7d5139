//! The index in an embedded table: one file, one writer, every commit durable.

use crate::encoding::{KEY_BYTES, RowEncodingError, decode_key, decode_row, encode_key, encode_row};
use crate::errors::{PutError, ReadError, RemoveError};
use crate::row::{RowKey, SealedRow};
use crate::seam::{PutOutcome, SegmentIndex, check_keys, check_rows, gives_way};
use async_trait::async_trait;
use redb::{Builder, Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};
use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use strandline_runtime::{BlockingError, Spawner};
use strandline_types::{TopicId, TopicPartition, limits};

const ROWS: TableDefinition<'_, &[u8; KEY_BYTES], &[u8]> = TableDefinition::new("sealed");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// Present once every sealed object of the store has its rows here.
const COMPLETE: &str = "complete";
/// Present while offsets of sealed objects have no row, since the object was damaged or gone when the rows were made.
const GAPS: &str = "gaps";

/// The table on disk; cheap to clone.
#[derive(Clone)]
pub struct RedbSegmentIndex {
    handle: Arc<Handle>,
    spawner: Spawner,
    path: Arc<Path>,
}

/// The open file. After one failed read or write redb refuses all that follows, also once the disk has room again: then it is
/// closed and opened anew, as soon as nobody is at work on it.
struct Handle {
    path: Arc<Path>,
    database: Mutex<Option<Arc<Database>>>,
    suspect: AtomicBool,
}

impl Handle {
    fn get(&self) -> Result<Arc<Database>, TableError> {
        let mut slot = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        if self.suspect.load(Ordering::Acquire)
            && let Some(database) = slot.take()
        {
            match Arc::try_unwrap(database) {
                Ok(database) => drop(database),
                Err(in_use) => return Ok(slot.insert(in_use).clone()),
            }
        }
        if let Some(database) = &*slot {
            return Ok(database.clone());
        }
        let opened = Arc::new(open(&self.path).map_err(Box::new)?);
        self.suspect.store(false, Ordering::Release);
        Ok(slot.insert(opened).clone())
    }

    /// Does work on the database, and remembers if it cannot be used any more.
    fn work<T>(&self, work: impl FnOnce(&Database) -> Result<T, TableError>) -> Result<T, TableError> {
        let result = work(&*self.get()?);
        if matches!(&result, Err(TableError::Redb(redb::Error::Io(_) | redb::Error::PreviousIo))) {
            self.suspect.store(true, Ordering::Release);
        }
        result
    }
}

impl fmt::Debug for RedbSegmentIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbSegmentIndex").field("path", &self.path).finish_non_exhaustive()
    }
}

/// The file cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It is not a table, is damaged, or is of another version.
    #[error(
        "`{}` is damaged ({what}); it holds nothing that is not elsewhere: stop Strandline, delete the file, and it is rebuilt at the next start",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// Another process has it open.
    #[error("`{}` is open in another process: stop that one first", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The system refuses.
    #[error("cannot open `{}`: {source}", path.display())]
    Failed {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: Box<redb::Error>,
    },
    /// Opening did not finish.
    #[error(transparent)]
    Interrupted(#[from] BlockingError),
}

/// What goes wrong inside of a transaction.
#[derive(Debug, thiserror::Error)]
enum TableError {
    #[error(transparent)]
    Redb(#[from] redb::Error),
    #[error(transparent)]
    Encoding(#[from] RowEncodingError),
    #[error(transparent)]
    Interrupted(#[from] BlockingError),
    #[error(transparent)]
    Reopen(#[from] Box<OpenError>),
}

/// Lets `?` take each of redb's own errors.
macro_rules! from_redb {
    ($($error:ty),*) => {$(
        impl From<$error> for TableError {
            fn from(error: $error) -> Self {
                Self::Redb(error.into())
            }
        }
    )*};
}
from_redb!(redb::TransactionError, redb::TableError, redb::StorageError, redb::CommitError);

impl TableError {
    fn is_full(&self) -> bool {
        let full = |kind| matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
        matches!(self, Self::Redb(redb::Error::Io(error)) if full(error.kind()))
    }
}

impl From<TableError> for PutError {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Encoding(error) => Self::Encoding(error),
            error if error.is_full() => Self::Full { source: Arc::new(error) },
            error => Self::Failed { source: Arc::new(error) },
        }
    }
}

impl From<TableError> for RemoveError {
    fn from(error: TableError) -> Self {
        if error.is_full() { Self::Full { source: Arc::new(error) } } else { Self::Failed { source: Arc::new(error) } }
    }
}

impl From<TableError> for ReadError {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Encoding(error) => Self::Encoding(error),
            error => Self::Failed { source: Arc::new(error) },
        }
    }
}

impl RedbSegmentIndex {
    /// Opens the file, or makes it. After a new one, ask [`needs_rebuild`](Self::needs_rebuild).
    pub async fn open(path: impl Into<PathBuf>, spawner: Spawner) -> Result<Self, OpenError> {
        let path: PathBuf = path.into();
        let opened: Arc<Path> = Arc::from(path.as_path());
        // Only now: of a node at work nobody asks any more whether rows are missing.
        let open_first = move || match remove_unmade(&path) {
            Ok(()) => open(&path),
            Err(error) => Err(OpenError::Failed { path, source: Box::new(redb::Error::Io(error)) }),
        };
        let database = spawner.blocking("open the segment index", open_first).await??;
        let database = Mutex::new(Some(Arc::new(database)));
        let handle = Arc::new(Handle { path: opened.clone(), database, suspect: AtomicBool::new(false) });
        Ok(Self { handle, spawner, path: opened })
    }

    /// Whether rows may be missing because the file was new, or its rebuild did not end: then put the rows of
    /// every sealed object's footer and call [`mark_rebuilt`](Self::mark_rebuilt).
    pub async fn needs_rebuild(&self) -> Result<bool, ReadError> {
        let complete = self.read(|database| {
            let transaction = database.begin_read()?;
            Ok(transaction.open_table(META)?.get(COMPLETE)?.is_some())
        });
        Ok(!complete.await?)
    }

    /// Every sealed object that could be read has its rows here; remembered in the file. `gaps`: offsets are left for which there is no
    /// row, since their object is damaged or gone.
    pub async fn mark_rebuilt(&self, gaps: bool) -> Result<(), PutError> {
        let marked = self.write(move |transaction| {
            let mut table = transaction.open_table(META)?;
            if gaps {
                table.insert(GAPS, 1)?;
            } else {
                table.remove(GAPS)?;
            }
            table.insert(COMPLETE, 1)?;
            Ok(())
        });
        Ok(marked.await?)
    }

    /// Whether the last [`mark_rebuilt`](Self::mark_rebuilt) spoke of gaps: then look whether objects that no row names can be read by
    /// now.
    pub async fn has_gaps(&self) -> Result<bool, ReadError> {
        let gaps = self.read(|database| Ok(database.begin_read()?.open_table(META)?.get(GAPS)?.is_some()));
        Ok(gaps.await?)
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, TableError> + Send + 'static,
    ) -> Result<T, TableError> {
        let handle = Arc::clone(&self.handle);
        self.spawner.blocking("read the segment index", move || handle.work(work)).await?
    }

    /// One transaction: all of `work` is durable when this returns, or none of it is there.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&redb::WriteTransaction) -> Result<T, TableError> + Send + 'static,
    ) -> Result<T, TableError> {
        let handle = Arc::clone(&self.handle);
        let write = move |database: &Database| {
            let mut transaction = database.begin_write()?;
            // Writes are rare here; so a start after a kill need not walk the whole file.
            transaction.set_quick_repair(true);
            let value = work(&transaction)?;
            transaction.commit()?;
            Ok(value)
        };
        self.spawner.blocking("write the segment index", move || handle.work(write)).await?
    }

    async fn range(
        &self,
        from: Bound<[u8; KEY_BYTES]>,
        to: Bound<[u8; KEY_BYTES]>,
        limit: usize,
    ) -> Result<Vec<SealedRow>, ReadError> {
        let limit = limit.min(limits::SEGMENT_INDEX_SCAN_ROWS);
        let rows = self.read(move |database| {
            let table = database.begin_read()?.open_table(ROWS)?;
            let mut rows = Vec::new();
            for stored in table.range::<&[u8; KEY_BYTES]>((from.as_ref(), to.as_ref()))?.take(limit) {
                let (key, row) = stored?;
                rows.push(decode_row(decode_key(key.value())?, row.value())?);
            }
            Ok(rows)
        });
        Ok(rows.await?)
    }
}

fn open(path: &Path) -> Result<Database, OpenError> {
    let damaged = |what: String| OpenError::Damaged { path: path.to_owned(), what };
    let failed = |error: redb::Error| OpenError::Failed { path: path.to_owned(), source: Box::new(error) };
    // A damaged file may make redb panic; for us that is one more way to say 'damaged'.
    let opened = catch_unwind(AssertUnwindSafe(|| {
        let database =
            Builder::new().set_cache_size(limits::SEGMENT_INDEX_CACHE_BYTES).create(path).map_err(redb::Error::from)?;
        create_tables(&database)?;
        Ok(database)
    }));
    let error = match opened {
        Ok(Ok(database)) => {
            sync_parent(path).map_err(|error| failed(redb::Error::Io(error)))?;
            return Ok(database);
        }
        Ok(Err(error)) => error,
        Err(_) => return Err(damaged("it cannot be made sense of".to_owned())),
    };
    match error {
        redb::Error::DatabaseAlreadyOpen => Err(OpenError::InUse { path: path.to_owned() }),
        redb::Error::Io(error) if !matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof) => {
            Err(failed(redb::Error::Io(error)))
        }
        other => Err(damaged(other.to_string())),
    }
}

/// Removes a file whose making a crash cut short: its first bytes are written last. (Nothing else begins so.)
fn remove_unmade(path: &Path) -> io::Result<()> {
    let mut first = [0; 9];
    let is_unmade = match File::open(path).and_then(|mut file| file.read_exact(&mut first)) {
        Ok(()) => first == [0; 9],
        Err(error) if error.kind() == ErrorKind::NotFound || error.kind() == ErrorKind::UnexpectedEof => false,
        Err(error) => return Err(error),
    };
    if is_unmade {
        tracing::warn!(path = %path.display(), "the segment index was not made to its end; it is made anew");
        std::fs::remove_file(path)?;
    }
    Ok(())
}

/// Makes the tables of a new file; a file that has them is not written to.
fn create_tables(database: &Database) -> Result<(), redb::Error> {
    let reading = database.begin_read()?;
    let exists = match reading.open_table(META) {
        Ok(_) => reading.open_table(ROWS).map(|_| true),
        Err(error) => Err(error),
    };
    match exists {
        Ok(_) => return Ok(()),
        Err(redb::TableError::TableDoesNotExist(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let mut transaction = database.begin_write()?;
    transaction.set_quick_repair(true);
    transaction.open_table(ROWS)?;
    transaction.open_table(META)?;
    Ok(transaction.commit()?)
}

fn count_rows(rows: u64) {
    metrics::gauge!("strandline_segment_index_rows").set(rows as f64);
}

fn sync_parent(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => Ok(()),
    }
}

fn bounds(topic_partition: TopicPartition, end_offset: i64) -> [u8; KEY_BYTES] {
    encode_key(RowKey { topic_partition, end_offset })
}

#[async_trait]
impl SegmentIndex for RedbSegmentIndex {
    async fn put(&self, rows: Vec<SealedRow>) -> Result<PutOutcome, PutError> {
        check_rows(&rows)?;
        let outcome = self.write(move |transaction| {
            let (mut table, mut outcome) = (transaction.open_table(ROWS)?, PutOutcome::default());
            for row in rows {
                let key = encode_key(row.key());
                let there = match table.get(&key)? {
                    Some(stored) => Some(decode_row(row.key(), stored.value())?),
                    None => None,
                };
                if gives_way(there.as_ref(), &row, &mut outcome) {
                    table.insert(&key, encode_row(&row).as_slice())?;
                }
            }
            count_rows(table.len()?);
            Ok(outcome)
        });
        Ok(outcome.await?)
    }

    async fn find(&self, topic_partition: TopicPartition, offset: i64) -> Result<Option<SealedRow>, ReadError> {
        Ok(self.scan(topic_partition, offset, 1).await?.pop())
    }

    async fn scan(&self, topic_partition: TopicPartition, from_offset: i64, limit: usize) -> Result<Vec<SealedRow>, ReadError> {
        if from_offset == i64::MAX {
            return Ok(Vec::new());
        }
        let from = Bound::Excluded(bounds(topic_partition, from_offset));
        self.range(from, Bound::Included(bounds(topic_partition, i64::MAX)), limit).await
    }

    async fn scan_all(&self, after: Option<RowKey>, limit: usize) -> Result<Vec<SealedRow>, ReadError> {
        let from = after.map_or(Bound::Unbounded, |after| Bound::Excluded(encode_key(after)));
        self.range(from, Bound::Unbounded, limit).await
    }

    async fn remove(&self, keys: Vec<RowKey>) -> Result<u64, RemoveError> {
        check_keys(&keys)?;
        let removed = self.write(move |transaction| {
            let mut table = transaction.open_table(ROWS)?;
            let mut removed = 0;
            for key in keys {
                removed += u64::from(table.remove(&encode_key(key))?.is_some());
            }
            count_rows(table.len()?);
            Ok(removed)
        });
        Ok(removed.await?)
    }

    async fn remove_topic(&self, topic_id: TopicId) -> Result<u64, RemoveError> {
        let removed = self.write(move |transaction| {
            let mut table = transaction.open_table(ROWS)?;
            let before = table.len()?;
            let first = bounds(TopicPartition { topic_id, partition: i32::MIN }, i64::MIN);
            let last = bounds(TopicPartition { topic_id, partition: i32::MAX }, i64::MAX);
            table.retain_in::<&[u8; KEY_BYTES], _>(&first..=&last, |_, _| false)?;
            count_rows(table.len()?);
            Ok(before - table.len()?)
        });
        Ok(removed.await?)
    }

    async fn count(&self) -> Result<u64, ReadError> {
        let count = self.read(|database| Ok(database.begin_read()?.open_table(ROWS)?.len()?));
        Ok(count.await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_whose_making_was_cut_short_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index.redb");
        drop(RedbSegmentIndex::open(&path, Spawner::tokio()).await.unwrap());
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[..9].fill(0);
        for unmade in [vec![0; 1 << 20], bytes, Vec::new()] {
            std::fs::write(&path, unmade).unwrap();
            let index = RedbSegmentIndex::open(&path, Spawner::tokio()).await.unwrap();
            assert!(index.needs_rebuild().await.unwrap());
        }
    }

    #[tokio::test]
    async fn after_a_failure_the_file_is_opened_anew_and_has_its_rows() {
        let dir = tempfile::tempdir().unwrap();
        let index = RedbSegmentIndex::open(dir.path().join("index.redb"), Spawner::tokio()).await.unwrap();
        index.mark_rebuilt(false).await.unwrap();
        let before = index.handle.get().unwrap();
        index.handle.suspect.store(true, Ordering::Release);
        // Somebody is at work on it: it stays open for them.
        assert!(Arc::ptr_eq(&before, &index.handle.get().unwrap()));
        drop(before);
        assert!(!index.needs_rebuild().await.unwrap());
        assert!(!index.handle.suspect.load(Ordering::Acquire));
        index.mark_rebuilt(false).await.unwrap();
        // What the disk says makes it suspect again.
        let failed = index.handle.work(|_| Err::<(), _>(TableError::Redb(redb::Error::PreviousIo)));
        assert!(failed.is_err() && index.handle.suspect.load(Ordering::Acquire));
        assert!(!index.needs_rebuild().await.unwrap());
    }
}
