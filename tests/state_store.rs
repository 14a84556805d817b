//! What a node keeps is what it finds again, and what is broken is noticed.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "support/files.rs"]
mod files;
#[path = "support/state_model.rs"]
mod model;

use std::fs;
use std::path::{Path, PathBuf};

use lastseat::storage::state::{Source, StateError};
use model::{BOOT, open};

const REBOOTED: &str = "boot-2";

fn fill(folder: &Path, from: u64, to: u64) {
    let (store, n, _) = open(folder, 0, BOOT).unwrap();
    assert_eq!(n + 1, from);
    (from..=to).for_each(|n| model::write(&store, n).unwrap());
    store.close().unwrap();
}

fn message<T>(result: Result<T, StateError>) -> String {
    match result {
        Err(StateError::Corrupt(why)) => why,
        Err(other) => panic!("another error: {other}"),
        Ok(_) => panic!("it was served"),
    }
}

/// Files of the sled folder that is live.
fn sled_folders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    entries.filter(|p| p.file_name().unwrap().to_str().unwrap().starts_with("sled-")).collect()
}

#[test]
fn a_clean_stop_is_trusted_even_after_a_reboot() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), 1, 120);
    let (store, n, source) = open(dir.path(), 0, REBOOTED).unwrap();
    assert_eq!((n, source), (120, Source::Sled));
    // The mark is gone while the store is open: a power cut now must not be taken for a clean stop.
    drop(store);
    let (_, n, source) = open(dir.path(), 0, "boot-3").unwrap();
    assert_eq!((n, source), (0, Source::Empty));
}

#[test]
fn a_crash_is_trusted_only_under_the_same_kernel() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), 1, 50);
    let (store, ..) = open(dir.path(), 0, BOOT).unwrap();
    (51..=60).for_each(|n| model::write(&store, n).unwrap());
    drop(store);
    let (store, n, source) = open(dir.path(), 0, BOOT).unwrap();
    assert_eq!((n, source), (60, Source::Sled));
    model::snapshot(&store, 60).unwrap();
    (61..=70).for_each(|n| model::write(&store, n).unwrap());
    drop(store);
    let (_, n, source) = open(dir.path(), 55, REBOOTED).unwrap();
    assert_eq!((n, source), (60, Source::Snapshot));
    assert_eq!(sled_folders(dir.path()).len(), 1, "the old folder is gone");
}

#[test]
fn a_state_that_ends_before_the_log_begins_is_refused_with_advice() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), 1, 50);
    let (store, n, _) = open(dir.path(), 51, BOOT).unwrap();
    assert_eq!(n, 50);
    drop(store);
    let why = message(open(dir.path(), 52, BOOT));
    assert!(why.contains("the log begins with entry 52"), "{why}");
    assert!(why.contains("empty --data folder and a new --node-id"), "{why}");
    // Nothing was thrown away.
    assert_eq!(open(dir.path(), 51, BOOT).unwrap().1, 50);
}

#[test]
fn the_newest_snapshot_that_is_whole_and_reaches_the_log_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let (store, ..) = open(dir.path(), 0, BOOT).unwrap();
    (1..=30).for_each(|n| model::write(&store, n).unwrap());
    let old = model::snapshot(&store, 30).unwrap();
    let kept = fs::read(&old.path).unwrap();
    (31..=40).for_each(|n| model::write(&store, n).unwrap());
    let new = model::snapshot(&store, 40).unwrap();
    assert!(!old.path.exists(), "older snapshots are dropped");
    assert_eq!(store.latest_snapshot(), Some(new.clone()));
    drop(store);
    fs::write(&old.path, kept).unwrap();
    let mut broken = fs::read(&new.path).unwrap();
    let middle = broken.len() / 2;
    broken[middle] ^= 1;
    fs::write(&new.path, broken).unwrap();
    assert!(message(open(dir.path(), 35, REBOOTED)).contains("wrong checksum"));
    assert_eq!(open(dir.path(), 31, REBOOTED).unwrap().1, 30);
}

#[test]
fn an_installed_snapshot_replaces_everything() {
    let dir = tempfile::tempdir().unwrap();
    let foreign = model::foreign_snapshot(&dir.path().join("other"), 100);
    let home = dir.path().join("home");
    fill(&home, 1, 20);
    let (store, ..) = open(&home, 0, BOOT).unwrap();
    assert_eq!(model::install(&store, &foreign.path).unwrap(), 100);
    model::check_history(&store, 100);
    assert_eq!(store.latest_snapshot().unwrap().applied, model::applied(100));
    // A batch from before comes late: void.
    model::write(&store, 21).unwrap();
    model::check_history(&store, 100);
    (101..=110).for_each(|n| model::write(&store, n).unwrap());
    drop(store);
    assert_eq!(open(&home, 101, BOOT).unwrap().1, 110);
    assert_eq!(open(&home, 101, REBOOTED).unwrap().1, 100);
    assert_eq!(sled_folders(&home).len(), 1);
}

