//! What happens because time has passed. The owner calls [`ClassicGroup::catch_up`] at [`ClassicGroup::wake_at`] or later.

use super::{ClassicGroup, State};
use std::time::Duration;

/// A timer that fires this late shows that the process, or the machine, stood still.
const LATE: Duration = Duration::from_secs(2);
/// An id that was given out ahead is good for so long then.
const PENDING_ANEW: Duration = Duration::from_secs(10);

impl ClassicGroup {
    /// Nothing is due before this. It may be earlier than what is due next (a heartbeat moves a deadline and leaves this
    /// alone, so that it costs nothing); a tick then only looks.
    pub(crate) fn wake_at(&self) -> Option<Duration> {
        self.wake_at
    }

    pub(super) fn wake(&mut self, at: Duration) {
        self.wake_at = Some(self.wake_at.map_or(at, |earlier| earlier.min(at)));
    }

    /// A sign of life.
    pub(super) fn touch(&mut self, now: Duration, member_id: &str) {
        if let Some(member) = self.members.get_mut(member_id) {
            member.deadline = now + member.session_timeout;
            let deadline = member.deadline;
            self.wake(deadline);
        }
    }

    /// The coordinator itself did not run for `pause`: no member is out because of that.
    pub(crate) fn forgive(&mut self, pause: Duration) {
        for member in self.members.values_mut() {
            member.deadline += pause;
        }
        for deadline in self.pending.values_mut() {
            *deadline += pause;
        }
        if let Some(deadline) = &mut self.sync_deadline {
            *deadline += pause;
        }
    }

    /// Does what is due, or, if that was due long ago, gives everything its whole time anew: the coordinator itself did not run meanwhile, for
    /// longer than it can tell, and nobody is out because of that.
    pub(crate) fn catch_up(&mut self, now: Duration) {
        if self.wake_at.is_some_and(|at| now.saturating_sub(at) > LATE) {
            self.restart_timers(now);
        }
        self.tick(now);
    }

    fn restart_timers(&mut self, now: Duration) {
        let rebalance_timeout = self.rebalance_timeout();
        for member in self.members.values_mut() {
            member.deadline = member.deadline.max(now + member.session_timeout);
        }
        for deadline in self.pending.values_mut() {
            *deadline = (*deadline).max(now + PENDING_ANEW);
        }
        if let Some(deadline) = &mut self.sync_deadline {
            *deadline = (*deadline).max(now + rebalance_timeout);
        }
        if let Some(timer) = &mut self.join_timer {
            let wait = timer.initial.map_or(rebalance_timeout, |(delay, _)| delay);
            timer.at = timer.at.max(now + wait);
        }
    }

    /// Does what is due. Stops at a store; tick again after [`ClassicGroup::stored`].
    pub(crate) fn tick(&mut self, now: Duration) {
        while !self.is_storing() && self.tick_once(now) {}
        if !self.is_storing() {
            self.wake_at = self.next_deadline();
        }
    }

    /// Does one thing that is due; false if nothing is.
    fn tick_once(&mut self, now: Duration) -> bool {
        if let Some(timer) = self.join_timer.filter(|timer| timer.at <= now) {
            self.join_timer_due(now, timer);
            return true;
        }
        if self.sync_deadline.is_some_and(|at| at <= now) {
            self.sync_timer_due(now);
            return true;
        }
        let pending = self.pending.iter().find(|(_, deadline)| **deadline <= now).map(|(id, _)| id.clone());
        if let Some(member_id) = pending {
            self.forget_pending(&member_id);
            self.maybe_complete_join(now);
            return true;
        }
        let mut expired = Vec::new();
        for (member_id, member) in &mut self.members {
            if member.deadline > now {
                continue;
            }
            if member.is_excused() {
                member.deadline = now + member.session_timeout.max(Duration::from_millis(1));
            } else {
                expired.push(member_id.clone());
            }
        }
        for member_id in &expired {
            self.remove(member_id);
        }
        if !expired.is_empty() {
            match self.state {
                State::Stable | State::CompletingRebalance => self.prepare_rebalance(now),
                _ => self.maybe_complete_join(now),
            }
        }
        !expired.is_empty()
    }

    /// Members that took a place in the generation and did not come for their assignment are out.
    fn sync_timer_due(&mut self, now: Duration) {
        self.sync_deadline = None;
        if !matches!(self.state, State::CompletingRebalance | State::Stable) || self.unsynced.is_empty() {
            return;
        }
        for member_id in std::mem::take(&mut self.unsynced) {
            self.remove(&member_id);
        }
        self.prepare_rebalance(now);
    }

    fn next_deadline(&self) -> Option<Duration> {
        let members = self.members.values().map(|member| member.deadline);
        let pending = self.pending.values().copied();
        let timers = [self.join_timer.map(|timer| timer.at), self.sync_deadline];
        members.chain(pending).chain(timers.into_iter().flatten()).min()
    }
}
