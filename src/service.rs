//! Everything a request goes through between HTTP and Raft.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::domain::command::{BatchCommand, Command};
use crate::domain::id::Key;
use crate::domain::inventory::Inventory;
use crate::domain::outcome::{Answer, Rejection, SliceAnswer};
use crate::domain::value::{Millis, Version};
use crate::raft::{MembershipError, NewMember, NodeStatus, RaftNode};

/// What comes with a command besides its body.
#[derive(Debug, Clone)]
pub struct Context {
    /// The client's `Idempotency-Key`; without one the node makes one.
    pub key: Option<Key>,
    pub not_after: Option<Millis>,
    pub if_match: Option<Version>,
    /// Header `Request-Timeout-Ms`, default 5 s, at most 30 s.
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

#[derive(Debug, Clone)]
pub enum ServiceError {
    /// Shed before propose.
    Overloaded {
        retry_after_ms: u64,
        why: &'static str,
    },
    /// Refused before propose: no leader within the deadline, or the node is stopping.
    NoLeader {
        retry_after_ms: u64,
    },
    /// Proposed, result not known in time.
    Unknown,
    KeyReused,
    /// A static check failed; never recorded.
    Refused(Rejection),
    CrossGroup,
    TooLarge {
        limit_bytes: usize,
    },
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
    NoLeader { retry_after_ms: u64 },
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
pub struct Service {}

#[allow(unused_variables)]
impl Service {
    pub fn start(raft: RaftNode) -> Self {
        todo!()
    }

    /// Any command but an independent batch. `Command::Define` comes with `Contents::Inline`; the service stages what is
    /// too big for one entry.
    pub async fn submit(&self, context: Context, command: Command) -> Result<Submitted, NotDecided> {
        todo!()
    }

    pub async fn submit_batch(
        &self,
        context: Context,
        commands: Vec<BatchCommand>,
    ) -> Result<SubmittedBatch, NotDecided> {
        todo!()
    }

    /// Waits until a read with these options may look at the state.
    pub async fn read(&self, options: ReadOptions) -> Result<ReadPermit, ReadError> {
        todo!()
    }

    /// Looks at the state. Keep it short (freeze what takes long): apply waits.
    pub fn inspect<R>(&self, look: impl FnOnce(&Inventory) -> R) -> R {
        todo!()
    }

    /// The same, with the log index of exactly this state.
    pub fn inspect_at<R>(&self, look: impl FnOnce(u64, &Inventory) -> R) -> R {
        todo!()
    }

    pub fn facts(&self) -> NodeFacts {
        todo!()
    }

    /// Asks the leader for what only it knows; falls back to this node's own view.
    pub async fn cluster(&self, deadline: Instant) -> ClusterStatus {
        todo!()
    }

    pub fn readiness(&self) -> Readiness {
        todo!()
    }

    pub async fn init_cluster(&self, members: Vec<NewMember>) -> Result<uuid::Uuid, MembershipError> {
        todo!()
    }

    /// On any node; carried out by the leader.
    pub async fn add_member(&self, member: NewMember, deadline: Instant) -> Result<(), MembershipError> {
        todo!()
    }

    pub async fn remove_member(&self, id: u64, deadline: Instant) -> Result<(), MembershipError> {
        todo!()
    }

    pub async fn transfer_leader(&self, to: Option<u64>, deadline: Instant) -> Result<(), MembershipError> {
        todo!()
    }

    /// Stop, step one: `/readyz` fails, new commands are refused with `no_leader`, leadership is handed over.
    pub async fn drain(&self, within: Duration) {
        todo!()
    }

    /// Prometheus gauges that are read, not counted, are brought up to date here, before each scrape.
    pub fn refresh_metrics(&self) {
        todo!()
    }
}

/// Hash of a request as parsed, for telling a repeated key from a reused one.
pub fn fingerprint(command: &Command) -> crate::domain::command::Fingerprint {
    let _ = command;
    todo!()
}

#[allow(dead_code)]
fn _handles_are_shared(service: Service) -> Arc<dyn Send + Sync> {
    Arc::new(service)
}
