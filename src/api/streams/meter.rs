//! What a stream is counted by, from its first byte to its end.

use std::time::Instant;

use metrics::{Counter, Histogram, Unit};
use tokio::sync::OwnedSemaphorePermit;

use super::super::request::RequestId;
use super::wish::Transport;

const OPEN: &str = "lastseat_streams_open";
const MESSAGES: &str = "lastseat_stream_messages_total";
const ENDED: &str = "lastseat_streams_ended_total";
const DELIVERY: &str = "lastseat_stream_delivery_seconds";

/// Why a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The client went away, or took nothing for too long.
    Client,
    /// The node stops.
    Stopping,
    /// The client was too slow.
    Lagged,
    /// The event was deleted.
    Deleted,
}

impl End {
    fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Stopping => "stopping",
            Self::Lagged => "lagged",
            Self::Deleted => "deleted",
        }
    }
}

pub(in crate::api) fn describe_metrics() {
    metrics::describe_gauge!(OPEN, "Streams open, by kind.");
    metrics::describe_counter!(MESSAGES, "Changes handed to streams, by kind.");
    metrics::describe_counter!(ENDED, "Streams ended, by kind and reason.");
    metrics::describe_histogram!(DELIVERY, Unit::Seconds, "Time from apply to a stream that was up to date.");
    metrics::describe_counter!(
        "lastseat_stream_catch_up_reads_total",
        "Reads of streams that were behind, from memory or from history."
    );
}

/// Counts one stream. Its end is noted when this is dropped.
pub(super) struct StreamMeter {
    _room: OwnedSemaphorePermit,
    route: &'static str,
    kind: &'static str,
    request_id: RequestId,
    started: Instant,
    sent: u64,
    messages: Counter,
    delivery: Histogram,
    pub(super) end: End,
}

impl StreamMeter {
    pub(super) fn new(
        room: OwnedSemaphorePermit,
        route: &'static str,
        transport: Transport,
        request_id: RequestId,
    ) -> Self {
        let kind = match transport {
            Transport::Sse => "sse",
            Transport::Lines => "ndjson",
            Transport::Socket => "websocket",
        };
        metrics::gauge!(OPEN, "kind" => kind).increment(1.0);
        Self {
            _room: room,
            route,
            kind,
            request_id,
            started: Instant::now(),
            sent: 0,
            messages: metrics::counter!(MESSAGES, "kind" => kind),
            delivery: metrics::histogram!(DELIVERY),
            end: End::Client,
        }
    }

    /// So many changes go out. `applied`: when the first of them was, if this stream was waiting for it.
    pub(super) fn count(&mut self, changes: usize, applied: Option<Instant>) {
        self.sent += changes as u64;
        self.messages.increment(changes as u64);
        if let Some(applied) = applied {
            self.delivery.record(applied.elapsed());
        }
    }
}

impl Drop for StreamMeter {
    fn drop(&mut self) {
        let end = self.end.name();
        metrics::gauge!(OPEN, "kind" => self.kind).decrement(1.0);
        metrics::counter!(ENDED, "kind" => self.kind, "end" => end).increment(1);
        let duration_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::debug!(
            target: "lastseat::access",
            route = self.route,
            kind = self.kind,
            end,
            duration_ms,
            changes = self.sent,
            request_id = self.request_id.as_str(),
            "stream ended"
        );
    }
}
