//! One event: what is stored of it, and the indexes derived from that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

use super::LastVersions;
use super::best::Rows;
use super::chunk::ChunkLog;
use super::hash::{FixedIndex, NameIndex, name_hash};
use super::orders::Order;
use super::seats::{self, Interner, SEATS_A_BLOCK, SeatDefs, SeatState, SeatStates};
use crate::domain::codec::CodecError;
use crate::domain::id::{CustomerId, EventId, OrderId, PoolId, SeatId};
use crate::domain::value::{
    EventHead, EventView, Millis, PoolCounts, PoolDef, PoolView, Revision, SeatCounts, SeatDef, SeatStatus, Totals,
    Version,
};

/// Number of an event. It stays with the event's id for ever, also while the event is deleted.
pub(crate) type EventNo = u32;

/// Pools in one block.
pub(super) const POOLS_A_BLOCK: usize = 256;

/// The small part of an event, stored as one record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EventInfo {
    pub(super) id: EventId,
    pub(super) head: Arc<EventHead>,
    pub(super) version: Version,
    pub(super) definition_version: Version,
    pub(super) created_at: Millis,
    /// The revision that made it: tells it from an event of the same id that was deleted.
    pub(super) born: Revision,
    pub(super) seats: SeatCounts,
    pub(super) pools: PoolCounts,
    pub(super) pool_total: u32,
    pub(super) orders_next: u64,
}

/// All that is stored of an event. A clone shares the blocks.
#[derive(Debug, Clone)]
pub(super) struct EventCore {
    pub(super) info: EventInfo,
    pub(super) seat_defs: Vec<Arc<SeatDefs>>,
    pub(super) seat_states: Vec<Arc<SeatStates>>,
    pub(super) pool_defs: Vec<Arc<Vec<PoolDef>>>,
    pub(super) pool_counts: Vec<Arc<Vec<PoolCounts>>>,
    pub(super) orders: ChunkLog,
}

impl EventCore {
    /// An event without seats and pools, which goes on from the versions of a deleted one of the same id.
    pub(super) fn new(id: EventId, head: EventHead, last: LastVersions, created_at: Millis, born: Revision) -> Self {
        let info = EventInfo {
            id,
            head: Arc::new(head),
            version: last.version,
            definition_version: last.definition.next(),
            created_at,
            born,
            seats: SeatCounts::default(),
            pools: PoolCounts::default(),
            pool_total: 0,
            orders_next: 0,
        };
        Self {
            info,
            seat_defs: Vec::new(),
            seat_states: Vec::new(),
            pool_defs: Vec::new(),
            pool_counts: Vec::new(),
            orders: ChunkLog::default(),
        }
    }

    pub(super) fn seat_total(&self) -> u32 {
        u32::try_from(self.info.seats.total).expect("check_definition bounds the seats of an event")
    }

    pub(super) fn seat_id(&self, at: u32) -> &SeatId {
        self.seat_defs[at as usize / SEATS_A_BLOCK].id(at as usize % SEATS_A_BLOCK)
    }

    pub(super) fn seat_def(&self, at: u32) -> SeatDef {
        self.seat_defs[at as usize / SEATS_A_BLOCK].get(at as usize % SEATS_A_BLOCK)
    }

    pub(super) fn seat_state(&self, at: u32) -> SeatState {
        self.seat_states[at as usize / SEATS_A_BLOCK][at as usize % SEATS_A_BLOCK]
    }

    pub(super) fn pool_def(&self, at: u32) -> &PoolDef {
        &self.pool_defs[at as usize / POOLS_A_BLOCK][at as usize % POOLS_A_BLOCK]
    }

    pub(super) fn pool_count(&self, at: u32) -> PoolCounts {
        self.pool_counts[at as usize / POOLS_A_BLOCK][at as usize % POOLS_A_BLOCK]
    }

