//! The inside of a [`RaftNode`](super::RaftNode): how its parts are started, watched and stopped.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::{Config, Instant as _, ServerState, SnapshotPolicy};
use parking_lot::{Mutex, RwLock};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::agreement;
use super::barrier::Barrier;
use super::client::{Net, Network};
use super::log_store::LogStore;
use super::machine::{State, StateMachine};
use super::peers::{Freshness, Me, Peers};
use super::room::{Guests, Room};
use super::server::{self, FORWARD_BYTES_MAX};
use super::types::{StoredMembership, Types};
use super::{ClusterView, ForwardHandler, RaftGauges, StartOptions, Timing};
use crate::storage::identity::Identity;
use crate::storage::wal::{Wal, WalGroup, WalStats};
use crate::storage::{GROUP, LogId};

/// A leader without a quorum for this many election timeouts takes no more proposals.
const LOST_QUORUM_ELECTIONS: u64 = 3;
/// Most entries kept behind a snapshot, for followers that lag a little.
pub(super) const LOG_TO_KEEP: u64 = 10_000;
/// Most entries in one append to a peer.
const APPEND_ENTRIES_MAX: u64 = 256;
/// A follower is sent a snapshot only when the log no longer has what it needs.
const LAG_THRESHOLD: u64 = u64::MAX / 2;
/// openraft's deadline on a whole snapshot. Ours is on silence, in `transfer.rs`.
const SNAPSHOT_WITHIN_MS: u64 = 24 * 3_600_000;

pub(super) type Raft = openraft::Raft<Types, StateMachine>;

pub(super) struct Core {
    pub(super) me: Arc<Me>,
    pub(super) peers: Arc<Peers>,
    pub(super) net: Arc<Net>,
    pub(super) raft: Raft,
    pub(super) state: Arc<State>,
    pub(super) freshness: Freshness,
    pub(super) barrier: Barrier,
    pub(super) view: watch::Sender<Arc<ClusterView>>,
    pub(super) stopping: CancellationToken,
    pub(super) guests: Guests,
    pub(super) room: Room,
    pub(super) forward_handler: RwLock<Option<Arc<dyn ForwardHandler>>>,
    pub(super) forward_room: Arc<Semaphore>,
    /// One snapshot is received at a time.
    pub(super) receiving: Arc<Semaphore>,
    pub(super) identity: tokio::sync::Mutex<Identity>,
    pub(super) data: std::path::PathBuf,
    pub(super) new_cluster_id: Arc<dyn Fn() -> Uuid + Send + Sync>,
    /// One change of the membership from this node at a time.
    pub(super) changing: tokio::sync::Mutex<()>,
    pub(super) snapshot_wal_bytes: AtomicU64,
    pub(super) peer_addr: std::net::SocketAddr,
    pub(super) on_fatal: Arc<dyn Fn(String) + Send + Sync>,
    pub(super) recovered: AtomicBool,
    pub(super) log: WalGroup,
    wal: Wal,
    supervisor: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

fn config(timing: &Timing) -> Result<Config, String> {
    let config = Config {
        cluster_name: "lastseat".into(),
        heartbeat_interval: timing.heartbeat_ms,
        election_timeout_min: timing.election_min_ms,
        election_timeout_max: timing.election_max_ms,
        install_snapshot_timeout: SNAPSHOT_WITHIN_MS,
        max_payload_entries: APPEND_ENTRIES_MAX,
        replication_lag_threshold: LAG_THRESHOLD,
        // Taken by size of the log, see `snapshots`.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: LOG_TO_KEEP,
        // With it a leader that restarts fast answers reads from before its restart.
        enable_leader_restore: Some(false),
        enable_pre_vote: Some(true),
        backoff: "20ms 40ms 80ms ...500ms".into(),
        ..Config::default()
    };
    config.validate().map_err(|e| format!("these times do not fit together: {e}"))
}

/// How long ago a quorum confirmed this node as leader; `None` when it does not lead.
fn quorum_age(raft: &Raft, me: u64) -> Option<u64> {
    let server = raft.server_metrics();
    let server = server.borrow_watched();
    if server.state != ServerState::Leader {
        return None;
    }
    if server.membership_config.voter_ids().eq([me]) {
        return Some(0);
    }
    drop(server);
    let data = raft.data_metrics();
    let data = data.borrow_watched();
    let acked = data.last_quorum_acked.as_ref()?;
    u64::try_from(acked.elapsed().as_millis()).ok()
}

impl Core {
    pub(super) async fn start(options: StartOptions) -> Result<Arc<Self>, String> {
        let StartOptions { identity, node_id, data, timing, peer_listener, wall_clock, on_fatal, wal, opened, .. } =
            options;
        if identity.node_id != node_id {
            return Err(format!("the folder belongs to node {}, not to node {node_id}", identity.node_id));
        }
        let config = Arc::new(config(&timing)?);
        let io = |what: &'static str| move |e: io::Error| format!("{what}: {e}");
        peer_listener.set_nonblocking(true).map_err(io("the peer port"))?;
        let listener = TcpListener::from_std(peer_listener).map_err(io("the peer port"))?;
        let peer_addr = listener.local_addr().map_err(io("the peer port"))?;
        let me = Arc::new(Me::new(&identity, options.version, wall_clock, timing));
        let peers = Arc::new(Peers::default());
        let state =
            State::new(opened.store, opened.inventory, &opened.applied, options.retention, Arc::clone(&on_fatal))
                .map_err(io("the stored state"))?;
        state.start_persister().map_err(io("the persister"))?;
        let log = wal.group(GROUP);
        agreement::check_start(state.applied_id(), &log)?;
        let at_start = log.state().last;
        let known_raft: Arc<OnceLock<Raft>> = Arc::default();
        let for_age = Arc::clone(&known_raft);
        let net = Net::new(Arc::clone(&me), Arc::clone(&peers), move || quorum_age(for_age.get()?, node_id));
        let raft = Raft::new(
            node_id,
            config,
            Network(Arc::clone(&net)),
            LogStore::new(log.clone()).under(Arc::clone(&state)),
            StateMachine::new(Arc::clone(&state)),
        )
        .await
        .map_err(|e| format!("the log cannot be taken up: {e}"))?;
        let _ = known_raft.set(raft.clone());
        let core = Arc::new(Self {
            me,
            peers,
            net,
            raft,
            state,
            freshness: Freshness::default(),
            barrier: Barrier::default(),
            view: watch::Sender::new(Arc::default()),
            stopping: CancellationToken::new(),
            guests: Guests::default(),
            room: Room::default(),
            forward_handler: RwLock::new(None),
            forward_room: Arc::new(Semaphore::new(FORWARD_BYTES_MAX)),
            receiving: Arc::new(Semaphore::new(1)),
            identity: tokio::sync::Mutex::new(identity),
            data,
            new_cluster_id: options.new_cluster_id,
            changing: tokio::sync::Mutex::default(),
            snapshot_wal_bytes: AtomicU64::new(options.snapshot_wal_bytes),
            peer_addr,
            on_fatal,
            recovered: AtomicBool::new(false),
            log,
            wal,
            supervisor: Mutex::new(None),
        });
        core.refresh_view();
        core.spawn_tasks(listener, at_start);
        Ok(core)
    }

