//! Room for what comes in on the peer port: who may have how much of this node's memory before it is known to be right.
//!
//! Members of the cluster and strangers have separate room, so that whoever is not known takes nothing from those who are.
//! A stranger may be a member that this node has not heard of yet, the leader even: it gets little, but enough to tell.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::AsyncRead;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::log_store::APPEND_BYTES_MAX;
use super::wire::{self, Lane};
use crate::storage::wal::ENTRY_BYTES_MAX;

/// Bytes of messages from members held at a time, over all connections, from before they are read until they are handed
/// on. Forwarded requests have room of their own.
const MEMBERS_BYTES_MAX: usize = 112 << 20;
/// The same of strangers.
const STRANGERS_BYTES_MAX: usize = 16 << 20;
/// Longest message of a stranger: the append of a leader that this node does not know yet.
const STRANGER_FRAME_BYTES_MAX: usize = APPEND_BYTES_MAX + ENTRY_BYTES_MAX + (64 << 10);
/// The same refusal is logged once in this time.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);
/// Different refusals remembered for that.
const REFUSALS_KNOWN_MAX: usize = 64;
/// Connections of strangers at a time.
pub(super) const STRANGERS_MAX: usize = 32;
/// Longest wait for room and then for the rest of a message.
const MEMBER_FRAME_WITHIN: Duration = Duration::from_secs(15);
const STRANGER_FRAME_WITHIN: Duration = Duration::from_secs(3);

/// What this node knows of who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Its id and incarnation are in the membership.
    Member,
    Stranger,
}

impl Standing {
    pub(super) fn frame_bytes_max(self, lane: Lane) -> usize {
        match self {
            Standing::Member => lane.frame_bytes_max(),
            Standing::Stranger => lane.frame_bytes_max().min(STRANGER_FRAME_BYTES_MAX),
        }
    }
}

/// The share of one standing.
pub(super) struct Share {
    pub(super) bytes: Arc<Semaphore>,
    within: Duration,
}

impl Share {
    fn new(bytes: usize, within: Duration) -> Self {
        Self { bytes: Arc::new(Semaphore::new(bytes)), within }
    }
}

/// Bytes of messages that may be held.
pub(super) struct Room {
    pub(super) members: Share,
    pub(super) strangers: Share,
    /// Connections of strangers.
    pub(super) places: Arc<Semaphore>,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            members: Share::new(MEMBERS_BYTES_MAX, MEMBER_FRAME_WITHIN),
            strangers: Share::new(STRANGERS_BYTES_MAX, STRANGER_FRAME_WITHIN),
            places: Arc::new(Semaphore::new(STRANGERS_MAX)),
        }
    }
}

impl Room {
    /// Reads the body of a message once there is room for it; the room is taken until the permit is dropped. An error
    /// `TimedOut` ends the connection: there was no room, or the rest of the message did not come.
    pub(super) async fn read(
        &self,
        from: &mut (impl AsyncRead + Unpin),
        standing: Standing,
        length: usize,
    ) -> io::Result<(Bytes, OwnedSemaphorePermit)> {
        let share = match standing {
            Standing::Member => &self.members,
            Standing::Stranger => &self.strangers,
        };
        let read = async {
            let bytes = u32::try_from(length).map_err(io::Error::other)?;
            let taken = Arc::clone(&share.bytes).acquire_many_owned(bytes).await.map_err(io::Error::other)?;
            Ok((wire::read_body(from, length).await?, taken))
        };
        tokio::time::timeout(share.within, read).await.unwrap_or_else(|_| {
            Err(io::Error::new(io::ErrorKind::TimedOut, format!("a message of {length} bytes did not come in time")))
        })
    }
}

/// The newest connection of each peer and lane. A peer that opens another has given up the one before, and the network
/// may have lost the news of its end.
#[derive(Default)]
pub(super) struct Guests {
    newest: Mutex<HashMap<(u64, Lane), (u64, CancellationToken)>>,
    next: AtomicU64,
    /// Why someone was refused, and when that was logged.
    refused: Mutex<HashMap<String, Instant>>,
}

/// A connection's place among the newest; free again when this is dropped.
pub(super) struct Guest<'a> {
    guests: &'a Guests,
    key: (u64, Lane),
    number: u64,
    /// Another connection has taken its place.
    pub(super) replaced: CancellationToken,
}

impl Guests {
    /// Ends the connection before.
    pub(super) fn newest(&self, from: u64, lane: Lane) -> Guest<'_> {
        let (key, number) = ((from, lane), self.next.fetch_add(1, Ordering::Relaxed));
        let replaced = CancellationToken::new();
        if let Some((_, before)) = self.newest.lock().insert(key, (number, replaced.clone())) {
            before.cancel();
        }
        Guest { guests: self, key, number, replaced }
    }

    /// Whether this refusal is to be logged: the first of its kind, then one in [`COMPLAIN_EVERY`].
    pub(super) fn complains(&self, why: &str) -> bool {
        let mut refused = self.refused.lock();
        if refused.get(why).is_some_and(|at| at.elapsed() < COMPLAIN_EVERY) {
            return false;
        }
        if refused.len() >= REFUSALS_KNOWN_MAX {
            refused.clear();
        }
        refused.insert(why.to_owned(), Instant::now());
        true
    }

    #[cfg(test)]
    pub(super) fn from(&self, id: u64) -> usize {
        self.newest.lock().keys().filter(|(from, _)| *from == id).count()
    }
}

impl Drop for Guest<'_> {
    fn drop(&mut self) {
        let mut newest = self.guests.newest.lock();
        if newest.get(&self.key).is_some_and(|(number, _)| *number == self.number) {
            newest.remove(&self.key);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn small() -> Room {
        let share = || Share::new(100, Duration::from_millis(50));
        Room { members: share(), strangers: share(), places: Arc::new(Semaphore::new(1)) }
    }

    #[tokio::test]
    async fn a_message_waits_for_room_and_not_for_ever() {
        let (room, bytes) = (small(), [7; 60]);
        let (body, held) = room.read(&mut &bytes[..], Standing::Stranger, 60).await.unwrap();
        assert_eq!(body, &bytes[..]);
        let late = room.read(&mut &bytes[..], Standing::Stranger, 60).await.unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        drop(room.read(&mut &bytes[..], Standing::Member, 60).await.unwrap());
        drop(held);
        drop(room.read(&mut &bytes[..], Standing::Stranger, 60).await.unwrap());
    }

    #[tokio::test]
    async fn half_a_message_gives_its_room_back() {
        let room = small();
        let (mut near, mut far) = tokio::io::duplex(100);
        tokio::io::AsyncWriteExt::write_all(&mut far, &[7; 30]).await.unwrap();
        let half = room.read(&mut near, Standing::Stranger, 60).await.unwrap_err();
        assert_eq!(half.kind(), io::ErrorKind::TimedOut);
        assert_eq!(room.strangers.bytes.available_permits(), 100);
    }

    #[test]
    fn only_the_newest_connection_of_a_peer_is_remembered_and_only_while_it_lasts() {
        let guests = Guests::default();
        let first = guests.newest(7, Lane::Append);
        let second = guests.newest(7, Lane::Append);
        assert!(first.replaced.is_cancelled() && !second.replaced.is_cancelled());
        drop(first);
        assert_eq!(guests.from(7), 1, "the second is still there");
        drop(second);
        assert_eq!(guests.from(7), 0);
    }
}
