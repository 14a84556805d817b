//! Use cases: everything a request goes through between HTTP and Raft.
//!
//! ```text
//!            ┌ this node leads ──▶ lead: admission ─▶ batcher ─▶ raft.propose ─▶ decision
//! pursue ────┤
//!            └ another leads ────▶ forward: one hop over the peer port, `lead` there
//! ```
//!
//! [`Service::submit`] pursues one intent under one key until it is decided or its deadline passes. An attempt that
//! was lost (its leader died with it) is made again under the same key through the next leader: the state machine
//! decides a key once, so that asking again is safe and makes the answer definite.
//!
//! Invariants:
//! - `Unknown` is said only when an attempt may have entered the log; `Overloaded` and `NoLeader` only when none did.
//! - The clock and randomness are in `stamp.rs` and nowhere else.
//! - No check-then-act: state is looked at for reads and for what is due, never to decide a command.
//! - Every task started here has an owner: when one ends, `on_fatal` ends the process.
//!
//! Absent on purpose: a retry without the key; a cache of answers outside the replicated state; a second forwarding hop.

mod admission;
mod batcher;
mod check;
mod duties;
mod forward;
mod intent;
mod lead;
pub mod limits;
mod members;
mod read;
mod room;
pub mod stamp;
mod webhooks;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::time::timeout_at;

pub use check::{BatchLine, check, checked_lines};
pub use webhooks::{ChangeMessage, Message, Render, WebhookOptions};

use self::admission::Admission;
use self::batcher::Batcher;
use self::check::{check_size, check_sizes};
use self::intent::{Attempt, Decided, Intent, Work};
use self::limits::{DEFINITIONS_AT_ONCE_MAX, RETRY_AFTER_NO_LEADER, RETRY_AFTER_OVERLOADED};
use self::room::{Load, Room};
use self::stamp::Stamper;
use self::webhooks::Hooks;
use crate::domain::codec;
use crate::domain::command::{Command, Fingerprint, KeyMaker};
use crate::domain::id::Key;
use crate::domain::inventory::Inventory;
use crate::domain::outcome::{Answer, Rejection, SliceAnswer};
use crate::domain::value::{Millis, Version};
use crate::raft::{NodeStatus, RaftNode, WallClock};
use crate::storage::background::taking_long;
use crate::watch::Hub;

/// A request without `Request-Timeout-Ms` gets this long.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest `Request-Timeout-Ms`.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(30);

/// How long an attempt that found no leader waits for news before it looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What comes with a command besides its body.
#[derive(Debug, Clone)]
pub struct Context {
    /// The client's `Idempotency-Key`; without one the node makes one.
    pub key: Option<Key>,
    pub not_after: Option<Millis>,
    pub if_match: Option<Version>,
    pub deadline: Instant,
}

/// A decided command.
#[derive(Debug, Clone)]
pub struct Submitted {
    pub key: Key,
    pub answer: Answer,
    pub replayed: bool,
}

/// A decided independent batch.
#[derive(Debug, Clone)]
pub struct SubmittedBatch {
    pub key: Key,
    pub answers: Vec<SliceAnswer>,
    /// All of it had been decided before.
    pub replayed: bool,
}

/// Not decided, or not known. With the key that was used, made by the node or not.
#[derive(Debug, Clone)]
pub struct NotDecided {
    pub key: Option<Key>,
    pub why: ServiceError,
}

/// The second family of errors: each says whether anything can have happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceError {
    /// Shed before propose.
    Overloaded {
        retry_after_ms: u64,
        why: String,
    },
    /// Refused before propose: no leader took it within the deadline.
    NoLeader {
        retry_after_ms: u64,
        why: NoLeader,
    },
    /// Proposed, result not known in time.
    Unknown,
    /// The key belongs to another request; nothing was done.
    KeyReused,
    /// A static check failed; never recorded.
    Refused(Rejection),
    /// An atomic batch over events of different groups. Cannot happen while there is one group.
    CrossGroup,
    TooLarge {
        limit_bytes: usize,
    },
    /// What it asks for is no longer kept; this is the oldest revision that is. Nothing was done.
    Compacted {
        oldest: u64,
    },
}

/// Why no leader served a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoLeader {
    /// This node knows of none.
    NoneKnown,
    /// This one is known, and did not take the command, or confirm the read, in time.
    Silent(u64),
    /// This node replays its log and shows nothing until it is done.
    Recovering,
    /// This node was removed from the cluster.
    Removed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consistency {
    Linearizable,
    Stale,
}

#[derive(Debug, Clone, Copy)]
pub struct ReadOptions {
    pub consistency: Consistency,
    /// Wait until this revision is applied here.
    pub min_revision: Option<u64>,
    pub deadline: Instant,
}

