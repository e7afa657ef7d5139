//! Groups whose coordinator is another one meanwhile (Claim).

use super::stage::Stage;
use crate::clients::commit_offset;
use crate::network::Link;
use crate::stops::Place;
use strandline_groups::coordinator_of;

/// Names of groups that are tried until one has the coordinator that the script wants. What these commit never goes back.
const NAMES: usize = 100;

async fn commit(stage: &Stage, slot: usize, group: &str, offset: i64) {
    let node = stage.node(slot);
    let link = Link::new(&stage.world, offset as u64);
    let answer = commit_offset(&link, &node, group, &stage.topic, offset).await;
    stage.say(&format!("{} commits {offset} of {group}: {answer:?}", node.name()));
}

/// A coordinator has a commit of offsets on its way when a node joins that coordinates the group from then on, and commits what
/// is newer.
pub(super) async fn commit_of_an_old_coordinator(stage: &Stage) {
    let coordinator = |group: &str| coordinator_of(&stage.node(1).cell.view(), group);
    let third = Some(stage.node(2).cell.node_id());
    let Some(group) = (0..NAMES).map(|number| format!("team-{number}")).find(|group| coordinator(group) == third) else {
        return stage.world.core.fail("the third node coordinates no group");
    };
    stage.bury(2).await;
    stage.catch_up().await;
    let now = coordinator(&group);
    let old = usize::from(now != Some(stage.node(0).cell.node_id()));
    commit(stage, old, &group, 1).await;
    let hold = stage.hold(old, Place::Append, "");
    let takes_over = async {
        stage.reach(&hold, "the old coordinator commits nothing").await;
        stage.start(2).await;
        commit(stage, 2, &group, 3).await;
        hold.release();
    };
    futures::join!(commit(stage, old, &group, 2), takes_over);
    stage.catch_up().await;
    if coordinator(&group) != third {
        stage.world.core.fail("the group has no other coordinator");
    }
}
