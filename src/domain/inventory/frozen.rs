//! Views that stay as they are while `apply` goes on.

use std::sync::OnceLock;

use super::audit::{Auditor, audit_event, audit_state};
use super::chunk::ChunkLog;
use super::event::{EventCore, EventNo};
use super::holds::HoldChunks;
use super::records::{Slots, Stored};
use super::seats::SEATS_A_BLOCK;
use super::staging::Stagings;
use super::webhooks::WebhookMap;
use super::{AuditReport, Inventory, LastVersions, StateHash};
use crate::domain::codec;
use crate::domain::id::EventId;
use crate::domain::record::{Header, RecordBody, RecordKey};
use crate::domain::value::{Revision, SeatDef, SeatStatus, Version};

/// Version of the encoding that the state hash is made of. Raise it when a record's form changes.
pub const STATE_HASH_VERSION: u8 = 1;

/// See [`Inventory::freeze`].
#[derive(Debug, Clone)]
pub struct Frozen {
    pub(super) header: Header,
    pub(super) slots: Vec<FrozenSlot>,
    pub(super) holds: HoldChunks,
    pub(super) results: [ChunkLog; 3],
    pub(super) lapsed: ChunkLog,
    pub(super) staging: Stagings,
    pub(super) webhooks: WebhookMap,
}

/// An event of a frozen state, or where it stopped when it was deleted.
#[derive(Debug, Clone)]
pub(super) struct FrozenSlot {
    pub(super) id: EventId,
    pub(super) last: LastVersions,
    pub(super) live: Option<EventCore>,
}

impl Frozen {
    fn stored(&self) -> Stored<'_> {
        Stored {
            header: self.header.clone(),
            slots: Slots::Frozen(&self.slots),
            holds: &self.holds,
            results: &self.results,
            lapsed: &self.lapsed,
            staging: &self.staging,
            webhooks: &self.webhooks,
        }
    }

    /// The revision of this state.
    pub fn revision(&self) -> Revision {
        self.header.revision
    }

    /// All records, in the order of their keys.
    pub fn records(&self) -> Box<dyn Iterator<Item = (RecordKey, RecordBody)> + Send + '_> {
        let stored = self.stored();
        Box::new(stored.keys().into_iter().filter_map(move |key| Some((key, stored.body(key)?))))
    }

    /// The next event, counted from `place`, and the place after it: for going over all of them one at a time.
    pub fn event_from(&self, place: usize) -> Option<(usize, FrozenEvent)> {
        let later = self.slots.iter().enumerate().skip(place);
        let (at, core) = later.filter_map(|(at, slot)| Some((at, slot.live.as_ref()?))).next()?;
        let no = EventNo::try_from(at).expect("fewer than 4 billion events");
        let (core, holds) = (core.clone(), self.holds.clone());
        let unpacked = vec![OnceLock::new(); core.seat_defs.len()];
        Some((at + 1, FrozenEvent { no, revision: self.header.revision, core, holds, unpacked }))
    }

    /// blake3 over the version and every record in the order of keys, each as the codec writes it.
    pub fn state_hash(&self) -> StateHash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[STATE_HASH_VERSION]);
        let mut bytes = Vec::new();
        for record in self.records() {
            bytes.clear();
            codec::encode_into(&record, &mut bytes);
            hasher.update(&bytes);
        }
        StateHash { version: STATE_HASH_VERSION, hash: *hasher.finalize().as_bytes() }
    }

    /// Checks every invariant of every event and of what is between them. Empty when all hold.
    pub fn audit(&self) -> Vec<String> {
        audit_state(self)
    }
}

/// See [`Inventory::freeze_event`].
#[derive(Debug, Clone)]
pub struct FrozenEvent {
    no: EventNo,
    revision: Revision,
    core: EventCore,
    holds: HoldChunks,
    /// Blocks of seats, unpacked when first looked at.
    unpacked: Vec<OnceLock<Vec<SeatDef>>>,
}

impl Inventory {
    /// A view of one event, likewise.
    pub fn freeze_event(&self, event: &EventId) -> Option<FrozenEvent> {
        let no = self.event_no(event)?;
        let core = self.live_event(no).core.clone();
        let unpacked = vec![OnceLock::new(); core.seat_defs.len()];
        Some(FrozenEvent { no, revision: self.revision, core, holds: self.holds.chunks.clone(), unpacked })
    }
}

impl FrozenEvent {
    pub fn version(&self) -> Version {
        self.core.info.version
    }

    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The event as a reader sees it, at this version.
    pub fn view(&self) -> crate::domain::value::EventView {
        self.core.view(self.revision)
    }

    /// Every seat in definition order.
    pub fn seats(&self) -> Box<dyn Iterator<Item = (&SeatDef, SeatStatus)> + Send + '_> {
        self.seats_from(0)
    }

    /// A block of some hundred seats, unpacked and not kept: for going over a big event piece by piece.
    pub fn seat_block(&self, at: usize) -> Option<Vec<(SeatDef, SeatStatus)>> {
        let (defs, states) = (self.core.seat_defs.get(at)?, &self.core.seat_states[at]);
        Some((0..defs.len()).map(|seat| defs.get(seat)).zip(states.iter().map(|state| state.status())).collect())
    }

    /// Seats and pools added up.
    pub fn totals(&self) -> crate::domain::value::Totals {
        self.core.totals()
    }

    /// Where a seat stands, for paging with [`FrozenEvent::seats_from`].
    pub fn position(&self, seat: &crate::domain::id::SeatId) -> Option<usize> {
        (0..self.core.seat_total()).find(|at| self.core.seat_id(*at) == seat).map(|at| at as usize)
    }

    /// The seats from this position on, without unpacking those before.
    pub fn seats_from(&self, position: usize) -> Box<dyn Iterator<Item = (&SeatDef, SeatStatus)> + Send + '_> {
        let first = position / SEATS_A_BLOCK;
        let rest = (first..self.core.seat_defs.len()).flat_map(move |at| {
            let defs = &self.core.seat_defs[at];
            let block = self.unpacked[at].get_or_init(|| (0..defs.len()).map(|seat| defs.get(seat)).collect());
            block.iter().zip(self.core.seat_states[at].iter().map(|state| state.status()))
        });
        Box::new(rest.skip(position % SEATS_A_BLOCK))
    }

    pub fn audit(&self) -> AuditReport {
        let holds = self.holds.values().flat_map(|chunk| chunk.iter()).filter(|(_, hold)| hold.event == self.no);
        let mut auditor = Auditor::new(&self.core);
        audit_event(&mut auditor, holds.map(|(no, hold)| (*no, &**hold)));
        auditor.report(self.revision)
    }
}
