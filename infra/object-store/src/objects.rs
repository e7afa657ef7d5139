//! The facade that everybody uses.

use crate::cause::Cause;
use crate::errors::{DeleteError, GetError, HeadError, ListError, PutNewError, PutReplaceError};
use crate::metered::Metered;
use crate::new_object::{NewObject, PutRule};
use crate::purpose::Purpose;
use crate::put_new::{Checksum, checksum, put_new};
use crate::retry::{Retry, RetryPolicy};
use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{Error, GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutPayload, UpdateVersion};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use strandline_runtime::Runtime;
use strandline_types::limits;

/// An object as a listing or a look shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its path below the root.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// When the store says it was written, milliseconds since 1970. For people: nothing is decided by it (I8).
    pub modified_ms: i64,
    /// What it is told from another one by that has or had its name, where the store has such a thing.
    pub e_tag: Option<String>,
}

/// What a look at a name found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// No object.
    Nothing,
    /// The object with this entity tag, if the store has such a thing.
    Object {
        /// The tag.
        e_tag: Option<String>,
    },
}

impl From<ObjectMeta> for ObjectInfo {
    fn from(meta: ObjectMeta) -> Self {
        Self {
            path: meta.location.into(),
            size: meta.size,
            modified_ms: meta.last_modified.timestamp_millis(),
            e_tag: meta.e_tag,
        }
    }
}

/// The object store as the roles see it: every request says what it is for, is retried within bounds, and is
/// counted. Cheap to clone. Paths are relative to the root, with `/` between parts.
#[derive(Clone)]
pub struct Objects {
    /// One stack of decorators a purpose, in the order of `Purpose::ALL`.
    stores: Arc<[Arc<dyn ObjectStore>]>,
    runtime: Runtime,
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Objects").field(&self.stores.first()).finish()
    }
}

impl Objects {
    /// `store` below retries and metrics.
    pub fn new(store: Arc<dyn ObjectStore>, policy: RetryPolicy, runtime: &Runtime) -> Self {
        let stack = |purpose| -> Arc<dyn ObjectStore> {
            let metered = Metered::new(Arc::clone(&store), purpose, Arc::clone(&runtime.clock));
            Arc::new(Retry::new(Arc::new(metered), policy, runtime))
        };
        Self { stores: Purpose::ALL.into_iter().map(stack).collect(), runtime: runtime.clone() }
    }

    /// An empty store in memory, for tests and simulations.
    pub fn in_memory(runtime: &Runtime) -> Self {
        Self::new(Arc::new(object_store::memory::InMemory::new()), RetryPolicy::default(), runtime)
    }

    /// The trait itself, for code that brings its own use of it; retried and counted all the same.
    pub fn store(&self, purpose: Purpose) -> &Arc<dyn ObjectStore> {
        &self.stores[purpose as usize]
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Puts an object that must not exist yet, or is exactly this one; see [`put_new`]. `crc32c` is that of
    /// the chunks one after another ([`crc32c`](crate::crc32c)). On success it is durable.
    pub async fn put_new(&self, purpose: Purpose, path: &str, chunks: Vec<Bytes>, crc32c: u32) -> Result<(), PutNewError> {
        let location = parse(path).map_err(|error| PutNewError::of(&Path::from(path), error))?;
        put_new(self.store(purpose).as_ref(), &location, chunks, crc32c).await
    }

    /// Begins an object whose bytes come piece by piece; see [`NewObject`].
    pub fn new_object(&self, purpose: Purpose, path: &str, rule: PutRule) -> Result<NewObject, PutNewError> {
        let location = parse(path).map_err(|error| PutNewError::of(&Path::from(path), error))?;
        Ok(NewObject::new(Arc::clone(self.store(purpose)), location, rule))
    }

    /// As [`Self::put_new`], part by part: as one request a large object would have to be on the disk within [`limits::STORE_RETRY`], and what
    /// came too late would stay there under its name, that nothing refers to.
    pub async fn put_new_in_parts(&self, purpose: Purpose, path: &str, mut bytes: Bytes) -> Result<(), PutNewError> {
        let mut object = self.new_object(purpose, path, PutRule::New)?;
        while !bytes.is_empty() {
            let part = bytes.split_to(bytes.len().min(limits::STORE_PART_BYTES));
            object.push(vec![part]).await?;
        }
        object.finish().await?;
        Ok(())
    }

    /// Puts an object in place of the one with this tag, or of none, in one step. False: another one is there. One that was given up and
    /// comes late changes nothing. Where a store has no tags, whatever is there is replaced.
    pub async fn put_instead(&self, purpose: Purpose, path: &str, bytes: Bytes, seen: Seen) -> Result<bool, PutReplaceError> {
        let location = parse(path).map_err(|error| PutReplaceError::of(&Path::from(path), error))?;
        let mode = match seen {
            Seen::Nothing => PutMode::Create,
            Seen::Object { e_tag: None } => PutMode::Overwrite,
            Seen::Object { e_tag } => PutMode::Update(UpdateVersion { e_tag, version: None }),
        };
        match self.store(purpose).put_opts(&location, PutPayload::from_bytes(bytes), mode.into()).await {
            Ok(_) => Ok(true),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. } | Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(PutReplaceError::of(&location, error)),
        }
    }

