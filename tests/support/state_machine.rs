//! An inventory with its store and persister, as a node runs them.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::print_stdout)]

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::Duration;

use lastseat::domain::change::ChangeSet;
use lastseat::domain::inventory::Inventory;
use lastseat::storage::state::persister::{Persister, PersisterOptions};
use lastseat::storage::state::{AppliedPoint, Opened, PersistBatch, StateError, StateOptions, StateStore};

use super::child::{Rng, say};
use super::{model, sales};

pub fn options() -> StateOptions {
    StateOptions { history_max: 100_000, ..model::options() }
}

pub fn open(folder: &Path, boot: &str) -> Opened {
    try_open(folder, 0, boot).unwrap()
}

pub fn try_open(folder: &Path, first_log_index: u64, boot: &str) -> Result<Opened, StateError> {
    StateStore::open_as_booted(folder, first_log_index, options(), Some(boot.into()))
}

/// The state in memory and what was not collected from it yet.
pub struct Machine {
    pub inventory: Inventory,
    pub applied: u64,
    collected: u64,
    pub sets: Vec<Arc<ChangeSet>>,
}

impl Machine {
    pub fn of(opened: Opened) -> (Self, StateStore) {
        let n = index(&opened.applied);
        (Self { inventory: opened.inventory, applied: n, collected: n, sets: Vec::new() }, opened.store)
    }

    pub fn step(&mut self) {
        self.applied += 1;
        let applied = self.inventory.apply(&sales::proposal(self.applied));
        self.sets.extend(applied.change_sets.into_iter().map(Arc::new));
    }

    pub fn collect(&mut self) -> Option<PersistBatch> {
        if self.applied == self.collected {
            return None;
        }
        self.collected = self.applied;
        let history = std::mem::take(&mut self.sets);
        Some(PersistBatch { applied: model::applied(self.applied), records: self.inventory.take_dirty(), history })
    }
}

pub fn index(applied: &AppliedPoint) -> u64 {
    applied.last_applied.map_or(0, |id| id.index)
}

/// The opened state is that of a whole number of entries, and sound. Returns how many.
pub fn check(opened: &Opened) -> u64 {
    let n = index(&opened.applied);
    let expected = sales::after(n);
    assert_eq!(opened.inventory.freeze().audit(), Vec::<String>::new(), "after entry {n}");
    assert_eq!(opened.inventory.freeze().state_hash(), expected.freeze().state_hash(), "after entry {n}");
    let (oldest, newest) = (opened.store.history_oldest(), opened.inventory.revision().0);
    let mut next = oldest;
    while next <= newest {
        let sets = opened.store.history(next, 1_000).unwrap();
        assert!(!sets.is_empty(), "history lacks revision {next} of {newest}");
        sets.iter().for_each(|set| {
            assert_eq!(set.revision.0, next);
            next += 1;
        });
    }
    assert!(opened.store.history(newest + 1, 1).unwrap().is_empty());
    n
}

/// Work of a child: applies and persists entries, with a snapshot now and then.
pub fn run_node(folder: &Path, first_log_index: u64, mut rng: Rng) {
    let (machine, store) = Machine::of(try_open(folder, first_log_index, model::BOOT).unwrap());
    say(&format!("opened {}", machine.applied));
    let machine = Arc::new(Mutex::new(machine));
    let mine = machine.clone();
    let options = PersisterOptions { coalesce: Duration::from_millis(rng.below(8)) };
    let collect = Box::new(move || mine.lock().unwrap().collect());
    let persister = Persister::spawn(store.clone(), options, collect).unwrap();
    let mut told = 0;
    for round in 1.. {
        machine.lock().unwrap().step();
        persister.notify();
        if round % 150 == 0 {
            let (frozen, n) = {
                let machine = machine.lock().unwrap();
                (machine.inventory.freeze(), machine.applied)
            };
            store.write_snapshot(&frozen, &model::applied(n)).unwrap();
            say(&format!("snapshot {n}"));
        }
        let persisted = persister.persisted_index();
        if persisted > told {
            told = persisted;
            say(&format!("wrote {told}"));
        }
        sleep(Duration::from_micros(rng.below(1_000)));
    }
}
