//! Booking: from a live hold, from one that lapsed, or directly from what is free.

use super::Inventory;
use super::draft::Draft;
use super::event::EventNo;
use super::holds::{Hold, Lapsed};
use super::items::{Failures, merged, same, units, without};
use super::orders::Order;
use super::sale::Held;
use super::seats::SeatState;
use crate::domain::command::{OnExpired, Rest};
use crate::domain::id::{CustomerId, OrderId, Token};
use crate::domain::outcome::{Code, Outcome, Rejection};
use crate::domain::value::Item;

/// What a book of a hold asks for.
pub(super) struct Wish<'a> {
    pub(super) token: &'a Token,
    pub(super) order: &'a OrderId,
    pub(super) items: Option<&'a [Item]>,
    pub(super) rest: Rest,
}

impl Inventory {
    pub(super) fn book_hold(
        &mut self,
        draft: &mut Draft,
        no: EventNo,
        wish: &Wish<'_>,
        on_expired: OnExpired,
    ) -> Result<Outcome, Rejection> {
        let named = wish.items.map(|items| merged(&[], items));
        let event = self.live_event(no);
        let existing = event.find_order(wish.order).map(|(_, order)| order);
        if let Some(order) = existing.as_ref().filter(|order| self.is_same_again(no, order, wish, named.as_deref())) {
            return Ok(Outcome::BookedBefore(order.clone().view(&event.core.info.id)));
        }
        let mut failures = Failures::default();
        if existing.is_some() {
            failures.add(Code::OrderExists);
        }
        match self.held(no, wish.token) {
            Held::Live(hold_no, hold) if self.clock < hold.expires_at => {
                let hold = hold.clone();
                if let Some(named) = &named {
                    failures.want_owned(event, Some(&hold.items), named, Code::TokenMismatch);
                }
                failures.finish()?;
                Ok(self.book_live(draft, no, hold_no, hold, wish, named))
            }
            Held::Lapsed(seq, lapsed) if on_expired == OnExpired::Rebook => {
                self.rebook(draft, no, (seq, *lapsed), wish, named, failures)
            }
            held => {
                failures.add(if matches!(held, Held::Never) { Code::HoldNotFound } else { Code::HoldExpired });
                if let Some(named) = &named {
                    failures.want_owned(event, None, named, Code::TokenMismatch);
                }
                failures.finish()?;
                unreachable!("a failure was added")
            }
        }
    }

    /// Whether this order was made by the same wish, under another key. What was cancelled since still counts.
    fn is_same_again(&self, no: EventNo, order: &Order, wish: &Wish<'_>, named: Option<&[Item]>) -> bool {
        if order.token.as_ref() != Some(wish.token) {
            return false;
        }
        match named {
            Some(named) => same(&merged(&order.items, &order.cancelled), named),
            // All of the hold was meant: so it was then, and nothing is left of it.
            None => order.whole && !matches!(self.held(no, wish.token), Held::Live(..)),
        }
    }

    fn book_live(
        &mut self,
        draft: &mut Draft,
        no: EventNo,
        hold_no: u64,
        mut hold: Hold,
        wish: &Wish<'_>,
        named: Option<Vec<Item>>,
    ) -> Outcome {
        let booked = named.unwrap_or_else(|| hold.items.clone());
        let left = without(&hold.items, &booked);
        let whole = left.is_empty();
        let state = SeatState::booked(self.next_order(no));
        self.write_items(draft, no, &booked, state, |c, q| {
            c.held -= q;
            c.booked += q;
        });
        if wish.rest == Rest::Release {
            self.free_held(draft, no, &left);
        }
        let customer = hold.customer.clone();
        hold.items = left;
        let goes_on = !whole && wish.rest == Rest::Keep;
        self.write_hold(draft, hold_no, goes_on.then_some(hold));
        let order = self.new_order(wish.order, booked, customer, Some(wish.token.clone()), whole);
        self.add_order(draft, no, &order);
        Outcome::Booked(order.view(&self.live_event(no).core.info.id))
    }

    /// The late payment: books what a lapsed hold had, if it is free again. Whatever is in the way, the hold expired.
    fn rebook(
        &mut self,
        draft: &mut Draft,
        no: EventNo,
        (seq, mut lapsed): (u64, Lapsed),
        wish: &Wish<'_>,
        named: Option<Vec<Item>>,
        mut failures: Failures,
    ) -> Result<Outcome, Rejection> {
        let event = self.live_event(no);
        let booked = named.unwrap_or_else(|| lapsed.items.clone());
        let mut not_owned = Failures::default();
        not_owned.want_owned(event, Some(&lapsed.items), &booked, Code::TokenMismatch);
        match not_owned.finish() {
            Err(_) => failures.want_owned(event, Some(&lapsed.items), &booked, Code::TokenMismatch),
            Ok(()) => failures.want_free(event, &booked),
        }
        if event.limit().is_some() && lapsed.customer.is_some() {
            self.check_limit(&mut failures, event, lapsed.customer.as_ref(), units(&booked));
        }
        if !failures.is_empty() {
            failures.add(Code::HoldExpired);
        }
        failures.finish()?;
        let left = without(&lapsed.items, &booked);
        let whole = left.is_empty();
        let customer = lapsed.customer.clone();
        lapsed.items = if wish.rest == Rest::Keep { left } else { Vec::new() };
        self.write_lapsed(draft, seq, &lapsed);
        let order = self.new_order(wish.order, booked, customer, Some(wish.token.clone()), whole);
        Ok(self.book_free(draft, no, order))
    }

    pub(super) fn check_book_direct(
        &self,
        no: EventNo,
        items: &[Item],
        order: &OrderId,
        customer: Option<&CustomerId>,
    ) -> Result<Vec<Item>, Rejection> {
        let event = self.live_event(no);
        let items = merged(&[], items);
        let mut failures = Failures::default();
        if !event.core.info.head.on_sale {
            failures.add(Code::NotOnSale);
        }
        if event.has_order(order) {
            failures.add(Code::OrderExists);
        }
        failures.want_free(event, &items);
        self.check_limit(&mut failures, event, customer, units(&items));
        failures.finish()?;
        Ok(items)
    }

    /// Free → booked. The items were checked.
    pub(super) fn book_free(&mut self, draft: &mut Draft, no: EventNo, order: Order) -> Outcome {
        let state = SeatState::booked(self.next_order(no));
        self.write_items(draft, no, &order.items, state, |c, q| c.booked += q);
        self.add_order(draft, no, &order);
        Outcome::Booked(order.view(&self.live_event(no).core.info.id))
    }
}
