//! Packed records in numbered chunks.
//!
//! ```text
//! ChunkLog   front ─┐                                  next ─┐
//!            [ chunk 0: ·····######## ][ chunk 256: ############ ][ chunk 512: ###      ]
//!                       evicted                 closed                  open
//! ```
//!
//! A record has a dense sequence number. A chunk is closed when it has 256 records or about 48 KiB, whichever is first;
//! that is a function of what is in it, so every node cuts at the same places. A record of more than 48 KiB has a chunk
//! of its own; so a chunk is made of less than 96 KiB or of one record (an order that replaces one in it can be somewhat
//! longer). A chunk is shared (`Arc`) with frozen views and copied only when it is written while shared.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Most records in one chunk.
const CHUNK_RECORDS_MAX: usize = 256;
/// A chunk that has this many bytes takes no further record, and a record of more than that no company.
pub(super) const CHUNK_BYTES_FULL: usize = 48 << 10;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Chunk {
    #[serde(with = "raw")]
    bytes: Vec<u8>,
    /// Where each record ends in `bytes`.
    ends: Vec<u32>,
}

impl Chunk {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    fn full(&self) -> bool {
        self.ends.len() >= CHUNK_RECORDS_MAX || self.bytes.len() >= CHUNK_BYTES_FULL
    }

    fn start(&self, at: usize) -> usize {
        if at == 0 { 0 } else { self.ends[at - 1] as usize }
    }

    pub(super) fn get(&self, at: usize) -> Option<&[u8]> {
        let end = *self.ends.get(at)? as usize;
        self.bytes.get(self.start(at)..end)
    }

    fn push(&mut self, record: &[u8]) {
        self.bytes.extend_from_slice(record);
        self.ends.push(u32::try_from(self.bytes.len()).expect("a chunk is closed long before 4 GiB"));
        if self.full() {
            // Copied, not shrunk: an allocator may leave a shrunk vector in the block of twice its size it grew into,
            // and closed chunks are most of what a node remembers.
            self.bytes = self.bytes.as_slice().to_vec();
            self.ends = self.ends.as_slice().to_vec();
        }
    }

    fn pop(&mut self) {
        self.ends.pop();
        let end = self.ends.last().map_or(0, |end| *end as usize);
        self.bytes.truncate(end);
    }

    fn replace(&mut self, at: usize, record: &[u8]) {
        let (start, end) = (self.start(at), self.ends[at] as usize);
        self.bytes.splice(start..end, record.iter().copied());
        let moved: Vec<u32> = self.ends[at..]
            .iter()
            .map(|e| u32::try_from(*e as usize - (end - start) + record.len()).expect("a chunk stays far below 4 GiB"))
            .collect();
        self.ends.truncate(at);
        self.ends.extend(moved);
    }

    /// Whether the ends are in order and the last is where the bytes end; a broken chunk would make reads panic.
    fn sound(&self) -> bool {
        self.ends.is_sorted() && self.ends.last().map_or(0, |end| *end as usize) == self.bytes.len()
    }
}

#[derive(Debug, Clone)]
struct Slot {
    first: u64,
    chunk: Arc<Chunk>,
}

/// Records in order; added at the back, evicted at the front, found by number.
#[derive(Debug, Clone, Default)]
pub(super) struct ChunkLog {
    slots: VecDeque<Slot>,
    front: u64,
    next: u64,
}

impl ChunkLog {
    /// Number of the oldest record that is not evicted.
    pub(super) fn front(&self) -> u64 {
        self.front
    }

