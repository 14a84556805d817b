//! A state in pieces: rendered one at a time, on a thread aside, when the client has taken the one before.

use bytes::Bytes;
use tokio::task::JoinHandle;

use super::super::Api;
use super::super::events::no_event;
use super::super::problem::Problem;
use super::super::wire::views::{Counts, Pool, SeatRow};
use super::message::{Format, SnapshotMessage};
use crate::domain::inventory::{Frozen, FrozenEvent, Inventory};
use crate::domain::value::{EventView, SeatDef, SeatStatus};
use crate::watch::{Point, Subject};

/// About how long a piece is.
const PIECE_BYTES: usize = 256 << 10;
/// What a seat and a pool usually take of it.
const SEAT_BYTES_USUAL: usize = 160;
const POOL_BYTES_USUAL: usize = 192;

/// A snapshot on its way.
pub(super) struct Snapshot {
    /// Not here while a piece is being rendered.
    rest: Option<Rest>,
    /// Kept here, so that a call that is given up loses nothing.
    rendering: Option<JoinHandle<(Rest, Vec<u8>)>>,
}

/// What is still to be rendered.
struct Rest {
    events: Events,
    current: Option<Cursor>,
}

enum Events {
    One(Option<Box<FrozenEvent>>),
    All { frozen: Box<Frozen>, place: usize },
}

/// In the middle of an event.
struct Cursor {
    event: Box<FrozenEvent>,
    view: EventView,
    block: usize,
    pool: usize,
    begun: bool,
}

impl Snapshot {
    /// Freezes the subject: everything at one revision.
    pub(super) fn take(api: &Api, subject: &Subject) -> Result<(Self, Point), Problem> {
        let freeze = |inventory: &Inventory| -> Result<(Events, Point), Problem> {
            let revision = inventory.revision().0;
            match subject {
                Subject::Group => {
                    let frozen = Box::new(inventory.freeze());
                    Ok((Events::All { frozen, place: 0 }, Point { position: revision, revision }))
                }
                Subject::Event(event) => {
                    let frozen = inventory.freeze_event(event).ok_or_else(|| no_event(event, revision))?;
                    let position = frozen.version().0;
                    Ok((Events::One(Some(Box::new(frozen))), Point { position, revision }))
                }
            }
        };
        let (events, now) = api.service().inspect(freeze)?;
        Ok((Self { rest: Some(Rest { events, current: None }), rendering: None }, now))
    }

    /// The next piece. `None`: that was all. May be given up at any moment and called again.
    pub(super) async fn next(&mut self, api: &Api, format: Format) -> Option<Bytes> {
        if self.rendering.is_none() {
            let turn = api.render_turn().await.expect("nobody closes this semaphore");
            let mut rest = self.rest.take()?;
            self.rendering = Some(tokio::task::spawn_blocking(move || {
                let piece = rest.chunk(format);
                drop(turn);
                (rest, piece)
            }));
        }
        let rendered = self.rendering.as_mut()?.await;
        self.rendering = None;
        let (rest, piece) = rendered.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        self.rest = Some(rest);
        (!piece.is_empty()).then(|| piece.into())
    }
}

impl Rest {
    /// Messages of about one piece; empty at the end.
    fn chunk(&mut self, format: Format) -> Vec<u8> {
        let mut out = Vec::new();
        while out.len() < PIECE_BYTES && self.put_message(format, PIECE_BYTES - out.len(), &mut out) {}
        out
    }

    /// False: there is nothing left.
    fn put_message(&mut self, format: Format, room: usize, out: &mut Vec<u8>) -> bool {
        loop {
            let Some(cursor) = &mut self.current else {
                let Some(event) = self.events.next() else { return false };
                self.current = Some(Cursor::new(event));
                continue;
            };
            if cursor.put_message(format, room, out) {
                return true;
            }
            self.current = None;
        }
    }
}

impl Events {
    fn next(&mut self) -> Option<Box<FrozenEvent>> {
        match self {
            Self::One(event) => event.take(),
            Self::All { frozen, place } => {
                let (next, event) = frozen.event_from(*place)?;
                *place = next;
                Some(Box::new(event))
            }
        }
    }
}

impl Cursor {
    fn new(event: Box<FrozenEvent>) -> Self {
        let view = event.view();
        Self { event, view, block: 0, pool: 0, begun: false }
    }

    /// False: the event is complete.
    fn put_message(&mut self, format: Format, room: usize, out: &mut Vec<u8>) -> bool {
        let mut seats: Vec<(SeatDef, SeatStatus)> = Vec::new();
        while seats.len() * SEAT_BYTES_USUAL < room
            && let Some(block) = self.event.seat_block(self.block)
        {
            seats.extend(block);
            self.block += 1;
        }
        let left = room.saturating_sub(seats.len() * SEAT_BYTES_USUAL) / POOL_BYTES_USUAL;
        let pools = &self.view.pools[self.pool..];
        let pools = &pools[..pools.len().min(left.max(usize::from(seats.is_empty())))];
        if seats.is_empty() && pools.is_empty() && self.begun {
            return false;
        }
        self.begun = true;
        self.pool += pools.len();
        let body = SnapshotMessage {
            event: self.view.event.as_str(),
            version: self.view.version.0,
            revision: self.view.revision.0,
            seats: seats.iter().map(|(seat, status)| SeatRow::new(seat, *status)).collect(),
            pools: pools.iter().map(Pool::from).collect(),
            totals: Counts::from(&self.event.totals()),
        };
        format.put("snapshot", None, false, &body, out);
        true
    }
}
