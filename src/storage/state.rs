//! The materialised state on sled, its history, the persister behind apply, and snapshots.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::LogId;
use crate::domain::change::ChangeSet;
use crate::domain::inventory::{Frozen, Inventory};
use crate::domain::record::{RecordBody, RecordKey};

/// Where in the log a copy of the state stands, with what Raft wants to remember beside it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppliedPoint {
    pub last_applied: Option<LogId>,
    /// Raft's membership at that point; opaque here.
    pub membership: Bytes,
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
pub struct StateStore {}

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

#[allow(unused_variables)]
impl StateStore {
    /// Opens what is there by the open rule of the architecture guide, or rebuilds it from the newest snapshot.
    /// `first_log_index`: the first entry the log still has; a state that ends before it cannot be caught up.
    pub fn open(dir: &Path, first_log_index: u64, options: StateOptions) -> Result<Opened, StateError> {
        todo!()
    }

    /// Writes one batch, atomically. Called by the persister only.
    pub fn write(&self, batch: &PersistBatch) -> Result<(), StateError> {
        todo!()
    }

    /// Change sets `from..` in order of revision, at most `max`.
    pub fn history(&self, from: u64, max: usize) -> Result<Vec<ChangeSet>, StateError> {
        todo!()
    }

    /// Lowest revision still in history.
    pub fn history_oldest(&self) -> u64 {
        todo!()
    }

    /// Writes a snapshot of a frozen state (durable when this returns) and drops older ones. Blocking, long.
    pub fn write_snapshot(&self, frozen: &Frozen, applied: &AppliedPoint) -> Result<SnapshotFile, StateError> {
        todo!()
    }

    /// The newest durable snapshot.
    pub fn latest_snapshot(&self) -> Option<SnapshotFile> {
        todo!()
    }

    /// A new, empty file to receive a snapshot into, in the same folder.
    pub fn incoming_snapshot(&self) -> io::Result<(std::fs::File, PathBuf)> {
        todo!()
    }

    /// Checks a received file to its last byte, keeps it durably, builds a new sled folder from it and flips to it.
    /// The old state stays untouched on any error. Blocking, long.
    pub fn install_snapshot(&self, received: &Path) -> Result<(Inventory, AppliedPoint), StateError> {
        todo!()
    }

    /// Marks a clean stop, after the last write.
    pub fn close(&self) -> Result<(), StateError> {
        todo!()
    }
}
