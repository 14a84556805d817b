//! What the state machine answers. An answer is recorded under its key and rendered anew at each replay, so it holds
//! everything a body shows.

use serde::{Deserialize, Serialize};

use super::id::{EventId, Key, PoolId, SeatId, WebhookId};
use super::value::{EventView, HoldView, Item, Millis, OrderView, Revision, SeatStatus, Version};
use super::webhook::{Attempt, Secret, WebhookView};

/// What `apply` says to one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Decided now, and recorded under the key.
    Fresh(Answer),
    /// Decided before; this is what was recorded, to the letter.
    Replayed(Answer),
    /// The key belongs to another request. Nothing was done or recorded.
    KeyReused,
    /// The parts of the definition are gone (too slow, or too many at once). Nothing was done or recorded: stage again.
    StagingLost,
}

/// A recorded answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The group's revision after the decision: for a change, the revision it made.
    pub revision: Revision,
    /// The event's version after the decision; none where no single event is meant.
    pub version: Option<Version>,
    /// The clock at the decision.
    pub decided_at: Millis,
    pub verdict: Verdict,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    Applied(Outcome),
    Rejected(Rejection),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    Defined {
        created: bool,
        event: Box<EventView>,
    },
    Changed {
        event: Box<EventView>,
    },
    Deleted {
        event: EventId,
    },
    /// A new hold, or an old one with more in it.
    Reserved(HoldView),
    Extended(HoldView),
    Booked(OrderView),
    /// The same order, token and items were booked before under another key: the order as it is.
    BookedBefore(OrderView),
    Released {
        items: Vec<Item>,
    },
    Cancelled {
        items: Vec<Item>,
    },
    Blocked {
        items: Vec<Item>,
        reason: Option<String>,
    },
    Unblocked {
        items: Vec<Item>,
        reason: Option<String>,
    },
    /// One answer for each command, in order.
    AtomicBatch(Vec<Answer>),
    BatchSlice(Vec<SliceAnswer>),
    /// The key will never be applied.
    Voided,
    /// The key was decided before it could be voided.
    NotVoided(Box<Answer>),
    Configured,
    /// `secret`: of a webhook that was made. Shown to who made it, and to nobody else.
    WebhookSet {
        created: bool,
        webhook: Box<WebhookView>,
        secret: Option<Secret>,
    },
    WebhookDeleted {
        webhook: WebhookId,
    },
    /// Paused or resumed.
    WebhookChanged {
        webhook: Box<WebhookView>,
    },
    /// `secret`: the new one; `None` where it is hidden.
    WebhookRotated {
        webhook: Box<WebhookView>,
        secret: Option<Secret>,
    },
    /// A test or a redelivery, whatever the receiver said.
    WebhookTried {
        webhook: WebhookId,
        attempt: Box<Attempt>,
    },
}

impl Answer {
    /// The same for those who only read it: without a secret.
    #[must_use]
    pub fn without_secret(&self) -> Self {
        let mut answer = self.clone();
        if let Verdict::Applied(Outcome::WebhookSet { secret, .. } | Outcome::WebhookRotated { secret, .. }) =
            &mut answer.verdict
        {
            *secret = None;
        }
        answer
    }
}

/// The answer to one command of an independent batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SliceAnswer {
    Decided(Answer),
    KeyReused,
    /// Refused by the edge, before its key was looked up: nothing is recorded under it.
    Refused(Rejection),
}

/// A deterministic "no". It is in the log: the same key gives the same no.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    pub code: Code,
    /// Every item that stands in the way, in the order of the request; not just the first. At most 1,000: of more,
    /// `facts.reason` says how many there are.
    pub conflicts: Vec<Conflict>,
    pub facts: Facts,
}

impl Rejection {
    pub fn new(code: Code) -> Self {
        Self { code, conflicts: Vec::new(), facts: Facts::default() }
    }

    /// A static error: `reason` says what is wrong and what to do.
    pub fn invalid(reason: impl Into<String>) -> Self {
        let facts = Facts { reason: Some(reason.into()), ..Facts::default() };
        Self { code: Code::Invalid, conflicts: Vec::new(), facts }
    }
}

/// Further fields of a problem.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// `invalid`, `duplicate_item`: what is wrong and what to do. Else: how many conflicts there are, if not all are listed.
    pub reason: Option<String>,
    /// `limit_exceeded`: the limit, and what the customer has now.
    pub limit: Option<(u64, u64)>,
    /// `definition_moved`: the definition version as it is.
    pub definition_version: Option<Version>,
    /// Atomic batch: which command was refused first.
    pub index: Option<u32>,
    /// `voided`: the key that was voided.
    pub key: Option<Key>,
}

/// One item that stands in the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Conflict {
    /// A seat in a state that forbids the command.
    Seat {
        seat: SeatId,
        status: SeatStatus,
    },
    /// A seat, or pool, that the event does not have, or that the hold or order does not own.
    NoSeat {
        seat: SeatId,
    },
    NoPool {
        pool: PoolId,
    },
    /// Too few units. For `capacity_below_committed` `requested` is the capacity asked for, 0 for a pool to be removed.
    Pool {
        pool: PoolId,
        available: u64,
        requested: u64,
    },
    /// Best available: too few free seats.
    Best {
        available: u64,
        requested: u64,
    },
}

/// Why not. The order of the variants is the precedence when several apply: top first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Code {
    Invalid,
    DuplicateItem,
    DeadlinePassed,
    Voided,
    EventNotFound,
    HoldNotFound,
    OrderNotFound,
    SeatNotFound,
    PoolNotFound,
    DefinitionMoved,
    NotOnSale,
    HoldExpired,
    TokenMismatch,
    OrderMismatch,
    OrderExists,
    SeatBooked,
    SeatHeld,
    SeatBlocked,
    Insufficient,
    NotContiguous,
    LimitExceeded,
    CapacityBelowCommitted,
    NotBlocked,
    // The order is stored: what is new stands at the end.
    WebhookNotFound,
    DeliveryNotFound,
    TooManyWebhooks,
}
