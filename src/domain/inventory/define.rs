//! Defining, changing and deleting an event.

use std::collections::BTreeSet;

use super::checks::{check_patch, check_policy, indexes_of_definition};
use super::event::{Event, EventCore, EventNo};
use super::hash::FixedIndex;
use super::items::{Failures, units};
use super::seats::SeatState;
use super::{Inventory, LastVersions};
use crate::domain::change::{Cause, Change};
use crate::domain::command::{Patch, PoolPatch};
use crate::domain::id::{EventId, PoolId};
use crate::domain::outcome::{Code, Conflict, Outcome, Rejection};
use crate::domain::record::RecordKey;
use crate::domain::value::{EventHead, PoolCounts, PoolDef, SeatDef, SeatStatus, Version};

/// A new definition, where it differs from the old.
struct Redefinition<'a> {
    head: Option<EventHead>,
    seats: Option<&'a [SeatDef]>,
    pools: Option<&'a [PoolDef]>,
}

impl Redefinition<'_> {
    fn is_empty(&self) -> bool {
        self.head.is_none() && self.seats.is_none() && self.pools.is_none()
    }
}

impl Inventory {
    /// `definition_moved` unless the event is at this definition version.
    fn check_if_match(&self, failures: &mut Failures, no: EventNo, if_match: Option<Version>) {
        let now = self.live_event(no).core.info.definition_version;
        if if_match.is_some_and(|wanted| wanted != now) {
            failures.definition_moved(now);
        }
    }

    /// Creates the event, or replaces its definition in place.
    pub(super) fn define(
        &mut self,
        id: &EventId,
        if_match: Option<Version>,
        head: &EventHead,
        seats: &[SeatDef],
        pools: &[PoolDef],
    ) -> Result<Outcome, Rejection> {
        let indexes = indexes_of_definition(head, seats, pools)?;
        let created = match self.event_no(id) {
            None if if_match.is_some() => return Err(Rejection::new(Code::EventNotFound)),
            None => {
                self.create(id, head, seats, pools, indexes);
                true
            }
            Some(no) => {
                // It stands above everything a redefinition can be refused for, so nothing else need be looked at.
                let mut failures = Failures::default();
                self.check_if_match(&mut failures, no, if_match);
                failures.finish()?;
                let core = &self.live_event(no).core;
                let same_seats =
                    core.seat_total() as usize == seats.len() && core.seat_defs().eq(seats.iter().cloned());
                let same_pools = core.info.pool_total as usize == pools.len() && core.pool_defs().eq(pools.iter());
                let new = Redefinition {
                    head: (*core.info.head != *head).then(|| head.clone()),
                    seats: (!same_seats).then_some(seats),
                    pools: (!same_pools).then_some(pools),
                };
                self.redefine(no, new)?;
                false
            }
        };
        let no = self.event_no(id).expect("it is there now");
        Ok(Outcome::Defined { created, event: Box::new(self.live_event(no).core.view(self.revision)) })
    }

    fn create(
        &mut self,
        id: &EventId,
        head: &EventHead,
        seats: &[SeatDef],
        pools: &[PoolDef],
        indexes: (FixedIndex, FixedIndex),
    ) {
        let no = self.slot_for(id);
        let last = self.slots[no as usize].last;
        let mut core = EventCore::new(id.clone(), head.clone(), last, self.clock, self.revision.next());
        core.lay_seats(seats, &vec![SeatState::FREE; seats.len()]);
        let counts: Vec<PoolCounts> = pools.iter().map(|pool| free_pool(pool.capacity)).collect();
        core.lay_pools(pools, &counts);
        self.slots[no as usize].live = Some(Box::new(Event::fresh(core, indexes)));
        self.recount(no);
        self.mark_blocks(no, 0, 0);
        let seat = |def: &SeatDef| Change::Seat { seat: def.id.clone(), status: SeatStatus::Free };
        let pool = |(def, counts): (&PoolDef, &PoolCounts)| Change::Pool { pool: def.id.clone(), counts: *counts };
        let changes = seats.iter().map(seat).chain(pools.iter().zip(&counts).map(pool)).collect();
        self.publish(Cause::Define, vec![(no, changes)]);
    }

