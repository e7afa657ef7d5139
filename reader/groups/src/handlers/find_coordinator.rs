//! FindCoordinator (10) 0 to 6.

use crate::coordinator::{Groups, Shared};
use crate::placement::coordinator_of;
use strandline_types::Caller;
use strandline_wire::ErrorCode;
use strandline_wire::messages::find_coordinator::Coordinator;
use strandline_wire::messages::{FindCoordinatorRequest, FindCoordinatorResponse};

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

impl Groups {
    /// Which node coordinates the groups. Transactional ids and share groups are refused until they exist: an error that
    /// clients retry would hang them.
    pub async fn find_coordinator(&self, _: &Caller, version: i16, request: FindCoordinatorRequest) -> FindCoordinatorResponse {
        if version >= 4 {
            let coordinators = request.coordinator_keys.into_iter().map(|key| self.shared.find_one(key, request.key_type));
            return FindCoordinatorResponse { coordinators: coordinators.collect(), ..FindCoordinatorResponse::default() };
        }
        let found = self.shared.find_one(request.key, request.key_type);
        FindCoordinatorResponse {
            error_code: found.error_code,
            error_message: found.error_message,
            node_id: found.node_id,
            host: found.host,
            port: found.port,
            ..FindCoordinatorResponse::default()
        }
    }
}

impl Shared {
    fn find_one(&self, key: String, key_type: i8) -> Coordinator {
        let refuse = |key, error: ErrorCode, message: &str| Coordinator {
            key,
            node_id: -1,
            port: -1,
            error_code: error.code(),
            error_message: Some(message.to_owned()),
            ..Coordinator::default()
        };
        match key_type {
            GROUP => {}
            TRANSACTION => return refuse(key, ErrorCode::InvalidRequest, "transactions are not supported yet"),
            _ => return refuse(key, ErrorCode::InvalidRequest, "only coordinators of groups (key type 0) can be looked up"),
        }
        let index = self.cell.view();
        let node_id = coordinator_of(&index, &key);
        match node_id.and_then(|node_id| Some((node_id, index.slots.get(&node_id)?))) {
            Some((node_id, slot)) => Coordinator {
                key,
                node_id,
                host: slot.host.clone(),
                port: i32::try_from(slot.port).unwrap_or(-1),
                ..Coordinator::default()
            },
            None => refuse(key, ErrorCode::CoordinatorNotAvailable, "no node serves clients at the moment"),
        }
    }
}
