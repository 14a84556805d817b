//! Reading the folder at start: what the log holds, and where it ends.
//!
//! Every segment but the newest must be whole: the next one's header says where it ends. In the newest, the first
//! thing that is not a batch ends the log, if it can be the write that was under way: a valid batch or mark anywhere
//! behind it proves that it had been synced, and then it is damage.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::index::GroupLog;
use super::record::{ALIGN_BYTES, BATCH_HEADER_BYTES, Bad, BatchHeader, BatchKind, Body, Record};
use super::segment::{SEGMENT_HEADER_BYTES, SegmentFile, SegmentHeader, segment_path, sync_folder, zero};
use super::writer::BATCH_BYTES_MAX;
use super::written::{Contents, Written, note_contents};
use super::{WalError, newest};
use crate::storage::GroupId;

/// Where the newest segment ends, and how sure that is.
struct Tail {
    end: u64,
    /// Last batch, which may not have been synced.
    unproven: Option<(u64, u64)>,
    closed: bool,
}

/// What was found.
#[derive(Default)]
pub(super) struct Recovered {
    pub(super) logs: BTreeMap<GroupId, GroupLog>,
    pub(super) written: BTreeMap<GroupId, Written>,
    pub(super) segments: BTreeMap<u32, Arc<SegmentFile>>,
    pub(super) contents: Contents,
    /// End of the newest segment.
    pub(super) end: u64,
    pub(super) next_batch: u64,
    pub(super) spares: Vec<PathBuf>,
    /// Entries that a preamble speaks of and that are in no segment: they must turn out purged.
    missing: BTreeMap<GroupId, (u64, u64)>,
}

/// Reads the log in `dir`, removes what a crash left half made, and makes what was found durable. `kept`: it is known to
/// have held something before.
pub(super) fn recover(dir: &Path, kept: bool) -> Result<Recovered, WalError> {
    let mut found = Recovered { next_batch: 1, ..Recovered::default() };
    let sequences = found.list(dir)?;
    newest::check(dir, sequences.last().copied(), kept)?;
    let mut segments = Vec::new();
    for sequence in sequences {
        segments.push(open_segment(dir, sequence)?);
    }
    for pair in segments.windows(2) {
        check_chain(&pair[0], &pair[1])?;
    }
    for i in 0..segments.len() {
        let oldest = i == 0;
        if oldest {
            found.next_batch = segments[i].header.first_batch;
        }
        let next = segments.get(i + 1).map(|s| s.header.prev_end);
        let tail = found.replay(&segments[i], next, oldest)?;
        if next.is_none() {
            settle(&segments[i], &tail)?;
            found.end = tail.end;
        }
    }
    found.check_whole(segments.first())?;
    // A crash may have come between a rename and the sync of the folder.
    sync_folder(dir)?;
    found.segments = segments.into_iter().map(|s| (s.header.sequence, Arc::new(s))).collect();
    Ok(found)
}

impl Recovered {
    fn list(&mut self, dir: &Path) -> Result<Vec<u32>, WalError> {
        let mut sequences = Vec::new();
        for item in fs::read_dir(dir)? {
            let path = item?.path();
            let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
            match path.extension().and_then(|e| e.to_str()) {
                Some("wal") => match u32::from_str_radix(stem, 16) {
                    Ok(sequence) if segment_path(dir, sequence) == path => sequences.push(sequence),
                    _ => return Err(super::corrupt(&path, 0, "this is not the name of a segment")),
                },
                Some("tmp") => fs::remove_file(&path)?,
                Some("free") => self.spares.push(path),
                _ => {}
            }
        }
        sequences.sort_unstable();
        Ok(sequences)
    }

