//! Whole nodes on loopback, in one process, each with a folder of its own.
#![allow(clippy::unwrap_used)]

mod apart;
mod cluster;
mod formats;
mod partition;
mod reads;
mod relay;
mod short_log;
mod strangers;
mod suite;

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use openraft::async_runtime::watch::WatchReceiver;
use parking_lot::Mutex;
use uuid::Uuid;

use super::client::target_of;
use super::wire::{Answer, Lane, Request};
use super::*;
use crate::domain::codec;
use crate::domain::command::{
    Command, Contents, Definition, Fingerprint, KeyMaker, Proposal, ProposalBody, Request as Ask,
};
use crate::domain::id::{EventId, Key};
use crate::domain::value::{EventHead, HoldPolicy, Limits, Millis};
use crate::storage::identity::{FolderLock, Identity};
use crate::storage::state::{StateOptions, StateStore};
use crate::storage::wal::{Wal, WalOptions};
use crate::storage::{GROUP, LogId};

pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Slower than on a LAN: many tests share the machine, and most stories need a leader that stays.
const TIMING: Timing = Timing { heartbeat_ms: 150, election_min_ms: 600, election_max_ms: 1200 };

pub(super) fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

pub(super) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

type Fatal = Arc<Mutex<Vec<String>>>;

pub(super) fn open_wal(dir: &Path, kept: bool, fatal: &Fatal) -> Wal {
    let options = WalOptions { segment_bytes: 1 << 20, cache_bytes: 1 << 20, kept, on_fatal: noting(fatal) };
    Wal::open(&dir.join("wal"), options).unwrap()
}

pub(super) fn open_state(dir: &Path, first: u64, fatal: &Fatal) -> Opened {
    let options = StateOptions { sled_cache_bytes: 16 << 20, history_max: 100_000, on_fatal: noting(fatal) };
    StateStore::open(&dir.join("state"), first, options).unwrap()
}

fn noting(fatal: &Fatal) -> Arc<dyn Fn(String) + Send + Sync> {
    let fatal = Arc::clone(fatal);
    Arc::new(move |why| fatal.lock().push(why))
}

/// A node that can be stopped and started again on its folder and port.
pub(super) struct Node {
    pub(super) id: u64,
    dir: tempfile::TempDir,
    pub(super) peer: String,
    /// What the others are told, when it is not the node's own port.
    pub(super) advertised: Option<String>,
    running: Option<(RaftNode, FolderLock)>,
    fatal: Fatal,
    /// Added to the wall clock of this node.
    clock_offset_ms: i64,
}

impl Node {
    pub(super) async fn new(id: u64) -> Self {
        Self::with_clock(id, 0).await
    }

    pub(super) async fn with_clock(id: u64, clock_offset_ms: i64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let fatal = Fatal::default();
        let mut node =
            Self { id, dir, peer: "127.0.0.1:0".into(), advertised: None, running: None, fatal, clock_offset_ms };
        node.start().await;
        node
    }

    pub(super) async fn start(&mut self) {
        let listener = bind(&self.peer).await;
        let dir = self.dir.path();
        let (identity, lock) = Identity::open(dir, self.id, Uuid::new_v4()).unwrap();
        let wal = open_wal(dir, identity.cluster_id.is_some(), &self.fatal);
        let first = wal.group(GROUP).state().last_purged.map_or(0, |id: LogId| id.index + 1);
        let opened = open_state(dir, first, &self.fatal);
        let offset = self.clock_offset_ms;
        let options = StartOptions {
            node_id: self.id,
            identity,
            data: dir.to_owned(),
            timing: TIMING,
            peer_listener: listener,
            wall_clock: Arc::new(move || wall_ms().checked_add_signed(offset).unwrap()),
            on_fatal: noting(&self.fatal),
            wal,
            opened,
            version: "0.1.0".into(),
            new_cluster_id: Arc::new(Uuid::new_v4),
            snapshot_wal_bytes: SNAPSHOT_WAL_BYTES,
            retention: Retention::default(),
        };
        let node = RaftNode::start(options).await.unwrap();
        node.set_forward_handler(Arc::new(Echo(self.id)));
        self.peer = node.peer_addr().to_string();
        self.running = Some((node, lock));
    }

    pub(super) async fn stop(&mut self) {
        if let Some((node, lock)) = self.running.take() {
            node.shutdown(Duration::from_secs(10)).await;
            drop((node, lock));
        }
        assert_eq!(*self.fatal.lock(), Vec::<String>::new(), "node {} failed", self.id);
    }

    /// Forgets everything but id and port.
    pub(super) fn wipe(&mut self) {
        assert!(self.running.is_none());
        self.dir = tempfile::tempdir().unwrap();
    }

    pub(super) fn raft(&self) -> &RaftNode {
        &self.running.as_ref().unwrap().0
    }

    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    pub(super) fn as_new(&self) -> NewMember {
        let id = self.id;
        NewMember {
            id,
            api: format!("http://node{id}"),
            peer: self.advertised.clone().unwrap_or_else(|| self.peer.clone()),
            region: "here".into(),
        }
    }

