//! What the server answers, as values. Unknown fields are ignored, so that an older client reads a newer server.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A seat, or a pool with a quantity.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Item {
    Seat {
        seat: String,
    },
    Pool {
        pool: String,
        #[serde(default = "one")]
        quantity: u64,
    },
}

fn one() -> u64 {
    1
}

impl Item {
    pub fn seat(id: impl Into<String>) -> Self {
        Item::Seat { seat: id.into() }
    }

    pub fn pool(id: impl Into<String>, quantity: u64) -> Self {
        Item::Pool { pool: id.into(), quantity }
    }

    /// Units of the item: 1 for a seat.
    pub fn units(&self) -> u64 {
        match self {
            Item::Seat { .. } => 1,
            Item::Pool { quantity, .. } => *quantity,
        }
    }
}

/// A temporary claim on items. Who has the token has the hold.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    pub token: String,
    pub event: String,
    pub items: Vec<Item>,
    pub customer: Option<String>,
    /// RFC 3339, UTC.
    pub expires_at: String,
    #[serde(default)]
    pub expires_in_ms: i64,
    pub created_at: String,
    #[serde(default)]
    pub revision: Option<u64>,
    #[serde(default)]
    pub version: Option<u64>,
}

/// Without the token: it is a secret, and debug output ends in logs.
impl std::fmt::Debug for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hold")
            .field("token", &"…")
            .field("event", &self.event)
            .field("items", &self.items)
            .field("customer", &self.customer)
            .field("expires_at", &self.expires_at)
            .field("revision", &self.revision)
            .finish_non_exhaustive()
    }
}

/// A finished sale.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    pub order: String,
    pub event: String,
    pub items: Vec<Item>,
    pub customer: Option<String>,
    pub booked_at: String,
    #[serde(default)]
    pub revision: Option<u64>,
    #[serde(default)]
    pub version: Option<u64>,
}

macro_rules! item_answer {
    ($(#[$doc:meta])* $name:ident, $field:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        pub struct $name {
            #[serde(default)]
            pub $field: Vec<Item>,
            #[serde(default)]
            pub revision: Option<u64>,
            #[serde(default)]
            pub version: Option<u64>,
        }
    };
}

item_answer!(
    /// What a release gave back.
    Released,
    released
);
item_answer!(
    /// What a cancel gave back.
    Cancelled,
    cancelled
);
item_answer!(
    /// Answer to block and unblock.
    Blocked,
    items
);

/// Answer to a delete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deleted {
    #[serde(default)]
    pub revision: Option<u64>,
    #[serde(default)]
    pub version: Option<u64>,
}

/// One result for each command of a batch, in order: `status` beside the command's body or problem.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BatchResults {
    pub results: Vec<Value>,
    #[serde(default)]
    pub revision: Option<u64>,
}

/// An event with its numbers, without its list of seats.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    pub event: String,
    pub name: String,
    pub on_sale: bool,
    pub version: u64,
    pub revision: u64,
    #[serde(default)]
    pub seats: SeatCounts,
    #[serde(default)]
    pub pools: Vec<Pool>,
    #[serde(default)]
    pub hold: EventHold,
    #[serde(default)]
    pub limits: EventLimits,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub definition_version: u64,
    #[serde(default)]
    pub group: Value,
    #[serde(default)]
    pub created_at: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SeatCounts {
    pub total: u64,
    pub free: u64,
    pub held: u64,
    pub booked: u64,
    pub blocked: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pool {
    pub id: String,
    pub name: Option<String>,
    pub category: Option<String>,
    pub capacity: u64,
    pub held: u64,
    pub booked: u64,
    pub blocked: u64,
    pub available: u64,
}

/// How long holds of an event live, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EventHold {
    pub ttl_ms: u64,
    pub max_ttl_ms: u64,
}

/// What one customer of an event may have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EventLimits {
    pub per_customer: Option<u64>,
}

/// How long holds shall live, in a definition. What is left out is the server's default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HoldPolicy {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_ttl_ms: Option<u64>,
}

/// What one customer may have, in a definition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Most units, held and booked together, of one customer in the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_customer: Option<u64>,
}

/// What stands on the seat: a number, or a text such as `12a`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SeatNumber {
    Number(i64),
    Text(String),
}

/// One seat of a definition.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeatDefinition {
    pub id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<SeatNumber>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub x: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub y: Option<f64>,
}

/// One pool of a definition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolDefinition {
    pub id: String,
    pub capacity: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// A seat as it is. Who has it only where one seat was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Seat {
    pub id: String,
    pub status: String,
    #[serde(default)]
    pub section: Option<String>,
    #[serde(default)]
    pub row: Option<String>,
    #[serde(default)]
    pub number: Option<SeatNumber>,
    #[serde(default)]
    pub category: Option<String>,
    #[serde(default)]
    pub x: Option<f64>,
    #[serde(default)]
    pub y: Option<f64>,
    #[serde(default)]
    pub token: Option<String>,
    #[serde(default)]
    pub order: Option<String>,
    #[serde(default)]
    pub customer: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeatPage {
    pub version: u64,
    pub seats: Vec<Seat>,
    #[serde(default)]
    pub next: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventPage {
    pub events: Vec<EventSummary>,
    #[serde(default)]
    pub next: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventSummary {
    pub event: String,
    pub name: String,
    pub on_sale: bool,
    pub version: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OrderPage {
    pub orders: Vec<Order>,
    #[serde(default)]
    pub next: Option<String>,
}

/// Counts recomputed from the records, seats and pools together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Audit {
    pub version: u64,
    pub capacity: u64,
    pub held: u64,
    pub booked: u64,
    pub blocked: u64,
    pub available: u64,
    pub orders: u64,
    /// Units sold beyond capacity. Always 0, or lastseat broke its promise.
    pub oversold: u64,
    pub violations: Vec<Value>,
    #[serde(default)]
    pub pools: Value,
}

/// The recorded answer of a key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordedOutcome {
    pub status: u16,
    pub body: Value,
    pub decided_at: String,
}

/// Answer to a void. `voided: false`: it had been decided before, with this status and body.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Voided {
    pub voided: bool,
    #[serde(default)]
    pub status: Option<u16>,
    #[serde(default)]
    pub body: Option<Value>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateHash {
    pub node: u64,
    pub log_index: u64,
    pub revision: u64,
    pub hash: String,
}

/// The cluster as the asked node sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cluster {
    #[serde(default)]
    pub cluster_id: Option<String>,
    #[serde(default)]
    pub leader: Option<u64>,
    #[serde(default)]
    pub term: Option<u64>,
    #[serde(default)]
    pub revision: Option<u64>,
    #[serde(default)]
    pub nodes: Vec<NodeInfo>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeInfo {
    pub id: u64,
    #[serde(default)]
    pub api: String,
    #[serde(default)]
    pub peer: String,
    #[serde(default)]
    pub region: Option<String>,
    #[serde(default)]
    pub role: String,
    #[serde(default)]
    pub reachable: Option<bool>,
    #[serde(default)]
    pub log_lag: Option<u64>,
    #[serde(default)]
    pub clock_skew_ms: Option<i64>,
    #[serde(default)]
    pub version: Option<String>,
}
