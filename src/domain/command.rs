//! What can be asked of the state machine, and how it travels in the log.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::id::{CustomerId, EventId, Key, OrderId, PoolId, SeatId, Token, WebhookId};
use super::value::{EventHead, HoldPolicy, Item, Limits, Millis, PoolDef, Revision, SeatDef, Text, Version};
use super::webhook::{Attempt, MessageId, Secret, WebhookConfig, WebhookProgress};

/// What one log entry carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// The leader's time when it made the entry; `clock = max(clock, stamp)`.
    pub stamp: Millis,
    pub body: ProposalBody,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProposalBody {
    /// Requests of clients, decided in order, each by itself.
    Requests(Vec<Request>),
    /// A part of a definition too big for one entry. Changes nothing a client can see.
    Stage(StagePart),
    /// Time passes: what is due expires.
    Tick,
    /// What the leader delivered. Changes nothing but webhooks.
    Webhooks(Vec<WebhookProgress>),
}

/// One client's intent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    pub key: Key,
    pub key_made_by: KeyMaker,
    /// Hash of operation, path, query and body as parsed; equal for equal requests, nothing the node made is in it.
    pub fingerprint: Fingerprint,
    /// Header `Not-After`: refused with `deadline_passed` when the clock is past it.
    pub not_after: Option<Millis>,
    /// Header `If-Match`: refused with `definition_moved` unless this is the definition version.
    pub if_match: Option<Version>,
    /// Tokens made on the leader, used in order by the holds this request makes. One for a reserve, one for each
    /// reserve of a batch, none otherwise.
    pub fresh_tokens: Vec<Token>,
    pub command: Command,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum KeyMaker {
    Client,
    Node,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fingerprint(pub u128);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    Define {
        event: EventId,
        definition: Box<Definition>,
    },
    Change {
        event: EventId,
        patch: Box<Patch>,
    },
    Delete {
        event: EventId,
        force: bool,
    },
    Sale(SaleCommand),
    /// All or none. At most 1,000 commands.
    AtomicBatch(Vec<SaleCommand>),
    /// Consecutive commands of an independent batch that share a log entry. Recorded as one packed record.
    BatchSlice(BatchSlice),
    /// Makes an unknown definite: decided → what happened; else never.
    Void {
        key: Key,
    },
    /// Changes replicated settings.
    Configure(Settings),
    Webhook(WebhookCommand),
}

/// A command on one webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookCommand {
    pub webhook: WebhookId,
    pub op: WebhookOp,
}

/// What the leader makes on the way (a secret, an attempt) is `None` when the command comes in, and never part of its
/// fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum WebhookOp {
    /// Makes it, with `fresh` as its secret, or changes it.
    Set {
        config: Box<WebhookConfig>,
        fresh: Option<Secret>,
    },
    Delete,
    /// A new secret; the old one stays live for `overlap_ms`.
    Rotate {
        overlap_ms: u64,
        fresh: Option<Secret>,
    },
    Pause,
    /// Goes on where it was, or delivers again from a revision on.
    Resume {
        from: Option<Revision>,
    },
    /// Remembers a test message that was sent. `None`: there was no such webhook to send it to.
    Test {
        attempt: Option<Attempt>,
    },
    /// Remembers a message that was sent once more. `None`: there was no such webhook or message.
    Redeliver {
        message: MessageId,
        attempt: Option<Attempt>,
    },
}

/// A command on one event that may stand in a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SaleCommand {
    pub event: EventId,
    pub op: SaleOp,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SaleOp {
    Reserve {
        want: Want,
        customer: Option<CustomerId>,
        ttl_ms: Option<u64>,
        /// Adds to this live hold instead of making one.
        add_to: Option<Token>,
    },
    Extend {
        token: Token,
        ttl_ms: u64,
    },
    /// Books a live hold, or a subset of it.
    BookHold {
        token: Token,
        order: OrderId,
        items: Option<Vec<Item>>,
        rest: Rest,
        on_expired: OnExpired,
    },
    /// Free → booked in one command.
    BookDirect {
        items: Vec<Item>,
        order: OrderId,
        customer: Option<CustomerId>,
    },
    Release {
        token: Token,
        items: Option<Vec<Item>>,
    },
    Cancel {
        order: OrderId,
        items: Option<Vec<Item>>,
    },
    Block {
        items: Vec<Item>,
        reason: Option<String>,
    },
    Unblock {
        items: Vec<Item>,
        reason: Option<String>,
    },
}

