//! Bronze: the Parquet that is both Kafka's only long-term copy and what DuckDB, Polars, Spark and Athena open.
//!
//! The one crate that knows Arrow and Parquet. It writes segments of format version 2, reads those of 1 and 2, names them, and
//! encodes the manifests that list them. Columns, encodings and layout are fixed for ever; tests hold them to it.
//!
//! What it must never do: any I/O (bytes go in and out, ranges to fetch are named), hand out a record whose digest was
//! not checked, or change a column's type, name or field id.
//!
//! It keeps I6 (same bytes: null is not empty, header order and repeats survive), I5 in the small (a file says which
//! offsets it *covers*, holes included) and its part of I10 (a file tells its topic, its plan and its ranges by itself).

mod calendar;
pub mod cloud_events;
mod columns;
mod decode;
mod digest;
mod fetched;
mod file_check;
mod footer;
mod footer_keys;
mod format;
mod header_page;
mod layout;
mod levels;
pub mod manifest;
mod merge;
mod outline;
mod page;
mod page_reader;
mod plan;
mod read;
mod repetition;
mod row_group;
mod scan;
mod sink;
mod spans;
mod stage;
mod timestamp;
mod value_chunk;
mod value_page;
mod verify;
mod writer;

pub use columns::{FORMAT_VERSION, arrow_schema, writer_properties};
pub use fetched::Fetched;
pub use file_check::FileCheck;
pub use footer::{FooterError, SegmentFooter};
pub use footer_keys::{PartitionSummary, TimestampSummary};
pub use format::{Format, Preference, decide_format};
pub use layout::TAIL_GUESS_BYTES;
pub use merge::{Merge, MergeStep, merge_rows};
pub use plan::{ReadPlan, join_ranges};
pub use read::{ReadError, read};
pub use scan::{RowBatch, Rows, SegmentScan};
pub use strandline_types::calendar::{Day, DayError};
pub use strandline_types::file_names::{NameError, SealedName, day_of_sealed_path, fresh_path, sealed_path, topic_folder};
pub use timestamp::{TimestampPlan, plan_timestamp, read_timestamp};
pub use verify::{FILE_CHECKSUM_DIFFERS, VerifyReport, verify};
pub use writer::{CoveredRange, FinishedSegment, PushError, SegmentSpec, SegmentWriter, SpecError};
