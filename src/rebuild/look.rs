//! A Parquet file as it tells of itself: what it covers, and whether it is as it was written.

use crate::node::rows_of_footer;
use anyhow::Context as _;
use bytes::Bytes;
use strandline_bronze::{Day, FILE_CHECKSUM_DIFFERS, FileCheck, FooterError, SegmentFooter, day_of_sealed_path, verify};
use strandline_commands::NewFile;
use strandline_compactor::range_of_row;
use strandline_object_store::{Objects, Purpose, crc32c};
use strandline_runtime::Runtime;
use strandline_types::TopicId;

/// What there is at a path.
pub(super) enum Looked {
    /// A file that tells of itself.
    Found(Found),
    /// A file that covers nothing.
    Nothing,
    /// Its name is not ours, or its footer is damaged: what is wrong.
    Unreadable(String),
}

impl Looked {
    /// The file, if it tells of itself.
    pub(super) fn found(&self) -> Option<&Found> {
        match self {
            Self::Found(found) => Some(found),
            Self::Nothing | Self::Unreadable(_) => None,
        }
    }
}

/// A file as its footer tells it.
#[derive(Clone)]
pub(super) struct Found {
    pub topic_id: TopicId,
    pub file: NewFile,
    pub state: FileState,
}

/// Whether it is as it was written.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum FileState {
    /// Every byte is.
    Sound,
    /// Every record is; of its other bytes it has no checksum (format version 1).
    RecordsAreSound,
    /// Every record is, and other bytes are not.
    OnlyRecordsAreSound,
    /// Some record is not: what is wrong.
    Damaged(String),
}

/// Reads a whole file and checks it against what it carries itself.
///
/// # Errors
/// Nothing is known of the file: the store does not give it, or a newer version wrote it.
pub(super) async fn look(objects: &Objects, runtime: &Runtime, path: &str) -> anyhow::Result<Looked> {
    let bytes = objects.get(Purpose::Rebuild, path).await?;
    let size = bytes.len() as u64;
    let name = path.to_owned();
    let checked = runtime.spawner.blocking("check a file", move || open_and_check(&name, bytes)).await;
    let (footer, crc32c, state) = match checked.with_context(|| format!("{path} could not be checked"))? {
        Ok(checked) => checked,
        Err(error @ FooterError::Format { .. }) => {
            let advice = "nothing was changed. If the file is damaged rather than new, move it to another folder first";
            return Err(anyhow::Error::new(error).context(advice));
        }
        Err(error @ (FooterError::NeedsMore { .. } | FooterError::Damaged { .. })) => {
            return Ok(Looked::Unreadable(error.to_string()));
        }
    };
    let rows = match rows_of_footer(&footer, path, crc32c) {
        Ok(rows) => rows,
        Err(error) => return Ok(Looked::Unreadable(error.to_string())),
    };
    let Some(first) = rows.first() else { return Ok(Looked::Nothing) };
    let ingest_day = match day_of(path, &footer) {
        Ok(day) => day,
        Err(problem) => return Ok(Looked::Unreadable(problem)),
    };
    let file = NewFile {
        path: path.to_owned(),
        size,
        crc32c,
        rows: footer.rows(),
        record_bytes: size,
        ingest_day,
        ranges: rows.iter().map(range_of_row).collect(),
    };
    Ok(Looked::Found(Found { topic_id: first.topic_partition.topic_id, file, state }))
}

fn open_and_check(path: &str, bytes: Bytes) -> Result<(SegmentFooter, u32, FileState), FooterError> {
    let footer = SegmentFooter::parse(path, bytes.len() as u64, &bytes)?;
    let pieces = [bytes];
    // What is wrong with its records, in the words of `bronze verify`.
    let problem = || verify(path, &pieces, None).problems.into_iter().find(|problem| problem != FILE_CHECKSUM_DIFFERS);
    let state = match footer.check_file(&pieces) {
        FileCheck::Sound => FileState::Sound,
        FileCheck::Differs => problem().map_or(FileState::OnlyRecordsAreSound, FileState::Damaged),
        FileCheck::None => problem().map_or(FileState::RecordsAreSound, FileState::Damaged),
    };
    Ok((footer, crc32c(&pieces), state))
}

fn day_of(path: &str, footer: &SegmentFooter) -> Result<i32, String> {
    match day_of_sealed_path(path) {
        Some(day) => day.map(|day| day.0).map_err(|error| error.to_string()),
        None => Ok(footer.ingest_ms().map_or(0, |(first, _)| Day::of_ms(first).0)),
    }
}
