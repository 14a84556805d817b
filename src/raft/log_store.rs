//! openraft's log on the write-ahead log.
//!
//! Appending returns at once; the callback runs on the log's writer thread when the bytes are on disk. What was
//! appended can be read at once, from the log's cache of recent payloads. What is no longer there is read from disk on
//! a thread for blocking work: a follower that catches up must not keep a worker from the heartbeats of the others.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use futures_util::Stream;
use openraft::storage::{IOFlushed, RaftLogReader, RaftLogStorage};
use openraft::{EntryPayload, LogState, OptionalSend};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::entry::{decode_entry, decode_vote, encode_payload, encode_vote};
use super::machine::State;
use super::types::{Payload, RaftEntry, RaftLogId, RaftVote, Types, to_ours, to_raft};
use crate::domain::command::Proposal;
use crate::storage::LogId;
use crate::storage::wal::{Done, WalEntry, WalGroup};

/// Most payload bytes in one append to a peer (one entry may be more).
pub(super) const APPEND_BYTES_MAX: usize = 1 << 20;
/// Most payload bytes read at a time for apply.
const APPLY_READ_BYTES: usize = 4 << 20;
/// Proposals kept parsed between append and apply, on the node that made them.
const PARSED_MAX: usize = 1024;

/// A handle: clones share the log. Is its own reader.
#[derive(Clone)]
pub(crate) struct LogStore {
    wal: WalGroup,
    parsed: Arc<Mutex<Parsed>>,
    /// What was applied of it, which must not be truncated.
    state: Option<Arc<State>>,
}

/// Proposals of this node between append and apply, so that it does not decode what it encoded.
#[derive(Default)]
struct Parsed {
    queue: VecDeque<(LogId, Arc<Proposal>)>,
}

impl Parsed {
    fn put(&mut self, id: LogId, proposal: Arc<Proposal>) {
        if self.queue.len() == PARSED_MAX {
            self.queue.pop_front();
        }
        self.queue.push_back((id, proposal));
    }

    /// Takes the one of exactly this id; older ones are of no use any more.
    fn take(&mut self, id: &LogId) -> Option<Arc<Proposal>> {
        while self.queue.front().is_some_and(|(front, _)| front.index < id.index) {
            self.queue.pop_front();
        }
        match self.queue.front() {
            Some((front, _)) if front == id => self.queue.pop_front().map(|(_, proposal)| proposal),
            _ => None,
        }
    }

    fn truncate_after(&mut self, last: Option<u64>) {
        while self.queue.back().is_some_and(|(back, _)| last.is_none_or(|last| back.index > last)) {
            self.queue.pop_back();
        }
    }
}

impl LogStore {
    pub(crate) fn new(wal: WalGroup) -> Self {
        Self { wal, parsed: Arc::default(), state: None }
    }

    /// Watches over what `state` has applied.
    pub(super) fn under(self, state: Arc<State>) -> Self {
        Self { state: Some(state), ..self }
    }

    async fn read(&self, from: u64, to: u64, bytes_max: usize) -> io::Result<Vec<RaftEntry>> {
        let places = self.wal.find(from, to, bytes_max);
        let entries = match places.in_memory() {
            true => places.fetch()?,
            false => tokio::task::spawn_blocking(move || places.fetch()).await.map_err(io::Error::other)??,
        };
        entries.into_iter().map(|entry| decode_entry(&entry.id, entry.payload)).collect()
    }

    fn read_vote_now(&self) -> io::Result<Option<RaftVote>> {
        self.wal.state().vote.map(|bytes| decode_vote(&bytes)).transpose()
    }

    /// Puts back what was parsed when the entry was made here.
    fn attach_parsed(&self, entry: &mut RaftEntry) {
        let EntryPayload::Normal(payload) = &mut entry.payload else { return };
        if let Some(proposal) = self.parsed.lock().take(&to_ours(&entry.log_id)) {
            *payload = Payload::with_parsed(payload.stored().clone(), proposal);
        }
    }
}

fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let from = match range.start_bound() {
        Bound::Included(&at) => at,
        Bound::Excluded(&at) => at.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let to = match range.end_bound() {
        Bound::Included(&at) => at.saturating_add(1),
        Bound::Excluded(&at) => at,
        Bound::Unbounded => u64::MAX,
    };
    (from, to)
}

