//! Bodies that define and change an event.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde::Deserialize;
use utoipa::ToSchema;

use super::capped::Capped;
use super::{Name, Str, WireError, exact, json, name, positive, text};
use crate::domain::command::{Command, Contents, Definition, HoldPatch, Patch, PoolPatch};
use crate::domain::id::EventId;
use crate::domain::value::{Coordinate, EventHead, HoldPolicy, Limits, PoolDef, SeatDef, SeatNumber, Text};

/// Most seats of a definition.
pub const SEATS_MAX: usize = 1_000_000;
/// Most pools of a definition: every answer about the event carries them all.
pub const POOLS_MAX: usize = 10_000;
/// Most labels of an event, for the same reason.
pub const LABELS_MAX: usize = 256;

/// An event. Seats keep their order; those of one section and row in that order are neighbours.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EventDefinition<'a> {
    #[serde(borrow)]
    name: Str<'a>,
    /// True if left out.
    on_sale: Option<bool>,
    #[serde(borrow, default)]
    #[schema(value_type = Option<Vec<SeatDefinition>>)]
    seats: Option<Capped<SeatDefinition<'a>, SEATS_MAX>>,
    #[serde(borrow, default)]
    #[schema(value_type = Option<Vec<PoolDefinition>>)]
    pools: Option<Capped<PoolDefinition<'a>, POOLS_MAX>>,
    hold: Option<WireHold>,
    limits: Option<WireLimits>,
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SeatDefinition<'a> {
    #[serde(borrow)]
    id: Name<'a>,
    #[serde(borrow, default)]
    section: Option<Str<'a>>,
    #[serde(borrow, default)]
    row: Option<Str<'a>>,
    #[serde(borrow, default)]
    number: Option<WireSeatNumber<'a>>,
    #[serde(borrow, default)]
    category: Option<Str<'a>>,
    x: Option<f64>,
    y: Option<f64>,
}

/// A number, or a text such as `12a`.
#[derive(Debug, ToSchema)]
#[schema(as = SeatNumber)]
#[serde(untagged)]
pub enum WireSeatNumber<'a> {
    Number(i64),
    Text(Str<'a>),
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PoolDefinition<'a> {
    #[serde(borrow)]
    id: Name<'a>,
    capacity: u64,
    #[serde(borrow, default)]
    category: Option<Str<'a>>,
    #[serde(borrow, default)]
    name: Option<Str<'a>>,
}

/// How long holds live; in a change, what is left out stays.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[schema(as = HoldPolicyChange)]
#[serde(deny_unknown_fields)]
pub struct WireHold {
    /// 600,000 if left out of a definition.
    #[schema(minimum = 1)]
    ttl_ms: Option<u64>,
    /// 7,200,000 if left out of a definition.
    #[schema(minimum = 1)]
    max_ttl_ms: Option<u64>,
}

/// What one customer may have. Left out or null: no limit.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[schema(as = LimitsChange)]
#[serde(deny_unknown_fields)]
pub struct WireLimits {
    #[schema(minimum = 1)]
    per_customer: Option<u64>,
}

/// A change of an event that leaves its seats alone: what is left out stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EventChange<'a> {
    #[serde(borrow, default)]
    name: Option<Str<'a>>,
    on_sale: Option<bool>,
    hold: Option<WireHold>,
    limits: Option<WireLimits>,
    labels: Option<BTreeMap<String, String>>,
    /// Only pools that are there; those not named stay as they are.
    #[serde(borrow, default)]
    #[schema(value_type = Option<Vec<PoolChange>>)]
    pools: Option<Capped<PoolChange<'a>, POOLS_MAX>>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PoolChange<'a> {
    #[serde(borrow)]
    id: Name<'a>,
    capacity: Option<u64>,
    #[serde(borrow, default)]
    category: Option<Str<'a>>,
    #[serde(borrow, default)]
    name: Option<Str<'a>>,
}

struct SeatNumberVisitor;

impl<'de> serde::de::Visitor<'de> for SeatNumberVisitor {
    type Value = WireSeatNumber<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a whole number or a string")
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(WireSeatNumber::Number(number))
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Self::Value, E> {
        i64::try_from(number)
            .map(WireSeatNumber::Number)
            .map_err(|_| E::invalid_value(serde::de::Unexpected::Unsigned(number), &self))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(WireSeatNumber::Text(Str(text.into())))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(WireSeatNumber::Text(Str(text.to_owned().into())))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for WireSeatNumber<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SeatNumberVisitor)
    }
}

/// `PUT /v1/events/{event}`.
pub fn define(event: &str, body: &[u8]) -> Result<Command, WireError> {
    let wire: EventDefinition<'_> = json::parse(body)?;
    let event: EventId = name(event, "The event in the path")?;
    let mut texts = Texts::default();
    let hold = HoldPatch::default();
    let head = EventHead {
        name: text(&wire.name.0, "name")?,
        on_sale: wire.on_sale.unwrap_or(true),
        hold: wire.hold.map_or(Ok(hold), WireHold::patch)?.onto(HoldPolicy::default()),
        limits: wire.limits.map_or(Ok(Limits::default()), WireLimits::limits)?,
        labels: labels(wire.labels.unwrap_or_default())?,
    };
    let seats = seats(wire.seats.unwrap_or_default(), &mut texts)?;
    let pools = pools(wire.pools.unwrap_or_default(), &mut texts)?;
    let definition = Box::new(Definition { head, contents: Contents::Inline { seats, pools } });
    Ok(Command::Define { event, definition })
}

