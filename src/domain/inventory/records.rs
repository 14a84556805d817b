//! The state as records, and back.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::chunk::{Chunk, ChunkLog};
use super::event::{Event, EventCore, EventInfo, EventNo, POOLS_A_BLOCK};
use super::expire::LapsedHolds;
use super::holds::{HoldChunks, Holds};
use super::results::Results;
use super::seats::{Interner, SEATS_A_BLOCK, SeatDefs, SeatStates};
use super::staging::Stagings;
use super::webhooks::{WebhookMap, Webhooks};
use super::{EventSlot, Frozen, FrozenSlot, Inventory, LastVersions, LoadError};
use crate::domain::id::EventId;
use crate::domain::record::{Body, Header, RecordBody, RecordKey, ResultClass};
use crate::domain::value::{PoolCounts, PoolDef};

/// Events of the state of now, or of a frozen one.
#[derive(Clone, Copy)]
pub(super) enum Slots<'a> {
    Live(&'a [EventSlot]),
    Frozen(&'a [FrozenSlot]),
}

impl<'a> Slots<'a> {
    fn len(self) -> usize {
        match self {
            Slots::Live(slots) => slots.len(),
            Slots::Frozen(slots) => slots.len(),
        }
    }

    fn get(self, no: EventNo) -> Option<(&'a EventId, LastVersions, Option<&'a EventCore>)> {
        let no = no as usize;
        match self {
            Slots::Live(slots) => slots.get(no).map(|s| (&s.id, s.last, s.live.as_ref().map(|event| &event.core))),
            Slots::Frozen(slots) => slots.get(no).map(|s| (&s.id, s.last, s.live.as_ref())),
        }
    }
}

/// All that is stored, borrowed.
pub(super) struct Stored<'a> {
    pub(super) header: Header,
    pub(super) slots: Slots<'a>,
    pub(super) holds: &'a HoldChunks,
    pub(super) results: &'a [ChunkLog; 3],
    pub(super) lapsed: &'a ChunkLog,
    pub(super) staging: &'a Stagings,
    pub(super) webhooks: &'a WebhookMap,
}

impl Stored<'_> {
    /// Keys of all records, in order.
    pub(super) fn keys(&self) -> Vec<RecordKey> {
        let mut keys = vec![RecordKey::Header];
        let events = || (0u32..).take(self.slots.len());
        let live = || events().filter_map(|event| Some((event, self.slots.get(event)?.2?)));
        let blocks = |len: usize| (0u32..).take(len);
        keys.extend(events().map(|event| RecordKey::Event { event }));
        for (event, core) in live() {
            keys.extend(blocks(core.seat_defs.len()).map(|block| RecordKey::SeatDefs { event, block }));
        }
        for (event, core) in live() {
            keys.extend(blocks(core.seat_states.len()).map(|block| RecordKey::SeatStates { event, block }));
        }
        for (event, core) in live() {
            keys.extend(blocks(core.pool_defs.len()).map(|block| RecordKey::PoolDefs { event, block }));
        }
        for (event, core) in live() {
            keys.extend(blocks(core.pool_counts.len()).map(|block| RecordKey::PoolCounts { event, block }));
        }
        for (event, core) in live() {
            keys.extend(core.orders.chunk_firsts().map(|first| RecordKey::Orders { event, first }));
        }
        keys.extend(self.holds.keys().map(|chunk| RecordKey::Holds { chunk: *chunk }));
        keys.extend(self.lapsed.chunk_firsts().map(|first| RecordKey::Lapsed { first }));
        for class in ResultClass::ALL {
            let ring = &self.results[class as usize];
            keys.extend(ring.chunk_firsts().map(|first| RecordKey::Results { class, first }));
        }
        keys.extend(
            self.staging.parts.keys().map(|(staging, part)| RecordKey::Stage { staging: *staging, part: *part }),
        );
        keys.extend(self.webhooks.keys().map(|webhook| RecordKey::Webhook { webhook: *webhook }));
        keys
    }

    /// The record of this key, if it is there.
    pub(super) fn body(&self, key: RecordKey) -> Option<RecordBody> {
        let core = |event: EventNo| self.slots.get(event)?.2;
        let body = match key {
            RecordKey::Header => Body::Header(self.header.clone()),
            RecordKey::Event { event } => match self.slots.get(event)? {
                (_, _, Some(core)) => Body::Event(core.info.clone()),
                (id, last, None) => {
                    Body::Deleted { id: id.clone(), version: last.version, definition_version: last.definition }
                }
            },
            RecordKey::SeatDefs { event, block } => {
                Body::SeatDefs(Arc::clone(core(event)?.seat_defs.get(block as usize)?))
            }
            RecordKey::SeatStates { event, block } => {
                Body::SeatStates(Arc::clone(core(event)?.seat_states.get(block as usize)?))
            }
            RecordKey::PoolDefs { event, block } => {
                Body::PoolDefs(Arc::clone(core(event)?.pool_defs.get(block as usize)?))
            }
            RecordKey::PoolCounts { event, block } => {
                Body::PoolCounts(Arc::clone(core(event)?.pool_counts.get(block as usize)?))
            }
            RecordKey::Orders { event, first } => Body::Chunk(Arc::clone(core(event)?.orders.chunk(first)?)),
            RecordKey::Holds { chunk } => Body::Holds(Arc::clone(self.holds.get(&chunk)?)),
            RecordKey::Lapsed { first } => Body::Chunk(Arc::clone(self.lapsed.chunk(first)?)),
            RecordKey::Results { class, first } => Body::Chunk(Arc::clone(self.results[class as usize].chunk(first)?)),
            RecordKey::Stage { staging, part } => {
                let (at, part) = self.staging.parts.get(&(staging, part))?;
                Body::Stage { at: *at, part: Arc::clone(part) }
            }
            RecordKey::Webhook { webhook } => Body::Webhook(Arc::clone(self.webhooks.get(&webhook)?)),
        };
        Some(RecordBody(body))
    }
}

