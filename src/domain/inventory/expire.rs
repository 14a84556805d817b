//! Holds that are due, and those that lapsed.

use super::Inventory;
use super::chunk::ChunkLog;
use super::draft::Draft;
use super::hash::{NameIndex, name_hash};
use super::holds::{Hold, Lapsed};
use crate::domain::change::Cause;
use crate::domain::codec;
use crate::domain::command::Settings;
use crate::domain::id::Token;
use crate::domain::record::RecordKey;
use crate::domain::value::Millis;

/// Lapsed holds, oldest first, found by token.
#[derive(Debug, Default)]
pub(super) struct LapsedHolds {
    pub(super) log: ChunkLog,
    by_token: NameIndex,
}

/// Numbers in the index are the lower 32 bits; the ring never holds more than that.
fn low(seq: u64) -> u32 {
    (seq & u64::from(u32::MAX)) as u32
}

impl LapsedHolds {
    /// Those of this log. One that cannot be decoded is an error, with the chunk it is in.
    pub(super) fn new(log: ChunkLog) -> Result<Self, (u64, String)> {
        let mut by_token = NameIndex::default();
        for (seq, bytes) in log.iter() {
            let lapsed: Lapsed = codec::decode(bytes).map_err(|e| (log.first_of(seq), e.to_string()))?;
            by_token.insert(name_hash(lapsed.token.as_str()), low(seq));
        }
        Ok(Self { log, by_token })
    }

    pub(super) fn get(&self, seq: u64) -> Option<Lapsed> {
        let bytes = self.log.get(seq)?;
        Some(codec::decode(bytes).expect("the ring holds what was packed; records are checked at load"))
    }

    pub(super) fn find(&self, token: &Token) -> Option<(u64, Lapsed)> {
        let front = self.log.front();
        let seq = |low_bits: u32| front + u64::from(low_bits.wrapping_sub(low(front)));
        let mut candidates = self.by_token.candidates(name_hash(token.as_str())).map(seq);
        candidates.find_map(|seq| self.get(seq).filter(|lapsed| lapsed.token == *token).map(|lapsed| (seq, lapsed)))
    }

    fn add(&mut self, lapsed: &Lapsed) -> u64 {
        self.by_token.insert(name_hash(lapsed.token.as_str()), low(self.log.next()));
        self.log.push(&codec::encode(lapsed))
    }

    pub(super) fn replace(&mut self, seq: u64, lapsed: &Lapsed) -> Option<u64> {
        self.log.replace(seq, &codec::encode(lapsed))
    }

    /// Whether the oldest may leave: kept as firmly as an applied result, and there are never more than results.
    fn overdue(&self, settings: &Settings, clock: Millis) -> bool {
        let (len, front) = (self.log.len(), self.log.get(self.log.front()));
        let Some((at, _)) = front.and_then(|bytes| codec::decode_prefix::<Millis>(bytes).ok()) else { return false };
        let age = clock.0.saturating_sub(at.0);
        age > settings.results_keep_max_ms
            || len > settings.results_max
            || (len > settings.rejections_max && age >= settings.applied_keep_ms)
    }

    /// Forgets what may go, at most `budget` holds. Returns the chunks that left.
    pub(super) fn evict(&mut self, settings: &Settings, clock: Millis, budget: u32) -> Vec<u64> {
        let mut gone = Vec::new();
        for _ in 0..budget {
            if !self.overdue(settings, clock) {
                break;
            }
            let seq = self.log.front();
            if let Some(lapsed) = self.get(seq) {
                self.by_token.remove(name_hash(lapsed.token.as_str()), low(seq));
            }
            gone.extend(self.log.pop_front());
        }
        gone
    }
}

impl Inventory {
    /// Ends every hold that is due, by time and then by token; each is a change set of its own.
    pub(super) fn expire_due(&mut self) {
        if self.holds.next_due().is_none_or(|at| at > self.clock) {
            return;
        }
        for no in self.holds.all_due(self.clock) {
            self.expire(no);
        }
    }

    fn expire(&mut self, no: u64) {
        let Some(hold) = self.holds.get(no).cloned() else { return };
        let mut draft = Draft::default();
        self.free_held(&mut draft, hold.event, &hold.items);
        self.write_hold(&mut draft, no, None);
        self.commit(draft, Cause::Expire);
        let born = self.live_event(hold.event).core.info.born;
        let Hold { token, event, items, customer, .. } = Hold::clone(&hold);
        let first = self.lapsed.add(&Lapsed { at: self.clock, token, event, born, customer, items });
        self.dirty.insert(RecordKey::Lapsed { first });
    }
}
