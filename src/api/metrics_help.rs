//! What each metric says: its HELP line in `/metrics`, the unit in words.

use metrics::Unit;

/// Gauges: name and help.
const GAUGES: &[(&str, &str)] = &[
    ("lastseat_raft_term", "Term of Raft, a number that grows with each election."),
    ("lastseat_raft_is_leader", "1 if this node leads, else 0."),
    ("lastseat_raft_has_leader", "1 if this node knows a leader, else 0."),
    ("lastseat_raft_last_log_index", "Index of the last entry in the log of this node."),
    ("lastseat_raft_applied_index", "Index of the last entry applied to the state."),
    ("lastseat_raft_snapshot_index", "Index of the last entry that the newest snapshot covers."),
    ("lastseat_raft_quorum_ack_age_ms", "Leader only: milliseconds since a majority last confirmed it."),
    ("lastseat_start_replayed_entries", "Log entries replayed at the start of the process."),
    ("lastseat_persisted_index", "Index of the last entry whose effects are in the state on disk."),
    ("lastseat_persister_lag_entries", "Log entries applied and not yet in the state on disk."),
    ("lastseat_persister_lag_bytes", "Bytes of records that wait to be written to the state on disk."),
    ("lastseat_batcher_queued_commands", "Commands that wait to be proposed, those within batches too."),
    ("lastseat_batcher_queued_bytes", "Bytes of commands that wait to be proposed."),
    ("lastseat_wal_segments", "Files of the write-ahead log."),
    ("lastseat_wal_queued_bytes", "Bytes that wait to be written to the write-ahead log."),
    ("lastseat_revision", "Revision of the state, a number that grows with each change set."),
    ("lastseat_results_remembered", "Results remembered under their idempotency keys."),
    ("lastseat_stream_recent_changes", "Recent change sets kept in memory for streams."),
    ("lastseat_stream_recent_bytes", "Bytes of recent change sets kept in memory for streams."),
    ("lastseat_stream_topics", "Events that streams follow, and one if all of them are followed."),
    ("lastseat_stream_marks", "Marks by which a position is found in history."),
    ("lastseat_webhooks", "Webhooks, by state."),
    ("lastseat_webhook_lag_revisions", "Revisions that the webhook furthest behind still has to be told, by state."),
    (
        "lastseat_webhook_unreported_attempts",
        "Attempts to deliver that are not in the replicated log of deliveries yet.",
    ),
    ("lastseat_clock_skew_ms", "Milliseconds that this node's clock is ahead of the median of the voters."),
];

const COUNTERS: &[(&str, &str)] = &[
    ("lastseat_http_requests_total", "Requests answered, by route, method, status and problem code."),
    ("lastseat_webhook_attempts_total", "Attempts to deliver to webhooks, by what came of them."),
    ("lastseat_log_lines_lost_total", "Lines of the log that could not be written to stderr."),
    ("lastseat_wal_batches_total", "Writes to the write-ahead log, each flushed once."),
    ("lastseat_wal_records_total", "Records written to the write-ahead log."),
    ("lastseat_wal_bytes_total", "Bytes written to the write-ahead log."),
    ("lastseat_wal_segments_recycled_total", "Files of the write-ahead log used again."),
];

const SECONDS: &[(&str, &str)] = &[
    ("lastseat_http_request_duration_seconds", "Seconds from a request's headers to its answer."),
    ("lastseat_webhook_attempt_seconds", "Seconds that receivers of webhooks take."),
    ("lastseat_apply_seconds", "Seconds to apply one log entry."),
    ("lastseat_wal_fsync_seconds", "Seconds of one flush of the write-ahead log."),
    ("lastseat_persister_write_seconds", "Seconds of one write to the state on disk."),
];

/// Describes every metric of this program to the recorder, which has to be installed.
pub(super) fn describe() {
    for (name, help) in GAUGES {
        metrics::describe_gauge!(*name, *help);
    }
    for (name, help) in COUNTERS {
        metrics::describe_counter!(*name, *help);
    }
    for (name, help) in SECONDS {
        metrics::describe_histogram!(*name, Unit::Seconds, *help);
    }
    metrics::describe_histogram!("lastseat_entry_commands", Unit::Count, "Commands that share one log entry.");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where metrics are set.
    const SOURCES: [&str; 6] = [
        include_str!("metrics.rs"),
        include_str!("../service/members.rs"),
        include_str!("../service/batcher.rs"),
        include_str!("../raft/machine.rs"),
        include_str!("../storage/wal/writer.rs"),
        include_str!("../storage/state/persister.rs"),
    ];

    /// Streams describe their own.
    const OF_STREAMS: &str = include_str!("streams/meter.rs");

    #[test]
    fn every_metric_has_a_help() {
        let described: Vec<&str> = [GAUGES, COUNTERS, SECONDS].concat().into_iter().map(|(name, _)| name).collect();
        let mut seen = 0;
        for name in SOURCES.iter().flat_map(|source| source.split('"')).filter(|text| text.starts_with("lastseat_")) {
            let elsewhere = name == "lastseat_entry_commands" || OF_STREAMS.contains(name);
            assert!(described.contains(&name) || elsewhere, "{name} has no help");
            seen += 1;
        }
        assert!(seen > 20, "only {seen} metrics");
    }
}