#[derive(Debug, Clone, Copy)]
pub enum ReadError {
    /// No leader confirmed the read, or the node is still recovering: 503 `no_leader`.
    NoLeader { retry_after_ms: u64, why: NoLeader },
    /// 504 `read_timeout`.
    Timeout,
}

/// A permission to read now.
#[derive(Debug, Clone, Copy)]
pub struct ReadPermit {
    /// For a stale read: how old what it sees can be; -1 when the node cannot tell.
    pub staleness_ms: Option<i64>,
}

/// What every response under `/v1` shows in its headers.
#[derive(Debug, Clone)]
pub struct NodeFacts {
    pub revision: u64,
    pub node_id: u64,
    /// API address of the leader, if known.
    pub leader_api: Option<String>,
}

/// `GET /v1/cluster`.
#[derive(Debug, Clone)]
pub struct ClusterStatus {
    pub cluster_id: Option<uuid::Uuid>,
    pub leader: Option<u64>,
    pub term: u64,
    pub revision: u64,
    pub nodes: Vec<NodeStatus>,
}

/// `GET /readyz`: each check with its name and what is wrong, if anything.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    pub checks: Vec<(&'static str, Result<String, String>)>,
}

impl Readiness {
    pub fn ready(&self) -> bool {
        self.checks.iter().all(|(_, result)| result.is_ok())
    }
}

/// The use cases. A handle: clone it freely.
#[derive(Clone)]
pub struct Service {
    raft: RaftNode,
    batcher: Batcher,
    stamper: Arc<Stamper>,
    admission: Arc<Admission>,
    definitions: Arc<Semaphore>,
    hooks: Arc<Hooks>,
    /// Independent batches that this node took on and has not answered, whoever leads.
    batches: Arc<Room>,
}

impl Service {
    /// Starts the tasks of this room. `on_fatal` hears of any that ends.
    pub fn start(
        raft: RaftNode,
        wall: WallClock,
        webhooks: WebhookOptions,
        on_fatal: Arc<dyn Fn(String) + Send + Sync>,
    ) -> Self {
        let stamper = Arc::new(Stamper::new(wall));
        let (batcher, batching) = Batcher::start(raft.clone(), stamper.clone());
        let service = Self {
            raft: raft.clone(),
            batcher,
            stamper,
            admission: Arc::new(Admission::default()),
            definitions: Arc::new(Semaphore::new(DEFINITIONS_AT_ONCE_MAX)),
            hooks: Arc::new(Hooks::new(raft.clone(), webhooks)),
            batches: Arc::default(),
        };
        raft.set_forward_handler(Arc::new(service.clone()));
        let expiry = tokio::spawn(service.clone().expire_on_time());
        let house = tokio::spawn(service.clone().keep_house());
        let delivery = tokio::spawn(service.clone().deliver_webhooks());
        let stopping = service.admission.clone();
        tokio::spawn(async move {
            let which = tokio::select! {
                _ = batching => "batcher",
                _ = expiry => "expiry driver",
                _ = house => "housekeeping",
                _ = delivery => "delivery of webhooks",
            };
            if !stopping.draining() {
                on_fatal(format!("the {which} ended by itself"));
            }
        });
        service
    }

    /// Decides any command but an independent batch, once under its key.
    ///
    /// `Command::Define` comes with `Contents::Inline`; what is too big for one log entry is staged on the way.
    pub async fn submit(&self, context: Context, command: Command) -> Result<Submitted, NotDecided> {
        let refused = |why| NotDecided { key: context.key.clone(), why };
        let weighed = || -> Result<Fingerprint, ServiceError> {
            check(&command).map_err(ServiceError::Refused)?;
            let encoded = codec::encode(&command);
            check_size(&command, encoded.len())?;
            Ok(intent::hash(&encoded))
        };
        let big = matches!(command, Command::Define { .. });
        let fingerprint = if big { taking_long(weighed) } else { weighed() }.map_err(refused)?;
        let intent = intent(&context, fingerprint, Work::Command(command));
        let not_decided = |why| NotDecided { key: Some(intent.key.clone()), why };
        match self.pursue(&intent, context.deadline).await.map_err(not_decided)? {
            Decided::Command { answer, replayed } => Ok(Submitted { key: intent.key, answer, replayed }),
            Decided::KeyReused | Decided::Batch { .. } => Err(not_decided(ServiceError::KeyReused)),
        }
    }