    /// Puts an object in place of whatever is there, in one step; for who is alone.
    pub async fn put_replace(&self, purpose: Purpose, path: &str, bytes: Bytes) -> Result<(), PutReplaceError> {
        let location = parse(path).map_err(|error| PutReplaceError::of(&Path::from(path), error))?;
        let put = self.store(purpose).put_opts(&location, PutPayload::from_bytes(bytes), PutMode::Overwrite.into());
        put.await.map(|_| ()).map_err(|error| PutReplaceError::of(&location, error))
    }

    /// A whole object, up to `limits::STORE_WHOLE_OBJECT_BYTES`.
    pub async fn get(&self, purpose: Purpose, path: &str) -> Result<Bytes, GetError> {
        self.get_seen(purpose, path).await.map(|(bytes, _)| bytes)
    }

    /// The same, with what [`put_instead`](Self::put_instead) wants to know.
    pub async fn get_seen(&self, purpose: Purpose, path: &str) -> Result<(Bytes, Seen), GetError> {
        let location = parse(path).map_err(|error| GetError::of(&Path::from(path), error))?;
        let result = self.store(purpose).get_opts(&location, GetOptions::default()).await;
        let result = result.map_err(|error| GetError::of(&location, error))?;
        let (size, limit) = (result.meta.size, limits::STORE_WHOLE_OBJECT_BYTES);
        if size > limit {
            return Err(GetError::TooLarge { path: path.to_owned(), size, limit });
        }
        let seen = Seen::Object { e_tag: result.meta.e_tag.clone() };
        result.bytes().await.map(|bytes| (bytes, seen)).map_err(|error| GetError::of(&location, error))
    }

    /// A whole object of at most `most` bytes, asked for in pieces of `limits::STORE_PIECE_BYTES`: for what may be larger than
    /// [`get`](Self::get) takes.
    pub async fn get_in_pieces(&self, purpose: Purpose, path: &str, most: u64) -> Result<Bytes, GetError> {
        let location = parse(path).map_err(|error| GetError::of(&Path::from(path), error))?;
        let meta = self.store(purpose).head(&location).await.map_err(|error| GetError::of(&location, error))?;
        let too_large = || GetError::TooLarge { path: path.to_owned(), size: meta.size, limit: most };
        let capacity = usize::try_from(meta.size).ok().filter(|_| meta.size <= most).ok_or_else(too_large)?;
        let mut whole = BytesMut::with_capacity(capacity);
        let mut at = 0;
        while at < meta.size {
            let end = meta.size.min(at + limits::STORE_PIECE_BYTES);
            whole.extend_from_slice(&self.get_range(purpose, path, at..end).await?);
            at = end;
        }
        Ok(whole.freeze())
    }

    /// Exactly these bytes of an object; an empty range asks nothing of the store.
    pub async fn get_range(&self, purpose: Purpose, path: &str, range: Range<u64>) -> Result<Bytes, GetError> {
        let location = parse(path).map_err(|error| GetError::of(&Path::from(path), error))?;
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let options = GetOptions { range: Some(GetRange::Bounded(range.clone())), ..GetOptions::default() };
        let result = match self.store(purpose).get_opts(&location, options).await {
            Ok(result) => result,
            Err(error) => return Err(self.explain_range(purpose, &location, range, error).await),
        };
        let size = result.meta.size;
        let bytes = result.bytes().await.map_err(|error| GetError::of(&location, error))?;
        if bytes.len() as u64 != range.end - range.start {
            return Err(GetError::OutOfRange { path: path.to_owned(), range, size });
        }
        Ok(bytes)
    }

    /// Stores differ in what they answer to a range that starts behind the end.
    async fn explain_range(&self, purpose: Purpose, location: &Path, range: Range<u64>, error: object_store::Error) -> GetError {
        if matches!(Cause::of(&error), Cause::Permanent | Cause::Transient)
            && let Ok(meta) = self.store(purpose).head(location).await
            && range.start >= meta.size
        {
            return GetError::OutOfRange { path: location.to_string(), range, size: meta.size };
        }
        GetError::of(location, error)
    }

