//! The promises of a store, kept by both of ours, and what the folder adds to them.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // helpers of tests, and threads that race

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::{ObjectStoreExt, PutMode, PutPayload};
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, Barrier};
use strandline_object_store::{
    Cause, FolderStore, InMemory, ObjectStore, Objects, OpenError, Path, Purpose, PutNewError, RetryPolicy, conformance, crc32c,
    put_new, self_test,
};
use strandline_runtime::{Runtime, Spawner};

struct Folder {
    directory: tempfile::TempDir,
    store: FolderStore,
}

impl Folder {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path()).await.unwrap();
        Self { directory, store }
    }

    fn file(&self, path: &str) -> PathBuf {
        self.directory.path().join("store").join(path)
    }

    fn tmp_is_empty(&self) -> bool {
        std::fs::read_dir(self.directory.path().join("tmp")).unwrap().next().is_none()
    }

    fn objects(&self) -> Objects {
        Objects::new(Arc::new(self.store.clone()), RetryPolicy::default(), &Runtime::system())
    }
}

async fn open(directory: &FilePath) -> Result<FolderStore, OpenError> {
    FolderStore::open(directory.join("store"), directory.join("tmp"), Spawner::tokio()).await
}

async fn create(store: &dyn ObjectStore, path: &str, bytes: &'static [u8]) -> object_store::Result<()> {
    store.put_opts(&Path::from(path), PutPayload::from_static(bytes), PutMode::Create.into()).await.map(|_| ())
}

#[tokio::test]
async fn memory_keeps_every_promise() {
    conformance::run(|| async { Arc::new(InMemory::new()) as Arc<dyn ObjectStore> }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_folder_keeps_every_promise() {
    let directory = tempfile::tempdir().unwrap();
    let next = std::sync::atomic::AtomicU32::new(0);
    let make = || async {
        let n = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Arc::new(open(&directory.path().join(n.to_string())).await.unwrap()) as Arc<dyn ObjectStore>
    };
    conformance::run(make).await.unwrap();
    for n in 0..next.into_inner() {
        let tmp = directory.path().join(n.to_string()).join("tmp");
        assert_eq!(std::fs::read_dir(tmp).unwrap().count(), 0, "something half-written was left");
    }
}

#[tokio::test]
async fn the_folder_keeps_every_promise_through_the_decorators_and_in_place() {
    let directory = tempfile::tempdir().unwrap();
    let next = std::sync::atomic::AtomicU32::new(0);
    let make = || async {
        let runtime = Runtime::simulated(1, 0);
        let n = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let (root, tmp) = (directory.path().join(format!("{n}/s")), directory.path().join(format!("{n}/t")));
        let store = FolderStore::open(root, tmp, Spawner::in_place()).await.unwrap();
        let objects = Objects::new(Arc::new(store), RetryPolicy::default(), &runtime);
        Arc::clone(objects.store(Purpose::SelfTest))
    };
    conformance::run(make).await.unwrap();
}

#[tokio::test]
async fn both_pass_the_test_at_start() {
    let runtime = Runtime::system();
    self_test(&Objects::in_memory(&runtime)).await.unwrap();
    let folder = Folder::new().await;
    self_test(&folder.objects()).await.unwrap();
    assert!(!folder.file("wal").exists() && folder.tmp_is_empty());
}

#[test]
fn of_many_threads_that_create_one_name_one_wins_each_round() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let folder = runtime.block_on(Folder::new());
    let (threads, rounds) = (16_u8, 30);
    let barrier = Barrier::new(usize::from(threads));
    let wins: usize = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..threads)
            .map(|racer| {
                let (store, handle, barrier) = (folder.store.clone(), runtime.handle().clone(), &barrier);
                scope.spawn(move || {
                    let mut wins = 0;
                    for round in 0..rounds {
                        barrier.wait();
                        // A new directory each time, so that making it races as well.
                        let path = Path::from(format!("bronze/t/{round}/object"));
                        let payload = Bytes::from(vec![racer; 3_000]).into();
                        match handle.block_on(store.put_opts(&path, payload, PutMode::Create.into())) {
                            Ok(_) => wins += 1,
                            Err(error) => assert_eq!(Cause::of(&error), Cause::AlreadyExists, "{error}"),
                        }
                    }
                    wins
                })
            })
            .collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).sum()
    });
    assert_eq!(wins, rounds);
    for round in 0..rounds {
        let bytes = std::fs::read(folder.file(&format!("bronze/t/{round}/object"))).unwrap();
        assert!(bytes.len() == 3_000 && bytes.iter().all(|byte| *byte == bytes[0]), "round {round} is a mixture");
    }
    assert!(folder.tmp_is_empty());
}

