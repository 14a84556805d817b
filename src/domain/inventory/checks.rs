//! Checks that need no state. The edge runs them before a request gets a key; `apply` runs them again, for safety.

use std::collections::BTreeSet;

use super::hash::FixedIndex;
use crate::domain::command::{Patch, SaleCommand, SaleOp, Want};
use crate::domain::id::SeatId;
use crate::domain::outcome::{Code, Rejection};
use crate::domain::value::{EventHead, HoldPolicy, Item, PoolDef, SeatDef, SeatNumber, Text};

/// Most items in one command.
pub const ITEMS_MAX: usize = 1_000;
/// Most commands in an atomic batch.
pub const ATOMIC_COMMANDS_MAX: usize = 1_000;
/// Most seats of one event.
pub const SEATS_MAX: usize = 16_000_000;
/// Most pools of one event.
pub const POOLS_MAX: usize = 10_000;
/// Largest capacity of a pool, and largest quantity; sums of them stay far from the end of 64 bits.
pub const UNITS_MAX: u64 = 1_000_000_000_000;
/// Longest name of an event, and longest reason of a block, in bytes.
pub const TEXT_BYTES_MAX: usize = 1_024;
/// Longest text of a seat or a pool (section, row, number, category, name), in bytes: 256 seats make one record.
pub const SEAT_TEXT_BYTES_MAX: usize = 256;
/// Longest labels of an event, all together, in bytes.
pub const LABELS_BYTES_MAX: usize = 64 << 10;
/// Longest time to live of a hold: ten years.
pub const TTL_MS_MAX: u64 = 10 * 366 * 86_400_000;

/// Checks that need no state: quantities, empty items, the same seat twice, ids of a batch. What fails here is
/// `invalid` or `duplicate_item`, before the key is looked up, and is never recorded.
pub fn check_sale(command: &SaleCommand) -> Result<(), Rejection> {
    match &command.op {
        SaleOp::Reserve { want, customer: _, ttl_ms, add_to } => {
            if ttl_ms.is_some() && add_to.is_some() {
                return Err(Rejection::invalid("adding to a hold does not move its end: leave out ttl_ms, or extend"));
            }
            ttl_ms.map_or(Ok(()), check_ttl)?;
            // Last, because `duplicate_item` stands below every `invalid`.
            check_want(want)
        }
        SaleOp::Extend { token: _, ttl_ms } => check_ttl(*ttl_ms),
        SaleOp::BookHold { items, .. } | SaleOp::Release { items, .. } | SaleOp::Cancel { items, .. } => {
            items.as_deref().map_or(Ok(()), check_items)
        }
        SaleOp::BookDirect { items, .. } => check_items(items),
        SaleOp::Block { items, reason } | SaleOp::Unblock { items, reason } => {
            check_text("reason", reason.as_deref(), TEXT_BYTES_MAX)?;
            check_items(items)
        }
    }
}

fn check_want(want: &Want) -> Result<(), Rejection> {
    match want {
        Want::Items(items) => check_items(items),
        Want::Best { quantity, .. } if *quantity == 0 => Err(Rejection::invalid("quantity is 0; ask for 1 or more")),
        Want::Best { quantity, .. } if *quantity > ITEMS_MAX as u64 => {
            Err(Rejection::invalid(format!("quantity is {quantity}; at most {ITEMS_MAX} seats at a time")))
        }
        Want::Best { .. } => Ok(()),
    }
}

fn check_ttl(ttl_ms: u64) -> Result<(), Rejection> {
    match ttl_ms {
        0 => Err(Rejection::invalid("ttl_ms is 0; give 1 or more")),
        1..=TTL_MS_MAX => Ok(()),
        _ => Err(Rejection::invalid(format!("ttl_ms is {ttl_ms}; at most {TTL_MS_MAX} is possible"))),
    }
}

fn check_items(items: &[Item]) -> Result<(), Rejection> {
    if items.is_empty() {
        return Err(Rejection::invalid("items is empty; name at least one"));
    }
    if items.len() > ITEMS_MAX {
        return Err(Rejection::invalid(format!("{} items; at most {ITEMS_MAX} in one command", items.len())));
    }
    for item in items {
        match item {
            Item::Pool { pool, quantity: 0 } => {
                return Err(Rejection::invalid(format!("quantity of pool {pool} is 0; ask for 1 or more")));
            }
            Item::Pool { pool, quantity } if *quantity > UNITS_MAX => {
                return Err(Rejection::invalid(format!("quantity of pool {pool} is over {UNITS_MAX}")));
            }
            Item::Pool { .. } | Item::Seat(_) => {}
        }
    }
    check_seats_once(items)
}

fn check_seats_once(items: &[Item]) -> Result<(), Rejection> {
    if items.len() == 1 {
        return Ok(());
    }
    let mut seen: BTreeSet<&SeatId> = BTreeSet::new();
    for item in items {
        match item {
            Item::Seat(seat) if !seen.insert(seat) => return Err(duplicate("seat", seat.as_str())),
            Item::Seat(_) | Item::Pool { .. } => {}
        }
    }
    Ok(())
}

fn check_text(what: &str, text: Option<&str>, bytes_max: usize) -> Result<(), Rejection> {
    match text {
        Some(text) if text.len() > bytes_max => {
            Err(Rejection::invalid(format!("{what} has {} bytes; at most {bytes_max} are allowed", text.len())))
        }
        Some(_) | None => Ok(()),
    }
}