    /// Every task of the node. One that ends before the node stops ends the process.
    fn spawn_tasks(self: &Arc<Self>, listener: TcpListener, at_start: Option<LogId>) {
        let mut tasks: JoinSet<&'static str> = JoinSet::new();
        let mut own = |name: &'static str, task: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>| {
            tasks.spawn(async move {
                task.await;
                name
            });
        };
        own("the peer port", Box::pin(server::listen(Arc::clone(self), listener)));
        own("the read barrier", Box::pin(Barrier::run(Arc::clone(self))));
        own("the view of the cluster", Box::pin(Arc::clone(self).follow_raft()));
        own("the clocks of peers", Box::pin(Arc::clone(self).clocks()));
        own("the taking of snapshots", Box::pin(Arc::clone(self).snapshots()));
        // Ends by itself when it has seen the recovery, and is part of the view until then.
        own("the recovery", Box::pin(Arc::clone(self).recover(at_start)));
        own("the pacing of streams", Box::pin(Arc::clone(self).pace_streams()));
        own("the index of history", Box::pin(Arc::clone(self).index_history()));
        let core = Arc::clone(self);
        let supervisor = tokio::spawn(async move {
            while let Some(ended) = tasks.join_next().await {
                if core.stopping.is_cancelled() {
                    continue;
                }
                match ended {
                    Ok(name) => (core.on_fatal)(format!("{name} ended unexpectedly")),
                    Err(e) => (core.on_fatal)(format!("a task of the node panicked: {e}")),
                }
            }
        });
        *self.supervisor.lock() = Some(supervisor);
    }

    pub(super) fn membership(&self) -> Arc<StoredMembership> {
        Arc::clone(&self.raft.server_metrics().borrow_watched().membership_config)
    }

    pub(super) fn applied_index(&self) -> u64 {
        *self.state.applied().borrow()
    }

