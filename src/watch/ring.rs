//! Recent change sets, dense by revision.

use std::collections::VecDeque;
use std::mem::size_of;
use std::sync::Arc;
use std::time::Instant;

use super::limits::RING_BYTES_MAX;
use crate::domain::change::{Change, ChangeSet, EventChanges};

#[derive(Debug, Clone)]
pub(super) struct Recent {
    pub(super) set: Arc<ChangeSet>,
    pub(super) applied: Instant,
}

pub(super) struct Ring {
    sets: VecDeque<Recent>,
    bytes: usize,
    /// Revision of the newest change set there ever was.
    newest: u64,
    changes_max: usize,
}

impl Ring {
    /// Empty; the next change set comes after `newest`.
    pub(super) fn new(newest: u64, changes_max: usize) -> Self {
        Self { sets: VecDeque::new(), bytes: 0, newest, changes_max }
    }

    pub(super) fn newest(&self) -> u64 {
        self.newest
    }

    /// Lowest revision that is here; the next one to come when there is none.
    pub(super) fn first(&self) -> u64 {
        self.newest + 1 - self.sets.len() as u64
    }

    pub(super) fn len(&self) -> usize {
        self.sets.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn push(&mut self, recent: Recent) {
        let revision = recent.set.revision.0;
        assert_eq!(revision, self.newest + 1, "change sets come one after the other");
        self.newest = revision;
        self.bytes += weight(&recent.set);
        self.sets.push_back(recent);
    }

    /// Drops at most `at_once` of the oldest that are too many, none after revision `upto`.
    pub(super) fn trim(&mut self, upto: u64, at_once: usize) {
        for _ in 0..at_once {
            if (self.sets.len() <= self.changes_max && self.bytes <= RING_BYTES_MAX) || self.first() > upto {
                return;
            }
            let Some(gone) = self.sets.pop_front() else { return };
            self.bytes -= weight(&gone.set);
        }
    }

    pub(super) fn clear(&mut self, newest: u64) {
        self.sets.clear();
        self.bytes = 0;
        self.newest = newest;
    }

    /// At most `max` from this revision on; nothing when it is no longer here.
    pub(super) fn from(&self, revision: u64, max: usize) -> impl Iterator<Item = &Recent> {
        let skip = revision.checked_sub(self.first()).and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
        self.sets.range(skip.min(self.sets.len())..).take(max)
    }
}

/// About what a change set takes in memory.
pub(super) fn weight(set: &ChangeSet) -> usize {
    size_of::<ChangeSet>() + set.events.iter().map(weight_of_event).sum::<usize>()
}

pub(super) fn weight_of_event(event: &EventChanges) -> usize {
    size_of::<EventChanges>() + event.changes.len() * size_of::<Change>()
}
