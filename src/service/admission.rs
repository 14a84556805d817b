//! Who is let in. Looks only at how full this node is; never at seats. What is refused here never reached the log.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Instant;

use super::intent::Intent;
use super::limits::{PERSISTER_LAG_BYTES_MAX, PERSISTER_LAG_ENTRIES_MAX};
use crate::domain::inventory::ResultsRoom;
use crate::raft::RaftNode;

pub(super) const QUEUE_FULL: &str = "too many requests wait for this node; try again shortly";
pub(super) const DEFINITIONS_FULL: &str = "too many definitions are being loaded; try again shortly";
pub(super) const DEFINITION_SLOW: &str =
    "the definition did not reach the other nodes in time and has no effect; give a longer Request-Timeout-Ms";
const PERSISTER_BEHIND: &str = "the disk is behind; try again shortly";
const RESULTS_FULL: &str = "too many recent results are remembered; reserves are shed first, try again later";

/// Looked at by every command, brought up to date by housekeeping.
#[derive(Debug, Default)]
pub(super) struct Admission {
    /// Set by a stop: until when requests may wait for another node.
    drain_until: OnceLock<Instant>,
    persister_behind: AtomicBool,
    /// 0 open, 1 reserves are shed, 2 everything is.
    results: AtomicU8,
}

impl Admission {
    /// Why the intent is shed, if it is.
    pub(super) fn refusal(&self, intent: &Intent) -> Option<&'static str> {
        if self.persister_behind.load(Ordering::Relaxed) {
            return Some(PERSISTER_BEHIND);
        }
        match self.results.load(Ordering::Relaxed) {
            0 => None,
            1 if !intent.reserves() => None,
            _ => Some(RESULTS_FULL),
        }
    }

    /// A stop has begun; what waits here is answered before `until`.
    pub(super) fn drain(&self, until: Instant) {
        // A second stop changes nothing.
        let _ = self.drain_until.set(until);
    }

    pub(super) fn draining(&self) -> bool {
        self.drain_until.get().is_some()
    }

    /// The request's deadline, or the end of the stop if that is sooner: better a definite answer than a cut one.
    pub(super) fn cut(&self, deadline: Instant) -> Instant {
        self.drain_until.get().map_or(deadline, |until| deadline.min(*until))
    }

    /// Results are forgotten by the replicated clock; while commands are shed for them, nothing but a tick moves it.
    pub(super) fn sheds_for_results(&self) -> bool {
        self.results.load(Ordering::Relaxed) != 0
    }

    pub(super) fn refresh(&self, raft: &RaftNode) {
        let gauges = raft.gauges();
        let behind = gauges.persister_lag_entries > PERSISTER_LAG_ENTRIES_MAX
            || gauges.persister_lag_bytes > PERSISTER_LAG_BYTES_MAX;
        self.persister_behind.store(behind, Ordering::Relaxed);
        let results = match raft.inspect(|inventory| inventory.results_room()) {
            ResultsRoom::Open => 0,
            ResultsRoom::ReservesShed => 1,
            ResultsRoom::Full => 2,
        };
        self.results.store(results, Ordering::Relaxed);
    }
}
