//! Every bound of this room, in one place. Past a bound: a clear refusal before propose, never a longer queue.

use std::time::Duration;

/// Commands waiting for the batcher, those within batches too. More are shed with `overloaded`. About a second's work:
/// what is let in is decided well within a request's deadline.
pub const QUEUE_COMMANDS_MAX: usize = 32_768;

/// The same in encoded bytes.
pub const QUEUE_BYTES_MAX: usize = 32 << 20;

/// Independent batches together may take this part of both: a half. The largest one fits.
pub const QUEUE_BATCH_SHARE: usize = 2;

/// Commands in one log entry.
pub const ENTRY_REQUESTS_MAX: usize = 256;

/// Encoded bytes of commands in one log entry. A bigger command travels in an entry of its own.
pub const ENTRY_BYTES_MAX: usize = 64 << 10;

/// Log entries proposed and not yet answered.
pub const ENTRIES_IN_FLIGHT_MAX: usize = 16;

/// Encoded bytes of one command.
pub const COMMAND_BYTES_MAX: usize = 64 << 10;

/// Encoded bytes of an atomic batch, which is one command.
pub const ATOMIC_BATCH_BYTES_MAX: usize = 1 << 20;

/// Encoded bytes of one staged part of a definition.
pub const STAGE_PART_BYTES_MAX: usize = 256 << 10;

/// Staged parts proposed and not yet answered: few, so that sales pass between them.
pub const STAGE_PARTS_IN_FLIGHT_MAX: usize = 2;

/// Definitions staged at a time by one node. More wait, within their deadline.
pub const DEFINITIONS_AT_ONCE_MAX: usize = 2;

/// Commands in one slice of an independent batch.
pub const SLICE_COMMANDS_MAX: usize = 256;

/// How far the persister may be behind apply before new commands are shed.
pub const PERSISTER_LAG_ENTRIES_MAX: u64 = 200_000;
pub const PERSISTER_LAG_BYTES_MAX: u64 = 512 << 20;

/// What a shed client is told to wait.
pub const RETRY_AFTER_OVERLOADED: Duration = Duration::from_millis(200);
/// About one election.
pub const RETRY_AFTER_NO_LEADER: Duration = Duration::from_millis(500);

/// How often the leader looks whether a hold is due, and housekeeping looks at gauges.
pub const TICK_EVERY: Duration = Duration::from_millis(100);

/// A node whose wall clock is further from the median than this shows it and hands leadership away.
pub const CLOCK_SKEW_MAX_MS: i64 = 500;

/// How long one attempt to hand leadership away may take, and the pause after it.
pub const TRANSFER_WITHIN: Duration = Duration::from_secs(2);