    /// Changes what a patch names.
    pub(super) fn change(
        &mut self,
        id: &EventId,
        if_match: Option<Version>,
        patch: &Patch,
    ) -> Result<Outcome, Rejection> {
        self.check_request_of_change(id, patch)?;
        let no = self.event_no(id).ok_or_else(|| Rejection::new(Code::EventNotFound))?;
        let core = &self.live_event(no).core;
        let head = patched_head(&core.info.head, patch);
        let mut pools: Vec<PoolDef> = core.pool_defs().cloned().collect();
        let mut failures = Failures::default();
        self.check_if_match(&mut failures, no, if_match);
        for change in &patch.pools {
            let Some(at) = self.live_event(no).pool_at(&change.id) else {
                failures.conflict(Code::PoolNotFound, Conflict::NoPool { pool: change.id.clone() });
                continue;
            };
            let def = &mut pools[at as usize];
            patch_pool(def, change);
            check_capacity(&mut failures, def, core.pool_count(at));
        }
        failures.finish()?;
        let new = Redefinition {
            head: (head != *core.info.head).then_some(head),
            seats: None,
            pools: (!core.pool_defs().eq(pools.iter())).then_some(pools.as_slice()),
        };
        self.redefine(no, new)?;
        Ok(Outcome::Changed { event: Box::new(self.live_event(no).core.view(self.revision)) })
    }

    /// What is wrong with a patch itself, also together with what it leaves as it was.
    pub(super) fn check_request_of_change(&self, id: &EventId, patch: &Patch) -> Result<(), Rejection> {
        check_patch(patch)?;
        let Some(no) = self.event_no(id) else { return Ok(()) };
        check_policy(patched_head(&self.live_event(no).core.info.head, patch).hold)
    }

    fn check_pools(&self, failures: &mut Failures, no: EventNo, pools: Option<&[PoolDef]>) {
        let Some(pools) = pools else { return };
        let event = self.live_event(no);
        for def in pools {
            let counts = event.pool_at(&def.id).map_or(PoolCounts::default(), |at| event.core.pool_count(at));
            check_capacity(failures, def, counts);
        }
        let kept: BTreeSet<&PoolId> = pools.iter().map(|def| &def.id).collect();
        for (def, counts) in event.core.pools().filter(|(def, _)| !kept.contains(&def.id)) {
            check_capacity(failures, &PoolDef { capacity: 0, ..def.clone() }, counts);
        }
    }

    fn redefine(&mut self, no: EventNo, new: Redefinition<'_>) -> Result<(), Rejection> {
        if new.is_empty() {
            return Ok(());
        }
        let mut failures = Failures::default();
        let removed = new.seats.map(|seats| removed_seats(self.live_event(no), seats));
        for at in removed.iter().flatten() {
            let core = &self.live_event(no).core;
            match core.seat_state(*at).status() {
                SeatStatus::Free => {}
                status => failures.seat_in(core.seat_id(*at), status),
            }
        }
        self.check_pools(&mut failures, no, new.pools);
        failures.finish()?;
        let (seat_blocks, pool_blocks) = self.block_counts(no);
        let mut changes = Vec::new();
        if let (Some(seats), Some(removed)) = (new.seats, &removed) {
            self.replace_seats(no, seats, removed, &mut changes);
        }
        if let Some(pools) = new.pools {
            self.replace_pools(no, pools, &mut changes);
        }
        let info = &mut self.event_mut(no).core.info;
        if let Some(head) = new.head {
            info.head = std::sync::Arc::new(head);
        }
        info.definition_version = info.definition_version.next();
        if new.seats.is_some() || new.pools.is_some() {
            self.mark_blocks(no, seat_blocks, pool_blocks);
        }
        self.recount(no);
        self.publish(Cause::Define, vec![(no, changes)]);
        Ok(())
    }

