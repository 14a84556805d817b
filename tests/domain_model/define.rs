//! Define, change, delete.

use std::collections::BTreeSet;

use lastseat::domain::change::Cause;
use lastseat::domain::command::{Definition, Patch};
use lastseat::domain::id::EventId;
use lastseat::domain::inventory::Applied;
use lastseat::domain::outcome::{Code, Conflict, Outcome, Rejection};
use lastseat::domain::value::{EventHead, PoolCounts, PoolDef, SeatDef, SeatStatus, Version};

use super::{Bundle, Event, Model, Nos, Thing, reject};

impl Model {
    pub(super) fn define(
        &mut self,
        id: &EventId,
        definition: &Definition,
        seats: Vec<SeatDef>,
        pools: Vec<PoolDef>,
        if_match: Option<Version>,
        out: &mut Applied,
    ) -> Result<Outcome, Rejection> {
        check(&definition.head, &seats, &pools)?;
        let old = self.state.events.get(id).cloned();
        let mut nos = Nos::default();
        match &old {
            Some(old) => {
                if if_match.is_some_and(|wanted| wanted != old.definition_version) {
                    nos.moved(Some(old.definition_version));
                }
                check_room(old, &seats, &pools, &mut nos);
            }
            // Only what is there can be as it was.
            None if if_match.is_some() => nos.no(Code::EventNotFound),
            None => {}
        }
        nos.verdict()?;

        let created = old.is_none();
        let (version, definition_version) = self.state.gone.remove(id).unwrap_or_default();
        let old = old.unwrap_or_else(|| Event {
            head: definition.head.clone(),
            created_at: self.state.clock,
            version,
            definition_version,
            seats: Vec::new(),
            pools: Vec::new(),
            blocked: Bundle::default(),
            holds: Default::default(),
            lapsed: Default::default(),
            orders: Vec::new(),
        });
        let event = Event { head: definition.head.clone(), seats, pools, ..old.clone() };
        self.replace(id, &old, event, created, out);
        let event = Box::new(self.state.event_view(id).expect("just defined"));
        Ok(Outcome::Defined { created, event })
    }

    pub(super) fn change(
        &mut self,
        id: &EventId,
        patch: &Patch,
        if_match: Option<Version>,
        out: &mut Applied,
    ) -> Result<Outcome, Rejection> {
        let Some(old) = self.state.events.get(id).cloned() else { return reject(Code::EventNotFound) };
        let mut new = old.clone();
        let mut nos = Nos::default();
        if if_match.is_some_and(|wanted| wanted != old.definition_version) {
            nos.moved(Some(old.definition_version));
        }
        let head = &mut new.head;
        head.name = patch.name.clone().unwrap_or_else(|| head.name.clone());
        head.on_sale = patch.on_sale.unwrap_or(head.on_sale);
        head.hold = patch.hold.map_or(head.hold, |hold| hold.onto(head.hold));
        head.limits = patch.limits.unwrap_or(head.limits);
        head.labels = patch.labels.clone().unwrap_or_else(|| head.labels.clone());
        if head.hold.ttl_ms > head.hold.max_ttl_ms {
            nos.no(Code::Invalid);
        }
        for change in &patch.pools {
            let Some(pool) = new.pools.iter_mut().find(|pool| pool.id == change.id) else {
                nos.conflict(Code::PoolNotFound, Conflict::NoPool { pool: change.id.clone() });
                continue;
            };
            pool.capacity = change.capacity.unwrap_or(pool.capacity);
            pool.category = change.category.clone().or_else(|| pool.category.clone());
            pool.name = change.name.clone().or_else(|| pool.name.clone());
        }
        check_room(&old, &new.seats, &new.pools, &mut nos);
        nos.verdict()?;
        self.replace(id, &old, new, false, out);
        Ok(Outcome::Changed { event: Box::new(self.state.event_view(id).expect("it is there")) })
    }