impl Inventory {
    fn stored(&self) -> Stored<'_> {
        Stored {
            header: self.header(),
            slots: Slots::Live(&self.slots),
            holds: &self.holds.chunks,
            results: &self.results.rings,
            lapsed: &self.lapsed.log,
            staging: &self.staging,
            webhooks: self.webhooks.stored(),
        }
    }

    fn header(&self) -> Header {
        let ends = |ring: &ChunkLog| (ring.front(), ring.next());
        Header {
            clock: self.clock,
            revision: self.revision,
            settings: self.settings,
            next_event: u32::try_from(self.slots.len()).expect("events are numbered in 32 bits"),
            next_hold: self.next_hold,
            results: ResultClass::ALL.map(|class| ends(self.results.ring(class))),
            lapsed: ends(&self.lapsed.log),
        }
    }

    /// A view of the whole state that costs little and stays as it is while `apply` goes on.
    pub fn freeze(&self) -> Frozen {
        let slot = |slot: &EventSlot| FrozenSlot {
            id: slot.id.clone(),
            last: slot.last,
            live: slot.live.as_ref().map(|event| event.core.clone()),
        };
        Frozen {
            header: self.header(),
            slots: self.slots.iter().map(slot).collect(),
            holds: self.holds.chunks.clone(),
            results: self.results.rings.clone(),
            lapsed: self.lapsed.log.clone(),
            staging: self.staging.clone(),
            webhooks: self.webhooks.stored().clone(),
        }
    }

    /// The records that changed since the last call, with what they are now (`None`: gone). Applied to an older copy of
    /// the records in one batch, they make it the state of now.
    pub fn take_dirty(&mut self) -> Vec<(RecordKey, Option<RecordBody>)> {
        let dirty = std::mem::take(&mut self.dirty);
        let stored = self.stored();
        dirty.into_iter().map(|key| (key, stored.body(key))).collect()
    }

    /// The state of exactly these records, in any order.
    pub fn from_records(records: impl IntoIterator<Item = (RecordKey, RecordBody)>) -> Result<Self, LoadError> {
        let mut loading = Loading::default();
        for (key, body) in records {
            loading.take(key, body)?;
        }
        loading.finish()
    }
}

fn broken(key: RecordKey, why: impl Into<String>) -> LoadError {
    LoadError { key: format!("{key:?}"), why: why.into() }
}

type Chunks = BTreeMap<u64, Arc<Chunk>>;

/// The log of these chunks, from and to these numbers; `key` names the record of a chunk.
fn log((front, next): (u64, u64), chunks: Chunks, key: impl Fn(u64) -> RecordKey) -> Result<ChunkLog, LoadError> {
    ChunkLog::from_chunks(front, next, chunks).map_err(|(first, why)| broken(key(first), why))
}

/// Parts of an event, by number of block or chunk.
#[derive(Default)]
struct EventParts {
    seat_defs: BTreeMap<u32, Arc<SeatDefs>>,
    seat_states: BTreeMap<u32, Arc<SeatStates>>,
    pool_defs: BTreeMap<u32, Arc<Vec<PoolDef>>>,
    pool_counts: BTreeMap<u32, Arc<Vec<PoolCounts>>>,
    orders: Chunks,
}

