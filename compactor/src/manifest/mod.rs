//! Manifests: the exact list of files that answer for a topic, for readers that know nothing of the index.

mod list;
mod turn;

use crate::error::WorkError;
use crate::manifest::list::{DayNow, Shown, Sums, checksum_of, days_now};
use crate::manifest::turn::writer;
use crate::shared::{Shared, lease_key};
use bytes::Bytes;
use futures::TryStreamExt;
use std::collections::{BTreeMap, BTreeSet};
use strandline_bronze::manifest::{
    DayManifest, ManifestDay, ManifestError, ManifestFile, RootManifest, applied_seq, day_path, root_path, supersedes,
};
use strandline_bronze::{Day, topic_folder};
use strandline_commands::LeaseKind;
use strandline_object_store::{Purpose, Seen};
use strandline_types::{LeaseNumber, Seq, TopicId};

/// Looks at a manifest that others put in between.
const REPLACE_ROUNDS: usize = 4;
/// A day's manifest stays, empty, until no node can have something for it: one that had paused would delete what another has put. And what
/// an earlier run has put of such a day was put long before its last root.
const OPEN_DAYS: i32 = 7;

/// What a topic's manifests say, as far as this run knows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Written {
    /// The lease under which that was read or written: with another one somebody else has been at it.
    lease: LeaseNumber,
    topic: String,
    /// Everything up to this change is in them.
    changed: Seq,
    /// Days that were written or checked by this run, with a checksum of their list; none where it is not known what was put last.
    days: BTreeMap<Day, Option<u32>>,
    /// Days that an earlier run's root names.
    earlier: BTreeMap<Day, Sums>,
    /// Days that no root names have a list: they are cleared even if nothing has changed.
    left: bool,
    /// The topic was deleted, and what lay there then as well.
    emptied: bool,
}

impl Written {
    /// What came after this change is not in them.
    fn since(&self) -> Seq {
        if self.left { Seq::ZERO } else { self.changed }
    }

    /// Whether the bucket has a day as an earlier run left it, with these sums.
    fn is_as_earlier(&self, day: Day, sums: Sums) -> bool {
        !self.days.contains_key(&day) && self.earlier.get(&day) == Some(&sums)
    }

    /// Nothing that lies there is taken for what this run has put.
    fn doubt_all(&mut self) {
        self.days.extend(std::mem::take(&mut self.earlier).into_keys().map(|day| (day, None)));
        self.days.values_mut().for_each(|checksum| *checksum = None);
    }
}

impl Shared {
    /// Topics whose bronze has changed since their manifests were written, unless it is another node's turn.
    pub fn manifests_due(&self) -> Vec<TopicId> {
        let view = self.cell.view();
        let memory = self.memory();
        let since = |id: &TopicId| memory.manifests.get(id).map_or(Seq::ZERO, Written::since);
        let due = view.topics.values().filter(|topic| topic.bronze_changed > since(&topic.id));
        due.map(|topic| topic.id).filter(|id| self.is_this_nodes_turn(&view, *id)).collect()
    }

    /// Those among them that this node writes already: it is about to stop, and takes no lease any more.
    pub fn manifests_due_at_stop(&self) -> Vec<TopicId> {
        let due = self.manifests_due();
        let view = self.cell.view();
        due.into_iter().filter(|id| self.cell.is_sole() || writer(&view, *id) == Some(self.cell.incarnation())).collect()
    }

    /// Writes a topic's manifests if they are behind. False if there was nothing to write, or if another node writes them.
    pub async fn write_manifest_once(&self, topic_id: TopicId) -> Result<bool, WorkError> {
        let _one = self.manifests.lock().await;
        let Some(topic) = self.topic(topic_id).map(|topic| topic.name.clone()) else { return Ok(false) };
        let Some(lease) = self.manifest_lease(topic_id).await? else { return Ok(false) };
        let known = self.memory().manifests.get(&topic_id).filter(|written| written.lease == lease).cloned();
        let written = match known {
            Some(written) => written,
            None => self.read_root(Written { lease, topic, ..Written::default() }, topic_id).await?,
        };
        let Some(shown) = self.shown(topic_id, &written) else {
            self.memory().manifests.insert(topic_id, written);
            return Ok(false);
        };
        let sealed = self.sealed_files(topic_id).await?;
        let spawner = &self.cell.runtime().spawner;
        let first_open = self.first_open_day();
        // A topic that keeps its files for years has many: they are not looked through while clients wait.
        let look = move || {
            let days = days_now(&shown, &sealed, &written, first_open);
            (days, shown, written)
        };
        let (days, shown, mut written) = spawner.background("manifest", look).await?;
        let root = self.put_days(&shown, topic_id, &mut written, days).await?;
        let path = root_path(&shown.topic, topic_id);
        let is_there = self.replace(&path, root.encode()?, shown.applied).await?;
        self.not_overtaken(is_there, topic_id, &mut written, &path)?;
        let named = root.days.iter().filter_map(|day| day.day.parse().ok()).collect();
        self.clear_gone_days(&shown, topic_id, &mut written, &named).await?;
        written.earlier.clear();
        (written.changed, written.left) = (shown.changed, false);
        self.memory().manifests.insert(topic_id, written);
        metrics::counter!("strandline_manifests_total").increment(1);
        Ok(true)
    }

