//! Consensus: the only room that knows openraft.
//!
//! ```text
//!  propose ─▶ openraft core ─▶ log store ─▶ WAL (fsync)        state machine ◀─ committed entries, in order
//!                 │  ▲                                            │      │
//!     client.rs   ▼  │   server.rs                      answers ◀─┘      └─▶ persister ─▶ sled
//!  appends, heartbeats, votes, snapshots, forwarded requests: one connection each, to and from every peer
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `handle`, `core`, `tasks` | what is offered above; the parts put together: start, stop; what watches them |
//! | `types`, `entry` | what openraft is told; how entries are written |
//! | `log_store`, `machine`, `snapshot` | openraft's storage on ours |
//! | `wire`, `link`, `client`, `server`, `transfer` | what nodes say to each other |
//! | `agreement`, `room` | whether a leader's log is one with this node's state; how much may come in at a time |
//! | `peers`, `barrier`, `members` | clocks and freshness; linearizable reads; who is in the cluster |
//!
//! Invariants
//! - An entry is encoded once; the same bytes go to the log and to every peer.
//! - `NotLeader` is said only of what certainly never was appended. Everything else that gave no result is `Lost`.
//! - A read is served after recovery, and after a quorum confirmed the leader *since the read came*. No leases.
//! - The log is dropped only up to a snapshot that is durable, and no follower holds it longer than a number of bytes.
//! - A node talks only to nodes of its own cluster, each known by id *and* incarnation; an id is never used again.
//! - Any error of storage, a panic in apply and the death of any task end the process.
//!
//! Not here on purpose: retries of proposals (the service knows what may be repeated), several groups (each frame and
//! record names its group, and there is one), encryption (run peers in a private network).

mod agreement;
mod barrier;
mod client;
mod core;
mod entry;
mod handle;
mod link;
mod log_store;
mod machine;
mod members;
mod peers;
mod room;
mod server;
mod snapshot;
mod tasks;
#[cfg(test)]
mod tests;
mod transfer;
mod types;
mod wire;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use self::core::Core;
use crate::domain::outcome::Decision;
use crate::storage::identity::Identity;
use crate::storage::state::Opened;
use crate::storage::wal::Wal;
use crate::watch::Retention;

/// How long things take on this network.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    pub heartbeat_ms: u64,
    pub election_min_ms: u64,
    pub election_max_ms: u64,
}

impl Timing {
    pub const LAN: Self = Self { heartbeat_ms: 100, election_min_ms: 300, election_max_ms: 600 };
    pub const WAN: Self = Self { heartbeat_ms: 400, election_min_ms: 1500, election_max_ms: 3000 };
}

/// A member as all the others know it; part of the replicated membership.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// URL of the HTTP API, for clients and `Lastseat-Leader`.
    pub api: String,
    /// `host:port` for the other nodes.
    pub peer: String,
    pub region: String,
    pub incarnation: Uuid,
}

/// Reads the wall clock, in milliseconds since 1970. Made in `service/stamp.rs`, the only place with a clock.
pub type WallClock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Takes requests that another node forwards to this one.
pub trait ForwardHandler: Send + Sync + 'static {
    /// Answers within `deadline`, in whatever bytes service/ understands.
    fn handle(
        self: Arc<Self>,
        request: Bytes,
        deadline: Instant,
    ) -> std::pin::Pin<Box<dyn Future<Output = Bytes> + Send>>;
}

/// Largest encoding of a proposal. What is bigger travels in parts.
pub const PROPOSAL_BYTES_MAX: usize = 2 << 20;

/// A snapshot is taken when the log since the last one exceeds this and the size of that snapshot.
pub const SNAPSHOT_WAL_BYTES: u64 = 256 << 20;

