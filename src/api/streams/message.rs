//! What goes out: each message once as a Server-Sent Event and once as a line of JSON.

use serde::Serialize;
use utoipa::ToSchema;

use super::super::render::write_json;
use super::super::wire::Name;
use super::super::wire::change::{CauseSchema, ChangeList, ChangeMessage, ChangeView, cause_name};
use super::super::wire::views::{Counts, Pool, SeatRow, Time};
use crate::domain::change::{Change, EventChanges};
use crate::watch::{Encoded, Message, Subject};

/// Changes in one message. More come as parts of the same position.
pub(super) const PART_CHANGES_MAX: usize = 2_000;
/// Room for a usual message.
const MESSAGE_BYTES_USUAL: usize = 384;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Sse,
    /// Also the frames of a WebSocket.
    Lines,
}

impl Format {
    /// Place of this format's bytes in a block.
    pub(super) fn slot(self) -> usize {
        match self {
            Self::Sse => 0,
            Self::Lines => 1,
        }
    }

    pub(super) fn encoder(self) -> fn(&[Message]) -> Encoded {
        match self {
            Self::Sse => |messages| encode(Self::Sse, messages),
            Self::Lines => |messages| encode(Self::Lines, messages),
        }
    }

    /// Appends one message. `seen`: the position is reached with it, so that a client may go on from there.
    pub(super) fn put<T: Serialize>(self, kind: &str, position: Option<u64>, seen: bool, body: &T, out: &mut Vec<u8>) {
        match self {
            Self::Sse => {
                out.extend_from_slice(b"event: ");
                out.extend_from_slice(kind.as_bytes());
                if let Some(position) = position.filter(|_| seen) {
                    out.extend_from_slice(b"\nid: ");
                    write_json(&position, out);
                }
                out.extend_from_slice(b"\ndata: ");
                write_json(body, out);
                out.extend_from_slice(b"\n\n");
            }
            Self::Lines => {
                out.extend_from_slice(b"{\"type\":\"");
                out.extend_from_slice(kind.as_bytes());
                out.extend_from_slice(b"\",\"position\":");
                write_json(&position, out);
                // The body's `{` becomes the comma between it and what stands before it.
                let start = out.len();
                write_json(body, out);
                out[start] = b',';
                out.push(b'\n');
            }
        }
    }

    /// Appends a message that is nothing but a position.
    pub(super) fn put_position(self, kind: &str, subject: &Subject, position: u64, out: &mut Vec<u8>) {
        match subject {
            Subject::Group => self.put(kind, Some(position), true, &AtRevision { revision: position }, out),
            Subject::Event(_) => self.put(kind, Some(position), true, &AtVersion { version: position }, out),
        }
    }
}

fn encode(format: Format, messages: &[Message]) -> Encoded {
    let mut out = Vec::with_capacity(messages.len() * MESSAGE_BYTES_USUAL);
    let mut starts = Vec::with_capacity(messages.len());
    for message in messages {
        starts.push(u32::try_from(out.len()).expect("a block is far below 4 GB"));
        put_change(format, message, &mut out);
    }
    Encoded { bytes: out.into(), starts: starts.into() }
}

/// Appends a change, in parts if it is big.
pub(super) fn put_change(format: Format, message: &Message, out: &mut Vec<u8>) {
    let parts = cut(message.events());
    let last = parts.len() - 1;
    let count = (last > 0).then_some(parts.len());
    for (at, part) in parts.iter().enumerate() {
        let (set, position) = (message.set(), Some(message.position()));
        let part_no = count.map(|_| at + 1);
        let (at_time, cause) = (Time(set.at), cause_name(set.cause));
        match message.event() {
            Some(event) => {
                let body = ChangeMessage {
                    event: event.event.as_str(),
                    version: event.version.0,
                    revision: set.revision.0,
                    at: at_time,
                    cause,
                    changes: ChangeList(part[0].1),
                    totals: Counts::from(&event.totals),
                    part: part_no,
                    parts: count,
                };
                format.put("change", position, at == last, &body, out);
            }
            None => {
                let events = part.iter().map(|(event, changes)| EventPart::new(event, changes)).collect();
                let revision = set.revision.0;
                let body = GroupChangeMessage { revision, at: at_time, cause, events, part: part_no, parts: count };
                format.put("change", position, at == last, &body, out);
            }
        }
    }
}

