//! Commands about Parquet, objects and garbage.

/// What a file holds of one partition. `[start, end)` is what it *covers*, holes included (I5).
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct FileRange {
    /// The partition.
    #[prost(int32, tag = "1")]
    pub partition: i32,
    /// First offset covered.
    #[prost(int64, tag = "2")]
    pub start: i64,
    /// First offset not covered.
    #[prost(int64, tag = "3")]
    pub end: i64,
    /// Rows of that partition in the file.
    #[prost(uint64, tag = "4")]
    pub rows: u64,
    /// The first of them, counted in the file.
    #[prost(uint64, tag = "5")]
    pub first_row: u64,
    /// The largest timestamp, in milliseconds; -1 for none.
    #[prost(sint64, tag = "6")]
    pub max_timestamp_ms: i64,
    /// The first offset with that timestamp; -1 for none.
    #[prost(sint64, tag = "7")]
    pub max_timestamp_offset: i64,
    /// Bytes of the batches as they were sent (`retention.bytes` counts those).
    #[prost(uint64, tag = "8")]
    pub sent_bytes: u64,
}

/// A Parquet file that a command introduces.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct NewFile {
    /// Its whole path in the bucket.
    #[prost(string, tag = "1")]
    pub path: String,
    /// Its size in bytes.
    #[prost(uint64, tag = "2")]
    pub size: u64,
    /// CRC-32C of the whole file.
    #[prost(fixed32, tag = "3")]
    pub crc32c: u32,
    /// Its rows.
    #[prost(uint64, tag = "4")]
    pub rows: u64,
    /// Bytes of keys, values and headers in it, uncompressed.
    #[prost(uint64, tag = "5")]
    pub record_bytes: u64,
    /// The UTC day of its rows' `ingest_timestamp`, in days since 1970.
    #[prost(sint32, tag = "6")]
    pub ingest_day: i32,
    /// What it covers, by partition.
    #[prost(message, repeated, tag = "7")]
    pub ranges: Vec<FileRange>,
}

/// Extents become a fresh segment. Per range: start is the frontier, end an extent's end and at most the last stable offset. A
/// file whose ranges hold no record (holes alone) has no rows and still answers for them.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Convert {
    /// The topic's convert lease.
    #[prost(uint64, tag = "1")]
    pub lease: u64,
    /// Which topic.
    #[prost(bytes = "vec", tag = "2")]
    pub topic_id: Vec<u8>,
    /// The file; its ranges say how far each frontier moves.
    #[prost(message, optional, tag = "3")]
    pub file: Option<NewFile>,
    /// How the topic's keys are kept from its first conversion on: 1 text, 2 bytes. Ignored once decided.
    #[prost(uint32, tag = "5")]
    pub key_format: u32,
    /// The same for values.
    #[prost(uint32, tag = "6")]
    pub value_format: u32,
}

/// Fresh segments become other fresh segments, among themselves. Inputs must be live, outputs cover exactly what they covered.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Merge {
    /// The topic's merge lease.
    #[prost(uint64, tag = "1")]
    pub lease: u64,
    /// Which topic.
    #[prost(bytes = "vec", tag = "2")]
    pub topic_id: Vec<u8>,
    /// Paths of the inputs.
    #[prost(string, repeated, tag = "3")]
    pub inputs: Vec<String>,
    /// The outputs.
    #[prost(message, repeated, tag = "4")]
    pub outputs: Vec<NewFile>,
}

/// One run of batches with a new place.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RehomedRun {
    /// Which topic.
    #[prost(bytes = "vec", tag = "1")]
    pub topic_id: Vec<u8>,
    /// Which partition.
    #[prost(int32, tag = "2")]
    pub partition: i32,
    /// The extent's first offset.
    #[prost(int64, tag = "3")]
    pub start: i64,
    /// Its end; refused for that run unless exactly this extent is there.
    #[prost(int64, tag = "4")]
    pub end: i64,
    /// Where its bytes begin in the object.
    #[prost(uint64, tag = "5")]
    pub position: u64,
}

/// Runs of batches get a place in a WAL segment, so that the floor can pass.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Rehome {
    /// The runs.
    #[prost(message, repeated, tag = "1")]
    pub runs: Vec<RehomedRun>,
    /// The commit's i-th new object, from 1.
    #[prost(uint32, tag = "2")]
    pub object: u32,
}

/// A sealed file is planned: its name and ranges, never cut differently, only completed. The inputs are whole fresh segments.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SealPlan {
    /// The topic's seal lease.
    #[prost(uint64, tag = "1")]
    pub lease: u64,
    /// Which topic.
    #[prost(bytes = "vec", tag = "2")]
    pub topic_id: Vec<u8>,
    /// Paths of the fresh inputs. The fold makes the file's name from this entry's time, the first range and the generation, so
    /// that no second plan can have it.
    #[prost(string, repeated, tag = "3")]
    pub inputs: Vec<String>,
}

