//! Records: the materialised state cut into pieces, for disk, snapshots and the state hash.
//!
//! A record is small (well under a mebibyte) and changes as a whole. What is derived (indexes, due times, units of
//! customers, rows) is in no record.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::command::{Settings, StagePart, StagingId};
use super::id::EventId;
use super::inventory::{Chunk, EventInfo, EventNo, HoldChunk, SeatDefs, SeatStates};
use super::value::{Millis, PoolCounts, PoolDef, Revision, Version};
use super::webhook::Webhook;

/// Names one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RecordKey {
    /// Clock, revision, settings, counters, where the rings begin and end.
    Header,
    /// An event without its seats, pools and orders; or, once deleted, its last versions.
    Event { event: u32 },
    /// Definitions of 256 seats.
    SeatDefs { event: u32, block: u32 },
    /// States of 256 seats.
    SeatStates { event: u32, block: u32 },
    /// Definitions of 256 pools.
    PoolDefs { event: u32, block: u32 },
    /// Numbers of 256 pools.
    PoolCounts { event: u32, block: u32 },
    /// Orders from this sequence number on.
    Orders { event: u32, first: u64 },
    /// Live holds: up to 16, fewer where they are big.
    Holds { chunk: u64 },
    /// Lapsed holds from this sequence number on.
    Lapsed { first: u64 },
    /// Remembered results from this sequence number on.
    Results { class: ResultClass, first: u64 },
    /// A part of a definition on its way.
    Stage { staging: StagingId, part: u32 },
    /// A webhook with its secrets and its newest attempts. A number is free again when its webhook is deleted.
    Webhook { webhook: u32 },
}

/// The rings of remembered results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ResultClass {
    /// Applied, under a client's key.
    Applied,
    /// Rejected, under a client's key.
    Rejected,
    /// Under a key made by a node, applied or rejected.
    NodeMade,
}

impl ResultClass {
    pub(super) const ALL: [Self; 3] = [Self::Applied, Self::Rejected, Self::NodeMade];
}

/// A record's contents. Cloning is cheap: big parts are shared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordBody(pub(super) Body);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Body {
    Header(Header),
    Event(EventInfo),
    /// A deleted event of this id goes on from these versions when it is defined again.
    Deleted {
        id: EventId,
        version: Version,
        definition_version: Version,
    },
    SeatDefs(Arc<SeatDefs>),
    SeatStates(Arc<SeatStates>),
    PoolDefs(Arc<Vec<PoolDef>>),
    PoolCounts(Arc<Vec<PoolCounts>>),
    Chunk(Arc<Chunk>),
    Holds(Arc<HoldChunk>),
    Stage {
        at: Millis,
        part: Arc<StagePart>,
    },
    Webhook(Arc<Webhook>),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    pub(super) clock: Millis,
    pub(super) revision: Revision,
    pub(super) settings: Settings,
    pub(super) next_event: EventNo,
    pub(super) next_hold: u64,
    /// Front and next of the rings of results, in the order of their classes.
    pub(super) results: [(u64, u64); 3],
    pub(super) lapsed: (u64, u64),
}
