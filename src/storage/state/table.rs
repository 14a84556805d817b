//! What must be in the database: for each record how many parts it has, and one sum over all of them.
//!
//! Each batch carries the sum over all records as they are after it. A database that lost, kept or mixed up anything
//! (which a checksum per value cannot see) no longer adds up when it is opened, and is then rebuilt.

use std::collections::HashMap;

/// About 50 bytes of memory for each stored record, of which there is less than one in ten bookings.
#[derive(Debug, Default)]
pub(crate) struct Table {
    slots: HashMap<u128, Slot>,
    sum: u128,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    crc: u32,
    len: u32,
    parts: u16,
}

impl Table {
    /// Notes what a record is now. Returns how many parts it had before (0: it was not there).
    pub(crate) fn set(&mut self, stem: &[u8], body: &[u8], parts: u16) -> u16 {
        let len = u32::try_from(body.len()).expect("a record of 4 GB is far over every limit of a command");
        let slot = Slot { crc: crc32c::crc32c(body), len, parts };
        let old = self.slots.insert(name(stem), slot);
        self.sum = self.sum.wrapping_add(term(stem, slot));
        self.forget(stem, old)
    }

    /// Notes that a record is gone. Returns how many parts it had.
    pub(crate) fn remove(&mut self, stem: &[u8]) -> u16 {
        let old = self.slots.remove(&name(stem));
        self.forget(stem, old)
    }

    fn forget(&mut self, stem: &[u8], old: Option<Slot>) -> u16 {
        let Some(old) = old else { return 0 };
        self.sum = self.sum.wrapping_sub(term(stem, old));
        old.parts
    }

    pub(crate) fn len(&self) -> u64 {
        self.slots.len() as u64
    }

    /// The same for the same records, in whatever order they were written.
    pub(crate) fn sum(&self) -> u128 {
        self.sum
    }
}

fn name(stem: &[u8]) -> u128 {
    shortened(&blake3::hash(stem))
}

fn term(stem: &[u8], slot: Slot) -> u128 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&slot.crc.to_le_bytes()).update(&slot.len.to_le_bytes()).update(stem);
    shortened(&hasher.finalize())
}

fn shortened(hash: &blake3::Hash) -> u128 {
    let half: [u8; 16] = hash.as_bytes()[..16].try_into().expect("16 bytes of 32");
    u128::from_le_bytes(half)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_depends_on_what_is_there_and_not_on_how_it_came() {
        let mut one = Table::default();
        one.set(b"a", b"1", 1);
        one.set(b"b", b"2", 3);
        let mut other = Table::default();
        other.set(b"b", b"old", 1);
        other.set(b"c", b"3", 2);
        assert_eq!(other.set(b"b", b"2", 3), 1);
        assert_ne!(one.sum(), other.sum());
        assert_eq!(other.remove(b"c"), 2);
        assert_eq!(other.remove(b"c"), 0);
        other.set(b"a", b"1", 1);
        assert_eq!((one.sum(), one.len()), (other.sum(), other.len()));
        other.set(b"a", b"2", 1);
        assert_ne!(one.sum(), other.sum());
    }
}
