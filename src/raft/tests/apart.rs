//! A node whose state holds what the cluster's log does not: it ends, and says why, instead of going on.

use super::*;
use crate::raft::agreement;
use crate::raft::log_store::LogStore;
use crate::raft::types::{RaftVote, to_raft};
use openraft::storage::RaftLogStorage;

/// A cluster and its follower, made to believe that it has applied what the cluster never had.
async fn apart() -> (Cluster, usize) {
    let cluster = Cluster::new(3).await;
    cluster.write("before").await;
    let leader = cluster.leader().await;
    let victim = cluster.followers(leader)[0];
    cluster.nodes[victim].raft().read_barrier(soon()).await.unwrap();
    (cluster, victim)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_apart_from_its_cluster_ends_at_the_leaders_first_word() {
    let (cluster, victim) = apart().await;
    let node = &cluster.nodes[victim];
    let applied = node.raft().core.state.applied_id().unwrap();
    // An entry of an earlier leader, further on than the log of the cluster is.
    node.raft().core.state.pretend_applied(LogId { term: applied.term - 1, index: applied.index + 3, ..applied });
    eventually("it ends", || node.fatal.lock().iter().any(|why| why.contains("contradicts what this node"))).await;
    assert!(node.fatal.lock()[0].contains("under a new node id"));
    node.fatal.lock().clear();
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_was_replaced_contradicts_nobody() {
    let (cluster, victim) = apart().await;
    let core = &cluster.nodes[victim].raft().core;
    let applied = core.state.applied_id().unwrap();
    let wrong = to_raft(&LogId { node_id: applied.node_id + 7, ..applied });
    let old = RaftVote::new_committed(0, 9);
    agreement::check(core, &old, agreement::apart(core, [&wrong])).await.unwrap();
    assert!(cluster.nodes[victim].fatal.lock().is_empty());
    let newest = RaftVote::new_committed(applied.term + 100, 9);
    agreement::check(core, &newest, agreement::apart(core, [&wrong])).await.unwrap_err();
    assert_eq!(std::mem::take(&mut *cluster.nodes[victim].fatal.lock()).len(), 1);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_applied_is_never_truncated_nor_replaced_by_less() {
    let (cluster, victim) = apart().await;
    let node = &cluster.nodes[victim];
    let core = &node.raft().core;
    let applied = core.state.applied_id().unwrap();
    let mut log = LogStore::new(core.log.clone()).under(Arc::clone(&core.state));
    let before = to_raft(&core.log.log_id(applied.index - 1).unwrap());
    log.truncate_after(Some(before)).await.unwrap_err();
    assert_eq!(std::mem::take(&mut *node.fatal.lock()).len(), 1);
    assert_eq!(core.log.log_id(applied.index), Some(applied), "it is still there");
    log.truncate_after(Some(to_raft(&applied))).await.unwrap();
    cluster.stop().await;
}