#[test]
fn puts_and_deletions_in_one_directory_do_not_disturb_one_another() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let folder = runtime.block_on(Folder::new());
    std::thread::scope(|scope| {
        for racer in 0..8 {
            let (store, handle) = (folder.store.clone(), runtime.handle().clone());
            scope.spawn(move || {
                for n in 0..60 {
                    // Every deletion may empty the directory, which is then removed under the others' feet.
                    let path = Path::from(format!("bronze/t/ingest_date=2026-11-23/{racer}-{n}"));
                    let payload = Bytes::from_static(b"object").into();
                    handle.block_on(store.put_opts(&path, payload, PutMode::Create.into())).unwrap();
                    assert_eq!(handle.block_on(store.head(&path)).unwrap().size, 6);
                    handle.block_on(store.delete(&path)).unwrap();
                }
            });
        }
    });
    let listed: Vec<_> = runtime.block_on(store_list(&folder.store));
    assert_eq!(listed, Vec::<String>::new());
    assert!(!folder.file("bronze/t").exists(), "an empty directory was left");
}

async fn store_list(store: &FolderStore) -> Vec<String> {
    let listed: Vec<_> = store.list(None).try_collect().await.unwrap();
    listed.into_iter().map(|meta| meta.location.to_string()).collect()
}

#[tokio::test]
async fn what_an_earlier_process_left_half_written_is_never_an_object_and_goes_at_the_next_start() {
    let folder = Folder::new().await;
    let left = folder.directory.path().join("tmp/put-1-1");
    let foreign = folder.directory.path().join("tmp/other");
    std::fs::write(&left, b"half").unwrap();
    std::fs::write(&foreign, b"not ours").unwrap();
    let store = open(folder.directory.path()).await.unwrap();
    assert!(!left.exists() && foreign.exists());
    assert_eq!(store_list(&store).await, Vec::<String>::new());
    let mut upload = store.put_multipart(&Path::from("bronze/t/1")).await.unwrap();
    upload.put_part(PutPayload::from_static(b"part")).await.unwrap();
    drop(upload);
    assert_eq!(std::fs::read_dir(folder.directory.path().join("tmp")).unwrap().count(), 1, "a dropped upload stays");
}

#[tokio::test]
async fn an_upload_without_all_of_its_parts_is_refused() {
    let folder = Folder::new().await;
    let mut upload = folder.store.put_multipart(&Path::from("bronze/t/1")).await.unwrap();
    drop(upload.put_part(PutPayload::from_static(b"never written")));
    upload.put_part(PutPayload::from_static(b"written")).await.unwrap();
    assert!(upload.complete().await.unwrap_err().to_string().contains("before all of its parts"));
    assert!(!folder.file("bronze/t/1").exists() && folder.tmp_is_empty());
}