type Part<'a> = Vec<(&'a EventChanges, &'a [Change])>;

/// At least one part, none with too many changes.
fn cut(events: &[EventChanges]) -> Vec<Part<'_>> {
    let mut parts: Vec<Part<'_>> = vec![Vec::new()];
    let mut room = PART_CHANGES_MAX;
    for event in events {
        let mut rest = &event.changes[..];
        loop {
            let (now, later) = rest.split_at(rest.len().min(room));
            parts.last_mut().expect("it begins with one").push((event, now));
            room -= now.len();
            rest = later;
            if rest.is_empty() {
                break;
            }
            parts.push(Vec::new());
            room = PART_CHANGES_MAX;
        }
    }
    parts
}

/// What one change set did.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = GroupChange)]
pub(super) struct GroupChangeMessage<'a> {
    revision: u64,
    #[schema(value_type = Time)]
    at: Time,
    #[schema(value_type = CauseSchema)]
    cause: &'static str,
    events: Vec<EventPart<'a>>,
    /// Which part of a change that is too big for one message; the position is reached with the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    part: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parts: Option<usize>,
}

#[derive(Debug, Serialize, ToSchema)]
struct EventPart<'a> {
    #[schema(value_type = Name)]
    event: &'a str,
    version: u64,
    #[schema(value_type = Vec<ChangeView>)]
    changes: ChangeList<'a>,
    totals: Counts,
}

impl<'a> EventPart<'a> {
    fn new(event: &'a EventChanges, changes: &'a [Change]) -> Self {
        let (version, totals) = (event.version.0, Counts::from(&event.totals));
        Self { event: event.event.as_str(), version, changes: ChangeList(changes), totals }
    }
}

/// A piece of an event's state. The pieces of an event have the same version, and the last comes before `synced`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SnapshotMessage<'a> {
    #[schema(value_type = Name)]
    pub(super) event: &'a str,
    pub(super) version: u64,
    pub(super) revision: u64,
    pub(super) seats: Vec<SeatRow<'a>>,
    pub(super) pools: Vec<Pool<'a>>,
    pub(super) totals: Counts,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AtVersion {
    version: u64,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AtRevision {
    revision: u64,
}

macro_rules! stream_line {
    ($(#[$doc:meta])* $name:ident $change:ident $mark:ident) => {
        $(#[$doc])*
        #[derive(ToSchema)]
        #[serde(tag = "type", rename_all = "snake_case")]
        #[allow(dead_code, reason = "only a schema: `Format::put` writes it")]
        pub(super) enum $name<'a> {
            /// The state in pieces, with `snapshot=true`.
            Snapshot(SnapshotMessage<'a>),
            /// The state is complete; what follows came after this position.
            Synced($mark),
            Change($change<'a>),
            /// Nothing new up to this position.
            Bookmark($mark),
            /// Too slow: what came after this position was not kept for this reader, and the stream ends.
            Lagged($mark),
        }
    };
}

stream_line! {
    /// A line or frame. Besides what is listed each has `position`: of a change, `synced`, `bookmark` and `lagged` the
    /// version, null in a snapshot.
    EventStreamLine ChangeMessage AtVersion
}
stream_line! {
    /// A line or frame. Besides what is listed each has `position`: of a change, `synced`, `bookmark` and `lagged` the
    /// revision, null in a snapshot.
    GroupStreamLine GroupChangeMessage AtRevision
}
