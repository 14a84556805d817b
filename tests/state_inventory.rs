//! The inventory itself, through the database, snapshots and kills.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "support/state_child.rs"]
mod child;
#[path = "support/state_model.rs"]
mod model;
#[path = "support/state_machine.rs"]
mod node;
#[path = "support/sales.rs"]
mod sales;

use std::fs;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use child::{Heard, Rng, Running};
use lastseat::domain::command::{Proposal, ProposalBody};
use lastseat::domain::value::Millis;
use lastseat::storage::state::{Opened, Source};
use node::{Machine, check, open};
use proptest::prelude::*;

#[test]
fn child() {
    child::play_child(node::run_node);
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
        let running = Running::start("child", &folder, 0, rng.next());
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
