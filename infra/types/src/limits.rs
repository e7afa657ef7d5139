//! Every bound of the system, in one file (I11). Each buffer, cache, queue, retry and part of the index has
//! its number here, and where it can fill up under load, a metric; past it there is back-pressure or a clear Kafka error.

use std::time::Duration;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

// The wire.

/// Largest request frame (Kafka's `socket.request.max.bytes`). A larger one closes the connection.
pub const FRAME_BYTES: usize = 100 * MIB;
/// Memory that the strings and arrays of one decoded message may take, beside its frame; beyond it the request is refused.
pub const DECODED_MESSAGE_BYTES: usize = 64 * MIB;
/// Request bytes admitted at once over all connections; a frame is admitted by its length before it is read.
pub const REQUESTS_IN_FLIGHT_BYTES: usize = 64 * MIB;
/// The part of them that is kept for requests of at most [`SMALL_REQUEST_BYTES`].
pub const SMALL_REQUESTS_IN_FLIGHT_BYTES: usize = 8 * MIB;
/// Larger requests do not keep smaller ones waiting.
pub const SMALL_REQUEST_BYTES: usize = 64 * KIB;
/// A request has to come within this time from its first bytes, and ...
pub const REQUEST_TRANSFER: Duration = Duration::from_secs(10);
/// ... one second more for so many bytes; else its connection is closed.
pub const REQUEST_BYTES_PER_SECOND: usize = 64 * KIB;
/// While others wait for room, who sends a request or takes an answer more slowly than this loses the connection.
pub const CONTESTED_BYTES_PER_SECOND: usize = 64 * KIB;
/// Requests of one connection that are worked on at once; answers keep their order.
pub const REQUESTS_IN_FLIGHT_PER_CONNECTION: usize = 64;
/// What decoding one request may build beside the frame itself, at least; larger frames get eight times their size, up to
/// `DECODED_MESSAGE_BYTES`.
pub const DECODED_REQUEST_BYTES: usize = 4 * MIB;
/// Connections at once.
pub const CONNECTIONS: usize = 20_000;
/// Largest record batch as sent, whatever `max.message.bytes` says.
pub const BATCH_BYTES: usize = 64 * MIB;
/// Largest batch after decompression; beyond it the batch is refused as MESSAGE_TOO_LARGE.
pub const DECOMPRESSED_BATCH_BYTES: usize = 128 * MIB;
/// Headers of one record; one with more is refused as INVALID_RECORD. A header may be two bytes, and takes many times that in memory.
pub const RECORD_HEADERS: usize = 65_536;
/// Headers of a record that was taken in before that bound was there: one with more is set aside when it is converted.
pub const RECORD_HEADERS_READ: usize = 1_048_576;
/// Largest topic name, Kafka's own.
pub const TOPIC_NAME_BYTES: usize = 249;
/// Longest value of a configuration, Kafka's own: older answers have no place for a longer text and would cut it.
pub const CONFIG_VALUE_BYTES: usize = i16::MAX as usize;
/// Topics of one CreateTopics request. Kafka bounds their partitions instead, by less than one topic may have here.
pub const CREATED_TOPICS: usize = 10_000;
/// Topics that one Metadata request creates by mention; clients ask again for the others.
pub const MENTIONED_TOPICS: usize = 4_096;
/// Memory that the configurations of one DescribeConfigs answer may take: those of some 12,000 topics, without documentation.
pub const DESCRIBED_CONFIG_BYTES: usize = 64 * MIB;
/// Longest name of a node's host, that of the DNS.
pub const NODE_HOST_BYTES: usize = 255;
/// Longest name of a node's zone.
pub const NODE_ZONE_BYTES: usize = 249;

// The commit log.

