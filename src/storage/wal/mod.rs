//! The write-ahead log: the one copy of what was acknowledged that this node answers for.
//!
//! All groups share one stream of records: entries, votes, committed ids, truncations, purges. One thread writes it,
//! and everything queued while a sync is under way goes with the next one.
//!
//! ```text
//! append ─▶ index (readers see it at once)              segment 7        segment 8 (newest)
//!        └▶ queue ─▶ writer: one write, one fdatasync ─▶ [hdr│batch│batch][hdr│batch│batch│mark│ zeros, old bytes ]
//!                        └▶ done, done, done (in order)   batch = frame, record, record, ...
//! ```
//!
//! # Invariants
//! - `done` says `Ok` only after an fdatasync that covers the record and all before it.
//! - At most one batch is not synced. It overwrites nothing but a mark and bytes that mean nothing.
//! - A write or sync that fails ends the log: `on_fatal` once, an error for everyone who waits, no second try.
//! - Segments are filled with zeros or were used before: a sync writes data only, no metadata. Each use has a random
//!   generation in every checksum, so that bytes of an earlier use never look alive.
//! - Each segment begins with the state of every group (purged, last, vote, committed): older segments are needed for
//!   their entries only, and are taken out, oldest first, once a purge on disk covers these.
//! - The number of the newest segment is kept outside the folder, durably before anything in that segment is
//!   acknowledged. Numbers are never used again, recycled files included: a log whose newest segment has a lower number
//!   has lost one, or all, and does not open.
//! - Callbacks and disk reads run outside the lock.
//!
//! # What recovery believes
//! A segment's header says where the segment before it ends: everything up to there must be whole. In the newest, the
//! first thing that is not a batch may be the write that a crash interrupted. It never was acknowledged, is dropped,
//! and wiped before anything else is written. But if a batch or a mark stands anywhere behind it, it had been synced:
//! that is damage, and the log refuses to open rather than forget or serve it. A mark is written (not synced) when
//! the log has been idle for 10 ms, and written and synced at a clean close.
//!
//! # Limits
//! - Damage to the **last** acknowledged batch looks like an interrupted write if no mark behind it survived: that is
//!   when the power failed before the system wrote the mark back (by itself within about half a minute, or with the
//!   next batch), or when both are damaged. Other nodes still have that batch.
//! - If the folder is put back to an earlier state of itself together with the number beside it, or within one segment,
//!   the log cannot tell.
//! - The disk must keep what fdatasync reported, and must not tear a sector it is rewriting with the same bytes.
//!
//! # Not here, on purpose
//! No retries. No reading of payloads: what an entry or a vote means is the caller's business. No lock on the folder:
//! the node's identity holds it.

mod index;
mod newest;
mod read;
mod record;
mod recover;
mod segment;
mod shared;
mod stats;
#[cfg(test)]
mod tests;
mod writer;
mod written;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

use self::index::Found;
pub use self::read::Places;
use self::record::{Body, Record};
use self::segment::{SEGMENT_HEADER_BYTES, SegmentFile};
use self::shared::{Core, Item, Shared, State};
pub use self::stats::{BATCH_SIZE_BUCKETS, WalStats};
use self::writer::Writer;
use super::{GroupId, LogId};

/// Bounds of [`WalOptions::segment_bytes`].
pub const SEGMENT_BYTES_MIN: u64 = 16 << 10;
pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;
/// Largest payload of an entry in a big segment; in a small one it is a quarter of the segment.
pub const ENTRY_BYTES_MAX: usize = 4 << 20;
/// Largest vote. Votes are repeated at the start of each segment.
pub const VOTE_BYTES_MAX: usize = 1024;
/// Sizes and hooks of a log.
#[derive(Clone)]
pub struct WalOptions {
    pub segment_bytes: u64,
    /// Entries kept in memory for readers, in bytes of payload.
    pub cache_bytes: usize,
    /// Whether this log is known to have held something before: one that is not there then is lost, not new.
    pub kept: bool,
    /// Called once, from the writer thread, when the disk fails. It ends the process.
    pub on_fatal: Arc<dyn Fn(String) + Send + Sync>,
}

/// The log of all groups of a node. A handle: clones share one writer thread.
#[derive(Clone)]
pub struct Wal {
    core: Arc<Core>,
}

/// The log of one group.
#[derive(Clone)]
pub struct WalGroup {
    core: Arc<Core>,
    group: GroupId,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalEntry {
    pub id: LogId,
    pub payload: Bytes,
}

/// Where a group's log stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WalState {
    pub last_purged: Option<LogId>,
    /// The last entry; when there is none, the same as `last_purged`.
    pub last: Option<LogId>,
    pub vote: Option<Bytes>,
    pub committed: Option<LogId>,
}

/// Runs once, on the writer thread, when the record is on disk (or the log is closed). Must not block, and must not
/// call back into the log. Once the log is closed or failed it runs at once, with an error, on the caller's thread.
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

