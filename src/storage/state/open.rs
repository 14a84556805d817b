//! The open rule: when the sled folder of the last run is used again, and what replaces it when it is not.
//!
//! ```text
//! CURRENT names a folder, and (clean stop, or same kernel boot), and fewer than two starts died on it
//!   └─ it opens, every checksum and the sum over all records are right
//!        └─ it reaches the log ─────────────────────────────▶ reuse it
//! otherwise the newest whole snapshot that reaches the log ─▶ build a new folder from it, flip CURRENT
//! otherwise, when the log still has its first entry ────────▶ begin with nothing, the log has it all
//! otherwise ────────────────────────────────────────────────▶ refuse, and say how to rebuild the node
//! ```

use std::fs;
use std::path::Path;

use super::current::Current;
use super::db::{Builder, Live, RawRecord, folder_of};
use super::snapshot::{Part, SnapshotReader};
use super::snapshots::Snapshots;
use super::{AppliedPoint, Source, StateError, StateOptions};
use crate::storage::durable;

/// Makes something of all records, which come in any order.
pub(crate) type Load<'a, T> = dyn FnMut(&mut dyn Iterator<Item = RawRecord>) -> Result<T, StateError> + 'a;

/// Starts in a row that may die while they open a folder before it is given up. The first may be the operator's kill.
const UNFINISHED_OPENS_MAX: u32 = 2;
/// Logs begin with entry 0 or 1; one that still has it can rebuild everything.
const LOG_START_MAX: u64 = 1;

pub(crate) struct OpenedRaw<T> {
    pub(crate) live: Live,
    pub(crate) loaded: T,
    pub(crate) applied: AppliedPoint,
    pub(crate) source: Source,
    pub(crate) snapshots: Snapshots,
}

pub(crate) struct Opener<'a> {
    pub(crate) state: &'a Path,
    pub(crate) first_log_index: u64,
    pub(crate) options: &'a StateOptions,
    pub(crate) boot_id: Option<String>,
}