/// Largest entry, without its payload.
pub const ENTRY_BYTES: usize = 16 * MIB;
/// Commands of one submission: well below an entry, so that what is taken in can always be written.
pub const SUBMISSION_COMMAND_BYTES: usize = ENTRY_BYTES / 4 * 3;
/// Payload bytes that one entry carries inline at most (embedded log).
pub const ENTRY_PAYLOAD_BYTES: usize = 32 * MIB;
/// Inline payload of an entry where the log is not a local file.
pub const ENTRY_INLINE_BYTES: usize = 32 * KIB;
/// Commands of one entry at most.
pub const ENTRY_COMMANDS: usize = 16_384;
/// Bytes of commands and payload waiting for the commit log.
pub const COMMIT_QUEUE_BYTES: usize = 64 * MIB;
/// How much later the next commit begins where many submissions wait: it then carries what the last one's answers bring.
pub const COMMIT_GATHER: Duration = Duration::from_micros(100);
/// So many submissions, of those that were answered with the last commit and those that wait, are many.
pub const COMMIT_GATHER_REQUESTS: usize = 4;
/// A commit of so many bytes does not wait for more.
pub const COMMIT_GATHER_BYTES: usize = 512 * KIB;
/// Producers' connections come to the thread that writes the log while that computes for less of its time, in percent.
pub const LOG_THREAD_ENTER_PERCENT: u32 = 50;
/// Producers' connections leave the thread that writes the log while that computes for more of its time, in percent.
pub const LOG_THREAD_LEAVE_PERCENT: u32 = 80;
/// Connections on the thread that writes the log.
pub const LOG_THREAD_CONNECTIONS: usize = 256;
/// What that thread does is measured over so long, and in such a time one connection comes, or leaves for want of time.
pub const LOG_THREAD_WINDOW: Duration = Duration::from_millis(100);
/// A connection comes to that thread whose Produce requests follow each other within that time and have so many bytes on average or less.
pub const LOG_THREAD_ENTER_BYTES: usize = 48 * KIB;
/// A connection leaves that thread whose Produce requests have more bytes on average: several processors are quicker with those.
pub const LOG_THREAD_LEAVE_BYTES: usize = 96 * KIB;
/// A file of the embedded log is closed once it is this large.
pub const LOG_FILE_BYTES: u64 = 256 * MIB as u64;
/// The embedded log's file grows by this much at a time, so that most appends change no metadata.
pub const LOG_PREALLOCATE_BYTES: u64 = 4 * MIB as u64;
/// Space that the embedded log takes ahead for an entry of fewer bytes than these is zeroed: syncs of what is written there cost half.
pub const LOG_ZEROED_BELOW_BYTES: u64 = 256 * KIB as u64;
/// An entry of at least this many bytes is written past the system's page cache: that costs a fraction, and who reads the tail finds
/// the bytes in the node's memory.
pub const LOG_DIRECT_BYTES: u64 = 32 * KIB as u64;
/// So many bytes of a payload that are read once (to convert them) are read past it, too. Smaller reads share its pages with their neighbours.
pub const LOG_DIRECT_READ_BYTES: u64 = 64 * KIB as u64;
/// What the writer of the embedded log keeps to put together what it writes past the page cache.
pub const LOG_DIRECT_BUFFER_BYTES: usize = MIB;
/// The newest rows of the embedded log that are kept in memory, for who copies them.
pub const LOG_RECENT_ROW_BYTES: usize = 4 * MIB;
/// Read at once at most while the embedded log is replayed.
pub const LOG_READ_BUFFER_BYTES: usize = MIB;
/// A payload larger than this is stepped over, not read, while the embedded log is replayed.
pub const LOG_SKIPPED_PAYLOAD_BYTES: u64 = 64 * KIB as u64;
/// The newest bytes of the embedded log that stay in the system's page cache. Older pages are given back, so that the next
/// writes use them again: writing to memory that was never used costs several times as much on a virtual machine.
pub const LOG_PAGE_CACHE_BYTES: u64 = 64 * MIB as u64;
/// Kept free for deletes, retention and snapshots on a full disk.
pub const RESERVE_BYTES: u64 = 64 * MIB as u64;
/// Below this much free disk Produce is refused (a setting).
pub const FREE_DISK_BYTES: u64 = 2 << 30;

