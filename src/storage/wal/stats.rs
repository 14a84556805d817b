//! Counters for metrics.

/// Buckets of [`WalStats::batch_sizes`].
pub const BATCH_SIZE_BUCKETS: usize = 16;

/// What the log did since it was opened, and what it has. Taking a copy costs one short lock.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WalStats {
    /// Writes of batches, each followed by one sync.
    pub batches: u64,
    /// Data syncs of segments, and the time they took.
    pub fsyncs: u64,
    pub fsync_micros: u64,
    /// Records written, preambles included.
    pub records: u64,
    pub bytes: u64,
    /// Bucket `i` counts batches of at most 2^i records (the last one: any number).
    pub batch_sizes: [u64; BATCH_SIZE_BUCKETS],
    /// Files that hold the log now, and those ready to become part of it.
    pub segments: u64,
    pub spares: u64,
    /// Segments that were kept for reuse after a purge, and those begun.
    pub recycled: u64,
    pub begun: u64,
    /// Waiting for the writer.
    pub queued_records: u64,
    pub queued_bytes: u64,
}

impl WalStats {
    pub(super) fn count_batch(&mut self, records: u64, bytes: u64, fsync_micros: u64) {
        self.batches += 1;
        self.fsyncs += 1;
        self.fsync_micros += fsync_micros;
        self.records += records;
        self.bytes += bytes;
        let bucket = records.max(1).next_power_of_two().trailing_zeros() as usize;
        self.batch_sizes[bucket.min(BATCH_SIZE_BUCKETS - 1)] += 1;
    }
}