    /// Puts the new definition in the place of the old one and says what of it changed. Nothing changed: no version.
    fn replace(&mut self, id: &EventId, old: &Event, mut new: Event, created: bool, out: &mut Applied) {
        let same = old.head == new.head && old.seats == new.seats && old.pools == new.pools;
        if same && !created {
            return;
        }
        let mut touched = BTreeSet::from([Thing::Head]);
        for def in old.seats.iter().filter(|def| !new.seats.contains(def)) {
            touched.insert(Thing::Seat(def.id.clone()));
        }
        for def in new.seats.iter().filter(|def| !old.seats.contains(def)) {
            touched.insert(Thing::Seat(def.id.clone()));
        }
        for def in old.pools.iter().filter(|def| !new.pools.contains(def)) {
            touched.insert(Thing::Pool(def.id.clone()));
        }
        for def in new.pools.iter().filter(|def| !old.pools.contains(def)) {
            touched.insert(Thing::Pool(def.id.clone()));
        }
        new.definition_version = new.definition_version.next();
        self.state.events.insert(id.clone(), new);
        self.publish(Cause::Define, touched.into_iter().map(|thing| (id.clone(), thing)).collect(), out);
    }

    pub(super) fn delete(&mut self, id: &EventId, force: bool, out: &mut Applied) -> Result<Outcome, Rejection> {
        let Some(event) = self.state.events.get_mut(id) else { return reject(Code::EventNotFound) };
        let mut nos = Nos::default();
        if !force {
            for def in &event.seats {
                let status = event.status(&def.id);
                let code = match status {
                    SeatStatus::Held => Code::SeatHeld,
                    SeatStatus::Booked => Code::SeatBooked,
                    SeatStatus::Free | SeatStatus::Blocked | SeatStatus::Removed => continue,
                };
                nos.conflict(code, Conflict::Seat { seat: def.id.clone(), status });
            }
            for def in &event.pools {
                let counts = event.counts(&def.id).expect("a pool of the list");
                if counts.held + counts.booked > 0 {
                    below_committed(def, counts, 0, &mut nos);
                }
            }
        }
        nos.verdict()?;
        let mut touched = BTreeSet::from([(id.clone(), Thing::Head)]);
        touched.extend(event.seats.iter().map(|def| (id.clone(), Thing::Seat(def.id.clone()))));
        touched.extend(event.pools.iter().map(|def| (id.clone(), Thing::Pool(def.id.clone()))));
        event.seats.clear();
        event.pools.clear();
        self.publish(Cause::Delete, touched, out);
        let gone = self.state.events.remove(id).expect("found above");
        self.state.gone.insert(id.clone(), (gone.version, gone.definition_version));
        Ok(Outcome::Deleted { event: id.clone() })
    }
}

fn below_committed(def: &PoolDef, counts: PoolCounts, capacity: u64, nos: &mut Nos) {
    let available = counts.capacity - counts.held - counts.booked - counts.blocked;
    let conflict = Conflict::Pool { pool: def.id.clone(), available, requested: capacity };
    nos.conflict(Code::CapacityBelowCommitted, conflict);
}

/// What the new list leaves out must be free, and no pool smaller than what is committed of it.
fn check_room(old: &Event, seats: &[SeatDef], pools: &[PoolDef], nos: &mut Nos) {
    for def in old.seats.iter().filter(|def| !seats.iter().any(|new| new.id == def.id)) {
        let status = old.status(&def.id);
        let code = match status {
            SeatStatus::Booked => Code::SeatBooked,
            SeatStatus::Held => Code::SeatHeld,
            SeatStatus::Blocked => Code::SeatBlocked,
            SeatStatus::Free | SeatStatus::Removed => continue,
        };
        nos.conflict(code, Conflict::Seat { seat: def.id.clone(), status });
    }
    for def in &old.pools {
        let counts = old.counts(&def.id).expect("a pool of the list");
        let capacity = pools.iter().find(|new| new.id == def.id).map_or(0, |new| new.capacity);
        if capacity < counts.held + counts.booked + counts.blocked {
            below_committed(def, counts, capacity, nos);
        }
    }
}

/// What needs no state.
fn check(head: &EventHead, seats: &[SeatDef], pools: &[PoolDef]) -> Result<(), Rejection> {
    if head.hold.ttl_ms > head.hold.max_ttl_ms {
        return reject(Code::Invalid);
    }
    let ids: BTreeSet<_> = seats.iter().map(|def| &def.id).collect();
    let names: BTreeSet<_> = pools.iter().map(|def| &def.id).collect();
    if ids.len() < seats.len() || names.len() < pools.len() {
        return reject(Code::DuplicateItem);
    }
    Ok(())
}