pub struct StartOptions {
    pub node_id: u64,
    /// Of the folder `data`; whoever opened it holds its lock as long as the node runs.
    pub identity: Identity,
    pub data: std::path::PathBuf,
    pub timing: Timing,
    pub peer_listener: std::net::TcpListener,
    pub wall_clock: WallClock,
    /// Ends the process with a clear last line.
    pub on_fatal: Arc<dyn Fn(String) + Send + Sync>,
    pub wal: Wal,
    pub opened: Opened,
    pub version: String,
    /// Makes the random id of a new cluster.
    pub new_cluster_id: Arc<dyn Fn() -> Uuid + Send + Sync>,
    /// See [`SNAPSHOT_WAL_BYTES`].
    pub snapshot_wal_bytes: u64,
    pub retention: Retention,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    Leader,
    Follower,
    Learner,
}

/// The cluster as this node sees it. Cheap to read at any moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClusterView {
    pub cluster_id: Option<Uuid>,
    pub node_id: u64,
    pub term: u64,
    pub leader: Option<(u64, Member)>,
    /// This node leads (its own belief; a read barrier or a commit proves it).
    pub is_leader: bool,
    /// Everything committed before the restart has been applied: reads and streams may be served.
    pub recovered: bool,
    pub voters: Vec<u64>,
    pub members: Vec<(u64, Member)>,
    /// This node was removed from the cluster, for ever.
    pub removed: bool,
}

/// What the leader knows of one node; for a follower's own view most of it is unknown.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NodeStatus {
    pub id: u64,
    pub member: Member,
    pub role: Role,
    pub reachable: bool,
    /// Entries that this node lacks, as far as known.
    pub log_lag: Option<u64>,
    /// Its wall clock against the median.
    pub clock_skew_ms: Option<i64>,
    pub version: Option<String>,
}

/// Refused before the log: certainly no effect.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ProposeError {
    #[error("this node does not lead")]
    NotLeader,
    #[error("the node is stopping")]
    Stopping,
    /// One entry must fit the log and a message between nodes.
    #[error("a proposal of {0} bytes is over the limit of {PROPOSAL_BYTES_MAX}")]
    TooLarge(usize),
}

/// Was proposed and the result is not known.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the entry was proposed and its fate is not known")]
pub struct Lost;

#[derive(Debug, Clone, thiserror::Error)]
pub enum BarrierError {
    #[error("no leader is known")]
    NoLeader,
    #[error("not confirmed in time")]
    Timeout,
    #[error("this node is still recovering")]
    Recovering,
    #[error("this node was removed from the cluster")]
    Removed,
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum CallError {
    /// Nothing left this node, or the other refused it unread: certainly no effect.
    #[error("not sent: {0}")]
    NotSent(String),
    /// May have been received.
    #[error("no answer: {0}")]
    NoAnswer(String),
}

#[derive(Debug, Clone, thiserror::Error, Serialize, Deserialize)]
pub enum MembershipError {
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Failed(String),
}

/// An uninitialised node to be made a member.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NewMember {
    pub id: u64,
    pub api: String,
    pub peer: String,
    pub region: String,
}

/// One applied entry's result.
#[derive(Debug, Clone)]
pub struct AppliedEntry {
    pub log_index: u64,
    pub decisions: Vec<Decision>,
}

/// Numbers for metrics, admission and readiness.
#[derive(Debug, Clone, Default)]
pub struct RaftGauges {
    pub last_log_index: u64,
    pub applied_index: u64,
    pub persisted_index: u64,
    /// Entries and bytes that the persister is behind apply.
    pub persister_lag_entries: u64,
    pub persister_lag_bytes: u64,
    pub snapshot_index: u64,
    pub replayed_entries_at_start: u64,
    pub ms_since_quorum_ack: Option<u64>,
}

/// A running Raft node. A handle: clone it freely.
#[derive(Clone)]
pub struct RaftNode {
    core: Arc<Core>,
}

/// Why a queued entry gave no result.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ProposeOutcome {
    /// openraft refused it before appending (`ForwardToLeader`): certainly no effect.
    #[error("this node does not lead")]
    NotLeader,
    #[error(transparent)]
    Lost(#[from] Lost),
}
