//! The inventory itself, through the database, snapshots and kills.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "support/state_child.rs"]
mod child;
#[path = "support/state_model.rs"]
mod model;
#[path = "support/sales.rs"]
mod sales;

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use child::{Heard, Rng, Running, say};
use lastseat::domain::change::ChangeSet;
use lastseat::domain::command::{Proposal, ProposalBody};
use lastseat::domain::inventory::Inventory;
use lastseat::domain::value::Millis;
use lastseat::storage::state::persister::{Persister, PersisterOptions};
use lastseat::storage::state::{AppliedPoint, Opened, PersistBatch, Source, StateOptions, StateStore};
use proptest::prelude::*;

fn options() -> StateOptions {
    StateOptions { history_max: 100_000, ..model::options() }
}

fn open(folder: &Path, boot: &str) -> Opened {
    StateStore::open_as_booted(folder, 0, options(), Some(boot.into())).unwrap()
}

/// The state in memory and what was not collected from it yet.
struct Machine {
    inventory: Inventory,
    applied: u64,
    collected: u64,
    sets: Vec<Arc<ChangeSet>>,
}

impl Machine {
    fn of(opened: Opened) -> (Self, StateStore) {
        let n = index(&opened.applied);
        (Self { inventory: opened.inventory, applied: n, collected: n, sets: Vec::new() }, opened.store)
    }

    fn step(&mut self) {
        self.applied += 1;
        let applied = self.inventory.apply(&sales::proposal(self.applied));
        self.sets.extend(applied.change_sets.into_iter().map(Arc::new));
    }

    fn collect(&mut self) -> Option<PersistBatch> {
        if self.applied == self.collected {
            return None;
        }
        self.collected = self.applied;
        let history = std::mem::take(&mut self.sets);
        Some(PersistBatch { applied: model::applied(self.applied), records: self.inventory.take_dirty(), history })
    }
}

fn index(applied: &AppliedPoint) -> u64 {
    applied.last_applied.map_or(0, |id| id.index)
}

/// The opened state is that of a whole number of entries, and sound. Returns how many.
fn check(opened: &Opened) -> u64 {
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

#[test]
fn child() {
    child::play_child(|folder, mut rng| {
        let (machine, store) = Machine::of(open(folder, model::BOOT));
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
    });
}

#[test]
fn a_killed_node_finds_a_sound_inventory() {
    let seed = std::env::var("LASTSEAT_TEST_SEED").map_or(1, |s| s.parse().unwrap());
    let mut rng = Rng(seed);
    let home = tempfile::tempdir().unwrap();
    let mut folder = home.path().join("state");
    let (mut heard, mut sources) = (Heard::default(), [0; 3]);
    for round in 0..30 {
        if round % 10 == 0 {
            folder = home.path().join(format!("state-{round}"));
            heard = Heard::default();
        }
        let running = Running::start(&folder, 0, rng.next());
        let _ = running.opened.recv_timeout(Duration::from_secs(20));
        sleep(Duration::from_micros(rng.below(250_000)));
        running.kill(&mut heard);
        // Every third time as if the machine had been rebooted, which is what makes it take the snapshot.
        let rebooted = round % 3 == 2;
        let opened = open(&folder, if rebooted { "another boot" } else { model::BOOT });
        let n = check(&opened);
        sources[opened.source as usize] += 1;
        let least = if rebooted { heard.snapshot } else { heard.wrote };
        assert!(n >= least, "round {round}, seed {seed}: at entry {n} from {:?}, but {heard:?}", opened.source);
        heard.wrote = n;
        opened.store.close().unwrap();
    }
    println!("opened empty, from sled, from a snapshot: {sources:?}");
    assert!(heard.lines > 30, "the children did not get to work");
}

#[test]
fn another_node_gets_the_same_inventory_by_a_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let (mut machine, store) = Machine::of(open(&dir.path().join("one"), model::BOOT));
    for n in 1..=500 {
        machine.step();
        if n % 7 == 0 {
            store.write(&machine.collect().unwrap()).unwrap();
        }
    }
    let frozen = machine.inventory.freeze();
    // Apply and persister go on while the snapshot is made: its history must end where it does.
    (0..100).for_each(|_| machine.step());
    store.write(&machine.collect().unwrap()).unwrap();
    let snapshot = store.write_snapshot(&frozen, &model::applied(500)).unwrap();
    assert_eq!(snapshot.bytes, fs::metadata(&snapshot.path).unwrap().len());

    let (other, other_store) = Machine::of(open(&dir.path().join("two"), model::BOOT));
    assert_eq!(other.applied, 0);
    let (_, path) = other_store.incoming_snapshot().unwrap();
    fs::copy(&snapshot.path, &path).unwrap();
    let (inventory, applied) = other_store.install_snapshot(&path).unwrap();
    let installed = Opened { store: other_store, inventory, applied, source: Source::Snapshot };
    assert_eq!(check(&installed), 500);
    assert_eq!(installed.store.history(1, 100_000).unwrap(), {
        let mut all = store.history(1, 100_000).unwrap();
        all.truncate(installed.inventory.revision().0 as usize);
        all
    });
    // And it goes on from there like any other.
    let (mut other, store) = Machine::of(installed);
    (0..50).for_each(|_| other.step());
    store.write(&other.collect().unwrap()).unwrap();
    drop(store);
    assert_eq!(check(&open(&dir.path().join("two"), model::BOOT)), 550);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn whatever_the_batches_the_database_holds_the_state(cuts in prop::collection::vec(1_u64..60, 1..12)) {
        let dir = tempfile::tempdir().unwrap();
        let mut opened = open(dir.path(), model::BOOT);
        let mut n = 0;
        for (at, cut) in cuts.iter().enumerate() {
            let (mut machine, store) = Machine::of(opened);
            (0..*cut).for_each(|_| machine.step());
            store.write(&machine.collect().unwrap()).unwrap();
            n += cut;
            if at % 2 == 0 {
                store.close().unwrap();
            }
            drop(store);
            opened = open(dir.path(), model::BOOT);
            prop_assert_eq!(check(&opened), n);
        }
    }
}