/// Requests waiting for the commit log (their bytes are bounded by [`COMMIT_QUEUE_BYTES`]).
pub const COMMIT_QUEUE_REQUESTS: usize = 16_384;

// Produce.

/// Bytes of batches that were taken in and wait for their WAL segment and its commit (where the log takes no payload of any size).
pub const INGEST_BUFFER_BYTES: usize = 64 * MIB;
/// A WAL segment is closed once it holds this much.
pub const WAL_SEGMENT_BYTES: usize = 8 * MIB;
/// WAL segments of one latency class that are PUT at once; commits follow in order.
pub const WAL_PUTS_IN_FLIGHT: usize = 4;
/// Times that a WAL segment is PUT under a new name because its old one lay below the horizon.
pub const WAL_PUT_NAMES: u32 = 3;
/// A flush of the classes `standard` and `relaxed` that is no larger than this rides inline: cheaper than a PUT.
pub const INLINE_FLUSH_BYTES: usize = 4 * KIB;
/// Inline bytes of one node and second, where the log is not a local file; beyond it batches go by a PUT.
pub const INLINE_BYTES_PER_SECOND: usize = MIB;
/// A connection with this many unanswered Produce requests does not wait for the linger.
pub const URGENT_REQUESTS: usize = 5;
/// How long `standard` batches wait for others where a flush is a PUT.
pub const LINGER_STANDARD: Duration = Duration::from_millis(250);
/// How long `relaxed` batches wait for others where a flush is a PUT.
pub const LINGER_RELAXED: Duration = Duration::from_secs(1);
/// A Produce request waits at least this long for its outcome, whatever it asks for: an ordinary commit takes less.
pub const PRODUCE_WAIT_LEAST: Duration = Duration::from_secs(1);
/// The longest `throttle_time_ms` while the commit queue fills up.
pub const THROTTLE_QUEUE: Duration = Duration::from_millis(200);
/// The longest `throttle_time_ms` while the index fills up with extents.
pub const THROTTLE_EXTENTS: Duration = Duration::from_secs(5);
/// While the log is out of room, one Produce request in this time is let through to find out whether that still holds.
pub const OUT_OF_ROOM_PROBE: Duration = Duration::from_secs(1);
/// Topics whose configuration is kept ready for the next request.
pub const TOPIC_CONFIGS_KEPT: usize = 16_384;
/// What comes out of one compressed batch where its request is read; one that has more is checked on a thread for blocking
/// work.
pub const INLINE_DECOMPRESSED_BYTES: usize = 256 * KIB;
/// What each thread keeps to look into small compressed batches; what a larger one needs is taken and given back.
pub const SCRATCH_BYTES: usize = 256 * KIB;
/// A larger batch is checked there even if it is not compressed.
pub const INLINE_BATCH_BYTES: usize = 4 * MIB;
/// Bytes of batches that are decompressed at once on threads for blocking work, over all connections.
pub const DECOMPRESSING_BYTES: usize = 192 * MIB;
/// The part of them that is kept for batches of at most [`SMALL_DECOMPRESSED_BYTES`].
pub const SMALL_DECOMPRESSING_BYTES: usize = 64 * MIB;
/// Larger batches, after decompression, do not keep smaller ones waiting; they are checked one after the other.
pub const SMALL_DECOMPRESSED_BYTES: usize = 8 * MIB;
/// What comes out of all compressed batches of one Produce request; beyond it its batches are refused as MESSAGE_TOO_LARGE.
pub const DECOMPRESSED_REQUEST_BYTES: usize = 512 * MIB;
/// Bytes of batches that were compressed anew and wait for the rest of their request.
pub const RECOMPRESSED_WAITING_BYTES: usize = MIB;

// The index.

