//! What goes out: borrowed from domain values, written once.

use std::collections::BTreeMap;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use super::Name;
use super::item::{Items, WireItem};
use crate::api::detail::status_name;
use crate::domain::id::PoolId;
use crate::domain::inventory::AuditReport;
use crate::domain::outcome::Conflict;
use crate::domain::value::{
    Coordinate, EventView, HoldView, Millis, OrderView, PoolCounts, PoolView, SeatDef, SeatNumber, SeatStatus, SeatView,
};

/// A time as RFC 3339, UTC, with milliseconds. Times beyond the year 9999 are shown as its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSchema)]
#[schema(value_type = String, format = DateTime, example = "2026-12-12T19:30:00.000Z")]
pub struct Time(pub Millis);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let time = i64::try_from(self.0.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
        serializer.collect_str(&format_args!("{:.3}", time.unwrap_or(jiff::Timestamp::MAX)))
    }
}

/// A seat's status, to the public.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSchema)]
#[schema(as = SeatStatus)]
#[serde(rename_all = "snake_case")]
#[allow(dead_code, reason = "the schema of what `Status` writes")]
pub enum StatusSchema {
    Free,
    Held,
    Booked,
    Blocked,
    Removed,
}

#[derive(Debug, Clone, Copy)]
pub struct Status(pub SeatStatus);

impl Serialize for Status {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(status_name(self.0))
    }
}

/// A hold, as its owner sees it. Who knows the token owns the hold.
#[derive(Debug, Serialize, ToSchema)]
pub struct Hold<'a> {
    #[schema(value_type = Name)]
    token: &'a str,
    #[schema(value_type = Name)]
    event: &'a str,
    #[schema(value_type = Vec<WireItem>)]
    items: Items<'a>,
    #[schema(value_type = Option<Name>)]
    customer: Option<&'a str>,
    #[schema(value_type = Time)]
    expires_at: Time,
    /// Counted from the decision; in a read, from the clock of the state that was read.
    expires_in_ms: u64,
    #[schema(value_type = Time)]
    created_at: Time,
}

impl<'a> Hold<'a> {
    pub fn at(hold: &'a HoldView, clock: Millis) -> Self {
        Self {
            token: hold.token.as_str(),
            event: hold.event.as_str(),
            items: Items(&hold.items),
            customer: hold.customer.as_ref().map(|c| c.as_str()),
            expires_at: Time(hold.expires_at),
            expires_in_ms: hold.expires_at.0.saturating_sub(clock.0),
            created_at: Time(hold.created_at),
        }
    }
}

/// A finished sale.
#[derive(Debug, Serialize, ToSchema)]
pub struct Order<'a> {
    #[schema(value_type = Name)]
    order: &'a str,
    #[schema(value_type = Name)]
    event: &'a str,
    #[schema(value_type = Vec<WireItem>)]
    items: Items<'a>,
    #[schema(value_type = Option<Name>)]
    customer: Option<&'a str>,
    #[schema(value_type = Time)]
    booked_at: Time,
}

