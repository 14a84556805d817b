//! Every bound of this room, in one place.

use std::time::Duration;

/// Change sets kept in history unless the node is told otherwise.
pub const HISTORY_CHANGES_DEFAULT: u64 = 1_000_000;
/// Days they are kept unless the node is told otherwise.
pub const HISTORY_DAYS_DEFAULT: u64 = 7;
pub const DAY_MS: u64 = 86_400_000;

/// Recent change sets in memory, and what they may weigh. Those not persisted yet stay beyond both: how far the persister
/// may be behind is bounded by admission.
pub const RING_CHANGES_MAX: usize = 16_384;
pub const RING_BYTES_MAX: usize = 32 << 20;
/// A node that keeps little history still keeps this many change sets in memory.
pub const RING_CHANGES_MIN: usize = 1_024;
/// Change sets dropped from the ring at each append: more than one, so that it shrinks, and few, because apply waits.
pub const RING_TRIM_AT_ONCE: usize = 4;

/// Recent change sets that a new topic begins with, so that readers who come back share their encoding.
pub const TOPIC_SEED_CHANGES: usize = 1_024;
/// Messages and weight of one block of a topic. One change set that is heavier is a block by itself.
pub const BLOCK_MESSAGES_MAX: usize = 512;
pub const BLOCK_BYTES_MAX: usize = 256 << 10;
/// A block that weighs more is encoded on a thread of its own.
pub const ENCODE_ASIDE_BYTES: usize = 128 << 10;

/// Change sets handed out under one hold of the hub's lock, which apply takes too.
pub const DISTRIBUTE_AT_ONCE: usize = 256;
/// Readers woken before everything else that waits for a thread gets its turn: a booking must not queue behind thousands
/// of readers.
pub const WAKE_TOGETHER: usize = 64;
/// A topic with up to this many readers wakes them at once.
pub const WAKE_AT_ONCE_READERS: usize = 200;
/// With more, it wakes them at most once in this time for each reader: 10 ms for 2,000. Each wake then brings more changes.
pub const WAKE_PER_READER: Duration = Duration::from_micros(5);
/// And at least this often, however many readers there are.
pub const WAKE_WITHIN: Duration = Duration::from_millis(100);

/// Reads of history under way, for all readers together. More wait.
pub const HISTORY_READS_MAX: usize = 4;
/// Change sets in one read while a reader catches up.
pub const CATCH_UP_CHANGES: u64 = 1_024;

/// An event has at most one mark in this many revisions.
pub const MARK_EVERY: u64 = 64;
/// The index by time has one entry in this many revisions; topics are tidied as often.
pub const TIME_EVERY: u64 = 1_024;
/// Marks dropped under one hold of the hub's lock.
pub const MARKS_DROPPED_AT_ONCE: usize = 256;
