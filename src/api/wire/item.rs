//! ITEM: a seat, or a pool with a quantity.

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use utoipa::ToSchema;

use super::{Name, WireError, name, positive};
use crate::domain::value::Item;

/// What an item looks like in a body. Not an untagged enum: that would hide which field is wrong behind "did not match
/// any variant".
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawItem<'a> {
    #[serde(borrow, default)]
    seat: Option<Name<'a>>,
    #[serde(borrow, default)]
    pool: Option<Name<'a>>,
    #[serde(default, deserialize_with = "number")]
    quantity: Option<u64>,
}

/// A quantity that is there is a number: `null` is not "left out".
fn number<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    u64::deserialize(deserializer).map(Some)
}

/// A seat, or a pool with a quantity (1 if left out).
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[schema(as = Item)]
#[serde(untagged, try_from = "RawItem<'_>", bound(deserialize = "'de: 'a"))]
pub enum WireItem<'a> {
    #[schema(title = "SeatItem")]
    Seat { seat: Name<'a> },
    #[schema(title = "PoolItem")]
    Pool {
        pool: Name<'a>,
        #[schema(minimum = 1, default = 1)]
        quantity: u64,
    },
}

impl<'a> TryFrom<RawItem<'a>> for WireItem<'a> {
    type Error = &'static str;

    fn try_from(raw: RawItem<'a>) -> Result<Self, Self::Error> {
        match (raw.seat, raw.pool, raw.quantity) {
            (Some(seat), None, None) => Ok(Self::Seat { seat }),
            (None, Some(pool), quantity) => Ok(Self::Pool { pool, quantity: quantity.unwrap_or(1) }),
            (Some(_), Some(_), _) => Err("an item names a seat or a pool, not both"),
            (Some(_), None, Some(_)) => Err("a seat has no quantity; leave `quantity` out"),
            (None, None, _) => Err("an item needs `seat` or `pool`"),
        }
    }
}

/// Items in order. `field` is the list's own name.
pub fn items(wire: &[WireItem<'_>], field: &str) -> Result<Vec<Item>, WireError> {
    if wire.is_empty() {
        return Err(WireError::invalid(format!("{field} is empty; name at least one seat or pool.")));
    }
    wire.iter()
        .enumerate()
        .map(|(at, item)| match item {
            WireItem::Seat { seat } => Ok(Item::Seat(name(&seat.0, format_args!("{field}[{at}].seat"))?)),
            WireItem::Pool { pool, quantity } => Ok(Item::Pool {
                pool: name(&pool.0, format_args!("{field}[{at}].pool"))?,
                quantity: positive(*quantity, format_args!("{field}[{at}].quantity"))?,
            }),
        })
        .collect()
}

/// The same for a list that may be left out: then it means all of them.
pub fn items_opt(wire: Option<&[WireItem<'_>]>, field: &str) -> Result<Option<Vec<Item>>, WireError> {
    wire.map(|wire| items(wire, field)).transpose()
}

/// Items on their way out.
#[derive(Debug, Clone, Copy)]
pub struct Items<'a>(pub &'a [Item]);

impl Serialize for Items<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(OneItem))
    }
}

struct OneItem<'a>(&'a Item);

impl Serialize for OneItem<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Item::Seat(seat) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("seat", seat.as_str())?;
                map.end()
            }
            Item::Pool { pool, quantity } => {
                let mut map = serializer.serialize_map(Some(2))?;
                map.serialize_entry("pool", pool.as_str())?;
                map.serialize_entry("quantity", quantity)?;
                map.end()
            }
        }
    }
}