    /// Puts the days whose lists are others now; the root that goes with them.
    async fn put_days(
        &self,
        shown: &Shown,
        topic_id: TopicId,
        written: &mut Written,
        days: Vec<DayNow>,
    ) -> Result<RootManifest, WorkError> {
        // Where this ends early, it is not known which of them were put.
        written.days.extend(days.iter().filter(|day| day.list.is_some()).map(|day| (day.day, None)));
        self.memory().manifests.insert(topic_id, written.clone());
        let mut root = RootManifest::new(&shown.topic, topic_id, shown.applied.0);
        root.partitions.clone_from(&shown.partitions);
        for DayNow { day, sums, checksum, list } in days {
            let path = day_path(&shown.topic, topic_id, day);
            if let Some(list) = list {
                let is_there = self.put_day(shown, topic_id, day, list).await?;
                self.not_overtaken(is_there, topic_id, written, &path)?;
            }
            written.days.insert(day, Some(checksum));
            let Sums { files, rows, bytes } = sums;
            root.days.push(ManifestDay { day: day.to_string(), path, files, rows, bytes });
        }
        Ok(root)
    }

    /// A newer one is there, by a node that had lost its lease: what belongs together is written once more, as of later. (To a sole node
    /// that cannot happen, unless the bucket is older than the log.)
    fn not_overtaken(&self, is_there: bool, topic_id: TopicId, written: &mut Written, path: &str) -> Result<(), WorkError> {
        if is_there || self.cell.is_sole() {
            return Ok(());
        }
        written.doubt_all();
        self.memory().manifests.insert(topic_id, written.clone());
        Err(WorkError::Overtaken { path: path.to_owned() })
    }

    async fn put_day(&self, shown: &Shown, topic_id: TopicId, day: Day, list: Vec<ManifestFile>) -> Result<bool, WorkError> {
        let mut manifest = DayManifest::new(&shown.topic, topic_id, day, shown.applied.0);
        manifest.files = list;
        let json = self.cell.runtime().spawner.background("manifest", move || manifest.encode()).await??;
        self.replace(&day_path(&shown.topic, topic_id, day), json, shown.applied).await
    }

    /// Days that the root does not name any more.
    async fn clear_gone_days(
        &self,
        shown: &Shown,
        topic_id: TopicId,
        written: &mut Written,
        named: &BTreeSet<Day>,
    ) -> Result<(), WorkError> {
        let known = written.days.keys().chain(written.earlier.keys());
        let gone: BTreeSet<Day> = known.filter(|day| !named.contains(day)).copied().collect();
        let empty = Some(checksum_of(&[]));
        for day in gone {
            let path = day_path(&shown.topic, topic_id, day);
            if self.cell.is_sole() || day < self.first_open_day() {
                self.objects.delete(Purpose::Manifest, &path).await?;
                written.days.remove(&day);
            } else if written.days.get(&day) != Some(&empty) {
                let is_there = self.put_day(shown, topic_id, day, Vec::new()).await?;
                self.not_overtaken(is_there, topic_id, written, &path)?;
                written.days.insert(day, empty);
            }
        }
        Ok(())
    }

    /// Some node may still put the manifest of this day or of one that follows.
    fn first_open_day(&self) -> Day {
        Day(Day::of_ms(self.now_ms()).0.saturating_sub(OPEN_DAYS))
    }

    /// Deletes what was written while its topic was deleted: by then its folder may have been emptied. At once, and when the topic is
    /// forgotten. One topic's trouble is not another's.
    pub async fn delete_manifests_of_deleted_topics(&self) -> Result<(), WorkError> {
        let _one = self.manifests.lock().await;
        let deleted: Vec<(TopicId, String, bool)> = {
            let view = self.cell.view();
            let memory = self.memory();
            let deleted = memory.manifests.iter().filter(|(id, _)| !view.topics.contains_key(id));
            let deleted = deleted.map(|(id, written)| (*id, written, !view.dropped.contains_key(id)));
            let due = deleted.filter(|(_, written, is_forgotten)| *is_forgotten || !written.emptied);
            due.map(|(id, written, is_forgotten)| (id, written.topic.clone(), is_forgotten)).collect()
        };
        let mut first_error = None;
        for (topic_id, topic, is_forgotten) in deleted {
            if let Err(error) = self.delete_manifests(topic_id, &topic).await {
                first_error.get_or_insert(error);
                continue;
            }
            let mut memory = self.memory();
            if is_forgotten {
                memory.manifests.remove(&topic_id);
            } else if let Some(written) = memory.manifests.get_mut(&topic_id) {
                written.emptied = true;
            }
        }
        first_error.map_or(Ok(()), Err)
    }