#[test]
fn a_broken_snapshot_changes_nothing_when_it_is_installed() {
    let dir = tempfile::tempdir().unwrap();
    let foreign = model::foreign_snapshot(&dir.path().join("other"), 30);
    let good = fs::read(&foreign.path).unwrap();
    let home = dir.path().join("home");
    fill(&home, 1, 20);
    let (store, ..) = open(&home, 0, BOOT).unwrap();
    let bad = dir.path().join("bad");
    let mut tried = 0;
    for at in (0..good.len()).step_by(good.len() / 150 + 1).chain(good.len() - 60..good.len()) {
        let mut bytes = good.clone();
        bytes[at] ^= 1 << (at % 8);
        fs::write(&bad, &bytes).unwrap();
        let refused = model::install(&store, &bad);
        assert!(matches!(refused, Err(StateError::Corrupt(_) | StateError::NewerFormat(_))), "byte {at}: {refused:?}");
        tried += 1;
    }
    assert!(tried > 100);
    for end in [0, 7, 8, 100, good.len() / 2, good.len() - 1] {
        fs::write(&bad, &good[..end]).unwrap();
        message(model::install(&store, &bad));
    }
    fs::write(&bad, [&good[..], b"x"].concat()).unwrap();
    assert!(message(model::install(&store, &bad)).contains("goes on after"));
    model::check_history(&store, 20);
    (21..=25).for_each(|n| model::write(&store, n).unwrap());
    drop(store);
    assert_eq!(open(&home, 0, BOOT).unwrap().1, 25);
    assert_eq!(sled_folders(&home).len(), 1);
}

#[test]
fn an_install_that_was_interrupted_counts_once_current_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let foreign = model::foreign_snapshot(&dir.path().join("other"), 100);
    let home = dir.path().join("home");
    fill(&home, 1, 20);
    let installing = |generation| {
        let name = foreign.path.file_stem().unwrap().to_str().unwrap();
        home.join(format!("snapshots/{name}.sled-{generation}.installing"))
    };
    // Before the flip: as if it had never begun.
    fs::copy(&foreign.path, installing(2)).unwrap();
    fs::create_dir(home.join("sled-2")).unwrap();
    let (store, n, _) = open(&home, 0, BOOT).unwrap();
    assert_eq!((n, store.latest_snapshot()), (20, None));
    model::install(&store, &foreign.path).unwrap();
    let kept = store.latest_snapshot().unwrap();
    drop(store);
    // After it, and before the snapshot got its name.
    fs::rename(&kept.path, installing(2)).unwrap();
    let (store, n, _) = open(&home, 101, REBOOTED).unwrap();
    assert_eq!((n, store.latest_snapshot()), (100, Some(kept)));
}

#[test]
fn flipped_bits_in_the_database_are_never_served() {
    /// Enough for several segments of sled's file.
    const LAST: u64 = 240;
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("home");
    fill(&home, 1, LAST);
    let db = sled_folders(&home)[0].join("db");
    let length = fs::metadata(&db).unwrap().len() as usize;
    let (mut rebuilt, mut harmless, mut older) = (0, 0, 0);
    for round in 0..40 {
        let copy = dir.path().join("copy");
        files::copy_folder(&home, &copy);
        let db = sled_folders(&copy)[0].join("db");
        let mut bytes = fs::read(&db).unwrap();
        // A burst in most rounds, so that it hits something that is in use.
        let at = (round * 7919 + 13) * 4099 % length;
        let burst = if round % 4 == 0 { 1 } else { 1 << (round % 14) };
        bytes[at..(at + burst).min(length)].iter_mut().for_each(|b| *b ^= 0x10);
        fs::write(&db, bytes).unwrap();
        // `open` compares whatever is served with what it should be.
        match open(&copy, 0, BOOT).unwrap() {
            (_, LAST, Source::Sled) => harmless += 1,
            (_, 0, Source::Empty) => rebuilt += 1,
            // sled drops what follows a broken place in its log: an older batch, whole. The log brings the rest.
            (_, n, Source::Sled) if n < LAST => older += 1,
            (_, n, source) => panic!("round {round}: opened at {n} from {source:?}"),
        }
        fs::remove_dir_all(&copy).unwrap();
    }
    println!("{rebuilt} rebuilt, {older} at an older batch, {harmless} harmless");
    assert!(rebuilt + older > 5, "{rebuilt} rebuilt, {older} at an older batch, {harmless} harmless");
}

#[test]
fn a_database_that_lost_a_whole_value_no_longer_adds_up() {
    for kind in 0..3_u8 {
        let dir = tempfile::tempdir().unwrap();
        fill(dir.path(), 1, 40);
        let db = sled::Config::new().path(&sled_folders(dir.path())[0]).segment_size(4 << 20).open().unwrap();
        let key = db.scan_prefix([0, 0, 0, 0, kind]).keys().last().unwrap().unwrap();
        db.remove(key).unwrap();
        drop(db);
        let (_, n, source) = open(dir.path(), 0, BOOT).unwrap();
        assert_eq!((n, source), (0, Source::Empty), "kind {kind}");
    }
}

