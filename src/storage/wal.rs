//! Write-ahead log.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::{GroupId, LogId};

/// Sizes and hooks of a log.
#[derive(Clone)]
pub struct WalOptions {
    pub segment_bytes: u64,
    /// Entries kept in memory for readers, in bytes of payload.
    pub cache_bytes: usize,
    /// Called once, from the writer thread, when the disk fails. It ends the process.
    pub on_fatal: Arc<dyn Fn(String) + Send + Sync>,
}

/// The log of all groups of a node. A handle: clones share one writer thread.
#[derive(Clone)]
pub struct Wal {}

/// The log of one group.
#[derive(Clone)]
pub struct WalGroup {}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalEntry {
    pub id: LogId,
    pub payload: Bytes,
}

/// Where a group's log stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WalState {
    pub last_purged: Option<LogId>,
    pub last: Option<LogId>,
    pub vote: Option<Bytes>,
    pub committed: Option<LogId>,
}

/// Runs once, on the writer thread, when the record is on disk (or the log is closed). Must not block.
pub type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

#[derive(Debug, thiserror::Error)]
pub enum WalError {
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Says which file and place, and how to rebuild the node.
    #[error("{0}")]
    Corrupt(String),
    #[error("{0}")]
    NewerFormat(String),
}

#[allow(unused_variables)]
impl Wal {
    pub fn open(dir: &Path, options: WalOptions) -> Result<Self, WalError> {
        todo!()
    }

    pub fn group(&self, group: GroupId) -> WalGroup {
        todo!()
    }

    /// Waits until everything queued is on disk and ends the writer thread.
    pub fn close(&self) -> io::Result<()> {
        todo!()
    }
}

#[allow(unused_variables)]
impl WalGroup {
    pub fn state(&self) -> WalState {
        todo!()
    }

    /// Queues entries. They can be read at once; `done` runs when they are on disk.
    pub fn append(&self, entries: Vec<WalEntry>, done: Done) {
        todo!()
    }

    pub fn save_vote(&self, vote: Bytes, done: Done) {
        todo!()
    }

    /// Remembered, and written with the next record; never syncs by itself.
    pub fn save_committed(&self, committed: Option<LogId>) {
        todo!()
    }

    /// Drops every entry after `last` (all with `None`). Readers no longer see them at once.
    pub fn truncate_after(&self, last: Option<LogId>, done: Done) {
        todo!()
    }

    /// Drops every entry up to `upto`, inclusive, and recycles segments nobody needs.
    pub fn purge(&self, upto: LogId, done: Done) {
        todo!()
    }

    /// Entries `from..to` that are there, in order, at most about `bytes_max` of payload but at least one.
    pub fn read(&self, from: u64, to: u64, bytes_max: usize) -> io::Result<Vec<WalEntry>> {
        todo!()
    }

    /// Id of one entry, from the index in memory.
    pub fn log_id(&self, index: u64) -> Option<LogId> {
        todo!()
    }

    /// Bytes of log after entry `index`.
    pub fn bytes_after(&self, index: u64) -> u64 {
        todo!()
    }
}
