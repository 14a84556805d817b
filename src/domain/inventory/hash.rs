//! From names to numbers: compact indexes that are derived from the state, never stored.
//!
//! An entry is 8 bytes: 32 bits of a fixed hash of the name, then 32 bits that say where the record is. Two names may
//! share a hash, so every hit is verified against the record itself, and none of the hashes is ever stored.
//!
//! Names that any client makes up (keys, orders, tokens) are hashed by blake3: nobody should find a thousand names that
//! share an entry by looking at the code. Names that an organiser defines are hashed by something quicker.

use std::borrow::Borrow;
use std::collections::BTreeMap;

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

/// Most entries of one leaf of a [`NameIndex`]; a leaf that is full splits in two.
const LEAF_ENTRIES_MAX: usize = 512;

/// Grows and shrinks with the records it names.
///
/// Sorted leaves, each grown by an eighth at a time and filed under its first entry: 9 bytes an entry, where a tree of
/// single entries takes 15. There are two entries for each booking that is remembered.
#[derive(Debug, Default)]
pub(super) struct NameIndex {
    /// By a number that is not above any entry of the leaf, and above all entries of the leaf before.
    leaves: BTreeMap<u64, Vec<u64>>,
}

impl NameIndex {
    pub(super) fn insert(&mut self, hash: u32, number: u32) {
        let entry = entry(hash, number);
        let last_before = self.leaves.range_mut(..=entry).next_back();
        let Some((_, leaf)) = last_before else {
            // The first leaf of all begins at zero, so that every entry has a leaf to go to.
            self.leaves.insert(0, vec![entry]);
            return;
        };
        let Err(at) = leaf.binary_search(&entry) else { return };
        if leaf.len() == leaf.capacity() {
            leaf.reserve_exact((leaf.len() / 8).max(4));
        }
        leaf.insert(at, entry);
        if leaf.len() > LEAF_ENTRIES_MAX {
            // Both halves are copied to their size: splitting off leaves the room of a whole leaf behind.
            let (low, high) = leaf.split_at(leaf.len() / 2);
            let (low, high) = (low.to_vec(), high.to_vec());
            *leaf = low;
            self.leaves.insert(high[0], high);
        }
    }

    pub(super) fn remove(&mut self, hash: u32, number: u32) {
        let entry = entry(hash, number);
        let Some((first, leaf)) = self.leaves.range_mut(..=entry).next_back() else { return };
        let Ok(at) = leaf.binary_search(&entry) else { return };
        leaf.remove(at);
        if leaf.is_empty() && *first != 0 {
            let first = *first;
            self.leaves.remove(&first);
        } else if leaf.len() < leaf.capacity() / 2 {
            leaf.shrink_to(leaf.len() + leaf.len() / 8);
        }
    }

    /// Every number filed under this hash, smallest first. To be verified.
    pub(super) fn candidates(&self, hash: u32) -> impl Iterator<Item = u32> + '_ {
        self.from(entry(hash, 0), hash)
    }

    /// The same, only numbers above `after`.
    pub(super) fn candidates_after(&self, hash: u32, after: Option<u32>) -> impl Iterator<Item = u32> + '_ {
        // The number after the last one there can be belongs to the next hash, where the walk ends at once.
        self.from(after.map_or(entry(hash, 0), |after| entry(hash, after).saturating_add(1)), hash)
    }

    fn from(&self, from: u64, hash: u32) -> impl Iterator<Item = u32> + '_ {
        let leaf = self.leaves.range(..=from).next_back().map_or(0, |(first, _)| *first);
        let mut leaves = self.leaves.range(leaf..).map(|(_, leaf)| leaf.as_slice());
        let first = leaves.next().map_or(&[][..], |leaf| &leaf[leaf.partition_point(|e| *e < from)..]);
        let entries = first.iter().chain(leaves.flatten());
        entries.take_while(move |e| (**e >> 32) == u64::from(hash)).map(|e| number(*e))
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Few hashes, so that many entries share one; enough of them for leaves to split.
        #[test]
        fn a_name_index_is_a_sorted_set(
            steps in prop::collection::vec((any::<bool>(), 0u32..4, 0u32..700), 0..6_000),
            after in prop::option::of(0u32..700),
        ) {
            let (mut index, mut model) = (NameIndex::default(), BTreeSet::new());
            for (there, hash, number) in steps {
                if there {
                    index.insert(hash, number);
                    model.insert((hash, number));
                } else {
                    index.remove(hash, number);
                    model.remove(&(hash, number));
                }
            }
            for hash in 0..5 {
                let of_hash = || model.iter().filter(|(h, _)| *h == hash).map(|(_, number)| *number);
                prop_assert!(index.candidates(hash).eq(of_hash()));
                let later = of_hash().filter(|number| after.is_none_or(|after| *number > after));
                prop_assert!(index.candidates_after(hash, after).eq(later));
            }
            prop_assert!(index.leaves.values().all(|leaf| leaf.len() <= LEAF_ENTRIES_MAX));
            prop_assert!(index.leaves.iter().all(|(first, leaf)| leaf.first().is_none_or(|entry| first <= entry)));
        }
    }

    #[test]
    fn the_highest_entry_of_all_can_be_named_and_passed() {
        let mut index = NameIndex::default();
        index.insert(u32::MAX, u32::MAX - 1);
        assert!(index.candidates(u32::MAX).eq([u32::MAX - 1]));
        assert!(index.candidates_after(u32::MAX, Some(u32::MAX - 1)).next().is_none());
    }
}
