//! Whether what a leader says agrees with what this node has applied.
//!
//! openraft takes every id up to what it knows as committed for granted, and asks for no truncation there. So a node whose
//! state holds entries that the cluster's log does not (its log was lost, or that of a majority) would go on, ready and
//! wrong. It is found out here: ids grow along a log, so two ids that cannot stand in one log come from two.
//!
//! ```text
//! applied (term 3, index 50)      said (4, 20): a later leader has an earlier place     said (2, 60): the other way round
//!                                 said (4, 50): another entry at that place             said (3, 20) ≠ ours at 20
//! ```
//! Only a leader that counts may say so: one that was replaced and does not know it has entries that never were committed.
//! What is applied is read before the vote is, and a leader of at least that vote has all of it in its log.

use std::cmp::Ordering;
use std::io;

use super::core::Core;
use super::types::{RaftLogId, RaftVote, to_ours};
use crate::storage::LogId;

/// Last line of a node that found itself apart from its cluster.
pub(super) fn contradiction(applied: Option<LogId>, said: Option<LogId>) -> String {
    format!(
        "the log of the cluster contradicts what this node has applied: {applied:?} was applied here, and the log has \
         {said:?}. Rebuild this node: remove it from the cluster, empty its data folder, and join it again under a \
         new node id"
    )
}

/// Whether both cannot stand in one log. `known`: the ids of this node's own log.
fn contradicts(applied: &LogId, said: &LogId, known: impl Fn(u64) -> Option<LogId>) -> bool {
    let leader = |id: &LogId| (id.term, id.node_id);
    match said.index.cmp(&applied.index) {
        Ordering::Less => leader(said) > leader(applied) || known(said.index).is_some_and(|ours| ours != *said),
        Ordering::Equal => said != applied,
        Ordering::Greater => leader(said) < leader(applied),
    }
}

/// The first of these ids that cannot be of one log with what is applied here.
pub(super) fn apart<'a>(core: &Core, said: impl IntoIterator<Item = &'a RaftLogId>) -> Option<LogId> {
    let applied = core.state.applied_id()?;
    said.into_iter().map(to_ours).find(|said| contradicts(&applied, said, |index| core.log.log_id(index)))
}

/// Ends this node if the leader that said what stands [`apart`] counts. To be asked before openraft gets what it came
/// with.
pub(super) async fn check(core: &Core, vote: &RaftVote, apart: Option<LogId>) -> io::Result<()> {
    let Some(apart) = apart else { return Ok(()) };
    let vote = *vote;
    let counts = core.raft.with_raft_state(move |state| *state.vote_ref() <= vote).await.map_err(io::Error::other)?;
    if counts { Err(core.state.contradicted(Some(apart))) } else { Ok(()) }
}

/// Refuses to start with a state that is not of this log.
///
/// The state may be ahead of the log, by what a crash cut off: entries are applied once a majority has them, which may be
/// before this node's own flush, and a snapshot is installed before the log is moved behind it. openraft then moves the
/// log behind the state (`get_initial_state` purges up to what is applied). That loses nothing: the state is durable, and
/// it has what this node acknowledged of these entries. What may not be is a log that was cut further back than the
/// state reaches, which the number of its newest segment shows, or one of other entries: at the state's own place that is
/// seen here, before and behind it with the leader's first append.
pub(super) fn check_start(applied: Option<LogId>, log: &crate::storage::wal::WalGroup) -> Result<(), String> {
    let Some(applied) = applied else { return Ok(()) };
    let purged = log.state().last_purged.filter(|purged| purged.index == applied.index);
    match log.log_id(applied.index).or(purged) {
        Some(ours) if ours != applied => Err(contradiction(Some(applied), Some(ours))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const APPLIED: LogId = LogId { term: 3, node_id: 1, index: 50 };

    fn wrong(term: u64, index: u64) -> bool {
        let known = |index| (index >= 40).then_some(LogId { term: 3, node_id: 1, index });
        contradicts(&APPLIED, &LogId { term, node_id: 1, index }, known)
    }

    #[test]
    fn ids_of_one_log_agree() {
        assert!(!wrong(3, 50) && !wrong(3, 51) && !wrong(4, 51) && !wrong(3, 45));
        assert!(!wrong(2, 30), "purged here: nothing to compare with, and it may be");
    }

    #[test]
    fn ids_that_cannot_stand_in_one_log_do_not() {
        assert!(wrong(4, 50) && wrong(2, 50), "another entry at the place of the last applied");
        assert!(wrong(4, 20) && wrong(4, 45), "a later leader at an earlier place");
        assert!(wrong(2, 60), "an earlier leader at a later place");
        assert!(wrong(2, 45), "another entry than this node's own log has");
    }
}