impl<'a> From<&'a OrderView> for Order<'a> {
    fn from(order: &'a OrderView) -> Self {
        Self {
            order: order.order.as_str(),
            event: order.event.as_str(),
            items: Items(&order.items),
            customer: order.customer.as_ref().map(|c| c.as_str()),
            booked_at: Time(order.booked_at),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct SeatTotals {
    total: u64,
    free: u64,
    held: u64,
    booked: u64,
    blocked: u64,
}

/// A pool and its numbers.
#[derive(Debug, Serialize, ToSchema)]
pub struct Pool<'a> {
    #[schema(value_type = Name)]
    id: &'a str,
    capacity: u64,
    held: u64,
    booked: u64,
    blocked: u64,
    available: u64,
    category: Option<&'a str>,
    name: Option<&'a str>,
}

impl<'a> From<&'a PoolView> for Pool<'a> {
    fn from(pool: &'a PoolView) -> Self {
        let counts = &pool.counts;
        Self {
            id: pool.id.as_str(),
            capacity: counts.capacity,
            held: counts.held,
            booked: counts.booked,
            blocked: counts.blocked,
            available: counts.available(),
            category: pool.category.as_deref(),
            name: pool.name.as_deref(),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct HoldPolicyView {
    ttl_ms: u64,
    max_ttl_ms: u64,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct LimitsView {
    per_customer: Option<u64>,
}

/// An event without its list of seats.
#[derive(Debug, Serialize, ToSchema)]
pub struct Event<'a> {
    #[schema(value_type = Name)]
    event: &'a str,
    name: &'a str,
    on_sale: bool,
    version: u64,
    /// The group's revision at which this was seen or decided.
    revision: u64,
    seats: SeatTotals,
    pools: Vec<Pool<'a>>,
    hold: HoldPolicyView,
    limits: LimitsView,
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    labels: &'a BTreeMap<String, String>,
    definition_version: u64,
    /// The Raft group the event lives in.
    group: u32,
    #[schema(value_type = Time)]
    created_at: Time,
}

/// The only Raft group there is so far.
pub const GROUP: u32 = 0;

impl<'a> Event<'a> {
    pub fn at(view: &'a EventView, revision: u64) -> Self {
        let (head, seats) = (&view.head, &view.seats);
        Self {
            event: view.event.as_str(),
            name: &head.name,
            on_sale: head.on_sale,
            version: view.version.0,
            revision,
            seats: SeatTotals {
                total: seats.total,
                free: seats.free,
                held: seats.held,
                booked: seats.booked,
                blocked: seats.blocked,
            },
            pools: view.pools.iter().map(Pool::from).collect(),
            hold: HoldPolicyView { ttl_ms: head.hold.ttl_ms, max_ttl_ms: head.hold.max_ttl_ms },
            limits: LimitsView { per_customer: head.limits.per_customer },
            labels: &head.labels,
            definition_version: view.definition_version.0,
            group: GROUP,
            created_at: Time(view.created_at),
        }
    }
}

/// One line of the list of events.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventLine<'a> {
    #[schema(value_type = Name)]
    event: &'a str,
    name: &'a str,
    on_sale: bool,
    version: u64,
}

impl<'a> From<&'a EventView> for EventLine<'a> {
    fn from(view: &'a EventView) -> Self {
        Self { event: view.event.as_str(), name: &view.head.name, on_sale: view.head.on_sale, version: view.version.0 }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct EventPage<'a> {
    pub events: Vec<EventLine<'a>>,
    /// Give it as `after` for the next page; null at the end.
    pub next: Option<&'a str>,
    pub revision: u64,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct OrderPage<'a> {
    pub orders: Vec<Order<'a>>,
    /// Give it as `after` for the next page; null at the end.
    pub next: Option<&'a str>,
    pub revision: u64,
}

#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(untagged)]
enum NumberView<'a> {
    Number(i64),
    Text(&'a str),
}

impl<'a> From<&'a SeatNumber> for NumberView<'a> {
    fn from(number: &'a SeatNumber) -> Self {
        match number {
            SeatNumber::Number(number) => Self::Number(*number),
            SeatNumber::Text(text) => Self::Text(text),
        }
    }
}

/// A seat as the public sees it.
#[derive(Debug, Serialize, ToSchema)]
pub struct SeatRow<'a> {
    #[schema(value_type = Name)]
    id: &'a str,
    #[schema(value_type = StatusSchema)]
    status: Status,
    section: Option<&'a str>,
    row: Option<&'a str>,
    #[schema(value_type = Option<NumberView>)]
    number: Option<NumberView<'a>>,
    category: Option<&'a str>,
    x: Option<f64>,
    y: Option<f64>,
}

impl<'a> SeatRow<'a> {
    pub fn new(seat: &'a SeatDef, status: SeatStatus) -> Self {
        Self {
            id: seat.id.as_str(),
            status: Status(status),
            section: seat.section.as_deref(),
            row: seat.row.as_deref(),
            number: seat.number.as_ref().map(NumberView::from),
            category: seat.category.as_deref(),
            x: seat.x.map(place),
            y: seat.y.map(place),
        }
    }

    pub fn id(&self) -> &'a str {
        self.id
    }
}

fn place(coordinate: Coordinate) -> f64 {
    f64::from_bits(coordinate.0)
}

/// A list of seats at one version.
#[derive(Debug, Serialize, ToSchema)]
pub struct SeatPage<'a> {
    pub version: u64,
    pub revision: u64,
    pub seats: Vec<SeatRow<'a>>,
    /// Give it as `after` for the next page; null at the end.
    pub next: Option<&'a str>,
}

