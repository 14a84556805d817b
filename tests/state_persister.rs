//! The persister keeps up, waits when asked, and never dies unnoticed.
#![allow(clippy::unwrap_used)]

#[path = "support/state_model.rs"]
mod model;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lastseat::storage::state::persister::{Persister, PersisterOptions};
use lastseat::storage::state::{PersistBatch, StateOptions, StateStore};
use model::BOOT;

const PATIENCE: Duration = Duration::from_secs(20);

/// A store whose fatal end can be listened to.
fn store(folder: &Path) -> (StateStore, Receiver<String>) {
    let (send, fatal) = channel();
    let send = Mutex::new(send);
    let on_fatal = Arc::new(move |why| send.lock().unwrap().send(why).unwrap());
    let options = StateOptions { on_fatal, ..model::options() };
    let opened = StateStore::open_raw(folder, 0, options, Some(BOOT.into()), &mut |records| Ok(records.count()));
    (opened.unwrap().0, fatal)
}

/// Stands for apply: counts entries, each of which is one change set.
fn collect(applied: Arc<AtomicU64>) -> Box<dyn FnMut() -> Option<PersistBatch> + Send> {
    let mut collected = 0;
    Box::new(move || {
        let now = applied.load(Ordering::SeqCst);
        let history = (collected + 1..=now).map(|r| Arc::new(model::change_set(r))).collect();
        let changed = now > collected;
        collected = now;
        changed.then(|| PersistBatch { applied: model::applied(now), records: Vec::new(), history })
    })
}

#[test]
fn many_changes_become_few_batches() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _fatal) = store(dir.path());
    let applied = Arc::new(AtomicU64::new(0));
    let persister = Persister::spawn(store.clone(), PersisterOptions::default(), collect(applied.clone())).unwrap();
    for _ in 0..1_000 {
        applied.fetch_add(1, Ordering::SeqCst);
        persister.notify();
    }
    let give_up = Instant::now() + PATIENCE;
    while persister.persisted_index() < 1_000 {
        assert!(Instant::now() < give_up, "{:?}", persister.stats());
        std::thread::sleep(Duration::from_millis(1));
    }
    let stats = persister.stats();
    assert_eq!((stats.change_sets, stats.persisted_index), (1_000, 1_000));
    assert!(stats.batches < 50, "{stats:?}");
    assert!(stats.longest_write_us > 0 && stats.longest_write_us <= stats.total_write_us, "{stats:?}");
    persister.shutdown().unwrap();
    assert_eq!(store.history(1_000, 1).unwrap(), [model::change_set(1_000)]);
}

#[test]
fn a_flush_returns_when_everything_before_it_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _fatal) = store(dir.path());
    let applied = Arc::new(AtomicU64::new(0));
    // It would wait for an hour by itself.
    let options = PersisterOptions { coalesce: Duration::from_secs(3_600) };
    let persister = Persister::spawn(store.clone(), options, collect(applied.clone())).unwrap();
    for n in [3, 5, 9] {
        applied.store(n, Ordering::SeqCst);
        persister.notify();
        persister.flush_now().unwrap();
        assert_eq!(persister.persisted_index(), n);
    }
    persister.flush_now().unwrap();
    applied.store(10, Ordering::SeqCst);
    persister.shutdown().unwrap();
    assert_eq!(persister.persisted_index(), 10);
    assert!(persister.flush_now().is_err(), "nobody is there to write");
    store.close().unwrap();
    assert!(store.history(1, 1).is_err());
    // The next persister begins where the database ends.
    let (store, _fatal) = self::store(dir.path());
    assert_eq!(Persister::spawn(store, options, collect(applied)).unwrap().persisted_index(), 10);
}

#[test]
fn a_failed_write_ends_the_node() {
    let dir = tempfile::tempdir().unwrap();
    let (store, fatal) = store(dir.path());
    let mut revisions = [1, 2, 4].into_iter();
    let collect = Box::new(move || {
        let revision = revisions.next()?;
        let history = vec![Arc::new(model::change_set(revision))];
        Some(PersistBatch { applied: model::applied(revision), records: Vec::new(), history })
    });
    let persister = Persister::spawn(store.clone(), PersisterOptions::default(), collect).unwrap();
    persister.flush_now().unwrap();
    persister.flush_now().unwrap();
    assert!(persister.flush_now().is_err());
    let why = fatal.recv_timeout(PATIENCE).unwrap();
    assert!(why.contains("jumps from revision 2 to 4"), "{why}");
    assert_eq!(persister.persisted_index(), 2);
    assert!(store.write_raw(&model::applied(9), Vec::new(), &[]).unwrap_err().to_string().contains("restart the node"));
}

#[test]
fn the_death_of_the_thread_ends_the_node() {
    let dir = tempfile::tempdir().unwrap();
    let (store, fatal) = store(dir.path());
    let collect = Box::new(|| panic!("apply broke a promise"));
    let persister = Persister::spawn(store, PersisterOptions::default(), collect).unwrap();
    persister.notify();
    let why = fatal.recv_timeout(PATIENCE).unwrap();
    assert!(why.contains("panicked"), "{why}");
    assert!(persister.flush_now().is_err());
}

#[test]
fn the_last_handle_ends_the_thread_quietly() {
    let dir = tempfile::tempdir().unwrap();
    let (store, fatal) = store(dir.path());
    let applied = Arc::new(AtomicU64::new(7));
    let persister = Persister::spawn(store, PersisterOptions::default(), collect(applied.clone())).unwrap();
    let other = persister.clone();
    drop(persister);
    other.flush_now().unwrap();
    drop(other);
    let give_up = Instant::now() + PATIENCE;
    while Arc::strong_count(&applied) > 1 {
        assert!(Instant::now() < give_up);
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(fatal.try_recv().is_err());
}
