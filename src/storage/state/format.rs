//! Keys and values in sled.
//!
//! ```text
//! key    [group u32 BE][kind u8][own key …][part u16 BE]
//! value  [kind u8][format version u8][crc32c u32 LE][payload …]       crc over key, kind, version, payload
//! part 0 payload = [parts u16 LE][bytes …]      the others: bytes …
//! ```
//!
//! The checksum covers the key, so that a value that turns up under another key is noticed. A record that is longer
//! than [`PART_BYTES_MAX`] is cut into parts and joined again when it is read.

use super::StateError;
use crate::storage::GroupId;

/// What a stored value is. The number is on disk for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Kind {
    /// One for each group: where the state stands, and what must be there with it.
    Header = 0,
    /// A record of the inventory.
    Record = 1,
    /// Some consecutive change sets.
    History = 2,
}

impl Kind {
    /// Format version that this build writes. Reading keeps understanding every older one.
    pub(crate) fn version(self) -> u8 {
        match self {
            Kind::Header | Kind::Record | Kind::History => 1,
        }
    }
}

/// Most bytes of one part. It decides about the size of sled's *nodes*, which hold up to about 20 values and split by
/// count:
/// - sled keeps at least one node in memory, and mostly some, for each of the 256 shards of its cache, whatever the
///   cache's capacity. With values of 24 KiB that was a third of a node's memory after two million bookings.
/// - a node longer than a quarter of a segment moves to a blob file. Blob files are never synced, so it must not happen:
///   see [`super::db::SEGMENT_BYTES`].
pub(crate) const PART_BYTES_MAX: usize = 4 << 10;

const ENVELOPE: usize = 6;
const GROUP_AND_KIND: usize = 5;
const PART: usize = 2;

/// The beginning of every key of a group.
pub(crate) fn group_prefix(group: GroupId) -> [u8; 4] {
    group.0.to_be_bytes()
}

/// A key without its part number.
pub(crate) fn stem(group: GroupId, kind: Kind, own: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(GROUP_AND_KIND + own.len() + PART);
    key.extend_from_slice(&group_prefix(group));
    key.push(kind as u8);
    key.extend_from_slice(own);
    key
}

/// The key of one part.
pub(crate) fn part_key(stem: &[u8], part: u16) -> Vec<u8> {
    [stem, &part.to_be_bytes()].concat()
}

/// A stored key, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SplitKey<'a> {
    pub(crate) kind: u8,
    pub(crate) own: &'a [u8],
    pub(crate) stem: &'a [u8],
    pub(crate) part: u16,
}

pub(crate) fn split_key(key: &[u8]) -> Result<SplitKey<'_>, StateError> {
    let end = key.len().checked_sub(PART).filter(|end| *end >= GROUP_AND_KIND);
    let end =
        end.ok_or_else(|| StateError::Corrupt(format!("a key in the state database is too short: {key:02x?}")))?;
    let (stem, part) = key.split_at(end);
    let part = u16::from_be_bytes([part[0], part[1]]);
    Ok(SplitKey { kind: key[4], own: &stem[GROUP_AND_KIND..], stem, part })
}

/// The value that is stored under `key`.
pub(crate) fn seal(key: &[u8], kind: Kind, payload: &[&[u8]]) -> Vec<u8> {
    let mut value = Vec::with_capacity(ENVELOPE + payload.iter().map(|p| p.len()).sum::<usize>());
    value.extend_from_slice(&[kind as u8, kind.version(), 0, 0, 0, 0]);
    payload.iter().for_each(|p| value.extend_from_slice(p));
    let crc = checksum(key, &value[..2], &value[ENVELOPE..]);
    value[2..ENVELOPE].copy_from_slice(&crc.to_le_bytes());
    value
}

/// The payload of a value, once its checksum, kind and version are right.
pub(crate) fn unseal<'a>(key: &[u8], kind: Kind, value: &'a [u8]) -> Result<&'a [u8], StateError> {
    let corrupt = |why: &str| StateError::Corrupt(format!("{why} in the state database, under key {key:02x?}"));
    if value.len() < ENVELOPE {
        return Err(corrupt("a value is cut short"));
    }
    let (head, payload) = value.split_at(ENVELOPE);
    let expected = u32::from_le_bytes([head[2], head[3], head[4], head[5]]);
    if checksum(key, &head[..2], payload) != expected {
        return Err(corrupt("a checksum is wrong"));
    }
    if head[0] != kind as u8 {
        return Err(corrupt("a value of another kind stands"));
    }
    newer_format("the state database", head[1], kind.version())?;
    match head[1] {
        0 => Err(corrupt("a value has format 0, which never was,")),
        _ => Ok(payload),
    }
}