/// A callback and the wait for it. A log that went away before it ran counts as failed.
fn awaited() -> (Done, impl Future<Output = io::Result<()>>) {
    let (tx, rx) = oneshot::channel();
    let done: Done = Box::new(move |result| {
        let _ = tx.send(result);
    });
    let wait = async move { rx.await.unwrap_or_else(|_| Err(io::Error::other("the log was closed"))) };
    (done, wait)
}

/// Reads ahead in pieces, so that a long replay never sits in memory at once.
struct Ahead {
    store: LogStore,
    next: u64,
    end: u64,
    ready: std::vec::IntoIter<RaftEntry>,
}

impl Ahead {
    async fn next(&mut self) -> Option<io::Result<RaftEntry>> {
        let mut entry = match self.ready.next() {
            Some(entry) => entry,
            None if self.next >= self.end => return None,
            None => match self.store.read(self.next, self.end, APPLY_READ_BYTES).await {
                Ok(entries) => {
                    self.ready = entries.into_iter();
                    self.ready.next()?
                }
                Err(e) => {
                    self.next = self.end;
                    return Some(Err(e));
                }
            },
        };
        self.next = entry.log_id.index + 1;
        self.store.attach_parsed(&mut entry);
        Some(Ok(entry))
    }
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<RaftEntry>, io::Error> {
        let (from, to) = bounds(&range);
        let mut entries = Vec::new();
        let mut next = from;
        while next < to {
            let piece = self.read(next, to, APPLY_READ_BYTES).await?;
            let Some(last) = piece.last() else { break };
            next = last.log_id.index + 1;
            entries.extend(piece);
        }
        Ok(entries)
    }

    async fn read_vote(&mut self) -> Result<Option<RaftVote>, io::Error> {
        self.read_vote_now()
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<RaftEntry>, io::Error> {
        self.read(start, end, APPEND_BYTES_MAX).await
    }

    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = Result<RaftEntry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (next, end) = bounds(&range);
        let ahead = Ahead { store: self.clone(), next, end, ready: Vec::new().into_iter() };
        futures_util::stream::unfold(ahead, |mut ahead| async move { ahead.next().await.map(|entry| (entry, ahead)) })
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let state = self.wal.state();
        let last_purged_log_id = state.last_purged.as_ref().map(to_raft);
        Ok(LogState { last_purged_log_id, last_log_id: state.last.as_ref().map(to_raft).or(last_purged_log_id) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &RaftVote) -> Result<(), io::Error> {
        let (done, wait) = awaited();
        self.wal.save_vote(encode_vote(vote), done);
        wait.await
    }

    /// Never waits for the disk: openraft calls this in its core loop, before each apply. What a crash forgets of it
    /// is found again from the leader, and nothing is served before.
    async fn save_committed(&mut self, committed: Option<RaftLogId>) -> Result<(), io::Error> {
        self.wal.save_committed(committed.as_ref().map(to_ours));
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<RaftLogId>, io::Error> {
        let state = self.wal.state();
        // It may have been written ahead of entries that a crash then lost.
        Ok(state.committed.min(state.last.or(state.last_purged)).as_ref().map(to_raft))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = RaftEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut parsed = self.parsed.lock();
        let mut out = Vec::new();
        for entry in entries {
            let id = to_ours(&entry.log_id);
            if let EntryPayload::Normal(payload) = &entry.payload
                && let Some(proposal) = payload.parsed()
            {
                parsed.put(id, Arc::clone(proposal));
            }
            out.push(WalEntry { id, payload: encode_payload(&entry) });
        }
        drop(parsed);
        self.wal.append(out, Box::new(move |result| callback.io_completed(result)));
        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<RaftLogId>) -> Result<(), io::Error> {
        let last = last_log_id.as_ref().map(to_ours);
        if let Some(state) = &self.state
            && last.map(|id| id.index) < state.applied_id().map(|id| id.index)
        {
            return Err(state.contradicted(last));
        }
        self.parsed.lock().truncate_after(last.map(|id| id.index));
        let (done, wait) = awaited();
        self.wal.truncate_after(last, done);
        wait.await
    }

    async fn purge(&mut self, log_id: RaftLogId) -> Result<(), io::Error> {
        let (done, wait) = awaited();
        self.wal.purge(to_ours(&log_id), done);
        wait.await
    }
}