impl Opener<'_> {
    pub(crate) fn open<T>(self, load: &mut Load<'_, T>) -> Result<OpenedRaw<T>, StateError> {
        durable::make_folder(self.state)?;
        let current = Current::read(self.state)?;
        self.remove_leftovers(current.as_ref())?;
        let mut snapshots = Snapshots::open(self.state, current.as_ref().map(|c| c.generation))?;
        let mut reasons = Vec::new();
        match self.reuse(current.as_ref(), load) {
            Ok((live, loaded, applied)) => {
                return Ok(OpenedRaw { live, loaded, applied, source: Source::Sled, snapshots });
            }
            Err(newer @ StateError::NewerFormat(_)) => return Err(newer),
            Err(why) => reasons.push(why.to_string()),
        }
        let generation = self.next_generation(current.as_ref())?;
        let (live, loaded, applied, source) = self.rebuild(generation, &mut snapshots, load, reasons)?;
        self.mark(live.generation, 0)?;
        self.remove_leftovers(Some(&self.current(live.generation, 0)))?;
        Ok(OpenedRaw { live, loaded, applied, source, snapshots })
    }

    fn reuse<T>(
        &self,
        current: Option<&Current>,
        load: &mut Load<'_, T>,
    ) -> Result<(Live, T, AppliedPoint), StateError> {
        let not = |why: &str| Err(StateError::Corrupt(why.into()));
        let Some(current) = current else { return not("no state was kept") };
        let same_boot = current.boot_id.is_some() && current.boot_id == self.boot_id;
        if !current.clean && !same_boot {
            return not("the machine stopped without closing the state database");
        }
        if current.unfinished_opens >= UNFINISHED_OPENS_MAX {
            return not("the last starts died while they opened the state database");
        }
        // sled writes as soon as it is opened: from here on the folder is no longer one that was closed cleanly.
        self.mark(current.generation, current.unfinished_opens + 1)?;
        let cache = self.options.sled_cache_bytes;
        let (live, loaded, applied) = Live::open(self.state, current.generation, cache, load)?;
        if !self.reaches_log(&applied) {
            let end = applied.next_index();
            return not(&format!("the state database ends before entry {end}"));
        }
        self.mark(current.generation, 0)?;
        Ok((live, loaded, applied))
    }

    fn rebuild<T>(
        &self,
        generation: u64,
        snapshots: &mut Snapshots,
        load: &mut Load<'_, T>,
        mut reasons: Vec<String>,
    ) -> Result<(Live, T, AppliedPoint, Source), StateError> {
        tracing::info!(reason = %reasons.join("; "), "the state is rebuilt");
        for file in snapshots.newest_first() {
            if !self.reaches_log(&file.applied) {
                let end = file.applied.next_index();
                reasons.push(format!("the snapshot {} ends before entry {end}", file.path.display()));
                continue;
            }
            match build_from_snapshot(self.state, generation, self.options, &file.path, load) {
                Ok((live, loaded, applied)) => return Ok((live, loaded, applied, Source::Snapshot)),
                Err(newer @ StateError::NewerFormat(_)) => return Err(newer),
                Err(why) => {
                    reasons.push(why.to_string());
                    snapshots.forget(&file);
                }
            }
        }
        if self.first_log_index > LOG_START_MAX {
            return Err(StateError::Corrupt(self.refusal(&reasons)));
        }
        let applied = AppliedPoint::default();
        let live = Builder::begin(self.state, generation, self.options.sled_cache_bytes)?.finish(&applied, 0)?;
        Ok((live, load(&mut std::iter::empty())?, applied, Source::Empty))
    }

    fn reaches_log(&self, applied: &AppliedPoint) -> bool {
        applied.next_index() >= self.first_log_index || self.first_log_index <= LOG_START_MAX
    }

    fn refusal(&self, reasons: &[String]) -> String {
        format!(
            "the state in {} cannot be recovered: the log begins with entry {}, and nothing here holds what was before \
             ({}). Nothing is lost as long as the other nodes have it. Rebuild this node: stop it, start this machine \
             with an empty --data folder and a new --node-id, add it to the cluster as a new node, and remove the old \
             node id from the cluster. Keep this folder until the cluster is whole again",
            self.state.display(),
            self.first_log_index,
            reasons.join("; ")
        )
    }

    fn current(&self, generation: u64, unfinished_opens: u32) -> Current {
        Current { generation, boot_id: self.boot_id.clone(), clean: false, unfinished_opens }
    }

    fn mark(&self, generation: u64, unfinished_opens: u32) -> Result<(), StateError> {
        Ok(self.current(generation, unfinished_opens).write(self.state)?)
    }

    /// Sled folders that are not the live one: of an install or a rebuild that did not come to its end, or the last.
    fn remove_leftovers(&self, current: Option<&Current>) -> Result<(), StateError> {
        let live = current.map(|c| folder_of(self.state, c.generation));
        for entry in fs::read_dir(self.state)? {
            let path = entry?.path();
            if generation_of(&path).is_some() && Some(&path) != live.as_ref() && current.is_some() {
                fs::remove_dir_all(&path)?;
            } else if path.extension().is_some_and(|e| e == durable::UNFINISHED) {
                durable::remove_if_there(&path)?;
            }
        }
        Ok(())
    }

    /// A number that no folder has, so that nothing old is ever mistaken for the new one.
    fn next_generation(&self, current: Option<&Current>) -> Result<u64, StateError> {
        let mut highest = current.map_or(0, |c| c.generation);
        for entry in fs::read_dir(self.state)? {
            highest = highest.max(generation_of(&entry?.path()).unwrap_or(0));
        }
        Ok(highest + 1)
    }
}

fn generation_of(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_prefix("sled-")?.parse().ok()
}

/// Builds a new sled folder from a snapshot, durably, but does not make it the live one. The folder vanishes on an
/// error. Checks the file to its last byte on the way.
pub(crate) fn build_from_snapshot<T>(
    state: &Path,
    generation: u64,
    options: &StateOptions,
    path: &Path,
    load: &mut Load<'_, T>,
) -> Result<(Live, T, AppliedPoint), StateError> {
    let reader = SnapshotReader::open(path)?;
    let head = reader.head().clone();
    let builder = Builder::begin(state, generation, options.sled_cache_bytes)?;
    let mut tee = Tee { reader, builder, pending: Vec::new().into_iter(), error: None };
    let loaded = load(&mut tee);
    tee.by_ref().for_each(drop);
    if let Some(error) = tee.error {
        return Err(error);
    }
    let live = tee.builder.finish(&head.applied, head.revision)?;
    Ok((live, loaded?, head.applied))
}

/// Yields the records of a snapshot and stores everything in it on the way.
struct Tee {
    reader: SnapshotReader,
    builder: Builder,
    pending: std::vec::IntoIter<RawRecord>,
    error: Option<StateError>,
}

impl Tee {
    fn step(&mut self) -> Result<Option<RawRecord>, StateError> {
        loop {
            if let Some((key, body)) = self.pending.next() {
                self.builder.record(&key, &body)?;
                return Ok(Some((key, body)));
            }
            match self.reader.next_part()? {
                Some(Part::Records(records)) => self.pending = records.into_iter(),
                Some(Part::History(sets)) => self.builder.history(&sets)?,
                None => return Ok(None),
            }
        }
    }
}

impl Iterator for Tee {
    type Item = RawRecord;

    fn next(&mut self) -> Option<RawRecord> {
        if self.error.is_some() {
            return None;
        }
        self.step().unwrap_or_else(|error| {
            self.error = Some(error);
            None
        })
    }
}