    /// Number of the next record.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    pub(super) fn len(&self) -> u64 {
        self.next - self.front
    }

    fn slot_of(&self, seq: u64) -> Option<usize> {
        if seq < self.front || seq >= self.next {
            return None;
        }
        Some(self.slots.partition_point(|slot| slot.first <= seq) - 1)
    }

    pub(super) fn get(&self, seq: u64) -> Option<&[u8]> {
        let slot = &self.slots[self.slot_of(seq)?];
        slot.chunk.get((seq - slot.first) as usize)
    }

    /// Adds a record. Returns the chunk it is in.
    pub(super) fn push(&mut self, record: &[u8]) -> u64 {
        let room = |slot: &Slot| !slot.chunk.full() && record.len() <= CHUNK_BYTES_FULL;
        if !self.slots.back().is_some_and(room) {
            self.slots.push_back(Slot { first: self.next, chunk: Arc::default() });
        }
        let slot = self.slots.back_mut().expect("one was pushed if there was none");
        Arc::make_mut(&mut slot.chunk).push(record);
        self.next += 1;
        slot.first
    }

    /// Takes the newest record away again, as if it had never been. Returns the chunk it was in.
    pub(super) fn pop_back(&mut self) -> Option<u64> {
        if self.next == self.front {
            return None;
        }
        let slot = self.slots.back_mut()?;
        let first = slot.first;
        Arc::make_mut(&mut slot.chunk).pop();
        self.next -= 1;
        if self.next == first {
            self.slots.pop_back();
        }
        Some(first)
    }

    /// Evicts the oldest record. Returns the chunk that left with it, if it was the chunk's last.
    pub(super) fn pop_front(&mut self) -> Option<u64> {
        if self.front == self.next {
            return None;
        }
        self.front += 1;
        let slot = self.slots.front()?;
        let first = slot.first;
        if self.front < first + slot.chunk.len() as u64 {
            return None;
        }
        self.slots.pop_front();
        Some(first)
    }

    /// Puts another record in the place of one. Returns the chunk it is in.
    pub(super) fn replace(&mut self, seq: u64, record: &[u8]) -> Option<u64> {
        let at = self.slot_of(seq)?;
        let slot = &mut self.slots[at];
        Arc::make_mut(&mut slot.chunk).replace((seq - slot.first) as usize, record);
        Some(slot.first)
    }

    /// The chunk that has this record, or would have it.
    pub(super) fn first_of(&self, seq: u64) -> u64 {
        self.slot_of(seq).map_or(seq, |at| self.slots[at].first)
    }

    pub(super) fn chunk(&self, first: u64) -> Option<&Arc<Chunk>> {
        let at = self.slots.partition_point(|slot| slot.first < first);
        self.slots.get(at).filter(|slot| slot.first == first).map(|slot| &slot.chunk)
    }

    /// Numbers of the chunks, in order.
    pub(super) fn chunk_firsts(&self) -> impl Iterator<Item = u64> + '_ {
        self.slots.iter().map(|slot| slot.first)
    }

    /// Every record from `from` on with its number, in order.
    pub(super) fn iter_from(&self, from: u64) -> impl Iterator<Item = (u64, &[u8])> + '_ {
        let from = from.max(self.front);
        let start = self.slots.partition_point(|slot| slot.first <= from).saturating_sub(1);
        self.slots.range(start.min(self.slots.len())..).flat_map(move |slot| {
            let skip = from.saturating_sub(slot.first) as usize;
            (skip..slot.chunk.len()).filter_map(move |at| Some((slot.first + at as u64, slot.chunk.get(at)?)))
        })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &[u8])> + '_ {
        self.iter_from(self.front)
    }

    /// The log of these chunks, which must follow on each other without a gap and hold at least `front..next`. An error
    /// names the chunk that is missing or broken.
    pub(super) fn from_chunks(
        front: u64,
        next: u64,
        chunks: impl IntoIterator<Item = (u64, Arc<Chunk>)>,
    ) -> Result<Self, (u64, String)> {
        if front > next {
            return Err((front, format!("the records {front}..{next} are expected, which end before they begin")));
        }
        let mut slots: VecDeque<Slot> = VecDeque::new();
        // Where the next chunk begins. The first one may begin before the front: what is before it was evicted.
        let mut expected = front;
        for (first, chunk) in chunks {
            let end = first.saturating_add(chunk.len() as u64);
            if chunk.len() == 0 || !chunk.sound() {
                return Err((first, "its records are cut off, or it has none".to_owned()));
            }
            if first > expected || (first < expected && !slots.is_empty()) {
                return Err((first, format!("it begins at {first}, but the chunk of record {expected} is missing")));
            }
            if end <= front || end > next {
                return Err((first, format!("it holds {first}..{end}, but only {front}..{next} is expected")));
            }
            expected = end;
            slots.push_back(Slot { first, chunk });
        }
        if expected != next {
            return Err((expected, format!("it is missing: {front}..{next} is expected, but it ends at {expected}")));
        }
        Ok(Self { slots, front, next })
    }
}