    /// Replays one segment up to `known_end`, or to its tail if it is the newest.
    fn replay(&mut self, segment: &SegmentFile, known_end: Option<u64>, oldest: bool) -> Result<Tail, WalError> {
        let bytes = read_whole(segment)?;
        let limit = known_end.unwrap_or(bytes.len() as u64);
        let mut tail = Tail { end: SEGMENT_HEADER_BYTES, unproven: None, closed: false };
        self.contents.entry(segment.header.sequence).or_default();
        while tail.end < limit {
            let visible = &bytes[..bytes.len().min(limit as usize)];
            match read_batch(segment, visible, tail.end) {
                Ok((header, records)) if header.number == self.next_batch => {
                    if header.kind != BatchKind::Data {
                        if known_end.is_some() {
                            return Err(super::corrupt(&segment.path, tail.end, "the segment ends too early"));
                        }
                        return Ok(Tail { unproven: None, closed: header.kind == BatchKind::Closed, ..tail });
                    }
                    let preamble = oldest && tail.end == SEGMENT_HEADER_BYTES;
                    for (position, record) in records {
                        self.apply(segment, position, record, preamble)?;
                    }
                    let bytes = BATCH_HEADER_BYTES as u64 + u64::from(header.body_bytes);
                    tail.unproven = Some((tail.end, bytes));
                    tail.end += bytes;
                    self.next_batch += 1;
                }
                Ok(_) => return Err(super::corrupt(&segment.path, tail.end, "a batch is missing before this one")),
                Err((at, Bad::Newer(what))) => return Err(super::newer(&segment.path, at, &what)),
                Err((at, Bad::Invalid(why))) => {
                    if known_end.is_some() || is_followed(segment, &bytes, tail.end) {
                        return Err(super::corrupt(&segment.path, at, why));
                    }
                    if at != tail.end {
                        tracing::warn!(file = %segment.path.display(), offset = at, "dropped a torn write");
                    }
                    return Ok(tail);
                }
            }
        }
        if known_end.is_some_and(|end| end != tail.end) {
            return Err(super::corrupt(&segment.path, tail.end, "the segment does not end where the next one says"));
        }
        Ok(tail)
    }

    fn apply(&mut self, segment: &SegmentFile, at: u64, record: Record, preamble: bool) -> Result<(), WalError> {
        let group = record.group;
        let written = self.written.entry(group).or_default();
        let log = self.logs.entry(group).or_default();
        match &record.body {
            Body::Entry(entry) => {
                let after = if written.last.is_some() { written.last } else { written.purged };
                if after.is_some_and(|last| last.index + 1 != entry.id.index) {
                    return Err(super::corrupt(&segment.path, at, "an entry does not follow the one before it"));
                }
                let offset = u32::try_from(at).expect("segments are limited to less than 4 GiB");
                log.recover(entry.id, entry.payload.len(), segment.header.sequence, offset);
            }
            Body::Vote(vote) => log.vote = Some(vote.clone()),
            Body::Committed(committed) => log.committed = *committed,
            Body::Truncate(last) => {
                let from = last.map_or(0, |l| l.index + 1);
                log.truncate_from(from);
                shorten(&mut self.missing, group, |(first, end)| (first, end.min(from)));
            }
            Body::Purge(upto) => {
                log.purge(*upto);
                shorten(&mut self.missing, group, |(first, end)| (first.max(upto.index + 1), end));
            }
            Body::Extent(last) if preamble => {
                let first = written.purged.map_or(0, |p| p.index + 1);
                self.missing.insert(group, (first, last.map_or(0, |l| l.index + 1)));
                shorten(&mut self.missing, group, |range| range);
            }
            Body::Extent(last) if *last != written.last => {
                return Err(super::corrupt(&segment.path, at, "the segment does not follow the one before it"));
            }
            Body::Extent(_) => {}
        }
        written.note(&record.body);
        note_contents(&mut self.contents, segment.header.sequence, &record);
        Ok(())
    }

    fn check_whole(&self, oldest: Option<&SegmentFile>) -> Result<(), WalError> {
        match (self.missing.first_key_value(), oldest) {
            (Some((group, (first, end))), Some(oldest)) => {
                let why = format!("entries {first} to {} of group {} are in no segment before it", end - 1, group.0);
                Err(super::corrupt(&oldest.path, 0, &why))
            }
            _ => Ok(()),
        }
    }
}

/// Changes the range of missing entries of a group, and forgets it when nothing is left.
fn shorten(missing: &mut BTreeMap<GroupId, (u64, u64)>, group: GroupId, change: impl Fn((u64, u64)) -> (u64, u64)) {
    if let Some(range) = missing.get_mut(&group) {
        *range = change(*range);
        if range.0 >= range.1 {
            missing.remove(&group);
        }
    }
}

