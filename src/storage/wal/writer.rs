//! The one thread that writes.
//!
//! Takes what is queued, writes it as one batch at the end of the newest segment, syncs once, answers in order. While
//! one batch is synced the next one gathers: under load a sync serves many. Any error ends it, for good.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::newest;
use super::record::{BATCH_HEADER_BYTES, BatchHeader, BatchKind, Body, Record, record_bytes};
use super::recover::Recovered;
use super::segment::{Pool, SEGMENT_HEADER_BYTES, SegmentFile, SegmentHeader};
use super::shared::{Item, Shared, State};
use super::written::{Contents, Written, note_contents};
use crate::storage::{GroupId, LogId};

/// Most bytes of one batch. Recovery wipes as much behind the end of the log.
pub(super) const BATCH_BYTES_MAX: usize = 8 << 20;
/// Most records of one batch.
const BATCH_RECORDS_MAX: usize = 8192;
/// Idle time after which a mark says that all before it was synced. Longer than a round of requests, so that it costs
/// nothing under load.
const MARK_AFTER: Duration = Duration::from_millis(10);
/// A next segment is made ready when this part of the current one is used: 1/2.
const PREPARE_AT_DIVISOR: u64 = 2;
/// What appenders hear after a clean close.
pub(super) const CLOSED: &str = "the write-ahead log is closed";

/// An entry of the batch in hand: group, index, serial number, offset.
type Placement = (GroupId, u64, u32, u32);

pub(super) struct Writer {
    dir: PathBuf,
    shared: Arc<Shared>,
    pool: Pool,
    current: Arc<SegmentFile>,
    /// Where the next batch goes.
    end: u64,
    next_batch: u64,
    written: BTreeMap<GroupId, Written>,
    contents: Contents,
    taken: VecDeque<Item>,
    /// Committed ids to write along with the next batch that holds their entry.
    committed: BTreeMap<GroupId, Option<LogId>>,
    buffer: Vec<u8>,
    placements: Vec<Placement>,
    records: u32,
    purged: bool,
    mark_due: bool,
}

enum Work {
    Write,
    Mark,
    Close,
}

impl Writer {
    /// Goes on where recovery ended; begins the first segment of a new log.
    pub(super) fn new(dir: &Path, shared: Arc<Shared>, mut found: Recovered, capacity: u64) -> io::Result<Self> {
        let mut pool = Pool::new(dir, capacity, std::mem::take(&mut found.spares))?;
        let current = match found.segments.last_key_value() {
            Some((_, newest)) => newest.clone(),
            None => {
                let first = header(1, None, 0, found.next_batch)?;
                found.end = SEGMENT_HEADER_BYTES;
                found.contents.insert(1, BTreeMap::new());
                Arc::new(pool.activate(first)?)
            }
        };
        // A crash may have come between a segment and its number.
        newest::write(dir, current.header.sequence)?;
        {
            let mut state = shared.state.lock();
            state.segments = std::mem::take(&mut found.segments);
            state.segments.insert(current.header.sequence, current.clone());
            state.groups = std::mem::take(&mut found.logs);
        }
        let mut writer = Self {
            dir: dir.to_owned(),
            shared,
            pool,
            current,
            end: found.end,
            next_batch: found.next_batch,
            written: found.written,
            contents: found.contents,
            taken: VecDeque::new(),
            committed: BTreeMap::new(),
            buffer: Vec::new(),
            placements: Vec::new(),
            records: 0,
            purged: false,
            mark_due: true,
        };
        writer.release_unneeded()?;
        Ok(writer)
    }

    /// The thread's body. Whatever ends it, everyone who waits is answered.
    pub(super) fn run(mut self) {
        let outcome = match catch_unwind(AssertUnwindSafe(|| self.work())) {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(format!("the write-ahead log failed: {error}")),
            Err(panic) => Some(format!("the write-ahead log's writer panicked: {}", panic_text(panic.as_ref()))),
        };
        let why = outcome.clone().unwrap_or_else(|| CLOSED.into());
        let queued = {
            let mut state = self.shared.state.lock();
            state.ended = Some(why.clone());
            state.queue_bytes = 0;
            std::mem::take(&mut state.queue)
        };
        self.shared.room.notify_all();
        if let Some(why) = outcome
            && catch_unwind(AssertUnwindSafe(|| (self.shared.options.on_fatal)(why))).is_err()
        {
            tracing::error!("the hook for a failed write-ahead log panicked");
        }
        for item in self.taken.drain(..).chain(queued) {
            // One callback that panics must not keep the others from their answer.
            if catch_unwind(AssertUnwindSafe(|| item.complete(Some(&why)))).is_err() {
                tracing::error!("a callback of the write-ahead log panicked");
            }
        }
        if let Err(error) = self.pool.settle() {
            tracing::warn!(%error, "the next log segment could not be made ready");
        }
    }

    fn work(&mut self) -> io::Result<()> {
        loop {
            match self.wait() {
                Work::Write => self.write_taken()?,
                Work::Mark => self.write_mark(BatchKind::Mark)?,
                Work::Close => return self.finish(),
            }
        }
    }

