//! Bytes of one record and of the batch frame around the records of one write.
//!
//! ```text
//! batch   magic u32 | version u8 | kind u8 | 0 u16 | body_len u32 | crc u32 | number u64 | position u64 | records u32 | 0 u32
//! record  length u32 | kind u8 | version u8 | flags u16 | group u32 | crc u32 | term u64 | node_id u64 | index u64 | payload
//! ```
//! Little-endian, each padded with zeros to 8 bytes. Both checksums are crc32c over the segment's generation, the
//! position in the segment, and everything but the checksum: bytes count only in the use of the file, and at the
//! place, they were written for.

use bytes::Bytes;

use super::WalEntry;
use crate::storage::{GroupId, LogId};

pub(super) const RECORD_HEADER_BYTES: usize = 40;
pub(super) const BATCH_HEADER_BYTES: usize = 40;
/// Everything starts at a multiple of this.
pub(super) const ALIGN_BYTES: usize = 8;
const RECORD_VERSION: u8 = 1;
const BATCH_VERSION: u8 = 1;
const BATCH_MAGIC: [u8; 4] = *b"lsWB";
/// Flag: the log id fields hold one (else `None`).
const HAS_ID: u16 = 1;

const ENTRY: u8 = 1;
const VOTE: u8 = 2;
const COMMITTED: u8 = 3;
const TRUNCATE: u8 = 4;
const PURGE: u8 = 5;
const EXTENT: u8 = 6;

/// One thing that happened to one group's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) group: GroupId,
    pub(super) body: Body,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Body {
    Entry(WalEntry),
    Vote(Bytes),
    Committed(Option<LogId>),
    /// The log ends here from now on.
    Truncate(Option<LogId>),
    /// The log starts after this from now on.
    Purge(LogId),
    /// In a segment's preamble: the log ended here when the segment was begun.
    Extent(Option<LogId>),
}

/// Why bytes are not a record or a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Bad {
    /// Cut short, never written, written for elsewhere, or changed since.
    Invalid(&'static str),
    /// Intact, but of a kind or version this program does not know.
    Newer(String),
}

pub(super) const fn padded(bytes: usize) -> usize {
    bytes.next_multiple_of(ALIGN_BYTES)
}

/// Bytes that a record with this payload takes on disk.
pub(super) const fn record_bytes(payload: usize) -> usize {
    padded(RECORD_HEADER_BYTES + payload)
}

fn seed(generation: u64, position: u64) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&generation.to_le_bytes()), &position.to_le_bytes())
}

/// Checksum of `bytes` without the four at 12..16, where it is stored itself.
pub(super) fn checksum(generation: u64, position: u64, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(seed(generation, position), &bytes[..12]), &bytes[16..])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

impl Record {
    /// Bytes this takes on disk.
    pub(super) fn encoded_bytes(&self) -> usize {
        record_bytes(self.body.parts().2.len())
    }

    /// Appends the record to `out`, whose end is `position` in the segment.
    pub(super) fn encode(&self, generation: u64, position: u64, out: &mut Vec<u8>) {
        let start = out.len();
        let (kind, id, payload) = self.body.parts();
        let length = u32::try_from(payload.len()).expect("payloads are limited to far less");
        let flags = if id.is_some() { HAS_ID } else { 0 };
        let id = id.unwrap_or(LogId { term: 0, node_id: 0, index: 0 });
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&[kind, RECORD_VERSION]);
        out.extend_from_slice(&flags.to_le_bytes());
        out.extend_from_slice(&self.group.0.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        for number in [id.term, id.node_id, id.index] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(payload);
        let crc = checksum(generation, position, &out[start..]);
        out[start + 12..start + 16].copy_from_slice(&crc.to_le_bytes());
        out.resize(start + record_bytes(payload.len()), 0);
    }

