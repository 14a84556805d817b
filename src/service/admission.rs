//! Who is let in. Looks only at how full this node is; never at seats. What is refused here never reached the log.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use super::intent::Intent;
use super::limits::{PERSISTER_LAG_BYTES_MAX, PERSISTER_LAG_ENTRIES_MAX};
use crate::domain::inventory::ResultsRoom;
use crate::raft::RaftNode;

pub(super) const QUEUE_FULL: &str = "too many requests wait for this node; try again shortly";
pub(super) const DEFINITIONS_FULL: &str = "too many definitions are being loaded; try again shortly";
const PERSISTER_BEHIND: &str = "the disk is behind; try again shortly";
const RESULTS_FULL: &str = "too many recent results are remembered; reserves are shed first, try again later";

/// Looked at by every command, brought up to date by housekeeping.
#[derive(Debug, Default)]
pub(super) struct Admission {
    draining: AtomicBool,
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

    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub(super) fn draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
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