/// The planned object is there: from here it is the truth.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Sealed {
    /// The topic's seal lease.
    #[prost(uint64, tag = "1")]
    pub lease: u64,
    /// Which topic.
    #[prost(bytes = "vec", tag = "2")]
    pub topic_id: Vec<u8>,
    /// The file as it really is; path and ranges as planned.
    #[prost(message, optional, tag = "3")]
    pub file: Option<NewFile>,
}

/// The rows are in the segment index: the inputs join the garbage list.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SealDone {
    /// The topic's seal lease.
    #[prost(uint64, tag = "1")]
    pub lease: u64,
    /// Which topic.
    #[prost(bytes = "vec", tag = "2")]
    pub topic_id: Vec<u8>,
    /// The planned path.
    #[prost(string, tag = "3")]
    pub path: String,
}

/// Retention lets a sealed file go: all its ranges lie below the log starts. It joins the garbage list; its rows go next.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DropSealed {
    /// The retention lease.
    #[prost(uint64, tag = "1")]
    pub lease: u64,
    /// Which topic; may be deleted already.
    #[prost(bytes = "vec", tag = "2")]
    pub topic_id: Vec<u8>,
    /// The file, with its ranges.
    #[prost(message, optional, tag = "3")]
    pub file: Option<NewFile>,
}

/// Objects of the garbage list were deleted.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CollectGarbage {
    /// The garbage lease.
    #[prost(uint64, tag = "1")]
    pub lease: u64,
    /// Which.
    #[prost(string, repeated, tag = "2")]
    pub paths: Vec<String>,
}

/// Names whose seq is below this are refused from here on, so that orphans below it may be deleted.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RaiseHorizon {
    /// The garbage lease.
    #[prost(uint64, tag = "1")]
    pub lease: u64,
    /// The new horizon; never lower.
    #[prost(uint64, tag = "2")]
    pub to: u64,
}

/// Offsets whose bytes are gone for good become a hole (rebuild; an input that failed its digest).
#[derive(Clone, PartialEq, prost::Message)]
pub struct Lost {
    /// Which topic.
    #[prost(bytes = "vec", tag = "1")]
    pub topic_id: Vec<u8>,
    /// Which partition.
    #[prost(int32, tag = "2")]
    pub partition: i32,
    /// First offset lost.
    #[prost(int64, tag = "3")]
    pub start: i64,
    /// First offset not lost.
    #[prost(int64, tag = "4")]
    pub end: i64,
}

/// A file that the log's copies did not know is taken in, sealed or fresh: each range begins at its frontier. A fresh file that
/// is known gets a new object in the place of a lost one. Only in a rebuilt log.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AdoptSealed {
    /// Which topic.
    #[prost(bytes = "vec", tag = "1")]
    pub topic_id: Vec<u8>,
    /// The file.
    #[prost(message, optional, tag = "2")]
    pub file: Option<NewFile>,
}

/// A deleted topic's sealed objects and rows are gone; the cell forgets it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ForgetTopic {
    /// The garbage lease.
    #[prost(uint64, tag = "1")]
    pub lease: u64,
    /// Which topic.
    #[prost(bytes = "vec", tag = "2")]
    pub topic_id: Vec<u8>,
}

/// Offsets of one partition.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct OffsetRange {
    /// The partition.
    #[prost(int32, tag = "1")]
    pub partition: i32,
    /// First offset.
    #[prost(int64, tag = "2")]
    pub start: i64,
    /// First offset after them.
    #[prost(int64, tag = "3")]
    pub end: i64,
}

/// A sealed file is planned whose inputs are extents, without a fresh file between: only completed, as any plan. Per range: start
/// is the frontier, nothing of the partition is in a fresh file, end is an extent's end and at most the last stable offset; all of
/// one UTC day. The extents stay until `Sealed`, which moves the frontier. Fold version 2.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SealExtents {
    /// The topic's seal lease.
    #[prost(uint64, tag = "1")]
    pub lease: u64,
    /// Which topic.
    #[prost(bytes = "vec", tag = "2")]
    pub topic_id: Vec<u8>,
    /// What the file covers, ascending by partition. The fold makes the file's name.
    #[prost(message, repeated, tag = "3")]
    pub ranges: Vec<OffsetRange>,
    /// How the topic's keys are kept from here on: 1 text, 2 bytes. Ignored once decided.
    #[prost(uint32, tag = "4")]
    pub key_format: u32,
    /// The same for values.
    #[prost(uint32, tag = "5")]
    pub value_format: u32,
}