    pub(super) fn seat_defs(&self) -> impl Iterator<Item = SeatDef> + '_ {
        (0..self.seat_total()).map(|at| self.seat_def(at))
    }

    pub(super) fn pool_defs(&self) -> impl Iterator<Item = &PoolDef> + '_ {
        self.pool_defs.iter().flat_map(|block| block.iter())
    }

    pub(super) fn pools(&self) -> impl Iterator<Item = (&PoolDef, PoolCounts)> + '_ {
        (0..self.info.pool_total).map(|at| (self.pool_def(at), self.pool_count(at)))
    }

    /// Seats and pools added up.
    pub(super) fn totals(&self) -> Totals {
        let (seats, pools) = (&self.info.seats, &self.info.pools);
        Totals {
            capacity: seats.total + pools.capacity,
            held: seats.held + pools.held,
            booked: seats.booked + pools.booked,
            blocked: seats.blocked + pools.blocked,
        }
    }

    pub(super) fn view(&self, revision: Revision) -> EventView {
        let pool = |(def, counts): (&PoolDef, PoolCounts)| PoolView {
            id: def.id.clone(),
            category: def.category.clone(),
            name: def.name.clone(),
            counts,
        };
        EventView {
            event: self.info.id.clone(),
            head: EventHead::clone(&self.info.head),
            version: self.info.version,
            revision,
            definition_version: self.info.definition_version,
            created_at: self.info.created_at,
            seats: self.info.seats,
            pools: self.pools().map(pool).collect(),
        }
    }

    /// Puts these seats, with these states, in the place of all seats.
    pub(super) fn lay_seats(&mut self, defs: &[SeatDef], states: &[SeatState]) {
        self.seat_defs = seats::pack(defs, &mut Interner::default());
        self.seat_states = states.chunks(SEATS_A_BLOCK).map(|block| Arc::new(block.to_vec())).collect();
        let mut counts = SeatCounts { total: states.len() as u64, ..SeatCounts::default() };
        for state in states {
            *counted(&mut counts, state.status()) += 1;
        }
        self.info.seats = counts;
    }

    /// Puts these pools, with these numbers, in the place of all pools.
    pub(super) fn lay_pools(&mut self, defs: &[PoolDef], counts: &[PoolCounts]) {
        self.pool_defs = defs.chunks(POOLS_A_BLOCK).map(|block| Arc::new(block.to_vec())).collect();
        self.pool_counts = counts.chunks(POOLS_A_BLOCK).map(|block| Arc::new(block.to_vec())).collect();
        self.info.pool_total = u32::try_from(defs.len()).expect("check_definition bounds the pools of an event");
        self.info.pools = counts.iter().fold(PoolCounts::default(), |sum, c| add_counts(sum, *c));
    }

    pub(super) fn order(&self, seq: u64) -> Option<Order> {
        self.orders.get(seq).map(Order::unpack)
    }
}

pub(super) fn add_counts(sum: PoolCounts, one: PoolCounts) -> PoolCounts {
    PoolCounts {
        capacity: sum.capacity + one.capacity,
        held: sum.held + one.held,
        booked: sum.booked + one.booked,
        blocked: sum.blocked + one.blocked,
    }
}

/// The counter of seats in this state.
pub(super) fn counted(counts: &mut SeatCounts, status: SeatStatus) -> &mut u64 {
    match status {
        SeatStatus::Free | SeatStatus::Removed => &mut counts.free,
        SeatStatus::Held => &mut counts.held,
        SeatStatus::Booked => &mut counts.booked,
        SeatStatus::Blocked => &mut counts.blocked,
    }
}

/// An event with its indexes, which are derived and never stored.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) core: EventCore,
    seat_index: FixedIndex,
    pool_index: FixedIndex,
    order_index: NameIndex,
    customer_index: NameIndex,
    /// Units held and booked by each customer, while there is a limit.
    customer_units: Option<BTreeMap<CustomerId, u64>>,
    /// Rows for the search of the best seats, made when first asked for.
    pub(super) rows: OnceLock<Rows>,
    /// Numbers of the live holds.
    pub(super) holds: BTreeSet<u64>,
}

impl Event {
    /// The event with its indexes. An order that cannot be decoded is an error, with the chunk it is in.
    pub(super) fn new(core: EventCore) -> Result<Self, (u64, CodecError)> {
        let mut event = Self::fresh(core, (FixedIndex::default(), FixedIndex::default()));
        event.index_seats();
        event.index_pools();
        for (seq, bytes) in event.core.orders.iter() {
            let order = Order::try_unpack(bytes).map_err(|e| (event.core.orders.first_of(seq), e))?;
            event.order_index.insert(name_hash(order.order.as_str()), low(seq));
            if let Some(customer) = &order.customer {
                event.customer_index.insert(name_hash(customer.as_str()), low(seq));
            }
        }
        Ok(event)
    }

    /// An event without orders, with the indexes of its seats and its pools.
    pub(super) fn fresh(core: EventCore, (seat_index, pool_index): (FixedIndex, FixedIndex)) -> Self {
        Self {
            core,
            seat_index,
            pool_index,
            order_index: NameIndex::default(),
            customer_index: NameIndex::default(),
            customer_units: None,
            rows: OnceLock::new(),
            holds: BTreeSet::new(),
        }
    }

    pub(super) fn index_seats(&mut self) {
        let core = &self.core;
        self.seat_index = FixedIndex::new((0..core.seat_total()).map(|at| core.seat_id(at).as_str()));
        self.rows = OnceLock::new();
    }

    pub(super) fn index_pools(&mut self) {
        self.pool_index = FixedIndex::new(self.core.pool_defs().map(|def| def.id.as_str()));
    }

    pub(super) fn seat_at(&self, id: &SeatId) -> Option<u32> {
        self.seat_index.candidates(id.as_str()).find(|at| self.core.seat_id(*at) == id)
    }

