//! The materialised state on sled, its history, the persister behind apply, and snapshots.
//!
//! ```text
//! state/CURRENT        names the live folder; clean stop, boot id          current.rs
//! state/sled-<n>/      the live folder: records, history, one header       db.rs, format.rs, history.rs, table.rs
//! state/snapshots/     the newest snapshot, files on their way             snapshots.rs, snapshot.rs
//!
//!            apply ──▶ persister ── one atomic batch ──▶ sled ──┐
//!                                                   history ────┼──▶ snapshot file ──▶ another node
//!            frozen state ──────────────────────────────────────┘
//! ```
//!
//! Invariants:
//! - the log is the truth: sled is never the only copy of anything that was acknowledged, so that whenever there is a
//!   doubt about it, it is thrown away and rebuilt from a snapshot and the log (open.rs has the rule);
//! - what is in sled is the state after one whole batch, and the header in the same batch says which;
//! - every value, every frame of a file, and the sum over all of them is checked before anything is served from it;
//! - a file or folder gets its final name only when it is durable and whole.
//!
//! Deliberately absent: knowledge of what a record means (the domain's), of Raft (the membership is opaque bytes), and
//! any write by several threads: the persister is the only writer.

mod current;
mod db;
mod format;
mod history;
mod open;
pub mod persister;
mod snapshot;
mod snapshots;
mod table;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex, RwLock};
use serde::{Deserialize, Serialize};

use self::current::Current;
use self::db::{Live, RawBatch, RawRecord};
use self::open::{Load, OpenedRaw, Opener, build_from_snapshot};
use self::snapshot::{Head, SnapshotReader};
use self::snapshots::{Snapshots, write_file};
use super::{GROUP, LogId, durable};
use crate::domain::change::ChangeSet;
use crate::domain::codec;
use crate::domain::inventory::{Frozen, Inventory};
use crate::domain::record::{RecordBody, RecordKey};

/// Most bytes of change sets that one call of [`StateStore::history`] returns, unless the first alone is longer.
pub const HISTORY_READ_BYTES_MAX: usize = 8 << 20;
/// How long a snapshot waits for the persister to write the history it needs.
const PERSISTER_PATIENCE: Duration = Duration::from_secs(60);
/// How long a stop waits for readers of the database.
const READERS_PATIENCE: Duration = Duration::from_secs(2);

/// Where in the log a copy of the state stands, with what Raft wants to remember beside it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppliedPoint {
    pub last_applied: Option<LogId>,
    /// Raft's membership at that point; opaque here.
    pub membership: Bytes,
}

impl AppliedPoint {
    /// Index of the first entry that is not in it.
    pub fn next_index(&self) -> u64 {
        self.last_applied.map_or(0, |id| id.index + 1)
    }
}

/// What the persister writes in one atomic batch.
#[derive(Debug, Default)]
pub struct PersistBatch {
    pub applied: AppliedPoint,
    pub records: Vec<(RecordKey, Option<RecordBody>)>,
    /// In order of revision, following on what was written before.
    pub history: Vec<Arc<ChangeSet>>,
}

#[derive(Clone)]
pub struct StateOptions {
    pub sled_cache_bytes: u64,
    /// Newest change sets kept in history; older ones are compacted away.
    pub history_max: u64,
    /// Called once when the disk fails. It ends the process.
    pub on_fatal: Arc<dyn Fn(String) + Send + Sync>,
}

/// Where the state came from at start, for logs and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Empty,
    Sled,
    Snapshot,
}

pub struct Opened {
    pub store: StateStore,
    pub inventory: Inventory,
    pub applied: AppliedPoint,
    pub source: Source,
}

/// A handle: clones share one database.
#[derive(Clone)]
pub struct StateStore {
    inner: Arc<Inner>,
}

struct Inner {
    folder: PathBuf,
    options: StateOptions,
    boot_id: Option<String>,
    /// `None` once closed. Written only to flip to another folder and to close.
    live: RwLock<Option<Arc<Live>>>,
    snapshots: Mutex<Snapshots>,
    /// One snapshot is written or installed at a time.
    snapshot_work: Mutex<()>,
    progress: Mutex<Progress>,
    progressed: Condvar,
    incoming: AtomicU64,
    /// Change sets below this revision are too old to be kept.
    history_floor: AtomicU64,
}