    /// Takes a snapshot and drops all of the log that it covers. Returns up to where that is.
    pub(super) async fn compact(&self) -> u64 {
        let node = self.raft();
        let applied = node.inspect_at(|index, _| index);
        node.core.raft.trigger().snapshot().await.unwrap();
        eventually("a snapshot is taken", || node.gauges().snapshot_index >= applied).await;
        let upto = node.gauges().snapshot_index;
        let until = Instant::now() + PATIENCE;
        // A leader keeps what it is just now sending; and openraft hears of a snapshot a little later.
        while node.core.raft.data_metrics().borrow_watched().purged.is_none_or(|id| id.index < upto) {
            assert!(Instant::now() < until, "the log is not purged");
            node.core.raft.trigger().purge_log(upto).await.unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        upto
    }

    pub(super) fn snapshot_files(&self) -> usize {
        std::fs::read_dir(self.dir.path().join("state/snapshots")).unwrap().count()
    }

    pub(super) fn revision(&self) -> u64 {
        self.raft().inspect(|inventory| inventory.revision().0)
    }
}

/// The port may still be closing.
async fn bind(addr: &str) -> TcpListener {
    let until = Instant::now() + PATIENCE;
    loop {
        match TcpListener::bind(addr) {
            Ok(listener) => return listener,
            Err(e) => assert!(Instant::now() < until, "{addr}: {e}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

struct Echo(u64);

impl ForwardHandler for Echo {
    fn handle(
        self: Arc<Self>,
        request: Bytes,
        _deadline: Instant,
    ) -> std::pin::Pin<Box<dyn Future<Output = Bytes> + Send>> {
        Box::pin(async move { Bytes::from(format!("{}:{}", self.0, String::from_utf8_lossy(&request))) })
    }
}

pub(super) struct Cluster {
    pub(super) nodes: Vec<Node>,
}

impl Cluster {
    pub(super) async fn new(count: u64) -> Self {
        let mut nodes = Vec::new();
        for id in 1..=count {
            nodes.push(Node::new(id).await);
        }
        nodes[0].raft().init_cluster(nodes.iter().map(Node::as_new).collect()).await.unwrap();
        let cluster = Self { nodes };
        cluster.leader().await;
        cluster
    }

    /// The node that all running ones say leads.
    pub(super) async fn leader(&self) -> usize {
        let mut found = 0;
        eventually("there is one leader", || {
            let running: Vec<_> = self.nodes.iter().enumerate().filter(|(_, n)| n.is_running()).collect();
            let Some((at, leader)) = running.iter().find(|(_, n)| n.raft().view().is_leader) else { return false };
            found = *at;
            let view = leader.raft().view();
            let known = |n: &&(usize, &Node)| n.1.raft().view().leader.as_ref().map(|l| l.0) == Some(leader.id);
            view.voters.contains(&leader.id) && running.iter().filter(known).count() == running.len()
        })
        .await;
        found
    }

    pub(super) fn followers(&self, leader: usize) -> Vec<usize> {
        (0..self.nodes.len()).filter(|at| *at != leader && self.nodes[*at].is_running()).collect()
    }

    /// Writes through whoever leads, until it is confirmed. The key makes it one write, however often it is tried.
    pub(super) async fn write(&self, name: &str) -> AppliedEntry {
        let running = self.nodes.iter().filter(|n| n.is_running()).map(|n| n.raft().clone()).collect::<Vec<_>>();
        write_somewhere(&running, name).await
    }

    pub(super) async fn stop(mut self) {
        for node in &mut self.nodes {
            node.stop().await;
        }
    }
}

pub(super) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A proposal that makes an event of this name: one revision.
pub(super) fn define(name: &str) -> Proposal {
    let head = EventHead {
        name: name.into(),
        on_sale: true,
        hold: HoldPolicy::default(),
        limits: Limits::default(),
        labels: Default::default(),
    };
    let contents = Contents::Inline { seats: Vec::new(), pools: Vec::new() };
    let command =
        Command::Define { event: EventId::parse(name).unwrap(), definition: Box::new(Definition { head, contents }) };
    let ask = Ask {
        key: Key::parse(&format!("key-{name}")).unwrap(),
        key_made_by: KeyMaker::Client,
        fingerprint: Fingerprint(1),
        not_after: None,
        if_match: None,
        fresh_tokens: Vec::new(),
        command,
    };
    Proposal { stamp: Millis(wall_ms()), body: ProposalBody::Requests(vec![ask]) }
}

pub(super) async fn write_somewhere(nodes: &[RaftNode], name: &str) -> AppliedEntry {
    let until = Instant::now() + PATIENCE;
    loop {
        for node in nodes.iter().filter(|node| node.view().is_leader) {
            if let Ok(applied) = write(node, name).await {
                return applied;
            }
        }
        assert!(Instant::now() < until, "{name} was not confirmed in time");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Proposes and waits for the answer.
pub(super) async fn write(node: &RaftNode, name: &str) -> Result<AppliedEntry, String> {
    let proposal = define(name);
    let encoded = Bytes::from(codec::encode(&proposal));
    let answer = node.propose(Arc::new(proposal), encoded).await.map_err(|e| e.to_string())?;
    match tokio::time::timeout(Duration::from_secs(3), answer).await {
        Ok(result) => result.map_err(|e| e.to_string()),
        Err(_) => Err("no answer".into()),
    }
}
