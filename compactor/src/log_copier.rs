//! Copies of the commit log in the bucket, written while there is something new (I10).
//!
//! A copy ends in a `LogCopied`, which is an entry itself: entries that hold nothing but the upkeep's own book-keeping
//! are never the reason for a copy, so that an idle cell falls silent.

use crate::error::WorkError;
use crate::log_copy::LogCopy;
use crate::shared::Shared;
use strandline_commands::{CommandKind, DecodedEntry, LeaseKind, LogCopied, decode};
use strandline_commit_log::{Row, Tail};
use strandline_object_store::{Purpose, crc32c};
use strandline_types::mutations::{Rule, holds};
use strandline_types::{Seq, limits};

/// Bytes of rows that are read at once.
const READ_BYTES: usize = 4 << 20;
/// Bytes of rows that a look reads at once: the first entry that is worth a copy ends it.
const LOOK_BYTES: usize = 64 << 10;

/// What a look at the log after its last copy shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uncopied {
    /// Entries after the last copy.
    pub entries: u64,
    /// Something in them is worth a copy.
    pub worth_it: bool,
}

impl Shared {
    /// How much of the log the bucket does not hold yet. Reads every row once.
    pub async fn uncopied(&self) -> Result<Uncopied, WorkError> {
        let copied = self.copied().await?;
        let head = self.cell.seq();
        let entries = head.0.saturating_sub(copied.0);
        let mut at = self.memory().inspected.max(copied);
        while at < head {
            let rows = self.read_rows(at.next(), LOOK_BYTES).await?;
            if rows.is_empty() {
                break;
            }
            for row in rows {
                if row.seq > head {
                    break;
                }
                if is_worth_copying(&row)? {
                    return Ok(Uncopied { entries, worth_it: true });
                }
                at = row.seq;
            }
            let mut memory = self.memory();
            memory.inspected = memory.inspected.max(at);
        }
        Ok(Uncopied { entries, worth_it: false })
    }

    /// After a start: how long the log is since the last snapshot.
    pub async fn measure_log(&self) -> Result<(), WorkError> {
        let (mut at, until) = {
            let view = self.cell.view();
            (view.cell.snapshot.agreed.as_ref().map_or(Seq::ZERO, |(seq, ..)| *seq), view.cell.log_copied)
        };
        at = at.max(Seq(self.cell.log().floor().await?.seq.0.saturating_sub(1)));
        let mut bytes = 0;
        while at < until {
            let rows = self.read_rows(at.next(), READ_BYTES).await?;
            let Some(last) = rows.last().map(|row| row.seq) else { break };
            bytes +=
                rows.iter().filter(|row| row.seq <= until).map(|row| row.bytes.len() as u64 + row.payload_length).sum::<u64>();
            at = last;
        }
        self.memory().log_bytes += bytes;
        Ok(())
    }

    /// Copies what the bucket does not hold, if it is worth it (`force`: whatever it is), and says so in the log. Returns where the
    /// copies stand.
    pub async fn copy_log_once(&self, force: bool) -> Result<Seq, WorkError> {
        let _one = self.copying.lock().await;
        let until = self.cell.seq();
        let copied = self.copied().await?;
        if copied >= until || !(force || self.uncopied().await?.worth_it) {
            return Ok(copied);
        }
        self.lease(LeaseKind::Snapshot, &[]).await?;
        let cell_epoch = self.cell.view().cell.cell_epoch;
        let mut at = copied;
        while at < until {
            let rows = self.rows_for_copy(at.next(), until).await?;
            let Some(last) = rows.last().map(|row| row.seq) else { break };
            let copy = LogCopy { cell_epoch, rows };
            if holds(Rule::Copied) {
                self.put_copy(&copy).await?;
            }
            let bytes: u64 = copy.rows.iter().map(|row| row.bytes.len() as u64 + row.payload_length).sum();
            self.memory().log_bytes += bytes;
            at = last;
        }
        if at > copied {
            self.commit_one(LogCopied { to: at.0 }).await?;
        }
        Ok(at)
    }

    /// How far the bucket tells of the log: by its copies, or by the snapshot that the floor names. After a rebuild that one has
    /// more than any copy, and nothing below it is left to be copied.
    async fn copied(&self) -> Result<Seq, WorkError> {
        let snapshot = self.cell.log().floor().await?.snapshot;
        let copied = self.cell.view().cell.log_copied;
        Ok(snapshot.map_or(copied, |snapshot| copied.max(snapshot.seq)))
    }

    /// The copies cover `seq`, or are made to. Where they are another node's work it is that node's turn: [`WorkError::NotCopied`].
    pub async fn copied_up_to(&self, seq: Seq) -> Result<(), WorkError> {
        if self.cell.view().cell.log_copied >= seq {
            return Ok(());
        }
        let copied = match self.copy_log_once(true).await {
            Err(WorkError::LeaseElsewhere) => self.cell.view().cell.log_copied,
            copied => copied?,
        };
        if copied < seq { Err(WorkError::NotCopied { copied: copied.0, needed: seq.0 }) } else { Ok(()) }
    }

    async fn put_copy(&self, copy: &LogCopy) -> Result<(), WorkError> {
        let Some(name) = copy.name() else { return Ok(()) };
        let bytes = copy.encode();
        metrics::counter!("strandline_log_copy_bytes_total").increment(bytes.len() as u64);
        let chunks = vec![bytes];
        let crc = crc32c(&chunks);
        Ok(self.objects.put_new(Purpose::LogCopy, &name.to_string(), chunks, crc).await?)
    }

    async fn rows_for_copy(&self, from: Seq, until: Seq) -> Result<Vec<Row>, WorkError> {
        let mut rows: Vec<Row> = Vec::new();
        let mut bytes = 0;
        let mut at = from;
        while at <= until {
            let read = self.read_rows(at, READ_BYTES).await?;
            if read.is_empty() {
                break;
            }
            for row in read {
                let enough = rows.len() as u64 >= limits::LOG_COPY_ENTRIES
                    || (bytes + row.bytes.len() > limits::LOG_COPY_BYTES && !rows.is_empty());
                if row.seq > until || enough {
                    return Ok(rows);
                }
                bytes += row.bytes.len();
                at = row.seq.next();
                rows.push(row);
            }
        }
        Ok(rows)
    }

    pub(crate) async fn read_rows(&self, from: Seq, max_bytes: usize) -> Result<Vec<Row>, WorkError> {
        match self.cell.log().read(from, max_bytes).await? {
            Tail::Rows { rows, .. } => Ok(rows),
            Tail::Trimmed { .. } => Err(WorkError::Trimmed),
        }
    }
}

/// Whether losing this entry with the log would lose anything.
fn is_worth_copying(row: &Row) -> Result<bool, WorkError> {
    let body = match decode(&row.bytes)? {
        DecodedEntry::Body(body) => body,
        DecodedEntry::Malformed => return Ok(false),
    };
    let mut commands = body.commits.iter().flat_map(|commit| &commit.commands);
    Ok(commands.any(|command| {
        !matches!(
            &command.kind,
            None | Some(
                CommandKind::LogCopied(_)
                    | CommandKind::Report(_)
                    | CommandKind::WroteSnapshot(_)
                    | CommandKind::AgreeSnapshot(_)
                    | CommandKind::TakeLease(_)
                    | CommandKind::DropLease(_)
                    | CommandKind::CollectGarbage(_)
                    | CommandKind::RaiseHorizon(_)
            )
        )
    }))
}