/// Extents in the index; beyond it produce is throttled.
pub const EXTENTS: usize = 2_000_000;
/// Neighbouring runs become one extent up to this size. Part of the fold: never change it without a fold version.
pub const EXTENT_BYTES: u64 = MIB as u64;
/// Partitions of a cell.
pub const PARTITIONS: usize = 1_000_000;
/// Partitions of one topic.
pub const PARTITIONS_PER_TOPIC: i32 = 100_000;
/// Producers of partitions whose refused batches are awaited, so that nothing of theirs overtakes them; of what is refused beyond, the order is not kept.
pub const AWAITED_BATCHES: usize = 10_000;
/// Who has not sent a refused batch again for so long has given it up, by the time-outs that clients have (Java's two minutes, librdkafka's five): what follows is taken.
pub const AWAITED_BATCH_WAIT: Duration = Duration::from_secs(330);
/// Producers remembered.
pub const PRODUCERS: usize = 1_000_000;
/// Pairs of a producer and a partition that remembers its batches; beyond it a further pair is refused. A rule of the fold since
/// version 2, as those that follow up to [`GROUPS_BYTES`]: what an older index holds beyond them stays, and may only shrink.
pub const PRODUCER_PARTITIONS: usize = 1_000_000;
/// Nodes of a cell, dead ones included whose Kafka id is not given out anew.
pub const NODES: usize = 1_000;
/// Names, configurations and leases of all topics; beyond it none is made and no configuration grows.
pub const TOPICS_BYTES: u64 = 128 * MIB as u64;
/// Fresh files and open plans in the index; beyond it nothing is converted, until a seal makes room.
pub const FILES_BYTES: u64 = 192 * MIB as u64;
/// The list of garbage; beyond it no command may bring a new object.
pub const GARBAGE_BYTES: u64 = 128 * MIB as u64;
/// Members and committed offsets of all groups; beyond it none of that grows.
pub const GROUPS_BYTES: u64 = 128 * MIB as u64;
/// A snapshot of the index: more than all its parts together come to when they are full.
pub const SNAPSHOT_BYTES: u64 = 1_536 * MIB as u64;
/// Groups remembered.
pub const GROUPS: usize = 100_000;
/// Members of groups as this node has them at work, stored or not; beyond it no new one joins.
pub const GROUPS_AT_WORK_BYTES: usize = 128 * MIB;
/// By so much members that are there may go beyond it.
pub const GROUPS_AT_WORK_RESERVE_BYTES: usize = 16 * MIB;
/// Members of one group.
pub const GROUP_MEMBERS: usize = 10_000;
/// Metadata string of a committed offset (Kafka's `offset.metadata.max.bytes`).
pub const OFFSET_METADATA_BYTES: usize = 4_096;
/// Bytes of one group's members' subscriptions and assignments.
pub const GROUP_STATE_BYTES: usize = 8 * MIB;
/// The offsets of one OffsetCommit request, as a command; more is INVALID_COMMIT_OFFSET_SIZE.
pub const OFFSET_COMMIT_BYTES: usize = 4 * MIB;
/// Batches remembered per producer and partition, Kafka's own.
pub const BATCHES_PER_PRODUCER: usize = 5;

// The object store.

/// Tries of one request, the first one included.
pub const STORE_TRIES: u32 = 5;
/// The longest that all tries of one request take together, waits included.
pub const STORE_RETRY: Duration = Duration::from_secs(15);
/// The wait before the second try; each further one is twice as long, up to [`STORE_RETRY_WAIT_LONGEST`], half of it random.
pub const STORE_RETRY_WAIT: Duration = Duration::from_millis(50);
/// The longest wait between two tries.
pub const STORE_RETRY_WAIT_LONGEST: Duration = Duration::from_secs(2);
/// Largest object that is read into memory whole.
pub const STORE_WHOLE_OBJECT_BYTES: u64 = 512 * MIB as u64;
/// Bytes that one request brings of an object that is read whole, piece by piece.
pub const STORE_PIECE_BYTES: u64 = 64 * MIB as u64;
/// Bytes that one read of a local file brings at most.
pub const STORE_READ_BYTES: u64 = 4 * MIB as u64;
/// Bytes written to a local file before it is synced on the way.
pub const STORE_UNSYNCED_BYTES: u64 = 16 * MIB as u64;
/// An object that is put while it is being made goes in parts of about this size; a smaller one goes in one request.
pub const STORE_PART_BYTES: usize = 8 * MIB;
/// Directories remembered as being on disk.
pub const STORE_KNOWN_DIRECTORIES: usize = 4_096;
/// Deletions that are made together.
pub const STORE_DELETE_BATCH: usize = 128;

