//! The folder of snapshot files.
//!
//! ```text
//! snapshots/00000000000000001234-7-2.snap              durable and whole: entry 1234 of term 7, leader 2
//! snapshots/00000000000000001234-7-2.sled-5.installing being installed into the folder sled-5
//! snapshots/*.tmp                                      being written or received; removed at the next start
//! ```
//!
//! An `.installing` file became the node's state exactly if `CURRENT` names its sled folder: the next start then gives
//! it its name, and otherwise removes it.

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use super::db::{Live, RawRecord};
use super::snapshot::{Head, SnapshotWriter, describe};
use super::{AppliedPoint, HISTORY_READ_BYTES_MAX, SnapshotFile, StateError};
use crate::storage::durable;

const FOLDER: &str = "snapshots";
const DONE: &str = "snap";
const INSTALLING: &str = "installing";

/// What is in the folder.
pub(crate) struct Snapshots {
    folder: PathBuf,
    /// Header read and fine, newest last.
    files: Vec<SnapshotFile>,
}

impl Snapshots {
    pub(crate) fn open(state: &Path, live: Option<u64>) -> Result<Self, StateError> {
        let folder = state.join(FOLDER);
        durable::make_folder(&folder)?;
        let mut files = Vec::new();
        let mut paths = Vec::new();
        for entry in fs::read_dir(&folder)? {
            paths.push(entry?.path());
        }
        for path in paths {
            let Some(path) = settle(path, live)? else { continue };
            match describe(&path) {
                Ok(file) => files.push(file),
                Err(newer @ StateError::NewerFormat(_)) => return Err(newer),
                // Not removed: it may be all that is left, and a person may want to look at it.
                Err(error) => tracing::warn!(path = %path.display(), %error, "a snapshot is not readable"),
            }
        }
        files.sort_by_key(|f| f.applied.last_applied);
        Ok(Self { folder, files })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn latest(&self) -> Option<&SnapshotFile> {
        self.files.last()
    }

    pub(crate) fn newest_first(&self) -> Vec<SnapshotFile> {
        self.files.iter().rev().cloned().collect()
    }

    /// A file turned out to be broken.
    pub(crate) fn forget(&mut self, file: &SnapshotFile) {
        self.files.retain(|f| f != file);
    }

    /// Name of a file that is being installed.
    pub(crate) fn installing(&self, applied: &AppliedPoint, generation: u64) -> PathBuf {
        self.folder.join(format!("{}.sled-{generation}.{INSTALLING}", stem(applied)))
    }

    pub(crate) fn unfinished(&self, applied: &AppliedPoint) -> PathBuf {
        self.folder.join(format!("{}.{}", stem(applied), durable::UNFINISHED))
    }

    /// Gives a file, synced and whole, its name, durably, and removes the older ones.
    pub(crate) fn keep(&mut self, from: &Path, applied: &AppliedPoint, bytes: u64) -> io::Result<SnapshotFile> {
        let path = self.folder.join(format!("{}.{DONE}", stem(applied)));
        durable::rename(from, &path)?;
        let file = SnapshotFile { path, applied: applied.clone(), bytes };
        for entry in fs::read_dir(&self.folder)? {
            let other = entry?.path();
            if other != file.path && other.extension().is_some_and(|e| e == DONE) {
                durable::remove_if_there(&other)?;
            }
        }
        self.files = vec![file.clone()];
        Ok(file)
    }
}

fn stem(applied: &AppliedPoint) -> String {
    match applied.last_applied {
        Some(id) => format!("{:020}-{}-{}", id.index, id.term, id.node_id),
        None => format!("{:020}-0-0", 0),
    }
}

/// Removes leftovers and finishes a finished install. Returns the path if it is a snapshot.
fn settle(path: PathBuf, live: Option<u64>) -> io::Result<Option<PathBuf>> {
    match path.extension().and_then(|e| e.to_str()) {
        Some(DONE) => Ok(Some(path)),
        Some(INSTALLING) => {
            let named = path.with_extension("");
            let generation = named.extension().and_then(|e| e.to_str()).and_then(|e| e.strip_prefix("sled-"));
            let installed = generation.and_then(|g| g.parse().ok()).is_some_and(|g: u64| Some(g) == live);
            if !installed {
                durable::remove_if_there(&path)?;
                return Ok(None);
            }
            let done = named.with_extension(DONE);
            durable::rename(&path, &done)?;
            Ok(Some(done))
        }
        Some(durable::UNFINISHED) => durable::remove_if_there(&path).map(|()| None),
        _ => Ok(None),
    }
}

/// Writes all of a snapshot, durably, under a name that is not final. Returns its length.
pub(crate) fn write_file(
    path: &Path,
    head: &Head,
    records: &mut dyn Iterator<Item = RawRecord>,
    live: &Live,
) -> Result<u64, StateError> {
    let mut writer = SnapshotWriter::begin(BufWriter::with_capacity(1 << 20, File::create(path)?), head)?;
    for (key, body) in records {
        writer.record(&key, &body)?;
    }
    let pinned = Pinned::new(live);
    let mut next = pinned.oldest;
    while next <= head.revision {
        let sets = live.history(next, usize::MAX, HISTORY_READ_BYTES_MAX)?;
        let end = sets.last().map(|set| set.0 + 1);
        for (revision, bytes) in sets.into_iter().filter(|set| set.0 <= head.revision) {
            writer.change_set(revision, &bytes)?;
        }
        next = match end {
            Some(end) => end,
            // Nothing was ever written to history.
            None if next == live.history_next() && next == pinned.oldest => break,
            None => return Err(StateError::Corrupt(format!("the history lacks revision {next}"))),
        };
    }
    let (out, bytes) = writer.finish()?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    Ok(bytes)
}

/// Keeps history from being pruned while a snapshot reads it.
struct Pinned<'a> {
    live: &'a Live,
    oldest: u64,
}

impl<'a> Pinned<'a> {
    fn new(live: &'a Live) -> Self {
        Self { live, oldest: live.pin_history() }
    }
}

impl Drop for Pinned<'_> {
    fn drop(&mut self) {
        self.live.unpin_history();
    }
}