/// What to reserve: items by name, or the best of what is free.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Want {
    Items(Vec<Item>),
    Best { quantity: u64, section: Option<Text>, category: Option<Text>, contiguous: bool },
}

/// What becomes of the items of a hold that a book leaves out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rest {
    #[default]
    Keep,
    Release,
}

/// What a book does when its hold lapsed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnExpired {
    #[default]
    Reject,
    /// Books all the same if every item is free again.
    Rebook,
}

/// One slice of an independent batch. The service cuts a batch into the same slices each time it sees the same batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchSlice {
    /// Index in the batch of this slice's first command.
    pub start: u32,
    /// Commands in the whole batch.
    pub total: u32,
    pub commands: Vec<BatchCommand>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchCommand {
    /// The command's own key. Without one, its key is `{batch key}:{index}` and its result is in the slice's record.
    pub own: Option<(Key, Fingerprint)>,
    /// Refused before the log, by the edge's static checks; kept so that results stay in order.
    pub command: Result<SaleCommand, super::outcome::Rejection>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    pub head: EventHead,
    pub contents: Contents,
}

/// Seats and pools of a definition: in the command itself, or staged before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Contents {
    Inline { seats: Vec<SeatDef>, pools: Vec<PoolDef> },
    Staged { staging: StagingId, parts: u32 },
}

/// Names one upload of a definition; made on the leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StagingId(pub u128);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagePart {
    pub staging: StagingId,
    pub part: u32,
    pub seats: Vec<SeatDef>,
    pub pools: Vec<PoolDef>,
}

/// A change of an event that leaves its seats alone. `None` and absent: as it was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Patch {
    pub name: Option<Text>,
    pub on_sale: Option<bool>,
    pub hold: Option<HoldPatch>,
    pub limits: Option<Limits>,
    pub labels: Option<BTreeMap<String, String>>,
    pub pools: Vec<PoolPatch>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldPatch {
    pub ttl_ms: Option<u64>,
    pub max_ttl_ms: Option<u64>,
}

impl HoldPatch {
    /// The policy after the change.
    pub fn onto(self, old: HoldPolicy) -> HoldPolicy {
        HoldPolicy { ttl_ms: self.ttl_ms.unwrap_or(old.ttl_ms), max_ttl_ms: self.max_ttl_ms.unwrap_or(old.max_ttl_ms) }
    }
}

/// Changes one pool that is there (`pool_not_found` otherwise).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolPatch {
    pub id: PoolId,
    pub capacity: Option<u64>,
    pub category: Option<Text>,
    pub name: Option<Text>,
}

/// Replicated settings: all that `apply` reads besides the state. A node's own configuration never reaches `apply`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Applied results of a client's key are kept at least this long.
    pub applied_keep_ms: u64,
    /// Rejections are kept at least this long.
    pub rejected_keep_ms: u64,
    /// Results under a key made by a node are kept at least this long.
    pub node_key_keep_ms: u64,
    /// Results are kept up to this long while there is room.
    pub results_keep_max_ms: u64,
    /// Most results remembered, all kinds together.
    pub results_max: u64,
    /// Most rejections remembered; the oldest leave first. Below `results_max`.
    pub rejections_max: u64,
    /// Staged definitions not committed after this long are dropped.
    pub staging_keep_ms: u64,
    /// Most staged definitions at a time; the oldest leaves first.
    pub stagings_max: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            applied_keep_ms: 15 * 60_000,
            rejected_keep_ms: 5 * 60_000,
            node_key_keep_ms: 2 * 60_000,
            results_keep_max_ms: 24 * 3_600_000,
            results_max: 10_000_000,
            rejections_max: 2_000_000,
            staging_keep_ms: 5 * 60_000,
            stagings_max: 16,
        }
    }
}

impl Want {
    /// Names of the seats asked for by name.
    pub fn seats(&self) -> impl Iterator<Item = &SeatId> {
        let items: &[Item] = match self {
            Want::Items(items) => items,
            Want::Best { .. } => &[],
        };
        items.iter().filter_map(|item| match item {
            Item::Seat(seat) => Some(seat),
            Item::Pool { .. } => None,
        })
    }
}
