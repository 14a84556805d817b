//! The composition root: wires the rooms of one node, starts it, and stops it in the right order.
//!
//! ```text
//! start:  listener, /livez → identity → WAL → state → raft → service → the whole API
//! stop:   /readyz fails, leadership handed over → requests finish → HTTP ends → raft, persister, WAL close
//! ```

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::{self, ApiOptions};
use crate::raft::{RaftNode, SNAPSHOT_WAL_BYTES, StartOptions, Timing};
use crate::service::{Service, WebhookOptions, stamp};
use crate::storage::GROUP;
use crate::storage::identity::{FolderLock, Identity};
use crate::storage::state::{Opened, StateOptions, StateStore};
use crate::storage::wal::{Wal, WalOptions};
use crate::watch::Retention;

/// What one node needs to know to start.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    pub node_id: u64,
    pub data: PathBuf,
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Where the other nodes connect.
    pub peer_listen: SocketAddr,
    /// `host:port` that the other nodes are told.
    pub peer_advertise: String,
    /// URL that clients are told.
    pub api_advertise: String,
    pub region: String,
    /// Listening beyond loopback without protection was asked for.
    pub insecure: bool,
    /// Timers for links with the delay of a continent.
    pub wide_area: bool,
    /// In a cluster started by `dev`: where the process listens that keeps the nodes.
    pub dev_control: Option<SocketAddr>,
    /// How much history is kept for streams.
    pub retention: Retention,
    /// Webhooks may reach private networks and this machine.
    pub webhook_allow_private: bool,
}

/// Log segments; one is written while others wait to be recycled.
const WAL_SEGMENT_BYTES: u64 = 64 << 20;
/// Recent entries kept in memory for followers that are a little behind.
const WAL_CACHE_BYTES: usize = 8 << 20;
/// Counted by sled as on disk; in memory it is about three times as much. Read only at the start and for old history.
const SLED_CACHE_BYTES: u64 = 4 << 20;

/// Files open besides one for each client: log, state, peers, and room to spare.
const OPEN_FILES_BESIDE_CLIENTS: u64 = 500;

/// How long a stopping node says so at `/readyz`, still serving, so that load balancers look elsewhere first.
const ANNOUNCE_STOP: Duration = Duration::from_secs(1);
/// A stop takes at most this long in all, then the process ends whatever is left.
const STOP_WITHIN: Duration = Duration::from_secs(10);
const DRAIN_WITHIN: Duration = Duration::from_secs(3);
const FINISH_REQUESTS_WITHIN: Duration = Duration::from_secs(3);
/// WebSockets were told together with the requests, and have had their time.
const CLOSE_SOCKETS_WITHIN: Duration = Duration::from_millis(500);
const CLOSE_WITHIN: Duration = Duration::from_secs(3);

/// Ends the process at once: what a node that cannot trust its disk or its consensus must do. Never returns.
fn die(why: String) {
    tracing::error!(%why, "fatal: this node stops now");
    std::process::abort();
}

/// Runs a node until SIGTERM or SIGINT, or until it cannot go on.
///
/// # Errors
/// A sentence that says what to do, when the node cannot start.
pub fn run(config: NodeConfig) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| format!("cannot start the runtime: {e}"))?;
    let result = runtime.block_on(serve(config));
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