    /// Reads the record at the start of `bytes`, which is `position` in the segment, and the bytes it takes.
    pub(super) fn decode(generation: u64, position: u64, bytes: &[u8]) -> Result<(Self, usize), Bad> {
        if bytes.len() < RECORD_HEADER_BYTES {
            return Err(Bad::Invalid("the record is cut short"));
        }
        let length = u32_at(bytes, 0) as usize;
        let taken = record_bytes(length);
        if taken > bytes.len() {
            return Err(Bad::Invalid("the record's length is too long for its place"));
        }
        let content = &bytes[..RECORD_HEADER_BYTES + length];
        if u32_at(bytes, 12) != checksum(generation, position, content) {
            return Err(Bad::Invalid("the record's checksum does not match"));
        }
        let (kind, version) = (bytes[4], bytes[5]);
        if version != RECORD_VERSION {
            return Err(Bad::Newer(format!("record kind {kind} of format version {version}")));
        }
        let flags = u16::from_le_bytes([bytes[6], bytes[7]]);
        let id = LogId { term: u64_at(bytes, 16), node_id: u64_at(bytes, 24), index: u64_at(bytes, 32) };
        let id = (flags & HAS_ID != 0).then_some(id);
        let payload = &content[RECORD_HEADER_BYTES..];
        let missing = Bad::Invalid("the record lacks its log id");
        let body = match kind {
            ENTRY => Body::Entry(WalEntry { id: id.ok_or(missing)?, payload: Bytes::copy_from_slice(payload) }),
            VOTE => Body::Vote(Bytes::copy_from_slice(payload)),
            COMMITTED => Body::Committed(id),
            TRUNCATE => Body::Truncate(id),
            PURGE => Body::Purge(id.ok_or(missing)?),
            EXTENT => Body::Extent(id),
            _ => return Err(Bad::Newer(format!("record kind {kind} of format version {version}"))),
        };
        Ok((Self { group: GroupId(u32_at(bytes, 8)), body }, taken))
    }
}

impl Body {
    fn parts(&self) -> (u8, Option<LogId>, &[u8]) {
        match self {
            Self::Entry(entry) => (ENTRY, Some(entry.id), &entry.payload),
            Self::Vote(vote) => (VOTE, None, vote),
            Self::Committed(id) => (COMMITTED, *id, &[]),
            Self::Truncate(id) => (TRUNCATE, *id, &[]),
            Self::Purge(id) => (PURGE, Some(*id), &[]),
            Self::Extent(id) => (EXTENT, *id, &[]),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BatchKind {
    /// Records follow.
    Data = 1,
    /// Nothing follows, and everything before was synced when this was written. The next batch overwrites it.
    Mark = 2,
    /// As `Mark`, written and synced as the very last thing at a clean close.
    Closed = 3,
}

/// Frame of one write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BatchHeader {
    pub(super) kind: BatchKind,
    pub(super) body_bytes: u32,
    /// Counts the data batches of the whole log; a mark bears the number of the next.
    pub(super) number: u64,
    pub(super) records: u32,
}

impl BatchHeader {
    pub(super) fn encode(&self, generation: u64, position: u64) -> [u8; BATCH_HEADER_BYTES] {
        let mut out = [0; BATCH_HEADER_BYTES];
        out[..4].copy_from_slice(&BATCH_MAGIC);
        out[4] = BATCH_VERSION;
        out[5] = self.kind as u8;
        out[8..12].copy_from_slice(&self.body_bytes.to_le_bytes());
        out[16..24].copy_from_slice(&self.number.to_le_bytes());
        out[24..32].copy_from_slice(&position.to_le_bytes());
        out[32..36].copy_from_slice(&self.records.to_le_bytes());
        let crc = checksum(generation, position, &out);
        out[12..16].copy_from_slice(&crc.to_le_bytes());
        out
    }

    pub(super) fn decode(generation: u64, position: u64, bytes: &[u8]) -> Result<Self, Bad> {
        let Some(bytes) = bytes.get(..BATCH_HEADER_BYTES) else {
            return Err(Bad::Invalid("the batch is cut short"));
        };
        if bytes[..4] != BATCH_MAGIC || u64_at(bytes, 24) != position {
            return Err(Bad::Invalid("there is no batch"));
        }
        if u32_at(bytes, 12) != checksum(generation, position, bytes) {
            return Err(Bad::Invalid("the batch header's checksum does not match"));
        }
        let kind = match (bytes[4], bytes[5]) {
            (BATCH_VERSION, 1) => BatchKind::Data,
            (BATCH_VERSION, 2) => BatchKind::Mark,
            (BATCH_VERSION, 3) => BatchKind::Closed,
            (version, kind) => return Err(Bad::Newer(format!("batch kind {kind} of format version {version}"))),
        };
        Ok(Self { kind, body_bytes: u32_at(bytes, 8), number: u64_at(bytes, 16), records: u32_at(bytes, 32) })
    }
}
