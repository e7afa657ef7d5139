//! What groups have committed, by the log: it never goes back, and goes away only where an operator has asked for that, or with its topic.
//! And in which life of its group a member was: a group that was deleted begins anew with the first generation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use strandline_commands::{CommandKind, DeleteGroup, DeleteOffsets, EntryBody, ExpireGroup};
use strandline_index::{Folded, Group, Index, Outcome};
use strandline_types::{TopicId, TopicPartition};

/// What an operator may ask for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Deletion {
    /// A group, with all that it has committed.
    Group(String),
    /// What a group has committed of one partition.
    Offset(String, TopicPartition),
}

/// What an entry has deleted.
#[derive(Default)]
struct Gone {
    groups: BTreeSet<String>,
    offsets: BTreeSet<(String, TopicPartition)>,
}

/// What was deleted, and who was in which group.
#[derive(Default)]
pub(crate) struct Committed {
    /// What operators have asked for, and how many of these requests are not in the log yet.
    asked: BTreeMap<Deletion, u32>,
    /// How often a group was deleted.
    lives: BTreeMap<String, u64>,
    /// How often an offset was deleted by itself.
    deleted: BTreeMap<(String, TopicPartition), u64>,
    /// (group, member) → the life of the group in which the member came.
    members: BTreeMap<(String, String), u64>,
}

impl Committed {
    /// An operator is about to ask for this.
    pub fn ask(&mut self, what: Deletion) {
        *self.asked.entry(what).or_default() += 1;
    }

    /// Whether an operator has asked for this; each request is an answer once. Also where one was told that it is surely not done.
    pub fn take_back(&mut self, what: &Deletion) -> bool {
        let Some(times) = self.asked.get_mut(what) else { return false };
        *times -= 1;
        if *times == 0 {
            self.asked.remove(what);
        }
        true
    }

    /// How often the group was deleted until now.
    pub fn life(&self, group: &str) -> u64 {
        self.lives.get(group).copied().unwrap_or(0)
    }

    /// In which life of its group a member came. None: the log has never had it.
    pub fn life_of(&self, group: &str, member_id: &str) -> Option<u64> {
        self.members.get(&(group.to_owned(), member_id.to_owned())).copied()
    }

    /// How often what the group has committed there was deleted, by itself or with the group.
    pub fn deletions(&self, group: &str, at: TopicPartition) -> u64 {
        self.life(group) + self.deleted.get(&(group.to_owned(), at)).copied().unwrap_or(0)
    }

    /// An entry was folded; `before` is what it found, and `index` what came out of it.
    pub fn folded(&mut self, before: Option<&Index>, index: &Index, body: &EntryBody, folded: &Folded) -> Result<(), String> {
        let mut gone = Gone::default();
        for (commit, outcome) in body.commits.iter().zip(&folded.commits) {
            for (command, outcome) in commit.commands.iter().zip(outcome.outcomes.iter().flatten()) {
                self.note(before, command.kind.as_ref(), outcome, &mut gone).map_err(|what| in_entry(index, &what))?;
            }
        }
        for (name, group) in &index.groups {
            let is_same = before.and_then(|before| before.groups.get(name)).is_some_and(|was| Arc::ptr_eq(was, group));
            if !is_same {
                self.note_members(name, group);
            }
        }
        before.map_or(Ok(()), |before| check_groups(before, index, &gone)).map_err(|what| in_entry(index, &what))
    }

    fn note(
        &mut self,
        before: Option<&Index>,
        command: Option<&CommandKind>,
        outcome: &Outcome,
        gone: &mut Gone,
    ) -> Result<(), String> {
        let was = |group: &str| before.and_then(|before| before.groups.get(group));
        match (command, outcome) {
            (_, Outcome::Refused(_)) => Ok(()),
            (Some(CommandKind::DeleteGroup(DeleteGroup { group, .. })), _) => {
                if was(group).is_some_and(|was| !was.is_empty()) {
                    return Err(format!("{group} is deleted, and has members"));
                }
                if !self.take_back(&Deletion::Group(group.clone())) {
                    return Err(format!("{group} is deleted, and nobody has asked for that"));
                }
                self.note_end(group, gone);
                Ok(())
            }
            // What is committed stays for days.
            (Some(CommandKind::ExpireGroup(ExpireGroup { group, .. })), _) => {
                if was(group).is_some_and(|was| !was.is_empty() || !was.offsets.is_empty()) {
                    return Err(format!("{group} expires, and has members, or what they have committed"));
                }
                self.note_end(group, gone);
                Ok(())
            }
            (Some(CommandKind::DeleteOffsets(command)), Outcome::Offsets { unknown }) => {
                self.note_offsets(command, unknown, gone)
            }
            _ => Ok(()),
        }
    }

