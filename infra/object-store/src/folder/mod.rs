//! Objects as files of a folder.
//!
//! A put streams to the temporary folder, is synced, and gets its name by a rename that does not replace;
//! then its directory is synced. So nobody ever sees half an object, a name is given once, and what was
//! acknowledged survives a power cut. What lies below the root is objects and nothing else.

mod durable;
mod error;
mod list;
mod publish;
mod read;
mod staged;
mod upload;

pub use error::FolderError;

use crate::new_object::{NameRule, PutRule};
use async_trait::async_trait;
use durable::DurableDirectories;
use error::STORE;
use futures::stream::{BoxStream, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyMode, CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, RenameTargetMode, Result, UpdateVersion,
};
use publish::Mode;
use staged::Staged;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use strandline_runtime::Spawner;
use strandline_types::limits;

/// Our implementation of `object_store`'s trait on a folder; cheap to clone.
///
/// One process owns the folder (the node's lock sees to that). Paths map to files of the same name; a path
/// that the file system cannot hold is an error, never changed. Versions, tags and attributes are not
/// supported.
#[derive(Debug, Clone)]
pub struct FolderStore {
    folder: Arc<Folder>,
    spawner: Spawner,
}

/// The blocking half: everything here runs through the spawner.
#[derive(Debug)]
struct Folder {
    root: PathBuf,
    tmp: PathBuf,
    directories: DurableDirectories,
    /// One object at a time is held against its tag and replaced.
    replacing: Mutex<()>,
}

/// The folder cannot serve as a store. None of these goes away by trying again.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A directory cannot be made, read or written.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// A rename cannot cross file systems.
    #[error(
        "`{}` and `{}` lie on different file systems, so an object could not get its name in one step: put both on one",
        root.display(),
        tmp.display()
    )]
    TwoFileSystems {
        /// Where objects lie.
        root: PathBuf,
        /// Where they are written.
        tmp: PathBuf,
    },
    /// Opening did not finish.
    #[error(transparent)]
    Interrupted(#[from] strandline_runtime::BlockingError),
}

impl FolderStore {
    /// Opens the folder `root`, with `tmp` on the same file system for what is being written; makes both
    /// where missing and removes what an earlier process left half-written in `tmp`.
    pub async fn open(root: impl Into<PathBuf>, tmp: impl Into<PathBuf>, spawner: Spawner) -> Result<Self, OpenError> {
        let (root, tmp) = (root.into(), tmp.into());
        let folder = spawner.blocking("open the object folder", move || Folder::open(root, tmp)).await??;
        Ok(Self { folder: Arc::new(folder), spawner })
    }

    async fn blocking<T: Send + 'static>(
        &self,
        name: &'static str,
        location: &Path,
        work: impl FnOnce(&Folder) -> Result<T, FolderError> + Send + 'static,
    ) -> Result<T> {
        let folder = Arc::clone(&self.folder);
        let done = self.spawner.blocking(name, move || work(&folder)).await;
        done.map_err(FolderError::from).and_then(|done| done).map_err(|error| error.into_store_error(location))
    }

    async fn publish_file(&self, from: &Path, to: &Path, mode: Mode, moved: bool) -> Result<()> {
        let (from, target) = (self.folder.file(from)?, self.folder.file(to)?);
        let location = to.clone();
        self.blocking("copy an object", to, move |folder| {
            Ok(if moved { folder.move_object(&from, &target, mode)? } else { folder.copy_object(&from, &target, mode)? })
        })
        .await?
        .created(&location)
    }
}

impl Folder {
    fn open(root: PathBuf, tmp: PathBuf) -> Result<Self, OpenError> {
        for directory in [&root, &tmp] {
            fs::create_dir_all(directory).map_err(FolderError::io("create the directory", directory))?;
        }
        let root = fs::canonicalize(&root).map_err(FolderError::io("open the directory", &root))?;
        let tmp = fs::canonicalize(&tmp).map_err(FolderError::io("open the directory", &tmp))?;
        let device = |path: &PathBuf| fs::metadata(path).map(|metadata| metadata.dev()).map_err(FolderError::io("look at", path));
        if device(&root)? != device(&tmp)? {
            return Err(OpenError::TwoFileSystems { root, tmp });
        }
        for entry in fs::read_dir(&tmp).map_err(FolderError::io("list", &tmp))? {
            let entry = entry.map_err(FolderError::io("list", &tmp))?;
            if entry.file_name().to_string_lossy().starts_with(staged::PREFIX) {
                fs::remove_file(entry.path()).map_err(FolderError::io("remove", &entry.path()))?;
            }
        }
        let directories = DurableDirectories::new(root.clone());
        if let Some(parent) = root.parent() {
            directories.sync(parent)?;
        }
        // Writing is tried now, so that a folder without permission is said at the start.
        Staged::create(&tmp)?;
        Ok(Self { root, tmp, directories, replacing: Mutex::default() })
    }

