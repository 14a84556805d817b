//! The thread that brings the database after the state in memory.
//!
//! ```text
//! apply ── notify ──▶ [wait a little] ── collect ──▶ one batch ──▶ StateStore::write ──▶ persisted_index
//! ```
//!
//! An upsert costs much more than a booking, so waiting pays: a pool that changed 10,000 times since the last batch is
//! one upsert. The thread never blocks apply. Whoever proposes looks at [`Persister::persisted_index`] and sheds when
//! the distance to apply becomes too long. The end of the thread, a failed write, and a write that hangs end the node.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::{PersistBatch, StateError, StateStore};
use crate::storage::background;

/// After the first change, how long to wait for more of them.
pub const COALESCE_DEFAULT: Duration = Duration::from_millis(25);
/// The pause after a batch is at least this many times as long as the batch took, so that a slow disk is not kept busy
/// by the persister while the log wants to sync.
const PAUSE_PER_WRITE: u32 = 3;
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// A write that takes longer never ends: sled waits for ever when one of its threads died.
const WRITE_MAX: Duration = Duration::from_secs(120);

#[derive(Debug, Clone, Copy)]
pub struct PersisterOptions {
    pub coalesce: Duration,
}

impl Default for PersisterOptions {
    fn default() -> Self {
        Self { coalesce: COALESCE_DEFAULT }
    }
}

/// Gives everything that changed since its last call, or `None`. Runs on the persister's thread.
pub type Collect = Box<dyn FnMut() -> Option<PersistBatch> + Send>;

/// Numbers for metrics. Durations in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PersisterStats {
    /// Index of the last entry that is in the database.
    pub persisted_index: u64,
    pub batches: u64,
    pub records: u64,
    pub change_sets: u64,
    pub last_write_us: u64,
    pub longest_write_us: u64,
    pub total_write_us: u64,
    /// How long the write that is under way has taken so far.
    pub writing_us: Option<u64>,
}

/// A handle: clones share one thread. The thread ends with [`Persister::shutdown`], or when the last handle is gone.
#[derive(Clone)]
pub struct Persister {
    owner: Arc<Owner>,
}

/// Dropped with the last handle.
struct Owner {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    store: StateStore,
    signals: Mutex<Signals>,
    wake: Condvar,
    done: Condvar,
    persisted_index: AtomicU64,
    stalled: AtomicBool,
    work: Mutex<Work>,
}

#[derive(Default)]
struct Signals {
    dirty: bool,
    stop: bool,
    ended: bool,
    /// How many flushes were asked for, and how many of them are done.
    flushes_wanted: u64,
    flushes_done: u64,
}

#[derive(Default)]
struct Work {
    stats: PersisterStats,
    since: Option<Instant>,
}

impl Persister {
    /// Starts the thread. A failure of the store ends the process through its `on_fatal`.
    pub fn spawn(store: StateStore, options: PersisterOptions, collect: Collect) -> std::io::Result<Self> {
        let start = store.inner.progress.lock().written.map_or(0, |id| id.index);
        let shared = Arc::new(Shared {
            store,
            signals: Mutex::default(),
            wake: Condvar::new(),
            done: Condvar::new(),
            persisted_index: AtomicU64::new(start),
            stalled: AtomicBool::new(false),
            work: Mutex::default(),
        });
        let mine = shared.clone();
        let thread = thread::Builder::new().name("persister".into()).spawn(move || run(&mine, options, collect))?;
        Ok(Self { owner: Arc::new(Owner { shared, thread: Mutex::new(Some(thread)) }) })
    }

    /// Something changed. Cheap: call it after each apply.
    pub fn notify(&self) {
        let shared = &self.owner.shared;
        let mut signals = shared.signals.lock();
        if !signals.dirty {
            signals.dirty = true;
            shared.wake.notify_one();
        }
        drop(signals);
        shared.check_stall();
    }

    /// Writes everything that is there to collect now, and returns when it is in the database. Blocking.
    pub fn flush_now(&self) -> Result<(), StateError> {
        let shared = &self.owner.shared;
        let mut signals = shared.signals.lock();
        signals.flushes_wanted += 1;
        let mine = signals.flushes_wanted;
        shared.wake.notify_one();
        while signals.flushes_done < mine && !signals.ended {
            shared.done.wait(&mut signals);
        }
        if signals.flushes_done >= mine {
            Ok(())
        } else {
            Err(StateError::Io(std::io::Error::other("the persister ended")))
        }
    }

