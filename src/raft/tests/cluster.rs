//! Stories of a cluster.

use super::*;
use crate::watch::{Next, Point, Reader, Subject};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_is_seen_by_a_read_on_every_node() {
    let cluster = Cluster::new(3).await;
    let leader = cluster.leader().await;
    for round in 0..20 {
        let applied = cluster.write(&format!("e{round}")).await;
        assert_eq!(applied.decisions.len(), 1);
        for node in &cluster.nodes {
            node.raft().read_barrier(soon()).await.unwrap();
            assert_eq!(node.revision(), round + 1, "on node {}", node.id);
            assert!(node.raft().inspect_at(|index, _| index) >= applied.log_index);
        }
    }
    for at in cluster.followers(leader) {
        let node = cluster.nodes[at].raft();
        assert!(matches!(write(node, "elsewhere").await, Err(why) if why.contains("does not lead")));
        assert!(node.view().recovered);
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rest_goes_on_when_the_leader_is_gone_and_it_comes_back() {
    let mut cluster = Cluster::new(3).await;
    let old = cluster.leader().await;
    cluster.write("before").await;
    cluster.nodes[old].stop().await;
    let new = cluster.leader().await;
    assert_ne!(old, new);
    cluster.write("meanwhile").await;
    for at in cluster.followers(new) {
        cluster.nodes[at].raft().read_barrier(soon()).await.unwrap();
        assert_eq!(cluster.nodes[at].revision(), 2);
    }
    cluster.nodes[old].start().await;
    cluster.nodes[old].raft().read_barrier(soon()).await.unwrap();
    assert_eq!(cluster.nodes[old].revision(), 2);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_still_there_after_all_nodes_restart() {
    let mut cluster = Cluster::new(3).await;
    for n in 0..50 {
        cluster.write(&format!("e{n}")).await;
    }
    for node in &mut cluster.nodes {
        node.stop().await;
    }
    for node in &mut cluster.nodes {
        node.start().await;
    }
    let leader = cluster.leader().await;
    for node in &cluster.nodes {
        node.raft().read_barrier(soon()).await.unwrap();
        assert_eq!(node.revision(), 50, "on node {}", node.id);
    }
    cluster.write("after").await;
    assert_eq!(cluster.nodes[leader].revision(), 51);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_quorum_nothing_is_confirmed() {
    let mut cluster = Cluster::new(3).await;
    let leader = cluster.leader().await;
    for at in cluster.followers(leader) {
        cluster.nodes[at].stop().await;
    }
    let node = cluster.nodes[leader].raft();
    let proposal = define("lonely");
    let encoded = Bytes::from(codec::encode(&proposal));
    if let Ok(answer) = node.propose(Arc::new(proposal), encoded).await {
        let answer = tokio::time::timeout(Duration::from_millis(700), answer).await;
        assert!(!matches!(answer, Ok(Ok(_))), "confirmed without a quorum");
    }
    assert!(node.read_barrier(Instant::now() + Duration::from_millis(700)).await.is_err());
    assert_eq!(cluster.nodes[leader].revision(), 0);
    let stale = cluster.nodes[leader].raft().staleness_ms();
    assert!(stale.is_none_or(|ms| ms > 500), "{stale:?}");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writes_at_once_are_all_applied_everywhere() {
    let cluster = Cluster::new(3).await;
    let writers = (0..200).map(|n| {
        let nodes: Vec<_> = cluster.nodes.iter().map(|n| n.raft().clone()).collect();
        tokio::spawn(async move {
            for m in 0..10 {
                write_somewhere(&nodes, &format!("e{n}-{m}")).await;
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    for node in &cluster.nodes {
        node.raft().read_barrier(soon()).await.unwrap();
        assert_eq!(node.revision(), 2000, "on node {}", node.id);
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_too_far_behind_the_log_gets_the_snapshot() {
    let mut cluster = Cluster::new(3).await;
    let leader = cluster.leader().await;
    let behind = cluster.followers(leader)[0];
    cluster.write("seen").await;
    cluster.nodes[behind].stop().await;
    for n in 0..300 {
        cluster.write(&format!("missed{n}")).await;
    }
    // On both, whoever leads when the third is back.
    let mut covered = u64::MAX;
    for node in cluster.nodes.iter().filter(|n| n.is_running()) {
        covered = covered.min(node.compact().await);
    }
    assert!(covered > 250);
    cluster.nodes[behind].start().await;
    let late = &cluster.nodes[behind];
    // Whoever follows it from where it stood misses nothing of what it never applied.
    let stood = late.revision();
    let mut follower = follow_group(late, stood).await;
    late.raft().read_barrier(Instant::now() + PATIENCE).await.unwrap();
    assert_eq!(late.revision(), 301);
    assert!(late.raft().gauges().snapshot_index >= covered, "it came by snapshot");
    read_positions(&mut follower, 301).await;
    read_positions(&mut follow_group(late, 0).await, 301).await;
    // And it keeps it.
    cluster.nodes[behind].stop().await;
    cluster.nodes[behind].start().await;
    cluster.nodes[behind].raft().read_barrier(soon()).await.unwrap();
    assert_eq!(cluster.nodes[behind].revision(), 301);
    for node in &cluster.nodes {
        node.raft().read_barrier(soon()).await.unwrap();
        read_positions(&mut follow_group(node, 0).await, 301).await;
    }
    cluster.stop().await;
}

/// A reader of all changes of a node, after a position.
async fn follow_group(node: &Node, after: u64) -> Reader {
    let hub = node.raft().hub();
    assert!(hub.ready(soon()).await, "history is indexed");
    let joined = hub.join(Subject::Group);
    let revision = node.revision();
    joined.start(after, Point { position: revision, revision }).unwrap()
}

/// Reads on, and insists on every position up to this one.
async fn read_positions(reader: &mut Reader, upto: u64) {
    while reader.position() < upto {
        let mut expected = reader.position();
        let next = tokio::time::timeout(PATIENCE, reader.next()).await.expect("it goes on");
        let Next::Messages { block, from, .. } = next else { panic!("lagged after {expected}") };
        for message in &block.messages()[from..] {
            expected += 1;
            assert_eq!(message.position(), expected);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_look_at_the_cluster_never_replaces_a_newer_one() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let mut node = Node::new(1).await;
    let core = Arc::clone(&node.raft().core);
    let ended = Arc::new(AtomicBool::new(false));
    let others = [(); 3].map(|()| {
        let (core, ended) = (Arc::clone(&core), Arc::clone(&ended));
        std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                core.refresh_view();
            }
        })
    });
    for round in 0..20_000 {
        core.recovered.store(round % 2 == 0, Ordering::Release);
        core.refresh_view();
        std::thread::yield_now();
        assert_eq!(core.view.borrow().recovered, round % 2 == 0, "in round {round}");
    }
    ended.store(true, Ordering::Relaxed);
    for other in others {
        other.join().unwrap();
    }
    drop(core);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_reaches_the_leader_for_its_clients() {
    let cluster = Cluster::new(3).await;
    let leader = cluster.leader().await;
    let id = cluster.nodes[leader].id;
    for at in cluster.followers(leader) {
        let node = cluster.nodes[at].raft();
        let asked = (0..50).map(|n| {
            let node = node.clone();
            async move { node.call_leader(Bytes::from(format!("q{n}")), soon()).await.unwrap() }
        });
        for (n, answer) in futures_util::future::join_all(asked.collect::<Vec<_>>()).await.into_iter().enumerate() {
            assert_eq!(answer, Bytes::from(format!("{id}:q{n}")));
        }
    }
    let own = cluster.nodes[leader].raft().call_leader(Bytes::new(), soon()).await;
    assert!(matches!(own, Err(CallError::NotSent(_))));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_is_handed_over_on_request() {
    let cluster = Cluster::new(3).await;
    let old = cluster.leader().await;
    let to = cluster.followers(old)[1];
    cluster.nodes[old].raft().transfer_leader(Some(cluster.nodes[to].id)).await.unwrap();
    assert_eq!(cluster.leader().await, to);
    cluster.write("after").await;
    cluster.nodes[to].raft().transfer_leader(None).await.unwrap();
    assert_ne!(cluster.leader().await, to);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clocks_and_freshness_are_known() {
    let mut nodes = Vec::new();
    for (id, offset) in [(1, 0), (2, 3_000), (3, 0)] {
        nodes.push(Node::with_clock(id, offset).await);
    }
    nodes[0].raft().init_cluster(nodes.iter().map(Node::as_new).collect()).await.unwrap();
    let cluster = Cluster { nodes };
    cluster.write("e").await;
    for node in &cluster.nodes {
        eventually("every clock is known", || node.raft().clock_offsets().len() == 2).await;
        eventually("freshness is known", || node.raft().staleness_ms().is_some_and(|ms| ms < 1_000)).await;
        let mine = if node.id == 2 { 3_000 } else { 0 };
        for (id, offset) in node.raft().clock_offsets() {
            let expected = if id == 2 { 3_000 } else { 0 } - mine;
            assert!((offset - expected).abs() < 400, "node {} says {offset} of {id}", node.id);
        }
        let seen = node.raft().nodes().await;
        assert!(seen.iter().all(|n| n.reachable), "{seen:?}");
        let skewed: Vec<_> = seen.iter().filter(|n| n.clock_skew_ms.unwrap().abs() > 2_000).map(|n| n.id).collect();
        assert_eq!(skewed, [2], "{seen:?}");
    }
    cluster.stop().await;
}