// The segment index.

/// Rows of one transaction.
pub const SEGMENT_INDEX_BATCH_ROWS: usize = 131_072;
/// Rows of one answer.
pub const SEGMENT_INDEX_SCAN_ROWS: usize = 10_000;
/// Memory of the embedded table's own cache of pages.
pub const SEGMENT_INDEX_CACHE_BYTES: usize = 8 * MIB;

// Caches.

/// Memory of requests' frames that is kept to be used again.
pub const IDLE_FRAME_BYTES: usize = 8 * MIB;
/// How often it is looked whether a request came.
pub const IDLE_FRAME_LOOK: Duration = Duration::from_secs(10);
/// How often in a row none did before that memory goes: [`RECENT_PAYLOAD_IDLE`] is over then.
pub const IDLE_FRAME_LOOKS: u32 = 7;
/// Payloads that a node appended last, kept for readers of the tail.
pub const RECENT_PAYLOAD_BYTES: u64 = 32 * MIB as u64;
/// How long they are kept once no more come, and the log's newest rows ([`LOG_RECENT_ROW_BYTES`]): whoever reads behind that reads the log.
pub const RECENT_PAYLOAD_IDLE: Duration = Duration::from_secs(60);
/// The write-ahead cache and the cache of blocks and rebuilt batches, in memory.
pub const CACHE_BYTES: usize = 64 * MIB;
/// The part of the cache that blocks and spans of files may take before batches rebuilt from them give way, in hundredths: what many
/// batches are made of stays longer than batches that one consumer reads once.
pub const CACHE_SOURCES_PERCENT: u8 = 75;
/// The unit of GET and of caching.
pub const BLOCK_BYTES: usize = 4 * MIB;
/// Blocks of one range that are fetched at once.
pub const BLOCKS_IN_FLIGHT: usize = 4;

/// Reads of a local log that one piece of blocking work does, at most: handing work to a thread costs more than such a read.
pub const LOG_READS_TOGETHER: usize = 16;
/// Bytes of them, at most, unless one has more.
pub const LOG_READS_TOGETHER_BYTES: u64 = MIB as u64;

/// What lies between two extents is read along if it is less than this.
pub const EXTENT_GAP_BYTES: u64 = 64 * KIB as u64;

// Fetch.

/// Bytes of one answer; a first batch that is larger goes whole.
pub const FETCH_ANSWER_BYTES: usize = 8 * MIB;
/// Bytes that all answers together hold until they are sent.
pub const FETCH_ANSWERS_BYTES: usize = 64 * MIB;
/// One answer gets at most this part of the room that is free, so that those who do not take theirs leave some to others ...
pub const FETCH_ANSWER_SHARE: usize = 16;
/// ... but so many bytes while there are.
pub const FETCH_ANSWER_LEAST_BYTES: usize = 256 * KIB;
/// Searches for a time that one ListOffsets makes at once.
pub const LIST_OFFSETS_AT_ONCE: usize = 16;
/// Bytes of extents that ListOffsets looks into for times at once, over all connections, each with what may come out of one of its
/// compressed batches.
pub const TIME_SEARCH_BYTES: usize = 192 * MIB;
/// The longest that a fetch waits for new records, whatever it asks for.
pub const FETCH_WAIT: Duration = Duration::from_secs(30);
/// Extents that one plan of one partition takes.
pub const FETCH_EXTENTS: usize = 4_096;
/// Times that a read is planned again because its view was old.
pub const FETCH_PLANS: usize = 4;
/// Fetch sessions (KIP-227).
pub const FETCH_SESSIONS: usize = 10_000;
/// Bytes of all fetch sessions together.
pub const FETCH_SESSION_BYTES: usize = 32 * MIB;
/// Footers of Parquet files, kept decoded.
pub const FOOTER_CACHE_BYTES: usize = 16 * MIB;
/// Spans of one Parquet file that its readers have in the cache at a time, one of each partition, come to about this much together;
/// a file that is no larger has spans of up to [`BLOCK_BYTES`]. A span is a run of whole pages that one GET brings.
pub const SPANS_BYTES: usize = 24 * MIB;
/// The largest span of a larger file; only one page may be larger.
pub const SPAN_BYTES: usize = MIB;
/// Spans are not cut shorter than this, however many partitions a file has.
pub const SPAN_LEAST_BYTES: usize = 256 * KIB;
/// Record bytes (and something for each row and header) of history that are rebuilt together: whole digest runs, of which the last may go beyond it.
pub const HISTORY_CHUNK_BYTES: usize = MIB;
/// Chunks of history that are rebuilt ahead of their readers at once.
pub const READ_AHEAD: usize = 4;

