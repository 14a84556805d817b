//! What a client asks for.

use std::time::Duration;

use axum::http::header;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::super::problem::Problem;
use super::super::reading::WireConsistency;
use super::super::request::Call;

/// Bounds of `interval_ms`, and what it is if left out.
pub(super) const INTERVAL_MS_MIN: u64 = 50;
pub(super) const INTERVAL_MS_MAX: u64 = 60_000;
pub(super) const INTERVAL_MS_DEFAULT: u64 = 1_000;

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct StreamQuery {
    /// Go on after this position; the header `Last-Event-ID` wins. From now on if neither is given.
    after: Option<u64>,
    /// First the whole state, then `synced`, then the changes after it. Not together with `after`. A `Last-Event-ID`
    /// that can still be gone on from comes before it, so that a browser which reconnects does not start anew.
    snapshot: Option<bool>,
    /// `log` if left out.
    #[param(inline)]
    mode: Option<WireMode>,
    /// `mode=latest`: at most one message in this time. 1,000 if left out.
    #[param(minimum = 50, maximum = 60000)]
    interval_ms: Option<u64>,
    #[param(inline)]
    pub(super) consistency: Option<WireConsistency>,
    /// Waits until the node has applied this revision.
    pub(super) min_revision: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum WireMode {
    /// Every change.
    Log,
    /// The newest state of what changed, now and then.
    Latest,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code, reason = "only a schema: `Call::last_event_id` reads it")]
pub(super) struct LastEventId {
    /// The same as `after`, and wins over it.
    #[param(rename = "Last-Event-ID", required = false)]
    last_event_id: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    Sse,
    Lines,
    Socket,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    Now,
    After(u64),
    Snapshot { or_after: Option<u64> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) transport: Transport,
    pub(super) from: From,
    /// `mode=latest`: the shortest time between two messages.
    pub(super) latest: Option<Duration>,
}

impl Wish {
    pub(super) fn of(query: &StreamQuery, call: &Call) -> Result<Self, Problem> {
        let transport = match call.wants_socket() {
            true => Transport::Socket,
            false => accepted(call),
        };
        Ok(Self { transport, from: from(query, call.last_event_id()?)?, latest: latest(query)? })
    }
}

fn from(query: &StreamQuery, last_event_id: Option<u64>) -> Result<From, Problem> {
    match (query.snapshot == Some(true), query.after, last_event_id) {
        (true, Some(_), _) => Err(Problem::invalid(
            "Query parameters snapshot and after exclude each other: a snapshot is newer than any position; give one.",
        )),
        (true, None, or_after) => Ok(From::Snapshot { or_after }),
        // A browser that reconnects asks for the address it was given and says how far it has come since.
        (false, _, Some(after)) | (false, Some(after), None) => Ok(From::After(after)),
        (false, None, None) => Ok(From::Now),
    }
}

fn latest(query: &StreamQuery) -> Result<Option<Duration>, Problem> {
    match (query.mode.unwrap_or(WireMode::Log), query.interval_ms) {
        (WireMode::Log, None) => Ok(None),
        (WireMode::Log, Some(_)) => {
            Err(Problem::invalid("Query parameter interval_ms goes with mode=latest; leave it out, or set the mode."))
        }
        (WireMode::Latest, None) => Ok(Some(Duration::from_millis(INTERVAL_MS_DEFAULT))),
        (WireMode::Latest, Some(ms @ INTERVAL_MS_MIN..=INTERVAL_MS_MAX)) => Ok(Some(Duration::from_millis(ms))),
        (WireMode::Latest, Some(ms)) => Err(Problem::invalid(format!(
            "Query parameter interval_ms is {ms}; give {INTERVAL_MS_MIN} to {INTERVAL_MS_MAX}."
        ))),
    }
}

/// JSON lines if the client names them before anything else we have.
fn accepted(call: &Call) -> Transport {
    let given = call.headers().get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let kinds = given.flat_map(|list| list.split(',')).map(|one| one.split(';').next().unwrap_or_default().trim());
    let known = kinds.filter_map(|kind| match kind.to_ascii_lowercase().as_str() {
        "application/x-ndjson" => Some(Transport::Lines),
        "text/event-stream" => Some(Transport::Sse),
        _ => None,
    });
    known.into_iter().next().unwrap_or(Transport::Sse)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(after: Option<u64>, snapshot: Option<bool>) -> StreamQuery {
        StreamQuery { after, snapshot, ..StreamQuery::default() }
    }

    #[test]
    fn where_a_stream_begins() {
        let ask = |after, snapshot, last| from(&query(after, snapshot), last).map_err(|problem| problem.status());
        assert_eq!(ask(None, None, None), Ok(From::Now));
        assert_eq!(ask(Some(3), Some(false), None), Ok(From::After(3)));
        assert_eq!(ask(None, None, Some(4)), Ok(From::After(4)));
        assert_eq!(ask(Some(4), None, Some(4)), Ok(From::After(4)));
        assert_eq!(ask(Some(3), None, Some(4)), Ok(From::After(4)));
        assert_eq!(ask(None, Some(true), None), Ok(From::Snapshot { or_after: None }));
        assert_eq!(ask(None, Some(true), Some(4)), Ok(From::Snapshot { or_after: Some(4) }));
        assert_eq!(ask(Some(0), Some(true), None), Err(422));
    }

    #[test]
    fn how_often_a_merged_stream_speaks() {
        let ask = |mode, interval_ms| {
            latest(&StreamQuery { mode, interval_ms, ..StreamQuery::default() }).map_err(|problem| problem.status())
        };
        assert_eq!(ask(None, None), Ok(None));
        assert_eq!(ask(Some(WireMode::Latest), None), Ok(Some(Duration::from_secs(1))));
        assert_eq!(ask(Some(WireMode::Latest), Some(50)), Ok(Some(Duration::from_millis(50))));
        assert_eq!(ask(Some(WireMode::Latest), Some(49)), Err(422));
        assert_eq!(ask(Some(WireMode::Latest), Some(60_001)), Err(422));
        assert_eq!(ask(Some(WireMode::Log), Some(1_000)), Err(422));
    }
}
