//! Changes: published facts, always the new absolute state.

use serde::{Deserialize, Serialize};

use super::id::{EventId, PoolId, SeatId};
use super::value::{Millis, PoolCounts, Revision, SeatStatus, Totals, Version};

/// What one changing command did, or one expiring hold. One revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeSet {
    pub revision: Revision,
    /// The clock when it happened.
    pub at: Millis,
    pub cause: Cause,
    /// One for each event touched; more than one only for an atomic batch.
    pub events: Vec<EventChanges>,
}

/// The part of a change set that touches one event. One version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventChanges {
    pub event: EventId,
    pub version: Version,
    pub changes: Vec<Change>,
    pub totals: Totals,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    Seat { seat: SeatId, status: SeatStatus },
    Pool { pool: PoolId, counts: PoolCounts },
    PoolRemoved { pool: PoolId },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Cause {
    Define,
    Reserve,
    Book,
    Release,
    Expire,
    Cancel,
    Block,
    Unblock,
    Batch,
    Delete,
}
