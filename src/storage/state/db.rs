//! One sled folder: opening, loading, one atomic batch, reading history. Everything that calls sled is here.
//!
//! What is known of sled 0.34.7 and what follows from it:
//! - it panics on some broken files: every call goes through [`guarded`];
//! - `flush` does not reach the disk by itself: each one is followed by an `fdatasync` of the `db` file;
//! - a kill inside open may leave `snap.*.generating`, with which it does not open: removed before open;
//! - dropping a database whose threads died may wait for ever: [`Live`] is dropped on a thread of its own;
//! - a node (about 20 values, it splits by count) over a quarter of a segment moves to a blob file, which is never
//!   synced: [`SEGMENT_BYTES`] is large and [`super::format::PART_BYTES_MAX`] small enough that none ever does;
//! - iterators are not point-in-time: they are used only at open, when nobody writes.

mod builder;
mod scan;
#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};

pub(crate) use self::builder::Builder;
use self::scan::{Contents, Scan};
use super::format::{self, Joiner, Kind};
use super::history::{Entry, HISTORY_BYTES_MAX, Index, RawChangeSet, Span};
use super::table::Table;
use super::{AppliedPoint, StateError, history};
use crate::domain::codec;
use crate::storage::{GROUP, background, durable};

/// A node of sled stays in its log as long as it is shorter than a quarter of this: 1 MiB, or 40 values.
pub(crate) const SEGMENT_BYTES: usize = 4 << 20;
/// Must stay on: it also drives the cleaning of segments.
const FLUSH_EVERY_MS: u64 = 500;
/// How long a database may take to close before it is left behind. Only a broken one takes longer.
const CLOSE_PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait for the lock of a folder that this process just closed: sled lets go of it on its own threads.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// A record as stored: its own key and its body.
pub(crate) type RawRecord = (Vec<u8>, Vec<u8>);

/// What [`super::StateStore::write`] hands down, encoded.
pub(crate) struct RawBatch<'a> {
    pub(crate) applied: &'a AppliedPoint,
    pub(crate) records: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    pub(crate) history: Vec<RawChangeSet>,
    pub(crate) history_max: u64,
    /// Nothing below this revision need be kept.
    pub(crate) history_floor: u64,
}

/// The header record: part of every batch.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    applied: AppliedPoint,
    records: u64,
    records_sum: u128,
    history_oldest: u64,
    history_next: u64,
}

/// An open sled folder.
pub(crate) struct Live {
    pub(crate) generation: u64,
    folder: PathBuf,
    /// Taken on drop only.
    db: Option<sled::Db>,
    file: File,
    writer: Mutex<Writer>,
    index: RwLock<Index>,
    /// Remove the folder when the last user lets go of it.
    doomed: AtomicBool,
}

struct Writer {
    table: Table,
    /// Set by the first failure: what is on disk is then not known, and nothing more is written.
    failed: Option<String>,
}

pub(crate) fn folder_of(state: &Path, generation: u64) -> PathBuf {
    state.join(format!("sled-{generation}"))
}

/// Runs something of sled. A panic in there becomes an error that asks for a rebuild.
fn guarded<T>(what: &str, call: impl FnOnce() -> Result<T, StateError>) -> Result<T, StateError> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        Err(StateError::Corrupt(format!("the state database failed to {what}: {text}")))
    })
}

fn from_sled(error: sled::Error) -> StateError {
    match error {
        sled::Error::Io(e) => StateError::Io(e),
        other => StateError::Corrupt(format!("the state database is not readable: {other}")),
    }
}

