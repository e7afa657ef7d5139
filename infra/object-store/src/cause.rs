//! What lies behind an error of a store: the one place that reads `object_store::Error`.

use crate::folder::FolderError;
use std::error::Error as _;
use std::io::ErrorKind;

/// What an error means for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// No object under that name.
    NotFound,
    /// An object is there already.
    AlreadyExists,
    /// No space, or no quota, is left.
    Full,
    /// The store refuses this user, or is read-only.
    Denied,
    /// Not a name of an object.
    InvalidPath,
    /// The request itself cannot succeed: a range outside of the object, an option the store lacks.
    Permanent,
    /// The reply is lost or the store is in trouble; the same request may succeed later, and this one may
    /// have taken effect.
    Transient,
}

impl Cause {
    /// What `error` means.
    pub fn of(error: &object_store::Error) -> Self {
        use object_store::Error;
        match error {
            Error::NotFound { .. } => Cause::NotFound,
            Error::AlreadyExists { .. } => Cause::AlreadyExists,
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => Cause::Denied,
            Error::InvalidPath { .. } => Cause::InvalidPath,
            Error::NotSupported { .. }
            | Error::NotImplemented { .. }
            | Error::Precondition { .. }
            | Error::NotModified { .. }
            | Error::UnknownConfigurationKey { .. } => Cause::Permanent,
            other => Self::of_sources(other),
        }
    }

    /// Whether the same request may succeed if it is made again soon.
    pub const fn is_retriable(self) -> bool {
        matches!(self, Cause::Transient)
    }

    /// The label in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Cause::NotFound => "not_found",
            Cause::AlreadyExists => "already_exists",
            Cause::Full => "full",
            Cause::Denied => "denied",
            Cause::InvalidPath => "invalid_path",
            Cause::Permanent => "permanent",
            Cause::Transient => "transient",
        }
    }

    fn of_sources(error: &object_store::Error) -> Self {
        let mut source = error.source();
        while let Some(current) = source {
            if let Some(folder) = current.downcast_ref::<FolderError>()
                && let Some(cause) = folder.cause()
            {
                return cause;
            }
            if let Some(io) = current.downcast_ref::<std::io::Error>()
                && let Some(cause) = Self::of_io(io.kind())
            {
                return cause;
            }
            source = current.source();
        }
        Cause::Transient
    }

    pub(crate) fn of_io(kind: ErrorKind) -> Option<Self> {
        match kind {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Some(Cause::Full),
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Some(Cause::Denied),
            ErrorKind::NotFound => Some(Cause::NotFound),
            ErrorKind::InvalidFilename => Some(Cause::InvalidPath),
            _ => None,
        }
    }
}