fn check_name(name: &str) -> Result<(), Rejection> {
    if name.is_empty() {
        return Err(Rejection::invalid("the name of the event is empty; give one that people can read"));
    }
    check_text("name", Some(name), TEXT_BYTES_MAX)
}

pub(super) fn check_policy(policy: HoldPolicy) -> Result<(), Rejection> {
    check_ttl(policy.ttl_ms)?;
    check_ttl(policy.max_ttl_ms)?;
    if policy.ttl_ms > policy.max_ttl_ms {
        let HoldPolicy { ttl_ms, max_ttl_ms } = policy;
        return Err(Rejection::invalid(format!("hold.ttl_ms is {ttl_ms}, above hold.max_ttl_ms {max_ttl_ms}")));
    }
    Ok(())
}

fn check_labels(labels: &std::collections::BTreeMap<String, String>) -> Result<(), Rejection> {
    let bytes: usize = labels.iter().map(|(k, v)| k.len() + v.len()).sum();
    if bytes > LABELS_BYTES_MAX {
        return Err(Rejection::invalid(format!("labels have {bytes} bytes; at most {LABELS_BYTES_MAX} are allowed")));
    }
    Ok(())
}

fn duplicate(what: &str, id: &str) -> Rejection {
    let mut rejection = Rejection::new(Code::DuplicateItem);
    rejection.facts.reason = Some(format!("{what} {id} is named twice"));
    rejection
}

fn as_str(text: Option<&Text>) -> Option<&str> {
    text.map(|text| &**text)
}

/// The same for a definition: duplicate seats or pools, capacities, hold policy.
pub fn check_definition(head: &EventHead, seats: &[SeatDef], pools: &[PoolDef]) -> Result<(), Rejection> {
    indexes_of_definition(head, seats, pools).map(drop)
}

/// The same, and the indexes of its seats and pools, which were needed to find what is there twice.
pub(super) fn indexes_of_definition(
    head: &EventHead,
    seats: &[SeatDef],
    pools: &[PoolDef],
) -> Result<(FixedIndex, FixedIndex), Rejection> {
    check_name(&head.name)?;
    check_policy(head.hold)?;
    check_labels(&head.labels)?;
    if seats.len() > SEATS_MAX || pools.len() > POOLS_MAX {
        let (seats, pools) = (seats.len(), pools.len());
        let reason = format!("{seats} seats and {pools} pools; at most {SEATS_MAX} and {POOLS_MAX} in one event");
        return Err(Rejection::invalid(reason));
    }
    for seat in seats {
        check_seat(seat)?;
    }
    for pool in pools {
        check_capacity(pool.id.as_str(), pool.capacity)?;
        check_text("category of a pool", as_str(pool.category.as_ref()), SEAT_TEXT_BYTES_MAX)?;
        check_text("name of a pool", as_str(pool.name.as_ref()), SEAT_TEXT_BYTES_MAX)?;
    }
    let seat_index = FixedIndex::new(seats.iter().map(|seat| seat.id.as_str()));
    if let Some(at) = seat_index.first_duplicate(|at| seats[at].id.as_str()) {
        return Err(duplicate("seat", seats[at].id.as_str()));
    }
    let pool_index = FixedIndex::new(pools.iter().map(|pool| pool.id.as_str()));
    match pool_index.first_duplicate(|at| pools[at].id.as_str()) {
        Some(at) => Err(duplicate("pool", pools[at].id.as_str())),
        None => Ok((seat_index, pool_index)),
    }
}

fn check_seat(seat: &SeatDef) -> Result<(), Rejection> {
    check_text("section of a seat", as_str(seat.section.as_ref()), SEAT_TEXT_BYTES_MAX)?;
    check_text("row of a seat", as_str(seat.row.as_ref()), SEAT_TEXT_BYTES_MAX)?;
    check_text("category of a seat", as_str(seat.category.as_ref()), SEAT_TEXT_BYTES_MAX)?;
    match &seat.number {
        Some(SeatNumber::Text(text)) => check_text("number of a seat", Some(text), SEAT_TEXT_BYTES_MAX),
        Some(SeatNumber::Number(_)) | None => Ok(()),
    }
}

fn check_capacity(pool: &str, capacity: u64) -> Result<(), Rejection> {
    if capacity > UNITS_MAX {
        return Err(Rejection::invalid(format!("capacity of pool {pool} is {capacity}; at most {UNITS_MAX}")));
    }
    Ok(())
}

/// The same for a patch.
pub fn check_patch(patch: &Patch) -> Result<(), Rejection> {
    patch.name.as_ref().map_or(Ok(()), |name| check_name(name))?;
    if let Some(hold) = patch.hold {
        hold.ttl_ms.map_or(Ok(()), check_ttl)?;
        hold.max_ttl_ms.map_or(Ok(()), check_ttl)?;
    }
    patch.labels.as_ref().map_or(Ok(()), check_labels)?;
    for pool in &patch.pools {
        check_capacity(pool.id.as_str(), pool.capacity.unwrap_or(0))?;
        check_text("category of a pool", as_str(pool.category.as_ref()), SEAT_TEXT_BYTES_MAX)?;
        check_text("name of a pool", as_str(pool.name.as_ref()), SEAT_TEXT_BYTES_MAX)?;
    }
    let mut seen = BTreeSet::new();
    match patch.pools.iter().find(|pool| !seen.insert(&pool.id)) {
        Some(pool) => Err(duplicate("pool", pool.id.as_str())),
        None => Ok(()),
    }
}
