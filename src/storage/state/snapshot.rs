//! Snapshot files: the whole state of a group at one log position, with its history.
//!
//! ```text
//! "LSEATSNP"
//! frame*      [kind u8][format version u8][length u32 LE][crc32c u32 LE][payload …]   crc over kind, version, length, payload
//!   header    where the state stands                                        once, first
//!   records   ([key length u32][key][body length u32][body])*, about 256 KiB
//!   history   [first revision u64] ([length u32][change set])*, about 256 KiB
//!   trailer   how many of each, and blake3 of every byte before this frame  once, last, nothing after it
//! ```
//!
//! Written and read as a stream; a frame is the most that is ever in memory. A file is named for what it holds only
//! after its last byte is durable, so a file under that name is whole, or broken later: readers check everything.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::db::{RawRecord, undecodable};
use super::format::newer_format;
use super::history::RawChangeSet;
use super::{AppliedPoint, SnapshotFile, StateError};
use crate::domain::codec;
use crate::storage::{GROUP, GroupId};

const MAGIC: &[u8; 8] = b"LSEATSNP";
/// Format that this build writes; older ones stay readable.
const VERSION: u8 = 1;
const FRAME_HEAD: usize = 10;
/// Frames are closed when they are longer than this.
const FRAME_BYTES: usize = 256 << 10;
/// Longest frame that is read: one record as long as the codec takes, and what is packed before it.
const FRAME_BYTES_MAX: usize = codec::DECODE_BYTES_MAX + (1 << 20);

const HEADER: u8 = 1;
const RECORDS: u8 = 2;
const HISTORY: u8 = 3;
const TRAILER: u8 = 4;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) group: GroupId,
    pub(crate) applied: AppliedPoint,
    /// Revision of the state; the history in the file ends with it.
    pub(crate) revision: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Trailer {
    records: u64,
    change_sets: u64,
    hash: [u8; 32],
}

/// Writes one snapshot as a stream.
pub(crate) struct SnapshotWriter<W: Write> {
    out: W,
    hasher: blake3::Hasher,
    open: Vec<u8>,
    open_kind: u8,
    counts: Trailer,
    bytes: u64,
}

impl<W: Write> SnapshotWriter<W> {
    pub(crate) fn begin(out: W, head: &Head) -> io::Result<Self> {
        let hasher = blake3::Hasher::new();
        let mut writer = Self { out, hasher, open: Vec::new(), open_kind: 0, counts: Trailer::default(), bytes: 0 };
        writer.put(MAGIC)?;
        writer.frame(HEADER, &codec::encode(head))?;
        Ok(writer)
    }

    pub(crate) fn record(&mut self, key: &[u8], body: &[u8]) -> io::Result<()> {
        self.turn_to(RECORDS)?;
        push(&mut self.open, key);
        push(&mut self.open, body);
        self.counts.records += 1;
        self.close_frame(FRAME_BYTES)
    }

    /// Change sets come in order of revision, without a gap.
    pub(crate) fn change_set(&mut self, revision: u64, bytes: &[u8]) -> io::Result<()> {
        self.turn_to(HISTORY)?;
        if self.open.is_empty() {
            self.open.extend_from_slice(&revision.to_le_bytes());
        }
        push(&mut self.open, bytes);
        self.counts.change_sets += 1;
        self.close_frame(FRAME_BYTES)
    }

    /// Returns the stream and how many bytes went into it. The caller makes it durable.
    pub(crate) fn finish(mut self) -> io::Result<(W, u64)> {
        self.close_frame(0)?;
        self.counts.hash = *self.hasher.finalize().as_bytes();
        self.frame(TRAILER, &codec::encode(&self.counts))?;
        self.out.flush()?;
        Ok((self.out, self.bytes))
    }

    fn turn_to(&mut self, kind: u8) -> io::Result<()> {
        if self.open_kind != kind {
            self.close_frame(0)?;
            self.open_kind = kind;
        }
        Ok(())
    }

    fn close_frame(&mut self, limit: usize) -> io::Result<()> {
        if self.open.is_empty() || self.open.len() < limit {
            return Ok(());
        }
        let payload = std::mem::take(&mut self.open);
        self.frame(self.open_kind, &payload)?;
        self.open = payload;
        self.open.clear();
        Ok(())
    }

    fn frame(&mut self, kind: u8, payload: &[u8]) -> io::Result<()> {
        let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
        let mut head = [0; FRAME_HEAD];
        head[..2].copy_from_slice(&[kind, VERSION]);
        head[2..6].copy_from_slice(&length.to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&head[..6]), payload);
        head[6..].copy_from_slice(&crc.to_le_bytes());
        self.put(&head)?;
        self.put(payload)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        self.out.write_all(bytes)
    }
}

fn push(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("a record of 4 GB is far over every limit of a command");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(bytes);
}