/// Bytes as one run, not number by number.
mod raw {
    use serde::de::{Error, Visitor};
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Vec<u8>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("the bytes of a chunk")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }

            fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
                Ok(bytes)
            }
        }
        deserializer.deserialize_byte_buf(Bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(log: &ChunkLog) -> Vec<(u64, Vec<u8>)> {
        log.iter().map(|(seq, bytes)| (seq, bytes.to_vec())).collect()
    }

    fn reloaded(log: &ChunkLog) -> Result<ChunkLog, (u64, String)> {
        let chunks = log.chunk_firsts().map(|first| (first, Arc::clone(log.chunk(first).expect("it was named"))));
        ChunkLog::from_chunks(log.front(), log.next(), chunks)
    }

    #[test]
    fn a_log_is_what_was_pushed_replaced_popped_and_evicted() {
        let mut log = ChunkLog::default();
        let mut model: VecDeque<(u64, Vec<u8>)> = VecDeque::new();
        for round in 0u64..4_000 {
            let record = vec![round as u8; (round * 7 % 61) as usize];
            log.push(&record);
            model.push_back((log.next() - 1, record));
            if round % 3 == 0 {
                let at = (round * 31 % model.len() as u64) as usize;
                let record = vec![1; (round % 97) as usize];
                log.replace(model[at].0, &record);
                model[at].1 = record;
            }
            if round % 5 == 0 {
                log.pop_back();
                model.pop_back();
            }
            if round % 2 == 0 && !model.is_empty() {
                log.pop_front();
                model.pop_front();
            }
            if round % 500 == 0 {
                assert_eq!(numbers(&log), Vec::from(model.clone()));
                assert_eq!(numbers(&reloaded(&log).expect("whole")), Vec::from(model.clone()));
            }
        }
        assert!(log.get(log.next()).is_none() && log.get(log.front().wrapping_sub(1)).is_none());
    }

    #[test]
    fn a_chunk_is_closed_by_number_or_by_size() {
        let mut log = ChunkLog::default();
        (0..600).for_each(|_| {
            log.push(b"x");
        });
        assert_eq!(log.chunk_firsts().collect::<Vec<_>>(), [0, 256, 512]);
        let mut log = ChunkLog::default();
        (0..5).for_each(|_| {
            log.push(&[0; 20 << 10]);
        });
        assert_eq!(log.chunk_firsts().collect::<Vec<_>>(), [0, 3]);
        let mut log = ChunkLog::default();
        for len in [1, 48 << 10, 1, (48 << 10) + 1, 1 << 20, 1] {
            log.push(&vec![0; len]);
        }
        assert_eq!(log.chunk_firsts().collect::<Vec<_>>(), [0, 2, 3, 4, 5], "a big one stands alone");
    }

    #[test]
    fn a_push_taken_back_leaves_no_trace() {
        for before in [0, 1, 255, 256, 257] {
            let mut log = ChunkLog::default();
            (0..before).for_each(|_| {
                log.push(b"record");
            });
            let was: Vec<(u64, Arc<Chunk>)> =
                log.chunk_firsts().map(|first| (first, Arc::clone(log.chunk(first).expect("it was named")))).collect();
            log.push(b"more");
            log.pop_back();
            let is: Vec<(u64, Arc<Chunk>)> =
                log.chunk_firsts().map(|first| (first, Arc::clone(log.chunk(first).expect("it was named")))).collect();
            assert_eq!(was, is);
        }
    }

    #[test]
    fn a_frozen_copy_stays_as_it_was() {
        let mut log = ChunkLog::default();
        log.push(b"one");
        let frozen = log.clone();
        log.replace(0, b"two");
        log.push(b"three");
        assert_eq!(numbers(&frozen), [(0, b"one".to_vec())]);
    }

    #[test]
    fn a_missing_or_broken_chunk_is_refused() {
        let mut log = ChunkLog::default();
        (0..600).for_each(|_| {
            log.push(b"x");
        });
        let chunk = |first| (first, Arc::clone(log.chunk(first).expect("it is there")));
        assert!(ChunkLog::from_chunks(0, 600, [chunk(0), chunk(512)]).is_err());
        let (first, why) = ChunkLog::from_chunks(0, 1, []).expect_err("nothing is there");
        assert_eq!((first, why.as_str()), (0, "it is missing: 0..1 is expected, but it ends at 0"));
        assert!(ChunkLog::from_chunks(0, 0, []).is_ok() && ChunkLog::from_chunks(7, 7, []).is_ok());
        assert!(ChunkLog::from_chunks(300, 600, [chunk(256), chunk(512)]).is_ok());
        assert!(ChunkLog::from_chunks(300, 600, [chunk(0), chunk(256), chunk(512)]).is_err(), "0 was evicted");
        assert!(ChunkLog::from_chunks(100, 600, [chunk(256), chunk(512)]).is_err());
        assert!(ChunkLog::from_chunks(0, 512, [chunk(0), chunk(256), chunk(512)]).is_err());
        assert!(ChunkLog::from_chunks(0, 600, [chunk(0), chunk(256)]).is_err());
        assert!(ChunkLog::from_chunks(256, 600, [chunk(0), chunk(256), chunk(512)]).is_err());
        let mut torn = Chunk::clone(&chunk(512).1);
        torn.bytes.pop();
        assert!(ChunkLog::from_chunks(0, 600, [chunk(0), chunk(256), (512, Arc::new(torn))]).is_err());
    }
}
