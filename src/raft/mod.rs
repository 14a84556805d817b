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
//! | `core` | the parts put together: start, the tasks that watch, stop |
//! | `types`, `entry` | what openraft is told; how entries are written |
//! | `log_store`, `machine`, `snapshot` | openraft's storage on ours |
//! | `wire`, `link`, `client`, `server`, `transfer` | what nodes say to each other |
//! | `peers`, `barrier`, `members` | clocks and freshness; linearizable reads; who is in the cluster |
//!
//! Invariants
//! - An entry is encoded once; the same bytes go to the log and to every peer.
//! - `NotLeader` is said only of what certainly never was appended. Everything else that gave no result is `Lost`.
//! - A read is served after recovery, and after a quorum confirmed the leader *since the read came*. No leases.
//! - The log is dropped only up to a snapshot that is durable.
//! - A node talks only to nodes of its own cluster, each known by id *and* incarnation; an id is never used again.
//! - Any error of storage, a panic in apply and the death of any task end the process.
//!
//! Not here on purpose: retries of proposals (the service knows what may be repeated), several groups (each frame and
//! record names its group, and there is one), encryption (run peers in a private network).

mod barrier;
mod client;
mod core;
mod entry;
mod link;
mod log_store;
mod machine;
mod members;
mod peers;
mod server;
mod snapshot;
#[cfg(test)]
mod tests;
mod transfer;
mod types;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::ClientWriteError;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use uuid::Uuid;

use self::barrier::Barrier;
use self::client::target_of;
use self::core::Core;
use self::types::{Payload, Reply};
use self::wire::{Answer, Lane, Request};
use crate::domain::command::Proposal;
use crate::domain::inventory::Inventory;
use crate::domain::outcome::Decision;
use crate::storage::identity::Identity;
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
}

/// What the leader knows of one node; for a follower's own view most of it is unknown.
#[derive(Debug, Clone)]
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

#[derive(Debug, Clone, thiserror::Error)]
pub enum MembershipError {
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Failed(String),
}

/// An uninitialised node to be made a member.
#[derive(Debug, Clone)]
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

impl RaftNode {
    /// Recovers, listens for peers, and takes part once the node belongs to a cluster.
    pub async fn start(options: StartOptions) -> Result<Self, String> {
        Core::start(options).await.map(|core| Self { core })
    }

    /// Sets who takes forwarded requests. Until then they are refused unread.
    pub fn set_forward_handler(&self, handler: Arc<dyn ForwardHandler>) {
        *self.core.forward_handler.write() = Some(handler);
    }

    pub fn view(&self) -> Arc<ClusterView> {
        Arc::clone(&self.core.view.borrow())
    }

    /// Wakes at each change of the view.
    pub fn view_changes(&self) -> tokio::sync::watch::Receiver<Arc<ClusterView>> {
        self.core.view.subscribe()
    }

