//! Which node coordinates a group or transactional id.

use strandline_commands::Role;
use strandline_index::Index;
use strandline_types::{NodeId, rendezvous_weight};

/// The node that coordinates `key`, for clients of all zones: rendezvous hashing over the live nodes that serve clients, so
/// that every node that has folded the same entries names the same one, and a node that comes or goes moves only its share.
/// None while no node serves.
///
/// It hashes node ids, which outlive a node's run, so a restart moves nothing. The hash is part of what nodes of several
/// builds must agree on: it never changes.
pub fn coordinator_of(index: &Index, key: &str) -> Option<NodeId> {
    serving_nodes(index).max_by_key(|node_id| (rendezvous_weight(*node_id, key.as_bytes()), *node_id))
}

/// The node ids of live nodes that serve clients, in order.
pub(crate) fn serving_nodes(index: &Index) -> impl Iterator<Item = NodeId> {
    index.nodes.values().filter(|node| node.roles.contains(&(Role::Reader as i32))).map(|node| node.node_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use strandline_index::NodeRun;
    use strandline_types::{Incarnation, Seq};

    fn node(node_id: NodeId, role: Role) -> NodeRun {
        NodeRun {
            node_id,
            nonce: Vec::new(),
            roles: vec![role as i32],
            zone: String::new(),
            last_n: 0,
            folded: Seq::ZERO,
            fold_version_supported: 1,
        }
    }

    fn index(nodes: &[NodeId]) -> Index {
        let mut index = Index::default();
        for (at, node_id) in nodes.iter().enumerate() {
            index.nodes.insert(Incarnation(at as u64 + 1), node(*node_id, Role::Reader));
        }
        index
    }

    #[test]
    fn groups_spread_and_a_node_that_goes_moves_only_its_own() {
        let (before, after) = (index(&[1, 2, 3]), index(&[1, 3]));
        let mut counts = [0; 4];
        for n in 0..3_000 {
            let key = format!("group-{n}");
            let (was, is) = (coordinator_of(&before, &key).unwrap(), coordinator_of(&after, &key).unwrap());
            counts[usize::try_from(was).unwrap()] += 1;
            assert!(was == 2 || was == is);
            assert_ne!(is, 2);
        }
        assert!(counts[1..].iter().all(|count| (800..1_200).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_node_without_the_role_coordinates_nothing() {
        let mut index = Index::default();
        assert_eq!(coordinator_of(&index, "group"), None);
        index.nodes.insert(Incarnation(1), node(1, Role::Compactor));
        assert_eq!(coordinator_of(&index, "group"), None);
    }
}