    /// Writes what is left and ends the thread. Blocking.
    pub fn shutdown(&self) -> Result<(), StateError> {
        let flushed = self.flush_now();
        self.owner.stop();
        if let Some(thread) = self.owner.thread.lock().take() {
            let _ = thread.join();
        }
        flushed
    }

    /// Index of the last entry that is in the database; 0 before the first.
    pub fn persisted_index(&self) -> u64 {
        self.owner.shared.persisted_index.load(Ordering::Acquire)
    }

    pub fn stats(&self) -> PersisterStats {
        let work = self.owner.shared.work.lock();
        let writing_us = work.since.map(|since| micros(since.elapsed()));
        PersisterStats { persisted_index: self.persisted_index(), writing_us, ..work.stats }
    }
}

impl Owner {
    fn stop(&self) {
        self.shared.signals.lock().stop = true;
        self.shared.wake.notify_one();
    }
}

impl Drop for Owner {
    /// Does not wait: the thread may be inside `collect`, which may need what the dropping thread holds.
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(shared: &Shared, options: PersisterOptions, collect: Collect) {
    let ended = catch_unwind(AssertUnwindSafe(|| work(shared, options, collect)));
    let mut signals = shared.signals.lock();
    signals.ended = true;
    shared.done.notify_all();
    drop(signals);
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(e)) => shared.store.fatal(format!("the state cannot be written: {e}")),
        Err(_) => shared.store.fatal("the persister panicked; its message is above".into()),
    }
}

fn work(shared: &Shared, options: PersisterOptions, mut collect: Collect) -> Result<(), StateError> {
    background::step_back();
    let mut pause = options.coalesce;
    loop {
        let (stop, flushes) = shared.wait(pause);
        if let Some(batch) = collect() {
            let took = shared.write(&batch)?;
            pause = (took * PAUSE_PER_WRITE).clamp(options.coalesce, PAUSE_MAX.max(options.coalesce));
        }
        shared.signals.lock().flushes_done = flushes;
        shared.done.notify_all();
        if stop {
            return Ok(());
        }
    }
}

impl Shared {
    /// Waits until there is something to do, and then a little for more of it, unless somebody waits for the batch.
    fn wait(&self, pause: Duration) -> (bool, u64) {
        let hurry = |s: &Signals| s.stop || s.flushes_wanted > s.flushes_done;
        let mut signals = self.signals.lock();
        while !signals.dirty && !hurry(&signals) {
            self.wake.wait(&mut signals);
        }
        let until = Instant::now() + pause;
        while !hurry(&signals) {
            if self.wake.wait_until(&mut signals, until).timed_out() {
                break;
            }
        }
        signals.dirty = false;
        (signals.stop, signals.flushes_wanted)
    }

    fn write(&self, batch: &PersistBatch) -> Result<Duration, StateError> {
        let start = Instant::now();
        self.work.lock().since = Some(start);
        self.store.write(batch)?;
        let took = start.elapsed();
        let mut work = self.work.lock();
        work.since = None;
        let stats = &mut work.stats;
        stats.batches += 1;
        stats.records += batch.records.len() as u64;
        stats.change_sets += batch.history.len() as u64;
        stats.last_write_us = micros(took);
        stats.longest_write_us = stats.longest_write_us.max(micros(took));
        stats.total_write_us += micros(took);
        metrics::histogram!("lastseat_persister_write_seconds").record(took);
        if let Some(id) = batch.applied.last_applied {
            self.persisted_index.store(id.index, Ordering::Release);
        }
        Ok(took)
    }

    /// Ends the node when a write hangs. Looked at by those who make changes: without changes nothing is lost.
    fn check_stall(&self) {
        let hangs = self.work.lock().since.is_some_and(|since| since.elapsed() > WRITE_MAX);
        if hangs && !self.stalled.swap(true, Ordering::AcqRel) {
            self.store.fatal(format!(
                "the state database did not finish a write within {} s; restart the node, it rebuilds what it needs",
                WRITE_MAX.as_secs()
            ));
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
