//! Objects: what would be the bucket, behind `object_store`'s trait.
//!
//! [`FolderStore`] keeps objects as files, durably, each name given once. Decorators change one thing each:
//! [`Retry`], [`Metered`], [`Faults`]. [`Objects`] is what the roles use. [`conformance`] says what any
//! implementation has to do, [`self_test`] asks a store the question that matters before a node serves.
//!
//! Kept here: I1 (a put that succeeded is durable), I8 (a name is given once; 'exists already' is a success
//! only after size and CRC agree), I11 (tries, waits and buffers are bounded, by `limits`).
//! Must never: replace an object through [`put_new`], leave half an object where a listing or a glob sees
//! it, decide anything by an object's age, or delete what it was not told to.

mod cause;
pub mod conformance;
mod errors;
mod faults;
mod folder;
mod metered;
mod new_object;
mod objects;
mod purpose;
mod put_new;
mod retry;
mod self_test;
mod tail;

pub use cause::Cause;
pub use errors::{DeleteError, GetError, HeadError, ListError, PutNewError, PutReplaceError};
pub use faults::{Effect, Fault, FaultPlan, FaultRates, Faults};
pub use folder::{FolderError, FolderStore, OpenError};
pub use metered::Metered;
pub use new_object::{NameRule, NewObject, PutRule};
pub use object_store::ObjectStore;
pub use object_store::memory::InMemory;
pub use object_store::path::Path;
pub use objects::{ObjectInfo, Objects, Seen};
pub use purpose::{Operation, Purpose};
pub use put_new::{Checksum, crc32c, put_new};
pub use retry::{Retry, RetryPolicy};
pub use self_test::{SelfTestError, self_test};
pub use tail::TailError;
