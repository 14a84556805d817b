//! Webhooks: the leader tells receivers of changes, in order, at least once.
//!
//! ```text
//!  history ─▶ feed ─▶ worker (one a webhook) ─▶ client ─▶ receiver        one connection, one message at a time
//!                        │   ▲ back-off            └ resolve, check, connect, TLS, sign
//!                        ▼   │ started and stopped by
//!                     report ─▶ supervisor ─▶ one small entry a second ─▶ apply: cursor, attempts, state
//! ```
//!
//! Invariants
//! - A worker has one message under way, and the next only when that one was delivered: a receiver gets the changes in
//!   order, and a receiver that fails or is slow holds up nobody else. Sales wait for nothing here.
//! - What was delivered is said again at most: the cursor is replicated within about a second or
//!   [`REPORT_DELIVERIES`](super::limits::REPORT_DELIVERIES) deliveries, and the next leader goes on from it.
//! - Changes that are no longer kept are a gap, which everybody can see; never skipped in silence.
//! - Connections are made only to addresses that were checked, whatever a name resolves to later. No redirects.
//! - Secrets and bodies reach no log.
//!
//! On purpose not here: JSON (the api room renders messages), decisions about the state of a webhook (`apply` makes them
//! from reported attempts), any shared limit that one bad receiver could use up for others.

mod address;
mod asked;
mod client;
mod cut;
mod feed;
mod report;
mod sign;
mod supervisor;
mod worker;

use tokio::sync::Semaphore;

use self::client::Client;
use self::feed::Feed;
use super::limits::{ASKED_AT_ONCE_MAX, BIG_BODIES_AT_ONCE_MAX};
use crate::domain::change::{Change, ChangeSet, EventChanges};
use crate::domain::id::WebhookId;
use crate::domain::value::Millis;
use crate::domain::webhook::MessageId;
use crate::raft::RaftNode;

/// What a message tells.
#[derive(Debug, Clone, Copy)]
pub enum Message<'a> {
    Change(ChangeMessage<'a>),
    Test { id: MessageId, webhook: &'a WebhookId, at: Millis },
}

/// What one change set did to one event, or a part of it.
#[derive(Debug, Clone, Copy)]
pub struct ChangeMessage<'a> {
    pub id: MessageId,
    pub set: &'a ChangeSet,
    pub event: &'a EventChanges,
    /// The changes of this part.
    pub changes: &'a [Change],
    /// From 1.
    pub part: u32,
    pub parts: u32,
}

/// Makes the body of a message. The same message gives the same bytes.
pub type Render = fn(&Message<'_>) -> Vec<u8>;

/// What this room is told about webhooks.
#[derive(Debug, Clone, Copy)]
pub struct WebhookOptions {
    /// Also receivers in private networks and on this machine.
    pub allow_private: bool,
    pub render: Render,
}

/// What all who deliver share.
pub(super) struct Hooks {
    render: Render,
    client: Client,
    feed: Feed,
    /// Big bodies wait for each other, small ones for nobody.
    big_bodies: Semaphore,
    /// Messages sent because somebody asked.
    asked: Semaphore,
}

impl Hooks {
    pub(super) fn new(raft: RaftNode, options: WebhookOptions) -> Self {
        Self {
            render: options.render,
            client: Client::new(options.allow_private),
            feed: Feed::new(raft),
            big_bodies: Semaphore::new(BIG_BODIES_AT_ONCE_MAX),
            asked: Semaphore::new(ASKED_AT_ONCE_MAX),
        }
    }
}
