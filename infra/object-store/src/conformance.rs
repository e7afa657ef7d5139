//! What every store has to do, as a suite that any implementation can run.
//!
//! `conformance::run(make)` makes a fresh, empty store for each promise and returns the first one that is
//! broken. It asks for what Strandline relies on, and for no more: create-only puts, whole objects, strongly
//! consistent reads and listings in byte order.

use crate::cause::Cause;
use crate::errors::PutNewError;
use crate::new_object::{NewObject, PutRule};
use crate::put_new::{Checksum, crc32c};
use bytes::Bytes;
use futures::future::{BoxFuture, join_all};
use futures::{FutureExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyMode, CopyOptions, GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode, PutPayload, RenameOptions,
    RenameTargetMode, Result as StoreResult,
};
use std::sync::Arc;

/// A promise that a store does not keep.
#[derive(Debug, thiserror::Error)]
#[error("`{promise}` does not hold: {what}")]
pub struct Broken {
    /// Which promise.
    pub promise: &'static str,
    /// What was seen instead.
    pub what: String,
}

type Outcome = Result<(), String>;
type Promise = fn(Arc<dyn ObjectStore>) -> BoxFuture<'static, Outcome>;

/// Every promise by its name.
const PROMISES: &[(&str, Promise)] = &[
    ("an object is created once", |store| created_once(store).boxed()),
    ("of many creators one wins", |store| one_creator_wins(store).boxed()),
    ("a replacement is whole", |store| replaced_whole(store).boxed()),
    ("ranges are exact", |store| ranges(store).boxed()),
    ("empty objects exist", |store| empty_object(store).boxed()),
    ("a large object comes back as it was", |store| large_object(store).boxed()),
    ("what is missing is said to be missing", |store| missing(store).boxed()),
    ("listings are complete, in order, and by whole path parts", |store| listings(store).boxed()),
    ("a deleted object is gone and its name can be used", |store| deletion(store).boxed()),
    ("many are deleted at once, answered in order", |store| bulk_deletion(store).boxed()),
    ("uploads appear whole, or not at all", |store| uploads(store).boxed()),
    ("what is put piece by piece appears whole, and replaces nothing", |store| new_objects(store).boxed()),
    ("copies and moves respect what is there", |store| copies(store).boxed()),
    ("names are taken as they are", |store| names(store).boxed()),
];

/// Runs every promise on a store of its own.
pub async fn run<F, Fut>(make: F) -> Result<(), Broken>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Arc<dyn ObjectStore>>,
{
    for (promise, holds) in PROMISES {
        holds(make().await).await.map_err(|what| Broken { promise, what })?;
    }
    Ok(())
}

fn need(holds: bool, what: impl Into<String>) -> Outcome {
    if holds { Ok(()) } else { Err(what.into()) }
}

fn said<T, E: std::fmt::Display>(what: &str, result: Result<T, E>) -> Result<T, String> {
    result.map_err(|error| format!("{what}: {error}"))
}

fn fails<T>(what: &str, cause: Cause, result: StoreResult<T>) -> Outcome {
    match result {
        Ok(_) => Err(format!("{what}: succeeded")),
        Err(error) if Cause::of(&error) == cause => Ok(()),
        Err(error) => Err(format!("{what}: not {cause:?} but {error}")),
    }
}

async fn create(store: &Arc<dyn ObjectStore>, path: &str, bytes: &'static [u8]) -> StoreResult<()> {
    store.put_opts(&Path::from(path), PutPayload::from_static(bytes), PutMode::Create.into()).await.map(|_| ())
}

async fn bytes(store: &Arc<dyn ObjectStore>, path: &str) -> Result<Bytes, String> {
    let result = said("get", store.get(&Path::from(path)).await)?;
    said("read the body", result.bytes().await)
}

