//! Reading entries that are not in memory any more. No lock is held here.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::WalEntry;
use super::index::Found;
use super::record::{Bad, Body, Record};
use super::segment::SegmentFile;

/// Bytes read from disk at a time.
const READ_BYTES_MAX: u64 = 1 << 20;
/// Records this close to each other on disk are read at once.
const READ_GAP_MAX: u64 = 4096;

/// Where entries are, and what is needed to get them: they stay readable even when they are purged meanwhile.
pub struct Places {
    pub(super) found: Vec<Found>,
    pub(super) segments: BTreeMap<u32, Arc<SegmentFile>>,
}

impl Places {
    /// Whether [`Self::fetch`] does not touch the disk.
    pub fn in_memory(&self) -> bool {
        self.found.iter().all(|place| matches!(place, Found::Memory(_)))
    }

    /// The entries, in order. Blocks on the disk unless all are in memory.
    ///
    /// # Errors
    /// The disk failed, or gave back something else than was written.
    pub fn fetch(&self) -> io::Result<Vec<WalEntry>> {
        fetch(&self.found, &self.segments)
    }
}

/// Reads what is not in memory, neighbours at once.
fn fetch(found: &[Found], segments: &BTreeMap<u32, Arc<SegmentFile>>) -> io::Result<Vec<WalEntry>> {
    let mut entries = Vec::with_capacity(found.len());
    let mut rest = found;
    while let Some(place) = rest.first() {
        let &Found::Disk { segment, offset, .. } = place else {
            if let Found::Memory(entry) = place {
                entries.push(entry.clone());
            }
            rest = &rest[1..];
            continue;
        };
        let (run, end) = neighbours(rest, segment, offset);
        let file = segments.get(&segment).ok_or_else(|| io::Error::other("an entry's segment is not there"))?;
        read_run(file, &rest[..run], offset, end, &mut entries)?;
        rest = &rest[run..];
    }
    Ok(entries)
}

/// How many of the first places lie close together in one segment, and where the last of them ends.
fn neighbours(places: &[Found], first_segment: u32, start: u32) -> (usize, u64) {
    let mut end = u64::from(start);
    let mut run = 0;
    for place in places {
        let &Found::Disk { segment, offset, bytes, .. } = place else { break };
        let offset = u64::from(offset);
        let close = segment == first_segment && offset >= end && offset - end <= READ_GAP_MAX;
        if run > 0 && (!close || offset + bytes - u64::from(start) > READ_BYTES_MAX) {
            break;
        }
        end = offset + bytes;
        run += 1;
    }
    (run, end)
}

fn read_run(file: &SegmentFile, run: &[Found], start: u32, end: u64, entries: &mut Vec<WalEntry>) -> io::Result<()> {
    let start = u64::from(start);
    let bytes = file.read(start, end)?;
    for place in run {
        let &Found::Disk { id, offset, .. } = place else { continue };
        let at = u64::from(offset);
        let record = Record::decode(file.header.generation, at, &bytes[(at - start) as usize..]);
        let why = match record {
            Ok((Record { body: Body::Entry(entry), .. }, _)) if entry.id == id => {
                entries.push(entry);
                continue;
            }
            Ok(_) => "there is another record than was written here".to_owned(),
            Err(Bad::Invalid(why)) => why.to_owned(),
            Err(Bad::Newer(what)) => what,
        };
        return Err(io::Error::new(io::ErrorKind::InvalidData, super::corrupt(&file.path, at, &why).to_string()));
    }
    Ok(())
}