    fn note_end(&mut self, group: &str, gone: &mut Gone) {
        *self.lives.entry(group.to_owned()).or_default() += 1;
        gone.groups.insert(group.to_owned());
    }

    fn note_offsets(&mut self, command: &DeleteOffsets, unknown: &[TopicPartition], gone: &mut Gone) -> Result<(), String> {
        for place in &command.partitions {
            let Some(topic_id) = TopicId::from_slice(&place.topic_id) else { continue };
            let at = TopicPartition { topic_id, partition: place.partition };
            let was_asked = self.take_back(&Deletion::Offset(command.group.clone(), at));
            if unknown.contains(&at) {
                continue;
            }
            if !was_asked {
                return Err(format!("what {} has committed of {at:?} is deleted, and nobody has asked for that", command.group));
            }
            *self.deleted.entry((command.group.clone(), at)).or_default() += 1;
            gone.offsets.insert((command.group.clone(), at));
        }
        Ok(())
    }

    fn note_members(&mut self, name: &str, group: &Group) {
        let life = self.life(name);
        for member in &group.members {
            self.members.entry((name.to_owned(), member.member_id.clone())).or_insert(life);
        }
    }
}

fn in_entry(index: &Index, what: &str) -> String {
    format!("entry {}: {what}", index.cell.seq)
}

