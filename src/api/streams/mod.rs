//! Change streams over HTTP: Server-Sent Events, JSON lines, WebSockets.
//!
//! ```text
//!  request ─▶ wish (query, headers) ─▶ permit to read ─▶ join topic ─▶ look at the state ─▶ reader
//!                                                                                             │
//!                 HTTP body or WebSocket ◀── feed: snapshot, synced, then changes, bookmarks ◀┘
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `wish` | what a client asks for |
//! | `message` | what goes out, in both formats |
//! | `feed` | one stream: what comes next, and when |
//! | `snapshot`, `latest` | a state in pieces; many changes made into one |
//! | `socket` | the WebSocket around a feed |
//! | `meter` | what a stream is counted by, to its end |

mod feed;
mod latest;
mod message;
mod meter;
mod snapshot;
mod socket;
mod wish;

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::Response;

use super::Api;
use super::events::no_event;
use super::problem::{Problem, ProblemBody, ProblemCode};
use super::reading::ReadHeaders;
use super::reply::Reply;
use super::request::Call;
use super::wire::Name;
use crate::domain::id::EventId;
use crate::service::{NoLeader, ReadError};
use crate::watch::{Joined, Point, StartError, Subject};
use feed::Feed;
use message::{EventStreamLine, GroupStreamLine};
use meter::StreamMeter;
use snapshot::Snapshot;
use wish::{From, LastEventId, StreamQuery, Transport, Wish};

pub(super) use meter::describe_metrics;

/// Streams open at a time on one node.
pub const STREAMS_MAX: usize = 20_000;
/// What a client is told to wait that found no room, or a node whose history is not indexed yet.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Says to proxies that they must not hold back what comes.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The changes of one event as they happen, or from a position on. With `Upgrade: websocket` the same lines as text
/// frames.
#[utoipa::path(
    get, path = "/v1/events/{event}/changes", tag = "streams",
    params(("event" = Name, Path), StreamQuery, LastEventId, ReadHeaders),
    responses(
        (status = 200, description = "`text/event-stream` unless `Accept` says `application/x-ndjson`: then one message a \
         line. The type of a message is the name of the SSE event, its position the id.",
         content((EventStreamLine = "application/x-ndjson"), (String = "text/event-stream"))),
        (status = 101, description = "The same lines as text frames of a WebSocket"),
        (status = 410, description = "`compacted`: changes after this position are no longer kept; `oldest` is the lowest \
         one may give", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "No stream", body = ProblemBody, content_type = "application/problem+json")
    )
)]
pub(super) async fn event(State(api): State<Api>, call: Call) -> Reply {
    let event: EventId = call.id("event")?;
    open(api, call, Subject::Event(event), "/v1/events/{event}/changes").await
}

/// The changes of all events, one message for each revision.
#[utoipa::path(
    get, path = "/v1/changes", tag = "streams",
    params(StreamQuery, LastEventId, ReadHeaders),
    responses(
        (status = 200, description = "As on the stream of one event, with `revision` as the position",
         content((GroupStreamLine = "application/x-ndjson"), (String = "text/event-stream"))),
        (status = 101, description = "The same lines as text frames of a WebSocket"),
        (status = 410, description = "`compacted`: changes after this position are no longer kept; `oldest` is the lowest \
         one may give", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "No stream", body = ProblemBody, content_type = "application/problem+json")
    )
)]
pub(super) async fn group(State(api): State<Api>, call: Call) -> Reply {
    open(api, call, Subject::Group, "/v1/changes").await
}

async fn open(api: Api, mut call: Call, subject: Subject, route: &'static str) -> Reply {
    let query: StreamQuery = call.query()?;
    let wish = Wish::of(&query, &call)?;
    let socket = match wish.transport {
        Transport::Socket => Some(call.socket().await?),
        Transport::Sse | Transport::Lines => None,
    };
    let room = api.0.streams.clone().try_acquire_owned().map_err(|_| no_room())?;
    let permit = api.permit(&call, query.consistency, query.min_revision).await?;
    let hub = api.service().hub();
    if !hub.ready(call.deadline()?).await {
        let retry_after_ms = u64::try_from(RETRY_AFTER.as_millis()).expect("a second");
        return Err(ReadError::NoLeader { retry_after_ms, why: NoLeader::Recovering }.into());
    }
    // The topic first, then the state: nothing that comes after the state is missed.
    let joined = hub.join(subject.clone());
    let (reader, snapshot) = begin(&api, &subject, joined, &wish)?;
    let meter = StreamMeter::new(room, route, wish.transport, call.request_id.clone());
    let feed = Feed::new(api.clone(), subject, reader, snapshot, &wish, meter);
    let response = match socket {
        Some(upgrade) => socket::accept(&api, upgrade, feed),
        None => body(feed, wish.transport),
    };
    Ok(permit.on(response))
}

/// A reader at the place that was asked for, and the state before it if that was asked for too.
fn begin(
    api: &Api,
    subject: &Subject,
    joined: Joined,
    wish: &Wish,
) -> Result<(crate::watch::Reader, Option<Snapshot>), Problem> {
    if let From::Snapshot { or_after } = wish.from {
        let now = look(api, subject)?;
        match or_after {
            // A client that has lost its connection goes on, if that is possible.
            Some(after) if joined.check(after, now).is_ok() => return start(joined, after, now).map(|r| (r, None)),
            Some(_) | None => {
                let (snapshot, now) = Snapshot::take(api, subject)?;
                return start(joined, now.position, now).map(|reader| (reader, Some(snapshot)));
            }
        }
    }
    let now = look(api, subject)?;
    let after = match wish.from {
        From::After(position) => position,
        From::Now | From::Snapshot { .. } => now.position,
    };
    start(joined, after, now).map(|reader| (reader, None))
}

fn start(joined: Joined, after: u64, now: Point) -> Result<crate::watch::Reader, Problem> {
    joined.start(after, now).map_err(|failed| match failed {
        StartError::Compacted { oldest } => Problem::compacted(oldest),
        StartError::Future { newest } => Problem::invalid(format!(
            "Position {after} is in the future: the newest is {newest}. Go on from a position that a stream has given."
        )),
    })
}

/// Where the subject stands.
fn look(api: &Api, subject: &Subject) -> Result<Point, Problem> {
    api.service().inspect(|inventory| {
        let revision = inventory.revision().0;
        match subject {
            Subject::Group => Ok(Point { position: revision, revision }),
            Subject::Event(event) => match inventory.version(event) {
                Some(version) => Ok(Point { position: version.0, revision }),
                None => Err(no_event(event, revision)),
            },
        }
    })
}

fn no_room() -> Problem {
    let retry_after_ms = u64::try_from(RETRY_AFTER.as_millis()).expect("a second");
    Problem::new(
        ProblemCode::Overloaded,
        format!("This node has {STREAMS_MAX} streams open and takes no more; try another node."),
    )
    .retry_after_ms(retry_after_ms)
}

/// The stream as the body of a response.
fn body(feed: Feed, transport: Transport) -> Response {
    let chunks = futures_util::stream::unfold(feed, |mut feed| async move {
        let bytes = feed.next().await?;
        Some((Ok::<_, Infallible>(bytes), feed))
    });
    let mut response = Response::new(Body::from_stream(chunks));
    let kind = match transport {
        Transport::Sse => "text/event-stream",
        Transport::Lines | Transport::Socket => "application/x-ndjson",
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
    response
}