    /// All manifests of a topic that is deleted. Where one cannot be, the others are.
    pub async fn delete_manifests(&self, topic_id: TopicId, topic: &str) -> Result<(), WorkError> {
        let days = self.empty_folder(&topic_folder("manifest", topic, topic_id)).await;
        let root = self.objects.delete(Purpose::Garbage, &root_path(topic, topic_id)).await;
        days.and(root.map_err(WorkError::from))
    }

    /// What is to be written now, if something has changed and this node still has the lease in that very view.
    fn shown(&self, topic_id: TopicId, written: &Written) -> Option<Shown> {
        let view = self.cell.view();
        let lease = view.leases.get(&lease_key(LeaseKind::Seal, &topic_id.0));
        let has_lease = lease.is_some_and(|lease| lease.number == written.lease && lease.holder == self.cell.incarnation());
        if !has_lease && !self.cell.is_sole() {
            return None;
        }
        let topic = view.topics.get(&topic_id).filter(|topic| topic.bronze_changed > written.since())?;
        Some(Shown::of(&view, topic))
    }

    /// What the root in the bucket says, after a start or when another node has written it, and the days that it does not name: a run
    /// ended before its root was there, or before they were cleared.
    async fn read_root(&self, nothing: Written, topic_id: TopicId) -> Result<Written, WorkError> {
        let mut written = nothing;
        match self.objects.get(Purpose::Manifest, &root_path(&written.topic, topic_id)).await {
            Ok(json) => {
                if let Ok(root) = RootManifest::parse(&json) {
                    let sums = |day: &ManifestDay| Sums { files: day.files, rows: day.rows, bytes: day.bytes };
                    let earlier = root.days.iter().filter_map(|day| Some((day.day.parse().ok()?, sums(day))));
                    (written.changed, written.earlier) = (Seq(root.applied_seq), earlier.collect());
                }
            }
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
        let folder = topic_folder("manifest", &written.topic, topic_id);
        let mut listed = self.objects.list(Purpose::Manifest, &folder);
        while let Some(found) = listed.try_next().await? {
            let name = found.path.rsplit('/').next().and_then(|name| name.strip_suffix(".json"));
            let Some(day) = name.and_then(|name| name.parse().ok()) else { continue };
            if written.earlier.contains_key(&day) {
                continue;
            }
            let json = match self.objects.get(Purpose::Manifest, &found.path).await {
                Ok(json) => json,
                Err(error) if error.is_not_found() => continue,
                Err(error) => return Err(error.into()),
            };
            let is_empty = DayManifest::parse(&json).is_ok_and(|manifest| manifest.files.is_empty());
            written.days.insert(day, is_empty.then(|| checksum_of(&[])));
            written.left |= !is_empty || self.cell.is_sole();
        }
        Ok(written)
    }

    /// Puts a manifest over the one that is there; false if that one is as new, and another. An older one that was given up and comes late
    /// finds another than it was to replace.
    async fn replace(&self, path: &str, json: Vec<u8>, applied: Seq) -> Result<bool, WorkError> {
        let json = Bytes::from(json);
        for _ in 0..REPLACE_ROUNDS {
            let (existing, seen) = match self.objects.get_seen(Purpose::Manifest, path).await {
                // The reply to an earlier try was lost.
                Ok((found, _)) if found == json => return Ok(true),
                Ok((found, seen)) => (applied_seq(&found).ok(), seen),
                Err(error) if error.is_not_found() => (None, Seen::Nothing),
                Err(error) => return Err(error.into()),
            };
            if !supersedes(applied.0, existing) {
                return Ok(false);
            }
            if self.objects.put_instead(Purpose::Manifest, path, json.clone(), seen).await? {
                return Ok(true);
            }
        }
        Err(WorkError::Write { path: path.to_owned(), reason: "another one took its place again and again".to_owned() })
    }
}

impl From<ManifestError> for WorkError {
    fn from(error: ManifestError) -> Self {
        Self::Write { path: "a manifest".to_owned(), reason: error.to_string() }
    }
}
