//! Live holds, in numbered chunks of all events together, and the index by token and by due time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::chunk::CHUNK_BYTES_FULL;
use super::event::EventNo;
use super::hash::name_hash;
use crate::domain::id::{CustomerId, EventId, Token};
use crate::domain::value::{HoldView, Item, Millis, Revision};

/// Hold numbers in one chunk. A chunk that has many bytes is closed earlier: then the rest of its numbers is left out.
const HOLDS_A_CHUNK: u64 = 16;
/// A hold is put only beside holds that have, together, fewer bytes than this. So a chunk is never larger than this and
/// one hold of a thousand items, about 190 KiB in all.
pub(super) const HOLDS_BYTES_FULL: usize = CHUNK_BYTES_FULL;
/// What a hold takes, about, besides its names.
const HOLD_BYTES: usize = 40;
/// What an item takes, about, besides its name.
const ITEM_BYTES: usize = 8;

/// A live hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hold {
    pub(super) token: Token,
    pub(super) event: EventNo,
    pub(super) items: Vec<Item>,
    pub(super) customer: Option<CustomerId>,
    pub(super) created_at: Millis,
    pub(super) expires_at: Millis,
}

impl Hold {
    pub(super) fn view(&self, event: &EventId) -> HoldView {
        HoldView {
            token: self.token.clone(),
            event: event.clone(),
            items: self.items.clone(),
            customer: self.customer.clone(),
            created_at: self.created_at,
            expires_at: self.expires_at,
        }
    }
}

impl Hold {
    /// About the bytes of its encoding, and never less: cheap, and the same on every node.
    fn bytes(&self) -> usize {
        let name = |item: &Item| match item {
            Item::Seat(seat) => seat.as_str().len(),
            Item::Pool { pool, .. } => pool.as_str().len() + size_of::<u64>(),
        };
        let items: usize = self.items.iter().map(|item| name(item) + ITEM_BYTES).sum();
        HOLD_BYTES + self.token.as_str().len() + self.customer.as_ref().map_or(0, |c| c.as_str().len()) + items
    }
}

/// Holds by number, within one chunk.
pub(crate) type HoldChunk = BTreeMap<u64, Arc<Hold>>;

/// The stored part. A clone shares the chunks.
pub(super) type HoldChunks = BTreeMap<u64, Arc<HoldChunk>>;

/// A hold that lapsed, kept for `hold_expired` and for a late payment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lapsed {
    pub(super) at: Millis,
    pub(super) token: Token,
    pub(super) event: EventNo,
    /// Tells the event from a later one of the same id.
    pub(super) born: Revision,
    pub(super) customer: Option<CustomerId>,
    /// What was not booked since. Empty: all of it was, and the hold counts as ended by booking.
    pub(super) items: Vec<Item>,
}

/// The live holds with their indexes.
#[derive(Debug, Default)]
pub(super) struct Holds {
    pub(super) chunks: HoldChunks,
    by_token: BTreeSet<(u32, u64)>,
    due: BTreeSet<(Millis, u64)>,
    len: u64,
}

pub(super) fn chunk_of(no: u64) -> u64 {
    no / HOLDS_A_CHUNK
}

impl Holds {
    /// The holds of these chunks. A hold in a chunk that is not its own would never be found: that is an error.
    pub(super) fn new(chunks: HoldChunks) -> Result<Self, (u64, String)> {
        for (chunk, holds) in &chunks {
            if let Some(no) = holds.keys().find(|no| chunk_of(**no) != *chunk) {
                return Err((*chunk, format!("hold {no} belongs to chunk {}", chunk_of(*no))));
            }
            if holds.is_empty() {
                return Err((*chunk, "it is empty; an empty chunk is not kept".to_owned()));
            }
        }
        let mut holds = Self { chunks, ..Self::default() };
        let all: Vec<(u64, Arc<Hold>)> = holds.iter().map(|(no, hold)| (no, Arc::clone(hold))).collect();
        for (no, hold) in all {
            holds.index(no, &hold, true);
        }
        Ok(holds)
    }

    /// Bytes of the holds beside number `no` in its chunk.
    fn bytes_beside(&self, no: u64) -> usize {
        let chunk = self.chunks.get(&chunk_of(no)).into_iter().flat_map(|chunk| chunk.iter());
        chunk.filter(|(other, _)| **other != no).map(|(_, hold)| hold.bytes()).sum()
    }

    /// Whether the chunk of `no` has as many bytes as it may have, without the hold `no` itself.
    pub(super) fn crowded(&self, no: u64) -> bool {
        self.bytes_beside(no) >= HOLDS_BYTES_FULL
    }

    /// The first number from `next` on that a new hold may have.
    pub(super) fn number_from(&self, next: u64) -> u64 {
        if self.crowded(next) { (chunk_of(next) + 1) * HOLDS_A_CHUNK } else { next }
    }

    pub(super) fn get(&self, no: u64) -> Option<&Arc<Hold>> {
        self.chunks.get(&chunk_of(no))?.get(&no)
    }

    pub(super) fn find(&self, token: &Token) -> Option<(u64, &Arc<Hold>)> {
        let hash = name_hash(token.as_str());
        let mut candidates = self.by_token.range((hash, 0)..=(hash, u64::MAX));
        candidates.find_map(|(_, no)| self.get(*no).filter(|hold| hold.token == *token).map(|hold| (*no, hold)))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Arc<Hold>)> + '_ {
        self.chunks.values().flat_map(|chunk| chunk.iter().map(|(no, hold)| (*no, hold)))
    }

    fn index(&mut self, no: u64, hold: &Hold, there: bool) {
        let name = (name_hash(hold.token.as_str()), no);
        if there {
            self.by_token.insert(name);
            self.due.insert((hold.expires_at, no));
            self.len += 1;
        } else {
            self.by_token.remove(&name);
            self.due.remove(&(hold.expires_at, no));
            self.len -= 1;
        }
    }

    /// Puts, replaces or takes away a hold. Returns what was there.
    pub(super) fn set(&mut self, no: u64, hold: Option<Arc<Hold>>) -> Option<Arc<Hold>> {
        let old = self.get(no).cloned();
        if let Some(old) = &old {
            self.index(no, old, false);
        }
        let chunk = Arc::make_mut(self.chunks.entry(chunk_of(no)).or_default());
        match hold {
            Some(hold) => {
                chunk.insert(no, Arc::clone(&hold));
                self.index(no, &hold, true);
            }
            None => {
                chunk.remove(&no);
                if chunk.is_empty() {
                    self.chunks.remove(&chunk_of(no));
                }
            }
        }
        old
    }

    pub(super) fn next_due(&self) -> Option<Millis> {
        self.due.first().map(|(at, _)| *at)
    }

    /// All holds that are due at `clock`, in the order in which they expire.
    pub(super) fn all_due(&self, clock: Millis) -> Vec<u64> {
        let due = self.due.range(..=(clock, u64::MAX));
        let mut due: Vec<(Millis, &str, u64)> =
            due.filter_map(|(at, no)| Some((*at, self.get(*no)?.token.as_str(), *no))).collect();
        due.sort_unstable();
        due.into_iter().map(|(_, _, no)| no).collect()
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }
}