    /// Waits for something to do, and takes it.
    fn wait(&mut self) -> Work {
        let shared = self.shared.clone();
        let mut state = shared.state.lock();
        loop {
            if !state.queue.is_empty() {
                self.take(&mut state);
                shared.room.notify_all();
                return Work::Write;
            }
            if state.closing {
                self.take(&mut state);
                return Work::Close;
            }
            if !self.mark_due {
                shared.work.wait(&mut state);
            } else if shared.work.wait_for(&mut state, MARK_AFTER).timed_out() && state.queue.is_empty() {
                return Work::Mark;
            }
        }
    }

    fn take(&mut self, state: &mut State) {
        let mut bytes = 0;
        while self.taken.len() < BATCH_RECORDS_MAX
            && bytes < BATCH_BYTES_MAX
            && let Some(item) = state.queue.pop_front()
        {
            bytes += item.bytes();
            self.taken.push_back(item);
        }
        state.queue_bytes = state.queue_bytes.saturating_sub(bytes);
        for (group, log) in &mut state.groups {
            if std::mem::take(&mut log.committed_dirty) {
                self.committed.insert(*group, log.committed);
            }
        }
    }

    fn write_taken(&mut self) -> io::Result<()> {
        while !self.taken.is_empty() {
            let items = self.encode();
            if items == 0 {
                self.begin_segment()?;
                continue;
            }
            if self.records > 0 {
                self.write_batch()?;
            }
            for _ in 0..items {
                if let Some(item) = self.taken.pop_front() {
                    item.complete(None);
                }
            }
        }
        Ok(())
    }

    /// Room for the next batch in the current segment; a mark always fits behind it.
    fn room(&self) -> usize {
        let left = (self.current.header.capacity - self.end).saturating_sub(BATCH_HEADER_BYTES as u64);
        usize::try_from(left).unwrap_or(usize::MAX).min(BATCH_BYTES_MAX)
    }

    /// Fills the buffer with as many of the taken items as fit one batch. Returns how many. Committed ids ride along;
    /// they make a batch of their own only when nothing is taken at all, which is at a clean close.
    fn encode(&mut self) -> usize {
        self.buffer.clear();
        self.buffer.resize(BATCH_HEADER_BYTES, 0);
        self.placements.clear();
        self.records = 0;
        self.purged = false;
        let room = self.room();
        let preamble = if self.end == SEGMENT_HEADER_BYTES { self.preamble() } else { Vec::new() };
        let riders = self.committed.len() * record_bytes(0);
        let mut planned = BATCH_HEADER_BYTES + riders + preamble.iter().map(Record::encoded_bytes).sum::<usize>();
        let mut items = 0;
        for item in &self.taken {
            planned += item.bytes();
            if planned > room && item.record.is_some() {
                break;
            }
            items += 1;
        }
        let nothing = self.taken.iter().take(items).all(|item| item.record.is_none());
        if nothing && !self.taken.is_empty() {
            return items;
        }
        for record in &preamble {
            self.put(record, 0);
        }
        let taken = std::mem::take(&mut self.taken);
        for item in taken.iter().take(items) {
            if let Some(record) = &item.record {
                self.put(record, item.serial);
            }
        }
        self.taken = taken;
        self.put_committed(room);
        items
    }

    /// State of every group, so that older segments are not needed for it.
    fn preamble(&self) -> Vec<Record> {
        let mut records = Vec::new();
        for (&group, written) in &self.written {
            let mut add = |body| records.push(Record { group, body });
            if let Some(purged) = written.purged {
                add(Body::Purge(purged));
            }
            add(Body::Extent(written.last));
            if let Some(vote) = &written.vote {
                add(Body::Vote(vote.clone()));
            }
            if written.committed.is_some() {
                add(Body::Committed(written.committed));
            }
        }
        records
    }

    fn put(&mut self, record: &Record, serial: u32) {
        let position = self.end + self.buffer.len() as u64;
        record.encode(self.current.header.generation, position, &mut self.buffer);
        self.records += 1;
        self.written.entry(record.group).or_default().note(&record.body);
        match &record.body {
            Body::Entry(entry) => {
                let offset = u32::try_from(position).expect("segments are limited to less than 4 GiB");
                self.placements.push((record.group, entry.id.index, serial, offset));
            }
            Body::Purge(_) => self.purged = true,
            Body::Vote(_) | Body::Committed(_) | Body::Truncate(_) | Body::Extent(_) => {}
        }
        note_contents(&mut self.contents, self.current.header.sequence, record);
    }

    /// Adds the committed ids whose entries are on disk with this batch. The others wait.
    fn put_committed(&mut self, room: usize) {
        for (group, committed) in std::mem::take(&mut self.committed) {
            let record = Record { group, body: Body::Committed(committed) };
            let last = self.written.get(&group).and_then(|w| w.last);
            let there = committed.is_none_or(|c| last.is_some_and(|l| c.index <= l.index));
            if there && self.buffer.len() + record.encoded_bytes() <= room {
                self.put(&record, 0);
            } else {
                self.committed.insert(group, committed);
            }
        }
    }

