//! Consensus: the only room that knows openraft.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::command::Proposal;
use crate::domain::inventory::Inventory;
use crate::domain::outcome::Decision;
use crate::storage::state::{Opened, StateStore};
use crate::storage::wal::Wal;

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

pub struct StartOptions {
    pub node_id: u64,
    pub data: std::path::PathBuf,
    pub timing: Timing,
    pub peer_listener: std::net::TcpListener,
    pub wall_clock: WallClock,
    /// Ends the process with a clear last line.
    pub on_fatal: Arc<dyn Fn(String) + Send + Sync>,
    pub wal: Wal,
    pub opened: Opened,
    pub version: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    Leader,
    Follower,
    Learner,
}

/// The cluster as this node sees it. Cheap to read at any moment.
#[derive(Debug, Clone, Default)]
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
pub struct RaftNode {}

#[allow(unused_variables)]
impl RaftNode {
    /// Recovers, listens for peers, and takes part once the node belongs to a cluster.
    pub async fn start(options: StartOptions) -> Result<Self, String> {
        todo!()
    }

    /// Sets who takes forwarded requests. Until then they are refused unread.
    pub fn set_forward_handler(&self, handler: Arc<dyn ForwardHandler>) {
        todo!()
    }

    pub fn view(&self) -> Arc<ClusterView> {
        todo!()
    }

    /// Wakes at each change of the view.
    pub fn view_changes(&self) -> tokio::sync::watch::Receiver<Arc<ClusterView>> {
        todo!()
    }

    /// Queues one entry. `Err`: certainly not appended. The future's `Lost`: unknown. It may stay pending for ever when
    /// leadership is lost: bring a deadline. `encoded` is the codec's encoding of `proposal`.
    pub async fn propose(
        &self,
        proposal: Arc<Proposal>,
        encoded: Bytes,
    ) -> Result<impl Future<Output = Result<AppliedEntry, ProposeOutcome>> + Send + 'static, ProposeError> {
        todo!() as Result<std::future::Ready<Result<AppliedEntry, ProposeOutcome>>, ProposeError>
    }

    /// Returns when this node has applied everything that was committed when the call was made, confirmed by a quorum
    /// (ReadIndex; on a follower through the leader). Concurrent calls share a round.
    pub async fn read_barrier(&self, deadline: Instant) -> Result<(), BarrierError> {
        todo!()
    }

    /// Milliseconds since this node's state was certainly current; `None` when it cannot tell.
    pub fn staleness_ms(&self) -> Option<u64> {
        todo!()
    }

    /// Looks at the state. Keep it short: apply waits.
    pub fn inspect<R>(&self, look: impl FnOnce(&Inventory) -> R) -> R {
        todo!()
    }

    /// Index of the last applied entry, together with what `look` sees at exactly that index.
    pub fn inspect_at<R>(&self, look: impl FnOnce(u64, &Inventory) -> R) -> R {
        todo!()
    }

    /// Follows the applied revision.
    pub fn revisions(&self) -> tokio::sync::watch::Receiver<u64> {
        todo!()
    }

    /// Sends a request to the leader's `ForwardHandler` and waits for the answer.
    pub async fn call_leader(&self, request: Bytes, deadline: Instant) -> Result<Bytes, CallError> {
        todo!()
    }

    /// Wall-clock offsets (peer minus this node, milliseconds) that are fresh, by node id.
    pub fn clock_offsets(&self) -> Vec<(u64, i64)> {
        todo!()
    }

    pub fn gauges(&self) -> RaftGauges {
        todo!()
    }

    pub async fn nodes(&self) -> Vec<NodeStatus> {
        todo!()
    }

    /// Makes a new cluster of uninitialised nodes, this one among them.
    pub async fn init_cluster(&self, members: Vec<NewMember>) -> Result<Uuid, MembershipError> {
        todo!()
    }

    /// On the leader: adds an uninitialised node as a learner, waits until it caught up, makes it a voter.
    pub async fn add_member(&self, member: NewMember) -> Result<(), MembershipError> {
        todo!()
    }

    /// On the leader: removes a member for ever.
    pub async fn remove_member(&self, id: u64) -> Result<(), MembershipError> {
        todo!()
    }

    /// On the leader: hands leadership to `to`, or to the most up-to-date other voter.
    pub async fn transfer_leader(&self, to: Option<u64>) -> Result<(), MembershipError> {
        todo!()
    }

    pub fn store(&self) -> &StateStore {
        todo!()
    }

    /// Stops taking part, persists what is applied, closes log and store.
    pub async fn shutdown(&self, within: Duration) {
        todo!()
    }

    pub fn peer_addr(&self) -> SocketAddr {
        todo!()
    }
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