/// What is committed is there until it is deleted. What members of a group have committed never goes back, nor does its generation.
fn check_groups(before: &Index, index: &Index, gone: &Gone) -> Result<(), String> {
    for (name, was) in before.groups.iter().filter(|(name, _)| !gone.groups.contains(*name)) {
        let Some(group) = index.groups.get(name) else { return Err(format!("{name} is not there any more")) };
        if Arc::ptr_eq(was, group) {
            continue;
        }
        let has_members = name.starts_with("team-");
        if has_members && group.generation < was.generation {
            return Err(format!("{name} goes from generation {} to {}", was.generation, group.generation));
        }
        for (place, offset) in &was.offsets {
            if !index.topics.contains_key(&place.topic_id) || gone.offsets.contains(&(name.clone(), *place)) {
                continue;
            }
            let now = group.offsets.get(place).map(|offset| offset.offset);
            if now.is_none_or(|now| has_members && now < offset.offset) {
                let now = now.unwrap_or(-1);
                return Err(format!("what {name} has committed of {place:?} goes from {} to {now}", offset.offset));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use strandline_commands::{Command, Commit, GroupMember, GroupPartition};
    use strandline_index::{CommitOutcome, GroupOffset, Topic};
    use strandline_types::Incarnation;

    const AT: TopicPartition = TopicPartition { topic_id: TopicId([1; 16]), partition: 0 };

    fn empty() -> Index {
        let mut index = Index::default();
        index.topics.insert(AT.topic_id, Arc::new(Topic { id: AT.topic_id, ..Topic::default() }));
        index
    }

    /// With a group that has committed so much, and so many members.
    fn index_with(name: &str, offset: Option<i64>, members: usize) -> Index {
        let mut index = empty();
        let mut group = Group::default();
        if let Some(offset) = offset {
            let committed = GroupOffset { offset, leader_epoch: -1, metadata: String::new(), committed_ms: 0 };
            group.offsets.insert(AT, committed);
        }
        let member = |number| GroupMember { member_id: format!("member {number}"), ..GroupMember::default() };
        group.members = (0..members).map(member).collect();
        index.groups.insert(name.to_owned(), Arc::new(group));
        index
    }

    /// An entry of one command.
    fn fold(
        committed: &mut Committed,
        before: &Index,
        index: &Index,
        command: impl Into<Command>,
        outcome: Outcome,
    ) -> Result<(), String> {
        let commit = Commit { commands: vec![command.into()], ..Commit::default() };
        let body = EntryBody { commits: vec![commit], ..EntryBody::default() };
        let outcome = CommitOutcome { incarnation: Incarnation(1), n: 1, outcomes: Some(vec![outcome]) };
        committed.folded(Some(before), index, &body, &Folded { commits: vec![outcome], ..Folded::default() })
    }

    fn nothing(committed: &mut Committed, before: &Index, index: &Index) -> Result<(), String> {
        committed.folded(Some(before), index, &EntryBody::default(), &Folded::default())
    }

    fn delete_offset(group: &str) -> DeleteOffsets {
        let partitions = vec![GroupPartition { topic_id: AT.topic_id.0.to_vec(), partition: AT.partition }];
        DeleteOffsets { group: group.to_owned(), claim: 1, partitions }
    }

    #[test]
    fn what_members_have_committed_never_goes_back_and_nothing_goes_by_itself() {
        let mut committed = Committed::default();
        nothing(&mut committed, &index_with("team-0", Some(4), 0), &index_with("team-0", Some(4), 0)).unwrap();
        nothing(&mut committed, &index_with("team-0", Some(4), 0), &index_with("team-0", Some(5), 0)).unwrap();
        nothing(&mut committed, &index_with("team-0", Some(4), 0), &index_with("team-0", Some(3), 0)).unwrap_err();
        for name in ["team-0", "group-0"] {
            nothing(&mut committed, &index_with(name, Some(4), 0), &index_with(name, None, 0)).unwrap_err();
            nothing(&mut committed, &index_with(name, Some(0), 0), &index_with(name, None, 0)).unwrap_err();
            nothing(&mut committed, &index_with(name, Some(4), 0), &empty()).unwrap_err();
        }
    }

    #[test]
    fn an_offset_goes_once_for_each_time_that_somebody_asks() {
        let mut committed = Committed::default();
        let (before, after) = (index_with("team-0", Some(4), 1), index_with("team-0", None, 1));
        let none = || Outcome::Offsets { unknown: Vec::new() };
        fold(&mut committed, &before, &after, delete_offset("team-0"), none()).unwrap_err();
        committed.ask(Deletion::Offset("team-0".to_owned(), AT));
        fold(&mut committed, &before, &after, delete_offset("team-0"), none()).unwrap();
        assert_eq!(committed.deletions("team-0", AT), 1);
        fold(&mut committed, &before, &after, delete_offset("team-0"), none()).unwrap_err();
        // What was not there is deleted all the same.
        let unknown = Outcome::Offsets { unknown: vec![AT] };
        fold(&mut committed, &after, &after, delete_offset("team-0"), unknown).unwrap();
        assert_eq!(committed.deletions("team-0", AT), 1);
    }

    #[test]
    fn a_group_without_members_begins_anew_where_somebody_asks() {
        let mut committed = Committed::default();
        let delete = || DeleteGroup { group: "team-0".to_owned(), claim: 1 };
        let (before, busy) = (index_with("team-0", Some(4), 0), index_with("team-0", Some(4), 1));
        fold(&mut committed, &before, &empty(), delete(), Outcome::Done).unwrap_err();
        committed.ask(Deletion::Group("team-0".to_owned()));
        fold(&mut committed, &busy, &empty(), delete(), Outcome::Done).unwrap_err();
        nothing(&mut committed, &before, &busy).unwrap();
        fold(&mut committed, &before, &empty(), delete(), Outcome::Done).unwrap();
        assert_eq!((committed.life("team-0"), committed.deletions("team-0", AT)), (1, 1));
        nothing(&mut committed, &empty(), &index_with("team-0", None, 2)).unwrap();
        let lives = ["member 0", "member 1", "member 2"].map(|member| committed.life_of("team-0", member));
        assert_eq!(lives, [Some(0), Some(1), None]);
    }
}
