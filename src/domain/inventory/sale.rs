//! Reserve, extend, book, release, cancel, block, unblock.
//!
//! Each command first looks at everything (`&self`, all failures collected), and writes only when nothing stands in its
//! way: so a refused command has written nothing.

use super::Inventory;
use super::best::{self, NoBest, Wish};
use super::draft::Draft;
use super::event::{Event, EventNo};
use super::holds::Hold;
use super::items::{Failures, merged, units, without};
use super::orders::Order;
use super::seats::SeatState;
use crate::domain::change::Cause;
use crate::domain::command::{SaleCommand, SaleOp, Want};
use crate::domain::id::{CustomerId, OrderId, Token};
use crate::domain::outcome::{Code, Conflict, Outcome, Rejection};
use crate::domain::value::{Item, Millis, PoolCounts};

/// Most items of one hold, all that was added to it included; the same as one command may name.
pub(super) const HOLD_ITEMS_MAX: usize = 1_000;

/// Tokens made on the leader, in the order of their use.
pub(super) struct Tokens<'a>(pub(super) std::slice::Iter<'a, Token>);

/// Where a token leads.
pub(super) enum Held<'a> {
    Live(u64, &'a Hold),
    Lapsed(u64, Box<super::holds::Lapsed>),
    Never,
}

/// A reserve that nothing stands in the way of.
struct Grant {
    items: Vec<Item>,
    add_to: Option<u64>,
    customer: Option<CustomerId>,
    ttl_ms: u64,
}

pub(super) fn cause_of(op: &SaleOp) -> Cause {
    match op {
        SaleOp::Reserve { .. } => Cause::Reserve,
        SaleOp::BookHold { .. } | SaleOp::BookDirect { .. } => Cause::Book,
        // An extend touches nothing, so its cause is never published.
        SaleOp::Release { .. } | SaleOp::Extend { .. } => Cause::Release,
        SaleOp::Cancel { .. } => Cause::Cancel,
        SaleOp::Block { .. } => Cause::Block,
        SaleOp::Unblock { .. } => Cause::Unblock,
    }
}

impl Inventory {
    /// Decides one command and writes what it does into the draft.
    pub(super) fn sale(
        &mut self,
        draft: &mut Draft,
        tokens: &mut Tokens<'_>,
        command: &SaleCommand,
    ) -> Result<Outcome, Rejection> {
        super::checks::check_sale(command)?;
        let no = self.event_no(&command.event).ok_or_else(|| Rejection::new(Code::EventNotFound))?;
        match &command.op {
            SaleOp::Reserve { want, customer, ttl_ms, add_to } => {
                let grant = self.check_reserve(no, want, customer.as_ref(), *ttl_ms, add_to.as_ref())?;
                self.reserve(draft, tokens, no, grant)
            }
            SaleOp::Extend { token, ttl_ms } => self.extend(draft, no, token, *ttl_ms),
            SaleOp::BookHold { token, order, items, rest, on_expired } => {
                let wish = super::book::Wish { token, order, items: items.as_deref(), rest: *rest };
                self.book_hold(draft, no, &wish, *on_expired)
            }
            SaleOp::BookDirect { items, order, customer } => {
                let items = self.check_book_direct(no, items, order, customer.as_ref())?;
                let order = self.new_order(order, items, customer.clone(), None, false);
                Ok(self.book_free(draft, no, order))
            }
            SaleOp::Release { token, items } => self.release(draft, no, token, items.as_deref()),
            SaleOp::Cancel { order, items } => self.cancel(draft, no, order, items.as_deref()),
            SaleOp::Block { items, reason } => {
                let items = self.check_block(no, items)?;
                self.write_items(draft, no, &items, SeatState::BLOCKED, |c, q| c.blocked += q);
                Ok(Outcome::Blocked { items, reason: reason.clone() })
            }
            SaleOp::Unblock { items, reason } => {
                let items = merged(&[], items);
                let mut failures = Failures::default();
                failures.want_blocked(self.live_event(no), &items);
                failures.finish()?;
                self.write_items(draft, no, &items, SeatState::FREE, |c, q| c.blocked -= q);
                Ok(Outcome::Unblocked { items, reason: reason.clone() })
            }
        }
    }

