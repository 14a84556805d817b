//! Values of the domain: what an event is made of and how it is counted.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::id::{CustomerId, EventId, OrderId, PoolId, SeatId, Token};

macro_rules! number_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub u64);

        impl $name {
            /// The one after this.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number_type! {
    /// Milliseconds since 1970, by the replicated clock.
    Millis
}
number_type! {
    /// Per group, +1 for each change set; dense.
    Revision
}
number_type! {
    /// Per event, +1 for each change set that touches it; dense.
    Version
}

impl Millis {
    /// This time plus a duration, never past the end of time.
    #[must_use]
    pub fn plus(self, duration_ms: u64) -> Self {
        Self(self.0.saturating_add(duration_ms))
    }
}

/// A short text such as a section's name, shared by all the seats that carry it.
pub type Text = Arc<str>;

/// A place on the plan, kept bit by bit: the domain never calculates with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coordinate(pub u64);

/// What stands on the seat: a number, or a text such as `12a`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SeatNumber {
    Number(i64),
    Text(Text),
}

/// One seat as the organiser defined it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeatDef {
    pub id: SeatId,
    pub section: Option<Text>,
    pub row: Option<Text>,
    pub number: Option<SeatNumber>,
    pub category: Option<Text>,
    pub x: Option<Coordinate>,
    pub y: Option<Coordinate>,
}

/// One pool as the organiser defined it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolDef {
    pub id: PoolId,
    pub capacity: u64,
    pub category: Option<Text>,
    pub name: Option<Text>,
}

/// How long holds of an event live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldPolicy {
    pub ttl_ms: u64,
    pub max_ttl_ms: u64,
}

impl Default for HoldPolicy {
    fn default() -> Self {
        Self { ttl_ms: 600_000, max_ttl_ms: 7_200_000 }
    }
}

/// What one customer may have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Most units, held and booked together, of one customer in the event.
    pub per_customer: Option<u64>,
}

/// Everything about an event but its seats and pools.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventHead {
    pub name: Text,
    pub on_sale: bool,
    pub hold: HoldPolicy,
    pub limits: Limits,
    pub labels: BTreeMap<String, String>,
}

/// A seat, or a pool with a quantity.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Item {
    Seat(SeatId),
    Pool { pool: PoolId, quantity: u64 },
}

/// What a seat is, to the public.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SeatStatus {
    Free,
    Held,
    Booked,
    Blocked,
    /// No longer part of the event; only in changes.
    Removed,
}

/// A pool's numbers. `available` is `capacity - held - booked - blocked`, see [`PoolCounts::available`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolCounts {
    pub capacity: u64,
    pub held: u64,
    pub booked: u64,
    pub blocked: u64,
}

impl PoolCounts {
    /// Units that can be reserved. Zero, never less, when an invariant is broken; `audit` reports that.
    pub fn available(&self) -> u64 {
        self.capacity.saturating_sub(self.held).saturating_sub(self.booked).saturating_sub(self.blocked)
    }
}

/// Seats and pools of an event added up.
pub type Totals = PoolCounts;

/// How many seats of an event are in which state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeatCounts {
    pub total: u64,
    pub free: u64,
    pub held: u64,
    pub booked: u64,
    pub blocked: u64,
}

/// A pool with its numbers, as a reader sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolView {
    pub id: PoolId,
    pub category: Option<Text>,
    pub name: Option<Text>,
    pub counts: PoolCounts,
}

/// An event without its list of seats, as a reader sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventView {
    pub event: EventId,
    pub head: EventHead,
    pub version: Version,
    pub revision: Revision,
    pub definition_version: Version,
    pub created_at: Millis,
    pub seats: SeatCounts,
    pub pools: Vec<PoolView>,
}

/// A hold, as its owner sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldView {
    pub token: Token,
    pub event: EventId,
    pub items: Vec<Item>,
    pub customer: Option<CustomerId>,
    pub created_at: Millis,
    pub expires_at: Millis,
}

/// An order, as its owner sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderView {
    pub order: OrderId,
    pub event: EventId,
    pub items: Vec<Item>,
    pub customer: Option<CustomerId>,
    pub booked_at: Millis,
}

/// A seat as the box office sees it: who has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeatView {
    pub seat: SeatDef,
    pub status: SeatStatus,
    pub token: Option<Token>,
    pub order: Option<OrderId>,
    pub customer: Option<CustomerId>,
}
