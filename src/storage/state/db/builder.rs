//! A new database, made from a snapshot or from nothing.

use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;

use super::super::format::{self, Kind};
use super::super::history::{Index, RawChangeSet};
use super::super::table::Table;
use super::super::{AppliedPoint, StateError};
use super::{Live, folder_of, from_sled, guarded, open_sled, put_header, put_history, put_record};
use crate::storage::{GROUP, durable};

/// Bytes per batch while a folder is built that nobody reads yet.
pub(super) const BULK_BATCH_BYTES: usize = 4 << 20;

/// Fills a new folder that nobody uses yet, in batches that need not be atomic together: until [`Builder::finish`]
/// there is no header, and the folder is not named in `CURRENT`.
pub(crate) struct Builder {
    live: Live,
    table: Table,
    index: Index,
    open: sled::Batch,
    open_bytes: usize,
}

impl Builder {
    pub(crate) fn begin(state: &Path, generation: u64, cache_bytes: u64) -> Result<Self, StateError> {
        let folder = folder_of(state, generation);
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        let (db, file) = guarded("be made", || open_sled(&folder, cache_bytes))?;
        let live = Live::new(generation, folder, db, file, Table::default(), Index::default());
        // Until it is finished, an error on the way removes it.
        live.doom();
        Ok(Self { live, table: Table::default(), index: Index::default(), open: sled::Batch::default(), open_bytes: 0 })
    }

    pub(crate) fn record(&mut self, own: &[u8], body: &[u8]) -> Result<(), StateError> {
        let stem = format::stem(GROUP, Kind::Record, own);
        self.open_bytes += put_record(&mut self.table, &mut self.open, &stem, Some(body)) + stem.len();
        self.cut_batch(BULK_BATCH_BYTES)
    }

    pub(crate) fn history(&mut self, sets: &[RawChangeSet]) -> Result<(), StateError> {
        let mut next = self.index.next();
        for entry in put_history(&mut next, &mut self.open, sets)? {
            self.index.push(entry)?;
        }
        self.open_bytes += sets.iter().map(|s| s.1.len()).sum::<usize>();
        self.cut_batch(BULK_BATCH_BYTES)
    }

    fn cut_batch(&mut self, limit: usize) -> Result<(), StateError> {
        if self.open_bytes < limit {
            return Ok(());
        }
        self.open_bytes = 0;
        let batch = std::mem::take(&mut self.open);
        guarded("write", || self.live.db().apply_batch(batch).map_err(from_sled))
    }

    /// Writes the header and makes all of it durable. `revision`: the one that the history has to end with.
    pub(crate) fn finish(mut self, applied: &AppliedPoint, revision: u64) -> Result<Live, StateError> {
        self.cut_batch(0)?;
        match self.index.next() {
            // Nothing at all was ever decided: the first change set begins the history.
            0 if revision == 0 => {}
            0 => self.index = Index::empty(revision + 1),
            next if next == revision + 1 => {}
            next => {
                let last = next - 1;
                return Err(StateError::Corrupt(format!("the history ends at {last}, the state is at {revision}")));
            }
        }
        put_header(&self.table, self.index.span(), applied, &mut self.open);
        self.cut_batch(0)?;
        guarded("flush", || self.live.sync())?;
        self.live.sync_files()?;
        durable::sync_folder(self.live.folder.parent().expect("it is in the state folder"))?;
        self.live.doomed.store(false, Ordering::Release);
        self.live.writer.get_mut().table = self.table;
        *self.live.index.get_mut() = self.index;
        Ok(self.live)
    }
}
