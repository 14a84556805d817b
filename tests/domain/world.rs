//! One run: the inventory, the second model, a reader that folds the change sets, and a disk that takes the dirty
//! records, all side by side.

use std::collections::{BTreeMap, BTreeSet};

use lastseat::domain::change::{Change, ChangeSet};
use lastseat::domain::command::Proposal;
use lastseat::domain::id::{EventId, Key, PoolId, SeatId};
use lastseat::domain::inventory::{Applied, Frozen, Inventory, StateHash};
use lastseat::domain::record::{RecordBody, RecordKey};
use lastseat::domain::value::{PoolCounts, SeatStatus, Totals, Version};

use crate::domain_model::{Model, compare};

/// All views are compared after this many proposals; those of what changed after each.
const LOOK_AT_ALL_EVERY: usize = 25;
/// The dirty records are taken after this many proposals.
const TAKE_DIRTY_EVERY: usize = 7;
/// A frozen view is taken, and the older one looked at again, after this many proposals.
const FREEZE_EVERY: usize = 40;

type Result<T = ()> = std::result::Result<T, String>;

#[derive(Default)]
pub struct World {
    pub model: Model,
    pub inventory: Inventory,
    /// What somebody who reads only the stream knows.
    fold: BTreeMap<EventId, Folded>,
    /// Versions of events that were deleted: they go on.
    gone: BTreeMap<EventId, Version>,
    revision: u64,
    disk: BTreeMap<RecordKey, RecordBody>,
    frozen: Option<(Frozen, StateHash, Vec<(RecordKey, RecordBody)>)>,
    steps: usize,
    /// The model forgets nothing; stories about forgetting do without it.
    pub without_model: bool,
    all_applied: Vec<Applied>,
}

#[derive(Default, Debug, PartialEq)]
struct Folded {
    version: Version,
    seats: BTreeMap<SeatId, SeatStatus>,
    pools: BTreeMap<PoolId, PoolCounts>,
}

impl Folded {
    fn totals(&self) -> Totals {
        let mut totals = Totals { capacity: self.seats.len() as u64, ..Totals::default() };
        for status in self.seats.values() {
            match status {
                SeatStatus::Free | SeatStatus::Removed => {}
                SeatStatus::Held => totals.held += 1,
                SeatStatus::Booked => totals.booked += 1,
                SeatStatus::Blocked => totals.blocked += 1,
            }
        }
        for counts in self.pools.values() {
            totals.capacity += counts.capacity;
            totals.held += counts.held;
            totals.booked += counts.booked;
            totals.blocked += counts.blocked;
        }
        totals
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, wanted: &T, given: &T) -> Result {
    if wanted == given {
        return Ok(());
    }
    Err(format!("{what} differs:\n  expected {wanted:?}\n  given    {given:?}"))
}

impl World {
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies one proposal to both and compares all there is to compare.
    pub fn step(&mut self, proposal: &Proposal) -> Result<Applied> {
        let wanted = self.model.apply(proposal);
        let given = self.inventory.apply(proposal);
        if !self.without_model {
            compare::applied(&wanted, &given)?;
            same("clock", &self.model.state.clock, &self.inventory.clock())?;
            same("revision", &self.model.state.revision, &self.inventory.revision())?;
            same("next_due", &self.model.next_due(), &self.inventory.next_due())?;
        }
        let mut touched = BTreeSet::new();
        for set in &given.change_sets {
            touched.extend(self.read(set)?);
        }
        self.steps += 1;
        if self.steps.is_multiple_of(LOOK_AT_ALL_EVERY) {
            touched.extend(self.model.state.events.keys().cloned());
        }
        for event in touched.iter().filter(|_| !self.without_model) {
            self.look_at(event)?;
        }
        if !self.without_model {
            self.look_at_webhooks()?;
        }
        let frozen = self.inventory.freeze();
        let violations = frozen.audit();
        if !violations.is_empty() {
            return Err(format!("audit: {violations:?}"));
        }
        if self.steps.is_multiple_of(TAKE_DIRTY_EVERY) {
            self.save();
        }
        if self.steps.is_multiple_of(FREEZE_EVERY) {
            self.check_frozen()?;
            let records = frozen.records().collect();
            self.frozen = Some((frozen.clone(), frozen.state_hash(), records));
        }
        self.all_applied.push(given.clone());
        Ok(given)
    }