    /// Size and checksum of an object, read through piece by piece.
    pub async fn checksum(&self, purpose: Purpose, path: &str) -> Result<Checksum, GetError> {
        let location = parse(path).map_err(|error| GetError::of(&Path::from(path), error))?;
        checksum(self.store(purpose).as_ref(), &location).await.map_err(|error| GetError::of(&location, error))
    }

    /// A look at an object, without its bytes.
    pub async fn head(&self, purpose: Purpose, path: &str) -> Result<ObjectInfo, HeadError> {
        let location = parse(path).map_err(|error| HeadError::of(&Path::from(path), error))?;
        let meta = self.store(purpose).head(&location).await;
        meta.map(ObjectInfo::from).map_err(|error| HeadError::of(&location, error))
    }

    /// Deletes an object. That there is none is a success.
    pub async fn delete(&self, purpose: Purpose, path: &str) -> Result<(), DeleteError> {
        let location = parse(path).map_err(|error| DeleteError::of(&Path::from(path), error))?;
        deleted(&location, self.store(purpose).delete(&location).await)
    }

    /// Deletes many objects, in as few requests as the store can; one answer each, in the same order.
    pub async fn delete_all(&self, purpose: Purpose, paths: &[String]) -> Vec<Result<(), DeleteError>> {
        let parsed: Vec<_> = paths.iter().map(|path| parse(path)).collect();
        let good: Vec<Path> = parsed.iter().filter_map(|path| path.as_ref().ok().cloned()).collect();
        let locations = stream::iter(good.clone().into_iter().map(Ok)).boxed();
        let results: Vec<_> = self.store(purpose).delete_stream(locations).collect().await;
        let mut results = good.iter().zip(results).map(|(path, result)| deleted(path, result.map(|_| ())));
        let answers = paths.iter().zip(parsed).map(|(path, parsed)| match parsed {
            Ok(location) => results.next().unwrap_or_else(|| Err(unanswered(&location))),
            Err(error) => Err(DeleteError::of(&Path::from(path.as_str()), error)),
        });
        answers.collect()
    }

    /// All objects below `prefix` (whole path parts; empty is everything), in the byte order of their paths.
    /// Each is there at some moment of the listing; it is not a snapshot.
    pub fn list(&self, purpose: Purpose, prefix: &str) -> BoxStream<'static, Result<ObjectInfo, ListError>> {
        self.list_after(purpose, prefix, "")
    }

    /// As [`list`](Self::list), but only paths behind `after`; empty is from the first one.
    pub fn list_after(&self, purpose: Purpose, prefix: &str, after: &str) -> BoxStream<'static, Result<ObjectInfo, ListError>> {
        let (location, after) = match (parse_prefix(prefix), parse_prefix(after)) {
            (Ok(location), Ok(after)) => (location, after),
            (Err(error), _) | (_, Err(error)) => {
                return stream::iter([Err(ListError::of(&Path::from(prefix), error))]).boxed();
            }
        };
        let below = (!location.is_root()).then_some(&location);
        let listed = match after.is_root() {
            true => self.store(purpose).list(below),
            false => self.store(purpose).list_with_offset(below, &after),
        };
        let answer = move |result: object_store::Result<ObjectMeta>| {
            result.map(ObjectInfo::from).map_err(|error| ListError::of(&location, error))
        };
        listed.map(answer).boxed()
    }

    /// As [`list`](Self::list), collected; more than `limit` objects are an error.
    pub async fn list_all(&self, purpose: Purpose, prefix: &str, limit: usize) -> Result<Vec<ObjectInfo>, ListError> {
        let listed: Vec<ObjectInfo> = self.list(purpose, prefix).take(limit.saturating_add(1)).try_collect().await?;
        if listed.len() > limit {
            return Err(ListError::TooMany { prefix: prefix.to_owned(), limit });
        }
        Ok(listed)
    }
}

fn parse_prefix(path: &str) -> object_store::Result<Path> {
    Ok(Path::parse(path)?)
}

/// The name of an object; the root is none.
fn parse(path: &str) -> object_store::Result<Path> {
    let location = parse_prefix(path)?;
    if location.is_root() || location.as_ref() != path {
        return Err(object_store::path::Error::EmptySegment { path: path.to_owned() }.into());
    }
    Ok(location)
}

fn deleted(location: &Path, result: object_store::Result<()>) -> Result<(), DeleteError> {
    match result {
        Err(error) if Cause::of(&error) == Cause::NotFound => Ok(()),
        other => other.map_err(|error| DeleteError::of(location, error)),
    }
}

fn unanswered(location: &Path) -> DeleteError {
    let source = "the store did not say what became of it".into();
    DeleteError::of(location, object_store::Error::Generic { store: "objects", source })
}