    /// Queues one entry. `Err`: certainly not appended. The future's `Lost`: unknown. It may stay pending for ever when
    /// leadership is lost: bring a deadline. `encoded` is the codec's encoding of `proposal`.
    pub async fn propose(
        &self,
        proposal: Arc<Proposal>,
        encoded: Bytes,
    ) -> Result<impl Future<Output = Result<AppliedEntry, ProposeOutcome>> + Send + 'static, ProposeError> {
        if self.core.stopping.is_cancelled() {
            return Err(ProposeError::Stopping);
        }
        if !self.core.view.borrow().is_leader || self.core.lost_quorum() {
            return Err(ProposeError::NotLeader);
        }
        if encoded.len() > PROPOSAL_BYTES_MAX {
            return Err(ProposeError::TooLarge(encoded.len()));
        }
        let (tx, rx) = oneshot::channel();
        let payload = Payload::new(&encoded, proposal);
        // An error: openraft's queue is closed, and the entry did not get into it.
        self.core.raft.client_write_ff(payload, Some(Reply(tx))).await.map_err(|_| ProposeError::Stopping)?;
        Ok(async move {
            match rx.await {
                Ok(Ok(written)) => Ok(AppliedEntry { log_index: written.log_id.index, decisions: written.data.0 }),
                // Refused before it was appended; openraft says `LogEntryDiscarded` of what was.
                Ok(Err(ClientWriteError::ForwardToLeader(_))) => Err(ProposeOutcome::NotLeader),
                Ok(Err(_)) | Err(_) => Err(ProposeOutcome::Lost(Lost)),
            }
        })
    }

    /// Returns when this node has applied everything that was committed when the call was made, confirmed by a quorum
    /// (ReadIndex; on a follower through the leader). Concurrent calls share a round.
    pub async fn read_barrier(&self, deadline: Instant) -> Result<(), BarrierError> {
        Barrier::pass(&self.core, deadline).await
    }

    /// Milliseconds since this node's state was certainly current; `None` when it cannot tell.
    pub fn staleness_ms(&self) -> Option<u64> {
        let view = self.core.view.borrow();
        if !view.recovered {
            return None;
        }
        match view.is_leader {
            true => self.core.quorum_age_ms(),
            false => self.core.freshness.staleness_ms(self.core.applied_index()),
        }
    }

    /// Looks at the state. Keep it short: apply waits.
    pub fn inspect<R>(&self, look: impl FnOnce(&Inventory) -> R) -> R {
        self.core.state.inspect(|_, inventory| look(inventory))
    }

    /// Index of the last applied entry, together with what `look` sees at exactly that index.
    pub fn inspect_at<R>(&self, look: impl FnOnce(u64, &Inventory) -> R) -> R {
        self.core.state.inspect(look)
    }

    /// Follows the applied revision.
    pub fn revisions(&self) -> tokio::sync::watch::Receiver<u64> {
        self.core.state.revisions()
    }

    /// Sends a request to the leader's `ForwardHandler` and waits for the answer.
    pub async fn call_leader(&self, request: Bytes, deadline: Instant) -> Result<Bytes, CallError> {
        let view = self.view();
        let Some((id, member)) = view.leader.as_ref().filter(|_| !view.is_leader) else {
            return Err(CallError::NotSent("no other node is known to lead".into()));
        };
        let left = deadline.saturating_duration_since(Instant::now());
        let within_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        let request = Request::Forward { within_ms, body: request };
        match self.core.net.call(Lane::Forward, &target_of(*id, member), &request, deadline).await? {
            Answer::Forwarded(answer) => Ok(answer),
            other => Err(CallError::NoAnswer(format!("an answer of another kind: {other:?}"))),
        }
    }

    /// Wall-clock offsets (peer minus this node, milliseconds) that are fresh, by node id.
    pub fn clock_offsets(&self) -> Vec<(u64, i64)> {
        self.core.peers.offsets()
    }

    pub fn gauges(&self) -> RaftGauges {
        self.core.gauges()
    }

    pub async fn nodes(&self) -> Vec<NodeStatus> {
        let core = &self.core;
        let membership = core.membership();
        let view = self.view();
        let offsets = core.peers.offsets();
        let median = median(offsets.iter().map(|(_, offset)| *offset));
        let metrics = core.raft.data_metrics();
        let metrics = metrics.borrow_watched();
        let last = metrics.last_log.map_or(0, |id| id.index);
        let status = |(id, member): (&u64, &Member)| {
            let me = *id == core.me.node_id;
            let (reachable, version) = match me {
                true => (true, Some(core.me.version.clone())),
                false => core.peers.status(*id),
            };
            let offset = match me {
                true => Some(0),
                false => offsets.iter().find(|(peer, _)| peer == id).map(|(_, offset)| *offset),
            };
            let matched = metrics.replication.as_ref().and_then(|r| r.get(id).copied().flatten()).map(|m| m.index);
            NodeStatus {
                id: *id,
                member: member.clone(),
                role: match () {
                    () if view.leader.as_ref().is_some_and(|(leader, _)| leader == id) => Role::Leader,
                    () if membership.voter_ids().any(|voter| voter == *id) => Role::Follower,
                    () => Role::Learner,
                },
                reachable,
                log_lag: if me && view.is_leader { Some(0) } else { matched.map(|at| last.saturating_sub(at)) },
                clock_skew_ms: offset.map(|offset| offset - median),
                version,
            }
        };
        membership.nodes().map(status).collect()
    }

    /// Makes a new cluster of uninitialised nodes, this one among them.
    pub async fn init_cluster(&self, members: Vec<NewMember>) -> Result<Uuid, MembershipError> {
        members::init_cluster(&self.core, members).await
    }

    /// On the leader: adds an uninitialised node as a learner, waits until it caught up, makes it a voter.
    pub async fn add_member(&self, member: NewMember) -> Result<(), MembershipError> {
        members::add_member(&self.core, member).await
    }

    /// On the leader: removes a member for ever.
    pub async fn remove_member(&self, id: u64) -> Result<(), MembershipError> {
        members::remove_member(&self.core, id).await
    }

    /// On the leader: hands leadership to `to`, or to the most up-to-date other voter.
    pub async fn transfer_leader(&self, to: Option<u64>) -> Result<(), MembershipError> {
        members::transfer_leader(&self.core, to).await
    }

    pub fn store(&self) -> &StateStore {
        &self.core.state.store
    }

    /// Changes when snapshots are taken, see [`SNAPSHOT_WAL_BYTES`].
    pub fn set_snapshot_wal_bytes(&self, bytes: u64) {
        self.core.snapshot_wal_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Stops taking part, persists what is applied, closes log and store.
    pub async fn shutdown(&self, within: Duration) {
        self.core.shutdown(within).await;
    }

    pub fn peer_addr(&self) -> SocketAddr {
        self.core.peer_addr
    }
}

/// The middle of all offsets and this node's own, which is 0.
fn median(offsets: impl Iterator<Item = i64>) -> i64 {
    let mut all: Vec<i64> = offsets.chain([0]).collect();
    all.sort_unstable();
    all[(all.len() - 1) / 2]
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