    /// A reader of the stream: dense positions, absolute values, totals that add up.
    fn read(&mut self, set: &ChangeSet) -> Result<Vec<EventId>> {
        self.revision += 1;
        same("revision of the change set", &self.revision, &set.revision.0)?;
        for part in &set.events {
            let went_on = self.gone.remove(&part.event);
            let folded = self.fold.entry(part.event.clone()).or_default();
            if let Some(version) = went_on {
                folded.version = version;
            }
            same("version of the change set", &folded.version.next(), &part.version)?;
            folded.version = part.version;
            for change in &part.changes {
                match change {
                    Change::Seat { seat, status: SeatStatus::Removed } => {
                        folded.seats.remove(seat).ok_or(format!("{seat} is removed, but was not there"))?;
                    }
                    Change::Seat { seat, status } => {
                        folded.seats.insert(seat.clone(), *status);
                    }
                    Change::Pool { pool, counts } => {
                        folded.pools.insert(pool.clone(), *counts);
                    }
                    Change::PoolRemoved { pool } => {
                        folded.pools.remove(pool).ok_or(format!("{pool} is removed, but was not there"))?;
                    }
                }
            }
            same("totals", &folded.totals(), &part.totals)?;
            if set.cause == lastseat::domain::change::Cause::Delete {
                same("what a deleted event leaves", &0, &(folded.seats.len() + folded.pools.len()))?;
                let version = folded.version;
                self.fold.remove(&part.event);
                self.gone.insert(part.event.clone(), version);
            }
        }
        Ok(set.events.iter().map(|part| part.event.clone()).collect())
    }

    /// Every view of one event: by the model, by the reader of the stream, by the inventory.
    fn look_at(&self, id: &EventId) -> Result {
        let state = &self.model.state;
        let given = self.inventory.event(id).map(|view| compare::plain_event(&view));
        same("event", &state.event_view(id).map(|view| compare::plain_event(&view)), &given)?;
        let frozen = self.inventory.freeze_event(id);
        let Some(event) = state.events.get(id) else {
            return same("no frozen view of what is not there", &true, &frozen.is_none());
        };
        let frozen = frozen.ok_or("no frozen view")?;
        let folded = self.fold.get(id).ok_or("the stream says it is gone")?;
        let wanted: Vec<_> = event.seats.iter().map(|def| (def, event.status(&def.id))).collect();
        same("seats", &wanted, &frozen.seats().collect())?;
        let read: BTreeMap<_, _> = frozen.seats().map(|(def, status)| (def.id.clone(), status)).collect();
        same("seats folded from the stream", &read, &folded.seats)?;
        let pools: BTreeMap<_, _> =
            given.into_iter().flat_map(|view| view.pools).map(|pool| (pool.id, pool.counts)).collect();
        same("pools folded from the stream", &pools, &folded.pools)?;
        same("version folded from the stream", &frozen.version(), &folded.version)?;
        for def in &event.seats {
            same("seat", &state.seat_view(id, &def.id), &self.inventory.seat(id, &def.id))?;
        }
        for token in event.holds.keys().chain(event.lapsed.keys()) {
            let mut given = self.inventory.hold(id, token);
            if let Some(hold) = &mut given {
                hold.items.sort();
            }
            same("hold", &state.hold_view(id, token), &given)?;
        }
        let wanted: Vec<_> = event.orders.iter().map(|order| state.order_view(id, &order.id).unwrap()).collect();
        for order in &wanted {
            let mut given = self.inventory.order(id, &order.order).ok_or("no such order")?;
            given.items.sort();
            same("order", order, &given)?;
        }
        let mut given = self.inventory.orders(id, None, None, usize::MAX).ok_or("no orders")?;
        given.iter_mut().for_each(|order| order.items.sort());
        same("orders", &wanted, &given)?;
        let report = frozen.audit();
        let totals = event.totals();
        let counted = (report.version, report.capacity, report.held, report.booked, report.blocked, report.oversold);
        same("audit", &(event.version, totals.capacity, totals.held, totals.booked, totals.blocked, 0), &counted)?;
        same("available", &totals.available(), &report.available)?;
        same("violations", &Vec::new(), &report.violations)
    }