/// What to do about a log that is not whole.
const REBUILD: &str = "Acknowledged writes may be lost, so this node must not take part as it is. Rebuild it: remove it \
                       from the cluster, empty its data folder, and join it again under a new node id";

fn corrupt(path: &Path, offset: u64, why: &str) -> WalError {
    WalError::Corrupt(format!("the write-ahead log is damaged: {} at byte {offset}: {why}. {REBUILD}", path.display()))
}

fn newer(path: &Path, offset: u64, what: &str) -> WalError {
    WalError::NewerFormat(format!(
        "the write-ahead log was written by a newer version of lastseat: {} at byte {offset} holds {what}. Start this \
         node with that version or a newer one",
        path.display()
    ))
}

impl Wal {
    /// Opens the log in `dir`, which is made if it is not there. Blocking: reads the whole log, and fills the first
    /// segment of a new one with zeros. Beside `dir` it keeps the number of its newest segment, in a file of the same
    /// name that ends in `.newest`; when this returns, both are durable.
    ///
    /// # Errors
    /// `Corrupt` and `NewerFormat` as the module says; `Io` for a failing disk or a size out of bounds.
    pub fn open(dir: &Path, options: WalOptions) -> Result<Self, WalError> {
        let capacity = options.segment_bytes / SEGMENT_HEADER_BYTES * SEGMENT_HEADER_BYTES;
        if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&capacity) {
            let why = format!("segments of {capacity} bytes: must be {SEGMENT_BYTES_MIN} to {SEGMENT_BYTES_MAX}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why).into());
        }
        segment::make_folder(dir)?;
        let found = recover::recover(dir, options.kept)?;
        let quarter = usize::try_from((capacity - SEGMENT_HEADER_BYTES) / 4).unwrap_or(usize::MAX);
        let state = State {
            groups: BTreeMap::new(),
            segments: BTreeMap::new(),
            queue: std::collections::VecDeque::new(),
            queue_bytes: 0,
            closing: false,
            ended: None,
            stats: WalStats::default(),
        };
        let shared = Arc::new(Shared {
            options,
            payload_max: quarter.min(ENTRY_BYTES_MAX),
            state: Mutex::new(state),
            work: Condvar::new(),
            room: Condvar::new(),
        });
        let writer = Writer::new(dir, shared.clone(), found, capacity)?;
        let thread = thread::Builder::new().name("wal-writer".into()).spawn(move || writer.run())?;
        Ok(Self { core: Arc::new(Core { shared, writer: Mutex::new(Some(thread)) }) })
    }

    pub fn group(&self, group: GroupId) -> WalGroup {
        self.core.shared.state.lock().group(group);
        WalGroup { core: self.core.clone(), group }
    }

    /// Counters since the log was opened.
    pub fn stats(&self) -> WalStats {
        let state = self.core.shared.state.lock();
        WalStats {
            segments: state.segments.len() as u64,
            queued_records: state.queue.len() as u64,
            queued_bytes: state.queue_bytes as u64,
            ..state.stats.clone()
        }
    }

    /// Waits until everything queued is on disk and ends the writer thread. Reading goes on to work.
    ///
    /// # Errors
    /// What made the log fail, if it did.
    pub fn close(&self) -> io::Result<()> {
        self.core.close()
    }
}

impl WalGroup {
    pub fn state(&self) -> WalState {
        self.core.shared.state.lock().group(self.group).state()
    }

    /// Queues entries. They can be read at once; `done` runs when they are on disk.
    ///
    /// Blocks while the queue is full (64 MiB or 65,536 records), until the writer took some: at most as long as a
    /// sync or two take. Entries must follow on the last one: to replace entries, truncate first. An append that does
    /// not, or with an entry over the limit, changes nothing, and `done` gets an `InvalidInput` error in its turn.
    pub fn append(&self, entries: Vec<WalEntry>, done: Done) {
        let shared = &self.core.shared;
        let mut state = match shared.admit() {
            Ok(state) => state,
            Err(why) => return done(Err(io::Error::other(why))),
        };
        if let Err(why) = check(&entries, state.group(self.group).next(), shared.payload_max) {
            drop(state);
            return self.refuse(why, done);
        }
        let mut done = Some((done, Ok(())));
        let count = entries.len();
        for (i, entry) in entries.into_iter().enumerate() {
            let serial = state.group(self.group).append(&entry);
            let record = Some(Record { group: self.group, body: Body::Entry(entry) });
            let done = if i + 1 == count { done.take() } else { None };
            shared.push(&mut state, Item { record, serial, done });
        }
        if done.is_some() {
            shared.push(&mut state, Item { record: None, serial: 0, done });
        }
    }

