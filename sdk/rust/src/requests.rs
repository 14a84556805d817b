//! Bodies of commands.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::types::{HoldPolicy, Item, Limits, PoolDefinition, SeatDefinition};

/// Free → held. By name, or the best that is free.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Reserve {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<Item>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub best: Option<Best>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    /// Adds to this live hold instead of making one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// The best seats that are free, chosen by the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Best {
    pub quantity: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub section: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    pub contiguous: bool,
}

impl Reserve {
    pub fn items(items: impl IntoIterator<Item = Item>) -> Self {
        Self { items: Some(items.into_iter().collect()), ..Self::default() }
    }

    pub fn seats<S: Into<String>>(seats: impl IntoIterator<Item = S>) -> Self {
        Self::items(seats.into_iter().map(Item::seat))
    }

    pub fn pool(pool: impl Into<String>, quantity: u64) -> Self {
        Self::items([Item::pool(pool, quantity)])
    }

    /// That many seats side by side.
    pub fn best(quantity: u64) -> Self {
        let best = Best { quantity, section: None, category: None, contiguous: true };
        Self { best: Some(best), ..Self::default() }
    }

    /// With [`Reserve::best`]: side by side if possible, else any.
    #[must_use]
    pub fn scattered(mut self) -> Self {
        if let Some(best) = &mut self.best {
            best.contiguous = false;
        }
        self
    }

    #[must_use]
    pub fn customer(mut self, customer: impl Into<String>) -> Self {
        self.customer = Some(customer.into());
        self
    }

    #[must_use]
    pub fn ttl_ms(mut self, ttl_ms: u64) -> Self {
        self.ttl_ms = Some(ttl_ms);
        self
    }
}

/// Held, or free, → booked.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Book {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    pub order: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<Item>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer: Option<String>,
    /// With a subset of a hold: `keep` (default) or `release` the rest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rest: Option<String>,
    /// `reject` (default), or `rebook`: if the hold lapsed but its items are free again, book them all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_expired: Option<String>,
}

impl Book {
    /// All that the hold has.
    pub fn hold(token: impl Into<String>, order: impl Into<String>) -> Self {
        Self { token: Some(token.into()), order: order.into(), ..Self::default() }
    }

    /// Free items, without a hold before.
    pub fn direct(items: impl IntoIterator<Item = Item>, order: impl Into<String>) -> Self {
        Self { items: Some(items.into_iter().collect()), order: order.into(), ..Self::default() }
    }

    #[must_use]
    pub fn rebook_if_expired(mut self) -> Self {
        self.on_expired = Some("rebook".into());
        self
    }
}

/// An event as its organiser defines it. Unknown fields are refused.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventDefinition {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_sale: Option<bool>,
    #[serde(default)]
    pub seats: Vec<SeatDefinition>,
    #[serde(default)]
    pub pools: Vec<PoolDefinition>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<HoldPolicy>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// A change of an event that leaves its seats alone. What is `None` stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct EventPatch {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_sale: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<HoldPolicy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pools: Vec<PoolPatch>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PoolPatch {
    pub id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Several commands in one call. Each command is its body with `event` and `op` beside it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Batch {
    pub atomic: bool,
    pub commands: Vec<Value>,
}

impl Batch {
    /// All applied or none.
    pub fn atomic() -> Self {
        Self { atomic: true, commands: Vec::new() }
    }

    /// Each decided by itself. An unknown may be partly applied; sending it again with its key completes it.
    pub fn independent() -> Self {
        Self::default()
    }

    /// Adds a command, e.g. `push("hamlet", "reserve", &Reserve::best(2))`.
    #[must_use]
    pub fn push(mut self, event: &str, op: &str, body: &impl Serialize) -> Self {
        let mut command = serde_json::to_value(body).unwrap_or_default();
        if let Some(fields) = command.as_object_mut() {
            fields.insert("event".into(), event.into());
            fields.insert("op".into(), op.into());
        }
        self.commands.push(command);
        self
    }
}

/// A node to form a cluster with, or to add to one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NewNode {
    pub id: u64,
    /// URL that clients reach it at.
    pub api: String,
    /// `host:port` that the other nodes reach it at.
    pub peer: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
}