// Bronze.

/// Memory of conversions, merges and seals at work, all together: who has not got its part yet waits.
pub const COMPACTOR_BYTES: usize = 192 * MIB;
/// The part of it that a file takes that is being written: a row group that is being gathered and one that is being put, and a page.
pub const WRITER_BYTES: usize = 64 * MIB;
/// What a merge or seal holds of its inputs: bytes that were fetched and pages that are decoded, beside inputs that are at hand whole.
pub const MERGE_HELD_BYTES: usize = 32 * MIB;
/// Inputs of a merge or seal that are together no larger are read whole.
pub const WHOLE_INPUT_BYTES: usize = 32 * MIB;
/// Record bytes taken into one conversion.
pub const CONVERSION_INPUT_BYTES: u64 = 32 * MIB as u64;
/// Extents taken into one conversion.
pub const CONVERSION_EXTENTS: usize = 50_000;
/// An extent whose bytes are gone or damaged is given up after so many tries,
pub const EXTENT_TRIES: u32 = 6;
/// the last of which is so much later than the first. Until then its partition is converted up to it.
pub const EXTENT_TRIES_LAST: Duration = Duration::from_secs(60);
/// Fresh segments that one merge or one sealed file is made of.
pub const SEAL_INPUTS: usize = 512;
/// Record bytes (and something for each row) that one merge takes in; so much may come from few bytes of a file.
pub const MERGE_RECORD_BYTES: u64 = 1_536 * MIB as u64;
/// Record bytes (and something for each row) of one sealed file, so that a seal of rows that compress very well has an end.
pub const SEAL_RECORD_BYTES: u64 = 6_144 * MIB as u64;
/// Fresh segments of similar size that are merged into one.
pub const MERGE_SEGMENTS: usize = 16;
/// Sealed files remembered by the compactor for manifests; beyond it they are listed again from the segment index.
pub const SEALED_FILES_REMEMBERED: usize = 200_000;
/// Objects of the garbage list that are deleted and reported together.
pub const GARBAGE_BATCH: usize = 1_000;
/// Bytes of entries in one copy of the log.
pub const LOG_COPY_BYTES: usize = 32 * MIB;
/// Inline batches that one `Rehome` moves.
pub const REHOME_BYTES: u64 = 32 * MIB as u64;
/// The same, in runs: their places have to fit into one entry of the log.
pub const REHOME_RUNS: usize = 50_000;
/// A sealed file's aim.
pub const SEALED_FILE_BYTES: u64 = 128 * MIB as u64;
/// Below this a topic waits for the end of the UTC day instead of the hour.
pub const SEAL_HOURLY_BYTES: u64 = 8 * MIB as u64;
/// What a row, and each header, weighs beside its bytes where work is cut by record bytes: it may have none.
pub const ROW_WEIGHT: u64 = 16;
/// Rows of a Parquet page, and of a digest run.
pub const PAGE_ROWS: usize = 1_024;
/// Record bytes (and something for each row and header) of one page of rows; where rows are larger, the row group ends.
pub const PAGE_BYTES: usize = 4 * MIB;
/// The same of one row group, whose compressed pages are not yet in the file.
pub const ROW_GROUP_BYTES: usize = 64 * MIB;
/// A row group also ends at this many bytes of finished pages, which lie in memory twice while they are put.
pub const ROW_GROUP_ENCODED_BYTES: usize = 24 * MIB;
/// Record bytes (and something for each row and header) of rows of a partition that are set aside until it is known whether they fill a row group of their own.
pub const STAGED_ROWS_BYTES: usize = 8 * MIB;
/// Rebuilt batches are at most this large, or one record: the first of an answer goes whole, and has to fit what Kafka's clients are set to as a rule.
pub const REBUILT_BATCH_BYTES: usize = 256 * KIB;

