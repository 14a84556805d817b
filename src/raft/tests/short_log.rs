//! The log stays short, whoever is down, slow, or gets a damaged snapshot; and everybody catches up.

use std::sync::atomic::{AtomicU64, Ordering};

use openraft::RaftNetworkFactory;
use openraft::network::{RPCOption, v2::RaftNetworkV2};

use super::relay::relayed;
use super::*;
use crate::raft::client::Network;

const THRESHOLD: u64 = 256 << 10;
/// What the log may grow to when nobody holds it: between two snapshots, behind the last one, and until that is noticed.
const SHORT: u64 = 3 * THRESHOLD;

/// A proposal that weighs 16 KiB in the log, and next to nothing in the state however often it is made: its key is known.
fn heavy() -> (Arc<Proposal>, Bytes) {
    let mut proposal = define("heavy");
    if let ProposalBody::Requests(asks) = &mut proposal.body
        && let Command::Define { definition, .. } = &mut asks[0].command
    {
        definition.head.labels.insert("weight".into(), "x".repeat(16 << 10));
    }
    let encoded = Bytes::from(codec::encode(&proposal));
    (Arc::new(proposal), encoded)
}

/// Lets the log grow by more than the threshold and waits until a majority has a snapshot of that.
async fn grow(cluster: &Cluster) {
    let running: Vec<_> = cluster.nodes.iter().filter(|node| node.is_running()).map(Node::raft).collect();
    let before: Vec<_> = running.iter().map(|node| node.gauges().snapshot_index).collect();
    let until = Instant::now() + PATIENCE;
    let mut written = 0;
    while written < 20 {
        assert!(Instant::now() < until, "only {written} were confirmed in time");
        let (proposal, encoded) = heavy();
        let leader = running.iter().find(|node| node.view().is_leader);
        let proposed = match leader {
            Some(leader) => leader.propose(proposal, encoded).await.ok(),
            None => None,
        };
        let Some(answer) = proposed else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        // Lost with a leader, perhaps: another one weighs as much.
        written += usize::from(matches!(tokio::time::timeout(Duration::from_secs(3), answer).await, Ok(Ok(_))));
    }
    let newer = || running.iter().zip(&before).filter(|(node, before)| node.gauges().snapshot_index > **before).count();
    let majority = cluster.nodes.len() / 2 + 1;
    eventually("snapshots are taken", || newer() >= majority).await;
}

fn bound(cluster: &Cluster) {
    for node in cluster.nodes.iter().filter(|node| node.is_running()) {
        node.raft().set_snapshot_wal_bytes(THRESHOLD);
    }
}

fn log_bytes(node: &Node) -> u64 {
    node.raft().core.log.bytes_after(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_does_not_grow_as_long_as_a_node_is_down() {
    let mut cluster = Cluster::new(3).await;
    let leader = cluster.leader().await;
    bound(&cluster);
    cluster.write("seen").await;
    let down = cluster.followers(leader)[0];
    cluster.nodes[down].stop().await;
    for _ in 0..6 {
        grow(&cluster).await;
    }
    for node in cluster.nodes.iter().filter(|node| node.is_running()) {
        eventually("the log is short", || log_bytes(node) <= SHORT).await;
        let kept = node.raft().core.log.state().last_purged.unwrap().index;
        assert!(kept <= node.raft().gauges().snapshot_index, "dropped what no snapshot covers");
        assert!(node.raft().wal_stats().segments <= 3, "{:?}", node.raft().wal_stats());
    }
    cluster.write("last").await;
    cluster.nodes[down].start().await;
    cluster.nodes[down].raft().read_barrier(Instant::now() + PATIENCE).await.unwrap();
    assert_eq!(cluster.nodes[down].revision(), cluster.nodes[leader].revision());
    assert!(cluster.nodes[down].raft().gauges().snapshot_index > 0, "it came by snapshot");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_is_too_slow_for_the_log_gets_the_snapshot() {
    let slow = Arc::new(AtomicU64::new(0));
    let chosen = Arc::clone(&slow);
    let (cluster, _relays) = relayed(3, move |to, lane, _| match lane {
        Lane::Append if chosen.load(Ordering::Relaxed) == to => Duration::from_secs(1),
        _ => Duration::ZERO,
    })
    .await;
    let leader = cluster.leader().await;
    bound(&cluster);
    let victim = &cluster.nodes[cluster.followers(leader)[0]];
    slow.store(victim.id, Ordering::Relaxed);
    for _ in 0..6 {
        grow(&cluster).await;
    }
    eventually("the log is short", || log_bytes(&cluster.nodes[leader]) <= SHORT).await;
    let reachable = cluster.nodes[leader].raft().nodes().await.into_iter().all(|node| node.reachable);
    assert!(reachable, "it was slow, not away");
    eventually("it came by snapshot", || victim.raft().inspect_at(|index, _| index) > 100).await;
    slow.store(0, Ordering::Relaxed);
    cluster.write("last").await;
    victim.raft().read_barrier(Instant::now() + PATIENCE).await.unwrap();
    assert_eq!(victim.revision(), cluster.nodes[leader].revision());
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_damaged_on_its_way_is_refused_and_sent_again() {
    let damage = Arc::new(AtomicU64::new(2));
    let left = Arc::clone(&damage);
    let (mut cluster, _relays) = relayed(3, move |_, _, request| {
        if let Request::SnapshotChunk { data } = request
            && left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
        {
            let mut spoilt = data.to_vec();
            spoilt[data.len() / 2] ^= 1;
            *data = spoilt.into();
        }
        Duration::ZERO
    })
    .await;
    let leader = cluster.leader().await;
    let behind = cluster.followers(leader)[0];
    cluster.nodes[behind].stop().await;
    cluster.write("missed").await;
    for at in [leader, cluster.followers(leader)[0]] {
        cluster.nodes[at].compact().await;
    }
    cluster.nodes[behind].start().await;
    let late = &cluster.nodes[behind];
    late.raft().read_barrier(Instant::now() + PATIENCE).await.unwrap();
    assert_eq!(late.revision(), 1);
    assert_eq!(damage.load(Ordering::Relaxed), 0, "two transfers were spoilt");
    assert!(late.raft().gauges().snapshot_index > 0, "it came by snapshot");
    assert_eq!(late.snapshot_files(), 1, "what was refused is removed");
    // Asserts also that no node failed.
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_cannot_be_reached_is_left_alone_for_as_long_as_openraft_waits() {
    let mut node = Node::new(1).await;
    let nobody = Member { peer: "127.0.0.1:1".into(), ..Member::default() };
    let mut client = Network(Arc::clone(&node.raft().core.net)).new_client(2, &nobody).await;
    // openraft waits, between attempts, before it gives the first request.
    let waits = futures_util::stream::pending();
    let started = client.stream_append(waits, RPCOption::new(Duration::from_secs(1)));
    let early = tokio::time::timeout(Duration::from_millis(300), started).await.is_ok();
    assert!(!early, "it tried without anything to send");
    node.stop().await;
}