/// How far the database is.
#[derive(Clone, Copy)]
struct Progress {
    written: Option<LogId>,
    /// Where the last install put the state: batches from before it are void.
    installed: Option<LogId>,
}

/// A durable snapshot file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotFile {
    pub path: PathBuf,
    pub applied: AppliedPoint,
    pub bytes: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Corrupt(String),
    #[error("{0}")]
    NewerFormat(String),
}

impl StateStore {
    /// Opens what is there by the open rule of the architecture guide, or rebuilds it from the newest snapshot.
    /// `first_log_index`: the first entry the log still has (0 or 1: nothing was purged yet); a state that ends before
    /// it cannot be caught up.
    pub fn open(dir: &Path, first_log_index: u64, options: StateOptions) -> Result<Opened, StateError> {
        Self::open_as_booted(dir, first_log_index, options, boot_id())
    }

    /// [`StateStore::open`] under a kernel with this boot id; tests of power cuts bring their own.
    pub fn open_as_booted(
        dir: &Path,
        first_log_index: u64,
        options: StateOptions,
        boot_id: Option<String>,
    ) -> Result<Opened, StateError> {
        let (store, inventory, applied, source) =
            Self::open_raw(dir, first_log_index, options, boot_id, &mut load_inventory)?;
        Ok(Opened { store, inventory, applied, source })
    }

    /// [`StateStore::open`] for records that are plain bytes: the seam between storage and domain. `load` makes what
    /// the caller wants of all records; its error counts as a broken database.
    #[doc(hidden)]
    pub fn open_raw<T>(
        dir: &Path,
        first_log_index: u64,
        options: StateOptions,
        boot_id: Option<String>,
        load: &mut Load<'_, T>,
    ) -> Result<(Self, T, AppliedPoint, Source), StateError> {
        let opener = Opener { state: dir, first_log_index, options: &options, boot_id: boot_id.clone() };
        let OpenedRaw { live, loaded, applied, source, snapshots } = opener.open(load)?;
        let inner = Inner {
            folder: dir.to_owned(),
            options,
            boot_id,
            live: RwLock::new(Some(Arc::new(live))),
            snapshots: Mutex::new(snapshots),
            snapshot_work: Mutex::new(()),
            progress: Mutex::new(Progress { written: applied.last_applied, installed: None }),
            progressed: Condvar::new(),
            incoming: AtomicU64::new(0),
            history_floor: AtomicU64::new(0),
        };
        Ok((Self { inner: Arc::new(inner) }, loaded, applied, source))
    }

    /// Writes one batch, atomically. Called by the persister only. A batch that was collected before an install and
    /// comes after it is void and ignored.
    pub fn write(&self, batch: &PersistBatch) -> Result<(), StateError> {
        let body = |body: &RecordBody| codec::encode(body);
        let records = batch.records.iter().map(|(key, value)| (encode_key(key), value.as_ref().map(body))).collect();
        self.write_raw(&batch.applied, records, &batch.history)
    }

    /// [`StateStore::write`] for records that are plain bytes.
    #[doc(hidden)]
    pub fn write_raw(
        &self,
        applied: &AppliedPoint,
        records: Vec<(Vec<u8>, Option<Vec<u8>>)>,
        history: &[Arc<ChangeSet>],
    ) -> Result<(), StateError> {
        let history = history.iter().map(|set| (set.revision.0, codec::encode(&**set))).collect();
        // Held to the end: a flip to another folder waits for the batch, and the next batch sees the flip.
        let live = self.inner.live.read();
        let live = live.as_ref().ok_or_else(closed)?;
        let progress = *self.inner.progress.lock();
        if applied.last_applied < progress.installed {
            return Ok(());
        }
        if applied.last_applied < progress.written {
            let (new, old) = (applied.last_applied, progress.written);
            return Err(StateError::Corrupt(format!("a batch goes back from {old:?} to {new:?}; this is a bug")));
        }
        let (history_max, history_floor) =
            (self.inner.options.history_max, self.inner.history_floor.load(Ordering::Relaxed));
        live.write(RawBatch { applied, records, history, history_max, history_floor })?;
        self.inner.progress.lock().written = applied.last_applied;
        self.inner.progressed.notify_all();
        Ok(())
    }

