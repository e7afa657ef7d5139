//! Which broker coordinates a group.

use crate::client::Client;
use crate::cluster::Broker;
use crate::error::{ClientError, check};
use strandline_wire::messages::FindCoordinatorRequest;

const GROUP: i8 = 0;

impl Client {
    /// The coordinator of a group, asked for now.
    ///
    /// # Errors
    /// None is available now (worth another try), or no broker answers.
    pub async fn find_coordinator(&self, group: &str) -> Result<Broker, ClientError> {
        let request = FindCoordinatorRequest { key: group.to_owned(), key_type: GROUP, coordinator_keys: vec![group.to_owned()] };
        let what = || format!("the coordinator of group \"{group}\"");
        let response = self.any_connection().await?.call(&request).await?;
        check(response.error_code, what, response.error_message)?;
        // One key a request up to version 3, many from version 4.
        let (node_id, host, port) = match response.coordinators.into_iter().next() {
            Some(found) => {
                check(found.error_code, what, found.error_message)?;
                (found.node_id, found.host, found.port)
            }
            None => (response.node_id, response.host, response.port),
        };
        let port = u16::try_from(port).map_err(|_| ClientError::Missing(what()))?;
        Ok(Broker { node_id, host, port, rack: None })
    }
}
