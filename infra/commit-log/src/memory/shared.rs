//! What all handles of a memory log share: rows, head and floor.

use crate::{AppendError, Entry, Floor, FloorError, ReadError, Row, TrimError};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use strandline_types::Seq;
use strandline_types::mutations::{Rule, holds};

/// How an append treats its seq.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Semantics {
    /// Only the next seq is taken, as in the embedded log.
    Checked,
    /// Any seq without a row is taken, as a conditional put of a key-value store takes it: beyond the head, and
    /// below the floor once its rows are gone. What keeps a cell right on such a store are the node's own rules
    /// (A1 to A3, A12), so this is where they are put to the test. Readers never see past a hole.
    ConditionalPut,
}

pub(super) struct Shared {
    semantics: Semantics,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    rows: BTreeMap<Seq, Entry>,
    head: Seq,
    floor: Floor,
}

impl Shared {
    pub(super) fn new(semantics: Semantics) -> Self {
        Self { semantics, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn head(&self) -> Seq {
        self.state().head
    }

    pub(super) fn stored(&self, seq: Seq) -> Option<Entry> {
        self.state().rows.get(&seq).cloned()
    }

    pub(super) fn append(&self, at: Seq, entry: Entry) -> Result<(), AppendError> {
        let mut state = self.state();
        if let Some(winner) = state.rows.get(&at) {
            return Err(AppendError::Conflict { winner: winner.row(at) });
        }
        let next = state.head.next();
        if at == Seq::ZERO || (self.semantics == Semantics::Checked && at != next) {
            return Err(AppendError::Gap { at, next });
        }
        state.rows.insert(at, entry);
        while state.rows.contains_key(&state.head.next()) {
            state.head = state.head.next();
        }
        Ok(())
    }

    pub(super) fn rows(&self, from: Seq, max_bytes: usize) -> (Vec<Row>, Seq) {
        let state = self.state();
        let (mut rows, mut bytes) = (Vec::new(), 0);
        let mut seq = from;
        while seq <= state.head
            && let Some(entry) = state.rows.get(&seq)
        {
            bytes += entry.bytes.len();
            if !rows.is_empty() && bytes > max_bytes {
                break;
            }
            rows.push(entry.row(seq));
            seq = seq.next();
        }
        (rows, state.head)
    }

    pub(super) fn payload(&self, at: Seq, range: Range<u64>, fails_checksum: bool) -> Result<Bytes, ReadError> {
        let state = self.state();
        let Some(entry) = state.rows.get(&at) else {
            return Err(if at > state.head {
                ReadError::Unavailable { reason: format!("entry {at} lies beyond the log's last, {}", state.head) }
            } else {
                ReadError::Gone { seq: at }
            });
        };
        if fails_checksum && range == (0..entry.payload.length) {
            return Err(ReadError::Corrupt {
                place: format!("entry {at}"),
                reason: "the payload is not what was written".to_owned(),
            });
        }
        entry.payload.slice(range.clone()).ok_or_else(|| ReadError::Corrupt {
            place: format!("entry {at}"),
            reason: format!("bytes {}..{} of a payload of {} were asked for", range.start, range.end, entry.payload.length),
        })
    }

    pub(super) fn floor(&self) -> Floor {
        self.state().floor.clone()
    }

    pub(super) fn raise_floor(&self, expected: &Floor, to: Floor) -> Result<(), FloorError> {
        let mut state = self.state();
        if state.floor != *expected && holds(Rule::D5) {
            return Err(FloorError::Conflict { found: state.floor.clone() });
        }
        if !expected.may_move_to(&to, state.head.next()) && holds(Rule::A10) {
            return Err(FloorError::Refused { from: expected.seq, to: to.seq });
        }
        state.floor = to;
        Ok(())
    }

    pub(super) fn lose_below(&self, below: Seq) {
        let mut state = self.state();
        state.rows = state.rows.split_off(&below);
    }

    pub(super) fn trim(&self, below: Seq) -> Result<(), TrimError> {
        let mut state = self.state();
        if below > state.floor.seq && holds(Rule::A9) {
            return Err(TrimError::AboveFloor { below, floor: state.floor.seq });
        }
        state.rows = state.rows.split_off(&below);
        Ok(())
    }
}
