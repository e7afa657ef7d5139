//! What was sent before this node had the group, or by who is gone, and comes now.

use crate::coordinator::Shared;
use crate::slot::Loaded;
use strandline_types::Caller;
use strandline_types::mutations::{Rule, holds};
use strandline_wire::ErrorCode;

/// Another node may have coordinated the group since the connection began, and what came over it may have been on its way all the while: its
/// sender may have given up and have changed the group there since. So it may where the sender has ended the connection and this waited behind
/// what was asked before ([`strandline_types::Gone`]). Nothing was done. The connection is to be closed: a client that still waits connects
/// anew and asks again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connection is older than this node's claim of the group, or was ended by the client")]
pub struct OldConnection;

/// Why nothing was done, or nothing is known of it.
#[derive(Debug)]
pub(crate) enum NotDone {
    Code(ErrorCode),
    OldConnection,
}

impl From<ErrorCode> for NotDone {
    fn from(code: ErrorCode) -> Self {
        Self::Code(code)
    }
}

impl From<OldConnection> for NotDone {
    fn from(_: OldConnection) -> Self {
        Self::OldConnection
    }
}

impl Shared {
    /// What is asked came after the claim: over a connection that began since, or by a member that knows a generation that was made since.
    /// A sole node is never elsewhere, and need not ask. And nothing may have come since over another connection.
    pub(crate) fn demand_sent_since(&self, loaded: &Loaded, caller: &Caller, generation: i32) -> Result<(), OldConnection> {
        let is_since = self.cell.is_sole() || caller.connected_at >= loaded.claim || generation > loaded.generation;
        if (is_since && !caller.gone.is_set()) || !holds(Rule::Connection) { Ok(()) } else { Err(OldConnection) }
    }
}

/// Of requests that know none.
pub(crate) const NO_GENERATION: i32 = -1;
