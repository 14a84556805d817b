//! The state and the function that decides everything.

use serde::{Deserialize, Serialize};

use super::change::ChangeSet;
use super::command::{Proposal, SaleCommand, Settings};
use super::id::{CustomerId, EventId, Key, OrderId, SeatId, Token};
use super::outcome::{Answer, Decision, Rejection};
use super::record::{RecordBody, RecordKey};
use super::value::{EventView, HoldView, Millis, OrderView, Revision, SeatDef, SeatStatus, SeatView, Version};

/// The whole state of one group.
#[derive(Debug, Default)]
pub struct Inventory {}

/// What one proposal did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// One for each request, in order. Empty for a tick or a stage part.
    pub decisions: Vec<Decision>,
    /// In order of revision.
    pub change_sets: Vec<ChangeSet>,
}

/// How full the table of remembered results is, for admission before propose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResultsRoom {
    Open,
    /// New reserves are shed; book, release, cancel still have their reserved share.
    ReservesShed,
    /// Everything is shed.
    Full,
}

/// `GET …/audit`: recomputed from the records, never from counters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditReport {
    pub version: Version,
    pub revision: Revision,
    pub capacity: u64,
    pub held: u64,
    pub booked: u64,
    pub blocked: u64,
    pub available: u64,
    pub orders: u64,
    pub oversold: u64,
    /// Sentences; empty when every invariant holds.
    pub violations: Vec<String>,
    pub pools: Vec<(super::id::PoolId, super::value::PoolCounts)>,
}

/// A hash over the canonical encoding of the state, with the version of that encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateHash {
    pub version: u8,
    pub hash: [u8; 32],
}

/// A record that cannot be loaded: which and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("record {key} of the stored state cannot be used: {why}")]
pub struct LoadError {
    pub key: String,
    pub why: String,
}

#[allow(unused_variables)]
impl Inventory {
    pub fn new() -> Self {
        Self::default()
    }

    /// Decides everything in the proposal. Total: every command has an answer in every state.
    pub fn apply(&mut self, proposal: &Proposal) -> Applied {
        todo!()
    }

    pub fn clock(&self) -> Millis {
        todo!()
    }

    pub fn revision(&self) -> Revision {
        todo!()
    }

    pub fn settings(&self) -> &Settings {
        todo!()
    }

    /// When the next hold is due.
    pub fn next_due(&self) -> Option<Millis> {
        todo!()
    }

    pub fn results_room(&self) -> ResultsRoom {
        todo!()
    }

    pub fn results_len(&self) -> u64 {
        todo!()
    }

    /// What was recorded under a key. For an independent batch: only once all of it is decided.
    pub fn recorded(&self, key: &Key) -> Option<Answer> {
        todo!()
    }

    pub fn event(&self, event: &EventId) -> Option<EventView> {
        todo!()
    }

    /// Up to `limit` events after `after`, by id.
    pub fn events(&self, after: Option<&EventId>, limit: usize) -> Vec<EventView> {
        todo!()
    }

    pub fn seat(&self, event: &EventId, seat: &SeatId) -> Option<SeatView> {
        todo!()
    }

    pub fn hold(&self, event: &EventId, token: &Token) -> Option<HoldView> {
        todo!()
    }

    pub fn order(&self, event: &EventId, order: &OrderId) -> Option<OrderView> {
        todo!()
    }

    /// Up to `limit` orders after `after`, in the order of booking. `None`: there is no such event, or no such `after`.
    pub fn orders(
        &self,
        event: &EventId,
        customer: Option<&CustomerId>,
        after: Option<&OrderId>,
        limit: usize,
    ) -> Option<Vec<OrderView>> {
        todo!()
    }

    /// A view of the whole state that costs little and stays as it is while `apply` goes on.
    pub fn freeze(&self) -> Frozen {
        todo!()
    }

    /// A view of one event, likewise.
    pub fn freeze_event(&self, event: &EventId) -> Option<FrozenEvent> {
        todo!()
    }

    /// The records that changed since the last call, with what they are now (`None`: gone). Applied to an older copy of
    /// the records in one batch, they make it the state of now.
    pub fn take_dirty(&mut self) -> Vec<(RecordKey, Option<RecordBody>)> {
        todo!()
    }

    /// The state of exactly these records, in any order.
    pub fn from_records(records: impl IntoIterator<Item = (RecordKey, RecordBody)>) -> Result<Self, LoadError> {
        todo!()
    }
}

/// See [`Inventory::freeze`].
#[derive(Debug, Clone)]
pub struct Frozen {}

impl Frozen {
    /// All records, in the order of their keys.
    pub fn records(&self) -> Box<dyn Iterator<Item = (RecordKey, RecordBody)> + Send + '_> {
        todo!()
    }

    /// The inventory's revision when it was frozen.
    pub fn revision(&self) -> Revision {
        todo!()
    }

    pub fn state_hash(&self) -> StateHash {
        todo!()
    }

    /// Checks every invariant of every event and of what is between them. Empty when all hold.
    pub fn audit(&self) -> Vec<String> {
        todo!()
    }
}

/// See [`Inventory::freeze_event`].
#[derive(Debug, Clone)]
pub struct FrozenEvent {}

impl FrozenEvent {
    pub fn version(&self) -> Version {
        todo!()
    }

    pub fn revision(&self) -> Revision {
        todo!()
    }

    /// Every seat in definition order.
    pub fn seats(&self) -> Box<dyn Iterator<Item = (&SeatDef, SeatStatus)> + Send + '_> {
        todo!()
    }

    pub fn audit(&self) -> AuditReport {
        todo!()
    }
}

/// Checks that need no state: quantities, empty items, the same seat twice, ids of a batch. What fails here is
/// `invalid` or `duplicate_item`, before the key is looked up, and is never recorded.
pub fn check_sale(command: &SaleCommand) -> Result<(), Rejection> {
    let _ = command;
    todo!()
}

/// The same for a definition: duplicate seats or pools, capacities, hold policy.
pub fn check_definition(
    head: &super::value::EventHead,
    seats: &[SeatDef],
    pools: &[super::value::PoolDef],
) -> Result<(), Rejection> {
    let _ = (head, seats, pools);
    todo!()
}

/// The same for a patch.
pub fn check_patch(patch: &super::command::Patch) -> Result<(), Rejection> {
    let _ = patch;
    todo!()
}