    /// Replaces the vote. At most [`VOTE_BYTES_MAX`] bytes.
    pub fn save_vote(&self, vote: Bytes, done: Done) {
        if vote.len() > VOTE_BYTES_MAX {
            return self.refuse(format!("a vote of {} bytes: at most {VOTE_BYTES_MAX}", vote.len()), done);
        }
        self.change(done, |log| {
            log.vote = Some(vote.clone());
            Some(Body::Vote(vote))
        });
    }

    /// Remembered, and written with the next record; never syncs by itself. Not written before the entry it names.
    pub fn save_committed(&self, committed: Option<LogId>) {
        let mut state = self.core.shared.state.lock();
        let log = state.group(self.group);
        if log.committed != committed {
            log.committed = committed;
            log.committed_dirty = true;
        }
    }

    /// Drops every entry after `last` (all with `None`). Readers no longer see them at once.
    pub fn truncate_after(&self, last: Option<LogId>, done: Done) {
        self.change(done, |log| {
            let from = last.map_or(0, |l| l.index + 1).max(log.purged.map_or(0, |p| p.index + 1));
            if log.last().is_none_or(|l| l.index < from) {
                return None;
            }
            log.truncate_from(from);
            Some(Body::Truncate(log.last().or(log.purged)))
        });
    }

    /// Drops every entry up to `upto`, inclusive, and recycles segments nobody needs. `upto` may lie behind the last
    /// entry; the log goes on after it then.
    pub fn purge(&self, upto: LogId, done: Done) {
        self.change(done, |log| log.purge(upto).then_some(Body::Purge(upto)));
    }

    /// Entries `from..to` that are there, in order, at most about `bytes_max` of payload but at least one. Blocks when
    /// some are not in memory any more.
    ///
    /// # Errors
    /// The disk failed, or gave back something else than was written.
    pub fn read(&self, from: u64, to: u64, bytes_max: usize) -> io::Result<Vec<WalEntry>> {
        self.find(from, to, bytes_max).fetch()
    }

    /// The same in two steps, for callers that must not block: this one never does.
    pub fn find(&self, from: u64, to: u64, bytes_max: usize) -> Places {
        let mut state = self.core.shared.state.lock();
        let found = state.group(self.group).find(from, to, bytes_max);
        let mut segments: BTreeMap<u32, Arc<SegmentFile>> = BTreeMap::new();
        for place in &found {
            if let Found::Disk { segment, .. } = place
                && let Some(file) = state.segments.get(segment)
            {
                segments.entry(*segment).or_insert_with(|| file.clone());
            }
        }
        Places { found, segments }
    }

    /// Id of one entry, from the index in memory. `None` when it is not there (any more).
    pub fn log_id(&self, index: u64) -> Option<LogId> {
        self.core.shared.state.lock().group(self.group).log_id(index)
    }

    /// Bytes of log after entry `index`, as they are on disk.
    pub fn bytes_after(&self, index: u64) -> u64 {
        self.core.shared.state.lock().group(self.group).bytes_after(index)
    }

    /// The last entry that has to go so that of those up to `upto` at most `bytes` are kept. `None`: no more than that
    /// are there.
    pub fn last_beyond(&self, upto: u64, bytes: u64) -> Option<u64> {
        self.core.shared.state.lock().group(self.group).last_beyond(upto, bytes)
    }

    /// Changes the index and queues the record that says so. `None`: there is nothing to write.
    fn change(&self, done: Done, change: impl FnOnce(&mut index::GroupLog) -> Option<Body>) {
        let shared = &self.core.shared;
        let mut state = match shared.admit() {
            Ok(state) => state,
            Err(why) => return done(Err(io::Error::other(why))),
        };
        let record = change(state.group(self.group)).map(|body| Record { group: self.group, body });
        shared.push(&mut state, Item { record, serial: 0, done: Some((done, Ok(()))) });
    }

    /// Answers a caller that asks for something impossible, in its turn.
    fn refuse(&self, why: String, done: Done) {
        tracing::error!(group = self.group.0, why, "refused to write to the log");
        let shared = &self.core.shared;
        let refusal = io::Error::new(io::ErrorKind::InvalidInput, why);
        match shared.admit() {
            Ok(mut state) => {
                let done = Some((done, Err(refusal)));
                shared.push(&mut state, Item { record: None, serial: 0, done });
            }
            Err(why) => done(Err(io::Error::other(why))),
        }
    }
}

fn check(entries: &[WalEntry], next: Option<u64>, payload_max: usize) -> Result<(), String> {
    let mut next = next;
    for entry in entries {
        if let Some(expected) = next
            && entry.id.index != expected
        {
            return Err(format!("entry {} cannot be appended: the next one is {expected}", entry.id.index));
        }
        if entry.payload.len() > payload_max {
            return Err(format!("entry {} has {} bytes: at most {payload_max}", entry.id.index, entry.payload.len()));
        }
        next = Some(entry.id.index + 1);
    }
    Ok(())
}