    /// Lays the seats anew; those that were there keep their state. Names in `changes` what is new, changed or gone.
    fn replace_seats(&mut self, no: EventNo, seats: &[SeatDef], removed: &[u32], changes: &mut Vec<Change>) {
        let event = self.event_mut(no);
        let mut states = Vec::with_capacity(seats.len());
        for def in seats {
            let old = event.seat_at(&def.id);
            let state = old.map_or(SeatState::FREE, |at| event.core.seat_state(at));
            if old.is_none_or(|at| event.core.seat_def(at) != *def) {
                changes.push(Change::Seat { seat: def.id.clone(), status: state.status() });
            }
            states.push(state);
        }
        let gone = removed
            .iter()
            .map(|at| Change::Seat { seat: event.core.seat_id(*at).clone(), status: SeatStatus::Removed });
        changes.extend(gone);
        event.core.lay_seats(seats, &states);
        event.index_seats();
    }

    fn replace_pools(&mut self, no: EventNo, pools: &[PoolDef], changes: &mut Vec<Change>) {
        let event = self.event_mut(no);
        let mut counts = Vec::with_capacity(pools.len());
        for def in pools {
            let old = event.pool_at(&def.id);
            let was = old.map_or(PoolCounts::default(), |at| event.core.pool_count(at));
            let now = PoolCounts { capacity: def.capacity, ..was };
            if old.is_none_or(|at| event.core.pool_def(at) != def) {
                changes.push(Change::Pool { pool: def.id.clone(), counts: now });
            }
            counts.push(now);
        }
        let kept: BTreeSet<&PoolId> = pools.iter().map(|def| &def.id).collect();
        let gone = event.core.pool_defs().filter(|def| !kept.contains(&def.id));
        changes.extend(gone.map(|def| Change::PoolRemoved { pool: def.id.clone() }));
        event.core.lay_pools(pools, &counts);
        event.index_pools();
    }

    /// Deletes the event; with `force` also what is held and booked.
    pub(super) fn delete(&mut self, id: &EventId, force: bool) -> Result<Outcome, Rejection> {
        let no = self.event_no(id).ok_or_else(|| Rejection::new(Code::EventNotFound))?;
        if !force {
            self.check_delete(no)?;
        }
        let (seat_blocks, pool_blocks) = self.block_counts(no);
        self.mark_blocks(no, seat_blocks, pool_blocks);
        let holds: Vec<u64> = self.live_event(no).holds.iter().copied().collect();
        for hold_no in holds {
            self.write_hold(&mut super::draft::Draft::default(), hold_no, None);
        }
        let event = self.event_mut(no);
        for first in event.core.orders.chunk_firsts().collect::<Vec<u64>>() {
            self.dirty.insert(RecordKey::Orders { event: no, first });
        }
        let core = &self.live_event(no).core;
        let seat = |at: u32| Change::Seat { seat: core.seat_id(at).clone(), status: SeatStatus::Removed };
        let seats = (0..core.seat_total()).map(seat);
        let pools = core.pool_defs().map(|def| Change::PoolRemoved { pool: def.id.clone() });
        let changes: Vec<Change> = seats.chain(pools).collect();
        let info = &mut self.event_mut(no).core.info;
        info.seats = crate::domain::value::SeatCounts::default();
        info.pools = PoolCounts::default();
        self.publish(Cause::Delete, vec![(no, changes)]);
        let slot = &mut self.slots[no as usize];
        if let Some(event) = slot.live.take() {
            let info = &event.core.info;
            slot.last = LastVersions { version: info.version, definition: info.definition_version };
        }
        Ok(Outcome::Deleted { event: id.clone() })
    }