/// What a frame of a snapshot holds.
#[derive(Debug)]
pub(crate) enum Part {
    Records(Vec<RawRecord>),
    History(Vec<RawChangeSet>),
}

/// Reads one snapshot as a stream, and checks it as it goes. What it yielded before an error must not be used.
pub(crate) struct SnapshotReader {
    path: PathBuf,
    input: BufReader<File>,
    hasher: blake3::Hasher,
    counts: Trailer,
    head: Head,
    done: bool,
}

impl SnapshotReader {
    /// Reads the header only.
    pub(crate) fn open(path: &Path) -> Result<Self, StateError> {
        let input = BufReader::with_capacity(FRAME_BYTES, File::open(path)?);
        let nowhere = AppliedPoint::default();
        let mut reader = Self {
            path: path.to_owned(),
            input,
            hasher: blake3::Hasher::new(),
            counts: Trailer::default(),
            head: Head { group: GROUP, applied: nowhere, revision: 0 },
            done: false,
        };
        let mut magic = [0; 8];
        reader.get(&mut magic)?;
        if &magic != MAGIC {
            return Err(reader.corrupt("is not a snapshot"));
        }
        reader.hasher.update(&magic);
        let (kind, payload) = reader.frame()?;
        if kind != HEADER {
            return Err(reader.corrupt("has no header"));
        }
        reader.head = codec::decode(&payload).map_err(undecodable)?;
        if reader.head.group != GROUP {
            return Err(reader.corrupt(&format!("is of group {} and this is group {}", reader.head.group.0, GROUP.0)));
        }
        Ok(reader)
    }

    pub(crate) fn head(&self) -> &Head {
        &self.head
    }

    /// The next frame. `None`: that was all, and all of it is right.
    pub(crate) fn next_part(&mut self) -> Result<Option<Part>, StateError> {
        if self.done {
            return Ok(None);
        }
        let before = *self.hasher.clone().finalize().as_bytes();
        let (kind, payload) = self.frame()?;
        match kind {
            RECORDS => {
                let pieces = self.pieces(&payload)?;
                if pieces.len() % 2 != 0 {
                    return Err(self.corrupt("has a record without a body"));
                }
                self.counts.records += pieces.len() as u64 / 2;
                let pairs = pieces.chunks_exact(2).map(|pair| (pair[0].to_vec(), pair[1].to_vec()));
                Ok(Some(Part::Records(pairs.collect())))
            }
            HISTORY => {
                let Some((first, rest)) = payload.split_first_chunk::<8>() else {
                    return Err(self.corrupt("has history without a revision"));
                };
                let pieces = self.pieces(rest)?;
                self.counts.change_sets += pieces.len() as u64;
                let sets =
                    (u64::from_le_bytes(*first)..).zip(pieces).map(|(revision, bytes)| (revision, bytes.to_vec()));
                Ok(Some(Part::History(sets.collect())))
            }
            TRAILER => {
                let told: Trailer = codec::decode(&payload).map_err(undecodable)?;
                if told != (Trailer { hash: before, ..self.counts }) {
                    return Err(self.corrupt("does not match its trailer"));
                }
                if self.input.read(&mut [0])? != 0 {
                    return Err(self.corrupt("goes on after its trailer"));
                }
                self.done = true;
                Ok(None)
            }
            _ => Err(self.corrupt("has a frame of an unknown kind")),
        }
    }

    /// Reads the rest, for its checks only.
    pub(crate) fn verify(mut self) -> Result<Head, StateError> {
        while self.next_part()?.is_some() {}
        Ok(self.head)
    }

    fn pieces<'a>(&self, mut payload: &'a [u8]) -> Result<Vec<&'a [u8]>, StateError> {
        let mut out = Vec::new();
        while !payload.is_empty() {
            let cut = payload.split_first_chunk::<4>();
            let cut = cut.and_then(|(length, rest)| rest.split_at_checked(u32::from_le_bytes(*length) as usize));
            let (piece, rest) = cut.ok_or_else(|| self.corrupt("has a frame with a broken length"))?;
            out.push(piece);
            payload = rest;
        }
        Ok(out)
    }

    fn frame(&mut self) -> Result<(u8, Vec<u8>), StateError> {
        let mut head = [0; FRAME_HEAD];
        self.get(&mut head)?;
        let length = u32::from_le_bytes([head[2], head[3], head[4], head[5]]) as usize;
        if length > FRAME_BYTES_MAX {
            return Err(self.corrupt("has a frame of impossible length"));
        }
        let mut payload = vec![0; length];
        self.get(&mut payload)?;
        let crc = u32::from_le_bytes([head[6], head[7], head[8], head[9]]);
        if crc32c::crc32c_append(crc32c::crc32c(&head[..6]), &payload) != crc {
            return Err(self.corrupt("has a frame with a wrong checksum"));
        }
        newer_format(&format!("the snapshot {}", self.path.display()), head[1], VERSION)?;
        self.hasher.update(&head);
        self.hasher.update(&payload);
        Ok((head[0], payload))
    }

    fn get(&mut self, bytes: &mut [u8]) -> Result<(), StateError> {
        match self.input.read_exact(bytes) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Err(self.corrupt("is cut short")),
            other => Ok(other?),
        }
    }

    fn corrupt(&self, why: &str) -> StateError {
        StateError::Corrupt(format!("the snapshot {} {why}", self.path.display()))
    }
}

