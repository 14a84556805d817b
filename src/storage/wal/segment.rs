//! Segment files: their header, their making, and their recycling.
//!
//! ```text
//! 0000000000000007.wal   segment 7 of the log      spare-0.free   zero-filled or used before, ready to become one
//! spare-1.tmp            being filled with zeros; worthless after a crash
//! ```
//! A file gets its name `.wal` only after its header was synced, and the folder is synced after every change of a
//! name, one at a time and oldest first, so that a crash never leaves a gap.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::WalError;
use crate::storage::background;

/// Room for the header; batches start after it. A page of its own, so that no later write touches it.
pub(super) const SEGMENT_HEADER_BYTES: u64 = 4096;
/// Spares kept for reuse; more are deleted.
const SPARES_MAX: usize = 2;
/// Zeros written at a time when a file is made.
const ZEROS_BYTES: usize = 1 << 20;
const MAGIC: [u8; 8] = *b"lastsWAL";
const VERSION: u16 = 1;
/// Bytes of the header that count, the checksum included.
const HEADER_USED: usize = 76;

/// What a segment says about itself and the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// Counts up from 1 over the life of the log.
    pub(super) sequence: u32,
    /// Random, new for each use of the file: records of an earlier use never look alive.
    pub(super) generation: u64,
    pub(super) capacity: u64,
    /// The segment before (0: none), its generation, and where its last batch ends.
    pub(super) prev_sequence: u32,
    pub(super) prev_generation: u64,
    pub(super) prev_end: u64,
    /// Number of the first batch in here.
    pub(super) first_batch: u64,
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(SEGMENT_HEADER_BYTES as usize);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&(HEADER_USED as u16).to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        let numbers = [
            u64::from(self.sequence),
            self.generation,
            self.capacity,
            u64::from(self.prev_sequence),
            self.prev_generation,
            self.prev_end,
            self.first_batch,
        ];
        for number in numbers {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
        out.resize(SEGMENT_HEADER_BYTES as usize, 0);
        out
    }

    /// `bytes`: the start of the file. Magic, version, length and checksum stay where they are in every version.
    pub(super) fn decode(bytes: &[u8], path: &Path) -> Result<Self, WalError> {
        let broken = |why: &str| super::corrupt(path, 0, why);
        if bytes.len() < HEADER_USED || bytes[..8] != MAGIC {
            return Err(broken("there is no segment header"));
        }
        let version = u16::from_le_bytes([bytes[8], bytes[9]]);
        let used = usize::from(u16::from_le_bytes([bytes[10], bytes[11]]));
        let stored =
            used.checked_sub(4).and_then(|at| bytes.get(at..used)).ok_or_else(|| broken("bad header length"))?;
        if *stored != crc32c::crc32c(&bytes[..used - 4]).to_le_bytes() {
            return Err(broken("the segment header's checksum does not match"));
        }
        if version != VERSION {
            return Err(super::newer(path, 0, &format!("segment format version {version}")));
        }
        let number = |i: usize| u64::from_le_bytes(bytes[16 + 8 * i..24 + 8 * i].try_into().expect("eight bytes"));
        let sequence = |i: usize| u32::try_from(number(i)).map_err(|_| broken("the sequence is out of range"));
        Ok(Self {
            sequence: sequence(0)?,
            generation: number(1),
            capacity: number(2),
            prev_sequence: sequence(3)?,
            prev_generation: number(4),
            prev_end: number(5),
            first_batch: number(6),
        })
    }
}

/// An open segment. Readers share it; it is only recycled when none is left.
#[derive(Debug)]
pub(super) struct SegmentFile {
    pub(super) header: SegmentHeader,
    pub(super) path: PathBuf,
    pub(super) file: File,
    /// Test hook: the disk fails from now on.
    #[cfg(test)]
    pub(super) broken: std::sync::atomic::AtomicBool,
}

impl SegmentFile {
    pub(super) fn new(header: SegmentHeader, path: PathBuf, file: File) -> Self {
        Self {
            header,
            path,
            file,
            #[cfg(test)]
            broken: std::sync::atomic::AtomicBool::new(false),
        }
    }

    pub(super) fn write(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset).map_err(|e| in_file("write", &self.path, &e))
    }

    pub(super) fn read(&self, from: u64, to: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(to - from).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut bytes, from).map_err(|e| in_file("read", &self.path, &e))?;
        Ok(bytes)
    }

    /// The whole file is allocated and written before it is used, so data is all there is to sync.
    pub(super) fn sync(&self) -> io::Result<()> {
        #[cfg(test)]
        if self.broken.load(std::sync::atomic::Ordering::SeqCst) {
            return Err(in_file("sync", &self.path, &io::Error::other("injected")));
        }
        self.file.sync_data().map_err(|e| in_file("sync", &self.path, &e))
    }
}

fn in_file(what: &str, path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot {what} {}: {error}", path.display()))
}

pub(super) fn segment_path(dir: &Path, sequence: u32) -> PathBuf {
    dir.join(format!("{sequence:016x}.wal"))
}

/// Makes changes of names in a folder durable.
pub(super) fn sync_folder(dir: &Path) -> io::Result<()> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(|e| in_file("sync folder", dir, &e))
}

