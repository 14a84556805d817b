//! Definitions that arrive in parts, before the entry that commits them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::domain::command::{Settings, StagePart, StagingId};
use crate::domain::record::RecordKey;
use crate::domain::value::{Millis, PoolDef, SeatDef};

/// Most parts of one definition: 32 MiB of seats in parts of 256 KiB are 128.
const PARTS_MAX: usize = 4_096;

/// A part, and the clock when it came.
pub(super) type Staged = (Millis, Arc<StagePart>);

#[derive(Debug, Clone, Default)]
pub(super) struct Stagings {
    pub(super) parts: BTreeMap<(StagingId, u32), Staged>,
}

pub(super) fn record_key(staging: StagingId, part: u32) -> RecordKey {
    RecordKey::Stage { staging, part }
}

impl Stagings {
    /// Takes a part. The same part again changes nothing.
    pub(super) fn add(&mut self, clock: Millis, part: &StagePart) -> Option<RecordKey> {
        let (id, no) = (part.staging, part.part);
        if self.parts.contains_key(&(id, no)) || self.parts.range((id, 0)..=(id, u32::MAX)).count() >= PARTS_MAX {
            return None;
        }
        self.parts.insert((id, no), (clock, Arc::new(part.clone())));
        Some(record_key(id, no))
    }

    /// Every staging with the time of its oldest part.
    fn started(&self) -> BTreeMap<StagingId, Millis> {
        let mut started: BTreeMap<StagingId, Millis> = BTreeMap::new();
        for ((id, _), (at, _)) in &self.parts {
            let first = started.entry(*id).or_insert(*at);
            *first = (*first).min(*at);
        }
        started
    }

    /// Drops what is too old, then the oldest beyond the most allowed. Returns the records that are gone.
    pub(super) fn evict(&mut self, settings: &Settings, clock: Millis) -> Vec<RecordKey> {
        if self.parts.is_empty() {
            return Vec::new();
        }
        let mut by_age: Vec<(Millis, StagingId)> = self.started().into_iter().map(|(id, at)| (at, id)).collect();
        by_age.sort_unstable();
        let beyond = by_age.len().saturating_sub(settings.stagings_max as usize);
        let too_old = |at: Millis| clock.0.saturating_sub(at.0) > settings.staging_keep_ms;
        let leaving = by_age.iter().enumerate().filter(|(no, (at, _))| *no < beyond || too_old(*at));
        let leaving: Vec<StagingId> = leaving.map(|(_, (_, id))| *id).collect();
        leaving.into_iter().flat_map(|id| self.drop_staging(id)).collect()
    }

    pub(super) fn drop_staging(&mut self, id: StagingId) -> Vec<RecordKey> {
        let gone: Vec<u32> = self.parts.range((id, 0)..=(id, u32::MAX)).map(|((_, no), _)| *no).collect();
        for no in &gone {
            self.parts.remove(&(id, *no));
        }
        gone.into_iter().map(|no| record_key(id, no)).collect()
    }

    /// Seats and pools of all parts, in order. `None` when a part is missing.
    pub(super) fn collect(&self, id: StagingId, parts: u32) -> Option<(Vec<SeatDef>, Vec<PoolDef>)> {
        let parts = (0..parts).map(|no| self.parts.get(&(id, no)).map(|(_, part)| part));
        let parts: Vec<&Arc<StagePart>> = parts.collect::<Option<_>>()?;
        // Joined at once: growing step by step would move what is there again and again, while all sales wait.
        let seats: Vec<&[SeatDef]> = parts.iter().map(|part| &*part.seats).collect();
        let pools: Vec<&[PoolDef]> = parts.iter().map(|part| &*part.pools).collect();
        Some((seats.concat(), pools.concat()))
    }
}