fn open_sled(folder: &Path, cache_bytes: u64) -> Result<(sled::Db, File), StateError> {
    remove_generating(folder)?;
    let config = sled::Config::new()
        .path(folder)
        .cache_capacity(cache_bytes.max(1 << 20))
        .segment_size(SEGMENT_BYTES)
        .flush_every_ms(Some(FLUSH_EVERY_MS));
    let give_up = std::time::Instant::now() + LOCK_PATIENCE;
    let db = loop {
        match open_stepped_back(&config)? {
            // The folder of a node is locked against other processes, so this is an earlier handle of our own.
            Err(sled::Error::Io(e)) if is_locked(&e) && std::time::Instant::now() < give_up => {
                thread::sleep(Duration::from_millis(10));
            }
            other => break other.map_err(from_sled)?,
        }
    };
    let file = File::options().read(true).write(true).open(folder.join("db"))?;
    Ok((db, file))
}

/// Opens on a thread that steps back, so that the threads sled starts there do, too.
fn open_stepped_back(config: &sled::Config) -> io::Result<sled::Result<sled::Db>> {
    thread::scope(|scope| {
        let opening = thread::Builder::new().name("sled-open".into()).spawn_scoped(scope, || {
            background::step_back();
            config.open()
        })?;
        Ok(opening.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
}

fn is_locked(error: &io::Error) -> bool {
    error.to_string().contains("could not acquire lock")
}

fn remove_generating(folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_string_lossy().ends_with(".generating") {
            durable::remove_if_there(&entry.path())?;
        }
    }
    Ok(())
}

impl Live {
    /// Opens a folder and gives every record in it to `load`. Any `Err` but `NewerFormat` asks for a rebuild.
    pub(crate) fn open<T>(
        state: &Path,
        generation: u64,
        cache_bytes: u64,
        load: &mut dyn FnMut(&mut dyn Iterator<Item = RawRecord>) -> Result<T, StateError>,
    ) -> Result<(Self, T, AppliedPoint), StateError> {
        let folder = folder_of(state, generation);
        if !folder.join("db").is_file() {
            return Err(StateError::Corrupt(format!("{} is not there", folder.display())));
        }
        let (db, file) = guarded("open", || open_sled(&folder, cache_bytes))?;
        let mut live = Self::new(generation, folder, db, file, Table::default(), Index::default());
        let mut contents = Contents::default();
        let loaded = guarded("load", || {
            let mut scan = Scan { iter: live.db().scan_prefix(format::group_prefix(GROUP)), contents: &mut contents };
            let loaded = load(&mut scan);
            // Whatever load left unread still has to be checked.
            scan.by_ref().for_each(drop);
            loaded
        });
        // The reason why the scan ended comes before what load made of the shortened list.
        if let Some(error) = contents.error.take() {
            return Err(error);
        }
        let loaded = loaded?;
        let applied = contents.check()?;
        live.writer.get_mut().table = contents.table;
        *live.index.get_mut() = contents.index;
        Ok((live, loaded, applied))
    }

    fn new(generation: u64, folder: PathBuf, db: sled::Db, file: File, table: Table, index: Index) -> Self {
        let writer = Mutex::new(Writer { table, failed: None });
        let index = RwLock::new(index);
        Self { generation, folder, db: Some(db), file, writer, index, doomed: AtomicBool::new(false) }
    }

    fn db(&self) -> &sled::Db {
        self.db.as_ref().expect("only drop takes it")
    }

    /// Writes one batch. When it returns, the kernel has it and the disk was told to keep it.
    pub(crate) fn write(&self, batch: RawBatch<'_>) -> Result<(), StateError> {
        let mut writer = self.writer.lock();
        if let Some(why) = &writer.failed {
            return Err(StateError::Corrupt(format!("an earlier write failed ({why}); restart the node")));
        }
        let done = guarded("write", || self.write_guarded(&mut writer, batch));
        if let Err(e) = &done {
            writer.failed = Some(e.to_string());
        }
        done
    }

    fn write_guarded(&self, writer: &mut Writer, batch: RawBatch<'_>) -> Result<(), StateError> {
        let mut out = sled::Batch::default();
        for (own, body) in &batch.records {
            let stem = format::stem(GROUP, Kind::Record, own);
            put_record(&mut writer.table, &mut out, &stem, body.as_deref());
        }
        let mut next = self.index.read().next();
        let entries = put_history(&mut next, &mut out, &batch.history)?;
        // Out of the index before out of the database, and into it only afterwards: a reader never looks in vain.
        let keep_from = next.saturating_sub(batch.history_max).max(batch.history_floor);
        let gone = self.index.write().prune(keep_from, HISTORY_BYTES_MAX);
        for gone in gone {
            let stem = history_stem(gone.first);
            (0..gone.parts).for_each(|part| out.remove(format::part_key(&stem, part)));
        }
        let mut span = self.index.read().span();
        entries.iter().for_each(|e| span.add(e));
        put_header(&writer.table, span, batch.applied, &mut out);
        self.db().apply_batch(out).map_err(from_sled)?;
        let mut index = self.index.write();
        entries.into_iter().try_for_each(|e| index.push(e))?;
        drop(index);
        self.sync()
    }

    fn sync(&self) -> Result<(), StateError> {
        self.db().flush().map_err(from_sled)?;
        self.file.sync_data()?;
        Ok(())
    }

    pub(crate) fn history_oldest(&self) -> u64 {
        self.index.read().span().oldest.max(1)
    }

    /// Revision after the newest change set.
    pub(crate) fn history_next(&self) -> u64 {
        self.index.read().next()
    }

    /// Consecutive change sets that begin with `from`, at most `max` of them and about `bytes_max`, but at least one
    /// when it is there. Empty when `from` is not in history.
    pub(crate) fn history(&self, from: u64, max: usize, bytes_max: usize) -> Result<Vec<RawChangeSet>, StateError> {
        let mut out: Vec<RawChangeSet> = Vec::new();
        let mut bytes = 0;
        // Entries are looked up one by one, so that the lock is held for a moment only and pruning goes on.
        let mut next = from;
        while out.len() < max && bytes < bytes_max {
            let Some(entry) = self.index.read().holding(next) else { break };
            let Some(body) = guarded("read history", || self.history_record(entry))? else {
                // Gone between the look into the index and the read: pruned, or broken.
                if self.index.read().holding(next).is_none() {
                    break;
                }
                return Err(StateError::Corrupt(format!("the state database lost its history at revision {next}")));
            };
            for set in history::unpack(entry.first, &body)? {
                if set.0 >= next && out.len() < max {
                    bytes += set.1.len();
                    out.push(set);
                }
            }
            next = entry.end();
        }
        Ok(out)
    }

    fn history_record(&self, entry: Entry) -> Result<Option<Vec<u8>>, StateError> {
        let stem = history_stem(entry.first);
        let key = format::part_key(&stem, 0);
        let Some(value) = self.db().get(&key).map_err(from_sled)? else { return Ok(None) };
        let mut joiner = Joiner::begin(&key, Kind::History, &value)?;
        while !joiner.is_whole() {
            let key = format::part_key(&stem, joiner.next_part());
            let Some(value) = self.db().get(&key).map_err(from_sled)? else { return Ok(None) };
            joiner.add(&key, Kind::History, &value)?;
        }
        Ok(Some(joiner.finish().1))
    }

    /// Keeps all history that is there now until [`Live::unpin_history`]. Returns its lowest revision.
    pub(crate) fn pin_history(&self) -> u64 {
        self.index.write().pin()
    }

    pub(crate) fn unpin_history(&self) {
        self.index.write().unpin();
    }

    /// Removes the folder once the last user has let go of it.
    pub(crate) fn doom(&self) {
        self.doomed.store(true, Ordering::Release);
    }
}

impl Live {
    /// Closes the database and makes all of the folder durable. Nothing writes to it afterwards. `Ok(false)`: it did
    /// not close, and what is on disk is not known.
    pub(crate) fn close(mut self) -> Result<bool, StateError> {
        guarded("flush", || self.sync())?;
        if !self.close_sled() {
            return Ok(false);
        }
        self.sync_files()?;
        Ok(true)
    }

    /// Waits for sled to close, but not for ever: after a panic on one of its threads it never does.
    fn close_sled(&mut self) -> bool {
        let Some(db) = self.db.take() else { return true };
        let (closed, wait) = mpsc::channel();
        let closing = thread::Builder::new().name("sled-close".into()).spawn(move || {
            let _ = closed.send(catch_unwind(AssertUnwindSafe(|| drop(db))).is_ok());
        });
        let in_time = closing.is_ok() && wait.recv_timeout(CLOSE_PATIENCE) == Ok(true);
        if !in_time {
            tracing::warn!(folder = %self.folder.display(), "the state database does not close; it is left behind");
        }
        in_time
    }

    fn sync_files(&self) -> Result<(), StateError> {
        self.file.sync_all()?;
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if !path.is_file() {
                continue;
            }
            match File::open(&path) {
                // sled replaces its own snapshot files at any moment.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                file => file?.sync_all()?,
            }
        }
        durable::sync_folder(&self.folder)?;
        Ok(())
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.close_sled();
        if self.doomed.load(Ordering::Acquire)
            && let Err(error) = fs::remove_dir_all(&self.folder)
        {
            // Harmless: the next start removes every folder that is not the live one.
            tracing::warn!(folder = %self.folder.display(), %error, "an old state folder could not be removed");
        }
    }
}

fn history_stem(first: u64) -> Vec<u8> {
    format::stem(GROUP, Kind::History, &first.to_be_bytes())
}

fn put_record(table: &mut Table, out: &mut sled::Batch, stem: &[u8], body: Option<&[u8]>) -> usize {
    let Some(body) = body else {
        (0..table.remove(stem)).for_each(|part| out.remove(format::part_key(stem, part)));
        return 0;
    };
    let values = format::cut(stem, Kind::Record, body);
    let parts = u16::try_from(values.len()).expect("cut counts parts in 16 bits");
    let before = table.set(stem, body, parts);
    (parts..before).for_each(|part| out.remove(format::part_key(stem, part)));
    values.into_iter().for_each(|(key, value)| out.insert(key, value));
    body.len()
}

/// `next`: the revision that has to follow, see [`history::follows`]; moved on.
fn put_history(next: &mut u64, out: &mut sled::Batch, sets: &[RawChangeSet]) -> Result<Vec<Entry>, StateError> {
    let mut entries = Vec::new();
    if let Some(at) = sets.windows(2).position(|w| w[0].0 + 1 != w[1].0) {
        return Err(StateError::Corrupt(format!("the history to write jumps after revision {}", sets[at].0)));
    }
    for packed in history::pack(sets) {
        let values = format::cut(&history_stem(packed.first), Kind::History, &packed.body);
        let parts = u16::try_from(values.len()).expect("cut counts parts in 16 bits");
        let entry = Entry { first: packed.first, count: packed.count, parts, bytes: length(&packed.body) };
        history::follows(*next, entry.first)?;
        *next = entry.end();
        entries.push(entry);
        values.into_iter().for_each(|(key, value)| out.insert(key, value));
    }
    Ok(entries)
}

fn length(body: &[u8]) -> u32 {
    u32::try_from(body.len()).expect("a record of 4 GB is far over every limit of a command")
}

fn put_header(table: &Table, span: Span, applied: &AppliedPoint, out: &mut sled::Batch) {
    let header = Header {
        applied: applied.clone(),
        records: table.len(),
        records_sum: table.sum(),
        history_oldest: span.oldest,
        history_next: span.next,
    };
    let stem = format::stem(GROUP, Kind::Header, &[]);
    for (key, value) in format::cut(&stem, Kind::Header, &codec::encode(&header)) {
        out.insert(key, value);
    }
}

pub(crate) fn undecodable(error: codec::CodecError) -> StateError {
    StateError::Corrupt(format!("a record of the state is not readable: {error}"))
}