/// Makes a folder that is there after a power cut too. Its name is synced even if it is there already: a process may
/// have been killed between the two.
pub(super) fn make_folder(dir: &Path) -> io::Result<()> {
    let parent = dir.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !dir.exists() {
        if !parent.exists() {
            make_folder(parent)?;
        }
        fs::create_dir(dir).map_err(|e| in_file("make folder", dir, &e))?;
    }
    sync_folder(parent)
}

/// Makes segments out of spares, and spares out of segments.
pub(super) struct Pool {
    dir: PathBuf,
    capacity: u64,
    spares: Vec<PathBuf>,
    /// A spare in the making, by a thread that ends with it.
    preparing: Option<JoinHandle<io::Result<PathBuf>>>,
}

impl Pool {
    /// `spares`: files found in the folder that are ready for use. Those of another size are deleted.
    pub(super) fn new(dir: &Path, capacity: u64, found: Vec<PathBuf>) -> io::Result<Self> {
        let mut pool = Self { dir: dir.to_owned(), capacity, spares: Vec::new(), preparing: None };
        for path in found {
            if pool.spares.len() < SPARES_MAX && fs::metadata(&path)?.len() == capacity {
                pool.spares.push(path);
            } else {
                fs::remove_file(&path)?;
            }
        }
        Ok(pool)
    }

    pub(super) fn spares(&self) -> usize {
        self.spares.len()
    }

    /// Starts to make a spare in the background if there is none.
    pub(super) fn prepare(&mut self) -> io::Result<()> {
        if self.spares.is_empty() && self.preparing.is_none() {
            let (dir, name, capacity) = (self.dir.clone(), self.unused_name(), self.capacity);
            let maker = thread::Builder::new().name("wal-prepare".into());
            self.preparing = Some(maker.spawn(move || {
                background::step_back();
                fill_spare(&dir, &name, capacity)
            })?);
        }
        Ok(())
    }

    /// Waits for a spare in the making.
    pub(super) fn settle(&mut self) -> io::Result<()> {
        if let Some(maker) = self.preparing.take() {
            let spare = maker.join().map_err(|_| io::Error::other("the maker of spare segments panicked"))??;
            self.spares.push(spare);
        }
        Ok(())
    }

    /// A new, empty segment, durably there when this returns.
    pub(super) fn activate(&mut self, mut header: SegmentHeader) -> io::Result<SegmentFile> {
        self.settle()?;
        header.capacity = self.capacity;
        let spare = match self.spares.pop() {
            Some(spare) => spare,
            None => fill_spare(&self.dir, &self.unused_name(), self.capacity)?,
        };
        let file = OpenOptions::new().read(true).write(true).open(&spare).map_err(|e| in_file("open", &spare, &e))?;
        file.write_all_at(&header.encode(), 0).map_err(|e| in_file("write", &spare, &e))?;
        file.sync_all().map_err(|e| in_file("sync", &spare, &e))?;
        let path = segment_path(&self.dir, header.sequence);
        fs::rename(&spare, &path).map_err(|e| in_file("rename", &spare, &e))?;
        sync_folder(&self.dir)?;
        Ok(SegmentFile::new(header, path, file))
    }

    /// Takes a segment out of the log. True when it was kept as a spare.
    pub(super) fn release(&mut self, segment: Arc<SegmentFile>) -> io::Result<bool> {
        // A reader may still be in the file: its name goes, its bytes stay until the reader is done.
        let reusable = segment.header.capacity == self.capacity && Arc::strong_count(&segment) == 1;
        let keep = reusable && self.spares.len() < SPARES_MAX;
        if keep {
            let spare = self.dir.join(format!("{}.free", self.unused_name()));
            fs::rename(&segment.path, &spare).map_err(|e| in_file("rename", &segment.path, &e))?;
            self.spares.push(spare);
        } else {
            fs::remove_file(&segment.path).map_err(|e| in_file("remove", &segment.path, &e))?;
        }
        // Before the file gets a new header: else a crash could show the new header under the old name.
        sync_folder(&self.dir)?;
        Ok(keep)
    }

    /// Besides the spares, at most one name is taken by the file in the making.
    fn unused_name(&self) -> String {
        let base = if self.preparing.is_some() { "spare-b" } else { "spare-a" };
        let taken = |name: &String| self.spares.iter().any(|s| s.file_stem().is_some_and(|s| s == name.as_str()));
        (0..).map(|n| format!("{base}{n}")).find(|name| !taken(name)).expect("finitely many spares")
    }
}

/// Writes zeros, not holes: later a sync has no metadata to write.
fn fill_spare(dir: &Path, name: &str, capacity: u64) -> io::Result<PathBuf> {
    let tmp = dir.join(format!("{name}.tmp"));
    let spare = dir.join(format!("{name}.free"));
    let file = File::create(&tmp).map_err(|e| in_file("create", &tmp, &e))?;
    zero(&file, 0, capacity).and_then(|()| file.sync_all()).map_err(|e| in_file("fill", &tmp, &e))?;
    fs::rename(&tmp, &spare).map_err(|e| in_file("rename", &tmp, &e))?;
    sync_folder(dir)?;
    Ok(spare)
}

/// Writes zeros over `from..to`.
pub(super) fn zero(file: &File, from: u64, to: u64) -> io::Result<()> {
    let zeros = vec![0; ZEROS_BYTES];
    let mut at = from;
    while at < to {
        let part = (to - at).min(ZEROS_BYTES as u64);
        file.write_all_at(&zeros[..part as usize], at)?;
        at += part;
    }
    Ok(())
}
