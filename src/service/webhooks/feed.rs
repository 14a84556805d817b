//! Change sets from the history on disk, read once for all webhooks that are up to date.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, Semaphore};

use crate::domain::change::ChangeSet;
use crate::raft::RaftNode;
use crate::service::limits::{OLD_READ_SETS_MAX, OLD_READS_AT_ONCE_MAX, RECENT_CHANGES_MAX, RECENT_SETS_MAX};

/// The persister is behind apply by about this much; an applied change set that is not there yet is looked for again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// After an error of the store, which ends the process elsewhere or means that it stops.
const AFTER_ERROR: Duration = Duration::from_secs(1);

pub(super) enum Next {
    /// From the revision asked for on, in order, at least one.
    Sets(Vec<Arc<ChangeSet>>),
    /// It is no longer kept; this is the oldest that is.
    Gone { oldest: u64 },
}

pub(super) struct Feed {
    raft: RaftNode,
    /// The newest change sets that were read, dense.
    recent: Mutex<Recent>,
    /// Those who are behind read for themselves, a few at a time.
    old_reads: Semaphore,
}

#[derive(Default)]
struct Recent {
    sets: VecDeque<Arc<ChangeSet>>,
    changes: usize,
}

impl Feed {
    pub(super) fn new(raft: RaftNode) -> Self {
        Self { raft, recent: Mutex::default(), old_reads: Semaphore::new(OLD_READS_AT_ONCE_MAX) }
    }

    /// What happened from revision `from` on; waits until something did. May be given up at any moment.
    pub(super) async fn next(&self, from: u64) -> Next {
        let mut revisions = self.raft.revisions();
        loop {
            if revisions.wait_for(|applied| *applied >= from).await.is_err() {
                // The node stops; whoever waits is stopped too.
                std::future::pending::<()>().await;
            }
            match self.look(from).await {
                Ok(sets) if !sets.is_empty() => return Next::Sets(sets),
                Ok(_) => {
                    let oldest = self.raft.store().history_oldest();
                    if from < oldest {
                        return Next::Gone { oldest };
                    }
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                Err(failed) => {
                    tracing::warn!(%failed, "webhooks cannot read the history");
                    tokio::time::sleep(AFTER_ERROR).await;
                }
            }
        }
    }

    async fn look(&self, from: u64) -> Result<Vec<Arc<ChangeSet>>, String> {
        // Held while reading at the end of history: others who wait for the same find it read.
        let mut recent = self.recent.lock().await;
        match recent.from(from) {
            Place::Known(sets) => return Ok(sets),
            Place::Next => {
                let sets = self.read(from, RECENT_SETS_MAX).await?;
                sets.iter().for_each(|set| recent.push(set));
                return Ok(sets);
            }
            Place::Old => drop(recent),
        }
        let _one_of_few = self.old_reads.acquire().await.expect("the semaphore is never closed");
        self.read(from, OLD_READ_SETS_MAX).await
    }

    /// Reads from disk. Empty: not yet there, or no longer.
    pub(super) async fn read(&self, from: u64, max: usize) -> Result<Vec<Arc<ChangeSet>>, String> {
        let raft = self.raft.clone();
        let reading = tokio::task::spawn_blocking(move || raft.store().history(from, max));
        let sets = reading.await.map_err(|failed| failed.to_string())?.map_err(|failed| failed.to_string())?;
        Ok(sets.into_iter().map(Arc::new).collect())
    }
}

enum Place {
    Known(Vec<Arc<ChangeSet>>),
    /// To be read and remembered.
    Next,
    Old,
}

impl Recent {
    fn from(&self, from: u64) -> Place {
        let Some(first) = self.sets.front().map(|set| set.revision.0) else { return Place::Next };
        match from.checked_sub(first).and_then(|skip| usize::try_from(skip).ok()) {
            None => Place::Old,
            Some(skip) if skip < self.sets.len() => {
                Place::Known(self.sets.iter().skip(skip).take(OLD_READ_SETS_MAX).cloned().collect())
            }
            Some(_) => Place::Next,
        }
    }

    fn push(&mut self, set: &Arc<ChangeSet>) {
        if self.sets.back().is_some_and(|last| last.revision.next() != set.revision) {
            self.sets.clear();
            self.changes = 0;
        }
        self.changes += size(set);
        self.sets.push_back(Arc::clone(set));
        while self.sets.len() > 1 && (self.sets.len() > RECENT_SETS_MAX || self.changes > RECENT_CHANGES_MAX) {
            self.changes -= self.sets.pop_front().as_deref().map_or(0, size);
        }
    }
}

fn size(set: &ChangeSet) -> usize {
    set.events.iter().map(|event| event.changes.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::change::Cause;
    use crate::domain::value::{Millis, Revision};

    fn set(revision: u64) -> Arc<ChangeSet> {
        Arc::new(ChangeSet { revision: Revision(revision), at: Millis(0), cause: Cause::Book, events: Vec::new() })
    }

    fn known(recent: &Recent, from: u64) -> Vec<u64> {
        match recent.from(from) {
            Place::Known(sets) => sets.iter().map(|set| set.revision.0).collect(),
            Place::Next => vec![],
            Place::Old => vec![0],
        }
    }

    #[test]
    fn what_was_read_lately_is_not_read_again() {
        let mut recent = Recent::default();
        (5..8).for_each(|revision| recent.push(&set(revision)));
        assert_eq!(known(&recent, 5), [5, 6, 7]);
        assert_eq!(known(&recent, 7), [7]);
        assert_eq!(known(&recent, 8), [0; 0]);
        assert_eq!(known(&recent, 4), [0]);
        recent.push(&set(20));
        assert_eq!(known(&recent, 7), [0], "there is no gap in what is remembered");
        assert_eq!(known(&recent, 20), [20]);
        (21..21 + RECENT_SETS_MAX as u64).for_each(|revision| recent.push(&set(revision)));
        assert_eq!(recent.sets.len(), RECENT_SETS_MAX);
    }
}