async fn list(store: &Arc<dyn ObjectStore>, prefix: &str) -> Result<Vec<String>, String> {
    let prefix = Path::from(prefix);
    let listed: StoreResult<Vec<_>> = store.list((!prefix.is_root()).then_some(&prefix)).try_collect().await;
    Ok(said("list", listed)?.into_iter().map(|meta| meta.location.to_string()).collect())
}

async fn created_once(store: Arc<dyn ObjectStore>) -> Outcome {
    said("create", create(&store, "wal/1", b"first").await)?;
    fails("create again", Cause::AlreadyExists, create(&store, "wal/1", b"second").await)?;
    fails("create the same again", Cause::AlreadyExists, create(&store, "wal/1", b"first").await)?;
    need(bytes(&store, "wal/1").await? == "first", "the first bytes are not there any more")
}

async fn one_creator_wins(store: Arc<dyn ObjectStore>) -> Outcome {
    let racers = (0..32_u8).map(|racer| {
        let store = Arc::clone(&store);
        async move {
            let payload = Bytes::from(vec![racer; 10_000 + usize::from(racer)]);
            let path = Path::from("bronze/race/one");
            (racer, store.put_opts(&path, payload.into(), PutMode::Create.into()).await)
        }
    });
    let mut winners = Vec::new();
    for (racer, result) in join_all(racers).await {
        match result {
            Ok(_) => winners.push(racer),
            Err(error) => fails::<()>("lose the race", Cause::AlreadyExists, Err(error))?,
        }
    }
    let [winner] = winners[..] else { return Err(format!("{} creators won", winners.len())) };
    let there = bytes(&store, "bronze/race/one").await?;
    need(there == vec![winner; 10_000 + usize::from(winner)], "not the winner's bytes")
}

async fn replaced_whole(store: Arc<dyn ObjectStore>) -> Outcome {
    let path = Path::from("manifest/topic/today.json");
    said("put", store.put(&path, Bytes::from(vec![0; 1_000]).into()).await)?;
    let writer = async {
        for round in 1..=40_u8 {
            let payload = Bytes::from(vec![round; 1_000 + 500 * usize::from(round)]);
            said("replace", store.put(&path, payload.into()).await)?;
        }
        Ok::<(), String>(())
    };
    let reader = async {
        for _ in 0..80 {
            let seen = bytes(&store, path.as_ref()).await?;
            let round = seen.first().copied().unwrap_or(0);
            let whole = seen == vec![round; 1_000 + 500 * usize::from(round)];
            need(whole, format!("a mixture of objects was seen, {} bytes", seen.len()))?;
        }
        Ok::<(), String>(())
    };
    let (written, read) = futures::join!(writer, reader);
    written.and(read)
}

async fn ranges(store: Arc<dyn ObjectStore>) -> Outcome {
    said("create", create(&store, "wal/ranges", b"0123456789").await)?;
    let path = Path::from("wal/ranges");
    let get = async |range: GetRange| {
        let options = GetOptions { range: Some(range), ..GetOptions::default() };
        store.get_opts(&path, options).await
    };
    for (range, wanted, place) in [
        (GetRange::Bounded(2..5), "234", 2..5),
        (GetRange::Bounded(8..100), "89", 8..10),
        (GetRange::Offset(7), "789", 7..10),
        (GetRange::Suffix(3), "789", 7..10),
        (GetRange::Suffix(100), "0123456789", 0..10),
    ] {
        let result = said("get a range", get(range.clone()).await)?;
        need(result.range == place, format!("{range} answered {:?}", result.range))?;
        need(result.meta.size == 10, "the size in the reply is not the object's")?;
        need(said("read the body", result.bytes().await)? == wanted, format!("wrong bytes for {range}"))?;
    }
    need(get(GetRange::Bounded(10..12)).await.is_err(), "a range behind the end was answered")?;
    let several = said("get ranges", store.get_ranges(&path, &[0..1, 4..6, 9..10]).await)?;
    need(several == ["0", "45", "9"], "wrong bytes for several ranges")
}