    /// The file of an object; the root itself is none.
    fn file(&self, location: &Path) -> Result<PathBuf> {
        let mut file = self.root.clone();
        for part in location.parts() {
            let name = part.as_ref();
            // `Path` forbids all of these already; it is a fence against its next version.
            if matches!(name, "" | "." | "..") || name.contains(['/', '\0']) {
                return Err(not_an_object(location));
            }
            file.push(name);
        }
        if location.is_root() { Err(not_an_object(location)) } else { Ok(file) }
    }

    fn put(&self, target: &std::path::Path, payload: &PutPayload, mode: Mode) -> Result<publish::Done, FolderError> {
        self.directories.check()?;
        let mut staged = Staged::create(&self.tmp)?;
        staged.append(payload.as_ref())?;
        staged.sync()?;
        self.publish(&mut staged, target, mode)
    }

    fn delete(&self, target: &std::path::Path) -> Result<(), FolderError> {
        if target.is_dir() {
            return Err(FolderError::io("delete", target)(io::ErrorKind::NotFound.into()));
        }
        fs::remove_file(target).map_err(FolderError::io("delete", target))
    }

    /// Deletes many; each directory is synced once. Nothing is deleted once a sync has failed.
    fn delete_all(&self, locations: &[Path]) -> Vec<Result<Path>> {
        // Per directory those that count once it is synced.
        let mut unsynced: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        let mut results = Vec::with_capacity(locations.len());
        for (at, location) in locations.iter().enumerate() {
            let deleted = self.file(location).and_then(|target| {
                let done = self.directories.check().and_then(|()| self.delete(&target));
                let done = done.map_err(|error| error.into_store_error(location));
                // Another try may have deleted it whose sync failed: that it is gone counts once that is synced, too.
                if let Some(parent) = target.parent().filter(|_| done.is_ok() || is_gone(&done)) {
                    unsynced.entry(parent.to_owned()).or_default().push(at);
                }
                done.map(|()| location.clone())
            });
            results.push(deleted);
        }
        for (parent, those) in unsynced {
            // It may be gone already, with all that was in it.
            let Err(error) = self.directories.sync_nearest(&parent) else {
                self.directories.remove_empty(&parent);
                continue;
            };
            let (kind, reason) = match &error {
                FolderError::Io { source, .. } | FolderError::NotSynced { source, .. } => (source.kind(), source.to_string()),
                other => (io::ErrorKind::Other, other.to_string()),
            };
            for at in those {
                let source = io::Error::new(kind, reason.clone());
                results[at] = Err(FolderError::NotSynced { path: parent.clone(), source }.into_store_error(&locations[at]));
            }
        }
        results
    }
}

fn is_gone<T>(result: &Result<T>) -> bool {
    matches!(result, Err(object_store::Error::NotFound { .. }))
}

fn not_an_object(location: &Path) -> object_store::Error {
    object_store::path::Error::EmptySegment { path: location.to_string() }.into()
}

fn generic(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> object_store::Error {
    object_store::Error::Generic { store: STORE, source: source.into() }
}

fn not_implemented(operation: &str) -> object_store::Error {
    object_store::Error::NotImplemented { operation: operation.to_owned(), implementer: "FolderStore".to_owned() }
}

impl fmt::Display for FolderStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "folder {}", self.folder.root.display())
    }
}