    /// Writes the buffer, syncs, and shows readers where their entries are.
    fn write_batch(&mut self) -> io::Result<()> {
        let body_bytes =
            u32::try_from(self.buffer.len() - BATCH_HEADER_BYTES).expect("batches are limited to far less");
        let header = BatchHeader { kind: BatchKind::Data, body_bytes, number: self.next_batch, records: self.records };
        let header = header.encode(self.current.header.generation, self.end);
        self.buffer[..BATCH_HEADER_BYTES].copy_from_slice(&header);
        self.current.write(&self.buffer, self.end)?;
        let started = Instant::now();
        self.current.sync()?;
        let took = started.elapsed();
        metrics::histogram!("lastseat_wal_fsync_seconds").record(took);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let first_in_segment = self.end == SEGMENT_HEADER_BYTES;
        self.end += self.buffer.len() as u64;
        self.next_batch += 1;
        self.mark_due = true;
        self.publish(micros);
        if self.purged || first_in_segment {
            self.release_unneeded()?;
        }
        if self.end > self.current.header.capacity / PREPARE_AT_DIVISOR {
            self.pool.prepare()?;
        }
        Ok(())
    }

    fn publish(&mut self, fsync_micros: u64) {
        let mut state = self.shared.state.lock();
        state.stats.count_batch(u64::from(self.records), self.buffer.len() as u64, fsync_micros);
        for (group, index, serial, offset) in self.placements.drain(..) {
            state.group(group).placed(index, serial, self.current.header.sequence, offset);
        }
        let budget = self.shared.options.cache_bytes / state.groups.len().max(1);
        for log in state.groups.values_mut() {
            log.shrink(budget);
        }
    }

    /// Goes on in a new segment.
    fn begin_segment(&mut self) -> io::Result<()> {
        if self.end == SEGMENT_HEADER_BYTES {
            return Err(io::Error::other("a record does not fit an empty segment: raise the size of segments"));
        }
        let sequence = self.current.header.sequence;
        let next = sequence.checked_add(1).ok_or_else(|| io::Error::other("segment numbers are used up"))?;
        let header = header(next, Some(&self.current.header), self.end, self.next_batch)?;
        self.current = Arc::new(self.pool.activate(header)?);
        newest::write(&self.dir, next)?;
        self.end = SEGMENT_HEADER_BYTES;
        self.contents.insert(next, BTreeMap::new());
        let mut state = self.shared.state.lock();
        state.segments.insert(next, self.current.clone());
        state.stats.begun += 1;
        Ok(())
    }

    /// Takes the oldest segments out of the log as long as nothing in them is needed. What makes them unneeded is
    /// durable by now: a purge, and the preamble of the newest segment.
    fn release_unneeded(&mut self) -> io::Result<()> {
        while let Some((&oldest, contents)) = self.contents.first_key_value() {
            let purged = |group: &GroupId| self.written.get(group).and_then(|w| w.purged).map(|p| p.index);
            let needed = contents.iter().any(|(group, highest)| purged(group).is_none_or(|p| p < *highest));
            if needed || oldest == self.current.header.sequence || self.end == SEGMENT_HEADER_BYTES {
                break;
            }
            self.contents.remove(&oldest);
            let segment = self.shared.state.lock().segments.remove(&oldest);
            if let Some(segment) = segment
                && self.pool.release(segment)?
            {
                self.shared.state.lock().stats.recycled += 1;
            }
        }
        let spares = self.pool.spares() as u64;
        self.shared.state.lock().stats.spares = spares;
        Ok(())
    }

    /// Says that all before was synced. Not synced itself: the next sync or the kernel takes it along.
    fn write_mark(&mut self, kind: BatchKind) -> io::Result<()> {
        let mark = BatchHeader { kind, body_bytes: 0, number: self.next_batch, records: 0 };
        self.current.write(&mark.encode(self.current.header.generation, self.end), self.end)?;
        self.mark_due = false;
        Ok(())
    }

    /// The last writes of a clean close.
    fn finish(&mut self) -> io::Result<()> {
        if !self.committed.is_empty() {
            if self.room() < BATCH_HEADER_BYTES + self.committed.len() * record_bytes(0) {
                self.begin_segment()?;
            }
            self.encode();
            if self.records > 0 {
                self.write_batch()?;
            }
        }
        self.write_mark(BatchKind::Closed)?;
        self.current.sync()
    }
}

fn header(sequence: u32, prev: Option<&SegmentHeader>, prev_end: u64, first_batch: u64) -> io::Result<SegmentHeader> {
    Ok(SegmentHeader {
        sequence,
        generation: getrandom::u64().map_err(io::Error::other)?,
        capacity: 0,
        prev_sequence: prev.map_or(0, |p| p.sequence),
        prev_generation: prev.map_or(0, |p| p.generation),
        prev_end,
        first_batch,
    })
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("?")
}
