//! What handles and the writer thread share: the index, the queue between them, and how it ended.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::index::GroupLog;
use super::record::Record;
use super::segment::SegmentFile;
use super::stats::WalStats;
use super::{Done, WalOptions};
use crate::storage::GroupId;

/// Records that may wait for the writer; at this bound appenders block until it has taken some.
pub(super) const QUEUE_RECORDS_MAX: usize = 65_536;
/// Bytes that may wait for the writer, the same.
pub(super) const QUEUE_BYTES_MAX: usize = 64 << 20;

/// A record on its way to the disk, or an answer that must keep its place among them.
pub(super) struct Item {
    pub(super) record: Option<Record>,
    /// Of an entry: what [`GroupLog::append`] returned.
    pub(super) serial: u32,
    /// Called with this result, unless the disk fails first.
    pub(super) done: Option<(Done, io::Result<()>)>,
}

impl Item {
    pub(super) fn bytes(&self) -> usize {
        self.record.as_ref().map_or(0, Record::encoded_bytes)
    }

    /// Answers whoever waits for this.
    pub(super) fn complete(self, failure: Option<&str>) {
        if let Some((done, result)) = self.done {
            done(failure.map_or(result, |why| Err(io::Error::other(why.to_owned()))));
        }
    }
}

pub(super) struct State {
    pub(super) groups: BTreeMap<GroupId, GroupLog>,
    pub(super) segments: BTreeMap<u32, Arc<SegmentFile>>,
    pub(super) queue: VecDeque<Item>,
    pub(super) queue_bytes: usize,
    pub(super) closing: bool,
    /// Why nothing can be written any more.
    pub(super) ended: Option<String>,
    pub(super) stats: WalStats,
}

impl State {
    pub(super) fn group(&mut self, group: GroupId) -> &mut GroupLog {
        self.groups.entry(group).or_default()
    }

    fn full(&self) -> bool {
        self.queue.len() >= QUEUE_RECORDS_MAX || self.queue_bytes >= QUEUE_BYTES_MAX
    }
}

pub(super) struct Shared {
    pub(super) options: WalOptions,
    /// Largest payload of a record, so that any fits a segment and a batch.
    pub(super) payload_max: usize,
    pub(super) state: Mutex<State>,
    /// The writer waits here for work.
    pub(super) work: Condvar,
    /// Appenders wait here for room in the queue.
    pub(super) room: Condvar,
}

impl Shared {
    /// Locks the state once the queue has room. `Err`: nothing can be queued any more.
    pub(super) fn admit(&self) -> Result<MutexGuard<'_, State>, String> {
        let mut state = self.state.lock();
        while state.full() && state.ended.is_none() && !state.closing {
            self.room.wait(&mut state);
        }
        if let Some(why) = &state.ended {
            return Err(why.clone());
        }
        if state.closing {
            return Err("the write-ahead log is being closed".into());
        }
        Ok(state)
    }

    pub(super) fn push(&self, state: &mut State, item: Item) {
        state.queue_bytes += item.bytes();
        state.queue.push_back(item);
        self.work.notify_one();
    }
}

/// Owns the writer thread; the last handle ends it.
pub(super) struct Core {
    pub(super) shared: Arc<Shared>,
    pub(super) writer: Mutex<Option<JoinHandle<()>>>,
}

impl Core {
    /// Lets the writer write all that is queued, and waits for its end.
    pub(super) fn close(&self) -> io::Result<()> {
        self.shared.state.lock().closing = true;
        self.shared.work.notify_one();
        self.shared.room.notify_all();
        let mut writer = self.writer.lock();
        // The last handle may be dropped by a callback, on the writer thread: it ends by itself then.
        if writer.as_ref().is_some_and(|w| w.thread().id() != thread::current().id())
            && let Some(writer) = writer.take()
        {
            writer.join().map_err(|_| io::Error::other("the log's writer thread panicked"))?;
        }
        match &self.shared.state.lock().ended {
            Some(why) if why != super::writer::CLOSED => Err(io::Error::other(why.clone())),
            _ => Ok(()),
        }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(%error, "the write-ahead log did not close cleanly");
        }
    }
}