#[async_trait]
impl ObjectStore for FolderStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        if !options.attributes.is_empty() {
            return Err(not_implemented("attributes"));
        }
        let mode = match options.mode {
            PutMode::Create => Mode::Create,
            PutMode::Overwrite => Mode::Replace,
            PutMode::Update(UpdateVersion { e_tag: Some(e_tag), version: None }) => Mode::Instead(e_tag),
            PutMode::Update(_) => return Err(not_implemented("updates of a version")),
        };
        let target = self.folder.file(location)?;
        let done = self.blocking("put an object", location, move |folder| folder.put(&target, &payload, mode));
        done.await?.put_result(location)
    }

    async fn put_multipart_opts(&self, location: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        if !options.attributes.is_empty() {
            return Err(not_implemented("attributes"));
        }
        let mode = match options.extensions.get::<NameRule>() {
            Some(rule) => {
                rule.promise();
                match &rule.rule {
                    PutRule::New => Mode::Create,
                    PutRule::Instead { e_tag } => Mode::Instead(e_tag.clone()),
                }
            }
            None => Mode::Replace,
        };
        let target = self.folder.file(location)?;
        let staged = self.blocking("begin an upload", location, |folder| {
            folder.directories.check()?;
            Staged::create(&folder.tmp)
        });
        Ok(Box::new(upload::Upload::new(self.clone(), location.clone(), target, staged.await?, mode)))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.read(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        locations
            .ready_chunks(limits::STORE_DELETE_BATCH)
            .then(move |batch| {
                let store = store.clone();
                async move {
                    // A name that could not be read is answered in its own place.
                    let mut results: Vec<Result<Path>> = Vec::with_capacity(batch.len());
                    let good: Vec<Path> = batch.iter().filter_map(|path| path.as_ref().ok().cloned()).collect();
                    let folder = Arc::clone(&store.folder);
                    let deleted = store.spawner.blocking("delete objects", move || folder.delete_all(&good)).await;
                    let mut deleted = match deleted {
                        Ok(deleted) => deleted.into_iter(),
                        Err(error) => vec![Err(generic(FolderError::from(error)))].into_iter(),
                    };
                    for path in batch {
                        let result =
                            path.and_then(|_| deleted.next().unwrap_or_else(|| Err(generic("the deletion did not finish"))));
                        results.push(result);
                    }
                    futures::stream::iter(results)
                }
            })
            .flatten()
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.list_from(prefix, None)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.list_from(prefix, Some(offset.clone()))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.list_level(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let mode = match options.mode {
            CopyMode::Create => Mode::Create,
            CopyMode::Overwrite => Mode::Replace,
        };
        self.publish_file(from, to, mode, false).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let mode = match options.target_mode {
            RenameTargetMode::Create => Mode::Create,
            RenameTargetMode::Overwrite => Mode::Replace,
        };
        self.publish_file(from, to, mode, true).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DeleteError, Effect, Fault, FaultPlan, Faults, Objects, Operation, Purpose, PutNewError, RetryPolicy};
    use bytes::Bytes;
    use rustix::io::Errno;
    use strandline_runtime::Runtime;

    struct Lab {
        directory: tempfile::TempDir,
        store: FolderStore,
        objects: Objects,
    }

    impl Lab {
        async fn new(policy: RetryPolicy) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let (root, tmp) = (directory.path().join("store"), directory.path().join("tmp"));
            let store = FolderStore::open(root, tmp, Spawner::in_place()).await.unwrap();
            let objects = Objects::new(Arc::new(store.clone()), policy, &Runtime::simulated(1, 0));
            Self { directory, store, objects }
        }

        /// Puts an object by a rule: in one request, or in parts if there are enough bytes.
        async fn put(&self, path: &str, bytes: usize, rule: PutRule) -> Result<(), PutNewError> {
            let mut object = self.objects.new_object(Purpose::Snapshot, path, rule)?;
            object.push(vec![Bytes::from(vec![7; bytes])]).await?;
            object.finish().await.map(|_| ())
        }

        fn fail_next_sync(&self, errno: Errno) {
            self.store.folder.directories.fail_next(errno);
        }

        fn is_there(&self, path: &str) -> bool {
            self.directory.path().join("store").join(path).is_file()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_whose_directory_could_not_be_synced_is_no_success_though_it_is_seen() {
        for bytes in [10, limits::STORE_PART_BYTES] {
            let lab = Lab::new(RetryPolicy::once()).await;
            lab.put("wal/0", bytes, PutRule::New).await.unwrap();
            lab.fail_next_sync(Errno::IO);
            let error = lab.put("wal/1", bytes, PutRule::New).await.unwrap_err();
            assert!(matches!(error, PutNewError::Refused { .. }) && error.to_string().contains("cannot sync"), "{error}");
            assert!(lab.is_there("wal/1"));
            // Nor does the next try count, whose sync would do.
            let again = lab.put("wal/1", bytes, PutRule::New).await.unwrap_err();
            assert!(!again.is_retriable() && again.to_string().contains("earlier"), "{again}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_is_not_counted_before_its_directory_is_synced() {
        for bytes in [10, limits::STORE_PART_BYTES] {
            let lab = Lab::new(RetryPolicy::once()).await;
            lab.put("wal/0", bytes, PutRule::New).await.unwrap();
            // A full disk has lost nothing.
            lab.fail_next_sync(Errno::NOSPC);
            assert!(lab.put("wal/1", bytes, PutRule::New).await.unwrap_err().is_full());
            lab.fail_next_sync(Errno::NOSPC);
            assert!(lab.put("wal/1", bytes, PutRule::New).await.unwrap_err().is_full(), "'exists already' is synced, too");
            lab.put("wal/1", bytes, PutRule::New).await.unwrap();
            // The same where an object is replaced by its tag.
            let e_tag = lab.objects.head(Purpose::Snapshot, "wal/1").await.unwrap().e_tag.unwrap();
            let instead = || PutRule::Instead { e_tag: e_tag.clone() };
            for _ in 0..2 {
                lab.fail_next_sync(Errno::NOSPC);
                assert!(lab.put("wal/1", bytes + 1, instead()).await.unwrap_err().is_full());
            }
            lab.put("wal/1", bytes + 1, instead()).await.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_deleted_once_a_directory_could_not_be_synced() {
        let lab = Lab::new(RetryPolicy::default()).await;
        let paths = ["wal/1", "wal/2", "wal/3"].map(str::to_owned);
        for path in &paths {
            lab.put(path, 10, PutRule::New).await.unwrap();
        }
        lab.fail_next_sync(Errno::IO);
        let refused = |result: &Result<(), DeleteError>| matches!(result, Err(DeleteError::Refused { .. }));
        let first = lab.objects.delete_all(Purpose::Garbage, &paths[..1]).await;
        assert!(first.iter().all(refused) && !lab.is_there("wal/1"), "gone for now, and not for certain");
        let others = lab.objects.delete_all(Purpose::Garbage, &paths[1..]).await;
        assert!(others.iter().all(refused) && lab.is_there("wal/2") && lab.is_there("wal/3"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_gone_counts_as_deleted_only_once_its_directory_is_synced() {
        let lab = Lab::new(RetryPolicy::once()).await;
        let paths = ["wal/1".to_owned()];
        lab.put(&paths[0], 10, PutRule::New).await.unwrap();
        lab.put("wal/2", 10, PutRule::New).await.unwrap();
        for _ in 0..2 {
            lab.fail_next_sync(Errno::NOSPC);
            let deleted = lab.objects.delete_all(Purpose::Garbage, &paths).await;
            assert!(deleted[0].is_err() && !lab.is_there("wal/1"), "{deleted:?}");
        }
        assert!(lab.objects.delete_all(Purpose::Garbage, &paths).await[0].is_ok());
    }

    /// On a disk that is too slow for one request.
    #[tokio::test(start_paused = true)]
    async fn what_is_put_in_parts_need_not_be_there_in_the_time_of_one_request() {
        let lab = Lab::new(RetryPolicy::default()).await;
        let (faults, runtime) = (FaultPlan::new(), Runtime::simulated(1, 0));
        let faulty = Faults::new(Arc::new(lab.store.clone()), faults.clone(), &runtime);
        let objects = Objects::new(Arc::new(faulty), RetryPolicy::default(), &runtime);
        let large: Bytes = (0..2 * limits::STORE_PART_BYTES + 1_000).map(|at| (at % 251) as u8).collect();
        let small = large.slice(..1_000);
        let put = async |path: &str, bytes: &Bytes| objects.put_new_in_parts(Purpose::Snapshot, path, bytes.clone()).await;
        for (path, bytes) in [("index/small", &small), ("index/large", &large)] {
            put(path, bytes).await.unwrap();
            put(path, bytes).await.unwrap();
            let other = put(path, &bytes.slice(1..)).await;
            assert!(matches!(other, Err(PutNewError::Taken { .. })), "{other:?}");
            assert!(objects.get_in_pieces(Purpose::Snapshot, path, limits::SNAPSHOT_BYTES).await.unwrap() == *bytes);
        }
        faults.add(Fault::every(Operation::Put, Effect::Delay(limits::STORE_RETRY * 2)));
        put("index/small2", &small).await.unwrap_err();
        put("index/large2", &large).await.unwrap();
        assert_eq!(std::fs::read_dir(lab.directory.path().join("tmp")).unwrap().count(), 0);
    }
}
