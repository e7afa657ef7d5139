//! Why a request is made, and which kind it is.

/// Why a request is made: 'requests per MiB ingested, by cause' is a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// Write-ahead segments.
    Wal,
    /// Fresh Parquet: conversions and merges.
    Fresh,
    /// Sealed Parquet.
    Seal,
    /// Manifests.
    Manifest,
    /// Snapshots of the index.
    Snapshot,
    /// Copies of the commit log.
    LogCopy,
    /// Answers to consumers.
    Read,
    /// Objects of the garbage list.
    Garbage,
    /// The search for orphans and for objects that came back.
    Sweep,
    /// Rebuilding a cell or a derived table.
    Rebuild,
    /// The test at start-up.
    SelfTest,
}

impl Purpose {
    /// Every purpose, in the order of its position.
    pub const ALL: [Purpose; 11] = [
        Purpose::Wal,
        Purpose::Fresh,
        Purpose::Seal,
        Purpose::Manifest,
        Purpose::Snapshot,
        Purpose::LogCopy,
        Purpose::Read,
        Purpose::Garbage,
        Purpose::Sweep,
        Purpose::Rebuild,
        Purpose::SelfTest,
    ];

    /// The label in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Purpose::Wal => "wal",
            Purpose::Fresh => "fresh",
            Purpose::Seal => "seal",
            Purpose::Manifest => "manifest",
            Purpose::Snapshot => "snapshot",
            Purpose::LogCopy => "log_copy",
            Purpose::Read => "read",
            Purpose::Garbage => "garbage",
            Purpose::Sweep => "sweep",
            Purpose::Rebuild => "rebuild",
            Purpose::SelfTest => "self_test",
        }
    }
}

/// A kind of request, as it is billed and as faults are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// One object in one request.
    Put,
    /// A part, the start or the end of an object in several requests.
    Multipart,
    /// Bytes of an object.
    Get,
    /// Size and time of an object.
    Head,
    /// Removal of one object.
    Delete,
    /// A listing.
    List,
    /// A copy or a move inside the store.
    Copy,
}

impl Operation {
    /// The label in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Operation::Put => "put",
            Operation::Multipart => "multipart",
            Operation::Get => "get",
            Operation::Head => "head",
            Operation::Delete => "delete",
            Operation::List => "list",
            Operation::Copy => "copy",
        }
    }

    /// Which kind a get with these options is.
    pub(crate) fn of_get(options: &object_store::GetOptions) -> Self {
        if options.head { Operation::Head } else { Operation::Get }
    }
}
