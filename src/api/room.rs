//! Room in memory for what is big: bodies on their way in, answers on their way out.
//!
//! ```text
//!   Content-Length ─▶ room for that many bytes ─▶ read ─▶ parse ─▶ submit ─▶ given back
//!                       └ none left: `overloaded`, at once, before a byte is read
//!   a list's length ─▶ room, waited for until the request's deadline ─▶ render ─▶ taken by the client ─▶ given back
//! ```
//!
//! What is small needs no room, so that it is never refused; [`super::CONNECTIONS_MAX`] bounds it. Bodies have a room for
//! each kind of route: a definition that does not come to an end keeps no sale and no batch out.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::{Problem, read_timeout};
use super::request::{BATCH_BYTES_MAX, DEFINITION_BYTES_MAX};
use crate::service::ServiceError;

/// A body up to this needs no room.
pub const BODY_FREE_BYTES: usize = 8 << 10;
/// Bodies that are read, parsed or waiting for their answer at a time, of all routes but those
/// below.
pub const BODIES_BYTES_MAX: usize = 64 << 20;
/// The same for batches.
pub const BATCHES_BYTES_MAX: usize = 64 << 20;
/// The same for definitions, which take several times their size once they are parsed.
pub const DEFINITIONS_BYTES_MAX: usize = 128 << 20;
/// An answer up to this needs no room.
pub const ANSWER_FREE_BYTES: usize = 64 << 10;
/// Big answers that are rendered, or not taken by their clients yet, at a time. The biggest single one fits.
pub const ANSWERS_BYTES_MAX: usize = 256 << 20;
/// When to try again what found no room.
const RETRY_AFTER_MS: u64 = 1_000;

/// All the room there is.
pub(super) struct Rooms {
    bodies: Arc<Semaphore>,
    batches: Arc<Semaphore>,
    definitions: Arc<Semaphore>,
    answers: Arc<Semaphore>,
}

/// Room that somebody has, given back when dropped. By default none, for what is small.
#[derive(Debug, Default)]
pub struct Room(Option<OwnedSemaphorePermit>);

/// Bytes of an answer, with the room they are in.
struct Housed {
    bytes: Vec<u8>,
    _room: Room,
}

impl AsRef<[u8]> for Housed {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Rooms {
    pub(super) fn new() -> Self {
        let of = |bytes| Arc::new(Semaphore::new(bytes));
        Self {
            bodies: of(BODIES_BYTES_MAX),
            batches: of(BATCHES_BYTES_MAX),
            definitions: of(DEFINITIONS_BYTES_MAX),
            answers: of(ANSWERS_BYTES_MAX),
        }
    }

    /// Room for a body of `bytes` on a route that takes `limit_bytes`, now or not at all.
    pub(super) fn body(&self, limit_bytes: usize, bytes: usize) -> Result<Room, Problem> {
        if bytes <= BODY_FREE_BYTES {
            return Ok(Room::default());
        }
        let room = match limit_bytes {
            DEFINITION_BYTES_MAX => &self.definitions,
            BATCH_BYTES_MAX => &self.batches,
            _ => &self.bodies,
        };
        let taken = Arc::clone(room).try_acquire_many_owned(permits(bytes));
        taken.map(|permit| Room(Some(permit))).map_err(|_| {
            Problem::from(ServiceError::Overloaded {
                retry_after_ms: RETRY_AFTER_MS,
                why: "this node works on as many bytes of large bodies as it takes at a time".into(),
            })
        })
    }

    /// Room for an answer of about `bytes`, once there is some.
    pub(super) async fn answer(&self, bytes: usize, deadline: Instant) -> Result<Room, Problem> {
        if bytes <= ANSWER_FREE_BYTES {
            return Ok(Room::default());
        }
        let taking = Arc::clone(&self.answers).acquire_many_owned(permits(bytes.min(ANSWERS_BYTES_MAX)));
        let taken = tokio::time::timeout_at(deadline.into(), taking).await.map_err(|_| read_timeout())?;
        Ok(Room(Some(taken.expect("nobody closes this semaphore"))))
    }

    /// The answer in its room, which is given back when the last byte was taken, or cannot be any more. What is larger
    /// than was thought waits for the rest.
    pub(super) async fn house(&self, answer: Vec<u8>, mut room: Room, deadline: Instant) -> Result<Bytes, Problem> {
        room.shrink_to(answer.len());
        let missing = answer.len().min(ANSWERS_BYTES_MAX).saturating_sub(room.bytes());
        if missing > ANSWER_FREE_BYTES {
            room.add(self.answer(missing, deadline).await?);
        }
        Ok(Bytes::from_owner(Housed { bytes: answer, _room: room }))
    }
}

impl Room {
    fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }

    pub(super) fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// Gives back what is more than `bytes`.
    pub(super) fn shrink_to(&mut self, bytes: usize) {
        if let Some(permit) = &mut self.0 {
            drop(permit.split(permit.num_permits().saturating_sub(bytes)));
        }
    }

    fn add(&mut self, more: Self) {
        match (&mut self.0, more.0) {
            (Some(permit), Some(more)) => permit.merge(more),
            (none, more) => *none = more,
        }
    }
}

/// One for each byte.
fn permits(bytes: usize) -> u32 {
    const { assert!(DEFINITION_BYTES_MAX <= DEFINITIONS_BYTES_MAX && BATCH_BYTES_MAX <= BATCHES_BYTES_MAX) };
    u32::try_from(bytes).expect("nothing here is larger than a room, and no room is 4 GiB")
}