    /// Change sets `from..` in order of revision and without a gap, at most `max`, and at most about
    /// [`HISTORY_READ_BYTES_MAX`]. Empty when `from` is not in history: not yet, or no longer.
    pub fn history(&self, from: u64, max: usize) -> Result<Vec<ChangeSet>, StateError> {
        let live = self.inner.live()?;
        let raw = live.history(from, max, HISTORY_READ_BYTES_MAX)?;
        raw.into_iter().map(|(_, bytes)| codec::decode(&bytes).map_err(db::undecodable)).collect()
    }

    /// Lowest revision still in history; the next one to come when there is none.
    pub fn history_oldest(&self) -> u64 {
        self.inner.live().map_or(0, |live| live.history_oldest())
    }

    /// Lets the next batch prune change sets below this revision, however few there are.
    pub fn forget_history_before(&self, revision: u64) {
        self.inner.history_floor.fetch_max(revision, Ordering::Relaxed);
    }

    /// Writes a snapshot of a frozen state (durable when this returns) and drops older ones. Blocking, long: it first
    /// waits until the persister has written everything up to `applied`, because the history comes from there. Returns
    /// what there is when a newer snapshot was installed meanwhile.
    pub fn write_snapshot(&self, frozen: &Frozen, applied: &AppliedPoint) -> Result<SnapshotFile, StateError> {
        let mut records = frozen.records().map(|(key, body)| (encode_key(&key), codec::encode(&body)));
        self.write_snapshot_raw(&mut records, frozen.revision().0, applied)
    }

    /// [`StateStore::write_snapshot`] for records that are plain bytes.
    #[doc(hidden)]
    pub fn write_snapshot_raw(
        &self,
        records: &mut dyn Iterator<Item = RawRecord>,
        revision: u64,
        applied: &AppliedPoint,
    ) -> Result<SnapshotFile, StateError> {
        let _one = self.inner.snapshot_work.lock();
        // One that was installed after the state was frozen is worth more.
        let latest = self.latest_snapshot();
        if let Some(newer) = latest.filter(|latest| latest.applied.last_applied > applied.last_applied) {
            return Ok(newer);
        }
        self.inner.wait_until_written(applied)?;
        let live = self.inner.live()?;
        let unfinished = self.inner.snapshots.lock().unfinished(applied);
        let head = Head { group: GROUP, applied: applied.clone(), revision };
        let bytes = write_file(&unfinished, &head, records, &live).inspect_err(|_| {
            let _ = fs::remove_file(&unfinished);
        })?;
        Ok(self.inner.snapshots.lock().keep(&unfinished, applied, bytes)?)
    }

    /// The newest durable snapshot. Its header was checked; readers of the rest have to check it.
    pub fn latest_snapshot(&self) -> Option<SnapshotFile> {
        self.inner.snapshots.lock().latest().cloned()
    }

