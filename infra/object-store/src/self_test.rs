//! The test at start-up: a store that gives a name twice would lose acknowledged data.

use crate::cause::Cause;
use crate::objects::Objects;
use crate::purpose::Purpose;
use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode};

/// The store cannot be relied on, or could not be asked. Do not serve.
#[derive(Debug, thiserror::Error)]
pub enum SelfTestError {
    /// It takes a second object under a name.
    #[error(
        "the object store {store} let `{path}` be created twice; Strandline would lose data on it and does not start: \
         use a local file system, or a store with conditional puts (If-None-Match)"
    )]
    CreatesTwice {
        /// Which store.
        store: String,
        /// The object of the test.
        path: String,
    },
    /// It does not give back what was put.
    #[error("the object store {store} answered {what} for `{path}`; Strandline does not start on it")]
    Lies {
        /// Which store.
        store: String,
        /// The object of the test.
        path: String,
        /// What it did.
        what: &'static str,
    },
    /// It could not be used at all.
    #[error("the object store {store} cannot be used: {doing} `{path}` failed: {source}")]
    Failed {
        /// Which store.
        store: String,
        /// The object of the test.
        path: String,
        /// What was tried.
        doing: &'static str,
        /// The store's words.
        source: object_store::Error,
    },
}

impl SelfTestError {
    /// Whether the store may only be out of reach for a moment.
    pub fn is_retriable(&self) -> bool {
        matches!(self, Self::Failed { source, .. } if Cause::of(source).is_retriable())
    }
}

impl SelfTestError {
    /// The store has no room: nothing is known of its promises, and a node that may free some should start.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Failed { source, .. } if Cause::of(source) == Cause::Full)
    }
}

struct Test<'a> {
    store: &'a dyn ObjectStore,
    path: Path,
}

/// Creates one object twice and demands that the second is refused, that the first is read back, listed, and
/// gone after its deletion. The name is random, so that nodes can test one bucket at the same time.
pub async fn self_test(objects: &Objects) -> Result<(), SelfTestError> {
    let id: String = objects.runtime().random.id().iter().map(|byte| format!("{byte:02x}")).collect();
    let test = Test { store: objects.store(Purpose::SelfTest).as_ref(), path: Path::from(format!("self-test/{id}")) };
    let result = test.run().await;
    if result.is_err() {
        // Best effort: what is left is an object of a few bytes under a name of its own.
        let _ = test.store.delete(&test.path).await;
    }
    result
}

impl Test<'_> {
    async fn run(&self) -> Result<(), SelfTestError> {
        let (first, second) = (Bytes::from_static(b"the first"), Bytes::from_static(b"the second one"));
        let put = self.store.put_opts(&self.path, first.clone().into(), PutMode::Create.into()).await;
        match put {
            Ok(_) => {}
            // A lost reply and a second try: the reading below tells whether it is ours.
            Err(error) if Cause::of(&error) == Cause::AlreadyExists => {}
            Err(error) => return Err(self.failed("creating", error)),
        }
        match self.store.put_opts(&self.path, second.into(), PutMode::Create.into()).await {
            Err(error) if Cause::of(&error) == Cause::AlreadyExists => {}
            Err(error) => return Err(self.failed("creating a second time", error)),
            Ok(_) => {
                return Err(SelfTestError::CreatesTwice { store: self.store.to_string(), path: self.path.to_string() });
            }
        }
        if self.read().await? != Some(first) {
            return Err(self.lies("other bytes than were put"));
        }
        let listed = self.store.list_with_delimiter(self.path.parent().as_ref()).await;
        let listed = listed.map_err(|error| self.failed("listing", error))?;
        if !listed.objects.iter().any(|meta| meta.location == self.path) {
            return Err(self.lies("a listing without a new object"));
        }
        match self.store.delete(&self.path).await {
            Err(error) if Cause::of(&error) != Cause::NotFound => return Err(self.failed("deleting", error)),
            _ => {}
        }
        match self.read().await? {
            None => Ok(()),
            Some(_) => Err(self.lies("with bytes after the deletion")),
        }
    }

    async fn read(&self) -> Result<Option<Bytes>, SelfTestError> {
        let result = match self.store.get(&self.path).await {
            Ok(result) => result.bytes().await,
            Err(error) => Err(error),
        };
        match result {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if Cause::of(&error) == Cause::NotFound => Ok(None),
            Err(error) => Err(self.failed("reading", error)),
        }
    }

    fn lies(&self, what: &'static str) -> SelfTestError {
        SelfTestError::Lies { store: self.store.to_string(), path: self.path.to_string(), what }
    }

    fn failed(&self, doing: &'static str, source: object_store::Error) -> SelfTestError {
        SelfTestError::Failed { store: self.store.to_string(), path: self.path.to_string(), doing, source }
    }
}
