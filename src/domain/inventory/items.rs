//! Lists of items: adding up, taking away, and collecting all that stands in the way.

use std::collections::BTreeMap;

use super::event::Event;
use crate::domain::id::{PoolId, SeatId};
use crate::domain::outcome::{Code, Conflict, Facts, Rejection};
use crate::domain::value::{Item, SeatStatus, Version};

/// Units of an item.
pub(super) fn units_of(item: &Item) -> u64 {
    match item {
        Item::Seat(_) => 1,
        Item::Pool { quantity, .. } => *quantity,
    }
}

/// Units of all items together.
pub(super) fn units(items: &[Item]) -> u64 {
    items.iter().map(units_of).fold(0, u64::saturating_add)
}

/// `base` with `more` added: lines of the same pool become one, at the place of the first.
pub(super) fn merged(base: &[Item], more: &[Item]) -> Vec<Item> {
    if base.len() + more.len() == 1 {
        return base.iter().chain(more).cloned().collect();
    }
    let mut all: Vec<Item> = Vec::with_capacity(base.len() + more.len());
    let mut pools: BTreeMap<&PoolId, usize> = BTreeMap::new();
    for item in base.iter().chain(more) {
        let Item::Pool { pool, quantity } = item else {
            all.push(item.clone());
            continue;
        };
        if let Some(at) = pools.get(pool) {
            if let Item::Pool { quantity: sum, .. } = &mut all[*at] {
                *sum = sum.saturating_add(*quantity);
            }
        } else {
            pools.insert(pool, all.len());
            all.push(item.clone());
        }
    }
    all
}

/// Whether both name the same items, in any order. Both are merged.
pub(super) fn same(a: &[Item], b: &[Item]) -> bool {
    let sorted = |items: &[Item]| {
        let mut items = items.to_vec();
        items.sort_unstable();
        items
    };
    a.len() == b.len() && sorted(a) == sorted(b)
}

/// What an owner has, for taking away from it.
struct Owned<'a> {
    seats: BTreeMap<&'a SeatId, ()>,
    pools: BTreeMap<&'a PoolId, u64>,
}

fn owned_by(items: &[Item]) -> Owned<'_> {
    let mut owned = Owned { seats: BTreeMap::new(), pools: BTreeMap::new() };
    for item in items {
        match item {
            Item::Seat(seat) => {
                owned.seats.insert(seat, ());
            }
            Item::Pool { pool, quantity } => *owned.pools.entry(pool).or_default() += quantity,
        }
    }
    owned
}

/// `owned` without `taken`, which is part of it.
pub(super) fn without(owned: &[Item], taken: &[Item]) -> Vec<Item> {
    let taken = owned_by(taken);
    let left = |item: &Item| match item {
        Item::Seat(seat) => (!taken.seats.contains_key(seat)).then(|| item.clone()),
        Item::Pool { pool, quantity } => {
            let left = quantity.saturating_sub(taken.pools.get(pool).copied().unwrap_or(0));
            (left > 0).then(|| Item::Pool { pool: pool.clone(), quantity: left })
        }
    };
    owned.iter().filter_map(left).collect()
}

/// Most conflicts that one rejection lists; as many as one sale command may name items.
pub(super) const CONFLICTS_MAX: usize = 1_000;

/// Everything that stands in the way of one command. The code is the top-most that applies; the conflicts stand in the
/// order of the request.
///
/// At most [`CONFLICTS_MAX`] are listed: a definition can fail by every one of 100,000 seats, and the answer is remembered.
#[derive(Debug, Default)]
pub(super) struct Failures {
    code: Option<Code>,
    conflicts: Vec<Conflict>,
    /// Conflicts found and not listed.
    unlisted: u64,
    facts: Facts,
}

impl Failures {
    pub(super) fn add(&mut self, code: Code) {
        self.code = Some(self.code.map_or(code, |top| top.min(code)));
    }

    pub(super) fn invalid(&mut self, reason: impl Into<String>) {
        self.add(Code::Invalid);
        self.facts.reason.get_or_insert(reason.into());
    }

    pub(super) fn conflict(&mut self, code: Code, conflict: Conflict) {
        self.add(code);
        if self.conflicts.len() < CONFLICTS_MAX {
            self.conflicts.push(conflict);
        } else {
            self.unlisted += 1;
        }
    }

    pub(super) fn definition_moved(&mut self, now: Version) {
        self.add(Code::DefinitionMoved);
        self.facts.definition_version = Some(now);
    }

    pub(super) fn limit(&mut self, limit: u64, current: u64) {
        self.add(Code::LimitExceeded);
        self.facts.limit = Some((limit, current));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.code.is_none()
    }

