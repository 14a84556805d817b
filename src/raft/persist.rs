//! The persister: one thread that carries what was applied to the store, in batches, behind apply.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::watch;

use super::machine::State;

/// Shortest time between two batches: what changes often is written once.
const BATCH_EVERY: Duration = Duration::from_millis(50);

/// Wakes and stills the thread. The thread itself is started by [`Persister::start`].
pub(super) struct Persister {
    signal: Mutex<Signal>,
    wake: Condvar,
    /// Held while a batch is taken and written.
    gate: Mutex<()>,
    /// Index up to which everything is in the store.
    persisted: watch::Sender<u64>,
}

#[derive(Default)]
struct Signal {
    work: bool,
    hurry: bool,
    stop: bool,
    stopped: bool,
}

/// No batch is taken or written while this lives.
pub(super) struct Still<'a> {
    persister: &'a Persister,
    _gate: MutexGuard<'a, ()>,
}

impl Still<'_> {
    /// The store now stands at `index` by other means.
    pub(super) fn moved_to(&self, index: u64) {
        self.persister.persisted.send_replace(index);
    }
}

impl Persister {
    pub(super) fn new(index: u64) -> Self {
        Self {
            signal: Mutex::default(),
            wake: Condvar::new(),
            gate: Mutex::new(()),
            persisted: watch::Sender::new(index),
        }
    }

    pub(super) fn persisted(&self) -> u64 {
        *self.persisted.borrow()
    }

    pub(super) fn wake(&self) {
        let mut signal = self.signal.lock();
        if !std::mem::replace(&mut signal.work, true) {
            self.wake.notify_one();
        }
    }

    pub(super) fn hold(&self) -> Still<'_> {
        Still { persister: self, _gate: self.gate.lock() }
    }

    /// Returns when everything up to `index` is in the store.
    pub(super) async fn wait_for(&self, index: u64) -> io::Result<()> {
        self.signal.lock().hurry = true;
        self.wake();
        let mut persisted = self.persisted.subscribe();
        match persisted.wait_for(|at| *at >= index).await {
            Ok(_) => Ok(()),
            Err(_) => Err(io::Error::other("the persister has stopped")),
        }
    }

    /// Starts the thread. It ends at [`Persister::stop`], after a last batch, or by `on_fatal`.
    pub(super) fn start(state: Arc<State>, on_fatal: Arc<dyn Fn(String) + Send + Sync>) -> io::Result<()> {
        std::thread::Builder::new().name("persister".into()).spawn(move || {
            let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(&state)));
            let ended = match run {
                Ok(Ok(())) => None,
                Ok(Err(e)) => Some(format!("the state cannot be persisted: {e}")),
                Err(_) => Some("the persister panicked".to_string()),
            };
            let persister = &state.persister;
            persister.signal.lock().stopped = true;
            persister.wake.notify_all();
            if let Some(why) = ended {
                on_fatal(why);
            }
        })?;
        Ok(())
    }

    /// Writes what is left and ends the thread. Blocks.
    pub(super) fn stop(&self) {
        let mut signal = self.signal.lock();
        signal.stop = true;
        self.wake.notify_all();
        while !signal.stopped {
            self.wake.wait(&mut signal);
        }
    }
}

fn run(state: &State) -> Result<(), crate::storage::state::StateError> {
    let persister = &state.persister;
    loop {
        let stop = {
            let mut signal = persister.signal.lock();
            while !signal.work && !signal.stop {
                persister.wake.wait(&mut signal);
            }
            // Let more gather, unless somebody waits for it.
            if !signal.hurry && !signal.stop {
                persister.wake.wait_for(&mut signal, BATCH_EVERY);
            }
            signal.work = false;
            signal.hurry = false;
            signal.stop
        };
        let gate = persister.gate.lock();
        if let Some(batch) = state.collect() {
            let index = batch.applied.last_applied.map_or(0, |id| id.index);
            state.store.write(&batch)?;
            persister.persisted.send_replace(index);
        }
        drop(gate);
        if stop {
            return Ok(());
        }
    }
}
