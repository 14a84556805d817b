//! What [`RaftNode`] offers to the rooms above.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::ClientWriteError;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::barrier::Barrier;
use super::client::target_of;
use super::core::Core;
use super::types::{Payload, Reply};
use super::wire::{Answer, Lane, Request};
use super::{
    AppliedEntry, BarrierError, CallError, ClusterView, ForwardHandler, Lost, Member, MembershipError, NewMember,
    NodeStatus, PROPOSAL_BYTES_MAX, ProposeError, ProposeOutcome, RaftGauges, RaftNode, Role, StartOptions, members,
};
use crate::domain::command::Proposal;
use crate::domain::inventory::Inventory;
use crate::storage::state::StateStore;
use crate::storage::wal::WalStats;
use crate::watch::Hub;

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

    /// What the write-ahead log did since the start.
    pub fn wal_stats(&self) -> WalStats {
        self.core.wal_stats()
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

    /// Where change streams are subscribed to.
    pub fn hub(&self) -> &Arc<Hub> {
        &self.core.state.hub
    }

    pub fn store(&self) -> &StateStore {
        &self.core.state.store
    }

    /// Changes when snapshots are taken, see [`super::SNAPSHOT_WAL_BYTES`].
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