    /// A new, empty file to receive a snapshot into, in the same folder.
    pub fn incoming_snapshot(&self) -> io::Result<(File, PathBuf)> {
        let number = self.inner.incoming.fetch_add(1, Ordering::Relaxed);
        let path = self.inner.snapshots.lock().folder().join(format!("incoming-{number}.{}", durable::UNFINISHED));
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path)?;
        Ok((file, path))
    }

    /// Reads a received file to its last byte and returns what it says of itself, if all of it is right. Blocking, long.
    pub fn check_snapshot(&self, received: &Path) -> Result<SnapshotFile, StateError> {
        let Head { applied, .. } = SnapshotReader::open(received)?.verify()?;
        Ok(SnapshotFile { path: received.to_owned(), applied, bytes: fs::metadata(received)?.len() })
    }

    /// Checks a received file to its last byte, keeps it durably, builds a new sled folder from it and flips to it.
    /// The old state stays untouched on any error, and the received file is gone in any case. Blocking, long.
    pub fn install_snapshot(&self, received: &Path) -> Result<(Inventory, AppliedPoint), StateError> {
        self.install_snapshot_raw(received, &mut load_inventory)
    }

    /// [`StateStore::install_snapshot`] for records that are plain bytes.
    #[doc(hidden)]
    pub fn install_snapshot_raw<T>(
        &self,
        received: &Path,
        load: &mut Load<'_, T>,
    ) -> Result<(T, AppliedPoint), StateError> {
        let inner = &*self.inner;
        let _one = inner.snapshot_work.lock();
        let head = SnapshotReader::open(received).and_then(SnapshotReader::verify).inspect_err(|_| {
            let _ = fs::remove_file(received);
        })?;
        let file = File::open(received)?;
        file.sync_all()?;
        let bytes = file.metadata()?.len();
        let generation = inner.live()?.generation + 1;
        let installing = inner.snapshots.lock().installing(&head.applied, generation);
        durable::rename(received, &installing)?;
        let built = build_from_snapshot(&inner.folder, generation, &inner.options, &installing, load);
        let (live, loaded, applied) = built.inspect_err(|_| {
            let _ = fs::remove_file(&installing);
        })?;
        inner.flip(live, &applied)?;
        inner.snapshots.lock().keep(&installing, &applied, bytes)?;
        Ok((loaded, applied))
    }

    /// Marks a clean stop, after the last write. Later calls that need the database fail. Readers that are at work are
    /// waited for, but not long: a snapshot under way makes it a stop without the mark, which is safe.
    pub fn close(&self) -> Result<(), StateError> {
        let Some(mut live) = self.inner.live.write().take() else { return Ok(()) };
        let give_up = Instant::now() + READERS_PATIENCE;
        let live = loop {
            match Arc::try_unwrap(live) {
                Ok(live) => break live,
                Err(_) if Instant::now() > give_up => {
                    tracing::warn!("the state database is still being read; it stops without the mark of a clean stop");
                    return Ok(());
                }
                Err(shared) => live = shared,
            }
            thread::sleep(Duration::from_millis(1));
        };
        let generation = live.generation;
        if live.close()? {
            let boot_id = self.inner.boot_id.clone();
            Current { generation, boot_id, clean: true, unfinished_opens: 0 }.write(&self.inner.folder)?;
        }
        Ok(())
    }

    /// Ends the process through the owner's hook.
    fn fatal(&self, why: String) {
        (self.inner.options.on_fatal)(why);
    }
}

impl Inner {
    fn live(&self) -> Result<Arc<Live>, StateError> {
        self.live.read().clone().ok_or_else(closed)
    }

    fn wait_until_written(&self, applied: &AppliedPoint) -> Result<(), StateError> {
        let give_up = Instant::now() + PERSISTER_PATIENCE;
        let mut progress = self.progress.lock();
        while progress.written < applied.last_applied {
            if self.progressed.wait_until(&mut progress, give_up).timed_out() {
                let late = io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("the persister is still at {:?} and the snapshot at {applied:?}", progress.written),
                );
                return Err(late.into());
            }
        }
        Ok(())
    }

    /// Makes a folder, complete and durable, the live one.
    fn flip(&self, next: Live, applied: &AppliedPoint) -> Result<(), StateError> {
        let generation = next.generation;
        let mut live = self.live.write();
        if live.is_none() {
            next.doom();
            return Err(closed());
        }
        let current = Current { generation, boot_id: self.boot_id.clone(), clean: false, unfinished_opens: 0 };
        if let Err(e) = current.write(&self.folder) {
            next.doom();
            return Err(e.into());
        }
        let old = live.replace(Arc::new(next));
        *self.progress.lock() = Progress { written: applied.last_applied, installed: applied.last_applied };
        self.progressed.notify_all();
        drop(live);
        if let Some(old) = old {
            old.doom();
        }
        Ok(())
    }
}

fn closed() -> StateError {
    StateError::Io(io::Error::new(io::ErrorKind::NotConnected, "the state store is closed"))
}

fn encode_key(key: &RecordKey) -> Vec<u8> {
    let mut out = Vec::new();
    codec::encode_key_into(key, &mut out);
    out
}

fn load_inventory(records: &mut dyn Iterator<Item = RawRecord>) -> Result<Inventory, StateError> {
    let mut error = None;
    let decoded = records.map_while(|(key, body)| {
        let both = codec::decode_key(&key).and_then(|key| Ok((key, codec::decode(&body)?)));
        both.map_err(|e| error = Some(db::undecodable(e))).ok()
    });
    let inventory = Inventory::from_records(decoded);
    match error {
        Some(error) => Err(error),
        None => inventory.map_err(|e| StateError::Corrupt(e.to_string())),
    }
}

/// Differs after each boot of the kernel. `None` where there is no such thing.
fn boot_id() -> Option<String> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned()).filter(|id| !id.is_empty())
}