    /// Why a reserve, a direct book or a block would be refused now, without deciding anything. `None`: it would not be,
    /// or it is a command that is never refused early.
    pub(super) fn would_refuse(&self, command: &SaleCommand) -> Option<Rejection> {
        let no = self.event_no(&command.event)?;
        match &command.op {
            SaleOp::Reserve { want, customer, ttl_ms, add_to } => {
                self.check_reserve(no, want, customer.as_ref(), *ttl_ms, add_to.as_ref()).err()
            }
            SaleOp::BookDirect { items, order, customer } => {
                self.check_book_direct(no, items, order, customer.as_ref()).err()
            }
            SaleOp::Block { items, .. } => self.check_block(no, items).err(),
            SaleOp::Extend { .. }
            | SaleOp::BookHold { .. }
            | SaleOp::Release { .. }
            | SaleOp::Cancel { .. }
            | SaleOp::Unblock { .. } => None,
        }
    }

    /// Where a token leads, seen from this event.
    pub(super) fn held(&self, no: EventNo, token: &Token) -> Held<'_> {
        if let Some((hold_no, hold)) = self.holds.find(token).filter(|(_, hold)| hold.event == no) {
            return Held::Live(hold_no, hold);
        }
        let born = self.live_event(no).core.info.born;
        match self.lapsed.find(token) {
            Some((seq, lapsed)) if lapsed.event == no && lapsed.born == born && !lapsed.items.is_empty() => {
                Held::Lapsed(seq, Box::new(lapsed))
            }
            _ => Held::Never,
        }
    }

    /// The live hold behind a token; notes why there is none. A hold can be due and still be there only when an
    /// extend within the same batch moved its end into the past.
    pub(super) fn live_hold(&self, failures: &mut Failures, no: EventNo, token: &Token) -> Option<(u64, &Hold)> {
        match self.held(no, token) {
            Held::Live(hold_no, hold) if self.clock < hold.expires_at => return Some((hold_no, hold)),
            Held::Live(..) | Held::Lapsed(..) => failures.add(Code::HoldExpired),
            Held::Never => failures.add(Code::HoldNotFound),
        }
        None
    }

    /// Notes what forbids this customer to have these units more.
    pub(super) fn check_limit(&self, failures: &mut Failures, event: &Event, customer: Option<&CustomerId>, more: u64) {
        let Some(limit) = event.limit() else { return };
        let Some(customer) = customer else {
            failures.invalid("this event has a limit per customer; say who the customer is");
            return;
        };
        let current = event.units_of(customer);
        if current.saturating_add(more) > limit {
            failures.limit(limit, current);
        }
    }

    fn check_reserve(
        &self,
        no: EventNo,
        want: &Want,
        customer: Option<&CustomerId>,
        ttl_ms: Option<u64>,
        add_to: Option<&Token>,
    ) -> Result<Grant, Rejection> {
        let event = self.live_event(no);
        let policy = event.core.info.head.hold;
        let mut failures = Failures::default();
        let ttl = ttl_ms.unwrap_or(policy.ttl_ms);
        if ttl > policy.max_ttl_ms {
            failures.invalid(format!("ttl_ms is {ttl}; this event allows at most {}", policy.max_ttl_ms));
        }
        if !event.core.info.head.on_sale {
            failures.add(Code::NotOnSale);
        }
        let hold = add_to.and_then(|token| self.live_hold(&mut failures, no, token));
        let owner = match (add_to, hold) {
            (None, _) => customer,
            (Some(_), None) => customer,
            (Some(_), Some((_, hold))) => {
                if customer.is_some() && customer != hold.customer.as_ref() {
                    failures.add(Code::TokenMismatch);
                }
                hold.customer.as_ref()
            }
        };
        let items = match want {
            Want::Items(items) => {
                let items = merged(&[], items);
                failures.want_free(event, &items);
                items
            }
            Want::Best { quantity, section, category, contiguous } => {
                let (section, category) = (section.as_ref(), category.as_ref());
                let wish = Wish { quantity: *quantity, section, category, contiguous: *contiguous };
                best_items(&mut failures, event, &wish)
            }
        };
        let more = match want {
            Want::Items(_) => units(&items),
            Want::Best { quantity, .. } => *quantity,
        };
        // Who adds to a hold that is not there names no customer, and need not: the hold is what is missing.
        if add_to.is_none() || hold.is_some() {
            self.check_limit(&mut failures, event, owner, more);
        }
        if hold.is_some_and(|(_, hold)| is_too_much(&hold.items, &items)) {
            failures.invalid(format!("a hold has at most {HOLD_ITEMS_MAX} items; make another"));
        }
        failures.finish()?;
        Ok(Grant { items, add_to: hold.map(|(hold_no, _)| hold_no), customer: owner.cloned(), ttl_ms: ttl })
    }

    fn reserve(
        &mut self,
        draft: &mut Draft,
        tokens: &mut Tokens<'_>,
        no: EventNo,
        grant: Grant,
    ) -> Result<Outcome, Rejection> {
        let (hold_no, hold) = match grant.add_to.and_then(|hold_no| Some((hold_no, self.holds.get(hold_no)?))) {
            Some((hold_no, old)) => {
                let mut hold = Hold::clone(old);
                hold.items = merged(&hold.items, &grant.items);
                (self.number_to_grow(draft, hold_no), hold)
            }
            None => {
                let token = tokens.0.next().ok_or_else(|| Rejection::invalid("the request came without a token"))?;
                if self.holds.find(token).is_some() || self.lapsed.find(token).is_some() {
                    return Err(Rejection::invalid("the token is in use; send the request again"));
                }
                let (created_at, expires_at) = (self.clock, self.clock.plus(grant.ttl_ms));
                let customer = grant.customer;
                let items = grant.items.clone();
                let hold = Hold { token: token.clone(), event: no, items, customer, created_at, expires_at };
                (self.new_hold_no(draft), hold)
            }
        };
        self.write_items(draft, no, &grant.items, SeatState::held(hold_no), |c, q| c.held += q);
        let view = hold.view(&self.live_event(no).core.info.id);
        self.write_hold(draft, hold_no, Some(hold));
        Ok(Outcome::Reserved(view))
    }

    fn extend(&mut self, draft: &mut Draft, no: EventNo, token: &Token, ttl_ms: u64) -> Result<Outcome, Rejection> {
        let mut failures = Failures::default();
        let max_ttl_ms = self.live_event(no).core.info.head.hold.max_ttl_ms;
        if ttl_ms > max_ttl_ms {
            failures.invalid(format!("ttl_ms is {ttl_ms}; this event allows at most {max_ttl_ms}"));
        }
        let found = self.live_hold(&mut failures, no, token).map(|(hold_no, hold)| (hold_no, hold.clone()));
        failures.finish()?;
        let (hold_no, mut hold) = found.expect("without a hold there is a failure");
        hold.expires_at = self.clock.plus(ttl_ms).min(hold.created_at.plus(max_ttl_ms));
        let view = hold.view(&self.live_event(no).core.info.id);
        self.write_hold(draft, hold_no, Some(hold));
        Ok(Outcome::Extended(view))
    }

    fn release(
        &mut self,
        draft: &mut Draft,
        no: EventNo,
        token: &Token,
        items: Option<&[Item]>,
    ) -> Result<Outcome, Rejection> {
        let mut failures = Failures::default();
        let named = items.map(|items| merged(&[], items));
        let found = self.live_hold(&mut failures, no, token).map(|(hold_no, hold)| (hold_no, hold.clone()));
        if let Some(named) = &named {
            let owned = found.as_ref().map(|(_, hold)| hold.items.as_slice());
            failures.want_owned(self.live_event(no), owned, named, Code::TokenMismatch);
        }
        failures.finish()?;
        let (hold_no, mut hold) = found.expect("without a hold there is a failure");
        let released = named.unwrap_or_else(|| hold.items.clone());
        hold.items = without(&hold.items, &released);
        self.free_held(draft, no, &released);
        self.write_hold(draft, hold_no, (!hold.items.is_empty()).then_some(hold));
        Ok(Outcome::Released { items: released })
    }

    fn cancel(
        &mut self,
        draft: &mut Draft,
        no: EventNo,
        order: &OrderId,
        items: Option<&[Item]>,
    ) -> Result<Outcome, Rejection> {
        let mut failures = Failures::default();
        let event = self.live_event(no);
        let named = items.map(|items| merged(&[], items));
        let found = event.find_order(order);
        if found.is_none() {
            failures.add(Code::OrderNotFound);
        }
        if let Some(named) = &named {
            let owned = found.as_ref().map(|(_, order)| order.items.as_slice());
            failures.want_owned(event, owned, named, Code::OrderMismatch);
        }
        failures.finish()?;
        let (seq, mut order) = found.expect("without an order there is a failure");
        let cancelled = named.unwrap_or_else(|| order.items.clone());
        if cancelled.is_empty() {
            return Ok(Outcome::Cancelled { items: cancelled });
        }
        order.items = without(&order.items, &cancelled);
        order.cancelled = merged(&order.cancelled, &cancelled);
        self.write_items(draft, no, &cancelled, SeatState::FREE, |c, q| c.booked -= q);
        self.write_order(draft, no, seq, &order);
        Ok(Outcome::Cancelled { items: cancelled })
    }

    fn check_block(&self, no: EventNo, items: &[Item]) -> Result<Vec<Item>, Rejection> {
        let items = merged(&[], items);
        let mut failures = Failures::default();
        failures.want_free(self.live_event(no), &items);
        failures.finish()?;
        Ok(items)
    }

    /// Puts every seat into this state and changes the numbers of every pool. The items were checked.
    pub(super) fn write_items(
        &mut self,
        draft: &mut Draft,
        no: EventNo,
        items: &[Item],
        state: SeatState,
        count: impl Fn(&mut PoolCounts, u64),
    ) {
        for item in items {
            match item {
                Item::Seat(seat) => {
                    let at = self.live_event(no).seat_at(seat).expect("a seat with an owner, or checked, is there");
                    self.write_seat(draft, no, at, state);
                }
                Item::Pool { pool, quantity } => {
                    let event = self.live_event(no);
                    let at = event.pool_at(pool).expect("a pool with an owner, or checked, is there");
                    let mut counts = event.core.pool_count(at);
                    count(&mut counts, *quantity);
                    self.write_pool(draft, no, at, counts);
                }
            }
        }
    }

    /// Held → free.
    pub(super) fn free_held(&mut self, draft: &mut Draft, no: EventNo, items: &[Item]) {
        self.write_items(draft, no, items, SeatState::FREE, |c, q| c.held -= q);
    }

    pub(super) fn new_order(
        &self,
        order: &OrderId,
        items: Vec<Item>,
        customer: Option<CustomerId>,
        token: Option<Token>,
        whole: bool,
    ) -> Order {
        let booked_at: Millis = self.clock;
        Order { order: order.clone(), items, cancelled: Vec::new(), customer, booked_at, token, whole }
    }
}

/// Whether a hold with more in it has more items than a hold may have.
fn is_too_much(held: &[Item], more: &[Item]) -> bool {
    held.len() + more.len() > HOLD_ITEMS_MAX && merged(held, more).len() > HOLD_ITEMS_MAX
}

/// Names of the best seats; notes why there is no choice.
fn best_items(failures: &mut Failures, event: &Event, wish: &Wish<'_>) -> Vec<Item> {
    match best::choose(event, wish) {
        Ok(seats) => seats.into_iter().map(|at| Item::Seat(event.core.seat_id(at).clone())).collect(),
        Err(NoBest::TooFew { available }) => {
            failures.conflict(Code::Insufficient, Conflict::Best { available, requested: wish.quantity });
            Vec::new()
        }
        Err(NoBest::NotContiguous) => {
            failures.add(Code::NotContiguous);
            Vec::new()
        }
    }
}
