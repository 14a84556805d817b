//! The invariants, checked anew from the records: who owns what, counted from holds and orders, never from counters.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use super::event::{EventCore, EventNo, counted};
use super::hash::FixedIndex;
use super::holds::Hold;
use super::orders::Order;
use super::seats::{SeatOwner, SeatState};
use super::{AuditReport, Frozen};
use crate::domain::id::{EventId, PoolId, SeatId, Token};
use crate::domain::value::{Item, PoolCounts, Revision, SeatCounts, SeatStatus};

/// Sentences kept of one event: one broken invariant can break a hundred thousand seats.
const VIOLATIONS_MAX: usize = 1_000;

/// What one event's records say.
pub(super) struct Auditor<'a> {
    core: &'a EventCore,
    seat_index: FixedIndex,
    pool_index: FixedIndex,
    /// Who claims each seat.
    claims: Vec<SeatState>,
    pools: Vec<PoolCounts>,
    oversold: u64,
    orders: u64,
    violations: Vec<String>,
}

impl<'a> Auditor<'a> {
    pub(super) fn new(core: &'a EventCore) -> Self {
        let counted = |counts: PoolCounts| PoolCounts { held: 0, booked: 0, ..counts };
        Self {
            core,
            seat_index: FixedIndex::new((0..core.seat_total()).map(|at| core.seat_id(at).as_str())),
            pool_index: FixedIndex::new(core.pool_defs().map(|def| def.id.as_str())),
            claims: vec![SeatState::FREE; core.seat_total() as usize],
            pools: core.pools().map(|(_, counts)| counted(counts)).collect(),
            oversold: 0,
            orders: 0,
            violations: Vec::new(),
        }
    }

    fn event(&self) -> &EventId {
        &self.core.info.id
    }

    fn violation(&mut self, what: String) {
        if self.violations.len() < VIOLATIONS_MAX {
            let event = self.event();
            let sentence = format!("event {event}: {what}");
            self.violations.push(sentence);
        }
    }

    fn seat_at(&self, seat: &SeatId) -> Option<u32> {
        self.seat_index.candidates(seat.as_str()).find(|at| self.core.seat_id(*at) == seat)
    }

    fn pool_at(&self, pool: &PoolId) -> Option<u32> {
        self.pool_index.candidates(pool.as_str()).find(|at| self.core.pool_def(*at).id == *pool)
    }

    /// An owner says that it has these items.
    fn claim(&mut self, who: &dyn Display, items: &[Item], state: SeatState) {
        for item in items {
            match item {
                Item::Seat(seat) => self.claim_seat(who, seat, state),
                Item::Pool { pool, quantity } => match self.pool_at(pool) {
                    None => self.violation(format!("{who} owns units of pool {pool}, which is not there")),
                    Some(at) => {
                        let counts = &mut self.pools[at as usize];
                        match state.owner() {
                            SeatOwner::Booked(_) => counts.booked += quantity,
                            SeatOwner::Held(_) | SeatOwner::Free | SeatOwner::Blocked => counts.held += quantity,
                        }
                    }
                },
            }
        }
    }

    fn claim_seat(&mut self, who: &dyn Display, seat: &SeatId, state: SeatState) {
        let Some(at) = self.seat_at(seat) else {
            return self.violation(format!("{who} owns seat {seat}, which is not there"));
        };
        let before = std::mem::replace(&mut self.claims[at as usize], state);
        if before != SeatState::FREE {
            self.oversold += 1;
            self.violation(format!("seat {seat} has two owners: {before:?} and {state:?}"));
        }
        let is = self.core.seat_state(at);
        if is != state {
            self.violation(format!("seat {seat} is {is:?}, but {who} says {state:?}"));
        }
    }

    fn check_seats(&mut self) -> SeatCounts {
        let mut counts = SeatCounts { total: u64::from(self.core.seat_total()), ..SeatCounts::default() };
        for at in 0..self.core.seat_total() {
            let (is, claimed) = (self.core.seat_state(at), self.claims[at as usize]);
            let recomputed = if is == SeatState::BLOCKED && claimed == SeatState::FREE { is } else { claimed };
            *counted(&mut counts, recomputed.status()) += 1;
            let owned = matches!(is.status(), SeatStatus::Held | SeatStatus::Booked);
            if owned && claimed == SeatState::FREE {
                self.violation(format!("seat {} is {is:?}, but nobody owns it", self.core.seat_id(at)));
            }
        }
        if counts != self.core.info.seats {
            self.violation(format!("seats are {counts:?}, but the counters say {:?}", self.core.info.seats));
        }
        counts
    }