    pub(super) fn pool_at(&self, id: &PoolId) -> Option<u32> {
        self.pool_index.candidates(id.as_str()).find(|at| self.core.pool_def(*at).id == *id)
    }

    pub(super) fn find_order(&self, id: &OrderId) -> Option<(u64, Order)> {
        let mut candidates = self.order_index.candidates(name_hash(id.as_str()));
        candidates.find_map(|seq| {
            let seq = u64::from(seq);
            self.core.order(seq).filter(|order| order.order == *id).map(|order| (seq, order))
        })
    }

    pub(super) fn has_order(&self, id: &OrderId) -> bool {
        self.find_order(id).is_some()
    }

    /// Sequence numbers that may be orders of this customer, after `after`.
    pub(super) fn orders_of(&self, customer: &CustomerId, after: Option<u64>) -> impl Iterator<Item = u64> + '_ {
        self.customer_index.candidates_after(name_hash(customer.as_str()), after.map(low)).map(u64::from)
    }

    pub(super) fn index_order(&mut self, seq: u64, order: &Order, there: bool) {
        let hash = name_hash(order.order.as_str());
        let customer = order.customer.as_ref().map(|c| name_hash(c.as_str()));
        if there {
            self.order_index.insert(hash, low(seq));
            customer.into_iter().for_each(|c| self.customer_index.insert(c, low(seq)));
        } else {
            self.order_index.remove(hash, low(seq));
            customer.into_iter().for_each(|c| self.customer_index.remove(c, low(seq)));
        }
    }

    pub(super) fn limit(&self) -> Option<u64> {
        self.core.info.head.limits.per_customer
    }

    /// What the customer has, held and booked. Zero while there is no limit: nobody counts then.
    pub(super) fn units_of(&self, customer: &CustomerId) -> u64 {
        self.customer_units.as_ref().and_then(|units| units.get(customer)).copied().unwrap_or(0)
    }

    pub(super) fn move_units(&mut self, customer: Option<&CustomerId>, minus: u64, plus: u64) {
        let (Some(table), Some(customer)) = (&mut self.customer_units, customer) else { return };
        if minus == plus {
            return;
        }
        let now = (table.get(customer).copied().unwrap_or(0) + plus).saturating_sub(minus);
        if now == 0 {
            table.remove(customer);
        } else {
            table.insert(customer.clone(), now);
        }
    }

    /// Counts every customer's units anew if there is a limit and nobody counts yet; forgets them if there is none.
    /// `held`: customer and units of every live hold.
    pub(super) fn recount_customers(&mut self, held: impl Iterator<Item = (Option<CustomerId>, u64)>) {
        if self.limit().is_none() {
            self.customer_units = None;
            return;
        }
        if self.customer_units.is_some() {
            return;
        }
        let mut units: BTreeMap<CustomerId, u64> = BTreeMap::new();
        let booked = self.core.orders.iter().map(|(_, bytes)| Order::unpack(bytes));
        let booked = booked.map(|order| (order.customer.clone(), super::items::units(&order.items)));
        for (customer, count) in held.chain(booked) {
            if let (Some(customer), 1..) = (customer, count) {
                *units.entry(customer).or_default() += count;
            }
        }
        self.customer_units = Some(units);
    }

    /// Writes the state of one seat and keeps the counters. Returns what it was.
    pub(super) fn set_seat(&mut self, at: u32, state: SeatState) -> SeatState {
        let block = Arc::make_mut(&mut self.core.seat_states[at as usize / SEATS_A_BLOCK]);
        let old = std::mem::replace(&mut block[at as usize % SEATS_A_BLOCK], state);
        *counted(&mut self.core.info.seats, old.status()) -= 1;
        *counted(&mut self.core.info.seats, state.status()) += 1;
        if let Some(rows) = self.rows.get_mut() {
            rows.seat_moved(at, old.is_free(), state.is_free());
        }
        old
    }

    /// Writes the numbers of one pool and keeps the counters. Returns what they were.
    pub(super) fn set_pool(&mut self, at: u32, counts: PoolCounts) -> PoolCounts {
        let block = Arc::make_mut(&mut self.core.pool_counts[at as usize / POOLS_A_BLOCK]);
        let old = std::mem::replace(&mut block[at as usize % POOLS_A_BLOCK], counts);
        let sum = &mut self.core.info.pools;
        sum.held = sum.held - old.held + counts.held;
        sum.booked = sum.booked - old.booked + counts.booked;
        sum.blocked = sum.blocked - old.blocked + counts.blocked;
        old
    }
}

/// Sequence numbers of orders in an index are 32 bits.
fn low(seq: u64) -> u32 {
    u32::try_from(seq).expect("an event has fewer than 4 billion orders: memory ends long before")
}