#[test]
fn a_value_that_changed_behind_its_checksum_is_noticed() {
    for kind in 0..3_u8 {
        let dir = tempfile::tempdir().unwrap();
        fill(dir.path(), 1, 40);
        let db = sled::Config::new().path(&sled_folders(dir.path())[0]).segment_size(4 << 20).open().unwrap();
        let (key, value) = db.scan_prefix([0, 0, 0, 0, kind]).last().unwrap().unwrap();
        let mut value = value.to_vec();
        *value.last_mut().unwrap() ^= 1;
        db.insert(key, value).unwrap();
        drop(db);
        let (_, n, source) = open(dir.path(), 0, BOOT).unwrap();
        assert_eq!((n, source), (0, Source::Empty), "kind {kind}");
    }
}

#[test]
fn a_database_that_sled_cannot_open_is_rebuilt() {
    type Break = fn(&Path);
    let breaks: [Break; 5] = [
        |folder| fs::remove_dir_all(folder).unwrap(),
        |folder| fs::remove_file(folder.join("db")).unwrap(),
        |folder| fs::write(folder.join("conf"), b"segment_size: -1").unwrap(),
        |folder| {
            let noise: Vec<u8> = (0..9_000_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
            fs::write(folder.join("db"), noise).unwrap();
        },
        |folder| fs::write(folder.join("snap.0000000000000001"), b"not a snapshot of sled").unwrap(),
    ];
    for (which, break_it) in breaks.iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let (store, ..) = open(dir.path(), 0, BOOT).unwrap();
        (1..=40).for_each(|n| model::write(&store, n).unwrap());
        model::snapshot(&store, 40).unwrap();
        store.close().unwrap();
        break_it(&sled_folders(dir.path())[0]);
        let (store, n, source) = open(dir.path(), 40, BOOT).unwrap();
        println!("break {which}: {n} from {source:?}");
        assert_eq!(n, 40);
        (41..=50).for_each(|n| model::write(&store, n).unwrap());
        drop(store);
        assert_eq!(open(dir.path(), 40, BOOT).unwrap().1, 50);
    }
}

#[test]
fn a_folder_on_which_starts_die_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), 1, 10);
    // As a start leaves it that was killed while it opened the folder.
    let body = format!("lastseat state 1\nlive sled-1\nboot {BOOT}\nclean no\nunfinished-opens 2\n");
    fs::write(dir.path().join("CURRENT"), format!("{body}crc {:08x}\n", crc32c::crc32c(body.as_bytes()))).unwrap();
    assert_eq!(open(dir.path(), 0, BOOT).unwrap().2, Source::Empty);
}

#[test]
fn a_value_of_a_newer_format_is_refused_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), 1, 10);
    let key = [0, 0, 0, 0, 0, 0, 0];
    let mut value = vec![0, 99, 0, 0, 0, 0, 1, 2, 3];
    let crc = crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(&key), &value[..2]), &value[6..]);
    value[2..6].copy_from_slice(&crc.to_le_bytes());
    let db = sled::Config::new().path(&sled_folders(dir.path())[0]).segment_size(4 << 20).open().unwrap();
    db.insert(key, value).unwrap();
    drop(db);
    for _ in 0..2 {
        match open(dir.path(), 0, BOOT) {
            Err(StateError::NewerFormat(why)) => assert!(why.contains("start the newer build"), "{why}"),
            Err(other) => panic!("another error: {other}"),
            Ok(_) => panic!("it was served"),
        }
    }
}

#[test]
fn no_value_ever_goes_to_a_blob_file() {
    let dir = tempfile::tempdir().unwrap();
    let (store, ..) = open(dir.path(), 0, BOOT).unwrap();
    for n in 1..=60 {
        let record = |i: u64| (i.to_be_bytes().to_vec(), Some(vec![(n + i) as u8; 24 << 10]));
        store.write_raw(&model::applied(n), (0..40).map(|i| record(i * n % 97)).collect(), &[]).unwrap();
    }
    store.close().unwrap();
    for folder in sled_folders(dir.path()) {
        let blobs = fs::read_dir(folder.join("blobs")).unwrap().count();
        assert_eq!(blobs, 0);
    }
}

#[test]
fn a_leftover_of_a_killed_open_does_not_stop_the_next() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), 1, 10);
    fs::write(sled_folders(dir.path())[0].join("snap.0000000000000000.generating"), b"half").unwrap();
    assert_eq!(open(dir.path(), 0, BOOT).unwrap().2, Source::Sled);
}

#[test]
fn history_is_pruned_by_count_and_never_jumps() {
    let dir = tempfile::tempdir().unwrap();
    let (store, ..) = open(dir.path(), 0, BOOT).unwrap();
    assert_eq!(store.history_oldest(), 1);
    for n in 1..=600 {
        model::write(&store, n).unwrap();
        if n % 100 == 0 {
            model::check_history(&store, n);
        }
    }
    let newest = model::revision(600);
    assert_eq!(newest, 900);
    let oldest = store.history_oldest();
    assert!((newest - 410..=newest - 398).contains(&oldest), "oldest is {oldest}");
    assert!(store.history(oldest - 1, 10).unwrap().is_empty(), "what is gone is not replaced by what comes later");
    assert!(store.write_raw(&model::applied(601), Vec::new(), &[model::change_set(907).into()]).is_err());
}
