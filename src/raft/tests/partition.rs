//! Nodes that cannot hear each other. Every connection goes through a proxy that can hold its bytes back, as a network
//! does that loses every packet: nothing is closed, nothing is refused, it only falls silent.

use std::collections::BTreeSet;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::*;
use crate::raft::wire::{HELLO_BYTES_MAX, Hello, decode, read_frame};

/// Pairs of nodes that do not hear each other, lower id first.
type Cuts = watch::Sender<BTreeSet<(u64, u64)>>;

fn pair(a: u64, b: u64) -> (u64, u64) {
    (a.min(b), a.max(b))
}

/// Listens in front of one node; learns from the handshake who is calling.
async fn proxy(
    to: u64,
    target: String,
    listener: tokio::net::TcpListener,
    cuts: watch::Receiver<BTreeSet<(u64, u64)>>,
) {
    let mut calls = JoinSet::new();
    loop {
        let (mut inside, _) = listener.accept().await.unwrap();
        let (target, cuts) = (target.clone(), cuts.clone());
        calls.spawn(async move {
            let Ok(hello) = read_frame(&mut inside, HELLO_BYTES_MAX).await else { return };
            let from = decode::<Hello>(&hello.body).unwrap().from;
            let frame = wire::encode_frame(hello.group, hello.id, &decode::<Hello>(&hello.body).unwrap(), 1 << 20);
            let Ok(mut outside) = tokio::net::TcpStream::connect(&target).await else { return };
            let wire = pair(from, to);
            let _ = cuts.clone().wait_for(|cuts| !cuts.contains(&wire)).await;
            let _ = outside.write_all(&frame.unwrap()).await;
            let (ir, iw) = inside.into_split();
            let (or, ow) = outside.into_split();
            tokio::select! {
                () = pump(ir, ow, wire, cuts.clone()) => {}
                () = pump(or, iw, wire, cuts) => {}
            }
        });
    }
}

async fn pump(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    wire: (u64, u64),
    mut cuts: watch::Receiver<BTreeSet<(u64, u64)>>,
) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let Ok(n @ 1..) = from.read(&mut buffer).await else { return };
        if cuts.wait_for(|cuts| !cuts.contains(&wire)).await.is_err() || to.write_all(&buffer[..n]).await.is_err() {
            return;
        }
    }
}

async fn proxied(count: u64) -> (Cluster, Cuts, JoinSet<()>) {
    let cuts = Cuts::new(BTreeSet::new());
    let mut proxies = JoinSet::new();
    let mut nodes = Vec::new();
    for id in 1..=count {
        let mut node = Node::new(id).await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        node.advertised = Some(listener.local_addr().unwrap().to_string());
        proxies.spawn(proxy(id, node.peer.clone(), listener, cuts.subscribe()));
        nodes.push(node);
    }
    nodes[0].raft().init_cluster(nodes.iter().map(Node::as_new).collect()).await.unwrap();
    let cluster = Cluster { nodes };
    cluster.leader().await;
    (cluster, cuts, proxies)
}

fn isolate(cuts: &Cuts, id: u64, count: u64) {
    cuts.send_replace((1..=count).filter(|other| *other != id).map(|other| pair(id, other)).collect());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_off_leader_confirms_nothing_and_follows_again_after_healing() {
    let (cluster, cuts, _proxies) = proxied(3).await;
    let old = cluster.leader().await;
    let old_id = cluster.nodes[old].id;
    cluster.write("before").await;
    isolate(&cuts, old_id, 3);
    let proposal = define("lost");
    let encoded = Bytes::from(codec::encode(&proposal));
    let lost = cluster.nodes[old].raft().propose(Arc::new(proposal), encoded).await;
    let rest = cluster.followers(old);
    let leads = |at: &usize| cluster.nodes[*at].raft().view().is_leader;
    eventually("the rest elects a leader", || rest.iter().any(leads)).await;
    cluster.write("meanwhile").await;
    let read = cluster.nodes[old].raft().read_barrier(Instant::now() + Duration::from_secs(1)).await;
    assert!(read.is_err(), "a read behind the back of the quorum");
    assert_eq!(cluster.nodes[old].revision(), 1);
    // Long enough for connections to be given up.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let late = write(cluster.nodes[old].raft(), "late").await;
    assert!(matches!(&late, Err(why) if why.contains("does not lead")), "not refused before the log: {late:?}");
    cuts.send_replace(BTreeSet::new());
    let healed = Instant::now();
    cluster.nodes[old].raft().read_barrier(soon()).await.unwrap();
    assert_eq!(cluster.nodes[old].revision(), 2);
    cluster.leader().await;
    assert!(healed.elapsed() < Duration::from_secs(5), "healing took {:?}", healed.elapsed());
    if let Ok(lost) = lost {
        let fate = tokio::time::timeout(Duration::from_secs(1), lost).await;
        assert!(!matches!(fate, Ok(Ok(_))), "a write that the new leader never had was confirmed");
        assert!(
            !matches!(fate, Ok(Err(ProposeOutcome::NotLeader))),
            "it was appended: its fate is unknown, not refused"
        );
    }
    cluster.write("after").await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_off_follower_does_not_depose_the_leader_when_it_is_back() {
    let (cluster, cuts, _proxies) = proxied(3).await;
    let leader = cluster.leader().await;
    let term = cluster.nodes[leader].raft().view().term;
    let away = cluster.followers(leader)[0];
    isolate(&cuts, cluster.nodes[away].id, 3);
    for n in 0..50 {
        cluster.write(&format!("e{n}")).await;
    }
    // It calls for elections all the while, and gets none.
    tokio::time::sleep(Duration::from_secs(4)).await;
    cuts.send_replace(BTreeSet::new());
    cluster.nodes[away].raft().read_barrier(soon()).await.unwrap();
    assert_eq!(cluster.nodes[away].revision(), 50);
    let view = cluster.nodes[leader].raft().view();
    assert!(view.is_leader && view.term == term, "term {term} became {}", view.term);
    cluster.stop().await;
}
