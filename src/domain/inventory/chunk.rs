//! Packed records in numbered chunks.
//!
//! ```text
//! ChunkLog   front ─┐                                  next ─┐
//!            [ chunk 0: ·····######## ][ chunk 256: ############ ][ chunk 512: ###      ]
//!                       evicted                 closed                  open
//! ```
//!
//! A record has a dense sequence number. A chunk is closed when it has 256 records or about 48 KiB, whichever is first;
//! that is a function of what is in it, so every node cuts at the same places. A chunk is shared (`Arc`) with frozen
//! views and copied only when it is written while shared.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Most records in one chunk.
pub(super) const CHUNK_RECORDS_MAX: usize = 256;
/// A chunk that has this many bytes takes no further record.
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
            self.bytes.shrink_to_fit();
            self.ends.shrink_to_fit();
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
        if self.slots.back().is_none_or(|slot| slot.chunk.full()) {
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

    /// The log of these chunks, which must follow on each other without a gap.
    pub(super) fn from_chunks(
        front: u64,
        next: u64,
        chunks: impl IntoIterator<Item = (u64, Arc<Chunk>)>,
    ) -> Result<Self, String> {
        let mut slots: VecDeque<Slot> = VecDeque::new();
        for (first, chunk) in chunks {
            let expected = slots.back().map_or(first, |slot: &Slot| slot.first + slot.chunk.len() as u64);
            if first != expected || chunk.len() == 0 || !chunk.sound() {
                return Err(format!("chunk {first} does not follow on {expected} or is broken"));
            }
            slots.push_back(Slot { first, chunk });
        }
        let end = slots.back().map_or(next, |slot| slot.first + slot.chunk.len() as u64);
        let start = slots.front().map_or(front, |slot| slot.first);
        let first_ends = slots.front().map_or(u64::MAX, |slot| slot.first + slot.chunk.len() as u64);
        if end != next || start > front || front > next || front >= first_ends || (slots.is_empty() && front != next) {
            return Err(format!("chunks hold {start}..{end}, but {front}..{next} is expected"));
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
