//! Which node a client is sent to for a partition: any would do, so the same one for as long as it lives.

use strandline_commands::Role;
use strandline_index::Index;
use strandline_types::{NodeId, TopicId, rendezvous_weight};

/// A live node that serves clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServingNode {
    pub(crate) node_id: NodeId,
    pub(crate) host: String,
    pub(crate) port: i32,
    pub(crate) zone: String,
}

/// Live nodes that serve clients, in order of their ids.
pub(crate) fn serving_nodes(index: &Index) -> Vec<ServingNode> {
    let slots = index.slots.iter().filter_map(|(node_id, slot)| {
        let run = index.nodes.get(&slot.holder?)?;
        let serves = run.roles.contains(&(Role::Reader as i32)) && run.roles.contains(&(Role::Ingest as i32));
        serves.then(|| ServingNode {
            node_id: *node_id,
            host: slot.host.clone(),
            port: i32::try_from(slot.port).unwrap_or(0),
            zone: slot.zone.clone(),
        })
    });
    slots.collect()
}

/// The node of `zone` (of all zones where that is unknown or has no node) for this partition.
pub(crate) fn leader(nodes: &[ServingNode], zone: &str, topic_id: TopicId, partition: i32) -> NodeId {
    match nodes {
        [] => -1,
        [only] => only.node_id,
        _ => {
            let in_zone = !zone.is_empty() && nodes.iter().any(|node| node.zone == zone);
            best(nodes.iter().filter(|node| !in_zone || node.zone == zone), topic_id, partition)
        }
    }
}

/// One node per zone, the same for every asker.
pub(crate) fn replicas(nodes: &[ServingNode], topic_id: TopicId, partition: i32) -> Vec<NodeId> {
    let mut zones: Vec<&str> = nodes.iter().map(|node| node.zone.as_str()).collect();
    zones.sort_unstable();
    zones.dedup();
    zones.into_iter().map(|zone| best(nodes.iter().filter(|node| node.zone == zone), topic_id, partition)).collect()
}

fn best<'a>(nodes: impl Iterator<Item = &'a ServingNode>, topic_id: TopicId, partition: i32) -> NodeId {
    let mut key = [0; 20];
    key[..16].copy_from_slice(&topic_id.0);
    key[16..].copy_from_slice(&partition.to_be_bytes());
    nodes.map(|node| node.node_id).max_by_key(|node_id| (rendezvous_weight(*node_id, &key), *node_id)).unwrap_or(-1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(node_id: NodeId, zone: &str) -> ServingNode {
        ServingNode { node_id, host: "h".to_owned(), port: 1, zone: zone.to_owned() }
    }

    #[test]
    fn a_client_is_sent_to_its_own_zone_and_replicas_are_the_same_for_all() {
        let nodes = [node(1, "a"), node(2, "a"), node(3, "b")];
        for partition in 0..50 {
            let id = TopicId([7; 16]);
            assert_eq!(leader(&nodes, "b", id, partition), 3);
            assert!([1, 2].contains(&leader(&nodes, "a", id, partition)));
            let replicas = replicas(&nodes, id, partition);
            assert_eq!(replicas, vec![leader(&nodes, "a", id, partition), 3]);
            assert!(nodes.iter().any(|node| node.node_id == leader(&nodes, "elsewhere", id, partition)));
        }
        assert_eq!(leader(&[], "", TopicId([7; 16]), 0), -1);
    }
}