/// Reads what a snapshot file says of itself. Cheap: the header only.
pub(crate) fn describe(path: &Path) -> Result<SnapshotFile, StateError> {
    let reader = SnapshotReader::open(path)?;
    let bytes = reader.input.get_ref().metadata()?.len();
    Ok(SnapshotFile { path: path.to_owned(), applied: reader.head.applied, bytes })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::storage::LogId;

    const GOLDEN: &[u8] = include_bytes!("../../../tests/golden/snapshot-1.snap");

    fn head(revision: u64) -> Head {
        let last_applied = Some(LogId { term: 3, node_id: 2, index: 70_000 });
        Head {
            group: GROUP,
            applied: AppliedPoint { last_applied, membership: Bytes::from_static(b"members") },
            revision,
        }
    }

    fn file(records: &[RawRecord], history: &[RawChangeSet]) -> Vec<u8> {
        let revision = history.last().map_or(0, |h| h.0);
        let mut writer = SnapshotWriter::begin(Vec::new(), &head(revision)).unwrap();
        records.iter().for_each(|(key, body)| writer.record(key, body).unwrap());
        history.iter().for_each(|(revision, bytes)| writer.change_set(*revision, bytes).unwrap());
        let (bytes, length) = writer.finish().unwrap();
        assert_eq!(bytes.len() as u64, length);
        bytes
    }

    fn read(bytes: &[u8]) -> Result<(Head, Vec<RawRecord>, Vec<RawChangeSet>), StateError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        std::fs::write(&path, bytes).unwrap();
        let mut reader = SnapshotReader::open(&path)?;
        let (mut records, mut history) = (Vec::new(), Vec::new());
        while let Some(part) = reader.next_part()? {
            match part {
                Part::Records(more) => records.extend(more),
                Part::History(more) => history.extend(more),
            }
        }
        Ok((reader.head, records, history))
    }

    fn example() -> (Vec<RawRecord>, Vec<RawChangeSet>) {
        let record = |key: &str, body: &str| (key.as_bytes().to_vec(), body.as_bytes().to_vec());
        let history = vec![(41, b"first".to_vec()), (42, b"second".to_vec())];
        (vec![record("empty", ""), record("short", "some bytes")], history)
    }

    #[test]
    fn the_first_format_is_still_written_and_read() {
        let (records, history) = example();
        let bytes = file(&records, &history);
        if std::env::var_os("LASTSEAT_BLESS").is_some() {
            std::fs::write("tests/golden/snapshot-1.snap", &bytes).unwrap();
        }
        assert_eq!(bytes, GOLDEN);
        assert_eq!(read(GOLDEN).unwrap(), (head(42), records, history));
    }

    #[test]
    fn every_flipped_bit_and_every_missing_byte_is_noticed() {
        for at in 0..GOLDEN.len() {
            assert!(read(&GOLDEN[..at]).is_err(), "cut at {at}");
            for bit in 0..8 {
                let mut bytes = GOLDEN.to_vec();
                bytes[at] ^= 1 << bit;
                assert!(read(&bytes).is_err(), "byte {at} bit {bit}");
            }
        }
    }

    #[test]
    fn a_frame_too_few_is_noticed() {
        // Cut out the frame of records: every checksum of a frame is right, only the whole is not.
        let (_, history) = example();
        let bare = file(&[], &history);
        let trailer = Trailer { records: 2, change_sets: 2, hash: [0; 32] };
        let length = FRAME_HEAD + codec::encode(&trailer).len();
        let mixed = [&bare[..bare.len() - length], &GOLDEN[GOLDEN.len() - length..]].concat();
        assert!(read(&mixed).unwrap_err().to_string().contains("does not match its trailer"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn what_was_written_is_read(
            lengths in prop::collection::vec(0_usize..200_000, 0..12),
            sets in prop::collection::vec(0_usize..200_000, 0..12),
        ) {
            let records: Vec<RawRecord> =
                lengths.iter().enumerate().map(|(i, length)| (vec![i as u8; i], vec![1; *length])).collect();
            let history: Vec<RawChangeSet> = (7..).zip(sets.iter().map(|length| vec![2; *length])).collect();
            let (_, back, back_history) = read(&file(&records, &history)).unwrap();
            prop_assert_eq!((back, back_history), (records, history));
        }
    }
}