#[tokio::test]
async fn names_that_lead_out_of_the_folder_are_refused() {
    let folder = Folder::new().await;
    let objects = folder.objects();
    for path in ["../outside", "wal/../../outside", "", "/", "wal//1", "/wal/1", "wal/1/", "wal/\u{0}", "wal/."] {
        let put = objects.put_new(Purpose::Wal, path, vec![], 0).await.unwrap_err();
        assert!(matches!(put, PutNewError::Refused { .. }), "{path:?}: {put}");
        assert!(!put.is_retriable());
        assert!(objects.get(Purpose::Read, path).await.is_err(), "{path:?}");
    }
    // A `Path` built by hand encodes what it does not like, so that it stays below the root.
    create(&folder.store, "wal/../outside", b"x").await.unwrap();
    assert_eq!(store_list(&folder.store).await, ["wal/%2E%2E/outside"]);
    assert_eq!(std::fs::read_dir(folder.directory.path()).unwrap().count(), 2);
}

#[tokio::test]
async fn a_name_too_long_or_taken_by_a_directory_is_said_and_leaves_nothing() {
    let folder = Folder::new().await;
    let objects = folder.objects();
    let long = format!("wal/{}", "n".repeat(256));
    let error = objects.put_new(Purpose::Wal, &long, vec![], 0).await.unwrap_err();
    assert!(matches!(error, PutNewError::Refused { .. }) && error.to_string().contains("too long"), "{error}");
    create(&folder.store, "a/b", b"x").await.unwrap();
    for path in ["a", "a/b/c", "a/b/c/d"] {
        let error = objects.put_new(Purpose::Wal, path, vec![], 0).await.unwrap_err();
        assert!(!error.is_retriable() && error.to_string().contains("cannot be an object"), "{error}");
        let error = objects.put_replace(Purpose::Manifest, path, Bytes::new()).await.unwrap_err();
        assert!(!error.is_retriable(), "{error}");
    }
    assert!(folder.tmp_is_empty());
}

#[tokio::test]
async fn an_object_of_a_dead_process_is_taken_only_if_it_is_the_same() {
    let folder = Folder::new().await;
    std::fs::create_dir_all(folder.file("bronze/t")).unwrap();
    std::fs::write(folder.file("bronze/t/1"), b"sealed bytes").unwrap();
    let put = async |bytes: &'static [u8]| {
        let chunks = vec![Bytes::from_static(bytes)];
        let crc = crc32c(&chunks);
        put_new(&folder.store, &Path::from("bronze/t/1"), chunks, crc).await
    };
    put(b"sealed bytes").await.unwrap();
    for other in [&b"sealed BYTES"[..], b"longer sealed bytes", b""] {
        let error = put(other).await.unwrap_err();
        assert!(matches!(error, PutNewError::Taken { found_bytes: 12, .. }) && !error.is_retriable(), "{error}");
    }
    assert_eq!(std::fs::read(folder.file("bronze/t/1")).unwrap(), b"sealed bytes");
}

#[tokio::test]
async fn what_is_not_an_object_is_not_listed() {
    let folder = Folder::new().await;
    create(&folder.store, "bronze/t/1", b"x").await.unwrap();
    std::fs::create_dir_all(folder.file("bronze/empty/deep")).unwrap();
    std::os::unix::fs::symlink(folder.file("bronze/t/1"), folder.file("bronze/t/link")).unwrap();
    assert_eq!(store_list(&folder.store).await, ["bronze/t/1"]);
}

#[tokio::test]
async fn the_tag_of_a_put_is_the_tag_of_the_object() {
    let folder = Folder::new().await;
    let path = Path::from("manifest/t.json");
    let first = folder.store.put(&path, PutPayload::from_static(b"1")).await.unwrap();
    assert_eq!(folder.store.head(&path).await.unwrap().e_tag, first.e_tag);
    let second = folder.store.put(&path, PutPayload::from_static(b"2")).await.unwrap();
    assert_ne!(first.e_tag, second.e_tag);
    let options = object_store::GetOptions { if_match: first.e_tag, ..Default::default() };
    assert!(matches!(folder.store.get_opts(&path, options).await, Err(object_store::Error::Precondition { .. })));
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_refused_with_its_reason() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("store"), b"a file").unwrap();
    let error = open(directory.path()).await.unwrap_err();
    assert!(error.to_string().contains("store"), "{error}");
}
