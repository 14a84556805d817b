//! Following changes: one stream after the other, each going on where the last one ended, on whichever node takes it.
//!
//! ```text
//! connect ─▶ snapshot* ─▶ synced ─▶ change* ── broken, silent, lagged ──▶ next node, after the last position
//!    │                                                                       │ with jitter, longer each round
//!    └── 410: that position is no longer kept ─▶ reset, and a snapshot ◀─────┘
//! ```
//!
//! Invariant: a position is given once, and after it the next; or [`WatchBody::Reset`] says to begin anew.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::header::{ACCEPT, HeaderValue};
use http::{HeaderMap, Method};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::Value;

use crate::call::{jittered, problem_of, retry_after};
use crate::client::{Client, event_path};
use crate::read::ReadError;
use crate::transport::Failure;

/// A node that does not begin a stream within this is passed over.
const OPEN_WITHIN: Duration = Duration::from_secs(8);
/// A stream that is silent for longer is dead: a node says where it is every 5 s.
const SILENCE_MAX: Duration = Duration::from_secs(12);
/// Wait after every node was tried in vain, doubled each round up to the maximum.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// Longest line read.
const LINE_BYTES_MAX: usize = 64 << 20;

/// What to follow, and from where. [`Watch::open`] it.
#[must_use = "nothing is followed until it is opened"]
pub struct Watch {
    client: Client,
    path: String,
    position: Option<u64>,
    snapshot: bool,
    latest: Option<Duration>,
}

impl Watch {
    /// Goes on after this position.
    pub fn after(mut self, position: u64) -> Self {
        self.position = Some(position);
        self
    }

    /// First the whole state.
    pub fn snapshot(mut self) -> Self {
        self.snapshot = true;
        self
    }

    /// The newest state of what changed, at most once in this time (50 ms to 60 s), instead of every change.
    pub fn latest(mut self, interval: Duration) -> Self {
        self.latest = Some(interval);
        self
    }

    /// Nothing is sent before the first [`Changes::next`].
    pub fn open(self) -> Changes {
        let node = self.client.inner.first_node();
        Changes {
            snapshot: self.snapshot,
            watch: self,
            node,
            tried: 0,
            body: None,
            buffer: BytesMut::new(),
            parts: 0,
            given: VecDeque::new(),
            ended: false,
        }
    }

    fn path(&self, snapshot: bool) -> String {
        let mut path = self.path.clone();
        let mut sign = '?';
        let mut add = |name: &str, value: String| {
            path.push_str(&format!("{sign}{name}={value}"));
            sign = '&';
        };
        match (snapshot, self.position) {
            (true, _) => add("snapshot", "true".into()),
            (false, Some(position)) => add("after", position.to_string()),
            (false, None) => {}
        }
        if let Some(interval) = self.latest {
            add("mode", "latest".into());
            add("interval_ms", interval.as_millis().to_string());
        }
        path
    }
}

impl Client {
    /// Follows the changes of one event; positions are its versions.
    pub fn watch(&self, event: &str) -> Watch {
        self.watch_path(event_path(event, "/changes"))
    }

    /// Follows the changes of all events; positions are revisions.
    pub fn watch_all(&self) -> Watch {
        self.watch_path("/v1/changes".into())
    }

    fn watch_path(&self, path: String) -> Watch {
        Watch { client: self.clone(), path, position: None, snapshot: false, latest: None }
    }
}

/// One message of a stream.
#[derive(Debug, Clone, PartialEq)]
pub struct WatchMessage {
    /// Where the stream is with this message; give it to [`Watch::after`] to go on. `None` in a snapshot, and in all but
    /// the last part of a change.
    pub position: Option<u64>,
    pub body: WatchBody,
    /// As the server wrote it.
    pub line: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub enum WatchBody {
    /// A snapshot follows: forget what you have.
    Reset,
    /// A piece of the state.
    Snapshot(Snapshot),
    /// The state is complete.
    Synced,
    Change(Change),
    /// Nothing new up to this position.
    Bookmark,
}

/// What one change set did. On the stream of one event, `events` has that one.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Change {
    pub revision: u64,
    pub at: String,
    pub cause: String,
    #[serde(default)]
    pub events: Vec<EventChange>,
    /// Which part of a change that is too big for one message.
    pub part: Option<u64>,
    pub parts: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct EventChange {
    pub event: String,
    pub version: u64,
    pub changes: Vec<ItemChange>,
    pub totals: Totals,
}

/// The new state of a seat or pool.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum ItemChange {
    /// `free`, `held`, `booked`, `blocked` or `removed`.
    Seat {
        seat: String,
        status: String,
    },
    Pool {
        pool: String,
        #[serde(flatten)]
        totals: Totals,
    },
    PoolRemoved {
        pool: String,
    },
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct Totals {
    pub capacity: u64,
    pub held: u64,
    pub booked: u64,
    pub blocked: u64,
    pub available: u64,
}

/// A piece of the state of an event.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Snapshot {
    pub event: String,
    pub version: u64,
    pub revision: u64,
    pub seats: Vec<crate::types::Seat>,
    pub pools: Vec<crate::types::Pool>,
    pub totals: Totals,
}

/// Changes as they come. Lives as long as you want to follow.
pub struct Changes {
    watch: Watch,
    /// The next stream begins with a snapshot.
    snapshot: bool,
    node: usize,
    /// Nodes tried in vain since the last stream.
    tried: usize,
    body: Option<Incoming>,
    buffer: BytesMut,
    /// Parts given of the position after `watch.position`.
    parts: u64,
    given: VecDeque<WatchMessage>,
    ended: bool,
}

