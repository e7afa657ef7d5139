//! One commit at a time: appended until the log says what became of it.

use super::{Driver, Halt};
use crate::api::{Shared, SubmitError};
use crate::pack::Packed;
use bytes::Bytes;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;
use strandline_commands::{Commit, EncodeError, EntryBody, encode};
use strandline_commit_log::{AppendError, Entry, Payload, ReadError};
use strandline_types::mutations::{Rule, holds};
use strandline_types::{Seq, limits};

impl Driver {
    /// Gets a commit folded, or surely not. There is one at a time, and its n is used once.
    pub(super) async fn commit(&mut self, packed: Packed) -> Result<(), Halt> {
        let began = self.shared.runtime.clock.monotonic();
        self.n += 1;
        self.unresolved = Some(packed);
        let mut tries = 0_u32;
        let (mut ahead, mut aside) = (0, None);
        while let Some(packed) = &mut self.unresolved {
            let commit = packed.take_commit(self.shared.incarnation, self.n);
            let payload = Payload::new(packed.chunks.clone());
            let (at, entry, body) = match entry(&self.shared, commit, payload) {
                Ok(entry) => entry,
                Err(error) => {
                    // Nothing was written: those who wait hear it, and the cell goes on.
                    tracing::error!(%error, "a commit could not be encoded");
                    if let Some(packed) = self.unresolved.take() {
                        packed.fail(&SubmitError::TooLarge);
                    }
                    self.n -= 1;
                    return Ok(());
                }
            };
            let (at, bytes) = (Seq(at.0 + ahead), entry.bytes.clone());
            if !holds(Rule::A2) {
                self.demand_floor(at).await?;
            }
            let answer = self.shared.log.append(at, entry.clone()).await;
            if answer.is_ok() {
                self.appended(at, &bytes, &entry.payload, Some(body)).await?;
            } else if let (Some(packed), Some(commit)) = (&mut self.unresolved, body.commits.into_iter().next()) {
                packed.put_back(commit);
            }
            match answer {
                Ok(()) => {}
                Err(AppendError::Conflict { .. }) if !holds(Rule::A12) => ahead += 1,
                Err(AppendError::Conflict { winner }) => {
                    self.demand_floor_of_winner(winner.seq).await?;
                    self.fold_row(&winner)?;
                    self.read_to_head_patiently().await?;
                    self.pause(tries).await;
                }
                Err(AppendError::Gap { .. }) => self.read_to_head_patiently().await?,
                Err(AppendError::Ambiguous { reason }) => {
                    tracing::warn!(%at, reason, "an append is in doubt");
                    if !holds(Rule::A5) || !holds(Rule::A15) {
                        self.n -= u64::from(!holds(Rule::A15));
                        if let Some(packed) = self.unresolved.take() {
                            packed.fail(&SubmitError::Full { reason });
                        }
                        return Ok(());
                    }
                    if !holds(Rule::A8) {
                        return self.believe(at, &bytes);
                    }
                    self.take_all();
                    if !holds(Rule::A17) && !self.queue.is_empty() && aside.is_none() {
                        let next = self.pack();
                        aside = self.unresolved.replace(next);
                        continue;
                    }
                    self.resolve_doubt(at, &entry).await?;
                }
                Err(AppendError::Full { reason }) => {
                    self.shared.no_room.store(true, Ordering::Relaxed);
                    let error = SubmitError::Full { reason };
                    let packed = self.unresolved.take().unwrap_or_default();
                    self.refuse_what_waits_behind(&packed, &error);
                    let kept = packed.without_payload(&error);
                    if kept.waiters.is_empty() && kept.commands.is_empty() {
                        // Surely not written anywhere: the n is free again.
                        self.n -= 1;
                        return Ok(());
                    }
                    if tries >= 3 {
                        kept.fail(&error);
                        self.n -= 1;
                        return Ok(());
                    }
                    self.unresolved = Some(kept);
                    self.pause(tries).await;
                }
                Err(AppendError::Unavailable { reason }) => {
                    tracing::warn!(%at, reason, "the commit log is not available");
                    if self.shared.runtime.clock.monotonic().saturating_sub(began) > limits::REQUEST_WAIT {
                        let error = SubmitError::Full { reason };
                        let packed = self.unresolved.take().unwrap_or_default();
                        self.refuse_what_waits_behind(&packed, &error);
                        packed.fail(&error);
                        self.n -= 1;
                        return Ok(());
                    }
                    self.pause(tries).await;
                }
                Err(AppendError::TooLarge { .. }) => {
                    if let Some(packed) = self.unresolved.take() {
                        packed.fail(&SubmitError::TooLarge);
                    }
                    self.n -= 1;
                    return Ok(());
                }
                Err(error @ AppendError::Fatal { .. }) => return Err(Halt::Append(error)),
            }
            tries = tries.saturating_add(1);
            if self.unresolved.is_none() && aside.is_some() {
                self.n += 1;
                self.unresolved = aside.take();
            }
        }
        let took = self.shared.runtime.clock.monotonic().saturating_sub(began);
        metrics::histogram!("strandline_commit_seconds").record(took.as_secs_f64());
        Ok(())
    }

