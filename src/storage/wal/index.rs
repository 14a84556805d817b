//! What is known in memory about one group's log: where each entry is, its id, and the newest payloads.
//!
//! ```text
//! purged │ first ........ cached_from ............ last
//!        │ places (16 bytes an entry)
//!        │ terms  (one per change of leader)
//!        │              └ payloads, up to a number of bytes, and all that are not on disk yet
//! ```

use std::collections::VecDeque;

use bytes::Bytes;

use super::record::record_bytes;
use super::{WalEntry, WalState};
use crate::storage::LogId;

/// In `Place::segment`: still queued; `offset` is the serial number of the append then.
const UNWRITTEN: u32 = u32::MAX;

/// Where an entry's record is.
#[derive(Debug, Clone, Copy)]
struct Place {
    segment: u32,
    offset: u32,
    /// Bytes of all entries ever up to and with this one; differences are sizes on disk.
    bytes_upto: u64,
}

/// Leader of all entries from an index on.
#[derive(Debug, Clone, Copy)]
struct Reign {
    from: u64,
    term: u64,
    node_id: u64,
}

/// Where to find one entry to read.
#[derive(Debug, Clone)]
pub(super) enum Found {
    Memory(WalEntry),
    Disk { id: LogId, segment: u32, offset: u32, bytes: u64 },
}

#[derive(Debug, Default)]
pub(super) struct GroupLog {
    pub(super) purged: Option<LogId>,
    pub(super) vote: Option<Bytes>,
    pub(super) committed: Option<LogId>,
    /// Whether `committed` changed since the writer last took it.
    pub(super) committed_dirty: bool,
    /// Index of `places[0]`.
    first: u64,
    places: VecDeque<Place>,
    reigns: VecDeque<Reign>,
    /// `bytes_upto` of the entry before the first.
    bytes_before: u64,
    /// Payloads of the last entries.
    payloads: VecDeque<Bytes>,
    payload_bytes: usize,
    serial: u32,
}

impl GroupLog {
    pub(super) fn state(&self) -> WalState {
        WalState {
            last_purged: self.purged,
            last: self.last().or(self.purged),
            vote: self.vote.clone(),
            committed: self.committed,
        }
    }

    /// Index after the last entry.
    fn end(&self) -> u64 {
        self.first + self.places.len() as u64
    }

    /// The last entry that is there.
    pub(super) fn last(&self) -> Option<LogId> {
        self.end().checked_sub(1).and_then(|index| self.log_id(index))
    }

    /// The only index that can be appended; `None`: any, the log never had entries or all were truncated.
    pub(super) fn next(&self) -> Option<u64> {
        match (self.places.is_empty(), self.purged) {
            (false, _) => Some(self.end()),
            (true, Some(purged)) => Some(purged.index + 1),
            (true, None) => None,
        }
    }

    fn position(&self, index: u64) -> Option<usize> {
        let position = usize::try_from(index.checked_sub(self.first)?).ok()?;
        (position < self.places.len()).then_some(position)
    }

    pub(super) fn log_id(&self, index: u64) -> Option<LogId> {
        self.position(index)?;
        let reign = self.reigns.partition_point(|r| r.from <= index).checked_sub(1)?;
        let Reign { term, node_id, .. } = self.reigns[reign];
        Some(LogId { term, node_id, index })
    }

    fn add(&mut self, id: LogId, payload_bytes: usize, segment: u32, offset: u32) {
        if self.places.is_empty() {
            self.first = id.index;
            self.reigns.clear();
        }
        debug_assert_eq!(id.index, self.end(), "the caller checked that entries follow each other");
        if self.reigns.back().is_none_or(|r| (r.term, r.node_id) != (id.term, id.node_id)) {
            self.reigns.push_back(Reign { from: id.index, term: id.term, node_id: id.node_id });
        }
        let bytes_upto = self.bytes_total() + record_bytes(payload_bytes) as u64;
        self.places.push_back(Place { segment, offset, bytes_upto });
    }

    /// Adds an entry that is not written yet. Returns the serial number to give [`Self::placed`].
    pub(super) fn append(&mut self, entry: &WalEntry) -> u32 {
        self.serial = self.serial.wrapping_add(1);
        self.add(entry.id, entry.payload.len(), UNWRITTEN, self.serial);
        self.payload_bytes += entry.payload.len();
        self.payloads.push_back(entry.payload.clone());
        self.serial
    }