impl Changes {
    /// Where it is: everything up to here was given.
    pub fn position(&self) -> Option<u64> {
        self.watch.position
    }

    /// The next message. Comes back from every failure by itself, however long that takes.
    ///
    /// `None`: the event was deleted. `Err`: the cluster refused for good, such as `event_not_found`. May be given up at any
    /// moment and called again.
    pub async fn next(&mut self) -> Option<Result<WatchMessage, ReadError>> {
        loop {
            if let Some(message) = self.given.pop_front() {
                return Some(Ok(message));
            }
            if self.ended {
                return None;
            }
            if let Some(line) = self.line() {
                match self.read(&line) {
                    Some(message) => return Some(Ok(message)),
                    None => continue,
                }
            }
            let Some(body) = &mut self.body else {
                match self.connect().await {
                    Ok(()) => continue,
                    Err(refused) => {
                        self.ended = true;
                        return Some(Err(refused));
                    }
                }
            };
            match tokio::time::timeout(SILENCE_MAX, body.frame()).await {
                Ok(Some(Ok(frame))) if self.buffer.len() <= LINE_BYTES_MAX => {
                    self.buffer.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new()));
                }
                // Ended, broken, silent, or nothing that a node would say.
                Ok(Some(Ok(_) | Err(_)) | None) | Err(_) => self.hang_up(),
            }
        }
    }

    fn hang_up(&mut self) {
        self.body = None;
        self.buffer.clear();
        self.node += 1;
    }

    /// One attempt, after a wait if every node was tried. `Ok`: try what there is to read.
    async fn connect(&mut self) -> Result<(), ReadError> {
        let inner = self.watch.client.inner.clone();
        if self.tried > 0 && self.tried.is_multiple_of(inner.nodes.len()) {
            let rounds = u32::try_from(self.tried / inner.nodes.len()).unwrap_or(u32::MAX).min(6);
            tokio::time::sleep(jittered((BACKOFF_MIN * (1 << (rounds - 1))).min(BACKOFF_MAX))).await;
        }
        self.tried += 1;
        let uri = inner.uri(self.node, &self.watch.path(self.snapshot));
        let uri = uri.map_err(|error| ReadError::Unreachable(error.to_string()))?;
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/x-ndjson"))]);
        match inner.transport.open(&Method::GET, uri, &headers, OPEN_WITHIN).await {
            Ok(Ok(body)) => {
                self.tried = 0;
                self.buffer.clear();
                self.body = Some(body);
                if self.snapshot {
                    self.parts = 0;
                    let line = serde_json::json!({"type": "reset", "position": null});
                    self.given.push_back(WatchMessage { position: None, body: WatchBody::Reset, line });
                }
                Ok(())
            }
            Ok(Err(answer)) => match answer.status {
                410 => {
                    self.snapshot = true;
                    Ok(())
                }
                429 | 500.. => {
                    let wait = jittered(retry_after(&answer.headers).unwrap_or_default()).min(BACKOFF_MAX);
                    tokio::time::sleep(wait).await;
                    self.node += 1;
                    Ok(())
                }
                _ => Err(ReadError::Refused(Box::new(problem_of(&answer)))),
            },
            Err(Failure::NotSent(_) | Failure::Lost(_)) => {
                self.node += 1;
                Ok(())
            }
        }
    }

    fn line(&mut self) -> Option<Bytes> {
        let end = self.buffer.iter().position(|byte| *byte == b'\n')?;
        let line = self.buffer.split_to(end).freeze();
        self.buffer.advance(1);
        Some(line)
    }

    /// What a line says; `None`: nothing new.
    fn read(&mut self, line: &[u8]) -> Option<WatchMessage> {
        let parsed = serde_json::from_slice(line).ok().and_then(|line| Some((parse(&line)?, line)));
        let Some(((position, body), line)) = parsed else {
            // Not a line of a node, or `lagged`: go on elsewhere.
            self.hang_up();
            return None;
        };
        let position = match &body {
            WatchBody::Reset | WatchBody::Snapshot(_) => None,
            WatchBody::Synced => {
                self.snapshot = false;
                position
            }
            WatchBody::Bookmark => position,
            WatchBody::Change(change) => {
                if position <= self.watch.position {
                    return None;
                }
                let (part, parts) = (change.part.unwrap_or(1), change.parts.unwrap_or(1));
                if part <= self.parts {
                    return None;
                }
                self.parts = if part == parts { 0 } else { part };
                let deleted = change.cause == "delete" && self.watch.path != "/v1/changes";
                self.ended = deleted && part == parts;
                position.filter(|_| part == parts)
            }
        };
        self.watch.position = position.or(self.watch.position);
        Some(WatchMessage { position, body, line })
    }
}

fn parse(line: &Value) -> Option<(Option<u64>, WatchBody)> {
    let position = line.get("position")?.as_u64();
    let body = match line.get("type")?.as_str()? {
        "snapshot" => WatchBody::Snapshot(Snapshot::deserialize(line).ok()?),
        "synced" => WatchBody::Synced,
        "bookmark" => WatchBody::Bookmark,
        "change" => {
            let mut change = Change::deserialize(line).ok()?;
            if line.get("events").is_none() {
                change.events.push(EventChange::deserialize(line).ok()?);
            }
            WatchBody::Change(change)
        }
        _ => return None,
    };
    Some((position, body))
}

impl std::fmt::Debug for Changes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Changes").field("path", &self.watch.path).field("position", &self.watch.position).finish()
    }
}