    fn look_at_webhooks(&self) -> Result {
        let (state, inventory) = (&self.model.state, &self.inventory);
        let wanted: Vec<_> = state.webhooks.iter().map(|(id, hook)| hook.view(id, state.clock)).collect();
        same("webhooks", &wanted, &inventory.webhooks(None, usize::MAX))?;
        for (id, hook) in &state.webhooks {
            same("webhook", &Some(hook.view(id, state.clock)), &inventory.webhook(id))?;
            let stored = inventory.webhook_stored(id).ok_or("no such webhook")?;
            same("attempts", &hook.remembered(), &&stored.attempts[..])?;
            same("epoch", &hook.epoch, &stored.epoch)?;
        }
        Ok(())
    }

    fn save(&mut self) {
        for (key, body) in self.inventory.take_dirty() {
            match body {
                Some(body) => self.disk.insert(key, body),
                None => self.disk.remove(&key),
            };
        }
    }

    fn check_frozen(&self) -> Result {
        let Some((frozen, hash, records)) = &self.frozen else { return Ok(()) };
        same("hash of a frozen view, later", hash, &frozen.state_hash())?;
        same("records of a frozen view, later", records, &frozen.records().collect())
    }

    fn compare_at_the_end(&self) -> Result {
        for event in self.model.state.events.keys().chain(self.model.state.gone.keys()) {
            self.look_at(event)?;
        }
        let batches = self.model.state.slices.keys();
        let inside = batches.clone().map(|(key, start)| Key::parse(&format!("{key}:{start}")).unwrap());
        let keys = self.model.state.results.keys().cloned().chain(batches.map(|(key, _)| key.clone())).chain(inside);
        for key in keys {
            let wanted = self.model.recorded(&key).map(|answer| compare::plain(&answer));
            let given = self.inventory.recorded(&key).map(|answer| compare::plain(&answer));
            same(&format!("what is recorded under {key}"), &wanted, &given)?;
        }
        Ok(())
    }

    /// Stops and starts again from what is on disk.
    pub fn restart(&mut self) -> Result {
        self.save();
        let hash = self.inventory.freeze().state_hash();
        self.inventory = Inventory::from_records(self.disk.clone()).map_err(|error| error.to_string())?;
        same("hash after a restart", &hash, &self.inventory.freeze().state_hash())
    }

    /// The end of a run: the log, the disk and a snapshot from the middle all lead to the same state.
    pub fn finish(mut self, proposals: &[Proposal]) -> Result {
        self.check_frozen()?;
        if !self.without_model {
            self.compare_at_the_end()?;
        }
        let hash = self.inventory.freeze().state_hash();

        let mut again = Inventory::new();
        let middle = proposals.len() / 2;
        let mut snapshot = None;
        for (at, proposal) in proposals.iter().enumerate() {
            if at == middle {
                snapshot = Some(again.freeze());
            }
            same(&format!("proposal {at}, played again"), &self.all_applied[at], &again.apply(proposal))?;
        }
        same("hash after the whole log, played again", &hash, &again.freeze().state_hash())?;

        if proposals.is_empty() {
            return Ok(());
        }
        self.save();
        let frozen: BTreeMap<_, _> = self.inventory.freeze().records().collect();
        same("records on disk", &frozen, &self.disk)?;
        let loaded = Inventory::from_records(self.disk).map_err(|error| error.to_string())?;
        same("hash of what was loaded from disk", &hash, &loaded.freeze().state_hash())?;

        let Some(snapshot) = snapshot else { return Ok(()) };
        let mut records: Vec<_> = snapshot.records().collect();
        records.reverse();
        let mut installed = Inventory::from_records(records).map_err(|error| error.to_string())?;
        same("hash of a snapshot", &snapshot.state_hash(), &installed.freeze().state_hash())?;
        for (at, proposal) in proposals.iter().enumerate().skip(middle) {
            let given = installed.apply(proposal);
            same(&format!("proposal {at} after a snapshot"), &self.all_applied[at], &given)?;
        }
        same("hash after a snapshot and the rest of the log", &hash, &installed.freeze().state_hash())
    }
}
