//! Settings.

use std::time::Duration;
use strandline_types::limits;

/// Settings of the group coordinator. The defaults are Kafka's, but for `max_members`.
#[derive(Debug, Clone)]
pub struct GroupsOptions {
    /// The shortest session time-out that a member may ask for (`group.min.session.timeout.ms`, 6 s). A third of it is how
    /// old the confirmation of a claim may be when a heartbeat is answered well.
    pub min_session_timeout: Duration,
    /// The longest session time-out that a member may ask for (`group.max.session.timeout.ms`, 30 minutes).
    pub max_session_timeout: Duration,
    /// How long the first rebalance of an empty group waits for more members (`group.initial.rebalance.delay.ms`, 3 s).
    pub initial_rebalance_delay: Duration,
    /// How long a new member's first JoinGroup may wait before the member is given up (5 minutes, as in Kafka).
    pub new_member_join_timeout: Duration,
    /// Members of one group at most (`group.max.size`).
    pub max_members: usize,
    /// How long offsets are kept of a group without members, and of partitions that nobody reads any more (`offsets.retention.minutes`, 7 days).
    pub offsets_retention: Duration,
    /// How often expired offsets are looked for (`offsets.retention.check.interval.ms`, 10 minutes).
    pub offsets_retention_check: Duration,
    /// Whether groups with members are taken over, sessions end and offsets expire. Not where a folder is only looked at.
    pub housekeeping: bool,
}

impl Default for GroupsOptions {
    fn default() -> Self {
        Self {
            min_session_timeout: Duration::from_secs(6),
            max_session_timeout: Duration::from_secs(30 * 60),
            initial_rebalance_delay: Duration::from_secs(3),
            new_member_join_timeout: Duration::from_secs(5 * 60),
            max_members: limits::GROUP_MEMBERS,
            offsets_retention: Duration::from_secs(7 * 24 * 3_600),
            offsets_retention_check: Duration::from_secs(10 * 60),
            housekeeping: true,
        }
    }
}