    /// The rejection, if anything failed.
    pub(super) fn finish(mut self) -> Result<(), Rejection> {
        let Some(code) = self.code else { return Ok(()) };
        if code != Code::LimitExceeded {
            self.facts.limit = None;
        }
        if code != Code::DefinitionMoved {
            self.facts.definition_version = None;
        }
        if self.unlisted > 0 {
            let all = self.conflicts.len() as u64 + self.unlisted;
            let reason = format!("{all} items stand in the way; the first {CONFLICTS_MAX} are listed");
            self.facts.reason.get_or_insert(reason);
        }
        Err(Rejection { code, conflicts: self.conflicts, facts: self.facts })
    }

    pub(super) fn seat_in(&mut self, seat: &SeatId, status: SeatStatus) {
        let code = match status {
            SeatStatus::Booked => Code::SeatBooked,
            SeatStatus::Held => Code::SeatHeld,
            SeatStatus::Blocked => Code::SeatBlocked,
            SeatStatus::Free | SeatStatus::Removed => Code::NotBlocked,
        };
        self.conflict(code, Conflict::Seat { seat: seat.clone(), status });
    }

    fn no_seat(&mut self, code: Code, seat: &SeatId) {
        self.conflict(code, Conflict::NoSeat { seat: seat.clone() });
    }

    fn no_pool(&mut self, code: Code, pool: &PoolId) {
        self.conflict(code, Conflict::NoPool { pool: pool.clone() });
    }

    fn too_few(&mut self, code: Code, pool: &PoolId, available: u64, requested: u64) {
        self.conflict(code, Conflict::Pool { pool: pool.clone(), available, requested });
    }

    /// Every seat must be free, every pool must have room.
    pub(super) fn want_free(&mut self, event: &Event, items: &[Item]) {
        for item in items {
            match item {
                Item::Seat(seat) => match event.seat_at(seat).map(|at| event.core.seat_state(at).status()) {
                    None => self.no_seat(Code::SeatNotFound, seat),
                    Some(SeatStatus::Free) => {}
                    Some(status) => self.seat_in(seat, status),
                },
                Item::Pool { pool, quantity } => match event.pool_at(pool).map(|at| event.core.pool_count(at)) {
                    None => self.no_pool(Code::PoolNotFound, pool),
                    Some(counts) if counts.available() >= *quantity => {}
                    Some(counts) => self.too_few(Code::Insufficient, pool, counts.available(), *quantity),
                },
            }
        }
    }

    /// Every seat must be blocked, every pool must have that many blocked.
    pub(super) fn want_blocked(&mut self, event: &Event, items: &[Item]) {
        for item in items {
            match item {
                Item::Seat(seat) => match event.seat_at(seat).map(|at| event.core.seat_state(at).status()) {
                    None => self.no_seat(Code::SeatNotFound, seat),
                    Some(SeatStatus::Blocked) => {}
                    Some(status) => {
                        self.conflict(Code::NotBlocked, Conflict::Seat { seat: seat.clone(), status });
                    }
                },
                Item::Pool { pool, quantity } => match event.pool_at(pool).map(|at| event.core.pool_count(at)) {
                    None => self.no_pool(Code::PoolNotFound, pool),
                    Some(counts) if counts.blocked >= *quantity => {}
                    Some(counts) => self.too_few(Code::NotBlocked, pool, counts.blocked, *quantity),
                },
            }
        }
    }

    /// Every item must be there, and be among `owned`; `code` says who does not own it. Without an owner, only that it is
    /// there.
    pub(super) fn want_owned(&mut self, event: &Event, owned: Option<&[Item]>, items: &[Item], code: Code) {
        let owned = owned.map(owned_by);
        for item in items {
            match item {
                Item::Seat(seat) => {
                    if event.seat_at(seat).is_none() {
                        self.no_seat(Code::SeatNotFound, seat);
                    } else if owned.as_ref().is_some_and(|o| !o.seats.contains_key(seat)) {
                        self.no_seat(code, seat);
                    }
                }
                Item::Pool { pool, quantity } => {
                    let has = owned.as_ref().map(|o| o.pools.get(pool).copied());
                    match (event.pool_at(pool), has) {
                        (None, _) => self.no_pool(Code::PoolNotFound, pool),
                        (Some(_), Some(None)) => self.no_pool(code, pool),
                        (Some(_), Some(Some(has))) if has < *quantity => self.too_few(code, pool, has, *quantity),
                        (Some(_), _) => {}
                    }
                }
            }
        }
    }
}
