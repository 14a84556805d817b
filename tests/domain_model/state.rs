//! What the model knows, and how it reads it: always by looking through everything.

use std::collections::{BTreeMap, BTreeSet};

use lastseat::domain::command::Fingerprint;
use lastseat::domain::command::{Settings, StagingId};
use lastseat::domain::id::{CustomerId, EventId, Key, OrderId, PoolId, SeatId, Token, WebhookId};
use lastseat::domain::outcome::{Answer, Outcome, SliceAnswer, Verdict};
use lastseat::domain::value::{
    EventHead, EventView, HoldView, Item, Millis, OrderView, PoolCounts, PoolDef, PoolView, Revision, SeatCounts,
    SeatDef, SeatStatus, SeatView, Totals, Version,
};

use super::webhooks::Hook;

pub type Parts = BTreeMap<u32, (Vec<SeatDef>, Vec<PoolDef>)>;

#[derive(Debug, Clone, Default)]
pub struct State {
    pub clock: Millis,
    pub revision: Revision,
    pub settings: Option<Settings>,
    pub events: BTreeMap<EventId, Event>,
    /// The last version of what was deleted, and the last version of its definition.
    pub gone: BTreeMap<EventId, (Version, Version)>,
    pub results: BTreeMap<Key, Remembered>,
    pub slices: BTreeMap<(Key, u32), RememberedSlice>,
    pub stagings: BTreeMap<StagingId, Parts>,
    pub webhooks: BTreeMap<WebhookId, Hook>,
}

/// A result under its key. Without a fingerprint: the key was voided.
#[derive(Debug, Clone)]
pub struct Remembered {
    pub fingerprint: Option<Fingerprint>,
    pub answer: Answer,
}

/// A slice of an independent batch.
#[derive(Debug, Clone)]
pub struct RememberedSlice {
    pub fingerprint: Fingerprint,
    pub answer: Answer,
    pub total: u32,
    /// Which of its commands have keys of their own.
    pub own: Vec<bool>,
}

impl RememberedSlice {
    pub fn answers(&self) -> &[SliceAnswer] {
        match &self.answer.verdict {
            Verdict::Applied(Outcome::BatchSlice(answers)) => answers,
            other => panic!("{other:?} is no answer to a slice"),
        }
    }
}

#[derive(Debug, Clone)]
pub struct Event {
    pub head: EventHead,
    pub created_at: Millis,
    pub version: Version,
    pub definition_version: Version,
    pub seats: Vec<SeatDef>,
    pub pools: Vec<PoolDef>,
    pub blocked: Bundle,
    pub holds: BTreeMap<Token, Hold>,
    /// Holds that ended by time, as they were.
    pub lapsed: BTreeMap<Token, Hold>,
    /// In the order of booking.
    pub orders: Vec<Order>,
}

#[derive(Debug, Clone)]
pub struct Hold {
    pub items: Bundle,
    pub customer: Option<CustomerId>,
    pub created_at: Millis,
    pub expires_at: Millis,
}

#[derive(Debug, Clone)]
pub struct Order {
    pub id: OrderId,
    pub items: Bundle,
    pub customer: Option<CustomerId>,
    pub booked_at: Millis,
    /// The hold it came from.
    pub token: Option<Token>,
    /// What was booked at first, before any cancel.
    pub first_items: Bundle,
    /// It took all that was left of its hold.
    pub whole_hold: bool,
}

/// Seats, and units of pools. A pool with no unit is not in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bundle {
    pub seats: BTreeSet<SeatId>,
    pub units: BTreeMap<PoolId, u64>,
}

/// Something a change can be about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Thing {
    /// The definition, no seat or pool of it.
    Head,
    Seat(SeatId),
    Pool(PoolId),
}

/// An item of a request, the lines of one pool added up where the first of them stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    Seat(SeatId),
    Pool(PoolId, u64),
}

pub fn lines(items: &[Item]) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for item in items {
        match item {
            Item::Seat(seat) => lines.push(Line::Seat(seat.clone())),
            Item::Pool { pool, quantity } => {
                let known = lines.iter_mut().find_map(|line| match line {
                    Line::Pool(id, sum) if id == pool => Some(sum),
                    Line::Pool(..) | Line::Seat(_) => None,
                });
                match known {
                    Some(sum) => *sum = sum.saturating_add(*quantity),
                    None => lines.push(Line::Pool(pool.clone(), *quantity)),
                }
            }
        }
    }
    lines
}

impl Bundle {
    pub fn of(items: &[Item]) -> Self {
        let mut bundle = Self::default();
        for line in lines(items) {
            match line {
                Line::Seat(seat) => {
                    bundle.seats.insert(seat);
                }
                Line::Pool(pool, units) => {
                    bundle.units.insert(pool, units);
                }
            }
        }
        bundle
    }

    pub fn is_empty(&self) -> bool {
        self.seats.is_empty() && self.units.is_empty()
    }

    pub fn units_of(&self, pool: &PoolId) -> u64 {
        self.units.get(pool).copied().unwrap_or(0)
    }

    /// Seats and units together.
    pub fn size(&self) -> u64 {
        self.units.values().fold(self.seats.len() as u64, |sum, units| sum.saturating_add(*units))
    }

    pub fn add(&mut self, other: &Bundle) {
        self.seats.extend(other.seats.iter().cloned());
        for (pool, units) in &other.units {
            *self.units.entry(pool.clone()).or_insert(0) += units;
        }
    }

