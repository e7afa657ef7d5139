//! The coordinator of consumer groups: Kafka's classic protocol whole, committed offsets, and who coordinates what.
//!
//! [`Groups`] has one asynchronous handler per API, `(caller, version, request) -> response`. Membership, timers and
//! parked requests live in memory, in one pure state machine per group that is at work; what a rebalance decides is
//! committed before a member is told, and an idle group costs nothing. So a group goes on with its generation when the
//! node restarts or another takes over.
//!
//! What it must never do:
//! - answer from memory that the log does not bear out: commands carry the claim's epoch and the expected generation, the
//!   fold refuses what has been superseded, and then the group is loaded anew (I9);
//! - tell a member its generation or assignment before it is folded (I1 in spirit: durable before visible);
//! - commit or delete what may have been sent before another node had the group: it would undo what was done there ([`OldConnection`]);
//! - say 'no' (unknown member, no offset, no group) from a view older than the request (barrier);
//! - keep more than its bounds: groups, members, bytes of a group, bytes of a commit (I11).

mod answers;
mod coordinator;
mod group;
mod handlers;
mod housekeeping;
mod offset_expiry;
mod old_connection;
mod options;
mod placement;
mod slot;
mod subscription;
mod timers;

pub use coordinator::Groups;
pub use old_connection::OldConnection;
pub use options::GroupsOptions;
pub use placement::coordinator_of;