enum LoadedEvent {
    Live(EventInfo),
    Deleted(EventId, LastVersions),
}

/// Records that have been taken in so far.
#[derive(Default)]
struct Loading {
    header: Option<Header>,
    events: BTreeMap<EventNo, LoadedEvent>,
    parts: BTreeMap<EventNo, EventParts>,
    holds: HoldChunks,
    lapsed: Chunks,
    results: [Chunks; 3],
    staging: Stagings,
    webhooks: WebhookMap,
}

impl Loading {
    fn take(&mut self, key: RecordKey, body: RecordBody) -> Result<(), LoadError> {
        match (key, body.0) {
            (RecordKey::Header, Body::Header(header)) => self.header = Some(header),
            (RecordKey::Event { event }, Body::Event(info)) => {
                self.events.insert(event, LoadedEvent::Live(info));
            }
            (RecordKey::Event { event }, Body::Deleted { id, version, definition_version }) => {
                let last = LastVersions { version, definition: definition_version };
                self.events.insert(event, LoadedEvent::Deleted(id, last));
            }
            (RecordKey::SeatDefs { event, block }, Body::SeatDefs(defs)) => {
                self.parts.entry(event).or_default().seat_defs.insert(block, defs);
            }
            (RecordKey::SeatStates { event, block }, Body::SeatStates(states)) => {
                self.parts.entry(event).or_default().seat_states.insert(block, states);
            }
            (RecordKey::PoolDefs { event, block }, Body::PoolDefs(defs)) => {
                self.parts.entry(event).or_default().pool_defs.insert(block, defs);
            }
            (RecordKey::PoolCounts { event, block }, Body::PoolCounts(counts)) => {
                self.parts.entry(event).or_default().pool_counts.insert(block, counts);
            }
            (RecordKey::Orders { event, first }, Body::Chunk(chunk)) => {
                self.parts.entry(event).or_default().orders.insert(first, chunk);
            }
            (RecordKey::Holds { chunk }, Body::Holds(holds)) => {
                self.holds.insert(chunk, holds);
            }
            (RecordKey::Lapsed { first }, Body::Chunk(chunk)) => {
                self.lapsed.insert(first, chunk);
            }
            (RecordKey::Results { class, first }, Body::Chunk(chunk)) => {
                self.results[class as usize].insert(first, chunk);
            }
            (RecordKey::Stage { staging, part }, Body::Stage { at, part: body }) => {
                self.staging.parts.insert((staging, part), (at, body));
            }
            (RecordKey::Webhook { webhook }, Body::Webhook(body)) => {
                self.webhooks.insert(webhook, body);
            }
            (key, _) => return Err(broken(key, "its contents are of another kind")),
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Inventory, LoadError> {
        if self.header.is_none() && self.is_empty() {
            return Ok(Inventory::new());
        }
        let header = self.header.take().ok_or_else(|| broken(RecordKey::Header, "it is missing"))?;
        let mut inventory = Inventory {
            clock: header.clock,
            revision: header.revision,
            settings: header.settings,
            next_hold: header.next_hold,
            staging: std::mem::take(&mut self.staging),
            webhooks: Webhooks::new(std::mem::take(&mut self.webhooks))
                .map_err(|(webhook, why)| broken(RecordKey::Webhook { webhook }, why))?,
            ..Inventory::default()
        };
        let mut rings: [ChunkLog; 3] = Default::default();
        for class in ResultClass::ALL {
            let (ends, chunks) = (header.results[class as usize], std::mem::take(&mut self.results[class as usize]));
            rings[class as usize] = log(ends, chunks, |first| RecordKey::Results { class, first })?;
        }
        let result_key = |(class, first)| RecordKey::Results { class, first };
        inventory.results = Results::new(rings).map_err(|(place, why)| broken(result_key(place), why))?;
        let lapsed_key = |first| RecordKey::Lapsed { first };
        let lapsed = log(header.lapsed, std::mem::take(&mut self.lapsed), lapsed_key)?;
        inventory.lapsed = LapsedHolds::new(lapsed).map_err(|(first, why)| broken(lapsed_key(first), why))?;
        self.finish_events(&mut inventory, header.next_event)?;
        inventory.holds = Holds::new(std::mem::take(&mut self.holds))
            .map_err(|(chunk, why)| broken(RecordKey::Holds { chunk }, why))?;
        inventory.adopt_holds()?;
        Ok(inventory)
    }

    fn is_empty(&self) -> bool {
        self.events.is_empty()
            && self.parts.is_empty()
            && self.holds.is_empty()
            && self.lapsed.is_empty()
            && self.webhooks.is_empty()
    }

    fn finish_events(&mut self, inventory: &mut Inventory, next_event: EventNo) -> Result<(), LoadError> {
        for no in 0..next_event {
            let key = RecordKey::Event { event: no };
            let slot = match self.events.remove(&no).ok_or_else(|| broken(key, "it is missing"))? {
                LoadedEvent::Deleted(id, last) => EventSlot { id, last, live: None },
                LoadedEvent::Live(info) => {
                    let core = load_event(no, info, self.parts.remove(&no).unwrap_or_default())?;
                    let id = core.info.id.clone();
                    let orders_key = |first| RecordKey::Orders { event: no, first };
                    let event = Event::new(core).map_err(|(first, e)| broken(orders_key(first), e.to_string()))?;
                    EventSlot { id, last: LastVersions::default(), live: Some(Box::new(event)) }
                }
            };
            inventory.event_nos.insert(slot.id.clone(), no);
            inventory.slots.push(slot);
        }
        let stray = self.events.keys().chain(self.parts.keys()).next();
        stray.map_or(Ok(()), |no| Err(broken(RecordKey::Event { event: *no }, "there is no event of that number")))
    }
}

/// The blocks in order, if they are all there.
fn dense<T>(
    blocks: BTreeMap<u32, Arc<T>>,
    len: impl Fn(&T) -> usize,
    a_block: usize,
    total: usize,
) -> Option<Vec<Arc<T>>> {
    let in_order = (0u32..).zip(blocks.keys()).all(|(wanted, block)| wanted == *block);
    let blocks: Vec<Arc<T>> = blocks.into_values().collect();
    let full = blocks.iter().rev().skip(1).all(|block| len(block) == a_block);
    let sum: usize = blocks.iter().map(|block| len(block)).sum();
    (in_order && full && sum == total && blocks.len() == total.div_ceil(a_block)).then_some(blocks)
}

fn load_event(no: EventNo, info: EventInfo, parts: EventParts) -> Result<EventCore, LoadError> {
    let seats = usize::try_from(info.seats.total).unwrap_or(usize::MAX);
    let pools = info.pool_total as usize;
    let key = |block_of: fn(u32) -> RecordKey| broken(block_of(no), "blocks are missing or of the wrong size");
    let mut seat_defs = dense(parts.seat_defs, SeatDefs::len, SEATS_A_BLOCK, seats)
        .ok_or_else(|| key(|event| RecordKey::SeatDefs { event, block: 0 }))?;
    let mut interner = Interner::default();
    for block in &mut seat_defs {
        Arc::make_mut(block).share_texts(&mut interner);
    }
    let seat_states = dense(parts.seat_states, Vec::len, SEATS_A_BLOCK, seats)
        .ok_or_else(|| key(|event| RecordKey::SeatStates { event, block: 0 }))?;
    let pool_defs = dense(parts.pool_defs, Vec::len, POOLS_A_BLOCK, pools)
        .ok_or_else(|| key(|event| RecordKey::PoolDefs { event, block: 0 }))?;
    let pool_counts = dense(parts.pool_counts, Vec::len, POOLS_A_BLOCK, pools)
        .ok_or_else(|| key(|event| RecordKey::PoolCounts { event, block: 0 }))?;
    let orders = log((0, info.orders_next), parts.orders, |first| RecordKey::Orders { event: no, first })?;
    Ok(EventCore { info, seat_defs, seat_states, pool_defs, pool_counts, orders })
}

impl Inventory {
    /// After loading: tells each event its holds, and counts customers where there is a limit.
    fn adopt_holds(&mut self) -> Result<(), LoadError> {
        let owners: Vec<(u64, EventNo)> = self.holds.iter().map(|(no, hold)| (no, hold.event)).collect();
        for (no, event) in owners {
            let event = self.slots.get_mut(event as usize).and_then(|slot| slot.live.as_mut());
            let key = RecordKey::Holds { chunk: super::holds::chunk_of(no) };
            event.ok_or_else(|| broken(key, format!("hold {no} is of no event")))?.holds.insert(no);
        }
        for no in (0u32..).take(self.slots.len()) {
            self.recount(no);
        }
        Ok(())
    }
}
