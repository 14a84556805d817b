//! What the command in progress has touched, and how to take it back.
//!
//! Every write to the state of a sale goes through the functions here. They note what was touched, so that the change
//! set names it, and, within an atomic batch, what was there before, so that a refused batch leaves no trace.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Inventory;
use super::event::EventNo;
use super::holds::{Hold, Lapsed, chunk_of};
use super::items::units;
use super::orders::Order;
use super::seats::{SEATS_A_BLOCK, SeatState};
use crate::domain::change::{Cause, Change, ChangeSet, EventChanges};
use crate::domain::record::RecordKey;
use crate::domain::value::{Item, PoolCounts};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Touched {
    Seat(u32),
    Pool(u32),
}

/// One write, with what was there before.
#[derive(Debug)]
enum Undo {
    Seat(EventNo, u32, SeatState),
    Pool(EventNo, u32, PoolCounts),
    Hold(u64, Option<Arc<Hold>>),
    NextHold(u64),
    OrderAdded(EventNo, u64),
    Order(EventNo, u64, Box<Order>),
    Lapsed(u64, Box<Lapsed>),
}

#[derive(Debug, Default)]
pub(super) struct Draft {
    events: Vec<(EventNo, Vec<Touched>)>,
    /// Kept only while a refusal can come after a write.
    journal: Option<Vec<Undo>>,
}

impl Draft {
    pub(super) fn with_journal() -> Self {
        Self { events: Vec::new(), journal: Some(Vec::new()) }
    }

    fn note(&mut self, undo: Undo) {
        if let Some(journal) = &mut self.journal {
            journal.push(undo);
        }
    }

    fn touch(&mut self, event: EventNo, what: Touched) {
        match self.events.iter_mut().rev().find(|(no, _)| *no == event) {
            Some((_, touched)) => touched.push(what),
            None => self.events.push((event, vec![what])),
        }
    }
}

impl Inventory {
    pub(super) fn write_seat(&mut self, draft: &mut Draft, no: EventNo, at: u32, state: SeatState) {
        self.set_seat(draft, no, at, state);
        draft.touch(no, Touched::Seat(at));
    }

    /// Writes a seat without a change that is published.
    fn set_seat(&mut self, draft: &mut Draft, no: EventNo, at: u32, state: SeatState) {
        let old = self.event_mut(no).set_seat(at, state);
        self.dirty.insert(RecordKey::SeatStates { event: no, block: at / SEATS_A_BLOCK as u32 });
        draft.note(Undo::Seat(no, at, old));
    }

    pub(super) fn write_pool(&mut self, draft: &mut Draft, no: EventNo, at: u32, counts: PoolCounts) {
        let old = self.event_mut(no).set_pool(at, counts);
        self.dirty.insert(RecordKey::PoolCounts { event: no, block: at / super::event::POOLS_A_BLOCK as u32 });
        draft.touch(no, Touched::Pool(at));
        draft.note(Undo::Pool(no, at, old));
    }

    /// Gives the next hold its number.
    pub(super) fn new_hold_no(&mut self, draft: &mut Draft) -> u64 {
        draft.note(Undo::NextHold(self.next_hold));
        let no = self.holds.number_from(self.next_hold);
        self.next_hold = no + 1;
        no
    }

    /// A number for a hold that grew: its own, or, where its chunk has no room for more, a new one. Then its seats are
    /// told so, which nobody outside can see, and the old number is free.
    pub(super) fn number_to_grow(&mut self, draft: &mut Draft, no: u64) -> u64 {
        if !self.holds.crowded(no) {
            return no;
        }
        let Some(hold) = self.holds.get(no).cloned() else { return no };
        self.write_hold(draft, no, None);
        let new = self.new_hold_no(draft);
        for item in &hold.items {
            let Item::Seat(seat) = item else { continue };
            let at = self.live_event(hold.event).seat_at(seat).expect("a seat that is held is there");
            self.set_seat(draft, hold.event, at, SeatState::held(new));
        }
        new
    }

    /// Puts, replaces or takes away a hold.
    pub(super) fn write_hold(&mut self, draft: &mut Draft, no: u64, hold: Option<Hold>) {
        let old = self.swap_hold(no, hold.map(Arc::new));
        draft.note(Undo::Hold(no, old));
    }

    fn swap_hold(&mut self, no: u64, hold: Option<Arc<Hold>>) -> Option<Arc<Hold>> {
        let old = self.holds.set(no, hold.clone());
        self.dirty.insert(RecordKey::Holds { chunk: chunk_of(no) });
        if let Some(old) = &old {
            let event = self.event_mut(old.event);
            event.holds.remove(&no);
            event.move_units(old.customer.as_ref(), units(&old.items), 0);
        }
        if let Some(new) = &hold {
            let event = self.event_mut(new.event);
            event.holds.insert(no);
            event.move_units(new.customer.as_ref(), 0, units(&new.items));
        }
        old
    }

