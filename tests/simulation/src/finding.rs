//! What a failed run found: the check that spoke. A planted fault counts as found only by a check that looks for what it does.

/// A kind of check, told by what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// An acknowledgement of what is not in the log, or not what was acknowledged (I1).
    FalseAck,
    /// What extents, files or rows refer to is damaged or not there (I1, I8).
    Unreadable,
    /// A record more often than it may be there.
    Twice,
    /// An offset without a record (I5).
    Missing,
    /// A record that is not what was sent (I6).
    Changed,
    /// An answer for other offsets than were asked for (I5).
    WrongOffsets,
    /// A node that has folded something else than is in the log (I2).
    Diverged,
    /// The hash chain of the log is broken (I2).
    BrokenChain,
    /// 'No', 'the end' or 'the first' that is older than the question.
    OldAnswer,
    /// What was asked for later came first (A17).
    Order,
    /// A floor, or its snapshot, that went back (A10, D5).
    LoweredFloor,
    /// A floor beyond what extents refer to (D6).
    FloorPassesExtents,
    /// Deleted, and still referred to, or before its time (I8).
    DeletedObject,
    /// An index that contradicts itself (I5, I8).
    Violation,
    /// A sealed file before its plan is copied (C8).
    PutEarly,
    /// A row, or an offset, in two files (I7).
    ListedTwice,
    /// A node that cannot start from the snapshot that the floor names (D1 to D4).
    Snapshot,
    /// What a group has committed goes back.
    CommittedOffset,
    /// A node that folds by rules that its build does not know (I2).
    FoldVersion,
    /// Retention has taken what is young and not too much.
    Retention,
    /// Retention has left what was to go.
    Left,
    /// A log start that is not where a command has asked it to be, or has put it.
    LogStart,
    /// The log says of entries that they are copied, and they are not in the bucket (I10).
    NotCopied,
    /// An entry that the embedded log has promised is not there after a crash (I1).
    LostEntry,
    /// A file that answers and is in no manifest.
    Unlisted,
    /// Memory that is held at rest (I11).
    Held,
    /// A commit that counts, and what it is about has changed since.
    LateCommit,
    /// A node goes on, or tells a client what it cannot know, although others have given it up.
    VoidNode,
}

impl Finding {
    const ALL: [Self; 28] = [
        Self::FalseAck,
        Self::Unreadable,
        Self::Twice,
        Self::Missing,
        Self::Changed,
        Self::WrongOffsets,
        Self::Diverged,
        Self::BrokenChain,
        Self::OldAnswer,
        Self::Order,
        Self::LoweredFloor,
        Self::FloorPassesExtents,
        Self::DeletedObject,
        Self::Violation,
        Self::PutEarly,
        Self::ListedTwice,
        Self::Snapshot,
        Self::CommittedOffset,
        Self::FoldVersion,
        Self::Retention,
        Self::Left,
        Self::LogStart,
        Self::NotCopied,
        Self::LostEntry,
        Self::Unlisted,
        Self::Held,
        Self::LateCommit,
        Self::VoidNode,
    ];

    /// Each: all of the words of one of these, in the sentence.
    const fn words(self) -> &'static [&'static [&'static str]] {
        match self {
            Self::FalseAck => &[&["acknowledged", "(I1)"], &["(A1, A2)"], &["was acknowledged to", "and to"]],
            Self::Unreadable => {
                &[&["could not be read"], &["records cannot be read"], &["records are lost"], &["referred to and not there"]]
            }
            Self::Twice => &[&["holds record", "it was tried"], &["holds record", "tries were left open"]],
            Self::Missing => &[&["no record at offset"], &["no answer for offset"]],
            Self::Changed => &[&["came back changed"]],
            Self::WrongOffsets => &[&["asked for", "got a batch of"], &["a batch at", "is due (I5)"]],
            Self::Diverged => &[&["holds another index than the log says"]],
            Self::BrokenChain => &[&["does not continue the hash chain"]],
            Self::OldAnswer => &[
                &["a barrier at", "before it"],
                &["when it was asked"],
                &["out of range, and the log was"],
                &["fetch", "UNKNOWN_TOPIC_ID"],
                &["it does not exist, and it does"],
            ],
            Self::Order => &[&["behind one in doubt"], &["overtook the one before it"], &["the one before at"]],
            Self::LoweredFloor => &[&["the floor went from"]],
            Self::FloorPassesExtents => &[&["the floor", "to which extents refer"]],
            Self::DeletedObject => &[&["is deleted, and"]],
            Self::Violation => &[&["after entry"]],
            Self::PutEarly => &[&["before its plan is in the bucket's copy"]],
            Self::ListedTwice => &[&["lists offset", "twice"], &["is PUT:", "too"], &["both show offset"]],
            Self::Snapshot => &[
                &["from the snapshot that the floor names"],
                &["the snapshot that the floor names is gone"],
                &["round and round below the floor"],
            ],
            Self::CommittedOffset => {
                &[&["has committed of", "goes from"], &["was kept,", "was tried"], &["took a commit of generation"]]
            }
            Self::FoldVersion => &[&["folds by version"]],
            Self::Retention => &[&["retention takes", "are left"]],
            Self::Left => &[&["retention leaves"]],
            Self::LogStart => &[&["the log start of", "was moved to"], &["the log start of", "for a command that says"]],
            Self::NotCopied => &[&["the log says that it is copied up to"]],
            // What it has lost may lie below the floor, or before what it has kept.
            Self::LostEntry => &[
                &["the embedded log ends at", "was promised"],
                &["was promised, and another is there"],
                &["the embedded log cannot be opened"],
            ],
            Self::Unlisted => &[&["the manifest of", "it lacks"]],
            Self::Held => &[&["does not give back what it holds"]],
            Self::LateCommit => &[&["counts, and what it is about is not there any more"]],
            Self::VoidNode => &[&["a void node"]],
        }
    }

    /// Whether this check said so.
    pub fn is(self, failure: &str) -> bool {
        // What follows the first line is the history.
        let sentence = failure.lines().next().unwrap_or_default();
        self.words().iter().any(|words| words.iter().all(|word| sentence.contains(word)))
    }

    /// Which check it was; none for those that look for no rule in particular: a panic, a run without an end.
    pub fn of(failure: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|finding| finding.is(failure))
    }
}
