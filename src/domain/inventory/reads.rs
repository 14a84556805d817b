//! What readers see of the state of now.

use super::seats::SeatOwner;
use super::{Inventory, ResultsRoom};
use crate::domain::command::{SaleCommand, Settings};
use crate::domain::id::{CustomerId, EventId, Key, OrderId, SeatId, Token};
use crate::domain::outcome::{Answer, Code, Rejection};
use crate::domain::value::{EventView, HoldView, Millis, OrderView, Revision, SeatView, Version};

impl Inventory {
    pub fn clock(&self) -> Millis {
        self.clock
    }

    pub fn revision(&self) -> Revision {
        self.revision
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// When the next hold is due.
    pub fn next_due(&self) -> Option<Millis> {
        self.holds.next_due()
    }

    /// Live holds, all events together.
    pub fn holds_len(&self) -> u64 {
        self.holds.len()
    }

    pub fn results_room(&self) -> ResultsRoom {
        self.results.room(&self.settings, self.clock)
    }

    pub fn results_len(&self) -> u64 {
        self.results.len()
    }

    /// What was recorded under a key. For an independent batch: only once all of it is decided.
    pub fn recorded(&self, key: &Key) -> Option<Answer> {
        self.results.recorded(key.as_str())
    }

    /// The refusal that this command would get now, if it is one that may be given without a log entry (`seat_booked`,
    /// `seat_held`, `seat_blocked`, `insufficient`, `not_contiguous`, `limit_exceeded`, `not_on_sale`). `None` means:
    /// propose. So it does when a hold is due at `now`, because what it has counts as free.
    pub fn early_refusal(&self, command: &SaleCommand, now: Millis) -> Option<Rejection> {
        if self.next_due().is_some_and(|at| at <= now.max(self.clock)) {
            return None;
        }
        let early = |code: Code| match code {
            Code::SeatBooked
            | Code::SeatHeld
            | Code::SeatBlocked
            | Code::Insufficient
            | Code::NotContiguous
            | Code::LimitExceeded
            | Code::NotOnSale => true,
            Code::Invalid
            | Code::DuplicateItem
            | Code::DeadlinePassed
            | Code::Voided
            | Code::EventNotFound
            | Code::HoldNotFound
            | Code::OrderNotFound
            | Code::SeatNotFound
            | Code::PoolNotFound
            | Code::DefinitionMoved
            | Code::HoldExpired
            | Code::TokenMismatch
            | Code::OrderMismatch
            | Code::OrderExists
            | Code::CapacityBelowCommitted
            | Code::NotBlocked
            | Code::WebhookNotFound
            | Code::DeliveryNotFound
            | Code::TooManyWebhooks => false,
        };
        self.would_refuse(command).filter(|rejection| early(rejection.code))
    }

    pub fn event(&self, event: &EventId) -> Option<EventView> {
        let no = self.event_no(event)?;
        Some(self.live_event(no).core.view(self.revision))
    }

    /// Version of an event that is there.
    pub fn version(&self, event: &EventId) -> Option<Version> {
        let no = self.event_no(event)?;
        Some(self.live_event(no).core.info.version)
    }

    /// Up to `limit` events after `after`, by id.
    pub fn events(&self, after: Option<&EventId>, limit: usize) -> Vec<EventView> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        let live = self.event_nos.range::<EventId, _>((from, Unbounded)).filter_map(|(_, no)| {
            let event = self.slots.get(*no as usize)?.live.as_ref()?;
            Some(event.core.view(self.revision))
        });
        live.take(limit).collect()
    }

    pub fn seat(&self, event: &EventId, seat: &SeatId) -> Option<SeatView> {
        let event = self.live_event(self.event_no(event)?);
        let at = event.seat_at(seat)?;
        let state = event.core.seat_state(at);
        let (token, order, customer) = match state.owner() {
            SeatOwner::Free | SeatOwner::Blocked => (None, None, None),
            SeatOwner::Held(no) => match self.holds.get(no) {
                Some(hold) => (Some(hold.token.clone()), None, hold.customer.clone()),
                None => (None, None, None),
            },
            SeatOwner::Booked(seq) => match event.core.order(seq) {
                Some(order) => (order.token, Some(order.order), order.customer),
                None => (None, None, None),
            },
        };
        Some(SeatView { seat: event.core.seat_def(at), status: state.status(), token, order, customer })
    }

    pub fn hold(&self, event: &EventId, token: &Token) -> Option<HoldView> {
        let no = self.event_no(event)?;
        let (_, hold) = self.holds.find(token).filter(|(_, hold)| hold.event == no)?;
        Some(hold.view(event))
    }

    pub fn order(&self, event: &EventId, order: &OrderId) -> Option<OrderView> {
        let (_, found) = self.live_event(self.event_no(event)?).find_order(order)?;
        Some(found.view(event))
    }

    /// Up to `limit` orders after `after`, in the order of booking. `None`: there is no such event, or no such `after`.
    pub fn orders(
        &self,
        event: &EventId,
        customer: Option<&CustomerId>,
        after: Option<&OrderId>,
        limit: usize,
    ) -> Option<Vec<OrderView>> {
        let found = self.live_event(self.event_no(event)?);
        let after = match after {
            Some(order) => Some(found.find_order(order)?.0),
            None => None,
        };
        let Some(customer) = customer else {
            let from = after.map_or(0, |seq| seq + 1);
            let all = found.core.orders.iter_from(from).map(|(_, bytes)| super::orders::Order::unpack(bytes));
            return Some(all.take(limit).map(|order| order.view(event)).collect());
        };
        let theirs = found.orders_of(customer, after).filter_map(|seq| found.core.order(seq));
        let theirs = theirs.filter(|order| order.customer.as_ref() == Some(customer));
        Some(theirs.take(limit).map(|order| order.view(event)).collect())
    }
}