/// `PATCH /v1/events/{event}`.
pub fn change(event: &str, body: &[u8]) -> Result<Command, WireError> {
    let wire: EventChange<'_> = json::parse(body)?;
    let event: EventId = name(event, "The event in the path")?;
    let pools = wire.pools.unwrap_or_default();
    check_max(pools.total, POOLS_MAX, "pools")?;
    let pools = pools.kept.iter().enumerate().map(|(at, pool)| {
        Ok(PoolPatch {
            id: name(&pool.id.0, format_args!("pools[{at}].id"))?,
            capacity: pool.capacity.map(|n| exact(n, format_args!("pools[{at}].capacity"))).transpose()?,
            category: pool.category.as_ref().map(|t| text(&t.0, format_args!("pools[{at}].category"))).transpose()?,
            name: pool.name.as_ref().map(|t| text(&t.0, format_args!("pools[{at}].name"))).transpose()?,
        })
    });
    let patch = Patch {
        name: wire.name.as_ref().map(|t| text(&t.0, "name")).transpose()?,
        on_sale: wire.on_sale,
        hold: wire.hold.map(WireHold::patch).transpose()?,
        limits: wire.limits.map(WireLimits::limits).transpose()?,
        labels: wire.labels.map(labels).transpose()?,
        pools: pools.collect::<Result<_, WireError>>()?,
    };
    Ok(Command::Change { event, patch: Box::new(patch) })
}

impl WireHold {
    fn patch(self) -> Result<HoldPatch, WireError> {
        Ok(HoldPatch {
            ttl_ms: self.ttl_ms.map(|n| positive(n, "hold.ttl_ms")).transpose()?,
            max_ttl_ms: self.max_ttl_ms.map(|n| positive(n, "hold.max_ttl_ms")).transpose()?,
        })
    }
}

impl WireLimits {
    fn limits(self) -> Result<Limits, WireError> {
        Ok(Limits { per_customer: self.per_customer.map(|n| positive(n, "limits.per_customer")).transpose()? })
    }
}

fn labels(labels: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, WireError> {
    check_max(labels.len(), LABELS_MAX, "labels")?;
    for (key, value) in &labels {
        text(key, "A label's name")?;
        text(value, format_args!("labels.{key}"))?;
    }
    Ok(labels)
}

fn check_max(total: usize, max: usize, field: &str) -> Result<(), WireError> {
    if total > max {
        return Err(WireError::invalid(format!(
            "{field} has {total} entries; at most {max} are taken: spread them over several events."
        )));
    }
    Ok(())
}

/// Section, row and category names repeat over thousands of seats: each is kept once.
#[derive(Default)]
struct Texts(HashSet<Text>);

impl Texts {
    fn shared(&mut self, wire: Option<&Str<'_>>, field: impl std::fmt::Display) -> Result<Option<Text>, WireError> {
        let Some(wire) = wire else { return Ok(None) };
        if let Some(known) = self.0.get(&*wire.0) {
            return Ok(Some(Arc::clone(known)));
        }
        let new = text(&wire.0, field)?;
        self.0.insert(Arc::clone(&new));
        Ok(Some(new))
    }
}

fn seats(wire: Capped<SeatDefinition<'_>, SEATS_MAX>, texts: &mut Texts) -> Result<Vec<SeatDef>, WireError> {
    check_max(wire.total, SEATS_MAX, "seats")?;
    let seats = wire.kept.iter().enumerate();
    seats
        .map(|(at, seat)| {
            Ok(SeatDef {
                id: name(&seat.id.0, format_args!("seats[{at}].id"))?,
                section: texts.shared(seat.section.as_ref(), format_args!("seats[{at}].section"))?,
                row: texts.shared(seat.row.as_ref(), format_args!("seats[{at}].row"))?,
                number: match &seat.number {
                    None => None,
                    Some(WireSeatNumber::Number(number)) => Some(SeatNumber::Number(*number)),
                    Some(WireSeatNumber::Text(t)) => {
                        let shared = texts.shared(Some(t), format_args!("seats[{at}].number"))?;
                        shared.map(SeatNumber::Text)
                    }
                },
                category: texts.shared(seat.category.as_ref(), format_args!("seats[{at}].category"))?,
                x: seat.x.map(coordinate),
                y: seat.y.map(coordinate),
            })
        })
        .collect()
}

fn pools(wire: Capped<PoolDefinition<'_>, POOLS_MAX>, texts: &mut Texts) -> Result<Vec<PoolDef>, WireError> {
    check_max(wire.total, POOLS_MAX, "pools")?;
    let pools = wire.kept.iter().enumerate();
    pools
        .map(|(at, pool)| {
            Ok(PoolDef {
                id: name(&pool.id.0, format_args!("pools[{at}].id"))?,
                capacity: exact(pool.capacity, format_args!("pools[{at}].capacity"))?,
                category: texts.shared(pool.category.as_ref(), format_args!("pools[{at}].category"))?,
                name: texts.shared(pool.name.as_ref(), format_args!("pools[{at}].name"))?,
            })
        })
        .collect()
}

/// The bits of a finite number; JSON has no others. Equal places have equal bits: there is one zero.
fn coordinate(place: f64) -> Coordinate {
    Coordinate(if place == 0.0 { 0.0_f64.to_bits() } else { place.to_bits() })
}