/// A snapshot made by the first release, with the hash of its state beside it.
#[test]
fn a_snapshot_of_the_first_format_still_loads() {
    const FILE: &str = "tests/golden/inventory-1.snap";
    const ENTRIES: u64 = 40;
    let dir = tempfile::tempdir().unwrap();
    if std::env::var_os("LASTSEAT_BLESS").is_some() {
        let (mut machine, store) = Machine::of(open(&dir.path().join("made"), model::BOOT));
        (0..ENTRIES).for_each(|_| machine.step());
        store.write(&machine.collect().unwrap()).unwrap();
        let made = store.write_snapshot(&machine.inventory.freeze(), &model::applied(ENTRIES)).unwrap();
        fs::copy(made.path, FILE).unwrap();
    }
    let store = open(&dir.path().join("new"), model::BOOT).store;
    let (_, path) = store.incoming_snapshot().unwrap();
    fs::copy(FILE, &path).unwrap();
    let (inventory, applied) = store.install_snapshot(&path).unwrap();
    assert_eq!(check(&Opened { store, inventory, applied, source: Source::Snapshot }), ENTRIES);
}

/// `LASTSEAT_TEST_BOOKINGS=2000000 cargo test --release --test state_inventory many_bookings -- --nocapture`
#[test]
fn many_bookings_load_quickly_and_cost_few_upserts() {
    let bookings = std::env::var("LASTSEAT_TEST_BOOKINGS").map_or(60_000, |s| s.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let (mut machine, store) = Machine::of(open(dir.path(), model::BOOT));
    machine.step();
    let (mut records, mut writing) = (0, Duration::ZERO);
    let mut done = 0;
    while done < bookings {
        // What comes together in 50 ms at 100,000 bookings a second.
        for _ in 0..20 {
            machine.applied += 1;
            let requests = (0..250).map(|i| sales::booking(machine.applied, i)).collect();
            let stamp = Millis(2_000_000 + machine.applied);
            let applied = machine.inventory.apply(&Proposal { stamp, body: ProposalBody::Requests(requests) });
            machine.sets.extend(applied.change_sets.into_iter().map(Arc::new));
            done += 250;
        }
        let batch = machine.collect().unwrap();
        records += batch.records.len();
        let start = Instant::now();
        store.write(&batch).unwrap();
        writing += start.elapsed();
    }
    let hash = machine.inventory.freeze().state_hash();
    store.close().unwrap();
    let start = Instant::now();
    let opened = open(dir.path(), model::BOOT);
    let opening = start.elapsed();
    let per_booking = records as f64 / bookings as f64;
    println!("{bookings} bookings: {per_booking:.4} records each, written in {writing:?}, opened in {opening:?}");
    assert_eq!((opened.source, opened.inventory.freeze().state_hash()), (Source::Sled, hash));
    assert!(per_booking < 0.1);
    let snapshot_start = Instant::now();
    let snapshot = opened.store.write_snapshot(&opened.inventory.freeze(), &opened.applied).unwrap();
    println!("snapshot of {} bytes in {:?}", snapshot.bytes, snapshot_start.elapsed());
    let rebuild_start = Instant::now();
    drop(opened);
    assert_eq!(open(dir.path(), "rebooted").source, Source::Snapshot);
    println!("rebuilt in {:?}", rebuild_start.elapsed());
}
