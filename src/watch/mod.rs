//! Change streams: recent changes in memory, older ones from history, and readers that follow them.
//!
//! ```text
//!  apply ─ append ─▶ ring of recent change sets ─ distribute (pacer) ─▶ topic: blocks ── wake ──▶ readers: cursors
//!                     │ trimmed when persisted                            │ one encoding a format, made by the
//!                     ▼                                                   ▼ first reader that needs it
//!                  history in sled ────── catch-up, a few reads at a time ──────▶ readers that are behind
//!                     ▲
//!                  marks: (version, revision) of each event, at most one per 64 revisions
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `hub` | what apply feeds and the API subscribes at; the pacer, which hands out changes and wakes readers |
//! | `ring`, `marks` | recent change sets; where in history a version is |
//! | `topic` | the messages of one event, or of the group, in blocks |
//! | `reader` | a position that moves over history, ring and topic without a gap or a repeat |
//!
//! Invariants
//! - `append` gets every change set once, in order, inside the lock of the state machine; it encodes nothing and waits
//!   for nobody.
//! - A reader has a position and no queue: what a slow reader costs is what the ring costs everybody.
//! - After a reader's position comes exactly the next one. If that is no longer there, the reader is told so and ends.
//! - A change set leaves the ring only when it is in history.
//!
//! Not here on purpose: JSON and connections (the API's), and any decision about what is published (`apply`'s).

mod hub;
pub mod limits;
mod marks;
mod reader;
mod ring;
#[cfg(test)]
mod tests;
mod topic;

use crate::domain::change::ChangeSet;
use crate::domain::id::EventId;
use crate::storage::state::{StateError, StateStore};

pub use hub::{Hub, HubGauges};
pub use reader::{Joined, Next, Reader};
pub use topic::{Block, Encoded, Message};

/// What a stream is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Subject {
    /// Everything; the position is the revision.
    Group,
    /// One event; the position is its version.
    Event(EventId),
}

/// How much history a node keeps. Its own affair: it never reaches `apply`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Newest change sets kept.
    pub changes: u64,
    /// And of these only those younger than this, by the replicated clock.
    pub age_ms: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self { changes: limits::HISTORY_CHANGES_DEFAULT, age_ms: limits::HISTORY_DAYS_DEFAULT * limits::DAY_MS }
    }
}

/// Where a subject stands: its position, and the revision at which it stood there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    pub position: u64,
    pub revision: u64,
}

/// Why a stream cannot begin where it was asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// Beyond the newest change.
    #[error("the position is beyond the newest one, {newest}")]
    Future { newest: u64 },
    /// No longer kept; `oldest` is the lowest position one may still go on from.
    #[error("changes after it are no longer kept; the oldest position is {oldest}")]
    Compacted { oldest: u64 },
}

/// Change sets that were persisted.
pub trait History: Send + Sync + 'static {
    /// Lowest revision that is kept; the next one to come when there is none.
    fn oldest(&self) -> u64;

    /// Change sets `from..`, in order and without a gap, at most `max`. Empty when `from` is not kept. Blocking.
    fn read(&self, from: u64, max: usize) -> Result<Vec<ChangeSet>, StateError>;

    /// Nothing below this revision need be kept.
    fn may_forget_before(&self, revision: u64);
}

impl History for StateStore {
    fn oldest(&self) -> u64 {
        self.history_oldest()
    }

    fn read(&self, from: u64, max: usize) -> Result<Vec<ChangeSet>, StateError> {
        self.history(from, max)
    }

    fn may_forget_before(&self, revision: u64) {
        self.forget_history_before(revision);
    }
}
