//! History: change sets packed into records, and the index of these records in memory.
//!
//! ```text
//! own key  [first revision u64 BE]
//! record   [count u32 LE] then for each change set [length u32 LE][bytes]
//! ```
//!
//! A record is immutable and holds consecutive revisions. One upsert in sled costs about 12 µs, so change sets are
//! packed up to one part; a change set that is longer by itself gets a record of its own, cut into parts.

use std::collections::VecDeque;

use super::StateError;
use super::format::PART_BYTES_MAX;

/// A change set on its way: its revision and its encoding.
pub(crate) type RawChangeSet = (u64, Vec<u8>);

/// One history record, packed.
pub(crate) struct Packed {
    pub(crate) first: u64,
    pub(crate) count: u32,
    pub(crate) body: Vec<u8>,
}

/// Most bytes of a packed record, unless one change set is longer by itself: one part, less its number of parts.
const RECORD_BYTES_MAX: usize = PART_BYTES_MAX;

/// Packs change sets of consecutive revisions.
pub(crate) fn pack(sets: &[RawChangeSet]) -> Vec<Packed> {
    let mut out: Vec<Packed> = Vec::new();
    for (revision, bytes) in sets {
        match out.last_mut().filter(|open| open.body.len() + 4 + bytes.len() <= RECORD_BYTES_MAX) {
            Some(open) => {
                open.count += 1;
                push(&mut open.body, bytes);
            }
            None => {
                let mut body = vec![0; 4];
                push(&mut body, bytes);
                out.push(Packed { first: *revision, count: 1, body });
            }
        }
    }
    for packed in &mut out {
        packed.body[..4].copy_from_slice(&packed.count.to_le_bytes());
    }
    out
}

fn push(body: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("a change set of 4 GB is far over every limit of a command");
    body.extend_from_slice(&length.to_le_bytes());
    body.extend_from_slice(bytes);
}

/// How many change sets a record holds.
pub(crate) fn count(body: &[u8]) -> Result<u32, StateError> {
    let (count, _) = body.split_first_chunk::<4>().ok_or_else(|| broken("too short"))?;
    match u32::from_le_bytes(*count) {
        0 => Err(broken("empty")),
        count => Ok(count),
    }
}

/// The change sets of a record, with their revisions.
pub(crate) fn unpack(first: u64, body: &[u8]) -> Result<Vec<RawChangeSet>, StateError> {
    let count = count(body)?;
    let mut rest = &body[4..];
    let mut out = Vec::new();
    for revision in (first..).take(count as usize) {
        let (length, after) = rest.split_first_chunk::<4>().ok_or_else(|| broken("cut short"))?;
        let length = u32::from_le_bytes(*length) as usize;
        let (bytes, after) = after.split_at_checked(length).ok_or_else(|| broken("cut short"))?;
        out.push((revision, bytes.to_vec()));
        rest = after;
    }
    if rest.is_empty() { Ok(out) } else { Err(broken("too long")) }
}

fn broken(why: &str) -> StateError {
    StateError::Corrupt(format!("a history record of the state is {why}"))
}

/// One record on disk, as the index knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) first: u64,
    pub(crate) count: u32,
    pub(crate) parts: u16,
}

impl Entry {
    /// First revision after this record.
    pub(crate) fn end(&self) -> u64 {
        self.first + u64::from(self.count)
    }
}

/// From the lowest revision that is there up to the next one to come. `oldest == next`: nothing is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) oldest: u64,
    pub(crate) next: u64,
}

impl Span {
    /// Counts in a record that is about to be written.
    pub(crate) fn add(&mut self, entry: &Entry) {
        if self.oldest >= self.next {
            self.oldest = entry.first;
        }
        self.next = entry.end();
    }
}

/// Whether `revision` may be written when `next` has to follow. 0: nothing was ever written, so any may.
pub(crate) fn follows(next: u64, revision: u64) -> Result<(), StateError> {
    if next == 0 || next == revision {
        return Ok(());
    }
    Err(StateError::Corrupt(format!("the history jumps from revision {} to {revision}", next - 1)))
}

/// Which records are there, in order, without a gap.
#[derive(Debug, Default)]
pub(crate) struct Index {
    entries: VecDeque<Entry>,
    /// Revision of the next change set; 0 while nothing was ever written.
    next: u64,
    /// Nothing at or after this revision is pruned, because a snapshot is reading it.
    pinned: Option<u64>,
}

impl Index {
    /// Nothing is there, and the next change set will be `next`.
    pub(crate) fn empty(next: u64) -> Self {
        Self { next, ..Self::default() }
    }

    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    pub(crate) fn span(&self) -> Span {
        Span { oldest: self.entries.front().map_or(self.next, |e| e.first), next: self.next }
    }

    pub(crate) fn push(&mut self, entry: Entry) -> Result<(), StateError> {
        follows(self.next, entry.first)?;
        self.next = entry.end();
        self.entries.push_back(entry);
        Ok(())
    }

    pub(crate) fn pin(&mut self) -> u64 {
        let oldest = self.span().oldest;
        self.pinned = Some(oldest);
        oldest
    }

    pub(crate) fn unpin(&mut self) {
        self.pinned = None;
    }

    /// Removes and returns the records that hold nothing at or after revision `keep_from`.
    pub(crate) fn prune(&mut self, keep_from: u64) -> Vec<Entry> {
        let keep_from = self.pinned.map_or(keep_from, |pinned| keep_from.min(pinned));
        let gone = self.entries.partition_point(|e| e.end() <= keep_from);
        self.entries.drain(..gone).collect()
    }

    /// The record that holds `revision`.
    pub(crate) fn holding(&self, revision: u64) -> Option<Entry> {
        let at = self.entries.partition_point(|e| e.end() <= revision);
        self.entries.get(at).filter(|e| e.first <= revision).copied()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn packed_change_sets_come_back(lengths in prop::collection::vec(0_usize..40_000, 1..40), first in 1_u64..1 << 40) {
            let sets: Vec<RawChangeSet> =
                (first..).zip(lengths).map(|(revision, length)| (revision, vec![revision as u8; length])).collect();
            let mut back = Vec::new();
            for packed in pack(&sets) {
                prop_assert!(packed.body.len() <= PART_BYTES_MAX || packed.count == 1);
                prop_assert_eq!(count(&packed.body).unwrap(), packed.count);
                back.extend(unpack(packed.first, &packed.body).unwrap());
            }
            prop_assert_eq!(back, sets);
        }

        #[test]
        fn no_bytes_make_unpack_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = unpack(1, &bytes);
        }
    }

    #[test]
    fn a_pin_keeps_what_a_snapshot_still_reads() {
        let mut index = Index::default();
        (0..10).for_each(|i| index.push(Entry { first: 1 + i * 10, count: 10, parts: 1 }).unwrap());
        assert_eq!(index.prune(21).len(), 2);
        assert_eq!(index.pin(), 21);
        assert!(index.prune(90).is_empty());
        assert_eq!(index.holding(21).unwrap().first, 21);
        index.unpin();
        assert_eq!(index.prune(90).len(), 6);
        assert_eq!(index.span(), Span { oldest: 81, next: 101 });
        assert_eq!((index.holding(80), index.holding(101)), (None, None));
        assert!(index.push(Entry { first: 103, count: 1, parts: 1 }).is_err());
    }
}