    /// Decides an independent batch: each command by itself, in order.
    ///
    /// After `Unknown` it may be partly applied; sending it again under its key completes it.
    pub async fn submit_batch(&self, context: Context, lines: Vec<BatchLine>) -> Result<SubmittedBatch, NotDecided> {
        let commands = checked_lines(lines);
        check_sizes(&commands).map_err(|why| NotDecided { key: context.key.clone(), why })?;
        // More than the leader has room for would only wait on the way to it, and end as unknown.
        let load = Load { commands: commands.len(), bytes: codec::encoded_len(&commands) };
        let Some(_under_way) = self.batches.take_batch(&[load]) else {
            let retry_after_ms = millis(RETRY_AFTER_OVERLOADED);
            let why = ServiceError::Overloaded { retry_after_ms, why: admission::QUEUE_FULL.to_owned() };
            return Err(NotDecided { key: context.key, why });
        };
        let fingerprint = intent::batch_fingerprint(&commands);
        let intent = intent(&context, fingerprint, Work::Batch(commands));
        let not_decided = |why| NotDecided { key: Some(intent.key.clone()), why };
        match self.pursue(&intent, context.deadline).await.map_err(not_decided)? {
            Decided::Batch { answers, replayed } => Ok(SubmittedBatch { key: intent.key, answers, replayed }),
            Decided::KeyReused | Decided::Command { .. } => Err(not_decided(ServiceError::KeyReused)),
        }
    }

    /// Attempts, through whoever leads, until the intent is decided or the deadline passes.
    async fn pursue(&self, intent: &Intent, deadline: Instant) -> Result<Decided, ServiceError> {
        let mut may_be_applied = false;
        loop {
            let view = self.raft.view();
            let attempt = match &view.leader {
                // It will never be heard again.
                _ if view.removed => return Err(self.undecided(may_be_applied)),
                _ if view.is_leader => self.lead(intent, deadline).await,
                Some(_) => self.forward(intent, deadline).await,
                None => Attempt::NotLeader,
            };
            match attempt {
                Attempt::Decided(decided) => return Ok(decided),
                Attempt::Shed(why) if !may_be_applied => {
                    return Err(ServiceError::Overloaded { retry_after_ms: millis(RETRY_AFTER_OVERLOADED), why });
                }
                // What came of an earlier attempt is more than what this one would have been.
                Attempt::Compacted { oldest } if !may_be_applied => return Err(ServiceError::Compacted { oldest }),
                Attempt::Shed(_) | Attempt::Compacted { .. } | Attempt::NotLeader => {}
                Attempt::Lost => may_be_applied = true,
            }
            if !self.wait_for_news(view.term, self.admission.cut(deadline)).await {
                return Err(self.undecided(may_be_applied));
            }
        }
    }

    fn undecided(&self, may_be_applied: bool) -> ServiceError {
        match may_be_applied {
            true => ServiceError::Unknown,
            false => {
                ServiceError::NoLeader { retry_after_ms: millis(RETRY_AFTER_NO_LEADER), why: self.why_no_leader() }
            }
        }
    }

    fn why_no_leader(&self) -> NoLeader {
        let view = self.raft.view();
        match &view.leader {
            _ if view.removed => NoLeader::Removed,
            Some((id, _)) => NoLeader::Silent(*id),
            None => NoLeader::NoneKnown,
        }
    }

    /// Waits for a new view of the cluster, or a little. False: the deadline has passed.
    async fn wait_for_news(&self, term: u64, deadline: Instant) -> bool {
        let look_again = (Instant::now() + LOOK_AGAIN).min(deadline);
        let mut views = self.raft.view_changes();
        let news = views.wait_for(|view| view.term != term && view.leader.is_some());
        // Either way the next attempt looks anew; a closed channel means that the node stops, and time runs out.
        let _ = timeout_at(look_again.into(), news).await;
        Instant::now() < deadline
    }

    /// Looks at the state. Keep it short (freeze what takes long): apply waits.
    pub fn inspect<R>(&self, look: impl FnOnce(&Inventory) -> R) -> R {
        self.raft.inspect(look)
    }

    /// The same, with the log index of exactly this state.
    pub fn inspect_at<R>(&self, look: impl FnOnce(u64, &Inventory) -> R) -> R {
        self.raft.inspect_at(look)
    }

    /// Where change streams are subscribed to.
    pub fn hub(&self) -> Arc<Hub> {
        Arc::clone(self.raft.hub())
    }

    pub fn facts(&self) -> NodeFacts {
        let view = self.raft.view();
        NodeFacts {
            revision: *self.raft.revisions().borrow(),
            node_id: view.node_id,
            leader_api: view.leader.as_ref().map(|(_, member)| member.api.clone()),
        }
    }

    /// The stamp that an entry proposed now would get; `None` when this node cannot lead yet.
    fn stamp_now(&self) -> Option<Millis> {
        let view = self.raft.view();
        let stamp = || self.stamper.stamp(view.term, || batcher::clock_samples(&self.raft, &view));
        view.is_leader.then(stamp).flatten()
    }
}

fn intent(context: &Context, fingerprint: Fingerprint, work: Work) -> Intent {
    let (key, key_made_by) = match &context.key {
        Some(key) => (key.clone(), KeyMaker::Client),
        None => (stamp::fresh_key(), KeyMaker::Node),
    };
    Intent { key, key_made_by, fingerprint, not_after: context.not_after, if_match: context.if_match, work }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