    /// Adds an entry found on disk.
    pub(super) fn recover(&mut self, id: LogId, payload_bytes: usize, segment: u32, offset: u32) {
        self.add(id, payload_bytes, segment, offset);
    }

    /// The append with this serial number is on disk. Nothing happens if the entry was truncated meanwhile.
    pub(super) fn placed(&mut self, index: u64, serial: u32, segment: u32, offset: u32) {
        if let Some(position) = self.position(index) {
            let place = &mut self.places[position];
            if (place.segment, place.offset) == (UNWRITTEN, serial) {
                (place.segment, place.offset) = (segment, offset);
            }
        }
    }

    /// Lets go of the oldest payloads that are on disk until `bytes_max` is kept.
    pub(super) fn shrink(&mut self, bytes_max: usize) {
        while self.payload_bytes > bytes_max {
            let front = self.places.len() - self.payloads.len();
            if self.payloads.is_empty() || self.places[front].segment == UNWRITTEN {
                break;
            }
            self.forget_front();
        }
    }

    fn forget_front(&mut self) {
        self.payload_bytes -= self.payloads.pop_front().map_or(0, |p| p.len());
    }

    /// Drops every entry from `index` on.
    pub(super) fn truncate_from(&mut self, index: u64) {
        while self.end() > index && !self.places.is_empty() {
            self.places.pop_back();
            self.payload_bytes -= self.payloads.pop_back().map_or(0, |p| p.len());
        }
        while self.reigns.back().is_some_and(|r| r.from >= index) {
            self.reigns.pop_back();
        }
    }

    /// Drops every entry up to `upto`, which may lie behind the last. False if it was purged that far before.
    pub(super) fn purge(&mut self, upto: LogId) -> bool {
        if self.purged.is_some_and(|p| p.index >= upto.index) {
            return false;
        }
        self.purged = Some(upto);
        while self.first <= upto.index
            && let Some(place) = self.places.pop_front()
        {
            self.bytes_before = place.bytes_upto;
            self.first += 1;
            if self.payloads.len() > self.places.len() {
                self.forget_front();
            }
        }
        while self.reigns.len() > 1 && self.reigns[1].from <= self.first {
            self.reigns.pop_front();
        }
        true
    }

    fn bytes_total(&self) -> u64 {
        self.places.back().map_or(self.bytes_before, |p| p.bytes_upto)
    }

    pub(super) fn bytes_after(&self, index: u64) -> u64 {
        if index < self.first {
            return self.bytes_total() - self.bytes_before;
        }
        self.position(index).map_or(0, |position| self.bytes_total() - self.places[position].bytes_upto)
    }

    /// The last entry that has to go so that of those up to `upto` at most `bytes` are kept. `None`: no more than that
    /// are there.
    pub(super) fn last_beyond(&self, upto: u64, bytes: u64) -> Option<u64> {
        let goes_upto = self.places[self.position(upto)?].bytes_upto.saturating_sub(bytes);
        if goes_upto <= self.bytes_before {
            return None;
        }
        Some(self.first + self.places.partition_point(|place| place.bytes_upto < goes_upto) as u64)
    }

    /// Where the entries `from..to` are, at most about `bytes_max` of them but at least one.
    pub(super) fn find(&self, from: u64, to: u64, bytes_max: usize) -> Vec<Found> {
        let mut found = Vec::new();
        let mut left = bytes_max as u64;
        for index in from.max(self.first)..to.min(self.end()) {
            let Some((id, position)) = self.log_id(index).zip(self.position(index)) else { break };
            let place = self.places[position];
            let before = if position == 0 { self.bytes_before } else { self.places[position - 1].bytes_upto };
            let bytes = place.bytes_upto - before;
            let payload_bytes = bytes.saturating_sub(record_bytes(0) as u64);
            if payload_bytes > left && !found.is_empty() {
                break;
            }
            left = left.saturating_sub(payload_bytes);
            let uncached = self.places.len() - self.payloads.len();
            found.push(match position.checked_sub(uncached) {
                Some(cached) => Found::Memory(WalEntry { id, payload: self.payloads[cached].clone() }),
                None => Found::Disk { id, segment: place.segment, offset: place.offset, bytes },
            });
        }
        found
    }
}
