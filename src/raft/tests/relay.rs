//! Nodes that reach each other through a relay, which may change or delay every request.

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener as Listener, TcpStream};
use tokio::task::JoinSet;

use super::*;
use crate::raft::wire::{HELLO_BYTES_MAX, Hello, decode, read_frame, write_frame};

/// Sees a request on its way to a node; may change it, and says how long it is held.
type Meddle = Arc<dyn Fn(u64, Lane, &mut Request) -> Duration + Send + Sync>;

pub(super) async fn relayed(
    count: u64,
    meddle: impl Fn(u64, Lane, &mut Request) -> Duration + Send + Sync + 'static,
) -> (Cluster, JoinSet<()>) {
    let meddle: Meddle = Arc::new(meddle);
    let mut relays = JoinSet::new();
    let mut nodes = Vec::new();
    for id in 1..=count {
        let mut node = Node::new(id).await;
        let listener = Listener::bind("127.0.0.1:0").await.unwrap();
        node.advertised = Some(listener.local_addr().unwrap().to_string());
        relays.spawn(relay(id, node.peer.clone(), listener, Arc::clone(&meddle)));
        nodes.push(node);
    }
    nodes[0].raft().init_cluster(nodes.iter().map(Node::as_new).collect()).await.unwrap();
    let cluster = Cluster { nodes };
    cluster.leader().await;
    (cluster, relays)
}

async fn relay(to: u64, target: String, listener: Listener, meddle: Meddle) {
    let mut calls = JoinSet::new();
    loop {
        let (inside, _) = listener.accept().await.unwrap();
        let (target, meddle) = (target.clone(), Arc::clone(&meddle));
        // Ends with an error when either side closes.
        calls.spawn(async move { carry(inside, to, &target, &meddle).await });
    }
}

async fn carry(mut inside: TcpStream, to: u64, target: &str, meddle: &Meddle) -> std::io::Result<()> {
    let frame = read_frame(&mut inside, HELLO_BYTES_MAX).await?;
    let hello: Hello = decode(&frame.body)?;
    let mut outside = TcpStream::connect(target).await?;
    write_frame(&mut outside, frame.group, frame.id, &hello, HELLO_BYTES_MAX).await?;
    let most = hello.lane.frame_bytes_max();
    let (mut requests, mut back) = inside.into_split();
    let (mut answers, mut onward) = outside.into_split();
    let there = async {
        loop {
            let frame = read_frame(&mut requests, most).await?;
            let mut request: Request = decode(&frame.body)?;
            tokio::time::sleep(meddle(to, hello.lane, &mut request)).await;
            write_frame(&mut onward, frame.group, frame.id, &request, most).await?;
        }
    };
    tokio::select! {
        ended = there => ended,
        ended = tokio::io::copy(&mut answers, &mut back) => {
            back.shutdown().await?;
            ended.map(|_| ())
        }
    }
}
