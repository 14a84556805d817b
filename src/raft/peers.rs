//! What this node knows of itself and of the others: names, wall clocks, who answered lately, how old its state is.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;
use uuid::Uuid;

use super::wire::Card;
use super::{Timing, WallClock};
use crate::storage::identity::Identity;

/// A clock sample older than this says nothing any more.
pub(super) const OFFSET_FRESH: Duration = Duration::from_secs(10);
/// A clock whose way here and back took longer is not believed: the clock was read somewhere on that way, so a sample is
/// off by at most half of it. Whoever is paused on the way (a process stopped for seconds, a busy machine) makes such a
/// sample. Half of this is half of the slack that the contract states for "never early"; the same bound holds for late.
/// A new leader lacks nothing by it: the votes that made it leader, and then each heartbeat, are samples too. The time
/// of a leader that is paused and goes on is no sample at all: its stamps count monotonic time, and that went on.
pub(super) const WAY_MAX: Duration = Duration::from_millis(500);
/// A node that answered nothing for this long is shown as unreachable.
pub(super) const REACHABLE: Duration = Duration::from_secs(5);

/// This node.
pub(super) struct Me {
    pub(super) node_id: u64,
    pub(super) incarnation: Uuid,
    pub(super) cluster: RwLock<Option<Uuid>>,
    pub(super) version: String,
    pub(super) wall_clock: WallClock,
    pub(super) timing: Timing,
    removed: AtomicBool,
    /// Wakes whoever shows it.
    pub(super) removal: Notify,
}

impl Me {
    pub(super) fn new(identity: &Identity, version: String, wall_clock: WallClock, timing: Timing) -> Self {
        Self {
            node_id: identity.node_id,
            incarnation: identity.incarnation,
            cluster: RwLock::new(identity.cluster_id),
            version,
            wall_clock,
            timing,
            removed: AtomicBool::new(false),
            removal: Notify::new(),
        }
    }

    /// A node that nobody knows, which says it is of this cluster.
    #[cfg(test)]
    pub(super) fn stranger(&self, node_id: u64) -> Self {
        Self {
            node_id,
            incarnation: Uuid::new_v4(),
            cluster: RwLock::new(*self.cluster.read()),
            version: self.version.clone(),
            wall_clock: std::sync::Arc::clone(&self.wall_clock),
            timing: self.timing,
            removed: AtomicBool::new(false),
            removal: Notify::new(),
        }
    }

    /// Another node of the cluster said that this one was removed. It has that from the committed membership.
    pub(super) fn note_removed(&self) {
        if !self.removed.swap(true, Ordering::Relaxed) {
            self.removal.notify_one();
        }
    }

    pub(super) fn was_told_removed(&self) -> bool {
        self.removed.load(Ordering::Relaxed)
    }

    pub(super) fn card(&self) -> Card {
        Card {
            node_id: self.node_id,
            incarnation: self.incarnation,
            cluster: *self.cluster.read(),
            version: self.version.clone(),
        }
    }

    pub(super) fn wall_ms(&self) -> u64 {
        (self.wall_clock)()
    }
}

/// What was heard of the other nodes.
#[derive(Default)]
pub(super) struct Peers {
    known: Mutex<HashMap<u64, Known>>,
}

#[derive(Default, Clone)]
struct Known {
    /// Its wall clock minus ours, and when that was measured.
    offset: Option<(i64, Instant)>,
    heard: Option<Instant>,
    version: Option<String>,
}

impl Peers {
    /// Takes a sample: the peer's clock read `peer_wall_ms` somewhere between `sent` and now. There are no samples of
    /// one way only: how long a request was under way, nobody can tell.
    pub(super) fn note_clock(&self, id: u64, peer_wall_ms: u64, sent: Instant, now_wall_ms: u64) {
        let now = Instant::now();
        let way = now.saturating_duration_since(sent);
        let mut known = self.known.lock();
        let peer = known.entry(id).or_default();
        peer.heard = Some(now);
        if way > WAY_MAX {
            return;
        }
        let half = u64::try_from(way.as_millis() / 2).unwrap_or(u64::MAX);
        let middle = now_wall_ms.saturating_sub(half);
        let offset = i64::try_from(i128::from(peer_wall_ms) - i128::from(middle)).unwrap_or(0);
        peer.offset = Some((offset, now));
    }

