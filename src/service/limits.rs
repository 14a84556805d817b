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

/// A webhook's receiver has this long to answer one message.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// Of which this much to take the connection, and again as much to secure it.
pub const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Names looked up at a time. A lookup that hangs keeps its place, and its thread, until it ends.
pub const LOOKUPS_AT_ONCE_MAX: usize = 64;

/// After the first failure a webhook waits up to this long, after many up to the other.
pub const BACK_OFF_MIN: Duration = Duration::from_secs(1);
pub const BACK_OFF_MAX: Duration = Duration::from_secs(3_600);

/// Bytes read of what a receiver says, and of its headers; of more the connection is closed.
pub const RESPONSE_BYTES_MAX: usize = 64 << 10;

/// Bytes of the changes in one message: with its head it stays below 256 KiB.
pub const MESSAGE_CHANGES_BYTES_MAX: usize = 250 << 10;

/// Messages above this size share so many places; smaller ones wait for nobody.
pub const BIG_BODY_BYTES: usize = 16 << 10;
pub const BIG_BODIES_AT_ONCE_MAX: usize = 64;

/// Test messages and redeliveries under way at a time.
pub const ASKED_AT_ONCE_MAX: usize = 16;
/// What a request leaves of its time for the log when a message is sent within it.
pub const DECIDE_WITHIN: Duration = Duration::from_secs(1);

/// An idle connection to a receiver is kept for this long.
pub const LINE_IDLE_MAX: Duration = Duration::from_secs(30);

/// What was delivered is told to the replicated state this often, or after so many deliveries of one webhook; having
/// only passed over changes for others is told less often.
pub const REPORT_EVERY: Duration = Duration::from_secs(1);
pub const REPORT_DELIVERIES: usize = 100;
pub const REPORT_SKIPS_EVERY: Duration = Duration::from_secs(10);

/// With so many attempts that are not told yet a webhook waits: no more are repeated by the next leader.
pub const UNREPORTED_MAX: usize = 200;

/// A leader that no quorum confirmed for this long delivers nothing: there may be another one.
pub const LEADS_WITHIN_MS: u64 = 1_000;

/// Change sets, and changes in them, kept in memory for webhooks that are up to date.
pub const RECENT_SETS_MAX: usize = 1_024;
pub const RECENT_CHANGES_MAX: usize = 200_000;

/// Change sets read at a time for a webhook that is behind, and how many do so at a time.
pub const OLD_READ_SETS_MAX: usize = 64;
pub const OLD_READS_AT_ONCE_MAX: usize = 4;