/// Who has a seat, as the box office sees it. Written together with its [`SeatRow`].
#[derive(Debug, Serialize, ToSchema)]
pub struct SeatOwner<'a> {
    #[schema(value_type = Option<Name>)]
    token: Option<&'a str>,
    #[schema(value_type = Option<Name>)]
    order: Option<&'a str>,
    #[schema(value_type = Option<Name>)]
    customer: Option<&'a str>,
    revision: u64,
}

impl<'a> SeatOwner<'a> {
    pub fn at(seat: &'a SeatView, revision: u64) -> Self {
        Self {
            token: seat.token.as_ref().map(|t| t.as_str()),
            order: seat.order.as_ref().map(|o| o.as_str()),
            customer: seat.customer.as_ref().map(|c| c.as_str()),
            revision,
        }
    }
}

/// Numbers of a pool, or of an event's seats and pools together.
#[derive(Debug, Serialize, ToSchema)]
pub struct Counts {
    capacity: u64,
    held: u64,
    booked: u64,
    blocked: u64,
    available: u64,
}

impl From<&PoolCounts> for Counts {
    fn from(counts: &PoolCounts) -> Self {
        Self {
            capacity: counts.capacity,
            held: counts.held,
            booked: counts.booked,
            blocked: counts.blocked,
            available: counts.available(),
        }
    }
}

/// Counts recomputed from the records of holds and orders, seats and pools together.
#[derive(Debug, Serialize, ToSchema)]
pub struct Audit<'a> {
    version: u64,
    revision: u64,
    capacity: u64,
    held: u64,
    booked: u64,
    blocked: u64,
    available: u64,
    orders: u64,
    /// Units sold more than once, or beyond the capacity: 0.
    oversold: u64,
    /// Sentences; empty when every invariant holds.
    violations: &'a [String],
    #[schema(value_type = std::collections::BTreeMap<String, Counts>)]
    pools: PoolMap<'a>,
}

#[derive(Debug)]
struct PoolMap<'a>(&'a [(PoolId, PoolCounts)]);

impl Serialize for PoolMap<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (pool, counts) in self.0 {
            map.serialize_entry(pool.as_str(), &Counts::from(counts))?;
        }
        map.end()
    }
}

impl<'a> From<&'a AuditReport> for Audit<'a> {
    fn from(report: &'a AuditReport) -> Self {
        Self {
            version: report.version.0,
            revision: report.revision.0,
            capacity: report.capacity,
            held: report.held,
            booked: report.booked,
            blocked: report.blocked,
            available: report.available,
            orders: report.orders,
            oversold: report.oversold,
            violations: &report.violations,
            pools: PoolMap(&report.pools),
        }
    }
}

/// One thing that stands in the way.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Conflict)]
#[serde(untagged)]
pub enum ConflictView<'a> {
    #[schema(title = "SeatConflict")]
    Seat {
        #[schema(value_type = Name)]
        seat: &'a str,
        #[schema(value_type = StatusSchema)]
        status: Status,
    },
    #[schema(title = "UnknownSeat")]
    NoSeat {
        #[schema(value_type = Name)]
        seat: &'a str,
    },
    #[schema(title = "UnknownPool")]
    NoPool {
        #[schema(value_type = Name)]
        pool: &'a str,
    },
    #[schema(title = "PoolConflict")]
    Pool {
        #[schema(value_type = Name)]
        pool: &'a str,
        available: u64,
        requested: u64,
    },
    #[schema(title = "BestConflict")]
    Best { available: u64, requested: u64 },
}

impl<'a> From<&'a Conflict> for ConflictView<'a> {
    fn from(conflict: &'a Conflict) -> Self {
        match conflict {
            Conflict::Seat { seat, status } => Self::Seat { seat: seat.as_str(), status: Status(*status) },
            Conflict::NoSeat { seat } => Self::NoSeat { seat: seat.as_str() },
            Conflict::NoPool { pool } => Self::NoPool { pool: pool.as_str() },
            Conflict::Pool { pool, available, requested } => {
                Self::Pool { pool: pool.as_str(), available: *available, requested: *requested }
            }
            Conflict::Best { available, requested } => Self::Best { available: *available, requested: *requested },
        }
    }
}
