//! What the records on disk add up to. Recovery and the writer follow it the same way.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::record::{Body, Record};
use crate::storage::{GroupId, LogId};

/// Where a group's log stands on disk, as opposed to in the index, which is ahead by what is queued.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) last: Option<LogId>,
    pub(super) purged: Option<LogId>,
    pub(super) vote: Option<Bytes>,
    pub(super) committed: Option<LogId>,
}

impl Written {
    /// Follows one record.
    pub(super) fn note(&mut self, body: &Body) {
        match body {
            Body::Entry(entry) => self.last = Some(entry.id),
            Body::Vote(vote) => self.vote = Some(vote.clone()),
            Body::Committed(committed) => self.committed = *committed,
            Body::Truncate(last) | Body::Extent(last) => self.last = *last,
            Body::Purge(upto) => {
                self.purged = Some(*upto);
                if self.last.is_none_or(|last: LogId| last.index < upto.index) {
                    self.last = Some(*upto);
                }
            }
        }
    }
}

/// Highest entry of each group in each segment that was not truncated.
pub(super) type Contents = BTreeMap<u32, BTreeMap<GroupId, u64>>;

/// Follows one record in the newest segment.
pub(super) fn note_contents(contents: &mut Contents, newest: u32, record: &Record) {
    match &record.body {
        Body::Entry(entry) => {
            let highest = contents.entry(newest).or_default().entry(record.group).or_default();
            *highest = (*highest).max(entry.id.index);
        }
        Body::Truncate(last) => {
            for groups in contents.values_mut() {
                match (groups.get_mut(&record.group), last) {
                    (Some(highest), Some(last)) => *highest = (*highest).min(last.index),
                    (Some(_), None) => drop(groups.remove(&record.group)),
                    (None, _) => {}
                }
            }
        }
        Body::Vote(_) | Body::Committed(_) | Body::Purge(_) | Body::Extent(_) => {}
    }
}