    pub fn remove(&mut self, other: &Bundle) {
        for seat in &other.seats {
            assert!(self.seats.remove(seat), "the model takes a seat from who does not have it");
        }
        for (pool, units) in &other.units {
            let left = self.units_of(pool).checked_sub(*units).expect("the model takes units that are not there");
            if left == 0 {
                self.units.remove(pool);
            } else {
                self.units.insert(pool.clone(), left);
            }
        }
    }

    /// Seats by name, then pools by name.
    pub fn items(&self) -> Vec<Item> {
        let seats = self.seats.iter().cloned().map(Item::Seat);
        let pools = self.units.iter().map(|(pool, units)| Item::Pool { pool: pool.clone(), quantity: *units });
        seats.chain(pools).collect()
    }

    pub fn things(&self) -> impl Iterator<Item = Thing> + '_ {
        let seats = self.seats.iter().cloned().map(Thing::Seat);
        seats.chain(self.units.keys().cloned().map(Thing::Pool))
    }
}

impl Event {
    pub fn seat_def(&self, seat: &SeatId) -> Option<&SeatDef> {
        self.seats.iter().find(|def| def.id == *seat)
    }

    pub fn order(&self, order: &OrderId) -> Option<&Order> {
        self.orders.iter().find(|known| known.id == *order)
    }

    pub fn status(&self, seat: &SeatId) -> SeatStatus {
        if self.orders.iter().any(|order| order.items.seats.contains(seat)) {
            SeatStatus::Booked
        } else if self.holds.values().any(|hold| hold.items.seats.contains(seat)) {
            SeatStatus::Held
        } else if self.blocked.seats.contains(seat) {
            SeatStatus::Blocked
        } else {
            SeatStatus::Free
        }
    }

    pub fn counts(&self, pool: &PoolId) -> Option<PoolCounts> {
        let def = self.pools.iter().find(|def| def.id == *pool)?;
        Some(PoolCounts {
            capacity: def.capacity,
            held: self.holds.values().map(|hold| hold.items.units_of(pool)).sum(),
            booked: self.orders.iter().map(|order| order.items.units_of(pool)).sum(),
            blocked: self.blocked.units_of(pool),
        })
    }

    pub fn seat_counts(&self) -> SeatCounts {
        let count = |status| self.seats.iter().filter(|def| self.status(&def.id) == status).count() as u64;
        SeatCounts {
            total: self.seats.len() as u64,
            free: count(SeatStatus::Free),
            held: count(SeatStatus::Held),
            booked: count(SeatStatus::Booked),
            blocked: count(SeatStatus::Blocked),
        }
    }

    pub fn totals(&self) -> Totals {
        let seats = self.seat_counts();
        let mut totals =
            Totals { capacity: seats.total, held: seats.held, booked: seats.booked, blocked: seats.blocked };
        for def in &self.pools {
            let counts = self.counts(&def.id).expect("a pool of the list");
            totals.capacity = totals.capacity.saturating_add(counts.capacity);
            totals.held += counts.held;
            totals.booked += counts.booked;
            totals.blocked += counts.blocked;
        }
        totals
    }

    /// Units a customer has, held and booked.
    pub fn units_of_customer(&self, customer: &CustomerId) -> u64 {
        let held = self.holds.values().filter(|hold| hold.customer.as_ref() == Some(customer));
        let booked = self.orders.iter().filter(|order| order.customer.as_ref() == Some(customer));
        held.map(|hold| hold.items.size()).sum::<u64>() + booked.map(|order| order.items.size()).sum::<u64>()
    }
}

impl State {
    pub fn version(&self, event: &EventId) -> Option<Version> {
        self.events.get(event).map(|event| event.version)
    }

    pub fn event_view(&self, id: &EventId) -> Option<EventView> {
        let event = self.events.get(id)?;
        let pools = event.pools.iter().map(|def| PoolView {
            id: def.id.clone(),
            category: def.category.clone(),
            name: def.name.clone(),
            counts: event.counts(&def.id).expect("a pool of the list"),
        });
        Some(EventView {
            event: id.clone(),
            head: event.head.clone(),
            version: event.version,
            revision: self.revision,
            definition_version: event.definition_version,
            created_at: event.created_at,
            seats: event.seat_counts(),
            pools: pools.collect(),
        })
    }

    pub fn hold_view(&self, id: &EventId, token: &Token) -> Option<HoldView> {
        let hold = self.events.get(id)?.holds.get(token)?;
        Some(HoldView {
            token: token.clone(),
            event: id.clone(),
            items: hold.items.items(),
            customer: hold.customer.clone(),
            created_at: hold.created_at,
            expires_at: hold.expires_at,
        })
    }

    pub fn order_view(&self, id: &EventId, order: &OrderId) -> Option<OrderView> {
        let order = self.events.get(id)?.order(order)?;
        Some(OrderView {
            order: order.id.clone(),
            event: id.clone(),
            items: order.items.items(),
            customer: order.customer.clone(),
            booked_at: order.booked_at,
        })
    }

    pub fn seat_view(&self, id: &EventId, seat: &SeatId) -> Option<SeatView> {
        let event = self.events.get(id)?;
        let def = event.seat_def(seat)?;
        let hold = event.holds.iter().find(|(_, hold)| hold.items.seats.contains(seat));
        let order = event.orders.iter().find(|order| order.items.seats.contains(seat));
        let customer = match (hold, order) {
            (Some((_, hold)), _) => hold.customer.clone(),
            (None, Some(order)) => order.customer.clone(),
            (None, None) => None,
        };
        Some(SeatView {
            seat: def.clone(),
            status: event.status(seat),
            token: hold.map(|(token, _)| token.clone()).or_else(|| order.and_then(|order| order.token.clone())),
            order: order.map(|order| order.id.clone()),
            customer,
        })
    }
}
