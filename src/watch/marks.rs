//! Where in history a version is: sparse marks of each event, and a coarse index by time.
//!
//! An event gets a mark at its first change, and at its first change 64 or more revisions after its last mark. So each of
//! its changes is less than 64 revisions after a mark, and whoever looks for them reads from marks on and skips the rest.

use std::collections::{HashMap, VecDeque};

use super::limits::{CATCH_UP_CHANGES, MARK_EVERY, TIME_EVERY};
use crate::domain::change::ChangeSet;
use crate::domain::id::EventId;
use crate::domain::value::Millis;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    version: u64,
    revision: u64,
}

#[derive(Debug, Default)]
pub(super) struct Marks {
    events: HashMap<EventId, VecDeque<Mark>>,
    /// Every mark again, by revision, so that the oldest are found.
    order: VecDeque<(u64, EventId)>,
    /// When a revision was new.
    times: VecDeque<(Millis, u64)>,
}

impl Marks {
    /// Change sets come in order of revision.
    pub(super) fn note(&mut self, set: &ChangeSet) {
        let revision = set.revision.0;
        for change in &set.events {
            let mark = Mark { version: change.version.0, revision };
            match self.events.get_mut(&change.event) {
                Some(marks) => {
                    if marks.back().is_some_and(|last| revision < last.revision + MARK_EVERY) {
                        continue;
                    }
                    marks.push_back(mark);
                }
                None => {
                    self.events.insert(change.event.clone(), VecDeque::from([mark]));
                }
            }
            self.order.push_back((revision, change.event.clone()));
        }
        if self.times.back().is_none_or(|(_, last)| revision >= last + TIME_EVERY) {
            self.times.push_back((set.at, revision));
        }
    }

    /// Puts marks before these.
    pub(super) fn prepend(&mut self, mut older: Self) {
        for (event, marks) in self.events.drain() {
            older.events.entry(event).or_default().extend(marks);
        }
        older.order.append(&mut self.order);
        older.times.append(&mut self.times);
        *self = older;
    }

    /// Forgets at most `at_once` marks below this revision. True: all of them.
    pub(super) fn prune(&mut self, floor: u64, at_once: usize) -> bool {
        while self.times.front().is_some_and(|(_, revision)| *revision < floor) {
            self.times.pop_front();
        }
        for _ in 0..at_once {
            if self.order.front().is_none_or(|(revision, _)| *revision >= floor) {
                return true;
            }
            let Some((_, event)) = self.order.pop_front() else { return true };
            let left = self.events.get_mut(&event).map_or(0, |marks| {
                marks.pop_front();
                marks.len()
            });
            if left == 0 {
                self.events.remove(&event);
            }
        }
        false
    }

    /// The marks of an event that are at or after `floor`.
    fn kept(&self, event: &EventId, floor: u64) -> impl Iterator<Item = Mark> {
        let marks = self.events.get(event);
        let skip = marks.map_or(0, |marks| marks.partition_point(|mark| mark.revision < floor));
        marks.into_iter().flat_map(move |marks| marks.range(skip..)).copied()
    }

    /// Version of the first change known to be kept.
    pub(super) fn first_version(&self, event: &EventId, floor: u64) -> Option<u64> {
        self.kept(event, floor).next().map(|mark| mark.version)
    }

    /// A revision at or before that of `version`, with nothing of the event's earlier versions far before it.
    pub(super) fn revision_at_or_before(&self, event: &EventId, version: u64, floor: u64) -> Option<u64> {
        self.kept(event, floor).take_while(|mark| mark.version <= version).last().map(|mark| mark.revision)
    }

    /// The next revisions, first and last, to be read for changes of the event at or after `from`. `None`: there are none.
    pub(super) fn window(&self, event: &EventId, from: u64) -> Option<(u64, u64)> {
        let marks = self.events.get(event)?;
        let mut at = marks.partition_point(|mark| mark.revision <= from);
        let before = at.checked_sub(1).map(|at| marks[at].revision + MARK_EVERY - 1).filter(|end| *end >= from);
        let (start, mut end) = match before {
            Some(end) => (from, end),
            None => {
                let next = marks.get(at)?.revision;
                at += 1;
                (next, next + MARK_EVERY - 1)
            }
        };
        // Marks that follow closely are one read.
        while let Some(next) = marks.get(at)
            && next.revision <= end + MARK_EVERY
            && end - start < CATCH_UP_CHANGES
        {
            end = next.revision + MARK_EVERY - 1;
            at += 1;
        }
        Some((start, end))
    }

    /// Everything below this revision is older than `cutoff`.
    pub(super) fn older_than(&self, cutoff: Millis) -> Option<u64> {
        let at = self.times.partition_point(|(at, _)| *at < cutoff);
        at.checked_sub(1).map(|at| self.times[at].1)
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }
}
