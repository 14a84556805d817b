//! The state and the function that decides everything.
//!
//! ```text
//!  Proposal ─▶ apply ─▶ clock ─▶ expire ─▶ key ─▶ checks ─▶ draft ─▶ commit ─▶ record
//!                                            │       │        │         │         └ results: the answer, under its key
//!                                            │       │        │         └ one revision, one version an event
//!                                            │       │        └ writes, noted: what was touched, what was there before
//!                                            │       └ all failures, not just the first
//!                                            └ decided before: the same answer again
//!
//!  stored, in records                               derived, rebuilt at load
//!    event: head, seat and pool blocks, orders        names → positions and numbers
//!    holds · lapsed holds · results · staged parts    due times · units of customers · rows
//!    header: clock, revision, settings, counters      webhooks by name
//!    webhooks
//! ```
//!
//! Invariants
//! - The same proposals in the same order give the same state, byte for byte, and the same answers. Nothing here reads
//!   a clock, makes a random number, calculates with floats or goes through a hash map in its own order.
//! - A refused command has written nothing, except that its refusal is remembered.
//! - Everything stored is in exactly one record; a write marks its record as dirty.
//! - Blocks and chunks are shared with frozen views and copied only when written while shared: `freeze` never copies an
//!   event.
//!
//! On purpose not here: JSON, storage, time, tokens (they come with the request), and any reading of the state to decide
//! something outside `apply`, except [`Inventory::early_refusal`], which can only say no.

// A refusal is the commonest answer of all and is handed on by value up to its record; boxing it would cost more.
#![allow(clippy::result_large_err)]

mod apply;
mod audit;
mod batch;
mod best;
mod book;
mod checks;
mod chunk;
mod define;
mod draft;
mod event;
mod expire;
mod frozen;
mod hash;
mod holds;
mod items;
mod orders;
mod reads;
mod records;
mod results;
mod sale;
mod seats;
mod staging;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_bounds;
mod webhooks;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::change::ChangeSet;
use super::command::Settings;
use super::id::EventId;
use super::outcome::Decision;
use super::record::RecordKey;
use super::value::{Millis, Revision, Version};
use event::Event;
use frozen::FrozenSlot;

pub use checks::{
    ATOMIC_COMMANDS_MAX, ITEMS_MAX, LABELS_BYTES_MAX, POOLS_MAX, SEAT_TEXT_BYTES_MAX, SEATS_MAX, TEXT_BYTES_MAX,
    TTL_MS_MAX, UNITS_MAX, check_definition, check_patch, check_sale,
};
pub(super) use chunk::Chunk;
pub(super) use event::{EventInfo, EventNo};
pub use frozen::{Frozen, FrozenEvent, STATE_HASH_VERSION};
pub(super) use holds::HoldChunk;
pub(super) use seats::{SeatDefs, SeatStates};
pub use webhooks::{
    DISABLE_AFTER_MS_MAX, DISABLE_AFTER_MS_MIN, OVERLAP_MS_MAX, URL_BYTES_MAX, WEBHOOK_EVENTS_MAX, WEBHOOKS_MAX,
    check_webhook, split_url,
};

/// The whole state of one group.
#[derive(Debug, Default)]
pub struct Inventory {
    clock: Millis,
    revision: Revision,
    settings: Settings,
    /// Number of the next hold.
    next_hold: u64,
    /// By number. An id keeps its number for ever.
    slots: Vec<EventSlot>,
    event_nos: BTreeMap<EventId, EventNo>,
    holds: holds::Holds,
    lapsed: expire::LapsedHolds,
    results: results::Results,
    staging: staging::Stagings,
    webhooks: webhooks::Webhooks,
    /// Records that changed since they were last taken.
    dirty: BTreeSet<RecordKey>,
    /// Change sets of the proposal in progress.
    change_sets: Vec<ChangeSet>,
}

/// An event, or what is remembered of one that was deleted.
#[derive(Debug)]
struct EventSlot {
    id: EventId,
    /// Where the deleted event stopped; the next one goes on from there.
    last: LastVersions,
    live: Option<Box<Event>>,
}

/// Where a deleted event stopped counting. Both counters go on: an old position of a stream or an old `If-Match` must
/// never fit a new event of the same id.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct LastVersions {
    version: Version,
    definition: Version,
}

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

impl Inventory {
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of an event that is there.
    fn event_no(&self, id: &EventId) -> Option<EventNo> {
        let no = *self.event_nos.get(id)?;
        self.slots.get(no as usize)?.live.as_ref().map(|_| no)
    }

    /// Last version of an event that was deleted.
    fn last_version(&self, id: &EventId) -> Option<Version> {
        let no = *self.event_nos.get(id)?;
        self.slots.get(no as usize).map(|slot| slot.last.version)
    }

    fn live_event(&self, no: EventNo) -> &Event {
        self.slots[no as usize].live.as_deref().expect("a number in use is of an event that is there")
    }

    fn event_mut(&mut self, no: EventNo) -> &mut Event {
        self.slots[no as usize].live.as_deref_mut().expect("a number in use is of an event that is there")
    }

    /// The slot of this id, made if it is new.
    fn slot_for(&mut self, id: &EventId) -> EventNo {
        if let Some(no) = self.event_nos.get(id) {
            return *no;
        }
        let no = EventNo::try_from(self.slots.len()).expect("fewer than 4 billion events");
        self.slots.push(EventSlot { id: id.clone(), last: LastVersions::default(), live: None });
        self.event_nos.insert(id.clone(), no);
        no
    }
}