    /// An append that the log said yes to. If it took long, the yes counts only while the floor has not passed it: a
    /// node that slept might have appended into the trimmed range (docs/rules.md, A1, A2).
    /// `body` is what the bytes were made of, if it is at hand.
    async fn appended(&mut self, at: Seq, bytes: &Bytes, payload: &Payload, body: Option<EntryBody>) -> Result<(), Halt> {
        if holds(Rule::A1) && holds(Rule::A2) {
            self.demand_floor(at).await?;
        }
        self.shared.no_room.store(false, Ordering::Relaxed);
        self.appended_at = Some(self.shared.runtime.clock.monotonic());
        self.shared.recent.keep(at, payload, self.shared.runtime.clock.monotonic());
        self.fold(at, bytes, body)
    }

    /// What an append of ours found at its seq counts under the same condition (docs/rules.md, A3).
    async fn demand_floor_of_winner(&mut self, at: Seq) -> Result<(), Halt> {
        if holds(Rule::A3) { self.demand_floor(at).await } else { Ok(()) }
    }

    /// What a simulation switches on in place of A8: those who wait are told an outcome that no log bears out.
    fn believe(&mut self, at: Seq, bytes: &Bytes) -> Result<(), Halt> {
        let mut index = self.shared.index.read().unwrap_or_else(PoisonError::into_inner).clone();
        let folded = index.fold(at, bytes)?;
        let outcomes = folded.commits.into_iter().find(|commit| commit.n == self.n).and_then(|commit| commit.outcomes);
        if let Some((packed, outcomes)) = self.unresolved.take().zip(outcomes) {
            packed.resolve(at, outcomes);
        }
        Ok(())
    }

    async fn demand_floor(&mut self, at: Seq) -> Result<(), Halt> {
        let age = self.shared.runtime.clock.monotonic().saturating_sub(self.last_read);
        if age <= limits::APPEND_DOUBT || self.shared.sole {
            return Ok(());
        }
        let mut tries = 0;
        loop {
            match self.shared.log.floor().await {
                Ok(floor) if floor.seq <= at => return Ok(()),
                Ok(_) => return Err(Halt::Trimmed),
                Err(ReadError::Unavailable { reason }) => {
                    tracing::warn!(reason, "the floor could not be read");
                    self.pause(tries).await;
                    tries += 1;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// While an append is in doubt nothing but the same bytes goes to that seq; the log says who is there.
    async fn resolve_doubt(&mut self, at: Seq, entry: &Entry) -> Result<(), Halt> {
        let mut tries = 0_u32;
        loop {
            self.pause(tries).await;
            tries = tries.saturating_add(1);
            match self.read_to_head().await {
                Ok(()) => {}
                Err(Halt::Log(ReadError::Unavailable { .. })) => continue,
                Err(halt) => return Err(halt),
            }
            if self.folded() >= at {
                // Either ours was there, and is resolved, or another's, and ours is tried again further on.
                return Ok(());
            }
            match self.shared.log.append(at, entry.clone()).await {
                Ok(()) => return self.appended(at, &entry.bytes, &entry.payload, None).await,
                Err(AppendError::Conflict { winner }) => {
                    self.demand_floor_of_winner(winner.seq).await?;
                    return self.fold_row(&winner);
                }
                Err(error @ (AppendError::Fatal { .. } | AppendError::TooLarge { .. })) => return Err(Halt::Append(error)),
                Err(_) => {}
            }
        }
    }

    pub(super) async fn pause(&self, tries: u32) {
        let most = 5_u64 << tries.min(7);
        let wait = 1 + self.shared.runtime.random.below(most);
        self.shared.runtime.sleep(Duration::from_millis(wait)).await;
    }
}

fn entry(shared: &Shared, commit: Commit, payload: Payload) -> Result<(Seq, Entry, EntryBody), EncodeError> {
    let index = shared.index.read().unwrap_or_else(PoisonError::into_inner);
    let body = EntryBody {
        time_ms: shared.runtime.clock.now_ms(),
        hash_before: index.cell.hash.0.to_vec(),
        cell_epoch: index.cell.cell_epoch,
        payload_length: payload.length,
        payload_crc32c: payload.crc32c,
        commits: vec![commit],
    };
    Ok((index.cell.seq.next(), Entry { hash_before: index.cell.hash, bytes: encode(&body)?, payload }, body))
}