fn open_segment(dir: &Path, sequence: u32) -> Result<SegmentFile, WalError> {
    let path = segment_path(dir, sequence);
    let file = OpenOptions::new().read(true).write(true).open(&path)?;
    let mut start = vec![0; SEGMENT_HEADER_BYTES as usize];
    let there = file.metadata()?.len().min(SEGMENT_HEADER_BYTES) as usize;
    file.read_exact_at(&mut start[..there], 0)?;
    let header = SegmentHeader::decode(&start[..there], &path)?;
    if header.sequence != sequence {
        return Err(super::corrupt(&path, 0, "the file's name and its header differ"));
    }
    Ok(SegmentFile::new(header, path, file))
}

fn check_chain(older: &SegmentFile, newer: &SegmentFile) -> Result<(), WalError> {
    let header = &newer.header;
    if (header.prev_sequence, header.prev_generation) == (older.header.sequence, older.header.generation) {
        return Ok(());
    }
    let why = format!("the segment before it, number {}, is not there", header.prev_sequence);
    Err(super::corrupt(&newer.path, 0, &why))
}

fn read_whole(segment: &SegmentFile) -> io::Result<Vec<u8>> {
    let there = segment.file.metadata()?.len().min(segment.header.capacity);
    let mut bytes = vec![0; usize::try_from(there).map_err(io::Error::other)?];
    segment.file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

type Batch = (BatchHeader, Vec<(u64, Record)>);

/// Reads the batch at `start`, whole or not at all. An error bears the place.
fn read_batch(segment: &SegmentFile, bytes: &[u8], start: u64) -> Result<Batch, (u64, Bad)> {
    let generation = segment.header.generation;
    let rest = bytes.get(start as usize..).unwrap_or_default();
    let header = BatchHeader::decode(generation, start, rest).map_err(|bad| (start, bad))?;
    let mut at = BATCH_HEADER_BYTES;
    let end = at + header.body_bytes as usize;
    let Some(body) = rest.get(..end) else {
        return Err((start + at as u64, Bad::Invalid("the batch is longer than the file")));
    };
    let mut records = Vec::new();
    for _ in 0..header.records {
        let position = start + at as u64;
        let (record, taken) = Record::decode(generation, position, &body[at..]).map_err(|bad| (position, bad))?;
        records.push((position, record));
        at += taken;
    }
    if at != end {
        return Err((start + at as u64, Bad::Invalid("the batch's length does not match its records")));
    }
    Ok((header, records))
}

/// Whether a batch or mark of this use of the file stands anywhere behind `place`. One write is under way at a time,
/// and the next starts after the sync of the one before: what stands before a batch was durable.
fn is_followed(segment: &SegmentFile, bytes: &[u8], place: u64) -> bool {
    (place as usize + ALIGN_BYTES..bytes.len()).step_by(ALIGN_BYTES).any(|at| {
        !matches!(BatchHeader::decode(segment.header.generation, at as u64, &bytes[at..]), Err(Bad::Invalid(_)))
    })
}

/// Makes the newest segment fit to go on writing: what was read is durable, what stands behind the end is gone, and
/// the file has its full size.
fn settle(segment: &SegmentFile, tail: &Tail) -> Result<(), WalError> {
    let capacity = segment.header.capacity;
    let there = segment.file.metadata()?.len();
    if there < capacity {
        zero(&segment.file, there, capacity)?;
        segment.file.sync_all()?;
    }
    if tail.closed {
        return Ok(());
    }
    if let Some((at, length)) = tail.unproven {
        rewrite(&segment.file, at, length)?;
    }
    // A torn write is never longer than a batch.
    zero(&segment.file, tail.end, capacity.min(tail.end + BATCH_BYTES_MAX as u64))?;
    segment.sync()?;
    Ok(())
}

/// Writes the same bytes again. A sync that failed may have left them in memory only, looking clean: dirty again,
/// they are really written by the next one.
fn rewrite(file: &File, at: u64, length: u64) -> io::Result<()> {
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, at)?;
    file.write_all_at(&bytes, at)
}