    /// The sequence number that the next order of the event gets.
    pub(super) fn next_order(&self, no: EventNo) -> u64 {
        self.live_event(no).core.orders.next()
    }

    pub(super) fn add_order(&mut self, draft: &mut Draft, no: EventNo, order: &Order) {
        let event = self.event_mut(no);
        let seq = event.core.orders.next();
        let first = event.core.orders.push(&order.pack());
        event.core.info.orders_next = event.core.orders.next();
        event.index_order(seq, order, true);
        event.move_units(order.customer.as_ref(), 0, units(&order.items));
        self.dirty.insert(RecordKey::Orders { event: no, first });
        draft.note(Undo::OrderAdded(no, seq));
    }

    /// Replaces an order that is there. Its id and customer stay.
    pub(super) fn write_order(&mut self, draft: &mut Draft, no: EventNo, seq: u64, order: &Order) {
        let event = self.event_mut(no);
        let Some(old) = event.core.order(seq) else { return };
        let first = event.core.orders.replace(seq, &order.pack());
        event.move_units(order.customer.as_ref(), units(&old.items), units(&order.items));
        self.dirty.extend(first.map(|first| RecordKey::Orders { event: no, first }));
        draft.note(Undo::Order(no, seq, Box::new(old)));
    }

    pub(super) fn write_lapsed(&mut self, draft: &mut Draft, seq: u64, lapsed: &Lapsed) {
        let Some(old) = self.lapsed.get(seq) else { return };
        self.dirty.extend(self.lapsed.replace(seq, lapsed).map(|first| RecordKey::Lapsed { first }));
        draft.note(Undo::Lapsed(seq, Box::new(old)));
    }

    /// Takes back every write of the draft, last first.
    pub(super) fn roll_back(&mut self, draft: &mut Draft) {
        draft.events.clear();
        let journal = draft.journal.take().unwrap_or_default();
        for undo in journal.into_iter().rev() {
            match undo {
                Undo::Seat(no, at, state) => {
                    self.event_mut(no).set_seat(at, state);
                }
                Undo::Pool(no, at, counts) => {
                    self.event_mut(no).set_pool(at, counts);
                }
                Undo::Hold(no, hold) => {
                    self.swap_hold(no, hold);
                }
                Undo::NextHold(next) => self.next_hold = next,
                Undo::OrderAdded(no, seq) => self.unadd_order(no, seq),
                Undo::Order(no, seq, order) => {
                    self.write_order(&mut Draft::default(), no, seq, &order);
                }
                Undo::Lapsed(seq, lapsed) => {
                    self.write_lapsed(&mut Draft::default(), seq, &lapsed);
                }
            }
        }
    }

    fn unadd_order(&mut self, no: EventNo, seq: u64) {
        let event = self.event_mut(no);
        if let Some(order) = event.core.order(seq) {
            event.index_order(seq, &order, false);
            event.move_units(order.customer.as_ref(), units(&order.items), 0);
        }
        event.core.orders.pop_back();
        event.core.info.orders_next = event.core.orders.next();
    }

    /// Publishes what the draft touched as one change set: one revision, one version for each event.
    pub(super) fn commit(&mut self, draft: Draft, cause: Cause) {
        if draft.events.is_empty() {
            return;
        }
        let events = draft.events.into_iter().map(|(no, touched)| {
            let mut seen = BTreeSet::new();
            let first = |what: &Touched| seen.insert(*what);
            let core = &self.live_event(no).core;
            let change = |what: Touched| match what {
                Touched::Seat(at) => {
                    Change::Seat { seat: core.seat_id(at).clone(), status: core.seat_state(at).status() }
                }
                Touched::Pool(at) => Change::Pool { pool: core.pool_def(at).id.clone(), counts: core.pool_count(at) },
            };
            (no, touched.into_iter().filter(first).map(change).collect())
        });
        let events: Vec<(EventNo, Vec<Change>)> = events.collect();
        self.publish(cause, events);
    }

    /// One change set: one revision, and one version for each event in it.
    pub(super) fn publish(&mut self, cause: Cause, events: Vec<(EventNo, Vec<Change>)>) {
        self.revision = self.revision.next();
        let at = self.clock;
        let mut changed = Vec::with_capacity(events.len());
        for (no, changes) in events {
            let info = &mut self.event_mut(no).core.info;
            info.version = info.version.next();
            let (event, version) = (info.id.clone(), info.version);
            let totals = self.live_event(no).core.totals();
            self.dirty.insert(RecordKey::Event { event: no });
            changed.push(EventChanges { event, version, changes, totals });
        }
        self.change_sets.push(ChangeSet { revision: self.revision, at, cause, events: changed });
    }
}