    fn check_delete(&self, no: EventNo) -> Result<(), Rejection> {
        let core = &self.live_event(no).core;
        let mut failures = Failures::default();
        if core.info.seats.held + core.info.seats.booked > 0 {
            for at in 0..core.seat_total() {
                match core.seat_state(at).status() {
                    status @ (SeatStatus::Held | SeatStatus::Booked) => failures.seat_in(core.seat_id(at), status),
                    SeatStatus::Free | SeatStatus::Blocked | SeatStatus::Removed => {}
                }
            }
        }
        for (def, counts) in core.pools().filter(|(_, counts)| counts.held + counts.booked > 0) {
            let (pool, available) = (def.id.clone(), counts.available());
            failures.conflict(Code::CapacityBelowCommitted, Conflict::Pool { pool, available, requested: 0 });
        }
        failures.finish()
    }

    fn block_counts(&self, no: EventNo) -> (usize, usize) {
        let core = &self.live_event(no).core;
        (core.seat_defs.len(), core.pool_defs.len())
    }

    /// Marks all blocks of seats and pools as changed: those of now, and as many as there were.
    fn mark_blocks(&mut self, no: EventNo, seat_blocks_before: usize, pool_blocks_before: usize) {
        let (seat_blocks, pool_blocks) = self.block_counts(no);
        let upto = |now: usize, before: usize| {
            0..u32::try_from(now.max(before)).expect("blocks are fewer than seats, which are counted in 32 bits")
        };
        for block in upto(seat_blocks, seat_blocks_before) {
            self.dirty.insert(RecordKey::SeatDefs { event: no, block });
            self.dirty.insert(RecordKey::SeatStates { event: no, block });
        }
        for block in upto(pool_blocks, pool_blocks_before) {
            self.dirty.insert(RecordKey::PoolDefs { event: no, block });
            self.dirty.insert(RecordKey::PoolCounts { event: no, block });
        }
    }

    /// Counts the units of customers anew where a limit appeared, or forgets them where it went.
    pub(super) fn recount(&mut self, no: EventNo) {
        let Self { slots, holds, .. } = self;
        let Some(event) = slots.get_mut(no as usize).and_then(|slot| slot.live.as_mut()) else { return };
        let numbers: Vec<u64> = event.holds.iter().copied().collect();
        let held = numbers.into_iter().filter_map(|hold_no| holds.get(hold_no));
        event.recount_customers(held.map(|hold| (hold.customer.clone(), units(&hold.items))));
    }
}

fn committed(counts: PoolCounts) -> u64 {
    counts.held + counts.booked + counts.blocked
}

/// The capacity must be enough for all that is held, booked and blocked.
fn check_capacity(failures: &mut Failures, def: &PoolDef, counts: PoolCounts) {
    let (pool, available, requested) = (def.id.clone(), counts.available(), def.capacity);
    if requested < committed(counts) {
        failures.conflict(Code::CapacityBelowCommitted, Conflict::Pool { pool, available, requested });
    }
}

fn free_pool(capacity: u64) -> PoolCounts {
    PoolCounts { capacity, ..PoolCounts::default() }
}

/// Positions of the seats that a new list leaves out.
fn removed_seats(event: &Event, seats: &[SeatDef]) -> Vec<u32> {
    let mut kept = vec![false; event.core.seat_total() as usize];
    for at in seats.iter().filter_map(|def| event.seat_at(&def.id)) {
        kept[at as usize] = true;
    }
    (0..event.core.seat_total()).filter(|at| !kept[*at as usize]).collect()
}

fn patched_head(old: &EventHead, patch: &Patch) -> EventHead {
    EventHead {
        name: patch.name.clone().unwrap_or_else(|| old.name.clone()),
        on_sale: patch.on_sale.unwrap_or(old.on_sale),
        hold: patch.hold.map_or(old.hold, |hold| hold.onto(old.hold)),
        limits: patch.limits.unwrap_or(old.limits),
        labels: patch.labels.clone().unwrap_or_else(|| old.labels.clone()),
    }
}

fn patch_pool(def: &mut PoolDef, patch: &PoolPatch) {
    def.capacity = patch.capacity.unwrap_or(def.capacity);
    def.category = patch.category.clone().or_else(|| def.category.take());
    def.name = patch.name.clone().or_else(|| def.name.take());
}