    pub(super) fn note_version(&self, id: u64, version: String) {
        self.known.lock().entry(id).or_default().version = Some(version);
    }

    pub(super) fn offsets(&self) -> Vec<(u64, i64)> {
        let known = self.known.lock();
        let fresh = known.iter().filter_map(|(id, peer)| match peer.offset {
            Some((offset, at)) if at.elapsed() <= OFFSET_FRESH => Some((*id, offset)),
            _ => None,
        });
        let mut offsets: Vec<_> = fresh.collect();
        offsets.sort_unstable();
        offsets
    }

    /// Whether it answered lately, and which version it said it is.
    pub(super) fn status(&self, id: u64) -> (bool, Option<String>) {
        let known = self.known.lock().get(&id).cloned().unwrap_or_default();
        (known.heard.is_some_and(|at| at.elapsed() <= REACHABLE), known.version)
    }
}

/// How old the state of a follower can be, from what heartbeats say.
///
/// A heartbeat says: `age` before it was sent a quorum confirmed the leader, and up to `commit` everything is
/// committed. Once this node has applied `commit`, it misses nothing that was committed by then.
#[derive(Default)]
pub(super) struct Freshness {
    inner: Mutex<Fresh>,
}

#[derive(Default)]
struct Fresh {
    current_at: Option<Instant>,
    /// Commit index to be applied first, and the moment it then vouches for. Kept until reached, so that a stream of
    /// newer ones cannot put it off for ever.
    waiting: Option<(u64, Instant)>,
}

impl Freshness {
    pub(super) fn heartbeat(&self, commit: u64, age_ms: Option<u64>, applied: u64) {
        let Some(at) = age_ms.and_then(|age| Instant::now().checked_sub(Duration::from_millis(age))) else { return };
        let mut fresh = self.inner.lock();
        fresh.settle(applied);
        if fresh.waiting.is_none() {
            fresh.waiting = Some((commit, at));
            fresh.settle(applied);
        }
    }

    pub(super) fn staleness_ms(&self, applied: u64) -> Option<u64> {
        let mut fresh = self.inner.lock();
        fresh.settle(applied);
        fresh.current_at.map(|at| u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}

impl Fresh {
    fn settle(&mut self, applied: u64) {
        if let Some((commit, at)) = self.waiting
            && applied >= commit
        {
            self.current_at = self.current_at.max(Some(at));
            self.waiting = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALL_MS: u64 = 1_800_000_000_000;

    #[test]
    fn a_sample_made_over_a_pause_does_not_move_what_is_known() {
        let peers = Peers::default();
        let ago = |ms| Instant::now().checked_sub(Duration::from_millis(ms)).expect("the machine is up for seconds");
        // This node was stopped for two seconds right after the peer had read its clock, then right before.
        for early_or_late in [WALL_MS - 2_000, WALL_MS] {
            peers.note_clock(2, early_or_late, ago(2_000), WALL_MS);
            assert_eq!(peers.offsets(), [], "off by a second");
        }
        assert!(peers.status(2).0, "and yet it answered");
        peers.note_clock(2, WALL_MS + 7, ago(0), WALL_MS);
        peers.note_clock(2, WALL_MS - 2_000, ago(2_000), WALL_MS);
        assert_eq!(peers.offsets(), [(2, 7)]);
        // The worst that is believed stays well within 500 ms.
        peers.note_clock(2, WALL_MS, ago(450), WALL_MS);
        let (_, offset) = peers.offsets()[0];
        assert!((220..=250).contains(&offset), "{offset}");
    }
}
