//! From names to numbers: compact indexes that are derived from the state, never stored.
//!
//! An entry is 8 bytes: 32 bits of a fixed hash of the name, then 32 bits that say where the record is. Two names may
//! share a hash, so every hit is verified against the record itself, and none of the hashes is ever stored.
//!
//! Names that any client makes up (keys, orders, tokens) are hashed by blake3: nobody should find a thousand names that
//! share an entry by looking at the code. Names that an organiser defines are hashed by something quicker.

use std::borrow::Borrow;
use std::collections::BTreeSet;

/// The fixed hash of a name that a client made up.
pub(super) fn name_hash(name: &str) -> u32 {
    let hash = blake3::hash(name.as_bytes());
    let bytes = hash.as_bytes();
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// The fixed hash of a name that an organiser defined: multiply and fold, eight bytes at a time.
fn defined_hash(name: &str) -> u32 {
    const FACTOR: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;
    let fold = |state: u64, word: u64| {
        let product = u128::from(state ^ word).wrapping_mul(FACTOR);
        (product >> 64) as u64 ^ (product as u64)
    };
    let mut state = name.len() as u64 + 1;
    let mut words = name.as_bytes().chunks_exact(8);
    for word in &mut words {
        state = fold(state, u64::from_le_bytes(word.try_into().expect("chunks of eight")));
    }
    let rest = words.remainder().iter().fold(0u64, |word, byte| (word << 8) | u64::from(*byte));
    let hash = fold(fold(state, rest), FACTOR as u64);
    (hash >> 32) as u32
}

fn entry(hash: u32, number: u32) -> u64 {
    (u64::from(hash) << 32) | u64::from(number)
}

/// The number in an entry: its lower half.
fn number(entry: u64) -> u32 {
    (entry & u64::from(u32::MAX)) as u32
}

/// Grows and shrinks with the records it names.
#[derive(Debug, Default)]
pub(super) struct NameIndex(BTreeSet<u64>);

impl NameIndex {
    pub(super) fn insert(&mut self, hash: u32, number: u32) {
        self.0.insert(entry(hash, number));
    }

    pub(super) fn remove(&mut self, hash: u32, number: u32) {
        self.0.remove(&entry(hash, number));
    }

    /// Every number filed under this hash, smallest first. To be verified.
    pub(super) fn candidates(&self, hash: u32) -> impl DoubleEndedIterator<Item = u32> + '_ {
        self.0.range(entry(hash, 0)..=entry(hash, u32::MAX)).map(|e| number(*e))
    }

    /// The same, only numbers above `after`.
    pub(super) fn candidates_after(&self, hash: u32, after: Option<u32>) -> impl Iterator<Item = u32> + '_ {
        let from = after.map_or(0, |n| n.saturating_add(1));
        self.0.range(entry(hash, from)..=entry(hash, u32::MAX)).map(|e| number(*e))
    }
}

/// Made once for a list that does not change: positions by name.
#[derive(Debug, Default)]
pub(super) struct FixedIndex(Vec<u64>);

impl FixedIndex {
    pub(super) fn new(names: impl Iterator<Item = impl Borrow<str>>) -> Self {
        let mut entries: Vec<u64> =
            (0u32..).zip(names).map(|(at, name)| entry(defined_hash(name.borrow()), at)).collect();
        entries.sort_unstable();
        Self(entries)
    }

    /// Every position filed under the hash of `name`, smallest first. To be verified.
    pub(super) fn candidates(&self, name: &str) -> impl Iterator<Item = u32> + '_ {
        let hash = defined_hash(name);
        let from = self.0.partition_point(|e| *e < entry(hash, 0));
        self.0[from..].iter().take_while(move |e| (**e >> 32) == u64::from(hash)).map(|e| number(*e))
    }

    /// A position whose name stands at an earlier position too, if any.
    pub(super) fn first_duplicate<N: Borrow<str>>(&self, name_at: impl Fn(usize) -> N) -> Option<usize> {
        let same_hash = |pair: &&[u64]| (pair[0] >> 32) == (pair[1] >> 32);
        let mut found: Option<usize> = None;
        for pair in self.0.windows(2).filter(same_hash) {
            let at = number(pair[1]) as usize;
            let hash = pair[1] >> 32;
            let mut earlier = self.0.iter().skip(self.0.partition_point(|e| (*e >> 32) < hash));
            let repeats = earlier
                .by_ref()
                .take_while(|e| (**e >> 32) == hash)
                .any(|e| (number(*e) as usize) < at && name_at(number(*e) as usize).borrow() == name_at(at).borrow());
            if repeats {
                found = Some(found.map_or(at, |f| f.min(at)));
            }
        }
        found
    }
}
