//! Objects in several parts.

use super::FolderStore;
use super::error::FolderError;
use super::publish::Mode;
use super::staged::Staged;
use async_trait::async_trait;
use futures::FutureExt;
use object_store::path::Path as ObjectPath;
use object_store::{MultipartUpload, PutPayload, PutResult, Result, UploadPart};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// Parts go to their place in one temporary file as they come, in any order; dropping the upload removes it.
#[derive(Debug)]
pub(crate) struct Upload {
    store: FolderStore,
    location: ObjectPath,
    target: PathBuf,
    staged: Arc<Mutex<Option<Staged>>>,
    length: u64,
    mode: Mode,
}

impl Upload {
    pub(crate) fn new(store: FolderStore, location: ObjectPath, target: PathBuf, staged: Staged, mode: Mode) -> Self {
        Self { store, location, target, staged: Arc::new(Mutex::new(Some(staged))), length: 0, mode }
    }
}

fn ended(target: PathBuf) -> FolderError {
    FolderError::PartsMissing { path: target }
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let offset = self.length;
        self.length += data.content_length() as u64;
        let (store, location, target) = (self.store.clone(), self.location.clone(), self.target.clone());
        let staged = Arc::clone(&self.staged);
        async move {
            let work = store.blocking("put a part", &location, move |_| {
                let mut staged = staged.lock().unwrap_or_else(PoisonError::into_inner);
                staged.as_mut().ok_or_else(|| ended(target))?.write_at(offset, data.as_ref())
            });
            work.await
        }
        .boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let (staged, length, target, mode) = (Arc::clone(&self.staged), self.length, self.target.clone(), self.mode.clone());
        let done = self.store.blocking("complete an upload", &self.location, move |folder| {
            let taken = staged.lock().unwrap_or_else(PoisonError::into_inner).take();
            let mut staged = taken.ok_or_else(|| ended(target.clone()))?;
            if staged.written() != length {
                return Err(ended(target));
            }
            staged.sync()?;
            folder.publish(&mut staged, &target, mode)
        });
        done.await?.put_result(&self.location)
    }

    async fn abort(&mut self) -> Result<()> {
        let staged = Arc::clone(&self.staged);
        self.store
            .blocking("abort an upload", &self.location, move |_| {
                drop(staged.lock().unwrap_or_else(PoisonError::into_inner).take());
                Ok(())
            })
            .await
    }
}