// Our own client.

/// Unanswered requests of one connection.
pub const CLIENT_REQUESTS_IN_FLIGHT: usize = 64;
/// Unanswered Produce requests of one connection: as many batches as a broker remembers per producer and partition.
pub const CLIENT_PRODUCE_IN_FLIGHT: usize = 5;
/// Bytes of records that wait in one producer, unless set otherwise.
pub const CLIENT_BUFFER_BYTES: usize = 32 * MIB;
/// Bytes of one Produce request, unless one batch alone has more.
pub const CLIENT_PRODUCE_BYTES: usize = 8 * MIB;
/// Bytes that one Fetch asks for, unless set otherwise.
pub const CLIENT_FETCH_BYTES: i32 = 16 * MIB as i32;
/// Bytes that one Fetch asks for per partition, unless set otherwise.
pub const CLIENT_FETCH_PARTITION_BYTES: i32 = MIB as i32;

// Times.

/// The longest a request waits in the node before it is answered REQUEST_TIMED_OUT.
pub const REQUEST_WAIT: Duration = Duration::from_secs(20);
/// An append that returns later than this after the last consistent read counts only after a look at the floor.
pub const APPEND_DOUBT: Duration = Duration::from_secs(30);
/// How far a node's clock and its stores' may differ.
pub const CLOCK_SKEW: Duration = Duration::from_secs(2);
/// How long a batch that is ahead of its producer's sequence waits for the one before it.
pub const SEQUENCE_WAIT: Duration = Duration::from_secs(2);
/// How long SIGTERM may take.
pub const SHUTDOWN: Duration = Duration::from_secs(20);
/// Fresh objects outlive the manifest that names them by this.
pub const FRESH_GRACE: Duration = Duration::from_secs(15 * 60);
/// Sealed objects outlive the manifest that names them by this.
pub const SEALED_GRACE: Duration = Duration::from_secs(24 * 3_600);
/// The bucket's copy of the log is written this often, or every [`LOG_COPY_ENTRIES`].
pub const LOG_COPY_INTERVAL: Duration = Duration::from_secs(10);
/// Entries of one copy of the log.
pub const LOG_COPY_ENTRIES: u64 = 1_000;
/// Entries between snapshots.
pub const SNAPSHOT_ENTRIES: u64 = 10_000;
/// Bytes of log between snapshots (embedded), at least.
pub const SNAPSHOT_LOG_BYTES: u64 = 256 * MIB as u64;
/// The same for each byte of the last snapshot, so that a large index is not written again and again while much comes in.
pub const SNAPSHOT_LOG_RATIO: u64 = 64;
/// Bytes of log between snapshots, at most, however large the index is: until the next one they stay on the disk.
pub const SNAPSHOT_LOG_MOST_BYTES: u64 = 4_096 * MIB as u64;

/// What a rebuilt cell adds to every next offset and to the next producer id (I10).
pub const REBUILD_OFFSET_STEP: i64 = 1_000_000_000;
