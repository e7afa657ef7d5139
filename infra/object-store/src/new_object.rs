//! An object that is put while it is still being made: what is finished of it leaves memory.

use crate::errors::PutNewError;
use crate::put_new::{Checksum, is_taken, look, put_by};
use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest};
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, PutMode, PutMultipartOptions, PutPayload, UpdateVersion};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use strandline_types::limits;
use strandline_types::mutations::{Rule, holds};

/// What may be there when an object gets its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PutRule {
    /// Nothing, or the very same object (I8).
    New,
    /// Exactly the object with this entity tag, which is replaced in one step: one that somebody else put under a name of ours.
    Instead {
        /// The tag, from a look at it.
        e_tag: String,
    },
}

/// Asks of an upload that its completion keeps a rule; an extension of `PutMultipartOptions`. A store that will says so by
/// [`NameRule::promise`]; one that does not know it must not be completed.
#[derive(Debug, Clone)]
pub struct NameRule {
    /// The rule.
    pub rule: PutRule,
    promised: Arc<AtomicBool>,
}

impl NameRule {
    /// The store will give the name by this rule only.
    pub fn promise(&self) {
        self.promised.store(true, Ordering::Release);
    }

    fn is_promised(&self) -> bool {
        self.promised.load(Ordering::Acquire)
    }
}

/// An object that is put by a [`PutRule`], piece by piece: what [`put_new`](crate::put_new) is for bytes that are all at hand.
///
/// Small ones are held and put in one request. Larger ones go in parts, where the store completes an upload by the same
/// rule; nobody sees anything of it before. Any other store gets it whole at the end. Dropped, nothing is left of it.
pub struct NewObject {
    store: Arc<dyn ObjectStore>,
    location: Path,
    rule: PutRule,
    held: Vec<Bytes>,
    held_bytes: usize,
    sent: Sent,
    crc: Digest,
    size: u64,
}

enum Sent {
    /// Nothing yet.
    Nothing,
    /// Parts.
    Parts(Box<dyn MultipartUpload>),
    /// Nothing until the end: the store cannot complete an upload by the rule.
    NothingUntilEnd,
}

impl fmt::Debug for NewObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewObject").field("location", &self.location).field("size", &self.size).finish_non_exhaustive()
    }
}

impl NewObject {
    pub(crate) fn new(store: Arc<dyn ObjectStore>, location: Path, rule: PutRule) -> Self {
        let crc = Digest::new(CrcAlgorithm::Crc32Iscsi);
        Self { store, location, rule, held: Vec::new(), held_bytes: 0, sent: Sent::Nothing, crc, size: 0 }
    }

    /// Takes the next bytes of the object. Returns once no more than [`limits::STORE_PART_BYTES`] and these are held, unless the store
    /// cannot take parts.
    ///
    /// # Errors
    /// [`PutNewError`]; the object is to be begun anew.
    pub async fn push(&mut self, pieces: Vec<Bytes>) -> Result<(), PutNewError> {
        for piece in &pieces {
            self.crc.update(piece);
            self.held_bytes += piece.len();
        }
        self.size += pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
        self.held.extend(pieces);
        if self.held_bytes >= limits::STORE_PART_BYTES && self.takes_parts().await? {
            self.send_part().await?;
        }
        Ok(())
    }

    /// Ends it. On success the object is durable and has its name by the rule.
    ///
    /// # Errors
    /// As those of [`put_new`](crate::put_new).
    pub async fn finish(mut self) -> Result<Checksum, PutNewError> {
        let wanted = Checksum { size: self.size, crc32c: u32::try_from(self.crc.finalize()).unwrap_or(u32::MAX) };
        let is_sent = matches!(self.sent, Sent::Parts(_));
        if is_sent && self.held_bytes > 0 {
            self.send_part().await?;
        }
        let Sent::Parts(upload) = &mut self.sent else {
            let mode = match self.rule {
                PutRule::New => PutMode::Create,
                PutRule::Instead { e_tag } => PutMode::Update(UpdateVersion { e_tag: Some(e_tag), version: None }),
            };
            put_by(self.store.as_ref(), &self.location, self.held, wanted.crc32c, mode).await?;
            return Ok(wanted);
        };
        let Err(error) = upload.complete().await else { return Ok(wanted) };
        // After another error it may be there, and not on disk: its parts are gone, so only who begins it anew can tell.
        if !is_taken(&error) {
            return Err(PutNewError::of(&self.location, error));
        }
        match look(self.store.as_ref(), &self.location, wanted).await {
            Ok(Some(found)) if found == wanted || !holds(Rule::B6) => Ok(wanted),
            Ok(Some(found)) => Err(PutNewError::taken(&self.location, found, wanted)),
            Ok(None) | Err(_) => Err(PutNewError::of(&self.location, error)),
        }
    }

    async fn takes_parts(&mut self) -> Result<bool, PutNewError> {
        if matches!(self.sent, Sent::Nothing) {
            let rule = NameRule { rule: self.rule.clone(), promised: Arc::default() };
            let mut options = PutMultipartOptions::default();
            options.extensions.insert(rule.clone());
            let begun = self.store.put_multipart_opts(&self.location, options).await;
            let mut upload = begun.map_err(|error| PutNewError::of(&self.location, error))?;
            if rule.is_promised() {
                self.sent = Sent::Parts(upload);
            } else {
                self.sent = Sent::NothingUntilEnd;
                upload.abort().await.map_err(|error| PutNewError::of(&self.location, error))?;
            }
        }
        Ok(matches!(self.sent, Sent::Parts(_)))
    }

    async fn send_part(&mut self) -> Result<(), PutNewError> {
        let part: PutPayload = std::mem::take(&mut self.held).into_iter().collect();
        self.held_bytes = 0;
        let Sent::Parts(upload) = &mut self.sent else { return Ok(()) };
        upload.put_part(part).await.map_err(|error| PutNewError::of(&self.location, error))
    }
}