/// Refuses what a newer build wrote.
pub(crate) fn newer_format(what: &str, found: u8, known: u8) -> Result<(), StateError> {
    if found <= known {
        return Ok(());
    }
    Err(StateError::NewerFormat(format!(
        "{what} has format {found} and this build knows only formats up to {known}; start the newer build that wrote \
         it, or upgrade this one"
    )))
}

fn checksum(key: &[u8], head: &[u8], payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(key), head), payload)
}

/// Cuts a record into the values to store, in order of part.
pub(crate) fn cut(stem: &[u8], kind: Kind, body: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut chunks = body.chunks(PART_BYTES_MAX);
    let first = chunks.next().unwrap_or_default();
    let parts = u16::try_from(1 + chunks.len()).expect("a record of 1.5 GB is far over every limit of a command");
    let key = part_key(stem, 0);
    let value = seal(&key, kind, &[&parts.to_le_bytes(), first]);
    let mut out = vec![(key, value)];
    for (part, chunk) in (1..).zip(chunks) {
        let key = part_key(stem, part);
        let value = seal(&key, kind, &[chunk]);
        out.push((key, value));
    }
    out
}

/// Puts a record together from its parts as they are read, in order.
pub(crate) struct Joiner {
    parts: u16,
    next: u16,
    body: Vec<u8>,
}

impl Joiner {
    /// Begins with part 0.
    pub(crate) fn begin(key: &[u8], kind: Kind, value: &[u8]) -> Result<Self, StateError> {
        let payload = unseal(key, kind, value)?;
        let (parts, body) = payload
            .split_first_chunk::<2>()
            .ok_or_else(|| StateError::Corrupt(format!("a value is too short under key {key:02x?}")))?;
        Ok(Self { parts: u16::from_le_bytes(*parts), next: 1, body: body.to_vec() })
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.next >= self.parts
    }

    pub(crate) fn next_part(&self) -> u16 {
        self.next
    }

    pub(crate) fn add(&mut self, key: &[u8], kind: Kind, value: &[u8]) -> Result<(), StateError> {
        self.body.extend_from_slice(unseal(key, kind, value)?);
        self.next += 1;
        Ok(())
    }

    /// How many parts there were, and the record.
    pub(crate) fn finish(self) -> (u16, Vec<u8>) {
        (self.parts, self.body)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::storage::GROUP;

    fn join(values: &[(Vec<u8>, Vec<u8>)]) -> Result<(u16, Vec<u8>), StateError> {
        let mut joiner = Joiner::begin(&values[0].0, Kind::Record, &values[0].1)?;
        for (key, value) in &values[1..] {
            assert_eq!(split_key(key)?.part, joiner.next_part());
            joiner.add(key, Kind::Record, value)?;
        }
        assert!(joiner.is_whole());
        Ok(joiner.finish())
    }

    proptest! {
        #[test]
        fn a_record_of_any_length_comes_back(
            own in prop::collection::vec(any::<u8>(), 0..40),
            length in prop_oneof![0..100_usize, PART_BYTES_MAX - 2..PART_BYTES_MAX + 2, 0..300_000_usize],
        ) {
            let body: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
            let stem = stem(GROUP, Kind::Record, &own);
            let values = cut(&stem, Kind::Record, &body);
            for (key, value) in &values {
                prop_assert!(value.len() <= PART_BYTES_MAX + 8);
                let split = split_key(key).unwrap();
                prop_assert_eq!((split.kind, split.own, split.stem), (Kind::Record as u8, &own[..], &stem[..]));
            }
            prop_assert!(values.is_sorted());
            prop_assert_eq!(join(&values).unwrap(), (values.len() as u16, body));
        }

        #[test]
        fn any_flipped_bit_is_noticed(length in 0..200_usize, at in any::<prop::sample::Index>(), bit in 0..8) {
            let mut values = cut(&stem(GROUP, Kind::Record, b"k"), Kind::Record, &vec![7; length]);
            let value = &mut values[0].1;
            let at = at.index(value.len());
            value[at] ^= 1_u8 << bit;
            prop_assert!(join(&values).is_err());
        }
    }

    #[test]
    fn a_value_under_another_key_is_noticed() {
        let values = cut(&stem(GROUP, Kind::Record, b"a"), Kind::Record, b"body");
        let other = part_key(&stem(GROUP, Kind::Record, b"b"), 0);
        assert!(join(&[(other, values[0].1.clone())]).is_err());
    }
}
