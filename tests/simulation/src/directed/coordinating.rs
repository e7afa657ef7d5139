//! Groups whose coordinator is another one meanwhile (Claim).

use super::stage::Stage;
use crate::clients::commit_offset;
use crate::network::Link;
use crate::node::Node;
use crate::stops::Place;
use std::sync::Arc;
use std::time::Duration;
use strandline_groups::coordinator_of;
use strandline_types::NodeId;
use strandline_wire::ErrorCode;

/// A connection that is older than a claim ends with the first.
const TRIES: usize = 3;
/// Names of groups that are tried until one has the coordinator that the script wants. What these commit never goes back.
const NAMES: usize = 100;

/// Commits once, whatever comes of it.
async fn commit_once(stage: &Stage, link: &Link, node: &Arc<Node>, group: &str, offset: i64) -> Option<ErrorCode> {
    let answer = commit_offset(link, node, group, &stage.topic, offset).await;
    stage.say(&format!("{} commits {offset} of {group}: {answer:?}", node.name()));
    answer
}

/// Commits as a client does: where its connection ends, over another one.
async fn commit(stage: &Stage, slot: usize, group: &str, offset: i64) {
    let (node, link) = (stage.node(slot), Link::new(&stage.world, offset as u64));
    for _ in 0..TRIES {
        if commit_once(stage, &link, &node, group, offset).await == Some(ErrorCode::None) {
            return;
        }
    }
    stage.world.core.fail("a coordinator takes no commit");
}

/// A coordinator has a commit of offsets on its way when a node joins that coordinates the group from then on, and commits what
/// is newer.
pub(super) async fn commit_of_an_old_coordinator(stage: &Stage) {
    let Some((group, old)) = without_the_third_node(stage).await else { return };
    commit(stage, old, &group, 1).await;
    let hold = stage.hold(old, Place::Append, "");
    let takes_over = async {
        stage.reach(&hold, "the old coordinator commits nothing").await;
        stage.start(2).await;
        commit(stage, 2, &group, 3).await;
        hold.release();
    };
    let (node, link) = (stage.node(old), Link::new(&stage.world, 2));
    futures::join!(commit_once(stage, &link, &node, &group, 2), takes_over);
    stage.catch_up().await;
    if coordinator(stage, &group) != Some(stage.node(2).cell.node_id()) {
        stage.world.core.fail("the group has no other coordinator");
    }
}

/// A commit waits on its way to the coordinator; a node joins that coordinates the group and commits what is newer, and dies. Then what
/// waited comes.
pub(super) async fn commit_kept_waiting(stage: &Stage) {
    let Some((group, old)) = without_the_third_node(stage).await else { return };
    let node = stage.node(old);
    let link = Link::new(&stage.world, 2);
    commit(stage, old, &group, 1).await;
    // Once more over the connection that is to wait.
    commit_once(stage, &link, &node, &group, 1).await;
    let there_and_back = async {
        node.gate.set_paused(true);
        stage.sleep(Duration::from_secs(1)).await;
        stage.start(2).await;
        commit(stage, 2, &group, 3).await;
        stage.bury(2).await;
        stage.catch_up().await;
        node.gate.set_paused(false);
    };
    // In this order: the network takes the request only once the node is paused.
    futures::join!(there_and_back, commit_once(stage, &link, &node, &group, 2));
    commit(stage, old, &group, 4).await;
    if coordinator(stage, &group) != Some(node.cell.node_id()) {
        stage.world.core.fail("the group is not back");
    }
}

fn coordinator(stage: &Stage, group: &str) -> Option<NodeId> {
    coordinator_of(&stage.node(1).cell.view(), group)
}

/// A group that the third node coordinates when it lives, which it does not now, and who does.
async fn without_the_third_node(stage: &Stage) -> Option<(String, usize)> {
    let third = Some(stage.node(2).cell.node_id());
    let Some(group) = (0..NAMES).map(|number| format!("team-{number}")).find(|group| coordinator(stage, group) == third) else {
        stage.world.core.fail("the third node coordinates no group");
        return None;
    };
    stage.bury(2).await;
    stage.catch_up().await;
    let is_first = coordinator(stage, &group) == Some(stage.node(0).cell.node_id());
    Some((group, usize::from(!is_first)))
}