    fn check_pools(&mut self) -> PoolCounts {
        let mut sum = PoolCounts::default();
        for at in 0..self.core.info.pool_total {
            let (id, is) = (self.core.pool_def(at).id.clone(), self.core.pool_count(at));
            let counts = self.pools[at as usize];
            sum = super::event::add_counts(sum, counts);
            if counts != is {
                self.violation(format!("pool {id} is {counts:?}, but the counters say {is:?}"));
            }
            if counts.capacity != self.core.pool_def(at).capacity {
                self.violation(format!("pool {id} has the capacity {}, but is defined otherwise", counts.capacity));
            }
            let committed = counts.held + counts.booked + counts.blocked;
            if committed > counts.capacity {
                self.oversold += committed - counts.capacity;
                self.violation(format!("pool {id} has {committed} units taken of {}", counts.capacity));
            }
        }
        if sum != self.core.info.pools {
            self.violation(format!("pools are {sum:?}, but the counters say {:?}", self.core.info.pools));
        }
        sum
    }

    pub(super) fn report(mut self, revision: Revision) -> AuditReport {
        let seats = self.check_seats();
        let pools = self.check_pools();
        if self.core.info.version.0 == 0 || self.core.info.version.0 > revision.0 {
            self.violation(format!("version {} cannot be at revision {revision}", self.core.info.version));
        }
        let capacity = seats.total + pools.capacity;
        let (held, booked) = (seats.held + pools.held, seats.booked + pools.booked);
        let blocked = seats.blocked + pools.blocked;
        let names = self.core.pool_defs().map(|def| def.id.clone());
        AuditReport {
            version: self.core.info.version,
            revision,
            capacity,
            held,
            booked,
            blocked,
            available: capacity.saturating_sub(held).saturating_sub(booked).saturating_sub(blocked),
            orders: self.orders,
            oversold: self.oversold,
            pools: names.zip(self.pools).collect(),
            violations: self.violations,
        }
    }
}

/// Lets every hold and every order of the event say what it owns.
pub(super) fn audit_event<'a>(auditor: &mut Auditor<'_>, holds: impl Iterator<Item = (u64, &'a Hold)>) {
    for (no, hold) in holds {
        if hold.items.is_empty() {
            auditor.violation(format!("hold {no} is empty"));
        }
        auditor.claim(&format_args!("hold {no}"), &hold.items, SeatState::held(no));
    }
    let core = auditor.core;
    for (seq, bytes) in core.orders.iter() {
        let order = Order::unpack(bytes);
        auditor.orders += 1;
        auditor.claim(&format_args!("order {}", order.order), &order.items, SeatState::booked(seq));
    }
    // Names are unpacked again for the few that share a hash: millions of them would be more than the event itself.
    let order_id = |seq: u64| core.order(seq).expect("the log of orders has no gap").order;
    let front = core.orders.front();
    let index = FixedIndex::new((front..core.orders.next()).map(order_id));
    if let Some(at) = index.first_duplicate(|at| order_id(front + at as u64)) {
        auditor.violation(format!("order {} is there twice", order_id(front + at as u64)));
    }
}

/// Every event, and what is between them.
pub(super) fn audit_state(state: &Frozen) -> Vec<String> {
    let mut violations = Vec::new();
    let holds = || state.holds.values().flat_map(|chunk| chunk.iter()).map(|(no, hold)| (*no, &**hold));
    let mut of_event: BTreeMap<EventNo, Vec<(u64, &Hold)>> = BTreeMap::new();
    for (no, hold) in holds() {
        of_event.entry(hold.event).or_default().push((no, hold));
    }
    for (no, slot) in (0u32..).zip(&state.slots) {
        let Some(core) = &slot.live else { continue };
        let mut auditor = Auditor::new(core);
        audit_event(&mut auditor, of_event.remove(&no).unwrap_or_default().into_iter());
        violations.extend(auditor.report(state.header.revision).violations);
    }
    let mut tokens: BTreeSet<&Token> = BTreeSet::new();
    for (no, hold) in holds() {
        if !tokens.insert(&hold.token) {
            violations.push(format!("hold {no} has the token of another"));
        }
        if state.slots.get(hold.event as usize).is_none_or(|slot| slot.live.is_none()) {
            violations.push(format!("hold {no} is of no event"));
        }
        if no >= state.header.next_hold {
            violations.push(format!("hold {no} has a number that was not given yet"));
        }
        if hold.created_at > state.header.clock {
            violations.push(format!("hold {no} was made after the clock"));
        }
    }
    violations.extend(super::webhooks::audit(&state.webhooks, state.header.revision));
    violations
}