async fn empty_object(store: Arc<dyn ObjectStore>) -> Outcome {
    said("create", create(&store, "log/empty", b"").await)?;
    need(bytes(&store, "log/empty").await?.is_empty(), "bytes in an empty object")?;
    need(said("head", store.head(&Path::from("log/empty")).await)?.size == 0, "an empty object has a size")?;
    fails("create again", Cause::AlreadyExists, create(&store, "log/empty", b"").await)
}

async fn large_object(store: Arc<dyn ObjectStore>) -> Outcome {
    // Larger than one piece of a local read, in chunks of uneven lengths, some of them empty.
    let whole: Vec<u8> = (0..9_500_001_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let whole = Bytes::from(whole);
    let (mut chunks, mut at) = (Vec::new(), 0);
    while at < whole.len() {
        let length = (at * 7 + 1) % 90_001;
        let end = (at + length.max(usize::from(chunks.len() % 5 != 0))).min(whole.len());
        chunks.push(whole.slice(at..end));
        at = end;
    }
    let path = Path::from("bronze/t/large");
    said("put", store.put_opts(&path, chunks.into_iter().collect(), PutMode::Create.into()).await)?;
    need(bytes(&store, path.as_ref()).await? == whole, "other bytes came back")?;
    let middle = 1_000_003..9_400_000_u64;
    let range = said("get a range", store.get_range(&path, middle).await)?;
    need(range == whole.slice(1_000_003..9_400_000), "other bytes came back for a large range")
}

async fn missing(store: Arc<dyn ObjectStore>) -> Outcome {
    said("create", create(&store, "fresh/t/1", b"x").await)?;
    for path in ["fresh/t/2", "fresh/t", "fresh", "nothing/at/all", "fresh/t/1/2"] {
        fails(path, Cause::NotFound, store.get(&Path::from(path)).await)?;
        fails(path, Cause::NotFound, store.head(&Path::from(path)).await)?;
        let range = store.get_range(&Path::from(path), 0..1).await;
        fails(path, Cause::NotFound, range)?;
    }
    Ok(())
}

async fn listings(store: Arc<dyn ObjectStore>) -> Outcome {
    need(list(&store, "").await?.is_empty(), "a new store is not empty")?;
    // In byte order: '-' and '.' come before the separator, '0' and 'a' after it.
    let all = [
        "bronze/t-x/1",
        "bronze/t.x",
        "bronze/t/a-1",
        "bronze/t/a/1",
        "bronze/t/a/2",
        "bronze/t/a0",
        "bronze/t/b",
        "bronze/t0/1",
        "wal/0001",
        "wal/0002",
        "z",
    ];
    for path in all.iter().rev() {
        said("create", create(&store, path, b"x").await)?;
    }
    need(list(&store, "").await? == all, format!("all objects were listed as {:?}", list(&store, "").await?))?;
    need(list(&store, "bronze/t").await? == all[2..7], "a prefix is not taken by whole path parts")?;
    need(list(&store, "bronze/t/a").await? == all[3..5], "a prefix shows other objects than those below it")?;
    need(list(&store, "bronze/t/b").await?.is_empty(), "an object is below itself")?;
    need(list(&store, "nothing").await?.is_empty(), "objects below nothing")?;
    for (after, rest) in [("bronze/t/a/1", 4), ("bronze/t/a", 2), ("wal", 8), ("zz", 11)] {
        let after = Path::from(after);
        let listed: StoreResult<Vec<_>> = store.list_with_offset(None, &after).try_collect().await;
        let listed: Vec<_> = said("list", listed)?.into_iter().map(|meta| meta.location.to_string()).collect();
        need(listed == all[rest..], format!("behind {after} there is {listed:?}"))?;
    }
    let level = said("list a level", store.list_with_delimiter(Some(&Path::from("bronze/t"))).await)?;
    let files: Vec<_> = level.objects.iter().map(|meta| meta.location.to_string()).collect();
    let folders: Vec<_> = level.common_prefixes.iter().map(ToString::to_string).collect();
    need(files == ["bronze/t/a-1", "bronze/t/a0", "bronze/t/b"], format!("at one level: {files:?}"))?;
    need(folders == ["bronze/t/a"], format!("below one level: {folders:?}"))
}

async fn deletion(store: Arc<dyn ObjectStore>) -> Outcome {
    said("create", create(&store, "bronze/t/day/1", b"old").await)?;
    let path = Path::from("bronze/t/day/1");
    said("delete", store.delete(&path).await)?;
    fails("get", Cause::NotFound, store.get(&path).await)?;
    need(list(&store, "").await?.is_empty(), "a deleted object is listed")?;
    match store.delete(&path).await {
        Err(error) if Cause::of(&error) != Cause::NotFound => return Err(format!("delete again: {error}")),
        _ => {}
    }
    said("create", create(&store, "bronze/t/day/1", b"new").await)?;
    need(bytes(&store, "bronze/t/day/1").await? == "new", "the old object is back")
}

async fn bulk_deletion(store: Arc<dyn ObjectStore>) -> Outcome {
    let paths: Vec<Path> = (0..300).map(|n| Path::from(format!("wal/{n:04}"))).collect();
    for path in &paths {
        said("create", create(&store, path.as_ref(), b"x").await)?;
    }
    said("create", create(&store, "wal/stays", b"x").await)?;
    let deleted = store.delete_stream(futures::StreamExt::boxed(futures::stream::iter(paths.clone().into_iter().map(Ok))));
    let deleted: Vec<Path> = said("delete", deleted.try_collect().await)?;
    need(deleted == paths, "the answers are not in the order of the requests")?;
    need(list(&store, "").await? == ["wal/stays"], "other objects are left")
}

async fn uploads(store: Arc<dyn ObjectStore>) -> Outcome {
    let path = Path::from("bronze/t/upload");
    let part = |byte: u8| PutPayload::from_bytes(Bytes::from(vec![byte; 5 << 20]));
    let mut upload = said("begin", store.put_multipart(&path).await)?;
    let (first, second) = (upload.put_part(part(1)), upload.put_part(part(2)));
    let last = upload.put_part(PutPayload::from_static(b"end"));
    let (last, second, first) = futures::join!(last, second, first);
    said("put parts", first.and(second).and(last))?;
    need(list(&store, "").await?.is_empty(), "an upload is seen before it is complete")?;
    said("complete", upload.complete().await)?;
    let whole = bytes(&store, path.as_ref()).await?;
    let right = whole.len() == (10 << 20) + 3
        && whole[..5 << 20].iter().all(|byte| *byte == 1)
        && whole[5 << 20..10 << 20].iter().all(|byte| *byte == 2)
        && &whole[10 << 20..] == b"end";
    need(right, "the parts are not in their order")?;
    let mut upload = said("begin", store.put_multipart(&Path::from("bronze/t/aborted")).await)?;
    said("put a part", upload.put_part(part(3)).await)?;
    said("abort", upload.abort().await)?;
    need(list(&store, "").await? == ["bronze/t/upload"], "an aborted upload is seen")
}

async fn new_objects(store: Arc<dyn ObjectStore>) -> Outcome {
    let path = Path::from("bronze/t/pieces");
    let piece = |byte: u8| Bytes::from(vec![byte; 3 << 20]);
    for large in [false, true] {
        let pieces: Vec<Bytes> = if large { (0..8).map(piece).collect() } else { vec![piece(9)] };
        let wanted = Checksum { size: pieces.iter().map(|piece| piece.len() as u64).sum(), crc32c: crc32c(&pieces) };
        let write = async |pieces: Vec<Bytes>, rule: PutRule| {
            let mut object = NewObject::new(Arc::clone(&store), path.clone(), rule.clone());
            for piece in pieces {
                object.push(vec![piece]).await?;
            }
            object.finish().await
        };
        let mut dropped = NewObject::new(Arc::clone(&store), path.clone(), PutRule::New);
        said("push", dropped.push(pieces.clone()).await)?;
        need(list(&store, "").await?.is_empty(), "an object is seen before it is finished")?;
        drop(dropped);
        need(said("finish", write(pieces.clone(), PutRule::New).await)? == wanted, "the checksum is another one")?;
        need(bytes(&store, path.as_ref()).await? == pieces.concat(), "the pieces are not in their order")?;
        need(said("finish again", write(pieces.clone(), PutRule::New).await)? == wanted, "the same object is not the same")?;
        let mut others = pieces.clone();
        others[0] = piece(77);
        let taken = matches!(write(others.clone(), PutRule::New).await, Err(PutNewError::Taken { .. }));
        need(taken && bytes(&store, path.as_ref()).await? == pieces.concat(), "another object was replaced")?;
        let e_tag = said("head", store.head(&path).await)?.e_tag.unwrap_or_default();
        let instead = PutRule::Instead { e_tag };
        said("put instead", write(others.clone(), instead.clone()).await)?;
        need(bytes(&store, path.as_ref()).await? == others.concat(), "the object that was seen was not replaced")?;
        let differs = matches!(write(pieces, instead.clone()).await, Err(PutNewError::Taken { .. }));
        need(differs && bytes(&store, path.as_ref()).await? == others.concat(), "another object than was seen was replaced")?;
        said("delete", store.delete(&path).await)?;
        need(write(others, instead).await.is_err(), "an object that is gone was replaced")?;
        need(list(&store, "").await?.is_empty(), "an object that is gone came back")?;
    }
    Ok(())
}

async fn copies(store: Arc<dyn ObjectStore>) -> Outcome {
    said("create", create(&store, "a/1", b"one").await)?;
    said("create", create(&store, "a/2", b"two").await)?;
    let (one, two, three) = (Path::from("a/1"), Path::from("a/2"), Path::from("b/3"));
    let only_new = || CopyOptions::new().with_mode(CopyMode::Create);
    fails("copy over another", Cause::AlreadyExists, store.copy_opts(&one, &two, only_new()).await)?;
    said("copy", store.copy_opts(&one, &three, only_new()).await)?;
    need(bytes(&store, "b/3").await? == "one" && bytes(&store, "a/1").await? == "one", "a copy is not a copy")?;
    said("copy over", store.copy(&two, &three).await)?;
    need(bytes(&store, "b/3").await? == "two", "a copy did not replace")?;
    let only_new = RenameOptions { target_mode: RenameTargetMode::Create, ..RenameOptions::default() };
    fails("move over another", Cause::AlreadyExists, store.rename_opts(&one, &three, only_new).await)?;
    need(bytes(&store, "a/1").await? == "one", "a refused move removed its source")?;
    said("move over", store.rename(&one, &three).await)?;
    need(bytes(&store, "b/3").await? == "one", "a move did not replace")?;
    fails("read what was moved", Cause::NotFound, store.get(&one).await)?;
    fails("copy nothing", Cause::NotFound, store.copy(&one, &two).await)
}

async fn names(store: Arc<dyn ObjectStore>) -> Outcome {
    let long = "o".repeat(200);
    let mut paths = vec![
        "bronze/veh.events.raw/1a2b3c4d/ingest_date=2026-11-23/20261123T141500000Z-p00000-o00000000000000000000-g0.parquet"
            .to_owned(),
        "bronze/a b/ä€/.hidden".to_owned(),
        format!("wal/{long}"),
    ];
    paths.sort();
    for path in &paths {
        let parsed = Path::parse(path).map_err(|error| error.to_string())?;
        said("create", store.put_opts(&parsed, Bytes::from(path.clone()).into(), PutMode::Create.into()).await)?;
        let there = said("get", store.get(&parsed).await)?;
        need(said("read", there.bytes().await)? == path.as_bytes(), format!("{path} holds other bytes"))?;
    }
    need(list(&store, "").await? == paths, "names are listed otherwise than they were given")
}