async fn serve(config: NodeConfig) -> Result<(), String> {
    let mut terminate = signal(SignalKind::terminate()).map_err(|e| format!("cannot listen for SIGTERM: {e}"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|e| format!("cannot listen for SIGINT: {e}"))?;
    raise_open_files();
    let metrics = api::metrics::install().map_err(|e| e.to_string())?;
    let listener = tokio::net::TcpListener::bind(config.listen)
        .await
        .map_err(|e| format!("cannot listen on {} for clients: {e}; choose another --listen", config.listen))?;
    let peer_listener = std::net::TcpListener::bind(config.peer_listen)
        .map_err(|e| format!("cannot listen on {} for peers: {e}; choose another --peer-listen", config.peer_listen))?;
    // From here on clients are answered: what opens a big folder is alive, and says that it is not ready.
    let (front, stop) = (api::Front::opening(config.node_id), CancellationToken::new());
    let mut http = tokio::spawn(api::serve(listener, front.clone(), stop.clone(), FINISH_REQUESTS_WITHIN));
    let folder = config.clone();
    let data = tokio::task::spawn_blocking(move || open_data(&folder))
        .await
        .map_err(|e| format!("opening the data folder {} failed: {e}", config.data.display()))??;
    let raft = RaftNode::start(StartOptions {
        node_id: config.node_id,
        identity: data.identity,
        data: config.data.clone(),
        timing: if config.wide_area { Timing::WAN } else { Timing::LAN },
        peer_listener,
        wall_clock: stamp::wall_clock(),
        on_fatal: Arc::new(die),
        wal: data.wal,
        opened: data.opened,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        new_cluster_id: Arc::new(stamp::fresh_uuid),
        snapshot_wal_bytes: SNAPSHOT_WAL_BYTES,
        retention: config.retention,
    })
    .await?;
    let webhooks = WebhookOptions { allow_private: config.webhook_allow_private, render: api::webhook_body };
    let service = Service::start(raft.clone(), stamp::wall_clock(), webhooks, Arc::new(die));
    // Ends by itself only when `stop` is cancelled; a scrape without it still reads right, only with more memory.
    let upkeep = tokio::spawn(metrics.clone().upkeep(stop.clone()));
    let sockets = TaskTracker::new();
    let options = ApiOptions {
        own_api: Some(config.api_advertise.clone()),
        metrics: Some(metrics),
        stopping: stop.clone(),
        sockets: sockets.clone(),
        dev_control: config.dev_control,
    };
    front.take_over(api::router(service.clone(), options));
    tracing::info!(node_id = config.node_id, api = %config.api_advertise, peer = %config.peer_advertise, "serving");
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
        _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
        ended = &mut http => die(format!("the HTTP server ended by itself: {ended:?}")),
    }
    let stopped = tokio::time::timeout(STOP_WITHIN, async {
        tokio::join!(service.drain(DRAIN_WITHIN), tokio::time::sleep(ANNOUNCE_STOP));
        stop.cancel();
        match http.await {
            Ok(0) => {}
            Ok(cut) => tracing::warn!(connections = cut, "connections were cut that did not finish in time"),
            Err(failed) => tracing::error!(%failed, "the HTTP server ended badly"),
        }
        sockets.close();
        if tokio::time::timeout(CLOSE_SOCKETS_WITHIN, sockets.wait()).await.is_err() {
            tracing::warn!(sockets = sockets.len(), "WebSockets were cut that did not close in time");
        }
        upkeep.abort();
        raft.shutdown(CLOSE_WITHIN).await;
    });
    match stopped.await {
        Ok(()) => tracing::info!("stopped"),
        Err(_) => {
            tracing::warn!("not everything ended within {STOP_WITHIN:?}; what is acknowledged is on disk all the same")
        }
    }
    drop(data.lock);
    Ok(())
}

/// Lets this process open as many files as it may. Each client takes one.
fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(failed) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%failed, "the limit of open files cannot be raised to its maximum");
    }
    let wanted = api::CONNECTIONS_MAX as u64 + OPEN_FILES_BESIDE_CLIENTS;
    if let Some(files) = getrlimit(Resource::Nofile).current
        && files < wanted
    {
        tracing::warn!(files, wanted, "this process may open too few files for all the clients it would take");
    }
}

/// A node's data folder, opened.
struct Data {
    identity: Identity,
    /// Held as long as the node runs.
    lock: FolderLock,
    wal: Wal,
    opened: Opened,
}

fn open_data(config: &NodeConfig) -> Result<Data, String> {
    let on_fatal: Arc<dyn Fn(String) + Send + Sync> = Arc::new(die);
    let (identity, lock) =
        Identity::open(&config.data, config.node_id, stamp::fresh_uuid()).map_err(|e| e.to_string())?;
    let options = WalOptions {
        segment_bytes: WAL_SEGMENT_BYTES,
        cache_bytes: WAL_CACHE_BYTES,
        kept: identity.cluster_id.is_some(),
        on_fatal: on_fatal.clone(),
    };
    let wal = Wal::open(&config.data.join("wal"), options).map_err(|e| e.to_string())?;
    let first_log_index = wal.group(GROUP).state().last_purged.map_or(0, |purged| purged.index + 1);
    let options = StateOptions { sled_cache_bytes: SLED_CACHE_BYTES, history_max: config.retention.changes, on_fatal };
    let opened = StateStore::open(&config.data.join("state"), first_log_index, options).map_err(|e| e.to_string())?;
    tracing::info!(source = ?opened.source, applied = ?opened.applied.last_applied, "state opened");
    Ok(Data { identity, lock, wal, opened })
}