    pub(super) fn quorum_age_ms(&self) -> Option<u64> {
        quorum_age(&self.raft, self.me.node_id)
    }

    /// Leads by its own belief, and no quorum has confirmed that for long: what it is given would only hang.
    pub(super) fn lost_quorum(&self) -> bool {
        self.quorum_age_ms().is_some_and(|age| age > self.me.timing.election_max_ms * LOST_QUORUM_ELECTIONS)
    }

    /// Publishes what this node sees. It looks while it holds the place to publish: of two who do this at once, the last
    /// one to publish has looked last. An older look on top of a newer one would stay until the next change.
    pub(super) fn refresh_view(&self) {
        self.view.send_if_modified(|old| {
            let view = self.look();
            let changed = **old != view;
            if changed {
                *old = Arc::new(view);
            }
            changed
        });
    }

    /// By what is applied here, or by what another member said: a removed node need not hear of it through the log.
    pub(super) fn is_removed(&self) -> bool {
        self.me.was_told_removed() || self.state.removed().contains(&self.me.node_id)
    }

    fn look(&self) -> ClusterView {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched().clone();
        let members: Vec<_> = metrics.membership_config.nodes().map(|(id, m)| (*id, m.clone())).collect();
        let leader = metrics.current_leader;
        ClusterView {
            cluster_id: *self.me.cluster.read(),
            node_id: self.me.node_id,
            term: metrics.vote.leader_id.term,
            leader: leader.and_then(|id| members.iter().find(|(member, _)| *member == id).cloned()),
            is_leader: metrics.state == ServerState::Leader,
            recovered: self.recovered.load(Ordering::Acquire),
            voters: metrics.membership_config.voter_ids().collect(),
            members,
            removed: self.is_removed(),
        }
    }

    /// Makes this uninitialised node part of a cluster.
    pub(super) async fn adopt(&self, cluster: Uuid, node_id: u64) -> Result<(), String> {
        if node_id != self.me.node_id {
            return Err(format!("this is node {}, not {node_id}", self.me.node_id));
        }
        let mut identity = self.identity.lock().await;
        let mut next = identity.clone();
        let data = self.data.clone();
        let adopted = tokio::task::spawn_blocking(move || next.adopt(&data, cluster).map(|()| next)).await;
        *identity = adopted.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
        *self.me.cluster.write() = identity.cluster_id;
        drop(identity);
        self.refresh_view();
        tracing::info!(%cluster, "this node belongs to a cluster now");
        Ok(())
    }

    pub(super) fn wal_stats(&self) -> WalStats {
        self.wal.stats()
    }

    pub(super) fn gauges(&self) -> RaftGauges {
        let metrics = self.raft.data_metrics();
        let last_log_index = metrics.borrow_watched().last_log.map_or(0, |id| id.index);
        let (applied_index, persisted_index) =
            (self.applied_index(), self.state.persister().map_or(0, |p| p.persisted_index()));
        let snapshot = self.state.store.latest_snapshot().and_then(|s| s.applied.last_applied);
        RaftGauges {
            last_log_index,
            applied_index,
            persisted_index,
            persister_lag_entries: applied_index.saturating_sub(persisted_index),
            persister_lag_bytes: self.state.pending_bytes(),
            snapshot_index: snapshot.map_or(0, |id| id.index),
            replayed_entries_at_start: self.state.replayed(),
            ms_since_quorum_ack: self.quorum_age_ms(),
        }
    }

    /// Stops in the order in which nothing is lost: network, consensus, state, log.
    pub(super) async fn shutdown(self: &Arc<Self>, within: Duration) {
        self.stopping.cancel();
        let stop = async {
            if let Err(e) = self.raft.shutdown().await {
                tracing::warn!(error = %e, "consensus did not stop cleanly");
            }
            let supervisor = self.supervisor.lock().take();
            if let Some(supervisor) = supervisor {
                let _ = supervisor.await;
            }
            let core = Arc::clone(self);
            let closed = tokio::task::spawn_blocking(move || {
                if let Some(persister) = core.state.persister()
                    && let Err(e) = persister.shutdown()
                {
                    tracing::warn!(error = %e, "the state was not persisted to its end; the log has the rest");
                }
                if let Err(e) = core.state.store.close() {
                    tracing::warn!(error = %e, "the state was not closed cleanly");
                }
                if let Err(e) = core.wal.close() {
                    tracing::warn!(error = %e, "the log was not closed cleanly");
                }
            });
            let _ = closed.await;
        };
        if tokio::time::timeout(within, stop).await.is_err() {
            tracing::warn!(?within, "not stopped in time; the log has everything that was acknowledged");
        }
    }
}
